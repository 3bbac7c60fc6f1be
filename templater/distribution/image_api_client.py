"""A client of the image API of Incus and LXD, over https or over the socket of the daemon on this machine."""

from __future__ import annotations

import contextlib
import email.parser
import http.client
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

from .. import __version__
from ..model.counters_of_work import received
from ..model.errors import InputError, LimitError, RefusedError
from ..model.unprintable_characters import printable, whole_characters
from .catalog_decoder import parse_json
from .daemon_connection import TIMEOUT, Connection
from .daemon_socket_path import find_socket
from .https_client import RangeError, UrlPieces, UrlStream, length_in

#: limit in bytes on a response about one image or alias
_MOST_JSON = 4 << 20
_MOST_HEADERS, _MOST_CONTENT_TYPE = 8 << 10, 1000
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
#: a type or an architecture, which can be empty
_WORD = re.compile(r"[A-Za-z0-9_-]{0,64}")
#: `image list` shows this many digits of a fingerprint
_SHORTEST = 12
#: names of an image's parts: the metadata, and the root filesystem of a container or a virtual machine
_METADATA, _ROOTS = "metadata", ("rootfs", "rootfs.img")
_PIECE = 1 << 18


class Server(Protocol):
    """A server of the image API. ``get`` takes an escaped path that begins with a slash."""

    name: str

    def get(self, path: str, /) -> contextlib.AbstractContextManager[tuple[Message, Iterator[bytes]]]:
        """Yield the headers and the content of a response. Raises FileNotFoundError for 404."""

    def small_file(self) -> contextlib.AbstractContextManager[None]:
        """Limit the time for reading a small file inside the ``with`` block."""


class RangeServer(Server, Protocol):
    """A server that can send a part of a file."""

    def get(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), /
    ) -> contextlib.AbstractContextManager[tuple[Message, Iterator[bytes]]]:
        """Request a path with ``headers``. Raises RangeError if the requested range is not in the file."""


class HttpsServer:
    """A daemon or image server that is reached over https."""

    def __init__(self, stream: UrlStream) -> None:
        self._stream = stream
        self.name = stream.base

    @contextlib.contextmanager
    def get(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), /
    ) -> Iterator[tuple[Message, Iterator[bytes]]]:
        url = self._stream.base + path
        with self._stream.open(url, headers=headers) as answer:
            yield answer.headers, self._stream.body(answer, url)

    def small_file(self) -> contextlib.AbstractContextManager[None]:
        return self._stream.small_file()


