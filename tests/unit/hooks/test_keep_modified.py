"""The record of written files: hand edits are kept, also after kills and with a damaged record."""

import os
import re
import shutil
import signal
import subprocess
import traceback
import tracemalloc
from functools import partialmethod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater import oslite
from templater.cli.run_command_line import main
from templater.hooks import install
from templater.hooks.run import run
from templater.instances import changed_by_hand, record_of_written_files
from templater.instances.changed_by_hand import status_of
from templater.instances.record_of_written_files import WrittenFile, digest_of
from templater.instances.state_directory import StateDirectory
from templater.model.errors import KeptError, LimitError, RefusedError, WriteError
from templater.rootfs import directory_rootfs
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.writing import apply_locks as lock_module
from tests.laws.test_hooks_grow_linearly import plan_of

pytestmark = pytest.mark.usefixtures("restored_process")

METADATA = """\
architecture: x86_64
creation_date: 1700000000
templates:
  /etc/a: {when: [create, start], template: a.tpl}
  /etc/b: {when: [start], template: b.tpl}
  /etc/once: {when: [create], template: a.tpl}
"""
FILES = ("/etc/a", "/etc/b", "/etc/once")
KEEP = "--keep-modified"
#: number of moments during a run at which the hook is killed
KILLS = 100


def make(folder: Path) -> Path:
    (folder / "rootfs/etc").mkdir(parents=True)
    (folder / "templates").mkdir()
    (folder / "metadata.yaml").write_text(METADATA)
    (folder / "templates/a.tpl").write_text('a {{ config_get("user.a", "") }}\n')
    (folder / "templates/b.tpl").write_text("b {{ config.user }}{{ config_get('user.b', '') }}\n")
    (folder / "config").write_text("lxc.uts.name = c1\n")
    configure(folder, "1")
    return folder


def configure(folder: Path, value: str) -> None:
    (folder / "instance.yaml").write_text(f"name: c1\nconfig: {{user.a: '{value}', user.b: '{value}'}}\n")


def start(folder: Path, *options: str) -> tuple[int, str]:
    """Run the hook in this process; return its exit code and what it printed to stderr."""
    environ = {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{folder}/config",
        "LXC_ROOTFS_PATH": f"{folder}/rootfs",
    }  # fmt: skip
    printed = folder / "stderr"
    saved, fd = os.dup(2), os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    before = dict(os.environ)
    os.environ.update(environ)
    os.dup2(fd, 2)
    try:
        code = run(["lxc", "--no-child", *options])
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(fd)
        os.environ.clear()
        os.environ.update(before)
    return code, printed.read_text()


def contents(folder: Path) -> dict[str, str | None]:
    return {name: read(folder / f"rootfs{name}") for name in FILES}


def read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


@pytest.fixture
def container(tmp_path):
    return make(tmp_path)


def test_the_record_of_written_files_contains_owners_and_modes(
    container,
):
    assert start(container)[0] == 0
    path = container / ".templater/written"
    assert path.stat().st_mode & 0o777 == 0o600
    head, _, rest = path.read_bytes().partition(b"\n")
    assert head == b"templater written 1"
    fields = rest.partition(b"\n")[2].split(b"\0")[1:]
    assert fields[0:2] == [b"/etc/a", b"/etc/a"]
    assert fields[3:5] == [b"0 0 644 4", b"a.tpl"]
    assert fields[6] == b"user.a"


@pytest.mark.parametrize("options", [(), ("--no-cache",)], ids=["cached", "without a cache"])
def test_the_record_contains_configuration_keys_even_with_a_cache(container, options):
    for _ in range(2):
        assert start(container, *options)[0] == 0
    assert b"user.b" in (container / ".templater/written").read_bytes()


def test_every_file_descriptor_is_closed_after_a_hook_has_run(container):
    start(container)
    before = os.listdir("/proc/self/fd")
    start(container)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_start_without_changes_does_not_write_the_record_again(container):
    start(container)
    before = (container / ".templater/written").stat()
    start(container)
    after = (container / ".templater/written").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_an_edited_file_is_kept_and_reported(container):
    start(container)
    (container / "rootfs/etc/a").write_text("by hand\n")
    configure(container, "2")
    code, printed = start(container, KEEP)
    assert code == 1
    assert contents(container) == {"/etc/a": "by hand\n", "/etc/b": "b 2\n", "/etc/once": "a 1\n"}
    assert "/etc/a: changed by hand" in printed and "/etc/b" not in printed


