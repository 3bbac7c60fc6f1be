"""Decisions of small functions of commands, tested without whole commands."""

import json
import os
import webbrowser
from dataclasses import replace
from types import SimpleNamespace

import pytest

from templater.cli import apply_and_record, enforce_limits, fetched_source, terminal
from templater.cli.commands import audit, diff, simulate, unpack, watch
from templater.cli.commands.store import edit, refresh
from templater.cli.file_watcher import Watch
from templater.cli.run_command_line import main
from templater.cli.watch_page.server import open_browser
from templater.distribution.store import StoredImage
from templater.instances.state_directory import STATE_FOLDER
from templater.model.errors import InputError, LimitError, TemplaterError, UsageError
from tests.rootfs_builders import as_root


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
def test_devices_and_privileges_are_unpacked_only_on_request(
    root, keep, trusted, allowed, monkeypatch, capsys
):
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
def test_a_diff_contains_the_start_error_without_active_rules(error, changes, lines, monkeypatch):
    monkeypatch.setattr("templater.reporting.plan_text.differences", lambda plan, change: ())
    plan = SimpleNamespace(changes=changes, agent=(), host_error=error, host=SimpleNamespace(name="incus"))
    assert list(diff.complaints(plan)) == lines


def test_an_empty_line_precedes_every_simulation_step_except_the_first(monkeypatch):
    shown = []
    monkeypatch.setattr(
        simulate,
        "styled_step",
        lambda report, width, *, as_diff, first: shown.append((report, first)) or ((), ()),
    )
    simulate.show_styled(["one", "two", "three"], as_diff=False)
    assert shown == [("one", True), ("two", False), ("three", False)]


def test_watch_says_that_it_waits_for_each_missing_file(tmp_path, monkeypatch, capsys):
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
def test_diff_with_separate_triggers_has_a_heading_for_each_trigger(triggers, count, tmp_path, capsys):
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


def test_the_install_command_writes_the_hook_options_into_the_hook_line(tmp_path, monkeypatch, capsys):
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


def test_the_hook_status_command_requires_a_name(capsys):
    assert main(["hook", "status", "nspawn"]) == 2
    said = capsys.readouterr().err
    assert said.endswith("\nError: missing name of the container, bundle or machine\n")


STORED = StoredImage(
    "f" * 64, "container", "x86_64", 1, 2, 3, 4, False, True, False, "images:a", "m" * 64, "", True, {"os": "x"}
)  # fmt: skip
KEYS = "auto_update, public, expires, properties"
TEXT = "auto_update: {auto}\npublic: {public}\nexpires: {expires}\nproperties: {properties}\n"


def edited(source="images:a", **values):
    given = {"auto": "true", "public": "false", "expires": "7", "properties": "{a: b}", **values}
    return edit.edited(replace(STORED, source=source), TEXT.format(**given))


def test_a_stored_images_properties_and_flags_can_be_edited():
    found = edited()
    assert (found.auto_update, found.public, found.expires, found.properties) == (True, False, 7, {"a": "b"})
    assert edited("", auto="false").source == ""
    assert edited(properties="{}").properties == {}
    assert edit.edited(STORED, edit.text_of(STORED)) == STORED


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"auto": "1"}, "'auto_update' must be true or false"),
        ({"public": "yes please"}, "'public' must be true or false"),
        ({"expires": "true"}, "'expires' must be a number of seconds since 1970"),
        ({"expires": str(2**63)}, f"'expires' must be a number from -{2**63 - 1} to {2**63 - 1}"),
        ({"properties": "[]"}, "'properties' must be a mapping"),
        ({"properties": "{a: 1}"}, "the names and values of properties must be strings"),
        ({"properties": "{1: a}"}, "the names and values of properties must be strings"),
        ({"properties": "{}\nmore: 1"}, f"the new text must have the keys {KEYS}"),
        ({"source": ""}, "auto_update requires an image from a server"),
    ],
)
def test_an_edit_of_a_stored_image_refuses_wrong_types(values, message):
    with pytest.raises(TemplaterError) as caught:
        edited(**values)
    assert caught.value.message == message
    assert caught.value.hint == ('quote numbers: release: "13"' if "strings" in message else "")


