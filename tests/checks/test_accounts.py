"""Accounts of the root filesystem."""

import os
from dataclasses import replace

import pytest

from templater.checks.files_that_users_can_change import _target_inside
from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import audit
from templater.checks.scanned_image import Name
from templater.model.entry import DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry
from tests.checks.builders import a_link, an_image, observed, rules
from tests.image_archives import file, image

CHECK = "accounts"


@pytest.mark.parametrize("name", ["passwd", "shadow", "sudoers"])
def test_a_world_writable_account_file_gives_a_finding_of_high_severity(name):
    names = [Name(f"rootfs/etc/{name}", Entry(FILE, 0o666))]
    assert observed(CHECK, an_image(names=names)) == [
        ("high", f"rootfs/etc/{name}", f"'/etc/{name}' has mode 0666: every user can write it")
    ]


def test_ordinary_modes_and_links_have_no_finding():
    names = [
        Name("rootfs/etc/passwd", Entry(FILE, 0o644)),
        Name("rootfs/etc/shadow", Entry(SYMLINK, 0o777, target="x")),
        Name("rootfs/var/tmp/x", Entry(FILE, 0o666)),
    ]
    assert not observed(CHECK, an_image(names=names))


@pytest.mark.parametrize(
    "uid", ["00", "+0", " 0", "-0", "4294967296", "\f0", "\v0", "", "0" * 34 + "4294967296"]
)
def test_every_spelling_of_uid_0_is_recognised(uid):
    passwd = f"root:x:0:0::/root:/bin/sh\nevil:x:{uid}:0::/:\n".encode()
    ((severity, _, message),) = observed(CHECK, an_image(heads={"rootfs/etc/passwd": passwd}))
    assert (severity, message) == ("high", "2 accounts have uid 0: root, evil")


@pytest.mark.parametrize("uid", ["x0", "0x0", "1", "1_0"])
def test_account_has_no_finding_if_uid_is_not_0(uid):
    passwd = f"root:x:0:0::/root:/bin/sh\nevil:x:{uid}:0::/:\n".encode()
    assert not observed(CHECK, an_image(heads={"rootfs/etc/passwd": passwd}))


@pytest.mark.parametrize(
    "name",
    [
        Name("rootfs/etc/passwd", Entry(FILE), hard_link="rootfs/x"),
        Name("rootfs/etc/passwd", Entry(SYMLINK, target="../x")),
        Name("rootfs/etc", Entry(SYMLINK, target="x")),
    ],
)
def test_an_account_file_behind_a_link_is_reported_as_not_checked(name):
    ((severity, at, message),) = observed(CHECK, an_image(names=[name]))
    assert (severity, at) == ("low", name.path)
    assert "so its accounts were not checked" in message


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("rootfs", DIRECTORY, 0o777),
        ("rootfs/etc", DIRECTORY, 0o777),
        ("rootfs/etc/sudoers.d", DIRECTORY, 0o757),
        ("rootfs/etc/sudoers.d/x", FILE, 0o666),
        ("rootfs/etc/cron.d/x", FILE, 0o666),
        ("rootfs/etc/ld.so.preload", FILE, 0o666),
        ("rootfs/root/.ssh/authorized_keys", FILE, 0o666),
    ],
)
def test_world_writable_system_files_and_directories_are_found(name, kind, mode):
    ((severity, at, message),) = observed(CHECK, an_image(names=[Name(name, Entry(kind, mode))]))
    assert (severity, at) == ("high", name)
    assert message.endswith("every user can write it")
    assert not observed(CHECK, an_image(names=[Name(name, Entry(kind, mode & 0o775))]))


