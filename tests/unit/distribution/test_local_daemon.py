"""The client of the image API: the answers of a daemon that are errors, and the messages about them."""

import contextlib
import http.client
import socket
import time
from types import SimpleNamespace

import pytest

from templater import __version__
from templater.distribution import daemon_connection, image_api_client
from templater.distribution.daemon_connection import MOST_HEADERS, MOST_OVERHEAD, Connection
from templater.distribution.image_api_client import LocalDaemon, ServerImage, export, find_image
from templater.model.errors import InputError, LimitError, RefusedError

HASH = "ab" * 32


@pytest.fixture
def daemon(monkeypatch):
    """Return a function that makes a daemon which sends this data, or whose socket has this error."""
    monkeypatch.setattr(image_api_client, "find_socket", lambda family: SimpleNamespace(path="/run/x.socket"))
    ends = []

    def make(data=b"", error=None):
        def connect(timeout):
            if error is not None:
                raise error
            ours, theirs = socket.socketpair()
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            ends.extend((ours, theirs))
            return ours

        made = LocalDaemon("incus")
        made._connect = connect
        return made

    make.ends = ends
    yield make
    for end in ends:
        end.close()


def answer(body=b"", status="200 OK", *headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_a_request_returns_the_headers_and_the_content_of_the_answer(daemon):
    server = daemon(answer(b"content", "200 OK", "X-A: b"))
    with server.get("/1.0/x") as (headers, content):
        assert (headers["X-A"], b"".join(content)) == ("b", b"content")
    asked = daemon.ends[1].recv(4096)
    assert asked.startswith(b"GET /1.0/x HTTP/1.1\r\nHost: localhost\r\n")
    assert f"\r\nUser-Agent: templater/{__version__}\r\n".encode() in asked
    assert daemon.ends[0].fileno() == -1  # closed
    with server.small_file():
        pass


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (answer(b"", "500 No"), None, "incus answered 500 to '/p'"),
        (answer(b"", "201 Made"), None, "incus answered 201 to '/p'"),
        (b"nonsense", None, "incus does not answer on '/run/x.socket': nonsense"),
        (b"", None, "incus does not answer on '/run/x.socket': remote end closed connection without response"),
        (b"", ConnectionRefusedError(111, "Connection refused"), "incus does not answer on '/run/x.socket': connection refused"),
        (b"", FileNotFoundError(2, "No such file"), "incus does not answer on '/run/x.socket': no such file"),
        (b"", TimeoutError(), "incus does not answer on '/run/x.socket': timed out"),
        (b"", PermissionError(13, "Permission denied"), "no permission for the socket '/run/x.socket' of incus"),
    ],
)  # fmt: skip
def test_each_failure_of_the_daemon_gives_its_own_message(data, error, message, daemon):
    with pytest.raises(InputError) as info, daemon(data, error).get("/p"):
        pass
    assert info.value.message == message
    group = "run as root, or as a member of the group incus-admin or incus"
    assert info.value.hint == (group if isinstance(error, PermissionError) else "")


def test_an_answer_with_status_404_raises_file_not_found_error(daemon):
    with pytest.raises(FileNotFoundError) as info, daemon(answer(b"", "404 Not Found")).get("/p"):
        pass
    assert info.value.args == ("/p",)


