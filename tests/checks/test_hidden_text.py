"""Text and names of an image that a terminal or an editor does not show."""

import pytest

from tests.checks.builders import an_image, observed, rules

CHECK = "hidden-text"
RULE = rules("/etc/motd: {when: [start], template: t}")
SEQUENCE = "a terminal sequence"
IN_LINE = "a carriage return or backspace in a line"
ORDER = "a character that reverses the order of other characters"
FAR = "text behind more than 200 spaces"
INVISIBLE = "invisible characters"


@pytest.mark.parametrize(
    ("text", "severity", "what", "column"),
    [
        ("a\x1b[8mevil", "medium", SEQUENCE, 2),
        ("\x1b[0;8mevil", "medium", SEQUENCE, 1),
        ("\x1b[8;31mevil", "medium", SEQUENCE, 1),
        ("\x1b[08mevil", "medium", SEQUENCE, 1),
        ("\x1b[38;5;1;8mevil", "medium", SEQUENCE, 1),
        ("\x1b[38:5:1;8mevil", "medium", SEQUENCE, 1),
        ("\x1b[30;40mevil", "medium", SEQUENCE, 1),
        ("\x1b[30m\x1b[40mevil", "medium", SEQUENCE, 6),
        ("\x1b[97;48;5;15mevil", "medium", SEQUENCE, 1),
        ("\x1b[38;2;1;2;3;48;2;1;2;3mevil", "medium", SEQUENCE, 1),
        ("\x1b[38:2::1:2:3;48:2:1:2:3mevil", "medium", SEQUENCE, 1),
        ("\x1b[" + "1" * 201 + "m", "medium", SEQUENCE, 1),
        ("\x1b[1A\x1b[2K", "medium", SEQUENCE, 1),
        ("\x1b]0;title\x07", "medium", SEQUENCE, 1),
        ("\x9b8m", "medium", SEQUENCE, 1),
        ("evil\rgood\n", "medium", IN_LINE, 4),
        ("evil\b\b\b\bgood", "medium", IN_LINE, 5),
        ("a \u202e b", "medium", ORDER, 3),
        ("a \u2067 b", "medium", ORDER, 3),
        ("evil\r\r# good\n", "medium", IN_LINE, 4),
        ("\x90evil\x9c", "medium", SEQUENCE, 1),
        ("good \x8dbad", "medium", SEQUENCE, 6),
        ("\x1b[38;5;16;40mevil", "medium", SEQUENCE, 1),
        ("\x1b[38;5;232;48;5;233mevil", "medium", SEQUENCE, 1),
        ("\x1b[38;2;0;0;0;48;2;0;0;15mevil", "medium", SEQUENCE, 1),
        ("\x1b[38;2;0;0;0;40mevil", "medium", SEQUENCE, 1),
        ("good" + " " * 200 + "evil", "medium", FAR, 5),
        (" " * 200 + "evil", "medium", FAR, 1),
        ("good" + "\u00a0" * 201 + "evil", "medium", FAR, 5),
        ("good" + "\t" * 25 + "evil", "medium", FAR, 5),
        ("good" + "\u3000" * 100 + "evil", "medium", FAR, 5),
        ("good" + "\u2800" * 200 + "evil", "medium", FAR, 5),
        ("good" + "\u3164" * 100 + "evil", "medium", FAR, 5),
        ("good" + " " * 199 + "\t" + " " * 199 + "evil", "medium", FAR, 5),
        ("a\u2062b", "low", INVISIBLE, 2),
        ("a\U000e0165b", "low", INVISIBLE, 2),
        ("a\u200c\u200c\u200c\u200cb", "low", INVISIBLE, 2),
        ("a\u200bb", "low", INVISIBLE, 2),
        ("a\ufeffb", "low", INVISIBLE, 2),
        ("a\U000e0041b", "low", INVISIBLE, 2),
    ],
)
def test_a_text_is_found_if_it_hides_other_text(text, severity, what, column):
    message = f"the file contains {what}, so the screen may not show its real text"
    assert observed(CHECK, an_image(RULE, {"t": text})) == [
        (severity, f"image/templates/t:1:{column}", message)
    ]
    if (
        not text.startswith(" ")
        and "\r" not in text
        and "\b" not in text
        and "\x1b" not in text
        and not set("\x8d\x90\x9b") & set(text)
    ):
        assert observed(CHECK, an_image(f"# {text}\n{RULE}")) == [
            (severity, f"image/metadata.yaml:1:{column + 2}", message)
        ]


@pytest.mark.parametrize("line", ["\n", "\r\n", " \t\n"])
def test_a_text_after_many_empty_lines_is_found(line):
    message = (
        "the file contains text after more than 200 empty lines, so the screen may not show its real text"
    )
    found = [("low", "image/templates/t:2:1", message)]
    assert observed(CHECK, an_image(RULE, {"t": "good\n" + line * 200 + "evil\n"})) == found


@pytest.mark.parametrize(
    "text",
    ["", "a\r\nb\r\n", "a\r\r\n", "a\r", "\x1b[1;31mred\x1b[0m", "\x1b[38;5;8mgrey", "\x1b[1;48;5;8m",
     "\x1b[38;2;8;8;8m", "\x1b[38:5:8m", "\x1b[58;5;8m", "\x1b[30mx\x1b[0;40my", "\x1b[31;49m\x1b[39;41m", "\x1b[38;48m",
     "\x1b[" + "9" * 200 + "m", "a\r\n\r\n" * 201 + "b", "\ufeffa", "a\u200db", "\u05d0\u200f", "a" + " " * 300, " " * 199 + "a", "a" + "\t" * 24 + "b",
     "a\x85b", "\u05d0\u200c\u200d\u05d0", "\x1b[38;2;0;0;0;48;2;0;0;16ma", "\x1b[38;5;9;48;5;300ma", "\x1b[38;9;48;5;1ma",
     "a" + "\n" * 200 + "b", "a" + "\n" * 300],
)  # fmt: skip
def test_ordinary_text_has_no_finding(text):
    assert observed(CHECK, an_image(RULE, {"t": text})) == []


def test_control_characters_in_properties_and_template_names_are_found():
    """A real Incus 6.0.4 printed control characters in properties and names on the operator's terminal."""
    metadata = RULE + 'properties: {os: "a\\u202eb", "k\\e[8m": x, description: "a\\nb\\tc\\r\\nd"}\n'
    assert observed(CHECK, an_image(metadata, {"t": "", "a\x1b[8m.tpl": ""})) == [
        ("medium", "image/metadata.yaml:5:18", "the property 'os: a\\u202eb' has control characters, which clients print"),
        ("medium", "image/metadata.yaml:5:40", "the property 'k\\x1b[8m: x' has control characters, which clients print"),
        (
            "medium", "templates/a\\x1b[8m.tpl",
            "the name of the template 'a\\x1b[8m.tpl' has control characters, which clients print",
        ),
    ]  # fmt: skip
