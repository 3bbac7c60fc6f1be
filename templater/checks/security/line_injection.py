"""A check for values that can add lines to a configuration file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

from ...pongo2.syntax.tokens import IDENTIFIER, STRING, TEXT, Token
from ..base import Observation, check
from ..scanned_image import ScannedImage
from ..template_tokens import (
    PRINTING,
    UNFOLLOWED,
    bound_names,
    closing_brackets,
    parts_of,
    value_at,
)

#: filters whose output never has a line break, on every host
SAFE = {
    "divisibleby", "escapejs", "float", "floatformat", "integer", "iriencode", "length", "length_is",
    "linebreaks", "linebreaksbr", "truncatewords", "urlencode", "wordcount", "yesno",
}  # fmt: skip


def removes_line_breaks(name: str, argument: object = None) -> bool:
    """Return whether a filter with this argument removes, replaces or encodes line breaks."""
    return name in SAFE or (name, argument) == ("stringformat", "%q")


@check(
    "line-injection",
    "info",
    "a configuration value inside a line of a file: a line break in the value adds a line",
    "CVE-2026-23953",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find configuration values that follow other text on the same line.

    A value at the start of a line is not reported: it is usually a whole document, such as user data.
    """
    for source in image.sources():
        # every parameter of a macro counts as a configuration value, because calls are not followed
        line, names, arguments = _Line(), set(CONFIGURATION), set[str]()
        inner = set[str]()  # names of texts with a configuration value inside a line
        seen: set[int] = set()
        has_macros = False
        for kind, part in parts_of(source, names, arguments, inner, line.loops):
            if kind == UNFOLLOWED:
                yield Observation(
                    "templater cannot follow all variables of this template: a value may add a line",
                    source.span(part[0].start, part[-1].end),
                )
                continue
            is_read = kind != "widthratio" and reads(part, names)  # this tag prints numbers
            has_macros = has_macros or kind == "macro"
            is_argument = kind != TEXT and is_in_argument(part, inner, names, arguments)
            is_inner = kind != TEXT and (is_argument or is_inside_text(part, inner, names, arguments))
            is_inside = line.inside or is_inner or (kind == "filter" and _follows_body(part))
            is_found = kind in PRINTING and is_inside and (is_read or reads(part, arguments))
            is_quoted = has_macros and is_argument  # an error in a macro, which LXD prints, can quote it
            if (is_found or is_quoted) and part[0].start not in seen:
                seen.add(part[0].start)
                at = source.span(part[0].start, part[-1].end)
                yield Observation("a line break in this value adds a line to the file", at)
            if kind == TEXT:
                line.add(part[0].shown)
            elif kind in PRINTING:
                if kind != "filter" or is_read:
                    line.inside = True
                else:
                    line.follow(kind, part)
                if is_read:
                    names.update(line.macro)
            else:
                line.follow(kind, part)
            bound = bound_names(kind, part)
            if bound and is_read:
                names.update(bound)
            elif bound and (kind == "macro" or reads(part, arguments)):
                arguments.update(bound)
            inner.update(bound if is_inner else ())


class _Line:
    """The current line of the output, while a template is read in order.

    * ``inside``: whether the next text can be on the same line as earlier text
    * ``macro``: the name of the innermost macro that is being defined
    """

    def __init__(self) -> None:
        self.inside = False
        self.macro: tuple[str, ...] = ()
        self.blocks: list[_Block] = []
        #: the offsets of the loops whose rounds can end inside a line
        self.loops: set[int] = set()

    def add(self, text: str) -> None:
        _, line_break, last = text.rpartition("\n")
        self.inside = bool(last.strip()) or (self.inside and not line_break)

    def follow(self, tag: str, part: list[Token]) -> None:
        start = part[0].start
        if tag in ("empty", "endfor") and self.inside and self.blocks and self.blocks[-1].can_skip:
            self.loops.add(self.blocks[-1].start)
        if tag in _TEXTS or (tag == "filter" and adds_prefix(part)):
            self.inside = True
        elif tag in _BRANCHES:
            self.blocks.append(_Block(start, self.inside, self.macro))
            self.inside = self.inside or start in self.loops
        elif tag == "macro":  # the macro's output follows the text before its calls
            self.blocks.append(_Block(start, self.inside, self.macro))
            self.inside, self.macro = False, (str(part[2].value),)
        elif self.blocks and tag in ("elif", "else", "empty"):
            block = self.blocks[-1]
            block.after = block.after or self.inside
            self.inside = block.before
            if tag != "elif":
                block.can_skip = False
        elif self.blocks and tag == "endmacro":
            block = self.blocks.pop()
            self.inside, self.macro = block.before, block.macro
        elif self.blocks and tag.removeprefix("end") in _BRANCHES:
            block = self.blocks.pop()
            self.inside = self.inside or block.after or (block.can_skip and block.before)


