"""``templater streams reindex``: another server's images for both client families."""

from __future__ import annotations

import click

from ... import options, output
from ...progress import progress
from ..image.info import size
from . import count, tree_argument

HELP = """Republish another server's images.

Incus lists nothing from a stream that is made for LXD, such as Ubuntu's, and LXD nothing from one
made for Incus. This command writes the stream at URL into TREE for both. Files and hashes stay the
same, so clients check them as before. Aliases become OS/ALIAS. Run it again to follow the origin.

With --redirect the files stay at the origin, and DIR gets rules for nginx and Caddy, and the same as
JSON. With --copy they are downloaded and checked.

\b
Examples:
  templater streams reindex https://images.example.com/releases tree --copy
  templater streams reindex https://images.example.com/releases tree \\
      --redirect /etc/nginx/streams --keyring keyring.gpg
"""


@click.command(help=HELP)
@click.argument("url", metavar="URL")
@tree_argument
@click.option(
    "--redirect", "redirects", metavar="DIR", help="Leave files at the origin; write the rules into DIR."
)
@click.option("--copy", "copying", is_flag=True, help="Copy the files into TREE.")
@click.option(
    "--keyring",
    metavar="FILE",
    help="Check the signatures of the origin's catalog (.sjson) with these keys.",
    shell_complete=options.complete_files,
)
def command(url: str, tree: str, redirects: str | None, copying: bool, keyring: str | None) -> int:
    from ....distribution.fetch import UrlStream
    from ....distribution.reindex import reindex
    from ....distribution.tree import Tree

    with progress("copying" if copying else "reading") as show:
        made = reindex(
            UrlStream(url),
            Tree(tree),
            redirects=redirects,
            copying=copying,
            keyring=keyring,
            progress=show,
        )
    for warning in made.warnings:
        output.say(f"warning: {warning}")
    output.say(f"republished {count(made.images, 'image')} of {count(made.products, 'product')}")
    if copying:
        output.say(f"copied {count(made.copied, 'file')}, {size(made.bytes)}")
    for path in made.rules:
        output.write(f"{path}\n")
    return 0
