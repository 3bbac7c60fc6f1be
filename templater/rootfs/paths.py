"""Root filesystems: where files land. On disk (directory), in memory (memory), as an archive (tar)."""

from ..model.errors import InputError, RefusedError

#: What Linux allows: one name, and a whole path with its closing NUL.
NAME_MAX = 255
PATH_MAX = 4096


class MissingError(InputError):
    """The name does not exist."""


class UnmappedError(RefusedError):
    """The map of a container's ids does not have this one."""


def components(path: str) -> "list[str]":
    """The names of an absolute, cleaned path; none for ``/``.

    Every view and every writer takes its paths apart here, so all of them refuse the same ones:
    relative or uncleaned paths, NUL, and names or paths longer than any kernel takes.
    """
    if path == "/":
        return []
    if not path.startswith("/"):
        raise RefusedError(f"{path!r} is not an absolute path")
    names = path[1:].split("/")
    for name in names:
        refuse_bad_name(name, path)
    if len(encoded(path)) >= PATH_MAX:
        raise RefusedError(f"'{path[:40]}…' is longer than {PATH_MAX - 1} bytes")
    return names


def refuse_bad_name(name: str, path: str) -> None:
    """Refuse what can't be one component of a cleaned path."""
    if name in ("", ".", ".."):
        raise RefusedError(f"{path!r} is not a cleaned path: it has a component {name!r}")
    if "\0" in name:
        raise RefusedError(f"{path!r} has a NUL in it")
    if len(encoded(name)) > NAME_MAX:
        raise RefusedError(f"'{name[:40]}…' is a name of more than {NAME_MAX} bytes")


def encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RefusedError(f"{text!r} has characters that no file name can have") from None


def no_directory(path: str, component: str, kind: str) -> RefusedError:
    """The error of everybody who needs a directory on the way and finds something else."""
    where = f"{path!r}" if path == component else f"{path!r}: {component!r}"
    return RefusedError(f"{where} is a {kind}, not a directory")


def not_regular(path: str, kind: str) -> RefusedError:
    return RefusedError(f"{path!r} is a {kind}, not a regular file")
