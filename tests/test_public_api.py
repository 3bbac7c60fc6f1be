"""The public names, and the imports on other systems than Linux: all but writing works there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import templater

ROOT = Path(__file__).resolve().parent.parent

#: names that macOS lacks, and further names that Windows lacks
NO_MACOS_NAMES = [
    "O_PATH",
    "O_TMPFILE",
    "copy_file_range",
    "getxattr",
    "listxattr",
    "memfd_create",
    "posix_fallocate",
    "removexattr",
    "setxattr",
    "unshare",
]
NO_WINDOWS_NAMES = [
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_CLOEXEC",
    "O_NONBLOCK",
    "chown",
    "fchmod",
    "fchown",
    "fork",
    "geteuid",
    "getegid",
    "getuid",
    "getgid",
    "lchown",
    "mkfifo",
    "mknod",
    "setgid",
    "setgroups",
    "setuid",
    "wait4",
]
NO_WINDOWS_MODULES = ["fcntl", "grp", "pwd", "resource", "syslog", "termios"]

ELSEWHERE = """
import os, sys
for name in {modules!r}:
    sys.modules[name] = None
for name in {names!r}:
    if hasattr(os, name):
        delattr(os, name)
sys.path.insert(0, {root!r})
import templater
for name in templater.__all__:
    if name not in {without!r}:
        getattr(templater, name)
image = templater.open_image({image!r})
plan = templater.plan(image, templater.read_instance(name="mac1"), triggers=("create",))
print([change.content for change in plan.changes if change.path == "/etc/hostname"][0].decode(), end="")
print(templater.diff(plan).splitlines()[3])
"""


def elsewhere(modules, names, without=("apply", "DirectoryRootfs")):
    image = str(ROOT / "sample-images" / "debian-cloud")
    code = ELSEWHERE.format(modules=modules, names=names, without=without, root=str(ROOT), image=image)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_preview_and_diff_need_only_system_calls_available_on_macos():
    assert elsewhere([], NO_MACOS_NAMES) == "mac1\n--- /dev/null\n"


def test_preview_and_diff_need_only_modules_available_on_windows():
    assert elsewhere(NO_WINDOWS_MODULES, NO_MACOS_NAMES + NO_WINDOWS_NAMES) == "mac1\n--- /dev/null\n"


def test_every_public_name_can_be_imported():
    for name in templater.__all__:
        assert getattr(templater, name) is not None


def test_tests_can_patch_functions_of_the_package():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import types, unittest.mock\n"
        "import templater.planning, templater\n"
        "assert type(templater) is types.ModuleType and type(templater.planning) is types.ModuleType\n"
        "with unittest.mock.patch('templater.planning.plan_image.plan', return_value=42):\n"
        "    assert templater.plan() == 42\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_an_unknown_public_name_gives_an_attribute_error():
    with pytest.raises(AttributeError, match="nosuch"):
        templater.nosuch


def test_every_file_argument_accepts_a_path_object(tmp_path):
    sample = ROOT / "sample-images" / "netplan"
    image = templater.open_image(sample)
    instance = templater.read_instance(sample / "instances" / "c1.yaml")
    with templater.DirectoryRootfs(tmp_path) as rootfs:
        planned = templater.plan(image, instance, rootfs=rootfs)
    assert planned.changes
    assert repr(image) == f"DirectoryImage({str(sample)!r})"
    assert repr(instance) == "Instance('n1', 'container')"
    assert repr(planned) == f"Plan('n1', ('create', 'start'), {len(planned.changes)} changes)"


INVALID_NAMES = ["", ".", "..", "a/b", "../web1", "a\nb", "\x1b[2J", " web1", "x" * 256, "a\0b"]


@pytest.mark.parametrize("name", INVALID_NAMES)
def test_an_instance_cannot_have_an_impossible_name(name, tmp_path):
    with pytest.raises(templater.TemplaterError, match=r"^invalid instance name ") as refused:
        templater.Instance(name)
    assert refused.value.exit_code == 3
    with pytest.raises(templater.TemplaterError, match=r"^invalid instance name "):
        templater.Instance("web1").replace(name=name)
    with pytest.raises(templater.TemplaterError, match=r"^invalid instance name "):
        templater.read_instance(name=name)
    (tmp_path / "web1.json").write_text(json.dumps({"name": name or "/"}))
    with pytest.raises(templater.TemplaterError, match=r"^invalid instance name "):
        templater.read_instance(tmp_path / "web1.json")
    assert templater.read_instance(tmp_path / "web1.json", name="web2").name == "web2"
    with pytest.raises(templater.TemplaterError, match=r"^invalid instance name "):
        list(templater.read_instances(tmp_path / "web1.json"))


@pytest.mark.parametrize("name", INVALID_NAMES)
def test_a_plan_for_an_instance_with_an_impossible_name_is_refused(name):
    instance = templater.Instance("web1")
    instance.name = name
    with pytest.raises(templater.TemplaterError, match=r"^invalid instance name ") as refused:
        templater.plan(templater.open_image(ROOT / "sample-images" / "alpine"), instance)
    assert (refused.value.exit_code, refused.value.hint) == (3, "for example: web1")


@pytest.mark.parametrize("name", [None, 5, b"web1"])
def test_the_name_of_an_instance_must_be_a_string(name):
    with pytest.raises(templater.TemplaterError, match=r"^name=.* is not a string$"):
        templater.Instance(name)


@pytest.mark.parametrize("name", ["c1", "web_1", "web.1", "12", "-web", "web 1", "w\xe9b", "x" * 255])
def test_instance_names_from_other_container_runtimes_are_accepted(name):
    assert templater.Instance(name).name == name


def test_the_instances_of_a_file_are_read_one_after_the_other(tmp_path):
    profile = {"name": "web", "config": {"user.a": "profile", "user.b": "profile"}}
    (tmp_path / "list.json").write_text(
        json.dumps([
            {"name": "web1", "config": {"user.a": "own"}, "profiles": [profile]},
            {"name": "db1", "type": "virtual-machine", "status": "Running"},
        ])
    )  # fmt: skip
    web, db = templater.read_instances(tmp_path / "list.json")
    assert (web.name, web.type, web.expanded_config()) == (
        "web1", "container", {"user.a": "own", "user.b": "profile"},
    )  # fmt: skip
    assert (db.name, db.is_vm, db.status, db.exists) == ("db1", True, "Running", True)
    (tmp_path / "one.yaml").write_text("name: web2\nconfig: {user.a: '1'}\n")
    (one,) = templater.read_instances(str(tmp_path / "one.yaml"))
    assert (one.name, one.config) == ("web2", {"user.a": "1"})
    (tmp_path / "cut.json").write_text('[{"name": "web1"}, {"name"')
    found = templater.read_instances(tmp_path / "cut.json")
    assert next(found).name == "web1"
    with pytest.raises(templater.TemplaterError, match=r"cut\.json"):
        next(found)
    with pytest.raises(templater.TemplaterError, match=r"can't read .*no such file"):
        list(templater.read_instances(tmp_path / "nosuch.json"))


def test_a_path_instead_of_an_image_causes_an_error():
    image, instance = templater.open_image(ROOT / "sample-images" / "alpine"), templater.read_instance()
    with pytest.raises(templater.TemplaterError, match="is not an image") as refused:
        templater.plan("sample-images/alpine", instance)
    assert "open_image" in refused.value.hint
    with pytest.raises(templater.TemplaterError, match="is not a root filesystem") as refused:
        templater.plan(image, instance, rootfs="/srv/rootfs")
    assert "DirectoryRootfs" in refused.value.hint
