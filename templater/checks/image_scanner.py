"""A reader of whole images for checks. It obeys limits, follows no links, and accepts any file name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import process_time
from typing import TYPE_CHECKING

from ..image.limits import ATTRIBUTE_BYTES, DEFAULT, HeldBytes, Limits, memory_of
from ..image.open_file import reading, refuse_same_file, size_of
from ..image.second_file import SecondFileCheck, open_rootfs
from ..image.sqfs2tar import squashfs_end
from ..image.tar_reader import HARD_LINK, Archive, Member, open_archive
from ..image.xattrs import privilege_names, xattr_names
from ..model.entry import DIRECTORY, FILE, Entry, TemplateFile
from ..model.errors import InputError, LimitError, MetadataError, RefusedError, TemplaterError, UsageError
from ..model.file_names import DISK, METADATA, ROOTFS, TEMPLATES
from ..model.metadata import Metadata
from ..model.source import Source
from ..parsing.file_kind import BLOCK, HEAD, SQUASHFS, TAR, is_detected_tar, is_disk, recognise
from ..parsing.metadata_yaml import read_metadata
from ..rootfs.confined_root import Root
from ..rootfs.directory_rootfs import open_root
from ..rootfs.regular_files import require_public
from .scanned_image import Name, ScannedImage, Trailing, cleaned, name_of

if TYPE_CHECKING:
    from ..definitions.predicted_image import DefinitionImage
    from ..model.instance import Instance
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.render_state import Limits as RenderLimits
    from ..rootfs.confined_without_descriptors import ByName

Read = Callable[[], bytes]

PASSWD = f"{ROOTFS}/etc/passwd"
PASSWD_BYTES = 1 << 20
#: files in which a build leaves its own hostname
NAME_FILES = (f"{ROOTFS}/etc/hostname", f"{ROOTFS}/etc/hosts")
#: if the attributes of more files than this can't be listed, one error stands for all further files
_UNLISTED = 8
#: paths of files that checks inspect, each with the number of bytes to read
_HEADS = {DISK: 4096, PASSWD: PASSWD_BYTES, **dict.fromkeys(NAME_FILES, 64 << 10)}


def scan_image(
    path: str,
    limits: Limits = DEFAULT,
    *,
    rootfs: str | None = None,
    yaml: YamlLimits | None = None,
    rendering: RenderLimits | None = None,
    instance: Instance | None = None,
    heads: Mapping[str, int] | None = None,
) -> ScannedImage:
    """Read an image: a directory, a unified tarball, or a split image whose second file is ``rootfs``.

    Some checks also render each template for ``instance``. ``heads`` maps the paths of further files to the
    number of bytes to read.

    Raises UsageError, and each error that occurs before the first file name of a part of the image. Record
    later errors in ``ScannedImage.errors``.
    """
    if rootfs is not None and os.path.isdir(path):
        raise UsageError(f"'{path}' is a directory and can't be combined with a second image file")
    scanner = _Scanner(path, limits, yaml, heads)
    scanner.scan_part(scanner.scan_directory if os.path.isdir(path) else scanner.scan_archive)
    if scanner.complete and not any(name.path == METADATA for name in scanner.names):
        scanner.errors.append(InputError(f"'{path}' has no metadata.yaml: it is not an image"))
    if rootfs is not None:
        scanner.scan_part(partial(scanner.scan_second_file, rootfs))
    return scanner.result(rendering, instance)


def scanned_definition(
    image: DefinitionImage, yaml: YamlLimits | None = None, rendering: RenderLimits | None = None
) -> ScannedImage:
    """Return the image that a build would make from a definition, as a ``ScannedImage`` for checks."""
    templates = image.read_to_end()
    metadata = image.read_metadata()
    names = [Name(METADATA, Entry(FILE, size=len(metadata.data))), Name(TEMPLATES, Entry(DIRECTORY, 0o755))]
    names += [Name(f"{TEMPLATES}/{name}", file.entry) for name, file in templates.items() if file.entry]
    return ScannedImage(
        image.name, read_metadata(metadata, limits=yaml), templates, tuple(names), limits=rendering,
        stored=metadata, definition=image,
    )  # fmt: skip


class _Scanner:
    def __init__(
        self,
        path: str,
        limits: Limits,
        yaml: YamlLimits | None = None,
        heads: Mapping[str, int] | None = None,
    ) -> None:
        self.path = path
        self.wanted = {**_HEADS, **(heads or {})}
        self.limits = limits
        self.yaml = yaml
        self.names: list[Name] = []
        self.templates: dict[str, TemplateFile] = {}
        self.template_bytes = 0
        self.metadata: Source | None = None
        self.heads: dict[str, bytes] = {}
        self.trailing: list[Trailing] = []
        self.undetected: list[str] = []
        self.errors: list[TemplaterError] = []
        self.complete = True
        self.held = HeldBytes(path, limits)
        self.root_uid = self.root_gid = 0
        #: the number of files whose extended attributes can't be listed
        self.unlisted = 0
        self.packed = False
        self.spelling = _Spelling()
        self.begun = process_time()

    def scan_part(self, scan: Callable[[], None]) -> None:
        """Read a part of the image with the function ``scan``.

        Raises UsageError, and each error that occurs before the first file name. Record later errors.
        """
        before = len(self.names)
        try:
            scan()
        except TemplaterError as error:
            if isinstance(error, UsageError) or len(self.names) == before:
                raise
            self.errors.append(error)
            self.complete = False

    def scan_directory(self) -> None:
        with open_root(self.path) as top:
            pending = ["/"]
            while pending:
                directory = pending.pop()
                for name, attributes in self._listed(top, directory):
                    path = f"{directory.rstrip('/')}/{name}"
                    entry, inode = _entry_and_inode(top, path)
                    if entry is None:
                        continue
                    self.add(Name(path[1:], entry, attributes, inode=inode))
                    if path[1:] == ROOTFS:
                        self.root_uid, self.root_gid = entry.uid, entry.gid
                    if len(self.names) > self.limits.members:
                        text = f"'{self.path}' contains more than {self.limits.members} files and directories"
                        raise LimitError(text)
                    if entry.kind == DIRECTORY and not entry.is_mount:
                        pending.append(path)
                    else:
                        self.read_content(path[1:], entry, partial(self._read_file, top, path))

    def _listed(self, top: Root | ByName, directory: str) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield the name of each file in a directory, and the names of the file's extended attributes."""
        if not isinstance(top, Root):
            yield from ((name, frozenset()) for name in top.listdir(directory))
            return
        with top.directory(directory) as opened:
            for name in opened.listdir():
                yield name, self._attributes(opened.fd, name, top.shown(f"{directory.rstrip('/')}/{name}"))

    def _attributes(self, directory: int, entry: str, shown: str) -> frozenset[str]:
        """Return the names of a file's extended attributes.

        If they can't be listed, record the error, and return only attributes that give rights, such as
        capabilities.
        """
        try:
            return xattr_names(directory, entry, shown)
        except TemplaterError as error:
            self.unlisted += 1
            if self.unlisted <= _UNLISTED:
                self.errors.append(error)
            elif self.unlisted == _UNLISTED + 1:
                self.errors.append(InputError("further files have extended attributes that can't be listed"))
            # These attributes can be looked up without a list.
            return privilege_names(directory, entry)

    def _read_file(self, top: Root | ByName, path: str) -> bytes:
        most = self.wanted.get(path[1:])
        if most is not None:
            return self._read_head(top, path, most)
        return top.read(path, self.limit_of(path[1:]), public=True)

    def _read_head(self, top: Root | ByName, path: str, size: int) -> bytes:
        where = top.open(path) if isinstance(top, Root) else self.path + path
        with open(where, "rb") as file:
            if isinstance(top, Root) and path[1:] not in _HEADS:
                require_public(file.fileno(), top.fd, top.shown(path))
            return file.read(size)

    def scan_archive(self) -> None:
        self.packed = True
        archive = open_archive(self.path, self.limits)
        with archive.stream:
            self.detect(archive, self.path)
            for member in archive:
                name = name_of(member)
                if not name.path:
                    continue
                self.add(name)
                if not self.spelling.complete:
                    self.spelling.add(member)
                if member.kind == HARD_LINK:
                    self.link_template(name)
                else:
                    self.read_content(name.path, name.entry, partial(self._read_member, archive, member))
            self.finish(archive, self.path)

    def _read_member(self, archive: Archive, member: Member) -> bytes:
        path = self.names[-1].path
        most = self.wanted.get(path)
        return archive.read(member, self.limit_of(path)) if most is None else archive.head(member, most)

    def scan_second_file(self, path: str) -> None:
        """Read the root filesystem of a split image, and put its names below ``rootfs/``.

        If the file is a virtual machine's disk, read only its header.
        """
        if any(name.path.partition("/")[0] in (ROOTFS, DISK) for name in self.names):
            raise UsageError(
                f"'{self.path}' already contains a root filesystem, so '{path}' is not part of this image",
                hint="pass the image without a second file",
            )
        refuse_same_file(self.path, path)
        with reading(path) as file:
            head = file.read(HEAD)
        if is_disk(head):
            self.add(Name(DISK, Entry(FILE, size=size_of(path))))
            self.heads[DISK] = head[: _HEADS[DISK]]
            # A file that is both a disk and a tarball is read as both.
            if recognise(head) != TAR:
                return
        second, is_squashfs = SecondFileCheck(path), recognise(head) == SQUASHFS
        with open_rootfs(path, self.limits) as archive:
            if not is_squashfs:
                self.detect(archive, path)
            for member in archive:
                name = name_of(member)
                second.add(name.path)
                target = name.hard_link and below_rootfs(name.hard_link)
                skipped = name.skipped and not is_squashfs
                self.add(name._replace(path=below_rootfs(name.path), hard_link=target, skipped=skipped))
                path_here = self.names[-1].path
                if path_here in _HEADS and member.kind != HARD_LINK:
                    self.read_content(path_here, name.entry, partial(self._read_member, archive, member))
            self.finish(archive, path)
        second.finish()
        position = squashfs_end(path)
        if position is not None:
            self.trailing.append(Trailing(path, position, False, "squashfs file"))

    def add(self, name: Name) -> None:
        self.names.append(name)
        self.held.add(
            ATTRIBUTE_BYTES * len(name.xattrs),
            memory_of(name.path, name.entry.target, name.hard_link, *name.xattrs),
        )

    def detect(self, archive: Archive, path: str) -> None:
        """Record an uncompressed archive that the daemons do not detect as a tar archive."""
        if archive.stream.compression == TAR and not is_detected_tar(archive.stream.peek(BLOCK)):
            self.undetected.append(path)

    def finish(self, archive: Archive, path: str) -> None:
        archive.finish()
        if archive.trailing_position is not None:
            self.trailing.append(Trailing(path, archive.trailing_position, archive.trailing_archive))

    def is_template(self, path: str) -> bool:
        top, _, name = path.partition("/")
        return top == TEMPLATES and bool(name) and "/" not in name

    def limit_of(self, path: str) -> int:
        return self.limits.metadata_bytes if path == METADATA else self.limits.template_bytes

    def read_content(self, path: str, entry: Entry, read: Read) -> None:
        """Read the content of metadata.yaml, a template, or a file that checks inspect. Ignore other files.

        If several files have one name, use the last file, as the daemons do.
        """
        if path == METADATA:
            if entry.kind == FILE:
                self.read_metadata(read)
        elif self.is_template(path):
            name = path.partition("/")[2]
            self.templates[name] = (
                self.read_template(entry, read) if entry.kind == FILE else TemplateFile(entry)
            )
        elif path in self.wanted and entry.kind == FILE:
            try:
                self.heads[path] = read()
            except TemplaterError as error:
                self.errors.append(error)

    def link_template(self, name: Name) -> None:
        """Add a template that is a hard link.

        If the link's target is a template, the target supplies the content.
        """
        if self.is_template(name.path):
            other = self.templates.get(name.hard_link.removeprefix(f"{TEMPLATES}/"))
            data = other.data if other is not None and self.is_template(name.hard_link) else None
            self.templates[name.path.partition("/")[2]] = TemplateFile(name.entry, data)

    def read_metadata(self, read: Read) -> None:
        try:
            self.metadata = Source(f"{self.path}/{METADATA}", read())
        except TemplaterError as error:
            self.errors.append(error)

    def read_template(self, entry: Entry, read: Read) -> TemplateFile:
        try:
            data = read()
            if self.template_bytes + len(data) > self.limits.templates_bytes:
                most = self.limits.templates_bytes
                raise LimitError(f"the templates have more than {most} bytes in total")
        except TemplaterError as error:
            return TemplateFile(entry, None, error)
        self.template_bytes += len(data)
        return TemplateFile(entry, data)

    def result(self, rendering: RenderLimits | None, instance: Instance | None) -> ScannedImage:
        metadata = self.parse_metadata()
        by_v4 = None if metadata is None else self.parse_as_v4()
        return ScannedImage(
            self.path,
            metadata,
            self.templates,
            tuple(self.names),
            tuple(self.errors),
            rendering,
            instance,
            self.complete,
            tuple(self.trailing),
            self.heads,
            self.metadata,
            self.root_uid,
            self.root_gid,
            packed=self.packed,
            unfound=self.spelling.unfound(),
            undetected=tuple(self.undetected),
            by_v4=by_v4,
            begun=self.begun,
        )

    def parse_metadata(self) -> Metadata | None:
        """Parse metadata.yaml by the most lenient rules, so that checks see as much as possible."""
        if self.metadata is None:
            return None
        try:
            return read_metadata(self.metadata, yaml="v2", limits=self.yaml)
        except TemplaterError as error:
            self.errors.append(error)
            return None

    def parse_as_v4(self) -> Metadata | TemplaterError | None:
        found = decode_by_v4(self.metadata, self.yaml)
        if isinstance(found, LimitError):
            self.errors.append(found)
        return found


