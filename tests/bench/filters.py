"""The time for each byte in each filter: measured with the real pongo2, and assumed by `audit`.

`audit` assumes two nanoseconds for each unit of work. A ratio above 1 means that `audit` assumes too little
time.
"""

import argparse
import os
from time import perf_counter

from templater.checks.filter_cost_bounds import FILTERS, cost_of_filter
from templater.model.source import Source
from templater.pongo2.syntax import tree
from templater.pongo2.syntax.tokens import Token, Unit
from tests.differential.oracle import Oracle, program_for

#: nanoseconds for each unit of work
UNIT = 2.0
TEXTS = ("ab,;", "a b ", "<b>", "a\n", "&'\"<", "a.de ", "é😀", "1.2 ")
CONSTANTS = {
    "cut": "a",
    "default": "x",
    "default_if_none": "x",
    "divisibleby": "3",
    "get_digit": "3",
    "add": "x",
    "length_is": "3",
    "split": ",",
    "yesno": "a,b,c",
    "pluralize": "a,b",
}
OTHERS = {
    "center": "2000",
    "ljust": "2000",
    "slice": "1:",
    "stringformat": "%q",
    "truncatechars": "900",
    "truncatewords": "900",
    "removetags": "b",
    "wordwrap": "2",
    "urlizetrunc": "9",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench filters", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="calls of a filter (%(default)s)")
    options = parser.parse_args(arguments)
    os.environ["GOMAXPROCS"] = "1"
    print("| filter | ns for a byte | assumed | ratio |\n|---|--:|--:|--:|")
    with Oracle(program_for("v4")) as oracle:

        def seconds(template: str, text: str) -> float:
            request = {
                "template": "{% set u = config.u %}{% for a in config.l %}" + template + "{% endfor %}",
                "context": {"trigger": "", "path": "", "instance": {}, "devices": {}, "properties": {},
                            "config": {"u": text, "l": "x" * options.rounds}},
                "mode": "incus", "dialect": "v4", "options": {}, "seconds": 30,
            }  # fmt: skip
            best = float("inf")
            for _ in range(3):
                start = perf_counter()
                list(oracle.ask([request]))
                best = min(best, perf_counter() - start)
            return best

        for name in sorted({*FILTERS, *OTHERS}):
            argument = CONSTANTS.get(name, OTHERS.get(name))
            worst = 0.0
            for each in TEXTS:
                text = (each * 1000)[:1000]
                used = f"|{name}" + (f":'{argument}'" if argument else "")
                took = seconds("{{ u" + used + "|length }}", text) - seconds("{{ u|length }}", text)
                worst = max(worst, took / options.rounds / len(text.encode()) * 1e9)
            token = Token("identifier", name, 0, 0, Unit(Source("t", b"")))
            use = tree.FilterUse(token, tree.Literal(token, argument) if argument else None)
            assumed = cost_of_filter(use).weight * UNIT
            print(f"| {name} | {worst:.1f} | {assumed:.0f} | {worst / assumed:.2f} |")
    return 0
