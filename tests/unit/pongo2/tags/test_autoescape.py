"""``{% autoescape %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{{ html }}{% autoescape off %}{{ html }}{% autoescape on %}{{ html }}{% endautoescape %}{% endautoescape %}{{ html }}', '&lt;b&gt;<b>&lt;b&gt;&lt;b&gt;'),
    ('{% macro f() %}{{ html }}{% endmacro %}{% autoescape off %}{{ f() }}{% endautoescape %}{{ f() }}', '<b>&lt;b&gt;'),
    ('{% autoescape off %}{% for x in l %}{{ html }}{% endfor %}{% with y=html %}{{ y }}{% endwith %}{% endautoescape %}', '<b><b><b><b>'),
    ('{% autoescape off %}{% macro f() %}{{ html }}{% endmacro %}{% endautoescape %}{{ f() }}', '&lt;b&gt;'),
    ('{% autoescape off %}A{% endautoescape @ %}B{% set x = 1 %}C', 'AC'),
    ('{% autoescape %}{% endautoescape %}', '[Error (where: parser) in <string>] A mode is required for autoescape-tag.'),
    ('{% autoescape maybe %}{% endautoescape %}', "[Error (where: parser) in <string> | Line 1 Col 15 near 'maybe'] Only 'on' or 'off' is valid as an autoescape-mode."),
    ('{% autoescape on off %}{% endautoescape %}', "[Error (where: parser) in <string> | Line 1 Col 18 near 'off'] Malformed autoescape-tag arguments."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_autoescape_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
