"""``{% block %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('a{% block x %}b{% endblock %}c', 'abc'),
    ('{% block x %}{{ block.Super }}{% set y = 1 %}{% endblock x %}{{ y }}', '1'),
    ('{% block x %}{% endblock %}{% block x %}{% endblock %}', "[Error (where: parser) in <string> | Line 1 Col 37 near 'x'] Block named 'x' already defined"),
    ('{% block x %}{{ block }}{% endblock y %}', "[Error (where: parser) in <string> | Line 1 Col 37 near 'y'] Name for 'endblock' must equal to 'block'-tag's name ('x' != 'y')."),
    ('{% block %}{% endblock %}', "[Error (where: parser) in <string>] Tag 'block' requires an identifier."),
    ("{% block 'x' %}{% endblock %}", "[Error (where: parser) in <string> | Line 1 Col 10 near 'x'] First argument for tag 'block' must be an identifier."),
    ('{% block x y %}{% endblock %}', "[Error (where: parser) in <string> | Line 1 Col 12 near 'y'] Tag 'block' takes exactly 1 argument (an identifier)."),
    ("{% block x %}{% endblock 'x' %}", "[Error (where: parser) in <string> | Line 1 Col 26 near 'x'] Either no or only one argument (identifier) allowed for 'endblock'."),
    ('{% block x %}{{ block }}{% endblock %}{{ block.nope }}', '<pongo2.tagBlockInformation Value>'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_block_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
