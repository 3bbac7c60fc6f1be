"""Conformance: templater answers three thousand templates like the real pongo2.

``TEMPLATER_VECTORS`` names another folder of recordings. Every ``**/*.jsonl`` in it is read, except the
differences of pongo2 7, and templates whose result is random.
"""

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from templater import pongo2
from templater.model.errors import TemplateError, TemplaterError
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import DIALECTS, Dialect

FOLDER = Path(os.environ.get("TEMPLATER_VECTORS") or Path(__file__).parent / "vectors")
FILES = sorted(
    path for path in FOLDER.rglob("*.jsonl") if path.name not in ("v7_diff.jsonl", "nondeterministic.jsonl")
)
RECORDED = {"v4": "v4", "v6": "v6", "v61": "v6.1"}
#: recordings that we do not equal on purpose: (id, dialect) -> why
DIFFERENT: Mapping[tuple[str, str], str] = {}
#: the same for the texts of errors
DIFFERENT_TEXTS: Mapping[tuple[str, str], str] = dict.fromkeys(
    [("loops-and-methods-048", "v4"), ("loops-and-methods-048", "v6")],
    "the recording has no trigger, but a daemon always gives one",
)

pytestmark = pytest.mark.skipif(not FILES and not os.environ.get("CI"), reason=f"no recordings in {FOLDER}")


class Vector:
    """One line of a recording, for one dialect."""

    def __init__(self, line: dict[str, Any], recorded: str) -> None:
        self.id = f"{line['id']} {RECORDED[recorded]}: {line.get('template') or line.get('template_b64')!r}"
        self.key = (line["id"], RECORDED[recorded])
        self.line = line
        self.dialect: Dialect = DIALECTS[RECORDED[recorded]]
        self.result: dict[str, Any] = line[recorded]

    @property
    def template(self) -> str | bytes:
        if "template_b64" in self.line:
            return base64.b64decode(self.line["template_b64"])
        return str(self.line["template"])

    @property
    def context(self) -> dict[str, Any]:
        context: dict[str, Any] = self.line["context"]
        if self.line["mode"] != "incus":
            return context
        names = ("trigger", "path", "instance", "config", "devices", "properties")
        empty: dict[str, Any] = {"trigger": "", "path": ""}
        daemon = daemon_context(*(context.get(name, empty.get(name, {})) for name in names))
        return context | daemon

    def render(self) -> str:
        options = self.line.get("options") or {}
        return pongo2.compile(self.template, self.dialect, mode=self.line["mode"], **options).render(
            self.context
        )

    @property
    def expected(self) -> bytes | None:
        if "output_b64" in self.result:
            return base64.b64decode(self.result["output_b64"])
        return self.result["output"].encode() if "output" in self.result else None

    @property
    def has_error_text(self) -> bool:
        """Return whether pongo2 reported an error instead of a crash."""
        return "error" in self.result and not self.result.get("panic")


def vectors(path: Path, recorded: str) -> list[Vector]:
    lines = (json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip())
    return [Vector(line, recorded) for line in lines if recorded in line]


def groups() -> Iterator[Any]:
    """Return each file and dialect.

    Of visible_v61, which has the same templates for three dialects, the fast tests render those for pongo2 6.1.
    """
    for path in FILES:
        for recorded, dialect in RECORDED.items():
            if vectors(path, recorded):
                slow = path.parent.name == "visible_v61" and recorded != "v61"
                name = f"{path.relative_to(FOLDER)}-{dialect}"
                yield pytest.param((path, recorded), id=name, marks=pytest.mark.slow if slow else ())


def outcome(vector: Vector) -> bytes | TemplaterError:
    try:
        return vector.render().encode("utf-8", "surrogateescape")
    except TemplaterError as error:
        return error


Outcomes = list[tuple[Vector, bytes | TemplaterError]]


@pytest.fixture(scope="module", params=list(groups()))
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    """Return the vectors of a file with their outcomes, rendered once for all tests that look at them."""
    return [(vector, outcome(vector)) for vector in vectors(*request.param)]


def difference(vector: Vector, got: bytes | TemplaterError) -> str:
    """Return how the outcome differs from the recorded one, or an empty string."""
    if vector.expected is None:
        return "" if isinstance(got, TemplateError) else f"{vector.id}\n   no error but {got!r}"
    if isinstance(got, TemplaterError):
        return f"{vector.id}\n   {got!r} but {vector.expected!r}"
    return "" if got == vector.expected else f"{vector.id}\n   {got!r} but {vector.expected!r}"


def assert_known(found: Mapping[tuple[str, str], str], different: Mapping[tuple[str, str], str]) -> None:
    """Check that exactly the known vectors differ; the others have an empty text."""
    wrong = [text for key, text in found.items() if text and key not in different]
    assert not wrong, f"{len(wrong)} of {len(found)} differ\n" + "\n".join(wrong[:20])
    fixed = [key for key, text in found.items() if not text and key in different]
    assert not fixed, f"these are equal now, take them off the list: {fixed}"


def test_every_recorded_template_renders_the_same_as_in_pongo2(outcomes: Outcomes) -> None:
    assert_known({vector.key: difference(vector, got) for vector, got in outcomes}, DIFFERENT)


def errors(outcomes: Outcomes) -> Iterator[tuple[Vector, TemplaterError]]:
    for vector, got in outcomes:
        if vector.has_error_text:
            assert isinstance(got, TemplaterError), vector.id
            yield vector, got


def test_a_template_error_contains_the_recorded_error_text_of_pongo2(outcomes: Outcomes) -> None:
    found = {}
    for vector, got in errors(outcomes):
        text, wanted = getattr(got, "pongo2_error", None), vector.result["error"]
        found[vector.key] = "" if text == wanted else f"{vector.id}\n   {text}\n   {wanted}"
    assert_known(found, DIFFERENT_TEXTS)


POSITION = re.compile(r"Line (\d+) Col (\d+)")


def test_a_template_error_has_the_same_line_number_as_in_pongo2(outcomes: Outcomes) -> None:
    """The innermost position that pongo2 names: where macros wrap errors, that is the cause.

    An unclosed verbatim block is the exception: pongo2 names its end, and templater its beginning.
    """
    wrong = []
    for vector, got in errors(outcomes):
        if "verbatim-tag not closed" in vector.result["error"]:
            continue
        lines = [int(line) for line, _ in POSITION.findall(vector.result["error"])]
        if lines and (got.span is None or got.span.line != lines[-1]):
            wrong.append(f"{vector.id}\n   {got}\n   {vector.result['error']}")
    assert not wrong, "\n".join(wrong[:20])


def test_a_template_error_has_a_position_inside_the_template(outcomes: Outcomes) -> None:
    for vector, got in errors(outcomes):
        if got.span is None:
            assert "clashes with macro" in got.message or "identifier" in got.message, vector.id
            continue
        text = got.span.source.text
        assert 0 <= got.span.start <= got.span.end <= len(text), vector.id
        assert got.explain().startswith(f"<template>:{got.span.line}:{got.span.column}: "), vector.id
        assert got.message and not got.message.endswith("."), vector.id
