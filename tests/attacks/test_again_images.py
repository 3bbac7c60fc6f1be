"""Archives that a third reader made: streams of next to nothing, and devices that can't be."""

import gzip
import tarfile
import time
from pathlib import Path

import pytest

from templater.image import compression
from templater.image.open import open_image
from templater.model.errors import InputError, LimitError


def archive(*members: tuple[str, bytes]) -> bytes:
    blocks = []
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        blocks.append(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
    return b"".join(blocks) + bytes(10240)


def test_attack_62_thousands_of_streams_of_nothing_are_a_limit(tmp_path: Path) -> None:
    zstd = pytest.importorskip("backports.zstd")
    begun = time.process_time()
    for name, whole, nothing in (
        ("gz", gzip.compress(archive(("metadata.yaml", b""))), gzip.compress(b"")),
        ("zst", zstd.compress(archive(("metadata.yaml", b""))), zstd.compress(b"")),
    ):
        file = tmp_path / f"i.tar.{name}"
        file.write_bytes(whole + nothing * 1_000_000)
        with pytest.raises(LimitError, match="streams that hold next to nothing"):
            open_image(str(file)).read_to_end()
    assert time.process_time() - begun < 20  # it was an hour


def test_a_stream_for_each_member_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_MANY_STREAMS", 100)
    data = archive(("metadata.yaml", b"architecture: x86_64\n"), *((f"rootfs/{n}", b"") for n in range(300)))
    pieces = [data[at : at + 512] for at in range(0, len(data) - 10240, 512)] + [data[-10240:]]
    (tmp_path / "i.tar.gz").write_bytes(b"".join(map(gzip.compress, pieces)))
    assert open_image(str(tmp_path / "i.tar.gz")).read_metadata().text == "architecture: x86_64\n"


@pytest.mark.parametrize("number", [b"\x80" + b"\x7f" * 7, b"\xff" * 8, b"\x80" + bytes(5) + b"\x10\x00"])
@pytest.mark.parametrize("field", [329, 337])
def test_attack_60_a_device_that_no_kernel_has_is_refused(tmp_path: Path, number: bytes, field: int) -> None:
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
    with pytest.raises(InputError, match="no device can have"):
        open_image(str(tmp_path / "i.tar")).read_to_end()
