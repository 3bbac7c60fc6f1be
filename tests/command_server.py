"""A server that forks commands of templater from a process in which every module is already imported.

A new interpreter takes longer to start than most commands take to run. The client passes its arguments, folder,
environment and standard streams to the server. A test of start-up itself has to start an interpreter.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import marshal
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

import templater
from templater import __main__

ROOT = Path(__file__).resolve().parent.parent

#: imports only built-in modules, and forwards signals to the command. A signal waits until the command has started.
CLIENT = """
import _signal, _socket, marshal, posix, sys
signals = (_signal.SIGINT, _signal.SIGTERM)
_signal.pthread_sigmask(_signal.SIG_BLOCK, signals)
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
connection.connect(sys.argv[1])
streams = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
connection.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
connection.sendall(marshal.dumps((sys.argv[2:], posix.getcwd(), posix.environ)))
connection.shutdown(_socket.SHUT_WR)
pid = int.from_bytes(connection.recv(4))
for number in signals:
    _signal.signal(number, lambda number, _: posix.kill(pid, number))
_signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)
code = connection.recv(1)
sys.exit(code[0] if code else 137)  # as a shell reports a killed process
"""


@cache
def client() -> list[str]:
    """Return the words that run a command in the server of this test process, which starts the server."""
    folder = tempfile.TemporaryDirectory()
    path = f"{folder.name}/socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.command_server", path],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdin and server.stdout
    assert server.stdout.read(1), "the server of commands did not start"

    def end() -> None:
        server.communicate()  # the server ends when its standard input does
        folder.cleanup()

    atexit.register(end)
    return [sys.executable, "-I", "-S", "-c", CLIENT, path]


def run_templater(
    words: Sequence[str], *, cwd: str | Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``templater`` with these arguments, and return its exit code and output."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        code = ask(words, (stdout.fileno(), stderr.fileno()), cwd=cwd, env=env)
        texts = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in (stdout, stderr)]
    return subprocess.CompletedProcess(words, code, *(text.decode() for text in texts))


def ask(
    words: Sequence[str],
    outputs: tuple[int, int],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run ``templater`` with these arguments and outputs, and return its exit code, without a client's process."""
    request = marshal.dumps(
        (
            list(words),
            str(cwd or os.getcwd()),
            {os.fsencode(n): os.fsencode(v) for n, v in (env or os.environ).items()},
        )
    )
    with socket.socket(socket.AF_UNIX) as connection, open(os.devnull, "rb") as stdin:
        connection.settimeout(120)
        connection.connect(client()[-1])
        streams = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (stdin.fileno(), *outputs))
        connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        pid = int.from_bytes(connection.recv(4))
        try:
            code = connection.recv(1)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
    return code[0] if code else 137  # as a shell reports a killed process


def serve(path: str) -> None:
    """Fork a process for each connection until standard input ends."""
    for module in pkgutil.walk_packages(templater.__path__, "templater."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    gc.freeze()  # so that a collection in a child does not copy the memory
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b".")
        running = 0
        while 0 not in select.select([0, listener.fileno()], [], [])[0]:
            connection, _ = listener.accept()
            running += 1
            if os.fork() == 0:
                listener.close()
                run_command(connection)
            connection.close()
            while running and os.waitpid(-1, os.WNOHANG)[0]:
                running -= 1


def run_command(connection: socket.socket) -> NoReturn:
    """Become the command that a client asks for, and send the client the process ID and the exit code."""
    code = 1
    try:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        with connection.makefile("rb") as request:
            words, folder, environ = marshal.loads(request.read())
        connection.sendall(os.getpid().to_bytes(4))
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
            os.close(fd)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.environb.clear()
        os.environb.update(environ)
        time.tzset()
        os.chdir(folder)
        sys.argv = ["templater", *words]
        code = __main__.main()
        sys.stdout.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # `timeout` signals the client twice
        connection.sendall(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
