"""Files that get their names together: after a kill in between, the next run completes or restores them."""

import errno
import fcntl
import os
import sys

import pytest

from templater.image import atomic_output
from templater.image.atomic_output import Output, publish_all
from templater.model.errors import RefusedError, UsageError, WriteError

NAMES = ("image.tar.xz", "image.tar.xz.root")
OLD = {name: f"old {name}" for name in NAMES}
NEW = {name: f"new {name}" for name in NAMES}
CALLS = ("rename", "link", "unlink")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root gives files away")


def published(folder, before=lambda: None):
    """Replace the old pair of files by the new pair.

    ``before`` is called before the files get their names.
    """
    with Output(str(folder)) as first, Output(str(folder)) as second:
        for output, name in zip((first, second), NAMES, strict=True):
            output.write(NEW[name].encode())
        before()
        publish_all((first, second), [str(folder / name) for name in NAMES], replace=True)


def killed(folder, at):
    """Kill a run before its change number ``at``. Return False if the run ended before that change."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = [at]

    def fatal(real):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return real(*arguments, **options)

        return call

    def arm():
        for name in CALLS:
            setattr(os, name, fatal(getattr(os, name)))

    try:
        published(folder, arm)
    finally:
        os._exit(0)


def seen(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name, text in OLD.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize("there", [NAMES, NAMES[:1], NAMES[1:], ()])
def test_the_next_run_restores_an_image_after_a_kill(folder, at, there):
    for name in set(NAMES) - set(there):
        (folder / name).unlink()
    assert killed(folder, at) == (at < 2 * len(there) + 2)
    with Output(str(folder)):
        pass
    found = seen(folder)
    if there == NAMES:
        assert found in (OLD, NEW)
    elif NAMES[0] in there:  # this file alone is a complete image, so it is not lost
        assert found[NAMES[0]] == OLD[NAMES[0]] or found == NEW
    else:  # a root filesystem alone is not an image: metadata of one image is never next to another's
        assert NAMES[0] not in found or found == NEW
    published(folder)
    assert seen(folder) == NEW


def test_a_killed_run_is_undone_even_without_replacing_files(folder):
    assert killed(folder, 3)
    assert seen(folder).keys() - set(NAMES)
    paths = [str(folder / name) for name in NAMES]
    with (
        Output(str(folder)) as first,
        Output(str(folder)) as second,
        pytest.raises(UsageError, match="exists"),
    ):
        publish_all((first, second), paths, replace=False)
    assert seen(folder) == OLD


def test_old_files_of_a_running_process_are_not_restored(folder, monkeypatch):
    looked = []

    def look():
        real = atomic_output.Output.name

        def name(self, path, *, replace):
            before = seen(folder)
            with Output(str(folder)):
                looked.append(seen(folder) == before)
            real(self, path, replace=replace)

        monkeypatch.setattr(atomic_output.Output, "name", name)

    published(folder, look)
    assert looked == [True, True]
    assert seen(folder) == NEW


@pytest.mark.parametrize("name", ["old-", "old-x", "old-x.0.", "old-x.0...", "old-x.y"])
def test_a_hidden_file_with_a_malformed_name_is_ignored(folder, name):
    (folder / f".templater-image-{name}").write_text("")
    published(folder)
    assert {file: text for file, text in seen(folder).items() if file in NAMES} == NEW


def test_another_users_hidden_image_file_is_not_restored(folder):
    if os.geteuid():
        pytest.skip("needs root")
    theirs = folder / ".templater-image-old-x.0.missing"
    also = folder / f".templater-image-old-x.1.{NAMES[0]}"
    for path in (theirs, also):
        path.write_text("theirs")
        os.chown(path, 1000, 1000)
    with Output(str(folder)):
        pass
    assert {name: text for name, text in seen(folder).items() if name in NAMES} == OLD


@as_root
def test_attack_83_leftovers_of_other_users_are_not_removed(folder):
    """An unprivileged user made files of 655,360 shared blocks in ``/tmp``: root's next report took 28 s."""
    folder.chmod(0o1777)
    names = [".templater-image-x", f".templater-image-old-x.0.{NAMES[0]}", ".templater-image-own"]
    for name in names:
        (folder / name).write_text("left")
    for name in names[:2]:
        os.chown(folder / name, 1234, 1234)
    with Output(str(folder)):
        pass
    assert sorted(seen(folder)) == sorted([*names[:2], *NAMES])


