"""An https server on loopback for a tree, with its own CA, and with the faults that a test asks for."""

from __future__ import annotations

import functools
import http.server
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CONFIG = """\
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[server]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost,IP:127.0.0.1
"""


def make_certificates(folder: Path) -> Path:
    """Make a CA and a server certificate; the CA is ``ca.pem``."""
    folder.mkdir()
    (folder / "config").write_text(_CONFIG)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "config")
    openssl(
        "req",
        "-x509",
        *new,
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=test CA",
        "-days",
        "2",
        "-extensions",
        "ca",
    )
    openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.pem", "-days", "2", "-extfile", "config", "-extensions", "server")  # fmt: skip
    return folder


@dataclass
class Server:
    url: str
    #: method, path and headers of every request
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    #: called with the handler; True if it has answered
    fault: Callable[[Any], bool] | None = None

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # else each body waits 40 ms for the client to acknowledge the headers

    def __init__(self, *arguments: Any, log: Server, **options: Any) -> None:
        self.log = log
        super().__init__(*arguments, **options)

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(super().do_GET)

    def do_HEAD(self) -> None:
        self._answer(super().do_HEAD)

    def _answer(self, answer: Callable[[], None]) -> None:
        self.log.requests.append((self.command, self.path, dict(self.headers.items())))
        if self.log.fault is None or not self.log.fault(self):
            answer()


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients try plain http on this port first: so a failed handshake is not an error."""


@contextmanager
def serving(
    folder: Path, certificates: Path, *, maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> Iterator[Server]:
    server = Server("")
    handler = functools.partial(_Handler, log=server, directory=str(folder))
    listener = _Quiet(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.maximum_version = maximum
    # the handshake happens in the thread of the connection, not in the one that accepts
    listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    server.url = f"https://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def redirect(handler: Any, location: str) -> bool:
    handler.send_response(302)
    handler.send_header("Location", location)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True
