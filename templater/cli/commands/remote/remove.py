"""``templater remote remove``: remove the name of an image server."""

import click

from ... import completers, output


@click.command(help="Remove a remote that `templater remote add` has added.")
@click.argument("name", metavar="NAME", shell_complete=completers.remotes)
def command(name: str) -> None:
    from ....distribution.remotes import remove_remote

    remove_remote(name)
    output.say(f"removed remote '{name}'")
