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
        ("/etc/sudo.conf", "high"),
        ("/usr/local/etc/sudoers", "high"),
        ("/usr/etc/sudoers.d/x", "high"),
        ("/etc/opendoas.conf", "high"),
        ("/etc/polkit-1/rules.d/x.rules", "high"),
        ("/etc/master.passwd", "high"),
        ("/var/lib/extrausers/shadow", "high"),
        ("/etc/userdb/x.user", "high"),
        ("/usr/etc/pam.d/su", "medium"),
        ("/usr/lib/pam.d/su", "medium"),
        ("/etc/pam.conf", "medium"),
        ("/etc/ssh/sshd_config", "medium"),
        ("/etc/ssh/sshd_config.d/x.conf", "medium"),
        ("/etc/security/access.conf", "medium"),
        ("/etc/nsswitch.conf", "medium"),
        ("/etc/login.access", "medium"),
        ("/etc/hosts.equiv", "medium"),
        ("/root/.rhosts", "medium"),
        ("/root/.k5login", "medium"),
        ("/etc/dropbear/authorized_keys", "medium"),
        ("/etc/ssh/auth_principals/root", "medium"),
        ("/etc/periodic/15min/x", "medium"),
        ("/etc/systemd/system/x.timer", "medium"),
        ("/var/spool/at/a1", "medium"),
        ("/etc/incron.d/x", "medium"),
        ("/var/cron/tabs/root", "medium"),
        ("/etc/ld.so.conf", "medium"),
        ("/etc/ld.so.conf.d/x.conf", "medium"),
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


@pytest.mark.parametrize(
    "path",
    ["/etc/hosts", "/etc/hostname", "/etc/systemd/network/eth0.network", "/etc/ssh/ssh_config", "/etc/sudoers.txt", "/srv/etc/passwd"],
)  # fmt: skip
def test_a_template_that_writes_another_file_is_not_sensitive(path):
    assert severities(CHECK, found(path)) == []