class LocalDaemon:
    """The Incus or LXD daemon on this machine. ``get`` raises InputError if its socket can't be opened."""

    def __init__(self, family: str) -> None:
        self.name = family
        self._path = find_socket(family).path

    def _connect(self, timeout: float) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.settimeout(timeout)
        opened.connect(self._path)
        return opened

    @contextlib.contextmanager
    def get(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), /
    ) -> Iterator[tuple[Message, Iterator[bytes]]]:
        connection = Connection(self._connect)

        def pieces() -> Iterator[bytes]:
            while piece := answer.read1(_PIECE):
                connection.deliver(len(piece))
                received(len(piece))
                yield piece
                connection.deadline = time.monotonic() + TIMEOUT

        connection.deadline = time.monotonic() + TIMEOUT
        try:
            connection.request("GET", path, headers={"User-Agent": f"templater/{__version__}", **headers})
            answer = connection.getresponse()
            if answer.status == 404:
                raise FileNotFoundError(path)
            if answer.status == 416:
                raise RangeError(f"{self.name} does not have the requested range of '{path}'")
            if answer.status != 200 and (answer.status != 206 or not headers):
                raise InputError(f"{self.name} answered {answer.status} to '{path}'")
            yield answer.headers, pieces()
        except PermissionError:
            raise InputError(
                f"no permission for the socket '{self._path}' of {self.name}",
                hint=f"run as root, or as a member of the group {self.name}-admin or {self.name}",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, FileNotFoundError) and error.errno is None:
                raise
            words = getattr(error, "strerror", None) or printable(str(error))[:200] or "timed out"
            words = words[:1].lower() + words[1:]
            raise InputError(f"{self.name} does not answer on '{self._path}': {words}") from None
        finally:
            connection.close()

    def small_file(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # the daemon is trusted, so its responses have no time limit


@dataclass(frozen=True, slots=True)
class ServerImage:
    """An image as a server describes it."""

    fingerprint: str
    type: str
    architecture: str


def find_image(server: Server, name: str) -> ServerImage:
    """Return the image with the string ``name`` as its alias, or as the beginning of its fingerprint.

    Raises InputError if the image is missing, or if its description is invalid.
    """
    wanted = name
    if not is_hash(name):
        with contextlib.suppress(FileNotFoundError):
            target = _read(server, f"/1.0/images/aliases/{quote(name, safe='', errors='replace')}").get(
                "target"
            )
            wanted = whole_characters(target) if isinstance(target, str) else ""
    try:
        found = _read(server, f"/1.0/images/{quote(wanted, safe='', errors='replace')}")
    except FileNotFoundError:
        raise InputError(f"'{server.name}' has no image '{printable(name)}' that this user may see") from None
    texts = [found.get(key) or "" for key in ("fingerprint", "type", "architecture")]
    if not all(isinstance(text, str) for text in texts) or not all(map(_WORD.fullmatch, texts[1:])):
        raise InputError(f"'{server.name}' sent an invalid description of the image '{printable(name)}'")
    if not FINGERPRINT.fullmatch(texts[0]):
        raise InputError(f"'{server.name}' gives the invalid fingerprint '{printable(texts[0][:70])}'")
    if is_hash(name) and not texts[0].startswith(name):
        raise InputError(f"'{server.name}' sent the image {texts[0][:12]} instead of {name[:12]}")
    return ServerImage(*texts)


def is_hash(name: str) -> bool:
    """Return whether a name is a fingerprint or the beginning of a fingerprint.

    templater never treats such a name as an alias.
    """
    return len(name) >= _SHORTEST and all(digit in "0123456789abcdef" for digit in name.lower())


@contextlib.contextmanager
def export(server: Server, image: ServerImage) -> Iterator[Iterator[tuple[str, UrlPieces]]]:
    """Yield an iterator over the files of an image, as pairs of kind and content.

    * kinds: "metadata" and then "rootfs", or only "image" for a unified image
    * ``total`` of each content: the size of all files together
    """
    with server.get(_export_path(image)) as (headers, content):
        kind, total = headers.get("Content-Type") or "", length_in(headers) or 0
        files = (
            _parts(content, _boundary(kind), server.name)
            if kind.lower().startswith("multipart/")
            else iter((("image", content),))
        )
        yield ((name, UrlPieces(file, total=total)) for name, file in files)


@contextlib.contextmanager
def export_rest(server: RangeServer, image: ServerImage, start: int) -> Iterator[tuple[int, UrlPieces]]:
    """Request a unified image from byte ``start`` on.

    Yield the position of the first byte that the server sends, and the content. The position is 0 if the
    server sends the whole image.
    """
    with contextlib.ExitStack() as opened:
        path, first = _export_path(image), 0
        try:
            wanted = {"Range": f"bytes={start}-"} if start else {}
            headers, content = opened.enter_context(server.get(path, wanted))
            if sent := headers.get("Content-Range"):
                first = start
                if not sent.startswith(f"bytes {start}-"):
                    raise RangeError(f"'{server.name}' did not send the requested byte range")
        except RangeError:
            opened.close()
            first = 0
            headers, content = opened.enter_context(server.get(path))
        yield first, UrlPieces(content, total=first + (length_in(headers) or 0))


def _export_path(image: ServerImage) -> str:
    return f"/1.0/images/{image.fingerprint}/export"


def _read(server: Server, path: str) -> Mapping[str, Any]:
    body = bytearray()
    with server.small_file(), server.get(path) as (_, content):
        for piece in content:
            body += piece
            if len(body) > _MOST_JSON:
                raise LimitError(f"'{server.name}' answers '{path}' with more than {_MOST_JSON >> 20} MiB")
    value = parse_json(bytes(body), server.name + path)
    metadata = value.get("metadata") if isinstance(value, dict) else None
    return metadata if isinstance(metadata, dict) else MappingProxyType({})


def _boundary(kind: str) -> bytes:
    boundary: Any = ""
    if len(kind) <= _MOST_CONTENT_TYPE:  # the time of get_param grows with the square of the length
        message = email.parser.HeaderParser().parsestr(f"Content-Type: {kind}\n\n")
        boundary = _parameter(message, "boundary", "content-type")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 200:
        raise InputError("the server sends a multipart response without a valid boundary")
    return b"\r\n--" + boundary.encode("ascii", "replace")


def _parameter(message: Message, name: str, header: str) -> Any:
    """Return a parameter of a header, or "" if it is missing or invalid."""
    try:
        return message.get_param(name, header=header) or ""
    except TypeError:  # Python 3.11 can't read "name*" beside "name*0"
        return ""


def _parts(content: Iterator[bytes], delimiter: bytes, server: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Split a multipart body into parts: (name, content).

    Only one piece of the response is in memory at a time.
    """
    reader = _Reader(content, delimiter, server)
    size = 0
    for piece in reader.until_delimiter():  # skip the multipart preamble, which has no meaning
        size += len(piece)
        if size > _MOST_HEADERS:
            raise LimitError(
                f"'{server}' sends more than {_MOST_HEADERS} bytes before the image's first file"
            )
    for allowed in ((_METADATA,), _ROOTS):
        if not reader.has_part():
            if allowed == (_METADATA,):
                raise InputError(f"'{server}' sends an image without parts")
            return
        name = str(_parameter(reader.headers(), "name", "content-disposition"))
        if name not in allowed:
            raise RefusedError(
                f"'{server}' sends the part '{printable(name[:100])}' instead of '{allowed[0]}'"
            )
        body = reader.until_delimiter()
        yield name.partition(".")[0], body
        for _ in body:
            pass  # skip the rest of a file that the caller did not read to its end
    if reader.has_part():
        raise RefusedError(f"'{server}' sends more parts than an image has")


class _Reader:
    def __init__(self, content: Iterator[bytes], delimiter: bytes, server: str) -> None:
        self._content, self._delimiter, self._server = content, delimiter, server
        self._buffer = b"\r\n"

    def _more(self) -> None:
        piece = next(self._content, b"")
        if not piece:
            raise InputError(f"'{self._server}' sent an image that is cut short")
        self._buffer += piece

    def until_delimiter(self) -> Iterator[bytes]:
        while (end := self._buffer.find(self._delimiter)) < 0:
            keep = len(self._delimiter) - 1
            ready, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
            if ready:
                yield ready
            self._more()
        ready, self._buffer = self._buffer[:end], self._buffer[end + len(self._delimiter) :]
        if ready:
            yield ready

    def has_part(self) -> bool:
        """Read the two bytes after a delimiter, and return whether another part follows.

        The bytes are CRLF before another part, and ``--`` after the last part.
        """
        while len(self._buffer) < 2:
            self._more()
        mark, self._buffer = self._buffer[:2], self._buffer[2:]
        if mark not in (b"\r\n", b"--"):
            raise InputError(f"'{self._server}' sends an invalid multipart response")
        return mark == b"\r\n"

    def headers(self) -> Any:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MOST_HEADERS:
                raise LimitError(
                    f"'{self._server}' sends a part with more than {_MOST_HEADERS} bytes of headers"
                )
            self._more()
        text, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
        return email.parser.BytesHeaderParser().parsebytes(text)
