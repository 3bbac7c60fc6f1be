"""Downloads into a directory: which file is opened, hashed and written, and when the kernel writes to the disk.

Writes that bypass the page cache: content, alignment, and failures.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import random
import threading
import time

import pytest

from templater.distribution import downloads
from templater.distribution.downloads import PART, DirectWrites, Downloads, private_directory
from templater.model.errors import InputError, RefusedError
from templater.model.progress import silent

DIGEST = hashlib.sha256(b"content").hexdigest()


@pytest.fixture
def folder(tmp_path):
    return Downloads(str(tmp_path / "files"))


def served(asked):
    """Return a download of ``content``, which records the positions from which it was requested."""

    @contextlib.contextmanager
    def download(start):
        asked.append(start)
        yield start, iter([b"content"[start : start + 3], b"content"[start + 3 :]])

    return download


def test_an_earlier_download_is_reused_and_gets_a_new_modification_time(folder):
    path = folder.fetch(DIGEST, "n", served([]), silent)
    os.utime(path, (1, 1))
    also = hashlib.sha256(b"before")
    assert folder.fetch(DIGEST, "n", None, silent, also) == path
    assert also.hexdigest() == hashlib.sha256(b"beforecontent").hexdigest()
    assert time.time() - os.stat(path).st_mtime < 60


@pytest.mark.parametrize("begun", [0, 4, 7])
def test_both_hashes_of_a_resumed_download_cover_the_whole_file(folder, begun):
    part = f"{folder.path}/{DIGEST}{PART}"
    with open(part, "wb") as file:
        file.write(b"content"[:begun])
    asked, seen, also = [], [], hashlib.sha256(b"before")
    path = folder.fetch(DIGEST, "n", served(asked), lambda *words: seen.append(words), also, 9)
    assert asked == [begun]
    assert seen == [(0, min(begun + 3, 7), "n", 9), (0, 7, "n", 9)]
    assert also.hexdigest() == hashlib.sha256(b"beforecontent").hexdigest()
    with open(path, "rb") as file:
        assert file.read() == b"content"
    assert os.listdir(folder.path) == [DIGEST]


def test_an_incomplete_file_is_overwritten_by_a_complete_answer(folder):
    with open(f"{folder.path}/{DIGEST}{PART}", "wb") as file:
        file.write(b"something longer than the content")

    @contextlib.contextmanager
    def download(start):
        yield 0, iter([b"content"])

    with open(folder.fetch(DIGEST, "n", download, silent), "rb") as file:
        assert file.read() == b"content"


@pytest.mark.parametrize("part", [b"x", b"contexx", b"hostile"])
def test_a_resumed_download_with_a_wrong_hash_begins_again(folder, part):
    with open(f"{folder.path}/{DIGEST}{PART}", "wb") as file:
        file.write(part)
    asked, also = [], hashlib.sha256(b"before")
    path = folder.fetch(DIGEST, "n", served(asked), silent, also)
    assert asked == [len(part), 0]
    assert also.hexdigest() == hashlib.sha256(b"beforecontent").hexdigest()
    with open(path, "rb") as file:
        assert file.read() == b"content"
    assert os.listdir(folder.path) == [DIGEST]


def test_a_download_with_a_wrong_hash_begins_again_only_once(folder):
    asked = []

    @contextlib.contextmanager
    def download(start):
        asked.append(start)
        yield start, iter([b"wrong"])

    for size, starts in ((0, [0]), (2, [2, 0])):
        with open(f"{folder.path}/{DIGEST}{PART}", "wb") as file:
            file.write(bytes(size))
        with pytest.raises(InputError, match="has the SHA-256 hash"):
            folder.fetch(DIGEST, "n", download, silent)
        assert asked == starts
        assert os.listdir(folder.path) == []
        asked.clear()


def test_a_restarted_download_can_be_interrupted_and_resumed(folder):
    with open(f"{folder.path}/{DIGEST}{PART}", "wb") as file:
        file.write(b"hostile")

    @contextlib.contextmanager
    def download(start):
        yield start, cut() if start == 0 else iter([b"content"[start:]])

    def cut():
        yield b"con"
        raise InputError("cut short")

    with pytest.raises(InputError, match="cut short"):
        folder.fetch(DIGEST, "n", download, silent)
    with open(folder.fetch(DIGEST, "n", download, silent), "rb") as file:
        assert file.read() == b"content"


def test_an_incomplete_file_is_opened_again_after_a_rename(folder, monkeypatch):
    part, locked = f"{folder.path}/a{PART}", []
    real = fcntl.flock

    def flock(fd, how):
        real(fd, how)
        locked.append(fd)
        if len(locked) == 1:
            os.rename(part, f"{folder.path}/a")
        elif len(locked) == 2:
            os.rename(f"{folder.path}/a", part)

    monkeypatch.setattr(fcntl, "flock", flock)
    before = len(os.listdir("/proc/self/fd"))
    fd = folder._open_part(part, time.monotonic() + 5)
    assert len(locked) == 3 and os.path.samestat(os.fstat(fd), os.stat(part))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    os.close(fd)


@pytest.mark.parametrize(("left", "tries"), [(0.0, 1), (0.1, 3)])
def test_the_wait_for_a_locked_incomplete_file_ends_at_a_deadline(folder, monkeypatch, left, tries):
    now, looks = [100.0], []

    def busy(fd, how):
        looks.append(how)
        raise BlockingIOError

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(fcntl, "flock", busy)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    before = len(os.listdir("/proc/self/fd"))
    assert folder._open_part(f"{folder.path}/a{PART}", 100.0 + left) is None
    assert looks == [fcntl.LOCK_EX | fcntl.LOCK_NB] * tries
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_in_place_of_an_incomplete_file_is_not_followed(folder, tmp_path):
    (tmp_path / "other").write_bytes(b"mine")
    os.symlink(tmp_path / "other", f"{folder.path}/{DIGEST}{PART}")
    with pytest.raises(downloads.WriteError, match="too many levels of symbolic links"):
        folder.fetch(DIGEST, "n", served([]), silent)
    assert (tmp_path / "other").read_bytes() == b"mine"


def test_a_failed_write_ends_the_download(tmp_path, folder, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(downloads.WriteError) as caught:
        folder.fetch(DIGEST, "n", served([]), silent)
    assert caught.value.message == f"can't write '{folder.path}/{DIGEST}': no space left on device"


@pytest.mark.parametrize(("mode", "refused"), [(0o755, False), (0o700, False), (0o775, True), (0o757, True)])
def test_a_private_directory_is_not_writable_by_other_users(tmp_path, mode, refused):
    path = tmp_path / "a/b"
    private_directory(str(path))
    assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(mode)
    if not refused:
        private_directory(str(path))
        return
    with pytest.raises(RefusedError):
        private_directory(str(path))


def test_a_directory_of_another_user_is_not_private(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(RefusedError):
        private_directory(str(tmp_path))


@pytest.fixture(params=["direct", "no direct writes", "other alignment"])
def kind(request, monkeypatch):
    """Use real direct writes, refuse to switch them on, or refuse each of them."""
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


BLOCK = downloads._BLOCK


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
def test_a_failed_write_raises_an_error_and_leaves_no_gap(tmp_path, monkeypatch, failing):
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


def test_no_thread_remains_if_a_write_fails(tmp_path, monkeypatch):
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


def test_received_bytes_are_written_even_after_an_error(tmp_path):
    with (
        open(tmp_path / "file", "w+b", buffering=0) as file,
        pytest.raises(KeyError),
        DirectWrites(file.fileno(), 0) as written,
    ):
        written.append(b"received")
        raise KeyError
    assert (tmp_path / "file").read_bytes() == b"received"


def test_the_kernel_is_asked_to_write_growing_files(tmp_path, monkeypatch):
    advised = []
    monkeypatch.setattr(downloads, "_ADVISED", 2 * BLOCK)
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *words: advised.append(words))
    with open(tmp_path / "file", "w+b", buffering=0) as file, DirectWrites(file.fileno(), 0) as written:
        written.append(bytes(5 * BLOCK))
    assert advised == [
        (0, 2 * BLOCK, os.POSIX_FADV_DONTNEED), (2 * BLOCK, 2 * BLOCK, os.POSIX_FADV_DONTNEED),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_writer_holds_at_most_three_blocks(tmp_path, monkeypatch):
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
