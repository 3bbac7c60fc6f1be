"""A JSON parser for hooks, which loads much faster than the json package."""

from ..model.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_json(data: bytes, what: str) -> "dict[str, Any]":
    """Parse a JSON object. Raises InputError for invalid JSON; ``what`` names the text in the message.

    This function calls the C scanner of the json package directly, because importing json takes eight
    milliseconds.
    """
    try:
        text = data.decode("utf-8").strip(" \t\r\n")
        value, end = _scanner()(text, 0)
    except (ValueError, StopIteration, RecursionError, SystemError):
        # SystemError: the scanner can't raise JSONDecodeError while the json package is not imported
        raise InputError(f"{what} is not JSON") from None
    if end != len(text) or not isinstance(value, dict):
        raise InputError(f"{what} is not a JSON object")
    return value


def _scanner() -> "Any":
    class Settings:
        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = float
        memo: "dict[str, str]" = {}  # noqa: RUF012 - the scanner reads this attribute

    try:
        from _json import make_scanner
    except ImportError:
        from json.scanner import make_scanner
    return make_scanner(Settings)  # type: ignore[arg-type]
