"""Each hostile template ends with one limit error, in little time and memory. No real depth hits a limit."""

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from templater import pongo2
from templater.model.errors import LimitError, TemplaterError, TemplateSyntaxError
from templater.pongo2.dialect import V4, V6
from templater.pongo2.render_state import Limits

ROOT = Path(__file__).parents[3]
SECONDS = 2.0
MEGABYTES = 200

MACRO = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"
MUTUAL = "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}"
LOOP = '{% for a in "x"|ljust:1000 %}'
END = "{% endfor %}"
SPACES = '{% set s = " "|ljust:4000000 %}'

#: this template of 100 MB is made when it is needed, because a large process forks slowly
HUGE = "a template of 100 MB"
BOMBS = {
    "a macro that calls itself": MACRO,
    "macros that call each other": MUTUAL,
    "a macro that calls itself twice": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "a macro that calls itself in a loop": (
        '{% macro f(n) %}{% for x in "aaaaaaaaaa" %}{{ f(n - 1) }}{% endfor %}{% endmacro %}{{ f(9) }}'
    ),
    "a billion rounds": f"{LOOP}{LOOP.replace('a', 'b')}{LOOP.replace('a', 'c')}.{END}{END}{END}",
    "rounds of a block": LOOP * 3
    + '{% block b %}{{ "a b c d e f"|title|urlize|wordcount }}{% endblock %}'
    + END * 3,
    "a billion silent rounds": LOOP * 3 + "{% set y = 1 %}" + END * 3,
    "rounds of heavy filters": LOOP * 3 + '{{ "a b c d e f"|title|urlize|wordcount }}' + END * 3,
    "a loop over a long string": '{% for x in "x"|ljust:4000000 %}{{ x }}{{ x }}{{ x }}{% endfor %}',
    "a loop over lorem": "{% filter upper %}{% lorem 3000 b %}{% endfilter %}" * 9,
    "ljust": '{{ "x"|ljust:200000000 }}',
    "center": '{{ "x"|center:400000000 }}',
    "many times ljust": '{{ "x"|ljust:4000000 }}' * 100,
    "many kept values": "".join(f'{{% set a{n} = "é"|ljust:4000000 %}}' for n in range(100)),
    "many kept lists": '{% set a = "é"|ljust:4000000 %}'
    + "".join(f"{{% set a{n} = a|make_list %}}" for n in range(100)),
    "wide characters": '{% set a = "😀"|ljust:4000000 %}{{ a }}{{ a }}{{ a }}',
    "stringformat, allowed width": '{{ 1|stringformat:"%999999d" }}' * 50,
    "lorem": "{% lorem 100000000 w %}",
    "random lorem": "{% lorem 100000000 w random %}",
    "doubling by add": '{% set x = "x" %}' + LOOP + "{% set x = x|add:x %}" + END,
    "doubling by +": '{% set x = "x" %}' + LOOP + "{% set x = x + x %}" + END + "{{ x }}",
    "doubling by a macro": (
        '{% macro f(n, t) %}{% if n %}{{ f(n - 1, t + t) }}{% else %}{{ t }}{% endif %}{% endmacro %}{{ f(60, "x") }}'
    ),
    "doubling by filter blocks": "{% filter ljust:2000000 %}" * 50 + "x" + "{% endfilter %}" * 50,
    "make_list": '{{ "x"|ljust:4000000|make_list|join:"abcdefgh" }}',
    "split": '{{ "x"|ljust:4000000|split:""|join:", " }}',
    "linenumbers": '{% set x = "x"|ljust:4000000 %}' + "{{ x|linenumbers|wordwrap:1 }}" * 20,
    "removetags of a long string": SPACES + '{{ s|removetags:"a" }}' * 60,
    "title of a long string": SPACES + "{{ s|title|length }}" * 60,
    "make_list of a long string": SPACES + "{{ s|make_list|length }}" * 60,
    "a format that is long": SPACES + "{{ 1|stringformat:s }}" * 60,
    "cut of a long string": SPACES + '{{ s|cut:" " }}' * 2_800,
    "yesno of a long string": '{% set s = ",,"|ljust:4000000 %}' + "{{ 1|yesno:s }}" * 600,
    "a long string in a long string": SPACES + "{% if s in s %}{% endif %}" * 1_400,
    "comparing long strings": SPACES
    + '{% set t = " "|ljust:4000000 %}'
    + "{% if s == t %}{% endif %}" * 1_400,
    "adding long strings": SPACES + "{{ s - s }}" * 2_800,
    "joining a long list": '{% set l = "."|ljust:200000|split:" " %}' + "{{ l|join }}" * 2_800,
    "searching a long list": '{% set l = "."|ljust:60000|split:" " %}' + '{{ "x" in l }}' * 2_800,
    "escaping a long string": '{% set s = "<"|ljust:1000000 %}' + "{{ s }}" * 2_800,
    "a long string that changes": SPACES
    + "{% for x in one %}{% ifchanged s %}{% endifchanged %}{% endfor %}" * 1_400,
    "bytes of a long string": '{% set s = "é"|ljust:4000000 %}' + "{{ s.3999999 }}" * 2_800,
    "brackets": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "conditions": "{% if 1 %}" * 100_000,
    "loops": "{% for x in l %}" * 100_000,
    "alternating operators": "{{ " + "1 == -(" * 50_000 + " }}",
    "powers": "{{ 1" + "^1" * 100_000 + " }}",
    "sums": "{{ 1" + "+1" * 100_000 + " }}",
    "ors": "{{ 1" + " or 0 and 1" * 100_000 + " }}",
    "a path": "{{ a" + ".b" * 100_000 + " }}",
    "calls": "{{ " + "f(" * 100_000 + " }}",
    "arguments": "{{ f(" + "1," * 100_000 + ") }}",
    "subscripts": "{{ " + "a[" * 100_000 + " }}",
    "filters": "{{ 1" + "|upper" * 100_000 + " }}",
    "a hundred thousand tags": "{% if n %}{{ n|upper }}{% endif %}" * 100_000,
    HUGE: "x",
}

