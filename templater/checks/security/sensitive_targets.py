"""A check for security-sensitive targets, such as SSH keys, cron jobs, sudo rules and preloaded libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.source import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage

#: a description of the file, the severity, and a pattern of paths
SENSITIVE = (
    ("a file that loads libraries into every program", "high", re.compile(r"/etc/ld\.so\.preload\Z")),
    (
        "a file that decides which users can become root",
        "high",
        re.compile(r"/etc/(?:sudoers(?:\.d/.*)?|doas(?:\.d/.*|\.conf))\Z", re.DOTALL),
    ),
    ("a file with accounts and passwords", "high", re.compile(r"/etc/(?:passwd|shadow|gshadow|group)-?\Z")),
    ("a file that decides how users log in", "medium", re.compile(r"/etc/pam\.d/.*\Z", re.DOTALL)),
    (
        "a file that lists the keys for logging in",
        "medium",
        re.compile(r".*/(?:\.ssh|etc/ssh)/authorized_keys[^/]*(?:/.*)?\Z", re.DOTALL),
    ),
    (
        "a file that runs commands on a schedule",
        "medium",
        re.compile(r"/(?:etc/cron|etc/anacron|var/spool/cron).*\Z", re.DOTALL),
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