def test_the_on_error_option_allows_starting_despite_edited_files(container):
    start(container)
    (container / "rootfs/etc/a").write_text("by hand\n")
    code, printed = start(container, KEEP, "--on-error", "keep-going")
    assert code == 0
    assert "starts anyway" in printed


def test_an_edited_file_is_overwritten_without_the_keep_modified_option(container):
    start(container)
    (container / "rootfs/etc/a").write_text("by hand\n")
    assert start(container)[0] == 0
    assert contents(container)["/etc/a"] == "a 1\n"


def test_the_keep_modified_option_does_not_recreate_a_removed_file(container):
    start(container)
    (container / "rootfs/etc/b").unlink()
    code, printed = start(container, KEEP)
    assert code == 1
    assert "/etc/b: removed by hand" in printed
    assert contents(container)["/etc/b"] is None


def test_nothing_is_written_through_a_users_link(container):
    start(container)
    (container / "rootfs/etc/b").rename(container / "rootfs/etc/mine")
    (container / "rootfs/etc/b").symlink_to("mine")
    configure(container, "2")
    code, printed = start(container, KEEP)
    assert code == 1
    assert "/etc/mine: a link in the file's path was changed by hand" in printed
    assert (container / "rootfs/etc/mine").read_text() == "b 1\n"


def test_the_first_start_overwrites_files_of_the_image(container):
    (container / "rootfs/etc/a").write_text("of the image\n")
    assert start(container, KEEP)[0] == 0
    assert contents(container)["/etc/a"] == "a 1\n"


@pytest.mark.parametrize("is_edited", [True, False])
def test_edits_after_a_failed_first_start_are_kept(container, is_edited):
    """The second start ran the trigger create, and overwrote months of edits."""
    (container / "rootfs/etc/a").write_text("of the image\n")
    template = (container / "templates/b.tpl").read_text()
    (container / "templates/b.tpl").write_text("{{ 1|nosuch }}")
    assert start(container, KEEP, "--on-error", "keep-going")[0] == 0
    started = container / ".templater/started"
    if is_edited:
        os.utime(started, (1, 1))
    assert start(container, KEEP, "--on-error", "keep-going")[0] == 0  # the first failure counts
    (container / "templates/b.tpl").write_text(template)
    assert started.stat().st_mtime == 1 or not is_edited
    code, printed = start(container, KEEP)
    assert code == (KeptError.exit_code if is_edited else 0)
    assert ("/etc/a: the record does not list the file" in printed) == is_edited
    assert contents(container)["/etc/a"] == ("of the image\n" if is_edited else "a 1\n")
    assert not started.exists()


def test_the_apply_command_keeps_edits_made_after_a_failed_first_start(container):
    (container / "rootfs/etc/a").write_text("of the image\n")
    (container / ".templater").mkdir(mode=0o700)
    (container / ".templater/started").touch()
    os.utime(container / ".templater/started", (1, 1))
    assert main(["apply", str(container), f"{container}/rootfs", "-t", "create", KEEP]) == KeptError.exit_code
    assert contents(container)["/etc/a"] == "of the image\n"


@pytest.mark.parametrize("is_edited", [True, False])
def test_edits_in_a_copied_container_are_found_by_mtime(container, is_edited):
    """lxc-copy makes new inodes, and keeps the times of all contents."""
    (container / "rootfs/etc/a").write_text("of the image\n")
    os.utime(container / "rootfs/etc/a", (3, 3) if is_edited else (1, 1))
    with StateDirectory(str(container)) as directory:
        directory.replace("started", b"copied\n")
    os.utime(container / ".templater/started", (2, 2))
    assert start(container, KEEP)[0] == (KeptError.exit_code if is_edited else 0)
    assert contents(container)["/etc/a"] == ("of the image\n" if is_edited else "a 1\n")


