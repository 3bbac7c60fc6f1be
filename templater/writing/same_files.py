"""Different targets that are the same file, because the file or a directory above it has several mounts.

All targets of a plan are compared, even targets that already have the planned content. Otherwise, two rules
could overwrite each other's text at every start. Hard links count as different files, because templater
replaces only one of them.
"""

from ..model.errors import InputError, RefusedError, WriteError
from ..model.plan import CREATE
from ..oslite import os
from ..rootfs.paths import MissingError
from ..rootfs.system_calls import write_error
from .remove_leftovers import above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.plan import Change
    from ..rootfs.confined_root import Root


def find_repeated(changes: "list[Change]", unchanged: "list[Change]", root: "Root") -> "dict[Change, Change]":
    """Return a dict from each superfluous change to another change of the same file.

    Raises RefusedError if two changes of one file differ in content or, for a new file, in owner or mode.
    """
    targets = [(each, *_identify(each.real, root)) for each in (*changes, *unchanged)]
    repeated: dict[Change, Change] = {}
    first: dict[object, Change] = {}
    # Mounted files come first, so their changes write the files. The change of another target would replace
    # the file, and the mount would still show the old file.
    for change, file, is_mount, place in sorted(targets, key=lambda target: not target[2]):
        keys = [file] if is_mount else [file, place]
        for other in [first[key] for key in keys if key in first]:
            differing = "contents" if (other.content or b"") != (change.content or b"") else ""
            if change.action == CREATE and _attributes(other) != _attributes(change):
                differing = differing or "owners or modes"
            if differing:
                raise RefusedError(
                    f"{other.real!r} and {change.real!r} are the same file because of a mount,"
                    f" so they can't have different {differing}",
                    hint="remove one of the rules, or mount another file",
                )
            repeated.setdefault(change, other)
        first.setdefault(file if is_mount else place, change)
    return {change: repeated[change] for change in changes if change in repeated}


def _attributes(change: "Change") -> "tuple[int, int, int]":
    return change.uid, change.gid, change.mode


def _identify(path: str, root: "Root") -> "tuple[tuple[int, int] | None, bool, tuple[int, int, str]]":
    """Return the identity of a file, whether the file is a mount point, and the identity of its place.

    The place is the lowest existing directory above the file, and the names below this directory.
    """
    parent = above(path)
    while True:
        try:
            directory = root.directory(parent)
            break
        except MissingError:
            parent = above(parent)
        except InputError as error:  # a system call failed
            raise WriteError(error.message, hint=error.hint) from None
    names = path[len(parent.rstrip("/")) + 1 :]
    with directory:
        try:
            here = os.fstat(directory.fd)
            status = None if "/" in names else directory.lstat(names)
            is_mount = status is not None and directory.is_mount(names)
        except OSError as error:
            raise write_error("look at", path, error) from None
    file = None if status is None else (status.st_dev, status.st_ino)
    return file, is_mount, (here.st_dev, here.st_ino, names)
