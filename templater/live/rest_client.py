"""A client of the REST API of Incus and LXD that sends GET and HEAD requests only.

Each thread has its own connection. The connection stays open between requests.
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from .. import __version__
from ..distribution.daemon_connection import TIMEOUT, Connect, Connection
from ..model.errors import InputError, LimitError, reason
from ..model.unprintable_characters import printable
from ..parsing.json_stream import JsonStream

MIB = 1 << 20
#: limits in bytes on an answer about one object, and on a list; the API cannot send a part of a list
MOST_JSON, MOST_LIST = 8 * MIB, 64 * MIB
#: maximum number of elements of a list
MOST_ELEMENTS = 100_000
#: seconds to wait for a daemon that restarts, if it has answered before
PATIENCE = 5.0
_PAUSE = 0.1
#: maximum length of a daemon's error text in a message
_LONGEST = 300
_PIECE = 1 << 18
_DECODER = json.JSONDecoder()
#: minimum bytes per second of a long answer; for example, a guest can slowly write to a fifo for ever
_SLOWEST = MIB


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


class Client:
    """A client of a daemon's API.

    ``name`` is the daemon's name in messages. ``place`` is the path of the daemon's socket, or its URL.
    """

    def __init__(self, name: str, place: str, connect: Connect) -> None:
        self.name = name
        self.place = place
        self._connect = connect
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[Connection] = []
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
        """Raise NoAnswerError if the client is closed.

        A thread calls this method repeatedly while it handles a long answer, so that ``close`` can end the
        thread.
        """
        if self._closed:
            raise NoAnswerError("interrupted")

    def head(self, path: str) -> Answer:
        """Send a HEAD request. Return the headers of the answer, even if the answer is an error."""
        return self._request("HEAD", path, 0, TIMEOUT)

    def get(self, path: str, most: int, timeout: float = TIMEOUT) -> Answer:
        """Send a GET request. Return the answer, even if the answer is an error.

        Raises LimitError if the body of the answer is longer than ``most``.
        """
        return self._request("GET", path, most, timeout)

    def json(self, path: str, most: int = MOST_JSON) -> Any:
        """Return the ``metadata`` of an answer. Raises DaemonError if the daemon answers with an error."""
        answer = self.get(path, most)
        if answer.status != 200:
            raise self.error(answer)
        value = self._decoded(answer, path)
        return value.get("metadata")

    def items(self, path: str, noun: str) -> Iterator[Any]:
        """Decode a list one element at a time, and yield the elements.

        ``noun`` names an element in messages. Raises LimitError if the list or an element is too large.
        """
        answer = self.get(path, MOST_LIST)
        if answer.status != 200:
            raise self.error(answer)
        text = JsonStream(io.BytesIO(answer.body).read, f"the response from {self.name}", noun, _DECODER)
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
        connection = Connection(self._connect)

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
        """Return a new connection for reading events. Raises NoAnswerError if the daemon can't be reached."""
        try:
            return self._connect(TIMEOUT)
        except OSError as error:
            raise self._unreachable(error) from None
        except http.client.HTTPException as error:
            raise NoAnswerError(f"{self.name} sent an invalid response: {error}") from None

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
                raise NoAnswerError(f"{self.name} sent an invalid response: {words}") from None
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

    def _exchange(self, connection: Connection, method: str, path: str, most: int, timeout: float) -> Answer:
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

    def _own_connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = Connection(self._connect)
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
