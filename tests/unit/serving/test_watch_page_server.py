"""The server of `watch --web`: its answers, access control, and stream of events."""

import asyncio
import http.client
import json
import threading

import pytest

from templater.serving import connections, watch_page_server
from templater.serving.watch_page_access import Access

ASSETS = {"page.html": b"<!DOCTYPE html>", "page.js": b"//", "page.css": b"/**/", "icon.svg": b"<svg/>"}


class Running:
    """A page server in a thread. Its answer to a request contains the kind and the body of the request."""

    def __init__(self):
        self.loop, ready = asyncio.new_event_loop(), threading.Event()

        async def ask(kind, body):
            return 200, json.dumps([kind, body.decode()]).encode()

        async def run():
            listener = connections.bind("127.0.0.1", 0)
            self.port = listener.getsockname()[1]
            self.server = watch_page_server.PageServer(Access(self.port), ASSETS, ask)
            self.task = asyncio.ensure_future(
                connections.serve(self.server.answer, listener, None, watch_page_server.BOUNDS)
            )
            ready.set()
            await asyncio.wait([self.task])

        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(run(),))
        self.thread.start()
        assert ready.wait(60)
        self.cookie = ""

    def stop(self):
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(60)
        self.loop.close()

    def send(self, path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Cookie": self.cookie}
        if method == "POST":
            sent |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        connection.request(
            method, path, body, {**sent, **{name.replace("_", "-"): text for name, text in headers.items()}}
        )
        return connection.getresponse()

    def log_in(self):
        answer = self.send("/" + self.server.access.address.rpartition("/")[2])
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer.status


@pytest.fixture
def running():
    server = Running()
    yield server
    server.stop()


def test_requests_for_data_require_the_cookie(running):
    assert running.send("/").read() == ASSETS["page.html"]
    for name, content in ASSETS.items():
        answer = running.send(f"/assets/{name}")
        assert (answer.status, answer.read()) == (200, content)
    assert running.send("/assets/other").status == 404
    assert running.send("/view", "POST", b"x").status == 403
    assert running.send("/events").status == 403
    assert running.send("/?token=wrong").status == 403
    assert running.log_in() == 303
    assert json.loads(running.send("/view", "POST", b"x").read()) == ["view", "x"]
    assert json.loads(running.send("/findings", "POST", b"y").read()) == ["findings", "y"]
    assert running.send("/other", "POST", b"x").status == 404
    assert running.send("/view", "POST", b"x", Content_Type="text/plain").status == 415
    assert running.send("/view", "PUT", b"x", Origin=f"http://127.0.0.1:{running.port}").status == 405
    assert running.send("/", Host="attacker.example").status == 403


def test_event_stream_sends_an_event_after_each_change(running):
    running.log_in()
    stream = running.send("/events")
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.readline() == b"retry: 1000\n"
    first = json.loads(stream.readline().removeprefix(b"data: "))
    assert first == {"version": 0, "changed": [], "secret": first["secret"]}
    assert len(first["secret"]) >= 20
    running.loop.call_soon_threadsafe(running.server.announce, ["/image/a\udcff<b>"])
    assert stream.readline() == b"\n"
    assert json.loads(stream.readline().removeprefix(b"data: ")) == {
        "version": 1,
        "changed": ["/image/a\udcff<b>"],
        "secret": first["secret"],
    }
    stream.close()


def test_a_new_event_stream_beyond_the_limit_ends_the_oldest_stream(running):
    running.log_in()
    streams = [running.send("/events") for _ in range(watch_page_server.STREAMS)]
    for stream in streams:
        assert stream.readline() == b"retry: 1000\n"
    newest = running.send("/events")
    assert newest.readline() == b"retry: 1000\n"
    assert streams[0].read().endswith(b"\n\n")
    running.loop.call_soon_threadsafe(running.server.announce, [])
    assert streams[1].readline().startswith(b"data: ")
    for stream in [*streams[1:], newest]:
        stream.close()


def test_an_idle_event_stream_sends_comments_to_keep_the_connection_open(running, monkeypatch):
    monkeypatch.setattr(watch_page_server, "BEAT", 0.05)
    running.log_in()
    stream = running.send("/events")
    assert [stream.readline() for _ in range(5)][2:] == [b"\n", b":\n", b"\n"]
    stream.close()
