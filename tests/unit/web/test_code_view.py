"""Lines of code in HTML."""

from templater.model.instance import Instance
from templater.rendering.explain import VALUE, Line, Part
from templater.rendering.origins import Origin
from templater.web.code_view import line, plain_lines, rendered_lines
from templater.web.redaction import Redaction


def test_each_line_of_a_text_has_its_number_and_a_final_newline_begins_no_line():
    one, two = '<span data-n="1" class="l">a\n</span>', '<span data-n="2" class="l">&lt;b&gt;\n</span>'
    assert list(plain_lines("a\n<b>\n")) == list(plain_lines("a\n<b>")) == [one, two]
    assert list(plain_lines("")) == []
    assert list(plain_lines("\n\n")) == [
        '<span data-n="1" class="l">\n</span>',
        '<span data-n="2" class="l">\n</span>',
    ]
    assert line("x", class_="l note") == '<span class="l note">x\n</span>'


def test_several_lines_of_one_secret_value_are_shown_as_one_line():
    redaction = Redaction([Instance("c1", config={"user.password": "hunter2\nhunter3", "user.a": "b"})], "")
    secret, public = (Origin("user.password", "local"),), (Origin("user.a", "local"),)
    lines = [
        Line(number, 1, (Part(text, 1, 1, VALUE, origins, ()),))
        for number, text, origins in (
            (1, "hunter2", secret),
            (2, "hunter3", secret),
            (3, "b", public),
            (4, "x", secret),
        )
    ]
    shown = [str(each) for each in rendered_lines(lines, redaction)]
    assert [f'data-n="{number}"' in each for number, each in zip((1, 3, 4), shown, strict=True)] == [True] * 3
    assert "hunter" not in "".join(shown) and ">b</b>" in shown[1]
