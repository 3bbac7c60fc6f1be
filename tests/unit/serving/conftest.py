"""A server on loopback for the tests, in a thread of this process."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from templater.serving import certificate, connections, image_server
from templater.serving.image_sources import Source, TreeSource
from tests.streams.mutations import EXAMPLE


@dataclass
class Running:
    port: int
    authority: str
    messages: list[str] = field(default_factory=list)
    #: the address and port from which clients connect
    source: tuple[str, int] | None = None

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), 20, self.source)
        return self.context().wrap_socket(plain, server_hostname="127.0.0.1")

    def request(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Send a request, with its path unchanged. Underscores in the names of headers mean hyphens."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=20, source_address=self.source, context=self.context()
        )
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that serves a source until the end of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    stops: list[Callable[[], None]] = []

    def begin(source: Source, bounds: connections.Bounds | None = None, **options: Any) -> Running:
        bounds = bounds or connections.Bounds()
        file = certificate.own_certificate("127.0.0.1")
        ready, loop = threading.Event(), asyncio.new_event_loop()
        running = Running(0, certificate.public_part(file))
        tasks = []

        async def run() -> None:
            server = image_server.ImageServer(
                source, certificate=certificate.first_certificate(file), report=running.messages.append,
                bounds=bounds, **options,
            )  # fmt: skip
            listener = connections.bind("127.0.0.1", 0)
            running.port = listener.getsockname()[1]
            task = asyncio.ensure_future(
                connections.serve(server.answer, listener, certificate.context(file, file), bounds)
            )
            tasks.append(task)
            ready.set()
            await asyncio.wait([task])

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
        thread.start()
        assert ready.wait(20)

        def stop() -> None:
            loop.call_soon_threadsafe(tasks[0].cancel)
            thread.join(20)
            loop.close()

        stops.append(stop)
        return running

    yield begin
    for stop in stops:
        stop()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the example tree, with a split, a unified and a virtual machine image."""
    shutil.copytree(EXAMPLE, tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def server(start: Start, tree: Path) -> Running:
    return start(TreeSource(str(tree)))
