"""Two hundred honest clients, while fifty stall and fifty send garbage from one address.

The honest clients have their own addresses, or the address of the hostile clients. The memory that the server
needs is bounded.
"""

import hashlib
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

HONEST, STALLING, GARBAGE = 200, 50, 50
SIZE = 4 << 20
PIECE = 1 << 20
LIMIT = 200 << 20

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tree: Path, tmp_path: Path):
    """Start the command; yield its process id, port and the file of its certificate."""
    data = random.Random(1).randbytes(SIZE)
    (tree / "images/large").write_bytes(data)
    process = subprocess.Popen(
        [sys.executable, "-m", "templater", "serve", str(tree), "--listen", "127.0.0.1:0"],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        yield process.pid, port, str(tmp_path / "templater/serve/127.0.0.1.crt"), data
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def read_in_ranges(port: int, context: ssl.SSLContext, source: str) -> bytes:
    """Read the file as a client does that first tries plain http, then asks for one range at a time."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 60, (source, 0)) as plain:
        plain.sendall(b"GET /images/large HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.recv(1)
    whole = b""
    with context.wrap_socket(
        socket.create_connection(("127.0.0.1", port), 60, (source, 0)), server_hostname="127.0.0.1"
    ) as client:
        for start in range(0, SIZE, PIECE):
            asked = (
                f"GET /images/large HTTP/1.1\r\nHost: x\r\nRange: bytes={start}-{start + PIECE - 1}\r\n\r\n"
            )
            client.sendall(asked.encode())
            answer = b""
            while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + PIECE:
                piece = client.recv(1 << 16)
                assert piece, "the server closed the connection"
                answer += piece
            assert answer.startswith(b"HTTP/1.1 206")
            whole += answer[end + 4 :]
    return whole


#: connections of hostile clients: the kind and the number of each client, and the address of its connection
Connected = list[tuple[str, int, str]]


def stall(
    port: int, context: ssl.SSLContext, number: int, end: threading.Event, connected: Connected
) -> None:
    """Keep a connection that does nothing: before, in or after the handshake, in the headers, or while reading."""
    with suppress(OSError):
        client = socket.create_connection(("127.0.0.1", port), timeout=60)
        if number % 5 == 1:
            client.sendall(b"\x16\x03\x01\x02")
        elif number % 5 > 1:
            client = context.wrap_socket(client, server_hostname="127.0.0.1")
            if number % 5 == 3:
                client.sendall(b"GET / HTTP/1.1\r\nX: ")
            elif number % 5 == 4:
                client.sendall(b"GET /images/large HTTP/1.1\r\nHost: x\r\n\r\n")
        connected.append(("stall", number, client.getsockname()[0]))
        end.wait(120)
        client.close()


def babble(
    port: int, context: ssl.SSLContext, number: int, end: threading.Event, connected: Connected
) -> None:
    """Send garbage again and again, half of the time after a handshake."""
    noise = random.Random(number)
    while not end.is_set():
        with suppress(OSError):
            client = socket.create_connection(("127.0.0.1", port), timeout=60)
            if number % 2:
                client = context.wrap_socket(client, server_hostname="127.0.0.1")
            with client:
                client.sendall(noise.randbytes(noise.randrange(1, 60_000)) + b"\r\n\r\n")
                connected.append(("babble", number, client.getsockname()[0]))
                client.recv(100)
        end.wait(0.2)


def peak(pid: int) -> int:
    (line,) = (
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) << 10


HOSTILE = {
    *(("stall", number, "127.0.0.1") for number in range(STALLING)),
    *(("babble", number, "127.0.0.1") for number in range(GARBAGE)),
}


@pytest.mark.parametrize("address", ["127.0.1.{}", "127.0.0.1"], ids=["own address", "hostile address"])
def test_many_hostile_clients_neither_disturb_normal_clients_nor_exhaust_memory(server, address):
    """All clients together have fewer connections than the server accepts."""
    pid, port, authority, data = server
    context, end = ssl.create_default_context(cafile=authority), threading.Event()
    results: list[str] = []
    connected: Connected = []
    base = peak(pid)

    def honest(source: str) -> None:
        results.append(hashlib.sha256(read_in_ranges(port, context, source)).hexdigest())

    def start(targets):
        threads = [threading.Thread(target=target, args=arguments) for target, arguments in targets]
        for thread in threads:
            thread.start()
        return threads

    hostile = start(
        [(stall, (port, context, number, end, connected)) for number in range(STALLING)]
        + [(babble, (port, context, number, end, connected)) for number in range(GARBAGE)]
    )
    try:
        until = time.monotonic() + 60
        while set(connected) != HOSTILE and time.monotonic() < until:
            time.sleep(0.05)
        assert set(connected) == HOSTILE
        before = len(connected)
        for thread in start([(honest, (address.format(number + 1),)) for number in range(HONEST)]):
            thread.join()
        assert len(connected) > before, "the hostile clients went on"
    finally:
        end.set()
        for thread in hostile:
            thread.join()
    assert results == [hashlib.sha256(data).hexdigest()] * HONEST
    used = peak(pid)
    print(f"{base >> 20} MiB before, {used >> 20} MiB at most")
    assert used <= LIMIT
