"""A check for templates that are missing or are not regular files."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import FILE, SYMLINK
from ...model.file_names import TEMPLATES
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check(
    "template-file",
    "medium",
    "a template that is missing, is a symlink or special file, or is a hard link",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    mounted = [name.path for name in image.names if name.path == TEMPLATES and name.entry.is_mount]
    if mounted:
        yield Observation("'templates' is a mount point, so its files were not read", TEMPLATES)
    used = {rule.template: rule for rule in reversed(image.rules) if rule.template}
    for name, rule in used.items():
        if image.complete and not mounted and "/" not in name and image.templates.get(name) is None:
            at = rule.spans.get("template") or rule.spans["path"]
            yield Observation(f"template '{printable(name)}' does not exist: the start fails", at)
    for name, file in sorted(image.templates.items()):
        place, entry = f"templates/{name}", file.entry
        if entry is None:
            continue
        if entry.kind == SYMLINK:
            message = f"the template is a symlink to '{printable(entry.target)}'"
            yield Observation(message, place, "", "critical", "CVE-2026-23954")
        elif entry.kind != FILE:
            message = f"the template is a {entry.kind}: reading it may never end"
            yield Observation(message, place, severity="high")
        elif entry.nlink > 1:
            message = (
                "the template has more than one hard link: the same file has another name on this file system"
            )
            yield Observation(message, place, severity="low")
        if entry.kind == FILE and file.error is not None:
            yield Observation(file.error.message, place, file.error.hint, severity="high")
