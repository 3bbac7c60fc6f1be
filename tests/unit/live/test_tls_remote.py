"""LXD remotes, which templater reads over TLS with the client's certificate."""

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time

import pytest

from templater.distribution.tls_trust import Trust
from templater.live import connect
from templater.live.address import Address
from templater.live.events import Events
from templater.live.rest_client import Client, NoAnswerError
from tests.streams.server import make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture
def remote(certificates, monkeypatch, tmp_path):
    """Return a function that starts a server, and that returns a client of this server."""
    pair = str(certificates / "server.pem"), str(certificates / "server.key")
    listeners = []

    def start(answer, tickets=0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        context.num_tickets = tickets
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve():
            while True:
                with contextlib.suppress(OSError, ssl.SSLError):
                    plain, _ = listener.accept()
                    with context.wrap_socket(plain, server_side=True) as tls:
                        answer(tls)
                if listener.fileno() < 0:
                    return

        threading.Thread(target=serve, daemon=True).start()
        value = {"addr": f"https://127.0.0.1:{listener.getsockname()[1]}"}
        monkeypatch.setattr(connect, "client_remote", lambda *_: (value, str(tmp_path / "config.yml")))
        trust = Trust(str(certificates / "ca.pem"), pair)
        monkeypatch.setattr(connect, "client_trust", lambda *_: trust)
        return Client("lxd", *connect._of_lxd("r"))

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_remote_answers_several_requests_on_one_connection(remote):
    bodies = []

    def answer(tls):
        bodies.append([])
        while tls.recv(1 << 16):
            bodies[-1].append(b'{"metadata": "' + b"x" * 200_000 * len(bodies[-1]) + b'"}')
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(bodies[-1][-1])
            tls.sendall(head + bodies[-1][-1])

    client = remote(answer)
    for number in range(3):
        assert client.json("/1.0") == "x" * 200_000 * number
    assert len(bodies) == 1
    client.close()


def test_all_events_are_returned_if_a_remote_sends_them_together(remote):
    value = {"project": "p", "metadata": {"action": "a", "source": "s" * 110}}
    event = json.dumps(value).encode()
    frame = b"\x81\x7e" + len(event).to_bytes(2, "big") + event

    def answer(tls):
        key = next(line for line in tls.recv(1 << 16).split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        digest = accepted(key.split()[1])
        tls.sendall(b"HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: " + digest + b"\r\n\r\n" + frame * 1000)
        time.sleep(5)

    events = Events(remote(answer), Address("lxd", "r", "web1"))
    found, begun = [], time.monotonic()
    while len(found) < 1000:
        found += events.wait(1)
        assert time.monotonic() - begun < 4
    events.close()


def accepted(key):
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


@pytest.mark.parametrize("events", [False, True])
def test_a_connection_ends_after_a_mebibyte_of_tls_messages_without_data(remote, events):
    """A server that sent session tickets without end kept the processor busy, and no limit ended the read."""
    client = remote(lambda tls: tls.recv(1 << 16), tickets=10_000)
    with pytest.raises(NoAnswerError) as caught:
        Events(client, Address("lxd", "r", "web1")) if events else client.json("/1.0")
    expected = "closed the stream of events" if events else "more than 1 MiB of TLS messages"
    assert expected in caught.value.message
