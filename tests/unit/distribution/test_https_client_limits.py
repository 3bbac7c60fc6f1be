"""The limits of a download at their boundary, and the words of each error, without a server."""

import email.message
import http.client
import io
import math
import socket
import ssl
import urllib.error
from types import SimpleNamespace

import pytest

from templater import __version__
from templater.distribution import https_client, https_client_limits
from templater.distribution.https_client import RangeError, RedirectError, UrlStream, _hint, _words
from templater.distribution.https_client_limits import ClientLimits, LateError
from templater.distribution.url import split_url
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError

BASE = "https://h/t"


@pytest.fixture(autouse=True)
def quick_context(monkeypatch):
    """Load no certificates: that takes 30 ms, and these tests open no connection."""
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def failed(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return type(caught.value), caught.value.message, caught.value.hint


def test_the_limits_on_downloads_have_the_expected_values():
    assert (
        https_client.TIMEOUT,
        https_client.MOST_REDIRECTS,
        https_client_limits.MOST_SECONDS,
        https_client_limits.MOST_CATALOG_SECONDS,
    ) == (
        30,
        10,
        60,
        60,
    )
    assert (
        https_client_limits.MOST_REQUESTS,
        https_client_limits.CONNECTION_COST,
        https_client_limits._REQUEST_BYTES,
        https_client._MOST_IDLE,
    ) == (
        20_000,
        6,
        1024,
        4,
    )
    assert (https_client_limits.MOST_OVERHEAD, https_client_limits.MOST_HEADERS, https_client._SLOWEST) == (
        1_048_576,
        32_768,
        1024,
    )
    assert (https_client._FIRST_PIECE, https_client._PIECE) == (16_384, 262_144)
    assert https_client._Redirects.max_redirections == https_client._Redirects.max_repeats == 10


def not_trusted():
    error = ssl.SSLCertVerificationError(1, "long text")
    error.verify_message = "expired"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (not_trusted(), "the server's certificate is not trusted: expired"),
        (urllib.error.URLError(not_trusted()), "the server's certificate is not trusted: expired"),
        (LateError("late words"), "late words"),
        (TimeoutError("timed out"), "the server sent nothing for 30 s"),
        (http.client.IncompleteRead(b"", 5), "the server sent fewer bytes than it announced"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "name or service not known"),
        (OSError("other\x1bwords"), "other\\x1bwords"),
        (ValueError("w" * 201), "w" * 200),
        (ValueError(), "ValueError"),
    ],
)  # fmt: skip
def test_the_cause_of_a_failed_download_is_a_short_text(error, words):
    assert _words(error) == words
    trust = "set SSL_CERT_FILE to a file of certificates to trust"
    assert _hint(error) == (trust if "certificate" in words else "")


@pytest.mark.parametrize(
    ("length", "number"),
    [("0", 0), ("12", 12), ("9" * 19, 10**19 - 1), ("1" * 20, None), ("", None), ("-1", None), ("²", None), ("1.5", None)],
)  # fmt: skip
def test_only_a_short_decimal_content_length_is_used(length, number):
    assert https_client.content_length(SimpleNamespace(headers={"Content-Length": length})) == number


def test_the_content_length_is_unknown_if_the_header_is_missing():
    assert https_client.content_length(SimpleNamespace(headers={})) is None


AMBIGUOUS = "the URL is ambiguous: the text with '/', '?' or '#' before '@' can be a password or a path"
ESCAPES = "in a password, write these characters as %2F, %3F and %23; in a path, write '@' as %40"


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("http://h/t", "clients read simplestreams only over https", "begin the URL with https://"),
        ("https:///t", "the URL is not https://HOST/PATH", "give a host, and leave out '?' and '#'"),
        ("https://h/t?a", "the URL is not https://HOST/PATH", "give a host, and leave out '?' and '#'"),
        ("https://h/t#a", "the URL is not https://HOST/PATH", "give a host, and leave out '?' and '#'"),
        ("https://h:x/t", "the URL has an invalid port", ""),
        ("https://h:65536/t", "the URL has an invalid port", ""),
        ("https://[::1/t", "the URL has an invalid host", ""),
        *((url, AMBIGUOUS, ESCAPES) for url in ("https://u:1/p@h", "https://u:p@q/r@h/t", "https://h:1/t@u")),
    ],
)
def test_a_url_is_refused_if_clients_cannot_use_it(url, message, hint):
    assert failed(UrlStream, url)[1:] == (message, hint)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://h", "https://h"),
        ("https://h/t//", "https://h/t"),
        ("https://u:p@h:8443/t/", "https://h:8443/t"),
        ("https://[::1]:8443/t", "https://[::1]:8443/t"),
        ("https://[::1]/t", "https://[::1]/t"),
        ("https://u:p%2Fq@h/t", "https://h/t"),
        ("https://h/t@u", "https://h/t@u"),
        ("https://h:1/t%40u", "https://h:1/t%40u"),
    ],
)
def test_the_base_url_of_a_stream_has_no_password(url, base):
    assert UrlStream(url).base == base


