"""The clone and destroy hooks of LXC: how they recognise the copying program, and renames."""

import os

import pytest

from templater.hooks import lxc_copies
from templater.hooks.lxc_copies import CLONED, ancestors, destroy
from templater.hooks.options import Options
from templater.instances.record_of_written_files import WrittenFile, digest_of, head_of
from templater.instances.state_directory import State, StateDirectory
from templater.rootfs import disk_sync
from templater.rootfs.confined_root import Root


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], False),
        ([""], False),
        (["lxc-copy"], False),
        (["/usr/bin/lxc-copy", "-n", "a", "-N", "b"], False),
        (["/usr/bin/lxc-copy", "-n", "a", "-p", "/new"], True),
        (["lxc-copy", "-p/new"], True),
        (["lxc-copy", "-Rp", "/new"], True),
        (["lxc-copy", "-np"], False),
        (["lxc-copy", "-sNp"], False),
        (["lxc-copy", "-Pp"], False),
        (["lxc-copy", "-op"], False),
        (["lxc-copy", "-lp"], False),
        (["lxc-copy", "-mp"], False),
        (["lxc-copy", "-Bp"], False),
        (["lxc-copy", "-Lp"], False),
        (["lxc-copy", "--newpath", "/new"], True),
        (["lxc-copy", "--newp=/new"], True),
        (["lxc-copy", "--newname=p"], False),
        (["lxc-copy", "--rename", "-F"], False),
        (["other", "-p", "/new"], False),
        (["-p", "lxc-copy"], False),
    ],
)
def test_options_of_lxc_copy_reveal_a_copy_made_elsewhere(words, found, monkeypatch):
    monkeypatch.setattr(lxc_copies, "ancestors", lambda _: [["sh"], words])
    monkeypatch.setattr(lxc_copies, "_words_of", lambda words: words)
    assert lxc_copies.copies_elsewhere() is found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["/usr/bin/lxc-copy", "-n", "web", "-N", "new"], False),
        (["lxc-copy", "-n", "web", "-N", "new", "-R"], True),
        (["lxc-copy", "-sR", "web", "new"], True),
        (["lxc-copy", "-nR", "-NR"], False),
        (["lxc-copy", "web", "--rename", "new"], True),
        (["lxc-copy", "web", "--re", "new"], True),
        (["lxc-snapshot", "-n", "web", "-r", "snap0", "-R"], False),
        (["python3", "rename.py"], True),
        (["python3", "-c", "lxc-copy"], True),
    ],
)
def test_lxc_copy_can_rename_only_with_the_rename_option(words, found, monkeypatch):
    monkeypatch.setattr(lxc_copies, "ancestors", lambda _: [["sh"], words, ["sh", "-R"]])
    monkeypatch.setattr(lxc_copies, "_words_of", lambda words: words)
    assert lxc_copies.may_rename() is found


@pytest.fixture
def pair(tmp_path):
    """Return the folders of a container and of its new copy, as the clone hook leaves them."""
    old, new = tmp_path / "old", tmp_path / "new"

    def make(pending="", copied="copy", processes=None, target=None, recorded=True):
        for folder, state in ((old, State(pending, "old")), (new, State(copied, "new") if copied else None)):
            folder.mkdir()
            with StateDirectory(str(folder)) as directory:
                if state is not None and (folder is new or recorded):
                    directory.remember(state)
                if folder is old:
                    lines = (target or str(new), *(ancestors(4) if processes is None else processes))
                    directory.replace(CLONED, "\n".join(lines).encode())
        return old, new

    return make


def pending(folder):
    with StateDirectory(str(folder)) as directory:
        state = directory.state()
    return state and state.pending


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({"pending": ""}, "rename"),
        ({"pending": "create"}, "create"),
        ({"pending": "copy"}, "copy"),
        ({"recorded": False}, "create"),
    ],
)
def test_copying_and_destroying_in_the_same_process_is_renaming(options, after, pair):
    old, new = pair(**options)
    notice = destroy(str(old))
    assert pending(new) == after
    assert notice.text == f"new: renamed; the next start runs the {after} trigger"
    assert notice.state_folder == str(new)


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({"processes": ["1:2"]}, "copy"),
        ({"processes": []}, "copy"),
        ({"target": "/elsewhere/new"}, "copy"),
        ({"copied": "create"}, "create"),
        ({"copied": ""}, None),
    ],
)
def test_destroying_the_original_alone_does_not_change_a_copy(options, after, pair):
    old, new = pair(**options)
    notice = destroy(str(old))
    assert (notice.text, notice.state_folder) == ("", "")
    assert pending(new) == (after or None)


