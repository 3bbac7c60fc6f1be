"""Run a daemon as if the kernel could run virtual machines: ``python kernel_of_a_vm_host.py PROGRAM WORDS``.

Incus offers virtual machines only on a host with KVM, the module ``vhost_vsock`` and the right to lock
memory. A test machine is often a virtual machine itself, and lacks all three. This program creates empty
files with the names of the missing devices. So it must run in a new mount namespace. It changes the results
of three system calls of PROGRAM and PROGRAM's children:

* ``ioctl`` with ``VHOST_VSOCK_SET_GUEST_CID`` succeeds, and does nothing.
* ``prlimit`` of the locked memory succeeds, and does nothing.
* ``bind`` of a vsock to the host's address binds the vsock to any address. A second process, the supervisor,
  replaces the address in the memory of the calling process.

QEMU must not use these devices: see ``virtual_machines.py``.
"""

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

IOCTL, BIND, PRLIMIT, SECCOMP = 16, 49, 302, 317  # numbers of system calls on x86-64
SET_GUEST_CID, MEMLOCK, SOCKADDR_VM_BYTES = 0x4008AF60, 8, 16
FILTER_MODE, NEW_LISTENER, CONTINUE = 1, 8, 1
RECEIVE, SEND = 0xC0502100, 0xC0182101
ALLOW, SUCCEED, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
HOST_CID, ANY_CID = 2, 0xFFFFFFFF


def load(offset: int) -> tuple[int, int, int, int]:
    return 0x20, 0, 0, offset


def jump(value: int, equal: int, other: int) -> tuple[int, int, int, int]:
    """Return an instruction that skips a number of instructions.

    The number is ``equal`` if the loaded word is ``value``, else ``other``.
    """
    return 0x15, equal, other, value


def answer(action: int) -> tuple[int, int, int, int]:
    return 6, 0, 0, action


FILTER = (
    load(0),  # the number of the system call
    jump(IOCTL, 0, 2),
    load(24),  # its second argument
    jump(SET_GUEST_CID, 6, 7),
    jump(PRLIMIT, 0, 2),
    load(24),
    jump(MEMLOCK, 3, 4),
    jump(BIND, 0, 3),
    load(32),  # its third argument
    jump(SOCKADDR_VM_BYTES, 2, 1),
    answer(SUCCEED),
    answer(ALLOW),
    answer(NOTIFY),
)


def install() -> int:
    """Install the seccomp filter for this process and its future children.

    Return the file descriptor that receives the filter's notifications.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in FILTER))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(FILTER), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.syscall(SECCOMP, FILTER_MODE, NEW_LISTENER, program)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return descriptor


def bind_to_any_address(process: int, address: int) -> None:
    memory = os.open(f"/proc/{process}/mem", os.O_RDWR)
    try:
        family, _, _, cid = struct.unpack("HHII", os.pread(memory, 12, address))
        if (family, cid) == (socket.AF_VSOCK, HOST_CID):
            os.pwrite(memory, struct.pack("I", ANY_CID), address + 8)
    finally:
        os.close(memory)


def supervise(descriptor: int) -> None:
    """Handle the filter's notifications about ``bind``, until no process has the filter any more.

    Replace the address if necessary, and let the system call continue.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        ((_, event),) = poll.poll()
        if not event & select.POLLIN:
            return
        request = bytearray(80)
        try:
            fcntl.ioctl(descriptor, RECEIVE, request)
            number, process = struct.unpack_from("QI", request)
            (address,) = struct.unpack_from("Q", request, 40)
            bind_to_any_address(process, address)
            fcntl.ioctl(descriptor, SEND, struct.pack("QqiI", number, 0, 0, CONTINUE))
        except OSError as error:
            if error.errno != errno.ENOENT:  # the process ended meanwhile
                raise


def make_devices() -> None:
    """Mount new directories over /sys/module and /dev, and add the names of the missing devices.

    The new /dev has symlinks to the existing devices.
    """
    modules, devices = Path("/sys/module"), Path("/dev")
    mount("-t", "tmpfs", "tmpfs", str(modules))
    (modules / "vhost_vsock").mkdir()
    (modules / "dev").mkdir()
    mount("--rbind", str(devices), str(modules / "dev"))
    mount("-t", "tmpfs", "tmpfs", str(devices))
    for name in os.listdir(modules / "dev"):
        (devices / name).symlink_to(modules / "dev" / name)
    for name in ("kvm", "vsock", "vhost-vsock"):
        (devices / name).unlink(missing_ok=True)
        (devices / name).touch()


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def main(words: list[str]) -> None:
    make_devices()
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _, (descriptor,), _, _ = socket.recv_fds(theirs, 1, 1)
        supervise(descriptor)
        os._exit(0)
    theirs.close()
    descriptor = install()
    socket.send_fds(ours, [b"x"], [descriptor])
    os.close(descriptor)
    ours.close()
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(sys.argv[1:])
