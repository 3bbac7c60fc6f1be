"""The time and memory of `streams add`, `verify` and `list` for simplestreams trees of different sizes.

The table has a row for each number of images in the tree. For each command, it shows the smallest wall clock
time, the smallest processor time and the peak memory of three runs. Other processes disturb the processor
time less. The exit code is 1 if a wall clock time exceeds its limit. The arguments are other numbers of
images.
"""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from templater.distribution.products_by_line import dump_products
from tests.streams.builders import CREATED, split_image, squashfs, tarball

ADD_SECONDS, VERIFY_SECONDS = 0.6, 6.0
RUNS = 3
ROOT = str(Path(__file__).resolve().parents[2])


def main(arguments: list[str]) -> int:
    sizes = [int(word) for word in arguments] or [10, 100, 1_000, 10_000]
    over = False
    sys.stdout.write(
        "images   catalog      add      cpu   memory   verify      cpu   memory     list      cpu\n"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="templater-bench.") as folder:
            over |= measure(size, Path(folder))
    sys.stdout.write(f"limits: add {ADD_SECONDS} s, verify --metadata-only {VERIFY_SECONDS} s\n")
    return over


def measure(size: int, folder: Path) -> bool:
    tree = folder / "tree"
    # In a child: the memory that this process holds would count as that of each command that it starts.
    maker = multiprocessing.get_context("spawn").Process(target=make_tree, args=(tree, size))
    maker.start()
    maker.join()
    assert maker.exitcode == 0
    adds = []
    for number in range(RUNS):
        meta, root = split_image(folder / str(number), os="more", variant=f"v{number}", created=CREATED)
        adds.append(run("add", str(tree), meta, root))
    verifies = [run("verify", str(tree), "--metadata-only") for _ in range(RUNS)]
    lists = [run("list", str(tree)) for _ in range(RUNS)]
    catalog = (tree / "streams/v1/images.json").stat().st_size
    sys.stdout.write(
        f"{size:6} {catalog / 1e6:6.1f} MB {best(adds)} {most(adds)} {best(verifies)} {most(verifies)}"
    )
    sys.stdout.write(f" {best(lists)}\n")
    sys.stdout.flush()
    return min(adds)[0] > ADD_SECONDS or min(verifies)[0] > VERIFY_SECONDS


#: seconds by the clock and by the processor, and KiB of memory
Run = tuple[float, float, int]


def best(runs: list[Run]) -> str:
    return f"{min(clock for clock, _, _ in runs):6.2f} s {min(cpu for _, cpu, _ in runs):6.2f} s"


def most(runs: list[Run]) -> str:
    return f"{max(memory for _, _, memory in runs) >> 10:4} MiB"


def run(*words: str) -> Run:
    begun = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "templater", "streams", *words],
        env={**os.environ, "PYTHONPATH": ROOT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def make_tree(tree: Path, size: int) -> None:
    """Write a tree like `streams add`. Each product has one image, with metadata files for Incus and LXD."""
    (tree / "images").mkdir(parents=True)
    (tree / "streams/v1").mkdir(parents=True)
    products = {}
    for number in range(size):
        release = f"r{number:05}"
        first = tarball({"metadata.yaml": f"# {number}\n".encode() * 20})
        second = squashfs(number, 512)
        combined = hashlib.sha256(first + second).hexdigest()
        meta, root = put(tree, first, ".tar"), put(tree, second, ".squashfs")
        items = {"squashfs": {"ftype": "squashfs", **root}}
        for family in ("incus", "lxd"):
            ftype = f"{family}.tar.xz"
            items[ftype] = {"ftype": ftype, "combined_squashfs_sha256": combined, **meta}
        products[f"os:{release}:amd64:default"] = {
            "aliases": f"os/{release},os/{release}/default", "arch": "amd64", "os": "os", "release": release,
            "release_title": release, "variant": "default", "versions": {"20260101_0000": {"items": items}},
        }  # fmt: skip
    document = {
        "content_id": "images",
        "datatype": "image-downloads",
        "format": "products:1.0",
        "products": products,
    }
    (tree / "streams/v1/images.json").write_bytes(b"".join(dump_products(document)))
    entry = {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": sorted(products)}
    (tree / "streams/v1/index.json").write_text(
        json.dumps({"format": "index:1.0", "index": {"images": entry}})
    )


def put(tree: Path, data: bytes, ending: str) -> dict[str, object]:
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"images/{sha256}{ending}"
    (tree / path).write_bytes(data)
    return {"path": path, "size": len(data), "sha256": sha256}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
