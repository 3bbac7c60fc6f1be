"""Make mutants of the program by a seed, and say which of them the tests notice.

    python -m tests.mutation --seed 1 --count 120 [--below hooks] [--jobs 2] [--timeout 300]

Each mutant lives in a copy of the tree, so several runs can go on at once. The tests that mirror the mutant's
folder run first, then all fast tests. A mutant that no test notices has survived: a hole, unless the change
has no effect that anything outside could observe, which a person has to say.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .mutants import Mutant, sample

ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns("__pycache__", ".git", ".*_cache", "*.egg-info", "dist", "build")

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


def rounds(mutant: Mutant) -> Iterator[list[str]]:
    """The tests to run, the likeliest first."""
    folder = mutant.path.parts[1].removesuffix(".py")
    near = [f"tests/unit/{folder}", f"tests/unit/test_{folder}.py", *NEAR.get(folder, ())]
    existing = [name for name in near if (ROOT / name).exists()]
    if existing:
        yield existing
    yield ["tests"]


def judge(mutant: Mutant, timeout: float, *, near: bool = False) -> str:
    """Return ``killed``, ``timeout`` (killed as well) or ``survived``; ``near`` leaves the last round out."""
    with tempfile.TemporaryDirectory(prefix="templater-mutant.") as name:
        tree = Path(name) / "tree"
        shutil.copytree(ROOT, tree, ignore=IGNORED, symlinks=True)
        (tree / mutant.path).write_text(mutant.source)
        for tests in [*rounds(mutant)][: 1 if near else None]:
            words = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
            environ = {"PYTHONPATH": str(tree), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": name}
            try:
                done = subprocess.run(
                    words, cwd=tree, env=environ, capture_output=True, timeout=timeout, check=False
                )
            except subprocess.TimeoutExpired:
                return "timeout"
            if done.returncode not in (0, 5):  # 5: no test was chosen
                return "killed"
    return "survived"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--below", default="", help="only files with this in their path")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each run of tests")
    parser.add_argument("--near", action="store_true", help="run only the tests that mirror the folder")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args(arguments)
    chosen = sample(ROOT / "templater", options.seed, options.count, options.below)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    counts: dict[str, int] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, verdict in zip(
            chosen,
            pool.map(lambda each: judge(each, options.timeout, near=options.near), chosen),
            strict=True,
        ):
            counts[verdict] = counts.get(verdict, 0) + 1
            print(f"{verdict:9} {mutant}", flush=True)
    print(json.dumps({"seed": options.seed, **counts}))
    return 1 if counts.get("survived") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