SHADOW, SUDOERS = Name("rootfs/etc/shadow", Entry(FILE, 0o640)), "rootfs/etc/sudoers.d"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            [Name("rootfs/x", Entry(FILE, 0o666)), Name("rootfs/etc/shadow", Entry(FILE), hard_link="rootfs/x")],
            "'/etc/shadow' has mode 0666: every user can write it",
        ),
        (
            [Name("rootfs/x", Entry(FILE, 0o666)), a_link("rootfs/etc/shadow", "../x")],
            "'/etc/shadow' leads through '/x', which has mode 0666: every user can write it",
        ),
        (
            [Name("rootfs/x", Entry(FILE, 0o644, uid=7)), a_link("rootfs/etc/sudoers.d/a", "../../x")],
            "'/etc/sudoers.d/a' leads through '/x', which belongs to uid 7, not to root",
        ),
        (
            [Name("rootfs/x", Entry(DIRECTORY, 0o777)), a_link(SUDOERS, "../x")],
            "'/etc/sudoers.d' leads through '/x', which has mode 0777: every user can write it",
        ),
        (
            [Name("rootfs/x/a", Entry(FILE, 0o666)), a_link(SUDOERS, "../x")],
            "'/x/a' has mode 0666: every user can write it",
        ),
        (
            [Name("rootfs/x", Entry(DIRECTORY, 0o777)), a_link("rootfs/etc/shadow", "../x/y")],
            "'/etc/shadow' leads through '/x', which has mode 0777: every user can write it",
        ),
        (
            [SHADOW, Name("rootfs/etc/passwd", Entry(FILE, 0o664, gid=100))],
            "'/etc/passwd' has mode 0664: users in group 100 can write it",
        ),
        (
            [Name("rootfs/etc/passwd", Entry(FILE, 0o664), frozenset(("system.posix_acl_access",)))],
            "'/etc/passwd' has an ACL, which can let users write it",
        ),
        (
            [
                Name("rootfs/x", Entry(FILE), frozenset(("system.posix_acl_access",))),
                Name("rootfs/etc/shadow", Entry(FILE), hard_link="rootfs/x"),
            ],
            "'/etc/shadow' has an ACL, which can let users write it",
        ),
        (
            [Name("rootfs/home/u/bin", Entry(DIRECTORY, 0o755, uid=1000)), a_link("rootfs/usr/bin", "../home/u/bin")],
            "'/usr/bin' leads through '/home/u/bin', which belongs to uid 1000, not to root",
        ),
        (
            [a_link("rootfs/etc/shadow", "../" + "d/" * 70 + "x")],
            "'/etc/shadow' leads through more than 64 directories, and the deepest ones were not checked",
        ),
        (
            [
                Name(f"rootfs/opt/{'d/' * 70}x", Entry(FILE, 0o644, uid=1000)),
                Name("rootfs/etc/shadow", Entry(FILE), hard_link=f"rootfs/opt/{'d/' * 70}x"),
            ],
            "'/etc/shadow' belongs to uid 1000, not to root",
        ),
        (
            [a_link("rootfs/etc/shadow", "gshadow"), a_link("rootfs/etc/gshadow", "shadow")],
            "'/etc/shadow': too many symlinks at '/etc/shadow'",
        ),
        (
            [a_link("rootfs/etc/sudoers", "/proc/self/cwd/s")],
            "'/etc/sudoers' leads to '/proc/self/cwd/s', which users can create",
        ),
        (
            [a_link("rootfs/etc/sudoers.d/x", "/run/user/1000/x")],
            "'/etc/sudoers.d/x' leads to '/run/user/1000/x', which users can create",
        ),
    ],
)  # fmt: skip
def test_indirectly_writable_system_file_is_found(names, message):
    assert ("high", message) in [(level, said) for level, _, said in observed(CHECK, an_image(names=names))]


def test_world_writable_files_in_opt_and_usr_have_medium_severity():
    public = [Name(f"rootfs/usr/{number}", Entry(FILE, 0o666)) for number in range(10)]
    names = [
        Name("rootfs/opt", Entry(DIRECTORY, 0o777)),
        *public,
        Name("rootfs/opt/sticky", Entry(DIRECTORY, 0o1777)),
        Name("rootfs/usr/tmp", Entry(DIRECTORY, 0o1777)),
        Name("rootfs/tmp/x", Entry(FILE, 0o666)),
        Name("rootfs/var/spool/cron/root", Entry(FILE, 0o666)),
        Name("rootfs/var/spool/cron/crontabs", Entry(DIRECTORY, 0o1730, gid=105)),
        Name("rootfs/var/spool/mail", Entry(DIRECTORY, 0o777)),
        a_link("rootfs/usr/link", "x"),
    ]
    shown = ", ".join(f"'/usr/{number}'" for number in range(7))
    assert observed(CHECK, an_image(names=names)) == [
        ("medium", "rootfs/opt", f"every user can write '/opt', {shown} and 4 more")
    ]


