"""Images read from directories and from tarballs of every compression, the same from each."""

import contextlib
import gc
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.image.limits import Limits
from templater.image.open_image import open_image
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError
from tests.processor_time import ends_within

COMPRESSORS = {
    "plain": ["cat"],
    "gzip": ["gzip", "-nc"],
    "bzip2": ["bzip2", "-c"],
    "xz": ["xz", "-c"],
    "lzma": ["xz", "--format=lzma", "-c"],
    "zstd": ["zstd", "-qc"],
    "lz4": ["lz4", "-qc"],
}
FORMATS = {"gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT, "pax": tarfile.PAX_FORMAT}
METADATA = "architecture: x86_64\ncreation_date: 1\n"


def tarball(path, members, format="pax"):
    """members: (name, content) pairs; content is bytes, text, None for a directory, or a TarInfo"""
    with tarfile.open(path, "w", format=FORMATS[format]) as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
                info.mode = 0o755
            data = content.encode() if isinstance(content, str) else content
            if isinstance(data, bytes):
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            else:
                archive.addfile(info)
    return str(path)


def special(name, type, target=""):
    info = tarfile.TarInfo(name)
    info.type = type
    info.linkname = target
    return name, info


def compressed(path, how):
    target = f"{path}.{how}"
    with open(path, "rb") as source, open(target, "wb") as out:
        subprocess.run(COMPRESSORS[how], stdin=source, stdout=out, check=True)
    return target


@pytest.fixture
def image_directory(tmp_path):
    top = tmp_path / "image"
    (top / "templates").mkdir(parents=True)
    (top / "rootfs" / "etc").mkdir(parents=True)
    (top / "metadata.yaml").write_text(METADATA)
    (top / "templates" / "a.tpl").write_bytes(b"a\r\n\x80{{ x }}")
    (top / "templates" / "b.tpl").write_bytes(b"")
    (top / "rootfs" / "etc" / "big").write_bytes(os.urandom(300_000))
    return top


def test_the_repr_of_an_image_contains_its_class_and_path(image_directory, tmp_path):
    subprocess.run(["tar", "-C", image_directory, "-cf", tmp_path / "i.tar", "metadata.yaml"], check=True)
    assert repr(open_image(image_directory)) == f"DirectoryImage({str(image_directory)!r})"
    assert repr(open_image(tmp_path / "i.tar")) == f"TarballImage({str(tmp_path / 'i.tar')!r})"


@pytest.mark.slow
@pytest.mark.parametrize("how", COMPRESSORS)
@pytest.mark.parametrize("order", ["metadata.yaml templates rootfs", "rootfs templates metadata.yaml", "."])
def test_a_tarball_and_its_directory_are_read_with_equal_results(image_directory, tmp_path, how, order):
    subprocess.run(["tar", "-C", image_directory, "-cf", tmp_path / "i.tar", *order.split()], check=True)
    image = open_image(compressed(tmp_path / "i.tar", how))
    directory = open_image(image_directory)
    assert image.read_metadata().text == directory.read_metadata().text
    names = ["a.tpl", "b.tpl", "missing.tpl"]
    ours, theirs = image.read_templates(names), directory.read_templates(names)
    assert {name: file.data for name, file in ours.items()} == {
        "a.tpl": b"a\r\n\x80{{ x }}",
        "b.tpl": b"",
        "missing.tpl": None,
    }
    for name in names[:2]:
        for field in ("kind", "mode", "uid", "gid", "size", "nlink"):
            assert getattr(ours[name].entry, field) == getattr(theirs[name].entry, field)
    assert ours["missing.tpl"].entry is None and theirs["missing.tpl"].entry is None
    assert list(ours) == names


@pytest.mark.parametrize("format", FORMATS)
def test_reading_an_archive_stops_at_the_last_requested_template(tmp_path, format):
    path = tarball(
        tmp_path / "i.tar",
        [
            ("metadata.yaml", METADATA),
            ("templates/a", "A"),
            ("templates/b", "B"),
            ("rootfs/x", bytes(3_000_000)),
        ],
        format,
    )
    image = open_image(path)
    image.read_metadata()
    assert image.read_templates(["a"])["a"].data == b"A"
    assert not image.complete and image._archive.stream.position < 10_000
    assert image.read_templates(["b", "a"])["b"].data == b"B"
    assert not image.complete
    assert image.read_templates(["zz"])["zz"].entry is None
    assert image.complete


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"hsqs" + bytes(600), "a squashfs file"),
        (b"QFI\xfb" + bytes(600), "a qcow2 file"),
        (b"KDMV" + bytes(600), "a vmdk file"),
        (b"PK\x03\x04" + bytes(600), "a zip file"),
        (b"\x7fELF" + bytes(600), "an ELF file"),
        (b"architecture: x86_64\n", "a text file"),
        (b"", "is empty"),
        (b"\x01\x02\x03" * 300, "not a tar archive or any other known file type"),
        (bytes(1080) + b"\x53\xef" + bytes(600), "an ext2/3/4 file"),
    ],
)
def test_attack_63_the_error_gives_the_detected_kind_of_file(tmp_path, head, kind):
    path = tmp_path / "image.tar.xz"
    path.write_bytes(head)
    with pytest.raises(InputError, match=kind) as caught:
        open_image(path)
    assert caught.value.hint


