"""A table that shows an image's author how the rendered files differ between hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..image.name_checks import bad_template_name
from ..model.entry import TemplateFile
from ..model.errors import InputError, TemplaterError
from ..model.metadata import TRIGGERS
from ..model.render_options import RenderOptions
from ..model.source import Source, printable
from ..planning.every_host import plan_every_host
from ..reporting.host_table import ABSENT, DIFFERS, SAME, HostTable, Row, host_table, table_data, table_text
from .authored_image import LIMITS, AuthoredImage
from .difference_causes import DifferenceCauses
from .scanned_image import RootfsNames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.instance import Instance

LEGEND = """\
'differs': this host writes a different text, owner or mode than the first host. This is not a finding:
change the template or the rule only if the file must be the same on each host.
"""


class _Stored:
    """An image for planning, whose files a scan has already read."""

    complete = True

    def __init__(self, image: AuthoredImage) -> None:
        self.image = image
        self.name = image.name

    def read_metadata(self) -> Source:
        if self.image.stored is None:
            raise InputError("the image has no readable metadata.yaml")
        return self.image.stored

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        return {
            name: bad_template_name(name) or self.image.templates.get(name, TemplateFile()) for name in names
        }


class _Names(RootfsNames):
    """The names of a root filesystem. Every file counts as empty, because its contents were not read."""

    def read(self, path: str, limit: int) -> bytes:
        return b""


def host_report(image: AuthoredImage) -> dict[str, Any]:
    """Return a table of each file on each host, as data. The key ``text`` has the table as text.

    If every file is the same on all hosts, ``text`` is empty.

    Each trigger is planned separately. For each file, the table shows the first instance with a difference.
    """
    rows: dict[tuple[str, str, str], Row] = {}
    errors: dict[str, str] = {}
    containers = [probe for probe in image.probes if not probe.is_vm]
    rootfs = _Names(image.names) if image.has_rootfs else None
    try:
        options = RenderOptions(image.hosts[0], "", 0.0, 0, image.rendering_limits(LIMITS)).begun()
        causes = DifferenceCauses(image, options)
        for probe in containers or image.probes:
            for trigger in TRIGGERS:
                table = _table(causes, probe, trigger, rootfs)
                errors |= table.errors
                for row in table.rows:
                    key = row.trigger, row.path, row.template
                    if key not in rows or not _differs(rows[key]):
                        rows[key] = row
    except TemplaterError as error:
        return {"error": error.message, "text": f"the hosts are not compared: {printable(error.message)}\n"}
    table = HostTable(tuple(host.name for host in image.hosts), tuple(rows.values()), errors)
    different = bool(errors) or any(map(_differs, table.rows))
    text = table_text(table) if different else ""
    if any(cell.result == DIFFERS for row in table.rows for cell in row.cells.values()):
        text += LEGEND
    return {**table_data(table), "text": text}


def _table(causes: DifferenceCauses, probe: Instance, trigger: str, rootfs: _Names | None) -> HostTable:
    """Return the table of one trigger.

    This is a function of its own, so that the plans with all rendered files are freed when it returns.
    """
    plans = plan_every_host(
        _Stored(causes.image), probe, causes.options, triggers=(trigger,), rootfs=rootfs,
        new=trigger == "create" and not probe.exists, hosts=causes.image.hosts,
    )  # fmt: skip
    return host_table(plans, causes.construct)


def _differs(row: Row) -> bool:
    return any(cell.result not in (SAME, ABSENT) for cell in row.cells.values())
