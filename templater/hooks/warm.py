"""The quickest way into a hook: its modules from one file; finding and reading each takes longer than it.

The file lies where Python keeps the compiled form of the package's own modules, and is trusted as those
are; each module in it is used only while its source has the age and size that it had. A hook that found
it missing or out of date writes it anew when its work is done.
"""

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

    Entry = tuple[str, bool, int, int, bytes]

#: what is worth having there; a test holds it to what a warm hook loads
MODULES = (
    "templater.apply", "templater.changes", "templater.child", "templater.context", "templater.errors",
    "templater.hooks.incus", "templater.hooks.lxc", "templater.hooks.nspawn", "templater.hooks.oci",
    "templater.hooks.run", "templater.hosts", "templater.instance", "templater.instance_directory",
    "templater.kept", "templater.leftovers", "templater.lifecycle", "templater.metadata",
    "templater.permissions", "templater.plan", "templater.pongo2", "templater.pongo2.embedding",
    "templater.pongo2.filters", "templater.pongo2.filters.choices", "templater.pongo2.filters.escaping",
    "templater.pongo2.filters.lists", "templater.pongo2.filters.text", "templater.pongo2.gofloat",
    "templater.pongo2.gofmt", "templater.pongo2.goquote", "templater.pongo2.gotext",
    "templater.pongo2.operations", "templater.pongo2.runtime", "templater.pongo2.values",
    "templater.rendering", "templater.rendering_child", "templater.resolve", "templater.rootfs",
    "templater.rootfs.attributes",
    "templater.rootfs.confined", "templater.rootfs.directory", "templater.rootfs.lock", "templater.source",
    "templater.system",
    "templater.staging", "templater.views",
)  # fmt: skip

#: the first module of a hook that has to read and compile
COLD = "templater.yamltext"

FORMAT = 2
PACKAGE = __file__.rpartition("/hooks/")[0]


class Finder:
    """Gives Python's import machinery the modules of the file."""

    __slots__ = ("cold", "entries", "stale")

    def __init__(self, entries: "dict[str, Entry]") -> None:
        self.entries = entries
        self.stale = False
        self.cold = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> "Any":
        entry = self.entries.get(name)
        if entry is None:
            if name == COLD and not self.cold:
                self.cold = True
                from ..postponed import install

                install()
            return None
        file, is_package, age, size, _ = entry
        status = posix.stat(file)
        if status.st_mtime_ns != age or status.st_size != size:
            self.stale = True
            return None
        spec = sys.modules["_frozen_importlib"].ModuleSpec(name, self, origin=file, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [file.rpartition("/")[0]]
        return spec

    def create_module(self, spec: "Any") -> None:
        return None

    def exec_module(self, module: "ModuleType") -> None:
        code = marshal.loads(self.entries[module.__name__][4])  # noqa: S302 - as Python itself does
        exec(code, module.__dict__)  # noqa: S102


def main() -> "NoReturn":
    """What the line that ``hook install`` writes calls."""
    import gc

    gc.set_threshold(100_000, 50, 50)  # a short life, in which little is worth collecting
    finder = Finder(read())
    sys.meta_path.insert(0, finder)
    from .run import serve

    code = serve()
    if finder.stale or not finder.entries:
        write()
    posix._exit(code)


def place() -> str:
    return f"{PACKAGE}/__pycache__/hook.{sys.implementation.cache_tag}-{FORMAT}.bin"


def read() -> "dict[str, Entry]":
    """The modules of the file; none when it is missing or could be somebody else's."""
    try:
        fd = posix.open(place(), posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError:
        return {}
    try:
        status = posix.fstat(fd)
        if status.st_uid not in (0, posix.geteuid()) or status.st_mode & 0o022:
            return {}
        version, package, entries = marshal.loads(posix.read(fd, status.st_size))  # noqa: S302 - as Python's own
    except (OSError, ValueError, EOFError, TypeError):
        return {}
    finally:
        posix.close(fd)
    return entries if (version, package) == (sys.hexversion, PACKAGE) else {}


def write() -> None:
    """Put the modules into the file; a place that can't be written is left as it is."""
    staged = f"{place()}.{posix.getpid()}"
    if sys.dont_write_bytecode:
        return
    try:
        data = marshal.dumps((sys.hexversion, PACKAGE, dict(entries())))
        fd = posix.open(staged, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
        try:
            posix.write(fd, data)
        finally:
            posix.close(fd)
        posix.rename(staged, place())
    except OSError:
        return


def entries() -> "Any":
    for name in MODULES:
        file = f"{PACKAGE}/{name.removeprefix('templater.').replace('.', '/')}"
        is_package = _is_directory(file)
        file += "/__init__.py" if is_package else ".py"
        status = posix.stat(file)
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            source = posix.read(fd, status.st_size)
        finally:
            posix.close(fd)
        code = marshal.dumps(compile(source, file, "exec"))
        yield name, (file, is_package, status.st_mtime_ns, status.st_size, code)


def _is_directory(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False
