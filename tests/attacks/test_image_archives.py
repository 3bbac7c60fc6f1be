"""Hostile archives: small files that take much memory, time or disk space when read or unpacked."""

import gzip
import io
import lzma
import os
import shutil
import signal
import subprocess
import tarfile
import tracemalloc
import zlib
from importlib import import_module
from pathlib import Path

import pytest

from templater.checks.image_scanner import scan_image
from templater.cli.run_command_line import main
from templater.image import compression_modules, decompress
from templater.image.compression_modules import ZSTD
from templater.image.decompress import open_stream
from templater.image.limits import DEFAULT, Limits
from templater.image.open_image import open_image
from templater.image.read_whole_image import open_contents
from templater.image.tar_reader import open_archive
from templater.image.unpack import TRUSTED, Policy, unpack
from templater.model.errors import InputError, LimitError, RefusedError
from templater.rootfs.id_map import IDENTITY, IdMap
from tests.image_archives import directories, file, global_header, header, image, pax, sparse_map
from tests.processor_time import ends_within


def archive(*members: tuple[str, bytes]) -> bytes:
    blocks = []
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        blocks.append(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
    return b"".join(blocks) + bytes(10240)


@pytest.mark.slow
def test_attack_62_an_archive_with_thousands_of_empty_streams_hits_a_limit(tmp_path: Path) -> None:
    zstd = pytest.importorskip("backports.zstd")
    with ends_within(20):  # previously an hour
        for name, whole, nothing in (
            ("gz", gzip.compress(archive(("metadata.yaml", b""))), gzip.compress(b"")),
            ("zst", zstd.compress(archive(("metadata.yaml", b""))), zstd.compress(b"")),
        ):
            file = tmp_path / f"i.tar.{name}"
            file.write_bytes(whole + nothing * 1_000_000)
            with pytest.raises(LimitError, match="streams, most of them empty"):
                open_image(str(file)).read_to_end()


def test_archive_with_one_stream_for_each_member_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompress, "_MANY_STREAMS", 100)
    data = archive(("metadata.yaml", b"architecture: x86_64\n"), *((f"rootfs/{n}", b"") for n in range(300)))
    pieces = [data[at : at + 512] for at in range(0, len(data) - 10240, 512)] + [data[-10240:]]
    (tmp_path / "i.tar.gz").write_bytes(b"".join(map(gzip.compress, pieces)))
    assert open_image(str(tmp_path / "i.tar.gz")).read_metadata().text == "architecture: x86_64\n"


@pytest.mark.parametrize("number", [b"\x80" + b"\x7f" * 7, b"\xff" * 8, b"\x80" + bytes(5) + b"\x10\x00"])
@pytest.mark.parametrize("field", [329, 337])
def test_attack_60_an_impossible_device_number_is_refused(tmp_path: Path, number: bytes, field: int) -> None:
    info = tarfile.TarInfo("rootfs/d")
    info.type = tarfile.CHRTYPE
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    if field == 337 and number[-2:] == b"\x10\x00":
        number = b"\x80" + bytes(4) + b"\x10\x00\x00"
    header[field : field + 8] = number
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    whole = archive(("metadata.yaml", b"architecture: x86_64\n"))
    (tmp_path / "i.tar").write_bytes(whole[:-10240] + bytes(header) + bytes(10240))
    with pytest.raises(InputError, match="outside the range of Linux"):
        open_image(str(tmp_path / "i.tar")).read_to_end()


COMMANDS = [
    ["audit", "IMAGE"],
    ["preview", "IMAGE"],
    ["image", "info", "IMAGE"],
    ["unpack", "IMAGE", "OUT"],
    ["image", "export", "IMAGE", "OUT", "--compression", "none"],
]


