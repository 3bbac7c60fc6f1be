"""The lifecycle events of a daemon, which the daemon sends over a WebSocket (RFC 6455).

A WebSocket begins as a GET request. Afterwards templater sends only answers to pings.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import select
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from ..model.errors import InputError
from ..model.unprintable_characters import printable
from .address import Address
from .rest_client import MIB, Client, NoAnswerError

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_HEADERS, _MOST_EVENT = 16 << 10, 4 * MIB
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
#: the maximum number of actions shown for a burst of events, and the maximum length of an action
_MOST_SHOWN, _LONGEST = 16, 100
#: an event whose name contains one of these parts changes neither the configuration nor files
_HARMLESS = ("-retrieved", "-backup-", "-log-", "-console", "-snapshot-")


class Event(NamedTuple):
    """A lifecycle event: its action, such as ``instance-updated``, and the path of the object in the API."""

    action: str
    source: str
    project: str


class Events:
    """A stream of events. When data of an event arrives, the descriptor from ``fileno`` becomes readable."""

    def __init__(self, client: Client, address: Address) -> None:
        self._name = client.name
        parameters = {"type": "lifecycle", **({"all-projects": "true"} if address.all_projects else {})}
        path = f"/1.0/events{address.query(**parameters)}"
        self._socket = client.open_socket()
        self._data = bytearray()
        try:
            self._begin(path)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def wait(self, timeout: float) -> list[Event]:
        """Return the events that arrive within ``timeout`` seconds.

        Raises NoAnswerError if the stream has ended.
        """
        found = list(self._parse())
        if not found:
            readable = select.poll()
            readable.register(self._socket, select.POLLIN)
            if readable.poll(timeout * 1000):
                self._receive()
                found = list(self._parse())
        return found

    def _begin(self, path: str) -> None:
        key = base64.b64encode(os.urandom(16))
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            if len(self._data) > _MOST_HEADERS:
                raise InputError(f"{self._name} answered the request for events with too many headers")
            self._receive()
        head = bytes(self._data[:end]).decode("latin-1").lower()
        accepted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        if not head.startswith("http/1.1 101 ") or accepted.lower() not in head:
            first = printable(head.partition("\r\n")[0][:100])
            raise InputError(f"{self._name} refuses to send events: {first}")
        del self._data[: end + 4]

    def _receive(self) -> None:
        try:
            piece = self._socket.recv(1 << 16)
        except (OSError, http.client.HTTPException):
            piece = b""
        if not piece:
            raise NoAnswerError(f"{self._name} closed the stream of events")
        self._data += piece

    def _parse(self) -> Iterator[Event]:
        """Yield the events of the complete frames that were received."""
        while (frame := self._frame()) is not None:
            kind, payload = frame
            if kind == _PING:
                self._pong(payload)
            elif kind == _CLOSE:
                raise NoAnswerError(f"{self._name} closed the stream of events")
            elif kind == _TEXT and (event := _event(payload)) is not None:
                yield event

    def _frame(self) -> tuple[int, bytes] | None:
        """Remove and return the first frame of the received data, or return None if it is incomplete.

        The daemons send each message as a single frame.
        """
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return None
            size = int.from_bytes(data[2:start], "big")
        if size > _MOST_EVENT:
            raise InputError(f"{self._name} sent an event of more than {_MOST_EVENT >> 20} MiB")
        if len(data) < start + size:
            return None
        kind, payload = data[0] & 0x0F, bytes(data[start : start + size])
        del data[: start + size]
        return kind, payload

    def _pong(self, payload: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload[:125]))
        try:
            self._socket.sendall(struct.pack("!BB", 0x80 | _PONG, 0x80 | len(masked)) + mask + masked)
        except OSError:
            raise NoAnswerError(f"{self._name} closed the stream of events") from None


def _event(payload: bytes) -> Event | None:
    try:
        value = json.loads(payload)
        metadata = value["metadata"]
        found = (metadata["action"], metadata["source"], value.get("project") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return Event(*map(str, found))


def add_actions(
    actions: dict[str, None], events: Iterable[Event], address: Address, profiles: frozenset[str]
) -> None:
    """Add the action of each event that concerns the instance to ``actions``."""
    for event in events:
        # A daemon can send any number of long actions.
        if len(actions) < _MOST_SHOWN and concerns(event, address, profiles):
            actions[printable(event.action[:_LONGEST])] = None


def concerns(event: Event, address: Address, profiles: frozenset[str]) -> bool:
    """Return whether an event can change the result that templater shows for an instance.

    The event must concern the instance, one of its profiles or its project.
    """
    # Retrievals, backups, logs, consoles and snapshots never change the result.
    if any(part in event.action for part in _HARMLESS):
        return False
    path = event.source.partition("?")[0]
    _, _, kind, name, *_ = [*map(unquote, path.split("/")), "", "", ""]
    if kind == "instances":
        return name == address.name and (event.project or "default") == (address.project or "default")
    if kind == "profiles":
        return name in profiles
    return kind == "projects" and name == (address.project or "default")
