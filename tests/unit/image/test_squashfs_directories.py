import os
import random
import shutil
import struct
import subprocess

import pytest

from templater.image.limits import DEFAULT
from templater.image.lzo import decompress_lzo
from templater.image.squashfs_directories import check_directories
from templater.model.errors import InputError, LimitError
from tests.attacks.test_squashfs import one_directory

#: contents, each with its form that lzo1x_999_compress of liblzo2 2.10 wrote
LZO = [
    (b"abc", "14616263110000"),
    (
        bytes(8192),
        "12002000000000000000e600002000000000000000e600002000000000000000e600002000000000000000e50000110000",
    ),
    (b"abcabcabd" * 50, "146162638900642000992000110000"),
    (
        b"".join(b"%d" % number for number in range(99)),
        "be3031323334353637383931303131313231333134313531363137313831393230323132323233323432353236323732383239333033313332333333343335333633373338333934303431343234333434343534363437343834393530353135323533353435353536353735383539363036313632363336343635363636373638363937303731373237333734373537363737373837393830383138323833383438353836383738383839393039411239510d394109395004110000",
    ),
    (
        bytes(range(40)) + bytes(7000) + bytes(range(40)),
        "3a000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627002000000000000000e600002000000000000000e600002000000000000000e60000200000003a00002006fc6d110000",
    ),
]


@pytest.mark.parametrize(("content", "packed"), LZO)
def test_the_lzo_decompressor_gives_the_same_bytes_as_the_lzo_library(content, packed):
    assert decompress_lzo(bytes.fromhex(packed), 8192) == content


@pytest.mark.parametrize("place", [48, 64, 72])
@pytest.mark.parametrize("table", [104, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 9])
def test_a_table_outside_of_the_squashfs_file_is_an_error(tmp_path, table, place):
    path = one_directory(tmp_path / "i.squashfs")
    data = bytearray((tmp_path / "i.squashfs").read_bytes())
    struct.pack_into("<Q", data, place, table)
    (tmp_path / "i.squashfs").write_bytes(data)
    with pytest.raises(
        InputError,
        match=r"i.squashfs' can't be read: .*(a table is (empty|in a)|a block is outside|decompressed)",
    ):
        check_directories(path, DEFAULT)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
@pytest.mark.parametrize("compression", ["gzip", "lz4", "lzma", "lzo", "xz", "zstd"])
def test_the_directory_check_accepts_a_real_squashfs_of_each_compression(tmp_path, compression):
    folder, path = tmp_path / "rootfs", str(tmp_path / "i.squashfs")
    for name in ("empty", "many/names/below"):
        (folder / name).mkdir(parents=True)
    for number in range(600):
        (folder / f"many/a long name, which is shared by all files {number}").touch()
    (folder / "link").symlink_to("many")
    os.mkfifo(folder / "fifo")
    mixed = b"".join(random.Random(1).randbytes(3000) + bytes(5000) for _ in range(40))
    for name, content in (
        ("mixed", mixed),
        ("same", mixed),
        ("random", random.Random(2).randbytes(9000)),
        ("end", mixed[:5000]),
    ):
        (folder / name).write_bytes(content)
    (folder / "mixed-link").hardlink_to(folder / "mixed")
    with (folder / "holes").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    (folder / "hard").hardlink_to(folder / "fifo")
    subprocess.run(
        ["mksquashfs", folder, path, "-comp", compression, "-b", "16K", "-quiet", "-no-progress"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    check_directories(path, DEFAULT._replace(members=613))
    with pytest.raises(LimitError, match="has more than 612 members"):
        check_directories(path, DEFAULT._replace(members=612))
