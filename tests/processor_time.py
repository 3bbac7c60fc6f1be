"""Limits on processor time in tests. They also hold on a slow or busy machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

#: the seconds that ``_work`` takes with Python 3.11 on the machine for which the limits of the tests were chosen
USUAL = 0.0065


def _work() -> int:
    """Do some work of the kinds that templater does: numbers, texts, dictionaries."""
    texts = [f"{number}:{number * 7 % 1000}" for number in range(20_000)]
    found = {text: text.partition(":")[2] for text in texts}
    return sum(len(value) for value in found.values() if value.startswith("7")) + len("".join(texts))


def slowness() -> float:
    """Return how many times longer this machine takes now than the usual one, but at least 1."""
    taken = []
    for _ in range(9):
        begun = time.thread_time()
        _work()
        taken.append(time.thread_time() - begun)
    return max(1.0, sorted(taken)[4] / USUAL)


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer than these seconds of processor time, on a machine of the usual speed."""
    begun = time.process_time()
    yield
    taken = time.process_time() - begun
    assert taken < seconds or taken < seconds * slowness()
