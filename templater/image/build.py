"""Reproducible building of unified and split images: equal contents give equal bytes."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from dataclasses import replace as changed
from functools import partial
from typing import Literal

from ..model.counters_of_work import running_programs
from ..model.errors import LimitError, RefusedError, UsageError, WriteError, reason
from ..model.file_names import ROOTFS
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from ..oslite import PR_SET_PDEATHSIG, libc
from ..parsing.file_kind import SQUASHFS
from ..sandbox.unpacker_process import processor_seconds
from .atomic_output import Output, publish_all
from .compress import Write, compressing, compression_named
from .directory_members import Data
from .file_extensions import extension
from .gnu_tar_refusals import NO_TARGET, THROUGH_LINK, UnpackedTree, described
from .limits import INODE_BYTES, MIB, HeldBytes, memory_of
from .read_whole_image import Contents, DirectoryContents, Part
from .tar_reader import HARD_LINK, Member, encoded_attribute
from .tar_writer import Format, TarWriter, stored_bytes

Layout = Literal["unified", "split"]

#: estimated memory for a name, in addition to its text
_NAME_BYTES = 100
#: Incus does not unpack the members below this folder of the root filesystem
_DEV = "dev/"
#: squashfs stores times as unsigned 32-bit seconds since 1970
_SQUASHFS_TIMES = (0, 2**32 - 1)
#: limit on the memory for the queues of mksquashfs, which by default are a quarter of the machine's memory
_SQUASHFS_MEMORY = "256M"
_SQUASHFS_XATTRS = ("security.", "trusted.", "user.")
_SQUASHFS_COMPRESSIONS = ("gzip", "lz4", "lzo", "xz", "zstd", "lzma")


@dataclass(frozen=True, slots=True)
class Packing:
    """The format of an image to build. ``rootfs`` of a split image is "tar" or "squashfs"."""

    layout: Layout = "unified"
    compression: str = "xz"
    level: int | None = None
    rootfs: Literal["tar", "squashfs"] = "tar"
    tar: Format = "pax"
    #: SOURCE_DATE_EPOCH: the creation time of a squashfs file
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A built image: its files, metadata first, and the fingerprint that the daemons will show."""

    files: tuple[str, ...]
    size: int
    fingerprint: str
    members: int
    #: names of files that lost extended attributes, because mksquashfs can't store these attributes
    without_xattrs: tuple[str, ...] = ()


def build(
    contents: Contents,
    parts: list[Part],
    target: str,
    packing: Packing,
    *,
    replace: bool = False,
    private: bool = False,
    progress: Progress = silent,
) -> Built:
    """Build an image from ``parts`` (metadata.yaml and templates) and the root filesystem of ``contents``.

    If ``target`` is a directory, the files have the names that the daemons use. All files are written under
    temporary names first, and renamed when all of them are complete. If ``private`` is true, only the current
    user may read the files. If ``replace`` is true, existing files are overwritten. Raises UsageError if a
    file exists and ``replace`` is false, or if ``target`` or ``packing`` is invalid.
    """
    kind = compression_named(packing.compression)
    if target == "-":
        raise UsageError(
            "an image can't be written to standard output",
            hint="give a file name; use ./- for a file named '-'",
        )
    if target.endswith("/"):
        _make_directory(target)
    directory = target if os.path.isdir(target) else os.path.dirname(target)
    if os.path.isdir(target):
        replace = True  # files here are named by fingerprint, so an existing file has the same content
    elif not replace:
        _refuse_existing(file_names(target, "", packing.layout, kind))
    if packing.layout == "unified":
        if packing.rootfs == "squashfs":
            raise UsageError(
                "a unified image is one tarball", hint="add --format split for a squashfs root filesystem"
            )
        with Output(directory, private=private) as output:
            members = _pack(output, kind, packing, contents, _unified(contents, parts), progress)
            fingerprint = output.sha256.hexdigest()
            (file,) = file_names(target, fingerprint, packing.layout, kind)
            _protect(contents, output)
            output.publish(file, replace=replace)
            return Built((file,), output.size, fingerprint, members)
    with Output(directory, private=private) as first, Output(directory, private=private) as second:
        members = _pack(first, kind, packing, contents, _alone(parts), progress)
        lost: list[str] = []
        if packing.rootfs == "squashfs":
            rootfs = _storable(_rootfs(contents), lost)
            members += _squash(second, packing, contents, rootfs, _made(parts, packing), progress)
        else:
            members += _pack(second, kind, packing, contents, _dotted(_rootfs(contents)), progress)
        fingerprint = _joined(first, second)
        rootfs_kind = SQUASHFS if packing.rootfs == "squashfs" else kind
        names = file_names(target, fingerprint, packing.layout, kind, rootfs_kind)
        _protect(contents, first, second)
        # The metadata file gets its name last, because a root filesystem alone is not an image.
        publish_all((first, second), names, replace=replace)
        return Built(names, first.size + second.size, fingerprint, members, tuple(lost))