def test_the_daemon_must_answer_before_a_deadline(daemon, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(image_api_client, "_PIECE", 1000)
    with daemon(answer(bytes(30_000))).get("/p") as (_, content):
        for _ in range(3):
            next(content)
            now[0] += daemon_connection.TIMEOUT
    for late, before in ((-0.1, 1), (0, 1), (0, 2)):
        moments = iter([100.0] * before)  # when the deadline is set, and when the request is sent
        end = 100 + daemon_connection.TIMEOUT + late
        monkeypatch.setattr(time, "monotonic", lambda moments=moments, end=end: next(moments, end))
        expected = contextlib.nullcontext() if late else pytest.raises(InputError, match=r"': timed out$")
        with expected, daemon(answer()).get("/p"):
            pass


def test_the_content_of_an_answer_does_not_count_as_overhead(daemon, monkeypatch):
    monkeypatch.setattr(daemon_connection, "MOST_OVERHEAD", 10_000)
    monkeypatch.setattr(image_api_client, "_PIECE", 1000)
    with daemon(answer(bytes(50_000))).get("/p") as (_, content):
        assert b"".join(content) == bytes(50_000)


@pytest.mark.parametrize(
    ("in_headers", "most", "text"),
    [
        (True, MOST_HEADERS, "more than 32 KiB of headers"),
        (False, MOST_OVERHEAD, "more than 1 MiB of protocol data in addition to the content"),
    ],
)
def test_the_protocol_overhead_of_an_answer_is_limited(in_headers, most, text):
    connection = Connection(lambda timeout: None)
    connection.in_headers = in_headers
    connection.receive(most)
    connection.deliver(17)
    assert connection.overhead == most - 18
    connection.receive(18)
    with pytest.raises(http.client.HTTPException, match=f"^{text}$"):
        connection.receive(1)
    connection.deliver(most * 2)
    assert connection.overhead == 0


class Answers:
    """A server that has an answer for some paths, and records the paths that were asked for."""

    name = "srv"
    small_file = contextlib.nullcontext

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def get(self, path):
        self.asked.append(path)
        if path not in self.answers:
            raise FileNotFoundError(path)
        return contextlib.nullcontext(({}, iter([self.answers[path]])))


def about(fingerprint=HASH, kind='"container"', architecture='"x86_64"'):
    text = (
        f'{{"metadata": {{"fingerprint": "{fingerprint}", "type": {kind}, "architecture": {architecture}}}}}'
    )
    return text.encode()


@pytest.mark.parametrize(
    ("name", "answers", "asked"),
    [
        ("a/b c", {"/1.0/images/aliases/a%2Fb%20c": b'{"metadata": {"target": "t/"}}', "/1.0/images/t%2F": about()}, 2),
        ("ab", {"/1.0/images/ab": about()}, 2),
        ("ab" * 6, {f"/1.0/images/{'ab' * 6}": about()}, 1),
        ("ab" * 5 + "a", {f"/1.0/images/{'ab' * 5}a": about()}, 2),
        (HASH, {f"/1.0/images/{HASH}": about()}, 1),
    ],
)  # fmt: skip
def test_a_long_hexadecimal_name_can_only_be_a_fingerprint(name, answers, asked):
    server = Answers(answers)
    assert find_image(server, name) == ServerImage(HASH, "container", "x86_64")
    assert len(server.asked) == asked and set(answers) <= set(server.asked)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x\n", None, "'srv' has no image 'x\\n' that this user may see"),
        ("x", about(kind="5"), "'srv' sent an invalid description of the image 'x'"),
        ("x", about(kind='"a b"'), "'srv' sent an invalid description of the image 'x'"),
        ("x", about(architecture=f'"{"a" * 65}"'), "'srv' sent an invalid description of the image 'x'"),
        ("x", about(HASH[1:]), f"'srv' gives the invalid fingerprint '{HASH[1:]}'"),
        ("x", about("z" * 71), f"'srv' gives the invalid fingerprint '{'z' * 70}'"),
        ("x", b"[]", "'srv' gives the invalid fingerprint ''"),
        ("cd" * 6, about(), f"'srv' sent the image {HASH[:12]} instead of {'cd' * 6}"),
        ("abc" * 5, about(), f"'srv' sent the image {HASH[:12]} instead of {'abc' * 4}"),
    ],
)
def test_an_invalid_description_of_an_image_is_refused(name, data, message):
    server = Answers({} if data is None else {f"/1.0/images/{name}": data})
    with pytest.raises(InputError) as info:
        find_image(server, name)
    assert info.value.message == message


def test_type_and_architecture_can_be_empty_or_long():
    long = "a" * 64
    server = Answers({"/1.0/images/x": about(kind='""', architecture=f'"{long}"')})
    assert find_image(server, "x") == ServerImage(HASH, "", long)
    server = Answers({"/1.0/images/x": about(kind="null", architecture="null")})
    assert find_image(server, "x") == ServerImage(HASH, "", "")


def test_an_answer_about_an_image_has_a_size_limit(monkeypatch):
    data = about()
    monkeypatch.setattr(image_api_client, "_MOST_JSON", len(data))
    assert find_image(Answers({"/1.0/images/x": data}), "x").fingerprint == HASH
    with pytest.raises(LimitError, match=r"^'srv' answers '/1.0/images/x' with more than 0 MiB$"):
        find_image(Answers({"/1.0/images/x": data + b" "}), "x")


