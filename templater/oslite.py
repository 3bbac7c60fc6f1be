"""System calls for the modules of a warm hook (one that uses cached code), without importing ``os``.

Importing ``os`` takes more than a millisecond.

* Modules of a warm hook write ``from ..oslite import os``, and get the built-in module ``posix``.
* This module has its own versions of the most used functions of ``os.path``.
* Other modules import the real ``os``.
"""

import _stat as stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import posix as os
    from collections.abc import Callable, Mapping
    from typing import Any, Self
else:
    try:
        import posix as os
    except ImportError:
        import nt as os

__all__ = [
    "DIGEST", "HAS_DESCRIPTORS", "PR_SET_NO_NEW_PRIVS", "PR_SET_PDEATHSIG", "Closing", "abspath",
    "address_space", "blake2b", "call_libc", "dirname", "environment", "exists", "forbid_core_file",
    "forget", "fsencode", "is_missing", "isdir", "islink", "join", "keep_functions", "libc",
    "limit_address_space", "machine", "memory_with", "os", "processor_limit", "split", "stat", "variable",
]  # fmt: skip

#: whether the system can open files relative to a directory's descriptor; Windows cannot
HAS_DESCRIPTORS = hasattr(os, "O_DIRECTORY")


#: the length of a digest in bytes
DIGEST = 24


def blake2b(data: bytes = b"") -> "Any":
    # importing hashlib takes three milliseconds, because hashlib loads every algorithm of OpenSSL
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    return blake2b(data, digest_size=DIGEST)


class Closing:
    """A base class for objects that are closed at the end of a ``with`` block."""

    __slots__ = ()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


# --- paths: ``os.path`` for text -----------------------------------------------------------------


def join(folder: str, *names: str) -> str:
    path = folder
    for name in names:
        if name.startswith("/"):
            path = name
        else:
            path += name if not path or path.endswith("/") else f"/{name}"
    return path


def split(path: str) -> "tuple[str, str]":
    cut = path.rfind("/") + 1
    folder = path[:cut]
    return folder.rstrip("/") or folder, path[cut:]


def dirname(path: str) -> str:
    return split(path)[0]


def abspath(path: str) -> str:
    if path.startswith("/") and not {"", ".", ".."}.intersection(path[1:].split("/")):
        return path
    from os.path import abspath as clean

    return clean(path)


def exists(path: str) -> bool:
    return _mode(path) != 0


def is_missing(path: str) -> bool:
    """Return whether a path does not exist.

    Return False for a dangling link, and for a path in a directory that this process can't search.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def isdir(path: str) -> bool:
    return stat.S_ISDIR(_mode(path))


def islink(path: str) -> bool:
    return stat.S_ISLNK(_mode(path, follow=False))


def _mode(path: str, *, follow: bool = True) -> int:
    """Return ``st_mode``, or 0 if the file is missing."""
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except (OSError, ValueError):
        return 0


_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def fsencode(path: str) -> bytes:
    return path.encode(_ENCODING, _ERRORS)


# --- the C library ------------------------------------------------------------------------------

#: options of prctl(2): send a signal when the parent process ends, and grant no new rights at execve
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38

#: the numbers of RLIMIT_CPU, RLIMIT_CORE and RLIMIT_AS, and the value RLIM_INFINITY, on x86_64 and aarch64
_RLIMIT_CPU, _RLIMIT_CORE, _RLIMIT_AS = 0, 4, 9
_RLIM_INFINITY = (1 << 64) - 1
#: for each 32-bit name that uname(2) can return to a 64-bit process, the name of the real architecture
_NAMES_OF_32_BITS = {
    "i386": "x86_64", "i486": "x86_64", "i586": "x86_64", "i686": "x86_64", "armv7l": "aarch64",
    "armv8l": "aarch64",
}  # fmt: skip

_AT_FDCWD, _AT_EMPTY_PATH, _STATX_BTIME = -100, 0x1000, 0x800
#: the type of the functions that ``libc`` returns, created on first use, and these functions by name
_calls: "list[Any]" = []
_functions: "dict[str, Callable[..., int]]" = {}
#: the type of the characters in the buffers of ``memory_with``, created on first use
_chars: "list[Any]" = []


def libc(name: str) -> "Callable[..., int]":
    """Return a function of the C library that Python does not wrap.

    The implementation uses _ctypes, because importing the ctypes package takes two milliseconds more.
    """
    import _ctypes

    if not _calls:

        class Call(_ctypes.CFuncPtr):  # without ``_restype_``, the result is a C int
            _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO

        _calls.append(Call)
    if name not in _functions:
        process = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
        _functions[name] = _calls[0](_ctypes.dlsym(process, name))
    return _functions[name]


def call_libc(name: str, *arguments: object) -> int:
    """Call a function of the C library. Raises OSError if the function is missing or returns -1."""
    import _ctypes

    result = libc(name)(*arguments)
    if result == -1:
        number = _ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def machine() -> str:
    """Return the real architecture of this process.

    Under ``setarch i686``, uname(2) returns a 32-bit name to a 64-bit process.
    The function corrects that name.
    """
    name = os.uname().machine
    return _NAMES_OF_32_BITS.get(name, name) if sys.maxsize > 1 << 32 else name


def forbid_core_file() -> None:
    """Keep the kernel from writing a core file of this process. A core file could contain secrets."""
    # Another process of the same user could raise a soft limit.
    _set_limit(_RLIMIT_CORE, 0, also_hard=True)


def limit_address_space(most: int) -> None:
    """Set the soft limit of this process's address space in bytes, and keep the hard limit."""
    _set_limit(_RLIMIT_AS, most)


