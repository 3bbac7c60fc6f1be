"""The tokens of a template, for checks that must see templates that do not compile."""

from __future__ import annotations

import contextlib

from ..model.errors import TemplaterError
from ..model.source import Source
from ..pongo2.dialect import DIALECTS
from ..pongo2.syntax.lexer import Lexer
from ..pongo2.syntax.tokens import Token, Unit


def tokens_of(source: Source) -> list[Token]:
    """Return the tokens up to the first error of pongo2's lexer: no daemon renders what comes after it."""
    lexer = Lexer(Unit(source), DIALECTS["v6"])
    with contextlib.suppress(TemplaterError):
        lexer.run()
    return lexer.tokens
