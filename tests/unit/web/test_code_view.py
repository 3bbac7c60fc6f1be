"""Lines of code in HTML."""

import re
from html import escape

import pytest

from templater.model.instance import Instance
from templater.model.source import Source
from templater.rendering.origins import NOTHING, TEXT, VALUE, Line, Origin, Part
from templater.reporting.explanation import named
from templater.web.code_view import code, joined, line, patch_block, plain_lines, rendered_lines, source_lines
from templater.web.redaction import Redaction


def test_every_line_of_a_text_is_numbered():
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


ORIGIN = Origin("user.a", "local")
OTHER = Origin("user.b", "profile", "p")


def part(text, *, kind=VALUE, origins=(), because=()):
    return Part(text, 1, 1, kind, origins, because)


def shown(*lines):
    """Return the lines of a file without their attributes, except the classes of notes."""
    found = rendered_lines([Line(n, 1, parts) for n, parts in enumerate(lines, 1)], Redaction([], ""))
    return [
        re.sub(r' (data-n|title|class)="[^"]*"', "", str(each)).removesuffix("\n</span>")[6:]
        for each in found
    ]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([part("x", kind=TEXT)], "x"),
        ([part("x", origins=(ORIGIN,))], "<b>x</b><small>{one}</small>"),
        ([part("", origins=(ORIGIN,))], "<small>{one} (empty)</small>"),
        ([part("x")], "<b>x</b><small>the template itself</small>"),
        ([part("x", origins=(ORIGIN, OTHER))], "<b>x</b><small>{both}</small>"),
        ([part("x", kind=NOTHING, because=(ORIGIN,))], "<small>(nothing, because {one})</small>"),
        (
            [part("a", kind=TEXT), part("x", origins=(ORIGIN,), because=(OTHER,))],
            "a<b>x</b><small>{one}, because {other}</small>",
        ),
        ([part("a", kind=TEXT), part("b", kind=TEXT, because=(OTHER,))], "ab<small>because {other}</small>"),
    ],
)
def test_note_at_end_of_line_contains_origins_of_values(parts, text):
    names = {"one": named((ORIGIN,)), "other": named((OTHER,)), "both": named((ORIGIN, OTHER))}
    assert shown(parts) == [
        escape(text.format(**names), quote=False).replace("&lt;", "<").replace("&gt;", ">")
    ]


def test_consecutive_lines_with_the_same_condition_have_one_heading():
    one, other = named((ORIGIN,)), named((ORIGIN, OTHER))
    within = part("x", kind=TEXT, because=(ORIGIN,))
    lines = [
        [part("a", kind=TEXT)], [within], [within], [part("n", kind=NOTHING, because=(OTHER,))],
        [part("y", kind=TEXT, because=(ORIGIN, OTHER))], [within, part("z", kind=TEXT, because=(ORIGIN, OTHER))],
        [part("b", kind=TEXT)],
    ]  # fmt: skip
    assert shown(*lines) == [
        "a", f"because {one}", "x", "x", f"<small>(nothing, because {named((OTHER,))})</small>",
        f"because {other}", "y", f"because {one}", f"xz<small>because {named((OTHER,))}</small>",
        "without a condition", "b",
    ]  # fmt: skip


def test_first_character_of_a_patch_line_determines_its_format():
    assert str(patch_block("@@ -1 +1 @@\n-a\n+b\n c\n\n")) == (
        '<pre class="code patch" tabindex="0"><code><span class="l hunk">@@ -1 +1 @@\n</span>'
        '<del class="l">-a\n</del><ins class="l">+b\n</ins><span class="l"> c\n</span><span class="l">\n</span>'
        "</code></pre>"
    )


@pytest.mark.parametrize("count", [0, 1, 200, 201, 401])
def test_a_long_file_is_divided_into_groups_of_two_hundred_lines(count):
    found = str(code([line("x")] * count))
    assert found.startswith('<pre class="code" tabindex="0"><code>')
    assert found.count('class="l"') == count
    assert found.count('class="chunk"') == (0 if count <= 200 else -(-count // 200))


def test_finding_is_shown_below_its_line():
    finding = {"check": "c", "severity": "error", "message": "<m>", "hint": "h"}
    source = Source("a.tpl", "x\ny\n")
    plain, marked, below = map(str, source_lines(source, {2: [finding]}, "p"))
    assert plain == '<span data-n="1" class="l">x\n</span>'
    assert marked == '<span data-n="2" class="l" id="p-2">y\n</span>'
    assert below == (
        '<span class="l finding error"><strong>error</strong>: &lt;m&gt; <small>[c]</small><small> hint: h</small>\n'
        "</span>"
    )
    assert "id=" not in str(list(source_lines(source, {2: [finding]}, ""))[1])
    del finding["hint"]
    assert "hint" not in str(list(source_lines(source, {1: [finding]}, "p"))[1])


def test_items_are_joined_with_separators_between_them():
    assert [str(joined(items, "<")) for items in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a&lt;b&lt;c"]
