"""``templater remote``: manage names of image servers. SRC can contain these names."""

from ...command_group import Commands

HELP = """Manage the names of image servers.

`images:debian/13` is the image debian/13 of the remote `images`. The remotes of the Incus and LXD clients are
known, and a few public servers are built in.
"""

command = Commands(__name__, help=HELP)
