"""TCP and TLS connections to a server, with limits on the time and on all received bytes."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from typing import Any, Protocol

from .daemon_connection import MOST_OVERHEAD

#: maximum seconds without data from the server; the clients of Incus and LXD wait this long for headers
TIMEOUT = 30


class Bounds(Protocol):
    """The limits of a connection. Each method raises OSError or HTTPException if a limit is exceeded."""

    def timeout(self) -> float:
        """Return the seconds that the socket may wait now."""

    def receive(self, size: int) -> None:
        """Count bytes from the server."""

    def read(self, size: int) -> None:
        """Count decrypted bytes."""


class PlainSocket(socket.socket):
    """A connection before TLS begins. ``bounds`` limits the received bytes, such as the answer of a proxy."""

    bounds: Bounds | None = None

    def recv_into(self, buffer: Any, *arguments: Any) -> int:
        if self.bounds is None:
            return super().recv_into(buffer, *arguments)
        self.settimeout(self.bounds.timeout())
        try:
            size = super().recv_into(buffer, *arguments)
        except TimeoutError:
            self.bounds.timeout()  # raise the error of the deadline if it has passed
            raise
        self.bounds.receive(size)
        return size


def open_connection(address: tuple[str, int], bounds: Bounds) -> PlainSocket:
    """Try the server's addresses in order. Return the first connection. All attempts share one deadline."""
    error = OSError("the name of the server does not resolve to an address")
    for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        timeout = bounds.timeout()
        made = PlainSocket(family, kind, protocol)
        try:
            made.settimeout(timeout)
            made.connect(place)
            return made
        except OSError as failure:
            made.close()
            error = failure.with_traceback(None)
    raise error


class TlsSocket:
    """A TLS connection for http.client that enforces the deadlines, even if the server sends no content.

    Unlike ``ssl.SSLSocket``, this class receives many TLS records at once.
    """

    #: the number of bytes to receive at once
    block_size = 1 << 18

    def __init__(
        self, context: ssl.SSLContext, bounds: Bounds, connection: socket.socket, server_hostname: str
    ) -> None:
        self._connection, self._bounds = connection, bounds
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: Any = context.wrap_bio(self._received, self._to_send, server_hostname=server_hostname)
        self._block = memoryview(bytearray(self.block_size))
        self._users = 1
        try:
            self._shake_hands()
        except BaseException:
            with contextlib.suppress(OSError):
                self._send()  # let TLS tell the server why the handshake failed
            connection.close()
            raise

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return self._send()
            except ssl.SSLWantReadError:
                self._wait()

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._send()

    def recv_into(self, buffer: memoryview) -> int:
        """Fill the buffer with the bytes that have arrived. Wait only if no byte has arrived."""
        size = 0
        while size < len(buffer):
            try:
                count = self._tls.read(len(buffer) - size, buffer[size:])
            except ssl.SSLWantReadError:
                if size:
                    break
                self._wait()
                continue
            except ssl.SSLEOFError:  # many servers close the connection without TLS's closing message
                break
            if not count:
                break
            size += count
        self._bounds.read(size)
        return size

    def makefile(self, mode: str) -> io.BufferedReader:
        self._users += 1
        return io.BufferedReader(Answer(self))

    def close(self) -> None:
        """Release the connection for http.client, or for one file that ``makefile`` returned.

        After the last release, close the connection.
        """
        self._users -= 1
        if not self._users:
            self._connection.close()

    def _send(self) -> None:
        if self._to_send.pending:
            self._connection.sendall(self._to_send.read())

    def _wait(self) -> None:
        self._send()
        wanted = self._bounds.timeout()
        # setting a timeout costs a system call
        if not wanted <= (self._connection.gettimeout() or 0) <= 1.1 * wanted:
            self._connection.settimeout(wanted)
        try:
            size = self._connection.recv_into(self._block)
        except TimeoutError:
            self._bounds.timeout()  # raise the error of the deadline if it has passed
            raise
        self._bounds.receive(size)
        if size:
            self._received.write(self._block[:size])
        else:
            self._received.write_eof()

    def version(self) -> str | None:
        """Return the protocol of the connection, such as ``TLSv1.3``."""
        version: str | None = self._tls.version()
        return version

    def is_idle(self) -> bool:
        """Return whether the server has kept the connection open, and has sent no further data."""
        if self._received.pending or self._tls.pending():
            return False
        try:
            self._connection.settimeout(0)
            self._connection.recv_into(self._block)
        except BlockingIOError:
            self._connection.settimeout(TIMEOUT)
            return True
        except OSError:
            pass
        return False


class Answer(io.RawIOBase):
    def __init__(self, connection: TlsSocket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._connection.close()
        super().close()


class RemoteBounds:
    """The deadline of a connection to a remote's daemon, and a limit on its overhead.

    Overhead is every received byte that is not content.
    """

    def __init__(self, timeout: float) -> None:
        self.deadline = time.monotonic() + timeout
        self._overhead = 0

    def timeout(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def receive(self, size: int) -> None:
        self._overhead += size
        if self._overhead > MOST_OVERHEAD:
            text = f"more than {MOST_OVERHEAD >> 20} MiB of TLS messages in addition to the content"
            raise http.client.HTTPException(text)

    def read(self, size: int) -> None:
        """Reduce the overhead by twice the ``size`` of content that was read."""
        # ``receive`` has counted the content as overhead. The second ``size`` is an allowance for the TLS
        # records around the content.
        self._overhead = max(0, self._overhead - 2 * size)


class RemoteSocket(TlsSocket):
    """A TLS connection to a remote's daemon, with only the socket methods that templater calls."""

    #: number of bytes to receive at once; small, because ``recv`` must return everything that has arrived
    block_size = 1 << 15

    _bounds: RemoteBounds

    def settimeout(self, timeout: float) -> None:
        self._bounds.deadline = time.monotonic() + timeout

    def recv(self, size: int) -> bytes:
        self.settimeout(TIMEOUT)
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def makefile(self, mode: str, buffering: int = -1) -> Any:
        self._users += 1
        return Answer(self) if buffering == 0 else io.BufferedReader(Answer(self))

    def fileno(self) -> int:
        return self._connection.fileno()

    def shutdown(self, how: int) -> None:
        self._connection.shutdown(how)
