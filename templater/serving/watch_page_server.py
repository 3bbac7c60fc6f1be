"""The http server of `watch --web`: the page, its views, and a stream of events about changes.

The server passes each request to a child process, which renders the view. So the server still answers while
the child renders a hostile template.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiohttp import web

from .connections import PIECE, Bounds, write
from .watch_page_access import HEADERS, Access, Owners

BOUNDS: Final = Bounds(connections=64, request=2 << 20, waiting=30, sending=30)
#: Maximum number of event streams. A browser opens only a few connections to a server. If event streams used
#: all of them, no connection would be left for requests.
STREAMS: Final = 4
#: seconds between two comments in an idle event stream; they show both sides that the connection still works
BEAT: Final = 15.0
#: a browser opens a closed event stream again after this many milliseconds
RETRY: Final = 1000
#: maximum seconds for receiving the body of a request
RECEIVING: Final = 10.0
_TEXT: Final = "text/plain; charset=utf-8"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_AGAIN: Final = "open the address that `templater watch --web` printed; each address works once\n"

#: a function that answers a request for a view; it returns an HTTP status and JSON
Ask = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]


class PageServer:
    """Answers to requests.

    ``assets`` maps the names of the page's files to their contents. ``ask`` requests a rendered view from the
    child process.
    """

    def __init__(self, access: Access, assets: Mapping[str, bytes], ask: Ask) -> None:
        self.access, self._assets, self._ask = access, assets, ask
        self.version = 0
        #: A secret that open pages compare. After this server has ended, another user's program can use the
        #: port, but does not know the secret.
        self._secret = secrets.token_urlsafe(16)
        self._names: Sequence[str] = ()
        #: the event streams, the oldest first, each with the asyncio event that wakes the stream
        self._streams: dict[object, asyncio.Event] = {}
        self._owners = Owners()
        self._foreign: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def announce(self, names: Sequence[str]) -> None:
        """Tell the open pages that files have changed."""
        self.version += 1
        self._names = names
        for changed in self._streams.values():
            changed.set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        access = self.access
        if self._is_foreign(request):
            return await self._send(request, b"this page belongs to another user\n", status=403)
        if problem := access.problem(request.method, request.headers):
            return await self._send(request, f"{problem}\n".encode(), status=403)
        if request.method == "GET":
            return await self._get(request)
        if request.method != "POST":
            return await self._send(request, b"only GET and POST are supported\n", status=405)
        if not access.is_member(request.cookies):
            return await self._send(request, _AGAIN.encode(), status=403)
        if request.path not in ("/view", "/findings"):
            return await self._send(request, b"not found\n", status=404)
        if request.content_type != "application/json":
            return await self._send(request, b"the body must be JSON\n", status=415)
        try:
            async with asyncio.timeout(RECEIVING):
                body = await request.content.read(-1)
        except TimeoutError:
            raise ConnectionResetError("the client is too slow") from None
        status, answer = await self._ask(request.path[1:], body)
        return await self._send(request, answer, "application/json", status=status)

    def _is_foreign(self, request: web.BaseRequest) -> bool:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        if transport not in self._foreign:
            peer, own = (transport.get_extra_info(name) for name in ("peername", "sockname"))
            self._foreign[transport] = self._owners.is_foreign(peer, own)
        return self._foreign[transport]

    async def _get(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/" and "token" in request.query:
            cookie = self.access.exchange(request.query["token"])
            if cookie is None and not self.access.is_member(request.cookies):
                return await self._send(request, _AGAIN.encode(), status=403)
            headers = {"Location": "/", **({} if cookie is None else {"Set-Cookie": cookie})}
            return await self._send(request, b"", status=303, headers=headers)
        # The page's files need no cookie: they contain no data of an image, and can report a missing cookie.
        name = "page.html" if path == "/" else path.removeprefix("/assets/")
        if name in self._assets and path in ("/", f"/assets/{name}"):
            kind = _TYPES[os.path.splitext(name)[1]]
            return await self._send(request, self._assets[name], kind)
        if path == "/events" and self.access.is_member(request.cookies):
            return await self._stream(request)
        status = 403 if path == "/events" else 404
        return await self._send(request, b"not found\n" if status == 404 else _AGAIN.encode(), status=status)

    async def _send(
        self,
        request: web.BaseRequest,
        body: bytes,
        kind: str = _TEXT,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        own = {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS, **(headers or {})}
        response = web.StreamResponse(status=status, headers=own)
        await response.prepare(request)
        for start in range(0, len(body), PIECE):
            await write(response, BOUNDS, body[start : start + PIECE])
        await response.write_eof()
        return response

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send a client an event now and after each change.

        The stream ends when the client closes it, or when too many newer streams exist.
        """
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **HEADERS})
        await response.prepare(request)
        key, changed = object(), asyncio.Event()
        while len(self._streams) >= STREAMS:
            self._streams.pop(next(iter(self._streams))).set()
        self._streams[key] = changed
        try:
            await write(response, BOUNDS, f"retry: {RETRY}\n{self._event(())}".encode())
            while key in self._streams:
                try:
                    async with asyncio.timeout(BEAT):
                        await changed.wait()
                except TimeoutError:
                    await write(response, BOUNDS, b":\n\n")
                    continue
                changed.clear()
                if key in self._streams:
                    await write(response, BOUNDS, self._event(self._names).encode())
        finally:
            self._streams.pop(key, None)
        with suppress(ConnectionError):
            await response.write_eof()
        return response

    def _event(self, names: Sequence[str]) -> str:
        event = {"version": self.version, "changed": list(names), "secret": self._secret}
        return f"data: {json.dumps(event)}\n\n"
