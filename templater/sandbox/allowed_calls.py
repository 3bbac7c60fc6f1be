"""The system calls that sandboxed code can make, and the seccomp filter that enforces them."""

import sys

from ..oslite import libc, machine, memory_with, os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PR_SET_SECCOMP = 22

EPERM = 1
SECCOMP_ALLOW = 0x7FFF0000
SECCOMP_ERRNO = 0x00050000
SECCOMP_KILL = 0x80000000

#: the kernel's number of each architecture (``AUDIT_ARCH_…``), in the order of the columns of ``NUMBERS``
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

#: call numbers on x86_64 and on aarch64; -1 if the architecture does not have the call
NUMBERS = {
    "access": (21, -1), "arch_prctl": (158, -1), "brk": (12, 214), "clock_gettime": (228, 113),
    "close": (3, 57), "execve": (59, 221), "exit": (60, 93), "exit_group": (231, 94),
    "faccessat": (269, 48), "faccessat2": (439, 439), "fadvise64": (221, 223), "fcntl": (72, 25),
    "fstat": (5, 80), "fsync": (74, 82), "futex": (202, 98), "getdents64": (217, 61), "getegid": (108, 177),
    "geteuid": (107, 175), "getgid": (104, 176), "getpid": (39, 172), "getrandom": (318, 278),
    "gettimeofday": (96, 169), "getuid": (102, 174), "lseek": (8, 62), "lstat": (6, -1),
    "madvise": (28, 233), "membarrier": (324, 283), "mmap": (9, 222), "mprotect": (10, 226),
    "mremap": (25, 216), "munmap": (11, 215), "newfstatat": (262, 79), "open": (2, -1), "openat": (257, 56),
    "pread64": (17, 67), "prlimit64": (302, 261), "read": (0, 63), "readlink": (89, -1),
    "readlinkat": (267, 78), "readv": (19, 65), "restart_syscall": (219, 128), "rseq": (334, 293),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124), "set_robust_list": (273, 99), "set_tid_address": (218, 96),
    "sigaltstack": (131, 132), "stat": (4, -1), "statx": (332, 291), "uname": (63, 160), "wait4": (61, 260),
    "write": (1, 64), "writev": (20, 66),
}  # fmt: skip

#: calls for computing and answering
COMPUTING = (
    "read", "write", "close", "mmap", "mprotect", "munmap", "brk", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "mremap", "madvise", "getpid", "exit", "gettimeofday", "sigaltstack", "futex",
    "clock_gettime", "exit_group", "getrandom", "rseq", "sched_yield", "restart_syscall", "membarrier",
)  # fmt: skip

#: additional calls for reading from open files
READING = ("lseek", "fstat", "pread64", "readv")

#: the additional call for waiting for a program that was started before the sandbox was locked
WAITING = ("wait4",)

#: additional calls for listing an open directory and reading its entries' status
LOOKING = ("newfstatat", "lstat", "stat", "statx", "readlink", "readlinkat", "getdents64", "fcntl")

#: calls for loading a program, in addition to ``COMPUTING`` and ``READING``
LOADING = (
    "stat", "lstat", "writev", "access", "execve", "uname", "fcntl", "fsync", "readlink", "getuid", "getgid",
    "geteuid", "getegid", "arch_prctl", "set_tid_address", "fadvise64", "newfstatat", "readlinkat",
    "faccessat", "set_robust_list", "prlimit64", "statx", "faccessat2",
)  # fmt: skip

#: the calls that open a file, and the index of the argument that has the open flags
OPENING = {"open": 1, "openat": 2}

#: the open flags that can create or change a file
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def allow(calls: "Iterable[str]", opening: "Mapping[str, int] | None" = None) -> None:
    """Make every later system call of this process fail with EPERM, except ``calls`` and ``opening``.

    ``opening`` maps calls to the index of the argument with the open flags. A call in ``opening`` fails if
    its flags can create or change a file. A call for another architecture kills the process.

    Do nothing on architectures without numbers in ``NUMBERS``. Raises PermissionError if the kernel accepts
    no filter.
    """
    name = machine()
    if name in ARCHITECTURES and sys.maxsize > 1 << 32:
        install(assemble(name, calls, opening or {}))


def assemble(machine: str, calls: "Iterable[str]", opening: "Mapping[str, int]") -> bytes:
    """Return the filter as a classic BPF program."""

    def op(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return code.to_bytes(2, "little") + bytes((then, otherwise)) + value.to_bytes(4, "little")

    column = list(ARCHITECTURES).index(machine)
    load, jump_equal, mask, answer = 0x20, 0x15, 0x54, 0x06
    accept, refuse = op(answer, SECCOMP_ALLOW), op(answer, SECCOMP_ERRNO | EPERM)
    program = [
        op(load, 4),
        op(jump_equal, ARCHITECTURES[machine], 1, 0),
        op(answer, SECCOMP_KILL),
        op(load, 0),
    ]
    for name in calls:
        if NUMBERS[name][column] >= 0:
            program += [op(jump_equal, NUMBERS[name][column], 0, 1), accept]
    for name, position in opening.items():
        if NUMBERS[name][column] >= 0:
            flags = [
                op(load, 16 + 8 * position),
                op(mask, _CHANGING),
                op(jump_equal, 0, 0, 1),
                accept,
                refuse,
            ]
            program += [op(jump_equal, NUMBERS[name][column], 0, len(flags)), *flags]
    return b"".join([*program, refuse])


def install(program: bytes) -> None:
    import _ctypes

    memory = memory_with(program)
    address = _ctypes.addressof(memory)
    fprog = (len(program) // 8).to_bytes(8, "little") + address.to_bytes(8, "little")
    if libc("prctl")(PR_SET_SECCOMP, 2, fprog, 0, 0):
        raise PermissionError("the kernel accepts no system call filter")