@pytest.mark.parametrize(
    "key", ["SCHILY.xattr.user.a", "LIBARCHIVE.xattr.user.a", "path", "linkpath", "size", "GNU.sparse.name"]
)
def test_attack_61_a_global_header_cannot_set_attributes_of_members(tmp_path: Path, key: str) -> None:
    made = image(tmp_path / "i.tar", global_header({key: b"1"}), *directories(3))
    with pytest.raises(RefusedError, match=f"global header that sets '{key}'"):
        open_image(made).read_to_end()


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_attack_61_a_global_attribute_is_refused_with_little_memory(
    tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A 7 kB image with 100 names of 10 kB took 3.9 GB in audit, and export wrote 479 MiB from 1.8 kB."""
    names = {f"SCHILY.xattr.user.{number:03}" + "x" * 10_000: b"" for number in range(99)}
    image(tmp_path / "i.tar", global_header(names), *directories(4000))
    (tmp_path / "i.tar.gz").write_bytes(gzip.compress((tmp_path / "i.tar").read_bytes()))
    places = {"IMAGE": str(tmp_path / "i.tar.gz"), "OUT": str(tmp_path / "out")}
    tracemalloc.start()
    try:
        code = main([places.get(word, word) for word in words])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = "".join(capfd.readouterr())
    if words[0] != "preview":  # audit stops reading at the last template
        assert "global header that sets 'SCHILY.xattr.user.000" in said
        assert code == (1 if words[0] == "audit" else 3)
    assert peak < 50 << 20
    assert not (tmp_path / "out").exists()


def test_attack_61_a_long_number_in_a_global_header_is_parsed_once(tmp_path: Path) -> None:
    made = image(tmp_path / "i.tar", global_header({"mtime": b"1" * 1_000_000}), *directories(3000))
    with pytest.raises(InputError, match="'mtime' is not a time"):
        open_image(made).read_to_end()


def test_a_global_header_can_set_owner_and_time(tmp_path: Path) -> None:
    shared = global_header({"mtime": b"12.5", "uid": b"7", "comment": b"x" * 1000, "uname": b"u" * 100_000})
    contents = open_contents(image(tmp_path / "i.tar", shared, header("rootfs/a", uid=3)))
    ((member, _),) = contents.rootfs()
    assert (member.mtime, member.uid, member.xattrs) == (12.5, 7, {})


@pytest.mark.parametrize(("name", "value"), [("user." + "a" * 251, b""), ("user.a", b"x" * 65537)])
def test_attack_61_an_extended_attribute_larger_than_linux_allows_hits_a_limit(
    tmp_path: Path, name: str, value: bytes
) -> None:
    made = image(tmp_path / "i.tar", pax({f"SCHILY.xattr.{name}": value}), file("rootfs/a"))
    with pytest.raises(
        LimitError, match=r"extended attribute 'user\.a+' with a value of .* bytes: Linux allows 65536"
    ):
        open_image(made).read_to_end()


def test_attack_61_names_outside_the_rootfs_have_a_total_size_limit(tmp_path: Path) -> None:
    names = [header(f"{number}/" + "x" * 200) for number in range(100)]
    made = image(tmp_path / "i.tar", *names)
    limits = DEFAULT._replace(held_bytes=10_000)
    with pytest.raises(
        LimitError, match=r"names and attributes in '.*' need more than 10000 bytes of memory"
    ) as caught:
        open_image(made, limits).read_to_end()
    assert caught.value.hint == "if you trust the image, raise the limit: --limit names=…"
    open_image(made).read_to_end()


def test_attack_61_the_extended_attributes_of_directories_have_a_total_size_limit(tmp_path: Path) -> None:
    """Directory attributes are set last, after the files in the directories are written."""
    attribute = pax({"SCHILY.xattr.user.a": b"x" * 1000})
    members = [part for each in directories(20) for part in (attribute, each)]
    limits = DEFAULT._replace(held_bytes=10_000)
    contents = open_contents(image(tmp_path / "i.tar", *members), limits=limits)
    with pytest.raises(LimitError, match="names and attributes") as caught:
        unpack(contents, contents.parts(), str(tmp_path / "c1"), policy=Policy(owners=False))
    assert caught.value.hint == "if you trust the image, raise the limit: --limit names=…"
    assert not (tmp_path / "c1").exists()


@pytest.mark.parametrize("hole", [0, 1 << 30], ids=["plain", "with a hole at the end"])
def test_an_implied_directory_counts_as_a_used_disk_block(tmp_path: Path, hole: int) -> None:
    """500 names with 500 directories each, in 8 kB, became 245,000 directories."""
    image(tmp_path / "i.tar", *(header(f"rootfs/{n}/" + "d/" * 50 + "x") for n in range(20)))
    (tmp_path / "i.tar.gz").write_bytes(gzip.compress((tmp_path / "i.tar").read_bytes()))
    if hole:
        os.truncate(tmp_path / "i.tar.gz", hole)
    limits = DEFAULT._replace(ratio_from=1 << 20)
    contents = open_contents(str(tmp_path / "i.tar.gz"), limits=limits)
    with pytest.raises(LimitError, match="would use too much disk space when unpacked") as caught:
        unpack(contents, contents.parts(), str(tmp_path / "c1"), policy=Policy(owners=False))
    assert caught.value.hint == "if you trust the image, raise the limit: --limit ratio=…"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE])
def test_attack_62_an_empty_file_counts_as_a_used_disk_block(
    tmp_path: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 empty directories from 151 kB took 394 MB of disk."""
    members = [header(f"rootfs/{number}", kind, linkname="x") for number in range(500)]
    image(tmp_path / "i.tar", *members)
    (tmp_path / "i.tar.gz").write_bytes(gzip.compress((tmp_path / "i.tar").read_bytes()))
    limits = DEFAULT._replace(ratio_from=1 << 20, ratio=200)
    contents = open_contents(str(tmp_path / "i.tar.gz"), limits=limits)
    with pytest.raises(LimitError, match="would use too much disk space when unpacked"):
        monkeypatch.setattr("templater.image.unpack._make_beside", lambda path: pytest.fail("wrote a file"))
        unpack(contents, contents.parts(), str(tmp_path / "c1"), policy=Policy(owners=False))
    monkeypatch.undo()
    contents = open_contents(
        str(tmp_path / "i.tar"), limits=limits
    )  # a small part of the plain archive's size
    unpack(contents, contents.parts(), str(tmp_path / "c1"), policy=Policy(owners=False))


@pytest.mark.parametrize("hole", [0, 1 << 30], ids=["plain", "with a hole at the end"])
def test_attack_62_an_empty_directory_counts_more_than_an_empty_file(tmp_path: Path, hole: int) -> None:
    """100,000 directories in the second file of a split image took 9 s to write and 8 s to remove."""
    paths = [str(tmp_path / "meta.tar"), str(tmp_path / "root.tar.gz")]
    image(tmp_path / "meta.tar")
    (tmp_path / "root.tar.gz").write_bytes(
        gzip.compress(b"".join(header(str(number), tarfile.DIRTYPE) for number in range(100)) + bytes(1024))
    )
    if hole:
        os.truncate(tmp_path / "root.tar.gz", hole)
    contents = open_contents(*paths, limits=DEFAULT._replace(ratio_from=1 << 20, ratio=10))
    with pytest.raises(LimitError, match="would use too much disk space when unpacked"):
        unpack(contents, contents.parts(), str(tmp_path / "c1"), policy=Policy(owners=False))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta.tar", "root.tar.gz"]


def test_repeated_signal_does_not_interrupt_removal_of_unpacked_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal of the time limit repeats each second.

    A repeated signal ended the removal, and left 42,770 directories behind.
    """
    image(tmp_path / "i.tar", *(header(f"rootfs/{number}", tarfile.DIRTYPE) for number in range(3)))
    contents = open_contents(str(tmp_path / "i.tar"))
    rmtree = shutil.rmtree

    def expired(*_: object) -> None:
        raise LimitError("the command takes too long")

    def slow(path: str, **options: bool) -> None:
        signal.raise_signal(signal.SIGPROF)
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", slow)
    before = signal.signal(signal.SIGPROF, expired)
    try:
        with pytest.raises(LimitError):
            unpack(
                contents, contents.parts(), str(tmp_path / "c1"), policy=Policy(owners=False),
                finish=lambda path: signal.raise_signal(signal.SIGPROF),
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGPROF, before)
    assert [path.name for path in tmp_path.iterdir()] == ["i.tar"]


def test_extended_attribute_too_large_for_the_filesystem_is_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ext4 and overlayfs answer ENOSPC, as if the disk were full."""
    probe = tmp_path / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.a", b"x" * 60_000)
    except OSError as error:
        if error.strerror != "No space left on device":
            pytest.skip(f"NOT RUN: this file system answers '{error.strerror}'")
    else:
        pytest.skip("NOT RUN: this file system holds attributes of 60,000 bytes")
    made = image(tmp_path / "i.tar", pax({"SCHILY.xattr.user.a": b"x" * 60_000}), file("rootfs/a"))
    assert main(["unpack", made, str(tmp_path / "c1")]) == 6
    said = capfd.readouterr().err
    assert "'/a': this file system can't store the extended attribute 'user.a' of 60000 bytes" in said
    assert "full" not in said


MAPPED = IdMap(((0, 100000, 65536),), ((0, 100000, 65536),))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("policy", "ids", "mode"),
    [(TRUSTED, IDENTITY, 0o700), (TRUSTED, MAPPED, 0o711), (Policy(), IDENTITY, 0o711)],
)
def test_unpacked_tree_is_private_with_a_setuid_root_program(
    tmp_path: Path, policy: Policy, ids: IdMap, mode: int
) -> None:
    made = tmp_path / "i.tar"
    with tarfile.open(made, "w") as tar:
        for name, data, bits in (("metadata.yaml", b"a: b\n", 0o644), ("rootfs/su", b"x", 0o4755)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), bits
            tar.addfile(info, io.BytesIO(data))
    contents = open_contents(str(made))
    unpack(contents, contents.parts(), str(tmp_path / "c1"), policy=policy, ids=ids)
    assert (tmp_path / "c1").stat().st_mode & 0o777 == mode


