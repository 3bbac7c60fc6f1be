"""The directory ``.templater`` of an instance, with templater's own state and a lock.

The directory has the files ``state``, ``written``, ``lock``, ``log`` and ``journal``, and the folder
``cache``. The directory is beside the root filesystem, where the container cannot reach it.
"""

import fcntl
from time import monotonic, sleep

from ..model.errors import BusyError, RefusedError
from ..model.file_names import STARTED, STATE, STATE_FOLDER, WRITTEN
from ..model.unprintable_characters import printable
from ..oslite import Closing, join, os
from ..rootfs.close_in_another_process import close
from ..rootfs.confined_directory import Directory, ForeignFileError
from ..rootfs.confined_root import Root
from ..rootfs.system_calls import write_error
from ..rootfs.trusted_paths import is_own, open_folder

MAX_STATE = 64 << 10

#: seconds to wait for the lock before reporting its holder
PATIENCE = 30.0


class State:
    """The state that templater records between starts. Each value can be ""."""

    __slots__ = ("image", "name", "pending", "root")

    def __init__(self, pending: str = "", name: str = "", image: str = "", root: str = "") -> None:
        #: the trigger that the next start runs before ``start``
        self.pending = pending
        self.name = name
        #: the image from which the instance was made
        self.image = image
        #: the identity of the root directory at the last start
        self.root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"State(pending={self.pending!r}, name={self.name!r}, image={self.image!r})"

    def encode(self) -> bytes:
        """Return ``key=value`` lines, without empty values, but with at least one line.

        Raises RefusedError if a value contains a line break or a NUL.
        """
        lines = []
        for key in ("pending", "name", "image", "root"):
            value: str = getattr(self, key)
            if "\n" in value or "\0" in value:
                raise RefusedError(f"the {key} {value!r} can't be written as one line")
            if value:
                lines.append(f"{key}={value}\n")
        return "".join(lines or ["pending=\n"]).encode("utf-8", "surrogateescape")

    @classmethod
    def decode(cls, data: bytes) -> "State | None":
        """Parse a state, and skip unknown lines. Return None if the data has no known line."""
        values = {}
        for line in data.decode("utf-8", "surrogateescape").split("\n"):
            key, _, value = line.partition("=")
            # A newer version of templater can have written unknown lines.
            if key in cls.__slots__:
                values[key] = value
        # For example, a power cut can leave an empty file on btrfs.
        return cls(**values) if values else None


