"""Parts of the text of a plan."""

import pytest

from templater.model.hosts import INCUS, LXD, NONE, Host
from templater.model.metadata import Rule
from templater.reporting.plan_text import unchanged
from tests.unit.prediction.test_predicted_outcomes import planned


@pytest.mark.parametrize("host", [INCUS, LXD, NONE])
@pytest.mark.parametrize(
    ("template", "create_only", "found"),
    [
        ("x", False, ["start"]), ("x", True, ["start"]), ("{{ trigger }}", True, ["start"]),
        ("{{ trigger }}", False, []), ("{{ 1|nope }}", False, []),
    ],
)  # fmt: skip
def test_a_later_trigger_pass_without_effect_counts_as_unchanged(
    template: str, create_only: bool, found: list[str], host: Host
) -> None:
    rule = Rule("/etc/a", "a.tpl", ("create", "start"), create_only=create_only)
    plan = planned(rule, host=host, template=template, triggers=("create", "start"))
    assert [change.trigger for change in unchanged(plan)] == found
