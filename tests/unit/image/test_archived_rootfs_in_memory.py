"""The root filesystem of a packed image, read for a plan."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from templater.image.archived_rootfs_in_memory import _existing, read_image_rootfs
from templater.image.build import Packing, build
from templater.image.limits import DEFAULT
from templater.image.read_whole_image import open_contents
from templater.model.entry import CHAR_DEVICE, DIRECTORY, FILE, SYMLINK
from templater.model.errors import InputError, LimitError, RefusedError
from tests.rootfs_builders import as_root

METADATA = b"architecture: x86_64\ncreation_date: 1\n"


def tarball(path: Path, *members: tuple[str, bytes, str | bytes]) -> str:
    """``members`` are name, type, and content or link target."""
    with tarfile.open(path, "w") as tar:
        for name, kind, content in (("metadata.yaml", tarfile.REGTYPE, METADATA), *members):
            info = tarfile.TarInfo(name)
            mode = 0o751 if kind == tarfile.DIRTYPE else 0o640
            info.type, info.mode, info.uid, info.gid = kind, mode, 3, 4
            if isinstance(content, str):
                info.linkname, content = content, b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


MEMBERS = [
    ("rootfs/", tarfile.DIRTYPE, ""),
    ("rootfs/etc/hosts", tarfile.REGTYPE, b"old\n"),
    ("rootfs/etc/other", tarfile.REGTYPE, b"not read\n"),
    ("rootfs/etc/link", tarfile.SYMTYPE, "../srv/real"),
    ("rootfs/srv/real", tarfile.REGTYPE, b"behind a link\n"),
    ("rootfs/srv/same", tarfile.LNKTYPE, "rootfs/srv/real"),
    ("rootfs/dev/null", tarfile.CHRTYPE, ""),
]
TARGETS = ["/etc/hosts", "/etc/link", "/etc/new", "/../out"]


def forms(folder: Path) -> dict[str, tuple[str, str | None]]:
    """One image in the three packed forms."""
    unified = tarball(folder / "i.tar", *MEMBERS)
    contents = open_contents(unified)
    made: dict[str, tuple[str, str | None]] = {"unified": (unified, None)}
    kinds = ["tar", *(["squashfs"] if shutil.which("mksquashfs") and shutil.which("sqfs2tar") else [])]
    for kind in kinds:
        packing = Packing("split", "gzip", rootfs=kind)  # type: ignore[arg-type]
        files = build(contents, contents.parts(), str(folder / kind), packing).files
        made[kind] = (files[0], files[1])
    return made


def test_targets_without_a_regular_file_are_not_read(tmp_path: Path) -> None:
    members = [*MEMBERS[1:-1], ("rootfs/etc/fifo", tarfile.FIFOTYPE, ""), ("rootfs/etc/loop", tarfile.SYMTYPE, "loop"),
               ("rootfs/etc/gone", tarfile.SYMTYPE, "nowhere")]  # fmt: skip
    tree = read_image_rootfs(tarball(tmp_path / "i.tar", *members))
    targets = [
        "/etc",
        "/etc/fifo",
        "/etc/loop",
        "/etc/gone",
        "/etc/none",
        "/etc/link",
        "/etc/hosts",
        "/etc/hosts/a",
        "/etc/other/",
    ]
    assert _existing(tree, targets) == {"/etc/hosts", "/srv/real", "/etc/other"}


@pytest.mark.slow
@as_root
def test_every_image_format_gives_the_same_root_filesystem(tmp_path: Path) -> None:
    for form, (path, rootfs) in forms(tmp_path).items():
        tree = read_image_rootfs(path, rootfs, targets=TARGETS)
        found = {name: (entry.kind, entry.mode, entry.uid, entry.gid) for name, entry in tree.walk()}
        assert found["/etc/hosts"] == (FILE, 0o640, 3, 4), form
        assert found["/etc"] == (DIRECTORY, 0o755, 0, 0)
        assert found["/etc/link"] == (SYMLINK, 0o777, 3, 4)
        assert found["/dev/null"] == (CHAR_DEVICE, 0o640, 3, 4)
        assert tree.entry("/").mode == 0o751
        assert len(found) == 9
        assert tree.read("/etc/hosts", 100) == b"old\n"
        assert tree.read("/srv/real", 100) == b"behind a link\n"
        assert tree.read("/srv/same", 100) == b"behind a link\n"


def test_the_archive_determines_mode_and_owner_of_the_root(
    tmp_path: Path,
) -> None:
    top = read_image_rootfs(tarball(tmp_path / "i.tar", *MEMBERS)).entry("/")
    assert (top.kind, top.mode, top.uid, top.gid) == (DIRECTORY, 0o751, 3, 4)


def test_files_without_rules_are_not_read_from_the_image(tmp_path: Path) -> None:
    tree = read_image_rootfs(tarball(tmp_path / "i.tar", *MEMBERS), targets=TARGETS)
    with pytest.raises(LimitError, match=r"^the content of '/etc/other' was not read from the image$"):
        tree.read("/etc/other", 100)


def test_a_later_member_replaces_an_earlier_member_of_the_same_name(tmp_path: Path) -> None:
    members = [
        ("rootfs/a", tarfile.DIRTYPE, ""),
        ("rootfs/a/b", tarfile.REGTYPE, b"1"),
        ("rootfs/a/b", tarfile.SYMTYPE, "x"),
        ("rootfs/c", tarfile.REGTYPE, b"first"),
        ("rootfs/c", tarfile.REGTYPE, b"second"),
    ]
    tree = read_image_rootfs(tarball(tmp_path / "i.tar", *members), targets=["/c"])
    assert tree.entry("/a/b").kind == SYMLINK
    assert tree.read("/c", 100) == b"second"


def test_the_root_filesystem_omits_the_files_of_a_replaced_directory(
    tmp_path: Path,
) -> None:
    members = [
        ("rootfs/a/b/c", tarfile.REGTYPE, b"1"),
        ("rootfs/a", tarfile.SYMTYPE, "x"),
        ("rootfs/a", tarfile.DIRTYPE, ""),
        ("rootfs/a/b/d", tarfile.REGTYPE, b"2"),
        ("rootfs/e", tarfile.LNKTYPE, "rootfs/a/b/c"),
        ("rootfs/f", tarfile.LNKTYPE, "rootfs/a/b/d"),
    ]
    tree = read_image_rootfs(tarball(tmp_path / "i.tar", *members), targets=["/f"])
    assert [path for path, _ in tree.walk()] == ["/a", "/a/b", "/a/b/d", "/f"]
    assert tree.read("/f", 100) == b"2"
    tree.rename("/a/b", "/g")
    assert tree.entry("/a/b/d") is None


def test_an_archive_member_below_a_file_is_refused(tmp_path: Path) -> None:
    members = [("rootfs/a/b", tarfile.REGTYPE, b""), ("rootfs/a/b/c/d", tarfile.REGTYPE, b"")]
    with pytest.raises(RefusedError, match=r"^'/a/b/c/d': '/a/b' is a file, not a directory$"):
        read_image_rootfs(tarball(tmp_path / "i.tar", *members))


@pytest.mark.parametrize("above", ["a/b/", ""])
def test_a_name_longer_than_255_bytes_is_refused_in_every_directory(tmp_path: Path, above: str) -> None:
    members = [(f"rootfs/{above}{name}", tarfile.REGTYPE, b"") for name in ("x", "é" * 127 + "x")]
    assert read_image_rootfs(tarball(tmp_path / "i.tar", *members)).entry(f"/{above}" + "é" * 127 + "x")
    with pytest.raises(
        RefusedError, match=r"^the name 'éééééééééééééééééééééééééééééééééééééééé…' is longer than 255 bytes$"
    ):
        read_image_rootfs(tarball(tmp_path / "j.tar", (f"rootfs/{above}{'é' * 128}", tarfile.REGTYPE, b"")))


def test_an_image_without_a_root_filesystem_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^'.*' has no root filesystem$") as caught:
        read_image_rootfs(tarball(tmp_path / "i.tar"))
    assert (
        caught.value.hint
        == "for a split image, give both files: the metadata tarball, then the root filesystem"
    )


@pytest.mark.parametrize("name", ["rootfs/../x", "/x", "rootfs/" + "d/" * 501 + "x"])
def test_a_hostile_name_in_the_root_filesystem_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises((RefusedError, LimitError)):
        read_image_rootfs(tarball(tmp_path / "i.tar", (name, tarfile.REGTYPE, b"")))


def test_a_memory_limit_applies_to_the_unlisted_directories_of_an_archive(tmp_path: Path) -> None:
    """The directories are created in one walk: for each member, hundreds of lookups took quadratic time."""
    members = [(f"rootfs/{n}/" + "a/" * 400 + "f", tarfile.REGTYPE, b"") for n in range(10)]
    image = tarball(tmp_path / "image.tar", *members)
    tree = read_image_rootfs(image)
    assert len(list(tree.walk())) == 10 * 402
    assert tree.entry("/9/a").mode == 0o755
    limits = DEFAULT._replace(held_bytes=500_000)
    with pytest.raises(LimitError):
        read_image_rootfs(image, limits=limits)
    read_image_rootfs(tarball(tmp_path / "one.tar", members[0]), limits=limits)


def test_the_memory_for_member_names_is_limited(tmp_path: Path) -> None:
    path = tarball(tmp_path / "i.tar", *[(f"rootfs/{n}", tarfile.REGTYPE, b"") for n in range(100)])
    with pytest.raises(
        LimitError, match=r"^the names and attributes in '.*' need more than 5000 bytes of memory$"
    ) as caught:
        read_image_rootfs(path, limits=DEFAULT._replace(held_bytes=5000))
    assert caught.value.hint == "if you trust the image, raise the limit: --limit names=…"
    with pytest.raises(LimitError, match=r"^'.*' has more than 50 members$") as caught:
        read_image_rootfs(path, limits=DEFAULT._replace(members=50))
    assert caught.value.hint == "if you trust the image, raise the limit: --limit members=…"


def test_a_repeated_directory_in_an_archive_keeps_its_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "i.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind, mode in (
            ("metadata.yaml", tarfile.REGTYPE, 0o644),
            ("rootfs/a", tarfile.DIRTYPE, 0o755),
            ("rootfs/a/b", tarfile.REGTYPE, 0o644),
            ("rootfs/a", tarfile.DIRTYPE, 0o2750),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = kind, mode, 5, 6
            info.size = len(METADATA) if name == "metadata.yaml" else 0
            tar.addfile(info, io.BytesIO(METADATA))
    tree = read_image_rootfs(str(path), targets=["/a/b"])
    assert [name for name, _ in tree.walk()] == ["/a", "/a/b"]
    entry = tree.entry("/a")
    assert (entry.mode, entry.uid, entry.gid) == (0o2750, 5, 6)
