"""Errors about a file of an instance directory or of ``.templater`` name its path."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from templater.instances.instance_directory import InstanceDirectory
from templater.instances.state_directory import State, StateDirectory, make
from templater.model.entry import FILE
from templater.model.errors import LimitError, TemplaterError
from templater.model.source import Source
from templater.rootfs.confined_root import Root
from templater.writing.remove_leftovers import Journal

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs fifos and links")

KINDS = {
    "link": lambda path: os.symlink("/etc", path),
    "fifo": os.mkfifo,
    "directory": os.mkdir,
    "large file": lambda path: path.touch() or os.truncate(path, 1 << 30),
}


@pytest.fixture(params=KINDS)
def odd(request):
    return KINDS[request.param]


def error_of(call, *arguments) -> str:
    """Return the error's text, or an empty string if the call succeeds."""
    try:
        call(*arguments)
    except TemplaterError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["link", "fifo", "large file"])
def test_a_state_directory_error_gives_the_path_of_the_directory(kind, tmp_path):
    KINDS[kind](tmp_path / ".templater")
    said = error_of(StateDirectory, str(tmp_path))
    assert said.startswith(f"'{tmp_path}/.templater' is a ")
    assert said.count(str(tmp_path)) == 1


CALLS = {
    "lock": lambda state_directory: state_directory.lock("x", 0.0),
    "state": lambda state_directory: state_directory.state(),
    "log": lambda state_directory: state_directory.append("log", b"x", 100),
    "journal": lambda state_directory: Journal(state_directory.directory).read(),
}


#: a lock file is never read, and a log above its limit is rotated
FINE = {("lock", "large file"), ("log", "large file")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_an_error_in_the_state_directory_gives_the_path(name, kind, tmp_path):
    StateDirectory(str(tmp_path)).close()
    KINDS[kind](tmp_path / ".templater" / name)
    with StateDirectory(str(tmp_path)) as state_directory:
        said = error_of(CALLS[name], state_directory)
    if (name, kind) in FINE:
        assert said == ""
    else:
        assert f"'{tmp_path}/.templater/{name}'" in said


@pytest.mark.parametrize("name", ["state", "journal"])
def test_a_write_error_gives_the_path_of_the_file(name, tmp_path):
    StateDirectory(str(tmp_path)).close()
    (tmp_path / ".templater" / name / "x").mkdir(parents=True)
    with StateDirectory(str(tmp_path)) as state_directory:
        write = {"state": lambda: state_directory.remember(State("create")),
                 "journal": lambda: Journal(state_directory.directory).write(["x"])}[name]  # fmt: skip
        assert f"'{tmp_path}/.templater/{name}'" in error_of(write)


READS = {
    "metadata.yaml": InstanceDirectory.read_metadata,
    "instance.yaml": InstanceDirectory.read_instance,
}


@pytest.mark.parametrize("name", READS)
def test_errors_about_files_of_an_instance_give_the_path(name, odd, tmp_path):
    odd(tmp_path / name)
    with InstanceDirectory(str(tmp_path)) as directory:
        assert f"'{tmp_path}/{name}'" in error_of(READS[name], directory)


def test_the_error_about_an_unreadable_template_gives_the_template_path(tmp_path):
    (tmp_path / "templates").mkdir()
    KINDS["large file"](tmp_path / "templates/a.tpl")
    with InstanceDirectory(str(tmp_path)) as directory:
        file = directory.read_templates()["a.tpl"]
    assert file.entry.kind == FILE
    assert f"'{tmp_path}/templates/a.tpl'" in str(file.error)


@pytest.mark.parametrize("mechanism", ["openat2", "walk"])
def test_errors_below_a_nested_root_contain_the_full_path(mechanism, tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/link").symlink_to("/etc")
    with Root(str(tmp_path), named=True, mechanism=mechanism) as root, root.below("/a") as below:
        assert f"'{tmp_path}/a/b/link'" in error_of(below.read, "/b/link", 10)
        assert f"'{tmp_path}/a/b/link' is a symlink" in error_of(below.read, "/b/link/passwd", 10)
        assert f"'{tmp_path}/a/b/nosuch'" in error_of(below.read, "/b/nosuch", 10)
        assert below.directory("/b").path_of("x") == f"{tmp_path}/a/b/x"


def test_the_error_about_creating_a_directory_gives_its_path(tmp_path):
    (tmp_path / "file").write_text("")
    with Root(str(tmp_path), named=True) as root, root.directory("/") as directory:
        make(directory, "file")  # make accepts an existing name
        assert (
            error_of(make, directory, "x" * 256)
            == f"can't create '{tmp_path}/{'x' * 256}': file name too long"
        )


def test_an_error_about_rootfs_gives_the_path_inside_it(tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    with Root(str(tmp_path)) as root:
        assert error_of(root.read, "/link", 10) == "'/link' is a symlink, not a regular file"


def test_counting_the_lines_of_a_shared_source_is_thread_safe():
    """Errors share a source, and two threads may ask for lines of the same source."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            source = Source("x", "\n" * 300_000)
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(source.line_at, [299_999, 150_000, 1, 0] * 4))
            assert found == [300_000, 150_001, 2, 1] * 4
    finally:
        sys.setswitchinterval(before)


def test_a_huge_template_directory_is_refused_without_reading_it(tmp_path, monkeypatch):
    """An empty directory of 1 GiB took 40 s, because ext4 never shrinks a directory."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a").touch()
    monkeypatch.setattr("templater.instances.instance_directory.MAX_LISTED", 0)
    monkeypatch.setattr(os, "scandir", lambda *_: pytest.fail("the names were read"))
    with InstanceDirectory(str(tmp_path)) as directory, pytest.raises(LimitError, match="itself is larger"):
        directory.read_templates()


def test_an_instance_directory_without_a_templates_folder_has_no_templates(tmp_path):
    with InstanceDirectory(str(tmp_path)) as directory:
        assert directory.read_templates() == {}


def test_a_template_above_the_size_limit_does_not_affect_other_templates(tmp_path):
    (tmp_path / "templates/folder").mkdir(parents=True)
    (tmp_path / "templates/a").write_text("abc")
    (tmp_path / "templates/b").write_text("abcd")
    with InstanceDirectory(str(tmp_path)) as directory:
        found = directory.read_templates(3)
    assert found["a"].data == b"abc" and found["folder"].data is None and found["folder"].error is None
    assert isinstance(found["b"].error, LimitError) and found["b"].data is None