def test_a_path_is_refused_if_it_leaves_the_stream():
    stream = UrlStream(BASE)
    assert stream.url("a b/ü%?#:@!$&+,;=~") == f"{BASE}/a%20b/%C3%BC%25%3F%23:@!$&+,;=~"
    for path in ("../x", "a/../../x"):
        assert failed(stream.url, path) == (RefusedError, f"the path '{path}' leads out of the stream", "")


class Opened:
    """Stands for the opener and the connections of a stream, and gives one answer."""

    def __init__(self, stream, answer):
        self.answer, self.released, self.requests = answer, [], []
        stream._opener = stream._connections = self

    def open(self, request, timeout):
        self.requests.append((request.get_method(), request.full_url, dict(request.header_items()), timeout))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def release(self, answer):
        self.released.append(answer)

    def close(self):
        pass


def http_error(code):
    return urllib.error.HTTPError(BASE, code, "words", email.message.Message(), io.BytesIO())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http_error(403), (InputError, "'https://h/t/x' can't be fetched: the server answered 403", "")),
        (http_error(416), (RangeError, "'https://h/t/x' can't be fetched: the server answered 416", "")),
        (OSError(113, "No route to host"), (InputError, "'https://h/t/x' can't be fetched: no route to host", "")),
        (ValueError("bad host"), (InputError, "'https://h/t/x' can't be fetched: bad host", "")),
        (
            urllib.error.URLError(not_trusted()),
            (
                InputError,
                "'https://h/t/x' can't be fetched: the server's certificate is not trusted: expired",
                "set SSL_CERT_FILE to a file of certificates to trust",
            ),
        ),
        (SimpleNamespace(status=204), (InputError, "'https://h/t/x' can't be fetched: the server answered 204", "")),
    ],
)  # fmt: skip
def test_an_error_contains_the_url_and_the_cause(answer, error):
    stream = UrlStream(BASE)
    opened = Opened(stream, answer)

    def ask():
        with stream.open(stream.url("x"), "HEAD", {"A": "b"}):
            raise AssertionError

    assert failed(ask) == error
    agent = {"User-agent": f"templater/{__version__}", "Accept-encoding": "identity", "A": "b"}
    assert opened.requests == [("HEAD", f"{BASE}/x", agent, 30)]
    assert len(opened.released) == isinstance(answer, urllib.error.HTTPError | SimpleNamespace)
    if not isinstance(answer, urllib.error.HTTPError | SimpleNamespace):
        assert failed(stream.headers, f"{BASE}/x", {}) == error


def test_headers_of_a_missing_file_can_be_read():
    stream = UrlStream(BASE)
    missing = http_error(404)
    missing.fp = SimpleNamespace(headers={"a": "b"})
    opened = Opened(stream, missing)
    with pytest.raises(FileNotFoundError, match="https://h/t/x"), stream.open(f"{BASE}/x"):
        pass
    assert opened.released == [missing.fp]
    assert stream.headers(f"{BASE}/x", {}) == {"a": "b"}
    assert opened.released == [missing.fp, missing.fp]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("https://[::1/x", (InputError, "'https://h/a' redirects to an invalid URL", "")),
        ("http://h/x", (RedirectError, "'https://h/a' redirects to a URL without https", "")),
        ("https://me:s3cret@h/x", (RedirectError, "'https://h/a' redirects to a URL with a user name", "")),
        ("https://:1/x", (InputError, "'https://h/a' redirects to an invalid URL", "")),
        ("ftp://h/x", (InputError, "'https://h/a' redirects to an invalid URL", "")),
    ],
)
def test_a_redirect_to_an_unusable_url_is_refused(target, error):
    handler = https_client._Redirects(SimpleNamespace(release=lambda answer: None))
    request = urllib.request.Request("https://h/a", headers={"A": "b"}, method="HEAD")
    assert failed(handler.redirect_request, request, None, 302, "", {}, target) == error
    followed = handler.redirect_request(request, None, 302, "", {}, "b")
    assert (followed.full_url, followed.get_method(), dict(followed.header_items())) == (
        "https://h/b",
        "HEAD",
        {"A": "b"},
    )


