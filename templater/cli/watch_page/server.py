"""The server of `watch --web`. It answers requests from the page, and tells the page about changed files."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from ...model.errors import RefusedError, UsageError
from ...model.file_names import INSTANCE
from .. import options, output
from ..file_watcher import Watch, sources_of
from .worker_process import Answer, BusyError, Renderer

if TYPE_CHECKING:
    from ..options import Request
    from .options import PageOptions

#: the default of --limit command-time for one view, in seconds
SECONDS: Final = 60
#: the maximum total size of the page's files in bytes
MOST_ASSETS: Final = 60_000
#: maximum number of host choices whose findings are kept in memory
MOST_CHECKED: Final = 100
#: seconds between two checks whether the server should end
PATIENCE: Final = 0.5


def serve_page(request: Request, given: PageOptions) -> int:
    """Serve the page until Ctrl-C."""
    if not given.allows_root and hasattr(os, "geteuid") and os.geteuid() == 0:
        raise RefusedError(
            "the page shows untrusted text in a browser, so --web is refused for root",
            hint="run templater as an ordinary user, or add --allow-root",
        )
    connections, watch_page_access, watch_page_server = modules()
    request.limits.command.setdefault("time", SECONDS)
    sources, folders = sources_of(options.existing(request.src))
    named = [*request.instance.files, *([] if request.rootfs is None else [request.rootfs])]
    named += [] if given.instances is None else [given.instances]
    if "-" in named:
        raise UsageError("--web can't read from standard input", hint="write the input to a file")
    watched = [*sources, os.path.join(request.src, INSTANCE), *named]
    with Watch(watched, folders) as watch, suppress(asyncio.CancelledError):
        asyncio.run(Page(request, given, watch, watch_page_server).run(connections, watch_page_access))
    return 0


class Page:
    """One server with two child processes: one for views, and one for runs of `check`, which are slower."""

    def __init__(self, request: Request, given: PageOptions, watch: Watch, watch_page_server: Any) -> None:
        seconds = request.limits.for_command().time
        self.request, self.given, self.watch = request, given, watch
        self._views, self._checks = (Renderer(request, given.instances, seconds) for _ in range(2))
        self._findings: dict[str, Any] = {}
        self._page_server = watch_page_server
        self._server: Any = None

    async def run(self, connections: Any, watch_page_access: Any) -> None:
        listener = connections.bind(watch_page_access.LOOPBACK, self.given.port)
        access = watch_page_access.Access(listener.getsockname()[1])
        self._server = self._page_server.PageServer(access, assets(), self.ask)
        output.write(f"{access.address}\n")
        output.flush()
        loop = asyncio.get_running_loop()
        bounds = self._page_server.BOUNDS
        serving = asyncio.ensure_future(connections.serve(self._server.answer, listener, None, bounds))
        for number in ending_signals():
            loop.add_signal_handler(number, serving.cancel)
        following = asyncio.ensure_future(self._follow())
        if self.given.opens:
            await asyncio.to_thread(open_browser, access.address)
        try:
            await serving
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await self._views.end()
            await self._checks.end()

    async def _follow(self) -> None:
        """Tell the open pages which files have changed."""
        while True:
            names = await asyncio.to_thread(self.watch.wait, PATIENCE)
            if names:
                self._findings.clear()
                self._server.announce(names)

    async def ask(self, kind: str, body: bytes) -> tuple[int, bytes]:
        """Answer a request from the page. Return the HTTP status and the JSON."""
        try:
            asked = json.loads(body)
            if not isinstance(asked, dict):
                raise ValueError("not an object")
            place = asked["place"]
            hosts = json.dumps([place.get("host"), place.get("beside")])
        except (ValueError, LookupError, AttributeError, RecursionError):
            return 400, json.dumps({"problem": "invalid JSON"}).encode()
        asked |= {
            "kind": kind, "version": self._server.version, "checked": hosts in self._findings,
            "known_findings": self._findings.get(hosts),
        }  # fmt: skip
        renderer = self._checks if kind == "findings" else self._views
        try:
            answer = await renderer.ask(json.dumps(asked).encode())
        except BusyError:
            return 503, json.dumps({"problem": "too many requests"}).encode()
        self._remember(hosts, asked["version"], answer)
        return 200, answer.body

    def _remember(self, hosts: str, version: int, answer: Answer) -> None:
        is_new = version == self._server.version and len(self._findings) < MOST_CHECKED
        if "findings" in answer.facts and is_new:
            self._findings[hosts] = answer.facts["findings"]
        self.watch.follow(answer.facts.get("targets", ()))


def modules() -> tuple[Any, Any, Any]:
    """Import the server. Raises UsageError if its library is missing."""
    try:
        from ...serving import connections, watch_page_access, watch_page_server
    except ModuleNotFoundError as error:
        raise UsageError(
            f"`templater watch --web` needs the library '{error.name}'",
            hint="install templater's extra 'web'; in a Git clone: pip install -e '.[web]'",
        ) from None
    return connections, watch_page_access, watch_page_server


def assets() -> dict[str, bytes]:
    """Return the web page's static files (HTML, scripts and styles), by name."""
    folder = files("templater.web") / "assets"
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.name != "report.js"}


def ending_signals() -> Sequence[int]:
    import signal

    return (signal.SIGINT, signal.SIGTERM)


def open_browser(address: str) -> None:
    """Open the address in the user's browser."""
    import webbrowser

    if not webbrowser.open(address):
        output.note("no browser was found: open the address yourself")
