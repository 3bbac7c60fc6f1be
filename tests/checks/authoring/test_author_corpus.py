"""The images of real projects: the findings of level warning and above, and the time that they take."""

import time

import pytest

from templater.checks.author_report import check_report
from tests.test_corpus import HAVE_CORPUS, IMAGES, folder

pytestmark = pytest.mark.skipif(not HAVE_CORPUS, reason="no corpus: set TEMPLATER_CORPUS")

#: the findings, each of which was read: a maintainer would fix all, except perhaps that of line-break, because
#: only a program of the same project sets the key
FINDINGS = {
    "canonical-workshop": ["line-break"],
    "incus-pending-trigger-test": ["refused-import", "refused-import"],
    "incus-rescue-test": ["refused-import", "refused-import"],
    "lxd-docs-2016-example": ["unreadable"],
    "lxd-test-busybox-notemplate-arg": ["unknown-when"],
    "nixos-lxd-conflict-markers": ["conflict-marker"],
    "opennebula-lxdone": ["unknown-variable", "unknown-variable"],
    "openwrt-manfred-uci": ["refused-import"],
    "opensuse-132-eumel8": ["missing-template"],
    "proxmox-ve-8-incus": ["unknown-variable"],
    "proxmox-ve-9-incus-vm": ["unknown-variable"],
}
#: seconds for all images; they take about one
MOST = 10


@pytest.mark.slow
def test_real_images_have_the_recorded_findings():
    before = time.process_time()
    reports = {image: check_report(str(folder(image)), hosts=("incus",)) for image in IMAGES}
    assert time.process_time() - before < MOST
    found = {image: [each["check"] for each in report["findings"]] for image, report in reports.items()}
    assert {image: checks for image, checks in found.items() if checks} == FINDINGS
