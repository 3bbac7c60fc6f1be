"""Opening, reading, comparing and writing regular files by their descriptors."""

import errno

from ..model.errors import BusyError, LimitError, RefusedError
from ..oslite import os, stat
from .close_in_another_process import close, close_duplicate
from .paths import not_regular
from .system_calls import LOOK, O_NOFOLLOW, READ, again, kind_of
from .writable_by_others import is_shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def require_public(fd: int, directory: int, shown: str) -> None:
    """Raise RefusedError if another user could have moved a private file to this place.

    ``fd`` is the descriptor of a file or directory. ``directory`` is the descriptor of a directory above.
    """
    status = os.fstat(fd)
    needed = 0o005 if stat.S_ISDIR(status.st_mode) else 0o004
    if status.st_mode & needed == needed:
        return
    # Without this check, a user could make root read another user's secret file, and get its content.
    above = os.fstat(directory)
    owner = above.st_uid
    if owner not in (0, os.geteuid(), status.st_uid):
        raise RefusedError(
            f"{shown!r} is private to uid {status.st_uid}, but its directory belongs to uid {owner}",
            hint="let all users read the file, or chown the file to the owner of the directory",
        )
    if os.geteuid() == status.st_uid == 0 and is_shared(directory, above):
        raise RefusedError(
            f"{shown!r} is private to root, but other users can write to its directory",
            hint="let all users read the file, or let only root write to the directory",
        )


def read_descriptor(
    fd: int, limit: int, path: str, before_piece: "Callable[[], None] | None" = None
) -> bytes:
    """Read a descriptor to its end. Raises LimitError above ``limit`` bytes.

    The function ``before_piece`` runs before each read of at most 1 MiB, and can raise an error.
    """
    chunks: list[bytes] = []
    left = limit + 1
    piece = 1 << 16  # start with a small buffer, because most files are small
    while left > 0:
        if before_piece is not None:
            before_piece()
        chunk = os.read(fd, min(left, piece))
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        left -= len(chunk)
        if len(chunk) == piece:
            piece = 1 << 20
    raise _too_large(path, limit)


def descriptor_has_content(fd: int, content: bytes, before_piece: "Callable[[], None] | None" = None) -> bool:
    """Return whether a descriptor has exactly this content from its offset to its end.

    The function ``before_piece`` runs before each read of at most 1 MiB, and can raise an error.
    """
    done = 0
    piece = 1 << 16  # most files are small, and a large file usually differs soon
    while True:
        if before_piece is not None:  # the kernel may need minutes to decompress a file
            before_piece()
        chunk = os.read(fd, piece)
        if not chunk:
            return done == len(content)
        if not content.startswith(chunk, done):
            return False
        done += len(chunk)
        piece = 1 << 20


def write_descriptor(fd: int, content: "bytes | memoryview") -> None:
    """Write all bytes, in as many calls as needed."""
    rest = memoryview(content)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[written:]


def read_regular(
    opened: "Callable[[int], int]",
    limit: int,
    path: str,
    check: "Callable[[int], None] | None" = None,
    before_piece: "Callable[[], None] | None" = None,
) -> bytes:
    """Read a regular file. The function ``opened(flags)`` opens the file by its name.

    The function ``check`` gets the descriptor before the content is read, and can raise an error. Raises
    LimitError above ``limit`` bytes.
    """
    # Do not open a larger file: if another program removes its name meanwhile, closing the file can take
    # minutes.
    fd = open_regular(opened, READ, path, limit)
    try:
        if check is not None:
            check(fd)
        return read_descriptor(fd, limit, path, before_piece)
    finally:
        # The last close of a small file can also take long: the file can have a million extended attributes.
        close(fd)


def regular_has_content(
    opened: "Callable[[int], int]",
    content: bytes,
    path: str,
    before_piece: "Callable[[], None] | None" = None,
) -> bool:
    """Return whether a regular file has this content.

    The function ``opened(flags)`` opens the file by its name.
    """
    try:
        # A file with more bytes than ``content`` is not opened (see ``read_regular``).
        fd = open_regular(opened, READ, path, len(content))
    except LimitError:
        return False
    try:
        return descriptor_has_content(fd, content, before_piece)
    finally:
        close(fd)


def _require_regular(fd: int, path: str, limit: "int | None", *, or_directory: bool = False) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) and not (or_directory and stat.S_ISDIR(status.st_mode)):
        raise not_regular(path, kind_of(status.st_mode))
    if limit is not None and status.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: str, limit: int) -> LimitError:
    return LimitError(f"{path!r} is larger than {limit} bytes")


def open_regular(
    opened: "Callable[[int], int]",
    flags: int,
    path: str,
    limit: "int | None" = None,
    *,
    or_directory: bool = False,
) -> int:
    """Open a regular file, and return its descriptor.

    The function ``opened(flags)`` opens the file by its name. Raises LimitError above ``limit`` bytes, and
    BusyError if another process holds a lease (a kind of lock) on the file.
    """
    seen = opened(LOOK | O_NOFOLLOW)
    end: Callable[[int], None] = close
    try:
        # Check the type and size first: opening a device or a file above ``limit`` has side effects (see
        # ``read_regular``).
        _require_regular(seen, path, limit, or_directory=or_directory)
        try:
            # Another process can replace the name by a device, so open the checked file.
            fd = again(os.open, f"/proc/self/fd/{seen}", flags & ~O_NOFOLLOW)
            end = close_duplicate
            return fd
        except FileNotFoundError:  # /proc is not mounted
            fd = opened(flags)
    except BlockingIOError:
        raise _leased(path) from None
    finally:
        end(seen)
    try:
        _require_regular(fd, path, limit, or_directory=or_directory)
    except BaseException:
        close(fd)
        raise
    return fd


def _leased(path: str) -> BusyError:
    return BusyError(
        f"{path!r} can't be opened: another process holds a lease of the file",
        hint="try again later, or end that process: lslocks shows it",
    )
