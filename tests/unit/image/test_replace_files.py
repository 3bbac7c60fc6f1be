"""Parts of an image replaced: everything else stays as it is, to the byte."""

import contextlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater import oslite
from templater.image import replace_files
from templater.image.fingerprint import fingerprint
from templater.image.open_image import open_image
from templater.image.replace_files import replace
from templater.model.errors import InputError, RefusedError, TemplaterError
from templater.rootfs import disk_sync
from tests.image_archives import END, file, global_header, header, pax
from tests.unit.image.test_build_unpack import image_directory, packed, root_only, same_tree, without_xattrs
from tests.unit.image.test_open_image import METADATA, special, tarball

__all__ = ["image_directory"]


@root_only
@pytest.mark.parametrize("tar", ["pax", "gnu"])
def test_repacking_without_changes_gives_the_same_file(image_directory, tmp_path, tar):
    if tar == "gnu":
        without_xattrs(image_directory)
    (file,) = packed(image_directory, tmp_path / "i", compression="none", tar=tar).files
    before = Path(file).read_bytes()
    found = replace(file, {})
    assert Path(file).read_bytes() == before and found.old == found.new == fingerprint(file)
    replace(file, {"metadata.yaml": METADATA.encode()})
    if tar == "pax":
        assert Path(file).read_bytes() == before


@pytest.mark.slow
@root_only
@pytest.mark.parametrize("format", ["gnu", "posix"])
@pytest.mark.parametrize("compression", ["none", "zstd", "xz"])
def test_repacking_keeps_members_in_the_gnu_tar_format_unchanged(
    image_directory, tmp_path, format, compression
):
    if format == "gnu":
        without_xattrs(image_directory)
    xattrs = ["--xattrs", "--xattrs-include=*"] if format == "posix" else []
    order = ["rootfs", "templates", "metadata.yaml"]
    subprocess.run(
        [
            "tar",
            "-C",
            image_directory,
            "--sparse",
            *xattrs,
            f"--format={format}",
            "-cf",
            tmp_path / "i",
            *order,
        ],
        check=True,
    )
    file = tmp_path / "i"
    if compression != "none":
        subprocess.run([compression, "-q", file], check=True)
        (file,) = (path for path in tmp_path.iterdir() if path.name.startswith("i."))
    file.chmod(0o640)
    (image_directory / "metadata.yaml").write_text(METADATA + "expiry_date: 7\n")
    old = fingerprint(str(file))
    found = replace(str(file), {"metadata.yaml": (METADATA + "expiry_date: 7\n").encode()})
    assert found.old == old != found.new == fingerprint(str(file))
    assert file.stat().st_mode & 0o777 == 0o640
    same_tree(image_directory, file, into=tmp_path / "out")


def names_of(path):
    with tarfile.open(path) as archive:
        return archive.getnames()


def test_repacking_adds_and_removes_templates(tmp_path):
    members = [("rootfs", None), ("metadata.yaml", METADATA), ("templates", None), ("templates/a", "A")]
    path = tarball(tmp_path / "i.tar", members)
    replace(path, {"templates/a": b"B"}, {"templates/new": b"N"})
    assert names_of(path) == ["rootfs", "metadata.yaml", "templates/new", "templates", "templates/a"]
    read = open_image(path).read_templates(["a", "new"])
    assert (read["a"].data, read["new"].data) == (b"B", b"N")
    replace(path, {"templates/new": None, "templates/a": None})
    assert names_of(path) == ["rootfs", "metadata.yaml", "templates"]


def owners(path):
    """Return what GNU tar shows of each member: name, ids and time."""
    done = subprocess.run(
        ["tar", "--numeric-owner", "--utc", "--full-time", "-tvf", path],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[5]: (row[1], f"{row[3]} {row[4]}") for row in rows}


