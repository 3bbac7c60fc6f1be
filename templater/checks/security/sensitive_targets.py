"""A check for security-sensitive targets, such as SSH keys, cron jobs, sudo rules and preloaded libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
            |(?:/etc|/usr/share|/usr/local/share|/usr/local/etc)/polkit-1/.*"""
        ),
    ),
    (
        "a file with accounts and passwords",
        "high",
        _paths(
            r"""/etc/(?:passwd|shadow|gshadow|group|master\.passwd)-?|/var/lib/extrausers/.*
            |(?:/etc|/usr/lib|/run)/userdb/.*"""
        ),
    ),
    (
        "a file that decides how users log in",
        "medium",
        _paths(
            r"""(?:(?:/usr(?:/local)?)?/etc|/usr/lib)/pam\.d/.*|/etc/security/.*
            |(?:/usr)?/etc/ssh/sshd_config(?:\.d/.*)?
            |/etc/(?:pam\.conf|nsswitch\.conf|login\.access|s?hosts\.equiv)|.*/\.(?:[rs]hosts|k5login)"""
        ),
    ),
    (
        "a file that lists the keys for logging in",
        "medium",
        _paths(
            r"""(?:.*/\.ssh|.*/etc/ssh|/etc/dropbear)/authorized_(?:keys|principals)[^/]*(?:/.*)?
            |/etc/ssh/auth_principals/.*"""
        ),
    ),
    (
        "a file that runs commands on a schedule",
        "medium",
        _paths(
            r"""/etc/(?:cron|anacron|fcron|incron|periodic/).*|/var/cron/.*
            |/var/spool/(?:cron|anacron|at|fcron|incron).*
            |(?:/etc|/usr/lib|/lib|/usr/local/lib)/systemd/.*\.timer(?:\.d/.*)?"""
        ),
    ),
    (
        "a file that decides where programs find libraries",
        "medium",
        _paths(r"/etc/ld\.so\.conf(?:\.d/.*)?|/etc/ld-musl-[^/]*\.path"),
    ),
)


@check(
    "sensitive-target",
    "medium",
    "a template that writes a file which grants access or privileges",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for rule, path, resolved in image.targets:
        for effect, severity, pattern in SENSITIVE:
            real = resolved.real
            if pattern.match(path) or pattern.match(real):
                through = f", which leads to '{printable(real)}'," if real != path else ""
                message = f"'{printable(path)}'{through} is {effect}: review its template"
                yield Observation(message, rule.spans["path"], severity=severity)
                break
