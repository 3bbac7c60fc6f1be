"""Parsing of a template and of the templates that it names in ``include``, ``extends`` and ``import``."""

from copy import copy
from itertools import count
from posixpath import dirname, join, normpath
from typing import Protocol

from ..model.entry import TEMPLATE_BYTES
from ..model.errors import InputError, LimitError, TemplateError, TemplaterError
from ..model.source import Source
from .codegen.generator_state import Module
from .dialect import Dialect
from .filters_and_tags import library_for
from .syntax.lexer import lex
from .syntax.parser import parse, trim_blocks
from .syntax.tokens import Token, Unit, pongo2_text, syntax_error
from .syntax.tree import Document

#: the tags that read other files. templater, like many releases of LXD and Incus, forbids them in images.
BANNED = frozenset(("extends", "import", "include", "ssi"))
MAX_TEMPLATES = 100


class Loader(Protocol):
    """A reader of templates that are named in ``include``, ``extends``, ``import`` and ``ssi`` tags."""

    def read(self, name: str) -> str | bytes:
        """Return the text of a template. Raises InputError if the template is missing."""


class Compilation:
    """A template source and its options. Methods parse the source, and the templates to which it refers."""

    def __init__(
        self,
        source: Source,
        dialect: Dialect,
        *,
        wrapped: bool = True,
        loader: Loader | None = None,
        trim: bool = False,
        lstrip: bool = False,
        longest: int = TEMPLATE_BYTES,
    ) -> None:
        self.source = source
        self.longest = longest
        self.dialect = dialect
        self.wrapped = wrapped
        self.loader = loader
        self.trim = trim
        self.lstrip = lstrip
        self.units: list[Unit] = []
        self.bound: set[str] = set()
        self.numbers = count()

    def named(self, source: Source) -> "Compilation":
        """Return a copy of this compilation for another source, which has an equal text and another name.

        The compilation must have no loader.
        """
        twin = copy(self)
        twin.source = source
        # Without a loader, all units have the same source.
        twin.units = [Unit(source, unit.name, wrapped=self.wrapped) for unit in self.units]
        return twin

    def parsed(self) -> Document:
        """Parse the source and the templates to which the source refers.

        Raises TemplateSyntaxError, or LimitError if the template is too long or nests too deeply.
        """
        self.units, self.bound, self.numbers = [], set(), count()
        name = "<string>" if self.loader is None or self.wrapped else self.source.name
        try:
            return self.document(Unit(self.source, name, wrapped=self.wrapped))
        except RecursionError:
            span = self.source.span(0, 0)
            raise LimitError("the template nests too deeply to be compiled", span) from None

    def module(self, *, spans: bool) -> Module:
        """Parse the source, and return the module for the code generator."""
        return Module(self.parsed(), self.dialect, library_for(self.dialect), spans)

    def document(self, unit: Unit) -> Document:
        text = unit.text
        if len(text) > self.longest:
            raise LimitError(
                f"the template is longer than {self.longest} characters",
                unit.span(0, 1),
                hint="--limit template=32MiB allows 32 MiB",
            )
        check_encodable(unit, text)
        self.units.append(unit)
        if len(self.units) > MAX_TEMPLATES:
            raise LimitError(f"more than {MAX_TEMPLATES} templates are compiled together", unit.span(0, 1))
        tokens = lex(unit, self.dialect)
        if self.trim or self.lstrip:
            trim_blocks(tokens, self.trim, self.lstrip)
        banned = BANNED if self.wrapped else frozenset()
        has_loader = self.loader is not None
        document = Document(
            unit, tokens, self.dialect, library_for(self.dialect), banned,
            self.load if has_loader else None, self.bound, self.read if has_loader else None, self.numbers,
        )  # fmt: skip
        return parse(document)

    def load(self, document: Document, name: str, token: Token, missing_ok: bool) -> Document | None:
        resolved = resolve(document.unit.name, name)
        text = self.fetch(resolved)
        if text is None:
            if missing_ok:
                return None
            raise self.missing(document, resolved, token, "fromfile", "unable to resolve template", resolved)
        try:
            return self.document(Unit(Source(resolved, text), resolved))
        except TemplateError as error:
            if missing_ok and names_missing_template(error):
                return None
            raise

    def read(self, document: Document, name: str, token: Token) -> str:
        resolved = resolve(document.unit.name, name)
        text = self.fetch(resolved)
        if text is None:
            message = f"open {resolved}: no such file or directory"
            raise self.missing(document, resolved, token, "tag:ssi", message, "")
        return Source(resolved, text).text

    def fetch(self, name: str) -> str | bytes | None:
        assert self.loader is not None
        try:
            return self.loader.read(name)
        except InputError:
            return None

    def missing(
        self, document: Document, name: str, token: Token, sender: str, message: str, shown: str
    ) -> TemplaterError:
        position = document.unit.position(token.start)
        text = pongo2_text(sender, message, shown, position, token.value)
        return syntax_error(f"template {name!r} does not exist", token.span, text)


def check_encodable(unit: Unit, text: str) -> None:
    """Raise InputError if UTF-8 cannot encode ``text``. Surrogate escapes (U+DC80 to U+DCFF) are valid."""
    try:
        if not text.isascii():
            text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        span = unit.span(error.start, error.start)
        raise InputError("the template contains a lone surrogate", span) from None


def names_missing_template(error: TemplateError) -> bool:
    """Return whether a template did not compile because one of its tags refers to a missing template.

    pongo2's ``include … if_exists`` also treats such a template as missing.
    """
    return (error.pongo2_error or "").startswith("[Error (where: fromfile)")


def resolve(base: str, name: str) -> str:
    """Return the full name of a template. ``name`` is relative to the directory of the template ``base``."""
    return normpath(join(dirname(base), name))
