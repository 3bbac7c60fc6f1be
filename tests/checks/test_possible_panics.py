"""The search for possible panics needs no render, and knows the kinds of values that templates compute."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from templater import pongo2
from templater.checks.possible_panics import LIST, MAP, MISSING, NUMBER, TEXT, ValueKinds, possible_panic
from templater.model.errors import TemplateError, TemplaterError
from templater.model.source import Source
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import library_for
from templater.pongo2.names_read import nodes
from templater.pongo2.parse_with_includes import Compilation
from templater.pongo2.syntax import tree
from templater.pongo2.values import VALUE, Function, Panic
from tests.sampling import some_fast

VECTORS = Path(__file__).parents[1] / "vectors/found/hidden_panics.jsonl"
#: Templates with a macro that an instance of ``audit`` never calls, because an earlier part of the same
#: expression fails. The recorded instance calls it.
RECORDED = [json.loads(line) for line in VECTORS.read_text().splitlines()]
KEYS = {"v4": "v4", "v6": "v6", "v6.1": "v61"}
KINDS = {str: TEXT, int: NUMBER, float: NUMBER, type(None): MISSING, list: LIST, dict: MAP}
VALUES = ("'a b'", "''", "5", "1.5", "true", "nosuch", "config", "'ab'|make_list", "''|make_list|slice:'1:'")
ARGUMENTS = ("", ":1", ":'a'", ":'1:'", ":nosuch", ":config")


def is_found(template: str, dialect: str) -> bool:
    try:
        document = Compilation(Source("t", template.encode()), DIALECTS[dialect]).parsed()
    except TemplateError:  # pongo2 4 has no subscripts
        return False
    return possible_panic(document) is not None


@pytest.mark.parametrize("vector", RECORDED, ids=lambda vector: vector["id"])
def test_each_recorded_panic_is_found_without_a_render(vector: dict[str, Any]) -> None:
    panics = {dialect for dialect, key in KEYS.items() if vector[key].get("panic")}
    found = {dialect for dialect in DIALECTS if is_found(vector["template"], dialect)}
    assert panics <= found
    assert panics or not found


def _panicking_functions() -> Iterator[tuple[str, str]]:
    """Yield the file and the name of each function of ``templater/pongo2`` that makes a Panic."""
    for path in Path(str(pongo2.__file__)).parent.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Panic":
                around = (each for each in functions if each.lineno <= node.lineno <= (each.end_lineno or 0))
                yield path.name, max(around, key=lambda each: each.lineno).name


@pytest.mark.slow
def test_each_panicking_function_has_a_recorded_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new function of the template language that panics also needs a rule of the search."""
    reached = set()

    def remember(panic: Panic, message: str) -> None:
        code = sys._getframe(1).f_code
        reached.add((Path(code.co_filename).name, code.co_name))
        panic.message = message

    monkeypatch.setattr(Panic, "__init__", remember)
    for vector in RECORDED:
        context = vector["context"]
        names = ("trigger", "path", "instance", "config", "devices", "properties")
        daemon = daemon_context(*map(context.get, names))
        for dialect, key in KEYS.items():
            if vector[key].get("panic"):
                with pytest.raises(TemplateError):
                    pongo2.compile(vector["template"], DIALECTS[dialect], mode="incus").render(
                        context | daemon
                    )
    assert reached == set(_panicking_functions())


@pytest.mark.slow
@pytest.mark.parametrize("dialect", some_fast(reversed(DIALECTS), every=3))
def test_each_filter_gives_a_value_of_an_expected_kind(dialect: str) -> None:
    found: list[Any] = []
    context = {"config": {"a": "b"}, "probe": Function(found.append, (VALUE,))}
    tried = set()
    for name in sorted(library_for(DIALECTS[dialect]).filters):
        for value in VALUES:
            for argument in ARGUMENTS:
                text = f"{{{{ probe({value}|{name}{argument}) }}}}"
                found.clear()
                try:
                    pongo2.compile(text, DIALECTS[dialect], mode="plain").render(context)
                except TemplaterError:
                    continue
                document = Compilation(Source("t", text.encode()), DIALECTS[dialect]).parsed()
                (call,) = (each for each in nodes(document) if getattr(each, "name", "") == "probe")
                assert isinstance(call, tree.Path) and call.parts[0].arguments
                (kind,) = {kind for base, kind in KINDS.items() if isinstance(found[0], base)}
                assert kind in ValueKinds(document).of(call.parts[0].arguments[0]), (text, found[0])
                tried.add(name)
    assert set(library_for(DIALECTS[dialect]).filters) - tried <= {"date", "time"}
