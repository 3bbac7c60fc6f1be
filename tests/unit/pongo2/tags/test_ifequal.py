"""``{% ifequal %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% ifequal n 5 %}y{% else %}n{% endifequal %}', 'y'),
    ('{% ifequal n 5.0 %}y{% else %}n{% endifequal %}', 'n'),
    ('{% ifequal n -5 %}{% endifequal %}', "[Error (where: parser) in <string> | Line 1 Col 15 near '5'] Unexpected EOF, expected a number, string, keyword or identifier."),
    ('{% ifequal n %}{% endifequal %}', "[Error (where: parser) in <string> | Line 1 Col 12 near 'n'] Unexpected EOF, expected a number, string, keyword or identifier."),
    ('{% ifequal n 1 2 %}{% endifequal %}', "[Error (where: parser) in <string> | Line 1 Col 16 near '2'] ifequal only takes 2 arguments."),
    ('{% ifequal n 1 %}a{% endifequal %}|', '|'),
    ('{% ifequal nope nil %}y{% endifequal %}', 'y'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_ifequal_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
