"""Modules of others that are imported wherever something of theirs might be needed, and hardly ever is.

Jinja2's package imports all of Jinja2 for whoever wants a part of it: loaders, lexer, filters, and with them
a dozen modules of the standard library. The code generator needs a fifth of that. So in a process of
our own these modules are found as always, but run only when somebody asks for something in them.
Nobody can tell the difference but by the clock; and where the finder isn't installed, in other people's
programs, there is none.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: the packages that import all of themselves, and what the parts that we take import for what we don't
NAMES = frozenset(("base64", "inspect", "ipaddress", "jinja2", "json", "yaml"))

#: what the import system itself looks for in a module that isn't complete yet
_IMPORT_SYSTEMS = frozenset(("__cached__", "__file__", "__loader__", "__package__", "__path__", "__spec__"))

ModuleType: "Any" = type(sys)


class Postponed(ModuleType):  # type: ignore[misc]
    """A module that was found. The first name that is asked of it runs it, unless it is one of a
    package's own modules: then it is that which is imported."""

    def __getattr__(self, name: str) -> "Any":
        if name in _IMPORT_SYSTEMS:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if found(f"{self.__name__}.{name}", self.__dict__.get("__path__", ())) is None:
            self.run()
        else:
            __import__(f"{self.__name__}.{name}")
        return getattr(self, name)

    def __dir__(self) -> "list[str]":
        self.run()
        return dir(self)

    def run(self) -> None:
        self.__class__ = ModuleType
        try:
            self.__loader__.exec_module(self)
        except BaseException:
            self.__class__ = Postponed
            raise


class Finder:
    """For ``sys.meta_path``: finds these modules as Python does, and has them loaded as postponed ones."""

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if name not in NAMES:
            return None
        spec = found(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    def __init__(self, loader: "Any") -> None:
        self.loader = loader

    def create_module(self, spec: "Any") -> Postponed:
        return Postponed(spec.name)

    def exec_module(self, module: "Any") -> None:
        module.__loader__ = module.__spec__.loader = self.loader


def found(name: str, path: "Any") -> "Any":
    """Where Python finds a module."""
    return sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, path)


def install() -> None:
    """From now on; what is imported already stays as it is."""
    sys.meta_path.insert(0, Finder())