def sparse_claim(name: str, size: int) -> bytes:
    """Return the header of a sparse file of ``size`` bytes without data."""
    return sparse_map(b"%d,0" % size, size, name=name.encode()) + header(name)


@pytest.mark.slow
def test_attack_61_an_export_must_not_make_a_small_image_large(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """mksquashfs reads holes of sparse files as zeros. The test's image has a hole of a terabyte."""
    made = image(tmp_path / "i.tar", sparse_claim("rootfs/a", 1 << 40))
    words = ["image", "export", made, str(tmp_path / "out"), "--format", "split"]
    limits = ["--limit", "ratio=2"]
    if shutil.which("mksquashfs"):
        assert main([*words, "--rootfs", "squashfs", *limits]) == 4
        assert "so the new image may not have" in capfd.readouterr().err
    assert main([*words, *limits, "--compression", "none"]) == 0  # tar writes the hole as a hole
    assert (tmp_path / "out.root").stat().st_size < 50_000


@pytest.mark.parametrize("form", ["pax", "gnu"])
def test_the_export_command_accepts_tar_headers_that_become_longer(tmp_path: Path, form: str) -> None:
    pieces = b",".join(b"%d,512" % (1024 * number) for number in range(2000))
    member = sparse_map(pieces, 1999 * 1024 + 512) + file("rootfs/a", bytes(1_024_000))
    made = image(tmp_path / "i.tar", member, *(file("rootfs/" + "d/" * 60 + str(n)) for n in range(100)))
    words = ["image", "export", made, str(tmp_path / "out"), "--tar", form, "--compression", "none"]
    assert main(words) == 0


def test_the_limit_on_member_names_is_in_bytes_of_python_memory(tmp_path: Path) -> None:
    """One character outside the BMP makes Python use four bytes for each character of a name."""
    names = [
        pax({"path": f"rootfs/{number}".encode() + b"x" * 185 + b"/" + b"x" * 185 + "\U00010000".encode()})
        + header("x")
        for number in range(200)
    ]
    path = image(tmp_path / "image", *names)
    limits = DEFAULT._replace(held_bytes=200 * 1100)  # the headers have 200 * 1024 bytes
    with pytest.raises(LimitError, match="names and attributes") as caught:
        list_names(path, limits)
    assert caught.value.hint == "if you trust the image, raise the limit: --limit names=…"
    assert list_names(path, DEFAULT) == 201


@pytest.mark.slow
def test_a_decompressor_window_of_more_than_128_mib_is_refused(tmp_path: Path) -> None:
    """With a window of 512 MiB, an image of 3 MB took 550 MB."""
    packed = lzma.compress(bytes(1000), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 192 << 20}])
    (tmp_path / "image").write_bytes(packed)
    with pytest.raises(LimitError, match=r"^'.*' needs more than 128 MiB to decompress$") as caught:
        open_archive(str(tmp_path / "image"))
    assert caught.value.hint == "pack the file again with a smaller dictionary or window"


