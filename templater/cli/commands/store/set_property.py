"""``templater store set-property``: change properties of an image's record."""

from dataclasses import replace

import click

from ...options import key_value
from . import image_argument

HELP = """Change properties of an image in the store. `KEY=` removes a property.

Clients see these properties in the list of images. The image's own metadata.yaml and its fingerprint do not
change; `templater image set-property` changes the properties in metadata.yaml.

\b
Example:
  templater store set-property debian release=trixie
"""


@click.command(help=HELP)
@image_argument
@click.argument("properties", metavar="KEY=VALUE...", nargs=-1, required=True)
def command(image: str, properties: tuple[str, ...]) -> None:
    from ....distribution.store import Store

    given = [key_value(text, "for example: release=trixie") for text in properties]

    def changed(old: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in (old | dict(given)).items() if value}

    Store().change(image, lambda found: replace(found, properties=changed(dict(found.properties))))
