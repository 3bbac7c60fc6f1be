"""Patches for people and for patch(1)."""

import difflib
import importlib
import shutil
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater.model.entry import SYMLINK, Entry
from templater.model.hosts import NONE
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import Plan
from templater.planning.decide_changes import decide
from templater.rendering.render import Rendering
from templater.reporting.patch import diff
from templater.rootfs.memory_rootfs import MemoryRootfs


def planned(*contents: tuple[str, bytes], tree: "dict[str, str | bytes | Entry] | None" = None) -> Plan:
    renderings = [
        Rendering(Rule(path, "a.tpl", ("create",), mode="0600"), "create", content)
        for path, content in contents
    ]
    changes = decide(renderings, MemoryRootfs({"/etc/x": "", **(tree or {})}))
    return Plan(Metadata(), Instance(), NONE, ("create",), changes)


def test_the_patch_of_a_new_file_contains_dev_null() -> None:
    assert diff(planned(("/etc/a", b"one\ntwo\n"))) == (
        "# /etc/a: new, 0:0 0600, a.tpl on create\n"
        "diff --git a/etc/a b/etc/a\n"
        "new file mode 100600\n"
        "--- /dev/null\n"
        "+++ b/etc/a\n"
        "@@ -0,0 +1,2 @@\n"
        "+one\n"
        "+two\n"
    )


def test_the_patch_of_a_changed_file_shows_the_changed_lines() -> None:
    assert diff(planned(("/etc/a", b"one\n2"), tree={"/etc/a": "one\ntwo\n"})) == (
        "# /etc/a: 0:0 0644, a.tpl on create\n"
        "--- a/etc/a\n"
        "+++ b/etc/a\n"
        "@@ -1,2 +1,2 @@\n"
        " one\n"
        "-two\n"
        "+2\n"
        "\\ No newline at end of file\n"
    )


def test_unchanged_files_are_not_in_the_patch() -> None:
    assert diff(planned(("/etc/a", b"same\n"), tree={"/etc/a": "same\n"})) == ""


def test_the_patch_mentions_the_target_of_a_symlink() -> None:
    patch = diff(
        planned(("/etc/a", b"x\n"), tree={"/etc/a": Entry(SYMLINK, target="/srv/b"), "/srv/b": "y\n"})
    )
    assert "# the rule names /etc/a; a symlink leads from there to this file\n" in patch
    assert "+++ b/srv/b\n" in patch


def test_a_patch_splits_lines_only_at_newlines() -> None:
    patch = diff(planned(("/etc/a", "a\fb\u2028c\r\n".encode())))
    assert "@@ -0,0 +1 @@\n+a\fb\u2028c\r\n" in patch


def test_a_patch_quotes_an_unusual_file_name_as_git_does() -> None:
    assert '+++ "b/etc/a\\012\\"\\\\\\377"\n' in diff(planned(('/etc/a\n"\\\udcff', b"x\n")))
    assert "+++ b/etc/a b\t\n" in diff(planned(("/etc/a b", b"x\n")))


#: the module, not the function of its name that the package offers
diff_module = importlib.import_module("templater.reporting.patch")

contents = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"a\n", b"b\n", b"c", b"\n", b"d e\n"]), max_size=12
).map(b"".join)
names = st.sampled_from(["a", "a b", 'q"', "tab\t", "ü", "back\\slash"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch(1)")
@pytest.mark.parametrize(
    ("work", "lines"),
    [(diff_module.MAX_WORK, diff_module.MAX_LINES), (0, diff_module.MAX_LINES), (0, 0)],
    ids=["difflib", "one hunk", "without lines"],
)
@settings(deadline=None)
@given(before=st.none() | contents, after=contents, name=names)
def test_the_git_apply_command_and_the_patch_program_accept_the_patch(
    work: int,
    lines: int,
    before: "bytes | None",
    after: bytes,
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("root")
    target = root / name
    rootfs = MemoryRootfs()
    if before is not None:
        target.write_bytes(before)
        rootfs.write(f"/{name}", before)
    changes = decide([Rendering(Rule(f"/{name}", "t", ("start",)), "start", after)], rootfs)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(diff_module, "MAX_WORK", work)
        patched.setattr(diff_module, "MAX_LINES", lines)
        text = diff(Plan(Metadata(), Instance(), NONE, ("start",), changes))
    if text:
        run_patch(root, text)
    assert target.read_bytes() == after
    assert [path.name for path in root.iterdir()] == [name]


def run_patch(root: Path, text: str) -> None:
    subprocess.run(
        ["patch", "-p1", "--quiet", "--no-backup-if-mismatch", "--binary"],
        cwd=root,
        input=text.encode("utf-8", "surrogateescape"),
        check=True,
        capture_output=True,
    )


def seconds_of(plan: Plan) -> float:
    begun = time.process_time()
    diff(plan)
    return time.process_time() - begun


def test_a_patch_of_a_file_with_repeated_lines_takes_little_time() -> None:
    """difflib alone takes minutes, because it searches for each of 199 equal lines in 50,000 lines."""
    plan = planned(("/f", b"x\n" * 199), tree={"/f": "x\nu\n" * 50_000})
    assert seconds_of(plan) < 5


def test_a_patch_of_millions_of_lines_takes_little_memory() -> None:
    """A Python string for each line of two characters took 30 times the memory of the file."""
    plan = planned(("/f", b"y\n" * 1_000_000), tree={"/f": "x\n" * 1_000_000})
    tracemalloc.start()
    assert len(diff(plan)) > 6_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_all_files_of_a_patch_share_one_work_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = "a\nb\nc\nd\n", b"x\nb\ny\nd\nz\n"
    plan = planned(("/f", after), ("/g", after), tree={"/f": before, "/g": before})
    whole = diff(plan)
    assert whole.count("\n b\n") == 2
    monkeypatch.setattr(diff_module, "MAX_TOTAL_WORK", 12)
    assert diff(plan).count("\n b\n") == 1  # the second file is replaced as a whole


@settings(deadline=None)
@given(before=contents, after=contents)
def test_the_hunks_of_a_patch_equal_the_hunks_of_difflib(before: bytes, after: bytes) -> None:
    old, new = diff_module._lines(before), diff_module._lines(after)
    expected = [
        line for text in list(difflib.unified_diff(old, new))[2:] for line in diff_module._ended(text)
    ]
    assert list(diff_module._hunks(old, new, diff_module.Work())) == expected


def test_the_patch_of_a_too_large_file_is_a_comment() -> None:
    plan = planned(("/f", b"new\n"), tree={"/f": "old\n"})
    (change,) = plan.changes
    change.before = None
    assert diff(plan).splitlines()[-1] == "# too large to compare line by line"
    assert "+++" not in diff(plan)


def test_a_patch_without_line_comparison_keeps_common_outer_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diff_module, "MAX_TOTAL_WORK", 0)
    before = "".join(f"{n}\n" for n in range(10))
    plan = planned(("/f", before.replace("4\n", "x\ny\n").encode()), tree={"/f": before})
    hunk = diff(plan).partition("@@ ")[2].splitlines()
    assert hunk == ["-2,7 +2,8 @@", " 1", " 2", " 3", "-4", "+x", "+y", " 5", " 6", " 7"]
