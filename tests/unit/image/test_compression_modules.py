"""Compressions whose C extension is not installed, as in a zipapp before Python 3.14."""

import sys

import pytest

from templater.image.compress import compressing
from templater.image.compression_modules import ZSTD
from templater.image.decompress import ByteStream
from templater.model.errors import InputError

MODULES = {"zstd": ZSTD, "lz4": ("lz4.frame",)}


@pytest.mark.parametrize("kind", MODULES)
def test_the_hint_for_a_missing_module_suggests_its_package(kind, tmp_path, monkeypatch):
    place = tmp_path / "file"
    with place.open("wb") as file, compressing(kind, file.write) as compressor:
        compressor.write(b"content")
    for name in MODULES[kind]:
        monkeypatch.setitem(sys.modules, name, None)  # an import of the module fails
    with place.open("rb") as file, pytest.raises(InputError, match=r"needs .*a C extension") as reading:
        ByteStream(str(place), file.fileno(), owns=False).read(1)
    assert f"python3-{'pyzstd' if kind == 'zstd' else 'lz4'}" in reading.value.hint
    with pytest.raises(InputError, match=r"needs .*a C extension"), compressing(kind, [].append):
        pass
