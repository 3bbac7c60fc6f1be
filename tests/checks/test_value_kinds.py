"""The kinds of values that the check ``runaway`` expects are those that templates compute."""

from __future__ import annotations

from typing import Any

import pytest

from templater import pongo2
from templater.checks.value_kinds import LIST, MAP, MISSING, NUMBER, TEXT, ValueKinds
from templater.model.errors import TemplaterError
from templater.model.source import Source
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import library_for
from templater.pongo2.names_read import nodes
from templater.pongo2.parse_with_includes import Compilation
from templater.pongo2.syntax import tree
from templater.pongo2.values import VALUE, Function
from tests.sampling import some_fast

KINDS = {str: TEXT, int: NUMBER, float: NUMBER, type(None): MISSING, list: LIST, dict: MAP}
VALUES = ("'a b'", "''", "5", "1.5", "true", "nosuch", "config", "'ab'|make_list", "''|make_list|slice:'1:'")
ARGUMENTS = ("", ":1", ":'a'", ":'1:'", ":nosuch", ":config")


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
