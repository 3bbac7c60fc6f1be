"""The bounds of the directory check of squashfs files, and the exact words of each refusal."""

import lzma
import random
import struct
import subprocess
import zlib
from types import SimpleNamespace

import pytest

from templater.image import compression_modules, sqfs2tar, squashfs_directories, squashfs_tables
from templater.image.limits import DEFAULT
from templater.image.lzo import _length, decompress_lzo
from templater.image.open_file import OpenFile
from templater.image.squashfs_compression import load_compression
from templater.image.squashfs_directories import check_directories
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError
from tests.attacks.test_squashfs import (
    DATA,
    STORED,
    directory_inode,
    many_names,
    nested,
    one_directory,
    pack_lzma,
    two_files,
    with_data,
)
from tests.attacks.test_squashfs import squashfs as written
from tests.processor_time import ends_within
from tests.unit.image.test_squashfs_directories import LZO


def failed(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return type(caught.value), caught.value.message, caught.value.hint


def test_the_squashfs_constants_have_the_expected_values():
    assert (
        squashfs_directories._HEAD,
        squashfs_tables.BLOCK,
        squashfs_tables.ABSENT,
        squashfs_directories._NO_XATTRS,
    ) == (
        96,
        8192,
        2**64 - 1,
        512,
    )
    assert (
        squashfs_directories._MOST_NAMES,
        squashfs_directories._LONGEST,
        squashfs_directories._KEPT_BLOCKS,
    ) == (256, 256, 2048)
    assert (squashfs_directories._MEMBERS_OF_BLOCK, squashfs_directories._MEMBERS_OF_LZO_BLOCK) == (20, 150)


LIKE = ", so tools would read different files"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cut": 9}, RefusedError, f"'{{}}': a directory has more names than its size allows{LIKE}"),
        ({"cut": 1}, RefusedError, f"'{{}}': a directory has more names than its size allows{LIKE}"),
        ({"count": 3}, RefusedError, f"'{{}}': a directory has more names than its size allows{LIKE}"),
        ({"count": 257}, RefusedError, f"'{{}}': a header in a directory has too many names{LIKE}"),
        ({"kind": 2}, RefusedError, f"'{{}}': the type or number of an inode differs from its directory entry{LIKE}"),
        ({"number": 2}, RefusedError, f"'{{}}': the type or number of an inode differs from its directory entry{LIKE}"),
        (
            {"flags": 0x200},
            RefusedError,
            "'{}' has extended attributes, although a flag says that it has none: "
            "only some tools would read the attributes",
        ),
        (
            {"flags": 4},
            RefusedError,
            "'{}' has the flag for check data: only some tools then skip a byte in each block, "
            "so tools would read different files",
        ),
        (
            {"cut": -1},
            InputError,
            "'{}' can't be read: a block that is not the last one of its table has an invalid size",
        ),
        ({"cut": 29}, InputError, "'{}' can't be read: it was cut short"),
    ],
)  # fmt: skip
def test_an_ambiguous_squashfs_directory_is_refused_with_a_reason(change, error, message, tmp_path):
    path = str(tmp_path / "i")
    check_directories(one_directory(tmp_path / "i"), DEFAULT)
    assert failed(check_directories, one_directory(tmp_path / "i", **change), DEFAULT) == (
        error,
        message.format(path),
        "",
    )


def test_a_squashfs_file_without_a_table_of_extended_attributes_is_accepted(tmp_path):
    path = one_directory(tmp_path / "i", flags=0x200)
    data = bytearray((tmp_path / "i").read_bytes())
    data[56:64] = b"\xff" * 8  # the image has no table of attributes
    (tmp_path / "i").write_bytes(data)
    check_directories(path, DEFAULT)


def test_a_squashfs_directory_must_not_occur_in_two_places(tmp_path):
    path = nested(tmp_path / "i", 2)
    message = f"'{path}': a directory occurs in two places{LIKE}"
    assert failed(check_directories, path, DEFAULT) == (RefusedError, message, "")


def test_a_name_in_a_squashfs_file_has_at_most_256_bytes(tmp_path):
    check_directories(two_files(tmp_path / "i", (b"a", b"b" * 256)), DEFAULT)
    message = f"'{tmp_path}/i': a directory has more names than its size allows{LIKE}"
    path = two_files(tmp_path / "i", (b"a", b"b" * 257))
    assert failed(check_directories, path, DEFAULT) == (RefusedError, message, "")