@as_root
def test_restoring_old_image_files_overwrites_no_file_of_another_user(folder):
    """Another user made a file with the name of the old file before the next run restored the old file."""
    (folder / NAMES[0]).unlink()
    os.chown(folder / NAMES[1], 1234, 1234)
    left = folder / f".templater-image-old-x.1.{NAMES[1]}"
    left.write_text("own")
    first = folder / ".templater-image-old-x.0.missing"
    first.write_text("own")
    with Output(str(folder)):
        pass
    assert seen(folder) == {NAMES[1]: OLD[NAMES[1]], left.name: "own", "missing": "own"}


@as_root
@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize(("mode", "is_refused"), [(0o1777, True), (0o777, True), (0o755, False)])
def test_root_replaces_no_foreign_file_in_world_writable_directories(
    folder, monkeypatch, nameless, mode, is_refused
):
    """The removal of another user's file could take minutes."""
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    folder.chmod(mode)
    path = folder / NAMES[0]
    os.chown(path, 1234, 1234)
    if is_refused:
        for publish in (
            lambda output: output.publish(str(path), replace=True),
            lambda output: publish_all([output], [str(path)], replace=True),
        ):
            with Output(str(folder)) as output, pytest.raises(RefusedError) as caught:
                publish(output)
            assert caught.value.message == (
                f"'{path}' belongs to another user (uid 1234), and other users can write to '{folder}'"
            )
            assert caught.value.hint == "remove the file, or give another name"
            assert seen(folder) == OLD
        path.unlink()
    for text in ("new", "newer"):
        with Output(str(folder)) as output:
            output.write(text.encode())
            output.publish(str(path), replace=True)
        assert seen(folder) == {**OLD, NAMES[0]: text}


@as_root
def test_root_does_not_replace_a_newly_created_foreign_file(folder, monkeypatch):
    folder.chmod(0o1777)
    path = folder / "new"
    real = os.lstat

    def lstat(name, **options):
        try:
            return real(name, **options)
        except FileNotFoundError:
            path.write_text("theirs")
            raise

    monkeypatch.setattr(os, "lstat", lstat)
    with Output(str(folder)) as output, pytest.raises(UsageError, match="exists"):
        output.publish(str(path), replace=True)
    assert path.read_text() == "theirs"


def test_foreign_files_with_a_hidden_name_are_not_removed(tmp_path, monkeypatch):
    """The owner of the directory replaced the hidden output by another file."""
    monkeypatch.delattr(os, "O_TMPFILE")
    with Output(str(tmp_path)) as output:
        os.unlink(output.path)
        with open(output.path, "w") as file:
            file.write("theirs")
    assert list(seen(tmp_path).values()) == ["theirs"]


def test_a_directory_at_an_output_path_is_refused_and_not_changed(tmp_path):
    (tmp_path / NAMES[0]).write_text("old")
    (tmp_path / NAMES[1]).mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        published(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == list(NAMES)
    assert (tmp_path / NAMES[0]).read_text() == "old"


def test_the_hint_for_a_missing_folder_contains_mkdir(tmp_path):
    with pytest.raises(WriteError) as caught:
        Output(f"{tmp_path}/a b")
    assert caught.value.message == f"a file in '{tmp_path}/a b' can't be created: no such file or directory"
    assert caught.value.hint == f"mkdir -p '{tmp_path}/a b'"
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError) as caught:
        Output(f"{tmp_path}/file")
    assert "/file' can't be " in caught.value.message and caught.value.message.endswith(": not a directory")
    assert caught.value.hint == ""


