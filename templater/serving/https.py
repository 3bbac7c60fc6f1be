"""The https server: files with ranges, the image API, and the headers of `incus image import https://…`.

The server limits connections, header bytes and idle time. The server never bans a client, because honest
clients of simplestreams send plain http to this port before they use TLS.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import secrets
import socket
import ssl
import time
from asyncio import sslproto
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import quote

from aiohttp import web

from ..distribution.tree import clean_path, is_content_name
from ..image.file_extensions import extension
from ..model.errors import InputError, TemplaterError
from ..model.instance import VIRTUAL_MACHINE
from ..model.source import printable
from ..parsing.file_kind import HEAD, recognise
from . import answers
from .served import Listing, Served
from .sources import Report, Source

_JSON = "application/json"
_BINARY = "application/octet-stream"
_TYPES = {".json": _JSON, ".html": "text/html; charset=utf-8"}
#: bytes of a file that are read and sent at once: a slow client needs this much memory
_PIECE = 1 << 16
#: Connections after which garbage is collected. Each connection leaves a cycle of objects with TLS buffers.
_COLLECT = 32
#: maximum length in characters of a path or of a client's name in the log
_LONGEST = 500
#: maximum seconds to wait for the end of a client's TLS connection
_SHUTDOWN = 5
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on clients. Times are in seconds."""

    #: maximum number of connections; one more closes the connection that has been idle for longest
    connections: int = 400
    #: maximum bytes of a request
    request: int = 32 << 10
    handshake: int = 15
    #: time from the handshake, or from the end of an answer, to the end of the next request's headers
    waiting: float = 30
    #: time for sending 64 KiB to a client
    sending: float = 60


