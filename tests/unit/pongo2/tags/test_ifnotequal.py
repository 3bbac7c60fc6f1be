"""``{% ifnotequal %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% ifnotequal n 5 %}y{% else %}n{% endifnotequal %}', 'n'),
    ("{% ifnotequal n '5' %}y{% endifnotequal %}", 'y'),
    ('{% ifnotequal n 1 2 %}{% endifnotequal %}', "[Error (where: parser) in <string> | Line 1 Col 19 near '2'] ifequal only takes 2 arguments."),
    ('{% ifnotequal n 1 %}y{% else x %}{% endifnotequal %}', "[Error (where: parser) in <string> | Line 1 Col 30 near 'x'] Arguments not allowed here."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_ifnotequal_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
