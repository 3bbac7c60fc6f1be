"""Make random mutants of the program, and report which mutants the tests notice.

    python -m tests.mutation --seed 1 --count 120 [--below hooks] [--without serving] [--map map.jsonl] [--jobs 2]

A mutant is a change at one place of the program. The same seed gives the same mutants. Each parallel job has
a copy of the repository, and writes one mutant after the other into its copy. For each mutant, the job runs
tests in this order, until a test fails:

1. the tests with the name of the mutant's module
2. the tests of the module's folder
3. all fast tests

``tests.mutation.coverage_map`` records a map of the lines that each test runs. With ``--map``, only two kinds
of tests run: tests that run a line of the mutant, and tests that start other processes.

A mutant survives if no test fails. Then a test is missing, or the change has no observable effect. A person
must decide which of the two is true.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from .mutants import Mutant, sample

ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns("__pycache__", ".git", ".*_cache", "*.egg-info", "dist", "build")

#: A mutant may mount, exchange the root directory or kill everything. As root it runs in namespaces of its own.
PRIVATE = (
    ["unshare", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child"] if os.geteuid() == 0 else []
)

#: tests besides tests/unit/FOLDER that concern a folder of the package
NEAR = {
    "batch": ("tests/attacks/test_time_in_total.py",),
    "checks": ("tests/checks",),
    "cli": ("tests/cli",),
    "hooks": ("tests/attacks/test_hook_input.py", "tests/attacks/test_annotations.py", "tests/cli/test_sessions.py"),
    "pongo2": ("tests/test_vectors.py",),
    "rootfs": ("tests/property/test_rootfs_laws.py", "tests/attacks/test_targets.py"),
    "writing": ("tests/faults/test_faults.py", "tests/unit/startup"),
}  # fmt: skip


class CoverageMap:
    """A map of the tests that run each line of the program, and a list of the tests that start processes."""

    def __init__(self, path: Path) -> None:
        self.tests: list[str] = []
        self.starting: list[str] = []
        self.lines: dict[str, dict[int, array[int]]] = {}
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                found = json.loads(line)
                self.tests.append(found["test"])
                if found["starts"]:
                    self.starting.append(found["test"])
                for name, numbers in found["lines"].items():
                    of_file = self.lines.setdefault(name, {})
                    for each in numbers:
                        of_file.setdefault(each, array("i")).append(number)

    def of(self, mutant: Mutant) -> list[str]:
        """Return the tests that run a line of the mutant.

        If fewer than two tests run these lines, only the import of the file may run them. Then return all
        tests that run any line of the file.
        """
        lines = self.lines.get(str(mutant.path), {})
        chosen = {number for each in mutant.lines for number in lines.get(each, ())}
        if len(chosen) < 2:
            chosen = {number for numbers in lines.values() for number in numbers}
        return [self.tests[number] for number in sorted(chosen)]


def near(mutant: Mutant) -> list[str]:
    """Return the files with tests of the mutant's module, then the folders with tests of its package."""
    folder = mutant.path.parts[1].removesuffix(".py")
    named = sorted(ROOT.glob(f"tests/**/test_{mutant.path.stem.strip('_')}.py"))
    own = [str(path.relative_to(ROOT)) for path in named]
    names = (*own, f"tests/unit/{folder}", *NEAR.get(folder, ()))
    return [name for name in names if (ROOT / name).exists()]


def rounds(mutant: Mutant, covering: CoverageMap | None, only_near: bool) -> Iterator[list[str]]:
    """Yield lists of tests to run. The first lists have the tests that probably notice the mutant."""
    names = near(mutant)
    if covering is None:
        yield from ([name] for name in names)
        if not only_near:
            yield ["tests"]
        return
    waiting = covering.of(mutant)
    for name in names:
        yield [test for test in waiting if test.startswith(name)]
        waiting = [test for test in waiting if not test.startswith(name)]
    if only_near:
        return
    yield waiting
    yield [test for test in covering.starting if test not in set(covering.of(mutant))]


def judge(mutant: Mutant, tree: Path, chosen: Iterator[list[str]], timeout: float) -> str:
    """Run the tests with a mutant. Return "killed by TEST", "timeout" or "survived".

    A timeout also means that a test has noticed the mutant.
    """
    file = tree / mutant.path
    original = file.read_bytes()
    forget_compiled(file, tree)
    file.write_text(mutant.source)
    try:
        for tests in chosen:
            if tests:
                (tree / "chosen.txt").write_text("\n".join(tests))
                words = ["-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=line"]
                environ = {
                    "PYTHONPATH": str(tree),
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME": str(tree),
                }
                try:
                    done = subprocess.run(
                        [*PRIVATE, sys.executable, *words, "@chosen.txt"],
                        cwd=tree, env=environ, capture_output=True, encoding="utf-8", errors="replace",
                        timeout=timeout, check=False,
                    )  # fmt: skip
                except subprocess.TimeoutExpired:
                    return "timeout"
                if done.returncode not in (0, 5):  # 5: no test was chosen
                    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
                    return f"killed by {failed[0] if failed else 'an error before the tests'}"
        return "survived"
    finally:
        forget_compiled(file, tree)
        file.write_bytes(original)


def forget_compiled(file: Path, tree: Path) -> None:
    """Remove the compiled code of a file.

    Python does not recompile a file if its size and its modification time in seconds are unchanged. Two
    mutants can have the same size and time.
    """
    for compiled in (
        *file.parent.glob(f"__pycache__/{file.stem}.*"),
        *tree.glob("templater/__pycache__/hook.*"),
    ):
        compiled.unlink()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--below", default="", help="only files with this in their path")
    parser.add_argument("--without", action="append", default=[], help="no files with this in their path")
    parser.add_argument("--map", type=lambda name: CoverageMap(Path(name)), help="the tests of each line")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each run of tests")
    parser.add_argument("--near", action="store_true", help="run only the tests that mirror the folder")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for background processes
    chosen = sample(ROOT / "templater", options.seed, options.count, options.below, options.without)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    counts: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory(prefix="templater-mutants.") as folder,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        os.chmod(folder, 0o755)  # tests run programs as other users
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            trees.put(shutil.copytree(ROOT, Path(folder, str(number)), ignore=IGNORED, symlinks=True))

        def verdict_of(mutant: Mutant) -> str:
            tree = trees.get()
            try:
                return judge(mutant, tree, rounds(mutant, options.map, options.near), options.timeout)
            finally:
                trees.put(tree)

        for mutant, verdict in zip(chosen, pool.map(verdict_of, chosen), strict=True):
            word = verdict.split()[0]
            counts[word] = counts.get(word, 0) + 1
            print(f"{word:9} {mutant}{verdict.removeprefix(word)}", flush=True)
    print(json.dumps({"seed": options.seed, **counts}))
    return 1 if counts.get("survived") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
