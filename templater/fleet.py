"""One image for many instances: read and compiled once, planned in as many processes as pay."""

from __future__ import annotations

import codecs
import json
import marshal
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from .changes import Plan
from .diff import diff
from .errors import LimitError, RefusedError, TemplaterError
from .hosts import HOSTS
from .instance_list import LARGEST_INSTANCE, instance_of, stream_values
from .instance_yaml import overridden
from .metadata_yaml import read_metadata
from .outcomes import predict
from .plan import plan_of
from .rendering import Compiled, render
from .report import plan_data, summary, verdict
from .source import printable

if TYPE_CHECKING:
    from .changes import Change
    from .instance import Instance
    from .pongo2.state import Limits
    from .rendering import Rendering
    from .source import Source
    from .views import Image, RootfsView, TemplateFile
    from .yamltext import Limits as YamlLimits

#: bytes that go to a process at once, and up to how many one process is quicker than several
PIECE = 128 << 10
FEW = 1 << 20
#: pieces under way for each process: enough to keep it busy, few enough to stay small
AHEAD = 3

Read = Callable[[int], bytes]
Value = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of every instance; made of plain values, so that it can be sent to a process."""

    metadata: Source
    templates: Mapping[str, TemplateFile]
    triggers: tuple[str, ...]
    host: str
    dialect: str | None
    show: str
    file: str = ""
    config: Mapping[str, str] | None = None
    devices: Mapping[str, Mapping[str, str]] | None = None
    #: a root filesystem for each instance, ``{name}`` in it standing for the name
    rootfs: str | None = None
    #: what rendering may take; its time in total begins anew with each instance
    limits: Limits | None = None
    reading: YamlLimits | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one instance: its text as asked for, its exit code, and what went wrong."""

    name: str
    text: str
    code: int
    changes: int
    errors: tuple[str, ...] = ()


def order(
    image: Image,
    *,
    triggers: tuple[str, ...],
    host: str,
    dialect: str | None = None,
    show: str = "summary",
    reading: YamlLimits | None = None,
    **more: Any,
) -> Order:
    """Everything of the image that is needed, read once."""
    source = image.read_metadata()
    metadata = read_metadata(source, yaml=HOSTS[host].yaml, limits=reading)
    templates = image.read_templates({rule.template for rule in metadata.rules if rule.template})
    return Order(source, dict(templates), triggers, host, dialect, show, reading=reading, **more)


class Fleet:
    """An order ready to be carried out for one instance after the other."""

    def __init__(self, given: Order) -> None:
        self.order = given
        self.host = HOSTS[given.host]
        self.metadata = read_metadata(given.metadata, yaml=self.host.yaml, limits=given.reading)
        self.compiled = Compiled(given.templates, given.dialect or self.host.dialect, limits=given.limits)
        self._pattern: tuple[Change, ...] | None = None

    def plan(self, instance: Instance, rootfs: RootfsView | None = None) -> Plan:
        triggers = self.order.triggers
        renderings = render(self.metadata, self.compiled, instance, triggers, self.host)
        alike = rootfs is None and not instance.is_vm and all(r.error is None for r in renderings)
        if alike and self._pattern is not None:
            changes = tuple(map(_again, self._pattern, renderings))
            return Plan(self.metadata, instance, self.host, triggers, changes)
        made = plan_of(self.metadata, instance, renderings, rootfs, host=self.host, triggers=triggers)
        predict(made, self.order.templates, rootfs)
        if alike and _repeats_well(made):
            self._pattern = made.changes
        return made

    def results(self, piece: bytes, before: int) -> list[Result]:
        """Of a whole list; ``before`` is how many instances came before it."""
        values = stream_values(BytesIO(piece).read, self.order.file)
        return [self.result((before + place, value)) for place, value in values]

    def result(self, value: Value) -> Result:
        place, description = value
        instance = instance_of(description, place, self.order.file)
        if self.order.config or self.order.devices:
            instance = overridden(instance, config=self.order.config or {}, devices=self.order.devices or {})
        with _rootfs(self.order.rootfs, instance.name) as rootfs:
            try:
                made = self.plan(instance, rootfs)
            except LimitError as error:
                error.notes += (f"rendering for '{printable(instance.name)}'",)
                raise
        errors = tuple(str(change.error) for change in made.failed if change.error is not None)
        return Result(instance.name, SHOWS[self.order.show](made), verdict(made), len(made.changes), errors)


def _repeats_well(made: Plan) -> bool:
    """Whether another instance's plan differs in contents alone.

    It does where no root filesystem is known, everything renders, and no file is written twice:
    then neither what we do nor what a host does depends on what stands in a file.
    """
    return not made.failed and len({change.real for change in made.changes}) == len(made.changes)


def _again(change: Change, rendering: Rendering) -> Change:
    """The same change with another content."""
    again = copy(change)
    again.content = rendering.content
    return again


def json_line(plan: Plan) -> str:
    return json.dumps(plan_data(plan), ensure_ascii=False) + "\n"


def summary_line(plan: Plan) -> str:
    lines = [summary(plan), *(f"    {printable(change.path)}: {change.error}" for change in plan.failed)]
    return "".join(f"{line}\n" for line in lines)