def test_attack_63_the_error_gives_the_kind_of_a_compressed_file(tmp_path):
    (tmp_path / "x").write_bytes(b"hsqs" + bytes(600))
    with pytest.raises(
        InputError, match=r"^'.*' is not a tar archive: the decompressed file is a squashfs file$"
    ) as caught:
        open_image(compressed(tmp_path / "x", "xz"))
    assert (
        caught.value.hint
        == "this may be the root filesystem of a split image; pass the image's metadata tarball instead"
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", COMPRESSORS)
def test_attack_62_a_truncated_archive_gives_a_single_error(image_directory, tmp_path, how):
    subprocess.run(
        ["tar", "-C", image_directory, "-cf", tmp_path / "i.tar", "rootfs", "metadata.yaml"], check=True
    )
    whole = Path(compressed(tmp_path / "i.tar", how)).read_bytes()
    cut = tmp_path / "cut"
    for size in (len(whole) // 2, 700, 20):
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut short|is damaged|not a tar|is empty"):
            open_image(cut).read_metadata()


def test_an_archive_without_an_end_mark_gives_an_error(tmp_path):
    path = Path(
        tarball(tmp_path / "i.tar", [("metadata.yaml", METADATA), ("templates/a", "A"), ("templates/b", "B")])
    )
    path.write_bytes(path.read_bytes()[:2048])
    image = open_image(path)
    assert image.read_templates(["a"])["a"].data == b"A"
    with pytest.raises(
        InputError,
        match=r"^'.*' is cut short: the data ends before the end mark, at byte 2048 of the archive$",
    ) as caught:
        image.read_templates(["b"])
    assert caught.value.hint == "copy or download the file again"


@pytest.mark.parametrize("how", list(COMPRESSORS)[1:])
def test_reading_an_archive_with_a_flipped_byte_never_crashes(image_directory, tmp_path, how):
    subprocess.run(
        ["tar", "-C", image_directory, "-cf", tmp_path / "i.tar", "templates", "metadata.yaml"], check=True
    )
    whole = bytearray(Path(compressed(tmp_path / "i.tar", how)).read_bytes())
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        (tmp_path / "d").write_bytes(damaged)
        with contextlib.suppress(TemplaterError):
            open_image(tmp_path / "d").read_to_end()


def test_the_error_gives_the_subdirectory_that_contains_metadata_yaml(tmp_path):
    path = tarball(tmp_path / "i.tar", [("img", None), ("img/metadata.yaml", METADATA)])
    with pytest.raises(
        InputError, match=r"^'.*' has no metadata\.yaml at its top, only in 'img/'$"
    ) as caught:
        open_image(path).read_metadata()
    assert "tar -C img" in caught.value.hint


def test_a_root_filesystem_without_metadata_gets_a_hint_about_split_images(tmp_path):
    path = tarball(tmp_path / "i.tar", [("etc", None), ("etc/hostname", "x")])
    with pytest.raises(
        InputError, match=r"^'.*' has no metadata\.yaml: it looks like a root filesystem$"
    ) as caught:
        open_image(path).read_metadata()
    assert caught.value.hint == "for a split image, give the metadata tarball first"


@pytest.mark.parametrize("name", ["../x", "/etc/shadow", "a/b", ".", "..", "", "x\0y", "n" * 256])
def test_attack_5_an_invalid_template_name_is_refused(image_directory, tmp_path, name):
    subprocess.run(["tar", "-C", image_directory, "-cf", tmp_path / "i.tar", "."], check=True)
    for path in (image_directory, tmp_path / "i.tar"):
        answer = open_image(path).read_templates([name, "a.tpl"])
        assert isinstance(answer[name].error, RefusedError) and answer[name].data is None
        assert answer["a.tpl"].data


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_attack_6_the_templates_entry_must_be_a_directory(tmp_path, kind):
    (tmp_path / "metadata.yaml").write_text(METADATA)
    if kind == "symlink":
        (tmp_path / "templates").symlink_to("/etc")
    else:
        (tmp_path / "templates").write_text("x")
    with pytest.raises(RefusedError, match=f"'templates' is a {kind}"):
        open_image(tmp_path).read_templates(["passwd"])


def test_attack_6_an_image_without_a_templates_directory_has_no_templates(tmp_path):
    (tmp_path / "metadata.yaml").write_text(METADATA)
    assert open_image(tmp_path).read_templates(["a"])["a"].entry is None


@pytest.mark.parametrize("target", ["other.tpl", "../../../etc/passwd", "/etc/passwd", "nowhere"])
def test_attack_7_a_template_must_not_be_a_symlink(image_directory, tmp_path, target):
    (image_directory / "templates" / "link.tpl").symlink_to(target)
    subprocess.run(["tar", "-C", image_directory, "-cf", tmp_path / "i.tar", "."], check=True)
    for path in (image_directory, tmp_path / "i.tar"):
        answer = open_image(path).read_templates(["link.tpl"])["link.tpl"]
        assert answer.entry.kind == "symlink" and answer.data is None
        assert isinstance(answer.error, RefusedError) and "is a symlink" in str(answer.error)


def test_attack_8_a_special_file_as_template_is_refused_without_blocking(image_directory, monkeypatch):
    import socket

    templates = image_directory / "templates"
    os.mkfifo(templates / "fifo")
    (templates / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(templates)
        sock.bind("socket")
    answers = open_image(image_directory).read_templates(["fifo", "directory", "socket"])
    assert {name: file.entry.kind for name, file in answers.items()} == {
        "fifo": "fifo",
        "directory": "directory",
        "socket": "socket",
    }
    assert all(isinstance(file.error, RefusedError) and file.data is None for file in answers.values())


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_attack_11_the_metadata_yaml_entry_must_be_a_regular_file(tmp_path, kind):
    path = tmp_path / "metadata.yaml"
    {
        "symlink": lambda: path.symlink_to("/etc/passwd"),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }[kind]()
    with pytest.raises(RefusedError, match=f"'metadata.yaml' is a {kind}"):
        open_image(tmp_path).read_metadata()
    type = {"symlink": tarfile.SYMTYPE, "fifo": tarfile.FIFOTYPE, "directory": tarfile.DIRTYPE}[kind]
    with pytest.raises(RefusedError, match=f"'metadata.yaml' is a {kind}"):
        open_image(
            tarball(tmp_path / "i.tar", [special("metadata.yaml", type, "/etc/passwd")])
        ).read_metadata()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name", ["../x", "/abs", "rootfs/../../x", "templates/../../x", "templates/..", ".."]
)
def test_attack_57_a_member_name_must_not_leave_the_image(tmp_path, format, name):
    path = tarball(tmp_path / "i.tar", [(name, "x"), ("metadata.yaml", METADATA)], format)
    with pytest.raises(RefusedError, match="must not"):
        open_image(path).read_metadata()


@pytest.mark.parametrize("format", FORMATS)
def test_attack_57_dot_components_are_removed_but_backslashes_are_refused_outside_rootfs(tmp_path, format):
    good = [
        ("./", None),
        ("./rootfs/a\\x2db", "x"),
        (".//./metadata.yaml", METADATA),
        ("./templates/./a", "A"),
    ]
    image = open_image(tarball(tmp_path / "i.tar", good, format))
    assert image.read_metadata().text == METADATA
    assert image.read_templates(["a"])["a"].data == b"A"
    bad = [("..\\metadata.yaml", "x"), ("metadata.yaml", METADATA)]
    with pytest.raises(RefusedError, match="backslash"):
        open_image(tarball(tmp_path / "j.tar", bad, format)).read_metadata()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "second",
    [
        ("metadata.yaml", "other"),
        special("./metadata.yaml", tarfile.SYMTYPE, "/etc/passwd"),
        special("templates", tarfile.SYMTYPE, "/etc"),
        special("templates/a", tarfile.SYMTYPE, "/etc/passwd"),
        ("templates/a", "twice"),
        special("rootfs", tarfile.SYMTYPE, "/"),
    ],
    ids=lambda member: member[0],
)
def test_attack_58_a_second_member_with_the_same_name_is_refused(tmp_path, format, second):
    members = [
        ("metadata.yaml", METADATA),
        ("templates", None),
        ("templates/a", "A"),
        ("rootfs", None),
        second,
    ]
    image = open_image(tarball(tmp_path / "i.tar", members, format))
    image.read_metadata()
    assert image.read_templates(["a"])["a"].data == b"A"  # a preview stops before it
    with pytest.raises(RefusedError, match=r"twice|is a symlink"):
        image.read_to_end()


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "rootfs/etc/shadow", "templates/later"])
def test_attack_59_templates_may_be_hard_links_only_to_earlier_templates(tmp_path, target):
    members = [("metadata.yaml", METADATA), special("templates/a", tarfile.LNKTYPE, target)]
    answer = open_image(tarball(tmp_path / "i.tar", members)).read_templates(["a"])["a"]
    assert isinstance(answer.error, RefusedError) and answer.data is None


