"""A forked child that works on untrusted input and can only compute and answer.

The child drops its user, groups and capabilities, and lowers its limits. It keeps only the pipe to its parent
and the files that the parent passes. In a passed directory, it can open files for reading. It can open no
socket and start no process.

The answer consists of records. Each record is a list of byte strings.
"""

import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow
import sys
from errno import EINVAL
from time import monotonic

from ..model.errors import LimitError, TemplaterError, described_bug
from ..model.unprintable_characters import printable
from ..oslite import PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, keep_functions, libc, os, stat
from . import allowed_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    Record = list[bytes]
    Send = Callable[[Iterable[bytes]], None]

#: the signals that the kernel sends at the soft limit and at the hard limit on processor time
_SIGXCPU, _SIGKILL = 24, 9
#: The first uid for children: systemd's table of uids leaves 1879048192…2147352575 free.
#: Each child uses this uid plus its pid (below 2^22), so no child can signal or trace another child.
FIRST_UID = 1879048192
OVERFLOW_UID = 65534
#: the uids that ``become_nobody`` tries if the first uid does not exist in the user namespace
NOBODIES = (OVERFLOW_UID, 1)

MAX_FIELDS = 64
MAX_RECORDS = 100_000
CHUNK = 1 << 16
MAX_DEPTH = 10_000

#: descriptor limit of a child that can open files in a directory
OPEN_FILES = 256

#: how many descriptors to close if the highest open descriptor is unknown
MANY = 1 << 20

#: the child's exit codes, and the name of the record that a failing child sends
FAILED, OUT_OF_MEMORY, TOO_DEEP, TOO_MUCH = 70, 71, 72, 73
BUG = b"bug"

#: the last record of a complete answer
END = (b"end",)
_END = b"6:3:end,,"  # ``END`` in its encoded form


#: the pids of the children that this process has started and has not yet waited for
_running: "set[int]" = set()


class Bounds:
    """The limits of a child: seconds of processor and wall clock time, bytes of memory and of output."""

    __slots__ = ("cpu", "memory", "output", "wall")

    def __init__(
        self, cpu: int = 10, wall: float = 15.0, memory: int = 512 << 20, output: int = 64 << 20
    ) -> None:
        self.cpu = cpu
        self.wall = wall
        self.memory = memory
        self.output = output


class ChildFailure(TemplaterError):
    """Raised if a child ends without a valid answer, although the child reached no limit."""

    exit_code = 5
    kind = "child"


class BoundError(LimitError):
    """The error for a child that exceeded one of its limits. ``bound`` is the limit's name in ``Bounds``."""

    def __init__(self, bound: str, message: str) -> None:
        super().__init__(message)
        self.bound = bound


class Child:
    """A running child. ``answer()`` waits for its answer, and ``close()`` kills the child."""

    __slots__ = ("bounds", "deadline", "pid", "pipe")

    def __init__(self, pid: int, pipe: int, bounds: Bounds) -> None:
        self.pid = pid
        self.pipe = pipe
        self.bounds = bounds
        self.deadline = monotonic() + bounds.wall

    def answer(self) -> "list[Record]":
        """Return the child's records.

        Raises:
            BoundError: the child reached a bound.
            ChildFailure: the child died or did not answer in its format.
        """
        try:
            data = self.receive()
        except BaseException:
            self.close()
            raise
        if data.endswith(_END):  # the answer is complete, so the child's exit code does not matter
            return parse(data)[:-1]
        before = _seconds_of_children()
        status = self.reap()
        raise _failure_of(status, _seconds_of_children() - before, self.bounds, data)

    def receive(self) -> bytes:
        """Return all bytes of the pipe. Raises BoundError for too many bytes, or after the deadline."""
        import select

        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        chunks: list[bytes] = []
        room = self.bounds.output + 1024
        while True:
            left = self.deadline - monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise BoundError("wall", f"rendering took longer than {self.bounds.wall:g} s and was stopped")
            chunk = os.read(self.pipe, CHUNK)
            if not chunk:
                return b"".join(chunks)
            room -= len(chunk)
            if room < 0:
                raise _too_much(self.bounds)
            chunks.append(chunk)

    def reap(self) -> int:
        """Wait until the child has ended. Return its status in the form of waitpid(2)."""
        pid, self.pid = self.pid, 0  # if a signal ends this method, close() must not close the pipe again
        os.close(self.pipe)
        status: int = os.waitpid(pid, 0)[1]
        _running.discard(pid)
        return status

    def close(self) -> None:
        if self.pid:
            try:
                os.kill(self.pid, 9)
                self.reap()
            except (ProcessLookupError, ChildProcessError):  # a handler of the caller has reaped the child
                pass


