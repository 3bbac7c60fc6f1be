"""A field of an entry in a definition has no effect, because the entry's generator does not read the field.

Only the generators `dump` and `copy` read `mode`, `uid` and `gid`. So an entry with the generator `template`
can't set the owner or the mode of its file.

The generator `cloud-init` always uses the triggers `create` and `copy`, and ignores `template.when`.

Many authors use the field `name` as a comment. So a finding about `name` has only the severity `info`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check

_RULE = {"template.when", "template.properties"}
_FILE = {"mode", "uid", "gid"}
#: the fields that a generator reads, in addition to the filters, `generator`, `path` and `pongo`
READ = {
    "dump": {"content", "templated"} | _FILE,
    "copy": {"source"} | _FILE,
    "template": {"content", "name"} | _RULE,
    "hostname": _RULE,
    "hosts": _RULE,
    "cloud-init": {"content", "name", "template.properties"},
    "remove": set(),
    "fstab": set(),
    "incus-agent": set(),
    "lxd-agent": set(),
}
_FIELDS = ("mode", "uid", "gid", *sorted(_RULE), "content", "name", "source", "templated")


@check("dropped-field", "warning", "a field that a definition's generator ignores", hint="remove the field")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for entry in () if image.definition is None else image.definition.entries:
        for field in _FIELDS:
            node = entry.node(field)
            if node is not None and field not in READ[entry.generator]:
                hint = ""
                if field in _FILE and entry.generator == "template":
                    hint = (
                        "to set the owner and mode of this file, add an entry with the generator 'dump': the"
                        " daemon keeps the owner and mode of an existing file"
                    )
                severity = "info" if field == "name" else ""
                message = f"the generator '{entry.generator}' ignores '{field}'"
                yield Observation(message, node.span, hint, severity)
