"""Text that is safe to show on a terminal."""

from templater.model.unprintable_characters import printable_lines


def test_control_characters_except_newlines_and_tabs_are_escaped():
    assert printable_lines("a\x1bb\nc\td\n") == "a\\x1bb\nc\td\n"
