"""The views of `watch --web`: a request of the page becomes HTML, in the process of the test."""

import json
import re
from pathlib import Path

import pytest

from templater.cli import options
from templater.cli.watch_page import server
from templater.cli.watch_page.edits import parse_edits
from templater.cli.watch_page.options import PageOptions
from templater.cli.watch_page.views import Views
from templater.limit_option import IMAGE_SECONDS, Given
from templater.model.errors import TemplaterError, UsageError
from templater.model.hosts import HOSTS
from templater.model.instance import Instance, Profile
from templater.rootfs import directory_rootfs
from tests.web_pages import an_image, assert_valid_fragment, text_of

ROOT = Path(__file__).resolve().parent.parent.parent
CLOUD = ROOT / "sample-images" / "debian-cloud"


def request(src, name="web1", rootfs=None, **limits):
    given = Given()
    given.rendering.update(limits)
    description = options.Description(None, name, None, (), ("user.meta-data=role: db",), (), None)
    return options.Request(str(src), description, (), rootfs, HOSTS["incus"], None, given, False)


class Page:
    """A page that asks for views of one image, and checks the HTML of each."""

    def __init__(self, src, file=None, **more):
        self.views = Views(request(src, **more), file)
        self.version = 0
        self.facts = {}

    def ask(self, kind="view", edits=None, **place):
        question = {"kind": kind, "version": self.version, "place": place, "edits": edits or {}, "form": True}
        self.facts, answer = self.views.answer(json.dumps(question).encode())
        for name in ("list", "file", "notes", "findings", "form"):
            if isinstance(answer.get(name), str):
                answer[f"{name} text"] = text_of(assert_valid_fragment(answer[name]))
        return answer


@pytest.fixture
def page():
    return Page(CLOUD)


def test_the_page_response_contains_the_list_and_opened_file(page):
    answer = page.ask(file="/etc/hosts")
    assert answer["place"] == {
        "instance": "web1",
        "trigger": "create,start",
        "host": "incus",
        "file": "/etc/hosts",
    }
    assert "/var/lib/cloud/seed/nocloud-net/user-data" in answer["list text"]
    assert "web1" in answer["file text"]
    assert "{{ instance.name }}" in answer["file text"]
    assert "/var/lib" not in answer["file text"], "only the open file is in the view"
    assert "user.meta-data" in answer["form text"]
    assert answer["given"]["config"] == {"user.meta-data": "role: db"}
    assert answer["problems"] == 0


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (b"{", "JSONDecodeError: Expecting property name"),
        (b"{}", "KeyError: 'version'"),
        (b'{"version": "1"}', "the page sent str instead of int"),
        (b"[]", "the page sent list instead of dict"),
        (b"[" * 200_000, "the input is nested too deeply"),
    ],
)
def test_an_invalid_request_gets_an_answer_that_describes_the_error(question, says, page):
    facts, answer = page.views.answer(question)
    assert facts == {} and says in text_of(assert_valid_fragment(answer["file"])), answer["file"]
    assert page.ask()["problems"] == 0, "the next question is answered"


def test_the_page_shows_a_message_for_an_instance_file_without_instances(tmp_path):
    (tmp_path / "none.json").write_text("[]")
    assert (
        f"'{tmp_path}/none.json' has no instances" in Page(CLOUD, f"{tmp_path}/none.json").ask()["file text"]
    )


def test_rendering_for_the_page_has_the_default_limit_on_processor_time(monkeypatch):
    """A view of the page that compared two hosts could use 60 seconds."""
    served = []

    class Served(server.Page):
        def __init__(self, request, *_):
            served.append(request.limits.for_command())

        async def run(self, *_):
            pass

    monkeypatch.setattr(server, "Page", Served)
    server.serve_page(request(CLOUD), PageOptions(0, False, None, True))
    assert (served[0].time, served[0].processor, served[0].grows) == (60, IMAGE_SECONDS, True)


def test_an_emptied_field_of_the_form_does_not_set_its_key(page):
    path = "/var/lib/cloud/seed/nocloud-net/meta-data"
    assert "role: db" in page.ask(file=path)["file text"]
    assert (
        "role: db" not in page.ask({}, {"web1": {"config": {"user.meta-data": ""}}}, file=path)["file text"]
    )


def test_the_page_prefers_a_file_with_a_problem(
    page,
):
    assert page.ask(file="/nothing")["place"]["file"] == "/etc/hostname"
    broken = Page(ROOT / "sample-images" / "broken").ask()
    assert broken["problems"] > 10
    assert "failed" in broken["file text"]


