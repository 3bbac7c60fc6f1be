"""Replacing metadata.yaml and templates in an image. Other members are copied unchanged."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from ..model.entry import DIRECTORY, FILE
from ..model.errors import InputError, LimitError, RefusedError
from ..model.file_names import DISK, METADATA, ROOTFS, TEMPLATES
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from ..rootfs.confined_directory import Directory
from ..rootfs.confined_root import Root
from ..rootfs.directory_rootfs import open_tree
from ..rootfs.disk_sync import create_to_sync, sync_and_name
from ..rootfs.system_calls import write_error
from .atomic_output import Output
from .compress import compressing
from .decompress import open_stream
from .fingerprint import fingerprints_around
from .limits import DEFAULT, Limits
from .members_outside_rootfs import Layout
from .open_file import opened, refuse_holes, refuse_same_file
from .tar_reader import HARD_LINK, Archive, Member
from .tar_writer import TarWriter

#: new content by name in the image; None removes the file
Changes = Mapping[str, bytes | None]

NOTHING: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """An image's fingerprints before and after its files were replaced.

    Both fingerprints are None for a directory, or for a split image without its second file.
    """

    old: str | None = None
    new: str | None = None


def replace(
    path: str,
    changes: Changes,
    added: Mapping[str, bytes] = NOTHING,
    *,
    rootfs: str | None = None,
    before: Mapping[str, bytes] = NOTHING,
    limits: Limits = DEFAULT,
    progress: Progress = silent,
) -> Fingerprints:
    """Change an image: replace or remove the files in ``changes``, and add the files in ``added``.

    A tarball, or each file of a directory, is replaced atomically. Only the fingerprints need ``rootfs``, the
    second file of a split image.

    Raises RefusedError if a file of a directory differs from its content in ``before``, and TemplaterError if
    the image is invalid or can't be written.
    """
    if os.path.isdir(path):
        _replace_in_directory(path, {**changes, **added}, before)
        return Fingerprints()
    if rootfs is not None:
        refuse_same_file(path, rootfs)
    place = os.path.realpath(path)  # if the path is a symlink, replace its target
    # the file is opened once, so the new file gets the mode of the file whose content it has
    with opened(path) as file, Output(os.path.dirname(place), private=True) as output:
        original = os.fstat(file.fd)
        refuse_holes(file.fd, path)
        unified = _repack(file, changes, added, output, limits, progress)
        if unified:
            found = Fingerprints(*fingerprints_around(file, output.fd, None))
        else:
            found = Fingerprints(*fingerprints_around(file, output.fd, rootfs)) if rootfs else Fingerprints()
        # the owner of a directory on the path could have replaced the image by a link to a file of root
        if not os.path.samestat(os.stat(output.place(place)), original):
            raise RefusedError(f"another process replaced '{printable(path)}'", hint="run the command again")
        output.publish(place, replace=True, like=original)
    return found


def _repack(
    path: str,
    changes: Changes,
    added: Mapping[str, bytes],
    output: Output,
    limits: Limits,
    progress: Progress,
) -> bool:
    """Write the new archive, and return whether the image is unified."""
    archive = Archive(open_stream(path, limits))
    layout = Layout(path, limits)
    with archive.stream, compressing(archive.stream.compression, output.write) as packer:
        writer = TarWriter(packer.write)
        for member in archive:
            name = layout.check(member)
            writer.inherited = archive.inherited
            _refuse_hard_link(member)
            if name not in changes:
                for raw in archive.raw():
                    writer.copy(raw)
            else:
                writer.copy(archive.global_headers)  # global headers apply to all later members, too
                if (data := changes[name]) is not None:
                    _write(writer, member, data)
            if name == METADATA:
                for new, data in added.items():
                    _write(writer, Member(new, FILE, 0o644, mtime=member.mtime), data)
            progress(archive.count, archive.stream.packed_position, name, archive.stream.packed_size)
        archive.finish()
        writer.close()
    if METADATA not in layout.kinds:
        raise layout.no_metadata()
    for name in changes:
        if name not in layout.kinds:
            raise InputError(f"'{path}' has no '{printable(name)}'")
    return layout.has_rootfs or DISK in layout.kinds


def _refuse_hard_link(member: Member) -> None:
    """Refuse a hard link that leads out of the root filesystem."""
    # An edit can change the file to which the link leads, and would then change the content of the link, too.
    parts = [part for part in member.target.split("/") if part not in ("", ".")]
    if member.kind == HARD_LINK and (parts[:1] != [ROOTFS] or ".." in parts):
        raise RefusedError(
            f"'{printable(member.name)}' is a hard link to '{printable(member.target)}', "
            "which is outside the root filesystem",
            hint="pack the image again: templater image export",
        )


def _write(writer: TarWriter, member: Member, data: bytes) -> None:
    member.kind, member.target, member.sparse, member.size = FILE, "", None, len(data)
    writer.add(member, ((0, data),) if data else ())


def _replace_in_directory(path: str, changes: Changes, before: Mapping[str, bytes]) -> None:
    """Write all files under hidden names, then rename them."""
    # New templates get their names before metadata.yaml is replaced, and old templates are removed last. So
    # at each moment, all templates that metadata.yaml names exist.
    order = sorted(changes, key=lambda name: 2 if changes[name] is None else name == METADATA)
    with open_tree(path) as root, contextlib.ExitStack() as held:
        with root.directory("/") as top:
            if any(name.startswith(TEMPLATES + "/") for name in changes):
                _make_templates(top)
        try:
            places = [held.enter_context(_place(root, name)) for name in order]
            staged: dict[str, str] = {}
            for name, place in zip(order, places, strict=True):
                data = changes[name]
                if data is not None:
                    staged[name] = _stage(place, _last(name), data, held)
            for name, place in zip(order, places, strict=True):
                if name in before:
                    _require_content(place, _last(name), before[name])
            for name, place in zip(order, places, strict=True):
                if changes[name] is None:
                    place.unlink(_last(name))
                else:
                    place.rename(staged[name], place, _last(name))
        except OSError as error:
            raise write_error("change", path, error) from error


def _place(root: Root, name: str) -> Directory:
    return root.directory("/" + name.rpartition("/")[0])


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _unstage(directory: Directory, staged: str, fd: int) -> None:
    try:
        directory.unlink_if_same(staged, fd)
    finally:
        os.close(fd)


def _make_templates(top: Directory) -> None:
    entry = top.entry(TEMPLATES)
    if entry is None:
        top.mkdir(TEMPLATES, 0o755)
    elif entry.kind != DIRECTORY:
        raise RefusedError(f"'templates' is a {entry.kind}, not a directory")


def _require_content(directory: Directory, name: str, data: bytes) -> None:
    """Raise RefusedError if another process has changed the file since templater read it."""
    try:
        found = directory.read(name, len(data))
    except LimitError:
        found = None
    if found != data:
        raise RefusedError(
            f"'{printable(directory.path_of(name))}' changed while templater was checking it",
            hint="run the command again",
        )


def _stage(directory: Directory, name: str, data: bytes, held: contextlib.ExitStack) -> str:
    """Write the data to a new file with a random name, and return this name.

    Closing ``held`` removes the new file, unless the file was renamed.
    """
    before = directory.lstat(name)
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise RefusedError(f"'{directory.path_of(name)}' is not a regular file")
    # The name is random, because the image could already contain a file with a fixed name.
    staged = f".templater-new-{os.urandom(8).hex()}"
    fd = create_to_sync(directory, staged)
    held.callback(_unstage, directory, staged, fd)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, before.st_uid, before.st_gid)
    # without setuid bits: the old file can be a hard link to a program of another user
    os.fchmod(fd, 0o644 if before is None else before.st_mode & 0o777)
    sync_and_name("write", directory.path_of(name), fd, directory, staged)
    return staged
