"""Filters on text: case, alignment, words and lines."""

from ..golang.strings import GO_SPACE, fields, lower_text, split_text, title_text, upper_text
from ..operators import wrap64
from ..values import Panic, grow, length, replace_all, sized, to_int, to_runes, to_string
from . import SLOW, C, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@filter("upper")
def upper(value: "Any", argument: "Any") -> str:
    if type(value) is str and value.isascii():  # the usual case, in which Python's result equals Go's
        return value.upper()
    return sized(upper_text(to_string(value)))


@filter("lower")
def lower(value: "Any", argument: "Any") -> str:
    if type(value) is str and value.isascii():
        return value.lower()
    return sized(lower_text(to_string(value)))


@filter("title", weight=SLOW)
def title(value: "Any", argument: "Any") -> str:
    return sized(title_text(lower_text(str(value)))) if isinstance(value, str) else ""


@filter("capfirst", weight=C)
def capfirst(value: "Any", argument: "Any") -> str:
    if not length(value):
        return ""
    text = to_string(value)
    return sized(upper_text(text[0]) + text[1:])


@filter("center", weight=C)
def center(value: "Any", argument: "Any") -> "Any":
    """Center a value. As in pongo2, a number is padded as if its text were empty."""
    blanks = to_int(argument) - length(value)
    if blanks <= 0:
        return value
    grow(blanks)
    return " " * (blanks - blanks // 2) + to_string(value) + " " * (blanks // 2)


@filter("ljust", weight=C)
def ljust(value: "Any", argument: "Any") -> str:
    blanks = max(wrap64(to_int(argument) - length(value)), 0)
    grow(blanks)
    return sized(to_string(value)) + " " * blanks


@filter("rjust", weight=C)
def rjust(value: "Any", argument: "Any") -> str:
    """Pad a text like Go's ``%5s``. A negative width aligns the text to the left."""
    text = to_string(value)
    width = to_int(argument)
    if abs(width) // 10 > 1_000_000:  # Go's fmt rejects a width of 10,000,010 or more.
        return f"%!(NOVERB)%!(EXTRA string={text})"
    grow(max(abs(width), len(text)))
    return text.rjust(width) if width >= 0 else text.ljust(-width)


@filter("cut", weight=C)
def cut(value: "Any", argument: "Any") -> str:
    return sized(replace_all(to_string(value), to_string(argument), ""))


@filter("truncatechars")
def truncatechars(value: "Any", argument: "Any") -> str:
    runes = to_runes(to_string(value))
    limit = to_int(argument)
    if limit >= len(runes):
        return sized(runes)
    if limit < 0:
        raise Panic(f"runtime error: slice bounds out of range [:{limit}]")
    return sized(runes[: limit - 3] + "..." if limit >= 3 else runes[:limit])


@filter("truncatewords")
def truncatewords(value: "Any", argument: "Any") -> str:
    words = fields(to_string(value))
    limit = to_int(argument)
    if limit <= 0:
        return ""
    return sized(" ".join([*words[:limit], "..."] if limit < len(words) else words))


@filter("wordcount")
def wordcount(value: "Any", argument: "Any") -> int:
    return len(fields(to_string(value)))


@filter("wordwrap")
def wordwrap(value: "Any", argument: "Any") -> "Any":
    """Break the text into lines of ``argument`` words.

    Raises Panic, like pongo2, if the last line has two or more words but is not full.
    """
    width = to_int(argument)
    if width <= 0:
        return value
    words = fields(to_string(value))
    full, rest = divmod(len(words), width)
    if rest > 1:
        end = min(wrap64(width * (full + 2)), len(words))
        bounds = f"{width * (full + 1)}:{end}" if end >= 0 else f":{end}"
        raise Panic(f"runtime error: slice bounds out of range [{bounds}]")
    starts = range(0, len(words), width)
    return sized("\n".join([" ".join(words[i : i + width]) for i in starts]))


@filter("linebreaks")
def linebreaks(value: "Any", argument: "Any") -> "Any":
    if not length(value):
        return value
    lines = split_text(to_string(value), "\n")
    blank = [not line.strip(GO_SPACE) for line in lines]
    out = []
    opened = False
    for i, line in enumerate(lines):
        if not opened:
            out.append("<p>")
            opened = True
        out.append(line)
        if i + 1 < len(lines) and not blank[i]:
            out.append("</p>" if blank[i + 1] else "<br />")
            opened = not blank[i + 1]
    if opened:
        out.append("</p>")
    return sized("".join(out))


@filter("linebreaksbr", weight=C)
def linebreaksbr(value: "Any", argument: "Any") -> str:
    return sized(to_string(value).replace("\n", "<br />"))


@filter("linenumbers")
def linenumbers(value: "Any", argument: "Any") -> str:
    lines = to_string(value).split("\n")
    return sized("\n".join([f"{i}. {line}" for i, line in enumerate(lines, 1)]))


_KEYPAD = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999" * 2
)


@filter("phone2numeric")
def phone2numeric(value: "Any", argument: "Any") -> str:
    return sized(to_string(value).translate(_KEYPAD))
