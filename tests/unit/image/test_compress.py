"""Compressors: what they write can be read again, and xz has one stream for each piece of the input."""

import lzma

import pytest

from templater.image import compress
from templater.image.compress import compressing, compression_named
from templater.model.errors import UsageError
from templater.parsing.file_kind import BZIP2, GZIP, LZMA, XZ


@pytest.mark.parametrize(
    ("size", "streams"), [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (2000, 2), (5500, 6)]
)
@pytest.mark.parametrize("step", [1, 400, 10_000])
def test_xz_compressor_writes_each_piece_as_a_separate_stream(monkeypatch, size, streams, step):
    monkeypatch.setattr(compress, "_XZ_PIECE", 1000)
    data = bytes(number % 251 for number in range(size))
    written = []
    with compressing(XZ, written.append, 0) as packer:
        for start in range(0, size, step):
            packer.write(data[start : start + step])
    packed = b"".join(written)
    assert lzma.decompress(packed) == data
    found = 0
    while packed:
        reader = lzma.LZMADecompressor()
        reader.decompress(packed)
        packed, found = reader.unused_data, found + 1
    assert found == streams


def test_the_error_for_an_unknown_compression_contains_the_known_names():
    with pytest.raises(UsageError) as refused:
        compression_named("xz -e")
    assert refused.value.message == "unknown compression 'xz -e'"
    assert refused.value.hint == f"use one of {', '.join(compress.NAMES)}"


@pytest.mark.parametrize(("kind", "default", "other"), [(GZIP, 6, 1), (BZIP2, 9, 1), (LZMA, 6, 0)])
def test_each_compression_uses_its_default_level_if_no_level_is_given(kind, default, other):
    def packed(*level):
        written = []
        with compressing(kind, written.append, *level) as packer:
            packer.write(bytes(number * number % 251 for number in range(20_000)))
        return b"".join(written)

    assert packed() == packed(None) == packed(default) != packed(other)
