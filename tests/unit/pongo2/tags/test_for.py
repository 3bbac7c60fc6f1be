"""``{% for %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% for x in l %}{{ forloop.Counter }}{{ x }}{% endfor %}', '1a2b3c'),
    ('{% for k, v in m sorted %}{{ k }}={{ v }};{% endfor %}', 'a=b;k=v;'),
    ('{% for x in l reversed %}{{ x }}{{ forloop.Counter0 }}{% endfor %}', 'c0b1a2'),
    ('{% for x in empty %}a{% empty %}{{ forloop.Counter }}{{ forloop.First }}{{ forloop.Last }}{% endfor %}', '0TrueFalse'),
    ('{% for x in l %}{% for y in l %}{{ forloop.Parentloop.Counter }}{{ forloop.Revcounter }} {% endfor %}{% endfor %}', '13 12 11 23 22 21 33 32 31 '),
    ('{% for i in l %}[{{ x }}]{% set x = i %}{% endfor %}{{ x }}', '[][a][b]'),
    ('{% for x in n %}a{% empty %}b{% endfor %}', 'b'),
    ("{% for x in 'abc' reversed %}{{ forloop.Counter }}{{ forloop.First }}{{ forloop.Last }}{{ x }} {% endfor %}", '3TrueTruec 2FalseTrueb 1FalseTruea '),
    ('{% for k, v in l %}{{ k }}{{ v }}{% endfor %}', 'abc'),
    ('{% for %}{% endfor %}', "[Error (where: parser) in <string>] Expected an key identifier as first argument for 'for'-tag"),
    ('{% for x, in l %}{% endfor %}', "[Error (where: parser) in <string> | Line 1 Col 11 near 'in'] Value name must be an identifier."),
    ('{% for x l %}{% endfor %}', "[Error (where: parser) in <string> | Line 1 Col 10 near 'l'] Expected keyword 'in'."),
    ('{% for x in l sorted reversed %}{% endfor %}', "[Error (where: parser) in <string> | Line 1 Col 22 near 'reversed'] Malformed for-loop arguments."),
    ('{% for x in l %}{% endfor x %}', "[Error (where: parser) in <string> | Line 1 Col 27 near 'x'] Arguments not allowed here."),
    ('{% for x in l %}{{ forloop.Parentloop }}|{% endfor %}{{ forloop }}', '|||'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_for_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
