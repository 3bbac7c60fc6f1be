"""Owner and mode that are not what they look like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.errors import TemplaterError
from ...model.permissions import go_integer, parse_id, parse_mode
from ..survey import Sight, Survey, check

if TYPE_CHECKING:
    from ...model.metadata import Rule


@check(
    "permissions", "medium", "uid, gid or mode that does not parse, or means something else than it seems to"
)
def look(survey: Survey) -> Iterator[Sight]:
    for rule in survey.rules:
        if rule.null:
            continue
        for field, text in (("uid", rule.uid), ("gid", rule.gid)):
            try:
                if text:
                    parse_id(text, field, rule)
            except TemplaterError as error:
                yield Sight(error.message, rule.spans.get(field) or rule.spans["path"], error.hint)
        yield from of_mode(rule)


def of_mode(rule: Rule) -> Iterator[Sight]:
    if not rule.mode:
        return
    at = rule.spans.get("mode") or rule.spans["path"]
    try:
        mode = parse_mode(rule.mode, rule)
    except TemplaterError as error:
        yield Sight(error.message, at, error.hint)
        return
    number = go_integer(rule.mode if len(rule.mode) != 3 else f"0{rule.mode}") or 0
    if rule.mode.isdigit() and len(rule.mode) == 4 and not rule.mode.startswith("0"):
        yield Sight(
            f"mode '{rule.mode}' is read as decimal: the file gets {mode:04o}",
            at,
            hint=f"write 0{rule.mode[-3:]}",
        )
    elif number & ~0o777:
        yield Sight(
            f"mode '{rule.mode}': setuid, setgid and sticky bits are dropped: {mode:04o}", at, severity="low"
        )
    if mode & 0o002:
        yield Sight(f"mode '{rule.mode}' lets everybody in the instance write the file", at, severity="low")
