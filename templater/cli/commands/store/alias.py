"""``templater store alias``: give aliases to images in the store."""

import click

from ....model.unprintable_characters import printable
from ... import completers, output
from . import image_argument

ALIAS = click.argument("alias", metavar="ALIAS", shell_complete=completers.aliases)


@click.group(help="Add, remove and list aliases of images in the store.")
def command() -> None:
    """Group the subcommands of ``templater store alias``."""


@command.command(help="Add an alias to an image. --move takes the alias from another image.")
@ALIAS
@image_argument
@click.option("--move", is_flag=True, help="Move the alias if another image already has it.")
def create(alias: str, image: str, move: bool) -> None:
    from ....distribution.store import Store

    store = Store()
    store.set_alias(alias, image, move=move)
    found = store.find(image)
    if not found.complete:
        source = printable(found.source)
        output.note(f"the store has only this image's metadata, fetched from '{source}': see `store info`")


@command.command(help="Remove an alias. The image stays.")
@ALIAS
def delete(alias: str) -> None:
    from ....distribution.store import Store

    Store().delete_alias(alias)


@command.command(name="list", help="Show every alias with the fingerprint of its image.")
def show() -> None:
    from ....distribution.store import Store

    for name, fingerprint in sorted(
        (name, image.fingerprint) for image in Store().images() for name in image.aliases
    ):
        output.write(f"{name}  {fingerprint[:12]}\n")
