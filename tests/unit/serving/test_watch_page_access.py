"""Access to the page of `watch --web`: its token, cookie, host, origin and user."""

import os
import socket
import sys

import pytest

from templater.serving.watch_page_access import HEADERS, TABLES, Access, Owners, _owner, is_foreign_in

OWN = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}


def test_page_server_accepts_the_token_only_once():
    access = Access(8000)
    token = access.address.rpartition("=")[2]
    assert access.exchange("wrong") is None
    name, _, value = access.exchange(token).partition(";")[0].partition("=")
    assert access.exchange(token) is None
    assert access.is_member({name: value})
    assert not access.is_member({name: value + "x"})
    assert not access.is_member({name: "\udcff"})
    assert not access.is_member({})
    assert token not in value


def test_each_page_server_has_its_own_token_and_cookie():
    one, other = Access(8000), Access(8001)
    assert one.address.partition("=")[2] != other.address.partition("=")[2]
    assert one.cookie != other.cookie


@pytest.mark.parametrize(
    ("method", "headers"),
    [("POST", {}), ("GET", {"Origin": None}), ("HEAD", {"Origin": None}), ("GET", {"Sec-Fetch-Site": "same-origin"}), ("GET", {"Sec-Fetch-Site": "none"}),
     ("GET", {"Origin": None, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})],
)  # fmt: skip
def test_requests_from_the_page_or_a_link_are_accepted(method, headers):
    sent = {name: value for name, value in {**OWN, **headers}.items() if value is not None}
    assert Access(8000).problem(method, sent) == ""


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", {"Host": "attacker.example"}), ("GET", {"Host": None}), ("GET", {"Host": "127.0.0.1:8001"}), ("POST", {"Origin": None}),
     ("POST", {"Origin": "null"}), ("GET", {"Origin": "http://127.0.0.1:9"}), ("GET", {"Sec-Fetch-Site": "same-site"}),
     ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})],
)  # fmt: skip
def test_requests_with_a_foreign_or_missing_host_or_origin_are_refused(method, headers):
    sent = {name: value for name, value in {**OWN, **headers}.items() if value is not None}
    assert Access(8000).problem(method, sent)


@pytest.mark.parametrize("prefix", ["", "0000000000000000FFFF0000"], ids=["IPv4", "IPv6"])
def test_the_kernel_tables_give_the_owner_of_a_connection(tmp_path, prefix):
    table = tmp_path / "tcp"
    line = "   1: {0}0100007F:{port:04X} {0}0100007F:1F40 01 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0 20\n"
    own, stranger = os.geteuid(), os.geteuid() + 1
    owners = {5000: (own, 61), 5001: (stranger, 62), 5002: (0, 63), 5003: (0, 0)}
    rows = [line.format(prefix, port=port, uid=uid, inode=inode) for port, (uid, inode) in owners.items()]
    table.write_text("  sl  local_address rem_address   st\n" + "".join(rows))
    tables, server = (str(tmp_path / "absent"), str(table)), ("127.0.0.1", 8000)
    found = [is_foreign_in(tables, ("127.0.0.1", port), server) for port in (*owners, 5004)]
    assert found == [False, True, False, True, True]
    assert not is_foreign_in(tables[:1], ("127.0.0.1", 5001), server)


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp6"), reason="needs IPv6 on Linux")
def test_user_of_ipv6_socket_with_ipv4_peer_is_recognised():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        connection, peer = server.accept()
        with connection:
            assert not is_foreign_in(TABLES, peer, connection.getsockname())
            assert is_foreign_in(["/proc/net/tcp"], peer, connection.getsockname())


@pytest.mark.skipif(sys.platform != "linux", reason="needs sock_diag of Linux")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_owner_of_one_connection_is_found_without_kernel_tables(family, monkeypatch):
    """Another user can make the kernel's tables of connections long, so that reading them takes seconds."""
    host = "127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1"
    owners = Owners()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as client:
        client.connect((host, server.getsockname()[1]))
        connection, peer = server.accept()
        with connection:
            own = connection.getsockname()
            assert _owner(peer, own) == (os.geteuid(), os.fstat(client.fileno()).st_ino)
            monkeypatch.setattr("templater.serving.watch_page_access.TABLES", ())
            assert not owners.is_foreign(peer, own)
            monkeypatch.setattr(
                "templater.serving.watch_page_access._owner", lambda *_: (os.geteuid() + 1, 5)
            )
            assert owners.is_foreign(peer, own)
            monkeypatch.setattr("templater.serving.watch_page_access._owner", lambda *_: None)
            assert owners.is_foreign(peer, own), "the client has closed the connection"
            assert not Owners().is_foreign(peer, own), "the kernel has neither sock_diag nor tables"


@pytest.mark.parametrize(
    ("method", "headers", "problem"),
    [
        ("GET", {"Host": "localhost:8000"}, "the header Host must be 127.0.0.1:8000"),
        ("GET", {"Host": None}, "the header Host must be 127.0.0.1:8000"),
        ("GET", {"Origin": "http://a"}, "requests from other web pages are refused"),
        ("POST", {"Origin": None}, "requests from other web pages are refused"),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, "requests from other web pages are refused"),
        ("GET", {"Sec-Fetch-Site": "same-site"}, "requests from other web pages are refused"),
        (
            "POST",
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
            "requests from other web pages are refused",
        ),
    ],
)
def test_the_page_server_gives_a_reason_if_it_refuses_a_request(method, headers, problem):
    sent = {name: value for name, value in {**OWN, **headers}.items() if value is not None}
    assert Access(8000).problem(method, sent) == problem


def test_every_response_of_the_page_server_has_strict_headers():
    policy = HEADERS["Content-Security-Policy"]
    assert dict(each.strip().split(" ", 1) for each in policy.split(";")) == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
        "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'", "trusted-types": "templater",
    }  # fmt: skip
    assert {name: value for name, value in HEADERS.items() if value != policy} == {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
        "Server": "templater",
    }
