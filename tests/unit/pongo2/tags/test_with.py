"""``{% with %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% with a=1 b=n %}{{ a }}{{ b }}{% endwith %}{{ a }}', '15'),
    ('{% with n as a l.0 as b %}{{ a }}{{ b }}{% endwith %}', '5a'),
    ('{% with n=1 b=n %}{{ b }}{% endwith %}', '5'),
    ('{% with a=1 a=2 %}{{ a }}{% endwith %}', '2'),
    ('{% with a=1 %}{% set z = 2 %}{% endwith %}{{ z }}|', '|'),
    ('{% with %}{% endwith %}', "[Error (where: parser) in <string>] Tag 'with' requires at least one argument."),
    ('{% with a 1 %}{% endwith %}', "[Error (where: parser) in <string> | Line 1 Col 11 near '1'] Expected '='."),
    ('{% with 1 as 2 %}{% endwith %}', "[Error (where: parser) in <string> | Line 1 Col 14 near '2'] Expected an identifier"),
    ('{% with 1 a as b %}{% endwith %}', "[Error (where: parser) in <string> | Line 1 Col 11 near 'a'] Expected 'as' keyword."),
    ('{% with a=1, b=2 %}{% endwith %}', "[Error (where: parser) in <string> | Line 1 Col 12 near ','] Expected an identifier"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_with_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
