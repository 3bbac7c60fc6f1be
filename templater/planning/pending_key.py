"""Whether the pending trigger is still a configuration key in the ``start`` pass of the same start."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..model.lifecycle import PENDING_KEY
from ..model.source import printable
from ..rendering.render import is_due

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..model.entry import TemplateFile
    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.metadata import Metadata

#: hosts of which a container's start was recorded: the key is there in both passes
RECORDED = ("incus-debian", "lxd-debian")
#: a template that names the key, or shows or walks over the whole configuration
_READS = re.compile(rb"apply_template|\bin\s+config\b|\{\{-?\s*config\s*[|}-]")


def pending_key_notes(
    metadata: Metadata,
    templates: Mapping[str, TemplateFile],
    instance: Instance,
    host: Host,
    triggers: tuple[str, ...],
) -> Iterator[str]:
    """Yield a note if a later pass reads the key and this host's answer is not recorded.

    The plan keeps the key then, as in the recordings.
    """
    if not host.product or (host.name in RECORDED and not instance.is_vm):
        return
    if PENDING_KEY not in instance.expanded_config():
        return
    found = []
    for rule in metadata.rules:
        file = templates.get(rule.template)
        data = file.data if file is not None else None
        if data is not None and any(is_due(rule, name) for name in triggers[1:]) and _READS.search(data):
            found.append(printable(rule.path))
    if found:
        kind = "virtual machines" if instance.is_vm else "containers"
        known = " and ".join(RECORDED)
        yield (
            f"whether {PENDING_KEY} is still set in the {triggers[-1]} pass is unknown"
            f" for {kind} of {host.name} (it was for containers of {known}): {', '.join(found)}"
        )
