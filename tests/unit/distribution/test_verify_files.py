"""The limits on the bytes that are hashed: of one file, and of all decompressed answers."""

import contextlib
import hashlib
from pathlib import Path

import pytest

from templater.distribution import verify_files
from templater.distribution.https_client import UrlPieces
from templater.distribution.stream_interface import LocalStream
from templater.distribution.verify_files import ContentReader
from templater.distribution.verify_report import Report
from templater.model.counters_of_work import received
from templater.model.errors import InputError


class Remote:
    """A stream on a server, which announces no size."""

    @contextlib.contextmanager
    def pieces(self, path):
        yield iter((b"te", b"xt"))


@pytest.mark.parametrize("local", [True, False])
def test_a_file_above_the_size_limit_is_not_hashed(local, tree):
    tree.create()
    Path(tree.path, "images/f").write_text("text")
    stream = LocalStream(tree) if local else Remote()
    calls = []
    report = Report()
    reader = ContentReader(stream, report, lambda *words: calls.append(words))
    starts = {"m": hashlib.sha256(b"metadata")}
    content = reader.read("images/f", 4, starts)
    assert (content.size, content.hash.hexdigest()) == (4, hashlib.sha256(b"text").hexdigest())
    assert content.combined == {"m": hashlib.sha256(b"metadatatext").hexdigest()}
    assert starts["m"].hexdigest() == hashlib.sha256(b"metadata").hexdigest()
    assert report.bytes == 4
    assert calls[-1] == (0, 4, "images/f")
    with pytest.raises(InputError) as caught:
        ContentReader(stream, report, lambda *_: None).read("images/f", 3, {})
    size = "has 4 bytes" if local else "has over 3 bytes"
    assert caught.value.message == f"the file {size}, far more than an image should have"


class Compressed:
    """A server whose files of 40 bytes arrive as one byte of compressed data each."""

    @contextlib.contextmanager
    def pieces(self, path):
        received(1)
        yield UrlPieces(iter([bytes(20)] * 2), is_encoded=path != "plain")


@pytest.mark.parametrize(("hashes", "most"), [(1, 10), (2, 2), (3, 1)])
def test_all_verified_files_share_one_limit_on_decompressed_bytes(monkeypatch, hashes, most):
    monkeypatch.setattr(verify_files, "_MOST_DECOMPRESSED", 100)
    monkeypatch.setattr(verify_files, "_RATIO", 30)
    reader = ContentReader(Compressed(), Report(), lambda *_: None)
    starts = {str(number): hashlib.sha256() for number in range(hashes - 1)}
    for _ in range(most):
        reader.read("file", 99, starts)
    with pytest.raises(InputError, match="decompress to far more than their size"):
        reader.read("file", 99, starts)
    assert reader.read("plain", 99, starts).size == 40