class Export:
    """A server that exports this body in pieces of some bytes."""

    name = "srv"

    def __init__(self, body, kind='multipart/form-data; boundary="b"', size=7):
        self.body, self.kind, self.size = body, kind, size

    def get(self, path):
        assert path == f"/1.0/images/{HASH}/export"
        pieces = [self.body[at : at + self.size] for at in range(0, len(self.body), self.size)]
        return contextlib.nullcontext(({"Content-Type": self.kind}, iter(pieces)))


def part(name, content, more=b""):
    return b'--b\r\nContent-Disposition: form-data; name="%s"; filename="f"%s\r\n\r\n%s\r\n' % (
        name,
        more,
        content,
    )


def exported(server):
    with export(server, ServerImage(HASH, "container", "x86_64")) as files:
        return [(kind, b"".join(content)) for kind, content in files]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("root", [b"rootfs", b"rootfs.img"])
def test_an_export_returns_metadata_and_root_filesystem_separately(size, root):
    meta, content = b"a\r\n--\r\nb", b"\r\n-" * 20
    body = b"preamble\r\n" + part(b"metadata", meta) + part(root, content) + b"--b--\r\n"
    assert exported(Export(body, size=size)) == [("metadata", meta), ("rootfs", content)]
    only = part(b"metadata", meta) + b"--b--"
    assert exported(Export(only, "Multipart/x; boundary=b", size)) == [("metadata", meta)]
    assert exported(Export(b"all", "application/octet-stream", size)) == [("image", b"all")]
    assert exported(Export(b"all", None, size)) == [("image", b"all")]


def test_a_caller_may_skip_the_rest_of_a_file():
    server = Export(part(b"metadata", b"m" * 50) + part(b"rootfs", b"r" * 9) + b"--b--")
    with export(server, ServerImage(HASH, "", "")) as files:
        kind, content = next(files)
        next(content)
        assert (kind, [name for name, _ in files]) == ("metadata", ["rootfs"])


BOTH = part(b"metadata", b"m") + part(b"rootfs", b"r")
NO_BOUNDARY = "the server sends a multipart response without a valid boundary"


@pytest.mark.parametrize(
    ("body", "kind", "error", "message"),
    [
        (b"--b--", "", InputError, "'srv' sends an image without parts"),
        (part(b"rootfs", b"m"), "", RefusedError, "'srv' sends the part 'rootfs' instead of 'metadata'"),
        (part(b"x" * 101, b"m"), "", RefusedError, f"'srv' sends the part '{'x' * 100}' instead of 'metadata'"),
        (part(b"metadata", b"m") * 2, "", RefusedError, "'srv' sends the part 'metadata' instead of 'rootfs'"),
        (BOTH + part(b"rootfs", b"r"), "", RefusedError, "'srv' sends more parts than an image has"),
        (BOTH + b"--b-x", "", InputError, "'srv' sends an invalid multipart response"),
        (BOTH + b"--b-", "", InputError, "'srv' sent an image that is cut short"),
        (BOTH, "", InputError, "'srv' sent an image that is cut short"),
        (b"x", "multipart/x", InputError, NO_BOUNDARY),
        (b"x", f"multipart/x; boundary={'b' * 201}", InputError, NO_BOUNDARY),
        (b"--b--", f"multipart/x; boundary=b; x={'b' * 1000}", InputError, NO_BOUNDARY),
        (b"x" * 8193 + b"\r\n", "", LimitError, "'srv' sends more than 8192 bytes before the image's first file"),
        (part(b"metadata", b"m", b"; x=" + b"x" * 9000), "", LimitError, "'srv' sends a part with more than 8192 bytes of headers"),
    ],
)  # fmt: skip
def test_an_invalid_export_is_refused(body, kind, error, message):
    with pytest.raises(error) as info:
        exported(Export(body, kind or "multipart/x; boundary=b"))
    assert info.value.message == message


def test_a_long_boundary_and_a_long_preamble_are_accepted():
    end = b"\r\n--" + b"b" * 200
    headers = b'\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
    kind = f"multipart/x; boundary={'b' * 200}"
    found = exported(Export(b"x" * 8190 + end + headers + b"m" + end + b"--", kind))
    assert found == [("metadata", b"m")]
