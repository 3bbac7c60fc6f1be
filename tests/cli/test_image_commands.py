"""The image commands: small guarantees about refusals, warnings and output."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import click
import pytest

from templater.cli.commands.image import edit as edit_command
from templater.cli.commands.unpack import id_range
from templater.cli.output import size
from templater.cli.packing import seconds_of
from templater.cli.run_command_line import main
from templater.cli.text_editor import in_editor, wait_for_key
from templater.model.errors import InputError, UsageError
from templater.model.source import Source
from templater.serving.connections import bind
from tests.rootfs_builders import as_root

OLD_TEXT = "architecture: x86_64\ncreation_date: 1\n"
NEW_TEXT = f"{OLD_TEXT}properties: {{os: x}}\n"
ALPINE = Path(__file__).resolve().parent.parent.parent / "sample-images" / "alpine"


@pytest.fixture
def image(tmp_path):
    return Path(shutil.copytree(ALPINE, tmp_path / "image"))


@pytest.fixture
def typed(monkeypatch, capfd):
    """Run a command with this standard input and return exit code, output and error output."""

    def run(*arguments, given=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return run


def creation(image, *more, path="/etc/motd"):
    return ("image", "template", "create", image, "motd.tpl", path, "--when", "start", *more)


@pytest.mark.parametrize("mode", ["4755", "1755", "75", "07555", "0789"])
def test_a_mode_with_different_meanings_in_lxd_and_incus_is_refused(image, typed, mode):
    code, _, said = typed(*creation(image, "--mode", mode), given=b"x")
    assert code == 2
    assert f"'{mode}'" in said


@pytest.mark.parametrize("mode", ["755", "0755"])
def test_a_mode_with_three_digits_or_a_leading_zero_is_accepted(image, typed, mode):
    assert typed(*creation(image, "--mode", mode), given=b"x")[0] == 0


def test_adding_an_invalid_template_gives_a_warning(image, typed):
    code, _, said = typed(*creation(image), given=b"{{ a|nosuch }}")
    assert code == 0 and (image / "templates/motd.tpl").read_bytes() == b"{{ a|nosuch }}"
    assert "warning: " in said and "unknown filter 'nosuch'" in said
    assert "warning" not in typed(*creation(image, "--force", path="/etc/b"), given=b"{{ a }}")[2]


@pytest.mark.parametrize("force", [(), ("--force",)], ids=" ".join)
@pytest.mark.parametrize("name", ["architecture", "creation_date"])
def test_an_edit_is_refused_if_every_daemon_would_refuse_the_image(image, typed, name, force):
    before = (image / "metadata.yaml").read_bytes()
    without = b"".join(
        line for line in before.splitlines(keepends=True) if not line.startswith(f"{name}:".encode())
    )
    code, _, said = typed("image", "edit", image, *force, given=without)
    assert (code, f"no {name}: the daemons refuse" in said) == (3, True)
    assert (image / "metadata.yaml").read_bytes() == before


def test_an_image_is_not_written_to_standard_output(image, typed, monkeypatch):
    (image / "rootfs").mkdir(exist_ok=True)
    monkeypatch.chdir(image)
    for words in (("build", image, "-o", "-"), ("export", image, "-")):
        code, _, said = typed("image", *words)
        assert (code, "can't be written to standard output" in said) == (2, True)
        assert not (image / "-").exists()


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_a_rule_with_an_invalid_file_path_is_refused(image, typed, path):
    before = (image / "metadata.yaml").read_bytes()
    code, _, said = typed(*creation(image, path=path), given=b"x")
    assert (code, f"invalid file path '{path}'" in said) == (2, True)
    assert (image / "metadata.yaml").read_bytes() == before


@pytest.mark.parametrize("path", ["../etc/motd", "/etc/../../x", ".", "/a/..", "/" + "x" * 300])
def test_a_rule_is_refused_if_no_host_writes_its_path(image, typed, path):
    before = (image / "metadata.yaml").read_bytes()
    code, _, said = typed(*creation(image, path=path), given=b"x")
    assert (code, f"target path '{path[:40]}" in said) == (3, True)
    assert (image / "metadata.yaml").read_bytes() == before
    assert not (image / "templates" / "motd.tpl").exists()


def test_compile_error_gives_a_warning_with_its_position(image, typed):
    code, _, said = typed(*creation(image), given=b"one\n{% if %}")
    assert code == 0
    assert "warning: " in said
    assert f"{image}/templates/motd.tpl:2:" in said
    assert typed("image", "template", "edit", image, "motd.tpl", given=b"fine")[2].count("warning") == 0
    assert "warning: " in typed("image", "template", "edit", image, "motd.tpl", given=b"{{")[2]


def test_an_empty_standard_input_does_not_overwrite_a_template(image, typed):
    template = image / "templates" / "inittab.tpl"
    before = template.read_bytes()
    code, _, said = typed("image", "template", "edit", image, "inittab.tpl")
    assert (code, template.read_bytes()) == (2, before)
    assert "--from /dev/null" in said
    assert typed("image", "template", "edit", image, "inittab.tpl", "--from", "/dev/null")[0] == 0
    assert template.read_bytes() == b""


def test_an_empty_path_is_shown_in_quotes(image, typed):
    (image / "metadata.yaml").write_text("templates: {'': {when: [create], template: hostname.tpl}}\n")
    assert "==> ''  failed" in typed("preview", image)[1]


RULED = """architecture: x86_64
creation_date: 1
templates:
  /etc/a: {when: [create], template: hostname.tpl, create_only: true, mode: "0600", uid: "5", gid: "6"}
  /etc/b: {when: [start, copy], template: hostname.tpl}