def _set_limit(number: int, most: int, *, also_hard: bool = False) -> None:
    """Set a soft limit, and the hard limit if ``also_hard`` is true.

    On architectures other than x86_64 and aarch64, set no limit.
    """
    # The resource module is not used, because importing it takes half a millisecond.
    hard = _hard_limit(number)
    if hard is not None:
        soft = min(most, hard).to_bytes(8, sys.byteorder)
        libc("setrlimit")(number, soft + (soft if also_hard else hard.to_bytes(8, sys.byteorder)))


def _hard_limit(number: int) -> "int | None":
    if machine() not in ("x86_64", "aarch64") or sys.maxsize <= 1 << 32:
        return None
    limits = memory_with(bytes(256))  # Python makes a type for each size, so all callers use one size
    if libc("getrlimit")(number, limits) != 0:
        return None
    return int.from_bytes(bytes(limits)[8:16], sys.byteorder)


def processor_limit() -> float:
    """Return the seconds of processor time after which the kernel kills this process, or infinity."""
    limit = _hard_limit(_RLIMIT_CPU)
    return float("inf") if limit is None or limit == _RLIM_INFINITY else limit


def address_space(column: int = 0) -> int:
    """Return the size of this process's memory in bytes. Raises OSError if /proc is not mounted.

    ``column`` of /proc/self/statm is 0 for the address space, 5 for the writable memory.
    """
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[column]) * os.sysconf("SC_PAGE_SIZE")


def memory_with(content: bytes) -> "Any":
    """Return a C buffer with this content."""
    if not _chars:
        import _ctypes

        class Char(_ctypes._SimpleCData):  # type: ignore[type-arg]
            _type_ = "c"

        _chars.append(Char)
    return (_chars[0] * len(content)).from_buffer_copy(content)


def birth_time(file: "int | str") -> str:
    """Return the time of creation of a file in hexadecimal nanoseconds.

    Return "" if the file is missing, or if its time is unknown.
    """
    place, path = (_AT_FDCWD, fsencode(file)) if isinstance(file, str) else (file, b"")
    data = memory_with(bytes(256))
    try:
        if libc("statx")(place, path + b"\0", 0 if path else _AT_EMPTY_PATH, _STATX_BTIME, data):
            return ""
    except OSError:  # the C library has no statx
        return ""
    found = bytes(data)
    has_time = int.from_bytes(found[:4], sys.byteorder) & _STATX_BTIME
    seconds, fraction = (
        int.from_bytes(found[at : at + size], sys.byteorder) for at, size in ((80, 8), (88, 4))
    )
    return f"{seconds * 10**9 + fraction:x}" if has_time else ""


def keep_functions() -> None:
    """Load the code of all rarely called functions now, so that this process can close the cache file."""
    for finder in sys.meta_path:
        keep = getattr(finder, "keep_functions", None)
        if keep is not None:
            keep()


# --- the environment -----------------------------------------------------------------------------


def environment() -> "Mapping[str, str]":
    """Return the environment: ``os.environ`` if ``os`` is loaded, or a copy of the variables in ``posix``."""
    loaded = sys.modules.get("os")
    if loaded is not None:
        environ: Mapping[str, str] = loaded.environ
        return environ
    return {_decoded(name): _decoded(value) for name, value in os.environ.items()}


def variable(name: str) -> str:
    """Return a variable of the environment, or "" if it is not set."""
    loaded = sys.modules.get("os")
    if loaded is not None:
        value: str = loaded.environ.get(name, "")
        return value
    return _decoded(os.environ.get(fsencode(name), b""))


def forget(name: str) -> None:
    """Remove a variable from the environments of Python and of the C library."""
    loaded = sys.modules.get("os")
    if loaded is not None:
        loaded.environ.pop(name, None)
    elif os.environ.pop(fsencode(name), None) is not None:
        os.unsetenv(name)


def _decoded(data: bytes) -> str:
    return data.decode(_ENCODING, _ERRORS)
