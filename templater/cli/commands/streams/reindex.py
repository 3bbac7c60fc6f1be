"""``templater streams reindex``: republish another server's images for Incus and LXD."""

from __future__ import annotations

import click

from ... import options, output
from ...guard import guarded_alone
from ...progress import progress
from ..image.info import size
from . import count, tree_argument

HELP = """Republish another server's images.

Incus can't list a stream made for LXD, such as Ubuntu's, and LXD can't list one made for Incus. This command
writes the stream at URL into TREE for both. Files and hashes stay the same, so clients verify them as before.
Aliases become OS/ALIAS. Run the command again to update the tree.

With --redirect, the files stay at the origin, and redirect rules for nginx, for Caddy and as JSON are written
into DIR. With --copy, the files are downloaded and checked.

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
    "--redirect",
    "redirects",
    metavar="DIR",
    help="Leave files at the origin, and write redirect rules into DIR.",
)
@click.option("--copy", "copying", is_flag=True, help="Copy the files into TREE.")
@click.option(
    "--keyring",
    metavar="FILE",
    help="Check the signatures of the origin's catalog (.sjson) with these keys.",
    shell_complete=options.complete_files,
)
@guarded_alone
def command(url: str, tree: str, redirects: str | None, copying: bool, keyring: str | None) -> int:
    from ....distribution.fetch import UrlStream
    from ....distribution.republish import republish
    from ....distribution.tree import Tree

    with progress("copying" if copying else "reading") as show:
        made = republish(
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
