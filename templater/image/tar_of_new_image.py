"""The tar stream of a new image: its members are written with progress, and with a limit on the bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..model.errors import LimitError
from ..model.progress import Progress
from .atomic_output import Output
from .compress import Write
from .directory_members import Data
from .limits import MIB
from .read_whole_image import Contents
from .tar_reader import Member
from .tar_writer import Format, TarWriter


def bounded_writer(write: Write, contents: Contents, output: Output, *, holes: bool = False) -> Write:
    """Return a function that calls ``write``, and raises LimitError if a small image file becomes huge.

    If ``holes`` is true, the output has zeros in place of holes, and the limit is ``--limit ratio``.
    """
    written = 0

    def bounded(data: bytes) -> None:
        nonlocal written
        written += len(data)
        if contents.packed_size and written > _most_written(contents, holes=holes):
            raise LimitError(
                f"'{contents.name}' has {contents.packed_size} bytes ({contents.bytes_read} bytes when"
                f" decompressed), so the new image may not have {written} bytes",
                hint="the image has huge sparse files; if you trust it, unpack it and build a new image",
            )
        protect(contents, output)  # the file can have a hidden name already
        write(data)

    return bounded


def _most_written(contents: Contents, *, holes: bool) -> int:
    limits = contents.limits
    if holes:
        return max(limits.ratio_from, contents.packed_size * limits.ratio)
    # Headers can become eight times as long in another tar format.
    # The parts are not in ``bytes_read``; ``templates_bytes`` limits them.
    return 8 * contents.bytes_read + limits.templates_bytes + MIB


def protect(contents: Contents, *outputs: Output) -> None:
    """Make the new image private if its contents may include a private file of root or of this user."""
    for output in outputs if contents.has_secrets else ():
        os.fchmod(output.fd, 0o600)


def write_tar(
    write: Write,
    format: Format,
    contents: Contents,
    members: Iterator[tuple[Member, Data]],
    progress: Progress,
) -> int:
    writer = TarWriter(write, format, contents.limits.header_bytes)
    count = 0
    for member, data in members:
        count += 1
        writer.add(member, _reported(data, count, member.name, writer, progress))
        progress(count, writer.position, member.name)
    writer.close()
    return count


def _reported(data: Data, count: int, name: str, writer: TarWriter, progress: Progress) -> Data:
    """Yield the pieces of a file, and report the position in the archive after each piece."""
    for piece in data:
        yield piece
        progress(count, writer.position, name)