def test_a_squashfs_directory_with_an_extended_inode_is_read(tmp_path):
    """mksquashfs writes an extended inode for a directory with many names."""
    entries = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 0, 0, 1, 0) + b"a"
    long = struct.pack("<HHHHII", 8, 0o755, 0, 0, 0, 2) + struct.pack(
        "<IIIIHHI", 3, len(entries) + 3, 0, 3, 0, 0, 2**32 - 1
    )
    path = written(tmp_path / "i", [directory_inode(1), long], entries)
    check_directories(path, DEFAULT._replace(members=1))
    assert failed(check_directories, path, DEFAULT._replace(members=0))[0] is LimitError


def test_the_number_of_names_in_all_squashfs_directories_has_a_limit(tmp_path):
    path = many_names(tmp_path / "i", 1)
    check_directories(path, DEFAULT._replace(members=257))
    message = f"'{path}' has more than 256 members"
    assert failed(check_directories, path, DEFAULT._replace(members=256)) == (LimitError, message, "")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x04\x00abcd", "a block can't be decompressed: Error -3 while decompressing data: incorrect header check"),
        (b"\x00\x80", "a block has an invalid size"),
        (b"\x01\xa0" + bytes(8193), "a block has an invalid size"),
        # other tools refuse such a block before they decompress it
        (b"\x01\x20" + zlib.compress(bytes(1000)) + bytes(8193), "a block has an invalid size"),
    ],
)  # fmt: skip
def test_a_damaged_squashfs_block_is_refused(raw, message, tmp_path):
    path = tmp_path / "i"
    one_directory(path)
    data = bytearray(path.read_bytes())
    (directories,) = struct.unpack_from("<Q", data, 72)
    for place in (40, 48, 72, len(data) - 8):  # the end, and the tables behind the block
        (before,) = struct.unpack_from("<Q", data, place)
        struct.pack_into("<Q", data, place, before + 96 + len(raw) - directories)
    path.write_bytes(data[:96] + raw + data[directories:])
    assert failed(check_directories, str(path), DEFAULT) == (
        InputError,
        f"'{path}' can't be read: {message}",
        "",
    )


def test_a_squashfs_root_must_be_a_directory(tmp_path):
    inode = bytearray(directory_inode(1) + bytes(40))
    inode[0] = 2
    path = written(tmp_path / "i", [bytes(inode)], b"")
    # the file's only inode is its root, which has to be a directory
    message = f"'{path}' can't be read: the inode of a directory has an invalid type"
    assert failed(check_directories, path, DEFAULT) == (InputError, message, "")


A, B, C = (letter * 8192 for letter in (b"a", b"b", b"c"))


class Blocks:
    """A reader of blocks that are not compressed."""

    def __init__(self, *blocks):
        self.data, self.position = b"".join((len(b) | 0x8000).to_bytes(2, "little") + b for b in blocks), 0

    def seek(self, position):
        self.position = position

    def read(self, size):
        self.position += size
        return self.data[self.position - size : self.position]


def walk_over(*blocks, compression=1, limits=DEFAULT):
    head = bytes(20) + bytes([compression]) + bytes(75)
    return squashfs_directories._Walk(
        "p", Blocks(*blocks), head, squashfs_directories.Compression(bytes, len), limits, 0
    )


@pytest.mark.parametrize(
    ("offset", "size", "result"),
    [(0, 8192, A), (8191, 1, b"a"), (8190, 4, b"aabb"), (8190, 8194, b"aa" + B), (8191, 8195, b"a" + B + b"cc")],
)  # fmt: skip
def test_bytes_in_several_squashfs_blocks_are_read_completely(offset, size, result):
    assert walk_over(A, B, C[:2])._bytes(0, 0, offset, size) == result


@pytest.mark.parametrize("offset", [4, 8191])
def test_only_the_final_block_of_tables_may_be_shorter(offset):
    """Positions in a table count 8 KiB for each block, so a shorter block would shift the data after it."""
    blocks = (b"a" * (offset + 1), b"b") if offset < 8191 else (A, B[:-1], C)
    with pytest.raises(
        ValueError, match=r"^a block that is not the last one of its table has an invalid size$"
    ):
        walk_over(*blocks)._bytes(0, 0, offset, 8200)