@pytest.mark.parametrize(
    ("changes", "added"),
    [({"metadata.yaml": METADATA.encode()}, {}), ({"templates/a": b"B"}, {}), ({"templates/a": None}, {}), ({}, {"templates/b": b"B"})],
)  # fmt: skip
def test_attack_60_repacking_keeps_owners_and_times_from_global_headers(tmp_path, changes, added):
    """The global headers before a changed member were dropped: a setuid file of a user became root's."""
    shared = global_header({"uid": b"1000", "gid": b"1001", "mtime": b"1600000000"})
    own = pax({"uid": b"0", "gid": b"7"})
    (tmp_path / "i.tar").write_bytes(
        shared + own + file("metadata.yaml", METADATA.encode()) + header("templates/", tarfile.DIRTYPE)
        + global_header({"uid": b"1000", "gid": b"1002", "mtime": b"0"}) * 10 + own + file("templates/a", b"A")
        + global_header({"uid": b"1000", "gid": b"1002", "mtime": b"1700000000"}) * 10 + file("rootfs/a", b"r", mode=0o4755, uid=5, mtime=3)
        + global_header({"uid": b"1003", "gid": b"1002", "mtime": b"1"}) + own + file("rootfs/b") + file("rootfs/c") + END
    )  # fmt: skip
    before = owners(tmp_path / "i.tar")
    assert before["rootfs/a"] == ("1000/1002", "2023-11-14 22:13:20")
    assert (before["metadata.yaml"][0], before["rootfs/b"][0], before["rootfs/c"][0]) == (
        "0/7",
        "0/7",
        "1003/1002",
    )
    replace(str(tmp_path / "i.tar"), changes, added)
    for name, data in changes.items():
        if data is None:
            del before[name]
    before |= dict.fromkeys(added, ("0/0", before["metadata.yaml"][1]))
    assert owners(tmp_path / "i.tar") == before
    assert open_image(tmp_path / "i.tar").read_metadata().text == METADATA


@pytest.mark.parametrize(
    "target",
    ["templates/a.tpl", "templates//a.tpl", "./templates/./a.tpl", "/templates/a.tpl", "rootfs/../templates/a.tpl",
     "links/a.tpl", "metadata.yaml"],
)  # fmt: skip
def test_a_hard_link_to_a_file_outside_rootfs_prevents_repacking(target, tmp_path):
    """If the archive were repacked, the daemon would get the new content under the name of the link, too."""
    link = special("templates/b.tpl", tarfile.LNKTYPE, target)
    path = tarball(tmp_path / "i.tar", [("metadata.yaml", METADATA), ("templates/a.tpl", "A"), link])
    error = untouched(Path(path), lambda: replace(str(path), {"templates/a.tpl": b"new"}))
    where = "which is outside the root filesystem"
    assert error.message == f"'templates/b.tpl' is a hard link to '{target}', {where}"


def test_repacking_an_archive_keeps_hard_links_inside_rootfs(tmp_path):
    link = special("rootfs/b", tarfile.LNKTYPE, "./rootfs/a")
    path = tarball(tmp_path / "i.tar", [("metadata.yaml", METADATA), ("rootfs/a", "A"), link])
    replace(str(path), {"metadata.yaml": METADATA.encode() + b"expiry_date: 7\n"})
    with tarfile.open(path) as archive:
        assert archive.getmember("rootfs/b").islnk()


def test_repacking_through_a_link_changes_the_target_and_keeps_the_link(tmp_path):
    (tmp_path / "store").mkdir()
    tarball(tmp_path / "store/image.tar", [("metadata.yaml", METADATA)])
    (tmp_path / "link.tar").symlink_to("store/image.tar")
    replace(str(tmp_path / "link.tar"), {"metadata.yaml": b"architecture: x86_64\ncreation_date: 2\n"})
    assert os.readlink(tmp_path / "link.tar") == "store/image.tar"
    assert open_image(tmp_path / "store/image.tar").read_metadata().text.endswith("creation_date: 2\n")
    assert sorted(os.listdir(tmp_path)) == ["link.tar", "store"]


@root_only
def test_repacking_keeps_the_owner_and_mode_of_the_tarball(tmp_path):
    tarball(tmp_path / "image.tar", [("metadata.yaml", METADATA)])
    os.chown(tmp_path / "image.tar", 1234, 5678)
    (tmp_path / "image.tar").chmod(0o640)
    replace(str(tmp_path / "image.tar"), {"metadata.yaml": b"architecture: x86_64\ncreation_date: 2\n"})
    found = (tmp_path / "image.tar").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 5678, 0o640)


def untouched(path, change):
    before = (path.read_bytes(), path.stat().st_ino, sorted(p.name for p in path.parent.iterdir()))
    with pytest.raises(TemplaterError) as caught:
        change()
    assert (path.read_bytes(), path.stat().st_ino, sorted(p.name for p in path.parent.iterdir())) == before
    return caught.value


