"""Downloaded image files in a directory of the user. Each file is named by its SHA-256 hash.

A file gets its final name only after its content matched the hash. An interrupted download continues after
its last byte. If the hash is then wrong, the whole download begins again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import mmap
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol

from ..image.atomic_output import Output
from ..model.errors import InputError, LimitError, RefusedError, WriteError, reason
from ..model.progress import Progress
from ..model.unprintable_characters import printable
from .https_client import RangeError, UrlPieces, UrlStream, content_length

#: limit in bytes on a file of an image, also on the size that a server announces
MOST_BYTES = 64 << 30
#: the suffix of the name of an incomplete file
PART = ".part"
_PIECE = 1 << 20
#: Seconds to wait while another process downloads the same file, and seconds between two checks. After the
#: wait, this process downloads the file itself, because the other process may use a slow or hostile server.
_PATIENCE, _POLL = 10.0, 0.05
#: the number of bytes to write at once, and the alignment in bytes that file systems want for direct writes
_BLOCK, _ALIGNED = 1 << 20, 4096
#: the number of blocks in memory: one collects bytes, and the others wait or are being written
_BLOCKS = 3
#: after this many bytes, the kernel is asked to begin writing the cached bytes to the disk
_ADVISED = 8 << 20


class Download(Protocol):
    """A function that downloads one file from a server."""

    def __call__(self, start: int, /) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Request the file from position ``start`` on. Raises InputError if the request fails.

        Yields the position of the first byte, and the content. A server may send the whole file.
        """


def download_of(stream: UrlStream, url: str, most: int) -> Download:
    """Return a function that downloads at most ``most`` bytes.

    The function can continue an interrupted download.
    """

    @contextmanager
    def download(start: int, /) -> Iterator[tuple[int, Iterator[bytes]]]:
        headers = {"Range": f"bytes={start}-"} if 0 < start < most else {}
        try:
            with _open_range(stream, url, headers, start) as (answer, first):
                content = bounded(stream.body(answer, url), most - first, url)
                yield first, UrlPieces(content, total=first + (content_length(answer) or 0))
        except FileNotFoundError:
            raise InputError(f"'{url}' does not exist") from None

    return download


@contextmanager
def _open_range(
    stream: UrlStream, url: str, headers: Mapping[str, str], start: int
) -> Iterator[tuple[Any, int]]:
    """Request a file from byte ``start`` on, or else the whole file. ``headers`` contain the range.

    Yield the answer, and the position of its first byte.
    """
    with ExitStack() as opened:
        try:
            answer = opened.enter_context(stream.open(url, headers=headers))
            first = _first_byte(answer, start, url)
        except RangeError:
            opened.close()
            answer = opened.enter_context(stream.open(url))
            first = _first_byte(answer, 0, url)
        yield answer, first


