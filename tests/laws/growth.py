"""Measure how the time and memory of a subject grow when its input doubles.

A subject is a function that takes a size ``n``, prepares an input of this size, and returns an action: a
function without arguments. Only the action is measured. `check` measures the sizes n and 8n:

    check(lambda n: lambda data=b"x" * n: parse(data))

From n to 8n, the input doubles three times. The factor is the average growth for each of these doublings. It
is 2 for linear work, and 4 for quadratic work. `check` fails if the factor is above 2.3. A busy machine
disturbs three doublings less than a single doubling.

* The time is the processor time of this thread. If the time grows too fast, `check` measures again.
* The memory is the peak that ``tracemalloc`` measures.
* If an action raises TemplaterError, the size exceeds a limit of templater. `check` then measures smaller
  sizes.

`python -m tests.laws` measures all subjects. It prints the number of subjects and the worst factors.
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
    """The result of a check: two sizes, and the seconds and bytes at each size.

    The factors are the average growth for each doubling of the size.
    """

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
    """Return the average growth for each doubling of the size.

    A value below ``noise`` counts as ``noise``.
    """
    first, last = (max(value, noise) for value in values)
    return float((last / first) ** (1 / STEPS))


def run(action: Action) -> bool:
    """Run an action. Return False if the action raises TemplaterError, for example for a limit, else True."""
    try:
        action()
    except TemplaterError:
        return False
    return True


def seconds(subject: Subject, n: int) -> float:
    """Prepare a new input of the size ``n``, and return the processor time of the action."""
    action = subject(n)
    begun = thread_time()
    run(action)
    return thread_time() - begun


def peak(subject: Subject, n: int) -> int:
    """Return the peak memory of an action in bytes, without its input."""
    action = subject(n)
    gc.collect()
    tracemalloc.start()
    try:
        run(action)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def measurable_size(subject: Subject, start: int, largest: int) -> int:
    """Return a size ``n`` at which the action takes long enough to be measured.

    The size 8n is within the limits of templater.
    """
    n = start
    while n << STEPS < largest and seconds(subject, n) < SHORTEST:
        n *= 2
    while n > start and not run(subject(n << STEPS)):
        n //= 2
    return n


def measure(subject: Subject, *, start: int = 250, largest: int = LARGEST, memory: bool = True) -> Growth:
    """Measure a subject at a size n that this function chooses, and at the size 8n."""
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
    """Check the growth of ``run(make(size))`` for sizes from n/2 to 4n. Only ``run`` is measured."""
    return check(lambda size: partial(run, make(size)), start=n // 2, largest=4 * n)
