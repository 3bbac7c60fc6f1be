"""The parser: it turns tokens into a tree of documents, tags and bodies.

The parser makes its checks in the same order as pongo2, so that both report the same error first.
"""

from ...model.errors import LimitError, TemplateSyntaxError
from .expression_parser import ExpressionParser
from .tokens import IDENTIFIER, TEXT, Token, pongo2_text, syntax_error
from .tree import Document, Print, Statement, Text

Body = list[Statement]

MAX_BLOCKS = 100
BLANKS = " \n\r\t"


def parse(document: Document) -> Document:
    """Parse the document's tokens into its body, and return the document.

    Raises TemplateSyntaxError for the first mistake, and LimitError if a limit is exceeded.
    """
    parser = Parser(document.tokens, document)
    while parser.current is not None:
        document.body.extend(parser.element())
    return document


class Parser(ExpressionParser):
    """A parser for a document, or for the arguments of one tag.

    The arguments are the tokens between the tag's name and ``%}``.
    """

    def element(self) -> Body:
        """Parse one text, one ``{{ }}`` or one tag with its whole body."""
        token = self.current
        assert token is not None
        if token.kind == TEXT:
            return [self.text(token)]
        if token.kind == "{{":
            return [self.variable()]
        if token.kind == "{%":
            return self.tag()
        raise self.error("Unexpected token (only HTML/tags/filters in templates allowed)", token)

    def text(self, token: Token) -> Text:
        before = self.tokens[self.position - 1] if self.position else None
        self.advance()
        return Text(*trimmed(token, before, self.current))

    def open(self, name: str, token: Token) -> Document:
        """Parse and return the template ``name``. Raises TemplateSyntaxError if it is missing."""
        found = self.open_if_exists(name, token, False)
        assert found is not None
        return found

    def open_if_exists(self, name: str, token: Token, missing_ok: bool) -> Document | None:
        """Parse and return the template ``name``.

        If the template is missing, return None if ``missing_ok`` is true, else raise TemplateSyntaxError.
        """
        if self.document.load is None:
            raise no_loader(self.document, name, token)
        return self.document.load(self.document, name, token, missing_ok)

    def read_text(self, name: str, token: Token) -> str:
        """Return the text of the file ``name``. Raises TemplateSyntaxError if it is missing."""
        if self.document.read is None:
            raise no_loader(self.document, name, token)
        return self.document.read(self.document, name, token)

    def variable(self) -> Print:
        self.advance()
        expression = self.expression()
        if self.match("}}") is None:
            raise self.error("'}}' expected")
        return Print(expression)

    def tag(self) -> Body:
        self.advance()
        name = self.match(IDENTIFIER)
        if name is None:
            raise self.error("Tag name must be an identifier.")
        document = self.document
        parse = document.library.tags.get(name.value)
        if parse is None and self.unclosed(name):
            raise self.never_closed(f"Tag '{name.value}' not found (or beginning tag not provided)", name)
        if parse is None:
            raise self.error(f"Tag '{name.value}' not found (or beginning tag not provided)", name)
        if name.value in document.banned:
            fixed = document.dialect.fixed
            reason = "tag is banned for this template set" if fixed else "sandbox restriction active"
            raise self.error(f"Usage of tag '{name.value}' is not allowed ({reason}).", name)
        tokens = self.until_close()
        if tokens is None:
            raise self.error_at("Unexpectedly reached EOF, no tag end found.", self.last)
        arguments = Parser(tokens, document, name)
        arguments.origin = name
        document.level += 1
        if document.level > MAX_BLOCKS:
            raise LimitError(f"blocks nest deeper than {MAX_BLOCKS}", name.span)
        document.opened.append(name)
        statement = parse(self, name, arguments)
        document.opened.pop()
        document.level -= 1
        return statement if isinstance(statement, list) else [statement]

    def until_close(self) -> list[Token] | None:
        """Consume the tokens up to ``%}``. Return the tokens before ``%}``, or None if ``%}`` is missing."""
        start = self.position
        while self.current is not None:
            if self.current.kind == "%}":
                tokens = self.tokens[start : self.position]
                self.advance()
                return tokens
            self.advance()
        return None

    def at_tag(self, names: tuple[str, ...]) -> Token | None:
        """Return the name token of the tag at this position if the name is one of ``names``, else None."""
        if self.current is not None and self.current.kind == "{%" and self.position + 1 < len(self.tokens):
            name = self.tokens[self.position + 1]
            if name.kind == IDENTIFIER and name.value in names:
                return name
        return None

    def body(self, *names: str) -> "tuple[Body, str, Parser]":
        """Parse a body up to the first of the tags ``names``.

        Return the body, the name of the tag that ends the body, and a parser for that tag's arguments.
        """
        body: Body = []
        while self.current is not None:
            name = self.at_tag(names)
            if name is not None:
                self.advance()
                self.advance()
                tokens = self.until_close()
                if tokens is None:
                    raise self.error_at("Unexpected EOF.", self.last)
                arguments = Parser(tokens, self.document)
                arguments.origin = name
                return body, name.value, arguments
            body.extend(self.element())
        raise self.never_closed(f"Unexpected EOF, expected tag {' or '.join(names)}.", self.last)

    def unclosed(self, name: Token) -> bool:
        """Return whether a tag of the user's template is still open at the daemon's final endautoescape.

        The daemons put every template inside ``{% autoescape off %}``. ``name`` is the name token of an end
        tag.
        """
        unit = self.document.unit
        return (
            unit.shift > 0
            and name.start >= unit.shift + len(unit.source.text)
            and len(self.document.opened) > 1
        )

    def never_closed(self, message: str, token: Token | None) -> TemplateSyntaxError:
        """Return pongo2's error for a missing end tag. Templater's message names the open block."""
        error = self.error_at(message, token)
        if self.document.opened:
            tag = self.document.opened[-1]
            error.message = f"{{% {tag.value} %}} is never closed"
            error.notes = (f"{tag.span.place}: the tag begins here",)
            error.hint = ""
        return error

    def plain_body(self, *names: str) -> tuple[Body, str]:
        """Parse a body up to the first of the tags ``names``. These tags must have no arguments.

        Return the body, and the name of the tag that ends the body.
        """
        body, end, arguments = self.body(*names)
        if arguments.tokens:
            raise arguments.error("Arguments not allowed here.")
        return body, end

    # --- for tags

    def bind(self, *names: str) -> None:
        """Record that the template may bind these names, so that every scope contains them."""
        self.document.bound.update(names)


