"""A systemd unit or a `.network` file has a line that systemd ignores.

systemd ignores a line that is neither a section nor an assignment, and every assignment before the first
section.

If `systemd-analyze` is installed, the check also reports the mistakes that `systemd-analyze` finds in system
units. The check ignores missing commands and units, because the image may contain them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...planning.follow_links import clean
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, validated
from ..rendered_files import File

#: the units that systemd-analyze accepts
UNITS = (".service", ".socket", ".timer", ".mount", ".automount", ".swap", ".path", ".target", ".slice")
NAME = re.compile(r"[A-Za-z0-9:_@\\.-]{1,200}")


@check("systemd-unit", "error", "in a systemd file, a line that systemd ignores", validated=True)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("unit",), find, lambda file: validate(image, file))


def validate(image: AuthoredImage, file: File) -> list[Mistake]:
    """Return the mistakes that systemd-analyze finds in a system unit.

    Drop-in files and units of users are not checked.
    """
    folder, _, name = clean(file.rule.path).rpartition("/")
    if not folder.endswith("/systemd/system") or not name.endswith(UNITS) or not NAME.fullmatch(name):
        return []
    return validated(image, "systemd-analyze", file, name)


def find(file: File) -> Iterator[Mistake]:
    section = continued = False
    for number, line in enumerate((file.text or "").split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        begins, continued = not continued, stripped.endswith("\\")
        if not begins:
            continue
        if stripped[0] == "[":
            section = True
            if not stripped.endswith("]"):
                yield number, f"the section '{printable(stripped[:60])}' has no ']'"
        elif "=" not in stripped:
            yield number, f"'{printable(stripped[:60])}' has no '='"
        elif not section:
            yield number, "the assignment is outside of a section"
