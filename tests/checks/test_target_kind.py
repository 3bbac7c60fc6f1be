"""Targets that already exist as a directory, device, fifo or socket, or below a mount point."""

import pytest

from templater.model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET
from tests.checks.builders import a_special, an_image, observed, rules, severities

CHECK = "target-kind"
RULE = rules("/etc/a: {when: [create], template: t}")


@pytest.mark.parametrize(
    ("kind", "severity"),
    [(FIFO, "high"), (SOCKET, "high"), (CHAR_DEVICE, "high"), (BLOCK_DEVICE, "high"), (DIRECTORY, "medium")],
)
def test_attack_20_21_22_04_a_target_other_than_a_regular_file_is_found(kind, severity):
    assert severities(CHECK, an_image(RULE, names=[a_special("rootfs/etc/a", kind)])) == [severity]


def test_an_existing_regular_file_as_target_has_no_finding():
    assert not observed(CHECK, an_image(RULE, names=[a_special("rootfs/etc/a", FILE)]))


@pytest.mark.parametrize("path", ["/proc/sys/a", "/dev/a", "/sys/a", "/run/a"])
def test_attack_25_a_target_below_a_mount_point_is_found(path):
    metadata, is_run = rules(f"{path}: {{when: [create], template: t}}"), path.startswith("/run/")
    assert severities(CHECK, an_image(metadata, names=["rootfs/etc/hosts"])) == ["low"]
    assert severities(CHECK, an_image(metadata)) == ["low" if is_run else "medium"]
    assert severities(CHECK, an_image(metadata, names=["rootfs.img"])) == ([] if is_run else ["medium"])
