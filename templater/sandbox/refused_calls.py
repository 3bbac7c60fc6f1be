"""A seccomp filter against system calls that the programs of `validator_process.py` never need.

The filter has a list of refused calls. A list of allowed calls would differ between releases of a program.
With the filter, a program cannot connect to other processes, trace them, enter a namespace, or mount.
"""

from __future__ import annotations

import sys

from ..oslite import machine
from .allowed_calls import ARCHITECTURES, EPERM, SECCOMP_ALLOW, SECCOMP_ERRNO, SECCOMP_KILL, install

#: call numbers on x86_64 and on aarch64; -1 if the architecture does not have the call
REFUSED = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bind": (49, 200), "bpf": (321, 280),
    "chroot": (161, 51), "clock_adjtime": (305, 266), "clock_settime": (227, 112), "connect": (42, 203),
    "delete_module": (176, 106), "finit_module": (313, 273), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fsopen": (430, 430), "fspick": (433, 433), "init_module": (175, 105), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioperm": (173, -1), "iopl": (172, -1),
    "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219), "listen": (50, 201),
    "mknod": (133, -1), "mknodat": (259, 33), "mount": (165, 40), "mount_setattr": (442, 442),
    "move_mount": (429, 429), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "perf_event_open": (298, 241), "personality": (135, 92),
    "pidfd_getfd": (438, 438), "pivot_root": (155, 41), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60), "reboot": (169, 142),
    "request_key": (249, 218), "setdomainname": (171, 162), "sethostname": (170, 161), "setns": (308, 268),
    "settimeofday": (164, 170), "socket": (41, 198), "swapoff": (168, 225),
    "swapon": (167, 224), "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97),
    "userfaultfd": (323, 282), "vhangup": (153, 58),
}  # fmt: skip
#: A filter cannot read the flags of clone3, so clone3 fails with ENOSYS and the C library uses clone.
CLONE, CLONE3 = (56, 220), (435, 435)
_ENOSYS = 38
#: the flags CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET
_NAMESPACES = 0x7E020000
#: the bit that marks calls of x32, the second ABI of x86_64
_X32 = 0x40000000


def refuse() -> None:
    """Make the calls in ``REFUSED`` fail in this process. Do nothing on architectures without call numbers.

    Raises PermissionError if the kernel accepts no filter.
    """
    name = machine()
    if name in ARCHITECTURES and sys.maxsize > 1 << 32:
        install(assemble(name))


def assemble(machine: str) -> bytes:
    """Return the filter as a classic BPF program."""

    def op(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return code.to_bytes(2, "little") + bytes((then, otherwise)) + value.to_bytes(4, "little")

    column = list(ARCHITECTURES).index(machine)
    load, jump_equal, jump_greater_equal, jump_set, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    accept, refused = op(answer, SECCOMP_ALLOW), op(answer, SECCOMP_ERRNO | EPERM)
    program = [
        op(load, 4),
        op(jump_equal, ARCHITECTURES[machine], 1, 0),
        op(answer, SECCOMP_KILL),
        op(load, 0),
        op(jump_greater_equal, _X32, 0, 1),
        refused,
        op(jump_equal, CLONE3[column], 0, 1),
        op(answer, SECCOMP_ERRNO | _ENOSYS),
    ]
    for numbers in REFUSED.values():
        if numbers[column] >= 0:
            program += [op(jump_equal, numbers[column], 0, 1), refused]
    program += [op(jump_equal, CLONE[column], 0, 3), op(load, 16), op(jump_set, _NAMESPACES, 0, 1), refused]
    return b"".join([*program, accept])
