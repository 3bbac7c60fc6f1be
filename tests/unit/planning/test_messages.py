"""The reason of each decision about a file, and the message and hint of each refusal."""

import pytest

import templater
from templater.model.entry import BLOCK_DEVICE, DIRECTORY, FIFO, FILE, SYMLINK, Entry
from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.model.metadata import TRIGGERS, Metadata, Rule
from templater.model.plan import Plan
from templater.planning.agent_files import config_drive
from templater.planning.decide_changes import decide
from templater.planning.plan_image import plan
from templater.rendering.render import Rendering
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.writing.apply_plan import _to_write

ETC = Entry(DIRECTORY, 0o755)
MOUNT = (
    "use `apply --cross-mounts` or `hook --in-place` to write the mounted file, which other programs may use"
)
SPECIAL = "LXD and Incus may write into this file, or hang"


def link(target):
    return Entry(SYMLINK, 0o777, target=target)


def decided(*renderings, tree=None, **options):
    return decide(list(renderings), None if tree is None else MemoryRootfs(tree), **options)


def rendered(path="/etc/a", trigger="create", content=b"new\n", **fields):
    return Rendering(Rule(path, "a.tpl", ("create", "start"), **fields), trigger, content)


@pytest.mark.parametrize(
    ("tree", "path", "fields", "action", "reason", "hint"),
    [
        ({"/etc": ETC}, "/etc/a", {}, "create", "new", None),
        (None, "/etc/a", {}, "write", "no root filesystem given", None),
        ({"/etc": ETC}, "/dev/a", {}, "create", "new; in a running container, a mount usually hides this file", None),
        ({"/etc": ETC}, "/proc/a", {}, "create", "new; in a running container, a mount usually hides this file", None),
        ({"/etc": ETC}, "/sys/a", {}, "create", "new; in a running container, a mount usually hides this file", None),
        ({"/etc": ETC}, "/devices/a", {}, "create", "new", None),
        ({"/etc/a": link("b")}, "/etc/a", {}, "create", "new, at the target of a dangling symlink: /etc/b", None),
        ({"/etc/a": link("b")}, "/etc/a", {"create_only": True}, "skip", "create_only, and the path exists (a dangling symlink)", None),
        ({"/etc/a": b"x"}, "/etc/a", {"create_only": True}, "skip", "create_only, and the path exists", None),
        ({"/etc/a": b"new\n"}, "/etc/a", {}, "keep", "the file already has this content", None),
        ({"/etc/a": b"x"}, "/etc/a", {}, "update", "content differs", None),
        ({"/etc": ETC, "/etc/a": Entry(FIFO)}, "/etc/a", {}, "failed", "'/etc/a' is a fifo, not a regular file", SPECIAL),
        ({"/etc": ETC, "/etc/a": Entry(BLOCK_DEVICE)}, "/etc/a", {}, "failed", "'/etc/a' is a block device, not a regular file", SPECIAL),
        ({"/etc/a": ETC}, "/etc/a", {}, "failed", "'/etc/a' is a directory, not a regular file", ""),
        ({"/etc/a": link("b"), "/etc/b": ETC}, "/etc/a", {}, "failed", "'/etc/a' (at '/etc/b') is a directory, not a regular file", ""),
    ],
)  # fmt: skip
def test_each_planned_change_has_a_reason(tree, path, fields, action, reason, hint):
    (change,) = decided(rendered(path, **fields), tree=tree)
    assert (change.action, change.reason) == (action, reason)
    assert (None if change.error is None else change.error.hint) == hint


def test_the_reason_mentions_other_hard_links_of_the_file():
    rootfs = MemoryRootfs({"/etc/a": b"x"})
    rootfs.link("/etc/a", "/etc/b")
    (change,) = decide([rendered()], rootfs)
    assert change.reason == "content differs; its 1 other hard link(s) keep the old content"
    rootfs.link("/etc/a", "/etc/c")
    (change,) = decide([rendered()], rootfs)
    assert change.reason == "content differs; its 2 other hard link(s) keep the old content"


@pytest.mark.parametrize(
    ("in_place", "mount", "action", "reason", "hint"),
    [
        (False, "/etc/a", "failed", "'/etc/a' is a mount point", MOUNT),
        (False, "/etc", "failed", "'/etc/a' is below the mount point '/etc'", MOUNT),
        (True, "/etc/a", "update", "content differs; a mount point, written in place", None),
        (True, "/etc", "update", "content differs", None),
    ],
)
def test_a_mounted_file_is_written_only_on_request(in_place, mount, action, reason, hint):
    tree = {
        "/etc": Entry(DIRECTORY, is_mount=mount == "/etc"),
        "/etc/a": Entry(FILE, is_mount=mount == "/etc/a"),
    }
    (change,) = decided(rendered(), tree=tree, in_place=in_place)
    assert (change.action, change.reason) == (action, reason)
    assert (None if change.error is None else change.error.hint) == hint


