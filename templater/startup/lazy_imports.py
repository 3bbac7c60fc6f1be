"""A finder that imports third-party modules lazily in templater's own processes.

Python runs a module in ``NAMES`` when code first reads an attribute of the module. Programs that use
templater as a library do not install this finder.
"""

import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: packages that import all of their submodules, and modules that only unused code needs
NAMES = frozenset((
    "base64", "inspect", "ipaddress", "jinja2", "json", "templater.parsing.pure_yaml", "yaml",
    "yaml.composer", "yaml.constructor", "yaml.emitter", "yaml.reader", "yaml.representer",
    "yaml.serializer",
))  # fmt: skip

#: attributes that the import system reads before a module is complete
_IMPORT_SYSTEMS = frozenset(("__cached__", "__file__", "__loader__", "__package__", "__path__", "__spec__"))

ModuleType: "Any" = type(sys)

#: locks by module name, so that other threads wait while one thread runs a module
_LOCKS: "dict[str, RLock]" = {}
_RUNNING: "set[str]" = set()


class Postponed(ModuleType):  # type: ignore[misc]
    """A module that has not run yet. Reading an attribute runs the module or imports a submodule."""

    # The class defines no further methods, because they would hide names of the module.
    def __getattr__(self, name: str) -> "Any":
        with _lock(self):
            if type(self) is Postponed:
                _provide(self, name)
        return getattr(self, name)

    def __dir__(self) -> "list[str]":
        with _lock(self):
            if type(self) is Postponed and self.__name__ not in _RUNNING:
                _run(self)
        return list(self.__dict__)


def _lock(module: "Any") -> RLock:
    return _LOCKS.setdefault(module.__name__, RLock())


def _provide(module: "Any", name: str) -> None:
    if name in _IMPORT_SYSTEMS or module.__name__ in _RUNNING:  # this thread is running the module
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    part = f"{module.__name__}.{name}"
    if found(part, module.__dict__.get("__path__", ())) is None:
        _run(module)
    else:
        __import__(part)
        # the import system sets a submodule's attribute only after the import, too late for a circular import
        module.__dict__.setdefault(name, sys.modules[part])


def _run(module: "Any") -> None:
    _RUNNING.add(module.__name__)
    try:
        module.__loader__.exec_module(module)
    finally:
        _RUNNING.discard(module.__name__)
    module.__class__ = ModuleType


class Finder:
    """A finder for ``sys.meta_path`` that loads ``NAMES`` as postponed modules."""

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
        module = Postponed(spec.name)
        module.__dict__.update(_ready(spec.name))
        return module

    def exec_module(self, module: "Any") -> None:
        module.__loader__ = module.__spec__.loader = self.loader
        if type(module) is not Postponed:  # the module has run before and is being reloaded
            self.loader.exec_module(module)


class _CodeInMemory:
    def __init__(self, code: "Any") -> None:
        self.code = code

    def exec_module(self, module: "Any") -> None:
        exec(self.code, module.__dict__)  # noqa: S102  # as the import system does


def read_code(name: str) -> None:
    """Read the code of a postponed module.

    The module can then run even if the process can't open files any more.
    """
    from importlib import import_module

    module: Any = import_module(name)
    if type(module) is Postponed:
        module.__loader__ = _CodeInMemory(module.__loader__.get_code(name))


def _ready(name: str) -> "dict[str, Any]":
    """Return the attributes that a postponed module has before it runs.

    Reading one of these attributes does not run the module.
    """
    # Nearly every command needs these functions: click calls cleandoc for the help of every option,
    # dataclasses of Python 3.13 call get_annotations for every class, and pkgutil calls getmodulename for
    # every file.
    if name == "inspect":
        return {each.__name__: each for each in (cleandoc, get_annotations, getmodulename)}
    package, _, module = name.partition(".")
    # PyYAML's C module reads error classes from several modules. It gets their base class instead: the C
    # parser raises only ReaderError, and templater catches every YAMLError.
    if package == "yaml" and module:
        return {f"{module.capitalize()}Error": __import__("yaml.error").error.YAMLError}
    return {}


def cleandoc(text: str) -> str:
    """Return the result of ``inspect.cleandoc``. Import ``inspect`` only for a text of several lines."""
    if "\n" in text or "\t" in text:
        _run(sys.modules["inspect"])
        return str(sys.modules["inspect"].cleandoc(text))
    return text.lstrip(" ")


def get_annotations(thing: "Any", **options: "Any") -> "dict[str, Any]":
    """Return the result of ``inspect.get_annotations``. For a class, do not import ``inspect``."""
    if options or not isinstance(thing, type):
        _run(sys.modules["inspect"])
        return dict(sys.modules["inspect"].get_annotations(thing, **options))
    return dict(thing.__annotations__)


def getmodulename(path: str) -> "str | None":
    """Return the result of ``inspect.getmodulename``, without importing ``inspect``."""
    from importlib.machinery import all_suffixes

    name = path.rpartition("/")[2]
    for suffix in sorted(all_suffixes(), key=len, reverse=True):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return None


def found(name: str, path: "Any") -> "Any":
    """Return the spec that Python finds for a module."""
    return sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, path)


def install() -> None:
    """Postpone later imports of ``NAMES``; modules that are already imported stay as they are."""
    sys.meta_path.insert(0, Finder())
