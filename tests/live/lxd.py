"""Debian's LXD 5.0.2.

LXD can import and copy images, and start privileged and unprivileged containers. LXD needs
no AppArmor, and a machine with hybrid cgroups is enough. Virtual machines start only with the changes in
`virtual_machines.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from .daemon import Daemon
from .harness import need, new_folder


class Lxd(Daemon):
    name = "lxd"
    program = "lxd"
    client = "lxc"
    init = ("lxd", "init")


def an_lxd(*, idmapped_mounts: bool = True) -> Iterator[Lxd]:
    """Start an LXD for a fixture of a test module, yield the LXD, and stop it afterwards."""
    need(Lxd.client, Lxd.program, "unshare")
    for folder in new_folder():
        lxd = Lxd(folder, idmapped_mounts=idmapped_mounts)
        try:
            yield lxd.set_up()
        finally:
            lxd.close()