def _protect(contents: Contents, *outputs: Output) -> None:
    """Make the image private if another user may have moved private files of this user into its contents."""
    for output in outputs if contents.has_secrets else ():
        os.fchmod(output.fd, 0o600)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise WriteError(f"'{printable(path)}' can't be created: {reason(error)}") from error


def _refuse_existing(names: Iterable[str]) -> None:
    for name in names:
        if os.path.lexists(name):
            raise UsageError(f"'{name}' exists", hint="add --reuse to replace the file")


def file_names(
    target: str, fingerprint: str, layout: Layout, kind: str, rootfs_kind: str = ""
) -> tuple[str, ...]:
    """Return the paths of an image's files.

    If ``target`` is a directory, the files are in this directory, and are named after the fingerprint.
    Otherwise, the paths are TARGET and, for a split image, TARGET.root.
    """
    # Incus: cmd/incus/image.go, cmdImageExport
    if os.path.isdir(target):
        if layout == "unified":
            return (os.path.join(target, fingerprint + extension(kind)),)
        return (
            os.path.join(target, f"meta-{fingerprint}{extension(kind)}"),
            os.path.join(target, fingerprint + extension(rootfs_kind)),
        )
    return (target,) if layout == "unified" else (target, target + ".root")


def _rootfs(contents: Contents) -> Iterator[tuple[Member, Data]]:
    """Yield the root filesystem. Raise RefusedError for a member that the daemons could not unpack."""
    held = HeldBytes(contents.name, contents.limits)
    tree = UnpackedTree()
    for member, data in contents.rootfs():
        name = member.name
        if name:
            held.add(memory_of(name), _NAME_BYTES)
            linked = member.target if member.kind == HARD_LINK else ""
            # GNU tar ignores a hard link to itself, but other programs fail.
            reason = NO_TARGET if linked == name else tree.add(name, member.kind, member.target, linked)
            if reason and reason != THROUGH_LINK:
                raise RefusedError(
                    described(name, linked, reason),
                    hint="the daemons can't unpack this member: pack the image again",
                )
            if linked.startswith(_DEV) and not name.startswith(_DEV):
                raise RefusedError(
                    f"'{printable(name)}' is a hard link to '{printable(linked)}'",
                    hint="replace the link with a copy of the file: Incus skips the files in /dev, so it"
                    " can't make the link",
                )
        yield member, data


def _unified(contents: Contents, parts: Iterable[Part]) -> Iterator[tuple[Member, Data]]:
    yield from _alone(parts)
    for member, data in _rootfs(contents):
        member.name = f"{ROOTFS}/{member.name}" if member.name else ROOTFS
        if member.kind == HARD_LINK:
            member.target = f"{ROOTFS}/{member.target}"
        yield member, data


def _alone(parts: Iterable[Part]) -> Iterator[tuple[Member, Data]]:
    for part in parts:
        yield part.member, iter(((0, part.data),) if part.data else ())


def _dotted(members: Iterator[tuple[Member, Data]]) -> Iterator[tuple[Member, Data]]:
    for member, data in members:
        member.name = f"./{member.name}" if member.name else "."
        if member.kind == HARD_LINK:
            member.target = f"./{member.target}"
        yield member, data


