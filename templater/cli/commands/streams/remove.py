"""``templater streams remove``: remove images from a tree's catalog."""

from __future__ import annotations

import click

from ... import output
from ...enforce_limits import guarded_alone
from . import count, tree_argument

HELP = """Remove images from a tree's catalog.

IMAGE is a fingerprint (at least its first 12 characters), a PRODUCT or a PRODUCT@VERSION, as
`templater streams list` shows them. Clients with the old catalog can still download the files;
`templater streams prune` deletes them later.

\b
Examples:
  templater streams remove /srv/images debian:13:amd64:cloud@20260101_0000
  templater streams remove /srv/images e8b3e797c784
"""


@click.command(help=HELP)
@tree_argument
@click.argument("images", metavar="IMAGE…", nargs=-1, required=True)
@guarded_alone
def command(tree: str, images: tuple[str, ...]) -> None:
    from ....distribution.remove_and_prune import remove
    from ....distribution.tree import Tree

    removed = remove(Tree(tree), images)
    for product, version in removed.versions:
        output.say(f"removed {product} {version}")
    if removed.waiting:
        output.say(
            f"kept for clients that read the old catalog: {count(removed.waiting, 'file')};"
            " see `templater streams prune`"
        )
