"""Notes on files that change if the daemon unsets ``volatile.apply_template`` before ``start`` runs."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from ..model.errors import TemplaterError
from ..model.pending_trigger import PENDING_KEY
from ..model.source import printable
from ..rendering.render import render_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..model.entry import TemplateFile
    from ..model.instance import Instance
    from ..model.render_options import RenderOptions
    from ..rendering.render import Rendering

#: hosts whose starts were recorded: on these hosts, the pending key is set in both passes
RECORDED = ("incus-debian", "lxd-debian")
#: matches a template that names the key, prints the whole configuration or loops over it
_READS = re.compile(rb"apply_template|\bin\s+config\b|\{\{-?\s*config\s*[|}-]")


def pending_key_notes(
    renderings: Iterable[Rendering],
    templates: Mapping[str, TemplateFile],
    instance: Instance,
    options: RenderOptions,
    triggers: tuple[str, ...],
) -> Iterator[str]:
    """Yield a note if the rules of a later trigger would render different text without the pending key.

    A host whose behaviour was recorded needs no note. For any other host, the plan assumes that the key stays
    set, as on the recorded hosts.
    """
    host = options.host
    if not host.product or host.name in RECORDED:
        return
    if PENDING_KEY not in instance.expanded_config():
        return
    config = {key: value for key, value in instance.config.items() if key != PENDING_KEY}
    without = instance.replace(config=config)
    found = []
    for each in renderings:
        file = templates.get(each.rule.template)
        data = file.data if file is not None else None
        if (
            each.content is None
            or each.trigger not in triggers[1:]
            or data is None
            or not _READS.search(data)
        ):
            continue
        with suppress(TemplaterError):
            if render_data(data, each.rule, each.trigger, without, options) != each.content:
                found.append(printable(each.rule.path))
    if found:
        kind = "virtual machines" if instance.is_vm else "containers"
        yield (
            f"assuming that {kind} of {host.name} keep {PENDING_KEY} in the {triggers[-1]} pass,"
            f" as {kind} of {' and '.join(RECORDED)} do; affected files: {', '.join(found)}"
        )
