"""A client of the REST API of Incus and LXD that sends GET and HEAD requests only.

Each thread has its own connection, which is kept open between requests.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from .. import __version__
from ..model.errors import InputError, LimitError, reason
from ..model.source import printable
from ..parsing.json_stream import JsonStream

MIB = 1 << 20
#: maximum seconds for an answer; the daemon may have to mount a volume or to ask another cluster member
TIMEOUT = 30.0
#: limits in bytes on an answer about one object, and on a list, which the API always sends whole
MOST_JSON, MOST_LIST = 8 * MIB, 64 * MIB
#: limit in bytes on everything but the content of an answer: headers and lengths of chunks
MOST_OVERHEAD = MIB
#: limit in bytes on the headers of an answer
MOST_HEADERS = 32 << 10
#: maximum number of elements of a list
MOST_ELEMENTS = 100_000
#: seconds to wait for a daemon that restarts, if it has answered before
PATIENCE = 5.0
_PAUSE = 0.1
#: maximum length of a daemon's error text in a message
_LONGEST = 300
_PIECE = 1 << 18
_DECODER = json.JSONDecoder()
#: minimum bytes per second of a long answer: a guest can write to a fifo slowly and forever
_SLOWEST = MIB

#: a function that opens a connection, with a timeout in seconds
Connect = Callable[[float], socket.socket]


class DaemonError(InputError):
    """An error in an answer of the daemon. ``status`` is the HTTP status, and ``text`` the daemon's text."""

    def __init__(self, daemon: str, status: int, text: str) -> None:
        shown = printable(text[:_LONGEST]) or f"status {status}"
        super().__init__(f"{daemon} answered: {shown}")
        self.status = status
        self.text = text


class NoAnswerError(InputError):
    """Raised if a daemon can't be reached or does not answer."""


