"""The https server: files and ranges, the header protocol, the image API, and clients that stall or send garbage."""

import asyncio
import gc
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
import weakref
import zlib
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiohttp import web

from templater.distribution.add_to_tree import add
from templater.distribution.store import Store
from templater.distribution.tree import Tree
from templater.model.errors import InputError
from templater.serving import connections, image_api_answers, image_server
from templater.serving.connections import PIECE, Bounds
from templater.serving.image_listing import Listing
from templater.serving.image_sources import StoreSource, TreeSource
from tests.streams.builders import listed, split_image, unified_image

UNIFIED = "images/tiny/1/amd64/unified/20260101_0000/unified.tar.gz"


def metadata(answer):
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(answer.body)["metadata"]


def content(tree, path: str) -> bytes:
    return (tree / path).read_bytes()


# files


@pytest.mark.slow
def test_a_file_is_sent_unchanged_and_without_a_content_encoding(server, tree):
    answer = server.request(f"/{UNIFIED}", Accept_Encoding="gzip")
    assert (answer.status, answer.body) == (200, content(tree, UNIFIED))
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Server"] == "templater", "no version for attackers"


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=5-5", 206, slice(5, 6)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=-99999", 206, slice(0, None)),
        ("bytes=3-99999999", 206, slice(3, None)),
        ("bytes=99999-", 416, slice(0, 0)),
        ("bytes=-0", 416, slice(0, 0)),
        ("bytes=9-3", 200, slice(0, None)),
        ("bytes=0-1,3-4", 200, slice(0, None)),
        ("bytes=" + ",".join(["0-1"] * 500), 200, slice(0, None)),
        ("bytes=" + "9" * 30 + "-", 200, slice(0, None)),
        ("lines=0-1", 200, slice(0, None)),
        ("bytes=-", 200, slice(0, None)),
    ],
)
def test_a_range_request_gets_exactly_the_requested_bytes(server, tree, asked, status, part):
    answer = server.request(f"/{UNIFIED}", Range=asked)
    whole = content(tree, UNIFIED)
    assert (answer.status, answer.body) == (status, whole[part])
    start, end, _ = part.indices(len(whole))
    ranges = {206: f"bytes {start}-{end - 1}/{len(whole)}", 416: f"bytes */{len(whole)}"}
    assert answer.headers["Content-Range"] == ranges.get(status)
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.slow
def test_range_requests_with_old_etags_get_the_whole_file(server, tree):
    tag = server.request("/streams/v1/index.json").headers["ETag"]
    assert server.request("/streams/v1/index.json", Range="bytes=0-3", If_Range=tag).status == 206
    os.utime(tree / "streams/v1/index.json")
    assert server.request("/streams/v1/index.json", Range="bytes=0-3", If_Range=tag).status == 200


