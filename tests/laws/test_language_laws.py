"""Tests that filters, operators, tags and Go functions take time and memory in proportion to the input.

The tests find their subjects themselves:

* filters and tags in the library of each dialect
* operators in the tables of the grammar
* Go functions by their signatures

A new tag also needs a template in `TAGS`. A test in test_lists.py fails without this template.
"""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest

from templater import pongo2
from templater.model.errors import InputError, TemplaterError
from templater.pongo2 import golang
from templater.pongo2.codegen import jinja2_nodes as nodes
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import library_for
from templater.pongo2.golang.regexp import Pattern
from templater.pongo2.render_state import DEFAULT_LIMITS, Limits, Render
from templater.pongo2.syntax import parser
from templater.pongo2.values import Failure, Panic, TooLarge
from tests.laws.growth import Action, check, peak, seconds

pytestmark = pytest.mark.slow

#: texts that filters and functions are tried with, as many times as needed
PIECES = (
    "a", "é", "😀", "\udc80", "<", "<a>", "</a>", "<b <", "> <", " ", "a ", "\n", "a\n", "1", '"', "'", "\\", "&",
    "a.com ", "a@b.cd ", "www.", "a,", ":", "%", "%d", "%[", "[", "2006", "_", "\x1c", "(", "a|", "{{", "0x1p", ".",
)  # fmt: skip
#: the values on the other side of an operator
OTHERS: tuple[Any, ...] = ("b", "", ",", "%q", ":3", 100_000)
#: Filters whose work is a product of the lengths of value and argument. The render counts this work. In v4,
#: join puts the argument between all characters, so its output has the length of the product.
PRODUCTS = ("removetags", "join")
ERRORS = (TemplaterError, Failure, Panic, TooLarge, ValueError)
NO_LIMITS = Limits(steps=1 << 60, output=1 << 60, values=1 << 60)
PROGRAM = pongo2.compile("x").program