@pytest.mark.parametrize(("block", "offset"), [(b"abcd", 4), (b"abcd", 5), (A, 8192), (A, 9000)])
def test_a_position_outside_its_squashfs_block_is_an_error(block, offset):
    """Other tools that read squashfs refuse such a position, too."""
    with pytest.raises(ValueError, match=r"^a position is outside of its block$"):
        walk_over(block, B)._bytes(0, 0, offset, 1)


@pytest.mark.parametrize("size", [1, 8192])
def test_a_squashfs_block_without_compression_may_have_up_to_8_kib(size):
    assert walk_over(b"x" * size)._bytes(0, 0, 0, size) == b"x" * size


@pytest.mark.parametrize(("compression", "members"), [(1, 20), (3, 150)])
def test_the_limit_on_squashfs_blocks_depends_on_the_compression(compression, members):
    blocks = [b"%02d" % number * 4096 for number in range(13)]
    walk = walk_over(*blocks, compression=compression, limits=DEFAULT._replace(members=2 * members))
    assert walk._bytes(0, 0, 0, 12 * 8192) == b"".join(blocks[:12])
    message = "'p' has too many blocks of inodes and directories"
    assert failed(walk._bytes, 0, 12 * 8194, 0, 2) == (LimitError, message, "")
    assert walk._bytes(0, 0, 0, 2) == b"00"  # a block that was read before costs nothing


def _lzo(data):
    return decompress_lzo(data, 8192)


def loaded(kind, tmp_path):
    (tmp_path / "i").write_bytes(bytes(20) + bytes([kind, 0]) + bytes(74))
    return load_compression(f"{tmp_path}/i")


def decompressor_of(kind, tmp_path):
    return lambda data: loaded(kind, tmp_path).decompress(data, 8192)


def pack_zstd(data):
    return pytest.importorskip("backports.zstd").compress(data)


def pack_lzo(data):
    return bytes([17 + len(data)]) + data + bytes.fromhex("110000")


def pack_lz4(data):
    return pytest.importorskip("lz4.block").compress(data, store_size=False)


PACKERS = [
    (1, zlib.compress), (2, pack_lzma), (3, pack_lzo), (4, lzma.compress), (5, pack_lz4), (6, pack_zstd),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "pack"), [row for row in PACKERS if row[0] not in (3, 5)])
def test_decompressing_a_squashfs_block_stops_after_its_size_limit(kind, pack, tmp_path):
    decompress = decompressor_of(kind, tmp_path)
    assert decompress(pack(b"abc")) == b"abc"
    assert decompress(pack(A)) == A
    if kind == 2:
        with pytest.raises(ValueError, match=r"^the compressed data has an invalid size$"):
            decompress(pack(bytes(9000)))
    else:
        assert len(decompress(pack(bytes(9000)))) == 8193


@pytest.mark.parametrize("extra", ["stream", "byte", "missing"])
@pytest.mark.parametrize(("kind", "pack"), PACKERS)
def test_a_compressed_squashfs_block_must_contain_exactly_one_stream(kind, pack, extra, tmp_path):
    """zstd's own function joins two frames, and Python read the first, so an audit did not see some files."""
    decompress = decompressor_of(kind, tmp_path)
    packed = pack(b"abcdefgh")
    assert decompress(packed) == b"abcdefgh"
    changed = {"stream": packed + pack(b"defghijk"), "byte": packed + b"\0", "missing": packed[:-1]}[extra]
    if (kind, extra) == (2, "missing"):
        assert decompress(changed) == b"abcdefgh"  # squashfs-tools need no end of the stream
    else:
        with pytest.raises(
            Exception, match=r"not exactly one stream|data follows the end|index out of range|corrupt input"
        ):
            decompress(changed)


@pytest.mark.parametrize(("size", "result"), [(0, b""), (7, b"abcdefg"), (8, b"abcdefgh")])
def test_an_lzma_block_is_cut_to_the_recorded_size(size, result, tmp_path):
    packed = pack_lzma(b"abcdefgh")
    packed = packed[:5] + size.to_bytes(8, "little") + packed[13:]
    assert decompressor_of(2, tmp_path)(packed) == result


@pytest.mark.parametrize(
    ("size", "why"),
    [(9, "data is not exactly one stream"), (8193, "data has an invalid size"), (8 | 1 << 32, "data has an invalid size")],
)  # fmt: skip
def test_an_lzma_block_with_a_wrong_size_is_an_error(size, why, tmp_path):
    """squashfs-tools read only four bytes of the size, and Python reads eight."""
    packed = pack_lzma(b"abcdefgh")
    packed = packed[:5] + size.to_bytes(8, "little") + packed[13:]
    with pytest.raises(ValueError, match=why):
        decompressor_of(2, tmp_path)(packed)