def test_a_comparison_displays_equal_files_only_once(page):
    equal = page.ask(file="/etc/hosts", beside="host:lxd")
    assert "The same on both sides: incus and lxd." in equal["file text"]
    names = page.ask(file="/etc/hosts", beside="trigger:rename")
    assert "create then start" in names["file text"]
    assert 'class="differs"' in names["list"]
    assert "not written" in names["list text"]


def test_a_patch_leads_from_the_first_instance_to_the_second(tmp_path):
    image = an_image(
        tmp_path / "image", {"/etc/a": {"when": ["create"], "template": "t"}}, {"t": "{{ instance.name }}\n"}
    )
    instances = [
        {"name": name, "type": "container", "config": {}, "devices": {}, "profiles": []}
        for name in ("one", "two")
    ]
    (tmp_path / "all.json").write_text(json.dumps(instances))
    answer = Page(image, str(tmp_path / "all.json"), name=None).ask(beside="instance:two")
    assert answer["choices"]["instance"] == ["one", "two"]
    assert "-one" in answer["file text"]
    assert "+two" in answer["file text"]
    edited = Page(image, str(tmp_path / "all.json"), name=None).ask(
        edits={"two": {"name": "three"}}, beside="instance:two"
    )
    assert "+three" in edited["file text"], "each instance has its own edits"


def test_the_renderer_reads_files_again_after_their_version_changed(tmp_path):
    image = an_image(tmp_path / "image", {"/etc/a": {"when": ["create"], "template": "t"}}, {"t": "old\n"})
    page = Page(image)
    assert "old" in page.ask()["file text"]
    (image / "metadata.yaml").write_text("templates: [")
    page.version += 1
    failed = page.ask()
    assert "metadata.yaml:1" in failed["file text"]
    assert failed["place"]["file"] == "metadata.yaml"
    (image / "metadata.yaml").unlink()
    page.version += 1
    assert "problem" in page.ask()


def test_the_watched_paths_include_targets_and_their_directories(tmp_path):
    image = an_image(tmp_path / "image", {"/srv/a/b": {"when": ["start"], "template": "t"}}, {"t": "x\n"})
    (tmp_path / "rootfs").mkdir()
    page = Page(image, rootfs=str(tmp_path / "rootfs"))
    page.ask()
    assert page.facts["targets"] == [str(tmp_path / "rootfs" / part) for part in ("srv", "srv/a", "srv/a/b")]


def test_each_view_has_its_own_limit_for_reading_files(tmp_path, monkeypatch):
    image = an_image(tmp_path / "image", {"/a": {"when": ["start"], "template": "t"}}, {"t": "text"})
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs/a").write_text("text")
    now, real = [0.0], directory_rootfs.confined_root.Root.has_content

    def slow(*args):
        now[0] += 6.0
        return real(*args)

    monkeypatch.setattr(directory_rootfs.confined_root.Root, "has_content", slow)
    monkeypatch.setattr(directory_rootfs, "monotonic", lambda: now[0])
    page = Page(image, rootfs=str(tmp_path / "rootfs"))
    for _ in range(3):
        assert page.ask()["problems"] == 0
    page = Page(image, rootfs=str(tmp_path / "rootfs"), total=5)
    assert page.ask()["problems"] == 1


def test_the_page_shows_the_findings_of_the_check_command():
    page = Page(ROOT / "sample-images" / "broken")
    page.ask("findings")
    messages = [finding["message"] for finding in page.facts["findings"]]
    assert "unknown filter 'uper'" in messages
    question = {
        "version": 0,
        "place": {},
        "edits": {},
        "checked": True,
        "known_findings": page.facts["findings"],
    }
    _, answer = page.views.answer(json.dumps(question).encode())
    found = text_of(assert_valid_fragment(answer["findings"]))
    assert "unknown filter 'uper'" in found
    assert re.search(r'href="#[^"]*file=%2Fetc%2Ffilter"', answer["findings"])


def test_the_page_shows_the_number_of_hidden_findings(tmp_path, monkeypatch):
    monkeypatch.setattr("templater.cli.watch_page.views.MOST_FINDINGS", 3)
    page = Page(ROOT / "sample-images" / "broken")
    answer = page.ask("findings")
    assert len(page.facts["findings"]) == 4
    more = f"{answer['count'] - 3} more findings are not shown: run 'templater check'"
    assert page.facts["findings"][3]["message"] == more
    assert page.facts["findings"][3]["severity"] == "info"
    monkeypatch.setattr("templater.cli.watch_page.views.MOST_FINDINGS", answer["count"])
    page.ask("findings")
    assert more not in [each["message"] for each in page.facts["findings"]]
    assert len(page.facts["findings"]) == answer["count"]


