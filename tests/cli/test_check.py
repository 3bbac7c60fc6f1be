"""The command `check`: split images, several images, hostile configurations, and thousands of mistakes."""

import copy
import json
import os
import shutil
import subprocess
import tarfile

import click
import pytest

from templater.checks import authored_image, check_report, templater_toml
from templater.checks.templater_toml import MAX_IGNORES
from templater.cli.check_output import show, write
from templater.cli.commands.check import explained, image_of
from templater.cli.run_command_line import main
from templater.model.errors import InputError, LimitError
from templater.model.metadata import UNCOUNTED
from tests.processor_time import ends_within

METADATA = """architecture: x86_64
creation_date: 1
templates:
  /etc/motd: {when: [create], create_only: true, template: t}
"""
NEED_ROOTFS = "build-name, create-only, refused-link"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """An image directory, and both files of a split image, in the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("image/templates", "rootfs/etc"):
        os.makedirs(name)
    (tmp_path / "image/metadata.yaml").write_text(METADATA)
    (tmp_path / "image/templates/t").write_text("hello\n")
    (tmp_path / "rootfs/etc/motd").write_text("mine\n")
    for name, folder in (("meta.tar", "image"), ("rootfs.tar", "rootfs")):
        with tarfile.open(name, "w") as tar:
            tar.add(folder, ".")
    return tmp_path


def test_the_check_command_mentions_the_checks_skipped_for_a_metadata_tarball(parts, capsys):
    assert main(["check", "meta.tar"]) == 0
    assert NEED_ROOTFS in (noted := capsys.readouterr().err) and "no readable root filesystem" in noted
    assert main(["check", "meta.tar", "--json"]) == 0
    why = (
        "checks that need a root filesystem did not run, because the image has no readable root filesystem: "
    )
    assert json.loads(capsys.readouterr().out)[0]["notes"][-1] == why + NEED_ROOTFS


def test_directory_without_a_root_filesystem_gets_no_note(parts, capsys):
    assert main(["check", "image"]) == 0
    assert capsys.readouterr().err == "image: nothing found\n"


def test_the_second_file_of_a_split_image_is_checked(parts, capsys):
    assert main(["check", "meta.tar", "--rootfs", "rootfs.tar"]) == 1
    shown = capsys.readouterr()
    assert "[create-only]" in shown.out and shown.err == "meta.tar: 1 warning\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="needs mksquashfs")
def test_squashfs_argument_after_metadata_tarball_is_its_second_file(parts, capsys):
    subprocess.run(
        ["mksquashfs", "rootfs", "rootfs.squashfs", "-quiet", "-no-progress"], check=True, stdout=-3
    )
    assert main(["check", "image", "meta.tar", "rootfs.squashfs"]) == 1
    assert capsys.readouterr().err == "image: nothing found\nmeta.tar: 1 warning\n"
    assert main(["check", "image", "rootfs.squashfs"]) == 2  # a directory has no second file
    assert "is a squashfs file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["meta.tar", "image", "--rootfs", "rootfs.tar"], "--rootfs can't be combined with several SRC"),
        (["meta.tar", "--rootfs", "nosuch"], "'nosuch' does not exist"),
        (
            ["image", "--rootfs", "rootfs.tar"],
            "is a directory and can't be combined with a second image file",
        ),
        (["--rule", "nosuch"], "unknown check 'nosuch'"),
    ],
)
def test_wrong_arguments_give_one_clear_message(parts, capsys, words, message):
    assert main(["check", *words]) == 2
    assert message in (shown := capsys.readouterr().err) and "Traceback" not in shown


def test_an_unreadable_image_does_not_hide_the_findings_of_other_images(parts, capsys):
    assert main(["check", "nosuch", "meta.tar", "rootfs/etc/motd", "--rootfs", "x"]) == 2
    capsys.readouterr()
    (parts / "image/templates/t").write_text("{{ instnace.name }}\n")
    assert main(["check", "nosuch", "image", "rootfs/etc/motd"]) == 2
    shown = capsys.readouterr()
    assert "[unknown-variable]" in shown.out
    assert "'nosuch' does not exist" in shown.err and "'rootfs/etc/motd' is a text file" in shown.err


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('instances = ["nosuch.yaml"]\n', 2, "'image/nosuch.yaml' does not exist"),
        ('instances = ["a/../../x.yaml"]\n', 3, "'a/../../x.yaml' in templater.toml leads out of the image"),
        ('instances = ["metadata.yaml"]\n', 2, "image/metadata.yaml:1:1: this is an image's metadata.yaml"),
        ("a = " + "[" * 100_000, 2, "image/templater.toml:1:1: invalid TOML: nested too deeply"),
        ('"\\u001b[31m" = 1\n', 2, "image/templater.toml:1:1: unknown key '\\x1b[31m'"),
        ("\udcff = 1\n", 2, "image/templater.toml:1:1: invalid TOML"),
        ("#" * (1 << 20) + "\nhots = 1\n", 2, "'image/templater.toml' is larger than 1 MiB"),
        ("\n".join(f"k{n} = 1" for n in range(5_000)), 2, "image/templater.toml:1:1: unknown key 'k0'"),
        ('[[ignore]]\nid = "mode"\n' * (MAX_IGNORES + 1), 2, f"more than {MAX_IGNORES} entries of 'ignore'"),
    ],
    ids=["missing", "outside", "metadata", "nested", "escape", "bytes", "large", "keys", "ignores"],
)  # fmt: skip
def test_a_hostile_templater_toml_gives_one_clear_message(parts, capsys, text, code, message):
    (parts / "image/templater.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with ends_within(5):
        assert main(["check", "image"]) == code
    shown = capsys.readouterr()
    assert message in shown.err and "Traceback" not in shown.err and "\x1b" not in shown.err
    assert len(shown.err) < 1000 and shown.out == ""


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_templater_toml_must_be_a_regular_file(parts, capsys, kind):
    path = parts / "image/templater.toml"
    {
        "symlink": lambda: path.symlink_to("/etc/passwd"),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }[kind]()
    assert main(["check", "image"]) == 2
    assert f"'image/templater.toml' is a {kind}, not a regular file" in capsys.readouterr().err


def test_every_unused_ignore_entry_is_reported_at_the_maximum(parts, capsys):
    (parts / "image/templater.toml").write_text('[[ignore]]\nid = "mode"\n' * MAX_IGNORES)
    assert main(["check", "image"]) == 1
    assert capsys.readouterr().err == f"image: {MAX_IGNORES} warnings\n"


@pytest.mark.slow
@pytest.mark.parametrize("reports", [["text", "json", "junit", "github", "gitlab"], ["sarif"]], ids=" ".join)
def test_ten_thousand_mistakes_are_counted_but_only_some_are_shown(parts, capsys, reports, monkeypatch):
    """The image is checked once for all reports of a group, because the check takes seconds."""
    monkeypatch.setattr(authored_image, "MAX_SECONDS", 100.0)  # for slow machines
    monkeypatch.setattr(authored_image, "MAX_FILE_SECONDS", 100.0)
    rules = "".join(f"  /etc/f{n}: {{when: [boot], template: t{n % 100}}}\n" for n in range(10_000))
    (parts / "image/metadata.yaml").write_text(METADATA.partition("  /etc")[0] + rules)
    for n in range(100):
        text = "".join(f"{{{{ nosuch{n}_{m} }}}}\n" for m in range(100))
        (parts / f"image/templates/t{n}").write_text(text)
    real, found = check_report.check_report, []

    def check_once(*arguments, **settings):
        if not found:
            found.append(real(*arguments, **settings))
        return copy.deepcopy(found[0])

    monkeypatch.setattr(check_report, "check_report", check_once)
    for report in reports:
        with ends_within(30):
            assert main(["check", "image", "--report", report, "--limit", "command-processor=1h"]) == 1
        shown = capsys.readouterr()
        assert "9800 more findings of this kind" in shown.out  # of templates
        assert f"300 more findings of this kind; {UNCOUNTED}" in " ".join(
            shown.out.split()
        )  # of metadata.yaml
        assert len(shown.out) < 1 << 20
    assert len(found) == 1


@pytest.mark.parametrize("given", ["image/metadata.yaml", "image/templates/t"])
def test_path_inside_an_image_selects_the_whole_image(parts, capsys, given):
    assert main(["check", given, "--no-run-validators"]) == 0
    assert capsys.readouterr().err == "image: nothing found\n"


@pytest.mark.parametrize(
    ("path", "image"),
    [
        ("metadata.yaml", "."),
        ("templates/t", "."),
        ("./templates/t", "."),
        ("templates/none", "."),
        ("none/t", "none/t"),
        ("templates", "templates"),
        ("templater.toml", "templater.toml"),
    ],
)
def test_path_of_template_or_metadata_yaml_selects_its_image(parts, monkeypatch, path, image):
    monkeypatch.chdir("image")
    assert image_of(path) == image


def test_the_show_ignored_option_prints_the_ignored_findings(parts, capsys):
    (parts / "image/templates/t").write_text("x{# templater: ignore final-newline #}")
    assert main(["check", "image", "--at-least", "info", "--show-ignored", "--no-run-validators"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("ignored:\nimage/templates/t\n  1:38: info: '/etc/motd' does not end with")
    assert shown.err == "image: nothing found; 1 ignored\n"


def test_the_check_command_says_that_an_image_has_nothing_to_fix(parts, capsys):
    assert main(["check", "image", "--diff", "--no-run-validators"]) == 0
    assert capsys.readouterr() == ("", "image: nothing to fix\n")


def test_json_report_contains_the_host_table_as_data(parts, capsys):
    assert main(["check", "image", "--json", "--as", "incus,lxd", "--no-run-validators"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["hosts"]["hosts"] == ["incus", "lxd"] and "text" not in report["hosts"]


@pytest.mark.parametrize("command", ["check", "audit"])
def test_the_check_and_audit_commands_print_notes_about_the_instance_description(parts, capsys, command):
    (parts / "i.yaml").write_text("name: c1\nconfi: {}\n")
    assert main([command, "image", "-i", "i.yaml"]) == 0
    assert capsys.readouterr().err == (
        "note: unknown key 'confi' is ignored; did you mean 'config'?\nimage: nothing found\n"
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("a", hint="b"), "a\nhint: b"),
        (click.UsageError("wrong"), "wrong"),
        (FileNotFoundError(2, "It is missing", "name"), "name: it is missing"),
        (ValueError("other"), "other"),
    ],
)
def test_the_error_of_one_of_several_images_is_printed_in_full(error, text):
    assert explained(error) == text


@pytest.mark.parametrize(
    ("asked", "suppressed", "shown"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_ignored_findings_are_printed_only_on_request(asked, suppressed, shown, capsys):
    finding = {"file": "t", "line": 1, "column": 2, "severity": "info", "message": "m", "check": "c"}
    report = {
        "findings": [finding], "suppressed": [finding] if suppressed else [], "hosts": None, "image": "i",
        "hidden": {}, "not_validated": [],
    }  # fmt: skip
    write([report, {"error": "e"}], "text", show_ignored=asked)
    line = "t\n  1:2: info: m  [c]\n"
    assert capsys.readouterr().out == (f"{line}ignored:\n{line}" if shown else line)
    hosts = {"hosts": ["incus", "lxd"], "text": "table\n"}
    for findings, text, out in (
        ([], "table\n", "table\n"),
        ([finding], "table\n", f"{line}\ntable\n"),
        ([], "", ""),
    ):
        write(
            [{**report, "findings": findings, "hosts": {**hosts, "text": text}}], "text", show_ignored=False
        )
        said = capsys.readouterr()
        assert said.out == out
        assert ("i: every file is the same on incus, lxd\n" in said.err) == (not text)


def test_finding_is_printed_between_file_name_and_hint(capsys):
    base = {"severity": "error", "message": "m\n", "check": "c"}
    show(
        [
            {**base, "file": "a", "line": 1, "column": 2, "excerpt": "1 | x\n  | ^", "hint": "h"},
            {**base, "file": "a"},
            {**base, "file": "b\n"},
        ]
    )
    text = capsys.readouterr().out
    assert text == (
        "a\n  1:2: error: m\n  [c]\n    1 | x\n      | ^\n    hint: h\n"
        "  error: m\n  [c]\n\nb\\n\n  error: m\n  [c]\n"
    )


def test_instances_in_templater_toml_have_limited_number_and_size(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n")
    assert [each.name for each in templater_toml.described(str(tmp_path), ("a.yaml", "b.yaml"))] == ["a", "b"]
    for limit, most, message in (
        ("MAX_INSTANCES", 2, "templater.toml names more than 1 instances"),
        ("LARGEST", 16, "the instance descriptions that templater.toml names are larger than 0 MiB in total"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(templater_toml, limit, most)
            assert len(templater_toml.described(str(tmp_path), ("a.yaml", "b.yaml"))) == 2
            patched.setattr(templater_toml, limit, most - 1)
            with pytest.raises(LimitError) as caught:
                templater_toml.described(str(tmp_path), ("a.yaml", "b.yaml"))
        assert caught.value.message == message


def test_no_instance_file_outside_the_image_directory_is_read(tmp_path):
    (tmp_path / "image.tar").write_text("x")
    for folder, error, hint in (
        (
            "image.tar",
            "can't read 'a.yaml', which templater.toml names: the image is not a directory",
            "pass -i FILE",
        ),
        ("", f"'{tmp_path}/a.yaml' does not exist", "templater.toml names this file"),
    ):
        with pytest.raises(InputError) as caught:
            templater_toml.read_described(str(tmp_path / folder), "a.yaml")
        assert (caught.value.message, caught.value.hint) == (error, hint)
