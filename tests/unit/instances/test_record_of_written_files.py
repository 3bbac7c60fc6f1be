"""The record of written files: limits, and what counts as damaged."""

import os

import pytest

from templater.instances import record_of_written_files
from templater.instances.record_of_written_files import (
    Record,
    WrittenFile,
    entries_of,
    head_of,
    join_keys,
    text_of,
)
from templater.instances.state_directory import StateDirectory
from templater.rootfs import regular_files


def files(count, keys=0):
    names = join_keys(tuple(f"k{number}" for number in range(keys)))
    return [
        WrittenFile(f"/{n}", f"/\udcff{n}", "d", 1, 2, 0o640, "t", "e", names, size=12) for n in range(count)
    ]


def encode(files):
    text = b"".join([b"\0", *[file.encode() for file in files]])
    return head_of(text) + text


def fields(files):
    return [[getattr(each, name) for name in (*WrittenFile.__slots__, "keys")] for each in files]


@pytest.mark.parametrize(("count", "keys"), [(0, 0), (1, 0), (2, 1), (2, 3)])
def test_decoding_an_encoded_record_gives_the_same_files(count, keys):
    given = files(count, keys)
    found = entries_of(text_of(encode(given)))
    assert fields(map(WrittenFile.decode, found.values())) == fields(given)
    assert [*found] == [file.path.encode() for file in given]
    assert all(len(file.keys) == keys for file in given)


def test_a_record_contains_the_size_of_each_written_file():
    entry = files(1)[0].encode()
    assert entry.split(b"\0")[3] == b"1 2 640 12"
    assert WrittenFile.decode(entry).size == 12
    for fault in (b"1 2 640 x", b"1 2 640 12 12", b"1 2 640", b"1 2"):
        with pytest.raises(ValueError, match=r"."):
            WrittenFile.decode(entry.replace(b"1 2 640 12", fault))


def test_a_record_with_too_many_files_or_keys_counts_as_damaged(monkeypatch):
    monkeypatch.setattr(record_of_written_files, "MAX_FILES", 2)
    monkeypatch.setattr(record_of_written_files, "MAX_KEYS", 4)
    assert text_of(encode(files(2))) and not text_of(encode(files(3)))
    assert text_of(encode(files(1, 5))) and not text_of(encode(files(1, 6)))


@pytest.mark.parametrize(
    "text",
    [b"\0a", b"a\0", b"\0" * 7, b"\0" * 9, b"\0/a\0/a\0d\0x 0 644\0t\0e\0\0", b"\0/a\0/a\0d\x000 0 9\0t\0e\0\0", b"\0/a\0/a\0d\x000 644\0t\0e\0\0"],
)  # fmt: skip
def test_the_text_of_a_record_with_invalid_fields_is_not_decoded(text):
    assert entries_of(text) is None
    assert entries_of(b"") == entries_of(b"\0") == {}


def test_a_record_with_a_wrong_digest_is_damaged():
    data = encode(files(1))
    assert text_of(data)
    assert not text_of(data + b"x") and not text_of(data[:-1]) and not text_of(data[1:])


@pytest.mark.parametrize(("mode", "links"), [(0o622, 1), (0o602, 1), (0o600, 2)])
def test_an_untrusted_record_is_ignored_and_reported(tmp_path, mode, links):
    with StateDirectory(str(tmp_path)) as state:
        path = tmp_path / ".templater" / record_of_written_files.WRITTEN
        path.write_bytes(encode(files(1)))
        path.chmod(0o600)
        assert len(Record(state).files()) == 1
        path.chmod(mode)
        if links == 2:
            state.is_own = False  # in an own directory, the link can be a backup
            os.link(path, tmp_path / "link")
        record = Record(state)
        assert record.files() == {}
    assert record.problem.message == (
        f"the record '{path}' may have been changed by another user: owner uid {os.getuid()}, mode"
        f" {mode:04o}, {links} hard links"
    )
    hint = "remove the record: the next start writes a new record, which lists the files of that start"
    assert record.problem.hint == hint


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", [record_of_written_files.WRITTEN, record_of_written_files.STAGED])
@pytest.mark.parametrize(
    ("owner", "size", "problem"),
    [
        (1234, 0, ""),
        (1234, (1 << 20) + 1, "is larger than 1048576 bytes"),
        (5678, 0, "may have been changed by another user: owner uid 5678"),
    ],
)
def test_attack_87_a_large_record_of_the_directory_owner_is_refused(
    tmp_path, name, monkeypatch, owner, size, problem
):
    """To read a record of 16 MiB, the kernel decompressed 512 MiB.

    The hook of a user can have written the record.
    """
    with StateDirectory(str(tmp_path)) as state:
        path = tmp_path / ".templater" / name
        path.write_bytes(encode(files(1)))
        path.chmod(0o600)
        if size:
            os.truncate(path, size)
        os.chown(path, owner, owner)
        for place in (tmp_path, path.parent):
            os.chown(place, 1234, 1234)
        if problem:
            monkeypatch.setattr(regular_files, "read_descriptor", None)
        record = Record(state)
    assert problem in str(record.problem) and (record.problem is not None) is bool(problem)
    assert len(record.files()) == (not problem and name == record_of_written_files.WRITTEN)


def test_forgetting_a_record_removes_the_record_and_its_staged_file(tmp_path):
    with StateDirectory(str(tmp_path)) as state:
        names = [record_of_written_files.WRITTEN, f"{record_of_written_files.WRITTEN}.new"]
        for name in names:
            (tmp_path / ".templater" / name).write_bytes(encode(files(1)))
            (tmp_path / ".templater" / name).chmod(0o600)
        record = Record(state)
        assert len(record.files()) == 1
        record.forget()
        assert record.files() == {}
        assert not {*names} & {*os.listdir(tmp_path / ".templater")}
