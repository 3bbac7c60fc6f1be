"""Headers of tar archives, compared with Python's own parser."""

import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templater.image.tar_header_fields import Header

FIELDS = ("name", "mode", "uid", "gid", "size", "mtime", "type", "linkname")
TYPES = st.sampled_from([b"\0", b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"x", b"g", b"L", b"K", b"X"])
#: Python also skips these control characters around a number
STRICT = re.compile(rb"[^\x1c-\x1f]*").fullmatch
BYTES = st.binary(max_size=120).map(lambda data: data.replace(b"\0", b"/"))


def with_checksum(block: bytes, *, signed: bool = False) -> bytes:
    block = block[:148] + b" " * 8 + block[156:]
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
    return block[:148] + b"%06o\0 " % (total % 8**6) + block[156:]


def parsed(block: bytes) -> object:
    try:
        header = Header(block)
    except ValueError as error:
        return str(error)
    return [*(getattr(header, field) for field in FIELDS), header.device]


def expected(block: bytes) -> object:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        return str(error)
    except ValueError:
        return "invalid header"
    return [*(getattr(info, field) for field in FIELDS), (info.devmajor, info.devminor)]


@given(
    BYTES,
    BYTES,
    TYPES,
    st.lists(st.integers(0, 1 << 40), min_size=6, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_a_tar_header_is_parsed_as_the_tarfile_module_parses_it(name, link, kind, numbers, gnu, signed):
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape")[:100])
    info.linkname = link.decode("utf-8", "surrogateescape")[:100]
    info.type = kind
    info.mode, info.size, info.mtime = numbers[0] % 8**7, numbers[1], numbers[2]
    info.uid, info.gid = numbers[3], numbers[4]
    info.devmajor, info.devminor = numbers[5] % 300, numbers[0] % 300
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")[-512:])
    if not gnu:
        block[257:265] = b"ustar\0" + b"00"
        block[345:500] = link[:155].ljust(155, b"\0")
    whole = with_checksum(bytes(block), signed=signed)
    # Python reads the times of the old GNU format as a part of the name, and strips a directory's slash
    if gnu:
        assert parsed(whole)[1:] == expected(whole)[1:]
    else:
        assert parsed(whole) == expected(whole)


@given(st.binary(min_size=512, max_size=512), st.integers(0, 511), st.binary(max_size=12).filter(STRICT))
def test_damaged_headers_are_refused_or_parsed_as_in_tarfile(noise, place, piece):
    """templater's parser also refuses fields that GNU tar, Go and Python read in different ways."""
    block = bytearray(tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT))
    block[place : place + len(piece)] = piece
    for damaged in (
        bytes(block[:512]).ljust(512, b"\0"),
        with_checksum(bytes(block[:512]).ljust(512, b"\0")),
        noise[:148] + b"no sum x" + noise[156:],
    ):
        assert parsed(damaged) == expected(damaged) or isinstance(parsed(damaged), str)


@pytest.mark.parametrize("signed", [False, True])
def test_tar_checksums_of_signed_and_unsigned_bytes_are_accepted(signed):
    block = with_checksum(tarfile.TarInfo("\xe9\xff").tobuf(tarfile.USTAR_FORMAT, "latin-1"), signed=signed)
    assert Header(block).name.encode("utf-8", "surrogateescape") == b"\xe9\xff"
    with pytest.raises(ValueError, match="bad checksum"):
        Header(block[:200] + b"x" + block[201:])


def test_a_regular_file_with_final_slash_is_a_directory():
    info = tarfile.TarInfo("a/")
    info.type = tarfile.AREGTYPE
    header = Header(info.tobuf(tarfile.USTAR_FORMAT))
    assert (header.type, header.name) == (tarfile.DIRTYPE, "a")
