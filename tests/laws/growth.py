"""Measure how the time and memory of a subject grow when its input doubles.

A subject is a function of a size ``n`` that prepares an input and returns an action without arguments; only the
action is measured. `check` runs it at n, 2n, 4n and 8n and fails if a doubling costs more than 2.3 times as much,
on average of the three:

    check(lambda n: lambda data=b"x" * n: parse(data))

Quadratic work costs 4 times as much, linear work twice. Three doublings together show the difference also on a
busy machine, where a single one is disturbed. Time is processor time of this thread, the minimum of several
runs, and a surprising result is measured again. Memory is the peak that ``tracemalloc`` sees. An action that
raises an error of templater has ended within a limit; sizes above that are not measured.

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
SHORTEST = 0.005
LARGEST = 1 << 20
RUNS = 2
ATTEMPTS = 8
#: less than this is noise
SECONDS = 0.005
BYTES = 1 << 20
#: the results of all checks so far that did not fail
MEASURED: list["Growth"] = []


class Growth:
    """The result of a check: sizes, seconds and bytes at each, and the average factor of a doubling."""

    def __init__(self, sizes: list[int], seconds: list[float], bytes_: list[int]) -> None:
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


def average(values: "list[float] | list[int]", noise: float) -> float:
    """Return the factor of one doubling, from the first and the last value. Both are at least ``noise``."""
    first, *_, last = (max(value, noise) for value in values)
    return float((last / first) ** (1 / (len(values) - 1)))


def run(action: Action) -> bool:
    """Run an action; whether it ended without a limit or another error of templater."""
    try:
        action()
    except TemplaterError:
        return False
    return True


def seconds(subject: Subject, n: int, runs: int = RUNS) -> float:
    """Return the processor time of the fastest of several runs, each with an input of its own."""
    times = []
    for _ in range(runs):
        action = subject(n)
        begun = thread_time()
        run(action)
        times.append(thread_time() - begun)
        if times[-1] > 0.5:
            break
    return min(times)


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
    while n << STEPS < largest and seconds(subject, n, 1) < SHORTEST:
        n *= 2
    while n > start and not run(subject(n << STEPS)):
        n //= 2
    return n


def measure(subject: Subject, *, start: int = 250, largest: int = LARGEST, memory: bool = True) -> Growth:
    """Measure a subject at n, 2n, 4n and 8n."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        run(subject(start))  # imports and caches are not measured
        n = measurable_size(subject, start, largest)
        sizes = [n << step for step in range(STEPS + 1)]
        growth = Growth(sizes, [seconds(subject, size) for size in sizes], [0] * len(sizes))
        for _ in range(ATTEMPTS):
            if growth.time_factor <= FACTOR:
                break
            again = [seconds(subject, size) for size in sizes]
            growth.seconds = [min(pair) for pair in zip(growth.seconds, again, strict=True)]
        if memory:
            # tracemalloc makes an action many times slower, so only the ends are measured
            growth.bytes = [peak(subject, sizes[0]), *[0] * (STEPS - 1), peak(subject, sizes[-1])]
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