def is_installed(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("name", [*filter(is_installed, ZSTD)])
@pytest.mark.parametrize("log", [26, 27, 28])
def test_a_zstd_window_is_refused_only_above_128_mib(name, log, tmp_path, monkeypatch):
    monkeypatch.setattr(compression_modules, "ZSTD", (name,))
    window, block = bytes([log - 10 << 3]), (len(b"text") << 3 | 1).to_bytes(3, "little") + b"text"
    (tmp_path / "image").write_bytes(b"\x28\xb5\x2f\xfd\0" + window + block)
    with open_stream(str(tmp_path / "image")) as stream:
        if log <= 27:
            assert stream.read(9) == b"text"
            return
        with pytest.raises(LimitError, match=r"^'.*' needs more than 128 MiB to decompress$"):
            stream.read(9)


def list_names(path: str, limits: Limits) -> int:
    found = scan_image(path, limits)
    for error in found.errors:
        raise error
    return len(found.names)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd", "lz4"])
def test_compressed_file_that_is_also_tar_is_refused(tmp_path: Path, name: str) -> None:
    """LXD and Incus 6 look for tar before zstd.

    An audit saw a harmless image in the zstd data, and the daemon unpacked the tar archive.
    """
    magic = {
        "gzip": b"\x1f\x8b",
        "bzip2": b"BZh",
        "xz": b"\xfd7zXZ\x00",
        "zstd": b"\x28\xb5\x2f\xfd",
        "lz4": b"\x04\x22\x4d\x18",
    }
    member = tarfile.TarInfo("x" * 9)
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    header[: len(magic[name])] = magic[name]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "image"
    path.write_bytes(header + bytes(1024))
    with tarfile.open(path) as archive:
        assert len(archive.getmembers()) == 1
    with pytest.raises(RefusedError, match=rf"is an? {name} file and a tar archive: some daemons"):
        decompress.open_stream(str(path))


@pytest.mark.skipif(shutil.which("xz") is None, reason="NOT RUN: needs xz")
@pytest.mark.parametrize("size", [(1 << 64) - 1, 1024, 1 << 38, (1 << 38) + 1])
def test_xz_and_templater_accept_the_same_lzma_headers(tmp_path: Path, size: int) -> None:
    """No daemon could unpack the image, and ``audit`` found nothing."""
    packed = lzma.compress(bytes(1024), lzma.FORMAT_ALONE)
    for dictionary in (0, 0x10000, 0x30000, 0x50000, 0x60000, 0x850000, 1 << 23, 3 << 22, 5 << 22):
        data = packed[:1] + dictionary.to_bytes(4, "little") + size.to_bytes(8, "little") + packed[13:]
        answer = subprocess.run(["xz", "--format=lzma", "-dc"], input=data, capture_output=True, check=False)
        path = tmp_path / "i.tar.lzma"
        path.write_bytes(data)
        is_refused = b"not recognized" in answer.stderr
        limits = DEFAULT._replace(window_bytes=8 << 30)
        with open_stream(str(path), limits) as stream:
            said = ""
            try:
                assert stream.read(1024) == bytes(1024)
            except InputError as error:
                said = error.message
        assert ("xz does not accept the size" in said) == is_refused, dictionary


@pytest.mark.skipif(shutil.which("xz") is None, reason="NOT RUN: needs xz")
@pytest.mark.parametrize(
    ("check", "same_size"),
    [(lzma.CHECK_CRC32, (1, 2, 3)), (lzma.CHECK_CRC64, (4, 5, 6)), (lzma.CHECK_SHA256, (10, 11, 12))],
)
def test_the_xz_program_and_templater_accept_the_same_check_sums(
    tmp_path: Path, check: int, same_size: tuple[int, ...]
) -> None:
    """xz ends with an error for an unknown check sum, so no daemon could unpack the image."""
    packed = bytearray(lzma.compress(bytes(1024), check=check))
    for kind in same_size:
        packed[7] = packed[-3] = kind  # in the header and at the end, each with its own check sum
        packed[8:12] = zlib.crc32(packed[6:8]).to_bytes(4, "little")
        packed[-12:-8] = zlib.crc32(packed[-8:-2]).to_bytes(4, "little")
        answer = subprocess.run(["xz", "-dc"], input=packed, capture_output=True, check=False)
        assert (answer.returncode == 0) == (kind == check)
        path = tmp_path / "i.tar.xz"
        path.write_bytes(packed)
        with open_stream(str(path), DEFAULT) as stream:
            if kind == check:
                assert stream.read(1024) == bytes(1024)
                continue
            with pytest.raises(InputError, match="unknown kind of check sum"):
                stream.read(1024)