class _Spelling:
    """The names of metadata.yaml, the root filesystem and the disk, as the archive spells them.

    The daemons find a name such as ``./metadata.yaml``, but not ``.//metadata.yaml``.
    """

    def __init__(self) -> None:
        self._found: set[str] = set()
        #: a name that the daemons don't find, by the name that they look for: METADATA or ROOTFS
        self._unfound: dict[str, str] = {}
        #: whether the daemons find both metadata.yaml and a root filesystem
        self.complete = False

    def add(self, member: Member) -> None:
        name = member.name
        short = name.removeprefix("./")
        if short.startswith(f"{ROOTFS}/") or (short == ROOTFS and member.kind == DIRECTORY):
            self._found.add(ROOTFS)
        elif short in (METADATA, DISK):
            self._found.add(METADATA if short == METADATA else ROOTFS)
        elif short != ROOTFS:
            top, _, rest = cleaned(name).lstrip("/").partition("/")
            if top == ROOTFS or (top in (METADATA, DISK) and not rest and member.kind != DIRECTORY):
                self._unfound.setdefault(METADATA if top == METADATA else ROOTFS, name)
        self.complete = len(self._found) == 2

    def unfound(self) -> tuple[str, ...]:
        return tuple(name for top, name in self._unfound.items() if top not in self._found)


def decode_by_v4(
    metadata: Source | None, limits: YamlLimits | None = None
) -> Metadata | TemplaterError | None:
    """Return metadata.yaml as yaml.v4 of Incus 7 decodes it, or the error that ``read_metadata`` raises."""
    if metadata is None:
        return None
    try:
        return read_metadata(metadata, yaml="v4", limits=limits)
    except (MetadataError, LimitError, RefusedError) as error:
        return error.with_traceback(None)


def below_rootfs(name: str) -> str:
    """Convert a name in a root filesystem to the path in a unified image.

    An absolute name is returned unchanged, because a check reports absolute names.
    """
    return name if name.startswith("/") else f"{ROOTFS}/{name}".rstrip("/")


def _entry_and_inode(top: Root | ByName, path: str) -> tuple[Entry | None, tuple[int, int] | None]:
    """Return the entry of a file, and its device and inode if the file has several hard links."""
    if not isinstance(top, Root):
        return top.entry(path), None
    found = top.lstat(path)
    if found is None:
        return None, None
    entry, status = found
    return entry, (status.st_dev, status.st_ino) if entry.nlink > 1 else None
