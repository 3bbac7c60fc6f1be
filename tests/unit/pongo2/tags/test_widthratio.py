"""``{% widthratio %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check, outcome

RECORDED = [
    ('{% widthratio 5 10 100 %}', '51'),
    ('{% widthratio n 7 100 as w %}{{ w + 1 }}', '73'),
    ('{% widthratio 0 1 1 %}', '1'),
    ('{% widthratio 5 10 100 x %}', "[Error (where: parser) in <string> | Line 1 Col 24 near 'x'] Malformed widthratio-tag arguments."),
    ('{% widthratio 5 10 100 as %}', "[Error (where: parser) in <string> | Line 1 Col 24 near 'as'] Expected name (identifier)."),
    ('{% widthratio 5 10 %}', "[Error (where: parser) in <string> | Line 1 Col 17 near '10'] Unexpected EOF, expected a number, string, keyword or identifier."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_widthratio_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)


@pytest.mark.parametrize("template", ["{% widthratio 1 0 1 %}", "{% widthratio 1 0 1 as w %}{{ w }}"])
def test_widthratio_with_zero_maximum_prints_nothing_since_v6_1(template):
    check(template, "-9223372036854775808", ("v6",))
    assert outcome(template, "v6.1") == ""
