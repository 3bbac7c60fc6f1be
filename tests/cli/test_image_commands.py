"""The image commands' small promises: what they refuse, warn of and show."""

import io
import json
import shutil
from pathlib import Path

import pytest

from templater.cli import main

ALPINE = Path(__file__).resolve().parent.parent.parent / "sample-images" / "alpine"


@pytest.fixture
def image(tmp_path):
    return Path(shutil.copytree(ALPINE, tmp_path / "image"))


@pytest.fixture
def typed(monkeypatch, capfd):
    """A command with this on its standard input: exit code, output, what is said."""

    def run(*arguments, given=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return run


def creation(image, *more, path="/etc/motd"):
    return ("image", "template", "create", image, "motd.tpl", path, "--when", "start", *more)


@pytest.mark.parametrize("mode", ["4755", "1755", "75", "07555", "0789"])
def test_a_mode_that_the_daemons_read_otherwise_is_refused(image, typed, mode):
    code, _, said = typed(*creation(image, "--mode", mode), given=b"x")
    assert code == 2
    assert f"'{mode}' is n" in said


@pytest.mark.parametrize("mode", ["755", "0755"])
def test_a_mode_is_octal_with_three_digits_or_a_zero_in_front(image, typed, mode):
    assert typed(*creation(image, "--mode", mode), given=b"x")[0] == 0


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_a_rule_for_no_file_at_all_is_refused(image, typed, path):
    before = (image / "metadata.yaml").read_bytes()
    code, _, said = typed(*creation(image, path=path), given=b"x")
    assert (code, f"'{path}' is no path of a file" in said) == (2, True)
    assert (image / "metadata.yaml").read_bytes() == before


def test_a_template_that_does_not_compile_is_warned_of_with_its_place(image, typed):
    code, _, said = typed(*creation(image), given=b"one\n{% if %}")
    assert code == 0
    assert "warning: " in said
    assert f"{image}/templates/motd.tpl:2:" in said
    assert typed("image", "template", "edit", image, "motd.tpl", given=b"fine")[2].count("warning") == 0
    assert "warning: " in typed("image", "template", "edit", image, "motd.tpl", given=b"{{")[2]


def test_an_empty_standard_input_does_not_empty_a_template(image, typed):
    template = image / "templates" / "inittab.tpl"
    before = template.read_bytes()
    code, _, said = typed("image", "template", "edit", image, "inittab.tpl")
    assert (code, template.read_bytes()) == (2, before)
    assert "--from /dev/null" in said
    assert typed("image", "template", "edit", image, "inittab.tpl", "--from", "/dev/null")[0] == 0
    assert template.read_bytes() == b""


def test_the_path_that_is_empty_is_quoted(image, typed):
    (image / "metadata.yaml").write_text("templates: {'': {when: [create], template: hostname.tpl}}\n")
    assert "==> ''  failed" in typed("preview", image)[1]


RULED = """architecture: x86_64
creation_date: 1
templates:
  /etc/a: {when: [create], template: hostname.tpl, create_only: true, mode: "0600", uid: "5", gid: "6"}
  /etc/b: {when: [start, copy], template: hostname.tpl}
"""


def test_what_a_rule_says_of_its_file_is_listed(image, typed):
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


def test_a_change_that_changes_nothing_is_said_to(image, typed, tmp_path):
    tarball = tmp_path / "image.tar"
    built = typed("image", "build", image, "-o", tarball, "--compression", "none")[1]
    code, out, said = typed("image", "set-property", tarball, "os=alpine")
    assert (code, out, said) == (0, built, f"{tarball} is as it was\n")


def test_a_folder_without_rootfs_is_told_what_an_image_has(image, typed, tmp_path):
    shutil.rmtree(image / "rootfs")
    code, _, said = typed("image", "build", image, "-o", tmp_path / "image.tar")
    assert code == 2
    assert "hint: an image has its files in a directory 'rootfs'" in said


def test_an_editor_that_fails_is_an_error_of_ours(monkeypatch):
    monkeypatch.setenv("VISUAL", "false")
    from templater.cli.image_edit import in_editor
    from templater.errors import UsageError

    with pytest.raises(UsageError, match="the editor failed, and the image is as it was: false") as caught:
        in_editor("x", ".yaml")
    assert "$EDITOR" in caught.value.hint