@pytest.mark.parametrize("nameless", [True, False])
def test_an_unfinished_output_is_locked_against_the_cleanup_of_other_runs(tmp_path, nameless, monkeypatch):
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    with Output(str(tmp_path)) as output:
        other = os.open(f"/proc/self/fd/{output.fd}", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("nameless", [True, False])
def test_a_link_replacing_the_output_directory_is_not_followed(tmp_path, nameless, monkeypatch):
    """The owner of the parent directory replaced the output directory with a link to another directory."""
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    for name in ("out", "other"):
        (tmp_path / name).mkdir()
        for file in ("a", "b"):
            (tmp_path / name / file).write_text("old")
    path = f"{tmp_path}/out"
    with Output(path) as first, Output(path) as second:
        for output in (first, second):
            output.write(b"new")
        (tmp_path / "out").rename(tmp_path / "hidden")
        (tmp_path / "out").symlink_to(tmp_path / "other")
        publish_all((first, second), (f"{path}/a", f"{path}/b"), replace=True)
    with Output(f"{tmp_path}/hidden") as third:
        third.publish(f"{tmp_path}/hidden/c")
    assert {file.name: file.read_text() for file in (tmp_path / "other").iterdir()} == {
        "a": "old",
        "b": "old",
    }
    assert {file.name: file.read_text() for file in (tmp_path / "hidden").iterdir()} == {
        "a": "new", "b": "new", "c": "",
    }  # fmt: skip
    if os.geteuid() != 0:
        return
    os.chown(tmp_path, 1234, 1234)
    with pytest.raises(RefusedError, match="may be a link that another user controls"):
        Output(path)


@pytest.mark.parametrize(("limit", "is_removed"), [("_MOST_NAMES", False), ("_MOST_LEFT", False), ("", True)])
def test_a_directory_with_very_many_names_is_not_cleaned(folder, monkeypatch, limit, is_removed):
    """A list of three million names needed 554 MB."""
    for number in range(4):
        (folder / f".templater-image-{number}").touch()
    if limit:
        monkeypatch.setattr(atomic_output, limit, 2)
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail("listed all names"))
    atomic_output._sweep(str(folder))
    assert (folder / ".templater-image-1").exists() != is_removed


@pytest.mark.parametrize("nameless", [True, False])
def test_an_existing_file_is_replaced_only_on_request(tmp_path, nameless, monkeypatch):
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    path = tmp_path / "image"
    path.write_text("old")
    path.chmod(0o604)
    with Output(str(tmp_path)) as output:
        output.write(b"refused")
        with pytest.raises(UsageError) as caught:
            output.publish(str(path))
    assert (caught.value.message, caught.value.hint) == (
        f"'{path}' exists",
        "add --reuse to replace the file",
    )
    assert seen(tmp_path) == {"image": "old"}
    with Output(str(tmp_path)) as output:
        output.write(b"new")
        output.publish(str(path), replace=True, like=path.stat())
    assert seen(tmp_path) == {"image": "new"}
    assert path.stat().st_mode & 0o777 == 0o604
    with Output(str(tmp_path)) as output:
        output.write(b"other")
        output.publish(f"{tmp_path}/other")
    assert seen(tmp_path) == {"image": "new", "other": "other"}


def test_a_failed_rename_of_an_output_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with Output(str(tmp_path)) as output:
        output.write(b"new")
        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(WriteError) as caught:
            output.publish(f"{tmp_path}/image", replace=True)
    problem = "can't be moved to its final name: input/output error"
    assert (caught.value.message, caught.value.hint) == (f"a file in '{tmp_path}' {problem}", "")
    assert seen(tmp_path) == {}


def test_an_output_that_disappears_before_locking_is_created_again(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE")
    real, locked = atomic_output._lock, []

    def lock(fd):
        if not locked:
            (left,) = tmp_path.iterdir()
            left.unlink()
        locked.append(fd)
        return real(fd)

    monkeypatch.setattr(atomic_output, "_lock", lock)
    with Output(str(tmp_path)) as output:
        output.write(b"new")
        output.publish(f"{tmp_path}/image")
    assert len(locked) == 2
    assert seen(tmp_path) == {"image": "new"}
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert not [path for path in opened if path.startswith(str(tmp_path))]


@pytest.mark.parametrize("together", [False, True])
def test_an_output_is_synced_before_it_gets_its_name(together, tmp_path, monkeypatch):
    real, synced = os.fsync, []

    def fsync(fd):
        assert seen(tmp_path) == {}
        synced.append(os.pread(fd, 9, 0))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with Output(str(tmp_path)) as output:
        output.write(b"new")
        if together:
            publish_all([output], [f"{tmp_path}/image"], replace=False)
        else:
            output.publish(f"{tmp_path}/image")
    assert synced == [b"new"]
    assert seen(tmp_path) == {"image": "new"}


def test_an_error_of_the_sync_is_reported(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with Output(str(tmp_path)) as output, pytest.raises(WriteError) as caught:
        publish_all([output], [f"{tmp_path}/image"], replace=False)
    assert caught.value.message == f"a file in '{tmp_path}' can't be written: input/output error"
    assert seen(tmp_path) == {}