@pytest.mark.parametrize("text", ["[]", "public: true", "a: [\n", "a: 2001-99-99"])
def test_an_edit_refuses_invalid_yaml_and_missing_keys(text):
    message = (
        "the new text is not valid YAML: " if text[:3] == "a: " else f"the new text must have the keys {KEYS}"
    )
    with pytest.raises(InputError) as caught:
        edit.edited(STORED, text)
    assert caught.value.message.startswith(message) and "\n" not in caught.value.message


FINDING = {"severity": "high", "check": "setuid", "place": "usr/bin/a", "message": "m" * 10}


@pytest.mark.parametrize(
    ("width", "place", "lines"),
    [
        (47, "usr/bin/a", ["high      setuid  usr/bin/a", "          mmmmmmmmmm  [CVE-1]"]),
        (48, "usr/bin/a", ["high      setuid  usr/bin/a:", "          mmmmmmmmmm  [CVE-1]"]),
        (80, "usr/bin/a", ["high      setuid  usr/bin/a: mmmmmmmmmm  [CVE-1]"]),
        (80, "", ["high      setuid  mmmmmmmmmm  [CVE-1]"]),
    ],
)
def test_an_audit_finding_is_on_one_line_if_possible(width, place, lines):
    finding = {**FINDING, "place": place, "advisory": "CVE-1", "hint": "h\n"}
    found = [str(line) for line in audit.findings_in_columns([finding], width)]
    assert found == [*lines, " " * 10 + "hint: h\\n"]
    plain = [str(line) for line in audit.findings_in_columns([FINDING], 80)]
    assert plain == ["high      setuid  usr/bin/a: mmmmmmmmmm"]


@pytest.mark.parametrize(
    ("pager", "words"),
    [
        (None, ["less"]), ("sh -c 'a b'", ["sh", "-c", "a b"]), ("cat", []), ("cat -v", ["cat", "-v"]), ("", []),
        ("no-such-program", []), ("'", []),
    ],
)  # fmt: skip
def test_the_pager_is_an_existing_program_other_than_cat(pager, words, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: name in ("less", "sh", "cat") and f"/bin/{name}")
    monkeypatch.delenv("PAGER", raising=False)
    if pager is not None:
        monkeypatch.setenv("PAGER", pager)
    assert terminal._pager_words() == words


@pytest.mark.parametrize(
    ("name", "remote", "result"),
    [
        ("store:a", True, ("image", "root")),
        ("store:a", False, ("store:a", None)),
        ("plain", True, ("plain", None)),
    ],
)
def test_an_image_on_a_server_is_fetched(name, remote, result, monkeypatch, capsys):
    asked = []

    def fetch(src, **options):
        asked.append((src, options["whole"]))
        return SimpleNamespace(notes=["one", "two"], image="image", rootfs="root")

    monkeypatch.setattr("templater.distribution.fetch_image.fetch_source", fetch)
    monkeypatch.setattr("templater.distribution.remotes.is_remote", lambda src: remote)
    assert fetched_source.local_files(name) == result
    assert fetched_source.local_source(name) == result[0]
    fetched = result[0] == "image"
    assert asked == ([(name, True), (name, False)] if fetched else [])
    assert capsys.readouterr().err == ("note: one\nnote: two\n" * 2 if fetched else "")


def test_a_running_instance_is_refused_as_an_image(monkeypatch):
    monkeypatch.setattr("templater.live.address.is_live", lambda src: src == "incus:web\n")
    assert fetched_source.local_source("incus:web\n") == "incus:web\n"
    with pytest.raises(UsageError) as caught:
        fetched_source.local_files("incus:web\n")
    assert caught.value.message == "this command reads images, and 'incus:web\\n' is an instance"
    assert caught.value.hint == "publish the instance first, or give an image: incus:image/ALIAS"


