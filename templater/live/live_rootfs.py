"""The files of a running or stopped instance, read over the API when they are first needed.

Incus 6.0.4 and LXD 5.0.2 give some misleading answers:

* A fifo, a device and a file of /proc look like an empty file. A GET of a fifo never ends. So templater does
  not fetch a file of length 0.
* LXD 5.0 does not tell the length of a file before the GET. If a GET is not answered in time, templater
  fetches no more files of this instance.
* The target of a symlink is always an absolute path. ``relative_links`` tells whether templater treats links
  as relative.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..model.entry import DIRECTORY, FILE, SYMLINK, Entry
from ..model.errors import InputError, LimitError
from ..model.unprintable_characters import printable
from ..rootfs.memory_rootfs import MemoryRootfs, _Node
from .address import Address, escaped
from .rest_client import MIB, Answer, Client, HangError

#: limit in bytes on one file, and on all files of an instance that are kept in memory
MOST_FILE, MOST_FILES = 16 * MIB, 64 * MIB
#: maximum number of path lookups in one instance; each lookup is one HEAD request
MOST_NAMES = 5_000
#: maximum seconds for the content of a file; reading a fifo can block forever
FILE_TIMEOUT = 5.0
_LONGEST_TARGET, _MOST_LIST = 4096, 4 * MIB
_KINDS = {"file": FILE, "directory": DIRECTORY, "symlink": SYMLINK}


class UnreadableError(InputError):
    """The error for a file that the daemon does not show. The message has the daemon's reason."""


@dataclass(slots=True)
class _Reader:
    """A reader that requests the files of one instance from the daemon."""

    client: Client
    address: Address
    #: the absolute target of each symlink that was found
    links: dict[str, str] = field(default_factory=dict)
    #: paths that look like empty files, but can be special files
    empty: set[str] = field(default_factory=set)
    #: whether the daemon answered that a path is missing, which can also mean that the instance is missing
    missed: bool = False
    #: the file that the daemon did not send in time, or empty; afterwards templater fetches no file
    hung: str = ""
    names: int = 0
    held: int = 0

    def url(self, path: str) -> str:
        query = self.address.query()
        return (
            f"/1.0/instances/{escaped(self.address.name)}/files{query}{'&' if query else '?'}path="
            f"{escaped(path)}"
        )

    def entry(self, path: str) -> Entry | None:
        """Return the attributes of a path from a HEAD request, or None if the path is missing.

        ``size`` is -1 if the length is unknown.
        """
        self.names += 1
        if self.names > MOST_NAMES:
            raise LimitError(f"the rules need more than {MOST_NAMES} requests for files")
        answer = self.client.head(self.url(path))
        if answer.status == 404:
            self.missed = True
            return None
        if answer.status != 200:
            raise self.refused(path, answer)
        kind = _KINDS.get(self.header(answer, "type"))
        if kind is None:
            raise UnreadableError(f"{self.client.name} does not give the type of '{printable(path)}'")
        try:
            uid, gid = int(self.header(answer, "uid")), int(self.header(answer, "gid"))
            mode = int(self.header(answer, "mode"), 8) & 0o7777
            size = int(answer.headers.get("content-length", "-1")) if kind == FILE else 0
        except ValueError:
            raise UnreadableError(
                f"{self.client.name} sent invalid attributes of '{printable(path)}'"
            ) from None
        if kind == FILE and size == 0:
            self.empty.add(path)
        return Entry(kind, mode, uid, gid, size, target=self.target(path) if kind == SYMLINK else "")

    def header(self, answer: Answer, name: str) -> str:
        prefix = "x-lxd-" if f"x-lxd-{name}" in answer.headers else "x-incus-"
        return answer.headers.get(prefix + name, "")

    def target(self, path: str) -> str:
        answer = self.client.get(self.url(path), _LONGEST_TARGET, FILE_TIMEOUT)
        if answer.status != 200 or self.header(answer, "type") != "symlink":
            raise self.refused(path, answer)
        self.links[path] = target = answer.body.decode("utf-8", "surrogateescape")
        return target

    def content(self, path: str, size: int) -> bytes:
        if size == 0:
            return b""
        if self.hung:
            raise self.not_fetched(path)
        if size > MOST_FILE or self.held + max(size, 0) > MOST_FILES:
            raise LimitError(f"'{printable(path)}' is too large to compare")
        try:
            answer = self.client.get(self.url(path), min(MOST_FILE, MOST_FILES - self.held), FILE_TIMEOUT)
        except HangError:
            self.hung = path
            raise self.not_fetched(path) from None
        if answer.status != 200 or self.header(answer, "type") != "file":
            raise self.refused(path, answer)
        self.held += len(answer.body)
        if not answer.body:
            self.empty.add(path)
        return answer.body

    def names_in(self, path: str) -> list[str]:
        answer = self.client.get(self.url(path), _MOST_LIST, FILE_TIMEOUT)
        if answer.status != 200 or self.header(answer, "type") != "directory":
            raise self.refused(path, answer)
        try:
            names = json.loads(answer.body)["metadata"]
        except (ValueError, LookupError, TypeError, RecursionError):
            names = None
        if not isinstance(names, list):
            raise UnreadableError(f"{self.client.name} did not list '{printable(path)}'")
        return sorted(map(str, names))

    def not_fetched(self, path: str) -> UnreadableError:
        if path == self.hung:
            return UnreadableError(
                f"{self.client.name} did not send '{printable(path)}' within {FILE_TIMEOUT:g} seconds:"
                " it is probably a fifo or a device"
            )
        return UnreadableError(
            f"'{printable(path)}' was not fetched, because reading '{printable(self.hung)}' took too long"
        )

    def refused(self, path: str, answer: Answer) -> UnreadableError:
        if answer.status == 404:
            return UnreadableError(f"'{printable(path)}' vanished while it was read")
        if answer.status == 200:
            return UnreadableError(f"'{printable(path)}' changed while it was read")
        if not answer.body:  # an answer to a HEAD request has no body
            answer = self.client.get(self.url(path), _LONGEST_TARGET, FILE_TIMEOUT)
        return UnreadableError(f"can't read '{printable(path)}': {self.client.error(answer).text}")


