"""The folder of an image's tests: its limits, and the refusals with their hints."""

import os

import pytest

from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from templater.testing import tests_folder
from templater.testing.tests_folder import Folder, NoTestsError, folder_of, source_of


def failed(function, *arguments):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments)
    return type(caught.value), caught.value.message, caught.value.hint


@pytest.fixture
def tests(tmp_path):
    (tmp_path / "tests/snapshots/deep").mkdir(parents=True)
    for name in (
        "a.yaml",
        "b.yml",
        ".c.yaml",
        "d.txt",
        "snapshots/1.txt",
        "snapshots/deep/2.txt",
        "snapshots/3.md",
    ):
        (tmp_path / "tests" / name).write_text(name)
    return Folder(f"{tmp_path}/tests")


def test_files_of_tests_and_snapshots_are_found_by_their_names(tests):
    assert [os.path.basename(source.name) for source in tests.files()] == ["a.yaml", "b.yml"]
    assert tests.snapshots() == ("snapshots/1.txt", "snapshots/deep/2.txt")
    assert (tests.snapshot("snapshots/1.txt"), tests.snapshot("snapshots/9.txt")) == (
        b"snapshots/1.txt",
        None,
    )


def test_the_number_and_the_size_of_test_files_have_limits(tests, monkeypatch):
    monkeypatch.setattr(tests_folder, "MAX_FILES", 2)
    monkeypatch.setattr(tests_folder, "MAX_TOTAL", 11)
    assert len(list(tests.files())) == 2
    message = f"the files in '{tests.path}' have more than 0 MiB"
    assert failed(tests.read, "a.yaml") == (LimitError, message, "")
    monkeypatch.setattr(tests_folder, "MAX_FILES", 1)
    assert failed(lambda: list(tests.files())) == (
        LimitError,
        f"'{tests.path}' has more than 1 test files",
        "",
    )
    monkeypatch.setattr(tests_folder, "MAX_FILE", 5)
    message = f"'{tests.path}/a.yaml' is larger than 5 bytes"
    assert failed(Folder(tests.path).read, "a.yaml")[:2] == (LimitError, message)
    monkeypatch.setattr(tests_folder, "MAX_SNAPSHOT", 14)
    message = f"'{tests.path}/snapshots/1.txt' is larger than 14 bytes"
    assert failed(tests.snapshot, "snapshots/1.txt")[:2] == (LimitError, message)


@pytest.mark.parametrize("most", [2, 3])
def test_the_number_of_snapshots_has_a_limit(most, tests, monkeypatch):
    """Folders count, too: this test has two snapshots and a folder."""
    monkeypatch.setattr(tests_folder, "MAX_SNAPSHOTS", most)
    if most == 3:
        assert len(tests.snapshots()) == 2
    else:
        assert failed(tests.snapshots) == (LimitError, f"'{tests.path}' has more than 2 snapshots", "")


@pytest.mark.parametrize("name", ["/a.yaml", "../a.yaml", "x/../../a"])
def test_a_path_outside_the_tests_folder_is_refused(name, tests):
    message = f"'{name}' leads out of the folder of tests"
    hint = f"copy the file to a subfolder of '{tests.path}', and use the new path"
    assert failed(tests.read, name) == (RefusedError, message, hint)


def test_snapshots_are_written_and_removed_and_a_directory_is_not_replaced(tests, tmp_path):
    tests.write({"new/er/x.txt": b"x", "snapshots/1.txt": b"y", "snapshots/deep/2.txt": None})
    assert (tmp_path / "tests/new/er/x.txt").read_bytes() == b"x"
    assert (tmp_path / "tests/new/er/x.txt").stat().st_mode & 0o777 == 0o644
    assert tests.snapshots() == ("snapshots/1.txt",)
    assert tests.snapshot("snapshots/1.txt") == b"y"
    assert sorted(os.listdir(tmp_path / "tests/new/er")) == ["x.txt"]
    message = f"'{tests.path}/snapshots/deep' is a directory, not a regular file"
    assert failed(tests.write, {"snapshots/deep": b""}) == (RefusedError, message, "")


def test_an_image_without_tests_is_refused_with_a_hint(tmp_path):
    (tmp_path / "i").mkdir()
    message = f"'{tmp_path}/i' has no tests: '{tmp_path}/i/tests' does not exist"
    assert failed(folder_of, f"{tmp_path}/i") == (NoTestsError, message, "docs/testing.md shows a first test")
    (tmp_path / "i/tests").symlink_to(tmp_path)
    assert failed(folder_of, f"{tmp_path}/i") == (
        RefusedError,
        f"'{tmp_path}/i/tests' is a symlink, not a directory",
        "",
    )
    (tmp_path / "archive").write_bytes(b"\x1f\x8b")
    message = f"'{tmp_path}/archive' is an archive, which contains no tests"
    assert failed(folder_of, f"{tmp_path}/archive") == (
        UsageError,
        message,
        "give the folder of the tests with --tests DIR",
    )
    (tmp_path / "empty").mkdir()
    message = f"'{tmp_path}/empty' has no test file"
    assert failed(lambda: list(Folder(f"{tmp_path}/empty").files())) == (
        InputError,
        message,
        "the names of test files end in .yaml",
    )


def test_tests_folder_of_a_definition_is_beside_it(tmp_path):
    definition = tmp_path / "debian.yaml"
    definition.write_text("image:\n  distribution: debian\nsource:\n  downloader: debootstrap\n")
    (tmp_path / "tests").mkdir()
    assert folder_of(str(definition)) == f"{tmp_path}/tests"
    (tmp_path / "tests/debian").mkdir()
    assert folder_of(str(definition)) == f"{tmp_path}/tests/debian"


def test_tests_belong_to_the_image_that_contains_their_folder(tmp_path):
    (tmp_path / "tests").mkdir()
    assert source_of(f"{tmp_path}/tests/a.yaml") is None
    (tmp_path / "metadata.yaml").write_text("")
    assert source_of(f"{tmp_path}/tests/a.yaml") == str(tmp_path)
    assert source_of(f"{tmp_path}/other/a.yaml") is None