#: the same without a limit error: they end by themselves, in time
HARMLESS = {
    "removetags with many names": '{% set s = "<"|ljust:1000|cut:"x" %}'
    + ('{{ s|removetags:"' + "a," * 500 + '" }}') * 1_000,
    "rjust": '{{ "x"|rjust:200000000 }}',
    "stringformat": '{{ 1|stringformat:"%9999999999d" }}',
    "cut of everything": '{% set x = "x"|ljust:4000000 %}' + '{{ x|cut:" "|upper|title|escape }}' * 9,
    "sums in brackets": "{{ " + "(" * 900 + "1" + "+1)" * 900 + " }}",
    "a power": "{{ 9^999999 }}",
    "huge integers": '{{ "abc"|slice:"-9999999999:9999999999" }}{{ 9223372036854775807 + 1 }}',
    "spaceless, many opening": "{% spaceless %}" + "<" * 100_000 + "{% endspaceless %}",
    "spaceless, many gaps": "{% spaceless %}" + "<a> " * 50_000 + "{% endspaceless %}",
    "spaceless, closing": "{% spaceless %}" + "> <" * 50_000 + "{% endspaceless %}",
    "striptags": '{{ "<"|ljust:1000000|striptags }}{{ x|striptags|length }}',
    "removetags": '{{ x|removetags:"a,b,c"|length }}',
    "urlize": "{{ x|urlize|length }}",
    "truncatewords_html": "{{ x|truncatewords_html:100000|length }}",
    "a long line": "x" * 1_400_000 + "{{ 1 }}",
    "elifs": "{% if n == 0 %}" + "".join(f"{{% elif n == {n} %}}{n}" for n in range(2500)) + "{% endif %}",
    "many names": "".join(f"{{{{ a{n} }}}}" for n in range(5000)),
    "fifteen hundred tags": "{% if n %}{{ n|upper }}{% endif %}" * 1_500,
}

Detonate = Callable[[str, str], tuple[str, float, int]]

#: a program that forks a process for each line of JSON, and prints the kind of result, the seconds and the
#: megabytes
PARENT = """
import json, os, sys, time
from templater import pongo2
from templater.model.errors import LimitError, TemplaterError
from templater.pongo2.dialect import DIALECTS
pongo2.compile("{{ 1|add:2 }}").render({})
def peak():
    lines = open("/proc/self/status").read().split("\\n")
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
def detonate(source, dialect):
    started = time.process_time()
    kind = "output"
    try:
        template = pongo2.compile(source, DIALECTS[dialect], mode="plain")
        template.render({"l": ["a"], "n": 7, "x": "<a <b " * 20000 + "www.a.b@" * 20000})
    except TemplaterError as error:
        kind = error.kind
        assert len(str(error)) < 1000
    print(kind, time.process_time() - started, peak(), flush=True)
while line := sys.stdin.readline():
    if pid := os.fork():
        del line
        status = os.waitpid(pid, 0)[1]
        if status:
            print("died", status, 0, flush=True)
    else:
        source, dialect = json.loads(line)
        del line
        detonate(source, dialect)
        sys.exit()
"""