def test_edits_after_starting_with_invalid_lxc_configuration_are_kept(container):
    """The hook failed before it opened the state directory, so it did not record the start."""
    folder = shutil.copytree(container, container.parent / "c1", symlinks=True)
    (folder / "rootfs/etc/a").write_text("of the image\n")
    keys = f"lxc.uts.name = c1\nlxc.rootfs.path = dir:{folder}/rootfs\n"
    environ = {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{folder}/config",
        "LXC_ROOTFS_PATH": f"{folder}/rootfs",
    }  # fmt: skip
    words = [*install.argv("lxc", []), KEEP, "--on-error", "keep-going"]
    printed = []
    for hook in ("lxc.hook.pre-mount = /bin/true\n", ""):
        (folder / "config").write_text(keys + hook)
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0
        printed.append(done.stderr)
        if hook:
            os.utime(folder / ".templater/started", (1, 1))
    assert "lxc.hook.pre-mount runs after" in printed[0]
    assert "/etc/a: the record does not list the file" in printed[1]
    assert (folder / "rootfs/etc/a").read_text() == "of the image\n"


def test_recording_a_failed_first_start_requires_both_options(container):
    (container / "templates/b.tpl").write_text("{{ 1|nosuch }}")
    assert start(container, KEEP)[0] != 0
    assert start(container, "--on-error", "keep-going")[0] == 0
    assert not (container / ".templater/started").exists()


def test_a_new_incus_instance_gets_no_earlier_record(container, monkeypatch):
    """The earlier instance had the same name, and a new file counted as removed by hand."""
    incus, state, rootfs = container / "incus", container / "state", container / "rootfs"
    (incus / "rootfs").mkdir(parents=True)
    state.mkdir()
    monkeypatch.setenv("LXC_NAME", "c1")
    monkeypatch.setenv("LXC_ROOTFS_PATH", str(incus / "rootfs"))
    words = [
        "incus",
        "--no-child",
        "--source",
        str(container),
        "--rootfs",
        str(rootfs),
        "--state",
        str(state),
        KEEP,
    ]

    def begin(pending: str) -> int:
        (incus / "backup.yaml").write_text(
            f"container: {{name: c1, config: {{volatile.apply_template: '{pending}'}}, devices: {{}}}}\n"
        )
        return run(words)

    assert begin("create") == 0
    for name in FILES:
        (rootfs / name[1:]).unlink()
    assert begin("") == KeptError.exit_code, "removed by hand"
    assert not (rootfs / "etc/a").exists()
    assert begin("create") == 0, "a new instance"
    assert all(contents(container).values())


def test_a_new_rule_does_not_overwrite_an_unrecorded_file(container):
    start(container)
    (container / "rootfs/etc/c").write_text("by hand\n")
    (container / "metadata.yaml").write_text(METADATA + "  /etc/c: {when: [start], template: a.tpl}\n")
    code, printed = start(container, KEEP)
    assert code == 1
    assert "/etc/c: the record does not list the file" in printed
    assert (container / "rootfs/etc/c").read_text() == "by hand\n"


def test_a_file_of_two_rules_is_not_considered_edited(container):
    """The record had the text of the first rule for the path of the first rule."""
    (container / "rootfs/etc/b").symlink_to("a")
    rules = "  /etc/a: {when: [create, copy], template: a.tpl}\n  /etc/b: {when: [start], template: b.tpl}\n"
    (container / "metadata.yaml").write_text(METADATA.partition("  /etc/a")[0] + rules)
    for value in "12":  # the second start writes only through the link
        configure(container, value)
        assert start(container, KEEP) == (0, "")
    with StateDirectory(str(container)) as state:
        files = record_of_written_files.Record(state).files()
    assert {file.digest for file in files.values()} == {digest_of((container / "rootfs/etc/a").read_bytes())}
    assert [file.template for file in files.values()] == ["a.tpl", "b.tpl"]
    assert main(["trigger", str(container), "copy"]) == 0
    assert start(container, KEEP) == (0, "")
    (container / "rootfs/etc/a").write_text("by hand\n")
    assert main(["trigger", str(container), "copy"]) == 0
    assert start(container, KEEP)[0] == 1


def test_an_edit_that_equals_the_new_content_is_ignored(container):
    start(container)
    configure(container, "2")
    (container / "rootfs/etc/a").write_text("a 2\n")
    assert start(container, KEEP)[0] == 0
    configure(container, "3")
    assert start(container, KEEP)[0] == 0
    assert contents(container)["/etc/a"] == "a 3\n"


