"""pongo2's messages in templater's style. The messages are pongo2's own (see the recorded vectors)."""

import pytest

from templater import pongo2
from templater.model.errors import TemplateSyntaxError
from templater.model.source import Source
from templater.pongo2.syntax.tokens import Unit, plain_words


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("Closing bracket expected after expression", "closing bracket expected after expression"),
        ("This keyword is not allowed here.", "this keyword is not allowed here"),
        ("EOF in a tag", "EOF in a tag"),
        ("strconv.Atoi: value out of range", "strconv.Atoi: value out of range"),
        ("", ""),
    ],
)
def test_template_error_messages_begin_with_a_lower_case_letter(message, wanted):
    assert plain_words(message) == wanted


def test_a_syntax_error_also_has_the_message_of_pongo2():
    with pytest.raises(TemplateSyntaxError) as caught:
        pongo2.compile("{{ (1 }}", mode="plain")
    assert caught.value.message == "closing bracket expected after expression"
    assert "] Closing bracket expected after expression" in caught.value.pongo2_error


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("text", ["", "a", "é\n\U0001f600b\udcff\n\nc", "\n", "a\n"])
def test_the_position_in_a_pongo2_error_counts_lines_and_bytes(text, wrapped):
    unit = Unit(Source("t", text), wrapped=wrapped)
    for offset in range(len(unit.text) + 1):
        lines = unit.text[:offset].split("\n")
        column = len(lines[-1].encode("utf-8", "surrogateescape")) + 1
        assert unit.position(offset) == (len(lines), column)
