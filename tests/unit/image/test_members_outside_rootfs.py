"""What archives and directories of images must not contain, told by exact texts."""

import io
import tarfile

import pytest

from templater.image import members_outside_rootfs
from templater.image.limits import DEFAULT
from templater.image.open_image import open_image
from templater.image.read_whole_image import open_contents
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError

METADATA = ("metadata.yaml", b"architecture: x86_64\ncreation_date: 1\n")
TWICE = "the daemons would use the last member of this name; pack the image again"
BELOW = "put all templates directly into 'templates': the daemons ignore subdirectories"
FOLDER, LINK, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE


def archive(path, *members):
    """Write an archive. A member is a name with its data, its kind, or the target of its hard link."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.LNKTYPE, content
            elif content in (FOLDER, LINK, FIFO):
                info.type, info.linkname = content, "x" if content == LINK else ""
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content if isinstance(content, bytes) and info.isreg() else b""))
    return str(path)


def refusal(action):
    with pytest.raises(TemplaterError) as refused:
        action()
    return type(refused.value), refused.value.message, refused.value.hint


@pytest.mark.parametrize(
    ("members", "error", "message", "hint"),
    [
        ([], InputError, "'IMAGE' has no metadata.yaml: it is not an image", ""),
        ([("README", b"")], InputError, "'IMAGE' has no metadata.yaml: it is not an image", ""),
        (
            [("b", FOLDER), ("b/metadata.yaml", b""), ("a/metadata.yaml", b"")], InputError,
            "'IMAGE' has no metadata.yaml at its top, only in 'a/'",
            "the daemons look for metadata.yaml only at the top; pack the image again with tar -C a",
        ),
        (
            [("etc/passwd", b"")], InputError, "'IMAGE' has no metadata.yaml: it looks like a root filesystem",
            "for a split image, give the metadata tarball first",
        ),
        (
            [("usr", FOLDER)], InputError, "'IMAGE' has no metadata.yaml: it looks like a root filesystem",
            "for a split image, give the metadata tarball first",
        ),
        ([METADATA, ("rootfs", b"")], RefusedError, "'IMAGE': 'rootfs' is a file, not a directory", ""),
        ([METADATA, ("templates", b"")], RefusedError, "'IMAGE': 'templates' is a file, not a directory", ""),
        ([METADATA, ("a\\b", b"")], RefusedError, "'IMAGE': the name 'a\\b' contains a backslash", ""),
        ([METADATA, METADATA], RefusedError, "'IMAGE' contains 'metadata.yaml' twice: first a file, then a file", TWICE),
        ([METADATA, ("a", FOLDER), ("a", b"")], RefusedError, "'IMAGE' contains 'a' twice: first a directory, then a file", TWICE),
        ([METADATA, ("a", b""), ("a", FOLDER)], RefusedError, "'IMAGE' contains 'a' twice: first a file, then a directory", TWICE),
        ([METADATA, ("templates/a", FIFO)], RefusedError, "'IMAGE': 'templates/a' is a fifo, not a regular file", ""),
        ([METADATA, ("templates/a", LINK)], RefusedError, "'IMAGE': 'templates/a' is a symlink, not a regular file", ""),
        ([METADATA, ("templates/a", FOLDER)], RefusedError, "'IMAGE': 'templates/a' is a directory below 'templates'", BELOW),
        ([METADATA, ("templates/a/b", b"")], RefusedError, "'IMAGE': 'templates/a/b' is in a directory below 'templates'", BELOW),
    ],
)  # fmt: skip
def test_an_archive_without_the_layout_of_an_image_is_refused(tmp_path, members, error, message, hint):
    path = archive(tmp_path / "image.tar", *members)
    found = refusal(lambda: open_contents(path).parts())
    assert found == (error, message.replace("IMAGE", path), hint)


def test_an_image_archive_may_list_the_same_directory_twice(tmp_path):
    path = archive(tmp_path / "image.tar", METADATA, ("templates", FOLDER), ("templates", FOLDER))
    assert [part.member.name for part in open_contents(path).parts()] == ["metadata.yaml", "templates"]


def test_the_number_of_members_outside_rootfs_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(members_outside_rootfs, "_MOST_OUTSIDE", 3)
    many = [METADATA, ("a", b""), ("b", b""), ("rootfs/a", b""), ("rootfs/b", b"")]
    path = archive(tmp_path / "image.tar", *many[:-2])
    assert open_contents(path).parts()
    path = archive(tmp_path / "image.tar", *many[:-2], ("c", b""))
    most = f"'{path}' has more than 3 members outside 'rootfs'"
    assert refusal(lambda: open_contents(path).parts()) == (LimitError, most, "")
    path = archive(tmp_path / "image.tar", *[(name, b"") for name in "abcd"])
    none = f"'{path}' has no metadata.yaml: it is not an image"
    assert refusal(lambda: open_contents(path).parts()) == (InputError, none, "")
    limits = DEFAULT._replace(templates_bytes=len(METADATA[1]) + 5)
    path = archive(tmp_path / "image.tar", METADATA, ("templates/a", b"12345"))
    assert len(open_contents(path, limits=limits).parts()) == 2
    path = archive(tmp_path / "image.tar", METADATA, ("templates/a", b"123456"))
    most = f"'{path}': its templates have more than {limits.templates_bytes} bytes"
    assert refusal(lambda: open_contents(path, limits=limits).parts()) == (LimitError, most, "")


def test_an_unsuitable_second_file_of_a_split_image_is_refused(tmp_path):
    first = archive(tmp_path / "meta.tar", METADATA)
    whole = archive(tmp_path / "whole.tar", METADATA, ("rootfs", FOLDER))
    (tmp_path / "dir").mkdir()
    folder = str(tmp_path / "dir")
    assert refusal(lambda: open_contents(folder, first)) == (
        UsageError, f"'{folder}' is a directory and can't be combined with a second image file", "",
    )  # fmt: skip
    assert refusal(lambda: open_contents(first, first)) == (
        UsageError,
        f"the image '{first}' and its root filesystem '{first}' are the same file",
        "for a split image, give both files: the metadata tarball, then the root filesystem",
    )
    assert refusal(lambda: open_contents(whole, first).parts()) == (
        UsageError,
        f"'{whole}' already contains a root filesystem, so '{first}' is not part of this image",
        "give only the image",
    )
    assert refusal(lambda: open_contents(folder).parts()) == (
        InputError, f"'{folder}' has no metadata.yaml: it is not an image", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message", "hint"),
    [
        (["a"], "'IMAGE' has no metadata.yaml: it is not an image", ""),
        (
            ["etc"], "'IMAGE' has no metadata.yaml: it looks like a root filesystem",
            "give the directory with metadata.yaml, templates and rootfs",
        ),
        (
            ["etc", "image/metadata.yaml"], "'IMAGE' has no metadata.yaml, but its subdirectory 'image' has one",
            "give 'IMAGE/image'",
        ),
    ],
)  # fmt: skip
def test_the_error_for_a_directory_without_metadata_mentions_its_likely_type(tmp_path, names, message, hint):
    for name in names:
        path = tmp_path / name
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("")
    found = refusal(lambda: open_image(tmp_path).read_metadata())
    assert found == (InputError, *(text.replace("IMAGE", str(tmp_path)) for text in (message, hint)))


def test_a_template_must_be_a_regular_file_within_the_size_limits(tmp_path):
    (tmp_path / "metadata.yaml").write_bytes(METADATA[1])
    (tmp_path / "templates/d").mkdir(parents=True)
    for name, size in (("a", 5), ("b", 6)):
        (tmp_path / "templates" / name).write_bytes(b"x" * size)
    limits = DEFAULT._replace(template_bytes=5, templates_bytes=5)
    image = open_image(tmp_path, limits=limits)
    assert image.read_templates(["a", "d"])["a"].data == b"xxxxx"
    error = image.read_templates(["b"])["b"].error
    assert (type(error), error.message) == (LimitError, "the template 'b' is larger than 5 bytes")
    error = image.read_templates(["d"])["d"].error
    assert (type(error), error.message) == (RefusedError, "the template 'd' is a directory")
    (tmp_path / "templates/c").write_bytes(b"x")
    most = f"'{tmp_path}': its templates have more than 5 bytes"
    assert refusal(lambda: image.read_templates(["a", "c"])) == (LimitError, most, "")
