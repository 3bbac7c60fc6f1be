"""Debian's Incus."""

from __future__ import annotations

from collections.abc import Iterator

from .daemon import Daemon
from .harness import need, new_folder


class Incus(Daemon):
    name = "incus"
    program = "/usr/libexec/incus/incusd"
    client = "incus"
    init = ("incus", "admin", "init")


def an_incus(*, idmapped_mounts: bool = True) -> Iterator[Incus]:
    """Start an Incus for a fixture of a test module, yield the Incus, and stop it afterwards."""
    need(Incus.client, Incus.program, "unshare")
    for folder in new_folder():
        incus = Incus(folder, idmapped_mounts=idmapped_mounts)
        try:
            yield incus.set_up()
        finally:
            incus.close()