# --- hostile state directories -----------------------------------------------------------------


def link(path):
    path.symlink_to("/etc/passwd")


def hard_link(path):
    (path.parent / "other").write_bytes(b"x")
    os.link(path.parent / "other", path)


def huge(path):
    path.touch()
    os.truncate(path, 1 << 40)


def writable_by_others(path):
    path.write_bytes(b"templater written 1\n")
    path.chmod(0o666)


def of_another_user(path):
    path.write_bytes(b"templater written 1\n")
    os.chown(path, 12345, 12345)


def binary(path):
    path.write_bytes(bytes(range(256)) * 100)


def of_too_many_files(path):
    data = b"\0" * (record_of_written_files.MAX_FILES * 7 + 2)
    path.write_bytes(
        record_of_written_files.HEAD + record_of_written_files.digest_of(data).encode() + b"\n" + data
    )
    path.chmod(0o600)


def of_too_many_keys(path):
    data = b"\0/a" + b"\0" * 6 + b"k\n" * (record_of_written_files.MAX_KEYS + 1) + b"\0"
    path.write_bytes(
        record_of_written_files.HEAD + record_of_written_files.digest_of(data).encode() + b"\n" + data
    )
    path.chmod(0o600)


HOSTILE = [
    os.mkfifo,
    of_too_many_files,
    of_too_many_keys,
    link,
    hard_link,
    huge,
    writable_by_others,
    of_another_user,
    binary,
    os.mkdir,
    Path.touch,
]


@pytest.mark.parametrize("name", ["written", "written.new"])
@pytest.mark.parametrize("make_hostile", HOSTILE, ids=lambda each: each.__name__)
def test_a_start_with_a_hostile_record_keeps_manual_edits(container, make_hostile, name):
    start(container)
    (container / "rootfs/etc/a").write_text("by hand\n")
    path = container / ".templater" / name
    path.unlink(missing_ok=True)
    make_hostile(path)
    code, printed = start(container, KEEP)
    assert code in (1, 2, 3, 4, 6)
    assert contents(container)["/etc/a"] == "by hand\n"
    assert "Traceback" not in printed and len(printed.splitlines()) <= 4
    assert Path("/etc/passwd").read_text().startswith("root:")
    if code != 1:
        assert f".templater/{name}" in printed and "hint: " in printed


@pytest.mark.parametrize(
    "make_hostile", [each for each in HOSTILE if each is not os.mkdir], ids=lambda each: each.__name__
)
def test_an_unneeded_hostile_record_is_ignored(container, make_hostile):
    start(container)
    path = container / ".templater/written"
    path.unlink()
    make_hostile(path)
    configure(container, "2")
    assert start(container)[0] == 0
    assert contents(container) == {"/etc/a": "a 2\n", "/etc/b": "b 2\n", "/etc/once": "a 1\n"}
    assert path.read_bytes().startswith(b"templater written 1\n"), "a start writes a new record"
    assert b"ignored: " in (container / ".templater/log").read_bytes()


def test_oversized_files_of_a_killed_run_are_considered_edited(container, monkeypatch):
    start(container)
    folder = container / ".templater"
    configure(container, "2")
    for limit, code in ((0, 1), (record_of_written_files.MAX_COMPARED_TOTAL, 0)):
        (folder / "written").rename(folder / "written.new")  # as if the run was killed before it renamed
        monkeypatch.setattr(record_of_written_files, "MAX_COMPARED_TOTAL", limit)
        staged = (folder / "written.new").read_bytes()
        assert start(container, KEEP)[0] == code
        (folder / "written").write_bytes(staged)


def test_new_files_are_not_considered_edited_after_a_signal(container, monkeypatch):
    """The signal took effect after the hook had put the files in place.

    The record of the files was then removed.
    """
    start(container)
    configure(container, "2")
    rename = Directory.rename_held

    def renamed(directory, name, to, new):
        rename(directory, name, to, new)
        if new == "b":
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "rename_held", renamed)
        code, said = start(container, KEEP)
    assert (code, "stopped by signal 15" in said) == (WriteError.exit_code, True)
    assert contents(container)["/etc/b"] == "b 2\n"
    configure(container, "3")
    assert start(container, KEEP)[0] == 0
    assert contents(container)["/etc/b"] == "b 3\n"