def pack_with_dictionary(mebibytes, kind):
    """Return a compressed block whose decompressor needs a dictionary of 24 or 48 MiB."""
    packed = bytearray(pack_lzma(b"abc") if kind == 2 else lzma.compress(b"abc"))
    if kind == 2:
        packed[1:5] = (mebibytes << 20).to_bytes(4, "little")
    else:
        packed[16] = {24: 25, 48: 27}[mebibytes]
        packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    return bytes(packed)


@pytest.mark.parametrize("kind", [2, 4])
def test_the_memory_for_decompressing_a_squashfs_block_is_limited(kind, tmp_path):
    decompress = decompressor_of(kind, tmp_path)
    assert decompress(pack_with_dictionary(24, kind)) == b"abc"
    content_size = loaded(kind, tmp_path).content_size
    assert content_size(pack_with_dictionary(24, kind), 3) == 3
    for function in (decompress, lambda data: content_size(data, 3)):
        with pytest.raises(lzma.LZMAError, match=r"^Memory usage limit exceeded$"):
            function(pack_with_dictionary(48, kind))


def test_a_squashfs_file_with_unknown_compression_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "i"
    path.write_bytes(bytes(20) + b"\x07\0" + bytes(74))
    message = f"'{path}' is a squashfs file with the unknown compression 7"
    assert failed(load_compression, str(path)) == (InputError, message, "")
    (tmp_path / "lz4").write_bytes(bytes(20) + b"\x05\0" + bytes(74))
    (tmp_path / "zstd").write_bytes(bytes(20) + b"\x06\0" + bytes(74))
    asked = []

    def missing(name):
        asked.append(name)
        raise ImportError

    monkeypatch.setattr(compression_modules, "import_module", missing)
    lz4 = (
        InputError,
        "lz4 needs a C extension, which is not installed",
        "install lz4 (Debian: python3-lz4), or use another compression",
    )
    zstd = (
        InputError,
        "zstd needs Python 3.14 or a C extension, which is not installed",
        "install backports.zstd or pyzstd (Debian: python3-pyzstd), or use another compression",
    )
    assert failed(load_compression, f"{tmp_path}/lz4") == failed(compression_modules.load_lz4) == lz4
    assert failed(load_compression, f"{tmp_path}/zstd")[:2] == zstd[:2]
    del asked[:]
    assert failed(compression_modules.load_zstd) == zstd
    assert asked == ["compression.zstd", "backports.zstd", "pyzstd"]
    given = {}
    fake = SimpleNamespace(
        decompress=lambda data, uncompressed_size: given.update(size=uncompressed_size) or data,
        ZstdDecompressor=lambda: SimpleNamespace(
            decompress=lambda data, most: given.update(most=most) or data, eof=True, unused_data=b""
        ),
    )
    monkeypatch.setattr(
        compression_modules, "import_module", lambda name: given.setdefault("name", name) and fake
    )
    assert load_compression(f"{tmp_path}/lz4").decompress(b"x", 8192) == b"x"
    assert load_compression(f"{tmp_path}/zstd").decompress(b"x", 8192) == b"x"
    assert given == {"name": "lz4.block", "size": 8192, "most": 8193}


@pytest.mark.parametrize("size", [1, 88, 4096, 100_000])
@pytest.mark.parametrize(("kind", "pack"), PACKERS)
def test_the_content_size_is_found_for_each_compression(kind, pack, size, tmp_path):
    data = random.Random(1).randbytes(min(size, 200)).ljust(size, b"x")
    if kind == 3:
        data = data[:200]  # pack_lzo makes only short blocks
    compression = loaded(kind, tmp_path)
    assert compression.content_size(pack(data), size) == len(data)
    assert compression.decompress(pack(data), size) == data


def test_a_zstd_block_is_decompressed_if_its_header_has_no_size(tmp_path):
    zstd = pytest.importorskip("backports.zstd")
    compressor = zstd.ZstdCompressor()
    packed = compressor.compress(b"a" * 300) + compressor.flush()
    assert zstd.get_frame_info(packed).decompressed_size is None
    assert loaded(6, tmp_path).content_size(packed, 300) == 300
    skippable = b"\x50\x2a\x4d\x18" + (300).to_bytes(4, "little") + bytes(300)
    with pytest.raises(ValueError, match=r"^the compressed data is not exactly one stream$"):
        loaded(6, tmp_path).content_size(skippable + packed, 300)


