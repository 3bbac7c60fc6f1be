"""Names outside the root filesystem that the daemons were once led astray by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...model.entry import DIRECTORY, FILE
from ...model.source import printable
from ..survey import Sight, Survey, check

#: name, the kind it must have, and what happened where it had another
EXPECTED = {
    "metadata.yaml": (FILE, "CVE-2026-63343"),
    "templates": (DIRECTORY, "CVE-2026-48752"),
    "rootfs": (DIRECTORY, "CVE-2026-48749"),
    "exec-output": (DIRECTORY, "CVE-2026-48750"),
    "backup.yaml": (FILE, "CVE-2026-63125"),
}
KNOWN = {"metadata.yaml", "templates", "rootfs", "rootfs.img"}


@check("layout", "critical", "a name of the image that is of another kind than it must be, or comes twice")
def look(survey: Survey) -> Iterator[Sight]:
    outside = [(name.path.removeprefix("./").rstrip("/"), name.entry.kind) for name in survey.names]
    outside = [(path, kind) for path, kind in outside if not path.startswith("rootfs/")]
    for path, kind in outside:
        wanted, advisory = EXPECTED.get(path, (kind, ""))
        if kind != wanted:
            yield Sight(f"'{path}' is a {kind}, not a {wanted}", path, advisory=advisory)
        top = path.partition("/")[0]
        if top and top not in KNOWN and top == path and path not in EXPECTED:
            yield Sight(f"'{printable(path)}' is nothing that an image has", path, severity="info")
    kinds = dict(reversed(outside))
    for path, count in Counter(path for path, _ in outside).items():
        twice = count > 1 and path and not all(kind == DIRECTORY for other, kind in outside if other == path)
        if twice:
            yield Sight(
                f"'{printable(path)}' comes {count} times, first as a {kinds[path]}: the last one counts",
                path,
                advisory=EXPECTED.get(path, ("", ""))[1],
                severity="critical" if path in EXPECTED else "high",
            )