@pytest.mark.parametrize("option", [KEEP, "--no-cache"])
def test_attack_87_a_start_fails_if_comparing_files_takes_too_long(container, monkeypatch, option):
    """The kernel decompresses many times the size of some files. No processor time limit counts this work."""
    assert start(container) == (0, "")
    path = container / "rootfs/etc/a"
    before, inode = contents(container), path.stat().st_ino
    now, real = [0.0], os.read

    def slow(fd, size):
        now[0] += 16.0 * (os.fstat(fd).st_ino == inode)
        return real(fd, size)

    monkeypatch.setattr(oslite.os, "read", slow)
    monkeypatch.setattr(directory_rootfs, "monotonic", lambda: now[0])
    code, printed = start(container, option, "--time-limit", "60")
    assert code == 4
    assert re.search(r"reading the files of '[^']*' takes longer than (14\.\d|15\.0) s\n", printed)
    assert contents(container) == before


def test_a_file_that_grew_much_larger_is_not_read(container, monkeypatch):
    """A user of the container turned each target in the home directory into a sparse file of 64 MiB."""
    start(container)
    configure(container, "2")
    os.truncate(container / "rootfs/etc/a", 2 << 20)
    read = []
    monkeypatch.setattr(changed_by_hand, "has_content", lambda rootfs, file: read.append(file.real) or True)
    code, said = start(container, KEEP)
    assert code == 1 and "/etc/a: too large to compare with the new text" in said and "/etc/b" not in said
    assert read == ["/etc/b"] * 2  # before the plan, and again before the write
    assert contents(container)["/etc/b"] == "b 2\n"


def paths_read(monkeypatch) -> list[str]:
    """Return a list to which each later call that reads or compares a file adds the path of the file."""
    paths: list[str] = []

    def recorded(root, path, *arguments, call, **options):
        paths.append(path)
        return call(root, path, *arguments, **options)

    for name in ("read", "has_content"):
        monkeypatch.setattr(Root, name, partialmethod(recorded, call=getattr(Root, name)))
    return paths


@pytest.mark.parametrize("options", [(), (KEEP,)])
def test_attack_87_a_target_with_an_unexpected_size_is_not_read(container, monkeypatch, options):
    """The kernel decompressed 128 KiB for each block of a target.

    No limit on processor time counts this work.
    """
    start(container)
    configure(container, "2")
    (container / "rootfs/etc/a").write_text("longer than the new text and than the recorded text\n")
    read = paths_read(monkeypatch)
    code, said = start(container, *options)
    assert (code, "/etc/a: changed by hand" in said) == ((1, True) if options else (0, False))
    assert "/etc/a" not in read and "/etc/b" in read


@pytest.mark.parametrize("has_sizes", [True, False])
def test_attack_87_extra_files_of_a_forged_record_are_not_read(container, monkeypatch, has_sizes):
    """The owner of the container's directory forged a staged record.

    The record listed 480 MiB of files that are slow to decompress. Each start read these files, and failed
    after a minute.
    """
    start(container)
    (container / "rootfs/etc/forged").write_text("text")
    data = WrittenFile("/etc/forged", "/etc/forged", "d", 0, 0, 0o644, "a.tpl", "e", size=4).encode()
    text = b"\0" + (data if has_sizes else data.replace(b" 644 4", b" 644"))
    (container / ".templater/written.new").write_bytes(record_of_written_files.head_of(text) + text)
    (container / ".templater/written.new").chmod(0o600)
    read = paths_read(monkeypatch)
    assert start(container)[0] == 0
    assert "/etc/a" in read and "/etc/forged" not in read
    assert not (container / ".templater/written.new").exists()