@pytest.mark.parametrize("target", ["templates/b", "./templates/b"])
def test_a_hard_linked_template_has_the_content_of_its_target(tmp_path, target):
    members = [
        ("templates/b", "B"),
        special("templates/a", tarfile.LNKTYPE, target),
        ("metadata.yaml", METADATA),
    ]
    answer = open_image(tarball(tmp_path / "i.tar", members)).read_templates(["a"])["a"]
    assert answer.data == b"B" and answer.entry.nlink == 2


def raw_header(name, size, type, size_field=None):
    info = tarfile.TarInfo(name)
    info.type = type
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size_field or b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("type", [b"x", b"g", b"L", b"K"])
def test_attack_61_a_huge_extended_header_is_refused_before_it_is_read(tmp_path, type):
    (tmp_path / "i.tar").write_bytes(raw_header("x", 1 << 30, type) + bytes(10_000))
    with pytest.raises(LimitError, match="extended header of 1073741824 bytes"):
        open_image(tmp_path / "i.tar").read_metadata()


def test_attack_61_a_repeated_extended_header_is_refused(tmp_path):
    (tmp_path / "i.tar").write_bytes((raw_header("x", 2, b"L") + b"a".ljust(512, b"\0")) * 5000)
    with pytest.raises(
        RefusedError,
        match=r"^'.*' has two extended headers that set the same field: tools read different members from it$",
    ) as caught:
        open_image(tmp_path / "i.tar").read_metadata()
    assert caught.value.hint == "pack the image again"


