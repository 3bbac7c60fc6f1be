"""``templater compile``: compile an image's templates for the hooks."""

from __future__ import annotations

import click

from ...limit_option import IMAGE_SECONDS, Given
from ...model.hosts import NONE
from ...model.render_options import DIALECT_NAMES
from .. import completers, output
from ..enforce_limits import guard

HELP = """Compile the templates of SRC and cache the result for hooks.

SRC is an image directory or an instance directory. Hooks compile templates themselves at their first
run and after every change. Compiling in advance makes the first start as fast as later starts.

\b
Example:
  templater compile /var/lib/lxc/web1
"""


@click.command(help=HELP)
@click.argument("src", metavar="SRC", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--cache",
    help="Shared cache directory for several instances. [default: the instance's own]",
    shell_complete=completers.directories,
)
@click.option("--dialect", type=click.Choice(DIALECT_NAMES), help="pongo2 version. [default: v6]")
def command(src: str, cache: str | None, dialect: str | None) -> int:
    from ...hooks.common_status_checks import image_status
    from ...hooks.precompile import precompile
    from ...hooks.sandboxed_rendering import IMAGE, children_seconds
    from ...image.open_image import open_image
    from ...parsing.metadata_yaml import read_metadata
    from ...rootfs.trusted_paths import open_folder
    from ..plan_warnings import warn_of_unknown_names

    before = children_seconds()
    with open_folder(src) as folder:
        kept = precompile(folder, cache or "", dialect or "")
    limits = Given()  # the compiling child has used a part of the processor time
    limits.command["processor"] = max(IMAGE_SECONDS - round(children_seconds() - before), 1)
    with guard(limits):
        image = open_image(src)
        rules = read_metadata(image.read_metadata()).rules
        warn_of_unknown_names(image, rules, (dialect or NONE.dialect,))
        if IMAGE in kept:
            output.say(f"{src}: cached {' and '.join(sorted(kept))}")
            return 0
        for finding in image_status(src, dialect or NONE.dialect):
            if not finding.ok:
                output.say(finding.text)
    output.say(f"{src}: not cached, because a template does not compile")
    return 5