def test_comparing_recorded_files_fails_above_the_total_size_limit():
    size = 1 << 20
    file = WrittenFile("/a", "/big", "", 0, 0, 0o644, "a.tpl", "", size=size)
    files = dict.fromkeys(map(str, range(record_of_written_files.MAX_COMPARED_TOTAL // size + 1)), file)
    rootfs = MemoryRootfs({"/big": "x" * size})
    with pytest.raises(LimitError, match="the recorded files have more than 64 MiB"):
        status_of(None, files, rootfs, {})  # raised before it looks at the plan


def test_a_directory_in_place_of_the_record_is_refused(container):
    start(container)
    path = container / ".templater/written"
    path.unlink()
    path.mkdir()
    code, printed = start(container)
    assert code == 6
    assert str(path) in printed and "Traceback" not in printed


# --- laws --------------------------------------------------------------------------------------

VALUES = ("1", "2", "3")
#: contents that a user writes by hand, among them some that templater writes too
BY_HAND = ("a 1\n", "a 2\n", "b 1\n", "mine\n", "", None)
STEPS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(FILES), st.sampled_from(BY_HAND)),
    st.tuples(st.just("configure"), st.sampled_from(VALUES)),
    st.tuples(st.just("start")),
    st.tuples(st.just("keep")),
    st.tuples(st.just("forget")),
    st.tuples(st.just("damage"), st.binary(max_size=30)),
    st.tuples(st.just("flip"), st.integers(0, 400)),
)


def damage(folder: Path, data: bytes) -> None:
    (folder / ".templater/written").write_bytes(data)


def flip(folder: Path, place: int) -> None:
    path = folder / ".templater/written"
    data = bytearray((path.read_bytes() if path.is_file() else b"") or b"x")
    data[place % len(data)] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_the_keep_modified_option_never_loses_a_manual_edit(tmp_path_factory, steps):
    """A start with --keep-modified does not change a file that the user has edited."""
    folder = make(tmp_path_factory.mktemp("law"))
    assert start(folder)[0] == 0
    left = contents(folder)
    for step, *values in steps:
        if step == "edit":
            path, text = folder / f"rootfs{values[0]}", values[1]
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)
        elif step == "configure":
            configure(folder, values[0])
        elif step == "forget":
            (folder / ".templater/written").unlink(missing_ok=True)
        elif step == "damage":
            damage(folder, values[0])
        elif step == "flip":
            flip(folder, values[0])
        else:
            before = contents(folder)
            code, printed = start(folder, *((KEEP,) if step == "keep" else ()))
            after = contents(folder)
            assert "Traceback" not in printed
            for name in FILES:
                if step == "keep" and before[name] is not None and before[name] != left[name]:
                    assert after[name] == before[name], f"the edit of {name} is lost: {printed}"
                if after[name] != before[name] or code in (0, 1):
                    # templater wrote the file, or has seen that it has the right content
                    kept = before[name] != left[name] and f"{name}:" in printed
                    left[name] = left[name] if kept or name == "/etc/once" else after[name]


# --- kills -------------------------------------------------------------------------------------

#: the calls that change files or read them; each is a moment at which the run can be killed
CALLS = ("open", "write", "rename", "link", "unlink", "close", "fsync", "mkdir", "fchmod", "fchown", "pwrite")


