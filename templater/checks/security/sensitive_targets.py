"""A check for security-sensitive targets, such as SSH keys, cron jobs, sudo rules and preloaded libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.source import printable
from ..base import Observation, ScannedImage, check

#: the effect of the file, the severity, and a pattern of paths
SENSITIVE = (
    ("loads a library into every program", "high", re.compile(r"/etc/ld\.so\.preload\Z")),
    (
        "decides which users can become root",
        "high",
        re.compile(r"/etc/(?:sudoers(?:\.d/.*)?|doas(?:\.d/.*|\.conf))\Z"),
    ),
    ("holds accounts and passwords", "high", re.compile(r"/etc/(?:passwd|shadow|gshadow|group)-?\Z")),
    ("decides how users log in", "medium", re.compile(r"/etc/pam\.d/.*\Z")),
    (
        "lists the keys that can log in",
        "medium",
        re.compile(r".*/(?:\.ssh|etc/ssh)/authorized_keys[^/]*(?:/.*)?\Z"),
    ),
    ("runs commands on a schedule", "medium", re.compile(r"/(?:etc/cron|etc/anacron|var/spool/cron).*\Z")),
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
                message = f"'{printable(path)}'{through} {effect}: review its template"
                yield Observation(message, rule.spans["path"], severity=severity)
                break
