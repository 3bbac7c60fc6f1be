"""The https server: files with ranges, the image API, and the headers of `incus image import https://…`.

The server never blocks a client after invalid requests: even honest simplestreams clients first send plain
http to this port, and then use TLS.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from urllib.parse import quote

from aiohttp import web

from ..distribution.tree import is_content_name
from ..distribution.tree_catalog import clean_path
from ..image.file_extensions import extension
from ..model.errors import InputError, TemplaterError
from ..model.instance import VIRTUAL_MACHINE
from ..model.unprintable_characters import printable
from ..parsing.file_kind import HEAD, recognise
from . import image_api_answers
from .connections import DEFAULT, PIECE, Bounds, Turns, exempt_from_collection, network_of, write
from .image_api_answers import Elements, EncodedList
from .image_listing import Listing
from .image_sources import Report, Source
from .served_image import Served

_JSON = "application/json"
_BINARY = "application/octet-stream"
_TYPES = {".json": _JSON, ".html": "text/html; charset=utf-8"}
#: maximum length in characters of a path or of a client's name in the log
_LONGEST = 500
#: maximum number of waiting requests with a filter from the clients of one network
_MOST_FILTERS = 10
#: maximum number of pieces of lists that the server sends to one network at once
_MOST_LONG = 8
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class _Refused(Exception):
    """An answer with an error: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message


