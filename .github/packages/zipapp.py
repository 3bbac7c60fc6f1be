#!/usr/bin/env python3
"""Build templater.pyz: templater and its dependencies in one file, for hosts where nothing may be installed.

    python3 .github/packages/zipapp.py [FILE]

The file contains only modules in Python, so it runs with every Python from 3.11. It also contains the modules
that hooks load, compiled for the Python that builds it, because a hook in a zip file can store no module. pip
fetches the dependencies by the hashes in .ci/runtime.txt. Equal sources and an equal Python give equal bytes.
"""

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[import-not-found]
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: packages with a C extension and without a replacement in Python: templater names them when it needs them
EXTENSIONS = ("backports-zstd", "lz4")
#: the packages that a hook loads; as in templater/hooks/install.py
HOOK_PACKAGES = ("jinja2", "markupsafe", "templater", "yaml")
MAIN = b"""\
import sys

if sys.version_info < (3, 11):
    sys.exit("templater needs Python 3.11 or newer, and this is Python %d.%d" % sys.version_info[:2])

from templater.__main__ import main

sys.exit(main())
"""


def fetch_dependencies(folder: Path) -> None:
    locked = (ROOT / ".ci" / "runtime.txt").read_text()
    pins = re.findall(r"^\S.*\n(?:\s.*\n)*", locked, re.MULTILINE)
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(pin for pin in pins if not pin.startswith(EXTENSIONS)))
    words = [
        "--no-deps",
        "--no-compile",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        str(requirements),
    ]
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder / "packages"), *words]
    subprocess.run(command, check=True)


def members(packages: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each member of the zip file."""
    yield "__main__.py", MAIN
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()
    trees = [(packages, path) for path in packages.rglob("*")]
    trees += [(ROOT, path) for path in (ROOT / "templater").rglob("*")]
    for base, path in trees:
        name = path.relative_to(base).as_posix()
        if path.is_file() and is_member(name):
            content = path.read_bytes()
            yield name, content
            if name.endswith(".py") and name.startswith(HOOK_PACKAGES):
                code = compile(content, name, "exec", dont_inherit=True)
                yield f"{name}c", bytes(_code_to_hash_pyc(code, importlib.util.source_hash(content), False))


def is_member(name: str) -> bool:
    package = name.partition("/")[0]
    if package.endswith(".dist-info"):
        return name.endswith("/METADATA") or "/licenses/" in name or "LICENSE" in name
    return package not in ("bin", "_yaml") and not re.search(
        r"(^|/)__pycache__/|\.(so|pyd|pyi|c|pxd|pyx)$", name
    )


def write(place: Path, packages: Path) -> None:
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "1580601600")))[:6]  # hatchling's time
    data = io.BytesIO()
    data.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in sorted(members(packages)):
            entry = zipfile.ZipInfo(name, moment)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data.getvalue())
    place.chmod(0o755)


def main() -> None:
    if sys.flags.hash_randomization:  # the order of constant sets in compiled modules depends on hashes
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environ)  # noqa: S606
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "dist/templater.pyz")
    folder = Path(tempfile.mkdtemp(prefix="templater-zipapp."))
    try:
        fetch_dependencies(folder)
        write(place, folder / "packages")
    finally:
        shutil.rmtree(folder)
    size = place.stat().st_size
    sys.stdout.write(f"{place}: {size} bytes, with compiled modules for Python {sys.version.split()[0]}\n")


if __name__ == "__main__":
    main()
