"""The exact answers of the servers to requests that they refuse."""

import asyncio
import gc
import json
import math
import socket
from collections import Counter
from functools import partial
from types import SimpleNamespace

import pytest

from templater.serving import connections, image_server, watch_page_server
from templater.serving.image_listing import Listing
from templater.serving.image_server import _blocks, _caching, _quoted, _range, log_line
from templater.serving.watch_page_access import is_foreign_in
from tests.unit.serving.test_watch_page_server import Running

HASH = "a" * 64


@pytest.fixture(scope="module")
def page():
    server = Running()
    yield server
    server.stop()


AGAIN = b"open the address that `templater watch --web` printed; each address works once\n"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "body"),
    [
        ("GET", "/events", {}, 403, AGAIN),
        ("GET", "/?token=x", {}, 403, AGAIN),
        ("GET", "/other", {}, 404, b"not found\n"),
        ("GET", "/page.html", {}, 404, b"not found\n"),
        ("POST", "/view", {"Cookie": ""}, 403, AGAIN),
        ("PUT", "/", {}, 403, b"requests from other web pages are refused\n"),
        (
            "GET",
            "/",
            {"Host": "other"},
            403,
            b"the header Host must be 127.0.0.1:PORT\n",
        ),
    ],
)
def test_page_server_refuses_a_request_with_status_and_reason(method, path, headers, status, body, page):
    answer = page.send(path, method, b"x" if method == "POST" else None, **headers)
    body = body.replace(b"PORT", b"%d" % page.port)
    assert (answer.status, answer.read()) == (status, body)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Length"] == str(len(body))


def test_each_request_of_a_logged_in_browser_gets_the_expected_response():
    server = Running()
    try:
        assert server.log_in() == 303
        own = f"http://127.0.0.1:{server.port}"
        for method, path, headers, status, body in (
            ("POST", "/other", {}, 404, b"not found\n"),
            ("POST", "/view", {"Content_Type": "text/plain"}, 415, b"the body must be JSON\n"),
            ("PUT", "/view", {"Origin": own}, 405, b"only GET and POST are supported\n"),
            ("POST", "/findings", {}, 200, b'["findings", "x"]'),
        ):
            answer = server.send(path, method, b"x", **headers)
            assert (answer.status, answer.read()) == (status, body)
        assert server.send("/assets/page.css").headers["Content-Type"] == "text/css; charset=utf-8"
        assert server.send("/?token=x").status == 303  # a member needs no token
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("lines", "foreign"),
    [
        (["   0: 0100007F:0009 0100007F:0050 01 0:0 0:0 0 1000 0 77 1"], True),
        (["   0: 0100007F:0009 0100007F:0050 01 0:0 0:0 0 0 0 77 1"], False),
        (["   0: 0100007F:0009 0100007F:0050 01 0:0 0:0 0 0 0 0 1"], True),
        (["   0: 0100007F:000A 0100007F:0050 01 0:0 0:0 0 0 0 77 1"], True),
        ([" 0: 0000000000000000FFFF00000100007F:0009 0000000000000000FFFF00000100007F:0050 01 0:0 0:0 0 0 0 77 1"], False),
        ([], True),
    ],
)  # fmt: skip
def test_connection_of_another_user_is_recognised_from_kernel_tables(lines, foreign, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 500)
    (tmp_path / "tcp").write_text("\n".join(["  sl  local_address", *lines]) + "\n")
    tables = [f"{tmp_path}/missing", f"{tmp_path}/tcp"]
    assert is_foreign_in(tables, ("127.0.0.1", 9), ("127.0.0.1", 80)) is foreign
    assert is_foreign_in(tables[:1], ("127.0.0.1", 9), ("127.0.0.1", 80)) is False


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "text"),
    [
        ("/x", "POST", {}, 405, "only GET and HEAD are supported"),
        ("/x", "GET", {}, 404, "not found"),
        ("/1.0/x", "GET", {}, 404, "not found"),
        ("/1.0/images/x", "GET", {}, 404, "Image not found"),
        ("/1.0/images/aliases/x", "GET", {}, 404, "Image alias not found"),
    ],
)  # fmt: skip
def test_image_server_refuses_a_request_with_status_and_reason(path, method, headers, status, text, server):
    answer = server.request(path, method, **headers)
    body = json.loads(answer.body)
    assert (answer.status, body["error_code"], body["error"]) == (status, status, text)
    assert answer.headers["Server"] == "templater"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("header", "result"),
    [
        ("", (0, 10, 200)),
        ("bytes=0-0", (0, 1, 206)),
        ("bytes=3-", (3, 10, 206)),
        ("bytes=3-99", (3, 10, 206)),
        ("bytes=-3", (7, 10, 206)),
        ("bytes=-99", (0, 10, 206)),
        ("bytes=-", (0, 10, 200)),
        ("bytes=5-4", (0, 10, 200)),
        ("bytes=4-4", (4, 5, 206)),
        ("bytes=9-", (9, 10, 206)),
        ("bytes=10-", (0, 0, 416)),
        ("bytes=-0", (0, 0, 416)),
        ("bytes=1-2,4-5", (0, 10, 200)),
    ],
)
def test_a_range_header_selects_the_expected_bytes(header, result):
    assert _range(SimpleNamespace(headers={"Range": header}), 10, "t") == result
    assert _range(SimpleNamespace(headers={"Range": header, "If-Range": "t"}), 10, "t") == result
    assert _range(SimpleNamespace(headers={"Range": header, "If-Range": "u"}), 10, "t") == (0, 10, 200)