def test_a_file_is_not_sent_again_if_its_etag_matches(server):
    answer = server.request("/streams/v1/index.json")
    again = server.request("/streams/v1/index.json", If_None_Match=answer.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


def test_every_file_is_closed_after_the_response(server, tree):
    def opened() -> list[str]:
        links = []
        for fd in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/self/fd/{fd}"))
        return [path for path in links if path.startswith(str(tree / "images"))]

    fingerprint = hashlib.sha256(content(tree, UNIFIED)).hexdigest()
    split = metadata(server.request("/1.0/images/aliases/tiny/1"))["target"]
    tag = server.request(f"/{UNIFIED}").headers["ETag"]
    server.request(f"/{UNIFIED}", "HEAD")
    assert server.request(f"/{UNIFIED}", If_None_Match=tag).status == 304
    assert server.request(f"/{UNIFIED}", Range="bytes=5-5").status == 206
    assert server.request(f"/{UNIFIED}", Range="bytes=999999999-").status == 416
    for image in (fingerprint, split):
        assert server.request(f"/1.0/images/{image}/export").status == 200
    until(lambda: not opened())


def test_a_head_request_gets_the_same_headers_as_a_get_request(server):
    head, get = (server.request(f"/{UNIFIED}", method) for method in ("HEAD", "GET"))
    assert head.body == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"] == str(len(get.body))


def test_a_head_request_for_an_export_gets_status_501(server):
    """The recorded answer of both daemons is 501."""
    (address, *_) = metadata(server.request("/1.0/images"))
    answer = server.request(f"{address}/export", "HEAD")
    assert (answer.status, answer.body) == (501, b"")
    assert server.request("/1.0/images/" + "0" * 64 + "/export", "HEAD").status == 404


@pytest.fixture
def lines():
    return []


def test_the_access_log_has_a_line_for_each_request(start, tree, lines):
    server = start(TreeSource(str(tree)), log=lines.append)
    size = len(server.request(f"/{UNIFIED}", User_Agent="incus 6.0.4").body)
    server.request("/absent")
    server.request(f"/{UNIFIED}", Range="bytes=0-9")
    until(lambda: len(lines) == 3)
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ 127\.0\.0\.1"
    assert re.fullmatch(rf'{moment} "GET /{UNIFIED}" 200 {size} \d+\.\d{{3}} "incus 6\.0\.4"', lines[0])
    assert re.fullmatch(rf'{moment} "GET /absent" 404 \d+ \d+\.\d{{3}} "-"', lines[1])
    assert re.fullmatch(rf'{moment} "GET /{UNIFIED}" 206 10 \d+\.\d{{3}} "-"', lines[2])


def test_response_with_status_304_keeps_connection_open(start, tree, lines):
    server = start(TreeSource(str(tree)), log=lines.append)
    tag = server.request("/streams/v1/index.json").headers["ETag"]
    with closing(server.connect()) as client:
        for _ in range(2):
            client.sendall(
                f"GET /streams/v1/index.json HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\n\r\n".encode()
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 304 ")
    until(lambda: len(lines) == 3)
    assert all(re.search(r'index\.json" 304 0 \d', line) for line in lines[1:])


def test_an_access_log_line_has_no_secrets_and_no_control_characters(start, tree, lines):
    server = start(TreeSource(str(tree)), log=lines.append)
    server.request(
        "/a%0d%0aforged%1b%5b31m%22?token=secret", Authorization="Basic secret", Cookie="secret",
        User_Agent='"red\x9b',
    )  # fmt: skip
    server.request("/" + "x" * 5000)
    until(lambda: len(lines) == 2)
    assert "secret" not in "".join(lines)
    assert all(line.isprintable() and len(line) < 1200 and line.count('"') == 4 for line in lines)
    assert "forged" in lines[0]


def test_a_partly_read_response_is_logged_as_aborted(start, tree, lines):
    (tree / "large").write_bytes(bytes(64 << 20))
    server = start(TreeSource(str(tree)), log=lines.append)
    client = server.connect()
    client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    client.recv(1000)
    client.close()
    until(lambda: lines)
    assert '"GET /large" aborted - ' in lines[0]


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_the_server_refuses_http_methods_that_change_data(server, method):
    assert server.request("/1.0/images", method).status in (400, 405)


def test_attack_73_a_path_or_link_that_leaves_the_tree_gets_status_404(server, tree):
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "up").symlink_to("..")
    (tree / ".templater").mkdir()
    (tree / ".templater/removed.json").write_text("{}")
    for path in (
        "/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2f..%2fetc%2fpasswd",
        "/images/..%2f..%2f..%2fetc/passwd", "//etc/passwd", "/%2fetc/passwd", "/link", "/up/tree/link", "/up",
        "/images/%00", "/images", "/images/", "/.templater/removed.json", "/%2etemplater/removed.json",
        "/..%5c..%5cetc%5cpasswd", "/%252e%252e/%252e%252e/etc/passwd", "/%c0%ae%c0%ae/etc/passwd", "/%ff",
        "/1.0/images/..%2f..%2fetc%2fpasswd", "/1.0/images/../../etc/passwd/export", "/1.0/instances", "/1.0/images/aliases/..",
    ):  # fmt: skip
        answer = server.request(path)
        assert answer.status == 404, path
        assert b"root:" not in answer.body


@pytest.mark.slow
def test_json_files_can_be_replaced_while_clients_read(server, tree):
    """Every answer is one whole version of the file."""
    path = tree / "streams/v1/index.json"
    versions = [path.read_bytes(), path.read_bytes() + b" " * 100_000]
    stop = threading.Event()

    def replace_file() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (tree / "new").write_bytes(versions[number % 2])
            (tree / "new").rename(path)
            time.sleep(0.02)  # so that the server, which is in the same process, also runs

    thread = threading.Thread(target=replace_file)
    thread.start()
    try:
        seen, until = set(), time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < until:
            seen |= {server.request("/streams/v1/index.json").body for _ in range(5)}
    finally:
        stop.set()
        thread.join()
    assert seen == set(versions)


def test_server_uses_last_valid_list_while_catalog_is_damaged(server, tree):
    before = metadata(server.request("/1.0/images"))
    (tree / "streams/v1/images.json").write_text("{")
    assert metadata(server.request("/1.0/images")) == before
    assert metadata(server.request("/1.0/images")) == before
    assert len(server.messages) == 1
    assert "still serving the last valid list" in server.messages[0]


@pytest.mark.parametrize(
    ("error", "status", "answer", "reported"),
    [
        (
            OSError(5, "Input/output error"),
            500,
            "internal error",
            ["'/images/x': [Errno 5] Input/output error"],
        ),
        (InputError("odd\n"), 500, "internal error", ["'/images/x': odd\\n"]),
        (FileNotFoundError(), 404, "not found", []),
    ],
)
def test_response_does_not_contain_details_of_server_error(
    error, status, answer, reported, start, tree, monkeypatch
):
    source = TreeSource(str(tree))
    server = start(source)

    async def fail(*_):
        raise error

    monkeypatch.setattr(image_server.ImageServer, "_send_file", fail)
    monkeypatch.setattr(source, "open", lambda _: 0)
    found = server.request("/images/x")
    assert found.status == status
    assert json.loads(found.body) == {
        "type": "error", "status": "", "status_code": 0, "operation": "", "error_code": status,
        "error": answer, "metadata": None,
    }  # fmt: skip
    assert server.messages == reported


@pytest.mark.slow
def test_a_new_image_appears_without_a_restart_of_the_server(server, tree, tmp_path):
    first, second = split_image(tmp_path / "more", variant="more")
    add(Tree(str(tree)), first, [second])
    assert "/1.0/images/aliases/tiny%2F1%2Fmore" in metadata(server.request("/1.0/images/aliases"))


def test_the_redirect_rules_of_a_tree_send_clients_to_the_origin(start, tree):
    server = start(TreeSource(str(tree)), redirects={"/host/files/": "https://host/files/"})
    answer = server.request("/host/files/a%20b/..%2fc%0d%0aX:%20y?q=1")
    assert answer.status == 302
    assert answer.headers["Location"] == "https://host/files/c%0D%0AX:%20y"
    assert server.request("/host/files/../x").status == 404


def test_a_browser_gets_the_index_html_of_the_tree(server, tree):
    assert metadata(server.request("/", Accept="text/html")) == ["/1.0"]
    (tree / "index.html").write_text("<p>images")
    answer = server.request("/", Accept="text/html,*/*")
    assert (answer.body, answer.headers["Content-Type"]) == (b"<p>images", "text/html; charset=utf-8")
    assert metadata(server.request("/")) == ["/1.0"]


def test_served_files_have_the_content_type_of_their_extension(server):
    for path, kind in (("streams/v1/index.json", "application/json"), (UNIFIED, "application/octet-stream")):
        answer = server.request(f"/{path}", "HEAD")
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)


