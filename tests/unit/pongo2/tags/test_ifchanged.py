"""``{% ifchanged %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check, outcome

RECORDED = [
    ("{% for x in 'aab' %}{% ifchanged %}{{ x }}{% endifchanged %}{% endfor %}", 'ab'),
    ("{% for x in 'aab' %}{% ifchanged x %}{{ x }}{% else %}-{% endifchanged %}{% endfor %}", 'a-b'),
    ("{% for x in 'aab' %}{% ifchanged x n %}{{ x }}{% else %}={% endifchanged %}{% endfor %}", 'a=b'),
    ('{% ifchanged x %}a{% endifchanged y %}', "[Error (where: parser) in <string> | Line 1 Col 35 near 'y'] Arguments not allowed here."),
    ('{% ifchanged x %}a', "[Error (where: parser) in <string> | Line 1 Col 18 near 'a'] Unexpected EOF, expected tag else or endifchanged."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_ifchanged_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)


def test_a_bare_ifchanged_tag_accepts_else_since_v6_1():
    check("{% ifchanged %}{% else %}b{% endifchanged %}", "", ("v6",))
    assert (
        outcome("{% for x in 'aab' %}{% ifchanged %}{{ x }}{% else %}-{% endifchanged %}{% endfor %}", "v6.1")
        == "a-b"
    )