def test_a_state_directory_beside_the_root_filesystem_is_found(tmp_path):
    src, other = tmp_path / "src", tmp_path / "other"
    for folder in (src, other):
        (folder / "rootfs").mkdir(parents=True)

    def found(rootfs):
        return apply_and_record.state_folder(str(src), rootfs and str(rootfs))

    places = (None, src / "rootfs", other / "rootfs")
    assert [found(each) for each in places] == ["", "", ""]
    (other / STATE_FOLDER).mkdir()
    assert [found(each) for each in places] == ["", "", str(other)]
    (src / STATE_FOLDER).symlink_to("nowhere")
    assert [found(each) for each in places] == [str(src), str(src), str(other)]
    (other / STATE_FOLDER).rmdir()
    assert found(other / "rootfs") == ""
    (tmp_path / "link").symlink_to(src / "rootfs")
    assert found(tmp_path / "link") == str(src)


@as_root
@pytest.mark.parametrize("make", [os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_foreign_state_directory_in_shared_directories_is_ignored(make, tmp_path, capsys):
    """Every user could make the state directory of a root filesystem in /tmp. Then root's `apply` failed."""
    (tmp_path / "rootfs").mkdir()
    state = tmp_path / STATE_FOLDER
    make(state)
    found = []
    for uid, above in ((1234, 0), (1234, 1234), (0, 1234)):
        os.chown(state, uid, uid, follow_symlinks=False)
        os.chown(tmp_path, above, above)
        found.append(apply_and_record.state_folder("other", str(tmp_path / "rootfs")))
    assert found == ["", str(tmp_path), str(tmp_path)]
    assert capsys.readouterr().err == f"note: '{state}' is ignored: it belongs to another user (uid 1234)\n"


@pytest.mark.parametrize(
    ("src", "answer", "live"),
    [(None, True, False), ("i", True, False), ("a:b", True, True), ("a:b", False, False)],
)
def test_a_source_without_a_colon_is_never_a_running_instance(src, answer, live, monkeypatch):
    monkeypatch.setattr("templater.live.address.is_live", lambda src: answer)
    assert enforce_limits._is_live(src) is live


@pytest.mark.parametrize("live", [True, False])
def test_watch_fetches_an_image_but_not_a_running_instance(live, monkeypatch, capsys):
    def end(request, *_):
        raise UsageError(f"the end of {request.src}")

    monkeypatch.setattr("templater.live.address.is_live", lambda src: live)
    monkeypatch.setattr(watch, "fetched", lambda request: request._replace(src="fetched"))
    monkeypatch.setattr("templater.cli.live_watch.watch", end)
    monkeypatch.setattr("templater.cli.file_watcher.sources_of", lambda src: end(SimpleNamespace(src=src)))
    monkeypatch.setattr(watch.options, "existing", lambda src: src)
    assert main(["watch", "a:b"]) == 2
    assert capsys.readouterr().err == f"templater: the end of {'a:b' if live else 'fetched'}\n"


def test_fetching_one_image_stops_after_its_share_of_the_time_limit(monkeypatch):
    now, shown = [100.0], []
    monkeypatch.setattr(refresh, "monotonic", lambda: now[0])
    report = refresh._in_time(10, lambda *words: shown.append(words))
    for seconds in (0, 10):
        now[0] = 100.0 + seconds
        report(1, 2, "rootfs.squashfs", 3)
    now[0] = 110.5
    with pytest.raises(LimitError) as caught:
        report(2, 3, "rootfs.squashfs", 3)
    assert shown == [(1, 2, "rootfs.squashfs", 3)] * 2
    assert caught.value.message == (
        "fetching the image takes longer than 10 seconds: the limit command-time is divided among the images"
    )
    assert caught.value.hint == "to allow two days for all images, use --limit command-time=48h"
