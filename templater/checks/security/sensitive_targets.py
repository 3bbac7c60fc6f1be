"""A check for security-sensitive targets, such as SSH keys, cron jobs, sudo rules and preloaded libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from ...model.file_names import ROOTFS
from ...model.source import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage


@cache
def _paths(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})\Z", re.DOTALL | re.VERBOSE)


#: A description of the file, the severity, words, and a pattern of paths. Each matching path contains one of
#: the words. Compiling all patterns takes five milliseconds, and few paths contain one of the words.
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
        ("sudo", "doas", "suauth", "super.tab", "polkit-1"),
        r"""(?:/usr(?:/local)?)?/etc/(?:sudoers(?:\.d/.*)?|sudo\.conf|doas(?:\.d/.*|\.conf)|opendoas\.conf)
            |/etc/(?:suauth|super\.tab|sudo-ldap\.conf)
            |(?:/etc|/run|/usr/share|/usr/local/share|/usr/local/etc)/polkit-1/.*""",
    ),
    (
        "a file with accounts and passwords",
        "high",
        ("passwd", "shadow", "group", "pwd.db", "extrausers", "/tcb/", "userdb", "sysusers.d"),
        r"""/etc/(?:(?:passwd|shadow|gshadow|group|master\.passwd)-?|s?pwd\.db)|/var/lib/extrausers/.*
            |/etc/tcb/.*|(?:/etc|(?:/usr(?:/local)?)?/lib|/run)/(?:userdb|sysusers\.d)/.*
            |(?:/etc|(?:/usr(?:/local)?)?/lib|/run)/credstore(?:\.encrypted)?/passwd\..*""",
    ),
    (
        "a file that decides how users log in",
        "medium",
        (
            "/pam.",
            "/security/",
            "sshd_config",
            "nsswitch.conf",
            "login.access",
            "securetty",
            "hosts.equiv",
            ".rhosts",
            ".shosts",
            "k5login",
        ),
        r"""(?:/usr(?:/local)?)?/(?:etc|lib)/pam\.d/.*|(?:/usr(?:/local)?)?/etc/security/.*
            |(?:/usr(?:/local)?)?/etc/ssh/sshd_config(?:\.d/.*)?|(?:/usr)?/etc/nsswitch\.conf
            |/etc/(?:pam\.conf|login\.access|securetty|s?hosts\.equiv)|.*/\.(?:[rs]hosts|k5login)""",
    ),
    (
        "a file that lists the keys for logging in",
        "medium",
        ("authorized_", "auth_principals", "/ssh."),
        r"""(?:.*/\.ssh|.*/etc/ssh|/etc/dropbear)/authorized_(?:keys|principals)[^/]*(?:/.*)?
            |/etc/ssh/auth_principals/.*
            |(?:/etc|(?:/usr(?:/local)?)?/lib|/run)/credstore(?:\.encrypted)?/ssh\..*""",
    ),
    (
        "a file that runs commands on a schedule",
        "medium",
        ("cron", "/periodic/", "/spool/at", ".timer"),
        r"""/etc/(?:cron|anacron|fcron|incron|periodic/).*|/var/cron/.*|/usr/(?:lib|(?:local/)?etc)/cron.*
            |/var/spool/(?:cron|anacron|at|fcron|incron).*
            |(?:/etc|/etc/xdg|(?:/root|/home/[^/]*)/\.config|/run|/usr(?:/local)?/share|(?:/usr(?:/local)?)?/lib)
             /systemd/.*\.timer(?:\.d/.*)?""",
    ),
    (
        "a file that decides where programs find libraries",
        "medium",
        ("ld.so.", "ld-musl-"),
        r"/etc/ld\.so\.(?:cache|conf(?:\.d/.*)?)|/etc/ld-musl-[^/]*\.path",
    ),
)


@check(
    "sensitive-target",
    "medium",
    "a template that writes a file which grants access or privileges",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    hard_links: dict[int, tuple[str, str, str]] = {}
    for rule, path, resolved in image.targets:
        real = resolved.real
        name, effect, severity = _effect_of(path, real)
        subject = f"'{printable(path)}'"
        if real != path:
            subject = f"'{printable(path)}', which leads to '{printable(real)}',"
        others = image.other_names.get(ROOTFS + real)
        if not effect and others is not None:
            if id(others) not in hard_links:
                hard_links[id(others)] = _effect_of(*(other.removeprefix(ROOTFS) for other in others))
            name, effect, severity = hard_links[id(others)]
            subject = f"'{printable(path)}', a hard link of '{printable(name)}',"
        if effect:
            message = f"{subject} is {effect}: review its template"
            yield Observation(message, rule.spans["path"], severity=severity)


def is_sensitive(path: str) -> bool:
    """Return whether a file grants access or privileges."""
    return bool(_effect_of(path)[0])


def _effect_of(*paths: str) -> tuple[str, str, str]:
    """Return the path that matches the earliest entry of ``SENSITIVE``, and the entry's text and severity.

    If no path matches, return empty texts.
    """
    for effect, severity, words, pattern in SENSITIVE:
        likely = [path for path in paths if any(word in path for word in words)]
        name = next(filter(_paths(pattern).match, likely), None) if likely else None
        if name is not None:
            return name, effect, severity
    return "", "", ""
