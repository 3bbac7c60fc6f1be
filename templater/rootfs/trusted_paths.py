"""Opening of directories by paths that other users may partly control."""

from errno import ENOENT

from ..model.errors import InputError, RefusedError, WriteError, reason
from ..model.unprintable_characters import printable
from ..oslite import abspath, dirname, exists, fsencode, join, os, split, stat
from .close_in_another_process import close
from .confined_root import Root
from .paths import MissingError
from .writable_by_others import is_shared, namespace_creator, namespace_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

#: limit on the number of names on the way to a directory, including the names in the targets of links
MOST_COMPONENTS = 1000

_READ = os.O_RDONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
_PASS = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def open_folder(path: str, *, follow: bool = True, fixed: bool = False) -> Root:
    """Open a directory. Refuse each link that a user other than root and this process's user can control.

    * If ``follow`` is false, refuse a link as the last component.
    * If ``fixed`` is true, refuse a path on which another user can replace a directory. However, the last
      directories may all belong to one further user, such as a container's root.

    Raises RefusedError for a refused path, and InputError if the directory can't be opened.
    """
    return _open(path, follow=follow, fixed=fixed)


def open_file(path: str, flags: int = _READ) -> int:
    """Open an existing file, and return its descriptor. Raises OSError if the file can't be opened.

    Raises RefusedError for a fifo of another user and, as root, for a link of another user.
    """
    if not hasattr(os, "O_PATH") or os.geteuid() != 0:
        _refuse_fifo(os.stat(path), path)
        return os.open(path, flags | getattr(os, "O_BINARY", 0))
    return _walk(path, follow=True, fixed=False, unshared=False, owners=(), flags=flags)


