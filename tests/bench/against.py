"""A benchmark that compares hooks and commands of this checkout with those of another checkout, OTHER.

OTHER can be, for example, a checkout of a release. The two checkouts take turns. Both use the sample images
of OTHER, as directories and as archives. The benchmark measures the processor time of a process and its
children. Each row of the table is the sum of the smallest times of all images.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from tests.bench.hook import container, environment, spoil
from tests.bench.preview import processor_ms

HERE = Path(__file__).resolve().parents[2]
LINE = "import json; from templater.hooks import install; print(json.dumps(install.argv('lxc', [])))"
#: success, findings, and an error of a template
CODES = (0, 1, 5)


@cache
def hook_line(checkout: Path) -> list[str]:
    words = [sys.executable, "-P", "-c", LINE]
    return list(json.loads(subprocess.check_output(words, env={"PYTHONPATH": str(checkout)})))


def hook(folders: dict[Path, Path], options: list[str], checkout: Path) -> float:
    spoil(folders[checkout])
    return processor_ms([*hook_line(checkout), *options], **environment(folders[checkout]))


def command(words: list[str], unpacked: Path, checkout: Path) -> float:
    words = [sys.executable, "-P", "-m", "templater", *words]
    took = processor_ms(words, CODES, PYTHONPATH=str(checkout))
    shutil.rmtree(unpacked, ignore_errors=True)
    return took


def packed(image: Path, compression: str, folder: Path) -> Path:
    file = folder / f"{image.name}.tar.{compression}"
    with tarfile.open(str(file), f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name in ("metadata.yaml", "templates", "rootfs"):
            if (image / name).exists():
                archive.add(image / name, name)
    return file


def jobs(images: list[Path], folder: Path, compression: str) -> Iterator[tuple[str, Callable[[Path], float]]]:
    """Yield the measured runs, each with the name of its row in the table."""
    for form, files in (
        ("directories", images),
        (f"packed, {compression}", [packed(image, compression, folder) for image in images]),
    ):
        for image, file in zip(images, files, strict=True):
            for name in ("preview", "audit"):
                yield f"{name}, {form}", partial(command, [name, str(file)], folder / "none")
            if (image / "rootfs").exists():
                new = folder / "new"
                yield f"unpack, {form}", partial(command, ["unpack", str(file), str(new)], new)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench against", description=__doc__)
    parser.add_argument("other", type=Path, help="the path of the other checkout")
    parser.add_argument("--image", default="*", help="which sample images (%(default)s)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--compression", choices=("xz", "gz", "bz2"), default="xz", help="of packed images")
    options = parser.parse_args(arguments)
    sides = (options.other.resolve(), HERE)
    images = sorted(file.parent for file in sides[0].glob(f"sample-images/{options.image}/metadata.yaml"))
    with container() as its, container() as ours, tempfile.TemporaryDirectory() as folder:
        instances = dict(zip(sides, (its, ours), strict=True))
        runs = [
            ("warm hook without a child", partial(hook, instances, ["--no-child"])),
            ("warm hook with a child", partial(hook, instances, [])),
            *jobs(images, Path(folder), options.compression),
        ]
        least = [[min(run(side) for _ in range(2)) for side in sides] for _, run in runs]  # fills the caches
        for _ in range(options.rounds):
            for (_, run), found in zip(runs, least, strict=True):
                found[:] = [min(known, run(side)) for side, known in zip(sides, found, strict=True)]
    sys.stdout.write("| processor time | other ms | this ms | this / other |\n|---|--:|--:|--:|\n")
    for row in dict(runs):
        pairs = [pair for (name, _), pair in zip(runs, least, strict=True) if name == row]
        other, this = (sum(times) for times in zip(*pairs, strict=True))
        sys.stdout.write(f"| {row} | {other:.1f} | {this:.1f} | {this / other:.3f} |\n")
    return 0
