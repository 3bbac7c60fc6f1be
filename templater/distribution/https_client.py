"""A client that downloads a stream's files over https, with limits on time, size and redirects."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import IO, Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from .. import __version__
from ..model.counters_of_work import received
from ..model.errors import InputError, LimitError, RefusedError, UsageError
from ..model.unprintable_characters import printable
from ..model.url_password import with_password
from .catalog_decoder import MOST_BYTES
from .https_client_limits import CONNECTION_COST, ClientLimits, LateError
from .tcp_and_tls_sockets import TIMEOUT, PlainSocket, TlsSocket, open_connection
from .tls_trust import Trust
from .tree_catalog import clean_path
from .url import split_url

#: limit on redirects, the same as in Go's client
MOST_REDIRECTS = 10
#: minimum average speed in bytes per second
_SLOWEST = 1024
#: size in bytes of the first piece of a response, and of the largest piece
_FIRST_PIECE, _PIECE = 1 << 14, 1 << 18
#: maximum number of open connections without a request
_MOST_IDLE = 4


class RangeError(InputError):
    """The error for a range of bytes that a file does not have."""


class RedirectError(RefusedError):
    """The error for a redirect that clients follow, but templater does not."""


class UrlStream:
    """A stream at a URL. If ``hide_passwords`` has removed the URL's password, this class adds it again.

    The class sends the password only to the URL's host. Messages never show the password.
    """

    def __init__(self, url: str, trust: Trust | None = None) -> None:
        parts = split_url(with_password(url))
        if parts.scheme != "https":
            raise UsageError("clients read simplestreams only over https", hint="begin the URL with https://")
        if not parts.hostname or parts.query or parts.fragment:
            raise UsageError(
                "the URL is not https://HOST/PATH", hint="give a host, and leave out '?' and '#'"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host += f":{parts.port}" if parts.port else ""
        self.base = urlunsplit(("https", host, parts.path.rstrip("/"), "", ""))
        self._bounds = ClientLimits()
        context = (trust or Trust()).context()
        # http.client calls this method; the attribute sslsocket_class accepts only subclasses of SSLSocket
        context.wrap_socket = partial(_begin_tls, context, self._bounds)  # type: ignore[method-assign, assignment]
        self._connections = _Connections(context, self._bounds)
        self._authorize = _Authorize(self.base, _authorization(parts))
        self._opener = _opener(self._authorize, self._connections)
        self._imitates = False

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # raised if __init__ refused the URL
            self._connections.close()

    def imitate_clients(self) -> None:
        """From now on, act like the clients of Incus and LXD:

        * require TLS 1.3 and status 200
        * decompress gzip
        * send no password after a redirect to a full URL
        """
        self._imitates = self._connections.only_newest_tls = self._authorize.only_relative = True

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
        """Limit the time that the ``with`` block may take.

        All such ``with`` blocks of a stream may take ``MOST_CATALOG_SECONDS`` in total.
        """
        return self._bounds.small_file()

    def url(self, path: str) -> str:
        """Return the URL that clients request for a path.

        Raises RefusedError if the path leaves the stream.
        """
        cleaned = clean_path(path)
        if not cleaned:
            raise RefusedError(f"the path '{printable(path)}' leads out of the stream")
        return f"{self.base}/{quote(cleaned, errors='replace', safe='/:@!$&+,;=~')}"

    def size(self, path: str, /) -> int | None:
        with self.open(self.url(path), "HEAD", self._encodings()) as answer:
            return None if self._is_encoded(answer) else content_length(answer)

    @contextlib.contextmanager
    def pieces(self, path: str, /) -> Iterator[UrlPieces]:
        url = self.url(path)
        with self.open(url, headers=self._encodings()) as answer:
            content = self.body(answer, url)
            is_encoded = self._is_encoded(answer)
            yield UrlPieces(_decompressed(content, url) if is_encoded else content, is_encoded=is_encoded)

    def _encodings(self) -> Mapping[str, str]:
        return {"Accept-Encoding": "gzip"} if self._imitates else {}

    def _is_encoded(self, answer: Any) -> bool:
        return self._imitates and (answer.headers.get("Content-Encoding") or "").lower() == "gzip"

    def body(self, answer: Any, url: str) -> Iterator[bytes]:
        """Yield the body of a response.

        Raises InputError if the body is incomplete or arrives too slowly.
        """
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
            if answer.length:  # http.client detects an incomplete body only in chunked responses
                raise http.client.IncompleteRead(b"", answer.length)
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"'{url}' was cut short: {_words(error)}") from None

    def headers(self, url: str, headers: Mapping[str, str]) -> Any:
        """Send a HEAD request, and return the response's headers. Raises InputError if no response comes."""
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
            why = f"the server answered {error.code}"
            if error.code in (401, 403) and self._authorize.left_out:
                why += " (clients send no password after a redirect to a full URL)"
            raise kind(f"'{url}' can't be fetched: {why}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid host
            raise InputError(f"'{url}' can't be fetched: {_words(error)}", hint=_hint(error)) from None
        try:
            if answer.status != 200 and (answer.status != 206 or self._imitates):
                raise InputError(f"'{url}' can't be fetched: the server answered {answer.status}")
            yield answer
        finally:
            self._connections.release(answer)


class UrlPieces:
    """The content of a file in pieces.

    * ``is_encoded``: whether the server sent the file in compressed form
    * ``total``: the size of the whole file or response for progress reports, or 0 if unknown
    """

    def __init__(self, pieces: Iterator[bytes], *, is_encoded: bool = False, total: int = 0) -> None:
        self._pieces, self.is_encoded, self.total = pieces, is_encoded, total

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)