#: tags that print one of several texts, or none
_BRANCHES = ("for", "if", "ifchanged", "ifequal", "ifnotequal")
#: tags that print a text that does not end with a line break
_TEXTS = ("lorem", "now", "templatetag", "widthratio")


@dataclass
class _Block:
    """A block tag that is still open.

    * ``start``: the offset of the tag
    * ``before``: whether the text before the tag ends inside a line
    * ``after``: whether one of the finished branches ends inside a line
    """

    start: int
    before: bool
    macro: tuple[str, ...]
    after: bool = False
    can_skip: bool = True


#: the names through which a template reads the configuration
CONFIGURATION = ("config", "config_get")


#: maximum number of filters of one value that are searched
_MOST_FILTERS = 20


def reads(part: list[Token], names: Collection[str]) -> bool:
    """Return whether a tag or an expression reads one of ``names`` and does not remove line breaks."""
    closing = closing_brackets(part)
    number = 1
    while number < len(part):
        token = part[number]
        if token.kind == IDENTIFIER and token.value in names and part[number - 1].kind not in (".", "|"):
            number = value_at(part, number, closing).end
            if part[number].kind != "=" and not _has_safe_filter(part, number, closing):
                return True
        else:
            number += 1
    return False


_DEFAULTS = ("default", "default_if_none")


def adds_prefix(part: list[Token]) -> bool:
    """Return whether the filter ``stringformat`` can write text before the value, as in ``"key=%s"``."""
    return any(
        token.value == "stringformat" and colon.kind == ":" and _can_be_text(argument, before="%")
        for token, colon, argument in zip(part, part[1:], part[2:], strict=False)
    )


def _follows_body(part: list[Token]) -> bool:
    """Return whether a tag such as ``{% filter add:x %}`` can print the argument after the body's text."""
    return any(colon.kind == ":" and token.value not in _DEFAULTS for token, colon in pairwise(part))


def is_inside_text(part: list[Token], inner: Collection[str], *names: Collection[str]) -> bool:
    """Return whether an expression writes text before a variable of ``names``, as in ``"key=" + config.a``.

    Also return True for a variable of ``inner``, because its value already has such text.
    """
    # A string in a template can't contain a line break, so the text and the value are on the same line.
    follows = adds_prefix(part)
    for number, token in enumerate(part[1:], 1):
        last = part[number - 1]
        if token.kind == "+" or (token.value == "add" and last.kind == "|"):
            follows = follows or _can_be_text(last if token.kind == "+" else part[number - 2])
        elif token.kind != IDENTIFIER or last.kind in (".", "|"):
            continue
        elif token.value in inner or (follows and any(token.value in each for each in names)):
            return True
    return False


def is_in_argument(part: list[Token], *names: Collection[str]) -> bool:
    """Return whether a filter such as ``join`` can insert an argument with one of ``names`` into a text."""
    closing = closing_brackets(part)
    end = 0
    for number, token in enumerate(part):
        # The function ``is_inside_text`` checks ``add``. A filter in ``_DEFAULTS`` replaces the whole value.
        if token.kind == ":" and part[number - 1].value not in ("add", *_DEFAULTS):
            end = max(end, value_at(part, number + 1, closing).end)
        elif (
            number < end
            and token.kind == IDENTIFIER
            and part[number - 1].kind not in (".", "|")
            and any(token.value in each for each in names)
        ):
            return True
    return False


def _can_be_text(token: Token, *, before: str = "") -> bool:
    """Return whether a value can contain characters other than spaces.

    If ``before`` is not empty, test only the text up to the last occurrence of ``before``.
    """
    text = str(token.value)
    return token.kind != STRING or bool((text.rpartition(before)[0] if before else text).strip())


def _has_safe_filter(part: list[Token], number: int, closing: dict[int, int]) -> bool:
    """Return whether the filters that begin at a token remove line breaks."""
    for _ in range(_MOST_FILTERS):
        if part[number].kind != "|" or part[number + 1].kind != IDENTIFIER:
            break
        has_argument = part[number + 2].kind == ":"
        argument = part[number + 3].value if has_argument else None
        if removes_line_breaks(str(part[number + 1].value), argument):
            return True
        number = value_at(part, number + 3, closing).end if has_argument else number + 2
    return False
