"""The state directory of an instance: written atomically, by one process, and never through a link."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from templater import oslite
from templater.cli.apply_and_record import opened_record
from templater.hooks.compile_cache import instance_cache, open_cache
from templater.instances import record_of_written_files
from templater.instances.instance_directory import InstanceDirectory
from templater.instances.set_pending_trigger import record
from templater.instances.state_directory import State, StateDirectory, write_whole
from templater.model.errors import (
    BusyError,
    InputError,
    LimitError,
    RefusedError,
    TemplaterError,
    WriteError,
)
from templater.rootfs import close_in_another_process, disk_sync
from templater.rootfs.confined_root import Root
from templater.writing.remove_leftovers import Journal
from tests.rootfs_builders import a_plan


def test_a_new_instance_has_no_recorded_state(tmp_path):
    with StateDirectory(str(tmp_path)) as state_directory:
        assert state_directory.state() is None


def test_an_instance_with_more_than_a_thousand_templates_is_refused(tmp_path):
    (tmp_path / "templates").mkdir()
    for number in range(1000):
        (tmp_path / "templates" / f"{number}.tpl").touch()
    with InstanceDirectory(str(tmp_path)) as directory:
        assert len(directory.read_templates()) == 1000
        (tmp_path / "templates/another.tpl").touch()
        with pytest.raises(
            LimitError,
            match=r"^'.*' has more than 1000 templates, or its templates have more than 32 MiB in total$",
        ):
            directory.read_templates()


def test_a_recorded_instance_state_is_read_back_unchanged(tmp_path):
    state = State("create", "web1", "ubuntu é \udcff")
    with StateDirectory(str(tmp_path)) as state_directory:
        state_directory.remember(state)
    with StateDirectory(str(tmp_path)) as state_directory:
        assert state_directory.state() == state


def test_the_state_file_is_plain_text(tmp_path):
    with StateDirectory(str(tmp_path)) as state_directory:
        state_directory.remember(State("copy", "web1"))
    assert (tmp_path / ".templater/state").read_text() == "pending=copy\nname=web1\n"
    assert (tmp_path / ".templater").stat().st_mode & 0o777 == 0o700


def test_unknown_lines_in_a_state_file_are_skipped():
    assert State.decode(b"pending=create\nfuture=1\nnonsense\n") == State("create")


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"future=1\n"])
def test_a_state_file_without_known_lines_is_ignored(tmp_path, content):
    """A power cut left an empty file on btrfs, and the trigger create never ran."""
    with StateDirectory(str(tmp_path)) as state_directory:
        (tmp_path / ".templater/state").write_bytes(content)
        assert state_directory.state() is None


def test_a_newline_in_a_recorded_value_is_refused(tmp_path):
    with StateDirectory(str(tmp_path)) as state_directory, pytest.raises(RefusedError):
        state_directory.remember(State("", "web1\npending=create"))


def test_a_busy_error_identifies_the_process_with_the_lock(tmp_path):
    with StateDirectory(str(tmp_path)) as first, StateDirectory(str(tmp_path)) as second:
        first.lock("hook for c1")
        with pytest.raises(BusyError, match=f"pid {os.getpid()}: hook for c1") as caught:
            second.lock("me", 0.05)
        assert caught.value.hint == "wait until that process ends, or end it"
        first.unlock()
        second.lock("me", 0.05)


def test_the_lock_is_released_after_its_process_dies(tmp_path):
    code = "import sys; from templater.instances.state_directory import StateDirectory; StateDirectory(sys.argv[1]).lock('x'); print(1)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    with StateDirectory(str(tmp_path)) as state_directory:
        state_directory.lock("me", 0.05)


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
def test_a_state_directory_writable_by_other_users_is_refused(tmp_path, mode):
    (tmp_path / ".templater").mkdir()
    (tmp_path / ".templater").chmod(mode)
    opened = os.listdir("/proc/self/fd")
    with pytest.raises(RefusedError) as caught:
        StateDirectory(str(tmp_path))
    folder = f"'{tmp_path}/.templater'"
    said = f"{folder} belongs to uid {os.getuid()} with mode {mode:04o}: other users could change templater's state"
    assert (caught.value.message, caught.value.hint) == (said, f"chown root {folder}; chmod 0700 {folder}")
    assert os.listdir("/proc/self/fd") == opened, "the directory is closed again"


@pytest.mark.parametrize("name", ["log", "lock"])
def test_hard_linked_files_in_foreign_directories_are_refused(tmp_path, name):
    with StateDirectory(str(tmp_path)) as state_directory:
        state_directory.is_own = False
        (tmp_path / "victim").write_text("precious")
        os.link(tmp_path / "victim", tmp_path / ".templater" / name)
        with pytest.raises(RefusedError) as caught:
            state_directory.append("log", b"x", 10) if name == "log" else state_directory.lock("x")
    assert caught.value.message == f"'{tmp_path}/.templater/{name}' was replaced, or has other hard links"
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_state_directory_must_not_be_a_symlink(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".templater").symlink_to("elsewhere")
    with pytest.raises(RefusedError):
        StateDirectory(str(tmp_path))


@pytest.mark.parametrize("name", ["log", "lock", "state"])
def test_a_symlink_in_the_state_directory_is_not_followed(tmp_path, name):
    (tmp_path / "victim").write_text("precious")
    with StateDirectory(str(tmp_path)) as state_directory:
        (tmp_path / ".templater" / name).symlink_to(tmp_path / "victim")
        for action in (
            lambda: state_directory.append("log", b"x", 10),
            lambda: state_directory.lock("x"),
            state_directory.state,
        ):
            try:
                action()
            except Exception as error:
                assert type(error).__module__ == "templater.model.errors"
    assert (tmp_path / "victim").read_text() == "precious"


def test_no_file_is_created_through_a_symlink_in_the_state_directory(tmp_path):
    with StateDirectory(str(tmp_path)) as state_directory:
        for name in ("log", "lock"):
            (tmp_path / ".templater" / name).symlink_to(tmp_path / "missing")
        for action in (lambda: state_directory.append("log", b"x", 10), lambda: state_directory.lock("x")):
            with pytest.raises(TemplaterError):
                action()
    assert not (tmp_path / "missing").exists()


def test_opening_an_instance_record_for_writing_locks_it(tmp_path):
    with (
        opened_record(str(tmp_path)),
        opened_record(str(tmp_path), lock="apply"),
        StateDirectory(str(tmp_path)) as other,
        pytest.raises(BusyError, match=f"pid {os.getpid()}: apply") as caught,
    ):
        other.lock("me", 0.05)
    assert caught.value.hint == "wait until that process ends, or end it"
    with opened_record("") as record:
        assert record is None


def test_a_hard_linked_backup_does_not_prevent_the_start(tmp_path):
    """After `cp -al` of the container's directory, each start failed until the backup was removed."""
    for _ in range(2):
        with StateDirectory(str(tmp_path)) as state_directory:
            state_directory.lock("x")
            state_directory.append("log", b"x", 10)
            (tmp_path / ".templater/written").write_bytes(record_of_written_files.HEAD)
            assert record_of_written_files.read_record(state_directory) == record_of_written_files.HEAD
        for name in ("lock", "log", "written"):
            os.link(tmp_path / ".templater" / name, tmp_path / f"{name}{os.urandom(4).hex()}")


