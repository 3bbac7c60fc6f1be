"""A connection to a daemon, with limits on the time and on the protocol data of an answer."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import Any

#: maximum seconds for an answer; the daemon may have to mount a volume or to ask another cluster member
TIMEOUT = 30.0
#: limit in bytes on everything but the content of an answer: headers and lengths of chunks
MOST_OVERHEAD = 1 << 20
#: limit in bytes on the headers of an answer
MOST_HEADERS = 32 << 10

#: a function that opens a connection, with a timeout in seconds
Connect = Callable[[float], socket.socket]


class Connection(http.client.HTTPConnection):
    """A connection to a daemon. The function ``connect`` opens the socket of the connection.

    * ``used``: whether an answer was received
    * ``deadline``: the time at which each read ends
    * ``overhead``: the number of received bytes that are not content
    """

    def __init__(self, connect: Connect) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._open = connect
        self.used = False
        self.deadline = 0.0
        self.overhead = 0
        self.in_headers = False

    def deliver(self, size: int) -> None:
        """Subtract ``size`` bytes of content from ``overhead``, because ``receive`` counts all bytes.

        Also subtract a sixteenth of ``size``, which allows for the lengths of chunks.
        """
        self.overhead = max(0, self.overhead - size - size // 16)

    def receive(self, size: int) -> None:
        """Add received bytes to ``overhead``. Raises HTTPException if the overhead exceeds a limit."""
        self.overhead += size
        if self.in_headers and self.overhead > MOST_HEADERS:
            raise http.client.HTTPException(f"more than {MOST_HEADERS >> 10} KiB of headers")
        if self.overhead > MOST_OVERHEAD:
            text = f"more than {MOST_OVERHEAD >> 20} MiB of protocol data in addition to the content"
            raise http.client.HTTPException(text)

    def getresponse(self) -> http.client.HTTPResponse:
        """Read the headers of an answer.

        Limit their size, because Python parses headers in quadratic time.
        """
        self.overhead, self.in_headers = 0, True
        try:
            return super().getresponse()
        except TypeError:  # Python 3.11 can't read a parameter "name*" beside "name*0"
            raise http.client.HTTPException("an invalid header") from None
        finally:
            self.in_headers = False

    def connect(self) -> None:
        self.used = False
        self.sock = _Socket(self._open(self.timeout or TIMEOUT), self)


class _Socket:
    """A socket for http.client that waits at most until the deadline of its connection."""

    def __init__(self, opened: socket.socket, connection: Connection) -> None:
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
        """Set the socket's timeout to the remaining time. Raises TimeoutError after the deadline."""
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
