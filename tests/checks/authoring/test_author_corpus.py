"""The images of real projects: the findings of level warning and above, and the time that they take."""

import pytest

from templater.checks.check_report import check_report
from tests.processor_time import ends_within
from tests.test_corpus import HAVE_CORPUS, IMAGES, folder

pytestmark = pytest.mark.skipif(not HAVE_CORPUS, reason="no corpus: set TEMPLATER_CORPUS")

#: The findings, each of which was read. A maintainer would fix all, except perhaps that of canonical-workshop:
#: only a program of the same project sets the key.
FINDINGS = {
    "alpine-openssh-cn": ["copy", "copy"],
    "alpine-saghul": ["copy", "copy"],
    "canonical-workshop": ["line-break"],
    "debian-jessie-erickeller": ["copy", "copy"],
    "juju-opensuse-422": ["seed-name"],
    "lxd-docs-2016-example": ["unreadable"],
    "nixos-josh-hostname": ["copy"],
    "nixos-k8s-loadbalancer": ["run-target"],
    "nixos-lxd-conflict-markers": ["conflict-marker"],
    "nixos-vault": ["run-target"],
    "opennebula-lxdone": ["unknown-variable", "unknown-variable"],
    "opensuse-132-eumel8": ["copy", "copy", "missing-template"],
    "openwrt-manfred-uci": ["refused-import"],
    "proxmox-ve-8-incus": ["unknown-variable"],
    "proxmox-ve-9-incus-vm": ["unknown-variable"],
    "sabayon-lxd": ["copy", "copy"],
}
#: seconds for all images; they take about one
MOST = 10


@pytest.mark.slow
def test_real_images_have_the_recorded_findings():
    with ends_within(MOST):
        reports = {image: check_report(str(folder(image)), hosts=("incus",)) for image in IMAGES}
    found = {image: [each["check"] for each in report["findings"]] for image, report in reports.items()}
    assert {image: checks for image, checks in found.items() if checks} == FINDINGS