@pytest.mark.parametrize(
    ("path", "entry", "found"),
    [
        ("usr/share", Entry(DIRECTORY, 0o755, uid=1000), True),
        ("etc/rc.local", Entry(FILE, 0o755, uid=1000), True),
        ("lib64/x", Entry(FILE, 0o644, uid=1000), True),
        ("etc/default", Entry(DIRECTORY, 0o775, gid=100), True),
        ("usr/libexec", Entry(DIRECTORY, 0o775, gid=1000), True),
        ("usr/local", Entry(DIRECTORY, 0o2775, gid=50), False),
        ("usr/x", Entry(FILE, 0o644, uid=5, gid=1000), False),
        ("var/lib/cloud/scripts/per-boot", Entry(DIRECTORY, 0o755, uid=1000), True),
        ("var/lib", Entry(DIRECTORY, 0o755, uid=1000), True),
        ("var/spool/cron/root", Entry(FILE, 0o664, gid=1000), True),
        ("var/spool/cron/root", Entry(FILE, 0o600, uid=1000), True),
        ("var/spool/cron/crontabs", Entry(DIRECTORY, 0o775, gid=1000), True),
        ("var/spool/cron/crontabs/alice", Entry(FILE, 0o600, uid=1000), False),
        ("var/spool/fcron/systab", Entry(FILE, 0o600, uid=1000), True),
        ("var/lib/extrausers", Entry(DIRECTORY, 0o755, uid=1000), True),
        ("var/lib/polkit-1", Entry(DIRECTORY, 0o755, uid=1000), True),
        ("var/db/sudo", Entry(DIRECTORY, 0o755, uid=1000), True),
        ("root/.bashrc", Entry(FIFO, 0o600, uid=1000), True),
        ("nix/store/x/bin/bash", Entry(FILE, 0o555, uid=1000), True),
        ("gnu/store/x", Entry(DIRECTORY, 0o555, uid=1000), True),
        ("nix/store", Entry(DIRECTORY, 0o1775, gid=30000), False),
        ("init", Entry(FILE, 0o755, uid=1000), True),
        ("opt/bin/x", Entry(FILE, 0o755, uid=1000), True),
        ("var/service/x/run", Entry(FILE, 0o755, uid=1000), True),
        ("var/lib/portables/x", Entry(FILE, 0o644, uid=1000), True),
        ("var/lib/systemd/linger/x", Entry(FILE, 0o644, uid=1000), True),
        ("var/lib/alternatives/x", Entry(FILE, 0o644, uid=1000), True),
        ("opt/x", Entry(FILE, 0o644, uid=1000), False),
        ("usr/x", Entry(SYMLINK, 0o777, uid=1000), False),
    ],
)
def test_system_files_of_an_ordinary_user_or_group_are_listed(path, entry, found):
    names = [Name(f"rootfs/{path}", entry)]
    message = f"an ordinary user or group can write '/{path}'"
    expected = [("medium", f"rootfs/{path}", message)] if found else []
    assert observed(CHECK, an_image(names=names)) == expected
    assert not observed(CHECK, replace(an_image(names=names), root_uid=1000, root_gid=entry.gid))


