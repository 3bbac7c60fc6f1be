"""The entry point of an installed hook line: load templater's modules from one file, then run the hook.

Finding and reading forty files takes longer than running them. So a hook adds the modules of one file to
``sys.modules`` group by group, without the import system.

The file is in the package's ``__pycache__`` and is trusted like the compiled modules there. The hook uses a
group of modules if each source has the recorded mtime and size.

A hook with ``--probe`` writes a missing or outdated file (``startup.bundle``). ``hook install`` and ``hook
status`` use this option.
"""

import marshal
import posix
import sys

# crun starts hooks with umask 0, with which every user could replace the compiled files that Python writes.
# So the umask is set before the import of any module that Python compiles.
posix.umask(0o022)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, NoReturn

    #: the path, mtime and size of a file
    File = tuple[str, int, int]
    #: the modules of a group (name, and whether it is a package), their sources, and the start and end of
    #: their code in the file
    Group = tuple[list[tuple[str, bool]], list[File], int, int]

FORMAT = 13
#: with this option, a hook only shows that it can run
PROBE = "--probe"
#: size in bytes of the number that stores the length of the table of contents
HEAD = 4
PACKAGE = __file__.rpartition("/startup/")[0]

#: the first module that a hook imports if the hook has to parse and compile
COLD = "templater.parsing.yaml_nodes"

#: built-in modules of the interpreter that every hook imports; ``load_builtin`` is faster than the import
#: system
BUILTIN = ("gc", "_stat", "errno", "fcntl", "_blake2")

_imp: "Any" = sys.modules["_imp"]
_Spec: "Any" = sys.modules["_frozen_importlib"].ModuleSpec
_ExtensionLoader: "Any" = sys.modules["_frozen_importlib_external"].ExtensionFileLoader


def load_builtin(name: str) -> None:
    """Load a module of ``BUILTIN`` if it is built into this interpreter."""
    if name not in sys.modules and _imp.is_builtin(name) == 1:
        spec = _Spec(name, None, origin="built-in")
        module = _imp.create_builtin(spec)
        module.__spec__ = spec
        _imp.exec_builtin(module)
        sys.modules[name] = module


def main() -> "NoReturn":
    """Run the hook. The line that ``hook install`` writes calls this function."""
    for name in BUILTIN:
        load_builtin(name)
    import _signal  # type: ignore[import-not-found]
    import gc

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # it would print a traceback
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    # A hook of a container runtime writes neither the bundle nor Python's compiled modules. A user who reads
    # __pycache__ could delay the write for ever. If the hook started another process for the write, the
    # runtime could move that process to the container's root filesystem.
    sys.dont_write_bytecode |= sys.argv[-1] != PROBE or not belongs_to_this_user()
    gc.set_threshold(100_000, 50, 50)  # the process is short-lived, so collecting garbage rarely pays
    modules = Modules(opened())
    sys.meta_path.insert(0, modules)
    try:
        from templater.hooks.run import serve
    except Exception as error:
        end_without_modules(error)
    code = serve()
    if modules.stale and sys.argv[-1] == PROBE:
        from templater.startup.bundle import write

        write(place())
    posix._exit(code)


def end_without_modules(error: Exception) -> "NoReturn":
    """End a hook that can't load templater's modules. ``--on-error keep-going`` gives exit code 0."""
    text = f"templater: can't load its modules, for example during an upgrade: {error}\n"
    posix.write(2, text.encode("utf-8", "replace"))
    words = " ".join(sys.argv).replace("=", " ")
    posix._exit(0 if "--on-error keep-going" in words else 70)


