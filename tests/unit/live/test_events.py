"""The stream of lifecycle events."""

import base64
import contextlib
import hashlib
import json
import socket
import threading
import time

import pytest

from templater.cli import live_watch
from templater.live.address import Address
from templater.live.events import Event, Events, concerns
from templater.live.rest_client import Client, NoAnswerError
from templater.model.errors import InputError
from tests.recorded_daemon import ANSWERS

RECORDED = [
    json.JSONDecoder().raw_decode(line)[0]
    for line in (ANSWERS / "incus-events.txt").read_text().splitlines()
    if line.startswith("{")
]


def frame(payload: bytes, kind: int = 1) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    if size > 0xFFFF:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([0x80 | kind]) + length + payload


def serve(pieces, status="101 Switching Protocols"):
    """Return a client of a server that accepts a WebSocket and sends these pieces, and what it received."""
    ours, theirs = socket.socketpair()
    received = []

    def run():
        with theirs:
            head = b""
            while b"\r\n\r\n" not in head:
                head += theirs.recv(4096)
            received.append(head)
            key = next(
                line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")
            )
            digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            theirs.sendall(
                f"HTTP/1.1 {status}\r\nSec-WebSocket-Accept: ".encode()
                + base64.b64encode(digest)
                + b"\r\n\r\n"
            )
            for piece in pieces:
                theirs.sendall(piece)
            theirs.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                received.append(theirs.recv(4096))

    thread = threading.Thread(target=run)
    thread.start()
    return Client("incus", "x", lambda timeout: ours), received, thread


def collect(events):
    found = []
    try:
        while True:
            found += events.wait(2)
    except NoAnswerError:
        return found


def test_daemon_events_can_arrive_in_small_pieces():
    data = b"".join(frame(json.dumps(event).encode()) for event in RECORDED)
    client, received, thread = serve([data[start : start + 7] for start in range(0, len(data), 7)])
    events = Events(client, Address("incus", all_projects=True))
    found = collect(events)
    thread.join()
    events.close()
    assert [(event.action, event.source) for event in found] == [
        (each["metadata"]["action"], each["metadata"]["source"]) for each in RECORDED
    ]
    assert received[0].startswith(b"GET /1.0/events?type=lifecycle&all-projects=true HTTP/1.1\r\n")


def test_waiting_for_events_ends_after_the_given_time():
    client, _, thread = serve([])
    events = Events(client, Address("incus"))
    begin = time.monotonic()
    assert events.wait(0.05) == []
    assert 0.04 < time.monotonic() - begin < 0.3
    events.close()
    thread.join()


def test_the_event_client_answers_a_ping_and_ignores_other_frames():
    client, received, thread = serve([frame(b"hello", 9), frame(b"not JSON"), frame(b"[]"), frame(b"{}")])
    events = Events(client, Address("incus"))
    assert collect(events) == []
    thread.join()
    events.close()
    pong, mask = received[1], received[1][2:6]
    assert pong[:2] == bytes([0x8A, 0x85])
    assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(pong[6:])) == b"hello"


def test_a_daemon_event_above_the_size_limit_is_refused():
    client, _, thread = serve([b"\x81\x7f" + (1 << 40).to_bytes(8, "big")])
    events = Events(client, Address("incus"))
    with pytest.raises(InputError, match="an event of more than 4 MiB"):
        collect(events)
    thread.join()
    events.close()


def test_a_refused_event_stream_gives_one_clear_error():
    client, _, thread = serve([], "403 Forbidden")
    with pytest.raises(InputError, match=r"refuses to send events: http/1.1 403 forbidden"):
        Events(client, Address("incus"))
    thread.join()


@pytest.mark.parametrize(
    ("action", "source", "project", "expected"),
    [
        ("instance-updated", "/1.0/instances/web1", "default", True),
        ("instance-updated", "/1.0/instances/web1?project=default", "", True),
        ("instance-metadata-updated", "/1.0/instances/web1/metadata", "default", True),
        ("instance-file-pushed", "/1.0/instances/web1/files", "default", True),
        ("instance-updated", "/1.0/instances/web2", "default", False),
        ("instance-updated", "/1.0/instances/web1", "p2", False),
        ("instance-file-retrieved", "/1.0/instances/web1", "default", False),
        ("profile-updated", "/1.0/profiles/web", "default", True),
        ("profile-updated", "/1.0/profiles/other", "default", False),
        ("project-updated", "/1.0/projects/default", "default", True),
        ("image-created", "/1.0/images/abc", "default", False),
        ("odd", "", "", False),
        ("odd", "http://[", "", False),
    ],
)
def test_unrelated_events_do_not_affect_an_instance(action, source, project, expected):
    event = Event(action, source, project)
    assert concerns(event, Address("incus", "local", "web1"), frozenset({"web"})) == expected


def test_templater_shows_the_events_of_a_burst_together(monkeypatch):
    """templater looks at the instance once for each burst of events, not once for each event."""
    address = Address("incus", "local", "web1", "default")
    burst = [
        Event(action, "/1.0/instances/web1", "default") for action in ("instance-started", "instance-updated")
    ]
    waits = []

    class Stream:
        pieces = ([], [burst[0]], [burst[1]], [], "end")

        def wait(self, seconds):
            waits.append(seconds)
            piece = self.pieces[len(waits) - 1]
            if piece == "end":
                raise NoAnswerError("closed")
            return piece

    said, looks = [], []
    monkeypatch.setattr(live_watch.output, "say", said.append)
    monkeypatch.setattr(live_watch, "_look", lambda request: looks.append(request) or frozenset())
    with pytest.raises(NoAnswerError):
        live_watch._watch("request", address, Stream(), frozenset())
    assert said == ["changed: instance-started, instance-updated"]
    assert looks == ["request"]
    assert waits == [3600, 3600, live_watch.QUIET, live_watch.QUIET, 3600]


def test_at_most_sixteen_actions_of_a_burst_of_events_are_shown(monkeypatch):
    address = Address("incus", "local", "web1", "default")
    floods = [[Event(f"{n}{'x' * 5000}", "/1.0/instances/web1", "default") for n in range(30)], []]

    class Stream:
        def wait(self, seconds):
            if not floods:
                raise NoAnswerError("closed")
            return floods.pop(0)

    said = []
    monkeypatch.setattr(live_watch.output, "say", said.append)
    monkeypatch.setattr(live_watch, "_look", lambda request: frozenset())
    with pytest.raises(NoAnswerError):
        live_watch._watch("request", address, Stream(), frozenset())
    shown = said[0].removeprefix("changed: ").split(", ")
    assert len(shown) == 16
    assert {len(action) for action in shown} == {100}
