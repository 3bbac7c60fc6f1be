"""Lines of code in HTML."""

from templater.web.code_view import line, plain_lines


def test_each_line_of_a_text_has_its_number_and_a_final_newline_begins_no_line():
    one, two = '<span data-n="1" class="l">a\n</span>', '<span data-n="2" class="l">&lt;b&gt;\n</span>'
    assert list(plain_lines("a\n<b>\n")) == list(plain_lines("a\n<b>")) == [one, two]
    assert list(plain_lines("")) == []
    assert list(plain_lines("\n\n")) == [
        '<span data-n="1" class="l">\n</span>',
        '<span data-n="2" class="l">\n</span>',
    ]
    assert line("x", class_="l note") == '<span class="l note">x\n</span>'
