"""Confined external programs that read untrusted bytes.

A program has no network, has resource limits, and can open files only for reading. If root starts a program,
the program gets a user id that owns no files. System calls that are not listed in ``allowed_calls.py`` fail
with EPERM, except on unsupported architectures.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable
from errno import ENXIO
from typing import IO, TYPE_CHECKING, NoReturn

from ..model.counters_of_work import running_programs
from ..model.errors import InputError, LimitError, reason
from ..model.unprintable_characters import printable
from ..oslite import PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, libc
from . import allowed_calls
from .child import Bounds, become_nobody, drop_capabilities, highest_descriptor

if TYPE_CHECKING:
    import socket

_INPUT_FD = 3
#: a path through which the program can open the file, even without access to the original path
INPUT = f"/proc/self/fd/{_INPUT_FD}"

#: limit in seconds on the time without any output
IDLE_SECONDS = 60
#: the size limit in bytes of the error output, the only file to which the program can write
COMPLAINTS = 64 << 10

#: The maximum number of bytes to copy from a file that does not belong to root. A copy can be in memory.
MAX_COPIED = 64 << 20

#: CPUCLOCK_SCHED in the id of a process's clock (include/linux/posix-timers_types.h of Linux)
_PROCESS_CLOCK = 2
_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000


class Program:
    """A running program. Leaving the ``with`` block kills it."""

    def __init__(self, pid: int, output: socket.socket, complaints: IO[bytes], bounds: Bounds) -> None:
        self._pid = pid
        self._bounds = bounds
        self._output = output
        self._complaints = complaints
        self._status: int | None = None
        running_programs.add(self.processor_seconds)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is None:
            try:
                os.kill(self._pid, signal.SIGKILL)
            except PermissionError:  # the sandbox forbids kill; the program ends when its parent ends
                return
            self.wait()
        self._output.close()
        self._complaints.close()

    @property
    def descriptors(self) -> tuple[int, int]:
        """The descriptors of the program's output and error output, for the child process that reads them."""
        return self._output.fileno(), self._complaints.fileno()

    @property
    def output(self) -> int:
        """The descriptor of the program's output.

        Reading raises BlockingIOError after IDLE_SECONDS without output.
        """
        return self._output.fileno()

    def processor_seconds(self) -> float:
        """Return the program's processor time so far in seconds, or 0 if the program has ended."""
        return processor_seconds(self._pid)

    def wait(self) -> int:
        """Return the exit code, or the negative number of the signal that ended the program."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            running_programs.discard(self.processor_seconds)
        return self._status

    def said(self) -> str:
        """Return the beginning of the program's error output."""
        self._complaints.seek(0)
        return self._complaints.read(1000).decode("utf-8", "replace").strip()

    def failed(self) -> bool:
        """Return whether the program has ended with an error.

        This method can consume a byte of the program's output, so do not read the output afterwards.
        """
        try:
            return not os.read(self.output, 1) and self.wait() != 0
        except BlockingIOError:
            return False

    def error(self, path: str, name: str) -> InputError | LimitError:
        """Return the error after the program has ended with a signal or a nonzero exit code.

        ``name`` is the program's name, and ``path`` the file that it has read.
        """
        code, said = self.wait(), printable(self.said())
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            limit = f"{self._bounds.cpu} s of processor time"
            return LimitError(f"'{path}': {name} used more than {limit} and was stopped")
        if "memory" in said:
            limit = f"the limit of {self._bounds.memory >> 20} MiB of memory"
            return LimitError(f"'{path}': {name} needs more than {limit}")
        if code < 0:
            return InputError(f"'{path}' can't be read: {name} died of signal {-code}")
        return InputError(f"'{path}' can't be read: {said}" if said else f"'{path}' can't be read by {name}")


def processor_seconds(pid: int) -> float:
    """Return a process's processor time so far in seconds, or 0 if the process has ended."""
    try:
        return time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except OSError:
        return 0


