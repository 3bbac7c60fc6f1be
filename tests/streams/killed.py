"""Child processes that change a tree or a store, and that a test kills."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Action = Callable[[], object]


def forked(action: Action) -> int:
    """Run an action in a child, which runs nothing of pytest's. Return the child's process id."""
    pid = os.fork()
    if pid == 0:
        _run_and_exit(action)
    return pid


def ended(pid: int) -> int:
    """Wait for a child. Return its exit code, which is negative if a signal killed the child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run_and_exit(action: Action) -> None:
    try:
        action()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def stopped_at_each_call(action: Action) -> Iterator[int]:
    """Run an action again and again, until it is not stopped.

    Each time, a child stops at a later one of the system calls that change a name, so it can't clean up.
    Yield the number of the call after each of these runs.
    """
    stopped, moment = True, 0
    while stopped:
        code = ended(forked(partial(_run_until, moment, action)))
        assert code in (0, 9)
        stopped = code == 9
        yield moment
        moment += 1


def _run_until(moment: int, action: Action) -> None:
    """Run in a child: die at call number ``moment`` of the calls that change a name."""
    left = [moment]

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return function(*arguments, **options)

        return call

    for name in ("link", "replace", "rename", "unlink", "mkdir", "fsync"):
        setattr(os, name, dying(getattr(os, name)))
    action()


def killed_at_random_moments(action: Action, count: int, *, prepare: Action, seed: int) -> Iterator[None]:
    """Kill children with SIGKILL, until ``count`` of them were killed after the begin and before the end of an action.

    ``prepare`` runs before each child. Yield after the end of each child.
    """
    choose = random.Random(seed)
    # about as long as the action takes; the first round measures it, each later one corrects it
    seconds = 0.0
    killed = rounds = 0
    while killed < count:
        rounds += 1
        assert rounds < 10 * count
        prepare()
        reader, writer = os.pipe()

        def marked(writer: int = writer) -> None:
            os.write(writer, b"(")
            action()
            os.write(writer, b")")

        pid = forked(marked)
        os.close(writer)
        with open(reader, "rb") as marks:
            begun = marks.read(1)
            began = time.monotonic()
            if seconds:
                time.sleep(choose.uniform(0, seconds))
                os.kill(pid, signal.SIGKILL)
            code, inside = ended(pid), marks.read() == b""
            assert begun == b"("
            assert code in (0, -signal.SIGKILL)
        seconds = (seconds * (1.05 if inside else 0.9)) if seconds else time.monotonic() - began
        killed += inside
        yield
