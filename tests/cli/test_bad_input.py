"""Bad input: one clear error with its place, the documented exit code, and an untouched root filesystem."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from templater.cli.run_command_line import main

SAMPLE = Path(__file__).resolve().parents[2] / "sample-images" / "debian-cloud"
ONE_RULE = "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /etc/greeting:\n    when: [create]\n    template: t.tpl\n"


def fingerprint(tree: Path) -> dict:
    """Return everything that `apply` could change: names, types, owners, modes, times, bytes, attributes."""
    found = {}
    for folder, folders, files in os.walk(tree):
        for name in ["", *folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = None
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            attributes = [
                (a, os.getxattr(path, a, follow_symlinks=False))
                for a in os.listxattr(path, follow_symlinks=False)
            ]
            found[path] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_nlink, status.st_mtime_ns,
                status.st_ctime_ns, content, attributes,
            )  # fmt: skip
    return found


@pytest.fixture
def rootfs(tmp_path):
    root = tmp_path / "rootfs"
    shutil.copytree(SAMPLE / "rootfs", root, symlinks=True)
    return root


def image(tmp_path, metadata=ONE_RULE, **templates):
    folder = tmp_path / "image"
    (folder / "templates").mkdir(parents=True)
    (folder / "metadata.yaml").write_text(metadata)
    for name, text in templates.items():
        (folder / "templates" / f"{name}.tpl").write_text(text)
    return folder


def packed(folder, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name in ("metadata.yaml", "templates"):
            tar.add(folder / name, name)
    return buffer.getvalue()


def missing(tmp_path):
    return tmp_path / "nosuch.tar.xz"


def cut_short(kind):
    def make(tmp_path):
        data = packed(SAMPLE, f"w:{kind}")
        (tmp_path / "image.tar").write_bytes(data[: len(data) // 2])
        return tmp_path / "image.tar"

    return make


def holding(data):
    def make(tmp_path):
        (tmp_path / "image.tar.xz").write_bytes(data)
        return tmp_path / "image.tar.xz"

    return make


def with_metadata(text):
    return lambda tmp_path: image(tmp_path, text, t="{{ container.name }}\n")


def with_template(text):
    return lambda tmp_path: image(tmp_path, t=text)


def with_rule(field):
    return lambda tmp_path: image(tmp_path, f"{ONE_RULE}    {field}\n", t="{{ container.name }}\n")


SQUASHFS = b"hsqs" + bytes(200)
QCOW2 = b"QFI\xfb\x00\x00\x00\x03" + bytes(200)

#: name, setup, exit codes of preview and apply, and the expected message including its place
CASES = [
    ("a missing file", missing, 2, 2, ["nosuch.tar.xz"]),
    ("a plain archive cut short", cut_short(""), 2, 2, ["image.tar"]),
    ("a gzip archive cut short", cut_short("gz"), 2, 2, ["image.tar"]),
    ("a bzip2 archive cut short", cut_short("bz2"), 2, 2, ["image.tar"]),
    ("an xz archive cut short", cut_short("xz"), 2, 2, ["image.tar"]),
    ("an empty file", holding(b""), 2, 2, ["image.tar.xz", "empty"]),
    ("a squashfs", holding(SQUASHFS), 2, 2, ["image.tar.xz", "squashfs"]),
    ("a qcow2 disk", holding(QCOW2), 2, 2, ["image.tar.xz", "qcow2"]),
    ("a zip", holding(b"PK\x03\x04" + bytes(100)), 2, 2, ["image.tar.xz", "zip"]),
    ("a text", holding(b"hello, this is no image\n" * 40), 2, 2, ["image.tar.xz"]),
    ("noise in gzip", holding(gzip.compress(os.urandom(4096))), 2, 2, ["image.tar.xz"]),
    ("noise in bzip2", holding(bz2.compress(os.urandom(4096))), 2, 2, ["image.tar.xz"]),
    ("noise in xz", holding(lzma.compress(os.urandom(4096))), 2, 2, ["image.tar.xz"]),
    ("a metadata.yaml that is a list", with_metadata("- a\n- b\n"), 2, 2, ["metadata.yaml:1:1"]),
    ("a metadata.yaml that is a word", with_metadata("hello\n"), 2, 2, ["metadata.yaml:1:1"]),
    ("broken YAML", with_metadata("templates: {\n  a: [\n"), 2, 2, ["metadata.yaml:"]),
    ("a rule that is a list", with_metadata("templates:\n  /etc/a: [1]\n"), 2, 2, ["metadata.yaml:2:11"]),
    ("when without a list", with_rule("properties: []"), 2, 2, ["metadata.yaml:7:17"]),
    ("a deep metadata.yaml", with_metadata("a: " + "[" * 60_000), 4, 4, ["metadata.yaml:1:"]),
    ("a missing template", lambda tmp_path: image(tmp_path), 5, 5, ["t.tpl", "metadata.yaml:6:15"]),
    ("a syntax error", with_template("a\nb {% if x %}\n"), 5, 5, ["t.tpl:2:"]),
    ("an unknown filter", with_template("\n  {{ container.name|uper }}\n"), 5, 5, ["t.tpl:2:21", "'uper'"]),
    ("an unknown tag", with_template("{% iff x %}"), 5, 5, ["t.tpl:1:4", "iff"]),
    ("a banned tag", with_template('{% include "x" %}'), 5, 5, ["t.tpl:1:4", "include"]),
    ("an error while rendering", with_template('x\n{{ config_get("a") }}'), 5, 5, ["t.tpl:2:4"]),
    ("an endless macro", with_template("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), 5, 4, ["t.tpl:1:"]),
    ("a bad mode", with_rule("mode: rwxr"), 5, 2, ["metadata.yaml:7:11", "rwxr"]),
    ("a bad uid", with_rule("uid: root"), 5, 2, ["metadata.yaml:7:10", "root"]),
    ("a bad gid", with_rule("gid: 99999999999"), 5, 2, ["metadata.yaml:7:10"]),
    ("a path out of the root", with_metadata(ONE_RULE.replace("/etc/g", "/../../g")), 5, 3, ["metadata.yaml:4:3"]),
    ("a path that is the root", with_metadata(ONE_RULE.replace("/etc/greeting", "/")), 5, 3, ["metadata.yaml:4:3"]),
    ("a template elsewhere", with_metadata(ONE_RULE.replace("t.tpl", "../t.tpl")), 5, 3, ["metadata.yaml:6:15"]),
]  # fmt: skip


def run(capfd, *arguments):
    """Run a command. Return its exit code and all output, and let the test fail at an exception."""
    code = main([os.fspath(argument) for argument in arguments])
    said = capfd.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize(
    ("make", "previewed", "applied", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
class TestBadImages:
    def test_the_preview_command_reports_a_template_error_with_its_position(
        self, make, previewed, applied, says, tmp_path, capfd
    ):
        code, said = run(capfd, "preview", make(tmp_path), "-t", "create")
        assert (code, [text for text in says if text not in said]) == (previewed, []), said

    def test_apply_reports_a_template_error_without_changing_anything(
        self, make, previewed, applied, says, tmp_path, rootfs, capfd
    ):
        before = fingerprint(rootfs)
        code, said = run(capfd, "apply", make(tmp_path), rootfs, "-t", "create")
        assert (code, [text for text in says if text not in said]) == (applied, []), said
        assert fingerprint(rootfs) == before

    def test_the_diff_command_does_not_change_the_root_filesystem(
        self, make, previewed, applied, says, tmp_path, rootfs, capfd
    ):
        before = fingerprint(rootfs)
        code, said = run(capfd, "diff", make(tmp_path), rootfs, "-t", "create")
        assert code == previewed, said
        assert fingerprint(rootfs) == before


INSTANCES = [
    ("a missing instance", None, ["-i", "nosuch.yaml"], ["nosuch.yaml"]),
    ("no mapping", "- a\n", ["-i", "web.yaml"], ["web.yaml"]),
    ("broken YAML", "config: {a: [\n", ["-i", "web.yaml"], ["web.yaml:"]),
    ("broken JSON", '[{"name": "a",', ["-i", "web.yaml"], ["web.yaml:"]),
    ("a list of several", '[{"name":"a"},{"name":"b"}]', ["-i", "web.yaml"], ["#"]),
    ("one that is not there", '[{"name":"a"},{"name":"b"}]', ["-i", "web.yaml#c"], ["'c'"]),
    ("config that is a list", "name: a\nconfig: [1]\n", ["-i", "web.yaml"], ["web.yaml:2:9"]),
    ("no KEY=VALUE", None, ["-c", "novalue"], ["'novalue'"]),
    ("a missing value file", None, ["-c", "user.a=@nosuch"], ["nosuch"]),
    ("no device", None, ["-d", "eth0"], ["'eth0'"]),
    ("a missing profile", None, ["-p", "nosuch.yaml"], ["nosuch.yaml"]),
    ("an unknown trigger", None, ["-t", "boot"], ["'boot'"]),
    ("an unknown host", None, ["--as", "docker"], ["docker"]),
    ("a contradiction", None, ["--vm", "--type", "container"], ["--vm"]),
]


@pytest.mark.parametrize(
    ("text", "arguments", "says"), [i[1:] for i in INSTANCES], ids=[i[0] for i in INSTANCES]
)
def test_an_invalid_instance_or_option_gives_exit_code_2(text, arguments, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "web.yaml").write_text(text)
    code, said = run(capfd, "preview", SAMPLE, *arguments)
    assert (code, [word for word in says if word not in said]) == (2, []), said


@pytest.mark.parametrize("place", ["nosuch", "file"])
def test_an_invalid_rootfs_is_reported(place, tmp_path, capfd):
    (tmp_path / "file").write_text("not a folder")
    code, said = run(capfd, "apply", SAMPLE, tmp_path / place, "-t", "create")
    assert code in (2, 3), said
    assert place in said


@pytest.mark.parametrize("option", ["-i", "-p"])
@pytest.mark.parametrize(("suffix", "kind"), [("", "tar"), (":gz", "gzip"), (":xz", "xz"), (":bz2", "bzip2")])
def test_an_archive_is_refused_as_an_instance_description(option, suffix, kind, tmp_path, capfd):
    place = tmp_path / "web.tar"
    with tarfile.open(place, f"w{suffix}") as archive:
        archive.add(SAMPLE / "metadata.yaml", "metadata.yaml")
    assert main(["preview", str(SAMPLE), option, str(place)]) == 2
    said = capfd.readouterr().err
    assert f"'{place}' is a {kind} file, so it does not describe an instance or a profile" in said
    assert "UTF-8" not in said


def test_a_large_archive_is_refused_as_an_instance_description(tmp_path, capfd):
    place = tmp_path / "web.tar"
    with tarfile.open(place, "w") as archive:
        member = tarfile.TarInfo("rootfs/large")
        member.size = 64 << 20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    assert main(["preview", str(SAMPLE), "-i", str(place)]) == 2
    assert "is a tar file" in capfd.readouterr().err


@pytest.mark.parametrize("option", ["", "#x"])
def test_an_instance_description_in_utf_16_is_accepted(option, tmp_path, capfd):
    (tmp_path / "web.yaml").write_bytes("name: x\n".encode("utf-16"))
    assert main(["preview", str(SAMPLE), "-i", f"{tmp_path}/web.yaml{option}"]) == 0


def test_apply_requires_a_trigger(rootfs, capfd):
    code, said = run(capfd, "apply", SAMPLE, rootfs)
    assert code == 2
    assert "--trigger" in said


def test_apply_refuses_a_virtual_machine_without_the_as_agent_option(rootfs, capfd):
    before = fingerprint(rootfs)
    code, said = run(capfd, "apply", SAMPLE, rootfs, "-t", "create", "--vm")
    assert code == 3
    assert "--as-agent" in said
    assert fingerprint(rootfs) == before


def test_apply_writes_nothing_if_one_rule_fails(tmp_path, rootfs, capfd):
    two = ONE_RULE + "  /etc/other:\n    when: [create]\n    template: bad.tpl\n"
    before = fingerprint(rootfs)
    code, _ = run(
        capfd, "apply", image(tmp_path, two, t="fine\n", bad="{{ x|nosuch }}"), rootfs, "-t", "create"
    )
    assert code == 5
    assert fingerprint(rootfs) == before
