"""Filters that escape: escape, e, safe, escapejs, addslashes."""

from ..values import sized, to_string, without_bytes
from . import NONE, SLOW, C, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@filter("escape", weight=C)
def escape(value: "Any", argument: "Any") -> str:
    return escape_text(to_string(value))


@filter("e", dialects=("v6", "v6.1"), weight=C)
def e(value: "Any", argument: "Any") -> str:
    return escape_text(to_string(value))


def escape_text(text: str) -> str:
    text = text.replace("&", "&amp;").replace(">", "&gt;").replace("<", "&lt;")
    return sized(text.replace('"', "&quot;").replace("'", "&#39;"))


@filter("safe", weight=NONE)
def safe(value: "Any", argument: "Any") -> "Any":
    """Return the value unchanged. Autoescape recognises this filter by its name in the template."""
    return value


@filter("escapejs", weight=SLOW)
def escapejs(value: "Any", argument: "Any") -> str:
    text = sized(to_string(value)).replace("\\r", "\r").replace("\\n", "\n")
    return sized("".join([c if _is_plain(c) else f"\\u{ord(c):04X}" for c in without_bytes(text)]))


def _is_plain(c: str) -> bool:
    return "a" <= c <= "z" or "A" <= c <= "Z" or c == " " or c == "/"


@filter("addslashes", weight=C)
def addslashes(value: "Any", argument: "Any") -> str:
    text = to_string(value).replace("\\", "\\\\")
    return sized(text.replace('"', '\\"').replace("'", "\\'"))