def in_child(folder: Path, *options: str, kill_at: int = -1) -> tuple[int, int]:
    """Run the hook in a forked process that kills itself before a call; return exit status and call count."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            count = 0

            def counted(original):
                def call(*arguments, **named):
                    nonlocal count
                    if count == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    count += 1
                    return original(*arguments, **named)

                return call

            import posix

            for name in CALLS:
                setattr(posix, name, counted(getattr(posix, name)))
            code, _ = start(folder, *options)
            posix.write(writer, b"%d" % count)
            posix._exit(code)
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read()
    return os.waitpid(pid, 0)[1], int(text or b"0")


@pytest.mark.in_memory
@pytest.mark.slow
def test_only_manual_edits_are_kept_after_a_killed_run(tmp_path):
    start(make(tmp_path / "calls"))
    configure(tmp_path / "calls", "2")
    status, calls = in_child(tmp_path / "calls", KEEP)
    assert status == 0
    assert calls > 50
    new = {"/etc/a": "a 2\n", "/etc/b": "b 2\n", "/etc/once": "a 1\n"}
    killed = 0
    for number in range(KILLS):
        folder = make(tmp_path / f"kill{number}")
        start(folder)
        configure(folder, "2")
        status, _ = in_child(folder, KEEP, kill_at=calls * number // KILLS)
        killed += os.WIFSIGNALED(status)
        if number % 2:
            (folder / "rootfs/etc/a").write_text("by hand\n")
        code, printed = start(folder, KEEP)
        if number % 2:
            assert code == 1, f"kill {number}"
            assert contents(folder) == new | {"/etc/a": "by hand\n"}, f"kill {number}"
        else:
            assert (code, printed) == (0, ""), f"kill {number}"
            assert contents(folder) == new, f"kill {number}"
        configure(folder, "3")
        assert start(folder, KEEP)[0] == number % 2, f"kill {number}"
        assert contents(folder)["/etc/b"] == "b 3\n", f"kill {number}"
    assert killed > KILLS * 0.9


def test_the_files_of_a_killed_run_are_recorded_later(container):
    """The next run may have no rule for a file that the killed run wrote."""
    start(container)
    configure(container, "2")
    record = container / ".templater/written"
    before = record.read_bytes()
    assert start(container, "-t", "create")[0] == 0
    record.rename(
        container / ".templater/written.new"
    )  # as if the run was killed before it renamed the record
    record.write_bytes(before)
    record.chmod(0o600)
    (container / "metadata.yaml").write_text("architecture: x86_64\ntemplates: {}\n")
    assert start(container, KEEP) == (0, "")
    (container / "metadata.yaml").write_text(METADATA)
    configure(container, "3")
    assert start(container, KEEP, "-t", "create")[0] == 0
    assert contents(container)["/etc/once"] == "a 3\n"


def test_the_search_for_manual_changes_has_a_byte_limit(container, monkeypatch):
    """Root of a container changed each of 19,000 files of one megabyte."""
    assert start(container)[0] == 0
    for name in ("a", "b"):
        (container / f"rootfs/etc/{name}").write_text("xxxx")  # as long as the recorded text
    configure(container, "2")
    monkeypatch.setattr(changed_by_hand, "MAX_COMPARED_TOTAL", 7)
    code, said = start(container, KEEP)
    assert code == LimitError.exit_code
    assert "the recorded files have more than 0 MiB together" in said
    monkeypatch.setattr(changed_by_hand, "MAX_MORE", -1)  # a file that is much larger is not read
    assert start(container, KEEP)[1].count("too large to compare with the new text") == 2
    monkeypatch.setattr(changed_by_hand, "MAX_COMPARED_TOTAL", 8)
    monkeypatch.setattr(changed_by_hand, "MAX_MORE", 1 << 20)
    assert start(container, KEEP)[1].count("changed by hand") == 2


def test_an_oversized_record_is_refused_before_it_is_built(tmp_path):
    """Ten thousand rules had one template with a key of 250 kB: the hook needed one gigabyte."""
    plan = plan_of([f"/{number}" for number in range(1000)])
    keys = ("user." + "a" * 250_000,)
    tracemalloc.start()
    with StateDirectory(str(tmp_path)) as state:
        record = record_of_written_files.Record(state)
        with pytest.raises(
            LimitError,
            match="would have more than 100000 files, 1000000 configuration keys or 16777216 bytes",
        ):
            record.stage(plan, {}, {"t.tpl": keys})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("removed", [False, True])
def test_manual_changes_while_waiting_for_the_lock_are_kept(tmp_path, monkeypatch, removed):
    """The files are compared before ``apply`` takes the lock, which can take most of the time limit."""
    folder = make(tmp_path / "c1")
    assert start(folder, KEEP)[0] == 0
    configure(folder, "2")
    real = lock_module.lock

    def edited(*words):
        path = folder / "rootfs/etc/a"
        path.unlink()
        if not removed:
            path.write_text("a 1\n" + "important\n")
        return real(*words)

    monkeypatch.setattr(lock_module, "lock", edited)
    code, said = start(folder, KEEP)
    assert code == RefusedError.exit_code
    assert (
        "'/etc/a' was " + ("removed since" if removed else "changed by hand since the plan was made") in said
    )
    assert contents(folder)["/etc/a"] == (None if removed else "a 1\nimportant\n")
    assert contents(folder)["/etc/b"] == "b 1\n"
    monkeypatch.undo()
    assert start(folder, KEEP)[0] == KeptError.exit_code
    assert contents(folder)["/etc/b"] == "b 2\n"
