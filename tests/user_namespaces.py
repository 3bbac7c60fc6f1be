"""User namespaces for the tests of hooks."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from templater.oslite import libc


@contextmanager
def user_namespace(first: int) -> Iterator[int]:
    """Yield the id of a process in a user namespace that maps ids to those from ``first`` on."""
    ready, to_parent = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            libc("unshare")(0x10000000)
            os.write(to_parent, b"x")
            signal.pause()
        finally:
            os._exit(0)
    try:
        os.read(ready, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {first} 65536\n")
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (ready, to_parent):
            os.close(fd)
