"""Checks of members outside ``rootfs/``. Every reader of an image archive applies these checks."""

from __future__ import annotations

from ..model.entry import DIRECTORY, FILE
from ..model.errors import InputError, LimitError, RefusedError
from ..model.file_names import METADATA, ROOTFS, TEMPLATES
from ..model.unprintable_characters import printable
from .limits import DEFAULT, HeldBytes, Limits, memory_of
from .name_checks import clean_name, refuse_kind
from .tar_reader import Member

_MOST_OUTSIDE = 100_000


class Layout:
    """A check of the members of one archive, in order.

    It refuses a second member of the same name outside ``rootfs/``. The daemons use the last member, but
    other readers could use the first member (CVE-2026-48749, -48752, -63343).
    """

    def __init__(self, image: str, limits: Limits = DEFAULT) -> None:
        self.image = image
        self._held = HeldBytes(image, limits)
        self.kinds: dict[str, str] = {}
        self._prefixes: set[str] = set()

    def check(self, member: Member) -> str:
        """Return the member's cleaned name, or "" for the top directory.

        Raises RefusedError for a forbidden member, and LimitError for too many members.
        """
        name = clean_name(member)
        top, _, rest = name.partition("/")
        if top == ROOTFS:
            if rest:
                self.kinds[ROOTFS] = DIRECTORY
            else:
                self._check_rootfs(member)
        elif name:
            self._check_outside(member, name, top, rest)
        return name

    @property
    def has_rootfs(self) -> bool:
        return ROOTFS in self.kinds

    def no_metadata(self) -> InputError:
        """Return the error for an image without metadata.yaml.

        The hint of the error depends on the members that were already read.
        """
        if self._prefixes:
            prefix = printable(sorted(self._prefixes)[0])
            return InputError(
                f"'{self.image}' has no metadata.yaml at its top, only in '{prefix}/'",
                hint="the daemons look for metadata.yaml only at the top;"
                f" pack the image again with tar -C {prefix}",
            )
        if {"etc", "bin", "usr"} & {name.partition("/")[0] for name in self.kinds}:
            return InputError(
                f"'{self.image}' has no metadata.yaml: it looks like a root filesystem",
                hint="for a split image, give the metadata tarball first",
            )
        return InputError(f"'{self.image}' has no metadata.yaml: it is not an image")

    def _check_rootfs(self, member: Member) -> None:
        if member.kind != DIRECTORY:
            raise RefusedError(f"'{self.image}': 'rootfs' is a {member.kind}, not a directory")
        self.kinds[ROOTFS] = DIRECTORY

    def _check_outside(self, member: Member, name: str, top: str, rest: str) -> None:
        if "\\" in name and top != TEMPLATES:
            raise RefusedError(f"'{self.image}': the name '{printable(name)}' contains a backslash")
        before = self.kinds.get(name)
        if before is not None and not before == member.kind == DIRECTORY:
            raise RefusedError(
                f"'{self.image}' contains '{printable(name)}' twice: first a {before}, then a {member.kind}",
                hint="the daemons would use the last member of this name; pack the image again",
            )
        if before is None:
            self._held.add(memory_of(name))
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


def refuse_special(member: Member, image: str) -> None:
    """Refuse a member outside the root filesystem that is neither a file nor a directory.

    Also refuse directories below ``templates``.
    """
    if member.kind not in (FILE, DIRECTORY):
        raise RefusedError(f"'{image}': '{printable(member.name)}' is a {member.kind}, not a regular file")
    top, _, rest = member.name.partition("/")
    if top == TEMPLATES and rest and (member.kind == DIRECTORY or "/" in rest):
        what = "is" if member.kind == DIRECTORY else "is in"
        raise RefusedError(
            f"'{image}': '{printable(member.name)}' {what} a directory below 'templates'",
            hint="put all templates directly into 'templates': the daemons ignore subdirectories",
        )