def start(
    prepare: "Callable[[], Iterable[int] | None]",
    work: "Callable[[Send], None]",
    bounds: "Bounds | None" = None,
    inputs: "tuple[int, ...]" = (),
) -> Child:
    """Fork a child that runs ``prepare`` (imports), locks itself down, and then runs ``work``.

    * ``prepare`` runs with the parent's rights, so it must not parse untrusted bytes.
    * ``work`` can read ``inputs`` and the descriptors that ``prepare`` returns. If a descriptor is a
      directory, ``work`` can also open files in it, as an unprivileged user.
    * ``work`` can wait for programs that ``prepare`` started.
    """
    bounds = bounds or Bounds()
    reader, writer = os.pipe()
    parent = os.getpid()
    # Block signals: a handler could raise an exception before ``end_children`` knows the child.
    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            libc("prctl")(PR_SET_PDEATHSIG, 9, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(FAILED)
            _run_child(writer, prepare, work, bounds, inputs, blocked)
        _running.add(pid)
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
    os.close(writer)
    return Child(pid, reader, bounds)


def end_children() -> None:
    """Kill the children that this process has not waited for."""
    # Otherwise, if a signal ends a hook, a child of the hook would continue with rights of the host in the
    # container's namespaces. After pivot_root, the child would import modules of the image.
    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    while _running:
        pid = _running.pop()
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:  # the child still has this pid
                os.kill(pid, 9)
                os.waitpid(pid, 0)
        except OSError:
            pass
    _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)


# --- the child ---------------------------------------------------------------------------------


#: signals for which a command or a hook may have a handler
_HANDLED = (
    _signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGXCPU, _signal.SIGALRM, _signal.SIGPROF,
)  # fmt: skip


def _run_child(
    pipe: int,
    prepare: "Callable[[], Iterable[int] | None]",
    work: "Callable[[Send], None]",
    bounds: Bounds,
    inputs: "tuple[int, ...]",
    blocked: "set[int]",
) -> "NoReturn":
    code = FAILED
    send = _Sender(pipe, bounds)
    try:
        for number in _HANDLED:  # a handler of the parent would report that the parent was stopped
            if callable(_signal.getsignal(number)):
                _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
        inputs = (*inputs, *(prepare() or ()))
        keep_functions()
        # with a higher recursion limit, deep recursion would end in MemoryError, a less clear error
        sys.setrecursionlimit(min(sys.getrecursionlimit(), MAX_DEPTH))
        lock(pipe, bounds, inputs)
        work(send)
        send(END)
        send.flush()
        os.close(pipe)  # the parent can continue at once, without waiting for the exit
        code = 0
    except MemoryError:
        code = OUT_OF_MEMORY
    except RecursionError:
        code = TOO_DEEP
    except _TooMuch:
        code = TOO_MUCH
    except BaseException as error:
        send((BUG, described_bug(error).encode("utf-8", "replace")))
        send.flush()
    finally:
        os._exit(code)


class _TooMuch(Exception):
    """Raised if the child's answer exceeds its size limit."""


class _Sender:
    """The function ``send`` of a child. It collects small records, because each write wakes the parent."""

    __slots__ = ("pipe", "room", "waiting")

    def __init__(self, pipe: int, bounds: Bounds) -> None:
        self.pipe = pipe
        self.room = bounds.output
        self.waiting = b""

    def __call__(self, fields: "Iterable[bytes]") -> None:
        record = frame(b"".join([frame(field) for field in fields]))
        self.room -= len(record)
        if self.room < 0:
            raise _TooMuch
        if len(self.waiting) + len(record) > CHUNK:
            self.flush()
        self.waiting += record
        if len(record) > CHUNK:
            self.flush()

    def flush(self) -> None:
        view = memoryview(self.waiting)
        self.waiting = b""
        while view:
            view = view[os.write(self.pipe, view) :]


