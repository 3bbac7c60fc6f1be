"""The mode of a rule is decimal, invalid, or does not let the owner read the file.

The daemons read a mode of three digits as octal. They read a longer mode as octal only if it begins
with `0`.

    mode: 4755        wrong: decimal, which gives 0223
    mode: 0755        right
    mode: 0644        right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...model.permissions import parse_id, parse_mode
from ...model.source import printable
from ..authored import AuthoredImage
from ..base import Observation, check


@check(
    "mode",
    "error",
    "a mode, uid or gid with a value that the author cannot intend",
    hint="write the mode in octal, such as 0644",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule in image.rules:
        if rule.null:
            continue
        for what in ("uid", "gid"):
            try:
                parse_id(getattr(rule, what), what, rule)
            except TemplaterError as error:
                yield Observation(error.message, error.span or rule.spans["path"], error.hint, rule=rule)
        at = rule.spans.get("mode") or rule.spans["path"]
        try:
            mode = parse_mode(rule.mode, rule)
        except TemplaterError as error:
            yield Observation(error.message, at, error.hint, rule=rule)
            continue
        shown = printable(rule.mode)
        if len(rule.mode) > 3 and rule.mode[0] in "123456789" and rule.mode.isdigit():
            yield Observation(f"mode '{shown}' is decimal: the file gets {mode:04o}", at, rule=rule)
        elif not mode & 0o400:
            yield Observation(
                f"mode '{shown}' gives {mode:04o}: the file's owner cannot read it", at, rule=rule
            )