@pytest.mark.parametrize("nameless", [True, False])
def test_other_users_cannot_read_a_private_image_during_repacking(tmp_path, monkeypatch, nameless):
    """Without O_TMPFILE, the new file had a hidden name and the mode 0644 until it was complete."""
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    file = tmp_path / "i.tar"
    tarball(file, [("metadata.yaml", METADATA)])
    file.chmod(0o640)
    modes = set()

    def look(*_):
        modes.update(path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path != file)

    replace(str(file), {"metadata.yaml": METADATA.encode()}, progress=look)
    assert modes == (set() if nameless else {0o600})
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_failed_repack_leaves_the_image_unchanged(tmp_path):
    members = [
        ("metadata.yaml", METADATA),
        ("templates/a", "A"),
        special("templates/b", tarfile.LNKTYPE, "templates/a"),
    ]
    path = Path(tarball(tmp_path / "i.tar", members))
    error = untouched(path, lambda: replace(str(path), {"templates/a": None}))
    assert isinstance(error, RefusedError) and "hard link" in str(error)
    path = Path(tarball(tmp_path / "i.tar", members[:2]))
    error = untouched(path, lambda: replace(str(path), {"templates/zz": b""}))
    assert isinstance(error, InputError) and "has no 'templates/zz'" in str(error)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    untouched(path, lambda: replace(str(path), {"metadata.yaml": b"x"}))


def test_repacking_a_directory_writes_nothing_through_links(tmp_path):
    top = tmp_path / "image"
    top.mkdir()
    (tmp_path / "canary").write_text("alive")
    (top / "metadata.yaml").symlink_to(tmp_path / "canary")
    with pytest.raises(RefusedError):
        replace(str(top), {"metadata.yaml": b"attack"})
    (top / "templates").symlink_to(tmp_path)
    for changes in (
        {"templates/canary": b"attack"},
        {"templates/canary": None},
        {"templates/new": b"attack"},
    ):
        with pytest.raises(RefusedError):
            replace(str(top), changes)
    (top / "templates").unlink()
    (top / "templates").mkdir()
    (top / "templates" / "a").symlink_to(tmp_path / "canary")
    with pytest.raises(RefusedError):
        replace(str(top), {"templates/a": b"attack"})
    assert (tmp_path / "canary").read_text() == "alive"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "image"]


def test_repacking_a_directory_keeps_file_modes_and_leaves_no_temporary_files(tmp_path):
    (tmp_path / "metadata.yaml").write_text(METADATA)
    os.chmod(tmp_path / "metadata.yaml", 0o664)
    replace(str(tmp_path), {"metadata.yaml": b"x: y\n"}, {"templates/a": b"A"})
    assert (tmp_path / "metadata.yaml").stat().st_mode & 0o7777 == 0o664
    assert (tmp_path / "templates/a").read_text() == "A"
    replace(str(tmp_path), {"templates/a": None})
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "metadata.yaml",
        "templates",
    ]


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1644])
def test_a_changed_file_in_an_image_directory_loses_its_setuid_bits(mode, tmp_path):
    (tmp_path / "metadata.yaml").write_text(METADATA)
    (tmp_path / "metadata.yaml").chmod(mode)
    replace(str(tmp_path), {"metadata.yaml": b"x: y\n"})
    assert (tmp_path / "metadata.yaml").stat().st_mode & 0o7777 == mode & 0o777


def image_with_templates(top, *names):
    (top / "templates").mkdir()
    (top / "metadata.yaml").write_text(METADATA)
    for name in names:
        (top / "templates" / name).write_text(f"old {name}")


def test_repacking_two_templates_with_similar_long_names_writes_the_right_contents(tmp_path):
    names = ["x" * 210 + "1.tpl", "x" * 210 + "2.tpl"]
    image_with_templates(tmp_path, *names)
    replace(str(tmp_path), {f"templates/{name}": name[-5:].encode() for name in names})
    assert [(tmp_path / "templates" / name).read_text() for name in names] == ["1.tpl", "2.tpl"]


