"""``templater trigger``: note what happened to an instance directory."""

from __future__ import annotations

import click

from ...model.metadata import TRIGGERS
from .. import output

HELP = """Note that the instance in DIR was created, copied or renamed.

Nothing is rendered now: the next start runs that trigger, and then `start`, as LXD and Incus do.
DIR is the instance directory as it is afterwards: the copy, the renamed one.

\b
  cp -a web1 web2 && templater trigger web2 copy --name web2
  mv web1 www1    && templater trigger www1 rename --name www1
"""


@click.command(help=HELP)
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.argument("trigger", type=click.Choice([name for name in TRIGGERS if name != "start"]))
@click.option("--name", default="", help="What the instance is called now.")
def command(directory: str, trigger: str, name: str) -> int:
    from ...instances.directory import record

    state = record(directory, trigger, name)
    output.say(f"{directory}: the next start runs {state.pending}, then start")
    return 0
