"""An image as a tarball: unified, or the metadata tarball of a split image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..errors import InputError, LimitError, RefusedError
from ..source import Source, printable
from ..views import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from .archive import HARD_LINK, Archive, Member, clean_name
from .compression import open_stream
from .limits import DEFAULT, Limits
from .names import bad_template_name, refuse_kind

METADATA = "metadata.yaml"
TEMPLATES = "templates"
ROOTFS = "rootfs"


class TarballImage:
    """Reads forwards, once, and no further than it is asked.

    What was passed on the way is remembered, so metadata.yaml may come first, late or last. A second
    member of a name outside ``rootfs/`` is refused where it is seen: the daemons keep the last one,
    and whoever looked at the first was lied to. ``read_to_end`` sees them all.
    """

    def __init__(self, path: str, limits: Limits = DEFAULT) -> None:
        self.name = path
        self.limits = limits
        self.complete = False
        self._archive = Archive(open_stream(path, limits))
        self._metadata: Source | None = None
        self._templates: dict[str, TemplateFile] = {}
        self._kinds: dict[str, str] = {}
        self._prefixes: set[str] = set()
        self._template_bytes = 0
        self._steps = self._scan()

    @property
    def compression(self) -> str:
        return self._archive.stream.compression

    def close(self) -> None:
        self._archive.stream.close()

    def read_metadata(self) -> Source:
        while self._metadata is None and self._step():
            pass
        if self._metadata is None:
            raise self._no_metadata()
        return self._metadata

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        wanted = dict.fromkeys(names)
        answers = {name: bad for name in wanted if (bad := bad_template_name(name)) is not None}
        missing = [name for name in wanted if name not in answers]
        while any(name not in self._templates for name in missing) and self._step():
            pass
        return {name: answers.get(name) or self._templates.get(name) or TemplateFile() for name in wanted}

    def read_to_end(self) -> Mapping[str, TemplateFile]:
        """Everything in ``templates/``, after a look at every member: nothing is hidden behind it."""
        while self._step():
            pass
        if self._metadata is None:
            raise self._no_metadata()
        return dict(self._templates)

    def _step(self) -> bool:
        return next(self._steps, False)

    def _scan(self) -> Iterator[bool]:
        try:
            for member in self._archive:
                name = clean_name(member)
                top, _, rest = name.partition("/")
                if top == ROOTFS:
                    if not rest:
                        self._see_rootfs(member)
                elif name:
                    self._see(member, name, top, rest)
                yield True
            self._archive.finish()
            self.complete = True
        finally:
            self.close()

    def _see_rootfs(self, member: Member) -> None:
        if member.kind != DIRECTORY:
            raise RefusedError(f"'{self.name}': 'rootfs' is a {member.kind}, not a directory")
        self._kinds[ROOTFS] = DIRECTORY

    def _see(self, member: Member, name: str, top: str, rest: str) -> None:
        if "\\" in name and top not in (ROOTFS, TEMPLATES):
            raise RefusedError(f"'{self.name}': the name '{printable(name)}' contains a backslash")
        self._refuse_second(member, name)
        if name == METADATA:
            refuse_kind(member.kind, METADATA, self.name)
            data = self._archive.read(member, self.limits.metadata_bytes)
            self._metadata = Source(f"{self.name}/{METADATA}", data)
        elif name == TEMPLATES and member.kind != DIRECTORY:
            raise RefusedError(f"'{self.name}': 'templates' is a {member.kind}, not a directory")
        elif top == TEMPLATES and rest and "/" not in rest:
            self._templates[rest] = self._template(member, rest)
        elif rest == METADATA:
            self._prefixes.add(top)

    def _refuse_second(self, member: Member, name: str) -> None:
        before = self._kinds.get(name)
        if before is None or before == member.kind == DIRECTORY:
            self._kinds[name] = member.kind
            if len(self._kinds) > 100_000:
                raise LimitError(f"'{self.name}' has more than 100000 members outside 'rootfs'")
            return
        raise RefusedError(
            f"'{self.name}' holds '{printable(name)}' twice: first a {before}, then a {member.kind}",
            hint="the daemons would keep the last one; pack the image again",
        )

    def _template(self, member: Member, name: str) -> TemplateFile:
        entry = Entry(
            SYMLINK if member.kind == SYMLINK else FILE if member.kind == HARD_LINK else member.kind,
            member.mode, member.uid, member.gid, member.size, 1, member.target,
        )  # fmt: skip
        if member.kind == HARD_LINK:
            return self._linked_template(member, entry)
        if member.kind != FILE:
            return TemplateFile(
                entry, None, RefusedError(f"the template '{printable(name)}' is a {member.kind}")
            )
        try:
            data = self._archive.read(member, self.limits.template_bytes)
        except LimitError as error:
            return TemplateFile(entry, None, error)
        self._template_bytes += len(data)
        if self._template_bytes > self.limits.templates_bytes:
            raise LimitError(
                f"'{self.name}': its templates have more than {self.limits.templates_bytes} bytes"
            )
        return TemplateFile(entry, data)

    def _linked_template(self, member: Member, entry: Entry) -> TemplateFile:
        """A hard link is fine where it is another name of a template that the archive holds already."""
        target = member.target.removeprefix("./")
        top, _, rest = target.partition("/")
        linked = self._templates.get(rest) if top == TEMPLATES else None
        if linked is None or linked.data is None:
            return TemplateFile(
                entry, None, RefusedError(f"the template is a hard link to '{printable(member.target)}'")
            )
        entry.size, entry.nlink = len(linked.data), 2
        return TemplateFile(entry, linked.data)

    def _no_metadata(self) -> InputError:
        if self._prefixes:
            prefix = printable(sorted(self._prefixes)[0])
            return InputError(
                f"'{self.name}' has no metadata.yaml at its top, but one in '{prefix}/'",
                hint=f"the daemons don't find it there either; pack it again with tar -C {prefix}",
            )
        if {"etc", "bin", "usr"} & {name.partition("/")[0] for name in self._kinds}:
            return InputError(
                f"'{self.name}' has no metadata.yaml: it looks like a root filesystem",
                hint="of a split image, give the metadata tarball",
            )
        return InputError(f"'{self.name}' has no metadata.yaml: it is no image")
