"""A template has Windows line endings (CRLF), so programs misread the rendered file.

The daemons do not change the line endings of a template. For example, if a script has CRLF, the kernel looks
for the interpreter `/bin/sh^M`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..target_kinds import breaks_with_crlf


@check(
    "crlf",
    "error",
    "Windows line endings that make programs misread a file",
    hint="save the template with Unix line endings (LF)",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    paths = {id(rule): path for rule, path, _ in image.targets}
    for template in image.parsed:
        start = template.source.text.find("\r\n")
        if start < 0:
            continue
        for rule in template.rules:
            path = paths.get(id(rule), "")
            if template.source.text.startswith("#!") or breaks_with_crlf(path):
                message = f"programs misread the Windows line endings in '{printable(rule.path)}'"
                source = template.source
                whole = source.span(0, len(source.text)), source.text.replace("\r\n", "\n")
                yield Observation(message, source.span(start), rule=rule, fix=Fix((whole,)))
                break
