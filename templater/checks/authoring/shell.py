"""A shell script has a syntax error. The check uses the shell that the first line names, such as `#!/bin/sh`.

The shell of this machine reads the script without running it. Outside of Debian and Ubuntu (property `os`),
`/bin/sh` may accept more syntax, so the check also accepts a script for `sh` if `bash` accepts the script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_in, validated
from ..rendered_files import File
from .interfaces import FAMILY

_FIRST_LINE = re.compile(r"#!\s*/(?:usr/)?(?:local/)?bin/(?:env\s+)?(sh|dash|bash)(?=\s|$)")


@check(
    "shell", "error", "a shell script with a syntax error",
    hint="look at the rendered script with `templater preview`", validated=True,
)  # fmt: skip
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    files = (file for file in image.texts(lambda path: True) if is_script(file.text or ""))
    yield from mistakes_in(image, files, lambda file: (), lambda file: validate(image, file))


def is_script(text: str) -> bool:
    """Return whether this check covers a text.

    Scripts with CRLF are left out, because the check `crlf` reports them.
    """
    return _FIRST_LINE.match(text) is not None and "\r\n" not in text


def validate(image: AuthoredImage, file: File) -> list[Mistake]:
    found = _FIRST_LINE.match(file.text or "")
    shell = "bash" if found is not None and found[1] == "bash" else "sh"
    mistakes = validated(image, shell, file, "script")
    if mistakes and shell == "sh" and image.os not in FAMILY:
        return validated(image, "bash", file, "script")
    return mistakes
