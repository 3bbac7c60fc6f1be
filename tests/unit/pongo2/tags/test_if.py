"""``{% if %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% if t %}a{% else %}b{% endif %}', 'a'),
    ('{% if not t %}a{% elif n > 4 %}b{% else %}c{% endif %}', 'b'),
    ('{% if nope %}a{% endif %}|', '|'),
    ('{% if not t %}a{% else %}b{% else %}c{% endif %}', 'b'),
    ('{% if nope %}1{% else %}2{% elif t %}3{% endif %}', '2'),
    ('{% if t %}{% set x = 1 %}{% endif %}{{ x }}', '1'),
    ('{% if t x %}{% endif %}', "[Error (where: parser) in <string> | Line 1 Col 9 near 'x'] If-condition is malformed."),
    ('{% if %}{% endif %}', "[Error (where: parser) in <string> | Line 1 Col 4 near 'if'] Unexpected EOF, expected a number, string, keyword or identifier."),
    ('{% if t %}{% elif t x %}{% endif %}', "[Error (where: parser) in <string> | Line 1 Col 21 near 'x'] Elif-condition is malformed."),
    ('{% if t %}{% else x %}{% endif %}', "[Error (where: parser) in <string> | Line 1 Col 19 near 'x'] Arguments not allowed here."),
    ('{% if t %}x', "[Error (where: parser) in <string> | Line 1 Col 11 near 'x'] Unexpected EOF, expected tag elif or else or endif."),
    ('{% if false and false or true %}a{% else %}b{% endif %}', 'b'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_if_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