def test_attack_61_a_negative_size_is_an_error(tmp_path):
    (tmp_path / "i.tar").write_bytes(raw_header("x", 0, b"0", b"\xff" * 12) + bytes(10_000))
    with pytest.raises(
        InputError, match=r"^'.*' is damaged: a member has a negative size, at byte 0 of the archive$"
    ):
        open_image(tmp_path / "i.tar").read_metadata()


def test_attack_61_a_member_larger_than_the_archive_is_an_error(tmp_path):
    (tmp_path / "i.tar").write_bytes(raw_header("rootfs/x", 1 << 63, b"0") + bytes(10_000))
    with pytest.raises(InputError, match=r"cut short") as caught:
        open_image(tmp_path / "i.tar").read_metadata()
    assert caught.value.hint == "copy or download the file again"


def test_attack_61_too_many_members_are_refused(tmp_path):
    path = tarball(tmp_path / "i.tar", [(f"rootfs/{n}", "") for n in range(60)])
    with pytest.raises(LimitError, match=r"^'.*' has more than 50 members$") as caught:
        open_image(path, Limits(members=50)).read_metadata()
    assert caught.value.hint == "if you trust the image, raise the limit: --limit members=…"


def test_attack_61_a_too_large_metadata_yaml_or_template_is_refused(tmp_path):
    members = [("templates/big", bytes(2000)), ("metadata.yaml", "#" * 2000)]
    image = open_image(tarball(tmp_path / "i.tar", members), Limits(template_bytes=1000, metadata_bytes=1000))
    with pytest.raises(LimitError, match=r"^'metadata\.yaml' has 2000 bytes, more than the limit of 1000$"):
        image.read_metadata()
    image = open_image(tarball(tmp_path / "i.tar", members), Limits(template_bytes=1000))
    assert isinstance(image.read_templates(["big"])["big"].error, LimitError)


