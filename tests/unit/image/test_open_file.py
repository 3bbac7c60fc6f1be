"""Holes of image files."""

import errno
import os

import pytest

from templater.image import open_file
from templater.image.open_file import data_bytes, holes_of, is_same_file, whole_content
from templater.model.errors import InputError

MIB = 1 << 20


@pytest.mark.parametrize(
    ("pieces", "size", "holes"),
    [
        ((), 0, 0),
        ((), 3 * MIB, 3 * MIB),
        ((0,), MIB, 0),
        ((1,), 2 * MIB, MIB),
        ((0,), 3 * MIB, 2 * MIB),
        ((1, 3), 6 * MIB, 4 * MIB),
    ],
)
def test_the_holes_of_a_file_are_counted(pieces, size, holes, tmp_path):
    with (tmp_path / "f").open("wb") as file:
        for number in pieces:
            os.pwrite(file.fileno(), b"x" * MIB, number * MIB)
        file.truncate(size)
    with (tmp_path / "f").open("rb") as file:
        if holes and holes_of(file.fileno(), size) == 0:
            pytest.skip("the file system has no holes")
        assert holes_of(file.fileno(), size) == holes
        assert holes_of(file.fileno(), size, 0) == (MIB if len(pieces) > 1 else holes)
    assert data_bytes(str(tmp_path / "f")) == size - holes


def test_a_file_has_no_holes_without_file_system_support(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    with (tmp_path / "f").open("wb") as file:
        file.truncate(MIB)
    with (tmp_path / "f").open("rb") as file:
        monkeypatch.setattr(open_file.os, "lseek", fail)
        assert holes_of(file.fileno(), MIB) == 0


def test_a_sparse_file_is_refused_only_above_a_fixed_size(tmp_path, monkeypatch):
    monkeypatch.setattr(open_file, "_MOST_HOLES", MIB)
    for size, sparse in ((MIB, False), (2 * MIB, True)):
        with (tmp_path / "f").open("wb") as file:
            file.truncate(size)
        with open_file.reading(str(tmp_path / "f")) as file:
            if sparse:
                with pytest.raises(InputError) as caught:
                    list(whole_content(file, "f"))
                assert caught.value.message == f"'f' is sparse: most of its {size} bytes are in holes"
            else:
                assert b"".join(whole_content(file, "f")) == bytes(size)


def test_two_paths_to_one_file_count_as_the_same_file(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "other").touch()
    (tmp_path / "b").symlink_to("a")
    assert is_same_file(f"{tmp_path}/a", f"{tmp_path}/b")
    assert not is_same_file(f"{tmp_path}/a", f"{tmp_path}/other")
    with pytest.raises(FileNotFoundError):
        is_same_file(f"{tmp_path}/a", f"{tmp_path}/none")
