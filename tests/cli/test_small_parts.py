"""Small parts of commands: what they decide, without running a whole command."""

import json
import webbrowser
from types import SimpleNamespace

import pytest

from templater.cli.commands import diff, simulate, unpack
from templater.cli.file_watcher import Watch
from templater.cli.main import main
from templater.cli.page.server import open_browser


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize(
    ("keep", "trusted", "allowed"),
    [
        ((), False, ""),
        (("devices",), False, "special"),
        (("setuid",), False, "privileges"),
        (("xattrs",), False, "xattrs"),
        (("devices", "setuid", "xattrs"), False, "special privileges xattrs"),
        ((), True, "special privileges xattrs"),
    ],
)
def test_unpack_keeps_only_what_its_options_allow(root, keep, trusted, allowed, monkeypatch, capsys):
    monkeypatch.setattr(unpack.os, "geteuid", lambda: 0 if root else 1000)
    policy = unpack._policy(keep, trusted)
    found = [name for name in ("special", "privileges", "xattrs") if getattr(policy, name)]
    assert found == [name for name in allowed.split() if root or name != "special"]
    assert policy.owners is root
    note = "note: not run as root: all files will belong to you, and devices can't be created\n"
    assert capsys.readouterr().err == ("" if root else note)


@pytest.mark.parametrize(
    ("error", "changes", "lines"),
    [
        ("broken\x1b", [], ["incus: the start fails: broken\\x1b"]),
        ("", [], []),
        ("broken", [SimpleNamespace(trigger="start", path="/a", error=None)], []),
    ],
)
def test_diff_names_the_error_of_a_host_only_if_no_rule_runs(error, changes, lines, monkeypatch):
    monkeypatch.setattr("templater.reporting.plan_text.differences", lambda plan, change: ())
    plan = SimpleNamespace(changes=changes, agent=(), host_error=error, host=SimpleNamespace(name="incus"))
    assert list(diff.complaints(plan)) == lines


def test_every_step_of_simulate_except_the_first_has_an_empty_line_above_it(monkeypatch):
    shown = []
    monkeypatch.setattr(
        simulate,
        "styled_step",
        lambda report, width, *, as_diff, first: shown.append((report, first)) or ((), ()),
    )
    simulate.show_styled(["one", "two", "three"], as_diff=False)
    assert shown == [("one", True), ("two", False), ("three", False)]


def test_watch_names_each_missing_file_for_which_it_waits(tmp_path, monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Watch, "wait", interrupt)
    (tmp_path / "image").mkdir()
    (tmp_path / "image/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    (tmp_path / "here.yaml").write_text("name: web1\n")
    assert main(["watch", "image", "-i", "here.yaml", "-p", "none"]) == 0
    error = capsys.readouterr().err
    assert "waiting for 'none' to appear\n" in error
    assert "here.yaml" not in error


@pytest.mark.parametrize(("triggers", "count"), [("all", 4), ("create,start", 1)])
def test_a_diff_with_one_part_for_each_trigger_has_a_heading_for_each_part(triggers, count, tmp_path, capsys):
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/templates/t").write_text("x\n")
    (tmp_path / "image/metadata.yaml").write_text('templates: {"/a": {when: [start], template: t}}')
    (tmp_path / "root").mkdir()
    words = ["diff", f"{tmp_path}/image", f"{tmp_path}/root", "-t", triggers]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.count("# trigger ") == (count if count > 1 else 0)
    assert shown.count("+++ b/a") == 1
    assert main([*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [each["triggers"] for each in (data if count > 1 else [data])] == (
        [["create"], ["copy"], ["start"], ["rename"]] if count > 1 else [["create", "start"]]
    )


@pytest.mark.parametrize(
    ("opens", "said"), [(True, ""), (False, "note: no browser was found: open the address yourself\n")]
)
def test_a_note_says_that_no_browser_was_found(opens, said, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(webbrowser, "open", lambda address: asked.append(address) or opens)
    open_browser("http://127.0.0.1:1/a")
    assert asked == ["http://127.0.0.1:1/a"]
    assert capsys.readouterr().err == said


def test_the_options_of_an_installed_hook_are_written_into_its_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [
        "--source",
        "i",
        "--dialect",
        "v4",
        "--time-limit",
        "5",
        "--on-error",
        "keep-going",
        "--in-place",
    ]
    assert main(["hook", "install", "nspawn", "c1", *options, "--keep-modified", "--limit", "steps=9"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.partition(" nspawn ")[2] == (
        f"--source {tmp_path}/i --dialect v4 --on-error keep-going --time-limit 5 --limit steps=9 --in-place"
        " --keep-modified -- %i"
    )


def test_the_status_of_a_hook_needs_a_name(capsys):
    assert main(["hook", "status", "nspawn"]) == 2
    said = capsys.readouterr().err
    assert said.endswith("\nError: missing name of the container, bundle or machine\n")
