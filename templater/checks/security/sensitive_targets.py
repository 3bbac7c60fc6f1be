"""A check for security-sensitive targets, such as SSH keys, cron jobs, sudo rules and preloaded libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.file_names import ROOTFS
from ...model.source import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage


def _paths(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})\Z", re.DOTALL | re.VERBOSE)


#: a description of the file, the severity, and a pattern of paths
SENSITIVE = (
    ("a file that loads libraries into every program", "high", _paths(r"/etc/ld\.so\.preload")),
    (
        "a file that decides which users can become root",
        "high",
        _paths(
            r"""(?:/usr(?:/local)?)?/etc/(?:sudoers(?:\.d/.*)?|sudo\.conf|doas(?:\.d/.*|\.conf)|opendoas\.conf)
            |/etc/(?:suauth|super\.tab|sudo-ldap\.conf)
            |(?:/etc|/run|/usr/share|/usr/local/share|/usr/local/etc)/polkit-1/.*"""
        ),
    ),
    (
        "a file with accounts and passwords",
        "high",
        _paths(
            r"""/etc/(?:(?:passwd|shadow|gshadow|group|master\.passwd)-?|s?pwd\.db)|/var/lib/extrausers/.*
            |/etc/tcb/.*|(?:/etc|(?:/usr(?:/local)?)?/lib|/run)/(?:userdb|sysusers\.d)/.*
            |(?:/etc|(?:/usr(?:/local)?)?/lib|/run)/credstore(?:\.encrypted)?/passwd\..*"""
        ),
    ),
    (
        "a file that decides how users log in",
        "medium",
        _paths(
            r"""(?:/usr(?:/local)?)?/(?:etc|lib)/pam\.d/.*|(?:/usr(?:/local)?)?/etc/security/.*
            |(?:/usr(?:/local)?)?/etc/ssh/sshd_config(?:\.d/.*)?|(?:/usr)?/etc/nsswitch\.conf
            |/etc/(?:pam\.conf|login\.access|securetty|s?hosts\.equiv)|.*/\.(?:[rs]hosts|k5login)"""
        ),
    ),
    (
        "a file that lists the keys for logging in",
        "medium",
        _paths(
            r"""(?:.*/\.ssh|.*/etc/ssh|/etc/dropbear)/authorized_(?:keys|principals)[^/]*(?:/.*)?
            |/etc/ssh/auth_principals/.*
            |(?:/etc|(?:/usr(?:/local)?)?/lib|/run)/credstore(?:\.encrypted)?/ssh\..*"""
        ),
    ),
    (
        "a file that runs commands on a schedule",
        "medium",
        _paths(
            r"""/etc/(?:cron|anacron|fcron|incron|periodic/).*|/var/cron/.*|/usr/(?:lib|(?:local/)?etc)/cron.*
            |/var/spool/(?:cron|anacron|at|fcron|incron).*
            |(?:/etc|/etc/xdg|(?:/root|/home/[^/]*)/\.config|/run|/usr(?:/local)?/share|(?:/usr(?:/local)?)?/lib)
             /systemd/.*\.timer(?:\.d/.*)?"""
        ),
    ),
    (
        "a file that decides where programs find libraries",
        "medium",
        _paths(r"/etc/ld\.so\.(?:cache|conf(?:\.d/.*)?)|/etc/ld-musl-[^/]*\.path"),
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
    for effect, severity, pattern in SENSITIVE:
        name = next(filter(pattern.match, paths), None)
        if name is not None:
            return name, effect, severity
    return "", "", ""