def _pack(
    output: Output,
    kind: str,
    packing: Packing,
    contents: Contents,
    members: Iterator[tuple[Member, Data]],
    progress: Progress,
) -> int:
    with compressing(kind, output.write, packing.level) as packer:
        return _write_tar(_bounded(packer.write, contents, output), packing.tar, contents, members, progress)


def _bounded(write: Write, contents: Contents, output: Output, *, holes: bool = False) -> Write:
    """Return a function that writes like ``write`` and limits the total number of bytes.

    The limit prevents a small input from becoming a huge image. The output may be eight times as long as the
    input, because headers can grow that much in another tar format. If ``holes`` is true, the output has
    zeros in place of the holes of sparse files. Its limit is then ``--limit ratio``.
    """
    written = 0

    def bounded(data: bytes) -> None:
        nonlocal written
        written += len(data)
        if contents.packed_size and written > _most_written(contents, holes=holes):
            raise LimitError(
                f"'{contents.name}' has only {contents.packed_size} bytes ({contents.bytes_read} bytes when"
                f" decompressed), but the new image would have more than {written} bytes",
                hint="the image has huge sparse files; if you trust it, unpack it and build a new image",
            )
        _protect(contents, output)  # the file can have a hidden name already
        write(data)

    return bounded


def _most_written(contents: Contents, *, holes: bool) -> int:
    limits = contents.limits
    if holes:
        return max(limits.ratio_from, contents.packed_size * limits.ratio)
    # The parts are not in ``bytes_read``; ``templates_bytes`` limits them.
    return 8 * contents.bytes_read + limits.templates_bytes + MIB


def _write_tar(
    write: Write,
    format: Format,
    contents: Contents,
    members: Iterator[tuple[Member, Data]],
    progress: Progress,
) -> int:
    writer = TarWriter(write, format, contents.limits.header_bytes)
    count = 0
    for member, data in members:
        count += 1
        writer.add(member, _reported(data, count, member.name, writer, progress))
        progress(count, writer.position, member.name)
    writer.close()
    return count


def _reported(data: Data, count: int, name: str, writer: TarWriter, progress: Progress) -> Data:
    """Yield the pieces of a file, and report the position in the archive after each piece."""
    for piece in data:
        yield piece
        progress(count, writer.position, name)


def _joined(first: Output, second: Output) -> str:
    """Return a split image's fingerprint: the sha256 of the concatenation of both files."""
    from .fingerprint import of_descriptors

    return of_descriptors(first.fd, second.fd)


def _made(parts: Iterable[Part], packing: Packing) -> int:
    """Return the creation time for a squashfs file. Equal builds get the same time."""
    times = (int(part.member.mtime) for part in parts)
    return packing.epoch if packing.epoch is not None else max(0, *times)


def _squash(
    output: Output,
    packing: Packing,
    contents: Contents,
    members: Iterator[tuple[Member, Data]],
    made: int,
    progress: Progress,
) -> int:
    """Write a squashfs file: pass the root filesystem to mksquashfs as a tar stream."""
    first = next(members, None)
    top = first[0] if first is not None and not first[0].name else None
    rest = members if top is not None or first is None else itertools.chain((first,), members)
    with _mksquashfs(output, packing, made, top) as process, _counted(process.pid):
        assert process.stdin is not None and process.stderr is not None
        count = 0
        try:
            write = _bounded(process.stdin.write, contents, output, holes=True)
            squashed = _as_mksquashfs_reads(_bounded_holes(rest, contents))
            count = _write_tar(write, "pax", contents, squashed, progress)
            process.stdin.close()
        except BrokenPipeError:
            process.kill()  # the program has printed its error message on stderr
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read().decode("utf-8", "replace").strip()
        if process.wait() != 0:
            raise WriteError(f"mksquashfs failed: {printable(said[-500:])}")
    output.size = os.fstat(output.fd).st_size
    return count


@contextlib.contextmanager
def _counted(pid: int) -> Iterator[None]:
    """Count the processor time of a child process towards the limit of the running command."""
    seconds = partial(processor_seconds, pid)
    running_programs.add(seconds)
    try:
        yield
    finally:
        running_programs.discard(seconds)


