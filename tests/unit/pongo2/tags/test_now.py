"""``{% now %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from templater import pongo2
from tests.unit.pongo2.recorded import check

RECORDED = [
    ("{% now '2006-01-02 15:04:05 MST' fake %}", '2014-02-05 18:31:45 UTC'),
    ("{% now 'Mon Jan _2' fake %}", 'Wed Feb  5'),
    ('{% now %}', '[Error (where: parser) in <string>] Expected a format string.'),
    ("{% now 'x' y %}", "[Error (where: parser) in <string> | Line 1 Col 12 near 'y'] Malformed now-tag arguments."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_now_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)


def test_the_now_tag_uses_the_given_clock():
    template = pongo2.compile("{% now '2006-01-02 15:04:05.000' %}")
    assert template.render({}, clock=1.5) == "1970-01-01 00:00:01.500"
    assert template.render({}, clock=0) == "1970-01-01 00:00:00.000"
