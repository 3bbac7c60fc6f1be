"""Limits of a stream's https client: deadlines, requests, headers, and bytes that are not content."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from ..model.errors import LimitError
from .tcp_and_tls_sockets import TIMEOUT

#: maximum seconds for the headers of an answer with all redirects, and for each piece of its body
MOST_SECONDS = 60.0
#: Limit on all requests of a stream, which bounds the processor time. A new connection counts as several
#: requests. Many received bytes that are not content also count as additional requests.
MOST_REQUESTS = 20_000
CONNECTION_COST, _REQUEST_BYTES = 6, 1 << 10
#: limit in bytes on everything but the content of an answer: headers, lengths of chunks, TLS records
MOST_OVERHEAD = 1 << 20
#: limit in bytes on the headers of an answer
MOST_HEADERS = 32 << 10
#: maximum seconds for all catalogs and metadata of a stream together
MOST_CATALOG_SECONDS = 60.0


class LateError(TimeoutError):
    """Raised if a server sends data, but too slowly."""


class ClientLimits:
    """Deadlines for the current step and the current small file, and limits on requests and protocol data."""

    def __init__(self) -> None:
        # A timeout of the socket is not enough: it begins again with each byte that a server sends.
        self._step = self._file = math.inf
        self._left = MOST_CATALOG_SECONDS
        self._overhead = self._requests = 0
        self._headers = -math.inf

    def begin_step(self) -> None:
        self._step = time.monotonic() + MOST_SECONDS

    def begin_answer(self) -> None:
        self.begin_step()
        self._requests += self._overhead // _REQUEST_BYTES
        self._overhead = 0

    def begin_request(self, cost: int) -> None:
        """Count a request. Raises LimitError above the limit.

        ``cost`` is 1 for a request on an open connection, and higher for a new connection.
        """
        # The TLS handshake of a new connection takes as much processor time as several requests.
        self._requests += cost
        if self._requests > MOST_REQUESTS:
            raise LimitError(f"the stream needs more than {MOST_REQUESTS} requests")

    def receive(self, size: int) -> None:
        """Count received bytes as protocol data. Raises OSError if the protocol data exceed the limit."""
        self._overhead += size
        if self._overhead > MOST_OVERHEAD:
            raise OSError(
                f"the server sends more than {MOST_OVERHEAD >> 20} MiB of protocol data"
                " in addition to the content"
            )

    @contextlib.contextmanager
    def headers(self) -> Iterator[None]:
        """Limit the bytes that the ``with`` block reads, because Python parses headers in quadratic time."""
        self._headers = 0
        try:
            yield
        finally:
            self._headers = -math.inf

    def read(self, size: int) -> None:
        """Count decrypted bytes while headers are read. Raises OSError if the headers are too large."""
        self._headers += size
        if self._headers > MOST_HEADERS:
            raise OSError(f"the server sends more than {MOST_HEADERS >> 10} KiB of headers")

    def deliver(self, size: int) -> None:
        """Subtract ``size`` bytes of content from the protocol data."""
        # ``receive`` counts all bytes, also the content. A sixteenth of ``size`` allows for chunk headers and
        # TLS records.
        self._overhead = max(0, self._overhead - size - size // 16)

    @contextlib.contextmanager
    def small_file(self) -> Iterator[None]:
        begun = time.monotonic()
        self._file = begun + self._left
        try:
            yield
        finally:
            self._file = math.inf
            self._left -= time.monotonic() - begun

    def timeout(self) -> float:
        """Return the seconds that the socket may wait now. Raises LateError after a deadline."""
        now = time.monotonic()
        if now >= self._file:
            raise LateError(f"fetching catalogs and metadata takes longer than {MOST_CATALOG_SECONDS:g} s")
        if now >= self._step:
            raise LateError(f"the server took longer than {MOST_SECONDS:g} s to answer")
        return min(TIMEOUT, self._file - now, self._step - now)
