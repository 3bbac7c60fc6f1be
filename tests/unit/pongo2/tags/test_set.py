"""``{% set %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% set x = n + 1 %}{{ x }}', '6'),
    ("{% set n = 'a' %}{{ n }}", 'a'),
    ('{% set x = html %}{{ x }}{% set y = html|safe %}{{ y }}', '&lt;b&gt;&lt;b&gt;'),
    ('{% set x = nope %}{{ x }}|', '|'),
    ('{% set %}', '[Error (where: parser) in <string>] Expected an identifier.'),
    ('{% set x %}', "[Error (where: parser) in <string> | Line 1 Col 8 near 'x'] Expected '='."),
    ('{% set x = 1 2 %}', "[Error (where: parser) in <string> | Line 1 Col 14 near '2'] Malformed 'set'-tag arguments."),
    ('{% set x = nope %}{{ x() }}', "[Error (where: execution) in <string> | Line 1 Col 22 near 'x'] 'x' is not a function (it is invalid)"),
    ('{% set l.0 = 1 %}', "[Error (where: parser) in <string> | Line 1 Col 9 near '.'] Expected '='."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_set_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