class ImageServer:
    """Answers to requests.

    * ``certificate``: the server's certificate as PEM text, and its fingerprint
    * ``log``: a function that receives a line for each request
    * ``url``: the server's address for clients; if empty, the address in the Host header of each request
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
        bounds: Bounds = DEFAULT,
    ) -> None:
        self._source, self._redirects, self._report, self._bounds = source, redirects, report, bounds
        self._certificate, self._log, self._url = certificate, log, url
        #: The thread that loads lists. A thread does not give back freed memory, so a second thread would
        #: need the same amount of memory again.
        self._loader = ThreadPoolExecutor(1)
        self._listing = self._loader.submit(source.load).result()
        self._loading, self._filtering = asyncio.Lock(), asyncio.Lock()
        #: the elements of the replaced lists, from which slow clients still receive answers
        self._earlier: list[weakref.ref[Elements]] = []
        #: the next check for changes, for which requests wait; None if no request waits for a check to begin
        self._next_check: asyncio.Task[None] | None = None
        #: the number of waiting requests with a filter, by network; the networks take turns
        self._waiting_filters: Counter[str] = Counter()
        self._filters = Turns(1, seconds=None)
        self._long_answers = Turns(_MOST_LONG)

    @property
    def count(self) -> int:
        return len(self._listing.images)

    async def listing(self) -> Listing:
        """Check whether the images have changed, and return the current list of images.

        If the new catalog is invalid, return the last valid list.
        """
        # All requests that arrive during one check wait together for the next check.
        if self._next_check is None:
            self._next_check = asyncio.create_task(self._load_changes())
        await asyncio.shield(self._next_check)
        return self._listing

    async def _load_changes(self) -> None:
        async with self._loading:
            self._next_check = None
            if await asyncio.to_thread(self._source.changed):
                for earlier in self._earlier:
                    if (elements := earlier()) is not None:
                        elements.end()  # before the new list needs memory
                current = [weakref.ref(each.elements) for each in self._listing.lists]
                try:
                    loop = asyncio.get_running_loop()
                    self._listing = await loop.run_in_executor(self._loader, self._source.load)
                except (TemplaterError, OSError) as error:
                    self._report(f"still serving the last valid list of images: {printable(str(error))}")
                else:
                    self._earlier = current
                    exempt_from_collection(again=True)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request. After an error, answer with an HTTP error status."""
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
            body = image_api_answers.failure(refused.status, refused.message)
            return await self._send(request, body, status=refused.status)
        except FileNotFoundError:
            return await self._send(request, image_api_answers.failure(404, "not found"), status=404)
        except ConnectionError:
            raise
        except (OSError, TemplaterError) as error:
            self._report(f"'{printable(request.path)[:200]}': {printable(str(error))}")
            return await self._send(request, image_api_answers.failure(500, "internal error"), status=500)

    async def _route(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        await self.listing()  # also before opening a file, which can be private now
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
        document = self._listing.documents.get(cleaned)
        if document is not None:
            return await self._send(request, document)
        return await self._announce(request, cleaned)

    async def _front(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request for ``/``: browsers get the tree's page, other clients get the API's version."""
        if "text/html" in request.headers.get("Accept", ""):
            with suppress(FileNotFoundError):
                fd = await asyncio.to_thread(self._source.open, "index.html")
                return await self._send_file(request, fd, "index.html")
        return await self._send(request, image_api_answers.success(["/1.0"]))

    # the header protocol

    async def _announce(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """Answer with the hash and URL of the unified image ``name`` for a daemon.

        The daemon's headers tell its architectures and its version.
        """
        asked = next(
            (
                value
                for family in ("Incus", "LXD")
                if (value := request.headers.get(f"{family}-Server-Architectures"))
            ),
            "",
        )
        architectures = [word.strip() for word in asked.split(",") if word.strip()]
        version = request.headers.get("LXD-Server-Version", "")
        image = self._listing.choose(name, architectures, version)
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
        if rest == "images" and (text := request.query.get("filter", "")):
            return await self._send(request, await self._filter(request, recursion, text))
        found = self._find(rest, recursion)
        if not isinstance(found, Served):
            return await self._send(request, found)
        if request.method == "HEAD":
            raise _Refused(501, "not implemented")  # as the daemons
        return await self._export(request, found)

    def _find(self, rest: str, recursion: bool) -> bytes | EncodedList | Served:
        """Return the answer for a path below ``/1.0/``, or the image to export.

        Raises _Refused for an unknown path, alias or image.
        """
        # The caller must not have the list in a variable. Its variables live until a slow client has read the
        # answer, and would keep a replaced list in memory.
        listing = self._listing
        if not rest:
            return image_api_answers.success(image_api_answers.server_data(*self._certificate))
        if rest in ("images", "images/aliases"):
            return listing.answers[f"{rest.rpartition('/')[2]} {recursion}"]
        if rest.startswith("images/aliases/"):
            name = rest.removeprefix("images/aliases/")
            if name not in listing.aliases:
                raise _Refused(404, "Image alias not found")
            return image_api_answers.success(image_api_answers.alias_data(name, listing.aliases[name]))
        if not rest.startswith("images/"):
            raise _Refused(404, "not found")
        name, _, what = rest.removeprefix("images/").partition("/")
        image = listing.find(name)
        if image is None or what not in ("", "export"):
            raise _Refused(404, "Image not found")
        return image if what else image_api_answers.success_of(listing.encoded(image))

    async def _filter(self, request: web.BaseRequest, recursion: bool, text: str) -> EncodedList:
        """Apply a client's filter to the list of images. Only one filter runs at a time."""
        network = network_of(request.remote or "")
        waiting = self._waiting_filters
        if waiting[network] >= _MOST_FILTERS or waiting.total() >= self._bounds.connections:
            raise _Refused(503, "too many requests with a filter; try again later")
        waiting[network] += 1

        async def work() -> EncodedList:
            # With one filter at a time, other requests get processor time and threads.
            async with self._filtering:
                if request.transport is None:
                    raise ConnectionResetError("the client has closed the connection")
                return await asyncio.to_thread(
                    image_api_answers.filtered, self._listing.answers, recursion, text
                )

        try:
            # The networks of clients take turns, so many filters from one network do not delay other
            # networks.
            return await self._filters.work(network, work)
        except InputError as error:
            raise _Refused(400, error.message) from None
        finally:
            waiting[network] -= 1
            if not waiting[network]:
                del waiting[network]

    async def _export(self, request: web.BaseRequest, image: Served) -> web.StreamResponse:
        """Send an image as the daemons do: a unified image as a file, a split image as a multipart body."""
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
            await write(response, self._bounds, texts[number])
            await self._copy(response, fd, 0, sizes[number])
        await write(response, self._bounds, texts[-1])
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
        body: bytes | EncodedList,
        kind: str = _JSON,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        size = len(body) if isinstance(body, bytes) else body.size
        response = self._response(status, kind, size)
        response.headers.update(headers or {})
        await response.prepare(request)
        if request.method != "HEAD":
            network = network_of(request.remote or "")
            for block in _blocks([body] if isinstance(body, bytes) else body):
                if size > PIECE:
                    await self._long_answers.work(network, partial(write, response, self._bounds, block))
                else:
                    await write(response, self._bounds, block)
        await response.write_eof()
        return response

    async def _send_file(
        self, request: web.BaseRequest, fd: int, path: str, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """Send a file or its requested range, and close the file's descriptor."""
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
            piece = await loop.run_in_executor(None, os.pread, fd, min(PIECE, end - start), start)
            if not piece:
                # An open connection would hide from the client that the answer is incomplete.
                raise ConnectionResetError("the file became shorter during the download")
            await write(response, self._bounds, piece)
            start += len(piece)


def _blocks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of ``parts`` in blocks of at least ``PIECE`` bytes. The last block can be smaller."""
    block = bytearray()
    for part in parts:
        for start in range(0, len(part), PIECE):
            block += part[start : start + PIECE]
            if len(block) >= PIECE:
                yield bytes(block)
                block.clear()
    if block:
        yield bytes(block)


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
    """Return the start and end of the requested range, and the HTTP status.

    Return the whole file for an invalid range, for several ranges, and for an If-Range of another version.
    """
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if found is None or found.groups() == ("", "") or request.headers.get("If-Range", tag) != tag:
        return 0, size, 200
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(first) > int(last):
        return 0, size, 200  # invalid
    return (start, end, 206) if start < end else (0, 0, 416)
