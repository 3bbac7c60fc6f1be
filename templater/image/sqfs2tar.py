"""The program sqfs2tar, which converts a squashfs file to an archive, and its limits."""

from __future__ import annotations

from ..model.errors import InputError, LimitError
from ..parsing.file_kind import SQUASHFS, recognise
from ..sandbox import unpacker_process
from ..sandbox.child import Bounds
from .decompress import ByteStream
from .limits import (
    DEFAULT,
    SQUASHFS_BYTES_PER_SECOND,
    SQUASHFS_MEMORY,
    SQUASHFS_NAME,
    SQUASHFS_SECONDS,
    Limits,
)
from .open_file import OpenFile, data_bytes, reading, size_of

#: limit on the processor time of sqfs2tar for any file: an hour is enough for terabytes
_MOST_SECONDS = 3600
#: sizes in bytes of the superblock, and of the padding that a tool may add
_SQUASHFS_HEAD, _SQUASHFS_PADDING = 96, 1 << 20


class Sqfs2tarOutput(ByteStream):
    """The output of sqfs2tar, with a limit on the processor time of sqfs2tar.

    The limit grows with the output, until the output is as large as the squashfs file.
    """

    def __init__(self, path: str, reader: unpacker_process.Program, limits: Limits, data_size: int) -> None:
        """Read the output of the program ``reader``.

        ``data_size`` is the size of the squashfs file without its holes.
        """
        self._reader, self._data_size = reader, data_size
        super().__init__(path, reader.output, limits, unpacked_from=data_size, owns=False)

    def _check_size(self, size: int) -> None:
        super()._check_size(size)
        # sqfs2tar searches all names for hard links in quadratic time. A hostile file of a few bytes can have
        # any number of names, because several directories can share an inode.
        most = SQUASHFS_SECONDS + min(self._unpacked, self._data_size) / SQUASHFS_BYTES_PER_SECOND
        if self._reader.processor_seconds() > most:
            raise LimitError(
                f"'{self.path}': sqfs2tar used more than {most:.0f} s of processor time and was stopped "
                f"(the limit is {SQUASHFS_SECONDS} s plus one second for each MiB of the file)"
            )


def sqfs2tar_for(file: OpenFile, limits: Limits) -> unpacker_process.Program:
    """Return the running program that reads a squashfs file.

    Start the program, unless it was started when the file was opened.
    """
    return file.program or start_sqfs2tar(file, limits)


def start_sqfs2tar(file: OpenFile, limits: Limits = DEFAULT) -> unpacker_process.Program:
    """Start the program that reads a squashfs file. Raise InputError if it is not installed.

    The program skips sockets, because a tar archive can't contain sockets.
    """
    seconds = SQUASHFS_SECONDS + data_bytes(file) // SQUASHFS_BYTES_PER_SECOND + 1
    # The program keeps all names in memory.
    bounds = Bounds(cpu=min(seconds, _MOST_SECONDS), memory=SQUASHFS_MEMORY + limits.members * SQUASHFS_NAME)
    try:
        command = ["sqfs2tar", "--root-becomes", ".", unpacker_process.INPUT]
        return unpacker_process.start(command, file, file.fd, bounds, lambda: _content_end(file))
    except FileNotFoundError:
        raise InputError(
            f"reading the squashfs file '{file}' needs the program 'sqfs2tar'",
            hint="run: apt install squashfs-tools-ng",
        ) from None


def _content_end(path: str) -> int:
    """Return the offset in bytes at which a squashfs file's content ends.

    The result can be wrong if the file is damaged.
    """
    with reading(path) as file:
        return int.from_bytes(file.read(_SQUASHFS_HEAD)[40:48], "little")


def squashfs_end(path: str) -> int | None:
    """Return the end offset of a squashfs file's content, or None if no data except padding comes later.

    Padding is at most 1 MiB of zeros. Tools ignore all later data.
    """
    with reading(path) as file:
        head = file.read(_SQUASHFS_HEAD)
        if recognise(head) != SQUASHFS or len(head) < _SQUASHFS_HEAD:
            return None
        end = int.from_bytes(head[40:48], "little")
        if size_of(path) <= end:
            return None
        file.seek(end)
        padding = file.read(_SQUASHFS_PADDING)
    return end if any(padding) or size_of(path) - end > _SQUASHFS_PADDING else None