class _Refused(Exception):
    """An answer with an error: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message


class ImageServer:
    """Answers to requests. ``certificate`` is the server's certificate as PEM text, with its fingerprint.

    ``log`` receives a line for each request. ``url`` is the address that clients use, if it is not the Host
    header of their requests.
    """

    def __init__(
        self,
        source: Source,
        *,
        redirects: Mapping[str, str] = MappingProxyType({}),
        certificate: tuple[str, str] = ("", ""),
        report: Report = lambda message: None,
        log: Report | None = None,
        url: str = "",
        bounds: Bounds = Bounds(),
    ) -> None:
        self._source, self._redirects, self._report, self._bounds = source, redirects, report, bounds
        self._certificate, self._log, self._url = certificate, log, url
        self._listing = source.load()
        self._stamp = source.stamp()
        self._loading = asyncio.Lock()

    @property
    def count(self) -> int:
        return len(self._listing.images)

    async def listing(self) -> Listing:
        """Return the current list. If the new catalog is invalid, keep the last valid list."""
        async with self._loading:
            stamp = await asyncio.to_thread(self._source.stamp)
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._listing = await asyncio.to_thread(self._source.load)
                except (TemplaterError, OSError) as error:
                    self._report(f"still serving the last valid list of images: {printable(str(error))}")
                else:
                    self._stamp = await asyncio.to_thread(self._source.stamp)
                    _exempt_from_collection()
        return self._listing

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request. Errors become answers, too."""
        if self._log is None:
            return await self._answer(request)
        begun = time.monotonic()
        response = None
        try:
            response = await self._answer(request)
            return response
        finally:
            self._log(log_line(request, response, time.monotonic() - begun))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.method not in ("GET", "HEAD"):
                raise _Refused(405, "only GET and HEAD are supported")
            return await self._route(request, request.path)
        except _Refused as refused:
            body = answers.failure(refused.status, refused.message)
            return await self._send(request, body, status=refused.status)
        except FileNotFoundError:
            return await self._send(request, answers.failure(404, "not found"), status=404)
        except ConnectionError:
            raise
        except (OSError, TemplaterError) as error:
            self._report(f"'{printable(request.path)[:200]}': {printable(str(error))}")
            return await self._send(request, answers.failure(500, "internal error"), status=500)

    async def _route(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path == "/":
            return await self._front(request)
        if path == "/1.0" or path.startswith("/1.0/"):
            return await self._api(request, path.rstrip("/"))
        cleaned = clean_path(path)
        for prefix, to in self._redirects.items():
            if f"/{cleaned}".startswith(prefix):
                rest = quote(cleaned[len(prefix) - 1 :], safe="/:@!$&+,;=~", errors="replace")
                return await self._send(request, b"", status=302, headers={"Location": to + rest})
        try:
            fd = await asyncio.to_thread(self._source.open, path)
        except FileNotFoundError:
            pass
        else:
            return await self._send_file(request, fd, cleaned)
        listing = await self.listing()
        if cleaned in listing.documents:
            return await self._send(request, listing.documents[cleaned])
        return await self._announce(request, listing, cleaned)

    async def _front(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``/`` with the tree's page for web browsers, else with the API's version."""
        if "text/html" in request.headers.get("Accept", ""):
            with suppress(FileNotFoundError):
                fd = await asyncio.to_thread(self._source.open, "index.html")
                return await self._send_file(request, fd, "index.html")
        return await self._send(request, answers.success(["/1.0"]))

    # the header protocol

    async def _announce(self, request: web.BaseRequest, listing: Listing, name: str) -> web.StreamResponse:
        """Answer with the hash and URL of the unified image that a daemon's headers ask for."""
        asked = next(
            (
                value
                for family in ("Incus", "LXD")
                if (value := request.headers.get(f"{family}-Server-Architectures"))
            ),
            "",
        )
        architectures = [word.strip() for word in asked.split(",") if word.strip()]
        image = listing.choose(name, architectures, request.headers.get("LXD-Server-Version", ""))
        if image is None:
            raise _Refused(404, "not found")
        host = request.headers.get("Host", "")
        if not self._url and not _HOST.fullmatch(host):
            raise _Refused(400, "the request has no valid Host header")
        url = f"{self._url or f'https://{host}'}/{quote(image.files[0].path)}"
        headers = {
            f"{family}-Image-{key}": value
            for family in ("Incus", "LXD")
            for key, value in (("Hash", image.fingerprint), ("URL", url))
        }
        return await self._send(
            request, f"{image.fingerprint}  {url}\n".encode(), "text/plain", headers=headers
        )

    # the image API

    async def _api(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        rest = path.removeprefix("/1.0").lstrip("/")
        recursion = request.query.get("recursion", "0") not in ("", "0")
        listing = await self.listing()
        if not rest:
            body = answers.success(answers.server_data(*self._certificate))
        elif rest == "images":
            body = await asyncio.to_thread(self._images, listing, recursion, request.query.get("filter", ""))
        elif rest == "images/aliases":
            body = await asyncio.to_thread(self._aliases, listing, recursion)
        elif rest.startswith("images/aliases/"):
            name = rest.removeprefix("images/aliases/")
            if name not in listing.aliases:
                raise _Refused(404, "Image alias not found")
            body = answers.success(answers.alias_data(name, listing.aliases[name]))
        elif rest.startswith("images/"):
            name, _, what = rest.removeprefix("images/").partition("/")
            image = listing.find(name)
            if image is None or what not in ("", "export"):
                raise _Refused(404, "Image not found")
            if what and request.method == "HEAD":
                raise _Refused(501, "not implemented")  # as the daemons
            if what:
                return await self._export(request, image)
            body = answers.success(answers.image_data(image, listing))
        else:
            raise _Refused(404, "not found")
        return await self._send(request, body)

    def _images(self, listing: Listing, recursion: bool, text: str) -> bytes:
        key = f"images {recursion}"
        if text:
            try:
                found = answers.matching(
                    (answers.image_data(image, listing) for image in listing.images), text
                )
            except InputError as error:
                raise _Refused(400, error.message) from None
            return answers.success(
                found if recursion else [answers.image_address(each["fingerprint"]) for each in found]
            )
        if key not in listing.answers:
            listing.answers[key] = answers.success(
                [
                    answers.image_data(image, listing)
                    if recursion
                    else answers.image_address(image.fingerprint)
                    for image in listing.images
                ]
            )
        return listing.answers[key]

    def _aliases(self, listing: Listing, recursion: bool) -> bytes:
        key = f"aliases {recursion}"
        if key not in listing.answers:
            listing.answers[key] = answers.success(
                [
                    answers.alias_data(name, image) if recursion else answers.alias_address(name)
                    for name, image in listing.aliases.items()
                ]
            )
        return listing.answers[key]

    async def _export(self, request: web.BaseRequest, image: Served) -> web.StreamResponse:
        """Send an image's file, or both files of a split image as a multipart body, as the daemons do."""
        opened: list[int] = []
        try:
            for file in image.files:
                opened.append(await asyncio.to_thread(self._source.open, file.path))
            endings = [extension(recognise(os.pread(fd, HEAD, 0))) for fd in opened]
            if image.unified:
                name = f"{image.fingerprint}{endings[0]}"
                headers = {"Content-Disposition": f"inline;filename={name}", "X-Incus-Type": "incus"}
                fd = opened.pop()
                return await self._send_file(request, fd, image.files[0].path, headers)
            return await self._send_parts(request, image, opened, endings)
        finally:
            for fd in opened:
                os.close(fd)

    async def _send_parts(
        self, request: web.BaseRequest, image: Served, opened: Sequence[int], endings: Sequence[str]
    ) -> web.StreamResponse:
        boundary = secrets.token_hex(30)
        root = "rootfs.img" if image.type == VIRTUAL_MACHINE else "rootfs"
        names = (
            ("metadata", f"meta-{image.fingerprint}{endings[0]}"),
            (root, image.fingerprint + endings[1]),
        )
        heads = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
            for name, filename in names
        ]
        texts = [heads[0].encode(), f"\r\n{heads[1]}".encode(), f"\r\n--{boundary}--\r\n".encode()]
        sizes = [os.fstat(fd).st_size for fd in opened]
        response = self._response(
            200, f"multipart/form-data; boundary={boundary}", sum(map(len, texts)) + sum(sizes)
        )
        response.headers["X-Incus-Type"] = "incus"
        await response.prepare(request)
        for number, fd in enumerate(opened):
            await self._write(response, texts[number])
            await self._copy(response, fd, 0, sizes[number])
        await self._write(response, texts[-1])
        await response.write_eof()
        return response

    # sending

    def _response(self, status: int, kind: str, size: int) -> web.StreamResponse:
        headers = {
            "Server": "templater", "Content-Type": kind, "Content-Length": str(size),
            "X-Content-Type-Options": "nosniff",
        }  # fmt: skip
        return web.StreamResponse(status=status, headers=headers)

    async def _send(
        self,
        request: web.BaseRequest,
        body: bytes,
        kind: str = _JSON,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        response = self._response(status, kind, len(body))
        response.headers.update(headers or {})
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(body), _PIECE):
                await self._write(response, body[start : start + _PIECE])
        await response.write_eof()
        return response

    async def _send_file(
        self, request: web.BaseRequest, fd: int, path: str, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """Send a file or the requested range, and close its descriptor."""
        try:
            status = os.fstat(fd)
            tag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
            own = {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": _caching(path), **(headers or {})}
            if tag in request.headers.get("If-None-Match", ""):
                return await self._send(request, b"", status=304, headers=own)
            start, end, code = _range(request, status.st_size, tag)
            if code == 416:
                own["Content-Range"] = f"bytes */{status.st_size}"
                return await self._send(request, b"", status=416, headers=own)
            if code == 206:
                own["Content-Range"] = f"bytes {start}-{end - 1}/{status.st_size}"
            kind = _TYPES.get(os.path.splitext(path)[1], _BINARY)
            response = self._response(code, kind, end - start)
            response.headers.update(own)
            await response.prepare(request)
            if request.method != "HEAD":
                await self._copy(response, fd, start, end)
            await response.write_eof()
            return response
        finally:
            os.close(fd)

    async def _copy(self, response: web.StreamResponse, fd: int, start: int, end: int) -> None:
        loop = asyncio.get_running_loop()
        while start < end:
            piece = await loop.run_in_executor(None, os.pread, fd, min(_PIECE, end - start), start)
            if not piece:
                # An open connection would hide from the client that the answer is incomplete.
                raise ConnectionResetError("the file became shorter")
            await self._write(response, piece)
            start += len(piece)

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._bounds.sending):
                await response.write(data)
        except TimeoutError:
            raise ConnectionResetError("the client is too slow") from None


def log_line(request: web.BaseRequest, response: web.StreamResponse | None, seconds: float) -> str:
    """Return the log line of a request, without the query and most headers, which can contain secrets.

    ``response`` is None if the connection ended before the answer was complete.
    """
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status, size = "aborted", "-"
    if response is not None:
        status = str(response.status)
        # aiohttp removes the length from an answer without a body, such as 304
        size = "0" if request.method == "HEAD" else response.headers.get("Content-Length", "0")
    agent = request.headers.get("User-Agent", "-")
    words = (_quoted(f"{request.method} {request.path}"), status, size, f"{seconds:.3f}", _quoted(agent))
    return f"{moment} {request.remote or '-'} " + " ".join(words)


def _quoted(text: str) -> str:
    text = printable(text[:_LONGEST]).replace('"', "'")
    return f'"{text}"'


def _caching(path: str) -> str:
    if is_content_name(path.rpartition("/")[2]):
        return "public, max-age=31536000, immutable"
    return "public, max-age=60"


def _range(request: web.BaseRequest, size: int, tag: str) -> tuple[int, int, int]:
    """Return start, end and HTTP status. Ignore lists of ranges, and ranges of an older file version."""
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if found is None or found.groups() == ("", "") or request.headers.get("If-Range", tag) != tag:
        return 0, size, 200
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(first) > int(last):
        return 0, size, 200  # invalid
    return (start, end, 206) if start < end else (0, 0, 416)


# connections


class _Tls(sslproto.SSLProtocol):
    """TLS of one connection, with a read buffer for one TLS record, as requests are small."""

    max_size = 16 << 10  # asyncio's own buffer has 256 KiB for each connection


class _Connection(asyncio.Protocol):
    """One connection after the handshake. It passes data to aiohttp, and closes if the client is too slow."""

    def __init__(self, inner: asyncio.Protocol, server: _Listener) -> None:
        self._inner, self._server = inner, server
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self.made = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_PIECE)  # asyncio's default is eight times as large
        self.transport, self.made = transport, True
        self._server.open[transport] = self
        self._inner.connection_made(transport)
        self.wait()

    def wait(self) -> None:
        """Start the timer for the next request."""
        self._received = 0
        self._timer = asyncio.get_running_loop().call_later(self._server.bounds.waiting, self.transport.abort)
        self._server.waiting[self] = self.transport.abort

    def begin(self) -> None:
        """Stop the timer, because the headers of a request are complete."""
        self._server.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._server.bounds.request:
            self.transport.abort()
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.begin()
        self._server.open.pop(self.transport, None)
        self._inner.connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)


class _Listener:
    """The listening socket and its connections."""

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        context: ssl.SSLContext,
        bounds: Bounds,
    ) -> None:
        self.bounds, self._answer, self._context = bounds, answer, context
        self.open: dict[asyncio.Transport, _Connection] = {}
        #: connections without a complete request, the oldest first, and how to close them
        self.waiting: dict[object, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()
        self._ended = 0
        silent = logging.getLogger("templater.serving")
        silent.propagate = False
        silent.addHandler(logging.NullHandler())
        self._http = web.Server(
            self._handle, access_log=None, logger=silent, keepalive_timeout=bounds.waiting,
            lingering_time=0, max_line_size=8190, max_field_size=8190,
        )  # fmt: skip

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self.open.get(request.transport) if request.transport is not None else None
        if connection is None:
            raise ConnectionResetError
        connection.begin()
        try:
            return await self._answer(request)
        except ConnectionError:
            connection.transport.abort()
            raise
        finally:
            if not connection.closed.done():
                connection.wait()

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:  # the process has no free file descriptor
                self._close_oldest()
                await asyncio.sleep(0.05)
                continue
            task = asyncio.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._end)
            while len(self._tasks) >= self.bounds.connections:
                self._close_oldest()
                self._free.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._free.wait(), 1)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended += 1
        if self._ended % _COLLECT == 0:
            gc.collect()
        self._free.set()

    def _close_oldest(self) -> None:
        for key in self.waiting:
            self.waiting.pop(key)()
            break

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        key, ready = object(), loop.create_future()
        self.waiting[key] = lambda: _shut(client)
        connection = _Connection(self._http(), self)
        try:
            await loop.connect_accepted_socket(
                lambda: _Tls(
                    loop, connection, self._context, ready, server_side=True,
                    ssl_handshake_timeout=self.bounds.handshake, ssl_shutdown_timeout=_SHUTDOWN,
                ),
                client,
            )  # fmt: skip
            await ready
            self.waiting.pop(key, None)
            if connection.made:  # connection.made is false if the client left during the handshake
                await connection.closed
        except (OSError, TimeoutError):
            pass  # the client does not use TLS, or is too slow
        finally:
            self.waiting.pop(key, None)

    async def close(self) -> None:
        for connection in tuple(self.open.values()):
            connection.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _exempt_from_collection() -> None:
    """Exclude all existing objects from garbage collection: a long list of images would slow it down."""
    gc.collect()
    gc.freeze()


def _shut(client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises InputError if the address can't be used."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(1024)
    except OSError as error:
        raise InputError(
            f"can't listen on '{printable(host)}' port {port}: {(error.strerror or '').lower()}"
        ) from None
    made.setblocking(False)
    return made


async def serve(
    server: ImageServer, listener: socket.socket, context: ssl.SSLContext, bounds: Bounds = Bounds()
) -> None:
    """Serve until the task is cancelled."""
    connections = _Listener(server.answer, context, bounds)
    _exempt_from_collection()
    # A failed handshake or a broken connection is normal for a public server.
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: None)
    try:
        await connections.accept(listener)
    finally:
        await connections.close()
        listener.close()
