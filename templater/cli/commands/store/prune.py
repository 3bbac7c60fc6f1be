"""``templater store prune``: remove fetched images that are no longer used."""

import click

from ... import output


@click.command(
    help="Remove unused images and files.\n\nA fetched image is removed ten days after its last use, a file"
    " if it belongs to no image."
)
def command() -> int:
    from ....distribution.store import Store

    for image in Store().prune():
        output.say(f"removed {image.fingerprint[:12]} ({image.source})")
    return 0