def no_loader(document: Document, name: str, token: Token) -> TemplateSyntaxError:
    unit = document.unit
    text = pongo2_text(
        "fromfile", "unable to resolve template", name, unit.position(token.start), token.value
    )
    return syntax_error(f"cannot load template {name!r} without a loader", token.span, text)


def trimmed(token: Token, before: Token | None, after: Token | None) -> tuple[str, int]:
    """Return the text that a token prints, and the offset of this text in `Unit.text`.

    The tokens ``before`` and ``after`` are the neighbours of the token. They can be delimiters that remove
    blanks, such as ``-%}`` and ``{{-``.
    """
    value, start = token.shown, token.start
    if before is not None and before.trim:
        value = value.lstrip(BLANKS)
        start += len(token.shown) - len(value)
    if after is not None and after.trim:
        value = value.rstrip(BLANKS)
    return value, start


def trim_blocks(tokens: list[Token], trim: bool, lstrip: bool) -> None:
    """Apply pongo2's options TrimBlocks and LStripBlocks to the text tokens around tags."""
    previous: Token | None = None
    for token in tokens:
        if lstrip and token.kind == "{%" and previous is not None and previous.kind == TEXT:
            previous.shown = previous.shown.rstrip("\t ")
        if trim and token.kind == TEXT and previous is not None and previous.kind == "%}":
            token.shown = token.shown.removeprefix("\n")
        previous = token
