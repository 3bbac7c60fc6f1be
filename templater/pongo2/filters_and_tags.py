"""The tags and filters of a dialect, collected from the functions that decorators have marked."""

from collections.abc import Mapping
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .dialect import Dialect

    Marked = Callable[..., Any]

#: The module of each filter. A lookup of a filter imports only its module.
#: A lookup of a filter that is missing in this mapping imports all modules.
FILTER_MODULES = {
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
}  # fmt: skip


def filter_module(name: str) -> "str | None":
    return FILTER_MODULES.get(name)


def tag_module(name: str) -> str:
    """Return the name of a tag's module: the tag's name, with ``_`` appended if it is a Python keyword."""
    from keyword import iskeyword

    return f"{name}_" if iskeyword(name) else name


class LazyRegistry(Mapping[str, "Marked"]):
    """A mapping from the names of tags or filters to the marked functions of one package.

    A lookup imports the module that ``module_of`` returns for the name, or if necessary all modules.
    """

    __slots__ = ("complete", "dialect", "found", "mark", "module_of", "package")

    def __init__(
        self, package: str, mark: str, dialect: str, module_of: "Callable[[str], str | None]"
    ) -> None:
        self.package = f"{__package__}.{package}"
        self.module_of = module_of
        self.mark = mark
        self.dialect = dialect
        self.found: dict[str, Marked] = {}
        self.complete = False

    def __getitem__(self, name: str) -> "Marked":
        if name not in self.found and not self.complete:
            module = self.module_of(name)
            if module is not None:
                with suppress(ModuleNotFoundError):
                    self.add(module)
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
    return __import__(name, fromlist=("__name__",))  # ``__import__`` is faster than importing importlib


class Library:
    """The tags and filters of one dialect."""

    __slots__ = ("filters", "tags")

    def __init__(self, dialect: str) -> None:
        self.tags = LazyRegistry("tags", "tag", dialect, tag_module)
        self.filters = LazyRegistry("filters", "filter", dialect, filter_module)

    def load(self) -> None:
        """Import all tags and filters now, for a process that will lose the permission to open files."""
        self.tags.load()
        self.filters.load()


_LIBRARIES: "dict[str, Library]" = {}


def library_for(dialect: "Dialect") -> Library:
    library = _LIBRARIES.get(dialect.name)
    if library is None:
        library = _LIBRARIES[dialect.name] = Library(dialect.name)
    return library
