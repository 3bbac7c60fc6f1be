"""One connection of a client: which data reaches the server's parser, and when the connection is closed."""

import asyncio
import math
from types import SimpleNamespace

import pytest

from templater.serving import connections
from templater.serving.connections import PIECE, Bounds, _Connection, _Listener, network_of, write


class Recorder:
    """Records the calls of its methods."""

    def __init__(self, **results):
        self.calls = []
        self.results = results

    def __getattr__(self, name):
        def call(*given):
            self.calls.append((name, *given))
            return self.results.get(name)

        return call


class Transport(Recorder, asyncio.Transport):
    """A transport that sends nothing."""

    def __init__(self):
        Recorder.__init__(self)
        self.closing = False
        for name in ("abort", "pause_reading", "resume_reading", "set_write_buffer_limits"):
            setattr(
                self,
                name,
                lambda *given, _name=name, **named: self.calls.append((_name, *given, *named.values())),
            )

    def is_closing(self):
        return self.closing


def connected(scenario, **bounds):
    """Run a scenario with a new connection, its transport and its parser."""

    async def run():
        server = SimpleNamespace(open={}, waiting={}, bounds=Bounds(**bounds))
        inner, transport = Recorder(eof_received=True), Transport()
        connection = _Connection(inner, server)
        assert not connection.made
        connection.connection_made(transport)
        assert connection.made and server.open == {transport: connection} and connection in server.waiting
        assert inner.calls.pop() == ("connection_made", transport)
        assert transport.calls.pop() == ("set_write_buffer_limits", PIECE)
        result = scenario(connection, transport, inner, server)
        if result is not None:
            await result
        return transport.calls, inner.calls

    return asyncio.run(run())


def test_new_data_during_a_response_is_parsed_after_the_response():
    async def scenario(connection, transport, inner, server):
        connection.data_received(b"a")
        connection.begin("GET")
        assert connection not in server.waiting
        connection.data_received(b"b")
        connection.data_received(b"c")
        assert inner.calls == [("data_received", b"a")]
        connection.wait()
        await asyncio.sleep(0)
        assert connection in server.waiting
        connection.wait()
        await asyncio.sleep(0)

    closed, received = connected(scenario)
    assert received == [("data_received", b"a"), ("data_received", b"bc")]
    assert closed == [("pause_reading",), ("pause_reading",), ("resume_reading",)]


@pytest.mark.parametrize("closing", [True, False])
def test_waiting_data_is_not_parsed_after_the_connection_closes(closing):
    async def scenario(connection, transport, inner, server):
        connection.begin("GET")
        connection.data_received(b"b")
        connection.wait()
        if closing:
            transport.closing = True
        else:
            connection.begin("GET")
        await asyncio.sleep(0)

    assert connected(scenario) == ([("pause_reading",)], [])


def test_a_post_body_is_parsed_while_handling_the_request():
    def scenario(connection, transport, inner, server):
        connection.begin("POST")
        connection.data_received(b"b")

    assert connected(scenario) == ([], [("data_received", b"b")])


