"""Images in a tarball: unified, or the metadata tarball of a split image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..model.entry import FILE, SYMLINK, Entry, TemplateFile
from ..model.errors import LimitError, RefusedError
from ..model.file_names import METADATA, TEMPLATES
from ..model.source import Source
from ..model.unprintable_characters import printable
from .decompress import open_stream
from .limits import DEFAULT, Limits
from .members_outside_rootfs import Layout
from .name_checks import bad_template_name
from .tar_reader import HARD_LINK, Archive, Member


class TarballImage:
    """An image in a tarball, which is read once, forwards, and only as far as needed.

    ``Layout`` checks each member that is read. Only ``read_to_end`` reads all members.
    """

    def __init__(self, path: str, limits: Limits = DEFAULT) -> None:
        self.name = path
        self.limits = limits
        self.complete = False
        self._archive = Archive(open_stream(path, limits))
        self._metadata: Source | None = None
        self._templates: dict[str, TemplateFile] = {}
        self._layout = Layout(path, limits)
        self._template_bytes = 0
        self._members = iter(self._archive)
        self._ended = False

    def __repr__(self) -> str:
        return f"TarballImage({self.name!r})"

    @property
    def compression(self) -> str:
        return self._archive.stream.compression

    @property
    def kinds(self) -> Mapping[str, str]:
        """A dict from the name of each member read so far to its kind, without members below ``rootfs``."""
        return self._layout.kinds

    @property
    def members(self) -> int:
        """The number of members read so far."""
        return self._archive.count

    @property
    def unpacked_size(self) -> int:
        """The number of decompressed bytes read so far."""
        return self._archive.stream.position

    @property
    def trailing_position(self) -> int | None:
        """Position of the first nonzero byte after the end mark, or None; set by ``read_to_end``."""
        return self._archive.trailing_position

    def close(self) -> None:
        self._archive.stream.close()

    def read_metadata(self) -> Source:
        while self._metadata is None and self._step():
            pass
        if self._metadata is None:
            raise self._layout.no_metadata()
        return self._metadata

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        wanted = dict.fromkeys(names)
        answers = {name: bad for name in wanted if (bad := bad_template_name(name)) is not None}
        missing = [name for name in wanted if name not in answers]
        for name in missing:
            while name not in self._templates and self._step():
                pass
        return {name: answers.get(name) or self._templates.get(name) or TemplateFile() for name in wanted}

    def read_to_end(self) -> Mapping[str, TemplateFile]:
        """Return all files of ``templates/`` after checking every member of the archive."""
        while self._step():
            pass
        if self._metadata is None:
            raise self._layout.no_metadata()
        return dict(self._templates)

    def _step(self) -> bool:
        """Read the next member. Return False after the last member, or if an earlier step failed."""
        if self._ended:
            return False
        self._ended = True
        try:
            for member in self._members:
                self._see(member)
                self._ended = False
                return True
            self._archive.finish()
            self.complete = True
            return False
        finally:
            if self._ended:
                self.close()

    def _see(self, member: Member) -> None:
        self._keep(member, self._layout.check(member))

    def _keep(self, member: Member, name: str) -> None:
        top, _, rest = name.partition("/")
        if name == METADATA:
            data = self._archive.read(member, self.limits.metadata_bytes)
            self._metadata = Source(f"{self.name}/{METADATA}", data)
        elif top == TEMPLATES and rest and "/" not in rest:
            self._templates[rest] = self._template(member, rest)

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
        """Return the template to which a hard link leads.

        If the link leads to no earlier template, the result has an error.
        """
        target = member.target.removeprefix("./")
        top, _, rest = target.partition("/")
        linked = self._templates.get(rest) if top == TEMPLATES else None
        if linked is None or linked.data is None:
            return TemplateFile(
                entry, None, RefusedError(f"the template is a hard link to '{printable(member.target)}'")
            )
        entry.size, entry.nlink = len(linked.data), 2
        return TemplateFile(entry, linked.data)
