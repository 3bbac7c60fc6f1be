"""A process that runs validators for a locked process, because a locked process can start no program.

A compromised locked process can only choose the validator, and the name and the text of the checked file.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from ..oslite import PR_SET_PDEATHSIG, libc
from .programs import all_validators
from .runner import Answer, Runner

#: maximum size of a message in bytes
_LONGEST = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9:_@\\.-]{1,200}")


class UnlockedProcess:
    """The process that runs validators. It ends when the ``with`` block is left."""

    def __init__(self, runner: Runner) -> None:
        all_validators()  # imported before the fork, so that both processes have the modules
        self._ours, its = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            _serve(its, runner)
        its.close()

    def __enter__(self) -> UnlockedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._ours.close()

    @property
    def descriptor(self) -> int:
        """The file descriptor with which a locked process can call ``ask``."""
        return self._ours.fileno()

    def ask(self, id: str, name: str, data: bytes) -> Answer:
        """Return the answer of ``Runner.ask``. A locked process can call this method, too."""
        fd = self.descriptor
        try:
            _send(fd, json.dumps([id, name]).encode())
            _send(fd, data)
            answer: Answer = json.loads(_receive(fd))
        except (EOFError, OSError):
            return {"failed": "the process that runs validators ended"}
        return answer


def _serve(connection: socket.socket, runner: Runner) -> NoReturn:
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if sys.platform.startswith("linux"):
            libc("prctl")(PR_SET_PDEATHSIG, 9, 0, 0, 0)
        fd = connection.fileno()
        while True:
            id, name = json.loads(_receive(fd))
            data = _receive(fd)
            if id not in all_validators() or not (_NAME.fullmatch(name) and name.strip(".")):
                break
            _send(fd, json.dumps(runner.ask(id, name, data)).encode())
    finally:
        os._exit(0)


def _send(fd: int, data: bytes) -> None:
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[os.write(fd, view) :]


def _receive(fd: int) -> bytes:
    size = int.from_bytes(_exactly(fd, 4), "big")
    if size > _LONGEST:
        raise EOFError
    return _exactly(fd, size)


def _exactly(fd: int, size: int) -> bytes:
    chunks = []
    while size:
        chunk = os.read(fd, size)
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
