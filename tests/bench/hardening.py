"""The cost of safety: the time of ``apply`` before and after ``apply`` was protected against attacks.

"Before" means the sources of REVISION, which come from the history of the Git repository. "After" means the
sources of this checkout. Both write the files of a first start into new copies of an image's root filesystem.
The benchmark first checks that both write the same files. It does not measure the time for copying.

The two sides take turns. In every second round, "after" runs first. Each round gives a ratio of "after" to
"before", and the table shows the median of these ratios. So a slow machine affects both sides equally.

* "called": a process that runs all rounds calls ``plan`` and ``apply``.
* "process": each round starts a new process for ``templater apply``.

Two comparisons have no limit:

* the time of ``apply`` without ``plan``
* the time of ``apply``, compared with ``open`` and ``write`` for the same plan: the cost of all safety
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter
from typing import NamedTuple

from tests.golden.record import CASES, IMAGES, Case

REPOSITORY = Path(__file__).resolve().parents[2]

#: The last commit before ``apply`` was tested with races and faults, and reviewed. Every revision has the
#: confined layer and staging, so the comparison with ``PLAIN`` shows their cost.
REVISION = "58a4c0012d27ddc2a394d8a53c124ed3cb0d9667"
LIMIT = 1.1
ALONE = "`apply()` alone, in memory"
PLAIN = "called, in memory; before: plain writing"
#: comparisons without a limit: a part of another one, and one that compares with no revision
NO_LIMIT = (ALONE, PLAIN)

#: for each image, the instance of realistic size; both sides refuse the image ``broken``
SAMPLES = [case for case in CASES[1::2] if case.image != "broken"]


class Times(NamedTuple):
    """Milliseconds."""

    clock: float
    processor: float


class Side:
    """The sources of one revision, and a process that applies plans with them."""

    def __init__(self, name: str, sources: Path) -> None:
        self.name = name
        self.sources = sources
        self.environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(sources)}
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("applier.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environ, cwd=sources,
        )  # fmt: skip
        found = self._answer()
        if Path(str(found)).parents[1] != sources:
            raise SystemExit(f"{name}: {found} was imported, not {sources}/templater")

    def called(self, case: Case, rootfs: Path, how: str = "whole") -> Times:
        assert self.process.stdin is not None
        words = [str(IMAGES / case.image), described(case), str(rootfs), how]
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return Times(*self._answer())

    def run(self, case: Case, rootfs: Path) -> Times:
        words = ["apply", str(IMAGES / case.image), str(rootfs), "-t", "create,start", "-i", described(case)]
        if case.read().is_vm:
            words.append("--as-agent")
        before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
        done = subprocess.run(
            [sys.executable, "-P", "-m", "templater", *words],
            check=False, capture_output=True, text=True, env=self.environ, cwd=self.sources,
        )  # fmt: skip
        clock, after = perf_counter() - start, getrusage(RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{self.name}: {case.image}: {done.stderr}")
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Times(clock * 1000, processor * 1000)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with {self.process.wait()}")
        return json.loads(line)


def described(case: Case) -> str:
    return str(IMAGES / case.image / "instances" / case.instance)


def taken_out(revision: str, folder: Path) -> Path:
    """Copy the package ``templater`` of a Git revision to a folder, and return the folder.

    Raises SystemExit, with a hint for the user, if Git can't read the revision.
    """
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "archive", revision, "templater"], check=False, capture_output=True
    )
    if done.returncode:
        raise SystemExit(
            f"{revision} can't be had: {done.stderr.decode().strip()}\n"
            "this needs git and a clone with its whole history: git fetch --unshallow"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@contextmanager
def sides(revision: str) -> Iterator[tuple[Side, Side]]:
    """Yield the sides "before" and "after".

    The sources of both sides are in one temporary folder, so that neither side has a faster disk.
    """
    with tempfile.TemporaryDirectory(prefix="templater-bench.") as name:
        folder = Path(name).resolve()
        before = taken_out(revision, folder / "before")
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "templater", folder / "after/templater", ignore=skipped)
        with ExitStack() as stack:
            made = []
            for title, sources in (("before", before), ("after", folder / "after")):
                made.append(Side(title, sources))
                stack.callback(made[-1].end)
            yield made[0], made[1]


class Ground:
    """A folder, on disk or in memory, for new copies of an image's root filesystem."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    @contextmanager
    def fresh(self, case: Case) -> Iterator[Path]:
        self.count += 1
        top = self.folder / str(self.count)
        source = IMAGES / case.image / "rootfs"
        if source.exists():
            shutil.copytree(source, top, symlinks=True)
        else:
            top.mkdir()
        try:
            yield top
        finally:
            shutil.rmtree(top)


