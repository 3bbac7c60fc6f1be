"""A JSON parser for hooks, which loads much faster than the json package."""

from ..model.errors import InputError
from ..model.unprintable_characters import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_json(data: bytes, what: str) -> "dict[str, Any]":
    """Parse a JSON object. ``what`` names the text in messages.

    Raises InputError for invalid JSON, for a repeated name, and for a name with a NUL.
    """
    try:
        text = data.decode("utf-8").strip(" \t\r\n")
        value, end = _scanner()(text, 0)
    except _BadNameError as error:
        # crun and runc disagree about the value of a repeated name, and about a name with a NUL.
        raise InputError(f"{what}: the key '{printable(error.args[0])}' {error.args[1]}") from None
    except (ValueError, StopIteration, RecursionError, SystemError):
        # SystemError: the scanner can't raise JSONDecodeError while the json package is not imported
        raise InputError(f"{what} is not JSON") from None
    if end != len(text) or not isinstance(value, dict):
        raise InputError(f"{what} is not a JSON object")
    return value


def _unique(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    found = dict(pairs)
    # For a repeated name, crun reads the first value, and runc merges both values. crun reads a name up
    # to the NUL.
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _BadNameError(name, "occurs twice in an object")
            seen.add(name)
    for name in found:
        if "\0" in name:
            raise _BadNameError(name, "contains a NUL")
    return found


class _BadNameError(Exception):
    """Raised if runtimes disagree about a name in an object. The arguments are the name and the reason."""


def _scanner() -> "Any":
    class Settings:
        strict = True
        object_hook = None
        object_pairs_hook = staticmethod(_unique)
        parse_float = float
        parse_int = int
        parse_constant = float
        memo: "dict[str, str]" = {}  # noqa: RUF012 - the scanner reads this attribute

    try:
        from _json import make_scanner
    except ImportError:
        from json.scanner import make_scanner
    return make_scanner(Settings)  # type: ignore[arg-type]
