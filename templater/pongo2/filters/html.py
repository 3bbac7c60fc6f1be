"""Filters on HTML: striptags, removetags, truncatechars_html, truncatewords_html."""

from heapq import heappop, heappush

from ..golang.regexp import Pattern
from ..golang.strings import GO_SPACE
from ..operators import wrap64
from ..render_state import work
from ..values import Safe, sized, to_bytes, to_int, to_string
from . import PYTHON, SLOW, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..render_state import Render


@filter("striptags")
def striptags(value: "Any", argument: "Any") -> str:
    """Remove everything from each ``<`` to the next ``>``."""
    text = to_string(value)
    out = []
    done = 0
    start = text.find("<")
    while start >= 0 and (end := text.find(">", start)) >= 0:
        out.append(text[done:start])
        done = end + 1
        start = text.find("<", done)
    out.append(text[done:])
    return sized("".join(out).strip(GO_SPACE))


@filter("removetags", dialects=("v4", "v6"), render=True, weight=SLOW)
def removetags(render: "Render", value: "Any", argument: "Any") -> str:
    """Remove the tags whose names are in the argument. pongo2 treats each name as a regular expression."""
    text = to_string(value)
    for name in _counted_names(render, text, argument):
        text = _without_tag(text, name) if _is_plain(name) else _without_matches(render, text, name)
    return sized(text.strip(GO_SPACE))


@filter("removetags", dialects=("v6.1",), render=True, weight=SLOW)
def removetags_v61(render: "Render", value: "Any", argument: "Any") -> str:
    """Remove the tags whose names are in the argument. pongo2 6.1 compares names literally."""
    text = to_string(value)
    for name in _counted_names(render, text, argument):
        text = _without_tag(text, name)
    return sized(text.strip(GO_SPACE))


def _counted_names(render: "Render", text: str, argument: "Any") -> "list[str]":
    """Return the tag names in the argument. Count the work of searching the text for each of these names."""
    names = to_string(argument).split(",")
    regular = sum(_COMPILED + len(name) + len(text) for name in names if not _is_plain(name))
    work(render, len(names) * (text.count("<") * SLOW + len(text) // 64) + regular * SLOW)
    return names


def _without_matches(render: "Render", text: str, name: str) -> str:
    pattern = Pattern(f"</?{name}/?>")
    work(render, pattern.size * PYTHON + pattern.work(text))
    return pattern.remove_all(text)


#: the number of characters whose processing takes as long as compiling the shortest regular expression
_COMPILED = 64


def _without_tag(text: str, name: str) -> str:
    out = []
    done = 0
    start = text.find("<")
    while start >= 0:
        end = _tag_end(text, start, name)
        if end:
            out.append(text[done:start])
            done = end
        start = text.find("<", end or start + 1)
    out.append(text[done:])
    return "".join(out)


_PLAIN = dict.fromkeys(map(ord, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:!= "))


def _is_plain(name: str) -> bool:
    """Return whether a name contains no special characters of regular expressions."""
    return not name.translate(_PLAIN)


def _tag_end(text: str, start: int, name: str) -> int:
    """Return the position after the tag ``name`` at ``start``, or 0 if no such tag begins there."""
    position = start + 1
    if text.startswith("/" + name, position):
        position += 1
    elif not text.startswith(name, position):
        return 0
    position += len(name)
    if text[position : position + 1] == "/":
        position += 1
    return position + 1 if text[position : position + 1] == ">" else 0


@filter("truncatechars_html", weight=SLOW)
def truncatechars_html(value: "Any", argument: "Any") -> Safe:
    text = to_string(value)
    limit = max(wrap64(to_int(argument) - 3), 0)
    cut = _Truncation(text)
    count = 0
    while cut.position < len(text) and count < limit:
        if cut.skip_bad() or cut.tag():
            continue
        cut.out.append(text[cut.position])
        cut.position += 1
        count += 1
    if limit <= count < len(to_bytes(text)):
        cut.out.append("...")
    return cut.closed()


@filter("truncatewords_html", weight=SLOW)
def truncatewords_html(value: "Any", argument: "Any") -> Safe:
    text = to_string(value)
    limit = max(to_int(argument), 0)
    cut = _Truncation(text)
    count = 0
    while cut.position < len(text) and count < limit:
        if cut.skip_bad() or cut.tag():
            continue
        count += cut.word()
    if count >= limit:
        cut.out.append("...")
    return cut.closed()


class _Truncation:
    """The state of pongo2's truncation of HTML: the position, the copied text and the open tags."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.out: list[str] = []
        self.open = _OpenTags()

    def skip_bad(self) -> bool:
        """Skip the current character if it is an undecodable byte or U+FFFD. Return True if it is skipped."""
        if not _is_bad(self.text[self.position]):
            return False
        self.position += 1
        return True

    def tag(self) -> bool:
        """Copy the tag that begins at the current position. Return False if no tag begins there."""
        if self.text[self.position] != "<":
            return False
        self.out.append("<")
        self.position += 1
        if len(to_bytes(self.text[self.position : self.position + 2])) >= 2:
            if self.text[self.position] == "/":
                self.closing_tag()
            else:
                self.opening_tag()
        return True

    def closing_tag(self) -> None:
        name = _good(self.until_bracket()[0][1:])
        self.open.close(name)
        self.out.append(f"/{name}>")

    def opening_tag(self) -> None:
        text, bracket = self.until_bracket()
        tag = _good(text)
        self.out.append(tag + bracket)
        self.open.push(tag.partition(" ")[0])

    def until_bracket(self) -> tuple[str, str]:
        """Return the text up to the next ``>``, and the ``>``. Move to the position after the ``>``.

        If no ``>`` follows, return the rest of the text and "".
        """
        start = self.position
        end = self.text.find(">", start)
        if end < 0:
            end = len(self.text)
        self.position = min(end + 1, len(self.text))
        return self.text[start:end], self.text[end : self.position]

    def word(self) -> int:
        """Copy the rest of a word. Return 1 if pongo2 counts the word, else 0."""
        found = 0
        text, position = self.text, self.position
        while position < len(text) and text[position] != "<":
            c = text[position]
            position += 1
            if _is_bad(c):
                continue
            self.out.append(c)
            if c in " .,;":
                break
            found = 1
        else:
            # pongo2 does not count a word if a tag follows it directly.
            found = 0 if position < len(text) else found
        self.position = position
        return found

    def closed(self) -> Safe:
        self.out.extend(f"</{name}>" for name in reversed(self.open.names))
        return Safe(sized("".join(self.out)))


def _is_bad(c: str) -> bool:
    return "\udc80" <= c <= "\udcff" or c == "\ufffd"


def _good(text: str) -> str:
    return text if text.isascii() else "".join(c for c in text if not _is_bad(c))


class _OpenTags:
    """The stack of open tags.

    A closing tag removes the matching open tag. The tag at the top of the stack moves to the position of the
    removed tag.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        #: for each tag name, a heap of negated positions in the stack; some positions are out of date
        self.places: dict[str, list[int]] = {}

    def push(self, name: str) -> None:
        self._place(name, len(self.names))
        self.names.append(name)

    def _place(self, name: str, index: int) -> None:
        heappush(self.places.setdefault(name, []), -index)

    def close(self, name: str) -> None:
        heap = self.places.get(name, [])
        while heap:
            index = -heappop(heap)
            if index < len(self.names) and self.names[index] == name:
                top = self.names.pop()
                if index < len(self.names):
                    self.names[index] = top
                    self._place(top, index)
                return
