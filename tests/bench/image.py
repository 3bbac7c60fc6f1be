"""The time for reading, hashing and editing images, compared with tools such as sha256sum and xz.

Each time is the smallest of several runs. The two sides of a comparison take turns. Every comparison has a
limit, and the exit code is 1 if a limit is exceeded. The benchmark needs 4 GB of disk space ($TMPDIR) and
some minutes. ``python -m tests.bench image 20`` runs a small version of the benchmark.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from templater.image.build import Packing, build
from templater.image.fingerprint import fingerprint
from templater.image.metadata_edit import set_property
from templater.image.open_image import open_image, repack
from templater.image.read_whole_image import open_contents
from templater.image.replace_files import replace

MIB = 1 << 20
ROOT = str(Path(__file__).resolve().parents[2])
METADATA = """\
architecture: x86_64
creation_date: 1700000000
properties:
  os: Debian
  serial: "1"
templates:
  /etc/hostname: {when: [create, copy], template: hostname.tpl}
"""


#: the measurements above their limits
OVER: list[str] = []


def main(arguments: list[str]) -> int:
    """Run the benchmark.

    The only argument is the size of the large unified image in MiB. The split image is twice as large.
    """
    large = int(arguments[0]) if arguments else 500
    with tempfile.TemporaryDirectory(prefix="templater-bench.", dir=os.environ.get("TMPDIR")) as folder:
        os.chdir(folder)
        reading(large)
        hashing(large * 2)
        split(large * 2)
        unified(max(72, large // 7))
        os.chdir("/")
    for what in OVER:
        sys.stdout.write(f"over its limit: {what}\n")
    return 1 if OVER else 0


def tree(name: str, size: int, *, seed: bytes = b"x") -> Path:
    """Make an image's directory with a root filesystem of ``size`` MiB. Half of the data is compressible."""
    top = Path(name)
    (top / "templates").mkdir(parents=True)
    (top / "rootfs/usr").mkdir(parents=True)
    (top / "metadata.yaml").write_text(METADATA)
    (top / "templates/hostname.tpl").write_text("{{ instance.name }}\n")
    for number in range(max(1, size // 4)):
        noise = hashlib.shake_256(seed + str(number).encode()).digest(2 * MIB)
        text = (b"%d the quick brown fox jumps over the lazy dog\n" % number) * 45_000
        (top / "rootfs/usr" / f"{number:05}").write_bytes(noise + text[: 2 * MIB])
    return top


def packed(top: Path, target: str, **packing: object) -> tuple[str, ...]:
    contents = open_contents(str(top))
    return build(contents, contents.parts(), target, Packing(**packing), replace=True).files


def best(runs: int, *sides: Callable[[], object]) -> list[float]:
    """Run the sides of a comparison in turns. Return the smallest time of each side in seconds."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(runs):
        for side, seconds in zip(sides, times, strict=True):
            start = perf_counter()
            side()
            seconds.append(perf_counter() - start)
    return [min(seconds) for seconds in times]


def tell(what: str, ours: float, theirs: float, beside: str, limit: float) -> None:
    """Print the result of one comparison.

    ``limit`` is the highest accepted ratio of ``ours`` to ``theirs``.
    """
    verdict = "ok" if ours <= theirs * limit else "OVER"
    if verdict == "OVER":
        OVER.append(what)
    sys.stdout.write(
        f"{what:<66} {ours:9.4f} s  {beside:<34} {theirs:9.4f} s  {ours / theirs:6.2f}x of {limit:.2f}x  {verdict}\n"
    )
    sys.stdout.flush()


def read(path: str) -> None:
    image = open_image(path)
    image.read_metadata()
    assert image.read_templates(["hostname.tpl"])["hostname.tpl"].data


def reading(large: int) -> None:
    """Measure the time to read templates at the start of an archive.

    The size of the archive must not affect this time.
    """
    for compression, level in (("none", None), ("gzip", 1), ("zstd", 1), ("xz", 0)):
        for size in (5, large):
            top = tree(f"t{size}", size) if not Path(f"t{size}").exists() else Path(f"t{size}")
            packed(top, f"{size}.{compression}", compression=compression, level=level)
        big, small = best(
            25,
            lambda compression=compression: read(f"{large}.{compression}"),
            lambda compression=compression: read(f"5.{compression}"),
        )
        # both take about a millisecond, so a higher ratio is not noise
        tell(f"templates of a {large} MiB image, {compression}", big, small, "of a 5 MiB image", 1.25)
        Path(f"{large}.{compression}").unlink()
    shutil.rmtree(f"t{large}")


def hashing(size: int) -> None:
    with open("blob", "wb") as file:
        for number in range(size):
            file.write(hashlib.shake_256(str(number).encode()).digest(MIB))
    ours, theirs = best(
        5,
        lambda: fingerprint("blob"),
        lambda: subprocess.run(["sha256sum", "blob"], check=True, capture_output=True),
    )
    tell(f"fingerprint of {size} MiB", ours, theirs, "sha256sum", 1.15)


def split(size: int) -> None:
    """Measure the function and the command that set one property of a split image.

    The file ``blob`` is the image's root filesystem.
    """
    packed(Path("t5"), "meta.tar.xz", layout="split", compression="xz")
    before = os.stat("blob")

    def edit(rootfs: str | None) -> None:
        source = open_image("meta.tar.xz").read_metadata()
        after = set_property(source, "serial", str(perf_counter()))
        replace("meta.tar.xz", {"metadata.yaml": after.data}, rootfs=rootfs)

    def command() -> None:
        run = [sys.executable, "-m", "templater", "image", "set-property", "meta.tar.xz"]
        environment = {**os.environ, "PYTHONPATH": ROOT}
        pair = f"serial={perf_counter()}"
        subprocess.run([*run, pair], check=True, capture_output=True, env=environment)

    hashing_took = [0.0]

    def timed(*arguments: object) -> tuple[str, str]:
        start = perf_counter()
        found = fingerprints(*arguments)
        hashing_took[0] = perf_counter() - start
        return found

    def besides_hashing() -> float:
        start = perf_counter()
        edit("blob")
        return perf_counter() - start - hashing_took[0]

    fingerprints, repack._fingerprints = repack._fingerprints, timed
    besides = min(besides_hashing() for _ in range(5))
    repack._fingerprints = fingerprints
    alone, shell = best(9, lambda: edit(None), command)
    what = f"one property of a {size} MiB split image"
    tell(f"{what}, no fingerprint", alone, 0.3, "the limit", 1)
    tell(f"{what}, besides hashing", besides, 0.3, "the limit", 1)
    tell(f"{what}, the command", shell, 0.3, "the limit", 1)
    sys.stdout.write(f"  (both fingerprints of it, if asked for: {hashing_took[0]:.2f} s)\n")
    after = os.stat("blob")
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_size,
    )
    Path("blob").unlink()


def unified(size: int) -> None:
    """Measure setting one property of a unified xz image, which compresses the image again."""
    (file,) = packed(tree(f"u{size}", size, seed=b"u"), "u.tar.xz", compression="xz")
    Path("u.tar").write_bytes(subprocess.run(["xz", "-dc", file], check=True, capture_output=True).stdout)

    def edit() -> None:
        source = open_image(file).read_metadata()
        replace(file, {"metadata.yaml": set_property(source, "serial", str(perf_counter())).data})

    def squeeze() -> None:
        with open("u.tar.out", "wb") as out:
            subprocess.run(["xz", "-T0", "-c", "u.tar"], check=True, stdout=out)

    ours, theirs = best(2, edit, squeeze)
    tell(f"one property of a {size} MiB unified xz image", ours, theirs, "xz -T0 of the same stream", 1.2)