def _mksquashfs(output: Output, packing: Packing, made: int, top: Member | None) -> subprocess.Popen[bytes]:
    name = packing.compression if packing.compression in _SQUASHFS_COMPRESSIONS else "xz"
    command = ["mksquashfs", "-", output.path, "-tar", "-noappend", "-no-progress", "-quiet", "-comp", name]
    command += ["-mem", _SQUASHFS_MEMORY, "-mkfs-time", str(_squashfs_time(made))]
    if top is not None:
        # mksquashfs ignores the tar member of the top directory
        command += ["-root-mode", f"{top.mode:o}", "-root-uid", str(top.uid), "-root-gid", str(top.gid)]
        command += ["-root-time", str(_squashfs_time(top.mtime))]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            pass_fds=output.descriptors,
            preexec_fn=_in_child(),  # noqa: PLW1509 - the function takes no lock
        )
    except FileNotFoundError:
        hint = "run: apt install squashfs-tools"
        raise UsageError("the program 'mksquashfs' is missing", hint=hint) from None


def _in_child() -> Callable[[], object] | None:
    """Return a function that the child must call.

    Afterwards, the kernel kills the child when this process dies. Otherwise, mksquashfs 4.6.1 can wait
    forever after a truncated stream, and keep its file on the disk.

    The function also lifts the kernel's limits on memory and processor time. The threads of mksquashfs
    reserve more addresses than they use. The limit on processor time grows during the run, so this process
    enforces that limit in place of the kernel.
    """
    if not sys.platform.startswith("linux"):
        return None
    import resource

    prctl = libc("prctl")  # load the C library before the fork
    limits = [(kind, resource.getrlimit(kind)[1]) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]

    def prepare() -> None:
        for kind, most in limits:
            resource.setrlimit(kind, (most, most))
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return prepare


def _bounded_holes(
    members: Iterable[tuple[Member, Data]], contents: Contents
) -> Iterator[tuple[Member, Data]]:
    """Yield the members of a directory.

    Raises LimitError if the holes of sparse files exceed the limit, because each hole is read as zeros.
    ``_bounded`` checks this limit for an archive.
    """
    holes = data = 0
    for member, pieces in members:
        if member.sparse is not None and isinstance(contents, DirectoryContents):
            holes += member.size - stored_bytes(member)
            if holes > contents.limits.ratio_from:
                data = data or max(INODE_BYTES, contents.data_size())
                if holes > contents.limits.ratio * data:
                    raise LimitError(
                        f"the sparse files in '{contents.name}' have holes of at least {holes} bytes, "
                        f"but all files together have only {data} bytes of data",
                        hint="use --rootfs tar; if you trust the directory, raise the limit: --limit ratio=…",
                    )
        yield member, pieces


def _as_mksquashfs_reads(members: Iterable[tuple[Member, Data]]) -> Iterator[tuple[Member, Data]]:
    """Yield the members with zeros in place of holes, and with times in the range of squashfs.

    mksquashfs 4.6.1 misreads the map of a sparse file if the header has no user name ("appears to be
    truncated or corrupted"). So pass no maps: mksquashfs turns the zeros into holes again.
    """
    for member, data in members:
        # Change a copy: the archive still needs the original member's map to read the data.
        yield changed(member, sparse=None, mtime=_squashfs_time(member.mtime)), data


def _squashfs_time(time: float) -> int:
    """Return the nearest time that squashfs can store."""
    first, last = _SQUASHFS_TIMES
    return min(max(int(time), first), last)


def _storable(members: Iterable[tuple[Member, Data]], lost: list[str]) -> Iterator[tuple[Member, Data]]:
    """Remove extended attributes that mksquashfs can't store. Append the names of their files to ``lost``.

    squashfs has no ACLs. mksquashfs ignores the attributes of the tar member of the top directory, and does
    not decode names of attributes.
    """
    for member, data in members:
        kept = {
            name: value
            for name, value in member.xattrs.items()
            if member.name and name.startswith(_SQUASHFS_XATTRS) and encoded_attribute(name) == name
        }
        if len(kept) < len(member.xattrs):
            lost.append(member.name or ".")
        yield changed(member, xattrs=kept), data