def test_programs_changeable_by_a_service_user_are_listed_with_low_severity():
    names = [
        Name("rootfs/usr/bin/sudo", Entry(FILE, 0o4755, uid=33)),
        Name("rootfs/bin/bash", Entry(FILE, 0o775, gid=33)),
        Name("rootfs/usr/bin/crontab", Entry(FILE, 0o2755, gid=102)),
        Name("rootfs/usr/share/x", Entry(FILE, 0o664, gid=33)),
        Name("rootfs/usr/lib/x", Entry(DIRECTORY, 0o755, uid=33)),
    ]
    message = "a system user or group other than root can write '/usr/bin/sudo', '/bin/bash', '/usr/lib/x'"
    assert observed(CHECK, an_image(names=names)) == [("low", "rootfs/usr/bin/sudo", message)]


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("usr/lib/systemd/system", Entry(DIRECTORY, 0o755, uid=33)),
        ("usr/lib/python3", Entry(DIRECTORY, 0o775, gid=33)),
        ("usr/local/bin", Entry(DIRECTORY, 0o2775, gid=50)),
        ("usr/local/bin/x", Entry(FILE, 0o755, uid=33)),
        ("etc/systemd/system/x.service", Entry(FILE, 0o644, uid=33)),
        ("etc/profile.d/x.sh", Entry(FILE, 0o644, uid=33)),
        ("etc/cron.daily", Entry(DIRECTORY, 0o755, uid=33)),
        *(
            (path, Entry(FILE, 0o644, uid=33))
            for path in (
                "etc/sudo.conf",
                "etc/doas.conf",
                "etc/pam.conf",
                "etc/nsswitch.conf",
                "etc/environment",
                "etc/inittab",
                "etc/bash.bashrc",
                "etc/ssh/sshd_config",
                "etc/polkit-1/rules.d/x.rules",
                "etc/security/pam_env.conf",
                "etc/update-motd.d/x",
                "etc/network/if-up.d/x",
                "etc/logrotate.d/x",
                "etc/apt/apt.conf.d/x",
                "etc/default/cron",
                "etc/local.d/x.start",
                "etc/dhcp/dhclient-exit-hooks.d/x",
                "etc/ssl/openssl.cnf",
                "root/.bashrc",
                "usr/local/etc/sudoers",
                "usr/etc/pam.d/x",
                "usr/share/polkit-1/rules.d/x",
                "usr/share/dbus-1/system-services/x.service",
                "usr/share/initramfs-tools/hooks/x",
                "var/lib/dpkg/info/x.postinst",
                "var/lib/cloud/scripts/per-boot/x",
                "var/spool/cron/crontabs/root",
                "init",
                "nix/store/x",
                "opt/bin/x",
                "var/service/x/run",
                "etc/alternatives/x",
                "var/lib/alternatives/x",
                "var/lib/systemd/linger/x",
                "usr/games/x",
            )
        ),
        ("etc/environment", Entry(FILE, 0o664, gid=33)),
        ("etc/ssh", Entry(DIRECTORY, 0o775, gid=33)),
    ],
)
def test_each_path_changeable_by_a_service_user_is_listed(path, entry):
    message = f"a system user or group other than root can write '/{path}'"
    found = observed(CHECK, an_image(names=[Name(f"rootfs/{path}", entry)]))
    assert found == [("low", f"rootfs/{path}", message)]


@pytest.mark.parametrize(
    ("link", "others"),
    [
        (a_link("rootfs/usr/bin/x", "../../srv/x"), [Name("rootfs/srv/x", Entry(FILE, 0o755, uid=33))]),
        (a_link("rootfs/usr/bin/x", "../../srv/x"), [Name("rootfs/srv", Entry(DIRECTORY, 0o755, uid=33))]),
        (a_link("rootfs/usr/bin/x", "/srv/x"), [Name("rootfs/srv", Entry(DIRECTORY, 0o1755, uid=33))]),
        (a_link("rootfs/usr/lib/x", "../share/x"), [Name("rootfs/usr/share/x", Entry(FILE, 0o664, gid=33))]),
        (a_link("rootfs/etc/systemd/system/x.timer", "/srv/x"), [Name("rootfs/srv/x", Entry(FILE, uid=33))]),
    ],
)
def test_link_with_target_replaceable_by_service_user_is_listed(link, others):
    message = f"a system user or group other than root can replace the targets of the links '{link.path[6:]}'"
    assert observed(CHECK, an_image(names=[link, *others])) == [("low", link.path, message)]


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("etc/postgresql", Entry(DIRECTORY, 0o755, uid=101)),
        ("etc/postgresql/15/main/pg_hba.conf", Entry(FILE, 0o640, uid=101)),
        ("etc/polkit-1/rules.d", Entry(DIRECTORY, 0o700, uid=102)),
        ("usr/share/polkit-1/rules.d", Entry(DIRECTORY, 0o700, uid=102)),
        ("etc/bind", Entry(DIRECTORY, 0o2775, gid=103)),
        ("etc/dhcp/ddns-keys", Entry(DIRECTORY, 0o755, uid=104)),
        ("usr/local/share/x", Entry(DIRECTORY, 0o2775, gid=50)),
        ("var/spool/cron/crontabs", Entry(DIRECTORY, 0o1730, gid=101)),
        ("var/spool/cron/crontabs/www-data", Entry(FILE, 0o600, uid=33)),
        ("var/spool/cron/atjobs", Entry(DIRECTORY, 0o1770, uid=1, gid=1)),
        ("var/lib/postgresql/.ssh/authorized_keys", Entry(FILE, 0o600, uid=101)),
        ("var/lib/polkit-1", Entry(DIRECTORY, 0o700, uid=102)),
        ("nix/store", Entry(DIRECTORY, 0o1775, gid=300)),
    ],
)
def test_file_owned_by_service_by_design_has_no_finding(path, entry):
    assert not observed(CHECK, an_image(names=[Name(f"rootfs/{path}", entry)]))


