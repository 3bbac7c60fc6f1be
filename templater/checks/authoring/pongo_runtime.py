"""In a definition, a `template` entry with `pongo: true` reads a variable of the instance.

With `pongo: true`, the build renders the entry's content, but no instance exists during the build. So
`{{ container.name }}` becomes empty text, and an `if` chooses one branch for all instances.

You cannot escape an expression to leave it to the daemon. The build renders its own result again, until the
result contains neither `{{` nor `{%`.

Without `pongo: true`, the build copies the entry's content unchanged into the template.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import process_time

from ...model.errors import LimitError, TemplaterError
from ...model.unprintable_characters import printable
from ...pongo2.dialect import V4
from ...pongo2.names_read import reads_of
from ...pongo2.parse_with_includes import Compilation
from ..authored_image import MAX_SECONDS, AuthoredImage
from ..base import Observation, check

#: the variables that exist only when the daemon renders the template
RUN_TIME = ("config", "config_get", "container", "devices", "instance", "path", "properties", "trigger")


@check(
    "pongo-runtime",
    "warning",
    "an entry with 'pongo: true' that reads a variable of the instance",
    hint="remove 'pongo: true', or use a separate entry for the text that the build must render",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    end = process_time() + MAX_SECONDS
    for entry in () if image.definition is None else image.definition.entries:
        if process_time() > end:
            raise LimitError(f"parsing the texts of all entries takes more than {MAX_SECONDS:g} seconds")
        if not entry.pongo or entry.generator != "template":
            continue
        try:
            reads = reads_of(Compilation(entry.text_of("content"), V4).parsed())
        except TemplaterError:  # a note about the build already says this
            continue
        for read in reads:
            if read.path[0] in RUN_TIME:
                name = f'config_get("{read.key}", …)' if read.path == ("config_get",) else read.name
                yield Observation(
                    f"'pongo: true' makes '{printable(name)}' empty: the build, not the daemon,"
                    " renders this text",
                    read.span,
                )
                break
