"""The HTML of the page of `watch --web` and of a report, tag by tag.

`pytest --update` writes the recordings; review them.
"""

import json
import os
import re
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from tests.cli.test_watch_page_views import Page
from tests.web_pages import an_image

FOLDER = Path(__file__).parent / "pages"
RULES = {
    "/etc/a": {"when": ["create", "copy"], "template": "a", "mode": "0600"},
    "/etc/b": {"when": ["start"], "template": "b", "create_only": True},
    "/etc/c": {"when": ["create"], "template": "c"},
}
TEMPLATES = {
    "a": "{{ instance.name }}\n{% if config_get('user.on', '') == 'yes' %}<on>{% endif %}\nkey={{ config_get('user.password', 'none') }}\n",
    "b": "",
    "c": "{{ 1 / 0 }}\n",
}
PROFILE = {"name": "p 1", "config": {"user.on": "yes", "user.lines": "1\n2\n3"}, "devices": {}}
INSTANCES = [
    {"name": "one", "type": "container", "config": {"user.password": "s3cret", "volatile.x": "y", "image.os": "z"}, "devices": {}, "profiles": []},
    {"name": "two", "type": "virtual-machine", "config": {}, "devices": {}, "profiles": [PROFILE, {**PROFILE, "name": "q"}]},
]  # fmt: skip


pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT RUN: needs root, as whom the files are recorded"
)


@pytest.fixture
def image(tmp_path):
    (tmp_path / "all.json").write_text(json.dumps(INSTANCES))
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "rootfs/etc/a").write_text("old\n")
    return an_image(tmp_path / "image", RULES, TEMPLATES)


def tags(html, folder):
    """Return HTML with a line for each tag, without embedded code and paths of this run."""
    html = re.sub(r"(<(style|script)[^>]*>).*?(</\2>)", r"\1…\3", html, flags=re.S)
    html = re.sub(r"sha256-[^&']+", "sha256-…", html).replace(str(folder), "FOLDER")
    html = re.sub(r"templater \d[\w.+]*\w", "templater VERSION", html)
    return html.replace("><", ">\n<").rstrip("\n") + "\n"


def compare(name, text, update):
    path = FOLDER / name
    if update:
        path.write_text(text)
    assert text == path.read_text()


PLACES = {
    "one": ({"instance": "one", "file": "/etc/a"}, {}),
    "empty": ({"instance": "one", "file": "/etc/b", "trigger": "start"}, {}),
    "failed": ({"instance": "two", "file": "/etc/c"}, {}),
    "beside": ({"instance": "two", "file": "/etc/a", "beside": "instance:one"}, {}),
    "hosts": ({"instance": "two", "file": "a.out", "beside": "host:lxd"}, {}),
    "edited": (
        {"instance": "two", "file": "a.out"},
        {"two": {"name": "three", "config": {"user.on": "no", "user.new": "x\n\u202e"}, "off": ["q"]}},
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_html_tags_of_the_page_are_as_recorded(name, image, tmp_path, update):
    place, edits = PLACES[name]
    page = Page(image, str(tmp_path / "all.json"), name=None, rootfs=str(tmp_path / "rootfs"))
    answer = page.ask(edits=edits, **place)
    findings = page.ask("findings", edits=edits, **place)
    texts = [f"== {part}\n{tags(found[part], tmp_path)}" for found in (answer, findings) for part in ("list", "file", "notes", "findings", "form") if isinstance(found.get(part), str)]  # fmt: skip
    rest = {key: value for key, value in answer.items() if not key.endswith(("list", "file", "notes", "findings", "form", " text"))}  # fmt: skip
    texts.append(json.dumps(rest, indent=1).replace(str(tmp_path), "FOLDER") + "\n")
    compare(f"{name}.txt", "".join(texts), update)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report", ["-i", "two.json", "--rootfs", "rootfs"]),
        ("report-all", ["--instances", "all.json", "--as", "all"]),
        ("report-secrets", ["-i", "one.json", "--show-secrets"]),
    ],
)
def test_the_html_tags_of_a_report_are_as_recorded(name, words, image, tmp_path, update, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for each in INSTANCES:
        Path(f"{each['name']}.json").write_text(json.dumps(each))
    assert main(["preview", "image", "--html", "report.html", *words]) in (0, 5)
    compare(f"{name}.txt", tags(Path("report.html").read_text(), tmp_path), update)
