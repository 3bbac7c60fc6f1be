"""A TCP connection to a server, with limits on the time and on the bytes that arrive before TLS begins."""

from __future__ import annotations

import socket
from typing import Any, Protocol


class Bounds(Protocol):
    """The limits of a connection. Each method raises OSError or HTTPException if a limit is exceeded."""

    def timeout(self) -> float:
        """Return the seconds that the socket may wait now."""

    def receive(self, size: int) -> None:
        """Count bytes from the server."""

    def read(self, size: int) -> None:
        """Count decrypted bytes."""


class PlainSocket(socket.socket):
    """A connection before TLS begins. ``bounds`` limit the bytes on it, such as the answer of a proxy."""

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
    """Connect to the first of the server's addresses that answers. All addresses share the deadline."""
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
