"""``python -m tests.differential``: differences between pongo2 and templater, found by random templates."""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from . import compare
from .grammar import PROFILES, Example, seeded
from .oracle import Oracle, Unavailable, program_for

FOUND = Path(__file__).parent.parent / "vectors" / "found"


class Run:
    """The counts of one run, and the examples that differ."""

    def __init__(self, oracle: Oracle, dialect: str, profile: str) -> None:
        self.oracle = oracle
        self.profile = profile
        self.dialect = dialect
        self.counts: Counter[str] = Counter()
        self.different: list[Example] = []
        self.wordings: list[tuple[str, str, str]] = []

    def examples(self, seed: int, start: int, count: int) -> None:
        seeds = [seeded(f"{seed}/{start + i}") for i in range(count)]
        examples = [Example(choices, self.profile, self.dialect) for choices in seeds]
        requests = [example.request() for example in examples]
        for example, request, answer in zip(examples, requests, self.oracle.ask(requests), strict=True):
            self.example(example, request, answer)

    def example(self, example: Example, request: dict, answer: dict) -> None:
        other = compare.theirs(answer)
        mine = compare.ours(request)
        self.counts["examples"] += 1
        self.counts["parsed"] += other.get("phase") not in ("parse", "hang", "death")
        self.counts["rendered"] += "output" in other
        self.counts["panics"] += bool(other.get("panic"))
        self.counts["hangs and deaths"] += other.get("phase") in ("hang", "death")
        if "error" in other and not other["panic"] and other["phase"] in ("parse", "execute"):
            self.counts["errors"] += 1
            same = compare.same_text(mine, other)
            self.counts["errors worded the same"] += same
            if not same and "error" in mine:
                self.wordings.append((example.template, other["error"], mine["error"]))
        if compare.agree(mine, other):
            return
        if mine.get("kind") == "limit":  # on purpose: pongo2 has no limits
            self.counts["past our limits"] += 1
        elif "broken" not in mine and compare.unanswered(compare.patiently(self.oracle, request)):
            self.counts["answered by us alone, pongo2 hangs"] += 1
        elif compare.is_random(self.oracle, request):
            self.counts["random in pongo2 itself"] += 1
        elif not compare.differs(self.oracle, request):
            self.counts["differed only under load"] += 1
        else:
            self.counts["differences"] += 1
            self.different.append(example)


def show(oracle: Oracle, example: Example) -> dict:
    """Print a shrunk difference; its vector, for the record."""
    request = example.request()
    (answer,) = oracle.ask([request])
    other = compare.theirs(answer)
    print(f"\n{request['mode']}: {request['template']!r}")
    print("  context:", json.dumps({k: v for k, v in request["context"].items() if k in request["template"]}))
    print("  pongo2: ", shortened(other))
    print("  ours:   ", shortened(compare.ours(request)), flush=True)
    result = {k: answer[k] for k in ("output", "output_b64", "error", "panic") if answer.get(k) is not None}
    return {
        "area": "found", "template": request["template"], "context": request["context"], "mode": request["mode"],
        "options": request["options"], example.dialect: result,
    }  # fmt: skip


def shortened(said: dict) -> str:
    text = str(said)
    return text if len(text) < 2000 else f"{text[:2000]}… ({len(text)} characters)"


def record(vectors: list[dict]) -> None:
    """Append the found differences to the project's vectors, as the oracle recorded them."""
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / "differential.jsonl"
    known = path.read_text().splitlines() if path.exists() else []
    with path.open("a") as file:
        for number, vector in enumerate(vectors, len(known) + 1):
            file.write(json.dumps({"id": f"found-{number:03d}"} | vector) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="number of the first example")
    parser.add_argument("--dialect", choices=("v4", "v6"), default="v4")
    parser.add_argument("--profile", choices=("templates", *PROFILES), default="templates")
    parser.add_argument("--show", type=int, default=10, help="shrink and print so many differences")
    parser.add_argument(
        "--wordings", type=int, default=0, help="print so many errors that are worded differently"
    )
    parser.add_argument("--record", action="store_true", help="append them to tests/vectors/found")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    try:
        program = program_for(options.dialect)
    except Unavailable as error:
        sys.stderr.write(f"no oracle: {error}\n")
        return 2
    began = time.monotonic()
    with Oracle(program) as oracle:
        run = Run(oracle, options.dialect, options.profile)
        for start in range(0, options.examples, 1000):
            run.examples(options.seed, options.start + start, min(1000, options.examples - start))
            if start % 10_000 == 9000:
                sys.stderr.write(f"{dict(run.counts)}\n")
        smallest = [compare.shrunk(oracle, example) for example in run.different[: options.show]]
        vectors = [show(oracle, example) for example in {e.template: e for e in smallest}.values()]
    for template, other, mine in run.wordings[: options.wordings]:
        print(f"\n{template!r}\n  pongo2: {other}\n  ours:   {mine}")
    if options.record:
        record(vectors)
    print(
        f"\n{options.profile}, seed {options.seed}, dialect {options.dialect}, {time.monotonic() - began:.0f} s"
    )
    for name, count in run.counts.items():
        print(f"{count:>9}  {100 * count / run.counts['examples']:5.1f}%  {name}")
    return 1 if run.different else 0


if __name__ == "__main__":
    sys.exit(main())
