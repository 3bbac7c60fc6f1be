"""Measure how time and memory grow when an input doubles."""

import gc
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

#: how much more a doubled input may take; a quadratic step takes 4 times as much
MOST = 2.3
#: a busy machine disturbs single measurements: the best of some counts
ATTEMPTS = 5
#: seconds and bytes below which nothing is compared: the fixed costs decide there
LEAST_TIME = 0.002
LEAST_MEMORY = 64 << 10


def seconds(run: Callable[[Any], object], make: Callable[[int], Any], n: int) -> float:
    best = float("inf")
    for _ in range(3):
        subject = make(n)
        gc.collect()
        begin = time.process_time()
        run(subject)
        best = min(best, time.process_time() - begin)
    return best


def peak(run: Callable[[Any], object], make: Callable[[int], Any], n: int) -> int:
    """The most bytes that were held at once, the subject itself not counted."""
    subject = make(n)
    gc.collect()
    tracemalloc.start()
    try:
        kept = run(subject)  # a result that is held counts, one that is dropped as it comes does not
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del kept


def ratios(measured: list[float], least: float) -> list[float]:
    return [later / max(earlier, least) for earlier, later in pairwise(measured)]


def assert_linear(run: Callable[[Any], object], make: Callable[[int], Any], n: int) -> None:
    """``make(n)`` builds a subject whose size is proportional to ``n``; ``run`` is what is measured.

    The time and the peak memory for n, 2n and 4n may grow at most 2.3-fold a step.
    """
    sizes = (n, 2 * n, 4 * n)
    run(make(n))  # what is imported or compiled once is not the law's business
    memory = [float(peak(run, make, size)) for size in sizes]
    assert max(ratios(memory, LEAST_MEMORY)) <= MOST, f"bytes at n, 2n, 4n: {memory}"
    for attempt in range(ATTEMPTS):
        times = [seconds(run, make, size) for size in sizes]
        if max(ratios(times, LEAST_TIME)) <= MOST:
            return
        assert attempt < ATTEMPTS - 1, f"seconds at n, 2n, 4n: {times}"
