"""Tokens of templates, for checks that must also work on templates that do not compile."""

from __future__ import annotations

import contextlib

from ..model.errors import TemplaterError
from ..model.source import Source
from ..pongo2.dialect import DIALECTS
from ..pongo2.syntax.lexer import Lexer
from ..pongo2.syntax.tokens import Token, Unit


def tokens_of(source: Source) -> list[Token]:
    """Return the tokens before the first lexer error. No daemon renders a template with a lexer error."""
    lexer = Lexer(Unit(source), DIALECTS["v6"])
    with contextlib.suppress(TemplaterError):
        lexer.run()
    return lexer.tokens