def start(
    command: list[str], path: str, fd: int, bounds: Bounds, content: Callable[[], int] | None = None
) -> Program:
    """Start a program that reads an open file as ``INPUT``, with limits on processor time and memory.

    ``path`` is only for messages. If the program needs only the beginning of the file, ``content`` returns
    the size of this beginning in bytes.

    Raises:
        InputError: the system is not Linux, or the file can't be copied.
        LimitError: the file is too large to be copied.
        FileNotFoundError: the program is not installed.
    """
    if not sys.platform.startswith("linux"):
        raise InputError(f"'{path}' needs '{command[0]}', which templater runs only on Linux, in a sandbox")
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(command[0])
    data = _readable(path, fd, content)
    # imported here, because an audit imports this module for every image
    import socket
    import tempfile

    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - the Program closes the file
    ours, its = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", IDLE_SECONDS, 0))
    try:
        pid = os.fork()
        if pid == 0:
            _run_program(program, command, (data, its.fileno(), complaints.fileno()), bounds)
    finally:
        os.close(data)
        its.close()
    return Program(pid, ours, complaints, bounds)


def _readable(path: str, fd: int, content: Callable[[], int] | None) -> int:
    """Return a new descriptor of the file, or of an unnamed copy if unprivileged users can't read the file.

    Raises InputError if copying fails, and LimitError for a large file that root does not own.
    """
    status = os.fstat(fd)
    if os.geteuid() != 0 or status.st_mode & 0o004:
        return os.dup(fd)
    size = status.st_size if content is None else min(status.st_size, content())
    from tempfile import TemporaryFile

    with TemporaryFile() as copy:
        try:
            # Any user can create a huge file that uses little disk space, with holes or shared blocks.
            copied = _copy_data(fd, copy.fileno(), size, size if status.st_uid == 0 else MAX_COPIED)
        except OSError as error:
            raise InputError(
                f"'{path}' can't be copied for the sandbox: {reason(error)}",
                hint="make room in the directory of temporary files, or let all users read the file",
            ) from None
        if not copied:
            raise LimitError(
                f"'{path}' is private to another user and has more than {MAX_COPIED >> 20} MiB, so it is not"
                " copied for the sandbox",
                hint="let all users read the file, or make root its owner",
            )
        os.fchmod(copy.fileno(), 0o444)
        return os.open(f"/proc/self/fd/{copy.fileno()}", os.O_RDONLY | os.O_CLOEXEC)


def _copy_data(source: int, copy: int, size: int, most: int) -> bool:
    """Copy the first ``size`` bytes of a file. Holes stay holes.

    Return False if these bytes contain more than ``most`` bytes outside holes. The copy is then incomplete.
    """
    end = 0
    # A copy without holes could fill the disk.
    os.ftruncate(copy, size)
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:  # the rest of the file is a hole
                return True
            raise
        end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        most -= max(0, end - start)
        if most < 0:
            return False
        os.lseek(copy, start, os.SEEK_SET)
        while start < end and (sent := os.sendfile(copy, source, start, end - start)):
            start += sent
    return True


# --- in the new process ------------------------------------------------------------------------


def _run_program(
    program: str, command: list[str], descriptors: tuple[int, int, int], bounds: Bounds
) -> NoReturn:
    try:
        _set_descriptors(*descriptors)
        _lock(bounds)
        os.execve(program, command, {"PATH": os.defpath, "LC_ALL": "C"})  # noqa: S606
    except BaseException as error:
        os.write(2, f"{command[0]} can't be run: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _set_descriptors(data: int, output: int, complaints: int) -> None:
    """Set up descriptors 0 to 3 for the program and close all others."""
    import fcntl

    wanted = (os.open(os.devnull, os.O_RDONLY), output, complaints, data)
    # First move all descriptors to 10 and above.
    # Without this step, dup2 could overwrite a descriptor that is still needed.
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in wanted]
    for number, fd in enumerate(aside):
        os.dup2(fd, number)
    os.closerange(len(wanted), highest_descriptor() + 1)


def _lock(bounds: Bounds) -> None:
    import resource

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores SIGPIPE, which the program would inherit
    prctl = libc("prctl")
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc("unshare")(_CLONE_NEWNET | _CLONE_NEWIPC)  # without root, ``unshare`` fails, which is ignored
    os.chdir("/")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # at the size limit, write(2) fails without a signal
    for what, most in (
        (resource.RLIMIT_CPU, bounds.cpu),
        (resource.RLIMIT_AS, bounds.memory),
        (resource.RLIMIT_FSIZE, COMPLAINTS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 1),  # the limit is one process, because execve fails with a limit of 0
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    if os.geteuid() == 0:
        become_nobody()
    drop_capabilities()
    prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    calls = (*allowed_calls.COMPUTING, *allowed_calls.READING, *allowed_calls.LOADING)
    allowed_calls.allow(calls, allowed_calls.OPENING)
