"""The folder of an image's tests.

No file outside of the folder is read or written, and no link is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from ..definitions.is_definition import is_certainly_definition, is_definition
from ..model.entry import DIRECTORY, FILE
from ..model.errors import InputError, LimitError, RefusedError
from ..model.file_names import METADATA, TESTS
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..rootfs.confined_root import Root
from ..rootfs.directory_rootfs import open_root
from ..rootfs.paths import MissingError
from ..rootfs.regular_files import write_descriptor
from ..rootfs.system_calls import write_error

if TYPE_CHECKING:
    from ..rootfs.confined_without_descriptors import ByName

#: the folder of recorded files, below the folder of tests
SNAPSHOTS = "snapshots"
#: the end of the name of a recorded file
SNAPSHOT = ".txt"
#: the maximum number of test files, the maximum bytes of one test file or description, and the maximum bytes
#: of all of them together
MAX_FILES = 500
MAX_FILE = 1 << 20
MAX_TOTAL = 16 << 20
#: maximum size of a snapshot in bytes: the same as the limit on a template's output
MAX_SNAPSHOT = 8 << 20
#: maximum number of names below ``snapshots/`` that are listed
MAX_SNAPSHOTS = 20_000


class NoTestsError(InputError):
    """The error for an image without a folder of tests."""


class Folder:
    """The folder of tests at ``path``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._total = 0

    def files(self) -> Iterator[Source]:
        """Yield the test files, sorted by name. Raises InputError if the folder has no test file."""
        with self._opened() as top:
            names = [name for name in top.listdir("/") if name.endswith((".yaml", ".yml")) and name[0] != "."]
        if not names:
            raise InputError(
                f"'{printable(self.path)}' has no test file", hint="the names of test files end in .yaml"
            )
        if len(names) > MAX_FILES:
            raise LimitError(f"'{printable(self.path)}' has more than {MAX_FILES} test files")
        for name in names:
            yield self.read(name)

    def read(self, name: str) -> Source:
        """Read a test file, or a file to which a test file refers.

        Raises RefusedError for a path that leaves the folder.
        """
        data = self._read(name, MAX_FILE)
        self._total += len(data)
        if self._total > MAX_TOTAL:
            raise LimitError(f"the files in '{printable(self.path)}' have more than {MAX_TOTAL >> 20} MiB")
        return Source(os.path.join(self.path, name), data)

    def snapshot(self, name: str) -> bytes | None:
        """Return the content of a snapshot, or None if it is missing."""
        try:
            return self._read(name, MAX_SNAPSHOT)
        except MissingError:
            return None

    def snapshots(self) -> tuple[str, ...]:
        """Return the names of the snapshots, sorted."""
        found: list[str] = []
        waiting = [f"/{SNAPSHOTS}"]
        with self._opened() as top:
            while waiting:
                place = waiting.pop()
                entry = top.entry(place)
                if entry is not None and entry.kind == DIRECTORY:
                    waiting += [f"{place}/{name}" for name in top.listdir(place)]
                elif entry is not None and entry.kind == FILE and place.endswith(SNAPSHOT):
                    found.append(place[1:])
                if len(found) + len(waiting) > MAX_SNAPSHOTS:
                    raise LimitError(f"'{printable(self.path)}' has more than {MAX_SNAPSHOTS} snapshots")
        return tuple(sorted(found))

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Write snapshots, each atomically. Remove a snapshot whose content is None."""
        with self._opened() as top:
            if not isinstance(top, Root):
                raise RefusedError("snapshots can't be written on this system")
            for name, data in changes.items():
                self._write(top, name, data)

    def _write(self, top: Root, name: str, data: bytes | None) -> None:
        *parents, last = name.split("/")
        try:
            place = ""
            for parent in parents:
                with top.directory(place or "/") as above:
                    if above.entry(parent) is None:
                        above.mkdir(parent)
                place += f"/{parent}"
            with top.directory(place or "/") as directory:
                entry = directory.entry(last)
                if entry is not None and entry.kind != FILE:
                    raise RefusedError(
                        f"'{printable(os.path.join(self.path, name))}' is a {entry.kind}, not a regular file"
                    )
                if data is None:
                    directory.unlink(last)
                    return
                staged = f".templater-new-{os.urandom(8).hex()}"
                fd = directory.create(staged, 0o644)
                try:
                    write_descriptor(fd, data)
                    directory.rename(staged, directory, last)
                except OSError:
                    with suppress(OSError):
                        directory.unlink_if_same(staged, fd)
                    raise
                finally:
                    os.close(fd)
        except OSError as error:
            raise write_error("write", os.path.join(self.path, name), error) from error

    def _read(self, name: str, limit: int) -> bytes:
        if name.startswith("/") or ".." in name.split("/"):
            raise RefusedError(
                f"'{printable(name)}' leads out of the folder of tests",
                hint=f"copy the file to a subfolder of '{printable(self.path)}', and use the new path",
            )
        with self._opened() as top:
            path = "/" + "/".join(part for part in name.split("/") if part not in ("", "."))
            return top.read(path, limit, public=True)

    def _opened(self) -> Root | ByName:
        top = open_root(self.path)
        if isinstance(top, Root):
            top.named = True
        return top


def folder_of(source: str) -> str:
    """Return the folder of an image's tests.

    Raises InputError if the folder does not exist, and UsageError if the image is an archive.
    """
    from ..model.errors import UsageError

    if os.path.isdir(source):
        found = os.path.join(source, TESTS)
    elif is_definition(source):
        beside = os.path.join(os.path.dirname(source), TESTS)
        own = os.path.join(beside, os.path.basename(source).rpartition(".")[0])
        found = own if os.path.isdir(own) else beside
    else:
        raise UsageError(
            f"'{printable(source)}' is an archive, which contains no tests",
            hint="give the folder of the tests with --tests DIR",
        )
    if os.path.islink(found):
        raise RefusedError(f"'{printable(found)}' is a symlink, not a directory")
    if not os.path.isdir(found):
        raise NoTestsError(
            f"'{printable(source)}' has no tests: '{printable(found)}' does not exist",
            hint="docs/testing.md shows a first test",
        )
    return found


def source_of(file: str) -> str | None:
    """Return the image or definition to which a test file belongs, or None if ``file`` is not a test file."""
    folder = os.path.dirname(os.path.abspath(file))
    above, name = os.path.split(folder)
    if name == TESTS:
        if os.path.isfile(os.path.join(above, METADATA)):
            return above
        beside = [
            os.path.join(above, each)
            for each in sorted(os.listdir(above))
            if each.endswith((".yaml", ".yml"))
        ]
        definitions = [path for path in beside if is_certainly_definition(path)]
        return definitions[0] if len(definitions) == 1 else None
    beside_tests, tests = os.path.split(above)
    if tests != TESTS:
        return None
    paths = [os.path.join(beside_tests, name + ending) for ending in (".yaml", ".yml")]
    return next((path for path in paths if os.path.isfile(path) and is_certainly_definition(path)), None)
