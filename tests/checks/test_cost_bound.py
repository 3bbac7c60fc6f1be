"""The upper bound of what a template costs a daemon."""

import random
from collections import Counter

import pytest

from templater.checks import cost_bound
from templater.checks.cost_bound import bound
from templater.checks.filter_costs import FILTERS as KNOWN
from templater.checks.filter_costs import NoBoundError
from templater.model.errors import LimitError, TemplaterError
from templater.model.source import Source
from templater.pongo2.compiled_template import Template
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import V6
from templater.pongo2.render_state import Limits
from templater.pongo2.template_loading import Compilation

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
    """A template that is drawn from a seed."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.blocks = 0
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
        kinds = ["print", "print", "set", "set"]
        kinds += [
            "for",
            "for",
            "if",
            "with",
            "filter",
            "macro",
            "spaceless",
            "cycle",
            "call",
            "block",
            "on",
            "changed",
        ] * (depth > 0)
        kind = self.of(*kinds)
        body = "".join(self.statement(depth - 1) for _ in range(2)) if depth and kind not in kinds[:4] else ""
        if kind == "print":
            return "{{ " + self.value() + " }}"
        if kind == "set":
            return "{% set " + self.of("s", "t", "k") + " = " + self.value() + " %}"
        if kind == "for":
            over = self.of("config", "devices", "devices.d", self.value(), self.value())
            return f"{{% for {self.of('k', 'k, v')} in {over} %}}{body}{{% endfor %}}"
        if kind == "if":
            return f"{{% if {self.value()} %}}{body}{{% else %}}{self.statement(0)}{{% endif %}}"
        if kind == "with":
            return f"{{% with {self.of('s', 't')}={self.value()} %}}{body}{{% endwith %}}"
        if kind == "filter":
            return f"{{% filter {self.of(*FILTERS)} %}}{body}{{% endfilter %}}"
        if kind == "macro":
            return f"{{% macro {self.of('m', 'n', 'o')}(s, t=1) %}}{body}{{% endmacro %}}"
        if kind == "spaceless":
            return f"{{% spaceless %}}{body}{{% endspaceless %}}"
        if kind == "block":
            self.blocks += 1
            return f"{{% block b{self.blocks} %}}{body}{{% endblock %}}"
        if kind == "on":
            return f"{{% autoescape on %}}{body}{{% endautoescape %}}"
        if kind == "changed":
            return f"{{% ifchanged %}}{body}{{% endifchanged %}}"
        if kind == "cycle":
            return f"{{% cycle {self.value()} 'b' %}}"
        return "{{ " + self.of("m", "n", "o") + f"({self.value()}) }}}}"


CONTEXT = daemon_context(
    "start",
    "/etc/a",
    {"name": "c1", "type": "container"},
    dict.fromkeys("abcd", TEXT),
    {key: dict.fromkeys("abcd", TEXT) for key in "defg"},
    {"p": TEXT},
)


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 12))])
def test_no_render_of_a_random_template_does_more_than_the_bound(part, monkeypatch):
    """templater counts the steps, the characters of all values and of the output."""
    monkeypatch.setattr(cost_bound, "LONG", LONG)
    monkeypatch.setattr(cost_bound, "KEYS", KEYS)
    results = Counter()
    number_of = 1500 if part else 300
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