def start_of_index(packed):
    return len(packed) - 16 - 4 * int.from_bytes(packed[-8:-4], "little")


def xz_stream(*blocks):
    """Join the blocks of XZ streams. Each block has the size of its content, as it is encoded in the index."""
    data, records = blocks[0][0][:12], b""
    for packed, size in blocks:
        start = start_of_index(packed)
        data += packed[12:start]
        records += packed[start + 2 : start + 3] + size
    index = bytes([0, len(blocks)]) + records
    index += bytes(-len(index) % 4)
    return data + index + bytes(8) + (len(index) // 4).to_bytes(4, "little") + bytes(2) + b"YZ"


def test_the_content_size_includes_all_blocks_of_xz_streams(tmp_path):
    """The streams of multithreaded packers can have several blocks, and the sizes several bytes."""
    content_size = loaded(4, tmp_path).content_size
    packed = lzma.compress(b"abc")
    whole = xz_stream((packed, b"\5"), (packed, b"\xf0\xa2\x04"), (packed, b"\x80\x80\x80\1"))
    assert content_size(whole, 1) == 5 + 70_000 + (1 << 21)
    start = start_of_index(whole)
    for damaged in (
        whole[-20:], whole[:-8] + b"\xff" * 8, b"",
        whole[: start + 2] + b"\0" + whole[start + 3 :], whole[: start + 2] + b"\x7f" + whole[start + 3 :],
    ):  # fmt: skip
        with pytest.raises((ValueError, IndexError, lzma.LZMAError)):
            content_size(damaged, 1)


def test_the_content_size_is_read_from_the_xz_index(tmp_path):
    data = random.Random(1).randbytes(5000)
    words = ["xz", "--block-size=1024", "--stdout"]
    packed = subprocess.run(words, input=data, check=True, capture_output=True).stdout
    assert loaded(4, tmp_path).content_size(packed, 1) == 5000


def test_no_block_of_an_xz_stream_has_a_large_dictionary(tmp_path):
    content_size = loaded(4, tmp_path).content_size
    small, large = (pack_with_dictionary(mebibytes, 4) for mebibytes in (24, 48))
    assert content_size(xz_stream((small, b"\3"), (small, b"\3")), 1) == 6
    with pytest.raises(lzma.LZMAError, match=r"^Memory usage limit exceeded$"):
        content_size(xz_stream((small, b"\3"), (large, b"\3")), 1)


@pytest.mark.parametrize(
    ("number", "is_valid"),
    [(b"\xff" * 8 + b"\x7f", True), (b"\xff" * 9 + b"\1", False), (b"\xff" * (1 << 20), False)],
)
def test_a_number_in_an_xz_index_has_at_most_nine_bytes(number, is_valid, tmp_path):
    """A number with a million bytes took seconds."""
    packed = xz_stream((lzma.compress(b"abc"), number))
    with ends_within(1):
        if is_valid:
            assert loaded(4, tmp_path).content_size(packed, 1) == (1 << 63) - 1
        else:
            with pytest.raises(ValueError, match="an invalid index"):
                loaded(4, tmp_path).content_size(packed, 1)


def data_block(tmp_path, word, size, data, **options):
    return with_data(tmp_path / "i", word, size, data, **options)


@pytest.mark.parametrize(
    ("word", "size", "data"),
    [
        (4096 | STORED, 4096, DATA),
        (1 | STORED, 1, b"a"),
        (len(zlib.compress(DATA)), 4096, zlib.compress(DATA)),
        (0, 4096, b""),  # a hole
        (0, 0, b""),
    ],
)
def test_a_squashfs_with_a_complete_data_block_is_accepted(word, size, data, tmp_path):
    check_directories(data_block(tmp_path, word, size, data), DEFAULT)


SIZE = "'{}': the size of a block does not match the size of its file" + LIKE


@pytest.mark.parametrize(
    ("word", "size", "data", "error", "message"),
    [
        (88 | STORED, 89, DATA, RefusedError, SIZE),
        (90 | STORED, 89, DATA, InputError, "'{}' can't be read: a block has an invalid size"),
        (STORED, 89, DATA, RefusedError, SIZE),
        (len(zlib.compress(DATA[:9])), 89, zlib.compress(DATA[:9]), RefusedError, SIZE),
        (len(zlib.compress(DATA[:9])), 8, zlib.compress(DATA[:9]), InputError, "'{}' can't be read: a block has an invalid size"),
        (1 << 25 | 9, 89, DATA, InputError, "'{}' can't be read: a block has an invalid size"),
        (1 << 25 | STORED | 89, 89, DATA, InputError, "'{}' can't be read: a block has an invalid size"),
        (50, 89, DATA[:9], InputError, "'{}' can't be read: the file was cut short"),
        (2, 89, DATA, InputError, "'{}' can't be read: a block can't be decompressed: Error -3 while decompressing data: incorrect header check"),
    ],
)  # fmt: skip
def test_a_data_block_of_a_wrong_size_is_refused(word, size, data, error, message, tmp_path):
    path = data_block(tmp_path, word, size, data)
    assert failed(check_directories, path, DEFAULT) == (error, message.format(path), "")


def with_end(tmp_path, offset, size, word, data, number=0, **options):
    """Write a squashfs with a file whose last bytes are in a fragment block.

    The squashfs has 511 more fragment blocks.
    """
    path = data_block(tmp_path, 0, size, data, fragment=(number, offset), **options)
    whole = bytearray((tmp_path / "i").read_bytes())
    entries = bytes(511 * 16) + struct.pack("<QII", 2**20, word, 0)
    tables = []
    for content in (entries, bytes(4)):  # the ends, and the owners
        place = len(whole)
        whole += struct.pack("<H", len(content) | 0x8000) + content
        tables.append(len(whole))
        whole += struct.pack("<Q", place)
    whole[4:8] = whole[16:20] = (512).to_bytes(4, "little")
    struct.pack_into("<QQ", whole, 40, len(whole), tables[1])
    struct.pack_into("<Q", whole, 80, tables[0])
    (tmp_path / "i").write_bytes(whole)
    return path


@pytest.mark.parametrize(
    ("offset", "size", "word", "data"),
    [
        (4000, 96, 4096 | STORED, DATA),
        (0, 4096, len(zlib.compress(DATA)), zlib.compress(DATA)),
        (0, 131072 + 4096, 4096 | STORED, DATA),  # a hole, and the end
    ],
)
def test_a_file_may_end_in_a_fragment_block(offset, size, word, data, tmp_path):
    check_directories(with_end(tmp_path, offset, size, word, data, 511), DEFAULT)


END = "'{}': the last bytes of a file are outside of their fragment block" + LIKE


@pytest.mark.parametrize(
    ("offset", "size", "word", "data", "number", "error", "message"),
    [
        (4000, 97, 4096 | STORED, DATA, 511, RefusedError, END),
        (2**32 - 1, 1, 4096 | STORED, DATA, 511, RefusedError, END),
        (0, 4097, len(zlib.compress(DATA)), zlib.compress(DATA), 511, RefusedError, END),
        (0, 1, STORED, DATA, 511, RefusedError, END),
        (0, 1, 131073 | STORED, DATA, 511, InputError, "'{}' can't be read: a block has an invalid size"),
        (0, 1, 1 | STORED, DATA, 512, InputError, "'{}' can't be read: a fragment block is not in its table"),
    ],
)
def test_a_file_must_end_inside_its_fragment_block(
    offset, size, word, data, number, error, message, tmp_path
):
    """sqfs2tar completes the file with zeros, and unsquashfs with other bytes of its memory."""
    path = with_end(tmp_path, offset, size, word, data, number)
    assert failed(check_directories, path, DEFAULT) == (error, message.format(path), "")


def test_each_fragment_block_of_a_squashfs_counts_once_towards_the_limits(tmp_path):
    path = with_end(tmp_path, 0, 9, 4096 | STORED, DATA, 511)
    check_directories(path, DEFAULT._replace(unpacked_bytes=131072))
    message = f"'{path}' unpacks to more than 131071 bytes"
    assert failed(check_directories, path, DEFAULT._replace(unpacked_bytes=131071)) == (
        LimitError,
        message,
        "",
    )


def test_squashfs_files_count_towards_the_limits_on_unpacked_data(tmp_path):
    """Many inodes can have the same blocks. Several names of one inode count once."""
    path = data_block(tmp_path, 4096 | STORED, 4096, DATA, links=3)
    check_directories(path, DEFAULT._replace(unpacked_bytes=4096, ratio=1, ratio_from=4096))
    message = f"'{path}' unpacks to more than 4095 bytes"
    assert failed(check_directories, path, DEFAULT._replace(unpacked_bytes=4095)) == (LimitError, message, "")
    path = data_block(tmp_path, 0, 2**32 - 1, b"")
    error, message, hint = failed(check_directories, path, DEFAULT)
    assert (error, hint) == (LimitError, "if you trust the image, raise the limit: --limit ratio=…")
    assert f"unpacks to more than 200 times its size: {2**32 - 1} bytes from" in message


def test_the_amount_of_lzo_data_in_squashfs_is_limited(tmp_path, monkeypatch):
    packed = bytes.fromhex(LZO[1][1])
    path = data_block(tmp_path, len(packed), 8192, packed, compression=3)
    monkeypatch.setattr(squashfs_directories, "_MOST_LZO", 8192)
    check_directories(path, DEFAULT)
    monkeypatch.setattr(squashfs_directories, "_MOST_LZO", 8191)
    error, message, hint = failed(check_directories, path, DEFAULT)
    assert (error, hint) == (LimitError, "pack the file again with another compression")
    assert message == f"templater decompresses at most 0 MiB of LZO data, but '{path}' has more"


@pytest.mark.parametrize(("size", "log"), [(131072, 16), (2048, 11), (1 << 21, 21), (131073, 17)])
def test_the_block_size_of_a_squashfs_file_must_be_valid(size, log, tmp_path):
    path = one_directory(tmp_path / "i")
    data = bytearray((tmp_path / "i").read_bytes())
    data[12:16], data[22:24] = size.to_bytes(4, "little"), log.to_bytes(2, "little")
    (tmp_path / "i").write_bytes(data)
    message = f"'{path}' can't be read: invalid block size"
    assert failed(check_directories, path, DEFAULT) == (InputError, message, "")


def test_a_large_length_in_lzo_data_continues_in_the_next_bytes():
    assert _length(b"xy", 1, 3, 7) == (3, 1)
    assert _length(b"x\x05", 1, 0, 7) == (12, 2)
    assert _length(b"\0\0\x05", 0, 0, 31) == (510 + 31 + 5, 3)


def test_invalid_lzo_data_is_an_error():
    with pytest.raises(IndexError, match=r"^invalid distance$"):
        _lzo(bytes.fromhex("12 61 40 05".replace(" ", "")) + bytes(10))
    with pytest.raises(IndexError):
        _lzo(b"\x14abc")


# the program sqfs2tar


def test_the_hint_about_missing_sqfs2tar_suggests_its_package(tmp_path, monkeypatch):
    def missing(words, path, fd, bounds, content):
        raise FileNotFoundError

    monkeypatch.setattr(sqfs2tar.unpacker_process, "start", missing)
    path = tmp_path / "i"
    path.write_bytes(b"hsqs")
    assert failed(sqfs2tar.start_sqfs2tar, OpenFile(str(path))) == (
        InputError,
        f"reading the squashfs file '{path}' needs the program 'sqfs2tar'",
        "run: apt install squashfs-tools-ng",
    )


def test_the_squashfs_program_has_limits_on_processor_time_and_memory(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        sqfs2tar.unpacker_process,
        "start",
        lambda words, path, fd, bounds, content: given.append((words, bounds)),
    )
    path = tmp_path / "i"
    path.write_bytes(b"x")
    sqfs2tar.start_sqfs2tar(OpenFile(str(path)), DEFAULT._replace(members=10))
    ((words, bounds),) = given
    assert words == ["sqfs2tar", "--root-becomes", ".", sqfs2tar.unpacker_process.INPUT]
    assert bounds.cpu == sqfs2tar.SQUASHFS_SECONDS + 1
    assert bounds.memory == sqfs2tar.SQUASHFS_MEMORY + 10 * sqfs2tar.SQUASHFS_NAME


@pytest.mark.parametrize("seconds", [7.0, 7.1])
def test_the_time_limit_of_sqfs2tar_grows_with_its_output(seconds, monkeypatch):
    monkeypatch.setattr(sqfs2tar, "SQUASHFS_SECONDS", 5)
    output = sqfs2tar.Sqfs2tarOutput.__new__(sqfs2tar.Sqfs2tarOutput)
    output.path, output.limits, output._packed_size = "p", DEFAULT, 1 << 30
    output._reader = SimpleNamespace(processor_seconds=lambda: seconds)
    output._data_size, output._unpacked = 5 << 20, 2 << 20
    monkeypatch.setattr(sqfs2tar.ByteStream, "_check_size", lambda self, size: None)
    message = (
        "'p': sqfs2tar used more than 7 s of processor time and was stopped "
        "(the limit is 5 s plus one second for each MiB of the file)"
    )
    if seconds > 7:
        assert failed(output._check_size, 0) == (LimitError, message, "")
    else:
        output._check_size(0)


def test_the_limit_on_unpacked_data_applies_to_sqfs2tar_output():
    output = sqfs2tar.Sqfs2tarOutput.__new__(sqfs2tar.Sqfs2tarOutput)
    output.path, output.limits = "p", DEFAULT._replace(unpacked_bytes=9)
    output._reader = SimpleNamespace(processor_seconds=lambda: 0)
    output._data_size, output._unpacked, output._unpacked_from = 5, 0, 5
    output._check_size(4)
    output._check_size(5)
    assert failed(output._check_size, 1) == (LimitError, "'p' unpacks to more than 9 bytes", "")


@pytest.mark.parametrize(
    ("length", "tail", "end"),
    [(96, b"", None), (96, b"\0" * 9, None), (96, b"x", 96), (95, b"", None), (96, bytes(1 << 20), None), (96, bytes((1 << 20) + 1), 96)],
)  # fmt: skip
def test_data_after_the_end_of_a_squashfs_file_is_detected(length, tail, end, tmp_path):
    head = b"hsqs" + bytes(36) + (96).to_bytes(8, "little") + bytes(48)
    (tmp_path / "i").write_bytes(head[:length] + tail)
    assert sqfs2tar.squashfs_end(f"{tmp_path}/i") == end


NUMBERED = b"".join(b"%04d" % number for number in range(513))


@pytest.mark.parametrize(
    ("packed", "content"),
    [
        # three literals, a match of 3 bytes at the distance 3, and a run of 4 literals
        (b"\x14abc" + b"\x48\0" + b"\x01wxyz", b"abcabcwxyz"),
        # a match of 2 bytes after few literals, at the distances 3 and 5
        (b"\x14abc" + b"\x08\0", b"abcab"),
        (b"\x16abcde" + b"\x90\0" + b"\x01wxyz", b"abcdeabcdewxyz"),
        # a literal that belongs to a match, and then a match of 2 bytes
        (b"\x14abc" + b"\x49\0x" + b"\x0c\0", b"abcabcxab"),
        (b"\x15abcd" + b"\x4d\0x" + b"\0\x01", b"abcdabcxda"),
        # a long run of literals, and a match of 3 bytes at a distance above 2048
        (bytes(8) + b"\xf9" + NUMBERED + b"\x08\0", NUMBERED + NUMBERED[1:4]),
        (bytes(8) + b"\xf9" + NUMBERED + b"\x00\0", NUMBERED + NUMBERED[3:6]),
    ],
)
def test_each_kind_of_lzo_instruction_is_read(packed, content):
    assert _lzo(packed + b"\x11\0\0") == content


@pytest.mark.parametrize("distance", [0x4001, 0x4007, 0x7FFF, 0x8000, 0x8001, 0xBFFF])
@pytest.mark.parametrize("length", [3, 9, 10, 270])
def test_lzo_data_can_refer_to_bytes_at_a_large_distance(distance, length):
    """The test uses the instruction for distances above 16 KiB, which small files never contain."""
    literals = random.Random(1).randbytes(distance + 5)
    zeros, last = divmod(len(literals) - 18 - 1, 255)
    packed = bytes([0] + [0] * zeros + [last + 1]) + literals
    far, rest = distance - 0x4000, length - 2
    packed += bytes([16 | far >> 14 << 3 | (rest if rest < 8 else 0)])
    if rest >= 8:
        zeros, last = divmod(rest - 7 - 1, 255)
        packed += bytes([0] * zeros + [last + 1])
    packed += ((far & 0x3FFF) << 2 | 2).to_bytes(2, "little") + b"yz" + bytes([17, 0, 0])
    assert decompress_lzo(packed, 1 << 20) == literals + literals[5:][:length] + b"yz"
