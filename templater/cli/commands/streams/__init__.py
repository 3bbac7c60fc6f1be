"""``templater streams``: manage image servers that consist of files."""

from __future__ import annotations

import click

from ... import completers
from ...command_group import Commands

HELP = """Publish images for Incus and LXD as files.

A simplestreams tree consists of plain files, so any web server can serve it. TREE is the directory of the
tree. `add` creates a tree. Change a tree only with these commands. You can run them while clients read the
tree.
"""

command = Commands(__name__, help=HELP)

tree_argument = click.argument("tree", metavar="TREE", shell_complete=completers.files)
stream_argument = click.argument("stream", metavar="TREE|URL", shell_complete=completers.files)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 file`` or ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
