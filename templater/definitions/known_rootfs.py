"""The known state of a build's root filesystem, before and after each entry of ``files``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.errors import InputError
from ..model.unprintable_characters import printable
from ..planning.follow_links import clean, resolve

if TYPE_CHECKING:
    from ..model.entry import RootfsView

#: the content of /etc/hosts that a build is assumed to have
HOSTS = "127.0.0.1\tlocalhost\n"
MAX_FILE = 1 << 20


class KnownRootfs:
    """The root filesystem of a build, as changed by the entries of ``files`` that have run so far.

    * ``assume``: without ``view``, whether all paths exist at first, or none
    * ``assumed``: the paths with assumed existence or content
    """

    def __init__(self, view: RootfsView | None = None, *, assume: bool = True) -> None:
        self.view = view
        self.assume = assume
        self.assumed: dict[str, None] = {}
        #: the content of each written file, or None for unknown content
        self.written: dict[str, str | None] = {}
        #: the mode of each written file whose entry names a mode
        self.modes: dict[str, int] = {}
        self.removed: set[str] = set()

    def write(self, path: str, content: str | None, mode: str = "") -> None:
        path = clean(path)
        self.written[path] = content
        if mode:
            self.modes[path] = int(mode, 8) & 0o777

    def remove(self, path: str) -> None:
        path = clean(path)
        self.removed.add(path)
        for name in [each for each in self.written if f"{each}/".startswith(f"{path}/")]:
            del self.written[name]
            self.modes.pop(name, None)

    def exists(self, path: str) -> bool:
        """Return whether a path exists. A dangling symlink counts as existing."""
        path = clean(path)
        if any(f"{name}/".startswith(f"{path}/") for name in self.written):
            return True
        if any(f"{path}/".startswith(f"{name}/") for name in self.removed):
            return False
        if self.view is not None:
            return resolve(self.view, path).named is not None
        if self.assume:
            self.assumed[path] = None
        return self.assume

    def read(self, path: str) -> str:
        """Return the content of a file that exists. Raises InputError if it can't be read."""
        path = clean(path)
        content = self.written.get(path)
        if content is not None:
            return content
        if path in self.written or self.view is None:
            self.assumed[path] = None
            return HOSTS
        found = resolve(self.view, path)
        if found.error is not None:
            raise found.error
        if found.entry is None or found.entry.kind != "file":
            kind = "dangling symlink" if found.entry is None else found.entry.kind
            raise InputError(f"'{printable(path)}' is a {kind} in the root filesystem, so the build fails")
        return self.view.read(found.real, MAX_FILE).decode("utf-8", "surrogateescape")
