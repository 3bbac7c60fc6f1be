"""A list of instances shared by as many processes as pay."""

from __future__ import annotations

import marshal
import os
from collections.abc import Generator, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from ..parsing.instance_list import Blocks, Held, stream_values, values_of
from ..sandbox.child import ChildFailure
from .fleet import Batch, Fleet
from .list_file import ListFile, can_be_shared
from .workers import Died, Workers, can_share

if TYPE_CHECKING:
    from ..parsing.instance_list import Cuttable, Read
    from .fleet import Order

#: bytes of a list that a process gets at once, those rendered before there are processes, and up to how
#: many one process is quicker than several
PIECE = 256 << 10
FIRST = 32 << 10
FEW = 1 << 20
#: what a process says instead of a batch
_TROUBLE = marshal.dumps(None)
#: before a block
_LAST, _CUT = b"]", b","


def batches(
    given: Order, read: Read, jobs: int | None = None, descriptor: int | None = None
) -> Iterator[Batch]:
    """What comes of each instance of a list, in order, as ``read`` gives its bytes.

    ``jobs`` processes work on it; by default one for a short list, and one a processor for others.
    Where ``descriptor`` is that of the list's file, they read it themselves.
    """
    fleet = Fleet(given)
    jobs = jobs or processors()
    if jobs == 1 or not can_share():
        yield from fleet.batches(stream_values(read, given.file))
        return
    in_file = descriptor is not None and can_be_shared(descriptor)
    source = ListFile(descriptor) if descriptor is not None and in_file else Held(read)
    shared = _Shared(fleet, source)
    if source.has(FEW):
        yield from shared.batches(jobs)
    if not shared.finished:
        values = stream_values(source.read, given.file, shared.done)
        yield from fleet.batches(islice(values, shared.skip, None))


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Shared:
    """A list that several processes share, block by block.

    What one of them can't do, be it for a wrong cut or for what is wrong with the list, is left to
    the caller, with all that comes after it: so errors are the same however many share the work.
    """

    def __init__(self, fleet: Fleet, source: Cuttable) -> None:
        self.fleet = fleet
        self.source = source
        self.blocks = Blocks(source)
        self.opening = b""
        self.finished = False
        #: instances of whole blocks that are told, and those told of the block that comes next
        self.done = 0
        self.skip = 0
        self.under_way: list[bytes] = []
        self.all_cut = False

    def batches(self, jobs: int) -> Iterator[Batch]:
        self.opening = self.blocks.begin()
        if not self.opening:
            return
        # here, so that processes forked from this one find everything compiled
        fine = yield from self.told(self.alone())
        while fine and not self.all_cut:
            with Workers(jobs, self.work) as workers:
                fine = yield from self.told(workers.answers(self.pieces(PIECE)))
            if not fine and not self.skip and not self.blocks.decode:
                # perhaps it was only cut at a wrong place
                self.give_back()
                self.blocks.decode = fine = True
            elif not self.all_cut:
                break
        self.finished = fine and self.all_cut
        if not self.finished:
            self.give_back()

    def alone(self) -> Iterator[bytes | None]:
        for piece in islice(self.pieces(FIRST), 1):
            yield from filter(None, self.work(piece))  # as over a pipe, where nothing is nothing
            yield None

    def pieces(self, size: int) -> Iterator[bytes]:
        """Block by block, up to the end, or to an element that is too large."""
        while not self.all_cut:
            found = self.blocks.next(size)
            if found is None:
                return
            block, self.all_cut = found
            self.under_way.append(block)
            yield (_LAST if self.all_cut else _CUT) + block

    def told(self, parts: Iterator[bytes | None]) -> Generator[Batch, None, bool]:
        """The batches of answers, in order; False where there is trouble with the next one."""
        try:
            for part in parts:
                if part is None:
                    del self.under_way[0]
                    self.done, self.skip = self.done + self.skip, 0
                    continue
                batch = Batch.unpacked(part, parts)
                if batch is None:
                    return False
                self.skip += batch.instances
                yield batch
        except Died as death:
            raise ChildFailure(
                f"the process that went on after {self.done + self.skip} instances ended early, {death.how}",
                hint="memory may have run out; --jobs 1 uses one process",
            ) from None
        return True

    def give_back(self) -> None:
        """What is not told yet, as it was."""
        self.all_cut = False
        self.source.give_back(self.under_way if self.done else [self.opening, *self.under_way])
        self.under_way.clear()

    def work(self, piece: bytes) -> Iterator[bytes]:
        """What a process does with a piece; the last word is of trouble, if there is any."""
        try:
            values = values_of(self.source.data_of(piece[1:]), piece.startswith(_LAST))
            if values is not None:
                for batch in self.fleet.batches(enumerate(values)):
                    yield from batch.packed()
                return
        except Exception:  # noqa: S110 - whatever it is will be met again, and told, by the parent
            pass
        yield _TROUBLE
