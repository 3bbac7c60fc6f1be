"""The server of the page of `watch --web`, with stand-ins for its processes and for the HTTP server."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from templater.cli.watch_page import server
from templater.cli.watch_page.options import PageOptions
from templater.cli.watch_page.server import MOST_CHECKED, Page
from templater.cli.watch_page.worker_process import Answer, BusyError
from templater.limit_option import Given
from templater.model.errors import UsageError


@pytest.fixture
def page(monkeypatch):
    """A page whose renderers answer with ``page.facts`` and the body ``b"body"``."""
    made = []

    class Renderer:
        def __init__(self, *job):
            self.job, self.asked, self.busy = job, [], False
            made.append(self)

        async def ask(self, question):
            if self.busy:
                raise BusyError
            self.asked.append(json.loads(question))
            return Answer(page.facts, b"body")

    monkeypatch.setattr(server, "Renderer", Renderer)
    followed = []
    watch = SimpleNamespace(follow=lambda names: followed.append(tuple(names)))
    request = SimpleNamespace(limits=Given())
    page = Page(request, PageOptions(0, False, "all.json", False), watch, None)
    page.facts, page.followed = {}, followed
    page.views, page.checks = made
    page._server = SimpleNamespace(version=4, announce=lambda names: None)
    assert [each.job for each in made] == [(request, "all.json", Given().for_command().time)] * 2
    return page


def ask(page, kind="view", **place):
    return asyncio.run(page.ask(kind, json.dumps({"place": place}).encode()))


def test_requests_for_findings_go_to_the_check_renderer(page):
    page.facts = {"targets": ["a", "b"]}
    assert ask(page, "view", host="lxd") == ask(page, "list") == ask(page, "findings") == (200, b"body")
    first, second = page.views.asked
    assert first == {
        "place": {"host": "lxd"}, "kind": "view", "version": 4, "checked": False, "known_findings": None
    }  # fmt: skip
    assert second["kind"] == "list" and [each["kind"] for each in page.checks.asked] == ["findings"]
    assert page.followed == [("a", "b")] * 3


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"{}", b'{"place": 1}', b'{"place": null}', b"[" * 100_000, b"\xff"]
)
def test_an_invalid_request_from_the_page_is_refused(body, page):
    status, answer = asyncio.run(page.ask("view", body))
    assert (status, json.loads(answer)) == (400, {"problem": "invalid JSON"})
    assert page.views.asked == page.followed == []


@pytest.mark.parametrize("kind", ["view", "findings"])
def test_a_busy_renderer_refuses_a_request(kind, page):
    (page.checks if kind == "findings" else page.views).busy = True
    status, answer = ask(page, kind)
    assert (status, json.loads(answer)) == (503, {"problem": "too many requests"})


def test_the_server_reuses_findings_until_a_file_changes(page):
    page.facts = {"findings": [1]}
    ask(page, "findings", host="lxd")
    page.facts = {}
    for place in ({"host": "lxd", "file": "x"}, {"host": "lxd", "beside": "incus"}, {}):
        ask(page, **place)
    known = [(each["checked"], each["known_findings"]) for each in page.views.asked]
    assert known == [(True, [1]), (False, None), (False, None)]
    announced = []

    async def follow(*names):
        answers = list(names)

        def wait(seconds):
            assert seconds == server.PATIENCE
            return answers.pop(0)  # the last call raises IndexError

        page.watch.wait = wait
        page._server.announce = announced.append
        with pytest.raises(IndexError):
            await page._follow()

    asyncio.run(follow([]))
    assert len(page._findings) == 1 and announced == []
    asyncio.run(follow(["a"]))
    assert page._findings == {} and announced == [["a"]]


@pytest.mark.parametrize(
    ("version", "count", "kept"),
    [(4, 0, True), (3, 0, False), (5, 0, False), (4, MOST_CHECKED - 1, True), (4, MOST_CHECKED, False)],
)
def test_the_findings_cache_has_a_limited_size(version, count, kept, page):
    page._findings = {str(number): () for number in range(count)}
    page._remember("hosts", version, Answer({"findings": None}, b""))
    assert ("hosts" in page._findings) is kept
    assert len(page._findings) == count + kept


def test_watch_with_the_web_option_refuses_to_read_from_standard_input(tmp_path):
    for place in ({"files": ["-"]}, {"rootfs": "-"}, {"instances": "-"}):
        instance = SimpleNamespace(files=place.get("files", []))
        request = SimpleNamespace(
            src=str(tmp_path), instance=instance, rootfs=place.get("rootfs"), limits=Given()
        )
        with pytest.raises(UsageError) as caught:
            server.serve_page(request, PageOptions(0, False, place.get("instances"), True))
        assert caught.value.message == "--web can't read from standard input"
        assert caught.value.hint == "write the input to a file"
        assert request.limits.command == {"time": server.SECONDS}


def test_the_page_assets_do_not_contain_report_js():
    found = server.assets()
    assert {"page.js", "page.css", "page.html"} & found.keys() and "report.js" not in found
    assert all(isinstance(content, bytes) and content for content in found.values())
