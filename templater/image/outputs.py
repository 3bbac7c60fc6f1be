"""Files that appear whole under their final name, or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from ..errors import UsageError, WriteError

if TYPE_CHECKING:
    from types import TracebackType


class Output:
    """A file being written that has no name yet: an interrupted run leaves nothing behind.

    Where the file system has no nameless files it is hidden beside its place and removed on every
    way out but a kill. ``sha256`` follows what is written.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory or "."
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._hidden = ""
        self.fd = self._open()

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        if self._hidden:
            os.unlink(self._hidden)

    def write(self, data: bytes) -> None:
        self.sha256.update(data)
        self.size += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError as error:
            raise self._failed("be written", error) from error

    @property
    def path(self) -> str:
        """A path by which another program can write the file while it has no name."""
        return self._hidden or f"/proc/self/fd/{self.fd}"

    def publish(self, path: str, *, replace: bool = False, mode: int | None = None) -> None:
        """Give the file its name, once its bytes are on the disk; UsageError if the name is taken."""
        try:
            if mode is not None:
                os.fchmod(self.fd, mode)
            os.fsync(self.fd)
            if replace:
                os.replace(self._named(), path)
                self._hidden = ""
            else:
                self._link(path)
        except FileExistsError:
            raise UsageError(f"'{path}' exists", hint="--reuse replaces it") from None
        except OSError as error:
            raise self._failed("get its name", error) from error

    def _open(self) -> int:
        try:
            if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
                return os.open(self.directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError:
            pass  # overlays and network file systems can't: hide it instead
        hidden = self._hide()
        try:
            fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise self._failed("be made", error) from error
        self._hidden = hidden
        return fd

    def _hide(self) -> str:
        return os.path.join(self.directory, f".templater-{secrets.token_hex(8)}")

    def _link(self, path: str) -> None:
        if self._hidden:
            os.link(self._hidden, path)
            return
        directory, name = os.path.split(path)
        parent = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # only with a descriptor does os.link use linkat, which alone follows the link in /proc
            os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=parent, follow_symlinks=True)
        finally:
            os.close(parent)

    def _named(self) -> str:
        """A name to rename from."""
        if not self._hidden:
            hidden = self._hide()
            self._link(hidden)
            self._hidden = hidden
        return self._hidden

    def _failed(self, what: str, error: OSError) -> WriteError:
        words = (error.strerror or str(error)).lower()
        return WriteError(f"a file in '{self.directory}' can't {what}: {words}")
