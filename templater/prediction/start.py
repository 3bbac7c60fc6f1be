"""One start on the host: its passes, up to the first rule that fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import Metadata
from .daemon import Daemon
from .errno_errors import NIL_PANIC, Fails, Hangs
from .host_filesystem import HostFilesystem
from .incus_6_and_lxd_5 import Beneath, Unchecked
from .incus_7 import Rooted
from .lxd_6_9 import Stated
from .templates import Due, Renderer

FAMILIES: Mapping[str, type[Daemon]] = {
    "I604": Unchecked,
    "L505": Unchecked,
    "I606": Beneath,
    "L506": Beneath,
    "I73": Rooted,
    "LHEAD": Stated,
}


@dataclass(slots=True)
class Verdict:
    """The result of a start, and the file system afterwards; ``passed`` counts the passes that succeeded."""

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
) -> Verdict:
    """Run one start, pass by pass and rules in the given order, up to the first that fails.

    The daemons run the rules of a pass in random order. To see every possible result, call this for every
    order.
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
        return Verdict("fails", str(failure), filesystem, passed)
    except Hangs as hang:
        return Verdict("hangs", str(hang), filesystem, passed)
    return Verdict(result, "", filesystem, passed)


def check_metadata(host: Host, metadata: Metadata, instance: Instance) -> None:
    """Raise Fails if metadata.yaml, although templater can read it, ends a start of this host."""
    # Incus looks for a null document where it starts a virtual machine, from 6.0.5 on
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
