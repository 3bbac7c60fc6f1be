"""The frames of a stream of events, byte by byte, and the words of each error."""

import base64
import hashlib
import json
import re
import struct

import pytest

from templater.live import events
from templater.live.rest_client import NoAnswerError
from templater.model.errors import InputError

CLOSED = "the daemon closed the stream of events"


class Socket:
    """A connection that returns given pieces, and keeps what was sent."""

    def __init__(self, *pieces):
        self.pieces, self.sent = list(pieces), b""

    def recv(self, size):
        assert size == 1 << 16
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece(self) if callable(piece) else piece

    def sendall(self, data):
        if self.pieces and isinstance(self.pieces[0], BrokenPipeError):
            raise self.pieces[0]
        self.sent += data


def stream(*pieces):
    made = events.Events.__new__(events.Events)
    made._socket, made._name, made._data = Socket(*pieces), "the daemon", bytearray()
    return made


def accepted(socket):
    key = re.search(rb"Sec-WebSocket-Key: (\S+)\r\n", socket.sent)[1]
    digest = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + digest + b"\r\n\r\nrest"


def test_the_request_for_events_is_a_websocket_handshake():
    made = stream(accepted)
    made._begin("/1.0/events?type=lifecycle")
    assert re.fullmatch(
        rb"GET /1.0/events\?type=lifecycle HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        rb"Connection: Upgrade\r\nSec-WebSocket-Key: [A-Za-z0-9+/]{22}==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        made._socket.sent,
    )
    assert made._data == b"rest"


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        ([b"HTTP/1.1 403 Forbidden\r\n\r\n"], InputError, "the daemon refuses to send events: http/1.1 403 forbidden"),
        ([b"HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: x\r\n\r\n"], InputError, "the daemon refuses to send events: http/1.1 101 ok"),
        ([b"x" * (events._MOST_HEADERS + 1)], InputError, "the daemon answered the request for events with too many headers"),
        ([b"x" * events._MOST_HEADERS], NoAnswerError, CLOSED),
        ([b"HTTP/1.1", ConnectionResetError()], NoAnswerError, CLOSED),
    ],
)  # fmt: skip
def test_a_refused_request_for_events_gives_an_error_message(pieces, error, message):
    with pytest.raises(error) as caught:
        stream(*pieces)._begin("/")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("data", "frame", "left"),
    [
        (b"", None, b""),
        (b"\x81", None, b"\x81"),
        (b"\x81\x00", (1, b""), b""),
        (b"\x81\x02ab\x89", (1, b"ab"), b"\x89"),
        (b"\x81\x02a", None, b"\x81\x02a"),
        (b"\x81\x7d" + b"x" * 125, (1, b"x" * 125), b""),
        (b"\x81\x7e\x00", None, b"\x81\x7e\x00"),
        (b"\x81\x7e\x00\x02ab", (1, b"ab"), b""),
        (b"\x82\x7f" + (3).to_bytes(8, "big") + b"abc", (2, b"abc"), b""),
        (b"\x82\x7f" + bytes(7), None, b"\x82\x7f" + bytes(7)),
        (b"\xff\x81a", (15, b"a"), b""),
    ],
)
def test_a_websocket_frame_is_not_read_before_it_is_complete(data, frame, left):
    made = stream()
    made._data += data
    assert made._frame() == frame
    assert made._data == left


def test_an_event_has_a_limit_on_its_size():
    made = stream()
    made._data += b"\x81\x7f" + events._MOST_EVENT.to_bytes(8, "big")
    assert made._frame() is None
    made._data[2:10] = (events._MOST_EVENT + 1).to_bytes(8, "big")
    with pytest.raises(InputError, match=r"^the daemon sent an event of more than 4 MiB$"):
        made._frame()


def test_the_event_stream_answers_a_ping_and_ignores_frames_without_events():
    event = json.dumps({"project": None, "metadata": {"action": "a", "source": "/s"}}).encode()
    made = stream()
    made._data += (
        b"\x89\x03abc" + b"\x8a\x00" + b"\x82\x01x" + b"\x81\x01x" + b"\x81" + bytes([len(event)]) + event
    )
    (found,) = made._parse()
    assert (found.action, found.source, found.project) == ("a", "/s", "")
    sent = made._socket.sent
    assert sent[:2] == struct.pack("!BB", 0x8A, 0x83)
    assert bytes(byte ^ sent[2 + index % 4] for index, byte in enumerate(sent[6:])) == b"abc"
    made = stream(BrokenPipeError())
    made._data += b"\x89\x00"
    with pytest.raises(NoAnswerError) as caught:
        list(made._parse())
    assert caught.value.message == CLOSED
    made = stream()
    made._data += b"\x88\x00"
    with pytest.raises(NoAnswerError) as caught:
        list(made._parse())
    assert caught.value.message == CLOSED


@pytest.mark.parametrize(
    "value", [b"{", b"[]", b"1", b"{}", b'{"metadata": 1}', b'{"metadata": {"action": 1}}', b"[" * 100_000]
)
def test_a_text_without_a_valid_event_is_ignored(value):
    assert events._event(value) is None