@pytest.mark.parametrize(
    ("status", "length", "kept"), [(200, 0, True), (200, 1, False), (299, 1, False), (300, 1, True), (404, 16_384, True), (404, 16_385, False), (200, None, False)]
)  # fmt: skip
def test_a_connection_is_reused_after_a_short_error_answer(status, length, kept):
    connections = https_client._Connections(ssl.create_default_context(), ClientLimits())
    done, closed = [], []
    answer = SimpleNamespace(
        status=status, length=length, connection=("h", SimpleNamespace(sock=1, close=lambda: closed.append(1))),
        read=lambda: done.append(1), isclosed=lambda: bool(done), close=lambda: closed.append(2),
    )  # fmt: skip
    connections.release(answer)
    assert list(connections._idle) == (["h"] if kept else [])
    assert closed == ([] if kept else [2, 1])


def test_the_oldest_idle_connections_are_closed_above_the_limit():
    connections = https_client._Connections(ssl.create_default_context(), ClientLimits())
    closed = []
    for name in "abcdef":
        one = SimpleNamespace(sock=1, close=lambda name=name: closed.append(name))
        connections.release(
            SimpleNamespace(status=200, length=0, connection=(name, one), read=bool, isclosed=lambda: True)
        )
    assert (list(connections._idle), closed) == (["c", "d", "e", "f"], ["a", "b"])
    connections.close()
    assert (list(connections._idle), closed) == ([], list("abcdef"))


@pytest.mark.parametrize(
    ("count", "most", "error"),
    [
        (
            ClientLimits.receive,
            1_048_576,
            "the server sends more than 1 MiB of protocol data in addition to the content",
        ),
        (ClientLimits.begin_request, 20_000, "the stream needs more than 20000 requests"),
    ],
)
def test_too_many_requests_are_an_error(count, most, error):
    bounds = ClientLimits()
    count(bounds, most - 1)
    count(bounds, 1)
    with pytest.raises((OSError, LimitError)) as caught:
        count(bounds, 1)
    assert str(caught.value) == error


def test_the_limit_on_headers_includes_only_header_bytes():
    bounds = ClientLimits()
    bounds.read(1 << 30)
    with bounds.headers():
        bounds.read(32_768)
        with pytest.raises(OSError, match=r"^the server sends more than 32 KiB of headers$"):
            bounds.read(1)
    with bounds.headers():
        bounds.read(32_768)
    bounds.read(1)


def test_each_kib_of_protocol_overhead_is_one_request():
    bounds = ClientLimits()
    bounds.receive(16_000 + 1000)
    bounds.deliver(16_000)
    assert bounds._overhead == 0
    bounds.receive(17_100)
    bounds.deliver(16_000)
    assert bounds._overhead == 100
    bounds.receive(2047 - 100)
    bounds.begin_answer()
    assert (bounds._overhead, bounds._requests) == (0, 1)
    bounds.receive(2048)
    bounds.begin_answer()
    assert (bounds._overhead, bounds._requests) == (0, 3)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=100.0)
    monkeypatch.setattr(https_client_limits.time, "monotonic", lambda: now.time)
    return now


def test_each_step_of_a_download_has_a_deadline(clock):
    bounds = ClientLimits()
    assert bounds.timeout() == 30
    bounds.begin_step()
    clock.time = 145.0
    assert bounds.timeout() == 15
    clock.time = 160.0
    with pytest.raises(LateError, match=r"^the server took longer than 60 s to answer$"):
        bounds.timeout()
    bounds.begin_step()
    with bounds.small_file():
        clock.time = 200.0
        assert bounds.timeout() == 20
    assert (bounds._file, bounds._left) == (math.inf, 20.0)
    bounds.begin_step()
    with bounds.small_file():
        assert bounds.timeout() == 20
        clock.time = 219.0
        assert bounds.timeout() == 1
        clock.time = 220.0
        with pytest.raises(LateError, match=r"^fetching catalogs and metadata takes longer than 60 s$"):
            bounds.timeout()


