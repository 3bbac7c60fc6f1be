"""A watcher that waits for changes of the files that a preview reads."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType

from watchdog.events import (
    EVENT_TYPE_CLOSED_NO_WRITE,
    EVENT_TYPE_OPENED,
    DirModifiedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from ..model.file_names import METADATA, SETTINGS, TEMPLATES

QUIET = 0.08  # one save by an editor causes several events
PATIENCE = 1.0  # continuous events must not delay the preview forever
CHECK = 0.5  # seconds between two checks whether a watched directory was replaced
REMEMBERED = 16

#: events that templater itself causes by reading
READS = (EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE)


def sources_of(src: str) -> tuple[list[str], list[str]]:
    """Return the files and directories that contain an image's metadata, templates and settings."""
    if not stat.S_ISDIR(os.stat(src).st_mode):
        return [src], []
    return [os.path.join(src, name) for name in (METADATA, SETTINGS)], [os.path.join(src, TEMPLATES)]


class Watch:
    """A context manager that watches files and all files in directories.

    A replaced directory is reported as a change, and the new directory is watched. Ctrl-C raises
    KeyboardInterrupt only in ``wait`` and in ``interruptible`` code.
    """

    def __init__(self, files: Iterable[str], folders: Iterable[str] = ()) -> None:
        self.files = {os.path.abspath(path) for path in files}
        self.files |= {os.path.realpath(path) for path in self.files}
        self.folders = {os.path.abspath(path) for path in folders}
        self._changed, self._note = os.pipe()
        os.set_blocking(self._changed, False)
        os.set_blocking(self._note, False)
        self._names: set[str] = set()
        self._lock = threading.Lock()
        self._last = 0.0
        self._observer = Observer()
        self._seen: dict[str, tuple[int, int] | None] = {}
        self._ended = self._interruptible = False

    def __enter__(self) -> Watch:
        self._handler = signal.getsignal(signal.SIGINT)
        if self._handler != signal.SIG_IGN:  # shell scripts ignore interrupts in background jobs
            signal.signal(signal.SIGINT, self._interrupt)
        self._observer.start()
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.stop()
        self._observer.join()
        signal.signal(signal.SIGINT, self._handler)
        os.close(self._changed)
        os.close(self._note)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._ended = True
        self._wake()
        # In other code, the exception could leave a lock of watchdog's threads in an undefined state, or be
        # lost in a callback.
        if self._interruptible:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C interrupt the code of a ``with`` block at once."""
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def wait(self, timeout: float | None = None) -> list[str]:
        """Wait for a burst of changes and return the changed names, or [] after ``timeout`` seconds.

        Raises KeyboardInterrupt after Ctrl-C.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self._readable(CHECK if end is None else max(0.0, min(CHECK, end - time.monotonic()))):
            if self._replaced():
                self.note("")
            elif end is not None and time.monotonic() >= end:
                return []
        first = time.monotonic()
        while not self._ended and time.monotonic() < min(self._last + QUIET, first + PATIENCE):
            time.sleep(QUIET / 4)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._changed, 4096):
                pass
        if self._ended:
            raise KeyboardInterrupt
        if self._replaced():
            self._look()
        names, self._names = self._names, set()
        return sorted(names) or ["(a directory)"]

    def follow(self, files: Iterable[str]) -> None:
        """Watch further files, which can be in directories that do not exist yet.

        Any thread may call this method.
        """
        with self._lock:
            new = {os.path.abspath(path) for path in files} - self.files
            if new:
                self.files = self.files | new
                self._observe(self._watched() - self._seen.keys())

    def concerns(self, path: str) -> bool:
        """Return whether a change of this file can affect the preview.

        For example, a change of an editor's swap file does not affect the preview.
        """
        name = os.path.basename(path)
        if path in self.files or path in self.folders:
            return True
        scratch = name.startswith((".", "#")) or name.endswith(("~", ".swp", ".swx")) or name == "4913"
        return os.path.dirname(path) in self.folders and not scratch

    def note(self, path: str) -> None:
        """Record a change of ``path``."""
        self._last = time.monotonic()
        if path and len(self._names) < REMEMBERED:
            self._names.add(path)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full of unread changes
            os.write(self._note, b".")

    def _readable(self, seconds: float) -> bool:
        poll = select.poll()  # select.select accepts no descriptor above 1,023
        poll.register(self._changed, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _watched(self) -> set[str]:
        """Return the directories to observe: watched directories, and the parents of all watched paths."""
        return self.folders | {os.path.dirname(path) for path in self.files | self.folders}

    def _look(self) -> None:
        """Observe the directories that are now at the watched paths."""
        with self._lock:
            self._observer.unschedule_all()
            self._observe(self._watched())

    def _observe(self, folders: Iterable[str]) -> None:
        handler = _Handler(self)
        seen = dict(self._seen)  # another thread may be reading the old descriptor
        for folder in folders:
            seen[folder] = identity(folder)
            if seen[folder] is not None:
                with contextlib.suppress(PermissionError):
                    self._observer.schedule(handler, folder)
        self._seen = seen

    def _replaced(self) -> bool:
        return any(identity(folder) != seen for folder, seen in self._seen.items())


class _Handler(FileSystemEventHandler):
    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.event_type in READS or isinstance(event, DirModifiedEvent):
            return  # these events also come from reads and from unrelated temporary files
        # An atomic save renames the new file over the old file, so the destination counts too.
        for path in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)):
            if path and self.watch.concerns(path):
                self.watch.note(path)


def identity(folder: str) -> tuple[int, int] | None:
    """Return the device and inode of the directory at a path, or None if it does not exist."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None
