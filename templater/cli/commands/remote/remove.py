"""``templater remote remove``: forget an image server."""

import click

from ... import output


@click.command(help="Remove a remote that `templater remote add` has named.")
@click.argument("name", metavar="NAME")
def command(name: str) -> int:
    from ....distribution.remotes import remove_remote

    remove_remote(name)
    output.say(f"removed {name}:")
    return 0
