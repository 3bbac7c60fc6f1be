"""``templater store delete``: remove images from the store."""

import click

from ... import completers, output


@click.command(help="Remove images, their aliases and their files from the store.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=completers.stored)
def command(images: tuple[str, ...]) -> None:
    from ....distribution.store import Store

    store = Store()
    for image in images:
        output.say(f"deleted {store.delete(image).fingerprint[:12]}")
