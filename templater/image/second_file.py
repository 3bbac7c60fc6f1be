"""The second file of a split image: its root filesystem, in a tarball or in squashfs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..model.errors import InputError, LimitError, UsageError
from ..model.file_names import METADATA, ROOTFS
from ..parsing.file_kind import SQUASHFS
from ..sandbox import unpacker_process
from .limits import DEFAULT, Limits
from .open_file import OpenFile, data_bytes, kind_of_file, opened
from .sqfs2tar import Sqfs2tarOutput, sqfs2tar_for
from .tar_reader import Archive, open_archive


class SecondFileCheck:
    """A check that refuses a complete image as the second file of a split image.

    A complete image has both metadata.yaml and rootfs at its top.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._missing = {METADATA, ROOTFS}

    def add(self, name: str) -> None:
        self._missing.discard(name.partition("/")[0])

    def finish(self) -> None:
        if not self._missing:
            raise UsageError(
                f"'{self._path}' is a complete image, not the root filesystem of another image",
                hint="give only this image, or give the second file of the split image",
            )


@contextlib.contextmanager
def open_rootfs(path: str, limits: Limits = DEFAULT) -> Iterator[Archive]:
    """Open the second file of a split image as an archive: a tarball, or squashfs through sqfs2tar."""
    with opened(path) as file:
        # The file is opened only once, so another user cannot give its readers different files.
        if kind_of_file(file) != SQUASHFS:
            archive = open_archive(file, limits)
            with archive.stream:
                yield archive
        else:
            with _open_squashfs(file, limits) as archive:
                yield archive


@contextlib.contextmanager
def _open_squashfs(file: OpenFile, limits: Limits) -> Iterator[Archive]:
    from .squashfs_directories import check_directories  # tarballs do not need this module

    with sqfs2tar_for(file, limits) as reader:
        sockets = check_directories(file, limits)
        try:
            with Sqfs2tarOutput(file, reader, limits, data_bytes(file)) as stream:
                yield Archive(stream, encodes=False, skipped=sockets)
            code = reader.wait()
        except BlockingIOError:
            silence = unpacker_process.IDLE_SECONDS
            raise LimitError(f"'{file}': sqfs2tar was stopped after {silence} s without output") from None
        except InputError as error:
            raise (reader.error(file, "sqfs2tar") if reader.failed() else error) from error
        if code:
            raise reader.error(file, "sqfs2tar")
