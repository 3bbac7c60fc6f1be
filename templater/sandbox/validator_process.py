"""External programs that judge untrusted text, such as ``visudo -c``.

A program sees the machine's programs and libraries, an almost empty ``/etc``, its own processes, and a folder
of 16 MiB in memory. The program can write only to that folder, and has no network and no privileges. If
templater does not run as root, the sandbox needs user namespaces.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EINVAL
from time import monotonic
from typing import NoReturn

from ..oslite import PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, libc
from . import refused_calls
from .child import FIRST_UID, NOBODIES, OVERFLOW_UID, become_nobody, highest_descriptor

#: placeholder in a command for the path of the folder with the files
FOLDER = "{folder}"
#: the path of the folder that a confined program sees
WORK = "/tmp/work"  # noqa: S108 - /tmp is a separate file system

#: directories whose files a program can read and execute
_PROGRAMS = (
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store", "gnu/store",
)  # fmt: skip
_DEVICES = ("null", "zero", "urandom", "random")
#: the files in the program's /etc, except the index of libraries
_ETC = {
    "passwd": "root:x:0:0:root:/:/bin/sh\nnobody:x:{uid}:{gid}:nobody:/:/bin/sh\n",
    "group": "root:x:0:\nnogroup:x:{gid}:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_INDEX = "/etc/ld.so.cache"
#: the path in the new root for a program whose file is outside of ``_PROGRAMS``
_PROGRAM = "/program"
#: target of the symlink /run in the new root
_RUN = "/tmp/run"  # noqa: S108
#: the mount point of the new root while ``_build_root`` builds the new root
_ROOT = b"/sys"

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MS_PRIVATE_ALL = 0x44000
_MNT_DETACH = 2
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
)  # fmt: skip
_PR_SET_DUMPABLE, _PR_SET_SECUREBITS = 4, 28
#: SECBIT_NOROOT and its lock: a program of root gets no privileges
_NO_ROOT = 3
#: number of threads that the user may start in other programs while an unconfined program runs
_SPARE_TASKS = 64

_SETUP, _SIGNAL, _EXIT = b"s", b"k", b"e"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on elapsed and processor seconds, on bytes of memory, output and files, and on processes."""

    wall: float = 10.0
    cpu: int = 2
    memory: int = 256 << 20
    output: int = 64 << 10
    scratch: int = 16 << 20
    processes: int = 4
    descriptors: int = 64


@dataclass(frozen=True, slots=True)
class Result:
    """The exit code of a program, and its output together with its error output.

    In ``output``, paths below the program's working directory are relative to this directory.
    """

    code: int
    output: str


class ToolFailure(Exception):
    """The error for a program that hung, died, or could not be started."""


class NotConfinedError(Exception):
    """Raised if a program was not started, because this process cannot confine it."""


def run(
    program: str,
    words: Sequence[str],
    files: Mapping[str, bytes],
    *,
    stdin: str = os.devnull,
    confined: bool = True,
    limits: Limits | None = None,
) -> Result:
    """Run the program at the path ``program``, in a working directory that contains ``files``.

    ``stdin`` is the name of one of the files. Without ``confined``, the program has limits, but can read all
    files of its user. If the program can't be executed, the exit code is 127.

    Raises:
        NotConfinedError: this process can't confine the program.
        ToolFailure: the program hangs, prints too much or dies.
    """
    limits = limits or Limits()
    if confined:
        if not sys.platform.startswith("linux"):
            raise NotConfinedError("templater can confine programs only on Linux")
        return _wait(_Launch(program, words, files, stdin, limits), WORK)
    with tempfile.TemporaryDirectory(prefix="templater-") as outer:
        work = f"{outer}/work"
        os.mkdir(work, 0o700)
        _write(work, files)
        if os.geteuid() == 0:
            _give(work)
            os.chmod(outer, 0o711)  # noqa: S103 - all users can pass, but only one can enter `work`
        return _wait(_Launch(program, words, files, stdin, limits, work), work)


@dataclass(frozen=True, slots=True)
class _Launch:
    program: str
    words: Sequence[str]
    files: Mapping[str, bytes]
    stdin: str
    limits: Limits
    #: the folder of a program that is not confined
    work: str = ""

    def command(self, folder: str) -> list[str]:
        return [os.path.basename(self.program), *(word.replace(FOLDER, folder) for word in self.words)]


def _wait(launch: _Launch, folder: str) -> Result:
    """Start the program, and wait until it ends or exceeds a limit."""
    output, its_output = os.pipe()
    status, its_status = os.pipe()
    uid = FIRST_UID + os.getpid() % (1 << 22)
    pid = os.fork()
    if pid == 0:
        _outer(launch, its_output, its_status, uid)
    os.close(its_output)
    os.close(its_status)
    try:
        texts = _receive(output, status, launch.limits)
    finally:
        os.kill(pid, signal.SIGTERM)  # let `_outer` kill the first process and wait for it
        os.waitpid(pid, 0)
        os.close(output)
        os.close(status)
    said = texts[output].decode("utf-8", "replace").replace(f"{folder}/", "")
    kind, detail = texts[status][:1], texts[status][1:].decode("utf-8", "replace")
    if kind == _EXIT:
        return Result(int(detail), said)
    if kind == _SIGNAL:
        raise ToolFailure(f"the program died of signal {detail}")
    if kind == _SETUP:
        raise NotConfinedError(detail)
    raise ToolFailure("the program could not start")


