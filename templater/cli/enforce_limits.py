"""Limits on time, processor time and memory for a whole command that reads an untrusted image.

Readers, checks and predictions have their own limits. The limits in this module also apply to all other work
of the command.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..limit_option import PACKING_SECONDS
from ..model.counters_of_work import (
    allow_packing,
    input_size,
    instances,
    read_instance,
    received,
    running_programs,
)
from ..model.errors import LimitError
from ..oslite import address_space

if TYPE_CHECKING:
    from ..limit_option import CommandLimits, Given
    from ..model.instance import Instance
    from .options import Request

Command = Callable[..., Any]

#: Seconds after which the alarm repeats. A callback can swallow the exception of the first alarm.
AGAIN = 1.0
#: Seconds of processor time between two checks of the limit on processor time. The kernel's timer ignores
#: child processes, so each check adds the time of child processes.
CHECK_SECONDS = 0.25
#: If a process exceeds the limit on processor time by this many seconds, the kernel kills the process.
#: Near the limit on memory, Python can fail to raise the exception that would end the command earlier.
SPARE = 30
#: number of a daemon's instances that add one second to the default limit on processor time
INSTANCES_PER_SECOND = 10
#: the seconds that each MiB of a list of instances adds to the limit on processor time
LIST_SECONDS = 5
#: seconds of processor time in which a command removes its new files after an error
REMOVAL_SECONDS = 1.5


class _OverError(BaseException):
    """Raised if the command exceeds a limit.

    The class is not derived from ``Exception``, so ``except Exception`` does not catch it.
    """


def one(*_: Any, **__: Any) -> int:
    """Return 1: most commands read one image."""
    return 1


def many(*_: Any, **__: Any) -> None:
    """Return None: the command can read any number of images or catalogs."""


def guarded(function: Command, *, images: Callable[..., int | None] = one) -> Command:
    """Return a command with limits. The command must have a parameter ``limits`` or ``request``.

    The function ``images`` gets the command's arguments. It returns how many images the command reads, or
    None for any number.
    """

    @wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        limits = options["limits"] if "limits" in options else arguments[0].limits
        listed = options.get("instances") is not None
        src = getattr(arguments[0], "src", None) if arguments else None
        live = any(map(_is_live, options.get("sources") or (src,)))
        with guard(limits, listed=listed, images=images(*arguments, **options), live=live):
            if src is not None and ":" in src and not live:
                arguments = (fetched(arguments[0]), *arguments[1:])
            return function(*arguments, **options)

    return wrapped


def fetched(request: Request) -> Request:
    """Return the request with a local path of SRC. If SRC is on a server, fetch it."""
    from .fetched_source import local_source

    return request._replace(src=local_source(request.src))


def _is_live(src: str | None) -> bool:
    """Return whether SRC names instances of a daemon."""
    if src is None or ":" not in src:
        return False
    from ..live.address import is_live

    return is_live(src)


def guarded_alone(function: Command, *, downloads: bool = False) -> Command:
    """Add ``--limit`` to a command, and enforce the limits while the command runs.

    If ``downloads`` is true, the default limit on time is a day.
    """
    from ..limit_option import COMMAND
    from .options import limit_option

    @wraps(function)
    def wrapped(*arguments: Any, limits: Given, **options: Any) -> Any:
        with guard(limits, downloads=downloads):
            return function(*arguments, **options)

    return limit_option(COMMAND)(wrapped)


def listed_instances(read: Callable[[int], bytes], name: str) -> Iterator[Instance]:
    """Yield the instances of a list. The function ``read`` returns the list in pieces.

    Each piece and each instance increase the limit on processor time.
    """
    from ..parsing.instance_list import stream_instances

    def counted(size: int = -1) -> bytes:
        data = read(size)
        received(LIST_SECONDS * len(data))
        return data

    for instance in stream_instances(counted, name):
        yield instance
        read_instance()


class _ProcessorLimit:
    """The limit on the processor time of a command.

    The function ``extra`` returns the seconds that all input so far adds. The function ``allow`` adds seconds
    to the kernel's limit.
    """

    def __init__(self, bounds: CommandLimits, extra: Callable[[], int], allow: Callable[[int], None]) -> None:
        self._bounds, self._extra, self._allow = bounds, extra, allow
        self._granted = 0
        #: the value of ``processor_time`` at which the limit is reached
        self.end = processor_time() + bounds.processor

    def left(self) -> float:
        """Return the seconds that are left. Input since the last call extends the limit."""
        more = self._extra() - self._granted
        if more > 0:
            self._granted += more
            self._bounds.processor += more
            self.end += more
            self._allow(more)
        return self.end - processor_time()


#: the limit of the surrounding ``guard``
_processor_limit: _ProcessorLimit | None = None


def processor_time() -> float:
    """Return the processor time in seconds of this process, its ended children and ``running_programs``."""
    return sum(os.times()[:4]) + sum(seconds() for seconds in tuple(running_programs))


@contextmanager
def guard(
    limits: Given,
    *,
    listed: bool = False,
    downloads: bool = False,
    images: int | None = 1,
    live: bool = False,
) -> Iterator[None]:
    """Raise LimitError if the ``with`` block exceeds a limit. At the end, restore signal handlers and limits.

    * ``live``: The block reads instances of a daemon.
    * ``downloads``: The block downloads images.
    * ``images``: The number of images that the block reads, or None for any number.
    * ``listed``: The block plans listed instances, without a limit on elapsed time. Each instance adds the
      original limit on processor time.
    """
    import _signal as signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow

    global _processor_limit  # noqa: PLW0603
    bounds = (
        limits.for_daemon() if live else limits.for_downloads() if downloads else limits.for_command(images)
    )
    each, seconds_for_mib, end = bounds.processor, 1, 0.0

    def extra() -> int:
        seconds = 0
        if bounds.grows:
            seconds = instances() // INSTANCES_PER_SECOND if live else (input_size() >> 20) * seconds_for_mib
        return seconds + instances() * each if listed else seconds

    def stop_at_limit(number: int, frame: object) -> None:
        if limit.left() <= 0:
            raise _OverError("command-processor")

    def begin_packing() -> None:
        nonlocal seconds_for_mib, end
        if end:  # a command can pack several files
            return
        packing, seconds_for_mib = limits.for_packing(), PACKING_SECONDS
        end = monotonic() + time_left() + packing.time - bounds.time
        bounds.time, bounds.memory = packing.time, packing.memory
        allow_memory(bounds.memory)
        signal.signal(signal.SIGALRM, stop_packing)
        signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS, AGAIN)

    def stop_packing(number: int, frame: object) -> None:
        """Check the limits on time and processor time while the command packs an image."""
        if monotonic() >= end:
            raise _OverError("command-time")
        stop_at_limit(number, frame)
        # The timer ITIMER_PROF is not enough, because it stops while this process waits for mksquashfs.
        signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS, AGAIN)

    with (
        _bounded_memory(bounds, threads=live) as allow_memory,
        _killed_after(bounds.processor) as allow,
    ):
        if not hasattr(signal, "setitimer"):
            yield
            return
        limit, outer = _ProcessorLimit(bounds, extra, allow), _processor_limit
        timers = (
            (signal.ITIMER_REAL, signal.SIGALRM, 0 if listed else bounds.time, AGAIN, _stop),
            (signal.ITIMER_PROF, signal.SIGPROF, CHECK_SECONDS, CHECK_SECONDS, stop_at_limit),
        )
        try:
            before = [signal.signal(number, handler) for _, number, *_, handler in timers]
        except ValueError:  # only the main thread can receive signals
            yield
            return
        allow_packing.append(begin_packing)
        try:
            try:
                _processor_limit = limit
                for timer, _, seconds, interval, _ in timers:
                    signal.setitimer(timer, seconds, interval)
                yield
            finally:  # stop the timers, so that they do not interrupt the clauses below
                for timer, *_ in timers:
                    signal.setitimer(timer, 0)
        except _OverError as over:
            raise over_limit(over.args[0], bounds, over) from None
        finally:
            _processor_limit = outer
            allow_packing.remove(begin_packing)
            for timer, *_ in timers:
                signal.setitimer(timer, 0)
            for (_, number, *_), handler in zip(timers, before, strict=True):
                signal.signal(number, handler)


@contextmanager
def _killed_after(seconds: int | None) -> Iterator[Callable[[int], None]]:
    """Let the kernel kill this process after ``seconds + SPARE`` further seconds of processor time.

    Yield a function that increases this limit by a number of seconds.
    """
    try:
        import resource
    except ImportError:  # Windows
        seconds = None
    if seconds is None:
        yield lambda more: None
        return
    before = resource.getrlimit(resource.RLIMIT_CPU)
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds

    def add(more: int) -> None:
        nonlocal limit
        limit += more
        limits = [limit, *(each for each in before if each != resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_CPU, (min(limits), before[1]))

    add(SPARE)
    try:
        yield add
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, before)


def time_left() -> float:
    """Return the seconds until the limit ``command-time`` of the surrounding ``guard``."""
    import signal

    left = signal.getitimer(signal.ITIMER_REAL)[0] if hasattr(signal, "getitimer") else 0.0
    return left or math.inf


def processor_left() -> float:
    """Return the seconds of processor time that the surrounding ``guard`` still allows."""
    return math.inf if _processor_limit is None else _processor_limit.left()


def reserve_for_removal() -> None:
    """Reserve processor time for the removal of new files after an error.

    Reserve at most a sixth of the remaining time.
    """
    if _processor_limit is not None:
        _processor_limit.end -= min(REMOVAL_SECONDS, _processor_limit.left() / 6)


@contextmanager
def paused() -> Iterator[None]:
    """Suspend the limits of the surrounding ``guard`` while the user works in an editor."""
    import signal

    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # the editor must not inherit the memory limit
    processor = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (processor[1], processor[1]))
    timers = {timer: signal.setitimer(timer, 0) for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF)}
    begun = processor_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CPU, processor)
        if _processor_limit is not None:
            _processor_limit.end += processor_time() - begun
        for timer, (seconds, interval) in timers.items():
            signal.setitimer(timer, seconds, interval)


def over_limit(name: str, bounds: CommandLimits, error: BaseException | None = None) -> LimitError:
    """Return the error for a command that exceeds the limit ``name``.

    The returned error has the notes of ``error``, the exception that ended the command.
    """
    notes = tuple(getattr(error, "__notes__", ()))
    if name == "command-memory":
        return LimitError(
            f"the command needs more than {bounds.memory >> 20} MiB of memory",
            hint=f"--limit {name}=8GiB allows 8 GiB",
            notes=notes,
        )
    seconds, kind = bounds.time, ""
    if name == "command-processor":
        seconds, kind = bounds.processor, " of processor time"
    return LimitError(
        f"the command takes longer than {seconds} seconds{kind}",
        hint=f"to allow an hour, use --limit {name}=1h",
        notes=notes,
    )


def _stop(number: int, frame: object) -> None:
    raise _OverError("command-time")


@contextmanager
def _bounded_memory(bounds: CommandLimits, *, threads: bool) -> Iterator[Callable[[int], None]]:
    """Let the process grow by at most ``bounds.memory`` bytes, if the system supports such limits.

    Yield a function that sets another limit in bytes. If ``threads`` is true, limit only writable memory.
    """
    try:
        import resource

        # The C library reserves much address space for each thread.
        kind, column = (resource.RLIMIT_DATA, 5) if threads else (resource.RLIMIT_AS, 0)
        now = address_space(column)
        soft, hard = resource.getrlimit(kind)
    except (ImportError, OSError, ValueError):
        yield lambda memory: None
        return

    def allow(memory: int) -> None:
        limits = [now + memory, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (min(limits), hard))

    allow(bounds.memory)
    try:
        yield allow
    except MemoryError as error:
        resource.setrlimit(kind, (soft, hard))
        raise over_limit("command-memory", bounds, error) from None
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (soft, hard))