class HangError(NoAnswerError):
    """Raised if a daemon did not answer a request in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request. The names of ``headers`` are in lower case; ``body`` is empty for HEAD."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class _Connection(http.client.HTTPConnection):
    """A connection whose socket another function opens.

    ``used`` tells whether it has received an answer before. Each read ends at ``deadline``, even if the
    daemon keeps sending single bytes. ``overhead`` counts the received bytes that are not content.
    """

    def __init__(self, connect: Connect) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._open = connect
        self.used = False
        self.deadline = 0.0
        self.overhead = 0
        self.in_headers = False

    def deliver(self, size: int) -> None:
        """Subtract content from the counted bytes, and also some bytes for the lengths of chunks."""
        self.overhead = max(0, self.overhead - size - size // 16)

    def receive(self, size: int) -> None:
        """Count received bytes. Raises HTTPException if too many of them are not content."""
        self.overhead += size
        if self.in_headers and self.overhead > MOST_HEADERS:
            raise http.client.HTTPException(f"more than {MOST_HEADERS >> 10} KiB of headers")
        if self.overhead > MOST_OVERHEAD:
            text = f"more than {MOST_OVERHEAD // MIB} MiB in addition to the content"
            raise http.client.HTTPException(text)

    def getresponse(self) -> http.client.HTTPResponse:
        """Read the headers of an answer, which Python parses in quadratic time."""
        self.overhead, self.in_headers = 0, True
        try:
            return super().getresponse()
        finally:
            self.in_headers = False

    def connect(self) -> None:
        self.used = False
        self.sock = _Socket(self._open(self.timeout or TIMEOUT), self)


class _Socket:
    """A socket for http.client that keeps the deadline of its connection."""

    def __init__(self, opened: socket.socket, connection: _Connection) -> None:
        self._socket, self._connection = opened, connection

    def sendall(self, data: bytes) -> None:
        self._wait()
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        received: Any = self._socket.makefile("rb", buffering=0)
        return io.BufferedReader(_Received(received, self._wait, self._connection.receive))

    def shutdown(self, how: int) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()

    def _wait(self) -> None:
        """Let the next call wait until the deadline. Raises TimeoutError after the deadline."""
        left = self._connection.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


class _Received(io.RawIOBase):
    def __init__(self, received: Any, wait: Callable[[], None], count: Callable[[int], None]) -> None:
        self._received, self._wait, self._count = received, wait, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._wait()
        size = self._received.readinto(buffer)
        self._count(size or 0)
        return size

    def close(self) -> None:
        self._received.close()
        super().close()


class Client:
    """A client of a daemon's API.

    ``name`` names the daemon in messages. ``place`` is a socket's path or a URL.
    """

    def __init__(self, name: str, place: str, connect: Connect) -> None:
        self.name = name
        self.place = place
        self._connect = connect
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._answered = self._closed = False

    def close(self) -> None:
        """Close every connection. Requests in other threads then fail."""
        with self._lock:
            self._closed = True
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def check_open(self) -> None:
        """Raise NoAnswerError after ``close``, to end a thread that handles a long answer."""
        if self._closed:
            raise NoAnswerError("interrupted")

    def head(self, path: str) -> Answer:
        """Return the headers of an answer, whatever its status."""
        return self._request("HEAD", path, 0, TIMEOUT)

    def get(self, path: str, most: int, timeout: float = TIMEOUT) -> Answer:
        """Return an answer, whatever its status. Raises LimitError if its body is longer than ``most``."""
        return self._request("GET", path, most, timeout)

    def json(self, path: str, most: int = MOST_JSON) -> Any:
        """Return the ``metadata`` of an answer. Raises DaemonError if the daemon answers with an error."""
        answer = self.get(path, most)
        if answer.status != 200:
            raise self.error(answer)
        value = self._decoded(answer, path)
        return value.get("metadata")

    def items(self, path: str, noun: str) -> Iterator[Any]:
        """Yield the elements of a list, decoded one at a time. Messages call an element ``noun``.

        Raises LimitError if the list or an element is too large.
        """
        answer = self.get(path, MOST_LIST)
        if answer.status != 200:
            raise self.error(answer)
        text = JsonStream(io.BytesIO(answer.body).read, f"the answer of {self.name}", noun, _DECODER)
        with contextlib.suppress(UnicodeError):
            if text.member("metadata") and text.next_character() == "[":
                for number, value in enumerate(text.items()):
                    if number >= MOST_ELEMENTS:
                        raise LimitError(f"{self.name} has more than {MOST_ELEMENTS} {noun}s")
                    yield value
                return
            if text.text[text.position :].startswith("null"):
                return
        raise InputError(f"{self.name} sent an invalid list of {noun}s")

    @contextlib.contextmanager
    def stream(self, path: str) -> Iterator[tuple[Message, Iterator[bytes]]]:
        """Open a new connection, and yield the headers and the content of an answer."""
        connection = _Connection(self._connect)

        def pieces() -> Iterator[bytes]:
            while piece := answer.read1(_PIECE):
                connection.deliver(len(piece))
                yield piece
                connection.deadline = time.monotonic() + TIMEOUT

        connection.deadline = time.monotonic() + TIMEOUT
        try:
            connection.request("GET", path, headers={"User-Agent": f"templater/{__version__}"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise DaemonError(self.name, answer.status, "")
            yield answer.headers, pieces()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"{self.name} does not answer: {printable(str(error))}") from None
        finally:
            connection.close()

    def error(self, answer: Answer) -> DaemonError:
        """Return the error that an answer describes."""
        text = f"status {answer.status}"
        if answer.headers.get("content-type", "").startswith("application/json"):
            with contextlib.suppress(InputError):
                found = self._decoded(answer, "").get("error")
                text = found if isinstance(found, str) and found else text
        return DaemonError(self.name, answer.status, text)

    def open_socket(self) -> socket.socket:
        """Return a new connection, for events. Raises NoAnswerError if the daemon can't be reached."""
        try:
            return self._connect(TIMEOUT)
        except OSError as error:
            raise self._unreachable(error) from None

    def _decoded(self, answer: Answer, path: str) -> dict[str, Any]:
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(f"{self.name} answered '{printable(path)}' with something other than JSON")
        return value

    def _request(self, method: str, path: str, most: int, timeout: float) -> Answer:
        end = time.monotonic() + PATIENCE
        while True:
            connection = self._own_connection()
            kept = connection.used
            try:
                answer = self._exchange(connection, method, path, most, timeout)
            except (http.client.HTTPException, ValueError) as error:
                connection.close()
                # a stopping daemon closes idle connections, so send the request once more
                if kept and isinstance(error, http.client.RemoteDisconnected | http.client.BadStatusLine):
                    continue
                words = printable(str(error))[:_LONGEST] or type(error).__name__
                raise NoAnswerError(f"{self.name} sent an invalid answer: {words}") from None
            except TimeoutError:
                connection.close()
                raise HangError(f"{self.name} did not answer within {timeout:g} seconds") from None
            except OSError as error:
                connection.close()
                if self._closed:
                    raise NoAnswerError("interrupted") from None
                if kept:
                    continue
                if not self._answered or time.monotonic() > end or isinstance(error, PermissionError):
                    raise self._unreachable(error) from None
                time.sleep(_PAUSE)
                continue
            connection.used = self._answered = True
            return answer

    def _exchange(self, connection: _Connection, method: str, path: str, most: int, timeout: float) -> Answer:
        connection.timeout = timeout
        connection.deadline = end = time.monotonic() + timeout
        connection.overhead = 0
        connection.request(method, path, headers={"User-Agent": f"templater/{__version__}"})
        response = connection.getresponse()
        body = bytearray()
        while method == "GET" and (piece := response.read1(_PIECE)):
            body += piece
            connection.deliver(len(piece))
            if len(body) > most:
                connection.close()
                raise LimitError(f"{self.name} answered '{printable(path)}' with more than {most} bytes")
            connection.deadline = end + len(body) / _SLOWEST
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, bytes(body))

    def _own_connection(self) -> _Connection:
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _Connection(self._connect)
            with self._lock:
                self._connections.append(connection)
        self.check_open()
        return connection

    def _unreachable(self, error: OSError) -> NoAnswerError:
        place = printable(self.place)
        if isinstance(error, FileNotFoundError):
            return NoAnswerError(f"no {self.name} daemon: the socket '{place}' does not exist")
        if isinstance(error, ConnectionRefusedError):
            return NoAnswerError(f"no {self.name} daemon answers on '{place}'")
        if isinstance(error, PermissionError):
            group = "lxd" if self.name == "lxd" else "incus-admin"
            return NoAnswerError(
                f"no permission for the socket '{place}' of {self.name}",
                hint=f"run as root, or as a member of the group {group}",
            )
        words = printable(str(error)) if isinstance(error, ssl.SSLError) else reason(error)
        return NoAnswerError(f"{self.name} does not answer on '{place}': {words[:_LONGEST]}")


def unix_socket(path: str) -> Connect:
    """Return a function that connects to the Unix socket at a path."""

    def connect(timeout: float) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(timeout)
            made.connect(path)
        except BaseException:
            made.close()
            raise
        return made

    return connect
