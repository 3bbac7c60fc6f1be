"""Tests of writes that bypass the page cache: content, alignment, and failures."""

import errno
import fcntl
import hashlib
import os
import random
import threading

import pytest

from templater.distribution import direct_writes
from templater.distribution.direct_writes import DirectWrites


@pytest.fixture(params=["direct", "no direct writes", "other alignment"])
def kind(request, monkeypatch):
    """Real direct writes, where the file system has them, and the two answers of other file systems."""
    real_fcntl, real_write = fcntl.fcntl, os.write

    def refuse(fd, command, flags=0):
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_fcntl(fd, command, flags)

    def write(fd, data):
        if real_fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_write(fd, data)

    if request.param == "no direct writes":
        monkeypatch.setattr(fcntl, "fcntl", refuse)
    elif request.param == "other alignment":
        monkeypatch.setattr(os, "write", write)
    return request.param


BLOCK = direct_writes._BLOCK


@pytest.mark.parametrize("size", [0, 4096, BLOCK - 1, BLOCK, 6 * BLOCK + 12_345])
@pytest.mark.parametrize("start", [0, 4096, BLOCK + 77])
def test_pieces_of_any_size_are_appended_and_hashed(tmp_path, kind, start, size):
    drawn = random.Random(f"{start} {size}")
    before, data = drawn.randbytes(start), drawn.randbytes(size)
    also = hashlib.sha256()
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        file.write(before)
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        with DirectWrites(file.fileno(), start, [also]) as written:
            place = 0
            while place < size:
                piece = data[place : place + drawn.choice((1, 4096, 262_144, 3 * BLOCK))]
                written.append(piece)
                place += len(piece)
        assert fcntl.fcntl(file, fcntl.F_GETFL) == flags
    assert (tmp_path / "file").read_bytes() == before + data
    assert also.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("start", [0, 5])
def test_only_whole_blocks_bypass_the_page_cache(tmp_path, monkeypatch, start):
    written, real = [], os.write

    def write(fd, data):
        written.append((len(data), bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        os.lseek(file.fileno(), start, os.SEEK_SET)
        with DirectWrites(file.fileno(), start) as writes:
            writes.append(bytes(2 * BLOCK + 10))
    if (BLOCK, False) in written:
        pytest.skip("NOT RUN: needs a file system with direct writes for the test's directory")
    first = [(BLOCK, True), (BLOCK, True), (10, False)]
    assert written == (first if not start else [(BLOCK - 5, False), (BLOCK, True), (15, False)])


@pytest.mark.parametrize("failing", range(6))
def test_a_failed_write_is_raised_and_leaves_no_gap(tmp_path, monkeypatch, failing):
    count, real = iter(range(100)), os.write

    def write(fd, data):
        if next(count) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    data = random.Random(1).randbytes(5 * BLOCK + 9)
    monkeypatch.setattr(os, "write", write)
    with (
        open(tmp_path / "file", "w+b", buffering=0) as file,
        pytest.raises(OSError, match="No space"),
        DirectWrites(file.fileno(), 0) as written,
    ):
        for place in range(0, len(data), 300_000):
            written.append(data[place : place + 300_000])
    assert (tmp_path / "file").read_bytes() == data[: failing * BLOCK]


def test_no_thread_remains_after_a_failed_write_and_an_error_of_the_caller(tmp_path, monkeypatch):
    def write(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    before = threading.active_count()
    with (
        open(tmp_path / "file", "w+b", buffering=0) as file,
        pytest.raises(OSError, match="No space"),
        DirectWrites(file.fileno(), 0) as written,
    ):
        written.append(bytes(2 * BLOCK))
        raise KeyError
    assert threading.active_count() == before


def test_after_an_error_of_the_caller_the_received_bytes_are_written(tmp_path):
    with (
        open(tmp_path / "file", "w+b", buffering=0) as file,
        pytest.raises(KeyError),
        DirectWrites(file.fileno(), 0) as written,
    ):
        written.append(b"received")
        raise KeyError
    assert (tmp_path / "file").read_bytes() == b"received"


def test_the_kernel_is_asked_to_write_a_growing_file_to_the_disk(tmp_path, monkeypatch):
    advised = []
    monkeypatch.setattr(direct_writes, "_ADVISED", 2 * BLOCK)
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *words: advised.append(words))
    with open(tmp_path / "file", "w+b", buffering=0) as file, DirectWrites(file.fileno(), 0) as written:
        written.append(bytes(5 * BLOCK))
    assert advised == [
        (0, 2 * BLOCK, os.POSIX_FADV_DONTNEED), (2 * BLOCK, 2 * BLOCK, os.POSIX_FADV_DONTNEED),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_writer_holds_three_blocks_whatever_the_disk_does(tmp_path, monkeypatch):
    go, real = threading.Event(), os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (go.wait(30), real(fd, data))[1])
    done = []
    with open(tmp_path / "file", "w+b", buffering=0) as file:

        def append():
            with DirectWrites(file.fileno(), 0) as written:
                for _ in range(6):
                    written.append(bytes(BLOCK))
                    done.append(True)

        thread = threading.Thread(target=append)
        thread.start()
        thread.join(0.5)
        assert len(done) <= 2  # the third block waits for the first write
        go.set()
        thread.join(30)
    assert len(done) == 6