@pytest.mark.parametrize(("flag", "letter"), [("immutable", "i"), ("append-only", "a")])
def test_the_hint_for_flagged_files_is_a_chattr_command(flag, letter):
    rootfs = MemoryRootfs({"/etc/a": b"x"})
    rootfs.flag = lambda path: flag if path == "/etc/a" else ""
    (change,) = decide([rendered()], rootfs)
    assert change.reason == f"can't write '/etc/a': it is {flag}"
    assert change.error.hint == f"remove the flag: chattr -{letter}"
    (change,) = decide([rendered("/etc/b")], rootfs)
    assert change.action == "create"


def test_the_reason_explains_another_change_on_the_config_drive():
    first, other = Rule("/etc/a", "a.tpl", ("create", "start")), Rule("/etc/b", "a.tpl", ("create",))
    for rule, content, reason in (
        (first, b"new\n", "same content"),
        (first, b"other\n", "rendered again"),
        (other, b"new\n", "same content as '/etc/a' (trigger create): the rules share a template"),
        (other, b"other\n", "overwrites the output of '/etc/a' (trigger create): the rules share a template"),
    ):
        found = config_drive([Rendering(first, "create", b"new\n"), Rendering(rule, "start", content)])
        assert [change.reason for change in found] == ["new on the config drive", reason]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"image": "x"}, "image='x' is not an image", "open it: templater.open_image(path)"),
        ({"instance": "x"}, "instance='x' is not an instance", "for example: templater.read_instance(file)"),
        ({"rootfs": "x"}, "rootfs='x' is not a root filesystem", "for example: templater.DirectoryRootfs(path)"),
        ({"triggers": "create"}, "triggers='create' is not a tuple of triggers", f"for example: triggers=('create', 'start'); known triggers: {', '.join(TRIGGERS)}"),
        ({"triggers": ()}, "triggers=() is not a tuple of triggers", f"for example: triggers=('create', 'start'); known triggers: {', '.join(TRIGGERS)}"),
        ({"triggers": ("boot",)}, "unknown trigger 'boot'", f"known triggers: {', '.join(TRIGGERS)}"),
        ({"triggers": ("create", "")}, "unknown trigger ''", f"known triggers: {', '.join(TRIGGERS)}"),
        ({"host": "none5"}, "unknown host 'none5'", f"use one of templater.HOSTS: {', '.join(HOSTS)}"),
    ],
)  # fmt: skip
def test_a_call_with_wrong_arguments_gives_a_message_and_a_hint(arguments, message, hint, tmp_path):
    (tmp_path / "metadata.yaml").write_text("{}")
    image, instance = templater.open_image(str(tmp_path)), Instance("c1")
    with pytest.raises(TemplaterError) as caught:
        plan(**{"image": image, "instance": instance, **arguments})
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_plan_without_a_root_filesystem_cannot_be_applied():
    for tree, real, message in (
        (None, "/etc/a", "a plan that was made without a root filesystem can't be applied"),
        ({"/etc": ETC}, "/", "can't write to '/': it is the root directory itself"),
        ({"/etc": ETC}, "", "can't write to '/': it is the root directory itself"),
    ):
        (change,) = decided(rendered(), tree=tree)
        change.real = real
        with pytest.raises(TemplaterError) as caught:
            _to_write(Plan(Metadata(), Instance("c1"), HOSTS["none"], ("create",), (change,)))
        assert caught.value.message == message


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda rootfs: rootfs.symlink("/etc/l", ""), "'/etc/l': invalid symlink target ''"),
        (lambda rootfs: rootfs.symlink("/etc/l", "a\0"), "'/etc/l': invalid symlink target 'a\\x00'"),
        (lambda rootfs: rootfs.link("/etc/none", "/etc/l"), "can't create a hard link to '/etc/none'"),
        (lambda rootfs: rootfs.link("/etc", "/l"), "can't create a hard link to '/etc'"),
        (lambda rootfs: rootfs.rename("/etc", "/etc/b"), "'/etc' can't be moved into itself"),
        (lambda rootfs: rootfs.rename("/none", "/b"), "'/none' does not exist"),
        (lambda rootfs: rootfs.symlink("/", "a"), "can't write to '/': it is the root directory itself"),
    ],
)
def test_a_refused_change_of_files_in_memory_gives_a_message(action, message):
    with pytest.raises(TemplaterError) as caught:
        action(MemoryRootfs({"/etc": ETC}))
    assert caught.value.message == message
