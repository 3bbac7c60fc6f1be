"""The correction of a rule with unknown triggers is computed once, and only for a short list."""

import pytest

from templater.checks.authoring.metadata_key import check_image as check_metadata_keys
from templater.checks.authoring.unknown_when import MAX_TRIGGERS, check_image
from templater.checks.run_checks import run_check
from templater.model.metadata import UNCOUNTED
from tests.checks.authoring.authoring_builders import image


def observations(count):
    """The findings of a rule with ``count`` misspelled triggers."""
    return list(check_image.run(image(f"/etc/motd: {{when: [{', '.join(['strat'] * count)}], template: t}}")))


def test_one_correction_covers_all_findings_about_unknown_triggers_of_a_rule():
    found = observations(MAX_TRIGGERS)
    assert len(found) == MAX_TRIGGERS
    assert found[0].fix is not None
    assert found[0].fix.fields == {"when": ("start",)}
    assert all(each.fix is found[0].fix for each in found)


@pytest.mark.parametrize("count", [MAX_TRIGGERS + 1, 500])
def test_a_list_with_too_many_unknown_triggers_gets_no_correction(count):
    assert [each.fix for each in observations(count)] == [None] * count


def test_report_says_that_some_mistakes_are_not_counted():
    """The report counted 300 more mistakes, but the file had thousands."""
    many = image(f"/etc/motd: {{when: [{', '.join(['strat'] * 501)}], template: t}}")
    assert [each.message for each in run_check(check_image, many)][200:] == [
        f"300 more findings of this kind; {UNCOUNTED}"
    ]
    keys = "".join(f"k{number}: x, " for number in range(501))
    many = image(f"/etc/motd: {{{keys} when: [start], template: t}}")
    assert [each.message for each in run_check(check_metadata_keys, many)] == [UNCOUNTED]
