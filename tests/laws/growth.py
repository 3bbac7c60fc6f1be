"""Measure how the time and memory of a subject grow when its input doubles.

A subject is a function of a size ``n`` that prepares an input and returns an action without arguments; only the
action is measured. `check` runs it at n and 8n and fails if a doubling costs more than 2.3 times as much, on average
of the three:

    check(lambda n: lambda data=b"x" * n: parse(data))

Quadratic work costs 4 times as much, linear work twice. Three doublings together show the difference also on a
busy machine, where a single one is disturbed. Time is processor time of this thread, and a surprising result is
measured again. Memory is the peak that ``tracemalloc`` sees. An action that raises an error of templater has ended
within a limit; sizes above that are not measured.

`python -m tests.laws` measures all subjects, and prints their number and the worst factors.
"""

import gc
import tracemalloc
from collections.abc import Callable
from functools import partial
from time import thread_time
from typing import Any

from templater.model.errors import TemplaterError

Action = Callable[[], object]
Subject = Callable[[int], Action]

FACTOR = 2.3
STEPS = 3
#: an action shorter than this can't be compared, so n is doubled until it is reached
SHORTEST = 0.0025
LARGEST = 1 << 20
ATTEMPTS = 8
#: less than this is noise
SECONDS = 0.0025
BYTES = 1 << 20
#: the results of all checks so far that did not fail
MEASURED: list["Growth"] = []


class Growth:
    """The result of a check: two sizes, seconds and bytes at each, and the average factor of a doubling."""

    def __init__(self, sizes: tuple[int, int], seconds: tuple[float, float], bytes_: tuple[int, int]) -> None:
        self.sizes = sizes
        self.seconds = seconds
        self.bytes = bytes_

    @property
    def time_factor(self) -> float:
        return average(self.seconds, SECONDS)

    @property
    def memory_factor(self) -> float:
        return average(self.bytes, BYTES)

    def __str__(self) -> str:
        rows = zip(self.sizes, self.seconds, self.bytes, strict=True)
        measured = ", ".join(f"n={n}: {s * 1000:.1f} ms {b >> 10} KiB" for n, s, b in rows)
        return f"{measured}; time x {self.time_factor:.2f}, memory x {self.memory_factor:.2f}"


def average(values: "tuple[float, float]", noise: float) -> float:
    """Return the factor of one doubling. Both values are at least ``noise``."""
    first, last = (max(value, noise) for value in values)
    return float((last / first) ** (1 / STEPS))


def run(action: Action) -> bool:
    """Run an action; whether it ended without a limit or another error of templater."""
    try:
        action()
    except TemplaterError:
        return False
    return True


def seconds(subject: Subject, n: int) -> float:
    """Return the processor time of an action with an input of its own."""
    action = subject(n)
    begun = thread_time()
    run(action)
    return thread_time() - begun


def peak(subject: Subject, n: int) -> int:
    """Return the bytes that an action allocates at most at one time, its input not counted."""
    action = subject(n)
    gc.collect()
    tracemalloc.start()
    try:
        run(action)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def measurable_size(subject: Subject, start: int, largest: int) -> int:
    """Return an n at which the action takes long enough, and the largest size is within the limits."""
    n = start
    while n << STEPS < largest and seconds(subject, n) < SHORTEST:
        n *= 2
    while n > start and not run(subject(n << STEPS)):
        n //= 2
    return n


def measure(subject: Subject, *, start: int = 250, largest: int = LARGEST, memory: bool = True) -> Growth:
    """Measure a subject at n and 8n."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        run(subject(start))  # imports and caches are not measured
        n = measurable_size(subject, start, largest)
        sizes = (n, n << STEPS)
        # a disturbance of the first value would hide growth, and one of the last shows growth that is measured again
        growth = Growth(
            sizes, (min(seconds(subject, n), seconds(subject, n)), seconds(subject, sizes[1])), (0, 0)
        )
        for _ in range(ATTEMPTS):
            if growth.time_factor <= FACTOR:
                break
            first, last = growth.seconds
            growth.seconds = (min(first, seconds(subject, n)), min(last, seconds(subject, sizes[1])))
        if memory:
            growth.bytes = (peak(subject, n), peak(subject, sizes[1]))
    finally:
        if enabled:
            gc.enable()
    return growth


def check(subject: Subject, *, start: int = 250, largest: int = LARGEST, memory: bool = True) -> Growth:
    """Measure a subject, and fail if its time or memory grows faster than its input."""
    growth = measure(subject, start=start, largest=largest, memory=memory)
    assert growth.time_factor <= FACTOR, f"time grows too fast: {growth}"
    assert growth.memory_factor <= FACTOR, f"memory grows too fast: {growth}"
    MEASURED.append(growth)
    return growth


def assert_linear(run: Callable[[Any], object], make: Callable[[int], Any], n: int) -> Growth:
    """Check ``run(make(size))`` from n/2 to 4n; only ``run`` is measured."""
    return check(lambda size: partial(run, make(size)), start=n // 2, largest=4 * n)
