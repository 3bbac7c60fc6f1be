"""Targets that give access or rights."""

import pytest

from tests.checks.builders import a_link, an_image, observed, rules, severities

CHECK = "sensitive-target"


def found(path, names=()):
    return an_image(rules(f"{path}: {{when: [create], template: t}}"), {"t": ""}, names)


@pytest.mark.parametrize(
    ("path", "severity"),
    [
        ("/etc/ld.so.preload", "high"),
        ("/etc/sudoers", "high"),
        ("/etc/sudoers.d/x", "high"),
        ('"/etc/sudoers.d/a\\nb"', "high"),
        ("/etc/shadow", "high"),
        ("/etc/pam.d/sshd", "medium"),
        ("/root/.ssh/authorized_keys", "medium"),
        ("/home/a/.ssh/authorized_keys2", "medium"),
        ("/etc/ssh/authorized_keys/root", "medium"),
        ("/etc/crontab", "medium"),
        ("/etc/cron.d/x", "medium"),
        ("/var/spool/cron/crontabs/root", "medium"),
    ],
)
def test_a_template_that_writes_a_sensitive_file_is_found(path, severity):
    assert severities(CHECK, found(path)) == [severity]


def test_a_target_that_leads_to_a_sensitive_file_through_a_link_is_found():
    ((_, _, message),) = observed(CHECK, found("/etc/motd", [a_link("rootfs/etc/motd", "sudoers")]))
    assert (
        "'/etc/motd', which leads to '/etc/sudoers', is a file that decides which users can become root"
        in message
    )


@pytest.mark.parametrize("path", ["/etc/hosts", "/etc/hostname", "/etc/sudoers.txt", "/var/lib/cloud/seed/x"])
def test_the_usual_targets_have_no_finding(path):
    assert not observed(CHECK, found(path))