def test_files_named_by_hash_are_cached_longer_than_indexes():
    assert _caching(f"images/{HASH}.tar.xz") == "public, max-age=31536000, immutable"
    assert _caching("streams/v1/index.json") == "public, max-age=60"


def test_small_pieces_are_joined_and_large_pieces_are_split_into_blocks():
    size = image_server.PIECE
    assert list(_blocks([])) == []
    assert [len(block) for block in _blocks([b"1", bytes(size - 1), b"2", bytes(2 * size)])] == [
        size,
        size + 1,
        size,
    ]


def test_an_access_log_line_describes_the_request_and_its_response():
    def line(response, **fields):
        request = SimpleNamespace(
            **{"method": "GET", "path": '/a"\x1b', "headers": {}, "remote": "", **fields}
        )
        return log_line(request, response, 1.2345).partition(" ")[2]

    answer = SimpleNamespace(status=200, headers={"Content-Length": "7"})
    assert line(answer) == '- "GET /a\'\\x1b" 200 7 1.234 "-"'
    assert (
        line(answer, method="HEAD", remote="::1", headers={"User-Agent": "x"})
        == '::1 "HEAD /a\'\\x1b" 200 0 1.234 "x"'
    )
    assert line(SimpleNamespace(status=304, headers={})).endswith(' 304 0 1.234 "-"')
    assert line(None).endswith(' aborted - 1.234 "-"')
    assert _quoted("x" * 501) == f'"{"x" * 500}"'
    assert watch_page_server._TYPES[".svg"] == "image/svg+xml"


@pytest.mark.parametrize(
    ("waiting", "stalled", "closed"),
    [
        ([5, 9], [], "waiting 5"),
        ([], [3, 2], "stalled 2"),
        ([], [math.inf], ""),
        ([5], [4], "stalled 4"),
        ([5], [5], "waiting 5"),
        ([5], [90], "waiting 5"),
        ([], [80], ""),
        ([], [79], "stalled 79"),
        ([], [], ""),
    ],
)
def test_the_longest_waiting_connection_is_closed_first(waiting, stalled, closed, monkeypatch):
    """A connection counts as stalled after 20 seconds of waiting. The test's clock shows second 100."""
    listener, done = listening(
        [(each, "") for each in waiting], [(each, "") for each in stalled], monkeypatch
    )
    listener._close_one()
    assert "".join(done) == closed
    assert len(listener.waiting) == len(waiting) - closed.startswith("waiting")


def listening(waiting, stalled, monkeypatch):
    """Return a listener at second 100, and a list of the connections that it closes."""
    monkeypatch.setattr(connections.asyncio, "get_running_loop", lambda: SimpleNamespace(time=lambda: 100.0))
    done = []

    def one(since, address):
        transport = SimpleNamespace(abort=lambda: done.append(f"stalled {since}"))
        return SimpleNamespace(stalled_since=since, transport=transport, address=address)

    listener = connections._Listener.__new__(connections._Listener)
    listener.bounds = SimpleNamespace(stalled=20.0, connections=100)
    listener.waiting = {
        number: connections._Waiting(since, lambda since=since: done.append(f"waiting {since}"), address)
        for number, (since, address) in enumerate(waiting)
    }
    listener.open = {number: one(*each) for number, each in enumerate(stalled)}
    listener._clients = Counter(address for _, address in (*waiting, *stalled))
    return listener, done


