"""Targets whose content can give access or privileges."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater.checks import cloud_init_keys
from templater.checks.image_scanner import scan_image
from templater.checks.scanned_image import Name
from templater.checks.security.sensitive_targets import SENSITIVE, UNUSUAL, _effect_of, _paths
from templater.model.entry import FILE, Entry
from tests.checks.builders import a_link, an_image, observed, rules, severities

CHECK = "sensitive-target"


def found(path, names=()):
    return an_image(rules(f"{path}: {{when: [create], template: t}}"), {"t": ""}, names)


#: Debian's Perl and Python run the first two in every program; the others name commands, libraries or keys
RUN_AS_ROOT = (
    "/etc/perl/strict.pm", "/etc/python3.13/sitecustomize.py", "/usr/share/perl5/strict.pm", "/etc/default/cron",
    "/etc/rc.conf", "/etc/rc.conf.d/x", "/etc/sysconfig/x", "/etc/apache2/envvars", "/usr/lib/systemd/systemd",
    "/usr/lib/apt/methods/http", "/usr/share/initramfs-tools/hooks/x", "/etc/systemd/system.conf", "/etc/hosts.allow",
    "/etc/rsyslog.d/x.conf", "/etc/pki/tls/openssl.cnf", "/etc/crypttab", "/etc/ssh/ssh_config", "/root/hello.sh",
    "/etc/wireguard/wg0.conf", "/etc/libvirt/hooks/qemu", "/usr/share/p11-kit/modules/x.module", "/root/.gitconfig",
    "/usr/local/games/x", "/usr/share/keyrings/x", "/etc/apt/keyrings/x", "/etc/ssl/certs/ca-certificates.crt",
)  # fmt: skip


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
        ("/etc/suauth", "high"),
        ("/etc/super.tab", "high"),
        ("/etc/sudo-ldap.conf", "high"),
        ("/etc/sysusers.d/x.conf", "high"),
        ("/usr/lib/sysusers.d/x.conf", "high"),
        ("/etc/credstore/passwd.hashed-password.root", "high"),
        ("/etc/spwd.db", "high"),
        ("/usr/local/lib/userdb/x.user", "high"),
        ("/etc/credstore/ssh.authorized_keys.root", "medium"),
        ("/usr/local/etc/ssh/sshd_config", "medium"),
        ("/usr/etc/security/access.conf", "medium"),
        ("/usr/etc/nsswitch.conf", "medium"),
        ("/etc/securetty", "medium"),
        ("/usr/lib/cron.d/x", "medium"),
        ("/usr/etc/cron.d/x", "medium"),
        ("/usr/local/etc/cron.d/x", "medium"),
        ("/etc/ld.so.conf", "medium"),
        ("/etc/ld.so.conf.d/x.conf", "medium"),
        ("/etc/ld.so.cache", "medium"),
        ("/root/.config/systemd/user/x.timer", "medium"),
        ("/etc/xdg/systemd/user/x.timer", "medium"),
        ("/usr/share/systemd/user/x.timer", "medium"),
        ("/run/systemd/system/x.timer", "medium"),
        ("/usr/local/lib/systemd/system/x.timer.d/a.conf", "medium"),
        ("/usr/lib/credstore/passwd.hashed-password.root", "high"),
        ("/usr/local/lib/credstore.encrypted/ssh.authorized_keys.root", "medium"),
        ("/run/credstore/ssh.authorized_keys.root", "medium"),
        ("/etc/tcb/root/shadow", "high"),
        ("/run/polkit-1/rules.d/x.rules", "high"),
        ("/lib/pam.d/su", "medium"),
        ("/lib/sysusers.d/x.conf", "high"),
        ("/lib/userdb/x.user", "high"),
        ("/etc/credstore/sysusers.extra", "high"),
        ("/run/credstore/userdb.user.evil", "high"),
        ("/etc/credstore/home.create.evil", "high"),
        ("/usr/lib/credstore.encrypted/tmpfiles.extra", "medium"),
        ("/etc/credstore/agetty.autologin", "medium"),
        ("/etc/credstore/tty.console.agetty.autologin", "medium"),
        ("/etc/credstore/login.noauth", "medium"),
        ("/etc/credstore/systemd.extra-unit.x.service", "low"),
        ("/etc/tmpfiles.d/x.conf", "medium"),
        ("/root/.config/user-tmpfiles.d/x.conf", "medium"),
        ("/var/lib/systemd/home/evil.identity", "high"),
        ("/usr/lib/passwd", "high"),
        ("/etc/sudoers-rs", "high"),
        ("/usr/local/etc/sudoers-rs", "high"),
        ("/usr/pkg/etc/sudoers", "high"),
        ("/run/sudo/ts/1000", "high"),
        ("/etc/subuid", "high"),
        ("/etc/subgid", "high"),
        ("/var/lib/polkit-1/localauthority/50-local.d/x.pkla", "high"),
        ("/etc/please.ini", "high"),
        ("/etc/op.conf", "high"),
        ("/etc/calife.auth", "high"),
        ("/root/.k5users", "high"),
        ("/etc/openssh/authorized_keys/root", "medium"),
        ("/etc/openssh/authorized_keys2/root", "medium"),
        ("/etc/openssh/sshd_config", "medium"),
        ("/etc/ssh/shosts.equiv", "medium"),
        ("/usr/share/pam.d/x", "medium"),
        ("/usr/lib/x86_64-linux-gnu/security/pam_x.so", "medium"),
        ("/etc/sssd/sssd.conf", "medium"),
        ("/etc/krb5.conf", "medium"),
        ("/etc/gdm3/custom.conf", "medium"),
        ("/etc/systemd/system/getty@tty1.service.d/autologin.conf", "medium"),
        ("/root/.yubico/authorized_yubikeys", "medium"),
        ("/root/.ssh2/authorization", "medium"),
        ("/root/.local/share/systemd/user/x.timer", "medium"),
        ("/usr/local/etc/crontab", "medium"),
        ("/etc/at.allow", "medium"),
        ("/etc/libmap.conf", "medium"),
        ("/etc/environment", "low"),
        ("/etc/profile.d/x.sh", "low"),
        ("/root/.bashrc", "low"),
        ("/etc/udev/rules.d/x.rules", "low"),
        ("/etc/apt/apt.conf.d/x", "low"),
        ("/usr/lib/libc.so.6", "low"),
        ("/etc/dbus-1/system.d/x.conf", "low"),
        ("/etc/inittab", "info"),
        ("/etc/rc.local", "info"),
        ("/etc/systemd/system/x.service", "info"),
        ("/usr/local/bin/x", "info"),
        ("/etc/uci-defaults/x", "info"),
        ("/var/lib/confexts/x/etc/sudoers", "high"),
        ("/var/lib/extensions.mutable/usr/lib/sysusers.d/x.conf", "high"),
        ("/overlay/upper/etc/shadow", "high"),
        ("/var/run/sysusers.d/x.conf", "high"),
        *((path, "low") for path in RUN_AS_ROOT),
    ],
)
def test_a_template_for_a_sensitive_file_is_found(path, severity):
    assert severities(CHECK, found(path)) == [severity]


def test_a_link_from_a_target_to_a_sensitive_file_is_found():
    ((_, _, message),) = observed(CHECK, found("/etc/motd", [a_link("rootfs/etc/motd", "sudoers")]))
    assert (
        "'/etc/motd', which leads to '/etc/sudoers', is a file that decides which users can become root"
        in message
    )


@pytest.mark.parametrize(
    ("target", "link", "to", "name", "severity"),
    [
        ("/srv/s/x", "etc/sudoers.d", "../srv/s", "/etc/sudoers.d/x", "high"),
        ("/srv/s", "etc/sudoers", "../srv/s", "/etc/sudoers", "high"),
        ("/etc/motd", "etc/ld.so.preload", "motd", "/etc/ld.so.preload", "high"),
        ("/etc/motd", "etc/shadow", "/etc/./motd", "/etc/shadow", "high"),
        ("/srv/k/authorized_keys", "root/.ssh", "../srv/k/.", "/root/.ssh/authorized_keys", "medium"),
        ("/etc/motd", "etc/cron.d", ".", "/etc/cron.d/motd", "medium"),
        ("/etc/a/sudoers", "etc/x", "a", "", "info"),
        ("/etc/rc.local", "etc/sudoers", "rc.local", "/etc/sudoers", "high"),
        # by its own name, such a target has the severity low or info
        ("/etc/motd", "etc/rc.local", "motd", "/etc/rc.local", "medium"),
        ("/etc/motd", "usr/sbin/sshd", "../../etc/motd", "/usr/sbin/sshd", "medium"),
        ("/etc/motd", "etc/profile", "motd", "/etc/profile", "medium"),
    ],
)
def test_a_symlink_from_a_sensitive_name_to_a_target_is_found(target, link, to, name, severity):
    """The target contains no link, but a program that opens the sensitive name reads the file of the rule."""
    also = f", which is also '{name}' because of symlinks," if name else ""
    ((seen, _, message),) = observed(CHECK, found(target, [a_link(f"rootfs/{link}", to)]))
    assert (seen, message.startswith(f"'{target}'{also} is a file ")) == (severity, True)


def test_chain_of_links_to_a_sensitive_name_is_found():
    names = [
        a_link("rootfs/etc", "srv/etc"),
        a_link("rootfs/srv/etc/cron.d", "../a"),
        a_link("rootfs/srv/a", "b/c"),
    ]
    names += [
        Name("rootfs/srv/b/c/x", Entry(FILE)),
        Name("rootfs/y", Entry(FILE), hard_link="rootfs/srv/b/c/x"),
    ]
    ((severity, _, message),) = observed(CHECK, found("/y", names))
    assert (severity, message.split(",")[1]) == (
        "medium",
        " which is also '/etc/cron.d/x' because of symlinks",
    )


@pytest.mark.parametrize(
    ("path", "severity", "name"),
    [
        ("/proc/self/root/etc/sudoers", "high", "/etc/sudoers"),
        ("/proc/1/task/1/cwd/etc/cron.d/x", "medium", "/etc/cron.d/x"),
        ("/proc/self/root/dev/fd/5/etc/shadow", "high", "/etc/shadow"),
        ("/proc/sys/kernel/core_pattern", "high", ""),
        ("/sys/fs/cgroup/a/release_agent", "high", ""),
    ],
)
def test_a_target_in_proc_is_followed_only_in_a_virtual_machine(path, severity, name):
    """The real agent of Incus 6.0.4 writes ``/proc/self/root/etc/sudoers`` to ``/etc/sudoers``."""
    for names in (["rootfs.img"], ()):
        ((found_severity, _, message),) = observed(CHECK, found(path, names))
        assert found_severity == severity
        assert message.startswith(
            f"'{path}', which can be '{name}' in a running" if name else f"'{path}' is a"
        )
    assert severities(CHECK, found(path, ["rootfs/etc/hostname"])) == ["info"]


@pytest.mark.parametrize(
    ("path", "fields", "severity", "who"),
    [
        ("/etc/rc.local", "uid: 1000, mode: '0755'", "medium", "user 1000"),
        ("/etc/profile.d/x.sh", "mode: '0666'", "medium", "every user"),
        ("/etc/systemd/system/x.service", "gid: 100, mode: '0664'", "medium", "group 100"),
        ("/etc/systemd/system/x.service", "gid: 1000, mode: '0644'", "info", ""),
        ("/etc/systemd/system/x.service", "uid: 33, gid: 33, mode: '0664'", "info", ""),
        ("/etc/sudoers.d/x", "uid: 1000", "high", "user 1000"),
        ("/etc/rc.local", "uid: x", "info", ""),
        ("/srv/app.conf", "uid: 1000, mode: '0666'", "info", ""),
        ("/etc/x", "uid: 1000", "medium", "user 1000"),
        ("/etc/default/cron", "uid: 1000", "medium", "user 1000"),
        ("/root/hello.sh", "uid: 1000", "medium", "user 1000"),
        ("/home/u/.bashrc", "uid: 1000", "low", ""),
        ("/var/lib/app/.ssh/authorized_keys", "uid: 1000", "medium", ""),
        ("/root/.bashrc", "uid: 1000", "medium", "user 1000"),
        ("/home/u/.bashrc", "uid: 1000, mode: '0666'", "medium", "every user"),
        ("/etc/skel/.bashrc", "uid: 1000", "medium", "user 1000"),
        ("/etc/profile.d/.x.sh", "uid: 1000", "medium", "user 1000"),
        ("/etc/systemd/system/.hidden.service", "gid: 1000, mode: '0664'", "medium", "group 1000"),
        ("/usr/lib/systemd/system/.d/x.service", "uid: 1000", "medium", "user 1000"),
    ],
)
def test_new_sensitive_file_writable_by_users_has_raised_severity(path, fields, severity, who):
    image = an_image(rules(f"{path}: {{when: [create], template: t, {fields}}}"), {"t": ""})
    ((found_severity, _, message),) = observed(CHECK, image)
    end = f", and its uid, gid and mode: {who} can write the file" if who else ""
    assert (found_severity, message.partition("its template")[2]) == (severity, end)


def test_existing_file_keeps_its_severity_despite_uid_and_mode():
    """An existing file keeps its owner and mode.

    If users can write the file, the check ``accounts`` reports the file.
    """
    metadata = rules("/etc/rc.local: {when: [create], template: t, uid: 1000, mode: '0666'}")
    assert severities(CHECK, an_image(metadata, {"t": ""}, ["rootfs/etc/rc.local"])) == ["info"]


USER_DATA = "/var/lib/cloud/seed/nocloud-net/user-data"
META_DATA = "/var/lib/cloud/seed/nocloud-net/meta-data"
CONFIG = "/etc/cloud/cloud.cfg.d/99-x.cfg"
FILES_OF_CLOUD_INIT = [
    "/var/lib/cloud/seed/nocloud/vendor-data2", "/var/lib/cloud/seed/ec2/user-data",
    "/var/lib/cloud/seed/config_drive/openstack/latest/user_data", "/var/lib/cloud/seed/cs/user-data.raw",
    "/var/lib/cloud/seed/ovf-env.xml", "/config-drive/openstack/latest/user_data", "/etc/cloud/cloud.cfg",
    "/run/cloud-init/cloud.cfg", "/etc/cloud/clean.d/x", "/etc/cloud/templates/hosts.debian.tmpl",
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "template", "default", "key"),
    [
        (USER_DATA, "#cloud-config\nusers:\n- name: evil\n", "", "users"),
        (USER_DATA, "{% if a %}{ 'write_files' : [a]}{% endif %}", "", "write_files"),
        (USER_DATA, '{{ "us" }}ers: [evil]', "", "users"),
        (USER_DATA, "us{% if a %}ers:{% endif %}", "", "users"),
        (USER_DATA, '{{ config_get("user.user-data", properties.default) }}', "runcmd: [id]", "runcmd"),
        (USER_DATA, "#!/bin/sh\nid\n", "", "#!"),
        ("/var/lib/cloud/seed/nocloud/vendor-data", "#include\nhttps://example.org\n", "", "#include"),
        ("/var/lib/cloud/seed/nocloud/meta-data", "public-keys:\n- ssh-ed25519 A\n", "", "public-keys"),
        ("/etc/cloud/cloud.cfg.d/99-x.cfg", "ssh_authorized_keys: [A]\n", "", "ssh_authorized_keys"),
        (USER_DATA, '{{ config_get("user.user-data", properties.default) }}', "#cloud-config\n{}", ""),
        (USER_DATA, '{{ config_get("cloud-init.user-data", "#cloud-config\\n{}") }}', "", ""),
        ("/var/lib/cloud/seed/nocloud-net/meta-data", "instance-id: {{ container.name }}\n", "", ""),
        ("/etc/cloud/cloud.cfg.d/99-x.cfg", "datasource_list: [NoCloud]\nmanage_etc_hosts: true\n", "", ""),
        (USER_DATA, "#cloud-config\nssh_pwauth: false\nusers: []\n'public-keys': []\n", "", ""),
        (USER_DATA, "#cloud-config\ndisable_root: true\nssh_pwauth: no # x\n", "", ""),
        (USER_DATA, "#cloud-config\ndisable_root: false\n", "", "disable_root"),
        (USER_DATA, "#cloud-config\nssh_pwauth: yes\n", "", "ssh_pwauth"),
        ("/etc/cloud/templates/hosts.debian.tmpl", "## \u00a0template:jinja\n", "", "## \\xa0template"),
        ("/var/lib/cloud/seed/maas/meta-data/public-keys", "ssh-ed25519 A\n", "", "public-keys"),
        ("/etc/cloud/cloud.cfg.d/99-x.cfg", "network:\n  config: disabled\n", "", ""),
        ("/etc/cloud/cloud.cfg.d/99-x.cfg", "network:\n  config: {runcmd: [x]}\n", "", "runcmd"),
        ("/etc/x", "users: [evil]\n", "", ""),
        # keys that run commands, write files or fetch texts, and are in no list of dangerous keys
        (USER_DATA, "#cloud-config\noutput: {all: '| sh -c evil'}\n", "", "output"),
        (USER_DATA, "#cloud-config\nrandom_seed: {command: [sh, -c, id]}\n", "", "random_seed"),
        (USER_DATA, "#cloud-config\nhostname: a\npower_state:\n  condition: id\n", "", "power_state"),
        (USER_DATA, "#cloud-config\nfinal_message: a\n", "", "final_message"),
        (META_DATA, "instance-id: a\nseedfrom: http://example.org/\n", "", "seedfrom"),
        (CONFIG, "datasource: {NoCloud: {seedfrom: 'http://example.org/'}}\n", "", "datasource"),
        (CONFIG, "network: {config: [a]}\n", "", "network"),
        # other spellings of keys
        (USER_DATA, '"run\\x63md": [id]\n', "", '"run\\x63md": [id]'),
        (USER_DATA, "? runcmd\n: [id]\n", "", "? runcmd"),
        (USER_DATA, "{runcmd\n : [id]}\n", "", "{runcmd"),
        (USER_DATA, "hostname: &a {x: y}\n<<: *a\n", "", "<<: *a"),
        (USER_DATA, "#cloud-config\n x: [id]\n", "", "x: [id]"),
        (USER_DATA, "hostname: a\u2028x: b\n", "", "x"),
        (META_DATA, '{\n"instance-id": "a", "x": "b"\n}\n', "", '"instance-id": "a", "x": "b"'),
        (META_DATA, '{\n"x": "b"\n}\n', "", "x"),
        (USER_DATA, "password: false\n  a\n", "", "password"),
        # keys that the template joins
        (USER_DATA, 'run{{ "CMD"|lower }}: [id]\n', "", "run{{…}}: [id]"),
        (USER_DATA, 'run{{ config_get("user.x","cmd") }}: [id]\n', "", "run{{…}}: [id]"),
        (USER_DATA, "{{ 58|stringformat:'runcmd%c [id]' }}\n", "", "{{ 58|stringformat:'runcmd%c [id]' }}"),
        (
            USER_DATA,
            '{% set a = "abruncmd"|slice:"2:" %}{{ a }}: [id]\n',
            "",
            '{% set a = "abruncmd"|slice:"2:" %}',
        ),
        (USER_DATA, '{% for a in "a"|make_list %}cmd{% endfor %}', "", '{% for a in "a"|make_list %}'),
        (USER_DATA, "{{ path }}", "", "{{ path }}"),
        (USER_DATA, "hostname: {{ properties }}", "", "{{ properties }}"),
        (USER_DATA, '{{ config_get("image.x") }}', "", "image.x"),
        (USER_DATA, '{{ config_get("user.x", "x: [id]") }}', "", "x"),
        (USER_DATA, "{% if a %}hostname: {% endif %}x: [id]\n", "", "x"),
        (USER_DATA, "{% if a %}# {% endif %}x: [id]\n", "", "x"),
        (USER_DATA, "{% if a %}hostname: b\n{% endif %}  x: [id]\n", "", "x: [id]"),
        (USER_DATA, "hostname: {{ properties.default }}x: [id]", "a\n", "x"),
        # the beginnings of texts other than cloud-config
        (
            USER_DATA,
            "## template: jinja\n#cloud-config\n{% verbatim %}{{ a }}{% endverbatim %}",
            "",
            "## template",
        ),
        (USER_DATA, "#Cloud-Config-JSONP\n[]\n", "", "#Cloud-Config-"),
        (USER_DATA, "#cloud-config-archive\n- a\n", "", "#cloud-config-"),
        (USER_DATA, "#unknown\n", "", "#unknown"),
        (USER_DATA, "mime-version: 1.0\n", "", "mime-version"),
        (USER_DATA, "From nobody: x\nContent-type: text/x-shellscript\n\nid", "", "Content-type:"),
        (USER_DATA, "\ufeff#!/bin/sh\nid\n", "", "\\ufeff#!/bin/sh"),
        # other files that cloud-init reads
        *((path, "#cloud-config\nntp: {config: a}\n", "", "ntp") for path in FILES_OF_CLOUD_INIT),
        ("/var/lib/cloud/seed/nocloud-net/network-config", "version: 2\n", "", ""),
        ("/var/lib/cloud/seed/nocloud-net/network-data", "version: 2\n", "", ""),
        ("/config-drive/openstack/latest/network_data.json", "{}", "", ""),
        # texts of ordinary images
        (
            USER_DATA,
            "{% if a %}{{ config_get('a', '') }}{% else %}\n{{ config_get('b', '') }}\n{% endif %}",
            "",
            "",
        ),
        (USER_DATA, "#cloud-config\n{}\n", "", ""),
        (USER_DATA, "#cloud-config\n# A\nhostname: {{ container.name }}.lan # a\n#fqdn: a\n---\n", "", ""),
        (
            META_DATA,
            '{\n"local-hostname":"{{ container.name }}",\n{{ config_get("a", properties.default) }}\n}\n',
            '"public-keys": []',
            "",
        ),
        (CONFIG, "growpart:\n  mode: auto\n  devices: [/]\n\nupdates:\n- network\n", "", ""),
        (CONFIG, "network: {config: disabled}\npackages: []\n", "", ""),
    ],
)
def test_template_with_sensitive_cloud_init_keys_is_found(path, template, default, key):
    entry = f"{path}: {{when: [create], template: t, properties: {{default: {json.dumps(default)}}}}}"
    message = (
        f"'{path}' can get '{key}', with which cloud-init may grant access, run commands or write files:"
        " review its template"
    )
    seen = [
        each
        for each in observed(CHECK, an_image(rules(entry), {"t": template}))
        if " is a file " not in each[2]
    ]
    severity = "low" if "runcmd" in default else "medium"
    assert seen == ([(severity, "image/metadata.yaml:4:3", message)] if key else [])


def test_a_cloud_init_template_of_several_rules_is_read_once(monkeypatch):
    """A large template with thousands of rules would use up the time that the checks have for templates."""
    read = []
    monkeypatch.setattr(cloud_init_keys, "readings_of", lambda source: read.append(source) or iter(()))
    entries = (f"/etc/cloud/cloud.cfg.d/{number}: {{when: [create], template: t}}" for number in range(9))
    assert set(severities(CHECK, an_image(rules(*entries), {"t": "hostname: a\n"}))) == {"low"}
    assert len(read) == 1


@pytest.mark.parametrize(
    "path",
    ["/etc/hosts", "/etc/hostname", "/etc/HOSTNAME", "/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/config/system",
     "/etc/systemd/network/eth0.network", "/etc/sysconfig/network", "/etc/sysconfig/network-scripts/ifcfg-eth0",
     "/etc/conf.d/hostname", "/etc/rc.conf.d/hostname", "/etc/network/interfaces", "/etc/netplan/10-eth0.yaml",
     "/var/lib/cloud/seed/nocloud-net/meta-data", "/var/lib/cloud/seed/nocloud-net/network-config"],
)  # fmt: skip
def test_the_targets_of_most_images_have_no_finding(path):
    assert not observed(CHECK, found(path))
    assert not observed(CHECK, found(path, [a_link("rootfs/srv/root", "/")]))  # with a second name


@pytest.mark.parametrize(
    "path",
    ["/etc/sudoers.txt", "/srv/etc/passwd", "/etc/credstore/app.token", "/etc/caddy/Caddyfile", "/etc/hostname.d/x",
     "/srv/x", "/a"],
)  # fmt: skip
def test_an_unusual_target_gives_a_finding_of_info_severity(path):
    message = f"'{path}' is {UNUSUAL}: review its template"
    assert observed(CHECK, found(path)) == [("info", "image/metadata.yaml:4:3", message)]


def test_attack_23_a_hard_link_of_a_sensitive_file_as_target_is_found(tmp_path):
    """The daemons write into the existing file, so all its names get the new content."""
    names = (
        Name("rootfs/etc/sudoers", Entry(FILE)),
        Name("rootfs/a", Entry(FILE), hard_link="rootfs/etc/sudoers"),
    )
    names += (Name("rootfs/etc/app.conf", Entry(FILE), hard_link="rootfs/a"),)
    message = (
        "'/etc/app.conf', a hard link of '/etc/sudoers', is a file that decides which users can become root"
    )
    place = "image/metadata.yaml:4:3"
    assert observed(CHECK, found("/etc/app.conf", names)) == [
        ("high", place, f"{message}: review its template")
    ]
    also = "'/etc/app.conf' is a hard link to '/etc/sudoers': the daemon changes both"
    assert observed("target-kind", found("/etc/app.conf", names)) == [("medium", place, also)]
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/t").touch()
    (tmp_path / "metadata.yaml").write_text(rules("/etc/app.conf: {when: [create], template: t}"))
    (tmp_path / "rootfs/etc/app.conf").touch()
    image = scan_image(str(tmp_path))
    assert (severities(CHECK, image), observed("target-kind", image)) == (["info"], [])
    os.link(tmp_path / "rootfs/etc/app.conf", tmp_path / "rootfs/etc/sudoers")
    image = scan_image(str(tmp_path))
    assert [seen[::2] for seen in observed(CHECK, image)] == [("high", f"{message}: review its template")]
    assert [seen[::2] for seen in observed("target-kind", image)] == [("medium", also)]
    (tmp_path / "rootfs/etc/sudoers").rename(tmp_path / "outside")
    (tmp_path / "outside").rename(tmp_path.parent / f"{tmp_path.name}-outside")
    assert [message for _, _, message in observed("target-kind", scan_image(str(tmp_path)))] == [
        "'/etc/app.conf' is a hard link to a file outside the image: the daemon changes both"
    ]


@pytest.mark.slow
@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(data=st.data())
@pytest.mark.parametrize("effect", [entry[0] for entry in SENSITIVE])
def test_each_sensitive_path_contains_a_search_word_of_its_pattern(effect, data):
    """A pattern is compiled only if a path contains one of its words."""
    ((_, _, words, pattern),) = [entry for entry in SENSITIVE if entry[0] == effect]
    path = data.draw(st.from_regex(_paths(pattern), fullmatch=True))
    assert any(word in path for word in words)
    assert _effect_of((path,))[0]
