"""Text that is safe to show on a terminal."""

from templater.model.unprintable_characters import printable_lines


def test_printed_text_keeps_line_endings_and_tabs_but_escapes_other_control_characters():
    assert printable_lines("a\x1bb\nc\td\n") == "a\\x1bb\nc\td\n"