@pytest.mark.parametrize(
    ("waiting", "stalled", "closed"),
    [
        ([(5, "a"), *[(9, "b")] * 9], [], "waiting 9"),
        ([(5, "a"), *[(9, "b")] * 8], [], "waiting 5"),
        ([(5, "a")], [(3, "a"), *[(4, "b")] * 9], "stalled 4"),
        ([(5, "a")], [(3, "a"), *[(math.inf, "b")] * 9], "stalled 3"),
        ([(5, "a")], [(math.inf, "b")] * 9, "waiting 5"),
        ([(90, "a")], [(math.inf, "b")] * 9, "stalled inf"),
        ([(90, "a")], [*[(math.inf, "b")] * 2, *[(math.inf, "c")] * 2], "stalled inf"),
        ([(90, "a")], [(math.inf, "b"), (math.inf, "c")], "waiting 90"),
        ([(5, "a"), (90, "a")], [(math.inf, "b")] * 26, "waiting 5"),
        ([(5, "b")], [(math.inf, "b")] * 26, "waiting 5"),
    ],
)
def test_a_new_connection_closes_an_old_connection_of_a_busy_address(waiting, stalled, closed, monkeypatch):
    """A client with thousands of connections made the server close the connections of all distant clients.

    Later, a client with many networks kept all connections busy. Then only the new client had sent no
    request.
    """
    listener, done = listening(waiting, stalled, monkeypatch)
    listener._close_one("a")
    assert done == [closed]


@pytest.mark.parametrize(
    ("waiting", "stalled", "address", "refused"),
    [
        ([(90, "b")] * 9, [], "b", True),
        ([(70, "b")] * 9, [], "b", False),
        ([(90, "b")] * 8, [], "b", False),
        ([(90, "b")] * 9, [], "a", False),
        ([(70, "a")], [(math.inf, "b")] * 9, "b", True),
        ([], [(70, "b"), *[(math.inf, "b")] * 9], "b", False),
    ],
)
def test_busy_address_is_refused_unless_a_client_is_idle(waiting, stalled, address, refused, monkeypatch):
    """A client that connected again at once used the server's processor for TLS handshakes."""
    listener, _ = listening(waiting, stalled, monkeypatch)
    assert listener._refuses(address) is refused


def test_stalled_clients_do_not_block_other_clients_of_their_network(monkeypatch):
    """Sixteen connections without a byte stopped all other clients of the same address for 15 seconds."""
    monkeypatch.setattr(connections, "_TURN", 0.01)

    async def work():
        turns = connections.Turns(2)
        stalled = [asyncio.create_task(turns.work("a", partial(asyncio.sleep, 60))) for _ in range(4)]
        await asyncio.wait_for(turns.work("a", partial(asyncio.sleep, 0)), 10)
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(work()) == 1


def test_server_waits_only_a_limited_time_for_first_byte():
    async def work(data):
        one, other = socket.socketpair()
        with one, other:
            other.sendall(data)
            await connections._readable(one, 0.05)

    asyncio.run(work(b"x"))
    with pytest.raises(TimeoutError):
        asyncio.run(work(b""))


def test_concurrent_requests_share_one_check_for_changes():
    """Each check needed a turn of the event loop, for which the next request waited."""
    checks = []
    source = SimpleNamespace(load=lambda: Listing(()), changed=lambda: checks.append(1))
    server = image_server.ImageServer(source)

    async def work():
        await asyncio.gather(*(server.listing() for _ in range(50)))
        await server.listing()

    asyncio.run(work())
    assert len(checks) == 2


def test_concurrent_tasks_for_one_network_are_limited():
    """The server signed or listed images for 390 connections of one client before it served other clients."""

    async def work():
        turns, done = connections.Turns(2), []

        async def task(network):
            done.append(network)
            await asyncio.sleep(0.01)

        tasks = [
            asyncio.create_task(turns.work(network, partial(task, network)))
            for network in ("a", "a", "a", "b")
        ]
        await asyncio.sleep(0.002)
        started = list(done)
        await asyncio.gather(*tasks)
        del tasks
        gc.collect()
        return started, done, len(turns._semaphores)

    assert asyncio.run(work()) == (["a", "a", "b"], ["a", "a", "b", "a"], 0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", True),
        ("2001:db8::1", "2001:db8:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
    ],
)
def test_ipv6_addresses_of_one_network_are_treated_as_one_client(one, other, same):
    assert (connections.network_of(one) == connections.network_of(other)) is same


def test_a_shrunken_file_ends_the_connection(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"0123456789")
    sent = []

    async def write(response, bounds, piece):
        sent.append(piece)

    monkeypatch.setattr(image_server, "write", write)
    monkeypatch.setattr(image_server, "PIECE", 4)
    server = SimpleNamespace(_bounds=None)
    with open(tmp_path / "f", "rb") as file:
        asyncio.run(image_server.ImageServer._copy(server, None, file.fileno(), 1, 8))
        assert sent == [b"1234", b"567"]
        with pytest.raises(ConnectionResetError, match=r"^the file became shorter during the download$"):
            asyncio.run(image_server.ImageServer._copy(server, None, file.fileno(), 8, 11))
    assert sent[2:] == [b"89"]
