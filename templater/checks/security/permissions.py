"""A check for owners and modes that are invalid or misleading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.errors import TemplaterError
from ...model.permissions import go_integer, parse_id, parse_mode
from ..base import Observation, check
from ..scanned_image import ScannedImage

if TYPE_CHECKING:
    from ...model.metadata import Rule


@check("permissions", "medium", "a uid, gid or mode that is invalid or probably unintended")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for rule in image.rules:
        if rule.null:
            continue
        for field, text in (("uid", rule.uid), ("gid", rule.gid)):
            try:
                if text:
                    parse_id(text, field, rule)
            except TemplaterError as error:
                yield Observation(error.message, rule.spans.get(field) or rule.spans["path"], error.hint)
        yield from of_mode(rule)


def of_mode(rule: Rule) -> Iterator[Observation]:
    if not rule.mode:
        return
    at = rule.spans.get("mode") or rule.spans["path"]
    try:
        mode = parse_mode(rule.mode, rule)
    except TemplaterError as error:
        yield Observation(error.message, at, error.hint)
        return
    number = go_integer(rule.mode if len(rule.mode) != 3 else f"0{rule.mode}") or 0
    if rule.mode.isdigit() and len(rule.mode) == 4 and not rule.mode.startswith("0"):
        yield Observation(
            f"the daemons read mode '{rule.mode}' as decimal, not octal: the file gets mode {mode:04o}",
            at,
            hint=f"write 0{rule.mode[-3:]}",
        )
    elif number & ~0o777:
        yield Observation(
            f"the daemons drop setuid, setgid and sticky bits: mode '{rule.mode}' gives {mode:04o}",
            at,
            severity="low",
        )
    if mode & 0o002:
        yield Observation(
            f"mode '{rule.mode}' lets every user in the instance write the file", at, severity="low"
        )
