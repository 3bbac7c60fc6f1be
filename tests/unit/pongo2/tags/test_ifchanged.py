"""``{% ifchanged %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ("{% for x in 'aab' %}{% ifchanged %}{{ x }}{% endifchanged %}{% endfor %}", 'ab'),
    ("{% for x in 'aab' %}{% ifchanged x %}{{ x }}{% else %}-{% endifchanged %}{% endfor %}", 'a-b'),
    ('{% ifchanged %}{% else %}b{% endifchanged %}', ''),
    ("{% for x in 'aab' %}{% ifchanged x n %}{{ x }}{% else %}={% endifchanged %}{% endfor %}", 'a=b'),
    ('{% ifchanged x %}a{% endifchanged y %}', "[Error (where: parser) in <string> | Line 1 Col 35 near 'y'] Arguments not allowed here."),
    ('{% ifchanged x %}a', "[Error (where: parser) in <string> | Line 1 Col 18 near 'a'] Unexpected EOF, expected tag else or endifchanged."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_recorded(template, recorded):
    check(template, recorded)