@pytest.mark.parametrize(
    ("data", "closes"),
    [(b"x" * 100, False), (b"x" * 101, True), (b"\r\n\r\n" * 4, False), (b"\r\n\r\n" * 5, True)],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_connection_is_closed_after_an_overlong_request(data, closes, pieces):
    def scenario(connection, transport, inner, server):
        half = len(data) // 2 // 4 * 4 if pieces == 2 else 0
        connection.data_received(data[:half])
        connection.data_received(data[half:])
        if not closes:
            connection.wait()  # the counts begin again for the next request
            connection.data_received(data)

    assert connected(scenario, request=100)[0] == [("abort",)] * closes


@pytest.mark.parametrize("data", [False, True])
def test_five_requests_at_once_close_the_connection(data):
    def scenario(connection, transport, inner, server):
        for _ in range(4):
            connection.begin("GET")
            connection.wait()
        if data:
            connection.data_received(b"x")
            connection.begin("GET")
            return
        with pytest.raises(ConnectionResetError, match=r"^too many requests at once$"):
            connection.begin("GET")

    assert connected(scenario)[0] == [("abort",)] * (not data)


@pytest.mark.parametrize("begun", [False, True])
def test_connections_without_complete_request_have_a_time_limit(begun):
    async def scenario(connection, transport, inner, server):
        time, abort, _ = server.waiting[connection]
        assert abs(time - asyncio.get_running_loop().time()) < 10 and abort is transport.abort
        if begun:
            connection.begin("GET")
        await asyncio.sleep(0.05)

    assert connected(scenario, waiting=0.01)[0] == [("abort",)] * (not begun)


def test_a_connection_remembers_when_its_client_stopped_reading():
    def scenario(connection, transport, inner, server):
        assert connection.stalled_since == math.inf
        connection.pause_writing()
        assert abs(connection.stalled_since - asyncio.get_running_loop().time()) < 10
        connection.resume_writing()
        assert connection.stalled_since == math.inf
        assert connection.eof_received() is True

    assert connected(scenario)[1] == [("pause_writing",), ("resume_writing",), ("eof_received",)]


def test_a_lost_connection_is_removed_from_the_lists_of_the_server():
    async def scenario(connection, transport, inner, server):
        assert not connection.closed.done()
        connection.connection_lost(None)
        connection.connection_lost(None)
        assert (server.open, server.waiting, connection.closed.done()) == ({}, {}, True)
        await asyncio.sleep(0.05)

    closed, received = connected(scenario, waiting=0.01)
    assert closed == [] and received == [("connection_lost", None)] * 2


class Client:
    """A client's connection before its handshake."""

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


def accepted(monkeypatch, clients, *, bounds, refuses=lambda address: False, frees=True):
    """Accept these clients, given as (client, address) or as an error. Return what was served and closed."""
    calls = []

    class Accepting(_Listener):
        async def _serve(self, client, address, key):
            calls.append(("serve", address))
            while not client.closed:
                await asyncio.sleep(0)

        def _refuses(self, address):
            return refuses(address)

        def _close_one(self, newcomer=""):
            calls.append(("close", newcomer))
            if frees:
                next((each for each in taken if not each.closed), Client()).close()

    taken, waited = [], []

    async def run():
        loop, real = asyncio.get_running_loop(), asyncio.sleep
        listener = Accepting(None, None, bounds)
        rest = iter(clients)

        async def accept(_):
            await real(0)
            found = next(rest, None)
            if found is None:
                raise asyncio.CancelledError
            if isinstance(found, OSError):
                raise found
            taken.append(found[0])
            return found

        async def sleep(seconds):
            waited.append(seconds)
            await real(0)

        monkeypatch.setattr(loop, "sock_accept", accept)
        monkeypatch.setattr(connections.asyncio, "sleep", sleep)
        try:
            await listener.accept(None)
        except asyncio.CancelledError:
            pass
        finally:
            monkeypatch.setattr(connections.asyncio, "sleep", real)
            await listener.close()

    asyncio.run(run())
    return calls, [second for second in waited if second]


def test_the_server_closes_a_connection_without_a_free_descriptor(monkeypatch):
    one = Client()
    calls, waited = accepted(monkeypatch, [OSError(), (one, ("192.0.2.1", 1))], bounds=Bounds())
    assert calls == [("close", ""), ("serve", "192.0.2.1")] and waited == [0.05]


def test_a_connection_above_the_limit_replaces_an_old_one(monkeypatch):
    clients = [(Client(), (f"192.0.2.{number}", 1)) for number in range(4)]
    bounds = Bounds(connections=2)
    calls, _ = accepted(monkeypatch, clients, bounds=bounds, refuses=lambda address: address == "192.0.2.2")
    assert [call for call in calls if call[0] == "serve"] == [("serve", f"192.0.2.{n}") for n in (0, 1, 3)]
    assert [call for call in calls if call[0] == "close"] == [("close", "192.0.2.3")]
    assert clients[2][0].closed and not clients[3][0].closed


def test_no_connection_is_accepted_while_too_many_are_closing(monkeypatch):
    clients = [(Client(), (f"192.0.2.{number}", 1)) for number in range(4)]
    monkeypatch.setattr(connections, "_CLOSING", 1)
    calls, _ = accepted(monkeypatch, clients, bounds=Bounds(connections=2))
    closed = [("close", "192.0.2.2")] * 2
    assert calls[2:4] == closed and [call for call in calls if call[0] == "close"] == closed
    assert [client.closed for client, _ in clients] == [True, True, False, False]
    assert calls[-1] == ("serve", "192.0.2.3")


def test_the_server_stops_sending_to_a_slow_client():
    class Response:
        async def write(self, data):
            await asyncio.sleep(len(data))

    asyncio.run(write(Response(), Bounds(sending=0.01), b""))
    with pytest.raises(ConnectionResetError, match=r"^the client is too slow$"):
        asyncio.run(write(Response(), Bounds(sending=0.01), b"x" * 9))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:1:2::3", "20010db80001"),
        ("2001:db8:1:ffff::9%eth0", "20010db80001"),
        ("2001:db8:2::3", "20010db80002"),
    ],
)
def test_addresses_of_one_ipv6_network_are_treated_as_one_client(address, network):
    assert network_of(address) == network