def patch_text(plan: Plan) -> str:
    text = diff(plan)
    return f"# {printable(plan.instance.name)}\n{text}" if text else ""


SHOWS: Mapping[str, Callable[[Plan], str]] = {
    "json": json_line,
    "summary": summary_line,
    "patch": patch_text,
}


def results(given: Order, read: Read, jobs: int | None = None) -> Iterator[Result]:
    """The result of each instance of a list, in order, as ``read`` gives its bytes.

    ``jobs`` processes work on it; by default one for a short list, and one a processor for others.
    """
    fleet = Fleet(given)
    stream = _Stream(read)
    jobs = jobs or processors()
    if jobs == 1 or not stream.fill(FEW):
        for place, value in stream_values(stream.read, given.file):
            yield fleet.result((place, value))
        return
    pieces = pieces_of(stream, given.file)
    count = 0
    for piece in islice(pieces, 1):
        # rendered here, so that processes made from this one find everything compiled
        done = fleet.results(piece, 0)
        count += len(done)
        yield from done
    yield from _spread(fleet, pieces, jobs, count)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Stream:
    """Bytes as they come, of which some were looked at before."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.buffer = b""
        self.ended = False

    def fill(self, size: int) -> bool:
        """Hold at least ``size`` bytes; False if there are fewer."""
        parts, held = [self.buffer], len(self.buffer)
        while held < size and not self.ended:
            parts.append(self._read(max(size - held, 1 << 16)))
            held += len(parts[-1])
            self.ended = not parts[-1]
        self.buffer = b"".join(parts)
        return held >= size

    def read(self, size: int) -> bytes:
        if not self.buffer:
            return self._read(size)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data


def pieces_of(stream: _Stream, file: str) -> Iterator[bytes]:
    """A JSON list cut into shorter ones."""
    stream.fill(PIECE)
    head = stream.buffer.removeprefix(codecs.BOM_UTF8).lstrip()
    if not head.startswith(b"["):
        next(stream_values(BytesIO(head).read, file))  # says what is wrong
    stream.buffer = head[1:]
    size = PIECE
    while stream.fill(size):
        end = boundary(stream.buffer)
        if end is None:
            if size > LARGEST_INSTANCE:
                raise LimitError(f"an instance of {file} is larger than {LARGEST_INSTANCE >> 20} MiB")
            size *= 2
            continue
        piece, stream.buffer, size = stream.buffer[: end[0]], stream.buffer[end[1] :], PIECE
        yield b"[" + piece + b"]"
    yield b"[" + stream.buffer


def boundary(data: bytes) -> tuple[int, int] | None:
    """Where the last whole element ends and the next one begins; only decoding can tell."""
    text = data.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
    end = start = 0
    try:
        while True:
            _, stop = decoder.raw_decode(text, _blanks(text, start))
            comma = _blanks(text, stop)
            if text[comma : comma + 1] != ",":
                break
            end, start = stop, comma + 1
    except (json.JSONDecodeError, RecursionError):
        pass  # the window's end, or a mistake that whoever gets the rest will find
    return (_size(text[:end]), _size(text[:start])) if start else None


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _blanks(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


def _spread(fleet: Fleet, pieces: Iterator[bytes], jobs: int, count: int) -> Iterator[Result]:
    _Process.fleet = fleet  # inherited where processes are forked
    waiting: deque[tuple[bytes, Future[bytes]]] = deque()
    with ProcessPoolExecutor(jobs, initializer=_start, initargs=(fleet.order,)) as pool:
        try:
            for piece in chain(pieces, [b""]):
                if piece:
                    waiting.append((piece, pool.submit(_work, piece)))
                while waiting and (not piece or len(waiting) >= jobs * AHEAD):
                    given, future = waiting.popleft()
                    done = _received(future.result()) or fleet.results(given, count)
                    count += len(done)
                    yield from done
        finally:
            pool.shutdown(cancel_futures=True)


class _Process:
    """What a process keeps between batches."""

    fleet: Fleet | None = None


def _start(given: Order) -> None:
    if _Process.fleet is None:
        _Process.fleet = Fleet(given)


def _work(piece: bytes) -> bytes:
    """The results of a piece as plain values; nothing where there is an error, which is told by the
    parent: it knows how many instances came before."""
    fleet = _Process.fleet
    assert fleet is not None
    try:
        done = fleet.results(piece, 0)
    except TemplaterError:
        return marshal.dumps([])
    return marshal.dumps([(each.name, each.text, each.code, each.changes, each.errors) for each in done])


def _received(data: bytes) -> list[Result]:
    # from a process of our own, through a pipe that nobody else has
    return [Result(*each) for each in marshal.loads(data)]  # noqa: S302


@contextmanager
def _rootfs(pattern: str | None, name: str) -> Iterator[RootfsView | None]:
    """The root filesystem of one instance, if there are any."""
    if pattern is None:
        yield None
        return
    from .rootfs.directory import DirectoryRootfs, refuse_link

    if "/" in name or name in ("", ".", ".."):
        raise RefusedError(f"'{printable(name)}' can't be part of a path")
    path = pattern.replace("{name}", name)
    refuse_link(path)
    with DirectoryRootfs(path) as rootfs:
        yield rootfs
