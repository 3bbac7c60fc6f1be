"""A proxy in front of a daemon's Unix socket that answers 405 to everything except GET and HEAD."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from tests.unix_server import unix_server

HOP = ("connection", "transfer-encoding", "keep-alive")


class _Upstream(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ReadingProxy
    upstream: _Upstream | None = None

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass

    def finish(self) -> None:
        super().finish()
        if self.upstream is not None:
            self.upstream.close()

    def do_GET(self) -> None:
        self.proxy.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Upgrade"):
            self._tunnel()
            return
        self.upstream = self.upstream or _Upstream(self.proxy.target)
        self.upstream.request(
            self.command, self.path, headers={"User-Agent": self.headers.get("User-Agent", "")}
        )
        answer = self.upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.proxy.refused.append(f"{self.command} {self.path}")
        self.close_connection = True
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _tunnel(self) -> None:
        """Pass the bytes of a WebSocket on in both directions."""
        self.close_connection = True
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(self.proxy.target)
            head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            other.sendall(f"{self.command} {self.path} HTTP/1.1\r\n{head}\r\n".encode())
            pairs = {self.connection: other, other: self.connection}
            poll, sockets = select.poll(), {each.fileno(): each for each in pairs}
            for number in sockets:  # select.select accepts no descriptor above 1,023
                poll.register(number, select.POLLIN)
            while not self.proxy.ended.is_set():
                for number, _ in poll.poll(100):
                    ready = sockets[number]
                    piece = ready.recv(1 << 16)
                    if not piece:
                        return
                    pairs[ready].sendall(piece)


class ReadingProxy:
    def __init__(self, target: str, path: str) -> None:
        self.target, self.path = target, path
        self.requests: list[str] = []
        self.refused: list[str] = []
        self.ended = threading.Event()


@contextlib.contextmanager
def reading_proxy(target: str) -> Iterator[ReadingProxy]:
    folder = tempfile.mkdtemp(prefix="proxy.")  # the path of a socket can have only 107 bytes
    proxy = ReadingProxy(target, f"{folder}/socket")
    try:
        with unix_server(proxy.path, type("Handler", (_Handler,), {"proxy": proxy}), proxy.ended):
            yield proxy
    finally:
        shutil.rmtree(folder)