def test_program_link_that_services_cannot_redirect_has_no_finding():
    names = [
        a_link("rootfs/usr/bin/x", "../share/x/x"),
        Name("rootfs/usr/share/x/x", Entry(FILE, 0o755, gid=33)),
        a_link("rootfs/usr/share/y", "/srv/y"),
        Name("rootfs/srv/y", Entry(FILE, 0o644, uid=33)),
        a_link("rootfs/usr/lib/z", "/opt/z"),
        Name("rootfs/opt", Entry(DIRECTORY, 0o1775, gid=33)),
        Name("rootfs/opt/z", Entry(FILE)),
    ]
    assert not observed(CHECK, an_image(names=names))


@pytest.mark.parametrize(
    "name",
    [
        Name("rootfs/usr/lib/systemd/system", Entry(DIRECTORY, 0o1777)),
        Name("rootfs/etc/cron.daily", Entry(DIRECTORY, 0o1777)),
        Name("rootfs/var/lib/cloud/scripts/per-boot", Entry(DIRECTORY, 0o1777)),
        Name("rootfs/var/lib/dpkg/info/bash.postinst", Entry(FILE, 0o777)),
        Name("rootfs/var/lib/x", Entry(DIRECTORY, 0o777)),
        Name("rootfs/var/log", Entry(DIRECTORY, 0o777)),
        Name("rootfs/var", Entry(DIRECTORY, 0o1777)),
        Name("rootfs/var/spool/incron/root", Entry(FILE, 0o666)),
        Name("rootfs/etc/profile.d/x.sh", Entry(FIFO, 0o666)),
        Name("rootfs/etc/default/cron", Entry(SOCKET, 0o1666)),
    ],
)
def test_world_writable_entries_are_found_in_every_system_directory(name):
    """A sticky directory, and nearly all of /var, counted as harmless."""
    expected = [("medium", name.path, f"every user can write '{name.path[6:]}'")]
    assert observed(CHECK, an_image(names=[name])) == expected


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (
            "bin boot etc root sbin usr lib lib64 lib/x var/cron var/lib/cloud var/lib/confexts var/lib/dkms var/lib/dpkg",
            True,
        ),
        (
            "var/lib/extensions var/lib/pacman var/lib/rpm var/lib/snapd var/spool/anacron var/spool/at var/spool/atjobs",
            True,
        ),
        ("var/spool/atspool var/spool/cron var/spool/fcron var/spool/incron", True),
        (
            "home media mnt srv tmp var/cache var/crash var/games var/lock var/mail var/run var/spool var/spool/x var/tmp",
            False,
        ),
        ("dev proc run sys usr/tmp", False),
    ],
)
def test_public_sticky_directory_is_reported_only_in_system_directories(folders, found):
    for folder in folders.split():
        name = Name(f"rootfs/{folder}/x", Entry(DIRECTORY, 0o1777))
        observations = observed(CHECK, an_image(names=[name]))
        assert [at for _, at, _ in observations] == [name.path] * found, folder


