"""Tags and filters: the mark for tags, and the discovery of both. Nothing is registered by importing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

    from .dialect import Dialect

    Tag = Callable[[Any, Any, Any], Any]

ALL_DIALECTS = ("v4", "v6", "v6.1")


def tag(name: str, dialects: "tuple[str, ...]" = ALL_DIALECTS) -> "Callable[[Tag], Tag]":
    """Mark ``function(document, start, arguments)`` as the parser of this tag.

    It takes a Parser, a Token and a Parser, and returns a Statement or a list of them. ``document`` stands
    behind the tag and reads bodies, ``start`` is the tag's name, ``arguments`` reads the tokens between
    it and ``%}``.
    """

    def mark(function: "Tag") -> "Tag":
        function.tag_names = (name,)  # type: ignore[attr-defined]
        function.tag_dialects = dialects  # type: ignore[attr-defined]
        return function

    return mark


class Library:
    """The tags and filters of one dialect."""

    __slots__ = ("filters", "tags")

    def __init__(self, tags: "dict[str, Tag]", filters: "dict[str, Callable[..., Any]]") -> None:
        self.tags = tags
        self.filters = filters


_LIBRARIES: "dict[str, Library]" = {}


def library_for(dialect: "Dialect") -> Library:
    """Every marked function in the modules of ``tags`` and ``filters``, by name."""
    library = _LIBRARIES.get(dialect.name)
    if library is None:
        from . import filters, tags

        library = _LIBRARIES[dialect.name] = Library(
            dict(_marked(tags, "tag", dialect)), dict(_marked(filters, "filter", dialect))
        )
    return library


def _marked(package: "ModuleType", kind: str, dialect: "Dialect") -> "Iterator[tuple[str, Any]]":
    from importlib import import_module
    from pkgutil import iter_modules

    for module in iter_modules(package.__path__):
        for function in list(vars(import_module(f"{package.__name__}.{module.name}")).values()):
            if dialect.name in getattr(function, f"{kind}_dialects", ()):
                for name in getattr(function, f"{kind}_names", ()):
                    yield name, function
