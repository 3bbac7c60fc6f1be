"""The upper bound of a template's work in a daemon."""

import itertools
import random
from collections import Counter
from collections.abc import Callable

import pytest

from templater.checks import cost_bound
from templater.checks.cost_bound import bound
from templater.checks.filter_cost_bounds import FILTERS as KNOWN
from templater.checks.filter_cost_bounds import NoBoundError
from templater.model.errors import LimitError, TemplaterError
from templater.model.source import Source
from templater.pongo2.compiled_template import Template
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import V6
from templater.pongo2.parse_with_includes import Compilation
from templater.pongo2.render_state import Limits

LONG, KEYS = 30, 4
FILTERS = (
    *sorted(
        set(KNOWN)
        - {
            "add",
            "cut",
            "default",
            "default_if_none",
            "divisibleby",
            "get_digit",
            "length_is",
            "split",
            "yesno",
        }
    ),
    *(
        "add:'xy'",
        "add:s",
        "cut:'a'",
        "default:'abc'",
        "default:s",
        "split:'b'",
        "yesno:'abc,d,e'",
        "get_digit:1",
    ),
    *("center:40", "ljust:40", "rjust:40", "slice:'1:'", "slice:':9'", "truncatechars:9", "truncatewords:2"),
    *("join:'--'", "stringformat:'%q'", "stringformat:'%5s'", "stringformat:'% x'", "floatformat:3"),
    *("removetags:'b,i'", "wordwrap:2", "truncatechars_html:9", "date:'2006'", "urlizetrunc:9"),
)
TEXT = "a b<i>,&\nc='d'|http://x.de"[:LONG].ljust(LONG, "é")
WRONG = "{{ x|nosuchfilter }}"


class Drawn:
    """A random template, which depends only on a seed."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.blocks = itertools.count()
        self.text = "".join(self.statement(2) for _ in range(3))

    def of(self, *choices: str) -> str:
        return self.random.choice(choices)

    def name(self) -> str:
        return self.of(
            "s", "t", "k", "v", "config.a", "config_get('a', s)", "properties.p", "config", "devices.d"
        )

    def value(self) -> str:
        text = self.of(
            self.name(), self.name(), "'text'", "12", "m(s)" if self.random.random() < 0.02 else "u"
        )
        text += "".join("|" + self.of(*FILTERS) for _ in range(self.random.choice((0, 0, 1, 2))))
        return (
            text
            if self.random.random() < 0.8
            else f"{text} {self.of('+', '*', '==', 'and', 'in')} {self.name()}"
        )

    def statement(self, depth: int) -> str:
        tag = self.of("print", "print", "set", "set", "for", *self.tags) if depth else self.of("print", "set")
        if tag == "print":
            return "{{ " + self.value() + " }}"
        if tag == "set":
            return "{% set " + self.of("s", "t", "k") + " = " + self.value() + " %}"
        if tag == "cycle":
            return f"{{% cycle {self.value()} 'b' %}}"
        if tag == "call":
            return "{{ " + self.of("m", "n", "o") + f"({self.value()}) }}}}"
        body = "".join(self.statement(depth - 1) for _ in range(2))
        if tag == "if":
            body += "{% else %}" + self.statement(0)
        return f"{{% {tag}{self.tags[tag]()} %}}{body}{{% end{tag} %}}"

    @property
    def tags(self) -> dict[str, Callable[[], str]]:
        """Return the tags, and functions that return their arguments."""
        return {
            "for": lambda: (
                f" {self.of('k', 'k, v')} in {self.of('config', 'devices', 'devices.d', self.value())}"
            ),
            "if": lambda: f" {self.value()}",
            "with": lambda: f" {self.of('s', 't')}={self.value()}",
            "filter": lambda: f" {self.of(*FILTERS)}",
            "macro": lambda: f" {self.of('m', 'n', 'o')}(s, t=1)",
            "block": lambda: f" b{next(self.blocks)}",
            "autoescape": lambda: " on",
            "spaceless": str,
            "ifchanged": str,
            "cycle": str,
            "call": str,
        }


CONTEXT = daemon_context(
    "start",
    "/etc/a",
    {"name": "c1", "type": "container"},
    dict.fromkeys("abcd", TEXT),
    {key: dict.fromkeys("abcd", TEXT) for key in "defg"},
    {"p": TEXT},
)


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 12))])
def test_rendering_a_random_template_never_exceeds_the_computed_work_bound(part, monkeypatch):
    """templater counts the steps, the characters of all values and of the output."""
    monkeypatch.setattr(cost_bound, "LONG", LONG)
    monkeypatch.setattr(cost_bound, "KEYS", KEYS)
    results = Counter()
    number_of = 500 if part else 100
    for number in range(number_of):
        text = Drawn(f"{part} {number}").text
        compilation = Compilation(Source("t", text.encode()), V6)
        try:
            work, held, _ = bound(compilation.parsed(), cost_bound.Texts(1, LONG, LONG + 1, 6))
        except (NoBoundError, TemplaterError) as error:
            results[type(error).__name__] += 1
            continue
        limits = Limits(steps=work, output=held, values=work)
        try:
            Template(Compilation(Source("t", text.encode()), V6), limits).render(CONTEXT)
            results["rendered"] += 1
        except LimitError as error:
            pytest.fail(f"{error.message} ({work}): {text}")
        except TemplaterError:
            results["failed"] += 1
    assert min(results["rendered"], results["NoBoundError"]) > number_of / 5, results