def everything(top: Path) -> dict[str, tuple[object, ...]]:
    """Return mode, owner and content of each file, directory and symlink below ``top``."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(top))] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def compare(case: Case, pair: tuple[Side, Side], ground: Ground) -> int:
    """Check that both sides write the same files, with ``called`` and with ``run``.

    Return the number of written files.
    """
    trees = []
    for side in pair:
        for way in (side.called, side.run):
            with ground.fresh(case) as top:
                untouched = everything(top)
                way(case, top)
                trees.append(everything(top))
    if any(tree != trees[0] for tree in trees):
        raise SystemExit(f"{case.image}: before and after do not write the same")
    written = [name for name, what in trees[0].items() if untouched.get(name) != what and what[3] is not None]
    if not written:
        raise SystemExit(f"{case.image}: nothing was written")
    return len(written)


class Series:
    """The times of one comparison for one image: a pair (before, after) for each round."""

    def __init__(self) -> None:
        self.rounds: list[tuple[Times, Times]] = []

    def ratio(self, which: str) -> float:
        return statistics.median(
            getattr(after, which) / getattr(before, which) for before, after in self.rounds
        )

    def text(self, which: str) -> str:
        before, after = (
            statistics.median(getattr(times, which) for times in side)
            for side in zip(*self.rounds, strict=True)
        )
        return f"{before:.2f} | {after:.2f} | {self.ratio(which):.2f}"


class Way(NamedTuple):
    """A comparison.

    ``before`` and ``after`` are the functions to measure. ``ground`` is a folder in memory or on
    disk for root filesystems.
    """

    name: str
    before: Callable[[Case, Path], Times]
    after: Callable[[Case, Path], Times]
    ground: Ground


def ways(pair: tuple[Side, Side], memory: Ground, disk: Ground) -> list[Way]:
    before, after = pair
    alone = (partial(side.called, how="apply alone") for side in pair)
    return [
        Way("called, in memory", before.called, after.called, memory),
        Way("called, on disk", before.called, after.called, disk),
        Way("process, on disk", before.run, after.run, disk),
        Way(ALONE, *alone, memory),
        Way(PLAIN, partial(after.called, how="plainly"), after.called, memory),
    ]


def measure(case: Case, chosen: list[Way], rounds: int) -> dict[str, Series]:
    found = {way.name: Series() for way in chosen}
    for number in range(rounds):
        for way in chosen:
            times = {}
            for side in ("before", "after") if number % 2 else ("after", "before"):
                with way.ground.fresh(case) as top:
                    times[side] = getattr(way, side)(case, top)
            found[way.name].rounds.append((times["before"], times["after"]))
    return found


def table(rows: dict[str, dict[str, Series]], files: dict[str, int]) -> str:
    """Return a table with the median time of each side in milliseconds, and the ratio of after to before."""
    lines = [
        "| image | files | way | before ms | after ms | ratio | processor: before ms | after ms | ratio |",
        "|---|--:|---|" + "--:|" * 6,
    ]
    lines += [
        f"| {image} | {files[image]} | {way} | {series.text('clock')} | {series.text('processor')} |"
        for image, row in rows.items()
        for way, series in row.items()
    ]
    return "\n".join(lines) + "\n"


def summary(rows: dict[str, dict[str, Series]]) -> tuple[str, bool]:
    """Return the median ratio of each comparison over all images, and whether all limits were kept."""
    lines, kept = ["| all images, median | ratio | processor: ratio |", "|---|--:|--:|"], True
    for way in next(iter(rows.values())):
        clock, processor = (
            statistics.median(row[way].ratio(which) for row in rows.values()) for which in Times._fields
        )
        kept = kept and (way in NO_LIMIT or clock <= LIMIT)
        lines.append(f"| {way} | {clock:.2f} | {processor:.2f} |")
    return "\n".join(lines) + "\n", kept


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench hardening",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("revision", nargs="?", default=REVISION, help="what to compare with (%(default).7s)")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args(arguments)
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    rows, files = {}, {}
    with (
        tempfile.TemporaryDirectory(prefix="templater-bench.", dir=shared) as in_memory,
        tempfile.TemporaryDirectory(prefix="templater-bench.") as on_disk,
        sides(options.revision) as pair,
    ):
        memory, disk = Ground(Path(in_memory)), Ground(Path(on_disk))
        chosen = ways(pair, memory, disk)
        for case in SAMPLES:
            files[case.image] = compare(case, pair, memory)
            measure(case, chosen, 2)  # everything imported, every cache warm
            rows[case.image] = measure(case, chosen, options.rounds)
    said, kept = summary(rows)
    sys.stdout.write(
        f"Python {sys.version.split()[0]}, {options.revision:.7} and now, {options.rounds} rounds\n\n"
    )
    sys.stdout.write(
        f"{table(rows, files)}\n{said}\nthe limit is {LIMIT}: {'kept' if kept else 'NOT KEPT'}\n"
    )
    return 0 if kept else 1