# the header protocol


@pytest.mark.parametrize("family", ["Incus", "LXD"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_import_by_alias_gets_url_of_unified_image(server, tree, family, method):
    headers = {f"{family}-Server-Architectures": "x86_64, i686", f"{family}-Server-Version": "6.0.4"}
    answer = server.request("/tiny/1/unified", method, **headers)
    assert answer.headers[f"{family}-Image-URL"] == f"https://127.0.0.1:{server.port}/{UNIFIED}"
    assert answer.headers[f"{family}-Image-Hash"] == hashlib.sha256(content(tree, UNIFIED)).hexdigest()


@pytest.mark.parametrize(
    ("path", "architectures"), [("/tiny/1", "x86_64"), ("/tiny/1/unified", "aarch64"), ("/no", "")]
)
def test_an_import_without_a_suitable_unified_image_is_answered_with_404(server, path, architectures):
    answer = server.request(path, Incus_Server_Architectures=architectures)
    assert answer.status == 404
    assert "Incus-Image-Hash" not in answer.headers


def test_responses_contain_public_url_instead_of_requested_host(start, tree):
    server = start(TreeSource(str(tree)), url="https://images.example.com/base")
    for host in ("backend:8443", "a b"):
        with server.connect() as client:
            client.sendall(f"GET /tiny/1/unified HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.headers["Incus-Image-URL"] == f"https://images.example.com/base/{UNIFIED}"


@pytest.mark.parametrize("host", ["evil.example/x", "a b", "a@b", ""])
def test_an_invalid_host_header_is_never_part_of_a_response(server, host):
    with server.connect() as client:
        client.sendall(f"GET /tiny/1/unified HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 400
        assert json.loads(answer.read())["error"] == "the request has no valid Host header"
        assert answer.headers["Incus-Image-URL"] is None


# the image API


def test_every_image_is_listed_with_its_aliases(server, tree):
    images = {image["fingerprint"]: image for image in metadata(server.request("/1.0/images?recursion=1"))}
    ours = listed(Tree(str(tree)), "incus-6.0")
    assert {each.fingerprint for each in ours} == set(images)
    for each in ours:
        assert [alias["name"] for alias in images[each.fingerprint]["aliases"]] == each.aliases
        assert images[each.fingerprint]["size"] == each.size
    addresses = metadata(server.request("/1.0/images"))
    assert addresses == [f"/1.0/images/{fingerprint}" for fingerprint in images]
    assert metadata(server.request(addresses[0])) == images[addresses[0].rpartition("/")[2]]


def test_an_alias_is_found_with_and_without_url_escapes(server):
    names = [each["name"] for each in metadata(server.request("/1.0/images/aliases?recursion=1"))]
    assert len(names) == len(set(names)) == 12
    for spelling in ("tiny%2F1", "tiny/1"):
        assert metadata(server.request(f"/1.0/images/aliases/{spelling}"))["name"] == "tiny/1"
    assert server.request("/1.0/images/aliases/none").status == 404


def test_an_image_is_found_by_the_beginning_of_its_fingerprint(server, tree):
    fingerprint = hashlib.sha256(content(tree, UNIFIED)).hexdigest()
    assert metadata(server.request(f"/1.0/images/{fingerprint[:8]}"))["fingerprint"] == fingerprint
    answer = server.request(f"/1.0/images/{fingerprint[:8]}/export")
    assert answer.body == content(tree, UNIFIED)
    assert answer.headers["Content-Disposition"] == f"inline;filename={fingerprint}.tar.gz"


def test_a_split_image_is_exported_as_two_parts(server, tree):
    from email.parser import BytesParser

    for name, second in (("tiny/1", "rootfs"), ("tiny/1/vm", "rootfs.img")):
        fingerprint = metadata(server.request(f"/1.0/images/aliases/{name}"))["target"]
        answer = server.request(f"/1.0/images/{fingerprint}/export")
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + answer.body).get_payload()
        assert [part.get_param("name", header="Content-Disposition") for part in parts] == [
            "metadata",
            second,
        ]
        boundary = answer.headers["Content-Type"].partition("boundary=")[2].encode()
        bodies = [part.partition(b"\r\n\r\n")[2][:-2] for part in answer.body.split(b"--" + boundary)[1:3]]
        assert hashlib.sha256(b"".join(bodies)).hexdigest() == fingerprint


def test_a_filter_in_a_request_selects_images(server):
    assert len(metadata(server.request("/1.0/images?filter=type%20eq%20virtual-machine"))) == 1
    assert len(metadata(server.request("/1.0/images?recursion=1&filter=properties.os+eq+tiny"))) == 4
    assert server.request("/1.0/images?filter=nonsense").status == 400


def test_responses_to_several_clients_share_the_encoded_image_entries(tree):
    """A client that reads slowly keeps its answer in memory."""
    listing = TreeSource(str(tree)).load()
    parts = [listing.answers["images True"]]
    parts += [
        image_api_answers.filtered(listing.answers, True, text) for text in ("type eq container", "type ne x")
    ]
    encoded = set(map(id, parts[0].elements))
    for each in parts:
        assert sum(len(part) for part in each if id(part) not in encoded) < 200
        assert len(json.loads(b"".join(each))["metadata"]) >= 2
        assert each.size == len(b"".join(each))


async def filtered(server, address):
    request = SimpleNamespace(remote=address, transport=object())
    return await server._filter(request, True, "a eq b")


def test_server_runs_only_one_filter_at_a_time(tree, monkeypatch):
    """A filter takes a fifth of a second for 10,000 images."""
    running, most = [], []

    def images(listing, recursion, text):
        running.append(text)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(text)
        return []

    async def run():
        server = image_server.ImageServer(TreeSource(str(tree)), bounds=Bounds(connections=21))
        asked = [filtered(server, "10.0.0.1") for _ in range(12)]
        asked += [filtered(server, f"2001:db8::{number:x}") for number in range(11)]
        asked += [filtered(server, f"10.0.1.{number}") for number in range(2)]
        answered = await asyncio.gather(*asked, return_exceptions=True)
        assert not server._waiting_filters
        return answered

    monkeypatch.setattr(image_api_answers, "filtered", images)
    answered = asyncio.run(run())
    assert answered[:10] == answered[12:22] == [[]] * 10
    assert answered[23] == [], "the last place of all networks"
    assert [each.status for each in (*answered[10:12], answered[22], answered[24])] == [503] * 4
    assert max(most) == 1


def test_attack_73_a_client_with_many_filter_requests_does_not_delay_other_clients(tree, monkeypatch):
    """One client with ten connections used all places for filter requests.

    Other clients got the status 503.
    """
    done = []

    async def run():
        server = image_server.ImageServer(TreeSource(str(tree)))

        async def ask(address):
            await filtered(server, address)
            done.append(address)

        await asyncio.gather(*(ask(address) for address in ["10.0.0.1"] * 10 + ["10.0.0.2"] * 3))

    monkeypatch.setattr(image_api_answers, "filtered", lambda *_: time.sleep(0.01))
    asyncio.run(run())
    assert done[:6] == ["10.0.0.1", "10.0.0.2"] * 3


def test_server_skips_a_waiting_filter_if_client_has_disconnected(tree, monkeypatch):
    calls = []
    monkeypatch.setattr(image_api_answers, "filtered", lambda *_: calls.append(1))
    server = image_server.ImageServer(TreeSource(str(tree)))
    request = SimpleNamespace(remote="10.0.0.1", transport=None)
    with pytest.raises(ConnectionResetError):
        asyncio.run(server._filter(request, True, "a eq b"))
    assert not calls


def changed(tree):
    os.utime(tree / "streams/v1/images.json")


@pytest.mark.slow
def test_attack_73_slow_clients_keep_at_most_one_old_list_in_memory(tree):
    """After each change of the catalog, the old list stayed in memory while a client read it slowly."""

    async def run():
        server = image_server.ImageServer(TreeSource(str(tree)))
        lists, readers = [], []
        for _ in range(4):
            listing = await server.listing()
            lists.append(weakref.ref(listing.answers["images True"].elements))
            readers.append(iter(listing.answers["images True"]))
            next(readers[-1])
            del listing
            changed(tree)
        return [len(each() or "") for each in lists], [ends(reader) for reader in readers]

    def ends(reader):
        try:
            return b"".join(reader).endswith(b"]}")
        except ConnectionResetError:
            return False

    sizes, complete = asyncio.run(run())
    assert sizes == [0, 0, 4, 4]
    assert complete == [False, False, True, True]


@pytest.mark.slow
def test_attack_73_server_keeps_only_elements_of_response_for_slow_client(start, tree, monkeypatch):
    """The task that sends an answer kept everything about the old list, such as all its images."""
    source = TreeSource(str(tree))
    lists, load = [], source.load

    class Weak(Listing):
        """A list to which weak references are possible."""

    def loaded():
        found = load()
        found.__class__ = Weak
        lists.append(weakref.ref(found))
        return found

    monkeypatch.setattr(source, "load", loaded)
    server = start(source)
    stalled, go_on = [], threading.Event()

    async def stall(*_):
        stalled.append(1)
        while not go_on.is_set():
            await asyncio.sleep(0.01)

    paths = (
        "/1.0/images?recursion=1", "/1.0/images?filter=type+ne+x", "/1.0/images/aliases", "/1.0", "/tiny/1/unified",
    )  # fmt: skip
    with ExitStack() as stack:
        with monkeypatch.context() as patched:
            patched.setattr(image_server, "write", stall)
            for path in paths:
                client = stack.enter_context(server.connect())
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            until(lambda: len(stalled) == len(paths))
        changed(tree)
        server.request("/1.0")
        gc.collect()
        assert [each() is None for each in lists] == [True, False]
        go_on.set()


@pytest.mark.slow
def test_parallel_requests_load_a_changed_list_only_once(tree, monkeypatch):
    """Twelve parallel requests built the same list twelve times."""
    source = TreeSource(str(tree))
    threads, load = [], source.load

    def loaded():
        threads.append(threading.get_ident())
        return load()

    monkeypatch.setattr(source, "load", loaded)

    async def run():
        server = image_server.ImageServer(source)
        before = server._listing
        changed(tree)
        found = await asyncio.gather(*(server.listing() for _ in range(12)))
        assert before not in found
        return found

    assert len(set(map(id, asyncio.run(run())))) == 1
    assert len(threads) == 2 and len(set(threads)) == 1


class Node:
    """An object in a reference cycle, which only the garbage collector frees."""

    def __init__(self):
        self.own = self


@pytest.mark.slow
def test_reload_frees_objects_that_previous_reload_exempted_from_gc():
    node = Node()
    gone = weakref.ref(node)
    connections.exempt_from_collection()
    del node
    connections.exempt_from_collection(again=True)
    assert gone() is None


@pytest.mark.parametrize("sizes", [[], [0], [1] * 10, [PIECE], [PIECE - 1, 2, 3], [10, 5 * PIECE + 7, 10]])
def test_a_response_is_sent_in_blocks_of_a_limited_size(sizes):
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    blocks = list(image_server._blocks(parts))
    assert b"".join(blocks) == b"".join(parts)
    assert all(PIECE <= len(block) < 2 * PIECE for block in blocks[:-1])
    assert all(0 < len(block) < 2 * PIECE for block in blocks)


@pytest.mark.slow
def test_requests_for_private_and_for_unknown_images_get_the_same_response(start, tmp_path):
    store = Store(str(tmp_path / "store"))
    public = store.import_files(*split_image(tmp_path / "a"), aliases=["open"], public=True)
    private = store.import_files(unified_image(tmp_path / "b", variant="b"), aliases=["hidden"])
    server = start(StoreSource(print, store))
    unknown = "0" * 64
    for path in (
        "/1.0/images/{}",
        "/1.0/images/{}/export",
        "/1.0/images/aliases/{}",
        "/{}",
        "/images/{}.tar",
    ):
        for ours in (private.fingerprint, private.fingerprint[:8], "hidden"):
            answer, other = server.request(path.format(ours)), server.request(path.format(unknown))
            assert (answer.status, answer.body) == (other.status, other.body) == (404, other.body), path
    assert metadata(server.request("/1.0/images")) == [f"/1.0/images/{public.fingerprint}"]
    store.change("open", lambda image: replace(image, public=False))
    assert metadata(server.request("/1.0/images")) == []
    assert server.request(f"/1.0/images/{public.fingerprint}").status == 404


@pytest.mark.slow
@pytest.mark.parametrize(
    "hide",
    [
        lambda store: store.change("open", lambda image: replace(image, public=False)),
        lambda store: store.delete("open"),
    ],
    ids=["private", "deleted"],
)
def test_attack_73_no_file_of_a_private_or_deleted_image_is_sent(start, tmp_path, hide):
    """Only requests for lists read the store again, so clients that knew the path of a file got the file."""
    store = Store(str(tmp_path / "store"))
    image = store.import_files(*split_image(tmp_path / "a"), aliases=["open"], public=True)
    kept = store.import_files(unified_image(tmp_path / "b", variant="b"), aliases=["kept"], public=True)
    server = start(StoreSource(print, store))
    path = f"/images/{image.root}.squashfs"
    assert server.request(path).status == 200
    with open(store.file(image.root), "rb"):
        hide(store)
        assert server.request(path).status == 404
    assert server.request(f"/images/{kept.metadata}.tar").status == 200


def test_attack_64_only_the_fingerprint_and_content_determine_an_export_name(start, tmp_path):
    store = Store(str(tmp_path / "store"))
    store.import_files(
        unified_image(tmp_path / "a", name="../../x; filename=y"), aliases=["../../x"], public=True
    )
    server = start(StoreSource(print, store))
    (image,) = metadata(server.request("/1.0/images?recursion=1"))
    answer = server.request(f"/1.0/images/{image['fingerprint']}/export")
    assert answer.headers["Content-Disposition"] == f"inline;filename={image['fingerprint']}.tar"


# clients that stall or send garbage


SHORT = Bounds(handshake=1, waiting=0.5, sending=0.5)


def closed(client: socket.socket, within: float = 10) -> bool:
    """Return whether the server closes the connection within so many seconds."""
    client.settimeout(within)
    try:
        while client.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def plain(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def test_https_still_works_after_plain_http_connections_are_closed(server):
    for _ in range(20):
        with plain(server) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert closed(client, 2)
        assert server.request("/").status == 200


@pytest.mark.parametrize(
    "first",
    [
        b"\x16\x03\x01",
        *(pytest.param(data, marks=pytest.mark.slow) for data in (b"", b"\x16\x03\x01\x02\x00\x01")),
    ],
)
def test_a_connection_with_a_stalled_handshake_is_closed(start, tree, first):
    server = start(TreeSource(str(tree)), SHORT)
    with plain(server) as client:
        client.sendall(first)
        begun = time.monotonic()
        assert closed(client)
        assert time.monotonic() - begun < 5


@pytest.mark.slow
def test_a_connection_with_too_slow_headers_is_closed(start, tree):
    server = start(TreeSource(str(tree)), SHORT)
    with server.connect() as client, pytest.raises((OSError, ssl.SSLError)):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(100):
            client.sendall(b"X-%d: y\r\n" % number)
            time.sleep(0.1)


@pytest.mark.slow
def test_an_idle_connection_is_closed_and_a_busy_connection_stays_open(start, tree):
    server = start(TreeSource(str(tree)), SHORT)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=server.context())
    connection.request("GET", "/1.0")
    connection.getresponse().read()
    connection.request("GET", "/1.0")
    assert connection.getresponse().read()
    begun = time.monotonic()
    assert closed(connection.sock)
    assert time.monotonic() - begun < 5


@pytest.mark.slow
def test_a_connection_is_closed_if_its_client_stops_reading(start, tree):
    (tree / "images/large").write_bytes(bytes(32 << 20))
    server = start(TreeSource(str(tree)), SHORT)
    with server.connect() as client:
        client.sendall(b"GET /images/large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.5)
        size = 0
        with suppress(OSError):
            while piece := client.recv(1 << 16):
                size += len(piece)
        assert size < 32 << 20


@pytest.mark.parametrize(
    "request_",
    [b"X" * 50_000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n\r\n",
     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + bytes(100_000)],
    ids=["no line", "many headers", "long path", "large body"],
)  # fmt: skip
def test_a_connection_with_a_too_large_request_is_closed(server, request_):
    with server.connect() as client:
        with suppress(OSError):
            client.sendall(request_)
        assert closed(client)
    assert server.request("/").status == 200


def test_a_compressed_request_body_is_not_unpacked():
    body, bodies = zlib.compress(bytes(1 << 20)), []
    head = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def answer(request):
        bodies.append(await request.content.read())
        return web.Response()

    async def run():
        listener = connections.bind("127.0.0.1", 0)
        serving = asyncio.ensure_future(connections.serve(answer, listener, None))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(head + body)
        assert b" 200 " in await reader.readline()
        writer.close()
        serving.cancel()
        await asyncio.wait([serving])

    asyncio.run(run())
    assert bodies == [body]


async def answered(requests, bounds=Bounds()):
    """Send requests in pieces. Return the methods of the answered requests, and what arrived."""
    methods = []

    async def answer(request):
        methods.append(request.method)
        if request.method == "POST":
            await request.read()
        return web.Response(text="x")

    listener = connections.bind("127.0.0.1", 0)
    serving = asyncio.ensure_future(connections.serve(answer, listener, None, bounds))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    for piece in requests:
        writer.write(piece)
        for _ in range(100):
            await asyncio.sleep(0)  # a turn of the server
    arrived = b""
    with suppress(OSError):
        writer.write_eof()
        arrived = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    serving.cancel()
    await asyncio.wait([serving])
    return methods, arrived


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "requests",
    [[GET * 100], [GET[:-1], b"\n" + GET * 99], [GET + (GET * 100)[:-1], b"\n"], [GET * 3, GET * 97]],
)
def test_a_connection_is_closed_if_many_requests_arrive_at_once(requests):
    methods, arrived = asyncio.run(answered(requests))
    assert len(methods) <= 4 and arrived.count(b"200 OK") <= 4


def test_new_requests_during_a_response_are_answered_afterwards():
    body = b"Content-Length: 6\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: x\r\n" + body
    methods, arrived = asyncio.run(answered([GET + GET[:9], GET[9:], post, b"abc", b"def" + GET, GET * 2]))
    assert methods == ["GET", "GET", "POST", "GET", "GET", "GET"]
    assert arrived.count(b"200 OK") == 6


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"],
)  # fmt: skip
def test_invalid_data_after_the_tls_handshake_does_not_affect_later_clients(server, garbage):
    with server.connect() as client:
        client.sendall(garbage)
        client.settimeout(5)
        with suppress(OSError):
            assert not client.recv(100).startswith(b"HTTP/1.1 500")
    assert server.request("/").status == 200
    assert not server.messages


@pytest.mark.slow
@pytest.mark.parametrize("same", [False, True])
def test_server_answers_a_new_request_despite_many_idle_clients(start, tree, same):
    """A client of the same address must wait until a connection has been idle for a short time."""
    server = start(TreeSource(str(tree)), Bounds(connections=20, stalled=1 if same else 60))
    idle = [plain(server) for _ in range(40)]
    try:
        begun = time.monotonic()
        client = server if same else replace(server, source=("127.0.0.2", 0))
        time.sleep(1.5 * same)
        for _ in range(5):
            assert client.request("/").status == 200
        assert time.monotonic() - begun < 10, "the limits on time alone would take longer"
    finally:
        for client in idle:
            client.close()


@pytest.mark.slow
@pytest.mark.parametrize("same", [False, True])
def test_server_answers_a_new_request_despite_many_stalled_clients(start, tree, same):
    """A client of the same address must wait until a connection has been unread for a short time."""
    (tree / "images/large").touch()
    os.truncate(tree / "images/large", 100 << 20)
    server = start(TreeSource(str(tree)), Bounds(connections=10, stalled=0.2))
    with ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(server.connect())
            client.sendall(b"GET /images/large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1)
        other = server if same else replace(server, source=("127.0.0.2", 0))
        time.sleep(0.5 * same)
        for _ in range(3):
            assert other.request("/").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_tls_1_3_work(server, version):
    context = server.context()
    context.minimum_version = context.maximum_version = version
    with context.wrap_socket(plain(server), server_hostname="127.0.0.1") as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"


def test_a_client_is_disconnected_if_one_request_has_many_tls_records(server):
    """50 clients that sent only new keys, 27 bytes each, made other clients wait for 36 seconds."""
    with server.connect() as client:
        for _ in range(5):
            request = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
            for byte in request[:12]:
                client.sendall(bytes([byte]))
            client.sendall(request[12:])
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += client.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200")
    answer = b""
    with server.connect() as client, suppress(OSError):
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(50):
            client.sendall(b"x")
        client.sendall(b"\r\nHost: x\r\n\r\n")
        answer = client.recv(1 << 16)
    assert answer == b""


def test_a_large_request_in_small_records_is_answered(server):
    """Go's TLS sends records of about 1.2 KB at first."""
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(22):
            client.sendall(b"X%d: " % number + b"x" * 1200 + b"\r\n")
        client.sendall(b"Connection: close\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_the_server_refuses_old_versions_of_tls(server):
    context = server.context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with plain(server) as client, pytest.raises(ssl.SSLError):
        context.wrap_socket(client, server_hostname="127.0.0.1")
