"""``{% macro %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ("{% macro f(a, b='d') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}", '[1d][12]'),
    ('{{ f }}{% macro f() %}x{% endmacro %}{{ f }}', 'x'),
    ('{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}', '3210'),
    ('{% macro f() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ f() }}{% for x in l %}{{ f() }}{% endfor %}', '1111'),
    ('{% macro f(a=n+1) %}{{ a }}{% endmacro %}{{ f() }}', '6'),
    ('{% macro f() %}{{ html }}{% endmacro %}{{ f() }}{{ f()|upper }}', '&lt;b&gt;&amp;LT;B&amp;GT;'),
    ('{% macro f(x) %}{{ x }}{% endmacro %}{{ f(f(html)) }}', '&amp;lt;b&amp;gt;'),
    ('{% macro %}{% endmacro %}', '[Error (where: parser) in <string>] Macro-tag needs at least an identifier as name.'),
    ('{% macro f %}{% endmacro %}', "[Error (where: parser) in <string> | Line 1 Col 10 near 'f'] Expected '('."),
    ('{% macro f(1) %}{% endmacro %}', "[Error (where: parser) in <string> | Line 1 Col 12 near '1'] Expected argument name as identifier."),
    ('{% macro f(a b) %}{% endmacro %}', "[Error (where: parser) in <string> | Line 1 Col 14 near 'b'] Expected ',' or ')'."),
    ('{% macro f() x %}{% endmacro %}', "[Error (where: parser) in <string> | Line 1 Col 14 near 'x'] Malformed macro-tag."),
    ('{% macro f() export %}{% endmacro %}{% macro f() export %}{% endmacro %}', "[Error (where: parser) in <string> | Line 1 Col 40 near 'macro'] another macro with name 'f' already exported"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_macro_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
