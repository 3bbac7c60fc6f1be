"""Files compared with the record of written files and with the next start."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from templater.instances import changed_by_hand as module
from templater.instances.changed_by_hand import (
    FileStatus,
    changed_by_hand,
    differences_from,
    files_kept,
    recorded_content,
    status_of,
    without,
)
from templater.instances.record_of_written_files import (
    Record,
    WrittenFile,
    content_digest,
    digest_of,
    has_content,
    size_of,
    size_to_compare,
)
from templater.instances.state_directory import StateDirectory
from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import BusyError, LimitError, RefusedError
from templater.model.hosts import NONE
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import Plan
from templater.planning.decide_changes import decide
from templater.rendering.render import Rendering
from templater.rootfs.memory_rootfs import MemoryRootfs


def recorded(
    path: str = "/a", real: str = "", *, text: bytes = b"x\n", template: bytes = b"x\n"
) -> WrittenFile:
    return WrittenFile(
        path, real or path, digest_of(text), 0, 0, 0o644, "a.tpl", digest_of(template), size=len(text)
    )


@pytest.mark.parametrize(
    ("entry", "differences"),
    [
        (b"x\n", ()),
        (b"y\n", ("content",)),
        (None, ("removed",)),
        (Entry(DIRECTORY, 0o755), ("link",)),
        (Entry(SYMLINK, target="b"), ("link",)),
        (Entry(FILE, 0o644, 5, 0), ("content", "owner")),
        (Entry(FILE, 0o644, 0, 5), ("content", "owner")),
        (Entry(FILE, 0o600), ("content", "mode")),
    ],
)
def test_every_difference_between_a_file_and_its_record_is_listed(
    entry: "bytes | Entry | None", differences: tuple[str]
) -> None:
    rootfs = MemoryRootfs({} if entry is None else {"/a": entry})
    assert differences_from(recorded(), rootfs) == differences


def statuses(
    path: str,
    content: bytes,
    files: "list[WrittenFile]",
    tree: "dict[str, str | bytes | Entry]",
    template: "TemplateFile | None" = None,
) -> "list[FileStatus]":
    rootfs = MemoryRootfs(tree)
    changes = decide([Rendering(Rule(path, "a.tpl", ("start",)), "start", content)], rootfs)
    plan = Plan(Metadata(), Instance(), NONE, ("start",), changes)
    templates = {} if template is None else {"a.tpl": template}
    return status_of(plan, {file.path: file for file in files}, rootfs, templates)


def test_a_file_is_compared_with_its_record() -> None:
    (same,) = statuses("/a", b"x\n", [recorded()], {"/a": b"x\n"})
    assert (same.by_hand, same.differences, same.would_change) == (False, (), False)
    (edited,) = statuses("/a", b"x\n", [recorded()], {"/a": b"y\n"})
    assert (edited.by_hand, edited.differences, edited.would_change) == (True, ("content",), True)
    (outdated,) = statuses("/a", b"z\n", [recorded()], {"/a": b"x\n"})
    assert (outdated.by_hand, outdated.would_change) == (False, True)


def test_a_file_that_became_a_link_is_considered_changed() -> None:
    tree = {"/a": Entry(SYMLINK, target="b"), "/b": b"x\n"}
    (file,) = statuses("/a", b"x\n", [recorded()], tree)
    assert (file.by_hand, file.differences) == (True, ("link",))
    (same,) = statuses("/a", b"x\n", [recorded("/a", "/b")], tree)
    assert (same.by_hand, same.differences) == (False, ())


def test_changes_of_a_file_without_a_record_are_unknown() -> None:
    (existing,) = statuses("/a", b"x\n", [], {"/a": b"y\n"})
    assert (existing.by_hand, existing.differences) == (None, ("no record",))
    (new,) = statuses("/a", b"x\n", [], {})
    assert (new.by_hand, new.differences, new.would_change) == (False, (), True)


@pytest.mark.parametrize(
    ("template", "changed"),
    [
        (TemplateFile(Entry(FILE), b"x\n"), False),
        (TemplateFile(Entry(FILE), b"other\n"), True),
        (TemplateFile(Entry(FILE), None, RefusedError("unreadable")), None),
        (None, None),
    ],
)
def test_a_template_is_compared_with_the_recorded_template(
    template: "TemplateFile | None", changed: "bool | None"
) -> None:
    (file,) = statuses("/a", b"x\n", [recorded()], {"/a": b"x\n"}, template)
    assert file.template_changed is changed


def test_recorded_files_without_a_rule_are_sorted_by_path() -> None:
    first, second = statuses("/b", b"x\n", [recorded("/a")], {"/a": b"x\n"})
    assert (first.path, first.change, first.would_change, first.by_hand) == ("/a", None, False, False)
    assert second.path == "/b"


def test_recorded_files_with_a_too_large_total_size_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("templater.instances.changed_by_hand.MAX_COMPARED_TOTAL", 1)
    with pytest.raises(LimitError, match=r"^the recorded files have more than 0 MiB together$"):
        statuses("/a", b"x\n", [recorded()], {"/a": b"x\n"})


class Unreadable(MemoryRootfs):
    def read(self, path: str, limit: int) -> bytes:
        raise PermissionError(13, "no")

    def entry(self, path: str) -> Entry:
        raise RefusedError("no")


def test_an_unreadable_file_has_no_digest_and_no_size() -> None:
    rootfs = MemoryRootfs({"/a": b"xy"})
    assert (content_digest(rootfs, "/a", 2), size_of(rootfs, "/a")) == (digest_of(b"xy"), 2)
    assert (content_digest(rootfs, "/b", 2), size_of(rootfs, "/b")) == ("", 0)
    assert (content_digest(Unreadable(), "/a", 2), size_of(Unreadable(), "/a")) == ("", 0)
    assert content_digest(rootfs, "/a", 1) == ""


@pytest.mark.parametrize(("size", "is_read"), [(2, True), (3, False), (0, False), (-1, False)])
def test_files_of_another_size_than_recorded_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, size: int, is_read: bool
) -> None:
    rootfs = MemoryRootfs({"/a": b"xy"})
    real, limits = rootfs.read, []
    monkeypatch.setattr(rootfs, "read", lambda path, limit: limits.append(limit) or real(path, limit))
    file = recorded("/a", text=b"xy")
    file.size = size
    assert has_content(rootfs, file) == is_read
    assert size_to_compare(rootfs, file) == (2 if is_read else 0)
    assert limits == ([2] if is_read else [])


def test_a_very_large_file_counts_as_changed_and_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``status`` read the first 64 MiB of each of 600 sparse files, and counted none of them."""
    monkeypatch.setattr("templater.instances.record_of_written_files.MAX_COMPARED", 1)
    limits: list[int] = []
    rootfs = MemoryRootfs({"/a": b"xy"})
    real = rootfs.read
    monkeypatch.setattr(rootfs, "read", lambda path, limit: limits.append(limit) or real(path, limit))
    assert differences_from(recorded("/a", text=b"xy"), rootfs) == ("content",)
    assert limits == []


