"""``templater store show``: print what `store edit` can change, as YAML."""

import click

from ... import output
from . import image_argument
from .edit import text_of


@click.command(help="Print what `store edit` can change: flags, expiry and properties, as YAML.")
@image_argument
def command(image: str) -> int:
    from ....distribution.store import Store

    output.write(text_of(Store().find(image)))
    return 0
