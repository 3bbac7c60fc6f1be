"""python -m tests.faults [named] [walk] [journal] [in-place] [many] [shifted] [btrfs] [overlay] [hook]: print calls, faults and outcomes."""

import sys
from collections import Counter, defaultdict

from tests.faults.injection import FAULTS, Bench, Outcome, available

OPTIONS = ("named", "walk", "journal", "in-place", "many", "shifted", "btrfs", "overlay", "hook")


def table(outcomes: list[Outcome]) -> str:
    """Return one line for each kind of call and fault: the number of calls and their outcomes."""
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        groups[outcome.call.name, outcome.fault][outcome.text] += 1
    lines = [f"{'call':<10} {'fault':<8} outcome (times)"]
    for (call, fault), texts in groups.items():
        for text, times in sorted(texts.items()):
            lines.append(f"{call:<10} {fault:<8} {text} ({times})")
    return "\n".join(lines)


def main(options: list[str]) -> int:
    unknown = [option for option in options if option not in OPTIONS]
    why = f"unknown: {unknown[0]}; there are {', '.join(OPTIONS)}" if unknown else available()
    if why:
        print(why, file=sys.stderr)
        return 2
    with Bench(tuple(options)) as bench:
        outcomes = list(bench.experiments(FAULTS))
    print(table(outcomes))
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    for outcome in wrong:
        print(f"{outcome.call} {outcome.fault}: {outcome.text}")
    print(f"{len(outcomes)} faults injected, {len(wrong)} outcomes wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
