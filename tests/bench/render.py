"""The time for rendering and compiling templates: templater, the real pongo2, Jinja2, Django and minijinja.

The benchmark first checks that all engines render the same bytes. Then the engines take turns for several
rounds, so that a disturbance of the machine affects all of them. For each template and engine, the table
shows the smallest time of all rounds.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

from templater.model.errors import TemplaterError
from templater.pongo2 import compile
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import V4
from tests.differential.oracle import Oracle, Unavailable, program_for

from .cases import CASES, CONTEXT, Case, corpus

Action = Callable[[], Any]
ROUND_NS = 30_000_000  # nanoseconds of one measurement of one engine
BATCHES = 10
#: in the place of a text
FAILS = "(an error)"


class Engine:
    """One template engine. ``prepare`` compiles a case, and returns a function that renders it."""

    def __init__(self, name: str, prepare: "Callable[[Case], Action | None]") -> None:
        self.name = name
        self.prepare = prepare


def templater() -> Engine:
    context = daemon_context(**CONTEXT)

    def prepare(case: Case) -> Action:
        template = compile(case.pongo2, V4, mode="incus")
        return lambda: template.render(context)

    return Engine("templater", prepare)


def config_get(key: str, default: str) -> str:
    value = CONTEXT["config"].get(key)
    return default if value is None else value.rstrip("\r\n")


JINJA_CONTEXT = CONTEXT | {"container": CONTEXT["instance"], "config_get": config_get}
DJANGO_CONTEXT = CONTEXT | {
    "container": CONTEXT["instance"],
    "get": {
        "meta_data": config_get("user.meta-data", ""),
        "network_config": config_get("user.network-config", ""),
        "network_mode": config_get("user.network_mode", ""),
        "domain": config_get("user.domain", "localdomain"),
        "dns": config_get("user.dns", ""),
        "dns_servers": config_get("user.dns", "").split(","),
    },
}


def jinja2() -> Engine:
    from jinja2 import Environment

    environment = Environment(keep_trailing_newline=True)

    def prepare(case: Case) -> Action | None:
        if case.jinja is None:
            return None
        template = environment.from_string(case.jinja)
        return lambda: template.render(JINJA_CONTEXT)

    return Engine("jinja2", prepare)


def minijinja() -> Engine:
    from minijinja import Environment

    environment = Environment(keep_trailing_newline=True)

    def prepare(case: Case) -> Action | None:
        if case.jinja is None:
            return None
        name = f"{case.name}.txt"
        environment.add_template(name, case.jinja)
        return lambda: environment.render_template(name, **JINJA_CONTEXT)

    return Engine("minijinja", prepare)


def django() -> Engine:
    import django
    from django.conf import settings
    from django.template import Context
    from django.template import Engine as DjangoEngine

    if not settings.configured:
        settings.configure()
        django.setup()
    engine = DjangoEngine(autoescape=False)

    def prepare(case: Case) -> Action | None:
        if case.django is None:
            return None
        template = engine.from_string(case.django)
        return lambda: template.render(Context(DJANGO_CONTEXT, autoescape=False))

    return Engine("django", prepare)


def engines() -> list[Engine]:
    """Return the installed engines, templater first."""
    found = []
    for make in (templater, jinja2, django, minijinja):
        try:
            found.append(make())
        except ImportError as missing:
            sys.stderr.write(f"without {make.__name__}: {missing}\n")
    return found


def best(action: Action, rounds_ns: int = ROUND_NS) -> float:
    """Return the nanoseconds of one call of ``action``.

    Divide a round of calls into batches, and use the batch with the smallest time.
    """
    start = perf_counter_ns()
    action()
    calls = max(1, rounds_ns // BATCHES // max(1, perf_counter_ns() - start))
    times = []
    for _ in range(BATCHES):
        start = perf_counter_ns()
        for _ in range(calls):
            action()
        times.append((perf_counter_ns() - start) / calls)
    return min(times)


class Go:
    """The real pongo2 in a Go program. The program measures two times for each template:

    * the time to parse and execute the template, as the daemons do for each file
    * the time to execute the parsed template
    """

    def __init__(self) -> None:
        self.program = program_for("v4")

    def texts(self, cases: Iterable[Case]) -> dict[str, str]:
        with Oracle(self.program) as oracle:
            answers = oracle.ask([self.request(case) for case in cases])
            return {case.name: answer.get("output", FAILS) for case, answer in zip(cases, answers)}

    def times(self, cases: list[Case], calls: int) -> dict[str, tuple[float, float]]:
        with Oracle(self.program, "-bench", str(calls), "-timeout", "60s") as oracle:
            answers = list(oracle.ask([self.request(case) for case in cases]))
        return {
            case.name: (answer.get("parse_execute_ns", 0), answer.get("execute_ns", 0))
            for case, answer in zip(cases, answers, strict=True)
        }

    @staticmethod
    def request(case: Case) -> dict[str, Any]:
        return {"template": case.pongo2, "context": CONTEXT, "mode": "incus"}


class Comparison:
    """The measured times of all engines for the same cases."""

    def __init__(self, cases: list[Case], rounds: int) -> None:
        self.engines = engines()
        self.rounds = rounds
        try:
            self.go: Go | None = Go()
        except Unavailable as missing:
            sys.stderr.write(f"without pongo2 itself: {missing}\n")
            self.go = None
        self.cases, self.wrong = self.equal(cases)
        self.render: dict[tuple[str, str], float] = {}
        self.compile: dict[tuple[str, str], float] = {}

    def equal(self, cases: list[Case]) -> tuple[list[Case], list[str]]:
        """Return the cases that all engines render to the same text, and the differences in all other cases.

        Omit each case that fails in every engine.
        """
        wanted = self.go.texts(cases) if self.go else {}
        fine, wrong = [], []
        for case in cases:
            texts = {
                engine.name: text for engine in self.engines if (text := self.text(engine, case)) is not None
            }
            texts |= {"pongo2": wanted[case.name]} if wanted else {}
            if set(texts.values()) == {FAILS}:
                sys.stderr.write(f"an error to everybody, left out: {case.name}\n")
            elif len(set(texts.values())) == 1:
                fine.append(case)
            else:
                wrong.append(f"{case.name}: {json.dumps(texts, indent=2)}")
        return fine, wrong

    @staticmethod
    def text(engine: Engine, case: Case) -> str | None:
        try:
            action = engine.prepare(case)
            return None if action is None else str(action())
        except TemplaterError:
            return FAILS

    def measure(self) -> None:
        for _ in range(self.rounds):
            for case in self.cases:
                for engine in self.engines:
                    action = engine.prepare(case)
                    if action is not None:
                        self.keep(self.render, case, engine.name, best(action))
                        self.keep(
                            self.compile, case, engine.name, best(lambda e=engine, c=case: e.prepare(c))
                        )
            for name, (both, execute) in (self.go.times(self.cases, 2000) if self.go else {}).items():
                case = next(case for case in self.cases if case.name == name)
                self.keep(self.render, case, "pongo2 parse+execute", both)
                self.keep(self.render, case, "pongo2 execute", execute)
                self.keep(self.compile, case, "pongo2 parse", both - execute)

    @staticmethod
    def keep(times: dict[tuple[str, str], float], case: Case, engine: str, time: float) -> None:
        times[case.name, engine] = min(time, times.get((case.name, engine), time))


def table(title: str, times: dict[tuple[str, str], float], cases: list[Case]) -> str:
    """Return a table of times in microseconds, with the ratio of each other engine's time to templater's."""
    columns = list(dict.fromkeys(engine for _, engine in times))
    lines = [f"\n{title}", f"{'':28}" + "".join(f"{name:>22}" for name in columns)]
    for case in cases:
        ours = times[case.name, "templater"]
        cells = [f"{ours / 1000:19.2f} µs"]
        for name in columns[1:]:
            other = times.get((case.name, name))
            cells.append(f"{'-':>22}" if other is None else f"{other / 1000:10.2f} µs {other / ours:6.2f} x")
        lines.append(f"{case.name[-27:]:28}" + "".join(cells))
    lines.append(f"{'all together':28}" + "".join(total(times, cases, name) for name in columns))
    lines.append(f"{'least and most':28}" + "".join(span(times, cases, name) for name in columns))
    return "\n".join(lines)


def total(times: dict[tuple[str, str], float], cases: list[Case], engine: str) -> str:
    """Return the engine's total time, and its ratio to templater's total for the same cases."""
    had = [case for case in cases if (case.name, engine) in times]
    ours = sum(times[case.name, "templater"] for case in had)
    theirs = sum(times[case.name, engine] for case in had)
    if engine == "templater":
        return f"{ours / 1000:19.2f} µs"
    return f"{theirs / 1000:10.2f} µs {theirs / ours:6.2f} x"


def span(times: dict[tuple[str, str], float], cases: list[Case], engine: str) -> str:
    """Return the smallest and the largest ratio of the engine's time to templater's."""
    if engine == "templater":
        return f"{'':>22}"
    ratios = [
        times[case.name, engine] / times[case.name, "templater"]
        for case in cases
        if (case.name, engine) in times
    ]
    return f"{min(ratios):10.2f} x  {max(ratios):6.2f} x "


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench render", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--corpus", action="store_true", help="every template of the corpus instead")
    options = parser.parse_args(arguments)
    comparison = Comparison(corpus() if options.corpus else list(CASES), options.rounds)
    for wrong in comparison.wrong:
        sys.stderr.write(f"not the same bytes, left out: {wrong}\n")
    comparison.measure()
    sys.stdout.write(f"{len(comparison.cases)} templates, the same bytes from every engine\n")
    sys.stdout.write(table("render (warm)", comparison.render, comparison.cases) + "\n")
    sys.stdout.write(table("compile", comparison.compile, comparison.cases) + "\n")
    return 1 if comparison.wrong else 0
