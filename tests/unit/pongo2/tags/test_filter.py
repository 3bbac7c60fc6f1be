"""``{% filter %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% filter upper %}a{{ s }}{% endfilter %}', 'AHÉLLO'),
    ("{% filter upper|cut:'A'|ljust:4 %}ab{% endfilter %}|", 'B   |'),
    ('{% filter upper %}{% set x = 1 %}{% endfilter %}{{ x }}', '1'),
    ('{% filter %}a{% endfilter %}', 'a'),
    ('{% filter upper| %}a{% endfilter %}', 'A'),
    ('{% filter nope %}a{% endfilter %}', "[Error (where: execution) in <string> | Line 1 Col 4 near 'filter'] [Error (where: applyfilter)] Filter with name 'nope' not found."),
    ('{% if not t %}{% filter nope %}{% endfilter %}{% endif %}x', 'x'),
    ('{% filter pluralize %}a{% endfilter %}', "[Error (where: execution) in <string> | Line 1 Col 4 near 'filter'] [Error (where: filter:pluralize)] filter 'pluralize' does only work on numbers"),
    ('{% filter upper lower %}a{% endfilter %}', "[Error (where: parser) in <string> | Line 1 Col 17 near 'lower'] Malformed filter-tag arguments."),
    ('{% filter escape %}{% autoescape off %}{{ html }}{% endautoescape %}{% endfilter %}', '&lt;b&gt;'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_filter_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
