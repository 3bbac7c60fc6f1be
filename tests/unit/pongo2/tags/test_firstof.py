"""``{% firstof %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% firstof nope n l %}', '5'),
    ('{% firstof nope empty %}|', '|'),
    ('{% firstof html %}{% firstof html|safe %}', '&lt;b&gt;<b>'),
    ('{% firstof 1 -1 %}', ''),
    ('{% firstof %}|', '|'),
    ('{% firstof nope html.x %}', "[Error (where: execution) in <string> | Line 1 Col 17 near 'html'] Can't access a field by name on type string (variable html.x)"),
    ('{% firstof n html.x %}', '5'),
    ('{% autoescape off %}{% firstof html %}{% endautoescape %}', '<b>'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_firstof_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
