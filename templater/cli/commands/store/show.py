"""``templater store show``: print an image's flags, expiry and properties as YAML."""

import click

from ... import output
from . import image_argument
from .edit import text_of


@click.command(
    help="Print an image's flags, expiry and properties as YAML.\n\n`store edit` can change these values."
)
@image_argument
def command(image: str) -> None:
    from ....distribution.store import Store

    output.write(text_of(Store().find(image)))