def open_log(path: str) -> int:
    """Open a file for appending, and make it if it is missing. Returns its descriptor.

    Raises the errors of ``open_file``, and WriteError if the directory can't be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
    try:
        return open_file(path, flags)
    except FileNotFoundError:
        if not hasattr(os, "O_PATH") or os.geteuid() != 0:
            return os.open(path, flags | os.O_CREAT, 0o666)
        above, name = split(path)
        try:
            folder = open_folder(above or ".")
        except InputError as error:
            raise WriteError(error.message) from None
        with folder:
            return os.open(name, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666, dir_fd=folder.fd)


def _refuse_fifo(status: "os.stat_result", path: str) -> None:
    if stat.S_ISFIFO(status.st_mode) and _is_foreign(status.st_uid, in_shared=True):
        raise RefusedError(
            f"'{printable(path)}' is a fifo of another user", hint="copy its content to a file first"
        )


def make_folder(path: str, mode: int = 0o777, *, fixed: bool = False) -> Root:
    """Open a directory as ``open_folder`` does. Make missing directories.

    With ``fixed``, make no directory that another user can replace.

    Raises RefusedError as ``open_folder`` does, and WriteError or OSError if a directory can't be opened or
    made.
    """
    names, missing = _components(path), []
    while True:
        try:
            root = open_folder("/" + "/".join(names), fixed=fixed)
            break
        except MissingError:
            missing.append(names.pop())
        except InputError as error:
            raise WriteError(error.message) from None
    while missing:
        name = missing.pop()
        with root, root.directory("/") as directory:
            if fixed:
                _refuse_exchange(root, path, os.geteuid())
            try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
                directory.mkdir(name, mode)
            except FileExistsError:
                pass
            root = root.below("/" + name)
    return root


def open_unshared(path: str, owners: "Collection[int]" = ()) -> Root:
    """Open a directory as ``open_folder(fixed=True)`` does, and check which users can write to it.

    Raises RefusedError if users other than root, the owner and the hook's user can write to the directory.

    If ``owners`` is given, two more rules apply:

    * The owner must be one of ``owners``, root or the hook's user.
    * All directories above must belong to root or the hook's user.
    """
    return _open(path, unshared=True, owners=owners)


def clean_path(path: str) -> str:
    """Return an absolute path without ``..`` and without superfluous slashes.

    Raises RefusedError if ``..`` is after a link, because the result could lead to a different file.
    """
    cleaned = abspath(path)
    if ".." in path.split("/") and not is_same_place(path, cleaned):
        raise RefusedError(
            f"'{printable(path)}' is missing or has '..' after a symlink", hint="give a path without '..'"
        )
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def is_same_place(first: str, second: str) -> bool:
    """Return whether two paths lead to the same file or directory. Return False if a path is missing."""
    found = _identity(first)
    return found is not None and found == _identity(second)


def _identity(path: str) -> "tuple[int, int] | None":
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return status.st_dev, status.st_ino


def require_fixed(parent: Root, inner: Root) -> None:
    """Raise RefusedError if a user can replace the directory ``inner`` in the directory ``parent``.

    The owner of ``inner``, root and this process's user are allowed to replace it.
    """
    _refuse_exchange(parent, inner.name, os.fstat(inner.fd).st_uid)


def _refuse_exchange(parent: Root, path: str, owner: int) -> None:
    status = os.fstat(parent.fd)
    if not status.st_mode & stat.S_ISVTX and is_shared(parent.fd, status):
        raise _shared_error(parent.name, path)
    if status.st_uid != owner and _is_foreign(status.st_uid, in_shared=False):
        raise _owner_error(parent.name, status.st_uid, path)


def open_fixed_below(parent: Root, path: str, *, cross_mounts: bool) -> Root:
    """Open a directory below ``parent``. Follow no link, and check each directory with ``require_fixed``."""
    root = parent
    for name in _components(path):
        above, root = root, root.below("/" + name, cross_mounts=cross_mounts)
        require_fixed(above, root)
        if above is not parent:
            above.close()
    return root


def _open(
    path: str,
    *,
    follow: bool = True,
    fixed: bool = False,
    unshared: bool = False,
    owners: "Collection[int]" = (),
) -> Root:
    try:
        if hasattr(os, "O_PATH"):
            fd = _walk(path, follow, fixed or unshared, unshared, owners)
        else:  # this system is not Linux: hooks do not run here
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        return Root(path, fd=fd, named=True)
    except OSError as error:
        kind = MissingError if isinstance(error, FileNotFoundError) else InputError
        raise kind(f"{path!r} can't be opened as a directory: {reason(error)}") from None
    except ValueError:
        raise InputError(f"{path!r} can't be the name of a directory") from None


def _walk(
    path: str, follow: bool, fixed: bool, unshared: bool, owners: "Collection[int]", *, flags: int = 0
) -> int:
    ahead = _components(path)[::-1]
    given, is_behind_link = len(ahead), False
    here, place, safe, shared = os.open("/", _PASS | os.O_DIRECTORY), "/", True, False
    above_shared, device = False, 0
    other_place, other = "", 0  # the first directory that belongs to another user
    try:
        for _ in range(MOST_COMPONENTS):
            # The owner is read from the open descriptor, so replacing a directory by a link has no effect.
            status = os.fstat(here)
            shared = is_shared(here, status)
            # another user can have mounted a FUSE file system in /tmp, which can show any owner
            mounted = above_shared and status.st_dev != device
            foreign = mounted or _is_foreign(status.st_uid, in_shared=above_shared)
            if fixed and other_place and status.st_uid != other:
                raise _owner_error(other_place, other, path)
            if not ahead:
                # For example, `lxc-start -f /tmp/a.conf` makes /tmp an instance directory.
                if unshared and shared:
                    raise _shared_error(place, path)
                if owners and foreign and status.st_uid not in owners:
                    raise _owner_error(place, status.st_uid, path)
                if owners and foreign and above_shared:  # even in a sticky directory, owners can replace it
                    raise _shared_error(dirname(place), path)
                return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            replaceable = shared and not status.st_mode & stat.S_ISVTX
            if fixed and (replaceable or mounted):
                raise _shared_error(place if replaceable else dirname(place), path)
            if owners and foreign:
                raise _owner_error(place, status.st_uid, path)
            if foreign and not other_place:
                other_place, other = place, status.st_uid
            safe = safe and not foreign and not replaceable
            is_given = len(ahead) == given
            name = ahead.pop()
            given -= is_given
            if name == ".." and is_given and is_behind_link and not follow:
                raise RefusedError(
                    f"'{printable(path)}' has '..' after a symlink", hint="give a path without '..'"
                )
            try:
                found = os.open(name, _PASS | os.O_DIRECTORY, dir_fd=here)
            except NotADirectoryError:
                link = os.open(name, _PASS, dir_fd=here)
                try:
                    status = os.fstat(link)
                    if not stat.S_ISLNK(status.st_mode):
                        if flags and not ahead:
                            _refuse_fifo(status, path)
                            return os.open(f"/proc/self/fd/{link}", flags)
                        raise
                    target = os.readlink("", dir_fd=link)
                    is_magic_link = is_magic(status, target)
                finally:
                    close(link)
                if not follow and not ahead:
                    raise RefusedError(f"'{printable(path)}' is a symlink, not a directory") from None
                # the owner of a link in a shared directory shows who made it, not who moved it there
                if not safe or shared or _is_foreign(status.st_uid, in_shared=False):
                    raise RefusedError(
                        f"'{printable(name)}' on the way to '{printable(path)}' may be a link that another"
                        " user controls",
                        hint=_owner_hint() or "give a path without links of other users",
                    ) from None
                is_behind_link = True
                if is_magic_link and flags and not ahead:
                    return os.open(name, flags, dir_fd=here)
                if is_magic_link:  # only the kernel knows the target of a link such as /proc/PID/root
                    safe = False  # behind it, the root of a container can have made links, too
                    found = os.open(name, _PASS & ~os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=here)
                else:
                    ahead += [name for name in target.split("/")[::-1] if name not in ("", ".")]
                    if not target.startswith("/"):
                        continue
                    found, name = os.open("/", _PASS | os.O_DIRECTORY), "/"
            close(here)
            here, above_shared, device = found, shared, status.st_dev
            place = dirname(place) if name == ".." else join(place, name)
    finally:
        close(here)
    raise RefusedError(f"'{printable(path)}' leads through too many links")


def _components(path: str) -> "list[str]":
    """Return the names of an absolute path. A name ``..`` is kept, because a link can precede it."""
    if not path:
        raise FileNotFoundError(ENOENT, "No such file or directory")
    full = path if path.startswith("/") else join(os.getcwd(), path)
    return [name for name in full.split("/") if name not in ("", ".")]


def is_magic(status: "os.stat_result", target: str) -> bool:
    """Return whether a link is in /proc and may lead to another mount namespace."""
    # The relative target of a link such as /proc/self is in this mount namespace.
    if not target.startswith("/") and ":" not in target:
        return False
    on_proc = exists("/proc") and status.st_dev == os.stat("/proc").st_dev
    return on_proc or status.st_size != len(fsencode(target))  # another mounted /proc has other sizes


def _shared_error(place: str, path: str) -> RefusedError:
    files = "its files" if place == abspath(path) else f"'{printable(path)}'"
    return RefusedError(
        f"other users can write to '{printable(place)}', so {files} may belong to another user",
        hint=_owner_hint() or "let only the owner write to the directory, or give --source and --state",
    )


def _owner_error(place: str, uid: int, path: str) -> RefusedError:
    can = "change its files" if place == abspath(path) else f"replace '{printable(path)}'"
    hint = _owner_hint() if uid == namespace_creator() else ""
    return RefusedError(
        f"'{printable(place)}' belongs to another user (uid {uid}), who can {can}",
        hint=hint or f"use a directory of root, such as /var/lib/lxc, or run the hook as uid {uid}",
    )


def _owner_hint() -> str:
    """Return a hint if the hook does not trust the user who created the hook's user namespace."""
    creator = namespace_creator()
    if creator == namespace_owner():
        return ""
    return (
        f"if uid {creator} is the user who starts the container, add --owner {creator} to the hook line: run"
        " templater hook install lxc NAME --write"
    )


