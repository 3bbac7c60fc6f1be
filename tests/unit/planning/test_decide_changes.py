"""Plans: decisions, collisions, passes, and the files to write."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from templater.image.open_image import open_image
from templater.model.entry import (
    APPEND_ONLY,
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    Entry,
    TemplateFile,
)
from templater.model.errors import (
    LimitError,
    MetadataError,
    RefusedError,
    RenderError,
    TemplateError,
    TemplaterError,
    UsageError,
)
from templater.model.hosts import LXD, NONE
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.metadata import Metadata, Rule
from templater.model.permissions import go_integer, parse_id, parse_mode
from templater.planning import changed_rootfs
from templater.planning.agent_files import config_drive
from templater.planning.decide_changes import (
    CREATE,
    FAILED,
    KEEP,
    SKIP,
    UPDATE,
    WRITE,
    Change,
    Plan,
    decide,
    plan_of,
)
from templater.planning.plan_image import plan, read_templates
from templater.rendering.render import Rendering
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.memory_rootfs import MemoryRootfs


def rule(path: str = "/etc/a", template: str = "a.tpl", **fields: object) -> Rule:
    return Rule(path, template, ("create", "start"), **fields)  # type: ignore[arg-type]


def rendering(rule: Rule, content: bytes = b"new\n", trigger: str = "create") -> Rendering:
    return Rendering(rule, trigger, content)


def failing(rule: Rule, error: TemplaterError) -> Rendering:
    return Rendering(rule, "create", error=error)


def one(rendered: Rendering, tree: "dict[str, str | bytes | Entry] | None" = None, **options: bool) -> Change:
    (change,) = decide([rendered], MemoryRootfs(tree or {"/etc": Entry(DIRECTORY, 0o755)}), **options)
    return change


def link(target: str) -> Entry:
    return Entry(SYMLINK, 0o777, target=target)


def file(content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> MemoryRootfs:
    rootfs = MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755)})
    rootfs.write("/etc/a", content, mode, uid, gid)
    return rootfs


def test_missing_files_get_owner_and_mode_of_their_rule() -> None:
    change = one(rendering(rule(uid="1000", gid="1001", mode="600")))
    assert (change.action, change.uid, change.gid, change.mode) == (CREATE, 1000, 1001, 0o600)
    assert change.content == b"new\n" and change.before is None


def test_missing_parents_of_several_rules_are_created_only_once() -> None:
    first, second = decide([rendering(rule("/n/m/a")), rendering(rule("/n/m/b"))], MemoryRootfs())
    assert first.new_parents == ("/n", "/n/m")
    assert second.new_parents == ()


def test_an_existing_file_keeps_its_owner_and_mode() -> None:
    (change,) = decide([rendering(rule(uid="5", mode="600"))], file(b"old\n", 0o4755, 7, 8))
    assert (change.action, change.uid, change.gid, change.mode) == (UPDATE, 7, 8, 0o4755)
    assert change.before == b"old\n"


def test_an_invalid_uid_is_ignored_for_an_existing_file() -> None:
    (change,) = decide([rendering(rule(uid="bob"))], file(b"old\n"))
    assert change.action == UPDATE


def test_a_file_with_equal_content_is_planned_as_unchanged() -> None:
    (change,) = decide([rendering(rule())], file(b"new\n"))
    assert change.action == KEEP


def test_the_action_is_write_without_a_root_filesystem() -> None:
    (change,) = decide([rendering(rule(mode="0600"))])
    assert (change.action, change.mode, change.new_parents) == (WRITE, 0o600, ())


@pytest.mark.parametrize("target", ["x", link("nowhere"), link("a"), Entry(DIRECTORY, 0o755), Entry(FIFO)])
def test_a_create_only_rule_skips_any_kind_of_existing_target(target: "str | Entry") -> None:
    assert one(rendering(rule(create_only=True)), {"/etc/a": target}).action == SKIP


def test_a_create_only_rule_skips_a_failing_template() -> None:
    change = one(failing(rule(create_only=True), RenderError("no")), {"/etc/a": "x"})
    assert change.action == SKIP and change.error is None


def test_a_create_only_rule_fails_without_its_template() -> None:
    change = one(failing(rule(create_only=True), TemplateError("no such template")), {"/etc/a": "x"})
    assert change.action == FAILED


def test_a_rule_creates_the_missing_target_of_a_dangling_link() -> None:
    change = one(rendering(rule()), {"/etc/a": link("../run/b")})
    assert (change.action, change.path, change.real, change.new_parents) == (
        CREATE,
        "/etc/a",
        "/run/b",
        ("/run",),
    )
    assert change.reason == "new, at the target of a dangling symlink: /run/b"
    assert one(rendering(rule())).reason == "new"


def test_an_absolute_link_is_followed_inside_the_root() -> None:
    change = one(rendering(rule()), {"/etc/a": link("/srv/real"), "/srv/real": "old"})
    assert (change.action, change.real) == (UPDATE, "/srv/real")


@pytest.mark.parametrize("kind", [FIFO, SOCKET, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY])
def test_a_target_must_be_a_regular_file(kind: str) -> None:
    change = one(rendering(rule()), {"/etc/a": Entry(kind, 0o644)})
    assert change.action == FAILED and isinstance(change.error, RefusedError)
    assert str(change.error) == f"'/etc/a' is a {kind}, not a regular file"


def test_the_error_about_a_refused_target_gives_the_resolved_path() -> None:
    change = one(rendering(rule()), {"/etc/a": link("pipe"), "/etc/pipe": Entry(FIFO)})
    assert "'/etc/a' (at '/etc/pipe') is a fifo" in str(change.error)


def test_a_mount_point_as_target_needs_the_in_place_option() -> None:
    mount = Entry(FILE, 0o644, is_mount=True)
    assert one(rendering(rule()), {"/etc/a": mount}).action == FAILED
    change = one(rendering(rule()), {"/etc/a": mount}, in_place=True)
    assert change.action == UPDATE and change.in_place


def test_targets_below_a_mount_require_the_in_place_option() -> None:
    tree: dict[str, str | bytes | Entry] = {"/data": Entry(DIRECTORY, 0o755, is_mount=True)}
    refused = one(rendering(rule("/data/a")), tree)
    assert "below the mount point '/data'" in str(refused.error)
    allowed = one(rendering(rule("/data/a")), tree, in_place=True)
    assert allowed.action == CREATE and not allowed.in_place


def test_equal_content_at_a_mount_point_is_not_refused() -> None:
    rootfs = MemoryRootfs({"/etc/a": Entry(FILE, 0o644, is_mount=True)})
    (change,) = decide([rendering(rule(), b"")], rootfs)
    assert change.action == KEEP


@pytest.mark.parametrize("known", [True, False])
def test_two_rules_for_the_same_file_both_fail(known: bool) -> None:
    rootfs = MemoryRootfs() if known else None
    changes = decide(
        [rendering(rule("/etc/a")), rendering(rule("etc//a")), rendering(rule("/etc/c"))], rootfs
    )
    assert [change.action for change in changes[:2]] == [FAILED, FAILED]
    assert changes[2].action != FAILED
    for change in changes[:2]:
        assert "'/etc/a'" in str(change.error) and "'etc//a'" in str(change.error)


def test_two_rules_fail_if_a_link_joins_their_targets() -> None:
    rootfs = MemoryRootfs({"/etc/a": link("b")})
    changes = decide([rendering(rule("/etc/a")), rendering(rule("/etc/b"))], rootfs)
    assert [change.action for change in changes] == [FAILED, FAILED]


def test_rules_for_a_path_and_its_parent_both_fail() -> None:
    changes = decide([rendering(rule("/x/y/z")), rendering(rule("/x"))], MemoryRootfs())
    assert [change.action for change in changes] == [FAILED, FAILED]


def test_a_failed_rule_does_not_prevent_the_plan_of_other_rules() -> None:
    changes = decide([failing(rule("/etc/a"), RenderError("no")), rendering(rule("/etc/b"))], MemoryRootfs())
    assert [change.action for change in changes] == [FAILED, CREATE]


def test_a_null_metadata_entry_fails_for_any_root_filesystem() -> None:
    change = one(failing(Rule("/", "", null=True), MetadataError("null")))
    assert change.action == FAILED and isinstance(change.error, MetadataError)


def test_the_second_trigger_pass_sees_the_files_of_the_first_pass() -> None:
    both = rule(mode="600")
    renderings = [rendering(both, b"create\n"), rendering(both, b"start\n", "start")]
    first, second = decide(renderings, MemoryRootfs())
    assert (first.action, second.action) == (CREATE, UPDATE)
    assert (second.before, second.mode) == (b"create\n", 0o600)


def test_a_create_only_rule_is_skipped_in_the_second_trigger_pass() -> None:
    both = rule(create_only=True)
    changes = decide([rendering(both, b"create\n"), rendering(both, b"start\n", "start")], MemoryRootfs())
    assert [change.action for change in changes] == [CREATE, SKIP]


def test_a_repeated_trigger_gives_two_trigger_passes() -> None:
    once = rule()
    changes = decide([rendering(once, trigger="start"), rendering(once, trigger="start")], MemoryRootfs())
    assert [change.action for change in changes] == [CREATE, KEEP]


def made(*changes: Change) -> Plan:
    return Plan(Metadata(), Instance(), NONE, ("create", "start"), changes)


def test_a_creation_with_a_later_update_is_shown_as_one_creation() -> None:
    both = rule("/n/a", uid="5")
    renderings = [rendering(both, b"create\n"), rendering(both, b"start\n", "start")]
    (left,) = made(*decide(renderings, MemoryRootfs())).files()
    assert (left.action, left.content, left.uid, left.before) == (CREATE, b"start\n", 5, None)
    assert left.new_parents == ("/n",)


def test_files_restored_by_a_later_pass_are_not_written() -> None:
    both = rule()
    changes = decide([rendering(both, b"x\n"), rendering(both, b"old\n", "start")], file(b"old\n"))
    assert [change.action for change in changes] == [UPDATE, UPDATE]
    assert list(made(*changes).files()) == []


def test_a_plan_does_not_write_kept_or_skipped_or_failed_files() -> None:
    rootfs = MemoryRootfs({"/etc/a": "new\n", "/etc/b": "x", "/etc/c": Entry(FIFO)})
    rules = [rule("/etc/a"), rule("/etc/b", create_only=True), rule("/etc/c")]
    changes = decide([rendering(each) for each in rules], rootfs)
    assert [change.action for change in changes] == [KEEP, SKIP, FAILED]
    assert list(made(*changes).files()) == []


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", 0o644), ("755", 0o755), ("0755", 0o755), ("1755", 0o333), ("4755", 0o223), ("6755", 0o143),
        ("0o755", 0o755), ("0x1ed", 0o755), ("0b111", 0o7), ("7", 0o7), ("07", 0o7), ("-1", 0o777),
        ("01777", 0o777), ("04755", 0o755), ("1_000", 0o750),
    ],
)  # fmt: skip
def test_modes_of_rules_are_parsed_as_in_go(text: str, mode: int) -> None:
    # recorded: hosts/outcomes.json, "mode value …"
    assert parse_mode(text, rule()) == mode


@pytest.mark.parametrize(
    "text", ["rwx", "0999", "u=rw", " 644", "99999999999999999999", "6.0", "yes", "0x", "_1"]
)
def test_an_invalid_mode_is_refused(text: str) -> None:
    with pytest.raises(MetadataError, match="mode"):
        parse_mode(text, rule())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("00", 0), ("-0", 0), ("0_7", 7), ("0x_f", 15), ("0X1F", 31), ("1__0", None), ("1_", None),
        ("0x", None), ("0x_", None), ("+", None), ("", None), ("08", None), ("٣", None), ("+_1", None),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("9223372036854775808", None),
    ],
)  # fmt: skip
def test_integers_with_base_prefix_are_parsed_as_in_go(text: str, value: "int | None") -> None:
    assert go_integer(text) == value


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), ("0", 0), ("+5", 5), ("010", 10), ("4294967294", 4294967294)]
)
def test_a_uid_or_gid_is_a_decimal_number(text: str, number: int) -> None:
    assert parse_id(text, "uid", rule()) == number


@pytest.mark.parametrize(
    "text", ["-1", "4294967295", "99999999999", "root", "1e3", "0x10", "1_000", " 5", "9" * 5000]
)
def test_an_invalid_uid_or_gid_is_refused(text: str) -> None:
    with pytest.raises(MetadataError, match="uid"):
        parse_id(text, "uid", rule())


def test_one_template_has_one_file_on_the_config_drive() -> None:
    one_, two = rule("/etc/a"), rule("/etc/b")
    first, second = config_drive([rendering(one_, b"1"), rendering(two, b"2")])
    assert first.path == second.path == "a.tpl.out"
    assert (first.action, second.action) == (CREATE, UPDATE)
    assert "overwrites the output of '/etc/a'" in second.reason


def test_the_guest_agent_writes_every_rendered_file_regardless_of_triggers() -> None:
    rules = (
        rule("/etc/a"),
        Rule("/etc/b", "a.tpl", ("copy",), mode="600"),
        Rule("/etc/c", "c.tpl", ("copy",)),
    )
    vm = Instance(type=VIRTUAL_MACHINE)
    plan = plan_of(Metadata(rules=rules), vm, [rendering(rules[0])], None, host=NONE, triggers=("create",))
    assert [(change.path, change.mode) for change in plan.agent] == [("/etc/a", 0o644), ("/etc/b", 0o600)]
    assert [change.path for change in plan.as_agent().files()] == ["/etc/a", "/etc/b"]


@pytest.mark.parametrize("triggers", ["create", ("nosuch",), ("create", ""), (), None, ("create", None)])
def test_the_plan_function_refuses_unknown_triggers(triggers: Any, tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    with pytest.raises(UsageError, match="trigger") as refused:
        plan(open_image(tmp_path), Instance(), triggers=triggers)
    assert "create, copy, start, rename" in refused.value.hint


@pytest.mark.parametrize("host", ["lxd-0", None])
def test_the_plan_function_refuses_an_unknown_host(host: Any, tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    with pytest.raises(UsageError, match="unknown host") as refused:
        plan(open_image(tmp_path), Instance(), host=host)
    assert "lxd" in refused.value.hint


def test_the_plan_function_accepts_a_host_name(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    assert plan(open_image(tmp_path), Instance(), host="lxd").host is LXD


def test_the_plan_function_refuses_the_name_of_an_instance(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    with pytest.raises(UsageError, match=r"^instance='web1' is not an instance$") as caught:
        plan(open_image(tmp_path), "web1")  # type: ignore[arg-type]
    assert caught.value.hint == "for example: templater.read_instance(file)"


def test_the_plan_function_accepts_a_list_of_triggers(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    assert plan(open_image(tmp_path), Instance(), triggers=["create"]).changes == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/n", "/x/n", "/etc/deep/er/n"])
@pytest.mark.parametrize("known", [True, False])
def test_a_later_trigger_pass_sees_files_of_earlier_passes(path: str, known: bool) -> None:
    target = rule(path)
    passes = [rendering(target, trigger="create"), rendering(target, trigger="start")]
    changes = decide(passes, MemoryRootfs() if known else None)
    assert [change.action for change in changes] == [CREATE if known else WRITE, KEEP]
    assert not changes[1].new_parents


@pytest.mark.parametrize("inner", ["conf", "sub/conf"])
def test_no_files_are_looked_up_in_a_planned_directory(inner: str) -> None:
    """A user of the container created the directory between two passes, with a link to a file of root in it."""
    tree = {
        "/tmp": Entry(DIRECTORY, 0o1777), "/etc/target": "x", "/tmp/app": Entry(DIRECTORY, 0o755, uid=1000),
        f"/tmp/app/{inner}": link("/etc/target"),
    }  # fmt: skip
    rootfs = MemoryRootfs(tree)
    entry = rootfs.entry
    rootfs.entry = lambda path: None if path == "/tmp/app" else entry(path)  # type: ignore[method-assign]
    found = decide(
        [
            rendering(rule(f"/tmp/app/{'sub/' * (inner != 'conf')}z")), rendering(rule("/tmp/app/a")),
            rendering(rule("/tmp/app/b"), trigger="start"), rendering(rule(f"/tmp/app/{inner}"), trigger="start"),
        ],
        rootfs,
    )  # fmt: skip
    assert [change.real for change in found[-2:]] == ["/tmp/app/b", f"/tmp/app/{inner}"]
    assert {change.action for change in found} == {CREATE}


def test_a_plan_without_a_root_filesystem_creates_no_parents() -> None:
    (change,) = decide([rendering(rule("/x/n"))], None)
    assert (change.action, change.new_parents) == (WRITE, ())


@pytest.mark.slow
@pytest.mark.parametrize(("size", "action"), [(64 << 20, KEEP), ((64 << 20) + 1, UPDATE)])
def test_a_plan_compares_an_existing_file_of_up_to_64_mib(size: int, action: str, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", size)
    with DirectoryRootfs(str(tmp_path)) as view:
        (change,) = decide([Rendering(rule("/a"), "create", bytes(size))], view)
    assert change.action == action


@pytest.mark.parametrize(("size", "is_kept"), [(8 << 20, True), ((8 << 20) + 1, False)])
def test_plans_store_existing_content_of_up_to_8_mib(size: int, is_kept: bool, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", size)
    with DirectoryRootfs(str(tmp_path)) as view:
        (change,) = decide([rendering(rule("/a"))], view)
    assert change.action == UPDATE
    assert (change.before is not None) == is_kept


def test_a_failed_rule_is_shown_with_the_default_owner_and_mode() -> None:
    change = one(failing(rule(uid="7", gid="8", mode="600"), RenderError("no")))
    assert (change.action, change.uid, change.gid, change.mode) == (FAILED, 0, 0, 0o644)


def test_a_plan_compares_existing_files_up_to_a_total_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed_rootfs, "MAX_KEPT", 8)
    rootfs = MemoryRootfs({"/a": "abcde", "/b": "fghi", "/c": "jkl"})
    changes = decide([rendering(rule(path)) for path in ("/a", "/b", "/c")], rootfs)
    assert [change.before for change in changes] == [b"abcde", None, b"jkl"]


def test_plans_without_patches_read_only_files_of_equal_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hook read 64 MiB of files for which the kernel decompressed 2 GiB, outside of every limit."""
    rootfs = MemoryRootfs({"/equal": "same", "/other": "SAME", "/longer": "longer", "/short": "s"})
    real, read = rootfs.read, []
    monkeypatch.setattr(rootfs, "read", lambda path, limit: read.append((path, limit)) or real(path, limit))
    targets = [rendering(rule(path), b"same") for path in ("/equal", "/other", "/longer", "/short", "/new")]
    changes = decide(targets, rootfs, for_patch=False)
    assert [change.action for change in changes] == [KEEP, UPDATE, UPDATE, UPDATE, CREATE]
    assert [change.before for change in changes] == [b"same", None, None, None, None]
    assert read == [("/equal", 4), ("/other", 4)]


