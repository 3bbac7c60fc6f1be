"""Verdicts on the next starts of several instances.

Other threads read the instances in advance. The calling thread judges them in order.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ..live.address import Address
from ..live.connect import Daemon
from ..live.live_instance import LiveInstance, describe_instance, read_profiles
from ..live.newer_image import NewerImages
from ..model.counters_of_work import read_instance
from ..model.errors import LimitError, TemplaterError
from ..model.render_options import RenderOptions
from .read_ahead import read_ahead
from .verdicts import NextStart, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..image.limits import Limits
    from ..model.instance import Instance
    from ..parsing.yaml_nodes import Limits as YamlLimits

#: number of requests that are sent to the daemon at the same time
WORKERS = 8
#: Maximum number of instances that threads read ahead, and maximum bytes that they read of each instance.
#: The calling thread reads larger instances one at a time. Both limits save memory. They also bound the work
#: of the threads, because templater can't interrupt a thread.
_AHEAD, _MOST = 2 * WORKERS, 128 << 10


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts on the next start of an instance, or the error that prevents them."""

    address: Address
    status: str
    found: NextStart | None = None
    error: TemplaterError | None = None


def judge_many(
    daemon: Daemon,
    instances: Sequence[tuple[Address, Mapping[str, Any]]],
    describe: Callable[[LiveInstance], Instance],
    options: RenderOptions,
    *,
    limits: Limits,
    reading: YamlLimits | None = None,
) -> Iterator[Judged]:
    """Yield the verdict on the next start of each instance, or the instance's error, in order."""
    profiles: dict[str, dict[str, Mapping[str, Any]]] = {}
    waiting: deque[tuple[LiveInstance, Future[TemplaterError | None]]] = deque()
    images = NewerImages(daemon)
    rest = iter(instances)
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="reader")
    ahead = 1  # the first result appears sooner if the first instance is read alone
    try:
        while True:
            while len(waiting) < ahead and (item := next(rest, None)) is not None:
                address, data = item
                if address.project not in profiles:
                    profiles[address.project] = read_profiles(daemon, address)
                live = describe_instance(daemon, address, data, profiles[address.project], limits)
                live.image.most = _MOST
                waiting.append((live, pool.submit(_attempt, live)))
            if not waiting:
                return
            ahead = _AHEAD
            live, future = waiting.popleft()
            error = future.result()
            live.image.most = math.inf
            if isinstance(error, LimitError):
                error = _attempt(live)
            yield _judged(live, error, describe, options, reading, images)
            read_instance()
    except BaseException:
        daemon.client.close()  # the threads end because their requests now fail
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _judged(
    live: LiveInstance,
    error: TemplaterError | None,
    describe: Callable[[LiveInstance], Instance],
    options: RenderOptions,
    reading: YamlLimits | None,
    images: NewerImages,
) -> Judged:
    found = None
    if error is None:
        try:
            found = replace(judge(live, describe(live), options, reading), newer_image=images.note(live))
        except TemplaterError as failure:
            error = failure
    return Judged(live.address, live.status, found, error)


def _attempt(live: LiveInstance) -> TemplaterError | None:
    """Read an instance. Return None, or the error if reading fails."""
    try:
        live.look()
        read_ahead(live)
    except TemplaterError as error:
        return error
    return None
