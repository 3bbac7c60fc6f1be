"""A TLS connection for http.client, with limits on the time and on all received bytes."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
from typing import Any

from .tcp_socket import Bounds

#: maximum seconds without data from the server: the time that the clients wait for the headers
TIMEOUT = 30


class TlsSocket:
    """A TLS connection for http.client that enforces the deadlines, even while headers arrive.

    Python's own class makes two system calls for each TLS record of 16 KB. This class receives many records
    at once. A read of Python's class does not end while the server sends only TLS messages without content. A
    read of this class ends at the deadline.
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
        """Close the connection when neither http.client nor a file of ``makefile`` uses it any more."""
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
