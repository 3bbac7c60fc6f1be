"""Texts in double quotes, as Go's YAML package writes them."""

import io

import pytest
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    ScalarEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from templater.definitions.go_emitter import GoEmitter

LONG = "\a" + "x" * 85
SHOWN = '"\\a' + "x" * 85


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (f"{LONG} y", f'{SHOWN}\n  y"'),
        (f"{LONG} ", f'{SHOWN} "'),
        (f"{LONG}  y", f'{SHOWN}\n  \\ y"'),
        (f"{LONG} y z", f'{SHOWN}\n  y z"'),
        (f" {LONG}", f'" {SHOWN[1:]}"'),
        ("x" * 70 + " y\a", '"' + "x" * 70 + ' y\\a"'),
        ("\U0001f600\xa0\x85\ufeff\x01\xad\0\t\x7f", '"\\U0001F600\xa0\\N\\uFEFF\\x01\xad\\0\\t\\x7F"'),
    ],
)
def test_a_quoted_text_breaks_at_spaces_and_escapes_unprintable_characters(text, written):
    stream = io.StringIO()
    emitter = GoEmitter(stream, allow_unicode=True)
    for event in (
        StreamStartEvent(),
        DocumentStartEvent(explicit=False),
        ScalarEvent(None, None, (True, True), text, style='"'),
        DocumentEndEvent(explicit=False),
        StreamEndEvent(),
    ):
        emitter.emit(event)
    assert stream.getvalue() == f"{written}\n"
