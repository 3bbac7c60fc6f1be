"""Targets that give access or rights: keys, cron jobs, sudo rules, libraries loaded into every program."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.source import printable
from ..base import Observation, ScannedImage, check

#: what the file does, the severity, and the paths
SENSITIVE = (
    ("loads a library into every program", "high", re.compile(r"/etc/ld\.so\.preload\Z")),
    ("decides who becomes root", "high", re.compile(r"/etc/(?:sudoers(?:\.d/.*)?|doas(?:\.d/.*|\.conf))\Z")),
    ("holds accounts and passwords", "high", re.compile(r"/etc/(?:passwd|shadow|gshadow|group)-?\Z")),
    ("decides how users log in", "medium", re.compile(r"/etc/pam\.d/.*\Z")),
    ("lets its keys log in", "medium", re.compile(r".*/(?:\.ssh|etc/ssh)/authorized_keys[^/]*(?:/.*)?\Z")),
    ("runs commands at times", "medium", re.compile(r"/(?:etc/cron|etc/anacron|var/spool/cron).*\Z")),
)


@check(
    "sensitive-target",
    "medium",
    "a template that writes a file which gives access or rights",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for rule, path, resolved in image.targets:
        for effect, severity, pattern in SENSITIVE:
            real = resolved.real
            if pattern.match(path) or pattern.match(real):
                through = f", which leads to '{printable(real)}'," if real != path else ""
                message = f"'{printable(path)}'{through} {effect}: read its template"
                yield Observation(message, rule.spans["path"], severity=severity)
                break
