"""Connections of clients, with limits on their number, on header bytes and on idle time."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from aiohttp import web

from ..model.errors import InputError
from ..model.unprintable_characters import printable

_T = TypeVar("_T")
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

#: number of bytes that the server reads and sends at once; each slow client occupies this much memory
PIECE: Final = 1 << 16
#: The server collects garbage each time that this many connections have ended. Each connection leaves a
#: cycle of objects with TLS buffers, which Python frees only in a collection.
_COLLECT = 32
#: Maximum number of requests that a client may send without waiting for the answers. Common clients always
#: wait. aiohttp would answer all these requests before it serves another client.
_MOST_PIPELINED = 4
#: Maximum number of TLS records in a handshake or a request. One more record is allowed for this many bytes.
#: Some records without content cost much processor time: OpenSSL needs 0.2 ms for a new key of 27 bytes.
_MOST_RECORDS, _RECORD = 16, 2 << 10
#: If an address has more connections, the server closes these before the connections of other addresses.
_CROWD = 8
#: maximum number of TLS handshakes of one address at once: each can need 8 ms of processor time
_MOST_HANDSHAKES = 16
#: maximum seconds of a turn; the clients of a network share its turns (see ``Turns``)
_TURN = 0.1
#: The server accepts up to this many connections above the limit while it closes others. So new clients need
#: not wait.
_CLOSING = 32
#: maximum seconds to wait until a client has confirmed the end of its TLS connection
_SHUTDOWN = 5


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on clients. Times are in seconds."""

    #: maximum number of connections; before a further connection, the server closes one (see ``_close_one``)
    connections: int = 400
    #: maximum bytes of a request
    request: int = 32 << 10
    handshake: int = 15
    #: maximum time from the handshake, or from the end of an answer, to the end of the next request's headers
    waiting: float = 30
    #: maximum time for sending 64 KiB to a client
    sending: float = 60
    #: if a client has read nothing for this time, the server may close the connection for a new client
    stalled: float = 2


DEFAULT: Final = Bounds()


