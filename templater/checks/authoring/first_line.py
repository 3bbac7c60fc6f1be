"""The first line of a file does not say what the file is, so programs ignore the file or cannot run it.

The kernel and cloud-init run a script only if its first two bytes are `#!`. If a tag or comment of pongo2 is
alone on a line, this line is empty in the rendered file:

    {# the greeting #}                       wrong: the script begins with an empty line
    #!/bin/sh

    #!/bin/sh
    echo hello {# the greeting #}            right

cloud-init ignores user-data and vendor-data unless they begin with `#cloud-config`, `#!`, `#include`,
`#cloud-boothook`, `#part-handler` or `## template: jinja`. cloud-init also accepts MIME messages, and files
compressed with gzip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_in, numbered
from ..rendered_files import File
from ..target_kinds import kind_of

#: possible beginnings of user-data, in lower case. cloud-init skips white space before a beginning.
STARTS = (
    "#!", "#cloud-boothook", "#cloud-config", "#include", "#part-handler", "#upstart-job",
    "## template: jinja",
)  # fmt: skip
GZIP = "\x1f"
#: cloud-init treats a file as a MIME message if this field is in the first HEADER characters
MIME, HEADER = "mime-version:", 4096
_LATE = re.compile(r"[\ufeff\s]+(#!\s*/|#cloud-config\s*$)", re.MULTILINE)


@check(
    "first-line", "warning", "a script or user-data with a wrong first line",
    hint="begin line 1 with '#!' or '#cloud-config':"
    " a template line that has only a tag or a comment becomes an empty line",
)  # fmt: skip
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    files = (file for file in image.texts(lambda path: True) if not file.invented and not file.awkward)
    paths = {id(rule): path for rule, path, _ in image.targets}
    yield from mistakes_in(image, files, lambda file: find(file, kind_of(paths[id(file.rule)])))


def find(file: File, kind: str) -> Iterator[Mistake]:
    text = file.text or ""
    late = _LATE.match(text)
    if late:
        line = text.count("\n", 0, late.start(1)) + 1
        if late[1].startswith("#!"):
            yield line, "the script does not begin with '#!', so the kernel cannot run it"
        elif kind == "user-data":
            yield (
                line,
                "only newer releases of cloud-init accept an empty line before '#cloud-config'",
                "info",
            )
    elif kind == "user-data":
        start = text.lstrip().lower()
        first = next(numbered(text), None)
        known = start.startswith(STARTS) or text.startswith(GZIP) or MIME in text[:HEADER].lower()
        if first is not None and not known:
            shown = printable(text.strip().split("\n", 1)[0][:40])
            yield (
                text[: len(text) - len(text.lstrip())].count("\n") + 1,
                f"cloud-init ignores the file, because it begins with '{shown}' and not with '#cloud-config'",
            )
