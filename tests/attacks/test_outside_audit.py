"""What an audit must see however an archive spells it."""

import io
import json
import tarfile
import time
from pathlib import Path

import pytest

from templater.cli import main

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
    assert main(["audit", image, "--json"]) == 1
    return {found["check"]: found["severity"] for found in json.loads(capfd.readouterr().out)["findings"]}


@pytest.mark.parametrize("spelled", ["templates//a.tpl", "templates/./a.tpl", "././templates/a.tpl"])
def test_a_second_template_is_seen_however_it_is_spelled(
    tmp_path: Path, spelled: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert severities(archive(tmp_path / "a.tar", member(spelled, size=4)), capfd) == {"layout": "high"}


@pytest.mark.parametrize("name", ["rootfs", "templates", "metadata.yaml"])
@pytest.mark.parametrize("spelled", ["././{}", ".//{}", "./././{}", "{}/.", "{}//"])
def test_a_link_is_seen_however_it_is_spelled(
    tmp_path: Path, name: str, spelled: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = severities(archive(tmp_path / "a.tar", member(spelled.format(name), tarfile.SYMTYPE)), capfd)
    assert found["layout"] == "critical"


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_what_two_readers_would_read_differently_is_no_archive(
    tmp_path: Path, type: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """GNU tar skips the size that a directory claims; Go, and we, would find the next header there."""
    path = tmp_path / "a.tar"
    archive(path, member("rootfs/z", type))
    data = path.read_bytes()
    at = data.index(b"rootfs/z")
    block = bytearray(data[at : at + 512])
    block[124:136] = b"00000001000\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(data[:at] + bytes(block) + data[at + 512 :])
    assert severities(str(path), capfd)["unreadable"] in ("medium", "high")
    assert main(["unpack", str(path), str(tmp_path / "c1")]) == 2
    assert "carries data" in capfd.readouterr().err


def linked(name: str, target: str) -> tarfile.TarInfo:
    info = member(name, tarfile.LNKTYPE)
    info.linkname = target
    return info


@pytest.mark.parametrize(
    "members",
    [
        [linked("rootfs/etc/x", "metadata.yaml")],
        [linked("rootfs/etc/x", "./templates//a.tpl")],
        [member("rootfs/x", size=4), linked("templates/b.tpl", "rootfs/x")],
        [member("rootfs/x", size=4), linked("backup.yaml", "rootfs/x")],
    ],
)
def test_one_file_inside_and_outside_of_the_rootfs_is_seen(
    tmp_path: Path, members: list[tarfile.TarInfo], capfd: pytest.CaptureFixture[str]
) -> None:
    """tar makes one file of both names: what the container writes, the daemon would read."""
    assert severities(archive(tmp_path / "a.tar", *members), capfd)["member-link"] == "critical"
    assert main(["unpack", str(tmp_path / "a.tar"), str(tmp_path / "c1")]) in (0, 3)
    made = [path for path in (tmp_path / "c1").rglob("*") if path.is_file()]
    assert all(path.stat().st_nlink == 1 for path in made)


def test_a_folder_that_becomes_a_link_is_seen_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    twice = [member("rootfs/l", tarfile.DIRTYPE), member("rootfs/l", tarfile.SYMTYPE)]
    assert severities(archive(tmp_path / "a.tar", *twice, *twice), capfd) == {"member-twice": "medium"}


def test_a_folder_may_come_twice(tmp_path: Path) -> None:
    twice = [member("rootfs/l", tarfile.DIRTYPE)] * 2
    assert main(["audit", archive(tmp_path / "a.tar", *twice)]) == 0


def image_folder(top: Path) -> Path:
    (top / "image/templates").mkdir(parents=True)
    (top / "image/metadata.yaml").write_bytes(METADATA)
    (top / "image/templates/a.tpl").write_text("good")
    return top / "image"


def test_attack_58_who_stops_before_a_second_member_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody has to know how images are read to know what was not looked at."""
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


def test_folders_without_end_are_judged_at_once(tmp_path: Path) -> None:
    """Cubic work once: 700 levels took eleven seconds, 1500 minutes."""
    deep = [member("rootfs/" + "d/" * depth, tarfile.DIRTYPE) for depth in range(1, 1500)]
    image = archive(tmp_path / "a.tar", *deep)
    before = time.process_time()
    assert main(["audit", image]) == 0
    assert time.process_time() - before < 10