def test_acls_of_system_files_are_listed():
    names = [Name("rootfs/usr/bin/su", Entry(FILE, 0o755), frozenset(("system.posix_acl_access",)))]
    assert observed(CHECK, an_image(names=names)) == [
        ("medium", "rootfs/usr/bin/su", "ACLs can let users write '/usr/bin/su'")
    ]


HOME = Name("rootfs/home/u", Entry(DIRECTORY, 0o755, uid=1000))
SHARE = Name("rootfs/usr/share", Entry(DIRECTORY, 0o755))
PUBLIC = Name("rootfs/tmp", Entry(DIRECTORY, 0o1777))
STORE = Name("rootfs/nix/store", Entry(DIRECTORY, 0o1775, gid=30000))


@pytest.mark.parametrize(
    ("link", "others"),
    [
        (a_link("rootfs/lib64", "home/u/lib64"), [HOME]),
        (a_link("rootfs/lib64", "home/u/lib64/"), [HOME, Name("rootfs/home/u/lib64", Entry(DIRECTORY))]),
        (a_link("rootfs/usr/bin/bash", "../../home/u/bash"), [HOME]),
        (a_link("rootfs/usr/bin/bash", "../share/../../home/u/bash"), [SHARE, HOME]),
        (a_link("rootfs/etc/rc.local", "/srv/x"), [a_link("rootfs/srv/x", "../home/u/x"), HOME]),
        (a_link("rootfs/etc/rc.local", "/home/u/x"), [a_link("rootfs/home/u/x", "/usr/bin/x"), HOME]),
        (a_link("rootfs/usr/bin/x", "/tmp/x"), [PUBLIC]),
        (a_link("rootfs/etc/default/cron", "/opt/x"), [Name("rootfs/opt/x", Entry(FIFO, 0o666))]),
        (a_link("rootfs/usr/bin/x", "/dev/shm/x"), []),
        (a_link("rootfs/usr/bin/x", "/proc/self/cwd/x"), []),
        (a_link("rootfs/etc/ld.so.conf", "/proc/1/environ"), []),
        (a_link("rootfs/etc/rc.local", "/proc/self/../self/cwd/x"), []),
        (a_link("rootfs/etc/rc.local", "/dev/pts/../shm/x"), []),
        (a_link("rootfs/usr/bin/x", "/home/ubuntu/x"), []),
        (a_link("rootfs/usr/bin/x", "/var/run/user/1/x"), []),
        (a_link("rootfs/usr/bin/bash", "/usr/tmp/bash"), [a_link("rootfs/usr/tmp", "../var/tmp")]),
        (a_link("rootfs/usr/bin/bash", "/usr/.//tmp/bash"), [a_link("rootfs/usr/tmp", "../var/tmp")]),
        (a_link("rootfs/usr/bin/x", "/nix/store/x"), [STORE]),
        (a_link("rootfs/var", "srv"), [Name("rootfs/srv", Entry(DIRECTORY, 0o777))]),
        (
            a_link("rootfs/usr/bin/x", "/opt/x"),
            [Name("rootfs/opt/x", Entry(FILE, 0o755), frozenset(("system.posix_acl_access",)))],
        ),
    ],
)
def test_a_system_link_is_listed_if_users_can_replace_its_target(link, others):
    message = f"users can replace the targets of the links '{link.path[6:]}'"
    assert ("medium", link.path, message) in observed(CHECK, an_image(names=[link, *others]))


def test_system_link_through_more_than_64_directories_is_listed():
    names = [
        a_link("rootfs/usr/bin/sh", f"/opt/{'d/' * 70}u/y"),
        a_link("rootfs/usr/bin/x", f"/usr/{'d/' * 70}y"),
    ]
    message = (
        "the links '/usr/bin/sh' lead through more than 64 directories, and the deepest ones were not checked"
    )
    assert observed(CHECK, an_image(names=names)) == [("medium", "rootfs/usr/bin/sh", message)]