def _decompressed(pieces: Iterator[bytes], url: str) -> Iterator[bytes]:
    """Decompress gzip data as Go does. Several compressed parts may follow one another."""
    reader = None
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if reader is None or reader.eof:
                    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
                while data := reader.decompress(rest, _PIECE):
                    yield data
                    rest = reader.unconsumed_tail
                rest = reader.unused_data
    except zlib.error:
        raise InputError(
            f"'{url}' is not gzip data, although the server sends Content-Encoding: gzip"
        ) from None
    if reader is not None and not reader.eof:
        raise InputError(f"'{url}' was cut short: the gzip data has no end")


def content_length(answer: Any) -> int | None:
    """Return the Content-Length of a response, or None if it is missing or invalid."""
    return length_in(answer.headers)


def length_in(headers: Any) -> int | None:
    """Return the Content-Length in the headers of a response, or None if it is missing or invalid."""
    length = headers.get("Content-Length") or ""
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
            given = urlsplit(headers.get("Location") or "")
        except ValueError:
            raise InputError(f"'{req.full_url}' redirects to an invalid URL") from None
        if target.scheme == "http" and target.hostname:
            raise RedirectError(f"'{req.full_url}' redirects to a URL without https")
        if target.scheme != "https" or not target.hostname:
            raise InputError(f"'{req.full_url}' redirects to an invalid URL")
        if "@" in target.netloc:
            raise RedirectError(f"'{req.full_url}' redirects to a URL with a user name")
        made = _Redirected(urlunsplit(target), headers=dict(req.headers), method=req.get_method())
        made.by_full_url = (isinstance(req, _Redirected) and req.by_full_url) or bool(
            given.scheme or given.netloc
        )
        return made


class _Redirected(urllib.request.Request):
    """A request to which a server has redirected templater."""

    #: whether one of the redirects named a full URL instead of a path on the same server
    by_full_url = False


class _Connections(urllib.request.HTTPSHandler):
    """A handler that keeps connections open, because each new connection costs a TLS handshake."""

    def __init__(self, context: ssl.SSLContext, bounds: ClientLimits) -> None:
        super().__init__(context=context)
        self._tls, self._bounds = context, bounds
        #: an open connection without a request, for each server
        self._idle: dict[str, Any] = {}
        #: whether to refuse servers without TLS 1.3
        self.only_newest_tls = False

    def https_open(self, request: Any) -> Any:
        """Send a request. The caller must pass the response to ``release``."""
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
            # the default function of http.client would wait up to 30 s for each address of the server
            connection._create_connection = self._connect  # type: ignore[attr-defined]
            if request._tunnel_host:
                connection.set_tunnel(server, headers={"Proxy-Authorization": login} if login else {})
        try:
            connection.request(request.get_method(), request.selector, headers=headers)
            if self.only_newest_tls and (version := connection.sock.version()) != "TLSv1.3":
                name = str(version).replace("TLSv", "TLS ")
                raise InputError(
                    f"the server of '{request.full_url}' offers only {name}, but clients need TLS 1.3"
                )
            with self._bounds.headers():
                try:
                    answer = connection.getresponse()
                except TypeError:  # Python 3.11 can't read a parameter "name*" beside "name*0"
                    raise InputError(f"'{request.full_url}' has an invalid header") from None
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
        """Close a response. If the response was read to its end, keep its connection for the next request."""
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
        """Close the oldest idle connections until at most ``most`` are left."""
        while len(self._idle) > most:
            self._idle.pop(next(iter(self._idle))).close()


class _Authorize(urllib.request.BaseHandler):
    """A handler that adds the password only to requests to the host and port of the stream's URL.

    * ``only_relative``: whether to send no password after a redirect to a full URL
    * ``left_out``: whether the last request has no password for this reason
    """

    def __init__(self, base: str, authorization: str) -> None:
        self._host, self._authorization = urlsplit(base).netloc, authorization
        self.only_relative = self.left_out = False

    def https_request(self, request: urllib.request.Request) -> urllib.request.Request:
        is_own = bool(self._authorization) and urlsplit(request.full_url).netloc == self._host
        redirected = isinstance(request, _Redirected) and request.by_full_url
        self.left_out = is_own and redirected and self.only_relative
        if is_own and not self.left_out:
            request.add_unredirected_header("Authorization", self._authorization)
        return request


def _begin_tls(
    context: ssl.SSLContext, bounds: ClientLimits, connection: PlainSocket, server_hostname: str
) -> TlsSocket:
    connection.bounds = None
    return TlsSocket(context, bounds, connection, server_hostname)


def _opener(authorize: _Authorize, connections: _Connections) -> urllib.request.OpenerDirector:
    """Return an opener that accepts only https. Proxies come from the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        connections,
        _Redirects(connections),
        authorize,
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