def test_destroying_a_container_without_copies_gives_no_notice(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        notice = destroy(str(folder))
        assert (notice.text, notice.state_folder) == ("", "")


def test_a_snapshot_has_no_state_if_the_container_was_never_started(tmp_path):
    folder = tmp_path / "web/snaps/snap0"
    folder.mkdir(parents=True)
    notice = lxc_copies.clone(str(folder), "snap0", "web", Options())
    assert notice.text == "snap0: made from web, which was never started"
    assert notice.state_folder == str(folder)
    assert not (folder / ".templater").exists()


@pytest.mark.parametrize(
    ("waiting", "said"), [("", "only the start trigger"), ("rename", "the rename trigger")]
)
def test_a_snapshot_keeps_the_pending_trigger_of_the_container(tmp_path, waiting, said):
    folder = tmp_path / "web/snaps/snap0"
    folder.mkdir(parents=True)
    with StateDirectory(str(tmp_path / "web")) as state_directory:
        state_directory.remember(State(waiting, "web", "i"))
    notice = lxc_copies.clone(str(folder), "snap0", "web", Options())
    assert notice.text == f"snap0: made from web; the next start runs {said}"
    with StateDirectory(str(folder)) as state_directory:
        assert state_directory.state() == State(waiting, "snap0", "i")


def record(*files):
    text = b"".join([b"\0", *(file.encode() for file in files)])
    return head_of(text) + text


def recorded(path, real, content):
    return WrittenFile(path, real, digest_of(content), 1, 2, 0o640, "t", "e", b"k", size=len(content))


HOSTNAME, MOTD = (
    recorded("/etc/hostname", "/etc/hostname", b"old\n"),
    recorded("/etc/motd", "/etc/motd", b"m"),
)
LINK = recorded("/etc/name", "/etc/hostname", b"old\n")
OF_COPY = recorded("/etc/hostname", "/etc/hostname", b"new")


@pytest.mark.parametrize(
    ("written", "staged", "found"),
    [
        ([MOTD, HOSTNAME], None, [OF_COPY]),
        ([HOSTNAME], [MOTD], [MOTD, OF_COPY]),
        (None, [HOSTNAME, MOTD], [OF_COPY, MOTD]),
        ([LINK], None, [recorded("/etc/name", "/etc/hostname", b"new")]),
        (
            [MOTD, recorded("/etc/hostname", "/srv/name", b"old\n")],
            None,
            [recorded("/etc/hostname", "/srv/name", b"new")],
        ),
        ([MOTD], [MOTD], [MOTD]),
        (None, None, None),
    ],
)
def test_a_staged_record_gets_the_new_hostname_from_lxc(written, staged, found):
    before = [None if files is None else record(*files) for files in (written, staged)]
    assert lxc_copies.with_hostname(*before, "new") == (None if found is None else record(*found))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["lxc-snapshot", "-n", "web", "-c", "x"], "web"),
        (["/usr/bin/lxc-snapshot", "-c", "x", "--name", "web", ""], "web"),
        (["lxc-snapshot", "-nweb", ""], "web"),
        (["lxc-snapshot", "--name=web", ""], "web"),
        (["lxc-snapshot", "-c", "x", ""], ""),
        (["lxc-snapshot", "-n"], ""),
        (["lxc-snapshot", "-P", "/x", "web", "-r", "snap0", "-N", "w2", ""], "web"),
        (["lxc-snapshot", "-r", "snap0", "-N", "w2", "--", "web", ""], "web"),
        (["lxc-snapshot", "--nam=web", "-r", "snap0", ""], "web"),
        (["lxc-snapshot", "--na", "web", "--rest", "snap0", "other", ""], "web"),
        (["lxc-snapshot", "-qn", "web", "-r", "snap0", ""], "web"),
        (["lxc-snapshot", "--unknown", "web", ""], ""),
        (["lxc-copy", "-n", "web", ""], ""),
        ([], ""),
    ],
)
def test_the_command_line_of_lxc_snapshot_reveals_the_original(words, name, monkeypatch):
    monkeypatch.setattr(lxc_copies, "ancestors", lambda how_many: ["1:2", "3:4"])
    monkeypatch.setattr(lxc_copies, "_words_of", lambda process: words if process == "3:4" else [])
    assert lxc_copies.named_container() == name


