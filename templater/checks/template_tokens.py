"""Tokens of templates, for checks that must also work on templates that do not compile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..model.errors import TemplaterError
from ..model.source import Source
from ..pongo2.dialect import DIALECTS
from ..pongo2.syntax.lexer import Lexer
from ..pongo2.syntax.template_parser import trimmed
from ..pongo2.syntax.tokens import IDENTIFIER, TEXT, Token, Unit

#: the kinds of parts that print values; the tag ``filter`` prints the arguments of its filters
PRINTING = ("{{", "firstof", "cycle", "filter")

#: the kind of a part of a template, and its tokens
Part = tuple[str, list[Token]]


def tokens_of(source: Source) -> list[Token]:
    """Return the tokens before the first lexer error. No daemon renders a template with a lexer error."""
    lexer = Lexer(Unit(source), DIALECTS["v6"])
    with contextlib.suppress(TemplaterError):
        lexer.run()
    return lexer.tokens


def parts_of(source: Source) -> Iterator[Part]:
    """Yield the parts of a template. The parts of each outermost loop come twice, as in two rounds."""
    loop: list[Part] = []
    depth = 0
    for part in _parts(tokens_of(source)):
        yield part
        depth += part[0] == "for"
        if depth:
            loop.append(part)
            depth -= part[0] == "endfor"
            if not depth:
                yield from loop
                loop = []


def _parts(tokens: list[Token]) -> Iterator[Part]:
    """Yield the texts, expressions and tags of a template: the kind of each part, and its tokens.

    The kind is ``TEXT``, ``{{`` or the name of a tag. ``shown`` of a text is what the text prints. What is
    inside a ``comment`` tag is left out.
    """
    part: list[Token] | None = None
    in_comment = False
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.kind == TEXT and not in_comment:
            token.shown = trimmed(token, before, after)[0]
            yield TEXT, [token]
        elif token.kind in ("{{", "{%"):
            part = [token]
        elif part is not None:
            part.append(token)
            if token.kind in ("}}", "%}"):
                kind = part[0].kind if token.kind == "}}" else str(part[1].value)
                in_comment = kind == "comment" or (in_comment and kind != "endcomment")
                if not in_comment:
                    yield kind, part
                part = None


def bound_names(tag: str, part: list[Token]) -> list[str]:
    """Return the names that a tag gives to values, or the arguments of a macro."""
    names = []
    for before, token, after in zip(part, part[1:], part[2:], strict=False):
        if token.kind == IDENTIFIER and (
            (tag in ("set", "with") and after.kind == "=")
            or (tag in ("with", "cycle", "widthratio") and before.kind == "as")
            or (tag == "macro" and before.kind in ("(", ","))
            or (tag == "for" and after.kind in (",", "in") and (before.kind == "," or before.value == "for"))
        ):
            names.append(token.value)
    return names
