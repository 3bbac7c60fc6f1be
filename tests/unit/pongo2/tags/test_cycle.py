"""``{% cycle %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ("{% for x in l %}{% cycle 'a' 'b' %}{% endfor %}", 'aba'),
    ('{% for x in l %}{% for y in l %}{% cycle 1 2 %}{% endfor %}-{% endfor %}', '121-212-121-'),
    ("{% cycle 'a' 'b' as c %}{{ c }}{% cycle c %}{{ c }}{{ c|upper }}{% if c == 'b' %}y{% endif %}{{ c|length }}", 'aabbB0'),
    ("{% cycle 'a' 'b' as c silent %}[{% cycle c %}]{{ c }}", '[]b'),
    ('{% for x in l %}{% cycle x html %}{% endfor %}', 'a<b>c'),
    ("{% cycle 'a' as 'c' %}", "[Error (where: parser) in <string> | Line 1 Col 17 near 'c'] Name (identifier) expected after 'as'."),
    ("{% cycle 'a' as c foo %}", "[Error (where: parser) in <string> | Line 1 Col 19 near 'foo'] Malformed cycle-tag."),
    ('{% cycle html.x %}', "[Error (where: execution) in <string> | Line 1 Col 10 near 'html'] Can't access a field by name on type string (variable html.x)"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_cycle_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