@pytest.mark.parametrize("for_patch", [True, False])
@pytest.mark.parametrize(
    ("first", "second", "actions"), [("new", "old", []), ("longer", "old", []), ("old", "new", [UPDATE])]
)
def test_the_last_trigger_pass_decides_about_writing_a_file(
    first: str, second: str, actions: list[str], for_patch: bool
) -> None:
    one_rule = rule("/a")
    renderings = [rendering(one_rule, first.encode()), rendering(one_rule, second.encode(), "start")]
    changes = decide(renderings, MemoryRootfs({"/a": "old"}), for_patch=for_patch)
    assert [change.action for change in made(*changes).files()] == actions


def test_a_growing_file_is_considered_different_without_a_patch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rootfs = MemoryRootfs({"/a": "same"})

    def grown(path: str, limit: int) -> bytes:
        raise LimitError("too large")

    monkeypatch.setattr(rootfs, "read", grown)
    (change,) = decide([rendering(rule("/a"), b"same")], rootfs, for_patch=False)
    assert (change.action, change.before) == (UPDATE, None)


def test_a_linked_template_and_its_target_are_both_read() -> None:
    """Some hosts follow a template that is a link to another template of the image."""

    files = {
        "a": TemplateFile(link("../templates/b")), "b": TemplateFile(link("c")), "c": TemplateFile(Entry(FILE), b"x"),
        "d": TemplateFile(link("../templates/..")), "e": TemplateFile(link("f/g")),
    }  # fmt: skip
    asked: list[set[str]] = []

    class Linked:
        name = "image"

        def read_templates(self, names: "Iterable[str]") -> "dict[str, TemplateFile]":
            asked.append(set(names))
            return {name: files[name] for name in names}

    rules = tuple(rule(f"/{name}", name) for name in ("a", "d", "e"))
    assert set(read_templates(Linked(), Metadata(rules=rules))) == {"a", "b", "c", "d", "e"}  # type: ignore[arg-type]
    assert asked == [{"a", "d", "e"}, {"b"}, {"c"}]


class Flagged(MemoryRootfs):
    """A root filesystem whose root directory is append-only."""

    def flag(self, path: str) -> str:
        return APPEND_ONLY if path == "/" else ""


def test_an_append_only_directory_accepts_only_new_files() -> None:
    tree = Flagged({"/etc": Entry(DIRECTORY, 0o755), "/etc/a": b"old\n"})
    replaced, created = decide([rendering(rule("/etc/a")), rendering(rule("/etc/b"))], tree)
    assert (replaced.action, created.action) == (FAILED, CREATE)
    assert replaced.error is not None and replaced.error.message == "can't write '/etc/a': '/' is append-only"
    assert replaced.error.hint == "remove the flag: chattr -a"


def test_an_existing_file_above_the_limit_for_comparisons_counts_as_different(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changed_rootfs, "MAX_KEPT", 3)
    monkeypatch.setattr(changed_rootfs, "MAX_COMPARED", 3)
    for old in (b"other", b"longer than the new text"):
        (change,) = decide([rendering(rule("/etc/a"), b"12345")], MemoryRootfs({"/etc/a": old}))
        assert (change.action, change.before) == (UPDATE, None)
