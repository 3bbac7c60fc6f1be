"""The cache of parsed metadata and generated code.

Only the sandboxed child unmarshals an entry, because unmarshalling untrusted bytes can execute code. The
cache directory must belong to this user, and its mode must keep other users out. Invalid entries are ignored.
"""

import sys

from .. import __version__
from ..instances.state_directory import StateDirectory, directory_of_ours, make, write_whole
from ..model.errors import RefusedError, TemplaterError
from ..oslite import DIGEST, blake2b, join, os, stat
from ..rootfs.confined_directory import Directory
from ..rootfs.trusted_paths import make_folder, open_unshared
from .source_stamp import source_stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"templater kept 1"
MAX_ENTRY = 32 << 20

#: limits on the entries and bytes of a cache; above a limit, the oldest entries are removed
MOST_ENTRIES = 512
MOST_BYTES = 256 << 20

#: third-party packages whose version also changes the generated code
PACKAGES = ("jinja2", "yaml")


class CacheEntry:
    """One cache entry: the marshalled bytes, and the modules that its code imports."""

    __slots__ = ("modules", "payload")

    def __init__(self, modules: "tuple[str, ...]", payload: bytes) -> None:
        self.modules = modules
        self.payload = payload


class CompileCache:
    """A directory of cache entries."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def close(self) -> None:
        self._directory.close()

    def load(self, name: str, key: str) -> "CacheEntry | None":
        """Return the entry, or None if it is missing or invalid."""
        try:
            return decode(self._directory.read(f"{name}-{key}", MAX_ENTRY, _require_private), key)
        except (OSError, TemplaterError):
            return None

    def save(self, name: str, key: str, entry: CacheEntry) -> None:
        """Save an entry. Ignore failures."""
        data = encode(entry, key)
        if len(data) > MAX_ENTRY:  # ``load`` ignores an entry that is too large
            return
        try:
            entry_name = f"{name}-{key}"
            write_whole(self._directory, entry_name, data, sync=False, staged=entry_name + ".new")
            self._remove_oldest()
        except (OSError, TemplaterError):  # OSError: another hook removed the same entry first
            return

    def _remove_oldest(self) -> None:
        aged = []
        for name in filter(is_entry, self._directory.listdir()):
            status = self._directory.lstat(name)
            if status is not None and stat.S_ISREG(status.st_mode):
                aged.append((status.st_mtime_ns, name, status.st_size))
        room = MOST_BYTES
        for place, (_, name, size) in enumerate(sorted(aged, reverse=True)):
            room -= size
            if place >= MOST_ENTRIES or room < 0:
                self._directory.unlink(name)


def _require_private(fd: int) -> None:
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or status.st_nlink != 1:
        raise RefusedError("another user can change the cache entry")


def instance_cache(state_directory: StateDirectory) -> "CompileCache | None":
    """Open the directory ``cache`` in ``.templater``.

    Return None if ``cache`` can't be opened, or if another user may have put the directory there.
    """
    try:
        # The owner of the instance's directory could move a directory of root to the path of ``cache``. If
        # root has unpacked an image there, the image's files would count as cache entries.
        if not state_directory.is_own:
            return None
        if state_directory.directory.lstat("cache") is None:
            make(state_directory.directory, "cache")
        directory = directory_of_ours(state_directory.directory.directory("cache"))
    except (OSError, TemplaterError):
        return None
    return None if directory is None else CompileCache(directory)


def open_cache(path: str) -> "CompileCache | None":
    """Open a cache directory, and create it if necessary.

    Return None if another user can enter the directory, or owns a directory or a link on its path.
    """
    try:
        make_folder(path, 0o700, fixed=True).close()
        with open_unshared(path, (os.geteuid(),)) as root:
            directory = directory_of_ours(root.directory("/"))
    except (OSError, TemplaterError):
        return None
    return None if directory is None else CompileCache(directory)


def key(parts: "Iterable[bytes]") -> str:
    """Return a hex digest of all of these: ``parts``, the Python version, and templater's own sources."""
    digest = blake2b()
    for part in (*_interpreter(), source_stamp(), *parts):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    name: str = digest.hexdigest()
    return name


def is_entry(name: str) -> bool:
    """Return whether a file name has the form of a cache entry. Files with other names are never removed."""
    digest = name.removesuffix(".new").rpartition("-")[2]
    return len(digest) == 2 * DIGEST and not digest.strip("0123456789abcdef")


def encode(entry: CacheEntry, key: str) -> bytes:
    rest = b"\n".join((compiled_by(), " ".join(entry.modules).encode(), entry.payload))
    return b"\n".join((MAGIC, key.encode(), blake2b(rest).hexdigest().encode(), rest))


def decode(data: bytes, key: str) -> "CacheEntry | None":
    """Parse an entry.

    Return None if the entry is truncated, has another key, or names other versions of ``PACKAGES``.
    """
    parts = data.split(b"\n", 3)
    if len(parts) != 4:
        return None
    magic, its_key, digest, rest = parts
    if magic != MAGIC or its_key != key.encode() or digest != blake2b(rest).hexdigest().encode():
        return None
    compiler, modules, payload = rest.split(b"\n", 2)
    if not same_packages(compiler):
        return None
    names = tuple(modules.decode("ascii", "replace").split())
    return CacheEntry(names, payload) if all(is_language_module(name) for name in names) else None


def is_language_module(module: str) -> bool:
    return module.startswith("templater.pongo2.") and module.replace(".", "").replace("_", "").isalnum()


def _interpreter() -> "tuple[bytes, ...]":
    tag = sys.implementation.cache_tag or sys.implementation.name
    return __version__.encode(), b"%x %s" % (sys.hexversion, tag.encode())


def compiled_by() -> bytes:
    """Return mtime, size and path of every package in ``PACKAGES``.

    An upgraded package invalidates the entry.
    """
    return b"\0".join(map(_package_age, PACKAGES))


def _package_age(name: str) -> bytes:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None)
        if spec is not None and spec.origin:
            return b"%s %s" % (_age(spec.origin), spec.origin.encode("utf-8", "surrogateescape"))
    return b"- "


def same_packages(packages: bytes) -> bool:
    """Return whether a cache entry was written with the installed packages: same paths, mtimes and sizes."""
    # Another user may have forged the entry, so look up only paths of packages on ``sys.path``.
    lines = packages.split(b"\0")
    return len(lines) == len(PACKAGES) and all(map(_is_installed, lines, PACKAGES))


def _is_installed(line: bytes, name: str) -> bool:
    age, _, recorded = line.partition(b" ")
    path = recorded.decode("utf-8", "surrogateescape")
    if any(path == join(folder, name, "__init__.py") for folder in sys.path):
        return age == _age(path)
    return line == _package_age(name)


def _age(path: str) -> bytes:
    try:
        status = os.stat(path)
    except OSError:
        return b"-"
    return b"%d.%d" % (status.st_mtime_ns, status.st_size)
