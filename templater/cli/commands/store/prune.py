"""``templater store prune``: remove fetched images that are no longer used."""

import click

from ... import output


@click.command(
    help="Remove unused images and files.\n\nThe command removes fetched images that were not used for ten"
    " days, and files that belong to no image."
)
def command() -> None:
    from ....distribution.store import Store

    for image in Store().prune():
        output.say(f"removed {image.fingerprint[:12]} ({image.source})")
