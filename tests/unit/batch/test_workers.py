"""Processes that share work: every answer, in order, whatever each of them takes for it."""

import os
import time

import pytest

from templater.batch import workers
from templater.batch.workers import Died, Workers


def doubled(piece):
    number = int(piece)
    time.sleep(0.002 * (number % 3))
    for _ in range(number % 4):
        yield piece * 2


def slowly(piece):
    time.sleep(0.02)
    return [piece]


def test_answers_come_in_the_order_of_the_pieces():
    pieces = [b"%d" % number for number in range(100)]
    with Workers(3, doubled) as shared:
        found = list(shared.answers(pieces))
    assert found == [part for piece in pieces for part in [*([piece * 2] * (int(piece) % 4)), None]]


def test_pieces_and_answers_may_be_larger_than_any_pipe():
    pieces = [bytes([number]) * (3 << 20) for number in range(8)]
    with Workers(2, lambda piece: [piece, piece[::-1], b""]) as shared:
        found = list(shared.answers(iter(pieces)))
    assert found == [part for piece in pieces for part in (piece, piece, None)]


def test_several_work_at_the_same_time():
    with Workers(2, lambda piece: [b"%d" % os.getpid(), *slowly(b"")]) as shared:
        found = {part for part in shared.answers([b"x"] * 40) if part}
    assert len(found) == 2
    assert b"%d" % os.getpid() not in found


def test_there_are_no_more_of_them_than_pieces():
    with Workers(50, lambda piece: [piece]) as shared:
        assert list(shared.answers([b"x", b"y"])) == [b"x", None, b"y", None]
        assert 1 <= len(shared._workers) <= 2


def test_no_more_is_taken_than_is_needed_to_keep_them_busy():
    taken = []

    def pieces():
        for number in range(1000):
            taken.append(number)
            yield b"x"

    with Workers(2, lambda piece: [piece]) as shared:
        answers = shared.answers(pieces())
        for _ in range(10):
            next(answers)
    assert len(taken) < 5 + 2 * workers.AHEAD + 2


def test_answers_that_nobody_takes_stay_with_their_writers(monkeypatch):
    monkeypatch.setattr(workers, "MOST_WAITING", 1 << 20)

    def work(piece):
        if piece == b"0":
            time.sleep(0.5)
        for _ in range(64):
            yield bytes(1 << 18)

    with Workers(2, work) as shared:
        answers = shared.answers([b"%d" % n for n in range(6)])
        next(answers)
        held = sum(len(part) for w in shared._workers for task in w.tasks for part in task.parts)
        assert held < 5 << 20
        assert sum(1 for part in answers if part is None) == 6


def test_a_piece_without_an_answer_says_how_its_process_ended():
    def work(piece):
        if piece == b"7":
            os._exit(3)
        yield piece

    found = []
    with pytest.raises(Died, match="with exit code 3"), Workers(2, work) as shared:
        for part in shared.answers([b"%d" % n for n in range(20)]):
            found.append(part)
    assert found == [part for n in range(7) for part in (b"%d" % n, None)]


def test_an_exception_ends_its_process_and_nobody_else():
    def work(piece):
        raise ValueError(piece)

    with pytest.raises(Died, match="with exit code 1"), Workers(1, work) as shared:
        list(shared.answers([b"x"]))


def test_nothing_is_left_of_them():
    before = set(os.listdir("/proc/self/fd"))
    with Workers(3, lambda piece: [piece]) as shared:
        answers = shared.answers([b"x"] * 10)
        next(answers)
        pids = [worker.pid for worker in shared._workers]
        assert pids
    assert set(os.listdir("/proc/self/fd")) == before
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_they_end_when_their_parent_is_killed():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        shared = Workers(2, slowly)
        answers = shared.answers([bytes(1 << 16)] * 100)
        next(answers)
        os.write(write, b" ".join(b"%d" % worker.pid for worker in shared._workers))
        os.kill(os.getpid(), 9)
    os.close(write)
    pids = os.read(read, 100).split()
    assert os.read(read, 1) == b""  # which each of them held open
    os.close(read)
    os.waitpid(pid, 0)
    assert len(pids) == 2
