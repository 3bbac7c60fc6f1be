"""What an image is: layouts, root filesystems of every kind, properties that count, templates and triggers."""

import lzma
import shutil

import pytest

from templater.image.describe import ENFORCED, _squashfs_compression, data, describe, describe_definition
from templater.image.fingerprint import fingerprint
from templater.image.read_whole_image import open_contents
from templater.model.entry import TemplateFile
from templater.model.errors import InputError
from templater.model.source import Source
from tests.attacks.test_squashfs import directory_inode, squashfs, stored
from tests.image_archives import file, image
from tests.unit.image.test_open_image import METADATA, special, tarball

RULES = (
    METADATA
    + "expiry_date: 5\nproperties: {os: Debian, requirements.secureboot: 'false'}\ntemplates:\n"
    + "  /a: {template: a.tpl, when: [start, create, odd]}\n  /b: {template: gone.tpl, when: [copy], create_only: true}\n"
)
PARTS = [("metadata.yaml", RULES), ("templates", None), ("templates/a.tpl", "12345"), ("templates/x.tpl", "")]


def test_the_description_of_an_image_directory_has_no_fingerprint(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "metadata.yaml").write_text(RULES)
    (tmp_path / "templates/a.tpl").write_text("12345")
    found = describe(str(tmp_path))
    assert (found.layout, found.rootfs, found.fingerprint, found.files) == (
        "directory",
        "directory",
        None,
        (),
    )
    (tmp_path / "instance.yaml").write_text("name: c1\n")
    assert describe(str(tmp_path)).layout == "instance"


def test_an_image_description_contains_rules_and_unused_templates(tmp_path):
    found = describe(tarball(tmp_path / "i", [*PARTS, ("rootfs", None)]))
    assert [(t.path, t.template, t.triggers, t.create_only, t.size) for t in found.targets] == [
        ("/a", "a.tpl", ("create", "start", "odd"), False, 5),
        ("/b", "gone.tpl", ("copy",), True, None),
    ]
    assert found.unused == ("x.tpl",)
    assert data(found)["enforced"] == ["requirements.secureboot"]
    names = ("secureboot", "nesting", "privileged", "cgroup", "cdrom_agent", "cdrom_cloud_init")
    assert tuple(f"requirements.{name}" for name in names) == ENFORCED


def test_unified_and_split_images_of_containers_and_machines_are_described(tmp_path):
    unified = tarball(tmp_path / "u", [*PARTS, ("rootfs", None), ("rootfs/f", "x")])
    found = describe(unified)
    assert (found.layout, found.rootfs, found.fingerprint) == ("unified", "directory", fingerprint(unified))
    assert [(f.kind, f.compression, f.members) for f in found.files] == [("tar", "none", 6)]
    machine = describe(tarball(tmp_path / "v", [*PARTS, ("rootfs.img", "QFI\xfb")]))
    assert (machine.layout, machine.rootfs) == ("unified", "qcow2")
    metadata = tarball(tmp_path / "m", PARTS)
    alone = describe(metadata)
    assert (alone.layout, alone.rootfs, alone.fingerprint) == ("metadata", None, None)
    rootfs = tmp_path / "r.qcow2"
    rootfs.write_bytes(b"QFI\xfb" + bytes(100))
    split = describe(metadata, str(rootfs))
    assert (split.layout, split.rootfs) == ("split", "qcow2")
    assert split.fingerprint == fingerprint(metadata, str(rootfs))
    packed = tmp_path / "r.txz"
    tarball(tmp_path / "files", [("etc", None), ("etc/hostname", "x")])
    packed.write_bytes(lzma.compress((tmp_path / "files").read_bytes()))
    assert [(f.kind, f.compression, f.members) for f in describe(metadata, str(packed)).files][1] == (
        "tar",
        "xz",
        2,
    )


@pytest.mark.skipif(shutil.which("sqfs2tar") is None, reason="NOT RUN: needs squashfs-tools-ng")
def test_squashfs_content_is_not_read_without_the_squashfs_argument(tmp_path):
    metadata, squashed = tarball(tmp_path / "m", PARTS), tmp_path / "r"
    squashfs(squashed, [directory_inode(1)], b"", compression=6, table=stored(b"none"))
    found = describe(metadata, str(squashed), squashfs=True)
    assert (found.layout, found.rootfs) == ("split", "squashfs")
    assert [(f.kind, f.compression, f.members) for f in found.files][1] == ("squashfs", "zstd", None)
    squashed.write_bytes(squashed.read_bytes()[:130])
    with pytest.raises(InputError, match="can't be read"):
        describe(metadata, str(squashed), squashfs=True)
    assert describe(metadata, str(squashed)).rootfs == "squashfs"


def test_an_image_description_warns_of_members_that_the_daemons_refuse(tmp_path):
    import tarfile

    found = describe(
        tarball(tmp_path / "i", [*PARTS, special("templates/l", tarfile.SYMTYPE, "/etc/passwd")])
    )
    assert found.warnings == ("the template 'l' is a symlink: the daemons refuse it",)
    unified = tarball(tmp_path / "u", [*PARTS, ("rootfs", None)])
    assert "already contains a root filesystem" in describe(unified, unified).warnings[0]


def test_an_image_description_in_json_has_null_for_missing_dates(tmp_path):
    described = data(describe(tarball(tmp_path / "i", [*PARTS, ("rootfs", None)])))
    assert (described["creation_date"], described["expiry_date"]) == (1, 5)
    plain = data(describe(tarball(tmp_path / "j", [("metadata.yaml", "architecture: x86_64\n")])))
    assert (plain["creation_date"], plain["expiry_date"]) == (None, None)


def test_a_second_file_is_refused_for_an_image_directory(tmp_path):
    with pytest.raises(InputError) as caught:
        describe(str(tmp_path), "rootfs.tar")
    assert (
        caught.value.message == f"'{tmp_path}' is a directory and can't be combined with a second image file"
    )


def test_the_description_of_a_definition_contains_the_notes_of_the_build():
    found = describe_definition("d.yaml", Source("m", RULES), {"a.tpl": TemplateFile()}, ["a note"])
    assert (found.layout, list(found.warnings)) == ("definition", ["a note"])
    assert data(found)["layout"] == "definition"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "gzip"), (2, "lzma"), (3, "lzo"), (4, "xz"), (5, "lz4"), (6, "zstd"), (0, "unknown"), (7, "unknown"),
        (256, "unknown"),
    ],
)  # fmt: skip
def test_the_compression_of_a_squashfs_file_is_read_from_its_superblock(number, name, tmp_path):
    (tmp_path / "image").write_bytes(b"hsqs" + bytes(16) + number.to_bytes(2, "little") + bytes(8))
    assert _squashfs_compression(f"{tmp_path}/image") == name


@pytest.mark.parametrize(("mode", "private"), [(0o600, True), (0o640, True), (0o644, False), (0o604, False)])
def test_an_image_is_private_if_other_users_cannot_read_it(mode, private, tmp_path):
    path = tmp_path / "image.tar"
    image(path, file("rootfs/a"))
    path.chmod(mode)
    assert open_contents(str(path)).is_private is private
