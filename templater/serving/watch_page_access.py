"""Access control for `watch --web`: the server refuses other users, and requests from other web pages."""

from __future__ import annotations

import os
import secrets
import socket
import struct
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Final

#: the only address that the server listens on
LOOPBACK: Final = "127.0.0.1"
#: values of Sec-Fetch-Site for requests from the page itself, and for an address that the user opens
_OWN_SITES: Final = ("same-origin", "none")
#: headers that the server sends with every answer
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types templater",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Server": "templater",
}


class Access:
    """A token in a server's address, and a cookie. A browser can exchange the token for the cookie once."""

    def __init__(self, port: int) -> None:
        self.authority = f"{LOOPBACK}:{port}"
        self.origin = f"http://{self.authority}"
        #: browsers send cookies to every port of a host, so the name contains the port
        self.cookie = f"templater-{port}"
        self._token: str | None = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        """The address of the page, with the token. The address works until the token has been used."""
        return f"{self.origin}/?token={self._token}"

    def problem(self, method: str, headers: Mapping[str, str]) -> str:
        """Return why the server must refuse a request, or "". Only ``is_member`` checks the cookie."""
        if headers.get("Host", "") != self.authority:
            return f"the header Host must be {self.authority}"  # a host name of an attacker can lead here
        origin = headers.get("Origin")
        if origin != self.origin and (origin is not None or method not in ("GET", "HEAD")):
            return "requests from other web pages are refused"
        is_navigation = method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
        if headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES and not is_navigation:
            return "requests from other web pages are refused"
        return ""

    def is_member(self, cookies: Mapping[str, str]) -> bool:
        """Return whether a request has the valid cookie of this server."""
        return _equal(cookies.get(self.cookie, ""), self._session)

    def exchange(self, token: str) -> str | None:
        """Return the Set-Cookie header for the token, or None if the token is wrong or was used before."""
        if self._token is None or not _equal(token, self._token):
            return None
        self._token = None
        return f"{self.cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"


def _equal(given: str, secret: str) -> bool:
    return compare_digest(given.encode("utf-8", "replace"), secret.encode())


#: the kernel's tables of connections; both are read, because an IPv6 socket can connect to an IPv4 address
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
#: the first 12 bytes of an IPv4-mapped IPv6 address, as ``/proc/net/tcp6`` shows them
_MAPPED = "0000000000000000FFFF0000"


#: numbers of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h
_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_HEADER: Final = 16
_ALL_STATES: Final = 0xFFFF_FFFF
_NO_COOKIE: Final = 0xFFFF_FFFF


class Owners:
    """The users who own connections over loopback. Only Linux reports these users."""

    def __init__(self) -> None:
        #: whether the kernel has answered a request about a single connection before
        self._has_answered = False

    def is_foreign(self, peer: tuple[str, int], server: tuple[str, int]) -> bool:
        """Return whether another user of this machine, except root, opened the connection from ``peer``.

        If the client has already closed the connection, return True. On systems other than Linux, return
        False.
        """
        owner = _owner(peer, server)
        if owner is not None:
            self._has_answered = True
            uid, inode = owner
            return inode == 0 or uid not in (0, os.geteuid())
        return self._has_answered or is_foreign_in(TABLES, peer, server)


def _owner(peer: tuple[str, int], server: tuple[str, int]) -> tuple[int, int] | None:
    """Ask the kernel for the user and the inode of a client's socket, by sock_diag(7).

    Return None for an unknown connection, or if the kernel can't answer.
    """
    # Unlike reading /proc/net/tcp, this request is fast even with many connections.
    addresses = (socket.inet_aton(host).ljust(16, b"\0") for host, _ in (peer, server))
    question = (
        struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES)
        + struct.pack(">HH", peer[1], server[1])
        + b"".join(addresses)
        + struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
    )
    header = struct.pack("=IHHII", _HEADER + len(question), _BY_FAMILY, _REQUEST, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            kernel.send(header + question)
            answer = kernel.recv(1 << 13)
    except (OSError, AttributeError):
        return None
    kind = struct.unpack_from("=H", answer, 4)[0]
    if kind != _BY_FAMILY or struct.unpack_from(">HH", answer, _HEADER + 4) != (peer[1], server[1]):
        return None
    uid, inode = struct.unpack_from("=II", answer, _HEADER + 64)
    return uid, inode


def is_foreign_in(tables: Sequence[str], peer: tuple[str, int], server: tuple[str, int]) -> bool:
    """Return whether another user opened the connection from ``peer`` to ``server``.

    Read the owner of the connection from the kernel's ``tables`` of connections.
    """
    wanted = [_hexadecimal(*peer), _hexadecimal(*server)]
    known = False
    for table in tables:
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        known = True
        for line in lines:
            fields = line.split()
            if [field.removeprefix(_MAPPED) for field in fields[1:3]] == wanted:
                uid, inode = int(fields[7]), fields[9]
                return inode == "0" or uid not in (0, os.geteuid())
    return known


def _hexadecimal(host: str, port: int) -> str:
    """Return an address and port in the form of /proc/net/tcp, with the bytes of the address in reverse
    order.
    """
    return "".join(f"{int(byte):02X}" for byte in reversed(host.split("."))) + f":{port:04X}"