def belongs_to_this_user() -> bool:
    """Return whether this process belongs to root or to the owner of the package.

    The root user of a user namespace does not count as root.
    """
    # Only these users may write compiled modules.
    try:
        if posix.stat(PACKAGE).st_uid == posix.geteuid():
            return True
        fd = posix.open("/proc/self/uid_map", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:  # for example, the package is in a zip file
        return False
    rows = posix.read(fd, 4096).split()
    posix.close(fd)
    # Files that the root user of a user namespace writes belong to a user of a container.
    return posix.geteuid() == 0 and rows == [b"0", b"0", b"4294967295"]


def place() -> str:
    return f"{PACKAGE}/__pycache__/hook.{sys.implementation.cache_tag}-{FORMAT}.bin"


def opened() -> int:
    """Open the file with the hook's modules, and return its descriptor.

    Return -1 if the file is missing, or if another user could have written it.
    """
    try:
        fd = posix.open(place(), posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError:
        return -1
    status = posix.fstat(fd)
    if status.st_uid in (0, posix.geteuid()) and not status.st_mode & 0o022:
        return fd
    posix.close(fd)
    return -1


def substitute(qualname: str, start: int, end: int) -> "Callable[..., Any]":
    """Return a substitute for a rarely called function. The first call loads the function's code."""

    # without annotations, because Python would store them for each of these functions
    def rare(*arguments, _rare=(qualname, start, end), **named):  # type: ignore[no-untyped-def]
        # The substitute needs the globals of the function's module. So ``Modules.run`` gives each module a
        # copy of ``substitute`` with these globals.
        return __loader__.load_function(__name__, *_rare)(*arguments, **named)  # type: ignore[name-defined]

    rare.__name__ = rare.__qualname__ = qualname  # the compiler imports a function by its name
    return rare


def find_definition(name: str) -> object:
    """Load a late definition: a class or function that a module gets when code first uses its name."""
    # ``Modules.run`` gives each module with late definitions a copy of this function as ``__getattr__``.
    return __loader__.load_definition(__here__, name)  # type: ignore[name-defined]  # noqa: F821


_Function: "Any" = type(substitute)
_Code: "Any" = type(substitute.__code__)


class Modules:
    """The finder and loader for the modules in the file that ``startup/bundle.py`` writes.

    The file has groups of modules. Importing one module loads all modules of its group.
    """

    __slots__ = (
        "buffer", "checked", "cold", "ends", "fd", "functions", "groups", "places", "sources", "stale",
        "stamp", "start",
    )  # fmt: skip

    def __init__(self, fd: int) -> None:
        #: the group of each module that is not loaded yet, by module name
        self.groups: dict[str, Group] = {}
        #: the file, the position of the first group in it, and the bytes of the group that was read last
        self.fd = fd
        self.start = 0
        #: the ends of the groups and of the rare functions after them, as distances from ``start``
        self.ends = 0, 0
        #: all rare functions, if the process has read them before it closes the file
        self.functions = b""
        self.buffer = bytearray()
        self.cold = False
        self.stale = True
        #: the sources whose digest is part of the compile cache's key, and this digest
        self.sources: list[File] = []
        self.stamp = b""
        #: mtime and size of each file that was checked, because a run checks each file only once
        self.checked: dict[str, tuple[int, int]] = {}
        #: path, mtime and size of each C module, which Python would search in several directories
        self.places: dict[str, File] = {}
        if fd < 0:
            return
        try:
            length = int.from_bytes(self.read(0, HEAD), "little")
            head = marshal.loads(self.read(HEAD, HEAD + length))  # noqa: S302
            version, package, ends, groups, sources, stamp, places = head
        except (OSError, ValueError, EOFError, TypeError):
            return
        self.start = HEAD + length
        if (version, package, self.start + ends[1]) == (sys.hexversion, PACKAGE, posix.fstat(fd).st_size):
            self.ends = ends
            self.groups = {name: group for group in groups for name, _ in group[0]}
            self.sources, self.stamp, self.places = sources, stamp, places
            self.stale = False

    def read(self, start: int, end: int) -> memoryview:
        """Read a part of the file. The next call overwrites the result.

        Raises EOFError if the file ends before ``end``.
        """
        # Each call reuses one buffer, because an allocation costs more than the read.
        size = end - start
        if size > len(self.buffer):
            if end > posix.fstat(self.fd).st_size:
                raise EOFError
            self.buffer = bytearray(size)
        part = memoryview(self.buffer)[:size]
        if posix.preadv(self.fd, [part], start) != size:
            raise EOFError
        return part

    def find_spec(self, name: str, path: object = None, target: object = None) -> "Any":
        group = self.groups.get(name)
        if group is not None and self.load(group):
            module = sys.modules[name]
            return _Spec(name, self, origin=module.__file__, is_package=hasattr(module, "__path__"))
        place = self.places.get(name)
        if place is not None and place[0].rpartition("/")[0] in sys.path and self.are_unchanged([place]):
            return _Spec(name, _ExtensionLoader(name, place[0]), origin=place[0])
        if name == COLD and not self.cold:
            self.cold = True
            from templater.startup.lazy_imports import install

            install()
        return None

    def source_stamp(self) -> bytes:
        """Return the recorded digest of templater's sources, or b"" if a source has changed.

        The digest is a part of the keys of the compile cache.
        """
        if self.stamp and not self.are_unchanged(self.sources):
            self.stamp, self.stale = b"", True
        self.sources = []  # check the sources only once per run
        return self.stamp

    def create_module(self, spec: "Any") -> "ModuleType":
        return sys.modules[spec.name]

    def exec_module(self, module: "ModuleType") -> None:
        """Do nothing, because ``load`` has already run the module."""

    def load(self, group: "Group") -> bool:
        """Run the modules of a group. Return False if a source has changed or the group cannot be read."""
        modules, files, start, end = group
        for name, _ in modules:
            self.groups.pop(name, None)
        if not self.are_unchanged(files):
            self.stale = True
            return False
        try:
            codes = marshal.loads(self.read(self.start + start, self.start + end))  # noqa: S302
        except (OSError, ValueError, EOFError, TypeError):  # a power cut left the file incomplete
            self.stale = True
            return False
        for (name, is_package), file, (code, late) in zip(modules, files, codes, strict=True):
            if name not in sys.modules:
                self.run(name, file[0], is_package, code, late)
        return True

    def run(self, name: str, file: str, is_package: bool, code: "Any", late: "tuple[str | int, ...]") -> None:
        """Run the module's code. A late definition is loaded only when code first uses its name.

        ``late`` has the name of each late definition, and the start and the end of its code.
        """
        parent, _, tail = name.rpartition(".")
        if parent and parent not in sys.modules:  # the parent package is not in this group
            __import__(parent)
        # The module gets no spec: making a spec and importing a module with a spec take time.
        module = sys.modules[name] = type(sys)(name)
        if is_package:
            module.__path__ = [file.rpartition("/")[0]]
        module.__package__ = name if is_package else parent
        module.__file__ = file
        module.__loader__ = self  # type: ignore[assignment]  # the class has every loader method that is used
        module.__rare__ = _Function(substitute.__code__, module.__dict__)  # type: ignore[attr-defined]
        if late:
            module.__here__, module.__late__ = module, late  # type: ignore[attr-defined]
            module.__getattr__ = _Function(find_definition.__code__, module.__dict__)  # type: ignore[method-assign]
        try:
            exec(code, module.__dict__)  # noqa: S102
        except BaseException:
            del sys.modules[name]
            raise
        if parent:
            setattr(sys.modules[parent], tail, module)

    def keep_functions(self) -> None:
        """Read all separately stored functions, so that they can be loaded after the file was closed."""
        if self.ends[1] and not self.functions:
            self.functions = bytes(self.read(self.start + self.ends[0], self.start + self.ends[1]))

    def load_definition(self, module: "ModuleType", name: str) -> object:
        """Load a late class or function of a module, and return it. Raises AttributeError for other names."""
        late: Any = module.__late__
        if name not in late:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        at = late.index(name)
        code = self.stored(late[at + 1], late[at + 2])
        if type(code) is not _Code:
            from templater.startup.bundle import definition_of

            code = marshal.loads(definition_of(module.__file__, module.__name__, name))  # type: ignore[arg-type]  # noqa: S302
        made: dict[str, Any] = {}
        exec(code, module.__dict__, made)  # noqa: S102
        # A signal handler can load the same definition at the same time. The module then keeps the definition
        # that was loaded first.
        return module.__dict__.setdefault(name, made[name])

    def load_function(self, module: str, qualname: str, start: int, end: int) -> "Callable[..., Any]":
        """Load the code and the argument defaults of a rarely called function into its substitute.

        Return the substitute.
        """
        function: Any = sys.modules[module]
        for name in qualname.split("."):
            function = vars(function)[name]
        values = self.stored(start, end)
        if type(values) is not tuple or type(values[0]) is not _Code:
            from templater.startup.bundle import function_of

            values = marshal.loads(function_of(sys.modules[module].__file__, module, qualname))  # type: ignore[arg-type]  # noqa: S302
        # Python runs signal handlers only after calls and at backward jumps, so no handler runs between the
        # assignments
        function.__code__, function.__defaults__, function.__kwdefaults__ = values
        return function  # type: ignore[no-any-return]

    def stored(self, start: int, end: int) -> "Any":
        """Return the code of a separately loaded definition from the file, or None if the file is damaged."""
        data: bytes | bytearray = self.functions[start:end]
        try:
            if not data:
                # Use a new buffer, because a signal handler can load another definition at the same time.
                data = bytearray(end - start)
                if posix.preadv(self.fd, [data], self.start + self.ends[0] + start) != end - start:
                    return None
            return marshal.loads(data)  # noqa: S302
        except (OSError, ValueError, EOFError, TypeError):
            return None

    def has_changed(self) -> bool:
        """Return whether a source has changed since this process checked it."""
        found, self.checked = self.checked, {}
        return not self.are_unchanged([(file, *state) for file, state in found.items()])

    def are_unchanged(self, files: "list[File]") -> bool:
        checked = self.checked
        for file, age, size in files:
            if file not in checked:
                try:
                    status = posix.stat(file)
                except OSError:
                    return False
                checked[file] = (status.st_mtime_ns, status.st_size)
            if checked[file] != (age, size):
                return False
        return True