def _first_byte(answer: Any, start: int, url: str) -> int:
    if answer.status != 206:
        return 0
    if not (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
        raise RangeError(f"'{url}': the server did not send the requested byte range")
    return start


def bounded(pieces: Iterator[bytes], most: int, url: str) -> Iterator[bytes]:
    """Yield the pieces. Raises InputError if the pieces have more than ``most`` bytes in total."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise InputError(f"'{url}' is larger than the server announced")
        yield piece


class Downloads:
    """Downloaded files in a directory. Raises RefusedError if another user could write to it."""

    def __init__(self, path: str) -> None:
        self.path = path
        private_directory(path)

    def fetch(
        self,
        sha256: str,
        name: str,
        download: Download,
        progress: Progress,
        also: hashlib._Hash | None = None,
        announced: int = 0,
    ) -> str:
        """Return the path of the file with this hash. If the file is missing, download it.

        * ``also``: a hash object to update with the content
        * ``announced``: the size for progress reports, or 0 to use the size in the server's answer

        Raises InputError if the downloaded content has another hash.
        """
        path = os.path.join(self.path, sha256)
        with suppress(FileNotFoundError):
            os.utime(path)
            if also is not None:
                with open(path, "rb") as file:
                    _digest(file.fileno(), also)
            return path
        part = path + PART
        fd = self._open_part(part, time.monotonic() + _PATIENCE)
        if fd is None:
            part = f"{path}.{os.getpid()}{PART}"
            fd = self._open_part(part, math.inf)
            assert fd is not None

        def receive(begin: int) -> tuple[str, int]:
            with download(begin) as (start, pieces):
                total = announced or (pieces.total if isinstance(pieces, UrlPieces) else 0)
                os.ftruncate(fd, start)
                os.lseek(fd, 0, os.SEEK_SET)
                digest = hashlib.sha256()
                _digest(fd, digest)
                # The first part of a resumed file can be wrong, so do not update ``also`` with the file yet.
                digests = (digest,) if also is None or start else (digest, also)
                _append(fd, digests, start, pieces, lambda done: progress(0, done, name, total))
            return digest.hexdigest(), start

        try:
            found, start = receive(os.fstat(fd).st_size)
            if found != sha256 and start:  # the first part can be from another server
                found, start = receive(0)
            if found != sha256:
                os.unlink(part)
                raise InputError(f"'{name}' has the SHA-256 hash {found}, but the server announced {sha256}")
            if also is not None and start:
                os.lseek(fd, 0, os.SEEK_SET)
                _digest(fd, also)
            os.fsync(fd)
            os.rename(part, path)
        except OSError as error:
            raise WriteError(f"can't write '{printable(path)}': {reason(error)}") from error
        finally:
            os.close(fd)
        return path

    def keep(self, pieces: Iterator[bytes], name: str, progress: Progress, most: int, total: int = 0) -> str:
        """Write a file with an unknown hash. Return the file's path, which ends with the hash.

        ``total`` is the size for progress reports, or 0 if it is unknown.
        """
        with Output(self.path, private=True) as output:
            for piece in pieces:
                output.write(piece)
                progress(0, output.size, name, total)
                if output.size > most:
                    raise InputError(f"'{name}' has more than {most >> 20} MiB")
            path = os.path.join(self.path, output.sha256.hexdigest())
            output.publish(path, replace=True)
        return path

    def _open_part(self, path: str, until: float) -> int | None:
        """Open and lock an incomplete file. Wait while another process writes the file.

        Return None if this lasts until the time ``until`` of the monotonic clock.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            try:
                fd = os.open(path, flags, 0o600)
            except OSError as error:
                raise WriteError(f"can't write '{printable(path)}': {reason(error)}") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                if time.monotonic() >= until:
                    return None
                time.sleep(_POLL)
                continue
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                    return fd
            os.close(fd)  # another process has renamed or removed the file, so open it again


def expected_size(size: int, url: str, most: int) -> int:
    """Return the size that a catalog announces for a file, or ``most`` if the catalog announces no size.

    Raises LimitError if the size is above ``most``.
    """
    if size > most:
        raise LimitError(f"the catalog announces {size} bytes for '{url}', more than the limit of {most}")
    return size or most


def private_directory(path: str) -> None:
    """Create a directory for this user. Raises RefusedError if another user could write to it."""
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        found = os.stat(path)
    except OSError as error:
        raise WriteError(f"can't create '{printable(path)}': {reason(error)}") from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise RefusedError(
            f"another user can write to '{printable(path)}'", hint="set XDG_DATA_HOME to another directory"
        )


def _digest(fd: int, *digests: hashlib._Hash) -> None:
    """Update the hash objects with the remaining bytes of a file."""
    while piece := os.read(fd, _PIECE):
        for digest in digests:
            digest.update(piece)


def _append(
    fd: int,
    digests: Sequence[hashlib._Hash],
    size: int,
    pieces: Iterator[bytes],
    progress: Callable[[int], None],
) -> None:
    """Append pieces to a file and update the hash objects, while more pieces arrive."""
    first, *others = digests
    with DirectWrites(fd, size, others) as written:
        for piece in pieces:
            # This thread updates the first hash object, because the piece is still in the processor's cache.
            first.update(piece)
            written.append(piece)
            size += len(piece)
            progress(size)


class DirectWrites:
    """A writer that appends to an open file in separate threads, which also update the ``digests``.

    The file's offset must be ``start``, the size of the file.
    """

    def __init__(self, fd: int, start: int, digests: Sequence[hashlib._Hash] = ()) -> None:
        self._fd, self._position, self._advised = fd, start, start
        self._flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        self._direct, self._can_be_direct = False, True
        self._has_failed = False
        # the address of each block is a multiple of the page size
        self._blocks = deque(memoryview(mmap.mmap(-1, _BLOCK)) for _ in range(_BLOCKS))
        # After a start in the middle of a block, the first write ends where the next block begins.
        self._filled, self._end = 0, _BLOCK - start % _BLOCK
        tasks = [*(digest.update for digest in digests), self._write]
        self._threads = [(ThreadPoolExecutor(1), task) for task in tasks]
        self._used: deque[list[Future[None]]] = deque()

    def __enter__(self) -> DirectWrites:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._hand_over()
            while kind is None and self._used:
                self._wait()
        finally:
            for thread, _ in self._threads:
                thread.shutdown()
            self._set_direct(False)

    def append(self, piece: bytes) -> None:
        """Append bytes. Raises OSError if this or an earlier write fails."""
        view = memoryview(piece)
        while view:
            taken = view[: self._end - self._filled]
            self._blocks[0][self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            if self._filled == self._end:
                self._hand_over()
            view = view[len(taken) :]

    def _hand_over(self) -> None:
        """Pass the filled block to the threads that hash and write it. Wait until the next block is free."""
        block = self._blocks[0][: self._filled]
        self._used.append([thread.submit(task, block) for thread, task in self._threads])
        self._blocks.rotate(-1)
        self._filled, self._end = 0, _BLOCK
        if len(self._used) == _BLOCKS:
            self._wait()

    def _wait(self) -> None:
        for future in self._used.popleft():
            future.result()

    def _write(self, block: memoryview) -> None:
        if self._has_failed:
            return  # the file would have a gap
        self._has_failed = True
        while block:
            # For a download of a gigabyte, the page cache would cost as much processor time as the hash. The
            # download would also displace the data of other programs from the page cache.
            self._set_direct(self._can_be_direct and not (self._position | len(block)) % _ALIGNED)
            try:
                size = os.write(self._fd, block)
            except OSError as error:
                if not self._direct or error.errno != errno.EINVAL:
                    raise
                self._can_be_direct = False  # the file system wants another alignment
                continue
            self._position += size
            block = block[size:]
        self._has_failed = False
        if self._position - self._advised >= _ADVISED:
            # Because of this advice, the kernel begins to write the pages of the file. Pages that are not
            # written yet stay in memory.
            os.posix_fadvise(self._fd, self._advised, self._position - self._advised, os.POSIX_FADV_DONTNEED)
            self._advised = self._position

    def _set_direct(self, direct: bool) -> None:
        if direct != self._direct:
            try:
                fcntl.fcntl(self._fd, fcntl.F_SETFL, self._flags | (os.O_DIRECT if direct else 0))
            except OSError:  # raised by file systems without direct writes
                self._can_be_direct = False
            else:
                self._direct = direct