def test_system_link_that_users_cannot_redirect_has_no_finding():
    names = [
        a_link("rootfs/lib", "usr/lib"),
        a_link("rootfs/usr/tmp", "../var/tmp"),
        a_link("rootfs/etc/mtab", "../proc/self/mounts"),
        a_link("rootfs/etc/resolv.conf", "/proc/net/pnp"),
        a_link("rootfs/etc/systemd/system/x.service", "/dev/null"),
        a_link("rootfs/usr/bin/loop", "/srv/loop"),
        a_link("rootfs/srv/loop", "/usr/bin/loop"),
        a_link("rootfs/bin/sh", "/nix/store/x"),
        a_link("rootfs/home/u/x", "/tmp/x"),
        Name("rootfs/dev/null", Entry("character device", 0o666)),
        Name("rootfs/var/tmp", Entry(DIRECTORY, 0o1777)),
        Name("rootfs/nix/store/x", Entry(FILE, 0o755)),
        PUBLIC, STORE, HOME,
    ]  # fmt: skip
    assert observed(CHECK, an_image(names=names)) == []


def test_linked_system_directory_is_searched_for_writable_files():
    """A link at /var/spool/cron hid a writable file with root's jobs."""
    names = [
        a_link("rootfs/var/spool/cron", "../../srv/cron"),
        Name("rootfs/srv/cron", Entry(DIRECTORY, 0o755)),
        Name("rootfs/srv/cron/root", Entry(FILE, 0o666)),
        a_link("rootfs/srv/cron/more", "../more/a"),
        Name("rootfs/srv/more/a", Entry(DIRECTORY, 0o755)),
        Name("rootfs/srv/more/a/b", Entry(FILE, 0o644, uid=1000)),
        Name("rootfs/srv/cron2", Entry(FILE, 0o666)),
    ]
    assert observed(CHECK, an_image(names=names)) == [
        ("medium", "rootfs/srv/cron/root", "every user can write '/srv/cron/root'"),
        ("medium", "rootfs/srv/more/a/b", "an ordinary user or group can write '/srv/more/a/b'"),
    ]


def test_oversized_passwd_file_is_reported_as_partly_checked():
    ((severity, _, message),) = observed(CHECK, an_image(heads={"rootfs/etc/passwd": b"x" * (1 << 20)}))
    assert (severity, message) == ("low", "only the first 1 MiB of '/etc/passwd' were checked")


@pytest.mark.parametrize("name", ["rootfs/etc/shadow", "rootfs/etc/sudoers.d/x"])
def test_account_files_with_a_non_root_owner_are_found(name):
    names = [Name(name, Entry(FILE, 0o600, uid=1000))]
    assert observed(CHECK, an_image(names=names)) == [
        ("high", name, f"'/{name[7:]}' belongs to uid 1000, not to root")
    ]
    assert not observed(CHECK, replace(an_image(names=names), root_uid=1000))


def test_the_owner_of_an_unpacked_root_filesystem_is_treated_as_root(tmp_path):
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "rootfs/etc/shadow").touch(0o600)
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    scanned = scan_image(str(tmp_path))
    assert scanned.root_uid == os.stat(tmp_path / "rootfs").st_uid
    assert CHECK not in {finding.check for finding in audit(scanned)}


