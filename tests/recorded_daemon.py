"""A daemon on a Unix socket that gives recorded answers of Incus 6.0.4 or LXD 5.0.2.

``tests/live_answers`` has the answers. A test can add or replace answers. Only GET and HEAD have answers:
every other method is answered with 405, and recorded in ``refused``.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from tests.unix_server import unix_server

ANSWERS = Path(__file__).parent / "live_answers"
#: templates of the recorded instance whose contents were not recorded
TEMPLATES = {
    "once.tpl": b"once {{ properties.default }}\n", "deep.tpl": b"{{ instance.name }} on {{ trigger }}\n",
    "cloud-init-meta.tpl": b"instance-id: {{ container.name }}\n",
}  # fmt: skip
#: answers of an instance in another state, which only some tests use
OTHER = (
    "metadata-broken", "metadata-missing", "metadata-unknown-key", "metadata-wrong-type", "templates-missing",
    "templates-with-subfolder", "files-get-after-fifo",
)  # fmt: skip
JSON = {"Content-Type": "application/json"}


def recorded(family: str) -> list[dict[str, Any]]:
    return json.loads((ANSWERS / f"{family}.json").read_text())


def key(request: str) -> tuple[str, str, frozenset[tuple[str, str]]]:
    """Return method, path and parameters: clients escape the same request in different ways."""
    method, _, url = request.partition(" ")
    parts = urlsplit(url)
    return method, parts.path, frozenset(parse_qsl(parts.query, keep_blank_values=True))


def sync(metadata: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return an answer like the daemon's about an object."""
    value = {
        "type": "sync",
        "status": "Success",
        "status_code": 200,
        "operation": "",
        "error_code": 0,
        "error": "",
    }
    return 200, {**JSON, **headers}, json.dumps({**value, "metadata": metadata}).encode()


def error(status: int, text: str) -> tuple[int, dict[str, str], bytes]:
    value = {
        "type": "error",
        "status": "",
        "status_code": 0,
        "operation": "",
        "error_code": status,
        "error": text,
    }
    return status, JSON, json.dumps({**value, "metadata": None}).encode()


class RecordedDaemon:
    """``answers`` maps requests to (status, headers, body), or to None for a request that hangs."""

    def __init__(self, family: str, folder: str) -> None:
        self.family = family
        self.socket = f"{folder}/{family}.socket"
        self.requests: list[str] = []
        self.refused: list[str] = []
        self.connections = 0
        self.ended = threading.Event()
        self.answers: dict[Any, tuple[int, dict[str, str], bytes] | None] = {}
        for each in (each for each in recorded(family) if each["name"] not in OTHER):
            self.answers[key(each["request"])] = _answer(each)

    def put(self, request: str, answer: tuple[int, dict[str, str], bytes] | None) -> None:
        self.answers[key(request)] = answer

    def data(self, request: str) -> Any:
        """Return the object of a recorded answer."""
        answer = self.answers[key(request)]
        assert answer is not None
        return json.loads(answer[2])["metadata"]

    def put_file(
        self, name: str, path: str, content: bytes = b"", *, kind: str = "file", uid: int = 0, gid: int = 0,
        mode: str = "0644", project: str = "", length: bool = True,
    ) -> None:  # fmt: skip
        """Add a file of an instance. ``length``: whether HEAD tells it, which LXD 5.0 does not."""
        prefix = "X-Lxd" if self.family == "lxd" else "X-Incus"
        headers = {f"{prefix}-Type": kind, f"{prefix}-Uid": str(uid), f"{prefix}-Gid": str(gid),
                   f"{prefix}-Mode": mode, "Content-Type": "application/octet-stream"}  # fmt: skip
        query = f"path={quote(path, safe='', errors='surrogateescape')}" + (
            f"&project={project}" if project else ""
        )
        told = {**headers, "Content-Length": str(len(content))} if kind == "file" and length else headers
        self.put(f"HEAD /1.0/instances/{name}/files?{query}", (200, told, b""))
        self.put(f"GET /1.0/instances/{name}/files?{query}", (200, headers, content))


def _answer(each: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
    if "no_answer" in each:
        return None
    body = b""
    if "json" in each:
        body = json.dumps(each["json"]).encode()
    elif "text" in each:
        body = each["text"].encode()
    elif "base64_head" in each:
        body = base64.b64decode(each["base64_head"]).ljust(each["body_length"], b"\0")
    dropped = {
        "transfer-encoding",
        "date",
        *(() if each["request"].startswith("HEAD") else ("content-length",)),
    }
    return each["status"], {k: v for k, v in each["headers"] if k.lower() not in dropped}, body


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    daemon: RecordedDaemon

    def setup(self) -> None:
        super().setup()
        self.daemon.connections += 1

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_GET

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.daemon.refused.append(f"{self.command} {self.path}")
        self._send(405, {}, b"")

    def _answer(self) -> None:
        daemon, request = self.daemon, f"{self.command} {self.path}"
        daemon.requests.append(request)
        answer = daemon.answers.get(key(request), error(404, "not found"))
        if answer is None:
            daemon.ended.wait(30)
            self.close_connection = True
            return
        self._send(*answer)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextlib.contextmanager
def recorded_daemon(family: str) -> Iterator[RecordedDaemon]:
    folder = tempfile.mkdtemp(prefix="api.")  # the path of a socket can have only 107 bytes
    daemon = RecordedDaemon(family, folder)
    try:
        with unix_server(daemon.socket, type("Handler", (_Handler,), {"daemon": daemon}), daemon.ended):
            yield daemon
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def incus(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[RecordedDaemon]:
    """Return a daemon that gives recorded answers of Incus, and make it the daemon of this machine."""
    yield from serving("incus", monkeypatch, tmp_path)


@pytest.fixture
def lxd(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[RecordedDaemon]:
    yield from serving("lxd", monkeypatch, tmp_path)


def serving(family: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[RecordedDaemon]:
    for name in ("INCUS_PROJECT", "LXD_PROJECT", "INCUS_DIR", "LXD_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INCUS_CONF", str(tmp_path / "no-configuration"))
    monkeypatch.setenv("LXD_CONF", str(tmp_path / "no-configuration"))
    with recorded_daemon(family) as daemon:
        daemon.put_file("c1", "/etc", kind="directory", mode="0755")  # only its files were recorded
        for name, data in TEMPLATES.items():
            headers = {"Content-Type": "application/octet-stream"}
            daemon.put(f"GET /1.0/instances/c1/metadata/templates?path={name}", (200, headers, data))
        monkeypatch.setenv(f"{family.upper()}_SOCKET", daemon.socket)
        yield daemon
        assert daemon.refused == []
