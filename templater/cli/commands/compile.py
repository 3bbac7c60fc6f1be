"""``templater compile``: have an image's templates ready for the hooks."""

from __future__ import annotations

import click

from ...limits import Given
from .. import output
from ..guard import guard

HELP = """Compile the templates of SRC and keep the result for its hooks.

SRC is an image's directory or an instance directory. A hook does this by itself at its first run,
and again whenever something changed; done beforehand, the first start is as fast as the others.

\b
Example:
  templater compile /var/lib/lxc/web1
"""


@click.command(help=HELP)
@click.argument("src", metavar="SRC", type=click.Path(exists=True, file_okay=False))
@click.option("--cache", help="A cache directory for several instances instead of the instance's own.")
@click.option("--dialect", type=click.Choice(["v4", "v6", "v6.1"]), help="Of pongo2; v6 without it.")
def command(src: str, cache: str | None, dialect: str | None) -> int:
    from ...hooks.render_job import IMAGE, fill
    from ...hooks.status import image_status
    from ...image.open import open_image
    from ...parsing.metadata_yaml import read_metadata
    from ..planning import warn_of_unknown_names

    kept = fill(src, cache or "", dialect or "")
    with guard(Given()):
        image = open_image(src)
        warn_of_unknown_names(image, read_metadata(image.read_metadata()).rules, dialect or "v6")
    if IMAGE in kept:
        output.say(f"{src}: {' and '.join(sorted(kept))} kept")
        return 0
    for finding in image_status(src, dialect or "v6"):
        if not finding.ok:
            output.say(finding.text)
    output.say(f"{src}: not kept, since not every template compiles")
    return 5
