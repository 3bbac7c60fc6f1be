"""The last line of a report, with the numbers of findings."""

import pytest

from templater.cli.commands.audit import summary


@pytest.mark.parametrize(
    ("severities", "hidden", "text"),
    [
        ((), {}, "a: nothing found"),
        (("high",), {}, "a: 1 high"),
        (("low", "high", "low"), {}, "a: 2 low, 1 high"),
        ((), {"info": 2}, "a: nothing found; 2 more at level info"),
        (("high",), {"info": 1}, "a: 1 high; 1 more at level info"),
        (("high",), {"info": 1, "low": 3}, "a: 1 high; more at lower levels: 1 info, 3 low"),
    ],
)
def test_the_summary_counts_the_findings_of_each_severity(severities, hidden, text):
    assert summary("a", [{"severity": severity} for severity in severities], hidden) == text
