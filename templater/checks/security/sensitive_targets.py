"""A check for security-sensitive targets, such as SSH keys, cron jobs, sudo rules and preloaded libraries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain

from ...model.errors import TemplaterError
from ...model.file_names import ROOTFS
from ...model.metadata import Rule
from ...model.permissions import parse_id
from ...model.unprintable_characters import printable
from ..base import Observation, check, mode_of
from ..cloud_init_keys import is_for_cloud_init, texts_with_power
from ..scanned_image import ScannedImage
from ..target_kinds import SEEDS

#: the lowest uid and gid of ordinary users, and the gid of the group "users"
FIRST_USER, USERS = 1000, 100


@cache
def _paths(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})\Z", re.DOTALL | re.VERBOSE)


#: the directories that contain no home directory of an ordinary user
_OF_SYSTEM = ("/bin/", "/boot/", "/etc/", "/lib", "/proc/", "/root/", "/run/", "/sbin/", "/sys/", "/usr/")
#: the directories with the settings of the administrator, of the vendor, and of BSD ports
_ETC = r"(?:/usr(?:/local|/pkg)?)?/etc"
_LIB = r"(?:/usr(?:/local)?)?/lib"
#: the directories in which systemd searches for each kind of settings
_SETTINGS = rf"(?:/etc|/run|{_LIB})"
_CREDENTIALS = rf"{_SETTINGS}/credstore(?:\.encrypted)?"
UNUSUAL = "a file that templates of most images do not write"
#: the files that templates of most images write: names and addresses, and the seed files of cloud-init
_ORDINARY = rf"""/etc/(?:hostname|HOSTNAME|hosts|machine-id|motd|issue|resolv\.conf|timezone|conf\.d/hostname)
            |/etc/(?:network/interfaces|netplan/[^/]*\.yaml|sysconfig/network(?:-scripts/ifcfg-[^/]*)?|rc\.conf\.d/hostname)
            |/etc/(?:config/system|systemd/network/.*)|/var/lib/dbus/machine-id
            |(?:{"|".join(SEEDS)})/[^/]*"""
_OF_USERS = r"(?:.*/\.config|.*/\.local/share|/etc/xdg|/usr(?:/local)?/share)"

_SERVICES = rf"""(?:{_SETTINGS}|{_OF_USERS})/systemd/(?:system|user)[^/]*/.*
            |{_ETC}/(?:inittab|rc(?:[0-6S]\.d|\.(?!conf)[^/]*)?(?:/.*)?|finit\.conf)
            |{_ETC}/(?:init|init\.d|runit|runlevels|sv|s6[^/]*|service|dinit\.d|finit\.d|local\.d)/.*
            |/var/service/.*|/etc/uci-defaults/.*|/etc/kubernetes/manifests/.*|/etc/alternatives/.*
            |/etc/(?:apt/sources\.list.*|(?:yum\.repos\.d|zypp|nixos|portage)/.*|apk/repositories|pacman\.conf)
            |(?:/usr(?:/local)?|/opt)?/s?bin/.*|/usr/libexec/.*"""

#: Each entry has a description of the file, the severity, words, and a pattern of paths. Each path that
#: matches the pattern contains one of the words. Compiling all patterns takes five milliseconds. So a pattern
#: is compiled only if a path contains one of its words. If a file matches several patterns, only the first
#: pattern counts. So the patterns with the highest severity come first.
SENSITIVE = (
    (
        "a file that loads libraries into every program",
        "high",
        ("ld.so.preload",),
        r"/etc/ld\.so\.preload",
    ),
    (
        "a file that decides which users can become root",
        "high",
        (
            "sudo",
            "doas",
            "suauth",
            "super.tab",
            "polkit-1",
            "subuid",
            "subgid",
            "k5users",
            "please",
            "/op.",
            "calife",
        ),
        rf"""{_ETC}/(?:sudoers(?:-rs)?(?:\.d/.*)?|sudo\.conf|sudo-ldap\.conf|doas(?:\.d/.*|\.conf)|opendoas\.conf)
            |(?:/run|/var/run|/var/db|/var/lib)/sudo(?:-rs)?/ts/.*
            |/etc/(?:suauth|super\.tab|sub[ug]id|please\.(?:ini|d/.*)|op\.(?:conf|d/.*)|calife\.auth)|.*/\.k5users
            |(?:/etc|/run|/var/lib|/usr/share|/usr/local/share|/usr/local/etc)/polkit-1/.*""",
    ),
    (
        "a file with accounts and passwords",
        "high",
        (
            "passwd",
            "shadow",
            "group",
            "pwd.db",
            "extrausers",
            "/tcb/",
            "userdb",
            "sysusers.d",
            "credstore",
            "/home/",
        ),
        rf"""(?:/usr)?/etc/(?:(?:passwd|shadow|gshadow|group|master\.passwd)-?|s?pwd\.db)|/var/lib/extrausers/.*
            |/usr/lib/(?:passwd|shadow|group)|/etc/samba/smbpasswd|/etc/tcb/.*|{_SETTINGS}/(?:userdb|sysusers\.d)/.*
            |/run/host/userdb/.*|/var/lib/systemd/home/.*\.identity
            |{_CREDENTIALS}/(?:passwd|sysusers|userdb|home)\..*""",
    ),
    (
        "a file that decides how users log in",
        "medium",
        (
            "/pam",
            "/security/",
            "sshd_config",
            "nsswitch.conf",
            "login.",
            "securetty",
            "hosts.equiv",
            ".rhosts",
            ".shosts",
            "k5login",
            "krb5.",
            "sssd",
            "ldap",
            "nslcd",
            "/yp.conf",
            "getty",
            "/ttys",
            "autologin",
            "gdm",
            "lightdm",
            "sddm",
            "lxdm",
            "dropbear",
            "/rpcd",
            "radius",
            "tac",
            "credstore",
        ),
        rf"""(?:/usr(?:/local)?)?/(?:etc|lib|share)/(?:pam\.d|security)/.*|{_LIB}[^/]*/(?:[^/]*/)?(?:security|pam)/.*
            |{_ETC}/pam\.conf|{_ETC}/(?:ssh|openssh)/sshd_config(?:\.d/.*)?|(?:/usr)?/etc/nsswitch\.conf
            |/etc/(?:login\.(?:access|defs|conf)|securetty|(?:ssh/|openssh/)?s?hosts\.equiv|krb5\.(?:conf(?:\.d/.*)?|keytab))
            |/etc/(?:sssd/.*|ldap\.conf|pam_ldap\.conf|libnss-ldap\.conf|nslcd\.conf|yp\.conf|ttys|gettytab)
            |/etc/(?:pam_radius_auth\.conf|tacplus_servers|config/(?:dropbear|rpcd)|conf\.d/agetty.*|default/dropbear)
            |/etc/(?:gdm3?|lightdm|lxdm)/.*|(?:/etc|/usr/lib)/sddm\.conf(?:\.d/.*)?|.*/\.(?:[rs]hosts|k5login)
            |(?:/etc|/run|{_LIB})/systemd/[^/]*/[^/]*getty[^/]*(?:/.*)?|{_CREDENTIALS}/(?:agetty|login|tty)\..*""",
    ),
    (
        "a file that lists the keys for logging in",
        "medium",
        ("authorized_", "auth_principals", "/ssh.", "/.ssh2/", "u2f_", "yubikey", "google_authenticator"),
        rf"""(?:.*/\.ssh|.*/etc/(?:open)?ssh|/etc/dropbear)/authorized_(?:keys|principals)[^/]*(?:/.*)?
            |/etc/ssh/auth_principals/.*|.*/\.ssh2/authorization|.*/\.(?:yubico|eid)/authorized_[^/]*
            |.*/\.config/Yubico/u2f_keys|/etc/(?:u2f_mappings|yubikey_mappings)|.*/\.google_authenticator
            |{_CREDENTIALS}/ssh\..*""",
    ),
    (
        "a file that runs commands on a schedule",
        "medium",
        ("cron", "/periodic/", "/spool/at", "/at.", ".timer"),
        rf"""(?:/usr/local)?/etc/(?:cron|anacron|fcron|incron|periodic/).*|/etc/at\.(?:allow|deny)|/var/cron/.*
            |/usr/(?:lib|etc)/cron.*|/var/spool/(?:cron|anacron|at|fcron|incron).*
            |(?:{_SETTINGS}|{_OF_USERS})/systemd/.*\.timer(?:\.d/.*)?""",
    ),
    (
        "a file that decides where programs find libraries",
        "medium",
        ("ld.so.", "ld-musl-", "ld-elf", "libmap.", "gconv-modules"),
        rf"""/etc/ld\.so\.(?:cache|conf(?:\.d/.*)?)|/etc/ld-musl-[^/]*\.path|(?:/var)?/run/ld-elf.*\.hints
            |(?:/usr/local)?/etc/libmap\.(?:conf|d/.*)|{_LIB}[^/]*/(?:[^/]*/)?gconv/gconv-modules.*""",
    ),
    (
        "a file of tmpfiles.d, which lets the system create other files, such as sudo rules and keys",
        "medium",
        ("tmpfiles",),
        rf"(?:{_SETTINGS}/tmpfiles\.d|{_OF_USERS}/user-tmpfiles\.d)/.*|{_CREDENTIALS}/tmpfiles\..*",  # noqa: S108
    ),
    (
        "a file from which shells, the kernel or services take commands",
        "low",
        ("/",),
        # shells and sessions, then networks, the kernel, package managers, and other services
        rf"""{_ETC}/(?:profile|bash|zsh|csh|ksh|mksh|fish)[^/]*(?:/.*)?|{_SETTINGS}/environment(?:\.d/.*)?
            |(?:/root|/home/[^/]*|/etc/skel)/\.(?:bash|z|csh|tcsh|ksh|mksh|x|profile|login|logout|pam_env)[^/]*
            |.*/\.config/(?:fish|autostart|environment\.d)/.*|.*/\.ssh/(?:rc|environment|config)|/etc/ssh/sshrc
            |/etc/X11/.*|/etc/xdg/autostart/.*|.*/\.forward|/etc/(?:mail/)?aliases
            |/etc/network/if-[^/]*\.d/.*|/etc/(?:NetworkManager/dispatcher\.d|networkd-dispatcher|ppp)/.*
            |/etc/(?:dhcp/)?dhc[^/]*-[^/]*hook.*|{_LIB}/dhcpcd/.*|/etc/(?:hotplug\.d|udhcpc)/.*
            |{_SETTINGS}/(?:udev/rules\.d|modprobe\.d|binfmt\.d|sysctl\.d)/.*|/etc/sysctl\.conf|/boot/.*
            |/etc/(?:kernel|initramfs-tools|dracut[^/]*|mkinitcpio[^/]*|grub\.d)/.*
            |/etc/(?:apt/apt\.conf.*|apt/trusted\.gpg.*|yum/plug.*|dnf/.*|pacman\.d/hooks/.*|dpkg/.*|rpm/.*)
            |/etc/(?:apk/(?:keys|commit_hooks\.d)|needrestart|ca-certificates/update\.d|update-motd\.d)/.*
            |/var/lib/(?:dpkg|rpm|pacman)/.*|/etc/(?:logrotate\.(?:conf|d/.*)|x?inetd\.(?:conf|d/.*))
            |(?:/etc|/usr(?:/local)?/share)/dbus-1/.*|/etc/supervisor.*|/etc/acpi/.*|/etc/ssl/openssl\.cnf
            |/var/lib/cloud/(?:scripts|handlers|instances?|data)/.*
            |{_CREDENTIALS}/(?:systemd|udev|sysctl|fstab|shell|import)\..*
            |{_LIB}.*\.(?:so[0-9.]*|pyc?|pth|p[lm])""",
    ),
    (
        "a file that programs of root run, load or trust",
        "low",
        ("/",),
        # programs and libraries, then settings that name commands or libraries, then keys
        rf"""(?!(?:{_ORDINARY}|{_SERVICES})\Z)(?:
             /usr/(?:local/)?lib.*|/lib.*|/init(?:/.*)?|/root/.*|/usr/(?:local/)?games/.*|/snap/bin/.*
            |/usr/(?:local/)?share/(?:perl|python|initramfs-tools|debconf|bash-completion|p11-kit|pam-configs|containers)[^/]*/.*
            |/etc/(?:perl|python|default|conf\.d|rc\.conf|sysconfig|NetworkManager|network|netplan|selinux|xdg)[^/]*(?:/.*)?
            |/etc/(?:systemd|udev|cloud|init|apt|cron|rsyslog|syslog|audit|audisp|logrotate|snmp|cups|zfs)[^/]*(?:/.*)?
            |/etc/(?:wireguard|openvpn|libvirt|containers|docker|lxc|qemu|vmware|letsencrypt|fail2ban|monit)[^/]*/.*
            |/etc/(?:apache2|httpd|nginx|mysql|postfix|exim|keepalived|dnsmasq|chrony|ImageMagick|apcupsd|nut)[^/]*/.*
            |/etc/(?:crypttab|fstab|hosts\.(?:allow|deny)|firewall\.user|opkg|portage/|makepkg|abuild|eclean)[^/]*(?:/.*)?
            |/etc/(?:vim|gdb|inputrc|screenrc|tmux|nanorc|less|mailcap|procmail|wgetrc|curlrc|gitconfig)[^/]*(?:/.*)?
            |/etc/(?:pki|ssl|ca-certificates|crypto-policies|apt|ssh|gss|sasl2|pkcs11|dconf|pacman|usbguard|ppp)[^/]*(?:/.*)?
            |/usr/(?:local/)?share/(?:keyrings|ca-certificates|polkit|zoneinfo|locale|misc)[^/]*/.*
            |/var/lib/(?:alternatives|apt|cloud|dkms|NetworkManager|portables|snapd|systemd)/.*)""",
    ),
    (
        "a file that decides which services and programs the system runs",
        "info",  # templates of ordinary images write such files
        ("/",),
        _SERVICES,
    ),
    (
        UNUSUAL,
        "info",
        ("/",),
        rf"(?!(?:{_ORDINARY})\Z)/.*",
    ),
)
#: an entry for files in /proc and /sys of a running system, to which the agent of a virtual machine writes
OF_KERNEL = (
    "a file that decides which programs the kernel runs as root",
    "high",
    ("/proc/sys/", "/sys/"),
    r"""/proc/sys/kernel/(?:core_pattern|modprobe|hotplug|poweroff_cmd|usermodehelper/.*)|/proc/sys/fs/binfmt_misc/.*
        |/sys/kernel/uevent_helper|/sys/fs/cgroup/(?:.*/)?release_agent""",
)
#: the beginning of a path whose files a running system shows in its root directory: extensions of systemd,
#: the upper layer of an overlay, and OSTree
_SHOWN_AT_ROOT = re.compile(
    r"""(?:/etc|/run|/var/lib|/usr(?:/local)?/lib)/(?:confexts|extensions)(?:\.mutable|/[^/]+)
        |/overlay/upper|/media/root-rw(?:/overlay)?|(?:/sysroot)?/ostree/deploy/[^/]+/deploy/[^/]+
        |/writable/system-data""",
    re.VERBOSE,
)
#: a link of the kernel to a directory, which is usually the root directory
_OF_PROCESS = re.compile(
    r"/proc/(?:self|thread-self|[0-9]+)(?:/task/[0-9]+)?/(?:root|cwd|fd/[0-9]+)(?=/)|/dev/fd/[0-9]+(?=/)"
)


@check(
    "sensitive-target",
    "medium",
    "a template that writes a file which grants access or privileges",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Report each target that is a sensitive file under any of its names.

    A program in the instance may use another name for the file than the rule does:

    * the path with its links resolved
    * a hard link
    * a path through symlinks of the root filesystem
    * a path in a running system

    A virtual machine's agent writes files in the running system, in which links in ``/proc`` also lead to the
    root directory.

    cloud-init runs commands at the first boot. A template for cloud-init is harmless if its own text has only
    harmless keys (such as ``hostname``), comments and values of the instance. Report every other template for
    cloud-init.
    """
    for_cloud_init: dict[Rule, str] = {}
    table = (OF_KERNEL, *SENSITIVE) if image.may_be_virtual_machine else SENSITIVE
    for rule, path, resolved in image.targets:
        real = resolved.real
        reached = dict.fromkeys((path, real), "")
        names = [real, *(name.removeprefix(ROOTFS) for name in image.other_names.get(ROOTFS + real, ()))]
        for name in names:
            reached.setdefault(name, "a hard link of '{}'")
        for name in chain.from_iterable(map(image.linked_names.of, names)):
            reached.setdefault(name, "which is also '{}' because of symlinks")
        for known in list(reached):
            name = _in_running_system(known, image.may_be_virtual_machine)
            reached.setdefault(name, "which can be '{}' in a running system")
        name, effect, severity = _effect_of(reached, table)
        if effect == UNUSUAL and reached[name]:  # only another name of an ordinary file is unusual
            effect = ""
        if effect:
            how = reached[name].format(printable(name))
            if how and severity in ("info", "low"):  # the rule's own path hides which file it writes
                severity = "medium"
            if not how and real != path:
                how = f"which leads to '{printable(real)}'"
            subject = f"'{printable(path)}', {how}," if how else f"'{printable(path)}'"
            message = f"{subject} is {effect}: review its template"
            is_of_system = effect != UNUSUAL or name.startswith(_OF_SYSTEM)
            if is_of_system and (who := _writers(image, rule, name)):
                message += f", and its uid, gid and mode: {who} can write the file"
                severity = "medium" if severity in ("info", "low") else severity
            yield Observation(message, rule.spans["path"], severity=severity)
        if is_for_cloud_init(reached):
            for_cloud_init[rule] = path
    for rule, text, severity in texts_with_power(image, for_cloud_init):
        yield Observation(
            f"'{printable(for_cloud_init[rule])}' can get '{printable(text)}', with which cloud-init may"
            " grant access, run commands or write files: review its template",
            rule.spans["path"],
            severity=severity,
        )