@pytest.mark.parametrize(
    ("path", "when", "names", "severity"),
    [
        ("/home/u/a", "start", [Name("rootfs/home/u", Entry(DIRECTORY, 0o755, 1000))], "medium"),
        ("/home/u/d/a", "start", [Name("rootfs/home/u", Entry(DIRECTORY, 0o755, 1000))], "medium"),
        ("/home/u/a", "create, copy", [Name("rootfs/home/u", Entry(DIRECTORY, 0o775, 0, 100))], "medium"),
        ("/home/u/a", "create", [Name("rootfs/home/u", Entry(DIRECTORY, 0o755, 1000))], ""),
        ("/home/u/a", "start", [], "low"),
        ("/tmp/a", "rename", [], "medium"),
        ("/srv/pub/a", "start", [Name("rootfs/srv/pub", Entry(DIRECTORY, 0o777))], "medium"),
        ("/srv/pub/a", "start", [Name("rootfs/srv/pub", Entry(DIRECTORY, 0o1777))], "medium"),
        (
            "/srv/pub/a", "start",
            [Name("rootfs/srv/pub", Entry(DIRECTORY, 0o1777)), Name("rootfs/srv/pub/a", Entry(FILE))], "",
        ),
        ("/etc/a", "start", [a_link("rootfs/etc/a", "../x/y/z"), Name("rootfs/x/y", Entry(DIRECTORY, 0o777))], "medium"),
        ("/var/lib/app/a", "start", [Name("rootfs/var/lib/app", Entry(DIRECTORY, 0o755, 33))], "low"),
        ("/var/lib/app/a", "start", [Name("rootfs/var/lib/app", Entry(DIRECTORY, 0o755))], ""),
    ],
)  # fmt: skip
def test_target_that_users_can_replace_by_link_is_found(path, when, names, severity):
    """A real Incus 6.0.4 wrote through a relative link that a user had put at the target before a restart."""
    scanned = an_image(rules(f"{path}: {{when: [{when}], template: t}}"), {"t": ""}, names)
    seen = [each for each in observed(CHECK, scanned) if "by a link" in each[2]]
    who = "a system user or group" if "app" in path else "users"
    message = f"{who} can replace '{path}' by a link, through which a later start overwrites another file of the instance"
    assert seen == ([(severity, "image/metadata.yaml:4:3", message)] if severity else [])


def test_the_uid_0_user_toor_gives_a_finding_of_info_severity(tmp_path):
    passwd = b"root:x:0:0::/root:/bin/sh\ntoor:*:0:0::/root:\ndaemon:x:1:1::/:\n"
    scanned = scan_image(image(tmp_path / "i.tar", file("rootfs/etc/passwd", passwd)))
    (found,) = [finding for finding in audit(scanned) if finding.check == CHECK]
    assert (found.severity.name, found.message) == ("INFO", "2 accounts have uid 0: root, toor")


@pytest.mark.parametrize(
    ("names", "severity"), [("root toor", "info"), ("root toor x", "high"), ("root x", "high")]
)
def test_second_root_user_has_info_severity_if_named_toor(names, severity):
    passwd = "".join(f"{name}:x:0:0:::\n" for name in names.split()).encode()
    ((found, _, _),) = observed(CHECK, an_image(heads={"rootfs/etc/passwd": passwd}))
    assert found == severity


def test_one_user_with_uid_0_has_no_finding():
    assert not observed(CHECK, an_image(heads={"rootfs/etc/passwd": b"root:x:0:0:::\nx:x:10:0\n"}))


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("etc/a", "/b", "b"), ("etc/a", "b", "etc/b"), ("etc/a", "../b", "b"), ("etc/a", "../../b", "b"),
        ("etc/a", "./b", "etc/b"), ("etc/a", "b/./c", "etc/b/c"), ("etc/a", "b//c", "etc/b/c"),
        ("etc/a", ".b/c", "etc/.b/c"), ("etc/a", "//b", "b"), ("etc/a", "/../b", "b"), ("a", "b", "b"), ("a", "../b", "b"),
        ("x/y/z", "../b", "x/b"), ("x/y/z", "..", "x"), ("x/y/z", "./../b", "x/b"),
        ("etc/a", "b/../c", ""), ("x/y/z", "../b/../c", ""), ("x/y/z", "/b/..", ""),
    ],
)  # fmt: skip
def test_link_target_is_resolved_unless_dot_dot_follows_directory(path, target, inside):
    assert _target_inside(path, target) == inside


@pytest.mark.parametrize(
    ("path", "mode", "is_found"),
    [("home", 0o777, True), ("home", 0o1777, False), ("home", 0o755, False), ("tmp", 0o777, True),
     ("tmp", 0o1777, False), ("var/tmp", 0o777, True), ("home/u", 0o777, False)],
)  # fmt: skip
def test_world_writable_home_directory_without_sticky_bit_is_found(path, mode, is_found):
    """Each user can replace the home directories of other users, with their keys for logging in."""
    image = an_image(rules("{}"), {}, [Name(f"rootfs/{path}", Entry(DIRECTORY, mode=mode))])
    expected = [("medium", f"rootfs/{path}", f"every user can write '/{path}'")] if is_found else []
    assert observed("accounts", image) == expected