class LiveRootfs(MemoryRootfs):
    """A writable copy of an instance's root filesystem. Nothing is ever written to the daemon."""

    def __init__(self, client: Client, address: Address, *, relative_links: bool = False) -> None:
        super().__init__()
        self.name = address.shown
        self._reader = _Reader(client, address)
        self._root = _Folder(Entry(DIRECTORY, 0o755), "", self._reader, relative_links)

    @property
    def links(self) -> dict[str, str]:
        """The symlinks that were found, with their targets as absolute paths."""
        return self._reader.links

    @property
    def empty(self) -> set[str]:
        """The paths of files without content. Each of them may in fact be a fifo or a device."""
        return self._reader.empty

    @property
    def missed(self) -> bool:
        """Whether the daemon has reported a missing path.

        The daemon gives the same answer if the whole instance is missing.
        """
        return self._reader.missed

    def with_relative_links(self) -> LiveRootfs:
        """Return a copy of the root filesystem that treats every symlink as relative.

        The copy does not request known entries again.
        """
        made = LiveRootfs(self._reader.client, self._reader.address)
        made._reader = self._reader
        root: Any = self._root
        made._root = root.respelled()
        return made

    def copy(self) -> LiveRootfs:
        made = LiveRootfs(self._reader.client, self._reader.address)
        made._reader = self._reader
        made._root = self._root.copy({})
        return made

    def listdir(self, path: str, *, most: int | None = None) -> list[str]:
        """Return the names in a directory. Raises UnreadableError if the daemon does not show the names."""
        # The parameter ``most`` is not needed, because the size of the daemon's answer is limited.
        return self._reader.names_in(path)

    def walk(self, path: str = "/") -> Iterator[tuple[str, Entry]]:
        raise UnreadableError("the files of a running instance can't be listed")

    def __repr__(self) -> str:
        return f"LiveRootfs({self.name!r})"