@pytest.mark.parametrize(
    ("seconds", "sizes", "error"),
    [
        (30.0, [16], None),
        (31.0, [31 * 1024], None),
        (31.5, [31 * 1024], "'u' is too slow: 31744 bytes in 31 s"),
    ],
)
def test_a_slow_body_is_refused_after_thirty_seconds(seconds, sizes, error, clock):
    stream = UrlStream(BASE)

    def read1(wanted):
        clock.time += seconds if sizes else 0
        return bytes(sizes.pop()) if sizes else b""

    answer = SimpleNamespace(read1=read1, read=read1, length=0)
    if error is None:
        assert [len(piece) for piece in stream.body(answer, "u")] == [16 if seconds == 30 else 31 * 1024]
    else:
        assert failed(lambda: list(stream.body(answer, "u"))) == (InputError, error, "")


def test_the_read_size_grows_while_the_server_is_fast(clock):
    stream = UrlStream(BASE)
    wanted, pauses = [], iter([0, 0, 0.99, 0, 0, 0, 1, 0, 0])

    def read(size):
        wanted.append(size)
        clock.time += next(pauses)
        if len(wanted) == 9:
            return b""
        return bytes(size - 1 if len(wanted) == 8 else size)

    list(stream.body(SimpleNamespace(read1=read, read=read, length=0), "u"))
    assert wanted == [16_384, 32_768, 65_536, 131_072, 262_144, 262_144, 262_144, 16_384, 16_384]


def test_a_truncated_body_is_an_error():
    stream = UrlStream(BASE)
    answer = SimpleNamespace(read1=lambda size: b"", length=5)
    message = "'u' was cut short: the server sent fewer bytes than it announced"
    assert failed(lambda: list(stream.body(answer, "u"))) == (InputError, message, "")


def test_a_catalog_above_the_size_limit_is_refused(monkeypatch):
    monkeypatch.setattr(https_client, "MOST_BYTES", 2 << 20)
    stream = UrlStream(BASE)
    answer = SimpleNamespace(status=200, length=0)
    Opened(stream, answer)
    pieces = [bytes(1 << 20), bytes(1 << 20)]
    answer.read1 = answer.read = lambda size: pieces.pop() if pieces else b""
    assert len(stream.read("x")) == 2 << 20
    pieces = [b"1", bytes(1 << 20), bytes(1 << 20)]
    assert failed(stream.read, "x") == (LimitError, "'https://h/t/x' has more than 2 MiB", "")
    assert stream._bounds._file == math.inf


def test_a_password_is_sent_only_to_its_host_and_port():
    handler = https_client._Authorize("https://h:1/t", "Basic x")
    for url, sent in (("https://h:1/a", "Basic x"), ("https://h:2/a", None), ("https://i:1/a", None)):
        request = urllib.request.Request(url)
        assert handler.https_request(request) is request
        assert request.unredirected_hdrs.get("Authorization") == sent
    assert https_client._authorization(split_url("https://h")) == ""
    assert https_client._authorization(split_url("https://u%40@h")) == "Basic dUA6"


@pytest.mark.parametrize(
    ("pending", "decrypted", "result", "idle"),
    [
        (0, 0, BlockingIOError(), True),
        (1, 0, BlockingIOError(), False),
        (0, 1, BlockingIOError(), False),
        (0, 0, ConnectionResetError(), False),
        (0, 0, 0, False),
        (0, 0, 5, False),
    ],
)
def test_a_connection_is_idle_only_if_it_has_no_unread_bytes(pending, decrypted, result, idle):
    timeouts = []

    def receive(block):
        if isinstance(result, BaseException):
            raise result
        return result

    socket_ = https_client.TlsSocket.__new__(https_client.TlsSocket)
    socket_._received = SimpleNamespace(pending=pending)
    socket_._tls = SimpleNamespace(pending=lambda: decrypted)
    socket_._block = b""
    socket_._connection = SimpleNamespace(settimeout=timeouts.append, recv_into=receive)
    assert socket_.is_idle() is idle
    assert timeouts == ([0, 30] if idle else [] if pending or decrypted else [0])
