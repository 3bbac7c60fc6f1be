"""What an image's archive may hold, member by member; the same judge for every reader."""

from __future__ import annotations

from ..model.entry import DIRECTORY
from ..model.errors import InputError, LimitError, RefusedError
from ..model.source import printable
from .archive import Member, clean_name
from .names import METADATA, ROOTFS, TEMPLATES, refuse_kind

_MOST_OUTSIDE = 100_000


class Layout:
    """Sees the members of one archive in order and refuses what no image should hold.

    A second member of a name outside ``rootfs/`` is refused where it comes: the daemons keep the
    last one, and whoever looked at the first was lied to (CVE-2026-48749, -48752, -63343).
    """

    def __init__(self, image: str) -> None:
        self.image = image
        self.kinds: dict[str, str] = {}
        self._prefixes: set[str] = set()

    def see(self, member: Member) -> str:
        """The member's cleaned name; empty for the top itself."""
        name = clean_name(member)
        top, _, rest = name.partition("/")
        if top == ROOTFS:
            if rest:
                self.kinds[ROOTFS] = DIRECTORY
            else:
                self._see_rootfs(member)
        elif name:
            self._see_outside(member, name, top, rest)
        return name

    @property
    def has_rootfs(self) -> bool:
        return ROOTFS in self.kinds

    def no_metadata(self) -> InputError:
        """Why there is none, as far as what was seen tells."""
        if self._prefixes:
            prefix = printable(sorted(self._prefixes)[0])
            return InputError(
                f"'{self.image}' has no metadata.yaml at its top, but one in '{prefix}/'",
                hint=f"the daemons don't find it there either; pack it again with tar -C {prefix}",
            )
        if {"etc", "bin", "usr"} & {name.partition("/")[0] for name in self.kinds}:
            return InputError(
                f"'{self.image}' has no metadata.yaml: it looks like a root filesystem",
                hint="of a split image, give the metadata tarball",
            )
        return InputError(f"'{self.image}' has no metadata.yaml: it is no image")

    def _see_rootfs(self, member: Member) -> None:
        if member.kind != DIRECTORY:
            raise RefusedError(f"'{self.image}': 'rootfs' is a {member.kind}, not a directory")
        self.kinds[ROOTFS] = DIRECTORY

    def _see_outside(self, member: Member, name: str, top: str, rest: str) -> None:
        if "\\" in name and top != TEMPLATES:
            raise RefusedError(f"'{self.image}': the name '{printable(name)}' contains a backslash")
        before = self.kinds.get(name)
        if before is not None and not before == member.kind == DIRECTORY:
            raise RefusedError(
                f"'{self.image}' holds '{printable(name)}' twice: first a {before}, then a {member.kind}",
                hint="the daemons would keep the last one; pack the image again",
            )
        self.kinds[name] = member.kind
        if name == METADATA:
            refuse_kind(member.kind, METADATA, self.image)
        elif name == TEMPLATES and member.kind != DIRECTORY:
            raise RefusedError(f"'{self.image}': 'templates' is a {member.kind}, not a directory")
        elif rest == METADATA:
            self._prefixes.add(top)
        if len(self.kinds) > _MOST_OUTSIDE:
            if METADATA not in self.kinds:
                raise self.no_metadata()
            raise LimitError(f"'{self.image}' has more than {_MOST_OUTSIDE} members outside 'rootfs'")
