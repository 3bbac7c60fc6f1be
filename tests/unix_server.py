"""A server on a Unix socket for tests, with a thread for each connection."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from typing import Any


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # either side may close its connection at any time


@contextlib.contextmanager
def unix_server(path: str, handler: type, ended: threading.Event) -> Iterator[None]:
    """Serve until the end of a ``with`` block, and set ``ended`` before the server stops."""
    server = _Server(path, handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
