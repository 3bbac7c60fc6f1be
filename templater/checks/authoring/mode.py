"""The mode of a rule is invalid or probably unintended, or does not let the owner read the file.

The daemons read a mode as octal if the mode has three digits or begins with `0`. The daemons read all other
numbers as decimal.

    mode: 4755        wrong: the daemons read a decimal number, and the file gets 0223
    mode: 0755        right

A program that writes YAML can turn `0644` without quotes into its decimal value 420:

    mode: 420         wrong: the file gets 0420
    mode: "0644"      right
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...model.permissions import parse_id, parse_mode
from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check


@check(
    "mode",
    "error",
    "a mode, uid or gid that is invalid or probably unintended",
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
        fix = corrected(rule.mode)
        hint = f'write mode: "{fix.fields["mode"]}"' if fix else ""
        try:
            mode = parse_mode(rule.mode, rule)
        except TemplaterError as error:
            yield Observation(error.message, at, hint or error.hint, rule=rule, fix=fix)
            continue
        shown = printable(rule.mode)
        message = ""
        if len(rule.mode) > 3 and rule.mode[0] in "123456789" and rule.mode.isdigit():
            message = f"the daemons read mode '{shown}' as a decimal number: the file gets {mode:04o}"
        elif not mode & 0o400:
            message = f"mode '{shown}' gives {mode:04o}: the file's owner cannot read it"
        elif not is_plausible(mode) and fix:
            message = (
                f"mode '{shown}' gives {mode:04o}, and looks like {fix.fields['mode']} converted to decimal"
            )
        if message:
            yield Observation(message, at, hint, rule=rule, fix=fix)


def is_plausible(mode: int) -> bool:
    """Return whether the owner can read the file and has every permission that other users have."""
    owner, others = mode >> 6 & 7, mode >> 3 & 7 | mode & 7
    return mode <= 0o7777 and bool(owner & 4) and not others & ~owner


def corrected(text: str) -> Fix | None:
    """Return a fix if exactly one interpretation of the mode is plausible, else None.

    The mode can be meant as octal, as decimal, or as letters such as rw-r--r--.
    """
    readings = set()
    if re.fullmatch("(?:[r-][w-][x-]){3}", text):
        readings.add(int("".join("0" if letter == "-" else "1" for letter in text), 2))
    elif re.fullmatch("[0-9]{1,5}", text):
        readings.add(int(text))
        if re.fullmatch("[0-7]+", text):
            readings.add(int(text, 8))
    plausible = [mode for mode in readings if is_plausible(mode)]
    return Fix(fields={"mode": f"0{plausible[0]:03o}"}) if len(plausible) == 1 else None
