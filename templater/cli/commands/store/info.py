"""``templater store info``: show the record of an image in the store."""

import click

from ... import options, output
from . import as_yaml, data, image_argument

HELP = """Show the record of an image in the store.

`templater image info store:IMAGE` shows its rules and templates.
"""


@click.command(help=HELP)
@image_argument
@options.json_option
def command(image: str, as_json: bool) -> None:
    from ....distribution.store import Store

    found = data(Store().find(image))
    if as_json:
        output.write_json(found)
    else:
        output.write(as_yaml(found))
