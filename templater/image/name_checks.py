"""Checks of the names and kinds of files in an image. The checks run before a file is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.entry import DIRECTORY, FILE, TemplateFile
from ..model.errors import RefusedError
from ..model.unprintable_characters import printable

if TYPE_CHECKING:
    from .tar_reader import Member


def bad_template_name(name: str) -> TemplateFile | None:
    """Check the name of a file in ``templates/``.

    Return None for a valid name, or a ``TemplateFile`` with an error for an invalid name.
    """
    if name in ("", ".", ".."):
        problem = "the template name '{}' is not a valid file name"
    elif "/" in name and (".." in name or name[0] == "/"):
        problem = "the template name '{}' leads out of the templates directory"
    elif "/" in name:
        problem = "the template name '{}' contains a '/'"
    elif "\0" in name:
        problem = "the template name '{}' contains a NUL byte"
    elif len(name.encode("utf-8", "surrogateescape")) > 255:
        problem = "the template name '{}' is longer than 255 bytes"
    else:
        return None
    return TemplateFile(None, None, RefusedError(problem.format(printable(name))))


def refuse_kind(kind: str, name: str, image: str) -> None:
    """Raise RefusedError unless the kind is a regular file. Old daemons followed links (CVE-2026-63343)."""
    if kind != FILE:
        raise RefusedError(f"'{image}': '{name}' is a {kind}, not a regular file")


def clean_name(member: Member) -> str:
    """Return a member's name without ``./`` at its start and ``/`` at its end, or "" for the top directory.

    Raises RefusedError for an absolute name or a name with ``..``, which GNU tar would shorten.
    """
    name = member.name
    if name.startswith("/"):
        raise RefusedError(f"'{printable(name)}': a member's name must not be absolute")
    if (
        "//" not in name
        and "./" not in name
        and not name.endswith(("/", "/.", "/.."))
        and name not in ("", ".", "..")
    ):
        return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts and member.kind != DIRECTORY:
        raise RefusedError(f"the archive contains a {member.kind} without a name")
    if ".." in parts:
        raise RefusedError(f"'{printable(name)}': a member's name must not contain '..'")
    if name.endswith("/") and member.kind != DIRECTORY:
        raise RefusedError(f"'{printable(name)}' ends in '/' but is a {member.kind}")
    return "/".join(parts)