# The time limit of a turn prevents a stalled client from delaying other clients of its network.
class Turns:
    """A limit on the number of tasks that work for one network at once. Further tasks wait in order.

    A turn ends after ``seconds``, even if the task still runs, or with the task if ``seconds`` is None.
    """

    def __init__(self, most: int, seconds: float | None = _TURN) -> None:
        self._most, self._seconds = most, seconds
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def work(self, network: str, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Wait until ``network`` has a turn, run ``work``, and return the result of ``work``."""
        turns = self._semaphores.get(network)  # kept only while a task uses it
        if turns is None:
            turns = self._semaphores[network] = asyncio.Semaphore(self._most)
        async with turns:
            task = asyncio.create_task(work())
            try:
                await asyncio.wait({task}, timeout=self._seconds)
            except BaseException:
                task.cancel()
                raise
        try:
            return await task
        finally:
            task.cancel()


class _Tls(sslproto.SSLProtocol):
    """TLS of one connection, with a read buffer for only one TLS record.

    If a client sends many TLS records without a request, the server closes the connection.
    """

    # One TLS record is enough, because requests are small.
    max_size = 16 << 10  # asyncio's own buffer has 256 KiB for each connection
    #: the received bytes and TLS records since the last request
    received = records = 0
    #: the received part of an incomplete record header, and the number of bytes before the next header
    _header, _skipped = b"", 0

    def get_buffer(self, n: int) -> memoryview:
        self._view = memoryview(super().get_buffer(n))
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        data = self._header + bytes(self._view[:nbytes])
        position = self._skipped
        while position + 5 <= len(data):
            self.records += 1
            position += 5 + int.from_bytes(data[position + 3 : position + 5])
        self._header, self._skipped = data[position:], max(0, position - len(data))
        self.received += nbytes
        if self.records > _MOST_RECORDS + self.received // _RECORD:
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.abort()
        else:
            super().buffer_updated(nbytes)


class _Connection(asyncio.Protocol):
    """The connection of a client after the TLS handshake.

    The connection passes the client's data to aiohttp, and closes if the client is too slow.
    """

    def __init__(self, inner: asyncio.Protocol, server: _Listener, address: str = "") -> None:
        self._inner, self._server, self.address = inner, server, address
        self._timer: asyncio.TimerHandle | None = None
        self._received = self._ends = self._answers = 0
        #: whether the server is answering a request without a body, and the data that arrived meanwhile
        self._busy, self._held = False, b""
        self.made = False
        self.tls: _Tls | None = None
        #: when the client stopped reading the sent data, or infinity if the client has read all data
        self.stalled_since = math.inf
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=PIECE)  # asyncio's default is eight times as large
        self.transport, self.made = transport, True
        self._server.open[transport] = self
        self._inner.connection_made(transport)
        self.wait()

    def wait(self) -> None:
        """Start the timer for the next request, and parse the data that arrived during the answer."""
        self._received = self._ends = 0
        if self.tls is not None:
            self.tls.received = self.tls.records = 0
        self._busy = False
        if self._held:
            asyncio.get_running_loop().call_soon(self._release)
        self._timer = asyncio.get_running_loop().call_later(self._server.bounds.waiting, self.transport.abort)
        now = asyncio.get_running_loop().time()
        self._server.waiting[self] = _Waiting(now, self.transport.abort, self.address)

    def begin(self, method: str) -> None:
        """Stop the timer, because the headers of a request are complete.

        Raises ConnectionResetError if the client sent many requests at once.
        """
        self._stop()
        self._busy = method != "POST"
        self._answers += 1
        if self._answers > _MOST_PIPELINED:
            self.transport.abort()
            raise ConnectionResetError("too many requests at once")

    def _stop(self) -> None:
        self._server.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._ends += data.count(b"\r\n\r\n")
        if self._received > self._server.bounds.request or self._ends > _MOST_PIPELINED:
            self.transport.abort()
        elif self._busy:
            self._held += data
            self.transport.pause_reading()
        else:
            self._answers = 0
            self._inner.data_received(data)

    def _release(self) -> None:
        if not self._busy and not self.transport.is_closing():
            data, self._held = self._held, b""
            self.transport.resume_reading()
            self.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self.stalled_since = asyncio.get_running_loop().time()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self.stalled_since = math.inf
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._server.open.pop(self.transport, None)
        self._inner.connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)


class _Waiting(NamedTuple):
    """A connection without a complete request: its start time, close function, and the client's address."""

    since: float
    close: Callable[[], None]
    address: str


class _Listener:
    """The listening socket and its connections, with TLS if there is a ``context``."""

    def __init__(
        self,
        answer: Answer,
        context: ssl.SSLContext | None,
        bounds: Bounds,
    ) -> None:
        self.bounds, self._answer, self._context = bounds, answer, context
        self.open: dict[asyncio.Transport, _Connection] = {}
        #: connections without a complete request, the oldest first
        self.waiting: dict[object, _Waiting] = {}
        #: the number of connections of each address
        self._clients: Counter[str] = Counter()
        self._handshakes = Turns(_MOST_HANDSHAKES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()
        self._ended = self._refused = 0
        silent = logging.getLogger("templater.serving")
        silent.propagate = False
        silent.addHandler(logging.NullHandler())
        self._http = web.Server(
            self._handle, access_log=None, logger=silent, keepalive_timeout=bounds.waiting,
            lingering_time=0, max_line_size=8190, max_field_size=8190,
            auto_decompress=False,  # aiohttp 3.11 would decompress bodies that no code reads
        )  # fmt: skip

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self.open.get(request.transport) if request.transport is not None else None
        if connection is None:
            raise ConnectionResetError
        connection.begin(request.method)
        try:
            await asyncio.sleep(0)  # let the server turn to other clients
            return await self._answer(request)
        except ConnectionError:
            connection.transport.abort()
            raise
        finally:
            if not connection.closed.done():
                connection.wait()

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, place = await loop.sock_accept(listener)
            except OSError:  # the process has no free file descriptor
                self._close_one()
                await asyncio.sleep(0.05)
                continue
            address = network_of(place[0])
            if len(self._tasks) >= self.bounds.connections and self._refuses(address):
                client.close()
                self._refused += 1
                if self._refused % _COLLECT == 0:
                    await asyncio.sleep(0)  # accepting does not let other tasks run
                continue
            self._clients[address] += 1
            key = object()
            self.waiting[key] = _Waiting(loop.time(), partial(_shut, client), address)
            task = asyncio.create_task(self._serve(client, address, key))
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, address))
            if len(self._tasks) > self.bounds.connections:
                self._close_one(address)
            while len(self._tasks) >= self.bounds.connections + _CLOSING:
                self._close_one(address)
                self._free.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._free.wait(), 1)

    def _end(self, address: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._clients[address] -= 1
        if not self._clients[address]:
            del self._clients[address]
        self._ended += 1
        if self._ended % _COLLECT == 0:
            gc.collect()
        self._free.set()

    def _refuses(self, address: str) -> bool:
        """Return whether to close a new connection from ``address`` before its costly TLS handshake.

        The result is True if all three conditions are met:

        * ``address`` is the busiest address (see ``_close_one``)
        * ``address`` has more than ``_CROWD`` connections
        * no connection of ``address`` has been idle for ``Bounds.stalled`` seconds
        """
        busiest, number = self._clients.most_common(1)[0]
        if address != busiest or number <= _CROWD:
            return False
        waiting = next((each.since for each in self.waiting.values() if each.address == address), math.inf)
        stalled = (each.stalled_since for each in self.open.values() if each.address == address)
        before = asyncio.get_running_loop().time() - self.bounds.stalled
        return min(waiting, min(stalled, default=math.inf)) > before

    def _close_one(self, newcomer: str = "") -> None:
        """Close one connection, so that the server can accept a new one.

        A connection is idle while its client sends no complete request, or does not read an answer. The
        busiest address has the most connections. Close the first of these connections that exists:

        1. the longest-idle connection of the busiest address, if the address has more than ``_CROWD``
           connections
        2. the longest-idle connection of all, if it has been idle for at least ``Bounds.stalled`` seconds
        3. the newest connection of the busiest address, if ``newcomer`` has fewer connections and two
           addresses have connections
        4. the longest-idle connection of all
        """
        address, number = self._clients.most_common(1)[0] if self._clients else ("", 0)
        if number > _CROWD and self._close_idle(address):
            return
        if self._close_idle(None, since=asyncio.get_running_loop().time() - self.bounds.stalled):
            return
        newest = next((key for key, each in reversed(self.open.items()) if each.address == address), None)
        if newest is not None and number > self._clients[newcomer] and len(self._clients) > 1:
            self.open.pop(newest).transport.abort()
        else:
            self._close_idle(None)

    def _close_idle(self, address: str | None, *, since: float = math.inf) -> bool:
        """Close the connection that has been idle for the longest time (see ``_close_one``).

        If ``address`` is given, ignore other addresses. Ignore clients whose wait for a request began at
        ``since`` or later. Return False if no connection matches.
        """

        def found(each: _Waiting | _Connection) -> bool:
            return address is None or each.address == address

        chosen = (key for key, each in self.waiting.items() if found(each) and each.since < since)
        waiting = next(chosen, None)
        begun = math.inf if waiting is None else self.waiting[waiting].since
        stalled = min(filter(found, self.open.values()), key=lambda each: each.stalled_since, default=None)
        before = asyncio.get_running_loop().time() - self.bounds.stalled
        if stalled is not None and stalled.stalled_since < min(begun, before):
            stalled.transport.abort()
        elif waiting is not None:
            self.waiting.pop(waiting).close()
        else:
            return False
        return True

    async def _serve(self, client: socket.socket, address: str, key: object) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        connection = _Connection(self._http(), self, address)
        try:
            context = self._context
            if context is None:
                await loop.connect_accepted_socket(lambda: connection, client)
            else:
                tls = connection.tls = _Tls(
                    loop, connection, context, ready, server_side=True,
                    ssl_handshake_timeout=self.bounds.handshake, ssl_shutdown_timeout=_SHUTDOWN,
                )  # fmt: skip

                async def handshake() -> None:
                    await loop.connect_accepted_socket(lambda: tls, client)
                    await ready

                await _readable(client, self.bounds.handshake)
                await self._handshakes.work(address, handshake)
            self.waiting.pop(key, None)
            if connection.made:  # connection.made is false if the client left during the handshake
                await connection.closed
        except (OSError, TimeoutError):
            client.close()  # the client does not use TLS, or is too slow
        finally:
            self.waiting.pop(key, None)

    async def close(self) -> None:
        for connection in tuple(self.open.values()):
            connection.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def write(response: web.StreamResponse, bounds: Bounds, data: bytes) -> None:
    """Send a part of an answer. Raises ConnectionResetError if the client is too slow."""
    try:
        async with asyncio.timeout(bounds.sending):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("the client is too slow") from None


def exempt_from_collection(*, again: bool = False) -> None:
    """Exclude all existing objects from garbage collection, which a long list of images would slow down.

    If ``again`` is true, first undo the earlier calls, and collect unused objects.
    """
    if again:
        gc.unfreeze()
    gc.collect()
    gc.freeze()


def network_of(address: str) -> str:
    """Return an IPv4 address, or the first 48 bits of an IPv6 address."""
    if ":" not in address or address.startswith("::ffff:"):
        return address
    # One client can own all IPv6 addresses with the same first 48 bits.
    return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:6].hex()


async def _readable(client: socket.socket, seconds: float) -> None:
    """Wait until a client has sent something. Raises TimeoutError after ``seconds``."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(client, ready.set)
    try:
        async with asyncio.timeout(seconds):
            await ready.wait()
    finally:
        loop.remove_reader(client)


def _shut(client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises InputError if the address can't be used."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(1024)
    except (OSError, UnicodeError) as error:  # UnicodeError: the name has an empty or very long label
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "invalid host name"
        raise InputError(f"can't listen on '{printable(host)}' port {port}: {why}") from None
    made.setblocking(False)
    return made


async def serve(
    answer: Answer, listener: socket.socket, context: ssl.SSLContext | None, bounds: Bounds = DEFAULT
) -> None:
    """Serve over https, or over http without ``context``, until the task is cancelled."""
    connections = _Listener(answer, context, bounds)
    exempt_from_collection()
    # A failed handshake or a broken connection is normal for a server.
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: None)
    try:
        await connections.accept(listener)
    finally:
        await connections.close()
        listener.close()
