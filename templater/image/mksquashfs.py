"""The program mksquashfs, which writes the root filesystem of a new image as a squashfs file."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace as changed
from functools import partial

from ..model.counters_of_work import running_programs
from ..model.errors import LimitError, UsageError, WriteError
from ..model.progress import Progress
from ..model.unprintable_characters import printable
from ..oslite import PR_SET_PDEATHSIG, libc
from ..sandbox.unpacker_process import processor_seconds
from .atomic_output import Output
from .directory_members import Data
from .limits import INODE_BYTES
from .read_whole_image import Contents, DirectoryContents
from .tar_of_new_image import bounded_writer, write_tar
from .tar_reader import Member, encoded_attribute
from .tar_writer import stored_bytes

#: squashfs stores times as unsigned 32-bit seconds since 1970
_SQUASHFS_TIMES = (0, 2**32 - 1)
#: limit on the memory for the queues of mksquashfs, which by default are a quarter of the machine's memory
_SQUASHFS_MEMORY = "256M"
_SQUASHFS_XATTRS = ("security.", "trusted.", "user.")
_SQUASHFS_COMPRESSIONS = ("gzip", "lz4", "lzo", "xz", "zstd", "lzma")


def squash(
    output: Output,
    compression: str,
    contents: Contents,
    members: Iterator[tuple[Member, Data]],
    made: int,
    progress: Progress,
) -> int:
    """Write a squashfs file: pass the root filesystem to mksquashfs as a tar stream.

    ``made`` is the creation time. If squashfs does not support ``compression``, mksquashfs uses xz.
    """
    first = next(members, None)
    top = first[0] if first is not None and not first[0].name else None
    rest = members if top is not None or first is None else itertools.chain((first,), members)
    with _mksquashfs(output, compression, made, top) as process, _counted(process.pid):
        assert process.stdin is not None and process.stderr is not None
        count = 0
        try:
            write = bounded_writer(process.stdin.write, contents, output, holes=True)
            squashed = _as_mksquashfs_reads(_bounded_holes(rest, contents))
            count = write_tar(write, "pax", contents, squashed, progress)
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


def _mksquashfs(output: Output, compression: str, made: int, top: Member | None) -> subprocess.Popen[bytes]:
    name = compression if compression in _SQUASHFS_COMPRESSIONS else "xz"
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
    """Return a function that the child process must call before it runs mksquashfs.

    The function raises the limits, and makes the kernel kill the child when this process dies.
    """
    if not sys.platform.startswith("linux"):
        return None
    import resource

    prctl = libc("prctl")  # load the C library before the fork
    # The threads of mksquashfs reserve more addresses than they use. This process enforces the limit on
    # processor time, because the limit grows during the run.
    limits = [(kind, resource.getrlimit(kind)[1]) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]

    def prepare() -> None:
        for kind, most in limits:
            resource.setrlimit(kind, (most, most))
        # mksquashfs 4.6.1 could wait forever after a truncated stream, and keep the output file on the disk.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return prepare


def _bounded_holes(
    members: Iterable[tuple[Member, Data]], contents: Contents
) -> Iterator[tuple[Member, Data]]:
    """Yield the members. Raises LimitError if the holes of sparse files in a directory exceed the limit."""
    # mksquashfs reads each hole as zeros. For an image in an archive, ``bounded_writer`` checks this limit.
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
    """Yield the members with zeros in place of holes, and with times in the range of squashfs."""
    # mksquashfs turns the zeros into holes again. The stream has no maps of holes, because mksquashfs 4.6.1
    # misreads the map if the header has no user name.
    for member, data in members:
        # Change a copy: the archive still needs the original member's map to read the data.
        yield changed(member, sparse=None, mtime=_squashfs_time(member.mtime)), data


def _squashfs_time(time: float) -> int:
    """Return the nearest time that squashfs can store."""
    first, last = _SQUASHFS_TIMES
    return min(max(int(time), first), last)


def storable(members: Iterable[tuple[Member, Data]], lost: list[str]) -> Iterator[tuple[Member, Data]]:
    """Remove extended attributes that mksquashfs can't store. Append the names of their files to ``lost``.

    * ACLs: squashfs does not support them.
    * Attributes of the top directory: mksquashfs ignores them in a tar stream.
    * Attributes with an encoded name: mksquashfs does not decode the name.
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
