"""Access to the page of `watch --web`: its token, cookie, host, origin and user."""

import os

import pytest

from templater.serving.page_access import Access, is_foreign

OWN = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}


def test_the_token_works_once_and_its_cookie_from_then_on():
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


def test_each_server_has_its_own_token_and_cookie():
    one, other = Access(8000), Access(8001)
    assert one.address.partition("=")[2] != other.address.partition("=")[2]
    assert one.cookie != other.cookie


@pytest.mark.parametrize(
    ("method", "headers"),
    [("POST", {}), ("GET", {"Origin": None}), ("GET", {"Sec-Fetch-Site": "same-origin"}), ("GET", {"Sec-Fetch-Site": "none"}),
     ("GET", {"Origin": None, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})],
)  # fmt: skip
def test_requests_of_the_page_and_links_to_it_are_accepted(method, headers):
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


def test_the_owner_of_a_connection_is_read_from_the_table_of_the_kernel(tmp_path):
    table = tmp_path / "tcp"
    line = "   1: 0100007F:{port:04X} 0100007F:1F40 01 00000000:00000000 00:00000000 00000000  {uid}        0 61 1 0 20\n"
    own, stranger = os.geteuid(), os.geteuid() + 1
    rows = [line.format(port=port, uid=uid) for port, uid in ((5000, own), (5001, stranger), (5002, 0))]
    table.write_text("  sl  local_address rem_address   st\n" + "".join(rows))
    server = ("127.0.0.1", 8000)
    found = [is_foreign(("127.0.0.1", port), server, str(table)) for port in (5000, 5001, 5002, 5003)]
    assert found == [False, True, False, False]
    assert not is_foreign(("127.0.0.1", 5001), server, str(tmp_path / "absent"))
