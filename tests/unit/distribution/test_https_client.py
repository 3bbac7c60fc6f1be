"""Streams at a URL: faults of the server, and the handling of a password."""

import base64
import contextlib
import gzip
import random
import socket
import socketserver
import ssl
import threading
import time
import traceback

import pytest

from templater.distribution import https_client, https_client_limits
from templater.distribution.https_client import RedirectError, UrlStream
from templater.distribution.list_stream import list_stream
from templater.distribution.verify import verify
from templater.model.errors import InputError, LimitError, TemplaterError, UsageError
from tests.streams.mutations import EXAMPLE
from tests.streams.server import redirect, serving

INDEX = "streams/v1/index.json"
PASSWORD = "p%w:s3cret"
LOGIN = "me:p%25w%3As3cret@"


@pytest.fixture
def trusted(certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(certificates, trusted):
    with serving(EXAMPLE, certificates) as running:
        yield running


@pytest.fixture
def other(certificates, trusted):
    with serving(EXAMPLE, certificates) as running:
        yield running


def test_verify_finds_every_image_and_no_problem_in_a_served_stream(server):
    report = verify(UrlStream(server.url))
    assert not report.problems
    assert list(report.images.values()) == [4, 4, 4]
    assert report.files == 10


def test_verify_with_the_metadata_only_option_downloads_no_root_filesystem(server):
    report = verify(UrlStream(f"{server.url}/"), metadata_only=True)
    assert not report.problems
    downloads = [path for method, path, _ in server.requests if method == "GET"]
    assert not [path for path in downloads if path.endswith((".squashfs", "root.tar.xz", ".qcow2"))]


def test_the_list_command_reads_only_the_catalog(server):
    assert len(list_stream(UrlStream(server.url))) == 4
    assert server.paths == ["/streams/v1/index.json", "/streams/v1/images.json"]


def test_a_header_gives_a_templater_error_if_python_cannot_parse_it(server):
    """Python 3.11 raised TypeError for a parameter in two spellings."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/form-data; boundary*=a; boundary*0=b")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.fault = answer
    with pytest.raises(TemplaterError):
        list_stream(UrlStream(server.url))


def test_a_server_may_redirect_image_files_to_another_server(server, other):
    server.fault = lambda handler: (
        handler.path.startswith("/images") and redirect(handler, other.url + handler.path)
    )
    assert not verify(UrlStream(server.url)).problems
    assert any(path.startswith("/images") for path in other.paths)


@pytest.mark.parametrize(
    "place",
    [
        "https://[::1/x",
        "https://a..b/",
        f"https://{'a' * 70}.com/",
        "https://local\x1bhost:99999999/ \0",
        "https://",
    ],
)
def test_a_redirect_to_an_invalid_host_is_an_error(server, place):
    server.fault = lambda handler: redirect(handler, place)
    stream = UrlStream(server.url)
    for read in (stream.read, stream.size):
        with pytest.raises(TemplaterError) as caught:
            read("streams/v1/index.json")
        assert server.url in str(caught.value)


def authorization(request):
    return request[2].get("Authorization")


def test_a_password_is_sent_only_to_its_server(server, other, capsys):
    server.fault = lambda handler: (
        handler.path.startswith("/images") and redirect(handler, other.url + handler.path)
    )
    url = server.url.replace("https://", f"https://{LOGIN}")
    assert not verify(UrlStream(url)).problems
    wanted = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert {authorization(request) for request in server.requests} == {wanted}
    assert {authorization(request) for request in other.requests} == {None}
    server.fault = lambda handler: handler.send_error(401) or True
    with pytest.raises(InputError) as raised:
        UrlStream(url).read(INDEX)
    said = "".join(traceback.format_exception(raised.value)) + raised.value.explain()
    assert "the server answered 401" in said
    assert "s3cret" not in said


def test_a_password_survives_a_redirect_to_the_same_server(server):
    server.fault = lambda handler: not handler.path.startswith("/moved") and redirect(handler, "/moved")
    with pytest.raises(FileNotFoundError):
        UrlStream(server.url.replace("https://", f"https://{LOGIN}")).read(INDEX)
    assert all(authorization(request) for request in server.requests)
    assert server.paths == ["/streams/v1/index.json", "/moved"]


def as_client(url):
    stream = UrlStream(url)
    stream.imitate_clients()
    return stream


def problems(url, **options):
    return {(each.level, each.code): each.message for each in verify(UrlStream(url), **options).problems}


@pytest.mark.parametrize("full", [True, False])
def test_clients_drop_passwords_after_redirects_to_full_urls(server, certificates, full):
    """A redirect to a full URL of the same server: the recorded client sent no password, and got 401."""

    def fault(handler):
        if handler.path.startswith("/images"):
            return redirect(handler, f"{server.url if full else ''}/moved{handler.path}")
        handler.path = handler.path.removeprefix("/moved")
        return not handler.headers.get("Authorization") and (handler.send_error(401) or True)

    server.fault = fault
    found = problems(server.url.replace("https://", f"https://{LOGIN}"), metadata_only=True)
    if not full:
        assert not found
        return
    (kind,) = found
    assert kind == ("error", "unreadable")
    assert "answered 401 (clients send no password after a redirect to a full URL)" in found[kind]
    assert "s3cret" not in found[kind]


def test_a_dropped_password_is_not_sent_after_another_redirect(server):
    def fault(handler):
        places = {f"/{INDEX}": f"{server.url}/second", "/second": "/third"}
        return handler.path in places and redirect(handler, places[handler.path])

    server.fault = fault
    with pytest.raises(FileNotFoundError):
        as_client(server.url.replace("https://", f"https://{LOGIN}")).read(INDEX)
    assert [bool(authorization(request)) for request in server.requests] == [True, False, False]


def test_verify_warns_about_a_redirect_to_http(server):
    server.fault = lambda handler: (
        handler.path.startswith("/images") and redirect(handler, f"http://127.0.0.1:1{handler.path}")
    )
    for metadata_only in (False, True):
        report = verify(UrlStream(server.url), metadata_only=metadata_only)
        assert {(each.level, each.code) for each in report.problems} == {("warning", "redirect")}
        assert report.problems[0].message.startswith("not checked: 'https://127.0.0.1:")
        assert list(report.images.values()) == [4, 4, 4]


def test_verify_cannot_check_a_catalog_behind_a_redirect_to_http(server):
    server.fault = lambda handler: redirect(handler, f"http://127.0.0.1:1{handler.path}")
    with pytest.raises(RedirectError, match="redirects to a URL without https") as raised:
        verify(UrlStream(server.url))
    assert "clients follow this redirect" in raised.value.hint


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/", "https://"])
def test_every_client_fails_if_the_catalog_is_behind_a_refused_redirect(server, place):
    server.fault = lambda handler: redirect(handler, place)
    report = verify(UrlStream(server.url))
    assert list(report.images.values()) == [None, None, None]


def gzipped(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(body)
    return True


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.slow
def test_a_server_may_compress_every_answer_for_clients(server, members):
    """Recorded: "content-encoding gzip of all"."""

    def fault(handler):
        assert handler.headers["Accept-Encoding"] == "gzip"
        data = (EXAMPLE / handler.path.lstrip("/")).read_bytes()
        step = len(data) // members + 1
        parts = (data[at : at + step] for at in range(0, len(data), step))
        return gzipped(handler, b"".join(map(gzip.compress, parts)))

    server.fault = fault
    for metadata_only in (False, True):
        report = verify(UrlStream(server.url), metadata_only=metadata_only)
        assert not report.problems
        assert list(report.images.values()) == [4, 4, 4]


def test_an_archive_with_content_encoding_has_a_wrong_hash(server):
    """Recorded: "content-encoding gzip on tar.gz"."""
    server.fault = lambda handler: (
        handler.path.endswith(".tar.gz")
        and gzipped(handler, (EXAMPLE / handler.path.lstrip("/")).read_bytes())
    )
    found = problems(server.url)
    assert found.keys() == {("error", "hash")}
    assert found["error", "hash"].endswith(
        "b31d647e4cc1466d2bb0ad1f165778fd6d63c6dbc9fe153978cc457192396fa6 after clients decompress the file,"
        " because the server sends Content-Encoding: gzip"
    ), "the hash of the recorded client"


@pytest.mark.parametrize(
    ("cut", "said"),
    [(lambda data: data, "is not gzip data"), (lambda data: gzip.compress(data)[:-9], "was cut short")],
)
@pytest.mark.slow
def test_a_file_is_an_error_if_clients_cannot_decompress_it(server, cut, said):
    server.fault = lambda handler: (
        handler.path.endswith(".squashfs")
        and gzipped(handler, cut((EXAMPLE / handler.path.lstrip("/")).read_bytes()))
    )
    found = problems(server.url)
    assert found.keys() == {("error", "unreadable")}
    assert said in found["error", "unreadable"]


def test_a_decompression_bomb_is_not_read_to_its_end(server, monkeypatch):
    monkeypatch.setattr("templater.distribution.verify_files._SPARE", 1 << 20)
    bomb = gzip.compress(bytes(8 << 20))
    server.fault = lambda handler: handler.path.endswith(".squashfs") and gzipped(handler, bomb)
    report = verify(UrlStream(server.url))
    assert [each.code for each in report.problems] == ["unreadable"]
    assert report.bytes < 4 << 20


@pytest.mark.parametrize(("size", "is_checked"), [(1 << 20, True), (8 << 20, False)])
def test_attack_62_verify_decompresses_at_most_200_times_the_bytes_from_a_server(
    server, monkeypatch, size, is_checked
):
    monkeypatch.setattr("templater.distribution.verify_files._MOST_DECOMPRESSED", 2 << 20)
    bomb = gzip.compress(bytes(size))
    server.fault = lambda handler: handler.path.endswith(".squashfs") and gzipped(handler, bomb)
    report = verify(UrlStream(server.url))
    if is_checked:
        assert {each.code for each in report.problems} == {"hash"}
    else:
        found = {(each.level, each.code, each.message) for each in report.problems}
        message = "not checked: the server's gzip responses decompress to far more than their size"
        assert found == {("error", "unreadable", message)}
    assert report.bytes < 5 << 20


def test_a_catalog_is_decompressed_only_up_to_its_size_limit(server, monkeypatch):
    monkeypatch.setattr(https_client, "MOST_BYTES", 1 << 20)
    server.fault = lambda handler: gzipped(handler, gzip.compress(b" " * (8 << 20)))
    with pytest.raises(LimitError, match="1 MiB"):
        as_client(server.url).read(INDEX)


def test_clients_refuse_an_answer_with_status_206(server):
    def partial(handler):
        if not handler.path.startswith("/images"):
            return False
        handler.send_response(206)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.fault = partial
    for metadata_only in (False, True):
        found = problems(server.url, metadata_only=metadata_only)
        assert found.keys() == {("error", "unreadable")}
        assert "the server answered 206" in found["error", "unreadable"]


def test_a_server_without_tls_1_3_fails_for_every_client(certificates, trusted):
    with serving(EXAMPLE, certificates, maximum=ssl.TLSVersion.TLSv1_2) as old:
        assert len(list_stream(UrlStream(old.url))) == 4, "templater itself accepts TLS 1.2"
        report = verify(UrlStream(old.url))
        (found,) = report.problems
        assert (found.level, found.code) == ("error", "index")
        assert found.message.endswith("offers only TLS 1.2, but clients need TLS 1.3")
        assert list(report.images.values()) == [None, None, None]


def test_image_files_from_another_server_require_tls_1_3(server, certificates):
    with serving(EXAMPLE, certificates, maximum=ssl.TLSVersion.TLSv1_2) as old:
        server.fault = lambda handler: (
            handler.path.startswith("/images") and redirect(handler, old.url + handler.path)
        )
        found = problems(server.url, metadata_only=True)
        assert found.keys() == {("error", "unreadable")}
        assert "clients need TLS 1.3" in found["error", "unreadable"]


def answer(body, **headers):
    def fault(handler):
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True
        return True

    return fault


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda handler: redirect(handler, handler.path), "answered 302"),
        (lambda handler: redirect(handler, "http://127.0.0.1/"), "a URL without https"),
        (lambda handler: redirect(handler, "file:///etc/passwd"), "answered 302"),
        (answer(b"{}", Content_Length="1000"), "fewer bytes than it announced"),
        (answer(b"5\r\nhello", Transfer_Encoding="chunked"), "was cut short"),
        (lambda handler: handler.wfile.write(b"garbage\r\n\r\n") and True, "can't be fetched"),
        (lambda handler: handler.send_error(500) or True, "answered 500"),
    ],
    ids=["loop", "http", "file", "short", "chunk", "garbage", "500"],
)  # fmt: skip
def test_a_faulty_server_gives_one_clear_error(server, fault, said):
    server.fault = fault
    with pytest.raises(TemplaterError, match=said) as raised:
        UrlStream(server.url).read(INDEX)
    assert raised.value.exit_code in (2, 3)
    assert len(server.requests) <= https_client.MOST_REDIRECTS + 1


def test_the_download_of_an_endless_catalog_ends_at_the_size_limit(server, monkeypatch):
    monkeypatch.setattr(https_client, "MOST_BYTES", 1 << 20)

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * 65536)
        except OSError:
            handler.close_connection = True
        return True

    server.fault = endless
    with pytest.raises(LimitError, match="1 MiB"):
        UrlStream(server.url).read(INDEX)


def test_the_body_of_a_redirect_is_not_read(server):
    """urllib reads the whole body before it follows a redirect."""

    def redirect(handler):
        if handler.path.endswith("/target"):
            return False
        handler.send_response(302)
        handler.send_header("Location", f"{server.url}/{INDEX}?/target")
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            for _ in range(40):
                handler.wfile.write(b" " * 65536)
                time.sleep(0.1)
        except OSError:
            handler.close_connection = True
        return True

    server.fault = redirect
    begun = time.monotonic()
    assert b"index" in UrlStream(server.url).read(INDEX)
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("pause", [5, 0.02], ids=["silent", "dripping"])
@pytest.mark.slow
def test_a_download_is_aborted_if_the_server_stalls(server, monkeypatch, pause):
    monkeypatch.setattr(https_client, "TIMEOUT", 0.5)
    monkeypatch.setattr(https_client_limits, "TIMEOUT", 0.5)
    monkeypatch.setattr(https_client, "_SLOWEST", 1024)

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            for _ in range(200):
                handler.wfile.write(b" ")
                time.sleep(pause)
        except OSError:
            pass
        return True

    server.fault = stall
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"sent nothing for 0.5 s|too slow"):
        UrlStream(server.url).read(INDEX)
    assert time.monotonic() - begun < 4


def endlessly(start, repeated, pause=0.01):
    """Return a fault of a server that sends ``start``, then ``repeated`` until the client closes."""

    def fault(handler):
        try:
            handler.wfile.write(start)
            while True:
                handler.wfile.write(repeated)
                time.sleep(pause)
        except OSError:
            handler.close_connection = True
        return True

    return fault


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("limit", ["MOST_SECONDS", "MOST_CATALOG_SECONDS"])
@pytest.mark.parametrize(
    "fault",
    [
        endlessly(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.001),
        endlessly(CHUNKED, b"0"),
        endlessly(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n", pause=0.02),
    ],
    ids=["header", "continue", "chunk header", "trailers"],
)
@pytest.mark.slow
def test_a_download_with_an_endless_answer_is_aborted(server, monkeypatch, fault, limit):
    monkeypatch.setattr(https_client_limits, limit, 0.4)
    server.fault = fault
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"longer than 0\.4 s"):
        UrlStream(server.url).read(INDEX)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED, b"1;" + b"x" * 5000 + b"\r\nx\r\n"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
    ],
    ids=["continue", "chunks of a byte", "chunk header", "trailers"],
)
def test_a_download_with_too_much_protocol_overhead_is_aborted(server, monkeypatch, start, repeated):
    monkeypatch.setattr(https_client_limits, "MOST_OVERHEAD", 1 << 16)
    monkeypatch.setattr(https_client_limits, "MOST_SECONDS", 2)
    server.fault = endlessly(start, repeated * 1000, pause=0)
    # without a header, either limit can come first: it depends on the number of bytes that arrive together
    much = (
        "0 MiB of protocol data in addition to the content"
        if start
        else "(?:0 MiB of protocol data in addition to the content|32 KiB of headers)"
    )
    with pytest.raises(InputError, match=f"the server sends more than {much}"):
        UrlStream(server.url).read(INDEX)


@pytest.mark.parametrize("length", [150, 4096])
def test_an_answer_in_http_chunks_of_usual_sizes_is_read_completely(server, monkeypatch, length):
    monkeypatch.setattr(https_client_limits, "MOST_OVERHEAD", 9 << 16)
    chunk = b"%x\r\n%s\r\n" % (length, b"x" * length)
    number = 3_000_000 // length

    def fault(handler):
        handler.wfile.write(CHUNKED + chunk * number + b"0\r\n\r\n")
        handler.close_connection = True
        return True

    server.fault = fault
    assert UrlStream(server.url).read(INDEX) == b"x" * length * number


@pytest.mark.slow
def test_a_slow_catalog_download_is_aborted_even_at_a_steady_speed(server, monkeypatch):
    monkeypatch.setattr(https_client_limits, "MOST_CATALOG_SECONDS", 0.4)
    server.fault = endlessly(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n", b" " * 1100)
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"fetching catalogs and metadata takes longer than 0\.4 s"):
        UrlStream(server.url).read(INDEX)
    assert time.monotonic() - begun < 2


@pytest.mark.slow
def test_all_catalogs_of_a_stream_share_one_deadline(server, monkeypatch):
    monkeypatch.setattr(https_client_limits, "MOST_CATALOG_SECONDS", 0.6)
    server.fault = lambda handler: time.sleep(0.25)
    stream = UrlStream(server.url)
    stream.read(INDEX)
    stream.read(INDEX)
    with pytest.raises(InputError, match=r"longer than 0\.6 s"):
        stream.read(INDEX)


def test_a_large_file_may_take_longer_than_a_catalog(server, monkeypatch):
    monkeypatch.setattr(https_client_limits, "MOST_CATALOG_SECONDS", 0.1)
    server.fault = lambda handler: time.sleep(0.2)
    with UrlStream(server.url).pieces(INDEX) as pieces:
        assert b"".join(pieces) == (EXAMPLE / INDEX).read_bytes()


def test_a_certificate_of_an_unknown_ca_is_refused_with_a_hint(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(InputError, match="certificate is not trusted") as raised:
        UrlStream(server.url).read(INDEX)
    assert "SSL_CERT_FILE" in raised.value.hint


def test_a_refused_connection_gives_an_input_error():
    with pytest.raises(InputError, match="connection refused"):
        UrlStream("https://127.0.0.1:9").read(INDEX)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "file:///etc",
        "https://",
        "https:///x",
        "https://h/?q",
        "https://h/#f",
        "https://h:x/",
        "https://h:99999/",
        "https://[x/y",
        "https://[::1",
        "https://\u2100/",
    ],
)
def test_urls_are_refused_without_a_request_if_no_client_accepts_them(url):
    with pytest.raises(UsageError):
        UrlStream(url)


def test_unusual_paths_are_requested_in_the_form_that_clients_use():
    stream = UrlStream("https://h/base/")
    assert stream.url("a b?c%d") == "https://h/base/a%20b%3Fc%25d"
    assert stream.url("/x/../y") == "https://h/base/y"


# connections


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy's side of one connection: it passes bytes on in both directions."""

    def handle(self):
        while line := self.rfile.readline().strip():
            self.server.lines.append(line.decode())
        _, target, _ = self.server.lines[0].split()
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self.pass_on, args=(there, self.connection))
            back.start()
            self.pass_on(self.connection, there)
            back.join()

    @staticmethod
    def pass_on(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_proxy_from_the_environment_gets_only_encrypted_requests(server, monkeypatch):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy:
        proxy.lines, proxy.daemon_threads = [], True
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.setenv("no_proxy", "")
        data = UrlStream(server.url.replace("https://", f"https://{LOGIN}")).read(INDEX)
        proxy.shutdown()
    assert data == (EXAMPLE / INDEX).read_bytes()
    assert proxy.lines[0].startswith(f"CONNECT {server.url.removeprefix('https://')} ")
    assert not any("Basic" in line for line in proxy.lines)


@contextlib.contextmanager
def silent_listener():
    """Yield the port of a listener that answers no further client, because its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.slow
def test_all_addresses_of_a_server_share_one_deadline(monkeypatch):
    """A name with 12 addresses made a command wait for 6 minutes."""
    monkeypatch.setattr(https_client_limits, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(https_client_limits, "TIMEOUT", 0.2)
    with silent_listener() as port:
        place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [place] * 50)
        begun = time.monotonic()
        with pytest.raises(InputError, match="the server took longer than"):
            UrlStream("https://many.example").read(INDEX)
    assert time.monotonic() - begun < 3


def test_the_second_address_is_used_if_the_first_fails(server, monkeypatch):
    port = int(server.url.rpartition(":")[2])
    places = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (("127.0.0.1", 1), ("127.0.0.1", port))
    ]  # fmt: skip
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    assert UrlStream(server.url).read(INDEX) == (EXAMPLE / INDEX).read_bytes()


@pytest.mark.slow
def test_the_answer_of_a_proxy_has_a_deadline(server, monkeypatch):
    class Slow(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.1)

    monkeypatch.setattr(https_client_limits, "MOST_SECONDS", 0.5)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(InputError, match="the server took longer than"):
            UrlStream(server.url).read(INDEX)
        proxy.shutdown()


@pytest.fixture
def opened(monkeypatch):
    """Return the list of all connections that the client opens."""
    connections = []
    connect = https_client.open_connection
    monkeypatch.setattr(
        https_client,
        "open_connection",
        lambda *words: connections.append(connect(*words)) or connections[-1],
    )
    return connections


def test_a_connection_is_closed_after_an_error(server, opened, monkeypatch):
    stream = UrlStream(server.url)
    stream.read(INDEX)
    with pytest.raises(FileNotFoundError):
        stream.read("missing")
    with stream.pieces(INDEX) as pieces:
        next(pieces)
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(InputError, match="not trusted") as caught:
        UrlStream(server.url).read(INDEX)
    assert caught.value.hint == "set SSL_CERT_FILE to a file of certificates to trust"
    del stream, pieces
    assert [each.fileno() for each in opened] == [-1] * 3


def test_a_connection_with_an_invalid_answer_is_closed_at_once(server, opened):
    server.fault = lambda handler: handler.wfile.write(b"no HTTP\r\n\r\n") and True
    with pytest.raises(InputError) as caught:  # the error keeps the frames of its traceback
        UrlStream(server.url).size(INDEX)
    assert caught.value.__context__ is not None
    assert [each.fileno() for each in opened] == [-1]


def test_a_large_download_arrives_completely(server):
    body = random.Random(1).randbytes(3_000_001)
    server.fault = answer(body, Content_Length=str(len(body)))
    with UrlStream(server.url).pieces(INDEX) as pieces:
        assert b"".join(pieces) == body


def connections(server):
    return {request[2]["Client"] for request in server.requests}


@pytest.fixture
def ports(server):
    """The server, which records the port of each request's connection."""

    def record(handler):
        method, path, headers = server.requests[-1]
        server.requests[-1] = (method, path, headers | {"Client": handler.client_address})

    server.fault = record
    return server


def test_all_files_of_a_stream_are_requested_over_one_connection(ports):
    assert not verify(UrlStream(ports.url)).problems
    assert len(ports.requests) > 10
    assert len(connections(ports)) == 1


def test_a_redirect_does_not_close_the_connection(ports):
    record = ports.fault
    ports.fault = lambda handler: (
        record(handler) or (handler.path == "/moved" and redirect(handler, f"/{INDEX}"))
    )
    stream = UrlStream(ports.url)
    assert stream.size("moved") == (EXAMPLE / INDEX).stat().st_size
    assert stream.read("moved") == (EXAMPLE / INDEX).read_bytes()
    assert len(ports.requests) == 4
    assert len(connections(ports)) == 1


def test_unread_bytes_do_not_appear_in_the_next_answer(server):
    body = b"x" * 1_000_000
    stream = UrlStream(server.url)
    server.fault = answer(body, Content_Length=str(len(body)))
    with stream.pieces(INDEX) as pieces:
        next(pieces)
    server.fault = None
    assert stream.read(INDEX) == (EXAMPLE / INDEX).read_bytes()


def test_extra_bytes_are_not_read_as_the_next_answer(server):
    fake = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake"

    def fault(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + fake * 1000)
        return True

    stream = UrlStream(server.url)
    server.fault = fault
    assert stream.read(INDEX) == b"{}"
    server.fault = None
    assert stream.read(INDEX) == (EXAMPLE / INDEX).read_bytes()


def close_after(handler):
    handler.close_connection = True


def test_a_connection_is_opened_again_after_the_server_closed_it(server):
    server.fault = close_after  # without the header "Connection: close"
    stream = UrlStream(server.url)
    for pause in (0, 0.1, 0):
        time.sleep(pause)
        assert stream.read(INDEX) == (EXAMPLE / INDEX).read_bytes()
    assert not verify(stream).problems


def test_a_connection_closed_without_an_answer_is_reopened(server):
    """The connection is still open when the request is sent."""
    stream = UrlStream(server.url)
    stream.read(INDEX)
    server.fault = lambda handler: (
        len(server.requests) == 2 and (setattr(handler, "close_connection", True) or True)
    )
    assert stream.read(INDEX) == (EXAMPLE / INDEX).read_bytes()
    assert len(server.requests) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "least", "most"),
    [
        (None, 50, 55),
        (close_after, 6, 10),
        (
            lambda handler: handler.path == f"/{INDEX}" and redirect(handler, "/streams/v1/images.json"),
            25,
            27,
        ),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000) and False, 1, 3),
    ],
    ids=["small", "closed", "redirected", "overhead"],
)
def test_the_limit_on_requests_includes_redirects_and_protocol_overhead(
    server, monkeypatch, fault, least, most
):
    monkeypatch.setattr(https_client_limits, "MOST_REQUESTS", 60)
    server.fault = fault
    stream = UrlStream(server.url)
    files = 0
    with pytest.raises(LimitError, match=r"^the stream needs more than 60 requests$"):
        while True:
            stream.size(INDEX)
            files += 1
            time.sleep(0.02)  # until a closed connection is known to be closed
    assert least <= files <= most


def test_the_verify_command_stops_at_the_limit_on_requests(server, monkeypatch):
    monkeypatch.setattr(https_client_limits, "MOST_REQUESTS", 12)
    with pytest.raises(LimitError, match=r"^the stream needs more than 12 requests$"):
        verify(UrlStream(server.url), metadata_only=True)
    assert 5 <= len(server.requests) <= 7


def test_too_large_headers_are_refused_before_parsing(server):
    kind = b'Content-Type: multipart/x; a="' + b";" * 60_000 + b"\r\n"
    server.fault = lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n") and True
    with pytest.raises(InputError, match="the server sends more than 32 KiB of headers"):
        UrlStream(server.url).size(INDEX)


def test_a_server_learns_the_reason_if_its_certificate_is_refused(certificates, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    reasons = []

    def serve(listener):
        connection, _ = listener.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as opened:
                opened.recv(1)
        except ssl.SSLError as error:
            reasons.append(error.reason)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(TemplaterError):
            UrlStream(f"https://localhost:{listener.getsockname()[1]}/").read(INDEX)
        thread.join()
    assert reasons == ["TLSV1_ALERT_UNKNOWN_CA"]
