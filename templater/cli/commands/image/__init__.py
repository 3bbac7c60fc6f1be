"""``templater image``: inspect, build, edit and export images."""

from __future__ import annotations

from ...command_group import Commands

HELP = """Inspect, build, edit and export images.

An image is a directory (metadata.yaml, templates/, rootfs/), a unified tarball, or the two files
of a split image: its metadata tarball and its root filesystem (a tarball or squashfs file).
"""

command = Commands(__name__, help=HELP)
