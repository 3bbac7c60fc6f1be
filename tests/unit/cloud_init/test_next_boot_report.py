"""The headline of a verdict on cloud-init's next boot."""

import pytest

from templater.cloud_init.next_boot import FIRST, SAME, Reason, Verdict
from templater.cloud_init.next_boot_report import lines_of

UNKNOWN = "the result of the next boot is unknown"
KEEPS = (
    "the next boot keeps the data of the last boot (NoCloud), does not run the per-instance modules"
    " and does not write the network configuration"
)
READS = (
    "the next boot reads the data again (NoCloud), runs the per-instance modules"
    " and writes the network configuration"
)
MAY = (
    "the next boot may read the data again (NoCloud), may run the per-instance modules"
    " and may write the network configuration"
)


@pytest.mark.parametrize(
    ("source", "instance", "reads", "modules", "network", "said"),
    [
        ("NoCloud", FIRST, True, True, True, READS.replace(" again", "")),
        ("NoCloud", SAME, True, True, True, READS),
        ("NoCloud", SAME, False, False, False, KEEPS),
        ("NoCloud", "", False, None, None, KEEPS.replace("does not", "may")),
        ("NoCloud", "", None, True, None, MAY.replace("may run", "runs")),
        ("NoCloud", "", None, False, None, MAY.replace("may run", "does not run")),
        ("NoCloud", "", None, None, None, UNKNOWN),
        ("", "", False, False, False, "the next boot reads no data"),
        ("None", "", False, False, False, "the next boot reads no data"),
    ],
)
def test_the_headline_shows_the_cloud_init_data_for_the_next_boot(
    source, instance, reads, modules, network, said
):
    verdict = Verdict(source, instance, reads, modules, network, (Reason("why", "rule"),))
    headline = f"cloud-init of unknown version, datasource_list unknown: {said}"
    assert list(lines_of(verdict)) == [headline, "  why (docs/cloud-init.md#rule)"]


def test_the_headline_contains_the_cloud_init_version_and_the_datasources():
    verdict = Verdict("", "", False, False, False, (), "25.2", ("NoCloud", "None"))
    assert list(lines_of(verdict)) == [
        "cloud-init 25.2, datasource_list NoCloud, None: the next boot reads no data"
    ]