def lock(pipe: int, bounds: Bounds, inputs: "tuple[int, ...]" = ()) -> None:
    """Restrict this process to computing within ``bounds``, reading ``inputs`` and writing to ``pipe``."""
    import resource

    has_directory = any(stat.S_ISDIR(os.fstat(fd).st_mode) for fd in inputs)
    prctl = libc("prctl")
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    first = 0
    for fd in sorted((pipe, *inputs)):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, highest_descriptor() + 1)
    for what, most in (
        (resource.RLIMIT_CPU, bounds.cpu),
        (resource.RLIMIT_AS, bounds.memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES if has_directory else 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY and hard < most:
            most = hard
        resource.setrlimit(what, (most, most))
    if os.geteuid() == 0:
        become_nobody()
    drop_capabilities()
    prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)  # after the change of uid, which clears PDEATHSIG
    calls: tuple[str, ...] = allowed_calls.COMPUTING
    if inputs:
        calls += (*allowed_calls.READING, *allowed_calls.WAITING)
    if has_directory:
        calls += allowed_calls.LOOKING
    allowed_calls.allow(calls, allowed_calls.OPENING if has_directory else None)


def highest_descriptor() -> int:
    """Return the highest open descriptor, which can be above the current limit."""
    try:
        return max([int(name) for name in os.listdir("/proc/self/fd")])
    except OSError:  # /proc is not mounted
        import resource

        most = max(resource.getrlimit(resource.RLIMIT_NOFILE))
        return most if 0 < most < MANY else MANY


def drop_capabilities() -> None:
    """Give up all capabilities of this process."""
    # A change of the uid does not remove all capabilities if the caller has set the securebit
    # NO_SETUID_FIXUP, if a user other than root has ambient capabilities, or if root keeps its uid in a
    # namespace without other users.
    version = 0x20080522
    if libc("capset")(version.to_bytes(4, sys.byteorder) + bytes(4), bytes(24)):
        raise PermissionError("can't give up capabilities")


def become_nobody(uid: int = 0) -> None:
    """Change to a user that owns nothing. Raises PermissionError on failure.

    Try ``uid`` (0: a uid derived from the pid), then ``NOBODIES``. In a namespace with a single user
    (``unshare -r``), keep this user.
    """
    # An unprivileged user namespace may deny setgroups. Then the process has no extra groups to drop.
    # Most uids do not exist in a user namespace, so also try ``NOBODIES``.
    for attempt in (uid or FIRST_UID + os.getpid() % (1 << 22), *NOBODIES):
        try:  # noqa: SIM105 - hooks do not import contextlib
            os.setgroups(())
        except PermissionError:
            pass
        try:
            os.setresgid(attempt, attempt, attempt)
            os.setresuid(attempt, attempt, attempt)
        except OSError as error:
            if error.errno != EINVAL:  # the uid or gid exists in this user namespace
                break
            continue
        return
    else:
        return
    raise PermissionError("can't switch to an unprivileged user")


# --- the answer --------------------------------------------------------------------------------


def frame(data: bytes) -> bytes:
    """Return the bytes as a netstring: ``3:abc,``."""
    return b"%d:%b," % (len(data), data)


def parse(data: bytes) -> "list[Record]":
    """Parse records. Raises ChildFailure for an invalid format: a compromised child can send anything."""
    records = []
    for record in _frames(data, MAX_RECORDS):
        records.append(_frames(record, MAX_FIELDS))
    return records


def _frames(data: bytes, most: int) -> "list[bytes]":
    frames = []
    at = 0
    while at < len(data):
        colon = data.find(b":", at, at + 11)
        digits = data[at:colon] if colon > at else b""
        if not digits.isdigit() or (digits[:1] == b"0" and digits != b"0"):
            raise _invalid_answer()
        at = colon + 1 + int(digits)
        if data[at : at + 1] != b",":
            raise _invalid_answer()
        frames.append(data[colon + 1 : at])
        at += 1
        if len(frames) > most:
            raise _invalid_answer()
    return frames


def _invalid_answer() -> ChildFailure:
    return ChildFailure("the sandboxed process sent an invalid answer", hint="please report this")


def _too_much(bounds: Bounds) -> BoundError:
    return BoundError("output", f"the rendered files are larger than {bounds.output >> 20} MiB together")


def _seconds_of_children() -> float:
    """Return the seconds of processor time of all children that this process has waited for."""
    return sum(os.times()[2:4])


def _failure_of(status: int, seconds: float, bounds: Bounds, data: bytes) -> TemplaterError:
    """Return the error for a child that has used ``seconds`` of processor time."""
    if os.WIFSIGNALED(status):
        signal = os.WTERMSIG(status)
        if signal == _SIGXCPU or (signal == _SIGKILL and seconds > bounds.cpu - 1):
            return BoundError(
                "cpu", f"rendering used more than {bounds.cpu} s of processor time and was stopped"
            )
        if signal == _SIGKILL:
            return ChildFailure(
                "another process or the kernel killed the sandboxed process",
                hint="if the container or the hook has a memory limit (cgroup), allow more memory",
            )
        return ChildFailure(f"the sandboxed process died of signal {signal}")
    code = os.WEXITSTATUS(status)
    if code == OUT_OF_MEMORY:
        return BoundError("memory", f"rendering needs more than {_memory(bounds) >> 20} MiB of memory")
    if code == TOO_DEEP:
        return LimitError("rendering nests deeper than Python allows")
    if code == TOO_MUCH:
        return _too_much(bounds)
    return ChildFailure("the sandboxed process failed", hint="please report this", notes=_last_words(data))


def _memory(bounds: Bounds) -> int:
    """Return a child's limit on memory in bytes: ``bounds.memory``, or a lower limit of this process."""
    import resource

    # Some runtimes start hooks with the limits of the container, which can be low.
    limits = [resource.getrlimit(what)[1] for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min([bounds.memory, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])


def _last_words(data: bytes) -> "tuple[str, ...]":
    try:
        records = parse(data)
    except ChildFailure:
        return ()
    words = records[-1] if records else []
    return (printable(words[1].decode("utf-8", "replace")),) if words[:1] == [BUG] and len(words) == 2 else ()
