"""A simulated start on a host: each pass runs its rules on the model file system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import Metadata
from .errno_errors import NIL_PANIC, Fails, Hangs
from .host_filesystem import HostFilesystem
from .host_rendering import Due, Renderer
from .incus_6_and_lxd_5 import Openat2CheckedDaemon, UncheckedDaemon
from .incus_7 import OsRootDaemon
from .lxd_6_9 import OsRootCheckedDaemon
from .shared_steps import Daemon

FAMILIES: Mapping[str, type[Daemon]] = {
    "I604": UncheckedDaemon,
    "L505": UncheckedDaemon,
    "I606": Openat2CheckedDaemon,
    "L506": Openat2CheckedDaemon,
    "I73": OsRootDaemon,
    "LHEAD": OsRootCheckedDaemon,
}


class StartResult(NamedTuple):
    """The result of a start, and the file system after it. ``passed`` is the number of successful passes."""

    result: str
    error: str
    filesystem: HostFilesystem
    passed: int = 0


def start(
    host: Host,
    filesystem: HostFilesystem,
    instance: Instance,
    passes: Iterable[Iterable[Due]],
    *,
    metadata: Metadata | None = None,
    render: Renderer | None = None,
) -> StartResult:
    """Run the passes of one start, with rules in the given order, up to the first rule that fails.

    The daemons run the rules of a pass in random order. To get every possible result, call this function for
    every order.
    """
    daemon = FAMILIES[host.family](host, filesystem, instance, render)
    result, passed = "skipped", 0
    try:
        check_metadata(host, metadata or Metadata(), instance)
        for dues in passes:
            daemon.open_roots()
            for due in dues:
                if daemon.apply(due) == "written":
                    result = "written"
            passed += 1
    except Fails as failure:
        return StartResult("fails", str(failure), filesystem, passed)
    except Hangs as hang:
        return StartResult("hangs", str(hang), filesystem, passed)
    return StartResult(result, "", filesystem, passed)


def check_metadata(host: Host, metadata: Metadata, instance: Instance) -> None:
    """Raise Fails if this host refuses a metadata.yaml that templater can read."""
    # Since 6.0.5, Incus rejects a null document when it starts a virtual machine.
    looked_for = host.family == "LHEAD" or (
        instance.is_vm and host.product == "incus" and host.family != "I604"
    )
    if metadata.null and not looked_for:
        raise Fails(NIL_PANIC)
    size = 0 if metadata.source is None else len(metadata.source.data)
    if host.metadata_limit and size > host.metadata_limit:
        raise Fails(
            'Failed reading metadata: Failed parsing metadata file "$INSTANCE/metadata.yaml": '
            f"yaml: input error: input data is larger than maximum {host.metadata_limit} bytes"
        )
