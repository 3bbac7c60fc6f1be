"""Trust in the files and folders of a hook, which belong to the user of the hook or to other users."""

import io
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from templater.cli import apply_and_record
from templater.cli.commands.image import set_property
from templater.cli.commands.serve import AccessLog
from templater.cli.run_command_line import main
from templater.distribution.republish import _write_rules
from templater.distribution.tree import Tree, open_directory
from templater.hooks import install, lxc_config, lxc_install_and_status, oci_annotated_paths
from templater.hooks import run as run_module
from templater.hooks.changeable_files import is_changeable
from templater.hooks.compile_cache import CacheEntry, key, open_cache
from templater.hooks.lxc_copies import clone
from templater.hooks.options import Options
from templater.hooks.request import HookRequest
from templater.hooks.run import run
from templater.hooks.runtimes import incus, lxc, nspawn, oci
from templater.image import directory_members, replace_files
from templater.image.build import Packing, build
from templater.image.directory_image import DirectoryImage
from templater.image.open_file import open_regular
from templater.image.read_whole_image import DirectoryContents, UnifiedContents, open_contents
from templater.instances.description_file import read_instance
from templater.instances.instance_directory import MAX_TEMPLATES, InstanceDirectory
from templater.instances.state_directory import StateDirectory
from templater.model.errors import InputError, LimitError, RefusedError
from templater.oslite import libc
from templater.rootfs import group_members, trusted_paths, writable_by_others
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.trusted_paths import open_unshared
from templater.sources.open_source import open_source
from tests.sampling import some_fast
from tests.streams.builders import metadata_yaml, tarball, unified_image
from tests.user_namespaces import user_namespace

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs directory descriptors")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="NOT RUN: needs root to make another user's file"
)


@pytest.fixture
def container(tmp_path: Path) -> Path:
    folder = tmp_path / "c1"
    (folder / "rootfs").mkdir(parents=True)
    (folder / "config").write_text(f"lxc.rootfs.path = dir:{folder}/rootfs\n")
    return folder


def map_ids(container: Path, first: int) -> None:
    with (container / "config").open("a") as config:
        config.write("".join(f"lxc.idmap = {kind} 0 {first} 65536\n" for kind in "ug"))


def share(folder: Path, how: str) -> None:
    """Let other users write to a directory: with a mode (all users, or the group 4242), or an ACL."""
    if how.startswith("acl"):
        folder.chmod(0o1755)
        permissions = 7 if how == "acl of a writer" else 5
        entries = ((1, 7, -1), (2, permissions, 1234), (4, 5, -1), (16, 7, -1), (32, 5, -1))
        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
        os.setxattr(folder, "system.posix_acl_access", acl)
    else:
        os.chown(folder, 0, 4242)
        folder.chmod(int(how, 8))


def shared_place(path: str, owners: Collection[int] = ()) -> str:
    """Return the directory that makes ``open_unshared`` refuse a path.

    Return "link" if a link is the reason, and "" if the path is accepted.
    """
    try:
        open_unshared(path, owners).close()
    except RefusedError as error:
        found = re.match("(?:other users can write to )?'([^']*)'(?! on the way)", error.message)
        return found[1] if found else "link"
    return ""


