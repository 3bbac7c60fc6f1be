"""The allowed system calls: their names, their numbers, and the kernel's reading of the filter."""

import errno
import os
import re
import socket
import tempfile
from pathlib import Path

import pytest

from templater.sandbox import allowed_calls, child, refused_calls
from templater.sandbox.allowed_calls import (
    ARCHITECTURES,
    COMPUTING,
    LOADING,
    LOOKING,
    NUMBERS,
    OPENING,
    READING,
    WAITING,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
needs_filter = pytest.mark.skipif(
    not hasattr(os, "uname") or os.uname().machine not in ARCHITECTURES, reason="no list for this machine"
)


def test_the_system_call_filter_allows_only_the_expected_system_calls():
    """An additional system call is a hole that no other test may find."""
    assert sorted(COMPUTING) == [
        "brk", "clock_gettime", "close", "exit", "exit_group", "futex", "getpid", "getrandom", "gettimeofday",
        "madvise", "membarrier", "mmap", "mprotect", "mremap", "munmap", "read", "restart_syscall", "rseq",
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_yield", "sigaltstack", "write",
    ]  # fmt: skip
    assert sorted(READING) == ["fstat", "lseek", "pread64", "readv"]
    assert WAITING == ("wait4",)
    assert sorted(LOOKING) == [
        "fcntl", "getdents64", "lstat", "newfstatat", "readlink", "readlinkat", "stat", "statx",
    ]  # fmt: skip
    assert sorted(LOADING) == [
        "access", "arch_prctl", "execve", "faccessat", "faccessat2", "fadvise64", "fcntl", "fsync", "getegid",
        "geteuid", "getgid", "getuid", "lstat", "newfstatat", "prlimit64", "readlink", "readlinkat",
        "set_robust_list", "set_tid_address", "stat", "statx", "uname", "writev",
    ]  # fmt: skip
    assert OPENING == {"open": 1, "openat": 2}
    assert set(NUMBERS) == {*COMPUTING, *READING, *WAITING, *LOOKING, *LOADING, *OPENING}
    assert ARCHITECTURES == {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
    ids=["x86_64", "aarch64"],
)
def test_system_call_numbers_match_the_kernel(column, header):
    if not Path(header).exists():
        pytest.skip("NOT RUN: needs the kernel's headers (Debian: linux-libc-dev)")
    text = Path(header).read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", text)}
    known |= {"newfstatat": known.get("newfstatat", known.get("fstatat"))}
    refused = refused_calls.REFUSED | {"clone": refused_calls.CLONE, "clone3": refused_calls.CLONE3}
    for name, numbers in (NUMBERS | refused).items():
        assert known.get(name, -1) == numbers[column], name


def interpreted(program: bytes, number: int, arch: int, arguments: tuple[int, ...]) -> int:
    """Return the kernel's answer to a system call by interpreting the filter."""
    words = {0: number, 4: arch, **{16 + 8 * n: value for n, value in enumerate(arguments)}}
    at = value = 0
    while True:
        code = int.from_bytes(program[at : at + 2], "little")
        then, otherwise = program[at + 2], program[at + 3]
        operand = int.from_bytes(program[at + 4 : at + 8], "little")
        at += 8
        if code == 0x20:
            value = words[operand]
        elif code == 0x54:
            value &= operand
        elif code == 0x15:
            at += 8 * (then if value == operand else otherwise)
        elif code == 0x35:
            at += 8 * (then if value >= operand else otherwise)
        elif code == 0x45:
            at += 8 * (then if value & operand else otherwise)
        else:
            assert code == 0x06
            return operand


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_system_call_filter_refuses_every_unlisted_system_call(machine):
    column, arch = list(ARCHITECTURES).index(machine), ARCHITECTURES[machine]
    program = allowed_calls.assemble(machine, (*COMPUTING, *LOADING), OPENING)
    allowed = {NUMBERS[name][column] for name in (*COMPUTING, *LOADING)}
    opening = {NUMBERS[name][column]: position for name, position in OPENING.items()}
    for number in range(600):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
            arguments = [os.O_RDWR] * 6
            arguments[opening.get(number, 0)] = flags
            answer = interpreted(program, number, arch, tuple(arguments))
            fine = number in allowed or (number in opening and flags == os.O_RDONLY)
            assert answer == (0x7FFF0000 if fine else 0x00050000 | errno.EPERM), (number, flags)
    assert interpreted(program, 0, arch + 1, (0,) * 6) == 0x80000000, (
        "another machine's calls end the process"
    )


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_validator_filter_allows_all_system_calls_except_the_listed_ones(machine):
    column, arch = list(ARCHITECTURES).index(machine), ARCHITECTURES[machine]
    program = refused_calls.assemble(machine)
    refused = {numbers[column] for numbers in refused_calls.REFUSED.values()}
    accept, refuse, absent = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
    for number in range(600):
        expected = refuse if number in refused else absent if number == 435 else accept
        assert interpreted(program, number, arch, (0,) * 6) == expected, number
        assert interpreted(program, number | 0x40000000, arch, (0,) * 6) == refuse, "the x32 ABI"
    clone = refused_calls.CLONE[column]
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert interpreted(program, clone, arch, (namespace | 17,) + (0,) * 5) == refuse
    assert interpreted(program, clone, arch, (0x1200011,) + (0,) * 5) == accept, "how the C library forks"
    assert interpreted(program, 0, arch + 1, (0,) * 6) == 0x80000000


def outcome(call) -> str:
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def tried(call, inputs: tuple[int, ...] = ()) -> str:
    worker = child.start(lambda: None, lambda send: send((outcome(call).encode(),)), None, inputs)
    try:
        return worker.answer()[0][0].decode()
    finally:
        worker.close()


@pytest.mark.slow
@needs_filter
def test_the_child_can_read_only_inherited_files(tmp_path):
    with tempfile.TemporaryFile() as file:
        file.write(b"content")
        file.flush()
        fd = file.fileno()
        file.seek(0)
        assert tried(lambda: os.read(fd, 10), (fd,)) == "done"
        assert tried(lambda: os.pread(fd, 3, 2), (fd,)) == "done"
        assert tried(lambda: os.fstat(fd), (fd,)) == "done"
        assert tried(lambda: os.read(fd, 10)) == "EBADF"
        assert tried(lambda: os.pread(fd, 3, 2)) == "EPERM"
        assert tried(lambda: os.open("/etc/passwd", os.O_RDONLY), (fd,)) == "EPERM"
        assert tried(lambda: os.listdir(fd), (fd,)) == "EPERM"
        assert tried(socket.socket, (fd,)) == "EPERM"


@pytest.mark.slow
@needs_filter
def test_the_child_can_read_an_inherited_directory_but_cannot_change_it(tmp_path):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        (Path(name) / "file").write_text("content")
        (Path(name) / "file").chmod(0o666)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            given = (fd,)
            assert tried(lambda: os.close(os.open("file", os.O_RDONLY, dir_fd=fd)), given) == "done"
            assert tried(lambda: os.stat("file", dir_fd=fd, follow_symlinks=False), given) == "done"
            assert tried(lambda: os.listdir(fd), given) == "done"
            assert tried(lambda: os.open("file", os.O_RDWR, dir_fd=fd), given) == "EPERM"
            assert tried(lambda: os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=fd), given) == "EPERM"
            assert tried(lambda: os.unlink("file", dir_fd=fd), given) == "EPERM"
            assert tried(socket.socket, given) == "EPERM"
            assert tried(os.fork, given) in ("EPERM", "EAGAIN")
        finally:
            os.close(fd)
        assert os.listdir(name) == ["file"]