def plan_of(
    texts: "dict[str, bytes]", tree: "dict[str, str | bytes | Entry]", *triggers: str
) -> "tuple[Plan, MemoryRootfs]":
    rootfs = MemoryRootfs(tree)
    renderings = [Rendering(Rule(path, "a.tpl", triggers), triggers[0], text) for path, text in texts.items()]
    return Plan(Metadata(), Instance(), NONE, triggers, decide(renderings, rootfs)), rootfs


@pytest.mark.parametrize(
    ("trigger", "record", "existing", "reason"),
    [
        ("start", [], b"other\n", "the record does not list the file"),
        ("create", [], b"other\n", ""),
        ("start", [], None, ""),
        ("start", [recorded()], None, "removed by hand"),
        ("start", [recorded(text=b"other\n")], b"other\n", ""),
        ("start", [recorded()], b"other\n", "changed by hand"),
        ("create", [recorded()], b"other\n", "changed by hand"),
        ("start", [recorded(real="/b")], b"other\n", "a link in the file's path was changed by hand"),
        ("start", [recorded()], b"new\n" + bytes(9), "changed by hand"),
        ("start", [recorded()], b"new\n" + bytes(10), "too large to compare with the new text"),
        ("start", [recorded(text=b"new\n")], b"new\n", ""),
    ],
)
def test_the_keep_modified_option_gives_the_reason_for_each_kept_file(
    trigger: str,
    record: "list[WrittenFile]",
    existing: "bytes | None",
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_MORE", 9)
    plan, rootfs = plan_of({"/a": b"new\n"}, {} if existing is None else {"/a": existing}, trigger)
    found = changed_by_hand(
        plan, SimpleNamespace(file={file.path: file for file in record}.get, unfinished=set()), rootfs
    )
    assert found == ({"/a": reason} if reason else {})


@pytest.mark.parametrize(
    ("mounts", "size", "made", "since", "born", "is_kept"),
    [
        ((), 5, 200 * 10**9, None, "", False),  # a file of the image
        (("/a",), 5, 200 * 10**9, None, "", True),  # a file of an earlier container
        (("/a",), 5, 50 * 10**9, None, "", False),  # the runtime has made the file for this container
        (("/a",), 5, 50 * 10**9, None, f"{50 * 10**9:x}", False),
        (
            ("/a",),
            5,
            50 * 10**9,
            None,
            f"{50 * 10**9 - 1:x}",
            True,
        ),  # with a new owner, which podman sets for :U
        (("/a",), 0, 200 * 10**9, None, "", False),
        ((), 5, 0, 99 * 10**9, "", True),  # the container has run after a failed first start
        ((), 5, 0, 100 * 10**9, "", False),  # a file system that stores only seconds
        ((), 5, 0, 100 * 10**9 + 4, "", True),
        ((), 5, 0, 100 * 10**9 + 5, "", False),
    ],
)
def test_the_create_trigger_keeps_a_file_with_possible_changes_by_hand(
    mounts: "tuple[str, ...]",
    size: int,
    made: int,
    since: "int | None",
    born: str,
    is_kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new container overwrote edits in its volumes. A start after a failed first start overwrote edits."""
    plan, rootfs = plan_of({"/a": b"new\n"}, {"/a": b"x" * size}, "create")
    (change,) = plan.changes
    assert change.resolved is not None
    change.resolved.mounts = mounts
    status = SimpleNamespace(st_ctime_ns=100 * 10**9 + 5, st_size=size)
    rootfs.root = SimpleNamespace(
        lstat=lambda path: (None, status), open=lambda path: os.open("/", os.O_RDONLY)
    )
    monkeypatch.setattr(module, "birth_time", lambda fd: born)
    record = SimpleNamespace(file={}.get, unfinished=set())
    found = changed_by_hand(plan, record, rootfs, made=made, since=since)
    assert found == ({"/a": "the record does not list the file"} if is_kept else {})


@pytest.mark.parametrize("mounts", [(), ("/run",)])
def test_a_missing_file_below_a_mount_is_not_reported(mounts: "tuple[str, ...]") -> None:
    """A tmpfs is empty at each start."""
    plan, rootfs = plan_of({"/a": b"new\n"}, {}, "start")
    (change,) = plan.changes
    assert change.resolved is not None
    change.resolved.mounts = mounts
    record = SimpleNamespace(file={"/a": recorded()}.get, unfinished=set())
    assert changed_by_hand(plan, record, rootfs) == ({} if mounts else {"/a": "removed by hand"})


class Mounted(MemoryRootfs):
    """A root filesystem in which every file is a mount."""

    def entry(self, path: str) -> "Entry | None":
        found = super().entry(path)
        if found is not None:
            found.is_mount = True
        return found


OLD_TEXT = b"text of version 1\n"


@pytest.mark.parametrize(
    ("existing", "journal", "is_unfinished"),
    [
        (b"text 2\n" + OLD_TEXT[7:], True, True),  # killed between the overwrite and the cut
        (b"text 2\n" + OLD_TEXT[7:], False, False),  # a finished run removes its journal after the cut
        (b"text 2\na line by hand, after the cut\n", True, False),
        (OLD_TEXT, True, False),  # killed before the overwrite
        (b"by hand, after the killed run\n", True, False),
    ],
)
@pytest.mark.parametrize("kept", [b"by hand\n", b"text of the image\nand a line by hand\n"])
@pytest.mark.parametrize("later", [b"text 2\n", b"text of version 3\n"])
def test_an_unfinished_file_is_not_reported_as_changed(
    tmp_path: Path, existing: bytes, journal: bool, is_unfinished: bool, kept: bytes, later: bytes
) -> None:
    """Every mounted file of the staged record counted as unfinished, even a file that the killed run kept."""
    first = {"/a": b"text of the image\n", "/b": OLD_TEXT}
    rootfs = Mounted({"/a": kept, "/b": existing})
    with StateDirectory(str(tmp_path)) as state:
        with Record(state).updated(plan_of(first, {}, "start")[0], {}, {}):
            pass
        Record(state).stage(plan_of({"/b": b"text 2\n"}, {}, "start")[0], {}, {})  # then it is killed
        if journal:
            (tmp_path / ".templater/journal").touch()
        plan, _ = plan_of(first | {"/b": later}, {"/a": kept, "/b": existing}, "start")
        is_by_hand = not is_unfinished and existing != OLD_TEXT
        for _ in range(2):  # the first of these runs fails, for example because another run has the lock
            record = Record(state)
            record.settle(rootfs)
            found = changed_by_hand(plan, record, rootfs)
            assert list(found) == ["/a", *(["/b"] if is_by_hand else [])]
            with pytest.raises(BusyError), record.updated(plan, {}, {}):
                raise BusyError("busy")


def test_a_failed_run_keeps_the_record_of_killed_runs(
    tmp_path: Path,
) -> None:
    """The next run removed the record of the killed run, and then failed."""
    with StateDirectory(str(tmp_path)) as state:
        with Record(state).updated(plan_of({"/a": b"1\n", "/b": b"1\n"}, {}, "start")[0], {}, {}):
            pass
        Record(state).stage(plan_of({"/a": b"2\n", "/b": b"2\n"}, {}, "start")[0], {}, {})
        tree = {"/a": b"2\n", "/b": b"1\n"}
        plan, rootfs = plan_of({"/a": b"3\n", "/b": b"3\n"}, tree, "start")
        Record(state).settle(rootfs, save=False)
        assert sorted(os.listdir(tmp_path / ".templater")) == ["written", "written.new"]
        for _ in range(3):
            record = Record(state)
            record.settle(rootfs)
            assert changed_by_hand(plan, record, rootfs) == {}
            with pytest.raises(BusyError), record.updated(plan, {}, {}):
                raise BusyError("busy")
            assert os.listdir(tmp_path / ".templater") == ["written"]


@pytest.mark.parametrize("end", ["commit", "keep", None])
def test_a_staged_record_is_removed_after_a_complete_rollback(tmp_path: Path, end: "str | None") -> None:
    """After SIGTERM, the record listed no file that the run had written, so later edits were overwritten."""
    plan, _ = plan_of({"/a": b"1\n"}, {}, "start")
    with StateDirectory(str(tmp_path)) as state:
        with pytest.raises(KeyboardInterrupt), Record(state).updated(plan, {}, {}) as outcome:
            if end is not None:
                getattr(outcome, end)()
            raise KeyboardInterrupt
        expected = {"commit": ["written"], "keep": ["written.new"], None: []}
        assert os.listdir(tmp_path / ".templater") == expected[end]


@pytest.mark.parametrize("is_recorded", [False, True])
def test_an_unrestored_file_is_refused_if_it_changes_after_planning(
    is_recorded: bool,
) -> None:
    """The start overwrote an edit: it did not look at an unfinished file again."""
    plan, _ = plan_of({"/a": b"new\n"}, {"/a": b"parts of two texts"}, "start")
    record = SimpleNamespace(file={"/a": recorded()}.get if is_recorded else {}.get, unfinished={"/a"})
    for now in (b"parts of two texts", b"by hand", b"PARTS OF TWO TEXTS"):
        rootfs = MemoryRootfs({"/a": b"parts of two texts"})
        check = recorded_content(plan, record, rootfs)
        rootfs._plant("/a", now)
        if now == b"parts of two texts":
            check(plan.changes[0])
        else:
            with pytest.raises(RefusedError, match=r"^'/a' was changed by hand since the plan was made$"):
                check(plan.changes[0])


@pytest.mark.parametrize("existing", [b"", b"by hand\n"])
def test_a_file_with_empty_text_is_never_half_written(tmp_path: Path, existing: bytes) -> None:
    with StateDirectory(str(tmp_path)) as state:
        with Record(state).updated(plan_of({"/a": b"by HAND\n"}, {}, "start")[0], {}, {}):
            pass
        Record(state).stage(plan_of({"/a": b""}, {}, "start")[0], {}, {})
        (tmp_path / ".templater/journal").touch()
        record = Record(state)
        rootfs = Mounted({"/a": existing})
        record.settle(rootfs)
        plan, _ = plan_of({"/a": b"new"}, {"/a": existing}, "start")
    assert list(changed_by_hand(plan, record, rootfs)) == (["/a"] if existing else [])


def test_the_comparison_limit_ignores_much_larger_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_MORE", 9)
    tree = {"/a": b"1" * 10, "/b": b"2" * 10, "/c": b"3" * 99}
    plan, rootfs = plan_of(dict.fromkeys(tree, b"new\n"), tree, "start")
    empty = SimpleNamespace(file={}.get, unfinished=set())
    monkeypatch.setattr(module, "MAX_COMPARED_TOTAL", 20)
    assert list(changed_by_hand(plan, empty, rootfs)) == ["/a", "/b", "/c"]
    monkeypatch.setattr(module, "MAX_COMPARED_TOTAL", 19)
    with pytest.raises(LimitError):
        changed_by_hand(plan, empty, rootfs)


def test_the_error_mentions_the_kept_files_and_the_plan_omits_them() -> None:
    plan, _ = plan_of({"/a": b"1\n", "/b": b"2\n", "/c": b"3\n"}, {"/c": b"3\n"}, "start")
    assert [change.path for change in without(plan, {"/a": "x", "/c": "y"}).changes] == ["/b"]
    one, two = files_kept({"/a\n": "x"}), files_kept({"/a": "x", "/b": "y"})
    assert (one.message, one.notes) == ("--keep-modified kept one file", ("/a\\n: x",))
    assert (two.message, two.notes) == ("--keep-modified kept 2 files", ("/a: x", "/b: y"))
    assert one.hint == two.hint == "to overwrite the kept files, run once without --keep-modified"