@pytest.mark.parametrize("other", [".a.tpl.templater-new", ".templater-new-0707070707070707"])
def test_a_template_with_the_name_of_a_temporary_file_is_kept(tmp_path, monkeypatch, other):
    image_with_templates(tmp_path, "a.tpl", other)
    monkeypatch.setattr(os, "urandom", lambda size: b"\x07" * size)
    with contextlib.suppress(TemplaterError):
        replace(str(tmp_path), {"templates/a.tpl": b"new"})
    assert (tmp_path / "templates" / other).read_text() == f"old {other}"
    assert sorted(os.listdir(tmp_path / "templates")) == sorted(["a.tpl", other])


@pytest.mark.parametrize("is_on_btrfs", [True, False])
def test_attack_85_a_changed_btrfs_file_is_synced_before_the_rename(tmp_path, monkeypatch, is_on_btrfs):
    """The owner of the image gave the old file gigabytes of attributes, which the rename then wrote."""
    image_with_templates(tmp_path, "a.tpl")
    names = []
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: is_on_btrfs)
    monkeypatch.setattr(oslite.os, "fsync", lambda fd: names.append(os.fstat(fd).st_nlink))
    if is_on_btrfs:
        monkeypatch.setattr(
            disk_sync, "write_content", lambda fd: names.append(os.fstat(fd).st_nlink) or True
        )
    replace(str(tmp_path), {"templates/a.tpl": b"new"})
    assert names == [0 if is_on_btrfs else 1]
    assert (tmp_path / "templates/a.tpl").read_text() == "new"
    assert os.listdir(tmp_path / "templates") == ["a.tpl"]


def test_a_failed_edit_keeps_a_foreign_temporary_file(tmp_path, monkeypatch):
    image_with_templates(tmp_path, "a.tpl")
    real = os.fsync

    def exchange(fd):
        real(fd)
        (staged,) = (tmp_path / "templates").glob(".templater-new-*")
        staged.unlink()
        staged.write_text("theirs")
        (tmp_path / "templates/a.tpl").write_text("changed")

    monkeypatch.setattr(oslite.os, "fsync", exchange)
    with pytest.raises(TemplaterError, match="changed"):
        replace(str(tmp_path), {"templates/a.tpl": b"new"}, before={"templates/a.tpl": b"old a.tpl"})
    assert sorted(path.read_text() for path in (tmp_path / "templates").iterdir()) == ["changed", "theirs"]


@pytest.mark.parametrize("content", [b"longer than before", b"other", b""])
def test_a_file_is_not_replaced_if_it_changed_meanwhile(tmp_path, content):
    (tmp_path / "metadata.yaml").write_text(METADATA)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a").write_bytes(content)
    with pytest.raises(RefusedError, match=r"templates/a' changed while templater was checking it$"):
        replace(str(tmp_path), {"templates/a": b"new"}, before={"templates/a": b"older"})
    assert (tmp_path / "templates/a").read_bytes() == content
    assert os.listdir(tmp_path / "templates") == ["a"]


def test_repacking_reads_the_content_and_the_mode_from_one_open_file(tmp_path, monkeypatch):
    """The owner of the directory swapped an image file with a private file of root, and back."""
    paths = [
        Path(tarball(tmp_path / name, [("metadata.yaml", METADATA), (f"rootfs/{name}", "")]))
        for name in ("own", "private")
    ]
    own, private = paths
    repack = replace_files._repack

    def exchange():
        os.rename(own, tmp_path / "other")
        os.rename(private, own)
        os.rename(tmp_path / "other", private)

    def exchanged(*given):
        exchange()
        result = repack(*given)
        exchange()
        return result

    monkeypatch.setattr(replace_files, "_repack", exchanged)
    replace(str(own), {"metadata.yaml": METADATA.encode() + b"\n"})
    with tarfile.open(own) as archive:
        assert archive.getnames() == ["metadata.yaml", "rootfs/own"]


def test_a_missing_image_or_an_image_without_metadata_is_not_repacked(tmp_path):
    with pytest.raises(InputError, match=r"none.tar' can't be opened: no such file or directory$"):
        replace(str(tmp_path / "none.tar"), {"metadata.yaml": b"x"})
    path = Path(tarball(tmp_path / "i.tar", [("templates", None), ("templates/a", "A")]))
    error = untouched(path, lambda: replace(str(path), {"templates/a": b"B"}))
    assert isinstance(error, InputError) and "has no metadata.yaml" in str(error)
