"""``templater trigger``: record that an instance directory was created, copied or renamed."""

from __future__ import annotations

import click

from ...model.default_triggers import SET_BY_DAEMONS
from .. import output

HELP = """Record that the instance in DIR was created, copied or renamed.

The next start runs this trigger and then `start`, as LXD and Incus do. Nothing is rendered now.
DIR is the instance directory after this change, e.g. the directory of the copy.

\b
  cp -a web1 web2 && templater trigger web2 copy --name web2
  mv web1 www1    && templater trigger www1 rename --name www1
"""


@click.command(help=HELP)
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.argument("trigger", type=click.Choice(SET_BY_DAEMONS))
@click.option("--name", default="", help="The new name of the instance.")
def command(directory: str, trigger: str, name: str) -> None:
    from ...instances.set_pending_trigger import record

    state = record(directory, trigger, name)
    output.say(f"{directory}: the next start runs {state.pending}, then start")