"""


def test_the_owner_and_mode_of_a_rule_are_listed(image, typed):
    (image / "metadata.yaml").write_text(RULED)
    _, out, _ = typed("image", "template", "list", image)
    assert "/etc/a (create; create_only; mode 0600; uid 5; gid 6); /etc/b (start, copy)\n" in out
    facts = {"create_only": True, "mode": "0600", "uid": "5", "gid": "6"}
    listed = json.loads(typed("image", "template", "list", image, "--json")[1])
    assert next(row for row in listed if row["name"] == "hostname.tpl")["rules"] == [
        {"path": "/etc/a", "when": ["create"], **facts},
        {"path": "/etc/b", "when": ["start", "copy"], "create_only": False, "mode": "", "uid": "", "gid": ""},
    ]
    first = json.loads(typed("image", "info", image, "--json")[1])["rules"][0]
    assert first.items() >= facts.items()
    assert "create_only mode=0600 uid=5 gid=6\n" in typed("image", "info", image)[1]


def test_an_edit_without_effect_says_that_the_image_is_unchanged(image, typed, tmp_path):
    tarball = tmp_path / "image.tar"
    built = typed("image", "build", image, "-o", tarball, "--compression", "none")[1]
    code, out, said = typed("image", "set-property", tarball, "os=alpine")
    assert (code, out, said) == (0, built, f"{tarball}: unchanged\n")


def test_folder_without_rootfs_gives_a_hint_about_image_layout(image, typed, tmp_path):
    shutil.rmtree(image / "rootfs")
    code, _, said = typed("image", "build", image, "-o", tmp_path / "image.tar")
    assert code == 2
    assert "hint: put the container's files in a directory 'rootfs'" in said


def test_a_failing_editor_gives_a_clear_error(monkeypatch):
    monkeypatch.setenv("VISUAL", "false")
    with pytest.raises(UsageError, match="the editor failed, and the image is unchanged: false") as caught:
        in_editor(b"x", ".yaml")
    assert caught.value.hint == "set $VISUAL or $EDITOR to an editor"


@pytest.mark.parametrize("data", [b"caf\xe9\n", b"a\r\nb\r\n", b"\xef\xbb\xbfa", b""])
def test_the_editor_gets_and_returns_each_byte_unchanged(data, tmp_path, monkeypatch):
    """``click.edit`` raised an error for text that is not UTF-8, and replaced all line endings."""
    script = tmp_path / "editor"
    script.write_text("#!/bin/sh\nprintf '\\351\\r' >> \"$1\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(script))
    assert in_editor(data, ".tpl") == data + b"\xe9\r"


@pytest.mark.parametrize(
    ("editor", "why"),
    [
        ("'", "(No closing quotation|Editing failed)"),
        ("rm", "no such file or directory"),
    ],  # click 8.1 asks sh
)
def test_an_invalid_editor_or_a_deleted_file_gives_a_clear_error(editor, why, monkeypatch):
    monkeypatch.setenv("VISUAL", editor)
    with pytest.raises(UsageError, match=f"the editor failed, and the image is unchanged: .*{why}$"):
        in_editor(b"x", ".yaml")


@pytest.mark.parametrize(("key", "error"), [(KeyboardInterrupt, KeyboardInterrupt), (EOFError, click.Abort)])
def test_ctrl_c_and_ctrl_d_end_the_wait_for_a_key(key, error, monkeypatch, capsys):
    """``click.pause`` ignored Ctrl-C and Ctrl-D, so the editor opened again without end."""

    def getchar():
        raise key

    monkeypatch.setattr("click.getchar", getchar)
    with pytest.raises(error):
        wait_for_key("Press any key")
    assert capsys.readouterr().err == "Press any key\n"


@pytest.fixture
def packed(image, typed, tmp_path):
    """Create ``whole.tar``, and ``split`` with ``split.root``."""
    for name, layout in (("whole.tar", "unified"), ("split", "split")):
        target = tmp_path / name
        assert (
            typed("image", "build", image, "-o", target, "--format", layout, "--compression", "none")[0] == 0
        )
    return tmp_path


@pytest.mark.slow
def test_unified_image_is_refused_as_part_of_split_image(packed, typed):
    whole, split = packed / "whole.tar", packed / "split"
    for command in (
        ("image", "export", whole, f"{split}.root", packed / "new"),
        ("image", "export", split, whole, packed / "new"),
        ("image", "info", split, whole),
        ("unpack", split, whole, packed / "new"),
    ):
        code, out, said = typed(*command)
        assert (code, out) == (2, "")
        assert "not part of this image" in said or "is a complete image" in said
        assert not (packed / "new").exists()
    assert typed("image", "info", split, f"{split}.root")[0] == 0


def test_one_file_is_refused_as_both_parts_of_a_split_image(packed, typed):
    split = packed / "split"
    os.link(split, packed / "again")
    before = split.read_bytes()
    for command in (
        ("image", "info", split, split),
        ("image", "info", split, packed / "again"),
        ("image", "export", split, split, packed / "new"),
        ("image", "set-property", split, "os=x", "--rootfs", split),
        ("audit", split, split),
        ("unpack", split, split, packed / "new"),
    ):
        code, out, said = typed(*command)
        assert (code, out) == (2, ""), command
        assert f"the image '{split}' and its root filesystem '" in said and "' are the same file" in said
    assert split.read_bytes() == before
    assert not (packed / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["w.zip", "w.squashfs", "w.tar.squashfs.QCOW2", "w.gz", "w.tzst", "w.tar.zip"]
)
def test_output_name_with_unsuitable_extension_is_refused(image, typed, tmp_path, name):
    for more in ((), ("--format", "split", "--rootfs", "squashfs"), ("--compression", "zstd")):
        code, out, said = typed("image", "build", image, "-o", tmp_path / name, *more)
        assert (code, out) == (2, "")
        assert "has the extension of another kind of file" in said
        assert ".tar.gz" in said and ".tar.zst" in said
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["image", "v1.2", "w.img", ".zip", "w.tar.old", "w.xz", "w.zip/", "W.tar"])
def test_output_name_with_suitable_or_unknown_extension_is_accepted(image, typed, tmp_path, name):
    assert typed("image", "build", image, "-o", f"{tmp_path}/{name}")[0] == 0


def test_an_output_name_ending_in_a_slash_creates_the_folder(image, typed, tmp_path):
    code, out, _ = typed("image", "build", image, "-o", f"{tmp_path}/a/out/", "--compression", "none")
    assert (code, (tmp_path / "a" / "out" / f"{out.strip()}.tar").exists()) == (0, True)
    code, _, said = typed("image", "build", image, "-o", tmp_path / "none" / "image.tar")
    assert code == 6
    assert f"hint: mkdir -p {tmp_path}/none" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("hook", "install", "podman", "foo"),
        ("hook", "install", "incus", "foo"),
        ("audit", str(ALPINE), "--report", "sarif", "--json"),
    ],
)
def test_command_options_without_effect_are_refused(typed, arguments):
    code, out, _ = typed(*arguments)
    assert (code, out) == (2, "")


def test_the_keep_option_of_the_publish_command_refuses_an_unknown_property(image, typed, tmp_path):
    arguments = ("publish", image, "-o", tmp_path / "x.tar", "--compression", "none")
    code, _, said = typed(*arguments, "--keep", "nosuch")
    assert code == 2
    assert "no property 'nosuch' to keep" in said
    assert typed(*arguments, "--keep", "serial")[0] == 0


def test_the_help_of_a_command_shows_optional_arguments_in_brackets(typed):
    assert "SRC [ROOTFS]\n" in typed("image", "info", "--help")[1]
    assert "[v4|v6|v6.1]" in typed("compile", "--help")[1]
    assert "KEY VALUE" in typed("image", "set-property", "--help")[1].partition("\n")[0]


def test_the_limit_on_total_template_size_applies_to_image_directories(image, typed):
    code, _, said = typed("preview", image, "--limit", "templates=10")
    assert (code, "its templates have more than 10 bytes" in said) == (4, True)


@pytest.mark.parametrize("words", [("publish",), ("image", "build")], ids=" ".join)
def test_limit_on_names_in_packed_directory_can_be_raised(words, image, typed, tmp_path):
    arguments = (*words, image, "-o", tmp_path / "x.tar", "--compression", "none")
    code, _, said = typed(*arguments, "--limit", "names=100")
    assert (code, "hint: if you trust the image, raise the limit: --limit names=…" in said) == (4, True)
    assert typed(*arguments, "--limit", "names=1M")[0] == 0


@as_root
def test_mounted_file_system_is_skipped_with_a_warning(image, typed, tmp_path, mounts):
    (image / "rootfs/data").mkdir(parents=True)
    mounts.tmpfs(image / "rootfs/data")
    (image / "rootfs/data/secret").write_text("x")
    code, _, said = typed("image", "build", image, "-o", tmp_path / "x.tar", "--compression", "none")
    assert code == 0 and said.startswith("warning: skipped the file system mounted at data\n")
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmember("rootfs/data").isdir()
        assert not [name for name in tar.getnames() if "secret" in name]


def test_a_metadata_file_is_refused_as_a_profile(image, typed):
    code, _, said = typed("preview", image, "-p", image / "metadata.yaml")
    assert (code, "an image's metadata.yaml, not a profile" in said) == (2, True)


def test_the_info_command_shows_only_a_limited_number_of_unknown_triggers(image, typed):
    rules = "".join(f"  /etc/{n}: {{when: [word{n}], template: hosts.tpl}}\n" for n in range(300))
    (image / "metadata.yaml").write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    code, out, _ = typed("image", "info", image)
    assert code == 0 and "word7 " in out and "292 more unknown triggers are not shown\n" in out
    assert max(map(len, out.splitlines())) < 300


@pytest.mark.parametrize(
    ("edits", "found"),
    [
        ([None], OLD_TEXT),
        ([NEW_TEXT.encode()], NEW_TEXT),
        ([b"- x\n", b"a: [", NEW_TEXT.encode()], NEW_TEXT),
        ([b"- x\n", None], OLD_TEXT),
    ],
)
def test_the_editor_is_opened_again_until_the_text_is_valid(edits, found, monkeypatch, capsys):
    """The next editor begins with the invalid text, and an editor without a change keeps the old text."""
    shown, waiting, pauses = [], list(edits), []

    def editor(text, suffix):
        shown.append(text)
        return waiting.pop(0)

    monkeypatch.setattr(edit_command, "in_editor", editor)
    monkeypatch.setattr(edit_command, "wait_for_key", pauses.append)
    before = Source("metadata.yaml", OLD_TEXT)
    assert edit_command._from_editor(before).text == found
    assert (shown, waiting) == ([OLD_TEXT.encode(), *edits[:-1]], [])
    words = "Press any key to open the editor again, or Ctrl-C to keep the image unchanged"
    assert pauses == [words] * (len(edits) - 1)
    assert capsys.readouterr().err.count("metadata.yaml:") == len(edits) - 1


@pytest.mark.parametrize("is_terminal", [True, False])
def test_text_from_editor_or_standard_input_replaces_the_metadata(is_terminal, tmp_path, monkeypatch, capsys):
    (tmp_path / "metadata.yaml").write_text(OLD_TEXT)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(NEW_TEXT.encode())))
    monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal)
    monkeypatch.setattr(edit_command, "in_editor", lambda text, suffix: NEW_TEXT.encode())
    assert main(["image", "edit", str(tmp_path)]) == 0
    assert (tmp_path / "metadata.yaml").read_text() == NEW_TEXT
    assert capsys.readouterr().err == f"updated {tmp_path}\n"


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_an_exported_image_is_as_private_as_the_original(image, typed, tmp_path, monkeypatch, mode):
    """An image that `publish` made from a container contains passwords; its exports were readable for all users."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (image / "rootfs").mkdir(exist_ok=True)
    original = tmp_path / "i.tar"
    assert typed("image", "build", image, "-o", original, "--compression", "none")[0] == 0
    original.chmod(mode)
    assert typed("store", "import", original, "--alias", "own")[0] == 0
    assert typed("image", "export", original, tmp_path / "copy.tar.gz")[0] == 0
    assert typed("store", "export", "own", tmp_path / "out")[0] == 0
    assert typed("image", "export", "store:own", tmp_path / "other.tar.gz")[0] == 0
    made = [tmp_path / "copy.tar.gz", tmp_path / "other.tar.gz", *(tmp_path / "out").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in made} == {mode}


