"""Filters that turn addresses in a text into links: urlize, urlizetrunc."""

import re

from ..golang.strings import GO_SPACE
from ..values import from_bytes, grow, sized, to_bytes, to_int, to_string
from . import SLOW, filter
from .escaping import escape_text
from .urls import iri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_START = re.compile(r"https?://|www\.|(?:^|[ ])[0-9A-Za-z_\-]+\.(?:com|net|org|info|biz|de)")


@filter("urlize", weight=SLOW)
def urlize(value: "Any", argument: "Any") -> str:
    return _linked(to_string(value), argument is not False, -1)


@filter("urlizetrunc", weight=SLOW)
def urlizetrunc(value: "Any", argument: "Any") -> str:
    return _linked(to_string(value), True, to_int(argument))


def _linked(text: str, escaped: bool, limit: int) -> str:
    grow(3 * len(text))
    return sized(_link_addresses(_link_urls(text, escaped, limit), limit))


def _link_urls(text: str, escaped: bool, limit: int) -> str:
    """Return the text with links for its URLs.

    A URL ends at a space or at the end of the text. Like pongo2, this function does not link a URL if a
    newline comes before the next space.
    """
    out = []
    position = done = newline = blank = 0
    while match := _START.search(text, position):
        if newline < match.end():
            newline = _find(text, "\n", match.end())
        if blank < match.end():
            blank = _find(text, " ", match.end())
        if newline < blank:
            position = newline  # A URL cannot contain a newline, so the search continues at the newline.
            continue
        end = blank
        while text[end : end + 1] == " ":
            end += 1
        out.append(text[done : match.start()])
        out.append(_link(text[match.start() : end], escaped, limit))
        position = done = end
    out.append(text[done:])
    return "".join(out)


def _find(text: str, what: str, position: int) -> int:
    found = text.find(what, position)
    return len(text) if found < 0 else found


def _link(raw: str, escaped: bool, limit: int) -> str:
    prefix = " " if raw[0] == " " else ""
    suffix = " " if raw[-1] == " " else ""
    raw = raw.strip(GO_SPACE)
    url = iri(raw)
    if not url.startswith("http"):
        url = "http://" + url
    title = _shortened(raw, limit)
    if escaped:
        title = escape_text(title)
    return f'{prefix}<a href="{url}" rel="nofollow">{title}</a>{suffix}'


def _shortened(title: str, limit: int) -> str:
    """Shorten a title to ``limit`` bytes. Like pongo2, this function may split a character."""
    data = to_bytes(title)
    return from_bytes(data[: limit - 3]) + "..." if 3 < limit < len(data) else title


def _link_addresses(text: str, limit: int) -> str:
    r"""Return the text with links for its mail addresses: all matches of ``\w+@\w+\.\w{2,4}``."""
    out = []
    done = 0
    # The search begins at each ``@``, because a search for ``\w+`` would be slow in a text of long words.
    at = text.find("@")
    while at >= 0:
        start, end = _address(text, at, done)
        if end:
            title = _shortened(text[start:end], limit)
            out.append(f'{text[done:start]}<a href="mailto:{text[start:end]}">{title}</a>')
            done = end
        at = text.find("@", at + 1)
    out.append(text[done:])
    return "".join(out)


def _address(text: str, at: int, floor: int) -> "tuple[int, int]":
    """Return start and end of the mail address around the index ``at``, or (0, 0) for an invalid address.

    The address begins at the index ``floor`` or later.
    """
    start = at
    while start > floor and _is_word(text[start - 1]):
        start -= 1
    dot = _word_end(text, at + 1, len(text))
    end = _word_end(text, dot + 1, dot + 5)
    if start == at or dot == at + 1 or text[dot : dot + 1] != "." or end < dot + 3:
        return 0, 0
    return start, end


def _word_end(text: str, position: int, limit: int) -> int:
    while position < limit and _is_word(text[position : position + 1]):
        position += 1
    return position


def _is_word(c: str) -> bool:
    return c.isascii() and (c.isalnum() or c == "_")
