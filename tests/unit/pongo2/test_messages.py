"""The message, the position and the hint of each error at render time."""

import pytest

from templater import pongo2
from templater.model.errors import InputError, LimitError, RenderError, TemplaterError
from templater.model.source import Source
from templater.pongo2.dialect import V6
from templater.pongo2.render_state import Limits
from templater.pongo2.syntax.hints import render_hint
from tests.unit.pongo2.memory_loader import MemoryLoader

LOOPS = "{% for i in a %}{% for j in a %}{% for k in a %}x{% endfor %}{% endfor %}{% endfor %}"
TOO_MANY_STEPS = "a loop runs too often, or filters process large values too often"
LONG = "x" * 100_000
#: the template, the value of "a", limits, the error and the start of its position, the message, the hint
FAILURES = [
    ("{% include a %}", "", {}, RenderError, 3, "filename for 'include'-tag evaluated to an empty string", ""),
    ("{% include a %}", "n", {}, RenderError, 3, "unable to resolve template", ""),
    (LOOPS, "x" * 100, {"steps": 1000}, LimitError, 44, "the template takes more than 1000 steps", TOO_MANY_STEPS),
    ("{{ a|upper }}", LONG, {"steps": 10}, LimitError, 5, "the template takes more than 10 steps", TOO_MANY_STEPS),
    ("{{ a|ljust:9999999 }}", "x", {}, LimitError, 5, "the template builds a value of 9999998 characters, more than the limit of 4194304", ""),
    ("{% for i in a %}x{% endfor %}", LONG, {"seconds": -1.0}, LimitError, 12, "the template runs longer than -1 seconds", "--limit template-time=5m allows five minutes"),
    ("{% for i in a %}" + "x" * 20 + "{% endfor %}", "x" * 100, {"output": 100}, LimitError, 12, "the template prints more than 100 characters", ""),
    ("{{ a }}", "\ud800", {}, InputError, None, "a text of the context contains a lone surrogate", ""),
    ("{{ a() }}", 1, {}, RenderError, 3, "'a' is not a function (it is int)", ""),
    ("{{ a.b.c }}", 1, {}, RenderError, 3, "can't access a field by name on type int (variable a.b.c)", "only maps have members; strings and numbers do not"),
    ("{{ 1 / 0 }}", 1, {}, RenderError, 3, "runtime error: integer divide by zero", ""),
    ("{{ -a }}", "x", {}, RenderError, 4, "negative sign on a non-number expression", ""),
    ("{{ a|date:'2006' }}", 1, {}, RenderError, 5, "filter input argument must be of type 'time.Time'", ""),
    ("{{ a|slice:'1' }}", "abc", {}, RenderError, 5, "slice string must have the format 'from:to' [from/to can be omitted, but the ':' is required]", ""),
    ("{{ a|yesno:'1,2,3,4' }}", "abc", {}, RenderError, 5, "you cannot pass more than 3 options to the 'yesno'-filter (got: '1,2,3,4')", ""),
    ("{{ a|pluralize:'a,b,c' }}", 3, {}, RenderError, 5, "you cannot pass more than 2 arguments to filter 'pluralize'", ""),
    ("{% macro f(a) %}{% endmacro %}{{ f(1,2) }}", 1, {}, RenderError, 3, "macro 'f' called with too many arguments (2 instead of 1)", ""),
    ("{% macro f(a) %}{{ f(1) }}{% endmacro %}{{ f(1) }}", 1, {}, LimitError, 19, "more than 100 macro calls and includes are nested", "a macro that calls itself needs a condition to stop"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "value", "limits", "error", "start", "message", "hint"),
    FAILURES,
    ids=[f"{case[0][:40]}-{number}" for number, case in enumerate(FAILURES)],
)
def test_a_failed_render_gives_a_message_and_a_hint(template, value, limits, error, start, message, hint):
    loader = MemoryLoader({})
    bounds = Limits(**limits) if limits else None
    compiled = pongo2.compile(Source("t", template), V6, mode="plain", loader=loader, limits=bounds)
    with pytest.raises(TemplaterError) as caught:
        compiled.render({"a": value})
    assert type(caught.value) is error
    assert (caught.value.span and caught.value.span.start) == start
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_an_overlong_template_gives_a_message_and_a_hint():
    pongo2.compile("x" * 9, V6, mode="plain", limits=Limits(source=9))
    with pytest.raises(LimitError) as long:
        pongo2.compile("x" * 10, V6, mode="plain", limits=Limits(source=9))
    assert str(long.value) == "<template>:1:1: the template is longer than 9 characters"
    assert long.value.hint == "--limit template=32MiB allows 32 MiB"
    with pytest.raises(InputError) as half:
        pongo2.compile("a\ud800", V6, mode="plain")
    assert str(half.value) == "<template>:1:2: the template contains a lone surrogate"


@pytest.mark.parametrize("value", [{1}, 1j, object])
def test_a_python_value_without_a_go_type_gives_a_type_error(value):
    with pytest.raises(TypeError, match=f"^a template can't use a value of the type {type(value).__name__}$"):
        pongo2.compile("{{ a }}", V6, mode="plain").render({"a": value})


def test_the_error_about_the_total_time_has_a_hint():
    error = Limits(total=2.5).late()
    assert error.message == "rendering all templates together takes longer than 2.5 seconds"
    assert error.hint == "find the slow template, or allow ten minutes with --limit time=10m"


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("function input argument count (2) of 'config_get' must be equal to the calling argument count (1)", "config_get takes a key and a default"),
        ("function input argument count (2) of 'devices.Contains' must be equal to the calling argument count (1)", ""),
        ("function input argument 0 of 'config_get' must be of type string", ""),
        ("can't access a field by name on type string", "only maps have members; strings and numbers do not"),
        ("can't access an index on type int", "only maps have members; strings and numbers do not"),
    ],
)  # fmt: skip
def test_the_render_hint_depends_on_the_error_message(message, hint):
    assert render_hint(message) == hint