class _File(_Node):
    """A file whose content is fetched on first use."""

    __slots__ = ("_content", "path", "reader", "size")

    def __init__(self, entry: Entry, path: str, reader: _Reader) -> None:
        self._content: bytes | None = b""
        super().__init__(FILE, entry.mode, entry.uid, entry.gid)
        self._content = None
        self.size, self.path, self.reader = entry.size, path, reader

    @property
    def content(self) -> bytes:
        if self._content is None:
            self._content = self.reader.content(self.path, self.size)
            self.size = len(self._content)
        return self._content

    @content.setter
    def content(self, data: bytes) -> None:
        self._content = data

    def entry(self) -> Entry:
        size = max(self.size, 0) if self._content is None else len(self._content)
        return Entry(FILE, self.mode, self.uid, self.gid, size, self.nlink)

    def copy(self, seen: dict[int, _Node]) -> _Node:
        twin = seen.get(id(self))
        if twin is None:
            made = _File(self.entry(), self.path, self.reader)
            made.size, made._content = self.size, self._content
            twin = seen[id(self)] = made
        return twin


class _Names(dict[str, Any]):
    """The entries of a directory, by name. The first look-up of a name sends a request to the daemon."""

    # The object has no reference to its directory, because a cycle of references would keep files in memory
    # for a long time.

    def __init__(self, path: str, reader: _Reader, relative_links: bool) -> None:
        self.path, self.reader, self.relative_links = path, reader, relative_links
        #: names that need no request, because templater has requested or changed them
        self.known: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self._request(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self._request(str(name))
        return super().__contains__(name)

    def __setitem__(self, name: str, node: Any) -> None:
        self.known.add(name)
        super().__setitem__(name, node)

    def __getitem__(self, name: str) -> Any:
        self._request(name)
        return super().__getitem__(name)

    def _request(self, name: str) -> None:
        if name not in self.known:
            node = self._node(f"{self.path}/{name}")
            self.known.add(name)
            if node is not None:
                super().__setitem__(name, node)

    def _node(self, path: str) -> _Node | None:
        entry = self.reader.entry(path)
        if entry is None:
            return None
        if entry.kind == DIRECTORY:
            return _Folder(entry, path, self.reader, self.relative_links)
        if entry.kind == FILE:
            return _File(entry, path, self.reader)
        node = _Node(SYMLINK, entry.mode, entry.uid, entry.gid)
        node.target = self.spelled(entry.target)
        return node

    def spelled(self, target: str) -> str:
        """Return a link's target in the form that this root filesystem uses: absolute or relative."""
        # Linux does not allow an empty target, but a daemon can send one.
        return posixpath.relpath(target, self.path or "/") if target and self.relative_links else target


class _Folder(_Node):
    """A directory whose names are requested from the daemon one by one."""

    __slots__ = ()

    def __init__(self, entry: Entry, path: str, reader: _Reader, relative_links: bool) -> None:
        super().__init__(DIRECTORY, entry.mode, entry.uid, entry.gid)
        self.children = _Names(path, reader, relative_links)

    def copy(self, seen: dict[int, _Node]) -> _Node:
        twin = seen.get(id(self))
        if twin is None:
            names: Any = self.children
            twin = seen[id(self)] = self._copy(seen, names.relative_links)
        return twin

    def respelled(self) -> _Folder:
        """Return a copy of this directory. The copy treats every symlink as relative."""
        return self._copy({}, True)

    def _copy(self, seen: dict[int, _Node], relative_links: bool) -> _Folder:
        names: Any = self.children
        made = _Folder(self.entry(), names.path, names.reader, relative_links)
        twins: Any = made.children
        for name, node in names.items():
            if isinstance(node, _Folder):
                twin: _Node = node._copy(seen, relative_links)
            else:
                twin = node.copy(seen)
                path = f"{names.path}/{name}"
                if node.kind == SYMLINK and path in names.reader.links:
                    twin.target = twins.spelled(names.reader.links[path])
            twins[name] = twin
        twins.known = set(names.known)
        return made


def unreadable_reason(client: Client, address: Address) -> str:
    """Return why the daemon can't show the files of an instance, or "" if it can."""
    try:
        found = _Reader(client, address).entry("/")
    except InputError as error:
        return error.message.removeprefix("can't read '/': ")
    return "" if found is not None else "the instance has no files"