@pytest.mark.parametrize("name", ["lock", "log"])
def test_a_device_in_the_state_directory_is_not_opened(tmp_path, name, monkeypatch):
    """The owner of the directory had moved a device into the state directory.

    An example is a watchdog, which starts when a program opens the device.
    """
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: needs root to make a device")
    StateDirectory(str(tmp_path)).close()
    os.mknod(tmp_path / ".templater" / name, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    kinds, real = [], oslite.os.open

    def opened(path, flags, *arguments, **options):
        fd = real(path, flags, *arguments, **options)
        if not flags & os.O_PATH:
            kinds.append(stat.S_IFMT(os.fstat(fd).st_mode))
        return fd

    monkeypatch.setattr(oslite.os, "open", opened)
    with (
        StateDirectory(str(tmp_path)) as state_directory,
        pytest.raises(RefusedError, match=f"/.templater/{name}' is not a regular file"),
    ):
        state_directory.lock("x", 0.0) if name == "lock" else state_directory.append("log", b"x", 10)
    assert stat.S_IFCHR not in kinds


def test_a_hook_log_is_rotated_at_its_size_limit(tmp_path):
    with StateDirectory(str(tmp_path)) as state_directory:
        for number in range(10):
            state_directory.append("log", b"line %d\n" % number, 20)
    assert (tmp_path / ".templater/log").read_bytes().endswith(b"line 9\n")
    assert (tmp_path / ".templater/log").stat().st_size < 40
    assert (tmp_path / ".templater/log.1").exists()


def test_a_cache_directory_is_ignored_if_other_users_can_enter_it(tmp_path):
    with StateDirectory(str(tmp_path)) as state_directory:
        assert instance_cache(state_directory) is not None
        (tmp_path / ".templater/cache").chmod(0o755)
        assert instance_cache(state_directory) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to make another user's directory")
def test_a_cache_in_a_directory_of_another_user_is_not_used(tmp_path):
    """The user moved a directory that root had unpacked from an image into a directory of the user.

    The cache in the unpacked directory belonged to root, but its code came from the image.
    """
    with StateDirectory(str(tmp_path)) as state_directory:
        assert instance_cache(state_directory) is not None
        os.chown(tmp_path, 1234, 1234)
    with StateDirectory(str(tmp_path)) as state_directory:
        assert instance_cache(state_directory) is None
    (tmp_path / "shared").mkdir(0o700)
    assert open_cache(str(tmp_path / "shared")) is None
    os.chown(tmp_path, 0, 0)
    assert open_cache(str(tmp_path / "shared")) is not None


def test_instance_templates_are_read_by_name_without_following_links(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_bytes(b"text \xff")
    (tmp_path / "templates/link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "templates/fifo")
    with InstanceDirectory(str(tmp_path)) as directory:
        found = directory.read_templates()
    assert found["a.tpl"].data == b"text \xff"
    for name, kind in (("link", "symlink"), ("fifo", "fifo")):
        assert (found[name].entry.kind, found[name].data, found[name].error) == (kind, None, None)


def test_a_templates_folder_must_not_be_a_link(tmp_path):
    (tmp_path / "templates").symlink_to("/etc")
    with InstanceDirectory(str(tmp_path)) as directory, pytest.raises(RefusedError):
        directory.read_templates()


def test_the_error_about_a_directory_without_metadata_gives_a_hint(tmp_path):
    with InstanceDirectory(str(tmp_path)) as directory, pytest.raises(InputError) as caught:
        directory.read_metadata()
    assert "templater unpack" in caught.value.explain()


def test_a_trigger_cannot_be_recorded_in_a_folder_without_an_image(tmp_path):
    with pytest.raises(InputError, match=r"^'.*' has no metadata\.yaml$") as caught:
        record(str(tmp_path), "copy")
    assert (
        caught.value.hint
        == "give an image directory, or make an instance directory with templater unpack IMAGE DIR"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a/b", "..", "a\nb", "x" * 256])
def test_an_invalid_instance_name_is_not_recorded(tmp_path, name):
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    with pytest.raises(RefusedError, match="invalid instance name"):
        record(str(tmp_path), "copy", name)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.yaml"]


def test_the_rename_trigger_keeps_a_pending_copy_trigger(
    tmp_path,
):
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    assert record(str(tmp_path), "copy", "web2") == State("copy", "web2")
    assert record(str(tmp_path), "rename", "web3") == State("copy", "web3"), "the first one wins"
    assert record(str(tmp_path), "create") == State("create", "web3"), "a new instance"


@pytest.mark.parametrize("sync", [True, False])
def test_write_whole_creates_a_synced_private_file_by_default(sync, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(oslite.os, "fsync", synced.append)
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f.new").write_bytes(b"left over by a killed process")
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        before = os.umask(0)
        try:
            write_whole(directory, "f", b"new", staged="f.new", **({} if sync else {"sync": False}))
            write_whole(directory, "g", b"new", sync=False, mode=0o644)
        finally:
            os.umask(before)
    assert len(synced) == sync
    assert {p.name: (p.read_bytes(), p.stat().st_mode & 0o777) for p in tmp_path.iterdir()} == {
        "f": (b"new", 0o600),
        "g": (b"new", 0o644),
    }


@pytest.mark.parametrize("is_exchanged", [False, True])
def test_a_failed_write_removes_only_its_own_file(tmp_path, monkeypatch, is_exchanged):
    (tmp_path / "f.new").write_text("theirs")

    def fail(fd):
        (staged,) = tmp_path.glob(".templater-new-*")
        if is_exchanged:
            staged.unlink()
            staged.write_text("theirs, too")
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(oslite.os, "fsync", fail)
    with (
        Root(str(tmp_path)) as root,
        root.directory("/") as directory,
        pytest.raises(WriteError, match=r"can't write"),
    ):
        write_whole(directory, "f", b"new")
    texts = sorted(path.read_text() for path in tmp_path.iterdir())
    assert texts == ["theirs", "theirs, too"][: 1 + is_exchanged]


def test_recording_a_trigger_for_the_first_time_sets_no_other_field(tmp_path):
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    state = record(str(tmp_path), "copy")
    assert (state.pending, state.name, state.image, state.root) == ("copy", "", "", "")


@pytest.mark.parametrize(
    ("trigger", "pending"), [("rename", "create"), ("copy", "copy"), ("create", "create")]
)
def test_a_recorded_rename_before_the_first_start_keeps_the_create_trigger(tmp_path, trigger, pending):
    """Incus also keeps the trigger pending. templater never wrote the files of the trigger ``create``."""
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    assert record(str(tmp_path), trigger, "web2") == State(pending, "web2")


def test_the_encoded_state_of_a_new_instance_is_not_empty():
    assert State().encode() == b"pending=\n"
    assert State.decode(b"pending=\n") == State()
    assert State("copy", "c1", "i", "r").encode() == b"pending=copy\nname=c1\nimage=i\nroot=r\n"


#: calls that replace or remove a file, by the name of the file
REPLACING = {
    "lock": lambda state_directory: state_directory.lock("x", 0.0),
    "log": lambda state_directory: state_directory.append("log", b"x", 50),
    "log.1": lambda state_directory: [state_directory.append("log", b"x" * 100, 50) for _ in range(2)],
    "state": lambda state_directory: state_directory.remember(State("create")),
    "state.new": lambda state_directory: state_directory.remember(State("create")),
    "deferred": lambda state_directory: state_directory.remove("deferred"),
    "written.new": lambda state_directory: state_directory.forget_written(),
    "journal": lambda state_directory: Journal(state_directory.directory).write(["x"]),
    "journal.new": lambda state_directory: Journal(state_directory.directory).write(["x"]),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs O_PATH")
@pytest.mark.parametrize("name", REPLACING)
def test_attack_83_a_large_state_file_stays_open_after_its_replacement(tmp_path, monkeypatch, name):
    """root's hook removed a file of 800,000 shared blocks, which took 16 seconds of system time.

    The owner waited for the lock file, and then renamed the large file.
    """
    held: list[int] = []
    monkeypatch.setattr(close_in_another_process, "_held", held)
    (tmp_path / ".templater").mkdir(0o700)
    file = tmp_path / ".templater" / name
    file.touch()
    os.truncate(file, 64 << 20)
    inode = file.stat().st_ino
    with StateDirectory(str(tmp_path)) as state_directory:
        REPLACING[name](state_directory)
        if name == "lock":
            file.unlink()  # the owner can do this at any time
    is_renamed = name == "log"
    assert [(os.fstat(fd).st_ino, os.fstat(fd).st_nlink) for fd in held] == [(inode, 0)] * (not is_renamed)
    for fd in held:
        os.close(fd)


def test_the_lock_error_gives_the_latest_purpose(tmp_path):
    with StateDirectory(str(tmp_path)) as first, StateDirectory(str(tmp_path)) as second:
        for what in ("hook for a container", "trigger"):
            first.lock(what)
        with pytest.raises(BusyError) as caught:
            second.lock("me", 0.0)
    assert caught.value.message == f"'{tmp_path}/.templater' is in use by pid {os.getpid()}: trigger"


def test_the_lock_can_be_taken_even_if_the_disk_is_full(tmp_path, monkeypatch):
    """On btrfs, another container that fills the disk made each start fail, although nothing had to be written."""

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    with StateDirectory(str(tmp_path)) as first, StateDirectory(str(tmp_path)) as second:
        with monkeypatch.context() as patch:
            patch.setattr(oslite.os, "pwrite", full)
            first.lock("hook")
        with pytest.raises(BusyError, match="is in use by another process"):
            second.lock("me", 0.0)


@pytest.mark.parametrize("is_on_btrfs", [False, True])
def test_a_new_file_replaces_the_leftover_file_of_a_killed_process(tmp_path, monkeypatch, is_on_btrfs):
    (tmp_path / "f.new").write_text("left")
    names = []
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: is_on_btrfs)
    call = (disk_sync, "write_content") if is_on_btrfs else (oslite.os, "fsync")
    monkeypatch.setattr(*call, lambda fd: not names.append(os.listdir(tmp_path)))
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        write_whole(directory, "f", b"new", staged="f.new")
    assert names == [[] if is_on_btrfs else ["f.new"]]
    assert (tmp_path / "f").read_text() == "new"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("is_on_btrfs", [False, True])
def test_new_records_on_btrfs_are_synced_before_the_rename(tmp_path, monkeypatch, is_on_btrfs):
    names = []
    for module in (record_of_written_files, disk_sync):
        monkeypatch.setattr(module, "is_on_btrfs", lambda fd: is_on_btrfs)
    call = (disk_sync, "write_content") if is_on_btrfs else (oslite.os, "fsync")
    monkeypatch.setattr(*call, lambda fd: not names.append(os.listdir(tmp_path / ".templater")))
    with (
        StateDirectory(str(tmp_path)) as state,
        record_of_written_files.Record(state).updated(a_plan({"/a": "text"}, None), {}, {}),
    ):
        assert os.listdir(tmp_path / ".templater") == ["written.new"]
    assert names == ([[]] if is_on_btrfs else [])
    assert os.listdir(tmp_path / ".templater") == ["written"]


@pytest.mark.parametrize("name", ["instance.yaml", "config", ".templater"])
def test_the_trigger_command_accepts_an_instance_directory_without_an_image(name: str, tmp_path):
    (tmp_path / name).mkdir(mode=0o700) if name == ".templater" else (tmp_path / name).touch()
    assert record(str(tmp_path), "copy").pending in ("create", "copy")