@pytest.fixture(scope="module")
def detonate() -> Iterator[Detonate]:
    """Return a function that gives a bomb's kind of result, seconds of processor time and peak in megabytes.

    Each bomb has a process of its own.
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdin and parent.stdout
    into, out = parent.stdin, parent.stdout

    def ask(source: str, dialect: str) -> tuple[str, float, int]:
        into.write(json.dumps([source, dialect]) + "\n")
        into.flush()
        poll = select.poll()  # select.select accepts no descriptor above 1,023
        poll.register(out, select.POLLIN)
        assert poll.poll(60_000)
        kind, seconds, megabytes = out.readline().split()
        return kind, float(seconds), int(megabytes)

    yield ask
    parent.kill()
    parent.communicate()


#: each of these takes a third of a second or more, so only the slow tests run it
LONG = {
    "cut of a long string", "searching a long list", "adding long strings", "a loop over a long string",
    "rounds of heavy filters", "escaping a long string", "bytes of a long string", "comparing long strings",
    HUGE, "a macro that calls itself twice", "joining a long list", "ors", "rounds of a block",
    "removetags with many names", "many names", "cut of everything", "elifs", "fifteen hundred tags",
}  # fmt: skip
BOMB_CASES = [
    pytest.param(
        bomb,
        dialect,
        marks=pytest.mark.slow if dialect == "v6" or bomb in LONG else (),
        id=f"{bomb}-{dialect}",
    )
    for bomb in BOMBS
    for dialect in ("v4", "v6")
]


@pytest.mark.slow
@pytest.mark.parametrize(("bomb", "dialect"), BOMB_CASES)
def test_attack_40_41_42_44_46_an_unbounded_template_hits_its_limit(
    detonate: Detonate, bomb: str, dialect: str
) -> None:
    kind, seconds, megabytes = detonate(BOMBS[bomb] * (100_000_000 if bomb == HUGE else 1), dialect)
    only_v6 = bomb in ("doubling by +", "doubling by a macro", "subscripts")
    assert kind == "limit" or (dialect == "v4" and only_v6)
    assert seconds < SECONDS
    assert megabytes < MEGABYTES + (200 if bomb == HUGE else 0)


@pytest.mark.parametrize(
    "bomb", [pytest.param(bomb, marks=pytest.mark.slow if bomb in LONG else ()) for bomb in HARMLESS]
)
def test_attack_42_43_47_a_slow_template_ends_within_the_time_limit(detonate: Detonate, bomb: str) -> None:
    kind, seconds, megabytes = detonate(HARMLESS[bomb], "v6")
    assert kind in ("output", "render")
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


def nest(opening: str, closing: str, depth: int, inner: str = "x") -> str:
    return opening * depth + inner + closing * depth


DEEP = {
    "if": ("{% if t %}", "{% endif %}"),
    "for": ("{% for x in one %}", "{% endfor %}"),
    "for with forloop": ("{% for x in one %}{{ forloop.Last|cut:'True' }}", "{% endfor %}"),
    "with": ("{% with y=t %}", "{% endwith %}"),
    "filter": ("{% filter lower %}", "{% endfilter %}"),
    "autoescape": ("{% autoescape on %}", "{% endautoescape %}"),
    "spaceless": ("{% spaceless %}", "{% endspaceless %}"),
    "ifchanged": ("{% ifchanged %}", "{% endifchanged %}"),
    "mixed": (
        "{% if t %}{% for x in one %}{% with y=t %}{% autoescape off %}",
        "{% endautoescape %}{% endwith %}{% endfor %}{% endif %}",
    ),
}


@pytest.mark.parametrize("spans", [False, True], ids=["plain", "with spans"])
@pytest.mark.parametrize("name", list(DEEP))
def test_template_blocks_can_be_nested_a_hundred_levels_deep(name: str, spans: bool) -> None:
    opening, closing = DEEP[name]
    depth = 98 // opening.count("{%")
    inner = "{{ 1 / zero }}" if spans else "x"
    template = pongo2.compile(nest(opening, closing, depth, inner), V6)
    context: dict[str, Any] = {"t": True, "one": ["k"], "zero": 0}
    if not spans:
        assert template.render(context) == "x"
        return
    with pytest.raises(TemplaterError) as raised:
        template.render(context)
    assert raised.value.span is not None
    assert raised.value.span.start == template.source.text.index("1 / zero")


def test_template_expressions_can_be_nested_sixty_levels_deep() -> None:
    def value(text: str) -> str:
        return pongo2.compile("{{ " + text + " }}").render({"n": 1, "t": True})

    assert value(nest("(", ")", 900, "n")) == "1"
    assert value(nest("(", "+n)", 300, "n")) == "301"
    assert value("n" + "+n" * 999) == "1000"
    assert value("n" + "|add:1" * 999) == "1000"
    assert value("t" + " and t" * 999) == "True"
    assert value("n" + " == n" * 50) == "False"
    assert value(nest("-(", ")", 50, "n")) == "1"


def test_a_long_time_layout_counts_toward_the_step_limit() -> None:
    source = '{% now "' + "05 " * 1000 + '" fake %}'
    with pytest.raises(LimitError, match="100 steps"):
        pongo2.compile(source).render({}, limits=Limits(steps=100))


@pytest.mark.parametrize(
    "source", ['{{ "x"|ljust:100 }}', '{% for x in "x"|ljust:100 %}{{ x }}{% endfor %}', "x" * 100]
)
def test_output_as_long_as_the_limit_is_allowed(source: str) -> None:
    compiled = pongo2.compile(source)
    assert len(compiled.render({}, limits=Limits(output=100))) == 100
    with pytest.raises(LimitError):
        compiled.render({}, limits=Limits(output=99))


@pytest.mark.parametrize(
    ("limits", "source", "words"),
    [
        (Limits(steps=100), '{% for x in "x"|ljust:99 %}{{ x }}{% endfor %}', "100 steps"),
        (Limits(output=100), '{{ "x"|ljust:101 }}', "100 characters"),
        (Limits(output=100), '{% for x in "x"|ljust:101 %}{{ x }}{% endfor %}', "100 characters"),
        (Limits(values=5000), '{{ "x"|ljust:4000|upper }}', "5000 characters of values"),
        (Limits(depth=5), MACRO, "more than 5 macro calls"),
        (Limits(seconds=0), '{{ "x"|ljust:5000|cut:"y" }}', "longer than 0 seconds"),
        (Limits(steps=100), '{{ "x"|ljust:2000|cut:"y" }}', "100 steps"),
        (Limits(seconds=0), '{% for x in "x"|ljust:9999 %}{{ x }}{% endfor %}', "longer than 0 seconds"),
    ],
)
def test_a_configured_language_limit_appears_in_the_limit_error(
    limits: Limits, source: str, words: str
) -> None:
    with pytest.raises(LimitError, match=words):
        pongo2.compile(source, limits=limits).render({})
    with pytest.raises(LimitError, match=words):
        pongo2.compile(source).render({}, limits=limits)
    if source is not MACRO:
        pongo2.compile(source).render({})


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("a\nb {{ 1 }", "2:8"),
        ("a {# b", "1:3"),
        ("{% verbatim %} x", "1:1"),
        ("{{ 1 }} {% if %}", "1:12"),
        ("\r\n{{ 1\r\n}}", "2:6"),
        ("\ufeff{% bad %}", "1:5"),
    ],
)
def test_attack_45_an_unfinished_template_construct_is_an_error_at_its_position(
    source: str, place: str
) -> None:
    with pytest.raises(TemplateSyntaxError) as raised:
        pongo2.compile(source)
    assert raised.value.span is not None
    assert f"{raised.value.span.line}:{raised.value.span.column}" == place


@pytest.mark.parametrize("dialect", [V4, V6], ids=["v4", "v6"])
def test_attack_46_a_text_with_invalid_utf8_is_printed_unchanged(dialect: Any) -> None:
    source = b"\xef\xbb\xbf\x00\r\n\xff\xfe{{ x }}\xed\xa0\x80\xc3\xa9"
    text = pongo2.compile(source, dialect).render({"x": "\udcff"})
    assert text.encode("utf-8", "surrogateescape") == source.replace(b"{{ x }}", b"\xff")
