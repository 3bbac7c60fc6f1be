"""The kinds of lines in an error's explanation."""

from templater.model.errors import InputError
from templater.model.source import Source
from templater.reporting.coloured_error_parts import marked_lines


def kinds_and_marks(text):
    return [(kind, line[start:end]) for kind, line, start, end in marked_lines(text)]


def test_an_explanation_has_a_marked_source_line_and_a_hint():
    error = InputError("a\nb", Source("s", "x\nab = 1").span(2, 4), hint="c")
    assert kinds_and_marks(error.explain() + "\n") == [
        ("message", ""), ("message", ""), ("source", "ab"), ("carets", "^^"), ("hint", ""),
    ]  # fmt: skip


def test_only_a_numbered_line_above_carets_is_a_source_line():
    """A message can quote lines that are not source lines."""
    assert kinds_and_marks(" 2 | ab\n 3 | c\na\n   |  ^") == [
        ("message", ""), ("message", ""), ("message", ""), ("carets", "^"),
    ]  # fmt: skip
