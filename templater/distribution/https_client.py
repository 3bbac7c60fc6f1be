"""Download of a stream's files by https, as clients do, with limits on time, size and redirects."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import IO, Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from .. import __version__
from ..model.errors import InputError, LimitError, RefusedError, UsageError
from ..model.input_size import received
from ..model.source import printable
from ..model.url_password import with_password
from .catalog_decoder import MOST_BYTES
from .https_client_limits import CONNECTION_COST, ClientLimits, LateError
from .tcp_socket import PlainSocket, open_connection
from .tls_socket import TIMEOUT, TlsSocket
from .tls_trust import Trust
from .tree_catalog import clean_path

#: limit on redirects, the same as in Go's client
MOST_REDIRECTS = 10
#: minimum average speed in bytes per second
_SLOWEST = 1024
#: size in bytes of the first piece of an answer, and of the largest piece
_FIRST_PIECE, _PIECE = 1 << 14, 1 << 18
#: maximum number of open connections without a request
_MOST_IDLE = 4


class RangeError(InputError):
    """The error for a range of bytes that a file does not have."""


class UrlStream:
    """A stream at a URL.

    A password in the URL is sent only to the URL's host, and is never shown in messages. ``url`` can be the
    text without the password that ``hide_passwords`` has made.
    """

    def __init__(self, url: str, trust: Trust | None = None) -> None:
        parts = split_url(with_password(url))
        if parts.scheme != "https":
            raise UsageError("clients read simplestreams only by https", hint="begin the URL with https://")
        if not parts.hostname or parts.query or parts.fragment:
            raise UsageError("the URL is not https://HOST/PATH", hint="leave out '?' and '#'")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host += f":{parts.port}" if parts.port else ""
        self.base = urlunsplit(("https", host, parts.path.rstrip("/"), "", ""))
        self._bounds = ClientLimits()
        context = (trust or Trust()).context()
        # http.client calls this method; the attribute sslsocket_class accepts only subclasses of SSLSocket
        context.wrap_socket = partial(_begin_tls, context, self._bounds)  # type: ignore[method-assign, assignment]
        self._connections = _Connections(context, self._bounds)
        self._opener = _opener(self.base, _authorization(parts), self._connections)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # raised if __init__ refused the URL
            self._connections.close()

    def read(self, path: str, /) -> bytes:
        content = bytearray()
        with self.small_file(), self.pieces(path) as pieces:
            for piece in pieces:
                content += piece
                if len(content) > MOST_BYTES:
                    raise LimitError(f"'{self.url(path)}' has more than {MOST_BYTES >> 20} MiB")
        return bytes(content)

    def file(self, path: str, /) -> IO[bytes]:
        return io.BytesIO(self.read(path))

    def small_file(self) -> contextlib.AbstractContextManager[None]:
        """Limit the time for the ``with`` block.

        The ``with`` blocks of all small files together may take ``MOST_CATALOG_SECONDS``.
        """
        return self._bounds.small_file()

    def url(self, path: str) -> str:
        """Return the URL that clients request for a path. Raises RefusedError if it leaves the stream."""
        cleaned = clean_path(path)
        if not cleaned:
            raise RefusedError(f"the path '{printable(path)}' leads out of the stream")
        return f"{self.base}/{quote(cleaned, errors='replace', safe='/:@!$&+,;=~')}"

    def size(self, path: str, /) -> int | None:
        with self.open(self.url(path), "HEAD") as answer:
            return content_length(answer)

    @contextlib.contextmanager
    def pieces(self, path: str, /) -> Iterator[Iterator[bytes]]:
        with self.open(self.url(path)) as answer:
            yield self.body(answer, self.url(path))

    def body(self, answer: Any, url: str) -> Iterator[bytes]:
        """Yield the body of an answer. Raises InputError if the body is incomplete or arrives too slowly."""
        begun, size = time.monotonic(), 0
        wanted, seconds = _FIRST_PIECE, 0.0
        try:
            while True:
                self._bounds.begin_step()
                piece = answer.read1(wanted) if wanted == _FIRST_PIECE else answer.read(wanted)
                if not piece:
                    break
                self._bounds.deliver(len(piece))
                received(len(piece))
                yield piece
                size += len(piece)
                before, seconds = seconds, time.monotonic() - begun
                # Large pieces need less processor time, but a slow server takes long to send a large piece.
                fast = seconds - before < 1 and len(piece) == wanted
                wanted = min(2 * wanted, _PIECE) if fast else _FIRST_PIECE
                if seconds > TIMEOUT and size < seconds * _SLOWEST:
                    raise InputError(f"'{url}' is too slow: {size} bytes in {int(seconds)} s")
            if answer.length:  # http.client detects an incomplete body only in chunked answers
                raise http.client.IncompleteRead(b"", answer.length)
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"'{url}' was cut short: {_words(error)}") from None

    def headers(self, url: str, headers: Mapping[str, str]) -> Any:
        """Send a HEAD request, and return the answer's headers. Raises InputError if no answer comes."""
        request = self._request(url, "HEAD", headers)
        self._bounds.begin_answer()
        try:
            answer = self._opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            answer = error.fp
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid host
            raise InputError(f"'{url}' can't be fetched: {_words(error)}", hint=_hint(error)) from None
        self._connections.release(answer)
        return answer.headers

    def _request(self, url: str, method: str, headers: Mapping[str, str]) -> urllib.request.Request:
        headers = {"User-Agent": f"templater/{__version__}", "Accept-Encoding": "identity", **headers}
        return urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - https only

    @contextlib.contextmanager
    def open(
        self, url: str, method: str = "GET", headers: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[Any]:
        """Request a URL, which must be escaped.

        Raises FileNotFoundError for status 404, and InputError for any other failure.
        """
        self._bounds.begin_answer()
        try:
            answer = self._opener.open(self._request(url, method, headers), timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            self._connections.release(error.fp)
            if error.code == 404:
                raise FileNotFoundError(url) from None
            kind = RangeError if error.code == 416 else InputError
            raise kind(f"'{url}' can't be fetched: the server answered {error.code}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid host
            raise InputError(f"'{url}' can't be fetched: {_words(error)}", hint=_hint(error)) from None
        try:
            if answer.status not in (200, 206):
                raise InputError(f"'{url}' can't be fetched: the server answered {answer.status}")
            yield answer
        finally:
            self._connections.release(answer)


def split_url(url: str) -> SplitResult:
    """Split a URL. Raises UsageError for an invalid URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        what = "port" if "port" in str(error).lower() else "host"
        raise UsageError(f"the URL has an invalid {what}") from None
    return parts


def content_length(answer: Any) -> int | None:
    """Return the Content-Length of an answer, or None if it is missing or invalid."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(words.encode()).decode()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows redirects to any https host, but sends no password to another host."""

    max_redirections = MOST_REDIRECTS
    max_repeats = MOST_REDIRECTS

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self._connections.release(fp)  # otherwise urllib would read the whole body, which can be endless
        try:
            target = urlsplit(urljoin(req.full_url, newurl))
        except ValueError:
            raise InputError(f"'{req.full_url}' redirects to an invalid URL") from None
        if target.scheme != "https" or not target.hostname:
            raise RefusedError(f"'{req.full_url}' redirects to a URL without https")
        return urllib.request.Request(  # noqa: S310 - https only
            urlunsplit(target), headers=dict(req.headers), method=req.get_method()
        )


class _Connections(urllib.request.HTTPSHandler):
    """A handler that keeps connections open, because each new connection costs a TLS handshake."""

    def __init__(self, context: ssl.SSLContext, bounds: ClientLimits) -> None:
        super().__init__(context=context)
        self._tls, self._bounds = context, bounds
        #: for each server, a connection without a request
        self._idle: dict[str, Any] = {}

    def https_open(self, request: Any) -> Any:
        """Send a request. The caller must pass the answer to ``release``."""
        headers = {name.title(): value for name, value in request.header_items()}
        login = headers.pop("Proxy-Authorization", None)
        server = request._tunnel_host or request.host
        connection = self._idle.pop(server, None)
        is_kept = connection is not None and connection.sock.is_idle()
        self._bounds.begin_request(1 if is_kept else CONNECTION_COST)
        if not is_kept:
            if connection is not None:
                connection.close()
            connection = http.client.HTTPSConnection(request.host, timeout=TIMEOUT, context=self._tls)
            # the function of http.client would wait 30 s for each address of the server
            connection._create_connection = self._connect  # type: ignore[attr-defined]
            if request._tunnel_host:
                connection.set_tunnel(server, headers={"Proxy-Authorization": login} if login else {})
        try:
            connection.request(request.get_method(), request.selector, headers=headers)
            with self._bounds.headers():
                answer = connection.getresponse()
        except BaseException as error:
            connection.close()
            if is_kept and isinstance(error, ConnectionError):  # the server closed the idle connection
                return self.https_open(request)
            if isinstance(error, OSError):
                raise urllib.error.URLError(error) from error
            raise
        answer.url, answer.msg = request.full_url, answer.reason  # urllib needs these attributes
        answer.connection = server, connection
        return answer

    def _connect(self, address: tuple[str, int], *_: Any) -> PlainSocket:
        made = open_connection(address, self._bounds)
        made.bounds = self._bounds
        return made

    def release(self, answer: Any) -> None:
        """Close an answer. If it was read to its end, keep its connection for the next request."""
        server, connection = answer.connection
        most = _FIRST_PIECE if answer.status >= 300 else 0  # the body of a redirect or an error is not needed
        with contextlib.suppress(OSError, http.client.HTTPException):
            if answer.length is not None and answer.length <= most:
                answer.read()
        if answer.isclosed() and connection.sock is not None:
            self.close(_MOST_IDLE - 1)
            self._idle[server] = connection
        else:
            answer.close()
            connection.close()

    def close(self, most: int = 0) -> None:
        """Close the oldest idle connections, and keep at most ``most``."""
        while len(self._idle) > most:
            self._idle.pop(next(iter(self._idle))).close()


class _Authorize(urllib.request.BaseHandler):
    """A handler that adds the password only to requests to the URL's own host and port."""

    def __init__(self, base: str, authorization: str) -> None:
        self._host, self._authorization = urlsplit(base).netloc, authorization

    def https_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if self._authorization and urlsplit(request.full_url).netloc == self._host:
            request.add_unredirected_header("Authorization", self._authorization)
        return request


def _begin_tls(
    context: ssl.SSLContext, bounds: ClientLimits, connection: PlainSocket, server_hostname: str
) -> TlsSocket:
    connection.bounds = None
    return TlsSocket(context, bounds, connection, server_hostname)


def _opener(base: str, authorization: str, connections: _Connections) -> urllib.request.OpenerDirector:
    """Return an opener that accepts only https. Proxies come from the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        connections,
        _Redirects(connections),
        _Authorize(base, authorization),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _words(error: BaseException) -> str:
    """Return the cause of an error as a short text without URLs, because a URL could contain a password."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, LateError):
        return str(cause)
    if isinstance(cause, TimeoutError):
        return f"the server sent nothing for {TIMEOUT} s"
    if isinstance(cause, http.client.IncompleteRead):
        return "the server sent fewer bytes than it announced"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return printable(str(cause))[:200] or type(cause).__name__


def _hint(error: BaseException) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "set SSL_CERT_FILE to a file of certificates to trust"
    return ""