def text(piece: str, n: int) -> str:
    return piece * max(1, n // len(piece))


def quiet(call: Callable[[], object]) -> Action:
    """Return an action that calls ``call``, and raises InputError instead of each expected error."""

    def action() -> object:
        try:
            return call()
        except ERRORS as error:
            raise InputError(str(error)[:100]) from None

    return action


def slowest(
    makers: list[Callable[[int], Action]], n: int = 2000, count: int = 2
) -> list[Callable[[int], Action]]:
    """Return the ``count`` makers whose actions take longest for the size ``n``."""
    return sorted(makers, key=lambda maker: -seconds(maker, n))[:count]


# --- filters


def filters() -> Iterator[Any]:
    seen = set()
    for dialect in DIALECTS.values():
        for name, function in sorted(library_for(dialect).filters.items()):
            if function not in seen:
                seen.add(function)
                yield pytest.param(function, id=f"{name}-{dialect.name}")


def filter_inputs(function: Callable[..., Any]) -> Iterator[Callable[[int], Action]]:
    def apply(value: Any, argument: Any) -> Action:
        render = Render(PROGRAM, {}, 0.0, 1, DEFAULT_LIMITS)
        first = (render,) if getattr(function, "filter_render", False) else ()
        return quiet(lambda: function(*first, value, argument))

    for piece in PIECES:
        for other in OTHERS:
            yield lambda n, p=piece, o=other: apply(text(p, n), o)  # type: ignore[misc]
        for value in ("a", 1, ["a", "b"]):
            yield lambda n, p=piece, v=value: apply(v, text(p, n))  # type: ignore[misc]
        if not set(function.filter_names) & set(PRODUCTS):  # type: ignore[attr-defined]
            yield lambda n, p=piece: apply(text(p, n), text(p, n))  # type: ignore[misc]
        yield lambda n, p=piece: apply([p] * n, ", ")  # type: ignore[misc]
    yield lambda n: apply(list(range(n)), "%v")


@pytest.mark.parametrize("function", list(filters()))
def test_a_filter_takes_linear_time_in_the_size_of_its_value(function: Callable[..., Any]) -> None:
    for maker in slowest(list(filter_inputs(function))):
        check(maker, largest=1 << 18)


#: parts of arguments that let a filter read its whole value again, and values that are just small enough for slow filters
AGAIN = (
    "%[1]v",
    "%.0[1]v",
    "%[1]x",
    "%.0[1]q",
    "%[1]999v",
    "%[1]999999v",
    "(x*)*,",
    "(((x)))*{9},",
    "(){1000}",
    "x,",
    "a|",
)
VALUES: tuple[Callable[[int], Any], ...] = (
    lambda n: ["x"] * n, lambda n: list(range(n)), lambda n: [[1] * (n // 2)] * 9, lambda n: "x" * (16 * n),
    lambda n: "<x>" * (5 * n), lambda n: {str(i): "x" for i in range(n)},
)  # fmt: skip


@pytest.mark.parametrize("function", list(filters()))
def test_large_filter_inputs_take_little_time_and_memory(
    function: Callable[..., Any],
) -> None:
    """The renderer counts the work of a filter, or the size of a value, before it starts the work."""
    name, dialect = function.filter_names[0], DIALECTS[function.filter_dialects[0]]  # type: ignore[attr-defined]
    template = pongo2.compile(f"{{% set x = a|{name}:b %}}", dialect, mode="plain")
    makers: list[Callable[[int], Action]] = []
    for piece in AGAIN:
        for value in VALUES:
            makers.append(
                lambda n, p=piece, v=value: quiet(  # type: ignore[misc]
                    lambda context={"a": v(n), "b": text(p, n)}: template.render(context)
                )
            )
    for maker in slowest(makers, 500, 4):
        assert seconds(maker, 32_000) < 1.5
        assert peak(maker, 32_000) < 100 << 20


# --- operators

OPERATORS = sorted({*nodes.BINARY, *parser.RELATIONS, *parser.LOGIC, "in"})
UNARY = ["not", "-", "+"]


def rendered(template: str, context: dict[str, Any]) -> Action:
    compiled = pongo2.compile(template, mode="plain")
    return lambda: compiled.render(context, limits=NO_LIMITS)


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_takes_linear_time_in_the_size_of_its_operands(operator: str) -> None:
    template = f"{{% if a {operator} b %}}{{% endif %}}"
    makers: list[Callable[[int], Action]] = []
    for piece in PIECES:
        makers.append(lambda n, p=piece: rendered(template, {"a": text(p, n), "b": text(p, n)}))  # type: ignore[misc]
        makers.append(lambda n, p=piece: rendered(template, {"a": p, "b": text(p, n)}))  # type: ignore[misc]
        makers.append(lambda n, p=piece: rendered(template, {"a": "x", "b": [p] * n}))  # type: ignore[misc]
    makers.append(lambda n: rendered(template, {"a": "x", "b": {str(i): 1 for i in range(n)}}))
    for maker in slowest(makers):
        check(maker, largest=1 << 19)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_chain_of_operators_takes_linear_time(operator: str) -> None:
    expression = f"a {operator} a" if operator in (*parser.RELATIONS, "in", "^") else None
    piece = f"{{{{ {expression} }}}}" if expression else f" {operator} a"

    def maker(n: int) -> Action:
        source = piece * n if expression else f"{{{{ a{piece * n} }}}}"
        return quiet(lambda: pongo2.compile(source).render({"a": 1}))

    check(maker, start=60, largest=4 * (1500 if expression else parser.MAX_CHAIN))


@pytest.mark.parametrize("operator", UNARY)
def test_a_unary_operator_takes_linear_time(operator: str) -> None:
    template = f"{{{{ {operator} a }}}}"
    for maker in slowest([lambda n, p=p: rendered(template, {"a": text(p, n)}) for p in PIECES]):  # type: ignore[misc]
        check(maker, largest=1 << 19)


# --- tags

#: a template for each tag; the tests repeat the template, and let its value ``a`` grow
TAGS = {
    "autoescape": "{% autoescape on %}{{ a }}{% endautoescape %}",
    "block": "{% block bNUMBER %}{{ a }}{% endblock %}",
    "comment": "{% comment %}{{ a }} {% nonsense %} {% endcomment %}",
    "cycle": '{% cycle a "b" as c %}{{ c }}',
    "extends": None,
    "filter": '{% filter upper|cut:"B" %}{{ a }}{% endfilter %}',
    "firstof": '{% firstof none "" a %}',
    "for": "{% for x in a %}{{ x }}{{ forloop.Counter }}{% empty %}-{% endfor %}",
    "if": "{% if none %}x{% elif a %}{{ a }}{% else %}y{% endif %}",
    "ifchanged": "{% ifchanged a %}{{ a }}{% else %}-{% endifchanged %}",
    "ifequal": '{% ifequal a "b" %}{% else %}{{ a }}{% endifequal %}',
    "ifnotequal": '{% ifnotequal a "b" %}{{ a }}{% else %}-{% endifnotequal %}',
    "import": None,
    "include": None,
    "lorem": "{% lorem 3 w %}{{ a }}",
    "macro": "{% macro mNUMBER(x, y=a) %}{{ x }}{{ y }}{% endmacro %}{{ mNUMBER(a) }}",
    "now": '{% now "2006-01-02" fake %}{{ a }}',
    "set": "{% set x = a %}{{ x }}",
    "spaceless": "{% spaceless %}<a> <b>{{ a }}{% endspaceless %}",
    "ssi": None,
    "templatetag": "{% templatetag openblock %}{{ a }}",
    "widthratio": "{% widthratio a 10 100 %}",
    "with": "{% with x=a y=1 %}{{ x }}{{ y }}{% endwith %}",
}


TEMPLATES = [pytest.param(template, id=name) for name, template in TAGS.items() if template]


@pytest.mark.parametrize("template", TEMPLATES)
def test_many_uses_of_a_tag_take_linear_time(template: str) -> None:
    def maker(n: int) -> Action:
        source = "".join(template.replace("NUMBER", str(number)) for number in range(n))
        return quiet(lambda: pongo2.compile(source, mode="plain").render({"a": "b"}, clock=0))

    check(maker, start=40, largest=2000)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_tag_takes_linear_time_in_the_size_of_its_value(template: str) -> None:
    makers: list[Callable[[int], Action]] = []
    for piece in PIECES:
        makers.append(lambda n, p=piece: rendered(template.replace("NUMBER", ""), {"a": text(p, n)}))  # type: ignore[misc]
    makers.append(lambda n: rendered(template.replace("NUMBER", ""), {"a": ["x"] * n}))
    makers.append(lambda n: rendered(template.replace("NUMBER", ""), {"a": {str(i): "x" for i in range(n)}}))
    for maker in slowest(makers):
        check(maker, largest=1 << 18)


@pytest.mark.parametrize(
    "piece", [*PIECES, "{# #}", "{{ a }}", "{{ 'a' }}", "{% if a %}", "{{-", "-}}", "%}", "{% verbatim %} "]
)
def test_the_lexer_takes_linear_time(piece: str) -> None:
    def compiled(source: str) -> Action:
        return quiet(lambda: pongo2.compile(source, mode="plain"))

    check(lambda n: compiled(text(piece, n)), largest=1 << 19)
    check(lambda n: compiled("{{ '" + text(piece.replace("'", "") or '"', n)), largest=1 << 19)


# --- Go functions


def golang_functions() -> Iterator[Any]:
    for module in iter_modules(golang.__path__):
        found = import_module(f"{golang.__name__}.{module.name}")
        for name, function in inspect.getmembers(found, inspect.isfunction):
            if function.__module__ == found.__name__ and name[0] != "_":
                yield pytest.param(function, id=f"{module.name}.{name}")
    yield pytest.param(remove_all, id="regexp.Pattern.remove_all")


def remove_all(pattern: str, text: str) -> str:
    return Pattern(pattern).remove_all(text)


def type_name(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).strip("'\"")


SAMPLES: dict[str, Any] = {
    "int": 7,
    "float": 1.5,
    "bool": True,
    "object": 3,
    "Callable[[int], object] | None": None,
}


def arguments(function: Callable[..., Any], name: str, value: str) -> dict[str, Any] | None:
    """Return arguments for a call of ``function``: ``value`` for the parameter ``name``, else samples.

    Return None if a parameter has a type without a sample.
    """
    found: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind = type_name(parameter)
        if parameter.name == name:
            found[name] = value
        elif kind in ("str", "Any"):
            found[parameter.name] = {"form": "%v", "mark": '"', "pattern": "a+b"}.get(parameter.name, "ab")
        elif kind in SAMPLES:
            found[parameter.name] = SAMPLES[kind]
        elif kind == "Time":
            from templater.pongo2.golang.time import FAKE

            found[parameter.name] = FAKE
        else:
            return None
    return found


@pytest.mark.parametrize("function", list(golang_functions()))
def test_the_python_implementation_of_a_go_function_takes_linear_time(function: Callable[..., Any]) -> None:
    makers: list[Callable[[int], Action]] = []
    for parameter in inspect.signature(function).parameters.values():
        if type_name(parameter) not in ("str", "Any", "object"):
            continue
        assert arguments(function, parameter.name, "") is not None, "a type without a sample"
        for piece in PIECES:

            def maker(n: int, name: str = parameter.name, piece: str = piece) -> Action:
                given = arguments(function, name, text(piece, n))
                assert given is not None
                return quiet(lambda: function(**given))

            makers.append(maker)
    for maker in slowest(makers):
        check(maker, largest=1 << 18)
