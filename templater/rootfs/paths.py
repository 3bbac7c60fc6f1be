"""Checks of paths in a root filesystem, and the errors that every kind of root filesystem raises."""

from ..model.errors import InputError, LimitError, RefusedError

#: Linux's limits in bytes for one name, and for a path including its final NUL
NAME_MAX = 255
PATH_MAX = 4096


class MissingError(InputError):
    """The error for a path that does not exist."""


class SlowError(LimitError):
    """The error if reading files takes longer than the time limit."""


class UnmappedError(RefusedError):
    """The error for an id that the container's id map does not contain."""


def components(path: str) -> "list[str]":
    """Split an absolute, cleaned path into names; return [] for ``/``.

    Raises RefusedError for a relative or uncleaned path, a NUL, and a name or path too long for Linux.
    """
    refuse_bad_path(path)
    return [] if path == "/" else path[1:].split("/")


def refuse_bad_path(path: str) -> None:
    """Raise RefusedError if ``components`` would refuse the path.

    This function is much faster than ``components`` for a long path, because it does not split a valid path.
    """
    if path == "/":
        return
    if not path.startswith("/"):
        raise RefusedError(f"{path!r} is not an absolute path")
    data = encoded(path)
    closed = data + b"/"
    if (
        b"\0" in data or b"//" in closed or b"/./" in closed or b"/../" in closed or _has_long_name(data)
    ):  # fmt: skip
        for name in path[1:].split("/"):
            refuse_bad_name(name, path)
    if len(data) >= PATH_MAX:
        raise RefusedError(f"'{path[:40]}…' is longer than {PATH_MAX - 1} bytes")


def _has_long_name(path: bytes) -> bool:
    start = 0  # the position of a slash
    while len(path) - start > NAME_MAX + 1:
        following = path.rfind(b"/", start + 1, start + NAME_MAX + 2)
        if following < 0:
            return True
        start = following
    return False


def refuse_bad_name(name: str, path: str) -> None:
    """Raise RefusedError if ``name`` can't be a component of a cleaned path."""
    if name in ("", ".", ".."):
        raise RefusedError(f"{path!r} is not a cleaned path: it has a component {name!r}")
    if "\0" in name:
        raise RefusedError(f"{path!r} contains a NUL")
    if len(encoded(name)) > NAME_MAX:
        raise RefusedError(f"the name '{name[:40]}…' is longer than {NAME_MAX} bytes")


def encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RefusedError(f"{text!r} has characters that file names can't contain") from None


def no_directory(path: str, component: str, kind: str) -> RefusedError:
    """Return the error for a path whose ``component`` is not a directory but a ``kind``."""
    where = f"{path!r}" if path == component else f"{path!r}: {component!r}"
    return RefusedError(f"{where} is a {kind}, not a directory")


def not_regular(path: str, kind: str) -> RefusedError:
    return RefusedError(f"{path!r} is a {kind}, not a regular file")