@pytest.mark.parametrize("number", ["²", "9" * 5000])
def test_an_unconvertible_number_gives_a_clear_error(image, typed, tmp_path, monkeypatch, number):
    shown = ("image", "export", image, tmp_path / "out.tar")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", number)
    assert typed(*shown)[2].startswith("templater: invalid SOURCE_DATE_EPOCH")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with pytest.raises(UsageError, match="invalid date"):
        seconds_of(number)
    for text in (f"u:0:{number}:1", "", " "):
        with pytest.raises(UsageError, match="invalid id range"):
            id_range(text)


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_listening_on_an_invalid_host_name_gives_a_clear_error(host):
    with pytest.raises(InputError, match=f"can't listen on '{host}' port 9: "):
        bind(host, 9)


def test_directory_in_place_of_template_is_an_error(image, typed):
    (image / "templates/folder").mkdir()
    for words in (("show", image, "folder"), ("create", image, "folder", "/etc/x", "--when", "start")):
        code, out, said = typed("image", "template", *words, given=b"x")
        assert (code, out, said) == (3, "", "templater: the template 'folder' is a directory\n")


def test_the_path_option_restricts_a_template_edit_to_one_rule(image, typed):
    (image / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /a: {when: [start], template: t}\n"
        "  /b: {when: [start], template: t}\n"
    )
    (image / "templates/t").write_text("x")
    edit = ("image", "template", "edit", image, "t")
    assert typed(*edit, given=b"x") == (0, "", "nothing changed\n")
    assert typed(*edit, "--path", "/b", "--mode", "0600")[0] == 0
    assert "/a: {when: [start], template: t}" in (image / "metadata.yaml").read_text()
    assert typed(*edit, "--mode", "0640")[0] == 0
    assert (image / "metadata.yaml").read_text().count('mode: "0640"') == 2
    code, _, said = typed(*edit, "--path", "/none", "--mode", "0600")
    assert (code, said) == (2, "templater: no rule uses 't' for '/none'\n")