@pytest.mark.slow
def test_the_page_shortens_long_files_unless_all_lines_are_requested(tmp_path):
    lines = "".join(f"line {number}\n" for number in range(3000))
    image = an_image(tmp_path / "image", {"/etc/a": {"when": ["create"], "template": "t"}}, {"t": lines})
    page = Page(image)
    shown = page.ask()["file text"]
    assert "line 1999" in shown
    assert "line 2000" not in shown
    assert "These are the first 2,000 lines." in shown
    question = {"version": 0, "place": {}, "edits": {}, "all": True}
    assert "line 2999" in page.views.answer(json.dumps(question).encode())[1]["file"]


def test_the_page_shows_an_error_if_a_template_exceeds_a_limit(tmp_path):
    rules = {"/etc/a": {"when": ["create"], "template": "t"}}
    image = an_image(tmp_path / "image", rules, {"t": "{% for a in 'aaaaaaaaaa' %}{{ a }}{% endfor %}"})
    assert "more than 3 steps" in Page(image, steps=3).ask()["file text"].replace("\n", " ")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "the page sent list instead of dict"),
        (None, "the page sent NoneType instead of dict"),
        ({"name": 1}, "the page sent int instead of str"),
        ({"type": "x"}, "invalid instance type"),
        ({"config": []}, "the page sent list instead of dict"),
        ({"config": {"a": 1}}, "the page sent int instead of str"),
        ({"profiles": {}}, "the page sent dict instead of list"),
        ({"profiles": [1]}, "the page sent int instead of dict"),
        ({"profiles": [{"name": "a", "on": 1}]}, "the page sent int instead of bool"),
        ({"profiles": [{"name": "a"}, {"name": "a"}]}, "two profiles have the same name"),
    ],
)
def test_the_page_refuses_malformed_edits(data, says):
    with pytest.raises(UsageError) as caught:
        parse_edits(data)
    assert caught.value.message == says


def test_edits_on_the_page_change_only_a_copy_of_the_instance():
    given = Instance(
        "a", config={"k": "1", "l": "2"}, profiles=(Profile("p", {"x": "1"}), Profile("q", {"x": "2"}))
    )
    edits = parse_edits(
        {"name": "b", "type": "virtual-machine", "config": {"k": "", "m": "3", "n": ""},
         "profiles": [{"name": "q"}, {"name": "p", "on": False}, {"name": "new", "config": {"y": "4", "z": ""}}]}
    )  # fmt: skip
    made = edits.apply(given)
    assert (made.name, made.type, made.config) == ("b", "virtual-machine", {"l": "2", "m": "3"})
    assert [(profile.name, profile.config) for profile in made.profiles] == [
        ("q", {"x": "2"}),
        ("new", {"y": "4"}),
    ]
    assert [profile.name for profile in edits.apply(given, with_unused=True).profiles] == ["q", "p", "new"]
    assert edits.unused_profiles == {"p"}
    assert edits.empty_keys == {"": ["k", "n"], "q": [], "p": [], "new": ["z"]}
    assert (given.name, given.config) == ("a", {"k": "1", "l": "2"})
    with pytest.raises(TemplaterError, match="invalid instance name"):
        parse_edits({"name": "a/b"}).apply(given)


def test_a_field_that_would_change_its_value_is_readonly(page):
    answer = page.ask(edits={"web1": {"config": {"user.odd": "a\x1bb", "user.plain": "\n two\n"}}})
    odd = re.search(r"<textarea[^>]*data-key=\"user.odd\"[^>]*>", answer["form"])[0]
    plain = re.search(r"<textarea[^>]*data-key=\"user.plain\"[^>]*>([^<]*)<", answer["form"])
    assert "readonly" in odd
    assert "readonly" not in plain[0]
    assert plain[1] == "\n\n two\n", "the parser drops the first newline"


def test_the_form_shows_a_message_if_an_instance_has_no_profiles(page):
    none = "None. Later profiles override earlier ones."
    assert none in page.ask()["form text"]
    with_one = page.ask({}, {"web1": {"profiles": [{"name": "p", "config": {"user.a": "b"}}]}})
    assert "user.a" in with_one["form"]
    assert none not in with_one["form text"]


def test_the_page_shows_only_the_notes_of_the_displayed_instances(tmp_path):
    (tmp_path / "all.json").write_text(json.dumps([{"name": "web1", "confi": {}}, {"name": "web2"}]))
    page = Page(CLOUD, str(tmp_path / "all.json"), name=None)
    note = "unknown key 'confi' is ignored"
    assert note in page.ask(instance="web1")["notes text"]
    assert note not in page.ask(instance="web2")["notes text"]
    assert note in page.ask(instance="web2", beside="instance:web1")["notes text"]