def _receive(output: int, status: int, limits: Limits) -> dict[int, bytes]:
    """Read both descriptors to their end. Raises ToolFailure if output or time exceeds its limit."""
    deadline = monotonic() + limits.wall
    poll = select.poll()
    texts = {output: b"", status: b""}
    for fd in texts:
        poll.register(fd, select.POLLIN)
    waiting = 2
    while waiting:
        left = deadline - monotonic()
        events = poll.poll(left * 1000) if left > 0 else []
        if not events:
            raise ToolFailure(f"the program took longer than {limits.wall:g} s")
        for fd, _ in events:
            chunk = os.read(fd, 1 << 16)
            if not chunk:
                poll.unregister(fd)
                waiting -= 1
            texts[fd] += chunk
            if len(texts[fd]) > limits.output:
                raise ToolFailure(f"the program printed more than {limits.output >> 10} KiB")
    return texts


def _write(folder: str, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = f"{folder}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)


def _give(work: str) -> None:
    """Give the folder ``work`` and its files to the first existing user in ``NOBODIES``.

    If none of these users exists, the owner stays. Raises ToolFailure if the change fails.
    """
    paths = [f"{folder}/{name}" for folder, _, names in os.walk(work) for name in (*names, "")]
    for user in NOBODIES:
        try:
            for path in paths:
                os.chown(path, user, user)
        except OSError as error:
            if error.errno != EINVAL:  # the user exists in this user namespace
                raise ToolFailure(
                    f"can't change the owner of the files for the validator: {error.strerror}"
                ) from None
        else:
            return


# --- in the new processes ----------------------------------------------------------------------


def _outer(launch: _Launch, output: int, status: int, uid: int) -> NoReturn:
    """Enter the namespaces, fork the first process of the new process namespace, and wait until it ends."""
    first = 0

    def end(*_: object) -> None:
        if not first:
            os._exit(0)
        with suppress(ProcessLookupError):
            (os.killpg if launch.work else os.kill)(first, signal.SIGKILL)

    try:
        for name in (signal.SIGINT, signal.SIGALRM, signal.SIGCHLD):
            signal.signal(name, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, end)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        if sys.platform.startswith("linux"):
            libc("prctl")(PR_SET_PDEATHSIG, 9, 0, 0, 0)
        if not launch.work:
            _enter_namespaces()
        _keep(output, status)
        first = os.fork()
        if first == 0:
            _first(launch, output, status, uid)
        os.close(output)
        os.close(status)
        os.waitpid(first, 0)
    except BaseException as error:
        _report(status, error)
    finally:
        os._exit(0)


def _first(launch: _Launch, output: int, status: int, uid: int) -> NoReturn:
    """Build the root directory, start the program, and report how the program ends.

    If this process ends, the kernel kills all other processes of the process namespace.
    """
    try:
        # The first process of a process namespace ignores signals without a handler.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        signal.setitimer(signal.ITIMER_REAL, launch.limits.wall + 1)
        folder, program = launch.work, launch.program
        if not launch.work:
            libc("prctl")(PR_SET_PDEATHSIG, 9, 0, 0, 0)
            libc("prctl")(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # hide /proc/1 from the program, and forbid tracing
            folder = WORK
            program = _build_root(launch, uid)
        pid = os.fork()
        if pid == 0:
            os.close(status)
            _program(launch, program, folder, output, uid)
        os.close(output)
        while True:
            ended, result = os.wait()
            if ended == pid:
                break
        code = os.waitstatus_to_exitcode(result)
        os.write(status, b"%b%d" % (_SIGNAL, -code) if code < 0 else b"%b%d" % (_EXIT, code))
        if launch.work:
            os.killpg(0, signal.SIGKILL)
    except BaseException as error:
        _report(status, error)
    finally:
        os._exit(0)


def _report(status: int, error: BaseException) -> None:
    text = (error.strerror or str(error)) if isinstance(error, OSError) else type(error).__name__
    with suppress(OSError):
        os.write(status, _SETUP + text.encode("utf-8", "replace")[:500])


def _keep(*descriptors: int) -> None:
    """Close all descriptors except ``descriptors``."""
    first = 0
    for fd in sorted(descriptors):
        if fd > first:  # closerange(0, 0) would close all descriptors
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, highest_descriptor() + 1)


def _enter_namespaces() -> None:
    kinds = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        _call("unshare", kinds)
        return
    _call("unshare", kinds | _NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library. Raises OSError if it fails."""
    if libc(name)(*arguments):
        raise OSError(0, f"this process has no permission to call {name}, which the sandbox needs")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call("mount", os.fsencode(source), os.fsencode(target), kind.encode(), flags, data.encode())


def _build_root(launch: _Launch, uid: int) -> str:
    """Replace the root directory of this mount namespace. Return the program's path below the new root."""
    root = _ROOT.decode()
    _mount("none", "/", "", _MS_PRIVATE_ALL)
    path = os.path.realpath(launch.program)
    program = os.open(path, os.O_PATH)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID, "size=1m,nr_inodes=256,mode=755")
    for name in _PROGRAMS:
        source = f"/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), f"{root}{source}")
        elif os.path.isdir(source):
            os.makedirs(f"{root}{source}")
            _bind(source, f"{root}{source}", _MS_NOSUID | _MS_NODEV)
    os.symlink(_RUN, f"{root}/run")
    for name in ("etc", "dev", "proc", "tmp"):
        os.mkdir(f"{root}/{name}")
    gid = os.getegid() or uid
    for name, text in _ETC.items():
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text.format(uid=os.geteuid() or uid, gid=gid))
    if os.path.exists(_INDEX):
        _make_file(f"{root}{_INDEX}")
        _bind(_INDEX, f"{root}{_INDEX}", _MS_NOSUID | _MS_NODEV)
    for name in _DEVICES:
        _make_file(f"{root}/dev/{name}")
        _mount(f"/dev/{name}", f"{root}/dev/{name}", "", _MS_BIND)
    if not path.startswith(tuple(f"/{name}/" for name in _PROGRAMS)):
        path = _PROGRAM
        _make_file(root + path)
        _bind(f"/proc/self/fd/{program}", root + path, _MS_NOSUID | _MS_NODEV)
    os.close(program)
    _mount("proc", f"{root}/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _mount(
        "tmpfs", f"{root}{os.path.dirname(WORK)}", "tmpfs", _MS_NOSUID | _MS_NODEV,
        f"size={launch.limits.scratch},nr_inodes=1k,mode=1777",
    )  # fmt: skip
    _mount("none", root, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID)
    os.chdir(root)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    os.umask(0)
    os.mkdir(_RUN)
    os.mkdir(WORK)
    _write(WORK, launch.files)
    return path