def hook_line(runtime: str, container: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words of a hook for a container directory, and give the hook the input of its runtime."""
    (container / "metadata.yaml").write_text("templates: {/a: {when: [start], template: a}}\n")
    (container / "templates").mkdir()
    (container / "templates/a").write_text("of another user")
    for name, value in (("NAME", "c1"), ("HOOK_TYPE", "pre-start"), ("CONFIG_FILE", f"{container}/config")):
        monkeypatch.setenv(f"LXC_{name}", value)
    monkeypatch.setenv("LXC_ROOTFS_PATH", f"{container}/rootfs")
    (container / "config.json").write_text('{"root": {"path": "rootfs"}}')
    state = {"ociVersion": "1.0.0", "id": "c1", "bundle": str(container)}
    monkeypatch.setattr(oci, "_stdin", lambda: json.dumps(state).encode())
    monkeypatch.setattr(nspawn, "INSTANCES", str(container.parent))
    return [runtime, *(["c1", "--rootfs", f"{container}/rootfs"] if runtime == "nspawn" else [])]


@pytest.mark.slow
@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("runtime", ["lxc", "oci", "nspawn"])
@pytest.mark.parametrize("how", some_fast(["1777", "0707", "1775", "3770", "acl of a writer"], every=2))
def test_hook_takes_no_image_from_a_shared_directory(
    how: str,
    runtime: str,
    container: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In a sticky directory, users can't replace the configuration, but can add a metadata.yaml."""
    words = hook_line(runtime, container, monkeypatch)
    share(container, how)
    assert run(words) == RefusedError.exit_code
    said = capfd.readouterr().err
    assert f"other users can write to '{container}', so its files may belong to another user" in said
    assert "give --source and --state" in said
    assert run([*words, "--if-present"]) == RefusedError.exit_code
    image = container.parent / "image"
    image.mkdir()
    for name in ("metadata.yaml", "templates"):
        (container / name).rename(image / name)
    assert run([*words, "--source", str(image)]) == RefusedError.exit_code  # its instance.yaml would be used
    assert list((container / "rootfs").iterdir()) == []
    assert not (container / ".templater").exists()
    state = container.parent / "state"
    state.mkdir()
    is_refused = how == "0707" and runtime != "oci"  # others can replace the root filesystem
    code = run([*words, "--source", str(image), "--state", str(state)])
    assert code == (RefusedError.exit_code if is_refused else 0), capfd.readouterr().err
    assert (container / "rootfs/a").exists() != is_refused


@as_root
@pytest.mark.parametrize(
    ("uid", "gid", "how", "shared"),
    [
        (0, 0, "0770", False),  # as LXC makes it
        (100000, 0, "0770", False),
        (1234, 1234, "0775", False),  # with a private group
        (0, 4242, "0755", False),
        (0, 0, "acl of a reader", False),
        (0, 0, "acl of a writer", True),
        (1234, 4242, "0775", True),
        (65534, 65534, "0755", False),
        (65534, 65534, "0775", True),  # in a user namespace, any user and any group
    ],
)
def test_directory_is_shared_only_if_other_users_can_write(
    uid: int, gid: int, how: str, shared: bool, container: Path
) -> None:
    share(container, how)
    os.chown(container, uid, gid)
    assert shared_place(str(container)) == (str(container) if shared else "")


@as_root
@pytest.mark.parametrize(
    ("mode", "gid", "is_refused"),
    [(0o2775, 4242, True), (0o777, 0, True), (0o1777, 0, False), (0o755, 4242, False)],
)
@pytest.mark.parametrize("way", ["{shared}/state", "{link}/state", "{shared}/link/../state", "{shared}/link"])
def test_directory_is_refused_if_its_parent_is_shared(
    way: str, mode: int, gid: int, is_refused: bool, tmp_path: Path
) -> None:
    """A member of the group renamed root's directory, and put a new directory in its place.

    The new directory had an instance.yaml.
    """
    shared, link = tmp_path / "shared", tmp_path / "link"
    (shared / "state").mkdir(parents=True)
    (shared / "link").symlink_to("../shared/state")
    link.symlink_to(shared)
    os.chown(shared, 0, gid)
    shared.chmod(mode)
    place = way.format(shared=shared, link=link)
    if mode == 0o1777 and way.startswith("{shared}/link"):
        assert shared_place(place) == "link"
        return
    assert shared_place(place) == (str(shared) if is_refused else "")
    if is_refused:
        with pytest.raises(
            RefusedError, match=f"write to '{shared}', so '{place}' may belong to another user"
        ) as caught:
            open_unshared(place)
        assert caught.value.hint == "let only the owner write to the directory, or give --source and --state"


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(
    ("above", "own", "mode", "is_refused"),
    [
        (1234, 0, 0o755, True), (1234, 1234, 0o755, True), (0, 1234, 0o755, True), (1234, 0, 0o1755, True), (100_000, 100_000, 0o755, True),
        (0, 0, 0o755, False), (0, 100_000, 0o755, False),
    ],
)  # fmt: skip
def test_state_directory_is_refused_if_another_user_owns_it(
    above: int,
    own: int,
    mode: int,
    is_refused: bool,
    container: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The owner of the directory above renamed root's directory, and put a new directory in its place.

    The new directory had an instance.yaml.
    """
    image, state = container.parent / "image", container.parent / "home/state"
    (image / "templates").mkdir(parents=True)
    (image / "metadata.yaml").write_text("architecture: x86_64\ntemplates: {}\n")
    state.mkdir(parents=True)
    os.chown(state.parent, above, above)
    state.parent.chmod(mode)
    os.chown(state, own, own)
    os.chown(container / "rootfs", 100_000, 100_000)
    words = hook_line("nspawn", container, monkeypatch)
    monkeypatch.setattr(nspawn, "RANGE", 100_000)
    code = run([*words, "--source", str(image), "--state", str(state)])
    said = capfd.readouterr().err
    assert (code, "belongs to another user" in said) == (
        (RefusedError.exit_code, True) if is_refused else (0, False)
    )


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(
    ("owner", "mode", "is_refused"),
    [(1234, 0o755, True), (0, 0o777, True), (100_000, 0o755, False), (0, 0o755, False)],
)
def test_a_description_is_refused_if_another_user_can_change_its_directory(
    owner: int, mode: int, is_refused: bool, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user replaced the directory with a link to the directory of another instance."""
    described = container.parent / "described"
    described.mkdir()
    (described / "web.yaml").write_text("name: c1\n")
    os.chown(described, owner, owner)
    described.chmod(mode)
    os.chown(container / "rootfs", 100_000, 100_000)
    words = hook_line("lxc", container, monkeypatch)
    map_ids(container, 100_000)
    code = run([*words, "--instance", f"{described}/web.yaml"])
    assert code == (RefusedError.exit_code if is_refused else 0)
    assert (container / "rootfs/a").exists() != is_refused


@as_root
@pytest.mark.parametrize(
    ("owner", "mode", "is_refused"), [(1234, 0o1777, True), (0, 0o755, False), (1234, 0o755, True)]
)
def test_a_link_of_another_user_is_refused(owner: int, mode: int, is_refused: bool, tmp_path: Path) -> None:
    """The link led to the directory of another instance, so the hook rendered that instance's password."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "other").mkdir()
    link = tmp_path / "shared/state"
    link.symlink_to(tmp_path / "other")
    os.chown(link, owner, owner, follow_symlinks=False)
    (tmp_path / "shared").chmod(mode)
    assert shared_place(str(link)) == ("link" if is_refused else "")


@as_root
@pytest.mark.parametrize("link_owner", [100_000, 0])
def test_container_owner_cannot_redirect_a_hook_with_a_link(link_owner: int, tmp_path: Path) -> None:
    """The container's root may own the directory of --state.

    A link in the directory led to another instance.
    """
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    link = tmp_path / "own/state"
    link.symlink_to(tmp_path / "other")
    os.chown(link, link_owner, link_owner, follow_symlinks=False)
    os.chown(tmp_path / "own", 100_000, 100_000)
    assert shared_place(str(link), owners=(0, 100_000)) == str(tmp_path / "own")
    os.chown(tmp_path / "own", 0, 0)
    assert (shared_place(str(link), owners=(0, 100_000)) == "") == (link_owner == 0)


@as_root
@pytest.mark.parametrize(
    ("owner", "mode", "is_refused"), [(100_000, 0o1777, True), (100_000, 0o755, False), (0, 0o1777, False)]
)
def test_container_owner_must_not_own_state_in_sticky_directories(
    owner: int, mode: int, is_refused: bool, tmp_path: Path
) -> None:
    """The owner of an entry in a sticky directory can replace the entry with a link after the check."""
    state = tmp_path / "shared/state"
    state.mkdir(parents=True)
    os.chown(state, owner, owner)
    (tmp_path / "shared").chmod(mode)
    assert shared_place(str(state), owners=(0, 100_000)) == (str(tmp_path / "shared") if is_refused else "")


def test_a_missing_directory_and_a_loop_of_links_are_refused(tmp_path: Path) -> None:
    """In a sticky directory, a user could make a link after the check of a missing name."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RefusedError, match="leads through too many links"):
        open_unshared(f"{tmp_path}/loop")
    with pytest.raises(InputError, match=r"'.*/missing' can't be opened as a directory: no such file"):
        open_unshared(f"{tmp_path}/missing")


def test_namespace_owners_group_does_not_make_a_directory_shared(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lxc-usernsexec maps the ids of the container, and then the user's own id."""
    if os.geteuid() == 0:
        os.chown(container, 0, 65536)
    container.chmod(0o770)
    found = os.stat(container).st_gid
    monkeypatch.setattr(group_members, "has_other_members", lambda *_: False)
    monkeypatch.setattr(os, "getegid", lambda: 99)
    monkeypatch.setattr(writable_by_others, "own_map", lambda _: iter([(0, 100000, 65536), (found, 1000, 1)]))
    for module in (writable_by_others, trusted_paths):
        monkeypatch.setattr(module, "namespace_owner", lambda: 65536)
    assert not shared_place(str(container))
    monkeypatch.setattr(writable_by_others, "own_map", lambda _: iter([(0, 100000, 65536)]))
    if os.geteuid() == 0:
        assert shared_place(str(container)) == str(container)
    monkeypatch.setattr(writable_by_others, "own_map", lambda _: iter([(0, 0, 1000), (found, found, 1)]))
    for module in (writable_by_others, trusted_paths):
        monkeypatch.setattr(module, "namespace_owner", lambda: 0)  # as with raw.idmap of LXD
    if os.geteuid() == 0:
        assert shared_place(str(container)) == str(container)


@as_root
@pytest.mark.parametrize(
    ("uid", "rows"),
    [
        (1234, [(0, 100000, 1234), (1234, 1234, 1), (1235, 101235, 64301)]),  # lxc.idmap = u 1234 1234 1
        (65536, [(0, 100000, 65536), (65536, 1234, 1)]),  # lxc-usernsexec
        (70000, [(0, 100000, 65536), (70000, 70000, 1)]),  # --userns=keep-id of a user of LDAP
    ],
)
@pytest.mark.usefixtures("restored_process")
def test_attack_74_77_a_hook_trusts_the_namespace_creator_only_with_the_owner_option(
    uid: int,
    rows: list[Any],
    container: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = hook_line("lxc", container, monkeypatch)
    os.chown(container.parent, uid, uid)
    os.chown(container, 0, uid)
    container.chmod(0o770)  # as LXC makes it
    monkeypatch.setattr(writable_by_others, "own_map", lambda _: iter(rows))
    monkeypatch.setattr(group_members, "has_other_members", lambda *_: False)
    for creator, options, is_refused in (
        (uid, [], True),
        (uid, ["--owner", "4321"], True),
        (0, ["--owner", f"{uid}"], True),  # outside of a user namespace
        (4321, ["--owner", f"{uid}"], True),
        (uid, [f"--owner={uid}"], False),
        (uid, [], True),
    ):
        for module in (writable_by_others, trusted_paths):
            monkeypatch.setattr(module, "namespace_creator", lambda creator=creator: creator)
        code = run([*words, *options])
        assert code == (RefusedError.exit_code if is_refused else 0), capfd.readouterr().err
        assert (container / "rootfs/a").exists() != is_refused
        (container / "rootfs/a").unlink(missing_ok=True)


@pytest.mark.slow
@as_root
def test_separately_mapped_user_is_not_the_namespace_owner() -> None:
    """In a container with ``raw.idmap: both 1000 1000``, the user 1000 could redirect --state."""
    for owner, inside, named, number in (
        (0, 1000, 0, 0), (0, 1000, 1000, 0), (1000, 65536, 0, 0), (1000, 65536, 65536, 65536),
        (1000, 1000, 0, 0), (1000, 1000, 1000, 1000), (2000, 1000, 65534, 0),
    ):  # fmt: skip
        (ready, to_parent), (go, to_child), (result, answer) = os.pipe(), os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                writable_by_others.name_owner(named)
                os.setgroups([])
                os.setresgid(owner, owner, owner)
                os.setresuid(owner, owner, owner)
                libc("unshare")(0x10000000)
                os.write(to_parent, b"x")
                os.read(go, 1)
                os.write(answer, b"%d" % writable_by_others.namespace_owner())
            finally:
                os._exit(0)
        os.read(ready, 1)
        for name in ("uid_map", "gid_map"):
            behind = "1001 101000 1000\n" if (owner, inside) == (1000, 1000) else ""  # --userns=keep-id
            Path(f"/proc/{pid}/{name}").write_text(
                f"0 {100000 if owner else 0} 1000\n{inside} 1000 1\n{behind}"
            )
        os.write(to_child, b"x")
        os.waitpid(pid, 0)
        assert os.read(result, 20) == b"%d" % number
        for fd in (ready, to_parent, go, to_child, result, answer):
            os.close(fd)


@as_root
@pytest.mark.usefixtures("restored_process")
def test_a_link_of_another_user_above_a_root_filesystem_is_refused(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user who owned the directory above exchanged the container's directory with a link."""
    words = hook_line("nspawn", container, monkeypatch)
    link = container.parent / "home/c1"
    link.parent.mkdir()
    link.symlink_to(container)
    assert run([*words[:2], "--rootfs", f"{link}/rootfs"]) == 0
    DirectoryRootfs(f"{link}/rootfs").close()
    os.chown(link.parent, 1234, 1234)
    assert run([*words[:2], "--rootfs", f"{link}/rootfs"]) == RefusedError.exit_code
    with pytest.raises(RefusedError, match=r"'c1' on the way to .* may be a link that another user controls"):
        DirectoryRootfs(f"{link}/rootfs")


@pytest.mark.parametrize("spelling", ["rootfs", "rootfs/", "rootfs/.", "rootfs/etc/..", "x/../rootfs"])
def test_a_symlink_as_root_filesystem_is_refused_under_every_path_spelling(
    spelling: str, container: Path
) -> None:
    """The kernel follows a link if another path component comes after the link."""
    (container / "other/etc").mkdir(parents=True)
    (container / "rootfs").rmdir()
    (container / "rootfs").symlink_to("other")
    with pytest.raises(RefusedError, match=r"'.*rootfs' is a symlink, not a directory"):
        DirectoryRootfs(f"{container}/{spelling}")


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs O_PATH")
def test_dot_dot_after_a_link_never_ignores_the_link(tmp_path: Path) -> None:
    """templater resolved '..' in the text of the path, and wrote to another directory with the same name."""
    for name in ("data/releases/5", "data/releases/web1/rootfs", "srv/web1/rootfs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "srv/current").symlink_to("../data/releases/5")
    path = f"{tmp_path}/srv/current/../web1"
    with trusted_paths.open_folder(path) as opened:
        assert os.fstat(opened.fd).st_ino == (tmp_path / "data/releases/web1").stat().st_ino
    with pytest.raises(RefusedError, match=r"current/../web1/rootfs' has '..' after a symlink") as caught:
        DirectoryRootfs(f"{path}/rootfs")
    assert caught.value.hint == "give a path without '..'"
    DirectoryRootfs(f"{tmp_path}/srv/web1/../web1/rootfs").close()
    trusted_paths.make_folder(f"{tmp_path}/srv/current/../new/a").close()
    assert (tmp_path / "data/releases/new/a").is_dir()


def test_an_absolute_path_can_be_opened_from_a_deleted_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    trusted_paths.open_folder(str(tmp_path)).close()


@as_root
def test_templater_follows_a_magic_link_as_the_kernel_does(tmp_path: Path) -> None:
    """The link /proc/PID/root of a container has the text '/', so templater wrote to the host."""
    script = (
        "import ctypes, os, sys; ctypes.CDLL(None).unshare(0x20000); os.chroot(sys.argv[1]);"
        "print(flush=True); os.read(0, 1)"
    )
    (tmp_path / "root/here").mkdir(parents=True)
    (tmp_path / "root/link").symlink_to("/tmp")
    words = [sys.executable, "-c", script, str(tmp_path / "root")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with trusted_paths.open_folder(f"/proc/{process.pid}/root/here") as opened:
            assert os.fstat(opened.fd).st_ino == (tmp_path / "root/here").stat().st_ino
        with pytest.raises(RefusedError, match="may be a link that another user controls"):
            trusted_paths.open_folder(f"/proc/{process.pid}/root/link")
        process.communicate(b"x")


@as_root
def test_another_users_link_cannot_select_the_cache_or_an_allowed_directory(
    tmp_path: Path,
) -> None:
    """Below a sticky directory, a user made the missing directory of --cache, with a link in it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "other").mkdir(0o700)
    (tmp_path / "home/link").symlink_to(tmp_path / "other")
    os.chown(tmp_path / "home", 1234, 1234)
    assert open_cache(f"{tmp_path}/home/link") is None
    assert open_cache(f"{tmp_path}/home/link/new") is None
    assert list((tmp_path / "other").iterdir()) == []
    with pytest.raises(RefusedError, match="/home' belongs to another user"):
        oci_annotated_paths._place(f"{tmp_path}/home/link/web.yaml", [f"{tmp_path}/home/link"], follow=True)


@pytest.mark.slow
@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("name", ["templates/a", "templates", "metadata.yaml"])
@pytest.mark.parametrize("owner", [1234, 0])
def test_private_file_in_another_users_directory_is_not_rendered(
    owner: int, name: str, container: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The owner of the container's directory moved a secret file of root to the name of a template."""
    words = hook_line("lxc", container, monkeypatch)
    for place in (container, container / "templates", container / "templates/a", container / "metadata.yaml"):
        os.chown(place, owner, owner)
    secret = container / name
    os.chown(secret, 0, 0)
    secret.chmod(0o700 if secret.is_dir() else 0o600)
    assert run(words) == (RefusedError.exit_code if owner else 0)
    image = DirectoryImage(str(container))
    if owner:
        said = capfd.readouterr().err
        assert "is private to uid 0, but its directory belongs to uid 1234" in said
        assert "let all users read the file, or chown the file to the owner of the directory\n" in said
        with pytest.raises(RefusedError, match="is private to uid 0"):
            raise_error(
                image.read_templates(["a"])["a"].error if "templates" in name else image.read_metadata()
            )
        with pytest.raises(RefusedError, match="is private to uid 0"):
            DirectoryContents(str(container)).parts()
        secret.chmod(0o755)
    assert run(words) == 0
    assert image.read_templates(["a"])["a"].data == b"of another user"


@as_root
@pytest.mark.usefixtures("restored_process")
def test_private_file_in_a_renamed_directory_is_not_rendered(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the container's directory may rename even root's directories in it."""
    words = hook_line("lxc", container, monkeypatch)
    for place in (container, container / "metadata.yaml"):
        os.chown(place, 1234, 1234)
    (container / "templates/a").chmod(0o600)
    assert run(words) == RefusedError.exit_code
    with pytest.raises(RefusedError, match="is private to uid 0"):
        raise_error(DirectoryImage(str(container)).read_templates(["a"])["a"].error)
    with pytest.raises(RefusedError, match="is private to uid 0"):
        DirectoryContents(str(container)).parts()


def raise_error(error: object) -> None:
    if isinstance(error, Exception):
        raise error


@as_root
@pytest.mark.parametrize("mode", [0o1777, 0o755])
def test_unmapped_owner_is_untrusted_if_others_can_create_files(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a rootless namespace, root and all other outer users have the uid 65534."""
    above, real = tmp_path / "above", os.stat
    (above / "t/state").mkdir(parents=True)
    (above / "t/link").symlink_to(above / "t/state")
    (above / "link").symlink_to(above / "t/state")
    for place in (above, above / "t", above / "t/state", above / "t/link", above / "link"):
        os.chown(place, 65534, 65534, follow_symlinks=False)
    above.chmod(mode)

    def stat(path: object, **options: object) -> os.stat_result:
        if path == "/":
            return os.stat_result((0o40755, 1, 1, 1, 65534, 65534, 0, 0, 0, 0))
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trusted_paths.os, "stat", stat)
    found = [shared_place(f"{above}/{name}", owners=(0, 65534)) for name in ("t/state", "t/link", "link")]
    assert found == (["", "", ""] if mode == 0o755 else [str(above / "t"), str(above / "t"), "link"])
    monkeypatch.setattr(oci_annotated_paths.os, "lstat", lambda path: stat(path, follow_symlinks=False))
    if mode == 0o755:
        oci_annotated_paths._require_trusted(str(above / "t"), named=True)
    else:
        with pytest.raises(RefusedError, match="which other users can change"):
            oci_annotated_paths._require_trusted(str(above / "t"), named=True)


def test_a_configuration_is_opened_only_after_its_type_was_checked(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container's owner replaced the configuration with a link to a device.

    The hook opened the device.
    """
    config, flags, opened = str(container / "config"), [], os.open

    def spy(path: str, how: int, *rest: int, **options: int) -> int:
        if path == config:
            flags.append(how)
        return opened(path, how, *rest, **options)

    monkeypatch.setattr(lxc_config.os, "open", spy)
    assert dict(lxc_config.settings(config))
    assert flags and all(how & os.O_PATH for how in flags)


def test_a_configuration_is_refused_if_it_includes_a_file_in_proc(container: Path) -> None:
    """Reading /proc/kmsg waits for the next message of the kernel."""
    (container / "config").write_text("lxc.include = /proc/kmsg\n")
    with pytest.raises(InputError, match="'/proc/kmsg' is not a regular file"):
        list(lxc_config.settings(str(container / "config")))


@pytest.mark.slow
def test_a_path_with_thousands_of_missing_nested_directories_is_created(tmp_path: Path) -> None:
    trusted_paths.make_folder(f"{tmp_path}{'/a' * 3000}").close()
    with pytest.raises(RefusedError, match="leads through too many links"):
        open_unshared(f"{tmp_path}{'/a' * 3000}")
    subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)


@as_root
@pytest.mark.parametrize(
    ("mode", "gid", "acl", "is_refused"),
    [
        (0o775, 4242, "", True), (0o757, 0, "", True), (0o775, 0, "", False),
        (0o775, 0, "acl of a reader", False), (0o775, 0, "acl of a writer", True),
    ],
)  # fmt: skip
def test_private_template_is_refused_in_a_shared_directory(
    container: Path, mode: int, gid: int, acl: str, is_refused: bool
) -> None:
    templates = container / "templates"
    templates.mkdir(exist_ok=True)
    (templates / "a").write_text("secret")
    (templates / "a").chmod(0o600)
    os.chown(templates, 0, gid)
    templates.chmod(mode)
    if acl:
        share(templates, acl)
    with InstanceDirectory(str(container)) as directory:
        error = directory.read_templates()["a"].error
        assert (error is not None and "other users can write to its directory" in str(error)) == is_refused
        (templates / "a").chmod(0o604)
        assert directory.read_templates()["a"].data == b"secret"


@as_root
def test_private_template_is_refused_in_another_users_directory(
    container: Path,
) -> None:
    (container / "templates").mkdir()
    (container / "templates/a").write_text("token")
    (container / "templates/a").chmod(0o600)
    os.chown(container / "templates", 1234, 1234)
    with InstanceDirectory(str(container)) as directory:
        assert isinstance(directory.read_templates()["a"].error, RefusedError)
    assert isinstance(DirectoryImage(str(container)).read_templates(["a"])["a"].error, RefusedError)
    os.chown(container / "templates/a", 1234, 1234)
    assert DirectoryImage(str(container)).read_templates(["a"])["a"].data == b"token"


@as_root
def test_a_checked_directory_is_not_opened_again_by_its_name(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner exchanged templates/ with a private directory of root, between the check and the read."""
    for name in ("templates", "private"):
        (container / name).mkdir()
        (container / name / "a").write_text(name)
    (container / "private").chmod(0o700)
    os.chown(container, 1234, 1234)
    os.chown(container / "templates", 1234, 1234)
    opened = Root.directory

    def exchanged(root: Root, path: str, **options: bool) -> Directory:
        directory = opened(root, path, **options)
        if path == "/templates" and (container / "private").exists():
            (container / "templates").rename(container / "old")
            (container / "private").rename(container / "templates")
        return directory

    monkeypatch.setattr(Root, "directory", exchanged)
    with Root(str(container)) as root:
        assert root.read("/templates/a", 100, public=True) == b"templates"


@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("name", ["CONFIG_FILE", "ROOTFS_PATH"])
@pytest.mark.parametrize("way", ["{link}/..", "{other}/../{link.name}/..", "{container}/.."])
def test_an_lxc_path_with_dot_dot_after_a_link_is_refused(
    container: Path, monkeypatch: pytest.MonkeyPatch, way: str, name: str
) -> None:
    """LXC started the container behind the link. The hook rendered for another container of the same name."""
    words = hook_line("lxc", container, monkeypatch)
    other, link = container.parent / "other", container.parent / "link"
    (other / "inner").mkdir(parents=True)
    shutil.copytree(container, other / "c1")
    link.symlink_to(other / "inner")
    path = way.format(link=link, other=other, container=container)
    monkeypatch.setenv(f"LXC_{name}", f"{path}/c1/" + ("config" if name == "CONFIG_FILE" else "rootfs"))
    is_refused = "link" in path
    assert run(words) == (RefusedError.exit_code if is_refused else 0)
    assert (container / "rootfs/a").exists() != is_refused
    assert not (other / "c1/rootfs/a").exists()


def test_an_overlay_layer_with_dot_dot_after_a_link_is_refused(container: Path) -> None:
    (container / "inner").mkdir()
    (container.parent / "link").symlink_to(container / "inner")
    (container.parent / "rootfs").mkdir()
    with pytest.raises(RefusedError, match="after a symlink"):
        lxc_config.layers_of(f"{container}/rootfs:{container.parent}/link/../rootfs")
    with pytest.raises(RefusedError, match="after a symlink"):
        lxc_config.layers_of(f"{container}/rootfs:{container.parent}/link/../missing")
    with pytest.raises(RefusedError, match="after a symlink"):
        trusted_paths.clean_path("/a\0/../b")


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("spelling", ["/{}/rootfs", "{}//rootfs/.", "{}/../c1/rootfs"])
def test_hook_keeps_its_opened_container_for_each_path_spelling(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    """The hook opened the root filesystem again by its name, which then led to another container."""
    words = hook_line("lxc", container, monkeypatch)
    monkeypatch.setenv("LXC_ROOTFS_PATH", spelling.format(container))
    shutil.copytree(container, tmp_path / "other")
    real = lxc._ids

    def exchanged(*arguments: Any) -> Any:
        found = real(*arguments)
        container.rename(tmp_path / "third")
        (tmp_path / "other").rename(container)
        return found

    monkeypatch.setattr(lxc, "_ids", exchanged)
    assert run(words) == 0
    assert [path.parts[-3] for path in tmp_path.rglob("rootfs/a")] == ["third"]


@as_root
@pytest.mark.usefixtures("restored_process")
def test_the_lxc_hook_never_reads_the_replacement_of_an_opened_container(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --state, image and root filesystem came from two containers."""
    (tmp_path / "state").mkdir()
    words = [*hook_line("lxc", container, monkeypatch), "--state", f"{tmp_path}/state"]
    other = tmp_path / "other"
    shutil.copytree(container, other)
    (other / "templates/a").write_text("secret")

    def exchanged(*_: object) -> None:
        container.rename(tmp_path / "third")
        other.rename(container)

    monkeypatch.setattr(lxc, "_ids", exchanged)
    assert run(words) == 0
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("rootfs/a")}
    assert written == {"third/rootfs/a": "of another user"}


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(("has_state", "place"), [(False, "sub/rootfs"), (True, "rootfs")])
def test_oci_hook_does_not_read_a_replacement_bundle(
    has_state: bool, place: str, container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the directory above exchanged two bundles of root after the hook had read config.json."""
    words = hook_line("oci", container, monkeypatch)
    (container / "templates/a").write_text("{{ instance.name }}")
    (container / place).mkdir(parents=True, exist_ok=True)
    (container / "config.json").write_text(json.dumps({"root": {"path": f"{container}/{place}"}}))
    if has_state:
        (tmp_path / "state").mkdir()
        words += ["--state", f"{tmp_path}/state"]
    other = container.parent / "other"
    shutil.copytree(container, other)
    (other / "instance.yaml").write_text("name: other\n")
    parse = oci.parse_json

    def exchanged(data: bytes, what: str) -> dict[str, Any]:
        if what == "config.json":
            container.rename(container.parent / "third")
            other.rename(container)
        return parse(data, what)

    monkeypatch.setattr(oci, "parse_json", exchanged)
    assert run(words) == 0
    assert (container / "instance.yaml").exists() and not (container / ".templater").exists()
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("rootfs/a")}
    assert written == {f"third/{place}/a": "c1"}


@pytest.mark.parametrize("path", ["rootfs", "sub/deep/rootfs"])
def test_root_filesystem_is_opened_relative_to_its_open_bundle(container: Path, path: str) -> None:
    """The names of two bundles of root were exchanged, so the first bundle got the password of the second."""
    for folder in (container, container.parent / "other"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    right = (container / path).stat().st_ino
    with trusted_paths.open_folder(str(container)) as opened:
        container.rename(container.parent / "third")
        (container.parent / "other").rename(container)
        request = SimpleNamespace(rootfs=f"{container}/{path}", cross_mounts=False, open_folders={})
        with run_module._open_rootfs(cast(HookRequest, request), opened) as found:
            assert os.fstat(found.fd).st_ino == right


@as_root
@pytest.mark.parametrize("owner", [1234, 0])
def test_allowed_symlink_through_another_users_directory_is_refused(owner: int, tmp_path: Path) -> None:
    """A user exchanged the allowed directory with a link while the hook resolved its path."""
    (tmp_path / "home/real").mkdir(parents=True)
    (tmp_path / "home/real/web.yaml").write_text("name: web\n")
    (tmp_path / "link").symlink_to(tmp_path / "home/real")
    os.chown(tmp_path / "home", owner, owner)
    if owner:
        with pytest.raises(RefusedError, match=f"'{tmp_path}/home' belongs to another user"):
            oci_annotated_paths._place(f"{tmp_path}/link/web.yaml", [f"{tmp_path}/link"], follow=True)
    else:
        assert (
            oci_annotated_paths._place(f"{tmp_path}/link/web.yaml", [f"{tmp_path}/link"], follow=True)[1]
            == "web.yaml"
        )


@as_root
def test_root_opens_no_description_through_another_users_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, description, link = tmp_path / "i.tar", tmp_path / "web.yaml", tmp_path / "home/link"
    with tarfile.open(image, "w") as archive:
        member = tarfile.TarInfo("metadata.yaml")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"a: 1"))
    description.write_text("name: c9\n")
    link.parent.mkdir()
    before = image.read_bytes()
    for target in (image, description):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        os.chown(link.parent, 0, 0)
        with open(trusted_paths.open_file(str(link)), "rb") as file:
            assert file.read() == target.read_bytes()
        os.chown(link.parent, 1234, 1234)
        with pytest.raises(RefusedError, match="may be a link that another user controls"):
            read_instance(str(link))
        with pytest.raises(RefusedError, match="may be a link that another user controls"):
            replace_files.replace(str(link), {"metadata.yaml": b"a: 2"})
    assert image.read_bytes() == before
    own = tmp_path / "own.tar"
    own.write_bytes(before)
    monkeypatch.setattr(replace_files.os.path, "realpath", lambda _: str(image))  # exchanged meanwhile
    with pytest.raises(RefusedError, match=r"another process replaced '.*own.tar'"):
        replace_files.replace(str(own), {"metadata.yaml": b"a: 2"})
    assert image.read_bytes() == before


@as_root
def test_directory_is_shared_if_a_public_group_can_write(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In some systems, the primary group of all users is the group "users"."""
    os.chown(container, 0, 100)
    container.chmod(0o775)
    monkeypatch.setattr(os, "getegid", lambda: 100)
    assert shared_place(str(container)) == str(container)
    assert is_changeable(str(container))
    monkeypatch.setattr(group_members, "has_other_members", lambda *_: False)
    for module in (writable_by_others, trusted_paths):
        monkeypatch.setattr(module, "namespace_owner", lambda: 1000)
    for users, is_shared in (([(0, 100000, 900), (1000, 1000, 1)], True), ([(1000, 100, 1)], False)):
        maps = {"uid_map": users, "gid_map": [(0, 100000, 90), (100, 100, 1)]}
        monkeypatch.setattr(writable_by_others, "own_map", lambda name, maps=maps: iter(maps[name]))
        assert bool(shared_place(str(container))) == is_shared


@as_root
@pytest.mark.parametrize(
    ("users", "groups", "is_found"),
    [
        ([(0, 1000, 1), (1, 100000, 65536)], [(0, 100, 1), (1, 100000, 65536)], True),
        ([(0, 1000, 1), (1, 100000, 65536)], [(0, 1000, 1), (1, 100000, 65536)], False),
        ([(0, 0, 1), (1, 1, 65536)], [(0, 0, 1), (1, 1, 65536)], True),  # in another such namespace
        ([(0, 100000, 65536)], [(0, 200000, 65536)], False),
        ([(0, 0, 4294967295)], [(0, 0, 4294967295)], False),
    ],
)
def test_directory_is_shared_if_gid_0_has_several_users(
    container: Path, users: list[Any], groups: list[Any], is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rootless runtime mapped the group "users", and another member had added a template."""
    container.chmod(0o2775)
    monkeypatch.setattr(group_members, "has_other_members", lambda *_: False)
    maps = {"uid_map": users, "gid_map": groups}
    monkeypatch.setattr(writable_by_others, "own_map", lambda name: iter(maps[name]))
    assert shared_place(str(container)) == (str(container) if is_found else "")


def members(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: int, names: tuple[str, ...], passwd: str
) -> None:
    """Let a group have these members, and let /etc/passwd have this text."""
    uids = {"root": 0, "alice": 1234, "bob": 4321}

    def group_of(gid: int) -> SimpleNamespace:
        assert gid == group
        return SimpleNamespace(gr_mem=list(names))

    monkeypatch.setattr(group_members.grp, "getgrgid", group_of)
    monkeypatch.setattr(group_members.pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=uids[name]))
    monkeypatch.setattr(group_members, "USERS_FILE", str(tmp_path / "passwd"))
    monkeypatch.setattr(group_members, "GROUPS_FILE", str(tmp_path / "group"))
    (tmp_path / "passwd").write_text(passwd)
    (tmp_path / "group").write_text(f"root:x:0:\nfirst:x:{group}:{','.join(names)}\n")


@pytest.mark.slow
@as_root
@pytest.mark.parametrize(
    ("names", "passwd", "is_found"),
    some_fast(
        [
            ((), "root:x:0:0:\nalice:x:1234:1234:\n", False),
            (("alice", "root"), "alice:x:1234:1234:\n", False),
            (("alice", "bob"), "alice:x:1234:1234:\n", True),
            (("deleted",), "", True),
            ((), "alice:x:1234:1234:\nbob:x:4321:1234:\n", True),  # useradd -g alice bob
            ((), "bob:x:4321:12345:\n+::::::\n\n", False),
            ((), "alice:x:1234:1234:\n" * 60_000, True),  # too large to be searched
        ],
        every=2,
    ),
)
@pytest.mark.usefixtures("restored_process")
def test_directory_is_shared_if_its_group_has_another_member(
    names: tuple[str, ...],
    passwd: str,
    is_found: bool,
    container: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """After ``usermod -aG alice bob``, bob added a template that rendered alice's password."""
    words = hook_line("lxc", container, monkeypatch)
    members(monkeypatch, container.parent, 1234, names, passwd)
    os.chown(container, 1234, 1234)
    container.chmod(0o2755)
    assert run(words) == 0
    container.chmod(0o2775)
    assert run(words) == (RefusedError.exit_code if is_found else 0)
    assert (f"other users can write to '{container}'" in capfd.readouterr().err) == is_found


@as_root
@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("devs:x:1234:alice", False), ("devs:x:1234:alice,bob", True), ("devs:x:01234:bob", True),
        ("devs:x:12345:bob", False), ("devs:x::bob\nb:x\n\n", False), ("a:x:1:\n" * 200_000, True),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("restored_process")
def test_directory_is_shared_if_a_duplicate_group_has_members(
    line: str, is_found: bool, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ``groupadd -o -g 1234 devs``, getgrgid(3) returns only the members of the first name."""
    words = hook_line("lxc", container, monkeypatch)
    members(monkeypatch, container.parent, 1234, ("alice",), "alice:x:1234:1234:\n")
    with (container.parent / "group").open("a") as file:
        file.write(line)
    os.chown(container, 1234, 1234)
    container.chmod(0o2775)
    assert run(words) == (RefusedError.exit_code if is_found else 0)


@as_root
def test_group_members_are_not_looked_up_for_gid_0(container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LXC makes directories that the group 0 can write. The members of this group count as root."""
    monkeypatch.setattr(group_members, "has_other_members", lambda *_: 1 / 0)
    container.chmod(0o770)
    assert not shared_place(str(container))
    os.chown(container, 1234, 1234)
    container.chmod(0o755)
    assert not shared_place(str(container))


@as_root
@pytest.mark.parametrize(
    ("gid", "owner", "rows", "group"),
    [
        (0, 0, [(0, 1234, 1), (1, 100000, 65536)], 1234),  # rootless podman
        (65536, 65536, [(0, 100000, 65536), (65536, 1234, 1)], 1234),  # lxc-usernsexec
        (1234, 0, [(0, 1000000, 65536)], 1234),  # in a container with an own /etc
    ],
)
def test_group_in_a_namespace_is_looked_up_by_gid(
    gid: int, owner: int, rows: list[Any], group: int, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writable_by_others, "own_map", lambda _: iter(rows))
    for module in (writable_by_others, trusted_paths):
        monkeypatch.setattr(module, "namespace_owner", lambda: owner)
    os.chown(container, gid if gid == 1234 else 0, gid)
    container.chmod(0o2770)
    members(monkeypatch, container.parent, group, ("alice",), "alice:x:1234:1234:\n")
    assert not shared_place(str(container))
    members(monkeypatch, container.parent, group, ("bob",), "")
    assert shared_place(str(container)) == str(container)


@as_root
@pytest.mark.parametrize("kind", ["link", "file"])
def test_root_owned_files_in_a_sticky_directory_are_changeable(tmp_path: Path, kind: str) -> None:
    """A user can move a file of root into a sticky directory, for example from an unpacked image."""
    (tmp_path / "shared/own").mkdir(parents=True)
    place = tmp_path / "shared/place"
    place.write_text("") if kind == "file" else place.symlink_to("own")
    assert not is_changeable(str(place))
    (tmp_path / "shared").chmod(0o1777)
    assert is_changeable(str(place))
    assert not is_changeable(f"{tmp_path}/shared/own")


@as_root
def test_a_link_of_root_in_a_sticky_directory_is_refused(tmp_path: Path) -> None:
    """A user moved a link into the sticky directory. root had unpacked the link in the user's directory."""
    (tmp_path / "web2").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/link").symlink_to(tmp_path / "web2")
    open_unshared(f"{tmp_path}/shared/link").close()
    (tmp_path / "shared").chmod(0o1777)
    for use in (open_unshared, trusted_paths.open_folder, trusted_paths.make_folder, trusted_paths.open_file):
        with pytest.raises(RefusedError, match=r"'link' on the way to .* may be a link that another"):
            use(f"{tmp_path}/shared/link")


@as_root
@pytest.mark.parametrize("is_root", [True, False])
def test_fifo_of_another_user_is_refused_as_a_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_root: bool
) -> None:
    """``apply -i`` waited for the other user to write to the fifo."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    os.close(trusted_paths.open_file(str(fifo), os.O_RDONLY | os.O_NONBLOCK))
    os.chown(fifo, 1234, 1234)
    if not is_root:
        monkeypatch.setattr(trusted_paths.os, "geteuid", lambda: 4321)
    for use in (read_instance, AccessLog):
        with pytest.raises(RefusedError, match=r"fifo' is a fifo of another user"):
            use(str(fifo))


@as_root
def test_root_writes_no_access_log_through_another_users_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, private = tmp_path / "home", tmp_path / "private"
    private.mkdir()
    home.mkdir()
    (home / "link").symlink_to(private)
    (home / "log").symlink_to(private / "log")
    (private / "log").write_text("a\n")
    log = AccessLog(str(home / "log"))
    log.write("b")
    AccessLog(str(home / "link/new")).write("c")
    os.chown(home, 1234, 1234)
    for path in ("log", "link/log", "link/newer"):
        with pytest.raises(RefusedError, match="may be a link that another user controls"):
            AccessLog(str(home / path))
    log.open()
    log.write("d")
    assert "log' again: 'log' on the way to" in capsys.readouterr().err
    with pytest.raises(RefusedError, match="may be a link that another user controls"):
        _write_rules("https://images.example.com", str(home / "link/rules"))
    assert (private / "log").read_text() == "a\nb\nd\n"
    assert sorted(os.listdir(private)) == ["log", "new"]
    os.chown(home / "log", 1234, 1234, follow_symlinks=False)
    (private / "log").unlink()
    with pytest.raises(RefusedError, match="may be a link that another user controls"):
        AccessLog(str(home / "log"))
    monkeypatch.chdir(home)
    AccessLog("own").write("e")
    assert (home / "own").read_text() == "e\n"


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs /proc")
def test_a_description_can_come_from_a_pipe(tmp_path: Path) -> None:
    """In a shell, ``<(command)`` gives the path of a pipe."""
    reading, writing = os.pipe()
    os.write(writing, b"name: c9\n")
    os.close(writing)
    assert read_instance(f"/dev/fd/{reading}").name == "c9"
    os.close(reading)


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("runtime", ["lxc", "oci", "nspawn"])
@pytest.mark.parametrize("is_separate", [False, True])
def test_attack_74_a_hook_refuses_a_container_that_another_user_can_replace(
    is_separate: bool,
    runtime: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A user who owned the directory of two containers exchanged the containers while the hook ran."""
    container = tmp_path / "u/c1"
    (container / "rootfs").mkdir(parents=True)
    (container / "config").write_text(f"lxc.rootfs.path = dir:{container}/rootfs\n")
    words = hook_line(runtime, container, monkeypatch)
    if is_separate:
        for name in ("image", "state"):
            (tmp_path / name).mkdir()
            words[1:1] = [f"--{name.replace('image', 'source')}", f"{tmp_path}/{name}"]
        for name in ("metadata.yaml", "templates"):
            (container / name).rename(tmp_path / "image" / name)
    os.chown(container, 100_000, 100_000)  # the container's own directory may belong to its root user
    os.chown(container / "rootfs", 100_000, 100_000)
    monkeypatch.setattr(nspawn, "RANGE", 100_000)
    os.chown(tmp_path / "u", 1234, 1234)
    assert run(words) == RefusedError.exit_code
    said = capfd.readouterr().err
    assert f"'{tmp_path}/u' belongs to another user (uid 1234), who can replace '{tmp_path}/u/c1" in said
    assert "use a directory of root, such as /var/lib/lxc, or run the hook as uid 1234" in said
    assert not list((container / "rootfs").iterdir()) and not (container / ".templater").exists()
    monkeypatch.setattr(trusted_paths, "namespace_creator", lambda: 1234)  # with lxc.idmap = u 1234 1234 1
    with pytest.raises(RefusedError, match="uid 1234") as refused:
        open_unshared(str(container))
    assert refused.value.hint == (
        "if uid 1234 is the user who starts the container, add --owner 1234 to the hook line: run"
        " templater hook install lxc NAME --write"
    )
    monkeypatch.setattr(trusted_paths.os, "geteuid", lambda: 1234)  # the user's own hook
    with trusted_paths.open_folder(str(container), fixed=True), open_unshared(str(container)):
        pass


@as_root
@pytest.mark.usefixtures("restored_process")
def test_attack_33_an_id_map_is_not_guessed_from_an_owner(
    container: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With ``lxc-start -s lxc.idmap=…``, the container's root shifted ids into the next container's range."""
    words = hook_line("lxc", container, monkeypatch)
    os.chown(container / "rootfs", 1_001_000, 1_001_000)
    assert run(words) == RefusedError.exit_code
    assert not (container / "rootfs/a").exists()
    said = capfd.readouterr().err
    assert f"the id map gives root the uid 0 on disk, but '{container}/rootfs' belongs to uid 1001000" in said
    assert "set the id map in the container's configuration, or give the directory to root" in said
    finding = lxc_install_and_status.ids_status(f"{container}/config", f"{container}/rootfs", is_given=False)
    assert finding.ok is False and finding.text in said
    map_ids(container, 1_001_000)
    assert run(words) == 0


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(("owner", "is_refused"), [(1_001_000, True), (1_000_000, False), (0, False)])
def test_attack_33_a_given_root_filesystem_must_belong_to_root(
    owner: int, is_refused: bool, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``--rootfs``, the hook did not use lxc.idmap, and the container's root could choose the map."""
    words = hook_line("lxc", container, monkeypatch)
    map_ids(container, 1_000_000)
    os.chown(container / "rootfs", owner, owner)
    assert run([*words, "--rootfs", f"{container}/rootfs"]) == (RefusedError.exit_code if is_refused else 0)
    file, rootfs = container / "rootfs/a", f"{container}/rootfs"
    assert file.exists() != is_refused
    assert is_refused or file.stat().st_uid == owner
    finding = lxc_install_and_status.ids_status(f"{container}/config", rootfs, is_given=True)
    assert finding.ok is not is_refused


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(
    ("owner", "linux", "is_refused"),
    [
        (1_001_000, {}, True), (1000, {}, False), (1_001_000, {"namespaces": [{"type": "user"}]}, True),
        (1_001_000, {"namespaces": [{"type": "pid"}, 1]}, True), (1_001_000, {"namespaces": 1}, True),
    ],
)  # fmt: skip
def test_attack_33_the_id_map_of_a_bundle_is_not_guessed(
    owner: int, linux: object, is_refused: bool, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without an id map gave its / to another id, and the hook shifted the ids of its files."""
    words = hook_line("oci", container, monkeypatch)
    (container / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, "linux": linux}))
    os.chown(container / "rootfs", owner, owner)
    assert run(words) == (RefusedError.exit_code if is_refused else 0)
    assert (container / "rootfs/a").exists() != is_refused


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(
    ("owner", "has_pid", "is_refused"),
    [(1_001_000, True, True), (1_000_000, True, False), (1_000_000, False, True)],
)
def test_attack_33_id_map_of_a_bundle_comes_from_its_namespace(
    owner: int,
    has_pid: bool,
    is_refused: bool,
    container: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The configuration gave only the path of the namespace, so the bundle had no mappings."""
    words = hook_line("oci", container, monkeypatch)
    namespaces = [{"type": "pid"}, {"type": "user", "path": "/proc/1234/ns/user"}]
    config = {"root": {"path": "rootfs"}, "linux": {"namespaces": namespaces}}
    (container / "config.json").write_text(json.dumps(config))
    os.chown(container / "rootfs", owner, owner)
    with user_namespace(1000000) as pid:
        state = json.loads(oci._stdin()) | ({"pid": pid} if has_pid else {})
        monkeypatch.setattr(oci, "_stdin", lambda: json.dumps(state).encode())
        assert run(words) == (RefusedError.exit_code if is_refused else 0)
    file, said = container / "rootfs/a", capfd.readouterr().err
    assert file.exists() != is_refused
    assert is_refused or file.stat().st_uid == owner
    assert has_pid or "the id map of the container's user namespace is unknown: the state" in said


@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(
    ("owner", "mode", "own", "is_refused"),
    [
        (1234, 0o755, 0, True), (1234, 0o1777, 0, True), (0, 0o777, 0, True), (0, 0o1777, 0, False),
        (1234, 0o755, 1234, False), (1234, 0o777, 1234, True), (0, 0o755, 100_000, False),
    ],
)  # fmt: skip
def test_attack_74_root_filesystem_is_refused_if_others_can_replace_it(
    owner: int, mode: int, own: int, is_refused: bool, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of another user contained the root filesystems of several containers."""
    words = hook_line("lxc", container, monkeypatch)
    rootfs = container.parent / "u/c1-root"
    rootfs.mkdir(parents=True)
    monkeypatch.setenv("LXC_ROOTFS_PATH", str(rootfs))
    map_ids(container, own)
    os.chown(rootfs, own, own)
    os.chown(rootfs.parent, owner, owner)
    rootfs.parent.chmod(mode)
    assert run(words) == (RefusedError.exit_code if is_refused else 0)
    assert (rootfs / "a").exists() != is_refused


@pytest.mark.slow
@as_root
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize(
    ("runtime", "place"),
    [("lxc", "c1/vols/web1"), ("lxc", "c1/vols/a/web1"), ("lxc", "state/web1"), ("oci", "c1/vols/web1")],
)
@pytest.mark.parametrize("owner", [0, 1234])
def test_attack_74_a_root_filesystem_in_another_users_directory_is_refused(
    owner: int, runtime: str, place: str, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook checked the container's directory, but not the directories in the container's directory."""
    words = hook_line(runtime, container, monkeypatch)
    rootfs = container.parent / place
    rootfs.mkdir(parents=True)
    monkeypatch.setenv("LXC_ROOTFS_PATH", str(rootfs))
    (container / "config.json").write_text(json.dumps({"root": {"path": str(rootfs)}}))
    if place == "state/web1":
        words[1:1] = ["--state", str(rootfs.parent)]
        monkeypatch.setattr(run_module, "trusted_owners", lambda _: {0, owner})
    os.chown(rootfs.parent, owner, owner)
    assert run(words) == (RefusedError.exit_code if owner else 0)
    assert (rootfs / "a").exists() != bool(owner)


@as_root
@pytest.mark.usefixtures("restored_process")
def test_attack_74_the_lxc_hook_uses_no_configuration_that_another_user_can_replace(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id map of another container would give files to users of that container."""
    words = [
        *hook_line("lxc", container, monkeypatch),
        "--source",
        str(container),
        "--state",
        f"{tmp_path}/state",
    ]
    for name in ("state", "u/c1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "u/c1/config").write_text(f"lxc.rootfs.path = {container}/rootfs\n")
    monkeypatch.setenv("LXC_CONFIG_FILE", f"{tmp_path}/u/c1/config")
    os.chown(tmp_path / "u", 1234, 1234)
    assert run(words) == RefusedError.exit_code
    assert not list((container / "rootfs").iterdir())
    os.chown(tmp_path / "u", 0, 0)
    assert run(words) == 0


@as_root
def test_incus_hook_accepts_root_owned_files_in_the_container(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Incus can use an id-mapped mount, it stores a root filesystem with unmapped ids."""
    hook_line("lxc", container, monkeypatch)
    os.chown(container, 100_000, 0)
    options = Options()
    options.state = str(tmp_path)
    request = incus.read_request(options, dict(os.environ))
    assert isinstance(request, HookRequest)
    with trusted_paths.open_folder(str(tmp_path)) as state, run_module._open_rootfs(request, state) as found:
        assert os.fstat(found.fd).st_ino == (container / "rootfs").stat().st_ino
    os.chown(tmp_path, 1234, 1234)
    with pytest.raises(RefusedError, match=f"'{tmp_path}' belongs to another user"):
        incus.read_request(options, dict(os.environ))


@as_root
@pytest.mark.parametrize(
    ("owners", "place"),
    [
        ((0, 0, 0), ""), ((0, 0, 1234), ""), ((0, 1234, 1234), ""), ((1234, 1234, 1234), ""),
        ((0, 1234, 0), "a/b"), ((1234, 0, 0), "a"), ((1234, 0, 1234), "a"), ((0, 1234, 5678), "a/b"),
    ],
)  # fmt: skip
def test_attack_74_entries_of_a_users_directory_need_the_same_owner(
    owners: tuple[int, ...], place: str, tmp_path: Path
) -> None:
    """An unprivileged LXC snapshot has its upper layer at overlay/delta.

    The container's root owns both directories.
    """
    (tmp_path / "a/b/c").mkdir(parents=True)
    for name, owner in zip(("a", "a/b", "a/b/c"), owners, strict=True):
        os.chown(tmp_path / name, owner, owner)
    assert shared_place(f"{tmp_path}/a/b/c") == (f"{tmp_path}/{place}" if place else "")


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs directory descriptors")
@pytest.mark.parametrize("place", ["{}/rootfs", "{}/sub/rootfs", "{}/../link/sub/rootfs", "/{}/rootfs"])
def test_attack_74_apply_refuses_a_source_replaced_by_another_instance(place: str, container: Path) -> None:
    """`apply` checked only a root filesystem directly in SRC whose path began with the text of SRC."""
    other = container.parent / "c2"
    for folder in (container, other):
        for name in ("rootfs", "sub/rootfs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "metadata.yaml").write_text("architecture: x86_64\n")
    (container.parent / "link").symlink_to("c1")
    path = place.format(container)
    source = open_source(str(container))
    source.open_below(path).close()
    container.rename(container.parent / "c3")
    other.rename(container)
    with pytest.raises(RefusedError, match=r"another process replaced the directory '.*/c1'"):
        source.open_below(path)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs directory descriptors")
@pytest.mark.parametrize("slashes", ["", "/"])
def test_attack_74_apply_detects_a_source_replaced_by_a_link(
    slashes: str, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the root filesystem was opened, SRC was a link, but only while `apply` resolved the path."""
    other = container.parent / "c2"
    for folder in (container, other):
        (folder / "sub/rootfs").mkdir(parents=True)
        (folder / "metadata.yaml").write_text("architecture: x86_64\n")
    source = open_source(str(container))
    container.rename(container.parent / "c3")
    other.rename(container)
    resolve = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: "/x" if path == source.path else resolve(path))
    with pytest.raises(RefusedError, match=r"another process replaced the directory '.*/c1'"):
        source.open_below(f"{slashes}{container}/sub/rootfs")


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs directory descriptors")
@pytest.mark.parametrize("way", ["image", "rootfs"])
def test_reading_an_opened_directory_fails_if_another_instance_has_replaced_it(
    way: str, container: Path
) -> None:
    """The owner of the directory above exchanged the names of two instances of root."""
    other = container.parent / "c2"
    (other / "rootfs").mkdir(parents=True)
    for folder in (container, other):
        (folder / "metadata.yaml").write_text("architecture: x86_64\n")
    source = open_source(str(container))
    assert source.image.read_metadata().data
    source.open_below(f"{container}/rootfs").close()
    source.open_below(f"{other}/rootfs").close()  # not below SRC
    container.rename(container.parent / "c3")
    other.rename(container)
    with pytest.raises(RefusedError, match=r"another process replaced the directory '.*/c1'"):
        if way == "image":
            source.image.read_metadata()
        else:
            source.open_below(f"{container}/rootfs")


@as_root
def test_attack_74_no_cache_directory_is_created_below_a_replaceable_directory(
    tmp_path: Path,
) -> None:
    """templater made a directory first, possibly in any directory of root, and then refused the cache."""
    (tmp_path / "u/x").mkdir(parents=True)
    os.chown(tmp_path / "u", 1234, 1234)
    assert open_cache(f"{tmp_path}/u/x/cache") is None
    assert not list((tmp_path / "u/x").iterdir())


@as_root
def test_root_changes_no_tree_through_a_link_of_another_user(tmp_path: Path) -> None:
    """``streams prune u/tree`` deleted the images of another user's tree."""
    Tree(str(tmp_path / "tree")).create()
    link = tmp_path / "home/link"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "tree")
    with Tree(str(link)).lock():
        pass
    os.chown(link.parent, 1234, 1234)
    for use in (
        Tree(str(link)).create,
        Tree(str(link / "new")).create,
        lambda: Tree(str(link)).lock().__enter__(),
    ):
        with pytest.raises(RefusedError, match="may be a link that another user controls"):
            use()
    assert not (tmp_path / "tree/new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        open_directory(str(tmp_path / "file"))


def test_apply_writes_its_record_only_next_to_the_changed_root_filesystem(
    container: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The names of two instances were exchanged before the record was opened."""
    other = container.parent / "c2"
    for folder in (container, other):
        (folder / "rootfs").mkdir(parents=True, exist_ok=True)
        (folder / ".templater").mkdir(0o700)
        (folder / "metadata.yaml").write_text("architecture: x86_64\ntemplates: {}\n")
        (folder / "instance.yaml").write_text("name: c1\n")
    words = ["apply", str(container), f"{container}/rootfs", "-t", "start"]
    assert main(words) == 0
    folder_of = apply_and_record.state_folder

    def exchanged(src: str, rootfs: str) -> str:
        found = folder_of(src, rootfs)
        container.rename(container.parent / "c3")
        other.rename(container)
        return found

    monkeypatch.setattr(apply_and_record, "state_folder", exchanged)
    assert main(words) == RefusedError.exit_code
    assert "another process replaced the directory" in capfd.readouterr().err
    assert list((container / ".templater").iterdir()) == []


@as_root
def test_root_opens_no_image_through_another_users_link(container: Path) -> None:
    """``apply u/web1 u/web1/rootfs`` rendered the password of the instance to which the user's link led."""
    (container / "metadata.yaml").write_text("architecture: x86_64\n")
    (container / "instance.yaml").write_text("name: c1\n")
    link = container.parent / "home/c1"
    link.parent.mkdir()
    link.symlink_to(container)
    openers = open_source, lambda path: DirectoryImage(path).read_metadata(), DirectoryContents
    for opened in openers:
        opened(str(link))
    os.chown(link.parent, 1234, 1234)
    for opened in openers:
        with pytest.raises(RefusedError, match="may be a link that another user controls"):
            opened(str(link))


@as_root
def test_root_opens_no_image_file_through_a_link_of_another_user(tmp_path: Path) -> None:
    """``streams add TREE u/link.tar`` published a private image of root."""
    (tmp_path / "home").mkdir()
    (tmp_path / "image").write_text("private")
    (tmp_path / "home/own").symlink_to(tmp_path / "image")
    (tmp_path / "again").symlink_to("home/own")
    (tmp_path / "folder").symlink_to("home")
    (tmp_path / "loop").symlink_to("loop")
    paths = [str(tmp_path / name) for name in ("home/own", "again", "folder/own", "image")]
    for path in paths:
        os.close(open_regular(path))
    with open(tmp_path / "image") as file:
        os.close(open_regular(f"/proc/self/fd/{file.fileno()}"))
    with pytest.raises(RefusedError, match="too many links"):
        open_regular(str(tmp_path / "loop"))
    os.chown(tmp_path / "home", 1234, 1234)
    for path in paths[:3]:
        with pytest.raises(RefusedError, match="may be a link that another user controls"):
            open_regular(path)
    os.close(open_regular(paths[3]))


@pytest.mark.parametrize("command", [["streams", "add", "tree"], ["store", "import", "--public"], ["serve"]])
def test_a_private_image_file_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """In a directory of a user, the user renamed a container's image to the image that root published."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    Path(unified_image(tmp_path)).rename("my image.tar")
    os.chmod("my image.tar", 0o640)
    assert main([*command, "my image.tar"]) == 3
    assert capsys.readouterr().err == (
        "templater: 'my image.tar' is private: other users can't read the file, so it is not published\n"
        "hint: it may contain passwords; if everyone may read it, run: chmod o+r 'my image.tar'\n"
    )
    assert not os.path.exists("tree")
    assert main(["store", "import", "my image.tar"]) == 0
    os.chmod("my image.tar", 0o644)
    if command != ["serve"]:
        assert main([*command, "my image.tar"]) == 0


@as_root
def test_root_may_publish_the_private_image_of_another_user(tmp_path: Path) -> None:
    """Only the owner of the image can have moved the image to this path."""
    path = unified_image(tmp_path)
    os.chown(path, 1234, 1234)
    os.chmod(path, 0o600)
    assert main(["streams", "add", str(tmp_path / "tree"), path]) == 0


@as_root
@pytest.mark.parametrize(("uid", "mode"), [(1234, 0o600), (0, 0o644)])
@pytest.mark.parametrize("moved", ["file", "directory", "rootfs"])
def test_image_with_private_files_of_root_is_private(tmp_path: Path, uid: int, mode: int, moved: str) -> None:
    """A user moved private files of root into an image. ``image build`` then packed them for all users."""
    rootfs = tmp_path / "image/rootfs"
    rootfs.mkdir(parents=True)
    (tmp_path / "image/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    if moved == "file":
        (rootfs / "secret").touch(0o600)
    elif moved == "directory":
        (rootfs / "secret").mkdir(0o700)
    else:
        rootfs.chmod(0o700)
    os.chown(rootfs.parent if moved == "rootfs" else rootfs, uid, uid)
    assert main(["image", "build", str(tmp_path / "image"), "-o", str(tmp_path / "i.tar")]) == 0
    assert stat.S_IMODE(os.stat(tmp_path / "i.tar").st_mode) == mode


@as_root
@pytest.mark.parametrize("packing", [Packing(), Packing("split", rootfs="squashfs")])
def test_the_temporary_file_of_an_image_with_private_files_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: Packing
) -> None:
    """Without O_TMPFILE, the image had a hidden name and the mode 0644 until it was complete."""
    monkeypatch.delattr(os, "O_TMPFILE")
    rootfs, out = tmp_path / "image/rootfs", tmp_path / "out"
    rootfs.mkdir(parents=True)
    out.mkdir()
    (tmp_path / "image/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    (rootfs / "secret").write_bytes(bytes(1 << 20) + b"x")
    (rootfs / "secret").chmod(0o600)
    os.chown(rootfs, 1234, 1234)
    modes = set()

    def look(count: int, position: int, name: str) -> None:
        if name.endswith("secret"):
            modes.update(stat.S_IMODE(path.stat().st_mode) for path in out.iterdir())

    contents = open_contents(str(tmp_path / "image"))
    build(contents, contents.parts(), str(out / "i"), packing, progress=look)
    assert 0o600 in modes


@as_root
@pytest.mark.parametrize(
    ("command", "name"),
    [("check", "templater.toml"), ("check", "c1.yaml"), ("test", "tests/a.yaml")],
)
def test_check_and_test_commands_hide_private_files_of_root(
    tmp_path: Path, command: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The error about a private file of root showed a line of the file."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "metadata.yaml").write_text("{}\n")
    (tmp_path / "templater.toml").write_text('instances = ["c1.yaml"]\n')
    (tmp_path / name).write_text("pass word: hunter2\n")
    for path in (tmp_path, tmp_path / "tests"):
        os.chown(path, 1234, 1234)
    assert main([command, str(tmp_path)]) != 0
    shown = capfd.readouterr()
    assert "hunter2" in shown.out + shown.err
    os.chmod(tmp_path / name, 0o600)
    assert main([command, str(tmp_path)]) != 0
    shown = capfd.readouterr()
    assert "or chown the file to the owner of the directory" in shown.out + shown.err
    assert "hunter2" not in shown.out + shown.err


@as_root
@pytest.mark.parametrize("text", ["root: hunter2: x\n", "name: hunter2/\n", "{name: c1, type: hunter2}\n"])
@pytest.mark.parametrize("name", ["instance.yaml", "backup.yaml"])
def test_private_description_in_another_users_directory_is_not_quoted(
    tmp_path: Path, name: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another user can have moved a private file of root to the description's path."""
    (tmp_path / "metadata.yaml").write_text("{}\n")
    (tmp_path / name).write_text(text)
    os.chown(tmp_path, 1234, 1234)
    assert main(["preview", str(tmp_path)]) != 0
    shown = capfd.readouterr()
    assert "hunter2" in shown.out + shown.err
    os.chmod(tmp_path / name, 0o600)
    assert main(["preview", str(tmp_path)]) != 0
    shown = capfd.readouterr()
    assert "hunter2" not in shown.out + shown.err
    assert "the description of the instance is invalid" in shown.err
    os.chown(tmp_path, 0, 0)
    assert main(["preview", str(tmp_path)]) != 0
    shown = capfd.readouterr()
    assert "hunter2" in shown.out + shown.err


@as_root
@pytest.mark.parametrize("name", ["metadata.yaml", "templates/a"])
@pytest.mark.parametrize("command", ["audit", "check"])
def test_private_file_in_another_users_directory_is_not_reported(
    tmp_path: Path, command: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """`check` printed a line of a private file, which another user had moved into the directory."""
    folder = tmp_path / "image"
    (folder / "templates").mkdir(parents=True)
    (folder / "metadata.yaml").write_text("templates: {/etc/a: {template: a, when: [create]}}\n")
    (folder / name).write_text("password=hunter2 [ {{")
    for path in (folder, folder / "templates"):
        os.chown(path, 1234, 1234)
    main([command, str(folder)])
    assert "hunter2" in capfd.readouterr().out or command == "audit"
    os.chmod(folder / name, 0o600)
    assert main([command, str(folder)]) != 0
    shown = capfd.readouterr()
    assert "is private to uid 0, but its directory belongs to uid 1234" in shown.out + shown.err
    assert "hunter2" not in shown.out + shown.err


def test_edit_is_refused_if_another_file_replaces_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit wrote metadata.yaml of a private image into a file of another user.

    The other user had put this file at the image's path.
    """
    private, own = Path(unified_image(tmp_path)), Path(unified_image(tmp_path / "own"))
    before = own.read_bytes()
    edited = set_property.edited

    def exchanged(*given: Any) -> Any:
        os.rename(own, private)
        return edited(*given)

    monkeypatch.setattr(set_property, "edited", exchanged)
    assert main(["image", "set-property", str(private), "a=b"]) == 3
    assert private.read_bytes() == before


def test_exported_content_and_mode_come_from_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Export opened the image twice. Meanwhile, the owner gave the image's name to a private image."""
    own, private, made = (tmp_path / name for name in ("own.tar", "private.tar", "made.tar"))
    for path in (own, private):
        members = {"metadata.yaml": metadata_yaml(), "rootfs": None, f"rootfs/{path.name}": b""}
        path.write_bytes(tarball(members))
    private.chmod(0o600)
    rootfs = UnifiedContents.rootfs

    def exchanged(contents: UnifiedContents) -> Any:
        os.rename(private, own)
        return rootfs(contents)

    monkeypatch.setattr(UnifiedContents, "rootfs", exchanged)
    assert main(["image", "export", str(own), str(made)]) == 0
    with tarfile.open(made) as archive:
        assert "rootfs/own.tar" in archive.getnames()
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o644
    assert not private.exists()


@as_root
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_image_with_a_swapped_in_private_file_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """templater opened a path twice, and checked only the file that it opened first."""
    own, secret = tmp_path / "image/rootfs/a", tmp_path / "image/rootfs/z"
    own.parent.mkdir(parents=True)
    (tmp_path / "image/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    for path in (own, secret):
        if kind == "directory":
            path.mkdir()
        (path / "x" if kind == "directory" else path).write_text(path.name)
    secret.chmod(0o700 if kind == "directory" else 0o600)
    for path in (own.parent, own):
        os.chown(path, 1234, 1234)
    function = directory_members.Tree._look_inside if kind == "file" else Directory.lstat

    def exchanged(*given: Any) -> Any:
        result = function(*given)
        if "a" in given and own.stat().st_uid == 1234:
            os.rename(own, tmp_path / "own")
            os.rename(secret, own)
            os.rename(tmp_path / "own", secret)
        return result

    monkeypatch.setattr(
        *(directory_members.Tree, "_look_inside") if kind == "file" else (Directory, "lstat"), exchanged
    )
    assert main(["image", "build", str(tmp_path / "image"), "-o", str(tmp_path / "i.tar")]) == 0
    with tarfile.open(tmp_path / "i.tar") as archive:
        content = archive.extractfile("rootfs/a/x" if kind == "directory" else "rootfs/a")
        assert content is not None
        assert content.read() == b"z"
    assert stat.S_IMODE(os.stat(tmp_path / "i.tar").st_mode) == 0o600


@as_root
def test_namespace_owner_may_own_directories_above_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks of unprivileged containers run in the namespace of lxc-usernsexec."""
    (tmp_path / "home/state").mkdir(parents=True)
    for place in (tmp_path / "home", tmp_path / "home/state"):
        os.chown(place, 65536, 65536)
    (tmp_path / "home/link").symlink_to(tmp_path / "home/state")
    os.chown(tmp_path / "home/link", 65536, 65536, follow_symlinks=False)
    for place in (tmp_path / "home/state", tmp_path / "home/link"):
        for module in (writable_by_others, trusted_paths):
            monkeypatch.setattr(module, "namespace_owner", lambda: 65536)
        assert not shared_place(str(place), owners=(0,))
        for module in (writable_by_others, trusted_paths):
            monkeypatch.setattr(module, "namespace_owner", lambda: 0)
        assert shared_place(str(place), owners=(0,)) == str(tmp_path / "home")


@as_root
def test_clone_hook_takes_no_image_from_a_shared_directory(container: Path) -> None:
    copy = container.parent / "copy"
    copy.mkdir()
    share(container, "1775")
    with pytest.raises(RefusedError, match="other users can write to"):
        clone(str(copy), "copy", "c1", Options())
    assert list(copy.iterdir()) == []


@as_root
@pytest.mark.parametrize("kind", ["link", "file"])
def test_root_owned_entry_in_a_sticky_directory_is_changeable(kind: str, tmp_path: Path) -> None:
    """A user moved a file of root into a sticky directory, and `hook status` ran a hook line of the file."""
    place = tmp_path / "name"
    place.symlink_to("/etc") if kind == "link" else place.touch()
    assert not is_changeable(str(place))
    tmp_path.chmod(0o1777)
    assert is_changeable(str(place))
    assert not is_changeable(str(tmp_path))


@as_root
@pytest.mark.parametrize("way", ["{}", "/proc/self/root{}", "/proc/{pid}/cwd", "{}/c1/rootfs/lx"])
def test_the_hook_status_command_does_not_run_an_unknown_hook_line(
    container: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uid 0 also owned the files of a nested container.

    A hook line of these files ran as root of the host.
    """
    trace = hostile(container)
    monkeypatch.chdir(container.parent)
    (container / "rootfs/lx/c1").mkdir(parents=True)
    shutil.copy(container / "config", container / "rootfs/lx/c1/config")
    path = way.format(container.parent, pid=os.getpid())
    found = [finding.text for finding in lxc.status("c1", path)]
    assert any("this installation of templater writes a different line: touch" in text for text in found)
    assert not trace.exists()


@as_root
@pytest.mark.parametrize(("mode", "is_refused"), [(0o1777, True), (0o755, False)])
def test_mount_in_a_sticky_directory_is_not_trusted(
    mode: int, is_refused: bool, tmp_path: Path, mounts: Any
) -> None:
    """A user mounted a FUSE file system in a sticky directory. The file system showed root as owner."""
    (tmp_path / "shared/mounted").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "shared").chmod(mode)
    mounts.tmpfs(tmp_path / "shared/mounted", "size=1m,mode=755")
    (tmp_path / "shared/mounted/state").mkdir()
    (tmp_path / "shared/mounted/link").symlink_to(tmp_path / "other")
    for name in ("link", "state", "."):
        assert bool(shared_place(f"{tmp_path}/shared/mounted/{name}", owners=(0,))) == is_refused
    assert is_changeable(f"{tmp_path}/shared/mounted") == is_refused


@as_root
def test_the_hook_status_command_finds_a_directory_writable_by_other_users(container: Path) -> None:
    hostile(container)
    (container / "metadata.yaml").touch()
    share(container, "1775")
    found = [finding for finding in lxc.status("c1", str(container.parent)) if finding.ok is False]
    assert "other users can write to" in found[-1].text


def hostile(container: Path) -> Path:
    """Add a hook line that creates a file if it is run, and return that file."""
    config = container / "config"
    trace = container.parent / "trace"
    line = f"lxc.hook.pre-start = touch {trace}; : from templater_hook import\n"
    config.write_text(config.read_text() + line)
    return trace


@pytest.mark.parametrize(
    "line", ["python -c 'from templater_hook import main", 'env "from templater_hook import']
)
def test_an_unbalanced_quote_in_a_hook_line_gives_a_finding(container: Path, line: str) -> None:
    with (container / "config").open("a") as config:
        config.write(f"lxc.hook.pre-start = {line}\n")
    failed = [finding.text for finding in lxc.status("c1", str(container.parent)) if finding.ok is False]
    assert len(failed) == 2 and failed[0].startswith("the hook line was not run, because")
    assert failed[1] == f"'{container}' has no metadata.yaml"


@pytest.mark.parametrize("annotations", [[], ["x"], "x", 3, {"org.templater.source": 5}])
def test_invalid_annotations_and_arguments_of_a_bundle_give_findings(
    tmp_path: Path, annotations: object
) -> None:
    hooks = {
        "createRuntime": [
            {"path": "true", "args": ["true", "from templater_hook import"]},
            {"args": ["from templater_hook import", 7]},
        ]
    }
    (tmp_path / "config.json").write_text(json.dumps({"annotations": annotations, "hooks": hooks}))
    stage, line, image = oci.status(str(tmp_path), "")
    assert (stage.ok, stage.text) == (True, "the hook of stage 'createRuntime' calls templater")
    assert line.ok is False
    assert line.text.startswith("the hook line was not run")
    assert (image.ok, image.text) == (False, f"'{tmp_path}' has no metadata.yaml")


def test_the_install_command_does_not_follow_a_temporary_link(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of a folder could have copied content that only root can read into a file of that owner."""
    config, secret = container / "config", container.parent / "shadow"
    secret.write_text("root:hash\n")
    config.unlink()
    config.symlink_to(secret)
    real = install._replace

    def replace(path: str, text: str) -> None:
        config.unlink()
        config.write_text("lxc.uts.name = c1\n")
        real(path, text)

    monkeypatch.setattr(install, "_replace", replace)
    with pytest.raises(RefusedError, match="symlink"):
        install.write(lxc.snippet("c1", [], str(container.parent)))
    assert config.is_symlink()


@as_root
@pytest.mark.parametrize("moment", ["before reading", "before replacing"])
def test_user_cannot_copy_root_owned_files_by_renaming_them(
    container: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The content of root's file got the owner and the mode of the user's file."""
    config, secret = container / "config", container / "secret"
    secret.write_text("lxc.uts.name = secret\n")
    secret.chmod(0o600)
    os.chown(config, 1234, 1234)

    def swap() -> None:
        config.rename(container / "aside")
        secret.rename(config)
        (container / "aside").rename(secret)

    class Swapping(Directory):
        def read(self, name: str, limit: int, check: Callable[[int], None] | None = None) -> bytes:
            if moment == "before reading":
                swap()
            data = Directory.read(self, name, limit, check)
            swap()
            return data

    monkeypatch.setattr(Root, "directory", lambda self, path: Swapping(self, os.dup(self.fd), ""))
    with pytest.raises(RefusedError, match="another process replaced"):
        install.write(lxc.snippet("c1", [], str(container.parent)))
    for file in container.iterdir():
        if file.is_file() and "secret" in file.read_text():
            assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (0, 0o600)


def test_reading_a_fifo_as_configuration_does_not_block(container: Path) -> None:
    (container / "config").unlink()
    os.mkfifo(container / "config")
    with pytest.raises(InputError, match="not a regular file"):
        install.write(lxc.snippet("c1", [], str(container.parent)))


def test_a_hard_link_as_lock_file_is_not_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the directory makes a hard link to a file of root, and removes the link after the open."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with StateDirectory(str(tmp_path)) as state_directory:
        place = tmp_path / ".templater"
        for name in ("lock", "log"):
            os.link(victim, place / name)
        real = Directory.open

        def opened(self: Directory, name: str, *, write: bool = False) -> int:
            fd = real(self, name, write=write)
            os.unlink(place / "lock")
            os.unlink(place / "log")
            return fd

        monkeypatch.setattr(Directory, "open", opened)
        with pytest.raises(RefusedError, match="has other hard links"):
            state_directory.lock("test")
        assert victim.stat().st_nlink == 1
    assert victim.read_text() == "precious"


def test_a_cache_directory_keeps_unrelated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "home"
    folder.mkdir(0o700)
    others = ("letter", "image-of-a-cat", "backup-" + "g" * 48)
    for name in others:
        (folder / name).write_bytes(bytes(2000))
        os.utime(folder / name, (1, 1))
    monkeypatch.setattr("templater.hooks.compile_cache.MOST_BYTES", 1500)
    monkeypatch.setattr("templater.hooks.compile_cache.MOST_ENTRIES", 1)
    store = open_cache(str(folder))
    assert store is not None
    for number in range(3):
        store.save("image", key([b"%d" % number]), CacheEntry((), b"x"))
    assert all((folder / name).exists() for name in others)
    assert len(list(folder.iterdir())) == len(others) + 1


@as_root
@pytest.mark.usefixtures("restored_process")
def test_hook_writes_no_log_through_another_users_link(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container.parent / "shared").mkdir()
    (container.parent / "other").mkdir()
    link = container.parent / "shared/state"
    link.symlink_to(container.parent / "other")
    os.chown(link, 1234, 1234, follow_symlinks=False)
    (container.parent / "shared").chmod(0o1777)
    words = hook_line("nspawn", container, monkeypatch)
    assert run([*words, "--source", str(container), "--state", str(link)]) == RefusedError.exit_code
    assert list((container.parent / "other").iterdir()) == []
    assert open_cache(str(link)) is None
    with pytest.raises(RefusedError, match="may be a link that another user controls"):
        oci_annotated_paths._place(f"{link}/web.yaml", [str(link)], follow=True)


@pytest.mark.usefixtures("restored_process")
def test_hook_with_if_present_refuses_invalid_metadata(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*hook_line("nspawn", container, monkeypatch), "--source", str(container), "--if-present"]
    (container / "metadata.yaml").unlink()
    assert run(words) == 0
    (container / "metadata.yaml").symlink_to("/nosuch")
    assert run(words) == RefusedError.exit_code


def test_a_hook_stops_reading_template_names_at_the_limit_on_templates(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four million names needed 7 s and 518 MB."""
    (container / "templates").mkdir()
    for number in range(MAX_TEMPLATES + 2):
        (container / f"templates/{number}").touch()
    monkeypatch.setattr(Directory, "listdir", lambda self: pytest.fail("read all names"))
    with pytest.raises(LimitError, match="more than 1000 templates"):
        InstanceDirectory(str(container)).read_templates()