def trusted_owners(rootfs: str) -> "Collection[int]":
    """Return the users who may own the directory of ``--state`` or of the ``--instance`` file."""
    # In a user namespace, the owner of ``/`` stands for all users outside of the namespace.
    places = ("/", rootfs) if exists(rootfs) else "/"
    return {0, os.geteuid(), *(os.stat(place).st_uid for place in places)}


def is_own(folder: int) -> bool:
    """Return whether an open directory belongs to root, this process's user or the namespace's owner."""
    return not _is_foreign(os.fstat(folder).st_uid, in_shared=False)


def is_replaceable(folder: int) -> bool:
    """Return whether another user can replace the files in a directory.

    In a sticky directory such as ``/tmp``, users can replace only their own files.
    """
    status = os.fstat(folder)
    replaceable = not status.st_mode & stat.S_ISVTX and is_shared(folder, status)
    return replaceable or _is_foreign(status.st_uid, in_shared=False)


def _is_foreign(uid: int, *, in_shared: bool) -> bool:
    """Return whether a uid belongs to a user other than root, this process's user and the namespace's owner.

    If ``in_shared`` is false, treat the owner of ``/`` as root.
    """
    # In a user namespace, all users outside appear as the owner of ``/``.
    if uid in (0, os.geteuid()) or (not in_shared and uid == os.stat("/").st_uid):
        return False
    return uid != namespace_owner()
