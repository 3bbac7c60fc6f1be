"""The real server of `watch --web`, and a real Chromium."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
#: milliseconds until a test gives up; a busy machine needs less
PATIENCE = 120_000
#: limits that a busy machine does not exceed
PATIENT = [
    word
    for name in ("time", "template-time", "command-time", "command-processor")
    for word in ("--limit", f"{name}=30m")
]


@dataclass
class Server:
    """A running server. ``address`` contains the token."""

    process: subprocess.Popen[str]
    address: str
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.address)[1])

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)

    def request(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str | None
    ) -> Any:
        """Send a request with its path unchanged, and return status, headers and body.

        Underscores in the names of headers mean hyphens. A header that is None is not sent.
        """
        sent = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie or None}
        if method == "POST":
            sent |= {"Origin": self.origin, "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def log_in(self) -> None:
        """Exchange the token for the cookie, as a browser does."""
        status, headers, _ = self.request(self.address.removeprefix(self.origin))
        assert status == 303
        self.cookie = headers["Set-Cookie"].partition(";")[0]

    def view(self, place: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        question = {"place": place or {}, "edits": {}, **more}
        status, _, body = self.request("/view", "POST", json.dumps(question).encode())
        assert status == 200, body
        return json.loads(body)


Start = Callable[..., Server]


@contextmanager
def serving() -> Iterator[Start]:
    """Yield a function that starts `templater watch SRC --web` until the end of the context."""
    running: list[Server] = []

    def begin(src: str | os.PathLike[str], *words: str, cwd: str | os.PathLike[str] = ROOT) -> Server:
        command = [
            sys.executable,
            "-P",
            "-m",
            "templater",
            "watch",
            str(src),
            "--web",
            "--allow-root",
            *PATIENT,
            *words,
        ]
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line
        running.append(Server(process, line.strip()))
        return running[-1]

    yield begin
    for server in running:
        if server.process.poll() is None:
            assert server.stop() == 0
        if server.process.stdout:
            server.process.stdout.close()


@pytest.fixture
def serve() -> Iterator[Start]:
    with serving() as start:
        yield start


@dataclass
class Browser:
    """A real Chromium. ``problems`` are errors on consoles, and requests that leave the machine."""

    chromium: Any
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def context(self, **options: Any) -> Any:
        made = self.chromium.new_context(**options)
        made.set_default_timeout(PATIENCE)
        made.on("page", self._follow)
        self.contexts.append(made)
        return made

    def open(self, server: Server, fragment: str = "", **options: Any) -> Any:
        """Open the page with its token, wait for the first view, and return the page."""
        page = self.context(**options).new_page()
        page.goto(server.address)
        if fragment:
            page.goto(f"{server.origin}/{fragment}")
            page.reload()
        page.wait_for_selector("#open")
        return page

    def _follow(self, page: Any) -> None:
        page.on("console", lambda said: self._said(said))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", lambda request: self._sent(request.url))
        page.on("dialog", self._dialog)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def _sent(self, address: str) -> None:
        self.requests.append(address)
        if not address.startswith("http://127.0.0.1:"):
            self.problems.append(f"request: {address}")

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Start a browser for the tests of a module. While Playwright runs, asyncio works only in other threads."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        words = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, args=words, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Browser]:
    """Return a browser that must end without errors, dialogs and foreign requests."""
    made = Browser(chromium)
    yield made
    for context in made.contexts:
        context.close()
    assert made.problems == []
    assert made.dialogs == []


def copied_image(folder: Path) -> Path:
    """Return a copy of a sample image."""
    return Path(shutil.copytree(ROOT / "sample-images" / "debian-cloud", folder / "image", symlinks=True))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return copied_image(tmp_path)


@pytest.fixture
def expect(chromium: Any) -> Any:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    return expect