def _writers(image: ScannedImage, rule: Rule, name: str) -> str:
    """Return a text that names the users who can write the new file of a rule, or an empty text."""
    uid, gid = (_id(rule, what) for what in ("uid", "gid"))
    mode = mode_of(rule)
    if image.kept_mode(rule) is not None:  # the check of accounts reports the file
        return ""
    if mode & 0o002:
        return "every user"
    # A user's hidden file, such as /home/u/.bashrc, is reported only if every user can write it.
    # A hidden file in a directory of the system, such as /etc/skel, does not belong to one user.
    if "/." in name and not name.startswith(_OF_SYSTEM):
        return ""
    if uid >= FIRST_USER:
        return f"user {uid}"
    return f"group {gid}" if mode & 0o020 and (gid >= FIRST_USER or gid == USERS) else ""


def _id(rule: Rule, what: str) -> int:
    try:
        return parse_id(getattr(rule, what), what, rule)
    except TemplaterError:  # the check of permissions reports it
        return 0


def is_sensitive(path: str) -> bool:
    """Return whether a file grants access or privileges."""
    return _effect_of((path,))[2] in ("medium", "high")


def _in_running_system(path: str, is_virtual_machine: bool) -> str:
    """Return a path by which programs of a running system can access a file."""
    while is_virtual_machine and (match := _OF_PROCESS.match(path)):
        path = path[match.end() :]
    if match := _SHOWN_AT_ROOT.match(path):
        path = path[match.end() :]
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def _effect_of(
    paths: Iterable[str], table: Iterable[tuple[str, str, tuple[str, ...], str]] = SENSITIVE
) -> tuple[str, str, str]:
    """Return the path that matches the earliest entry of ``table``, and the entry's text and severity.

    If no path matches, return empty texts.
    """
    for effect, severity, words, pattern in table:
        likely = [path for path in paths if any(word in path for word in words)]
        name = next(filter(_paths(pattern).match, likely), None) if likely else None
        if name is not None:
            return name, effect, severity
    return "", "", ""
