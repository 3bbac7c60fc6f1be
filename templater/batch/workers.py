"""Processes that share some work: pieces of it go out to them, and what they answer comes back in order."""

from __future__ import annotations

import gc
import os
import select
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO

#: what one process has before it; the next piece must be there when it is done with one
AHEAD = 3
#: bytes of answers that may wait for their turn: more are left in the pipes, and their writers wait
MOST_WAITING = 16 << 20
#: a size stands before every part of an answer; that of nothing ends the answer
_SIZE = 8
_PIPE = 1 << 20

Work = Callable[[bytes], Iterable[bytes]]


class Died(Exception):
    """A process ended before it had answered; ``how`` says in what way."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


def can_share() -> bool:
    """Whether processes can be made here that know what this one knows."""
    return hasattr(os, "fork")


class Workers:
    """Up to ``count`` processes forked from this one, which call ``work`` with one piece after the other.

    Another is made when a piece comes and all are busy. They end with this one, however it ends: they
    see that nothing more can come.
    """

    def __init__(self, count: int, work: Work) -> None:
        self._count = count
        self._work = work
        self._workers: list[_Worker] = []
        self._poll = select.poll()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def answers(self, pieces: Iterable[bytes]) -> Iterator[bytes | None]:
        """The parts of every answer, in the order of the pieces; None ends each. No part is empty."""
        source = iter(pieces)
        under_way: deque[_Task] = deque()
        more = True
        while more or under_way:
            while under_way and (under_way[0].parts or under_way[0].ended):
                first = under_way[0]
                if first.parts:
                    yield first.parts.popleft()
                else:
                    under_way.popleft()
                    yield None
            if under_way and under_way[0].worker.dead:
                raise Died(under_way[0].worker.end())
            if more and len(under_way) < AHEAD * self._count:
                piece = next(source, None)
                if piece is None:
                    more = False
                else:
                    under_way.append(self._least_busy().take(piece))
                self._move(under_way, wait=False)
            elif under_way:
                self._move(under_way, wait=True)

    def _least_busy(self) -> _Worker:
        worker = min(self._workers, key=lambda worker: len(worker.tasks), default=None)
        if worker is None or (worker.tasks and len(self._workers) < self._count):
            worker = _Worker(self._work, self._workers)
            self._workers.append(worker)
        return worker

    def _move(self, under_way: deque[_Task], *, wait: bool) -> None:
        """Let bytes flow in both directions, as far as they do."""
        crowded = sum(len(part) for task in under_way for part in task.parts) > MOST_WAITING
        by_descriptor: dict[int, _Worker] = {}
        for worker in self._workers:
            wants = [(worker.answers, select.POLLIN, not crowded or worker is under_way[0].worker)]
            wants.append((worker.pieces, select.POLLOUT, bool(worker.unsent)))
            for descriptor, event, wanted in wants:
                if wanted and not worker.dead:
                    self._poll.register(descriptor, event)
                    by_descriptor[descriptor] = worker
        ready = self._poll.poll(None if wait else 0)
        for descriptor in by_descriptor:
            self._poll.unregister(descriptor)
        for descriptor, _ in ready:
            worker = by_descriptor[descriptor]
            worker.receive() if descriptor == worker.answers else worker.send()


class _Task:
    """A piece that a process has, and what has come back of its answer."""

    __slots__ = ("ended", "parts", "worker")

    def __init__(self, worker: _Worker) -> None:
        self.worker = worker
        self.parts: deque[bytes] = deque()
        self.ended = False


class _Worker:
    """One process, seen from the one that made it."""

    def __init__(self, work: Work, siblings: list[_Worker]) -> None:
        theirs, self.pieces = _pipe()
        self.answers, back = _pipe()
        self.tasks: deque[_Task] = deque()
        self.unsent: deque[memoryview] = deque()
        self.arrived = bytearray()
        self.dead = False
        self.pid = os.fork()
        if self.pid == 0:
            # a descriptor left open here would keep a sibling from seeing the end
            for descriptor in (self.pieces, self.answers):
                os.close(descriptor)
            for sibling in siblings:
                sibling.close()
            _serve(work, theirs, back)
        os.close(theirs)
        os.close(back)
        os.set_blocking(self.pieces, False)
        os.set_blocking(self.answers, False)

    def take(self, piece: bytes) -> _Task:
        self.unsent.append(memoryview(len(piece).to_bytes(_SIZE, "big")))
        self.unsent.append(memoryview(piece))
        self.tasks.append(_Task(self))
        return self.tasks[-1]

    def send(self) -> None:
        try:
            while self.unsent:
                sent = os.write(self.pieces, self.unsent[0])
                if sent < len(self.unsent[0]):
                    self.unsent[0] = self.unsent[0][sent:]
                else:
                    self.unsent.popleft()
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.unsent.clear()  # it died; what it had said before is still to be read

    def receive(self) -> None:
        try:
            data = os.read(self.answers, _PIPE)
        except BlockingIOError:
            return
        self.dead = not data
        if self.arrived:
            self.arrived += data
            with memoryview(self.arrived) as view:
                used = self.understand(view)
            del self.arrived[:used]
        else:
            view = memoryview(data)
            self.arrived += view[self.understand(view) :]

    def understand(self, arrived: memoryview) -> int:
        """Take the whole parts of answers; how many bytes they were."""
        start = 0
        while len(arrived) - start >= _SIZE:
            size = int.from_bytes(arrived[start : start + _SIZE], "big")
            end = start + _SIZE + size
            if end > len(arrived):
                break
            if size:
                self.tasks[0].parts.append(arrived[start + _SIZE : end].tobytes())
            else:
                self.tasks.popleft().ended = True
            start = end
        return start

    def close(self) -> None:
        os.close(self.pieces)
        os.close(self.answers)

    def end(self) -> str:
        """Make sure that it is gone; how it ended, if it did by itself."""
        if not self.pid:
            return ""
        if not self.dead:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.close()
        _, status = os.waitpid(self.pid, 0)
        self.pid, self.dead = 0, True
        code = os.waitstatus_to_exitcode(status)
        return f"killed by {_signal_name(-code)}" if code < 0 else f"with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _pipe() -> tuple[int, int]:
    """A pipe that takes a whole piece, where the system lets it."""
    from fcntl import fcntl

    read, write = os.pipe()
    with suppress(ImportError, OSError):
        from fcntl import F_SETPIPE_SZ

        fcntl(write, F_SETPIPE_SZ, _PIPE)
    return read, write


def _serve(work: Work, pieces: int, answers: int) -> None:
    """The life of a process: it never returns, and runs nothing of what its parent would at its end."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends this one
        gc.freeze()  # what is shared with the parent stays shared
        with open(pieces, "rb") as source, open(answers, "wb") as target:
            while header := source.read(_SIZE):
                _answer(work(source.read(int.from_bytes(header, "big"))), target)
        code = 0
    except BrokenPipeError:
        code = 0  # nobody wants to know
    finally:
        os._exit(code)


def _answer(parts: Iterable[bytes], target: BinaryIO) -> None:
    for part in parts:
        if part:
            target.write(len(part).to_bytes(_SIZE, "big"))
            target.write(part)
            target.flush()
    target.write(bytes(_SIZE))
    target.flush()
