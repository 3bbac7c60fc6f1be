"""Access to the page of `watch --web`: only this user's browser, and only pages of this server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Final

#: the only address that the server listens on
LOOPBACK: Final = "127.0.0.1"
#: values of Sec-Fetch-Site for requests of the page itself, and for an address that the user opens
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
    """The token in the address of a server, and the cookie for which a browser exchanges it once."""

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
        """Return why a request is refused, or "". The cookie is not checked here."""
        if headers.get("Host", "") != self.authority:
            return f"the host must be {self.authority}"  # a host name of an attacker can lead here
        origin = headers.get("Origin")
        if origin != self.origin and (origin is not None or method not in ("GET", "HEAD")):
            return "requests of other pages are refused"
        is_navigation = method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
        if headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES and not is_navigation:
            return "requests of other pages are refused"
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


#: the kernel's tables of connections; a client can also connect to an IPv4 address from a socket for IPv6
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
#: how ``/proc/net/tcp6`` shows the first 12 bytes of an IPv4 address
_MAPPED = "0000000000000000FFFF0000"


def is_foreign(peer: tuple[str, int], server: tuple[str, int], tables: Sequence[str] = TABLES) -> bool:
    """Return whether another user of this machine, except root, made a connection over loopback.

    Only Linux shows the owner of a connection. On other systems, return False. A connection that its client
    has already closed has no owner and counts as foreign.
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
