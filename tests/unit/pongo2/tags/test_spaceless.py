"""``{% spaceless %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% spaceless %} <a> <b> x </b>\n</a> {% endspaceless %}|', ' <a><b> x </b></a> |'),
    ('{% spaceless %}<a> <b> <c> <d>{% endspaceless %}', '<a><b><c><d>'),
    ('{% spaceless %}a > b < c{% endspaceless %}', 'a > b < c'),
    ('{% spaceless x %}{% endspaceless %}', "[Error (where: parser) in <string> | Line 1 Col 14 near 'x'] Malformed spaceless-tag arguments."),
    ('{% spaceless %}<p\n> <b>{% endspaceless %}', '<p\n> <b>'),
    ('{% spaceless %}a> <b> <{% endspaceless %}', 'a> <b> <'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_spaceless_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
