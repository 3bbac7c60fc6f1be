"""Audits of hostile images: every trick is found, and every audit is fast."""

import errno
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from templater.checks.audit_report import audit_report
from templater.cli.run_command_line import main
from tests.processor_time import ends_within

METADATA = (
    b"architecture: x86_64\ncreation_date: 1\ntemplates:\n  /etc/x: {when: [create], template: a.tpl}\n"
)


def archive(path: Path, *members: tarfile.TarInfo) -> str:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in (("metadata.yaml", METADATA), ("templates/a.tpl", b"good")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in members:
            tar.addfile(info, io.BytesIO(b"evil"[: info.size]))
    return str(path)


def member(name: str, type: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = type, size, "/" if type == tarfile.SYMTYPE else ""
    return info


def severities(image: str, capfd: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return the highest severity of each check with a finding."""
    assert main(["audit", image, "--json"]) == 1
    findings = json.loads(capfd.readouterr().out)["findings"]  # the most severe findings are first
    return {found["check"]: found["severity"] for found in reversed(findings)}


@pytest.mark.parametrize("spelled", ["templates//a.tpl", "templates/./a.tpl", "././templates/a.tpl"])
def test_a_duplicate_template_is_found_under_every_spelling_of_its_path(
    tmp_path: Path, spelled: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert severities(archive(tmp_path / "a.tar", member(spelled, size=4)), capfd) == {"layout": "high"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rootfs", "templates", "metadata.yaml"])
@pytest.mark.parametrize(
    ("spelled", "check", "severity"),
    [
        ("././{}", "layout", "critical"), (".//{}", "layout", "critical"), ("./././{}", "layout", "critical"),
        ("{}/.", "unreadable", "high"), ("{}//", "layout", "critical"),
    ],
)  # fmt: skip
def test_a_link_is_found_under_every_spelling_of_its_path(
    tmp_path: Path, name: str, spelled: str, check: str, severity: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = severities(archive(tmp_path / "a.tar", member(spelled.format(name), tarfile.SYMTYPE)), capfd)
    assert found[check] == severity


@pytest.mark.slow
@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_archive_is_reported_if_tar_programs_disagree_about_it(
    tmp_path: Path, type: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """tar programs disagree whether data follows a directory member that has a size."""
    path = tmp_path / "a.tar"
    archive(path, member("rootfs/z", type))
    data = path.read_bytes()
    at = data.index(b"rootfs/z")
    block = bytearray(data[at : at + 512])
    block[124:136] = b"00000001000\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(data[:at] + bytes(block) + data[at + 512 :])
    assert severities(str(path), capfd)["unreadable"] == "high"
    assert main(["unpack", str(path), str(tmp_path / "c1")]) == 2
    assert "has data" in capfd.readouterr().err


def linked(name: str, target: str) -> tarfile.TarInfo:
    info = member(name, tarfile.LNKTYPE)
    info.linkname = target
    return info


@pytest.mark.slow
@pytest.mark.parametrize(
    "members",
    [
        [linked("rootfs/etc/x", "metadata.yaml")],
        [linked("rootfs/etc/x", "./templates//a.tpl")],
        [member("rootfs/x", size=4), linked("templates/b.tpl", "rootfs/x")],
        [member("rootfs/x", size=4), linked("backup.yaml", "rootfs/x")],
    ],
)
def test_a_hard_link_between_rootfs_and_templates_is_found(
    tmp_path: Path, members: list[tarfile.TarInfo], capfd: pytest.CaptureFixture[str]
) -> None:
    """tar makes one file for both ends of a hard link.

    A container could thus write a template that a daemon reads.
    """
    assert severities(archive(tmp_path / "a.tar", *members), capfd)["member-link"] == "critical"
    assert main(["unpack", str(tmp_path / "a.tar"), str(tmp_path / "c1")]) in (0, 3)
    made = [path for path in (tmp_path / "c1").rglob("*") if path.is_file()]
    assert all(path.stat().st_nlink == 1 for path in made)


def test_folder_and_link_of_one_name_are_reported_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    twice = [member("rootfs/l", tarfile.DIRTYPE), member("rootfs/l", tarfile.SYMTYPE)]
    assert severities(archive(tmp_path / "a.tar", *twice, *twice), capfd) == {"member-twice": "medium"}


def test_an_archive_may_list_the_same_folder_twice(tmp_path: Path) -> None:
    twice = [member("rootfs/l", tarfile.DIRTYPE)] * 2
    assert main(["audit", archive(tmp_path / "a.tar", *twice)]) == 0


def image_folder(top: Path) -> Path:
    (top / "image/templates").mkdir(parents=True)
    (top / "image/metadata.yaml").write_bytes(METADATA)
    (top / "image/templates/a.tpl").write_text("good")
    return top / "image"


def test_attack_58_a_note_says_that_the_archive_was_partly_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    twice = archive(tmp_path / "twice.tar", member("rootfs/x"), member("metadata.yaml", tarfile.SYMTYPE))
    (tmp_path / "c0").mkdir()
    for image, words, code, says in (
        (twice, ["preview"], 0, True),
        (twice, ["audit"], 1, False),
        (twice, ["unpack"], 3, False),
        (twice, ["apply", "-t", "create"], 0, True),
        (str(image_folder(tmp_path)), ["preview"], 0, False),
    ):
        target = {"unpack": [str(tmp_path / "c1")], "apply": [str(tmp_path / "c0")]}.get(words[0], [])
        assert main([words[0], image, *target, *words[1:]]) == code
        assert ("the archive was read up to its last template" in capfd.readouterr().err) == says


HIDING = {
    "mark": 'properties:\n  os: x\n  description:\n\ufeff    "a: 1\ntemplates:\n  /b: {when: [create], template: a.tpl}\nend: x"\n',
    "tag": "x: &c {templates: {/b: {when: [create], template: a.tpl}}}\n! <<: *c\n",
    "tag before quotes": "x: &c {templates: {/b: {when: [create], template: a.tpl}}}\n! '<<': *c\n",
}


@pytest.mark.parametrize("text", HIDING.values(), ids=HIDING)
def test_attack_81_rules_recognised_only_by_the_daemons_are_found(
    tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    image = image_folder(tmp_path)
    (image / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n" + text)
    assert severities(str(image), capfd)["unreadable"] == "high"
    assert main(["preview", str(image)]) == 2


@pytest.mark.slow
def test_deeply_nested_directories_are_checked_quickly(tmp_path: Path) -> None:
    """700 levels once took eleven seconds, and 1,500 took minutes."""
    deep = [member("rootfs/" + "d/" * depth, tarfile.DIRTYPE) for depth in range(1, 1500)]
    image = archive(tmp_path / "a.tar", *deep)
    with ends_within(10):
        assert main(["audit", image]) == 0


TEMPLATES = {
    "config names in a comment": "{# " + "{{ config." * 1000 + " #}",
    "config names": "{{ config." * 2000,
    "openings": "{{ " * 2000,
    "openings with calls": "{{ config_get(" * 5_000,
    "words": '"' + "password" * 5_000,
    "words in an expression": '{{ "' + "password" * 5_000,
    "quotes": "{{ " + "'\"" * 10_000,
    "filters": "{{ config_get" + "|upper" * 5_000 + " }}",
    "tags": "{%" * 15_000,
    "underscores": "{{ " + "__a" * 15_000,
    "spaces": ("{%" + " " * 200) * 150,
    "lines": "x {{ config.a }}\n" * 1500,
    "braces": "{" * 30_000,
    "attr": "{{" + "| " * 15_000,
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.slow
def test_attack_47_every_template_is_audited_quickly(tmp_path: Path, name: str) -> None:
    """Regular expressions of two checks once took hours for 350 compressed bytes."""
    folder = image_folder(tmp_path)
    (folder / "templates/a.tpl").write_text(TEMPLATES[name])
    with ends_within(2):
        main(["audit", str(folder)])


@pytest.mark.slow
def test_attack_56_many_rules_with_the_same_target_file_are_checked_quickly(tmp_path: Path) -> None:
    """Each pair of rules was a finding, and each rule decoded its template again."""
    folder = image_folder(tmp_path)
    (folder / "templates/a.tpl").write_text('{{ config_get("password", "") }}' + "x" * 500_000)
    rules = "".join(f"  /{'./' * number}x: {{when: [create], template: a.tpl}}\n" for number in range(300))
    (folder / "metadata.yaml").write_text(f"architecture: a\ncreation_date: 1\ntemplates:\n{rules}")
    with ends_within(8):
        assert main(["audit", str(folder), "--limit", "time=1"]) == 1


@pytest.mark.slow
def test_attack_15_a_long_link_chain_is_followed_within_a_limit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder(tmp_path)
    rules = "".join(f"  /l39/{number}: {{when: [create], template: a.tpl}}\n" for number in range(2000))
    (folder / "metadata.yaml").write_text(f"architecture: a\ncreation_date: 1\ntemplates:\n{rules}")
    (folder / "rootfs/d").mkdir(parents=True)
    for number in range(40):
        target = "d/../" * 800 + (f"l{number - 1}" if number else "d")
        (folder / f"rootfs/l{number}").symlink_to(target)
    with ends_within(8):
        assert main(["audit", str(folder), "--limit", "time=1"]) == 1
    assert (
        "the paths of all rules together lead through too many directories and links"
        in capfd.readouterr().out
    )


def test_an_audit_counts_the_findings_that_are_too_minor_to_show(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder(tmp_path)
    for name in ("README", "Makefile", "tests"):
        (folder / name).touch()
    assert main(["audit", str(folder)]) == 0
    assert capfd.readouterr().err == f"{folder}: nothing found; 4 more at level info\n"
    assert main(["audit", str(folder), "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"image": str(folder), "findings": [], "hidden": {"info": 4}}


def test_many_findings_of_one_kind_are_summarised(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = image_folder(tmp_path)
    for number in range(250):
        (folder / f"{number:03}").touch()
    assert main(["audit", str(folder), "--at-least", "info"]) == 1
    out, err = capfd.readouterr()
    assert "layout                50 more findings of this kind" in out
    assert err.endswith(": 202 info\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_templates_below_a_mount_point_are_not_reported_as_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder(tmp_path)
    command = f"mount -t tmpfs none {folder}/templates && exec {sys.executable} -m templater audit {folder}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"NOT RUN: {done.stderr}")
    assert "'templates' is a mount point, so its files were not read" in done.stdout
    assert "not in the image" not in done.stdout


@pytest.mark.skipif(not hasattr(os, "listxattr"), reason="NOT RUN: needs extended attributes")
@pytest.mark.parametrize("number", [errno.E2BIG, errno.EIO])
def test_attack_60_privileges_are_found_even_if_attributes_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The kernel lists at most 64 KiB of attribute names.

    templater treated a longer list as empty, and so missed an ACL.
    """
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "metadata.yaml").write_bytes(METADATA)
    for name in ("ld.so.preload", *(f"x{number}" for number in range(20))):
        (tmp_path / "rootfs/etc" / name).touch()

    def listed(path: str, **_: bool) -> list[str]:
        if path.endswith(("/ld.so.preload", *"0123456789")):
            raise OSError(number, os.strerror(number))
        return []

    def read(path: str, name: str, **_: bool) -> bytes:
        if path.endswith("/ld.so.preload") and name != "system.posix_acl_default":
            return b"x"
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    monkeypatch.setattr("os.listxattr", listed)
    monkeypatch.setattr("os.getxattr", read)
    found = audit_report(str(tmp_path), None, at_least="info")["findings"]
    said = {each["message"]: each["severity"] for each in found}
    assert said["'/etc/ld.so.preload' has an ACL, which can let users write it"] == "high"
    assert said["files with capabilities: 1 (rootfs/etc/ld.so.preload)"] == "info"
    unlisted = [message for message in said if "ld.so.preload" in message and "attributes" in message]
    if number == errno.E2BIG:
        place = "/rootfs/etc/ld.so.preload"
        assert unlisted == [f"the names of the extended attributes of '{place}' have more than 64 KiB"]
    assert said["further files have extended attributes that can't be listed"] == "high"
    assert len([each for each in found if each["check"] == "unreadable"]) == 9
