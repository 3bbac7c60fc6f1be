"""Which files are definitions."""

import pytest

from templater.definitions.is_definition import is_definition


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.yaml", b"x: 1\n", True), ("a.yml", b"x: 1\n", True), ("a.yml", b"", True),
        ("a.txt", b"x: 1\nimage:\n", True), ("a.txt", b"files \t:\n", True),
        ("a.txt", b"x: 1\n image:\n", False), ("a.txt", b"images:\n", False), ("a", b"", False),
        ("a.yaml", b"\x1f\x8b\x08\0", False), ("a.yml", b"image:\n\0", False),
    ],
)  # fmt: skip
def test_a_definition_is_recognised_by_its_name_or_its_keys(name, content, found, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert is_definition(str(tmp_path / name)) == found


def test_a_directory_or_missing_file_is_not_a_definition(tmp_path):
    (tmp_path / "a.yaml").mkdir()
    assert not is_definition(str(tmp_path / "a.yaml"))
    assert not is_definition(str(tmp_path / "b.yaml"))