@pytest.mark.parametrize(
    ("lines", "program"),
    [
        ([["sh"], ["/usr/bin/lxc-copy", "-n", "a"]], "lxc-copy"),
        ([["lxc-snapshot"], []], "lxc-snapshot"),
        ([["lxc-start"], ["vi", "lxc-copy"]], ""),
        ([[], []], ""),
    ],
)
def test_the_copying_program_is_found_among_the_ancestors_of_the_hook(lines, program, monkeypatch):
    monkeypatch.setattr(lxc_copies, "ancestors", lambda how_many: range(len(lines)))
    monkeypatch.setattr(lxc_copies, "_words_of", lines.__getitem__)
    assert lxc_copies.copying_program() == program


def test_a_command_line_is_read_as_separate_words(tmp_path):
    with open("/proc/self/cmdline") as file:
        words = file.read().split("\0")
    assert lxc_copies._words_of(f"{os.getpid()}:0") == words
    assert lxc_copies._words_of(f"{1 << 22}:0") == []


def test_lxc_usernsexec_does_not_count_as_an_ancestor(monkeypatch):
    every = ancestors(99)
    assert every[0].startswith(f"{os.getppid()}:") and len(every) > 1
    assert [ancestors(number) for number in range(3)] == [[], every[:1], every[:2]]
    names = {each: name_of(each.partition(":")[0]) for each in every}
    monkeypatch.setattr(lxc_copies, "USERNS_PROGRAM", names[every[0]])
    assert ancestors(99) == [each for each in every if names[each] != names[every[0]]]


def name_of(pid):
    with open(f"/proc/{pid}/comm", "rb") as file:
        return file.read().rstrip(b"\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "is_safe", "before"),
    [
        (256, True, ["fsync"] * 256),
        (257, True, ["syncfs"]),
        (257, False, ["fsync"] * 257),
    ],
)
def test_copied_templates_are_synced_before_metadata_yaml_is_written(
    tmp_path, monkeypatch, number, is_safe, before
):
    """A copy of 1,000 templates waited for 1,000 calls of fsync."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "templates").mkdir(parents=True)
    new.mkdir()
    (old / "metadata.yaml").write_text("templates: {}\n")
    for n in range(number):
        (old / f"templates/{n}").write_text("text")
    syncs = []

    def add(name):
        syncs.append((name, len(list(new.glob("templates/*"))), (new / "metadata.yaml").exists()))

    monkeypatch.setattr(lxc_copies.os, "fsync", lambda fd: add("fsync"))
    monkeypatch.setattr(disk_sync, "can_sync_file_system", lambda fd: is_safe)
    monkeypatch.setattr(disk_sync, "sync_file_system", lambda fd: add("syncfs"))
    with Root(str(old)) as source, Root(str(new)) as made:
        lxc_copies.copy_image(source, made)
    names = [name for name, _, _ in syncs]
    assert names == [*before, "fsync"]
    assert syncs[-1] == ("fsync", number, False)
    assert (new / "metadata.yaml").exists()
    assert ("syncfs", number, False) in syncs or "syncfs" not in names


def test_a_snapshot_keeps_the_time_of_a_failed_first_start(tmp_path):
    """Without the time, the next start of a restored snapshot overwrites files that the user has edited."""
    folder = tmp_path / "web/snaps/snap0"
    folder.mkdir(parents=True)
    with StateDirectory(str(tmp_path / "web")) as directory:
        directory.replace("started", b"")
    os.utime(tmp_path / "web/.templater/started", (7, 7))
    notice = lxc_copies.clone(str(folder), "snap0", "web", Options())
    assert notice.text == "snap0: made from web, which was never started"
    mark = folder / ".templater/started"
    assert (mark.read_text(), mark.stat().st_mtime) == ("copied\n", 7)
    assert pending(folder) is None


def test_a_snapshot_keeps_the_journal_of_a_killed_first_start(tmp_path):
    """Without the journal, no later start removes the temporary files that LXC has copied."""
    folder = tmp_path / "web/snaps/snap0"
    folder.mkdir(parents=True)
    with StateDirectory(str(tmp_path / "web")) as directory:
        directory.replace("journal", b"0123456789ab-1\0/etc")
        directory.replace("written.new", record(MOTD))
    lxc_copies.clone(str(folder), "snap0", "web", Options())
    assert (folder / ".templater/journal").read_bytes() == b"0123456789ab-1\0/etc"
    assert (folder / ".templater/written.new").read_bytes() == record(MOTD)
    assert pending(folder) is None
