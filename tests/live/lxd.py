"""Debian's LXD 5.0.2.

It runs without limits on a machine with hybrid cgroups and without AppArmor: it imports, copies, and starts
privileged and unprivileged containers. Virtual machines start only as in `virtual_machines.py`.
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
    """Yield an LXD for a module-scoped fixture."""
    need(Lxd.client, Lxd.program, "unshare")
    for folder in new_folder():
        lxd = Lxd(folder, idmapped_mounts=idmapped_mounts)
        try:
            yield lxd.set_up()
        finally:
            lxd.close()
