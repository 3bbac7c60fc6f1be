"""Tokens of templates, for checks that must also work on templates that do not compile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sized
from typing import NamedTuple

from ..model.errors import TemplaterError
from ..model.source import Source
from ..pongo2.dialect import V4, V6, Dialect
from ..pongo2.syntax.lexer import Lexer
from ..pongo2.syntax.parser import trimmed
from ..pongo2.syntax.tokens import IDENTIFIER, TEXT, Token, Unit

#: the kinds of parts that print values; the tag ``filter`` prints the arguments of its filters
PRINTING = ("{{", "firstof", "cycle", "filter")
#: the kind of the last part if not all names of a template are known
UNFOLLOWED = "unfollowed names"

#: the kind of a part of a template, and its tokens
Part = tuple[str, list[Token]]

#: maximum number of rounds, each of which yields all parts of a template
_MOST_ROUNDS = 5


def parts_of(source: Source, *names: Sized) -> Iterator[Part]:
    """Yield the parts of each reading of a template (see ``readings_of``), in one or more rounds.

    If the caller adds names to ``names`` during a round, yield all parts again. After ``_MOST_ROUNDS`` such
    rounds, yield ``UNFOLLOWED`` and stop.
    """
    for parts in readings_of(source):
        for _ in range(_MOST_ROUNDS):
            size = sum(map(len, names))
            yield from parts
            # The line break makes the next round begin on a new line.
            yield TEXT, [Token(TEXT, "\n", 0, 0, Unit(source))]
            if sum(map(len, names)) == size:
                break
        else:
            yield UNFOLLOWED, parts[0][1]
            return


def readings_of(source: Source) -> Iterator[list[Part]]:
    """Yield the parts that Incus reads. If LXD reads and renders other parts, also yield the parts of LXD."""
    tokens = _tokens(source, V6)
    yield _parts(tokens)[0]
    # In a tag or an expression, LXD reads a bracket and all characters after it as text.
    if any(token.kind in ("[", "]") for token in tokens):
        parts, is_rendered = _parts(_tokens(source, V4))
        if is_rendered:
            yield parts


def is_read_differently(source: Source) -> bool:
    """Return whether LXD renders the template, but finds other texts, expressions or tags than Incus."""
    has_bracket = "[" in source.text or "]" in source.text
    return has_bracket and len(list(readings_of(source))) > 1


def _tokens(source: Source, dialect: Dialect) -> list[Token]:
    """Return the tokens before the first lexer error. No daemon renders a template with a lexer error."""
    lexer = Lexer(Unit(source), dialect)
    with contextlib.suppress(TemplaterError):
        lexer.run()
    return lexer.tokens


def _parts(tokens: list[Token]) -> tuple[list[Part], bool]:
    """Return the parts of a template with their tokens, and whether a daemon may render the template.

    * The kind of a part is ``TEXT``, ``{{`` or the name of a tag.
    * For a text, set the token's attribute ``shown`` to the characters that pongo2 prints.
    * The contents of a ``comment`` tag are omitted.
    """
    parts: list[Part] = []
    part: list[Token] | None = None
    in_comment = False
    is_rendered = True
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if in_comment:
            is_end = token.kind == IDENTIFIER and token.value == "endcomment"
            if is_end and before is not None and before.kind == "{%":
                in_comment, part = False, [before, token]
        # A tag ends only at "%}". For some end tags, pongo2 ignores all tokens between the name and the "%}".
        elif part is not None and (part[0].kind == "{%" or token.kind not in ("{{", "{%")):
            part.append(token)
            if token.kind == TEXT and not (part[0].kind == "{%" and part[1].value.startswith("end")):
                # No daemon renders a text in an expression, or in a tag other than an end tag.
                is_rendered = False
            if token.kind == "%}" or (token.kind == "}}" and part[0].kind == "{{"):
                kind = part[1].value if part[0].kind == "{%" else "{{"
                in_comment = kind == "comment" and len(part) == 3
                if not in_comment:
                    parts.append((kind, part))
                part = None
        elif token.kind == TEXT:
            token.shown = trimmed(token, before, after)[0]
            parts.append((TEXT, [token]))
        elif token.kind in ("{{", "{%"):
            part = [token]
    return parts, is_rendered


def bound_names(tag: str, part: list[Token]) -> list[str]:
    """Return the names of the variables that a tag sets, or of the parameters of a macro."""
    return [part[number].value for number in bound_at(tag, part)]


def bound_at(tag: str, part: list[Token]) -> list[int]:
    """Return the indexes of the variables that a tag sets, or of the parameters of a macro."""
    found = []
    depth = 0
    for number, (before, token, after) in enumerate(zip(part, part[1:], part[2:], strict=False), 1):
        if tag == "for" and token.kind == "in":
            break
        if token.kind == IDENTIFIER and (
            (tag in ("set", "with") and after.kind == "=")
            or (tag in ("with", "cycle", "widthratio") and before.kind == "as")
            or (tag == "macro" and depth == 1 and before.kind in ("(", ","))
            or (tag == "for" and after.kind in (",", "in") and (before.kind == "," or before.value == "for"))
        ):
            found.append(number)
        depth += (token.kind in ("(", "[")) - (token.kind in (")", "]"))
    return found


class Value(NamedTuple):
    """A value that a tag or an expression reads: a name with its attributes, subscripts and arguments.

    ``start`` and ``end`` (exclusive) are indexes of tokens. ``accesses`` has the indexes of the tokens ``.``,
    ``[`` and ``(`` that follow the name.
    """

    start: int
    end: int
    accesses: tuple[int, ...]


def values_in(part: list[Token], bound: list[int]) -> Iterator[Value]:
    """Yield each value that a tag or an expression reads, including values in arguments and subscripts.

    ``bound`` has the indexes of the variables that the tag sets.
    """
    closing = closing_brackets(part)
    starts = set(bound)
    for number, token in enumerate(part[1:], 1):
        if token.kind == IDENTIFIER and part[number - 1].kind not in (".", "|") and number not in starts:
            yield value_at(part, number, closing)


def value_at(part: list[Token], start: int, closing: dict[int, int]) -> Value:
    """Return the value that begins at the index ``start``.

    ``closing`` maps the index of each opening bracket to the index of its closing bracket.
    """
    number = start + 1
    accesses = []
    while number < len(part) - 1 and (number in closing or part[number].kind == "."):
        accesses.append(number)
        number = closing[number] + 1 if number in closing else number + 2
    return Value(start, min(number, len(part) - 1), tuple(accesses))


def closing_brackets(part: list[Token]) -> dict[int, int]:
    """Return a dict from the index of each opening bracket to the index of its closing bracket."""
    opened: list[int] = []
    closing = {}
    for number, token in enumerate(part):
        if token.kind in ("(", "["):
            opened.append(number)
        elif token.kind in (")", "]") and opened:
            closing[opened.pop()] = number
    return closing
