"""A position in a list of tokens. The methods match tokens and make syntax errors.

Each error has both pongo2's message and templater's message.
"""

from ...model.errors import LimitError, TemplateSyntaxError
from .hints import syntax_hint
from .tokens import IDENTIFIER, Token, plain_words, pongo2_text, syntax_error
from .tree import Document


class Cursor:
    """A position in the tokens of a document, or in the arguments of one tag.

    ``last`` is the token whose position pongo2 reports for an error at the end of the input.
    """

    def __init__(self, tokens: list[Token], document: Document, last: Token | None = None) -> None:
        self.tokens = tokens
        self.document = document
        self.position = 0
        self.last = tokens[-1] if tokens else last
        self.current: Token | None = tokens[0] if tokens else None
        #: the tag's name, to which templater's message points if pongo2 reports no position
        self.origin = self.last

    # --- moving

    def advance(self) -> None:
        self.position += 1
        self.current = self.tokens[self.position] if self.position < len(self.tokens) else None

    def match(self, *kinds: str) -> Token | None:
        """Consume and return the current token if it has one of these kinds. Otherwise, return None."""
        token = self.current
        if token is None or token.kind not in kinds:
            return None
        self.advance()
        return token

    def match_word(self, *words: str) -> Token | None:
        """Consume and return the current token if it is one of these identifiers. Otherwise, return None."""
        token = self.current
        if token is None or token.kind != IDENTIFIER or token.value not in words:
            return None
        self.advance()
        return token

    # --- errors

    def error(self, message: str, token: Token | None = None, hint: str = "") -> TemplateSyntaxError:
        """Return an error with pongo2's message.

        The error has the position of ``token``. The default is the current token, or the last token if all
        tokens are consumed.
        """
        if token is None:
            token = self.current
        if token is None and self.tokens:
            token = self.tokens[-1]
        return self.error_at(message, token, hint)

    def error_at(self, message: str, token: Token | None, hint: str = "") -> TemplateSyntaxError:
        unit = self.document.unit
        place = token or self.origin or (self.document.tokens[-1] if self.document.tokens else None)
        span = unit.span(0, 1) if place is None else place.span
        position = unit.position(token.start) if token else None
        text = pongo2_text("parser", message, unit.name, position, token.value if token else None)
        ours, found_hint = syntax_hint(
            message, token, self.before(token), self.document.library, self.document.dialect.subscripts
        )
        return syntax_error(ours or plain_words(message), span, text, hint or found_hint)

    def before(self, token: Token | None) -> list[Token]:
        """Return the two tokens in front of a token. At the start, there may be fewer than two."""
        index = next((i for i, other in enumerate(self.tokens) if other is token), 0)
        return self.tokens[max(0, index - 2) : index]

    def finish(self, message: str) -> None:
        """Raise TemplateSyntaxError unless every token is consumed."""
        if self.current is not None:
            raise self.error(message)

    def too_deep(self, what: str, limit: int) -> LimitError:
        token = self.current or self.last
        return LimitError(f"more than {limit} {what}", token.span if token else None)
