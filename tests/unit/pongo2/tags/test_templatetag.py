"""``{% templatetag %}``; expected results were recorded with pongo2 4.0.2."""

import pytest

from tests.unit.pongo2.recorded import check

RECORDED = [
    ('{% templatetag openblock %}{% templatetag closeblock %}{% templatetag openvariable %}{% templatetag closevariable %}{% templatetag openbrace %}{% templatetag closebrace %}{% templatetag opencomment %}{% templatetag closecomment %}', '{%%}{{}}{}{##}'),
    ('{% templatetag nope %}', "[Error (where: parser) in <string> | Line 1 Col 16 near 'nope'] Argument not found"),
    ('{% templatetag %}', '[Error (where: parser) in <string>] Identifier expected.'),
    ('{% templatetag openblock x %}', "[Error (where: parser) in <string> | Line 1 Col 26 near 'x'] Malformed templatetag-tag argument."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_templatetag_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)