@pytest.mark.slow
@pytest.mark.parametrize("how", list(COMPRESSORS)[1:])
def test_attack_62_a_decompression_bomb_exceeds_the_ratio_limit_or_the_size_limit(tmp_path, how):
    tarball(tmp_path / "i.tar", [("rootfs/zeros", bytes(6_000_000)), ("metadata.yaml", METADATA)])
    path = compressed(tmp_path / "i.tar", how)
    with pytest.raises(LimitError, match="times its size"):
        open_image(path, Limits(ratio=100, ratio_from=1_000_000)).read_metadata()
    with pytest.raises(LimitError, match="unpacks to more than"):
        open_image(path, Limits(unpacked_bytes=1_000_000)).read_metadata()
    assert open_image(path).read_metadata().text == METADATA


@pytest.mark.slow
@pytest.mark.parametrize("how", ["zstd", "xz", "bzip2"])
def test_attack_62_a_decompression_bomb_exceeds_the_default_limits(tmp_path, how):
    """A few kilobytes unpack to 300 MiB. The ratio counts from 256 MiB on.

    gzip and lz4 can't compress that much.
    """
    head = Path(tarball(tmp_path / "head", [("rootfs", None)])).read_bytes()[:512]
    info = tarfile.TarInfo("rootfs/zeros")
    info.size = 300 << 20
    with open(tmp_path / f"i.{how}", "wb") as out:
        process = subprocess.Popen(COMPRESSORS[how], stdin=subprocess.PIPE, stdout=out)
        process.stdin.write(head + info.tobuf())
        for _ in range(300):
            process.stdin.write(bytes(1 << 20))
        process.stdin.close()
        assert process.wait() == 0
    with ends_within(10), pytest.raises(LimitError, match="times its size"):
        open_image(tmp_path / f"i.{how}").read_metadata()


@pytest.mark.parametrize("how", list(COMPRESSORS)[1:])
def test_attack_62_concatenated_streams_are_read_but_trailing_garbage_is_refused(tmp_path, how):
    plain = Path(
        tarball(tmp_path / "i.tar", [("rootfs/a", "x" * 2000), ("metadata.yaml", METADATA)])
    ).read_bytes()
    if how != "lzma":  # an lzma file can't have a second stream
        (tmp_path / "1").write_bytes(plain[:1500])
        (tmp_path / "2").write_bytes(plain[1500:])
        halves = [Path(compressed(tmp_path / half, how)).read_bytes() for half in "12"]
        (tmp_path / "both").write_bytes(b"".join(halves) + bytes(5000))
        assert open_image(tmp_path / "both").read_metadata().text == METADATA
    whole = Path(compressed(tmp_path / "i.tar", how)).read_bytes()
    (tmp_path / "garbage").write_bytes(whole + b"garbage" * 1000)
    image = open_image(tmp_path / "garbage")
    assert image.read_metadata().text == METADATA
    with pytest.raises(InputError, match="is damaged"):
        image.read_to_end()


def test_attack_63_the_file_extension_of_an_image_is_ignored(image_directory, tmp_path):
    subprocess.run(["tar", "-C", image_directory, "-cf", tmp_path / "i.squashfs", "."], check=True)
    assert open_image(tmp_path / "i.squashfs").read_metadata().text == METADATA


def test_a_fifo_as_image_is_refused_without_blocking(tmp_path):
    os.mkfifo(tmp_path / "f")
    with pytest.raises(InputError, match=r"^'.*' is neither a regular file nor a directory$"):
        open_image(tmp_path / "f")


def test_the_error_about_a_missing_image_gives_its_path(tmp_path):
    with pytest.raises(InputError, match=r"^'nope\.tar' can't be opened: no such file or directory$"):
        open_image("nope.tar")


def test_the_error_about_a_large_template_contains_no_path(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.tpl").write_text("123456")
    file = open_image(str(tmp_path), Limits(template_bytes=5)).read_templates({"a.tpl"})["a.tpl"]
    assert isinstance(file.error, LimitError)
    assert file.error.message == "the template 'a.tpl' is larger than 5 bytes"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_deleting_the_last_reference_to_an_image_closes_its_file(image_directory, tmp_path):
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as writer:
        writer.add(image_directory, "")
    gc.disable()
    try:
        before = os.listdir("/proc/self/fd")
        image = open_image(archive)
        image.read_metadata()
        del image
        assert os.listdir("/proc/self/fd") == before
    finally:
        gc.enable()
