"""Images: what reading, fingerprinting and editing cost beside the tools that do nothing else.

Each number is the smallest of several runs, the two sides of a comparison taken in turns.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from templater.image import open_image
from templater.image.build import Packing, build
from templater.image.contents import open_contents
from templater.image.edit import set_property
from templater.image.fingerprint import fingerprint
from templater.image.repack import replace

MIB = 1 << 20
METADATA = """\
architecture: x86_64
creation_date: 1700000000
properties:
  os: Debian
  serial: "1"
templates:
  /etc/hostname: {when: [create, copy], template: hostname.tpl}
"""


def main(arguments: list[str]) -> int:
    large = int(arguments[0]) if arguments else 500
    with tempfile.TemporaryDirectory(prefix="templater-bench.", dir=os.environ.get("TMPDIR")) as folder:
        os.chdir(folder)
        reading(large)
        hashing(large * 2)
        split(large * 2)
        unified(max(48, large // 8))
    return 0


def tree(name: str, size: int, *, seed: bytes = b"x") -> Path:
    """An image's directory with a root filesystem of ``size`` MiB, half of it compressible."""
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
    """The smallest time of each side, in seconds, run in turns."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(runs):
        for side, seconds in zip(sides, times, strict=True):
            start = perf_counter()
            side()
            seconds.append(perf_counter() - start)
    return [min(seconds) for seconds in times]


def tell(what: str, ours: float, theirs: float, beside: str) -> None:
    sys.stdout.write(f"{what:<58} {ours:9.4f} s   {theirs:9.4f} s  {beside:<28} {ours / theirs:6.2f}x\n")
    sys.stdout.flush()


def read(path: str) -> None:
    image = open_image(path)
    image.read_metadata()
    assert image.read_templates(["hostname.tpl"])["hostname.tpl"].data


def reading(large: int) -> None:
    """Templates first in the archive: the rest of it costs nothing."""
    for compression in ("none", "gzip", "zstd", "xz"):
        for size in (5, large):
            if compression == "xz" and size > 100:
                continue  # minutes to pack, and the same reader
            top = tree(f"t{size}", size) if not Path(f"t{size}").exists() else Path(f"t{size}")
            packed(
                top, f"{size}.{compression}", compression=compression, level=0 if compression == "xz" else 1
            )
        if compression == "xz":
            continue
        big, small = best(15, lambda: read(f"{large}.{compression}"), lambda: read(f"5.{compression}"))
        tell(f"templates of a {large} MiB image, {compression}", big, small, "of a 5 MiB image")
        Path(f"{large}.{compression}").unlink()


def hashing(size: int) -> None:
    with open("blob", "wb") as file:
        for number in range(size):
            file.write(hashlib.shake_256(str(number).encode()).digest(MIB))
    ours, theirs = best(
        5,
        lambda: fingerprint("blob"),
        lambda: subprocess.run(["sha256sum", "blob"], check=True, capture_output=True),
    )
    tell(f"fingerprint of {size} MiB", ours, theirs, "sha256sum")


def split(size: int) -> None:
    """One property of a split image, whose second file is the blob."""
    packed(Path("t5"), "meta.tar.xz", layout="split", compression="xz")
    before = os.stat("blob")

    def edit(rootfs: str | None) -> None:
        source = open_image("meta.tar.xz").read_metadata()
        after = set_property(source, "serial", str(perf_counter()))
        replace("meta.tar.xz", {"metadata.yaml": after.data}, rootfs=rootfs)

    alone, whole, hashed = best(5, lambda: edit(None), lambda: edit("blob"), lambda: fingerprint("blob"))
    tell(f"one property of a {size} MiB split image, no fingerprint", alone, 0.3, "the limit")
    tell(
        f"one property of a {size} MiB split image, both fingerprints",
        whole,
        2 * hashed,
        "hashing the rootfs twice",
    )
    after = os.stat("blob")
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_size,
    )
    Path("blob").unlink()


def unified(size: int) -> None:
    """One property of a unified xz image: its stream is compressed again."""
    (file,) = packed(tree(f"u{size}", size, seed=b"u"), "u.tar.xz", compression="xz")
    Path("u.tar").write_bytes(subprocess.run(["xz", "-dc", file], check=True, capture_output=True).stdout)

    def edit() -> None:
        source = open_image(file).read_metadata()
        replace(file, {"metadata.yaml": set_property(source, "serial", str(perf_counter())).data})

    def squeeze() -> None:
        with open("u.tar.out", "wb") as out:
            subprocess.run(["xz", "-T0", "-c", "u.tar"], check=True, stdout=out)

    ours, theirs = best(2, edit, squeeze)
    tell(f"one property of a {size} MiB unified xz image", ours, theirs, "xz -T0 of the same stream")
