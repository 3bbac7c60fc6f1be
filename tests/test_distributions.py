"""The wheel and the source distribution: equal bytes from equal sources, and a wheel that works in an empty venv."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from templater import __version__
from tests.installations import PYTHONS, ROOT, Installation, jobs_of, jobs_of_checkout
from tests.live.harness import lack
from tests.test_packaging import PROJECT, pins, version_of

pytestmark = pytest.mark.slow


def build(source: Path, folder: Path, **options: object) -> Path:
    """Build a source distribution and, from it, a wheel, and return their folder."""
    if find_spec("build") is None or find_spec("hatchling") is None:
        lack("needs build and hatchling: pip install build hatchling editables")
    words = [sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_the_unpacked_source_distribution_builds_identical_distributions(built, tmp_path):
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    source = only(tmp_path, "image_templater-*")
    for path in source.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    again = build(source, tmp_path / "dist", umask=0o077, env={**os.environ, "TZ": "Asia/Tokyo"})
    bytes_of = {path.name: path.read_bytes() for path in built.iterdir()}
    assert len(bytes_of) == 2
    assert {path.name: path.read_bytes() for path in again.iterdir()} == bytes_of


def test_the_package_index_would_accept_the_distributions(built):
    for tool, words in (("twine", ["check", "--strict"]), ("check_wheel_contents", [])):
        if find_spec(tool) is None:
            lack(f"needs {tool}: pip install {tool.replace('_', '-')}")
        files = sorted(map(str, built.iterdir())) if tool == "twine" else [str(only(built, "*.whl"))]
        done = subprocess.run(
            [sys.executable, "-P", "-m", tool, *words, *files],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_contains_every_file_of_the_package_and_no_test(built):
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name and ".data/" not in name}
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "templater").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == wanted


def test_the_wheel_contains_man_pages_and_completion_scripts(built, tmp_path):
    """A new process writes the pages for comparison: click keeps the help option of a command that a test has called."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        packed = {
            name.partition(".data/data/share/")[2]: wheel.read(name).decode()
            for name in wheel.namelist()
            if ".data/" in name
        }
    subprocess.run([sys.executable, "-m", "templater.cli.manual", str(tmp_path)], cwd=ROOT, check=True)
    pages = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert packed == {str(path.relative_to(tmp_path)): path.read_text("utf-8") for path in pages}


def test_the_software_bill_of_materials_contains_each_dependency_with_its_version(built, tmp_path):
    """cyclonedx-py validates the list by the schema of CycloneDX 1.6."""
    if find_spec("cyclonedx_py") is None:
        lack("needs cyclonedx-bom: pip install cyclonedx-bom")
    place = tmp_path / "sbom.json"
    words = ["bash", str(ROOT / ".github/packages/sbom.sh"), str(only(built, "*.whl")), str(place)]
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        lack(f"needs a package index: {done.stderr}")
    listed = json.loads(place.read_text())
    root = listed["metadata"]["component"]
    assert (root["name"], root["version"]) == ("image-templater", __version__)
    components = {canonicalize_name(each["name"]): each["version"] for each in listed["components"]}
    evaluated = {
        name: pin for name, pin in pins("runtime.txt").items() if not pin.marker or pin.marker.evaluate()
    }
    assert components == {name: version_of(pin) for name, pin in evaluated.items()}
    (edges,) = (each["dependsOn"] for each in listed["dependencies"] if each["ref"] == root["bom-ref"])
    assert len(edges) == len(PROJECT["dependencies"])


@pytest.mark.parametrize("python", PYTHONS)
def test_the_wheel_works_in_an_empty_virtual_environment(built, python, tmp_path):
    venv = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", str(venv)], check=True)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in pins("newest.txt").values()))
    words = [str(venv / "bin/pip"), "install", "-q", "-c", str(constraints), str(only(built, "*.whl"))]
    environment = {**os.environ, "PIP_NO_COMPILE": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lack(f"needs a package index: {done.stderr}")
    installed = jobs_of(Installation(str(venv / "bin/templater")), tmp_path)
    assert installed == jobs_of_checkout(tmp_path)
