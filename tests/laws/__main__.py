"""`python -m tests.laws`: run all growth checks, and print the number of subjects and the worst factors."""

import importlib
import sys

import pytest


def main(arguments: list[str]) -> int:
    code = pytest.main(["-m", "law", "-n", "0", *(arguments or ["tests"])])
    measured = importlib.import_module("tests.laws.growth").MEASURED
    if not measured:
        return int(code)
    slowest = max(measured, key=lambda growth: growth.time_factor)
    largest = max(measured, key=lambda growth: growth.memory_factor)
    sys.stdout.write(f"{len(measured)} subjects\nmost time:   {slowest}\nmost memory: {largest}\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