class StateDirectory(Closing):
    """An open ``.templater`` directory. The directory's lock allows one writer at a time."""

    __slots__ = ("_lock", "_root", "directory", "is_own", "path")

    def __init__(self, folder: "str | Root") -> None:
        """Open ``.templater`` in ``folder``, which is a path or an open directory.

        A missing ``.templater`` is created.

        Raises RefusedError if another user can change ``.templater``.
        """
        self._lock = -1
        if isinstance(folder, str):
            with open_folder(folder) as opened:
                self._open_below(opened)
        else:
            self._open_below(folder)
        #: the open directory, in which ``apply`` keeps its journal
        self.directory = self._root.directory("/")

    def _open_below(self, folder: Root) -> None:
        self.path = join(folder.name, STATE_FOLDER)
        if folder.entry("/" + STATE_FOLDER) is None:
            with folder.directory("/") as top:
                make(top, STATE_FOLDER)
        self._root = folder.below("/" + STATE_FOLDER)
        self._require_private(os.fstat(folder.fd).st_uid)
        #: whether the instance's directory belongs to root or to this process's user
        self.is_own = is_own(folder.fd)

    def _require_private(self, owner: int) -> None:
        status = os.fstat(self._root.fd)
        if status.st_uid in (0, os.geteuid(), owner) and not status.st_mode & 0o022:
            return
        self._root.close()
        raise RefusedError(
            f"'{self.path}' belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}:"
            " other users could change templater's state",
            hint=f"chown root '{self.path}'; chmod 0700 '{self.path}'",
        )

    def close(self) -> None:
        self.unlock()
        self.directory.close()
        self._root.close()

    # the lock

    def lock(self, what: str, patience: float = PATIENCE) -> None:
        """Take the lock. ``what`` describes this process to other processes that wait for the lock.

        Raises BusyError, which names the other process, if the lock is not free after ``patience`` seconds.
        """
        if self._lock < 0:
            self._lock = self._open("lock")
        deadline = monotonic() + patience
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= deadline:
                    raise self._busy() from None
                sleep(0.01)
        holder = f"pid {os.getpid()}: {what}\n".encode()
        # The file is not truncated, because that takes long for a large file. Only the first line counts.
        try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
            os.pwrite(self._lock, holder, 0)
        except OSError:  # the disk is full: the error of a waiting process then does not name this one
            pass

    def unlock(self) -> None:
        if self._lock >= 0:
            close(self._lock)
            self._lock = -1

    def _busy(self) -> BusyError:
        holder = os.pread(self._lock, 200, 0).partition(b"\n")[0].decode("utf-8", "replace").strip()
        return BusyError(
            f"'{self.path}' is in use by {printable(holder) or 'another process'}",
            hint="wait until that process ends, or end it",
        )

    # the state

    def state(self) -> "State | None":
        """Return the recorded state, or None if none was recorded or a power cut has emptied the file."""
        data = self.read(STATE, MAX_STATE)
        return None if data is None else State.decode(data)

    def remember(self, state: State) -> None:
        self.replace(STATE, state.encode())

    def forget_written(self) -> None:
        """Remove the record of written files, which does not apply to a new root filesystem."""
        for file in (WRITTEN, f"{WRITTEN}.new", STARTED):
            self.remove(file)

    # files

    def read(self, name: str, limit: int, *, own: bool = False) -> "bytes | None":
        """Return a file's bytes, or None if it is missing.

        With ``own``, also return None if the file belongs to neither root nor this process's user.
        """
        try:
            return self.directory.read_own(name, limit) if own else self.directory.read(name, limit)
        except (FileNotFoundError, ForeignFileError):
            return None
        except OSError as error:
            raise write_error("read", join(self.path, name), error) from None

    def replace(self, name: str, data: bytes, *, sync: bool = True) -> None:
        """Replace a file atomically: after a crash, the file has either the old or the new content.

        A power cut can restore the old file or, with ``sync=False``, leave an empty file. For btrfs, see
        ``disk_sync``.
        """
        write_whole(self.directory, name, data, sync=sync, staged=name + ".new")

    def remove(self, name: str) -> None:
        """Remove a file, if it exists. Raises WriteError if that fails."""
        if self.directory.lstat(name) is None:
            return
        try:
            self.directory.unlink(name)
        except OSError as error:
            raise write_error("remove", join(self.path, name), error) from None

    def append(self, name: str, data: bytes, limit: int) -> None:
        """Append to a log. A log above ``limit`` bytes is renamed to ``NAME.1`` first."""
        fd = self._open(name)
        try:
            if os.fstat(fd).st_size > limit:
                self.directory.rename(name, self.directory, name + ".1")
                close(fd)
                fd = self._open(name)
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
            os.write(fd, data)
        finally:
            close(fd)

    def _open(self, name: str) -> int:
        """Open a regular file in the state directory. Create it if it is missing.

        Raises RefusedError if the file is not regular.
        """
        try:
            try:
                fd = self.directory.create(name)
            except FileExistsError:
                fd = self.directory.open(name, write=True)
        except OSError as error:
            raise write_error("open", join(self.path, name), error) from None
        # A device is not opened, because opening a device can have side effects.
        except RefusedError:
            raise RefusedError(f"'{join(self.path, name)}' is not a regular file") from None
        # The name must still lead to the opened file. In a directory of another user, the file must also have
        # no other hard link. Otherwise, that user could hard-link root's file to the name, and later remove
        # the link. In a directory of root or of this process's user, the link can be a backup (cp -al).
        opened, named = os.fstat(fd), self.directory.lstat(name)
        is_same_file = named is not None and (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
        if not is_same_file or (opened.st_nlink != 1 and not self.is_own):
            close(fd)
            raise RefusedError(f"'{join(self.path, name)}' was replaced, or has other hard links")
        return fd


def directory_of_ours(directory: Directory) -> "Directory | None":
    """Return the directory if only this user can enter it. Otherwise, close it and return None."""
    status = os.fstat(directory.fd)
    if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
        return directory
    directory.close()
    return None


def write_whole(
    directory: Directory, name: str, data: bytes, *, sync: bool = True, mode: int = 0o600, staged: str = ""
) -> None:
    """Replace a file atomically. Raises WriteError on failure.

    The new file first has the name ``staged``, or a random name. An existing file ``staged`` is removed.
    """
    try:
        if staged:
            # Callers must omit ``staged`` if other programs make files in the directory.
            directory.unlink_left(staged)
        else:
            staged = f".templater-new-{os.urandom(8).hex()}"
        if sync:
            from ..rootfs.disk_sync import create_to_sync, sync_and_name

            fd = create_to_sync(directory, staged, mode)
        else:
            fd = directory.create(staged, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if sync:
                sync_and_name("write", directory.path_of(name), fd, directory, staged)
            directory.rename(staged, directory, name)
        except BaseException:
            directory.unlink_if_same(staged, fd)
            raise
        finally:
            close(fd)
    except OSError as error:
        raise write_error("write", directory.path_of(name), error) from None


def make(directory: Directory, name: str) -> None:
    try:
        directory.mkdir(name, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise write_error("create", join(directory.root.name, name), error) from None
