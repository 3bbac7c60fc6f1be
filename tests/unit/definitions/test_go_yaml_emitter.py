"""Texts and the order of keys, as Go's yaml.v2 writes them."""

import io
import itertools

import pytest
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from templater.definitions.go_yaml_emitter import KEY_ORDER, GoEmitter
from templater.definitions.metadata_text import _events

LONG = "\a" + "x" * 85
SHOWN = '"\\a' + "x" * 85
ORDER = [
    "", ".1", ".2", ".a", "1", "2", "a!10", "a/0001", "a/002", "a/3", "a/10", "a/11", "a/0012", "a/100", "a~10",
    "ab/1", "b/1", "b/01", "b/2", "b/02", "b/3", "b/03", "b1", "b01", "b3", "c2.10", "c10.2", "d1", "d7", "d7abc",
    "d12", "d12a",
]  # fmt: skip


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
def test_a_quoted_text_is_wrapped_at_spaces_and_escaped(text, written):
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


def text_event(text):
    return ScalarEvent(None, None, (True, True), text)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ([text_event("k")], "k: v\n"),
        ([text_event("")], "'': v\n"),
        ([text_event("k" * 128)], f"{'k' * 128}: v\n"),
        ([text_event("k" * 129)], f"? {'k' * 129}\n: v\n"),
        ([text_event("\u00e9" * 64)], f"{'é' * 64}: v\n"),
        ([text_event("\u00e9" * 65)], f"? {'é' * 65}\n: v\n"),
        ([text_event("a\nb")], "? 'a\n\n  b'\n: v\n"),
        (
            [SequenceStartEvent(None, None, True, flow_style=False), text_event("a"), SequenceEndEvent()],
            "? - a\n: v\n",
        ),
    ],
)
def test_long_or_multiline_keys_get_a_question_mark(key, written):
    stream = io.StringIO()
    emitter = GoEmitter(stream, allow_unicode=True)
    mapping = MappingStartEvent(None, None, True, flow_style=False)
    for event in (
        StreamStartEvent(), DocumentStartEvent(explicit=False), mapping, *key, text_event("v"),
        MappingEndEvent(), DocumentEndEvent(explicit=False), StreamEndEvent(),
    ):  # fmt: skip
        emitter.emit(event)
    assert stream.getvalue() == written


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("k", "1e3\u2029", "k: '1e3\u2029'"),
        ("k", "\u2028\u2028", "k: '\u2028\u2028'"),
        ("k", "\u2028a\u2028b", "k: '\u2028  a\u2028  b'"),
        ("\u2028", "a", "? '\u2028'\n: a"),
        ("k", "a\x85", 'k: "a\\N"'),
        ("k", "\x85\n---\n@", 'k: "\\N\\n---\\n@"'),
        ("@\r", "a", '? "@\\r"\n: a'),
        ("k", "\ufeff-0 é", 'k: "\\uFEFF\\x2D\\x30\\x20\\xE9"'),
        ("k", "\n", "k: |2+\n"),
        ("k", "a\n\n", "k: |+\n  a\n"),
        ("k", "a\u2028\nb", "k: |-\n  a\u2028\n  b"),
        ("k", "a:\u2028", "k: 'a:\u2028'"),
        ("k", "<<", "k: <<"),
        ("k", "a'b: c", "k: 'a''b: c'"),
    ],
)
def test_special_characters_have_the_same_form_as_in_go(key, value, written):
    """The texts come from yaml.v2 2.4.0, which gave the same texts for 40,000 random keys and values."""
    stream = io.StringIO()
    emitter = GoEmitter(stream, allow_unicode=True)
    events = list(_events({key: value}))
    for event in (
        StreamStartEvent(), DocumentStartEvent(explicit=False), *events, DocumentEndEvent(explicit=False),
        StreamEndEvent(),
    ):  # fmt: skip
        emitter.emit(event)
    assert stream.getvalue() == f"{written}\n"


def test_each_pair_of_keys_has_the_order_of_yaml_v2():
    for first, second in itertools.combinations(ORDER, 2):
        assert sorted([first, second], key=KEY_ORDER) == [first, second]
        assert sorted([second, first], key=KEY_ORDER) == [first, second]
    assert sorted(ORDER, key=KEY_ORDER) == ORDER


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a1", "a9223372036854775807"),
        ("a9223372036854775808", "a1"),  # the number is negative in 64 bits
        ("a36893488147419103232", "a1"),  # and this one is 0
        ("a9", "a10"),
        ("a20", "a100"),
        ("a0", "a00"),
        ("z", "\u00e9"),
        ("a-", "ab"),
        ("x" * 500 + "1", "x" * 500 + "2"),
        ("1" * 69 + "0", "1" * 70),
    ],
)
def test_long_keys_and_keys_with_large_numbers_are_sorted(first, second):
    for keys in ([first, second], [second, first]):
        assert sorted(keys, key=KEY_ORDER) == [first, second]