def _make_file(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _bind(source: str, target: str, flags: int) -> None:
    _mount(source, target, "", _MS_BIND)
    _mount("none", target, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | flags)


def _program(launch: _Launch, program: str, folder: str, output: int, uid: int) -> NoReturn:
    try:
        os.chdir(folder)
        streams = (os.open(launch.stdin, os.O_RDONLY), output, output)
        # Copy the descriptors first: dup2 of a descriptor to itself would keep its close-on-exec flag.
        for number, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 3) for fd in streams]):
            os.dup2(fd, number)
        _keep(0, 1, 2)
        _lock(launch, uid)
        environment = {"PATH": os.defpath, "LC_ALL": "C", "HOME": folder, "TMPDIR": folder}
        os.execve(program, launch.command(folder), environment)  # noqa: S606
    except BaseException as error:
        os.write(2, f"{launch.program} cannot run: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _lock(launch: _Launch, uid: int) -> None:
    for name in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGALRM):
        signal.signal(name, signal.SIG_DFL)  # Python ignores SIGPIPE and SIGXFSZ
    os.umask(0o077)
    linux = sys.platform.startswith("linux")
    if linux:
        libc("prctl")(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    before = os.geteuid()
    if before == 0:
        # visudo needs a user in /etc/passwd. The machine's own /etc has an entry for OVERFLOW_UID.
        become_nobody(OVERFLOW_UID if launch.work else uid)
    if linux and os.geteuid() == 0 and libc("prctl")(_PR_SET_SECUREBITS, _NO_ROOT, 0, 0, 0):
        # A user namespace can have no user besides root.
        raise PermissionError("root cannot give up its privileges")
    others = 2 if os.geteuid() == before else 0  # two processes of the same user wait for the program
    if launch.work:  # RLIMIT_NPROC counts all processes of the user
        others = _tasks(os.geteuid()) + _SPARE_TASKS
    limits = launch.limits
    for what, most in (
        (resource.RLIMIT_CPU, limits.cpu),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.scratch),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, limits.processes + others),
        (resource.RLIMIT_NOFILE, limits.descriptors),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError):  # macOS has no limit on memory
            resource.setrlimit(what, (most, most))
    if linux:
        refused_calls.refuse()


def _tasks(uid: int) -> int:
    """Count the threads of a user. Without /proc, return a number above any real count."""
    count = 0
    try:
        processes = os.scandir("/proc")
    except OSError:
        return 1 << 20
    for process in processes:
        with suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == uid:
                count += len(os.listdir(f"/proc/{process.name}/task"))
    return count


def find(names: Sequence[str]) -> str | None:
    """Return the path of the first of ``names`` that is an installed program, or None."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return os.path.abspath(found)
    return None