def test_a_date_outside_the_calendar_is_shown_as_a_number(image, typed):
    with (image / "metadata.yaml").open("a") as file:
        file.write("expiry_date: 99999999999999999\n")
    assert "Expires:         99999999999999999\n" in typed("image", "info", image)[1]


@pytest.mark.slow
def test_store_record_of_an_image_is_edited_as_yaml(image, typed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert typed("image", "build", image, "-o", tmp_path / "i.tar", "--compression", "none")[0] == 0
    assert typed("store", "import", tmp_path / "i.tar", "--alias", "a")[0] == 0
    text = typed("store", "show", "a")[1]
    assert typed("store", "edit", "a", given=text.encode()) == (0, "", "nothing changed\n")
    changed = text.replace("public: false", "public: true").encode()
    assert typed("store", "edit", "a", given=changed) == (0, "", "updated a\n")
    assert "public: true" in typed("store", "show", "a")[1]
    code, _, said = typed("store", "edit", "a", given=b"[")
    assert code == 2 and said.startswith("templater: the new text is not valid YAML: ")


@pytest.mark.slow
def test_the_unpack_command_prints_the_notes_about_the_instance_description(image, typed, tmp_path):
    assert typed("image", "build", image, "-o", tmp_path / "i.tar", "--compression", "none")[0] == 0
    (tmp_path / "n.yaml").write_text("name: c1\nfoo: x\n")
    code, _, said = typed("unpack", tmp_path / "i.tar", tmp_path / "c1", "-i", tmp_path / "n.yaml")
    assert code == 0 and said.startswith("note: unknown key 'foo' is ignored\n")
    assert "the create trigger is pending\n" in said


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("0", 0), ("1700000000", 1700000000), ("1970-01-02", 86400), ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01T01:00:00+01:00", 0), ("1969-12-31", -86400),
    ],
)  # fmt: skip
def test_date_is_number_of_seconds_or_text_in_utc(date, seconds, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    assert seconds_of(date) == seconds


@pytest.mark.parametrize("date", ["²", "1" * 16, "tomorrow", ""])
def test_an_invalid_date_is_refused_with_an_example(date):
    with pytest.raises(UsageError) as caught:
        seconds_of(date)
    assert caught.value.message == f"invalid date '{date}'"
    assert caught.value.hint == "for example: 2026-12-31T00:00:00Z"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (1 << 30, "1.0 GiB"),
        ((1 << 40) - (1 << 30), "1023.0 GiB"), (1 << 40, "1.0 TiB"), (3 << 50, "3072.0 TiB"),
    ],
)  # fmt: skip
def test_a_size_is_shown_with_the_largest_unit_that_fits(number, text):
    assert size(number) == text
