"""``{% comment %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('a{% comment %}{{ b }}{% nope %}{% endcomment %}c', 'ac'),
    ('{% comment x %}{% endcomment %}', "[Error (where: parser) in <string> | Line 1 Col 12 near 'x'] Tag 'comment' does not take any argument."),
    ('{% comment %}{% comment %}{% endcomment %}x', 'x'),
    ('{% comment %}x', "[Error (where: parser) in <string> | Line 1 Col 14 near 'x'] Unexpected EOF, expected tag endcomment."),
    ("{% comment %}{{ 'a }}{% endcomment %}", '[Error (where: lexer) in <string> | Line 1 Col 17] Unexpected EOF, string not closed.'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_comment_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
