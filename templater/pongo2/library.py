"""The tags and filters of a dialect, found by their marks. Nothing is registered by importing."""

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .dialect import Dialect

    Marked = Callable[..., Any]

#: where to look first; what isn't listed is found as well, by looking through everything
HOMES = {
    "tags": {
        module.removesuffix("_"): module
        for module in (
            "autoescape", "block", "comment", "cycle", "extends", "filter", "firstof", "for_", "if_",
            "ifchanged", "ifequal", "ifnotequal", "import_", "include", "lorem", "macro", "now", "set",
            "spaceless", "ssi", "templatetag", "widthratio", "with_",
        )
    },
    "filters": {
        name: module
        for module, names in (
            ("choices", ("default", "default_if_none", "pluralize", "yesno")),
            ("escaping", ("addslashes", "e", "escape", "escapejs", "safe")),
            ("formats", ("stringformat",)),
            ("html", ("removetags", "striptags", "truncatechars_html", "truncatewords_html")),
            ("links", ("urlize", "urlizetrunc")),
            ("lists", (
                "first", "join", "last", "length", "length_is", "make_list", "random", "slice", "split",
            )),
            ("numbers", ("add", "divisibleby", "float", "floatformat", "get_digit", "integer")),
            ("text", (
                "capfirst", "center", "cut", "linebreaks", "linebreaksbr", "linenumbers", "ljust", "lower",
                "phone2numeric", "rjust", "title", "truncatechars", "truncatewords", "upper", "wordcount",
                "wordwrap",
            )),
            ("times", ("date", "time")),
            ("urls", ("iriencode", "urlencode")),
        )
        for name in names
    },
}  # fmt: skip


class Shelf(Mapping[str, "Marked"]):
    """The marked functions of one package by name: its modules are imported as names are looked up, since
    most templates use few of them."""

    __slots__ = ("complete", "dialect", "found", "homes", "mark", "package")

    def __init__(self, package: str, mark: str, dialect: str) -> None:
        self.package = f"{__package__}.{package}"
        self.homes = HOMES[package]
        self.mark = mark
        self.dialect = dialect
        self.found: dict[str, Marked] = {}
        self.complete = False

    def __getitem__(self, name: str) -> "Marked":
        if name not in self.found and name in self.homes:
            self.add(self.homes[name])
        if name not in self.found:
            self.load()
        return self.found[name]

    def __iter__(self) -> "Iterator[str]":
        self.load()
        return iter(self.found)

    def __len__(self) -> int:
        self.load()
        return len(self.found)

    def load(self) -> None:
        """Import every module of the package."""
        if self.complete:
            return
        from pkgutil import iter_modules

        self.complete = True
        for module in iter_modules(_imported(self.package).__path__):
            self.add(module.name)

    def add(self, module: str) -> None:
        for function in list(vars(_imported(f"{self.package}.{module}")).values()):
            if self.dialect in getattr(function, f"{self.mark}_dialects", ()):
                for name in getattr(function, f"{self.mark}_names", ()):
                    self.found[name] = function


def _imported(name: str) -> "Any":
    return __import__(name, fromlist=("__name__",))  # importlib would have to be imported itself


class Library:
    """The tags and filters of one dialect."""

    __slots__ = ("filters", "tags")

    def __init__(self, dialect: str) -> None:
        self.tags = Shelf("tags", "tag", dialect)
        self.filters = Shelf("filters", "filter", dialect)

    def load(self) -> None:
        """Import all of it at once, for where nothing can be imported later."""
        self.tags.load()
        self.filters.load()


_LIBRARIES: "dict[str, Library]" = {}


def library_for(dialect: "Dialect") -> Library:
    library = _LIBRARIES.get(dialect.name)
    if library is None:
        library = _LIBRARIES[dialect.name] = Library(dialect.name)
    return library
