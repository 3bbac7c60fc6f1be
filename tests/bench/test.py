"""``python -m tests.bench test``: the time of `templater test` for many cases."""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from templater.limit_option import Given
from templater.testing.read_tests import read_cases
from templater.testing.run_tests import Session
from templater.testing.tests_folder import Folder

IMAGE = Path(__file__).parents[2] / "sample-images" / "debian-cloud"
GOAL = 5.0  # seconds for 1,000 cases


def many(count: int) -> str:
    """Return the text of a test file with about ``count`` cases.

    Half of the cases come from one test with a matrix. The other half are tests without a matrix.
    """
    names = ", ".join(f"{{name: m{number}}}" for number in range(count // 4))
    lines = [
        "tests:", "- name: matrix", f"  matrix: {{host: [incus, lxd], instance: [{names}]}}", "  expect:",
        "    /etc/hosts: {contains: localhost, matches: '(?m)^127\\.0\\.1\\.1\\s+m\\d+$'}",
        "    /var/lib/cloud/seed/nocloud-net/meta-data: {contains: instance-id, lacks: x-y}",
    ]  # fmt: skip
    for number in range(count - count // 4 * 2):
        lines += [
            f"- name: t{number}", f"  instance: {{name: t{number}}}", f"  config: {{user.number: {number}}}",
            "  expect:", f'    /etc/hostname: {{equals: "t{number}\\n", mode: 0644}}',
            "    /var/lib/cloud/seed/nocloud-net/user-data: {contains: cloud-config}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def measure(count: int, *, coverage: bool = False) -> float:
    with tempfile.TemporaryDirectory() as place:
        image = shutil.copytree(
            IMAGE, Path(place) / "image", ignore=shutil.ignore_patterns("tests"), symlinks=True
        )
        (image / "tests").mkdir()
        (image / "tests" / "many.yaml").write_text(many(count))
        begun = time.perf_counter()
        tests = Folder(str(image / "tests"))
        with Session(str(image), tests, Given(), coverage=coverage) as session:
            outcomes = session.run(read_cases(tests))
        elapsed = time.perf_counter() - begun
    assert len(outcomes) == count
    assert all(outcome.passed for outcome in outcomes), next(each for each in outcomes if not each.passed)
    return elapsed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench test", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    for coverage in (False, True):
        seconds = min(measure(options.cases, coverage=coverage) for _ in range(options.rounds))
        words = " with coverage" if coverage else f" (goal: {GOAL:g} s for 1000)"
        print(f"{options.cases} cases: {seconds:.2f} s{words}")
    return 0
