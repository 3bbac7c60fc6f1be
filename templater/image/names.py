"""Checks of the name and the kind of a file in an image. They run before the file is opened."""

from __future__ import annotations

from ..model.entry import FILE, TemplateFile
from ..model.errors import RefusedError
from ..model.source import printable


def bad_template_name(name: str) -> TemplateFile | None:
    """Return None for a valid name of a file in ``templates/``, else a ``TemplateFile`` with an error."""
    if name in ("", ".", ".."):
        reason = "is not a valid file name"
    elif "/" in name:
        reason = (
            "leads out of the templates directory" if ".." in name or name[0] == "/" else "contains a '/'"
        )
    elif "\0" in name:
        reason = "contains a NUL byte"
    elif len(name.encode("utf-8", "surrogateescape")) > 255:
        reason = "is longer than 255 bytes"
    else:
        return None
    return TemplateFile(None, None, RefusedError(f"the template name '{printable(name)}' {reason}"))


def refuse_kind(kind: str, name: str, image: str) -> None:
    """Raise RefusedError unless the kind is a regular file. Old daemons followed links (CVE-2026-63343)."""
    if kind != FILE:
        raise RefusedError(f"'{image}': '{name}' is a {kind}, not a regular file")
