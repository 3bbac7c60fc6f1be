"""Request parsing for each runtime, from recorded environments and states."""

import contextlib
import fcntl
import io
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import pytest

from templater import oslite
from templater.hooks import json_input, lxc_config, lxc_copies, run
from templater.hooks.options import Options
from templater.hooks.request import HookRequest, Notice
from templater.hooks.runtimes import incus, lxc, nspawn, oci
from templater.instances.instance_directory import InstanceDirectory
from templater.instances.record_of_written_files import HEAD
from templater.instances.state_directory import State, StateDirectory
from templater.model.errors import InputError, LimitError, RefusedError, UsageError, WriteError
from templater.rootfs import close_in_another_process
from templater.rootfs.confined_root import Root
from templater.rootfs.file_system_type import is_overlay
from templater.writing.remove_leftovers import Journal
from tests.rootfs_builders import as_root


def environ(folder, stage="pre-start", **others):
    return {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": stage, "LXC_CONFIG_FILE": str(folder / "config"),
        "LXC_ROOTFS_PATH": str(folder / "rootfs"), "LXC_ROOTFS_MOUNT": "/usr/lib/lxc/rootfs", **others,
    }  # fmt: skip


@pytest.fixture
def container(tmp_path):
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config").write_text("lxc.hook.pre-start = from templater_hook import\n")
    return tmp_path


def test_a_rootfs_directory_is_rendered_at_pre_start(container):
    start = lxc.read_request(Options(), environ(container))
    assert isinstance(start, HookRequest) and start.rootfs == str(container / "rootfs")
    assert isinstance(lxc.read_request(Options(), environ(container, "mount")), Notice)


@pytest.mark.parametrize("path", ["loop:/img.raw", "zfs:tank/c1", "nbd:/img.qcow2:1", "/a/rootfs:/b/delta"])
def test_a_root_filesystem_mounted_later_is_rendered_at_mount(container, path):
    (container / "config").write_text(
        "lxc.hook.mount = /usr/bin/python3 -c 'from templater_hook import …' lxc\n"
    )
    assert isinstance(lxc.read_request(Options(), environ(container, LXC_ROOTFS_PATH=path)), Notice)
    start = lxc.read_request(Options(), environ(container, "mount", LXC_ROOTFS_PATH=path))
    assert isinstance(start, HookRequest) and start.rootfs == "/usr/lib/lxc/rootfs"


@pytest.mark.parametrize("source", ["", "/images/a"])
@pytest.mark.parametrize("metadata", [True, False])
def test_the_incus_hook_does_nothing_without_metadata_or_source(container, metadata, source):
    if metadata:
        (container / "metadata.yaml").touch()
    options = Options()
    options.source, options.state = source, str(container / "state")
    found = incus.read_request(options, environ(container))
    if metadata or source:
        assert isinstance(found, HookRequest) and found.image == (source or str(container))
    else:
        assert isinstance(found, Notice) and not found.text


def test_a_clone_hook_removes_the_storage_prefix_from_its_rootfs_path():
    assert lxc_config.without_prefix("dir:/x/rootfs") == "/x/rootfs"


def test_version_0_hooks_read_the_stage_from_an_argument(container):
    options = Options()
    options.words = ("c1", "lxc", "pre-start")
    said = environ(container)
    del said["LXC_HOOK_TYPE"]
    assert isinstance(lxc.read_request(options, said), HookRequest)


def test_a_stale_value_of_the_variable_lxc_hook_type_is_ignored(container):
    """The post-stop hook of another container, with version 1, can start this container.

    The hooks of this container have version 0.
    """
    options = Options()
    options.words = ("c1", "lxc", "pre-start")
    assert isinstance(lxc.read_request(options, environ(container, "post-stop")), HookRequest)


def test_a_root_directory_mounted_by_another_hook_is_rendered(container):
    """Both hooks left the rendering to each other, and the container started without its files."""
    (container / "rootfs").rename(container / "volume")
    (container / "config").write_text("lxc.hook.mount = from templater_hook import\n")
    assert isinstance(lxc.read_request(Options(), environ(container)), Notice)
    (container / "volume").rename(container / "rootfs")
    (container / "config").write_text(
        "lxc.hook.pre-start = from templater_hook import\nlxc.hook.mount = from templater_hook import\n"
    )
    start = lxc.read_request(Options(), environ(container, "mount"))
    assert isinstance(start, HookRequest) and start.rootfs == "/usr/lib/lxc/rootfs"
    # at the next start, the volume is still mounted
    start = lxc.read_request(Options(), environ(container))
    assert isinstance(start, HookRequest) and start.rootfs == str(container / "rootfs")
    assert isinstance(lxc.read_request(Options(), environ(container, "mount")), Notice)


@as_root
@pytest.mark.parametrize(
    ("runtime", "in_place", "enters"), [(lxc, False, False), (oci, False, False), (oci, True, True)]
)
def test_files_below_mounts_are_accessible_only_with_in_place(
    container, runtime, in_place, enters, mounts, monkeypatch
):
    """A mount can be a directory of the host.

    The plan refuses a target in a mount, but the mount may be newer than the plan.
    """
    for folder in ("outside", "rootfs/etc"):
        (container / folder).mkdir()
    (container / "outside/file").write_text("of the host")
    (container / "config.json").write_text('{"root": {"path": "rootfs"}}')
    state = {"ociVersion": "1.2.0", "id": "c1", "bundle": str(container), "status": "creating"}
    monkeypatch.setattr(oci, "_stdin", lambda: json.dumps(state).encode())
    options = Options()
    options.in_place = in_place
    request = runtime.read_request(options, environ(container))
    assert isinstance(request, HookRequest)
    mounts.bind(container / "outside", container / "rootfs/etc")
    with Root(str(container)) as folder, run._open_rootfs(request, folder) as rootfs:
        if enters:
            assert rootfs.read("/etc/file", 100) == b"of the host"
        else:
            with pytest.raises(RefusedError, match="etc' is a mount point"):
                rootfs.read("/etc/file", 100)


def test_the_deferred_marker_lets_only_one_mount_hook_render(container):
    """templater may be updated between the two hooks, so the name of the file can't change."""
    (container / "config").write_text(
        "lxc.hook.pre-start = from templater_hook import\nlxc.hook.mount = from templater_hook import\n"
    )
    with StateDirectory(str(container)) as directory:
        directory.replace("deferred", b"")
    assert isinstance(lxc.read_request(Options(), environ(container, "mount")), HookRequest)
    assert isinstance(lxc.read_request(Options(), environ(container, "mount")), Notice)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to become another user"
)
@pytest.mark.parametrize("unreadable", ["config", ".templater"])
def test_a_mount_hook_fails_if_earlier_rendering_is_uncertain(container, unreadable):
    """Unprivileged containers started without their files, and without a message."""
    (container / "config").write_text(
        "lxc.hook.pre-start = from templater_hook import\nlxc.hook.mount = from templater_hook import\n"
    )
    (container / ".templater").mkdir(mode=0o755)
    for above in (container, *list(container.parents)[:-2]):
        above.chmod(0o755)

    def in_mount(expected: type) -> None:
        os.setresuid(1234, 1234, 1234)
        try:
            found = lxc.read_request(Options(), environ(container, "mount"))
        except RefusedError as error:
            assert f"'{container / unreadable}' is unreadable: " in error.message
            found = error
        assert isinstance(found, expected)

    in_a_hook(lambda: in_mount(Notice))
    (container / unreadable).chmod(0)
    in_a_hook(lambda: in_mount(RefusedError))


@pytest.mark.parametrize("key", ["", "pre-mount"])
def test_a_pre_mount_hook_requires_the_stage_option(container, key):
    """The hook wrote files with passwords below the mount point of an encrypted file system."""
    (container / "config").write_text(f"lxc.hook.{key} = /srv/decrypt\n" if key else "")
    options = Options()
    if key:
        with pytest.raises(
            RefusedError, match=r"lxc\.hook\.pre-mount runs after the pre-start hook, and may hide files"
        ):
            lxc.read_request(options, environ(container))
    options.stage = "pre-start"
    start = lxc.read_request(options, environ(container))
    assert isinstance(start, HookRequest) and start.rootfs == str(container / "rootfs")
    options.stage = "mount"
    with pytest.raises(RefusedError, match=r"no lxc\.hook\.mount calls templater with --stage mount"):
        lxc.read_request(options, environ(container))
    with open(container / "config", "a") as config:
        config.write("lxc.hook.mount = from templater_hook import --stage mount\n")
    assert isinstance(lxc.read_request(options, environ(container)), Notice)
    start = lxc.read_request(options, environ(container, "mount"))
    assert isinstance(start, HookRequest) and start.rootfs == "/usr/lib/lxc/rootfs"


def test_the_mount_hook_never_renders_an_explicit_rootfs_directory(container):
    options = Options()
    options.rootfs = str(container / "copy")
    (container / "config").write_text("lxc.hook.mount = from templater_hook import\n")
    with pytest.raises(RefusedError, match="copy' is neither a directory nor an overlay of directories"):
        lxc.read_request(options, environ(container))
    with pytest.raises(RefusedError, match=r"can't render templates into the --rootfs '.*copy'"):
        lxc.read_request(options, environ(container, "mount"))
    with open(container / "config", "a") as config:
        config.write("lxc.hook.pre-start = from templater_hook import\n")
    assert isinstance(lxc.read_request(options, environ(container, "mount")), Notice)
    (container / "copy").mkdir()
    start = lxc.read_request(options, environ(container))
    assert isinstance(start, HookRequest) and start.rootfs == options.rootfs


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="NOT RUN: needs root to change owners"
)
@pytest.mark.parametrize("above", [0, 1000000])
def test_new_directories_have_the_owner_of_the_lower_layer(container, above):
    """The new directories belonged to root, so an unprivileged container could not write any file."""
    os.chown(container / "rootfs", 1000000, 1000001)
    os.chown(container, above, above)
    lxc.open_layers((f"{container}/rootfs", f"{container}/delta"))
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (container / "delta", container / "work")}
    assert owners == {(1000000, 1000001)}
    (container / "new").touch()
    assert (container / "new").stat().st_uid == 0, "the process is root again"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="NOT RUN: needs root to change owners"
)
def test_no_overlay_directory_is_made_in_a_directory_of_another_user(container):
    """Another user exchanged the new directory with a directory of root.

    The hook then gave root's directory to the user of the container.
    """
    os.chown(container, 1234, 1234)
    os.chown(container / "rootfs", 1000000, 1000000)
    with pytest.raises(WriteError, match="can't make '/delta'"):
        lxc.open_layers((f"{container}/rootfs", f"{container}/delta"))


def test_the_incus_hook_keeps_compiled_templates_only_on_request(container):
    """Each of many short-lived instances left up to 256 MiB of compiled templates on the host's disk."""
    (container / "metadata.yaml").touch()
    options = Options()
    options.state = str(container)
    assert not incus.read_request(options, environ(container)).use_cache
    options.cache = str(container / "cache")
    assert incus.read_request(options, environ(container)).use_cache


@pytest.mark.parametrize(
    "line", ["", "lxc.hook.pre-start = from templater_hook import\nlxc.hook.pre-start =\n"]
)
def test_the_mount_hook_renders_files_without_pre_start_hook(container, line):
    (container / "config").write_text(f"lxc.hook.mount = from templater_hook import\n{line}")
    start = lxc.read_request(Options(), environ(container, "mount"))
    assert isinstance(start, HookRequest) and start.rootfs == "/usr/lib/lxc/rootfs"


@pytest.mark.parametrize("value", ["u 0 1000000 65536", '"u 0 0xF4240 0200000"', "'u 0 1000000 65536'"])
def test_an_id_map_is_read_in_every_spelling_that_lxc_accepts(container, value):
    """templater ignored other spellings, and took the ids from the owner of the root directory instead."""
    (container / "config").write_text(f"lxc.idmap = {value}\nlxc.idmap = {value.replace('u', 'g')}\n")
    ids = lxc_config.ids_on_disk(str(container / "config"))
    assert ids is not None and ids.uids == ids.gids == ((0, 1000000, 65536),)


@pytest.mark.parametrize(
    "value", ["' '", "u 0 1000000", "b 0 1000000 65536", "u 0 1000000 65536 1", "u 0 x 65536", "u 0 08 1"]
)
def test_an_invalid_id_map_is_refused(container, value):
    (container / "config").write_text(f"lxc.idmap = {value}\n")
    number = {"u 0 x 65536": "x", "u 0 08 1": "08"}.get(value)
    wrong = f"lxc.idmap '{value.strip(chr(39))}'" if number is None else f"number '{number}' in lxc.idmap"
    with pytest.raises(InputError) as caught:
        lxc_config.ids_on_disk(str(container / "config"))
    assert caught.value.message == f"'{container}/config' has an invalid {wrong}"


def test_an_included_file_is_read_at_the_include_line(container):
    """As in LXC, a later line of the container's own file overrides a line of the included file."""
    (container / "common.conf").write_text(
        "lxc.hook.mount = from templater_hook import\nlxc.idmap = u 0 1 1\n"
    )
    config = container / "config"
    config.write_text(f"lxc.include = {container}/common.conf\nlxc.hook.mount =\nlxc.idmap =\n")
    assert [value for key, value in lxc_config.settings(str(config)) if key == "lxc.hook.mount"] == [
        "from templater_hook import",
        "",
    ]
    assert lxc_config.ids_on_disk(str(config)) is None


@pytest.mark.parametrize("name", [".templater/state", "instance.yaml", "metadata.yaml", "templates/a.tpl"])
def test_a_copy_to_an_occupied_directory_is_refused(tmp_path, by_lxc_copy, name):
    """Another user had exchanged the copy with another container, which lost its description."""
    _, new = cloned(tmp_path, "new")
    (new / name).parent.mkdir(exist_ok=True, mode=0o700)
    (new / name).write_text("of another container")
    before = sorted(new.rglob("*"))
    with pytest.raises(RefusedError) as caught:
        lxc_copies.clone(str(new), "new", "old", Options())
    entry = name.partition("/a")[0]
    assert caught.value.message == (
        f"'{new}' already contains '{entry}', so this directory belongs to another container"
    )
    assert caught.value.hint == "copy the container to a new directory"
    assert (new / name).read_text() == "of another container"
    assert sorted(new.rglob("*")) == before


def test_files_of_an_included_directory_are_not_sorted(tmp_path, monkeypatch):
    """LXC does not sort the files. templater sorted them, and so used another id map."""
    (tmp_path / "inc").mkdir()
    for name in "hbamz":
        (tmp_path / f"inc/{name}.conf").write_text(f"lxc.environment = {name}\n")
    (tmp_path / "config").write_text(f"lxc.include = {tmp_path}/inc\n")
    found = [value for key, value in lxc_config.settings(str(tmp_path / "config")) if key != "lxc.include"]
    assert found == [name[0] for name in os.listdir(tmp_path / "inc")]
    (tmp_path / "inc/sub.conf").mkdir()
    with pytest.raises(InputError, match=r"sub\.conf' is not a regular file"):
        list(lxc_config.settings(str(tmp_path / "config")))


def test_templater_ignores_the_same_lines_as_lxc(container):
    text = "\xa0lxc.idmap =\n\x0blxc.idmap =\nidmap = x\n# lxc.idmap =\n \tlxc.idmap\t= u 0 1 1\r\nlxc.idmap\u2003=\n"
    (container / "config").write_text(text, newline="")
    found = list(lxc_config.settings(str(container / "config")))
    assert [each for each in found if each[0] == "lxc.idmap"] == [("lxc.idmap", "u 0 1 1")]


def test_an_empty_lxc_hook_line_clears_the_hooks_of_every_stage(container):
    """templater relied on a mount hook that LXC had dropped."""
    hooks = "lxc.hook.mount = from templater_hook import\nlxc.hook =\nlxc.hook.pre-start = from templater_hook import\n"
    (container / "config").write_text(hooks)
    with pytest.raises(RefusedError, match="only LXC can mount it"):
        lxc.read_request(Options(), environ(container, LXC_ROOTFS_PATH="loop:/img.raw"))


def test_a_stale_value_of_the_variable_lxc_target_is_ignored(container):
    """If a guest reboots, LXC_TARGET=reboot is still in the environment of the next pre-start hook."""
    assert isinstance(lxc.read_request(Options(), environ(container, LXC_TARGET="reboot")), HookRequest)


@pytest.mark.parametrize("stage", ["start-host", "autodev", "pre-mount", "start"])
def test_a_stage_that_cannot_render_templates_is_an_error(container, stage):
    with pytest.raises(UsageError, match=f"templates cannot be rendered in stage '{stage}'"):
        lxc.read_request(Options(), environ(container, stage))


@pytest.mark.parametrize("stage", ["stop", "post-stop"])
def test_the_lxc_hook_ignores_the_stop_and_post_stop_stages(container, stage):
    found = lxc.read_request(Options(), environ(container, stage))
    assert isinstance(found, Notice) and not found.text


def test_id_maps_are_also_read_from_included_lxc_configurations(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common/a.conf").write_text("lxc.idmap = u 0 100000 65536\n# lxc.idmap = u 0 1 1\n")
    (tmp_path / "config").write_text(f"lxc.include = {tmp_path}/common\nlxc.idmap = g 0 200000 65536\n")
    ids = lxc_config.ids_on_disk(str(tmp_path / "config"))
    assert ids.on_disk(5, 6) == (100005, 200006)


def test_the_size_limit_of_an_lxc_configuration_covers_included_files(tmp_path, monkeypatch):
    """63 includes of one file of 1 MiB took 1.6 GB."""
    monkeypatch.setattr(lxc_config, "MAX_CONFIG", 2000)
    (tmp_path / "a").write_text("lxc.a=\n" * 43)
    (tmp_path / "config").write_text(f"lxc.include = {tmp_path}/a\n" * 4)
    assert len(list(lxc_config.settings(str(tmp_path / "config")))) == 4 * 44
    (tmp_path / "config").write_text(f"lxc.include = {tmp_path}/a\n" * 8)
    with pytest.raises(LimitError, match="and the files that it includes are larger than 2000 bytes"):
        list(lxc_config.settings(str(tmp_path / "config")))


def test_the_number_of_names_in_an_included_lxc_directory_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(lxc_config, "MAX_NAMES", 3)
    (tmp_path / "common").mkdir()
    (tmp_path / "config").write_text(f"lxc.include = {tmp_path}/common\n")
    for number in range(3):
        (tmp_path / f"common/{number}").touch()
    assert len(list(lxc_config.settings(str(tmp_path / "config")))) == 1
    (tmp_path / "common/3").touch()
    with pytest.raises(LimitError, match="common' has more than 3 entries"):
        list(lxc_config.settings(str(tmp_path / "config")))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("0 " + "9" * 5000 + " 5", "has a number of more than 10 digits in lxc.idmap"),
        ("0 9999999999 5", "an id map has ids outside of the range from 0 to 4294967294"),
        ("0 4294967295 1", "an id map has ids outside of the range from 0 to 4294967294"),
        ("4294967290 0 6", "an id map has ids outside of the range from 0 to 4294967294"),
    ],
)
def test_an_id_map_with_an_impossible_id_is_an_error(tmp_path, numbers, message):
    (tmp_path / "config").write_text(f"lxc.idmap = u {numbers}\nlxc.idmap = g 0 0 1\n")
    with pytest.raises(InputError, match=message):
        lxc_config.ids_on_disk(str(tmp_path / "config"))


def test_an_impossible_id_in_a_bundle_is_an_error():
    """The id 4294967295 means "no id", so files would have kept root as their owner."""
    mapping = [{"containerID": 0, "hostID": 4294967295, "size": 4294967295}]
    with pytest.raises(InputError, match="an id map has ids outside of the range"):
        oci.id_map({"linux": {"uidMappings": mapping, "gidMappings": mapping}})


def test_ids_of_an_idmapped_mount_are_not_shifted(tmp_path):
    (tmp_path / "config").write_text(
        "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\nlxc.rootfs.options = noatime,idmap=container\n"
    )
    assert lxc_config.ids_on_disk(str(tmp_path / "config")).on_disk(5, 6) == (5, 6)


def test_a_recursive_include_in_an_lxc_configuration_terminates(tmp_path):
    (tmp_path / "config").write_text(f"lxc.include = {tmp_path}/config\n")
    with pytest.raises(LimitError):
        lxc_config.ids_on_disk(str(tmp_path / "config"))


@pytest.fixture
def by_lxc_copy(monkeypatch):
    """lxc-copy -R runs the clone hook."""
    monkeypatch.setattr(lxc_copies, "copying_program", lambda: "lxc-copy")
    monkeypatch.setattr(lxc_copies, "may_rename", lambda: True)


def cloned(tmp_path, name, *, snapshot=False):
    old = tmp_path / "old"
    (old / "templates").mkdir(parents=True)
    (old / "templates/a.tpl").write_text("a")
    (old / "templates/link").symlink_to("/etc/passwd")
    (old / "metadata.yaml").write_text("templates: {}\n")
    (old / "instance.yaml").write_text("name: old\n")
    new = old / "snaps/snap0" if snapshot else tmp_path / name
    new.mkdir(parents=True)
    for folder in (old, new):
        (folder / "config").write_text(f"lxc.arch = amd64\nlxc.uts.name = {folder.name}\n")
    return old, new


def state_of(folder):
    with StateDirectory(str(folder)) as state_directory:
        return state_directory.state()


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_cloned_container_gets_image_files_and_a_trigger(tmp_path):
    _old, new = cloned(tmp_path, "new")
    (new / "instance.yaml.new").write_text("the owner's")
    lxc_copies.clone(str(new), "new", "old", Options())
    assert (new / "templates/a.tpl").read_text() == "a"
    assert (new / "instance.yaml").read_text() == "name: old\n"
    assert (new / "instance.yaml.new").read_text() == "the owner's"
    assert os.readlink(new / "templates/link") == "/etc/passwd", "still a link, still refused"
    assert state_of(new) == State("copy", "new")


@pytest.mark.usefixtures("by_lxc_copy")
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_clone_with_shared_image_gets_the_original_description(tmp_path, snapshot):
    """lxc-copy -R then removed the only description."""
    old, new = cloned(tmp_path, "new", snapshot=snapshot)
    (old / "metadata.yaml").rename(tmp_path / "metadata.yaml")
    options = Options()
    options.source = str(tmp_path)
    lxc_copies.clone(str(new), new.name, "old", options)
    assert (new / "instance.yaml").read_text() == "name: old\n"
    assert not (new / "templates").exists()


def test_sharing_an_image_with_an_uncertain_original_is_refused(tmp_path):
    """The copy could get the description of another container."""
    _, new = cloned(tmp_path, "new")
    options = Options()
    options.source = str(tmp_path)
    with pytest.raises(InputError, match="it is not certain that"):
        lxc_copies.clone(str(new), "new", "old", options)
    assert not (new / "instance.yaml").exists()


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_copied_line_with_a_rootfs_option_is_refused(tmp_path):
    """Each start of the copy wrote its files into the root filesystem of the original."""
    old, new = cloned(tmp_path, "new")
    options = Options()
    options.rootfs = f"{old}/rootfs"
    words = environ(new, "clone", LXC_SRC_NAME="old")
    with pytest.raises(RefusedError) as caught:
        lxc.read_request(options, words)
    assert caught.value.message == (
        f"the copied hook line has --rootfs '{old}/rootfs', which belongs to the original container"
    )
    assert sorted(os.listdir(new)) == ["config"]
    options.rootfs = words["LXC_ROOTFS_PATH"]  # the hook line has "$LXC_ROOTFS_PATH"
    lxc.read_request(options, words)
    assert state_of(new) == State("copy", "c1")


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_copied_line_with_a_state_option_is_refused(tmp_path):
    """The copy never ran the trigger copy, because its start read the state of the original."""
    old, new = cloned(tmp_path, "new")
    options = Options()
    options.state = str(old)
    with pytest.raises(RefusedError) as caught:
        lxc_copies.clone(str(new), "new", "old", options)
    assert caught.value.message == (
        f"the copied hook line has --state '{old}', which belongs to the original container"
    )
    assert sorted(os.listdir(new)) == ["config"]


def test_a_clone_hook_may_skip_containers_without_an_image(tmp_path):
    """The hook in a common configuration file refused the copy of a container without an image.

    The message told the user to copy a missing metadata.yaml.
    """
    old, new = cloned(tmp_path, "new")
    (old / "metadata.yaml").rename(tmp_path / "metadata.yaml")
    options = Options()
    options.if_present, options.state = True, str(tmp_path)
    assert lxc_copies.clone(str(new), "new", "old", options).text == ""
    assert ".templater" not in os.listdir(old) + os.listdir(new)
    options.source = str(tmp_path)
    with pytest.raises(RefusedError):
        lxc_copies.clone(str(new), "new", "old", options)


def test_a_snapshot_may_have_rootfs_and_state_options(tmp_path):
    old, new = cloned(tmp_path, "", snapshot=True)
    options = Options()
    options.rootfs, options.state = f"{old}/rootfs", str(old)
    lxc.read_request(options, environ(new, "clone", LXC_SRC_NAME="old"))
    assert (new / "metadata.yaml").exists()


def test_a_rootfs_option_in_another_containers_directory_is_refused(tmp_path):
    options = Options()
    for name in ("c1", "c2", "shared"):
        (tmp_path / name / "rootfs").mkdir(parents=True)
    for name in ("c1", "c2"):
        (tmp_path / name / "config").touch()
    options.rootfs = f"{tmp_path}/c1/rootfs"
    for own in (f"{tmp_path}/c2/rootfs", f"overlay:{tmp_path}/c1/rootfs:{tmp_path}/c2/upper"):
        with pytest.raises(RefusedError) as caught:
            lxc.read_request(options, environ(tmp_path / "c2", LXC_ROOTFS_PATH=own))
        assert caught.value.message == (
            f"--rootfs '{tmp_path}/c1/rootfs' is in the directory of another container"
        )
    for path in (
        f"{tmp_path}/shared/rootfs",
        f"{tmp_path}/c2/../c2/rootfs",
        f"{tmp_path}/c1/rootfs:{tmp_path}/c2/rootfs",
    ):
        options.rootfs = path
        assert isinstance(lxc.read_request(options, environ(tmp_path / "c2")), HookRequest)


@pytest.mark.usefixtures("by_lxc_copy")
@pytest.mark.parametrize("names", [["a", "a.new"], ["x" * 255], ["é" * 127]])
def test_templates_with_long_or_similar_names_are_copied(tmp_path, names, monkeypatch):
    """``NAME.new`` can be too long a name, or the name of another template."""
    old, new = cloned(tmp_path, "new")
    for name in names:
        (old / "templates" / name).write_text(name)
    read = lxc_copies.InstanceDirectory.read_templates
    monkeypatch.setattr(
        lxc_copies.InstanceDirectory,
        "read_templates",
        lambda self: dict(sorted(read(self).items(), reverse=True)),
    )
    lxc_copies.clone(str(new), "new", "old", Options())
    assert {name: (new / "templates" / name).read_text() for name in names} == {name: name for name in names}


@pytest.mark.usefixtures("by_lxc_copy")
@pytest.mark.parametrize(("mode", "is_copied"), [(0o600, True), (0o620, False), (0o602, False)])
def test_a_record_that_others_can_change_is_not_copied(tmp_path, mode, is_copied):
    old, new = cloned(tmp_path, "new")
    with StateDirectory(str(old)) as state_directory:
        record = Path(state_directory.path, "written")
        record.write_bytes(HEAD)
        record.chmod(mode)
    lxc_copies.clone(str(new), "new", "old", Options())
    assert (new / ".templater/written").exists() == is_copied


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_copy_gets_both_records_of_a_killed_run(tmp_path):
    """The files of the killed run counted as changed by hand in the copy."""
    old, new = cloned(tmp_path, "new")
    with StateDirectory(str(old)) as state:
        for name in ("written", "written.new"):
            Path(state.path, name).write_bytes(HEAD + name.encode())
            Path(state.path, name).chmod(0o600)
    notice = lxc_copies.clone(str(new), "new", "old", Options())
    assert notice.text == "new: made from old; the next start runs the copy trigger"
    for name in ("written", "written.new"):
        assert (new / ".templater" / name).read_bytes() == HEAD + name.encode()


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_copy_gets_the_journal_of_a_killed_run(tmp_path):
    """A copy has the leftovers of the killed run.

    Its first start searches for leftovers only if it has a journal.
    """
    old, new = cloned(tmp_path, "new")
    with StateDirectory(str(old)) as state:
        Journal(state.directory).write(["token", "/etc"])
    lxc_copies.clone(str(new), "new", "old", Options())
    with StateDirectory(str(new)) as state:
        assert Journal(state.directory).read() == ["token", "/etc"]


@pytest.mark.slow
@pytest.mark.usefixtures("by_lxc_copy")
@pytest.mark.parametrize("renames", [True, False])
def test_several_copies_can_be_made_at_the_same_time(tmp_path, monkeypatch, renames):
    """About one in five parallel lxc-copy commands failed, because all replaced one file of the original."""
    monkeypatch.setattr(lxc_copies, "may_rename", lambda: renames)
    old, _ = cloned(tmp_path, "new")
    children = []
    for number in range(4):
        folders = [tmp_path / f"copy{number}-{turn}" for turn in range(25)]
        for folder in folders:
            folder.mkdir()
            (folder / "config").write_text((old / "config").read_text())
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                for folder in folders:
                    lxc_copies.clone(str(folder), folder.name, "old", Options())
                code = 0
            finally:
                os._exit(code)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert len(list(tmp_path.glob("copy*/.templater/state"))) == 100
    assert sorted(os.listdir(old / ".templater")) == (["cloned", "lock"] if renames else [])


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_rename_is_recognised_even_if_the_container_was_also_copied(tmp_path, monkeypatch):
    old, new = cloned(tmp_path, "new")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/config").write_text((old / "config").read_text())
    in_a_hook(lambda: lxc_copies.clone(str(new), "new", "old", Options()))
    monkeypatch.setattr(lxc_copies, "may_rename", lambda: False)
    in_a_hook(lambda: lxc_copies.clone(str(tmp_path / "copy"), "copy", "old", Options()))
    with StateDirectory(str(old)) as state_directory:
        state_directory.remember(State("", "old"))
    in_a_hook(lambda: lxc_copies.destroy(str(old)))
    assert (state_of(new).pending, state_of(tmp_path / "copy").pending) == ("rename", "copy")


def test_a_snapshot_has_the_same_pending_trigger_as_the_container(tmp_path):
    old, new = cloned(tmp_path, "", snapshot=True)
    with StateDirectory(str(old)) as state_directory:
        state_directory.remember(State("rename", "old"))
    lxc_copies.clone(str(new), "snap0", "old", Options())
    assert state_of(new) == State("rename", "snap0")


def test_cloning_an_unknown_container_gives_an_error_with_a_hint(tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError) as caught:
        lxc_copies.clone(str(tmp_path / "new"), "new", "nosuch", Options())
    assert "templater trigger" in caught.value.explain()


@pytest.mark.usefixtures("by_lxc_copy")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to change the owner")
def test_the_image_of_a_foreign_copy_is_readable(tmp_path):
    _, new = cloned(tmp_path, "new")
    os.chown(new, 100000, 100000)
    lxc_copies.clone(str(new), "new", "old", Options())
    image = InstanceDirectory(str(new))
    assert image.read_metadata().data == b"templates: {}\n"
    assert image.read_templates()["a.tpl"].data == b"a"
    assert (new / "instance.yaml").stat().st_mode & 0o777 == 0o600
    image.close()


def test_a_clone_hook_reads_only_a_limited_number_of_container_names(tmp_path, monkeypatch):
    """Three million names in the directory of the containers needed 1,000 MiB."""
    monkeypatch.setattr(lxc_copies, "MAX_NAMES", 3)
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("read all names"))
    for name in ("a", "old/snaps/snap0", "new"):
        (tmp_path / name).mkdir(parents=True)
    assert lxc_copies.find_source(str(tmp_path / "new"), "snap0") == (
        str(tmp_path / "old/snaps/snap0"),
        False,
    )
    (tmp_path / "b").mkdir()
    with pytest.raises(LimitError, match="has more than 3 entries"):
        lxc_copies.find_source(str(tmp_path / "new"), "snap0")


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_clone_by_another_process_is_not_a_rename(tmp_path):
    old, new = cloned(tmp_path, "new")
    lxc_copies.clone(str(new), "new", "old", Options())
    (old / ".templater/cloned").write_text(f"{new}\n1:1\n")
    assert lxc_copies.destroy(str(old)).text == ""
    assert state_of(new).pending == "copy"


def in_a_hook(call) -> None:
    """Run a function in a child process, so that the hook's parent is this process."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.usefixtures("by_lxc_copy")
def test_cloning_and_destroying_in_one_process_is_a_rename(tmp_path):
    """The process can be the first of its PID namespace, for example in a single-command container."""
    old, new = cloned(tmp_path, "new")
    with StateDirectory(str(old)) as state_directory:
        state_directory.remember(State("", "old"))
    in_a_hook(lambda: lxc_copies.clone(str(new), "new", "old", Options()))
    in_a_hook(lambda: lxc_copies.destroy(str(old)))
    assert state_of(new).pending == "rename"


@pytest.mark.usefixtures("by_lxc_copy")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to change the owner")
def test_a_destroy_hook_ignores_a_clone_record_of_another_user(tmp_path):
    """The owner of the container's directory wrote the path of another instance into the clone record."""
    old, new = cloned(tmp_path, "new")
    with StateDirectory(str(old)) as state_directory:
        state_directory.remember(State("", "old"))
    in_a_hook(lambda: lxc_copies.clone(str(new), "new", "old", Options()))
    os.chown(old, 1234, 1234)
    os.chown(old / ".templater/cloned", 1234, 1234)
    in_a_hook(lambda: lxc_copies.destroy(str(old)))
    assert state_of(new).pending == "copy"


def test_a_destroy_hook_never_writes_outside_the_parent_directory(tmp_path):
    """A user gave the name of the clone record to a file of root, which can contain any path.

    The file came from an unpacked image.
    """
    old, elsewhere = tmp_path / "lxc/old", tmp_path / "etc/new"
    elsewhere.mkdir(parents=True)
    (old / ".templater").mkdir(parents=True)

    def destroy() -> None:
        (old / ".templater/cloned").write_text("\n".join((str(elsewhere), *lxc_copies.ancestors(1))))
        lxc_copies.destroy(str(old))

    in_a_hook(destroy)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("by_lxc_copy")
@pytest.mark.parametrize("pending", ["create", "", "rename"])
def test_a_rename_keeps_a_trigger_recorded_after_the_clone(tmp_path, pending):
    """Since the clone, another hook may have started the new container."""
    old, new = cloned(tmp_path, "new")
    in_a_hook(lambda: lxc_copies.clone(str(new), "new", "old", Options()))
    with StateDirectory(str(new)) as state_directory:
        state_directory.remember(State(pending, "new"))
    in_a_hook(lambda: lxc_copies.destroy(str(old)))
    assert state_of(new).pending == pending


@pytest.mark.usefixtures("by_lxc_copy")
def test_a_renamed_container_without_recorded_state_has_a_pending_create_trigger(tmp_path):
    old, new = cloned(tmp_path, "new")
    in_a_hook(lambda: lxc_copies.clone(str(new), "new", "old", Options()))
    (old / ".templater/state").unlink(missing_ok=True)
    in_a_hook(lambda: lxc_copies.destroy(str(old)))
    assert state_of(new).pending == "create"


def test_an_empty_id_map_line_clears_the_previous_id_map_lines(container):
    """As in LXC, a container can thus discard the id map of an included file."""
    config = container / "config"
    config.write_text("lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n")
    assert lxc_config.ids_on_disk(str(config)).on_disk(0, 0) == (100000, 100000)
    config.write_text(config.read_text() + "lxc.idmap =\n")
    assert lxc_config.ids_on_disk(str(config)) is None
    config.write_text(config.read_text() + "lxc.idmap = u 0 200000 65536\nlxc.idmap = g 0 300000 65536\n")
    assert lxc_config.ids_on_disk(str(config)).on_disk(0, 0) == (200000, 300000)


def test_the_hook_may_skip_a_container_without_an_image(container):
    options = Options()
    options.if_present = True
    assert isinstance(lxc.read_request(options, environ(container)), Notice)
    (container / "metadata.yaml").write_text("")
    assert isinstance(lxc.read_request(options, environ(container)), HookRequest)


@pytest.fixture
def overlay(container):
    """A container whose root filesystem is an overlay of two directories, and its environment."""
    for name in ("lower", "upper", "mounted"):
        (container / name).mkdir()
    (container / "lower/file").write_text("below")
    path = f"{container}/lower:{container}/upper"
    return container, {"LXC_ROOTFS_PATH": path, "LXC_ROOTFS_MOUNT": str(container / "mounted")}


def test_an_overlay_is_rendered_at_pre_start_by_default(overlay):
    container, others = overlay
    start = lxc.read_request(Options(), environ(container, **others))
    assert isinstance(start, HookRequest) and start.rootfs == str(container / "mounted")
    assert isinstance(lxc.read_request(Options(), environ(container, "mount", **others)), Notice)
    options = Options()
    options.stage = "mount"
    start = lxc.read_request(options, environ(container, "mount", **others))
    assert isinstance(start, HookRequest) and start.rootfs == str(container / "mounted")
    for line in (
        "",
        "lxc.hook.mount = from templater_hook import\n",
    ):  # this line would not render it, either
        (container / "config").write_text(line)
        with pytest.raises(RefusedError, match=r"no lxc\.hook\.mount calls templater with --stage mount"):
            lxc.read_request(options, environ(container, **others))
    (container / "config").write_text("lxc.hook.mount = from templater_hook import --stage mount\n")
    assert isinstance(lxc.read_request(options, environ(container, **others)), Notice)


def test_a_rootfs_link_does_not_allow_pre_mount_hooks(
    container,
):
    """/var/lib/lxc was a link, so the option switched off the checks for files below later mounts."""
    (container / "config").write_text("lxc.hook.pre-mount = /bin/true\n")
    (container / "link").symlink_to("rootfs")
    (container / "other").mkdir()
    options = Options()
    options.rootfs = str(container / "link")
    with pytest.raises(RefusedError, match=r"lxc\.hook\.pre-mount runs after the pre-start hook"):
        lxc.read_request(options, environ(container))
    options.rootfs = str(container / "other")
    request = lxc.read_request(options, environ(container))
    assert isinstance(request, HookRequest) and request.rootfs == options.rootfs


def test_an_overlay_with_pre_mount_hook_requires_stage_mount(overlay):
    """``lxc-copy --ephemeral --tmpfs`` adds a hook that hides the upper layer, so the files were lost."""
    container, others = overlay
    with open(container / "config", "a") as config:
        config.write("lxc.hook.pre-mount = /bin/true\n")
    with pytest.raises(RefusedError, match=r"and may hide files that the pre-start hook writes to '.*upper'"):
        lxc.read_request(Options(), environ(container, **others))
    options = Options()
    options.stage = "mount"
    assert isinstance(lxc.read_request(options, environ(container, "mount", **others)), HookRequest)
    with open(container / "config", "a") as config:
        config.write("lxc.hook.pre-mount =\n")
    assert isinstance(lxc.read_request(Options(), environ(container, **others)), HookRequest)


def test_a_missing_upper_layer_of_an_overlay_is_made(overlay):
    """With hooks for both stages, the two hooks left the rendering to each other."""
    container, others = overlay
    (container / "upper").rmdir()
    request = lxc.read_request(Options(), environ(container, **others))
    assert isinstance(request, HookRequest)
    for layer in lxc.open_layers(lxc_config.layers_of(others["LXC_ROOTFS_PATH"])):
        layer.close()
    assert (container / "upper").stat().st_mode & 0o7777 == 0o755
    assert lxc_config.layers_of(f"{container}/missing:{container}/upper") == ()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
def test_an_overlay_is_mounted_privately_for_the_hook(overlay, mounts):
    container, others = overlay
    mounts.share(container)
    start = lxc.read_request(Options(), environ(container, **others))

    def write() -> None:
        start.mount()
        assert (container / "mounted/file").read_text() == "below"
        (container / "mounted/file").write_text("above")

    in_a_hook(write)
    assert (container / "upper/file").read_text() == "above"
    assert (container / "lower/file").read_text() == "below"
    assert os.listdir(container / "mounted") == [], "only the mount namespace of the hook sees it"
    assert sorted(os.listdir(container)) == [
        ".templater-work", "config", "lower", "mounted", "rootfs", "upper", "work",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("upper", ["delta0", "overlay/delta", "new"])
def test_an_overlay_is_refused_if_another_user_can_replace_its_directory(mounts, tmp_path, upper):
    """The file of one container, with its password, was written to the upper layer of another container."""
    mounts.share(tmp_path)
    for name in ("lower", "mounted", "u/c1/overlay/delta", "u/c1/delta0"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "u/c1/config").touch()
    path, mounted = f"{tmp_path}/lower:{tmp_path}/u/c1/{upper}", f"{tmp_path}/mounted"
    start = lxc.read_request(
        Options(), environ(tmp_path / "u/c1", LXC_ROOTFS_PATH=path, LXC_ROOTFS_MOUNT=mounted)
    )
    os.chown(tmp_path / "u", 1234, 1234)
    before = sorted(tmp_path.rglob("*"))

    def refused() -> None:
        with pytest.raises(RefusedError, match=r"'.*/u' belongs to another user \(uid 1234\)"):
            start.mount()

    in_a_hook(refused)
    assert sorted(tmp_path.rglob("*")) == before
    os.chown(tmp_path / "u", 0, 0)
    in_a_hook(start.mount)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_an_upper_layer_in_a_directory_of_another_owner_is_refused(tmp_path):
    """A user who owns a directory with the upper layers of several containers can exchange the layers."""
    for name in ("lower", "u/upper", "u/work"):
        (tmp_path / name).mkdir(parents=True)
    os.chown(tmp_path / "u", 1234, 1234)
    layers = f"{tmp_path}/lower", f"{tmp_path}/u/upper"
    with pytest.raises(RefusedError, match=r"'.*/u' belongs .* who can replace '.*/u/upper'"):
        lxc.open_layers(layers)
    os.chown(tmp_path / "u/upper", 1234, 1234)
    assert len(lxc.open_layers(layers)) == 3


@pytest.fixture
def users_overlay(tmp_path):
    """Return the directory of an overlay that belongs to another user."""
    for name in ("lower", "u/upper", "u/work/work"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("lower", "u", "u/upper", "u/work", "u/work/work"):
        os.chown(tmp_path / name, 1234, 1234)
    return tmp_path / "u"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("is_second", [False, True])
def test_another_users_work_directory_is_not_emptied(users_overlay, mounts, is_second):
    """The kernel removed the files of the work directory inside of mount(2).

    600,000 extents of a file took 8 s of system time. An empty directory with 150,000 extended attributes
    took 4 s, although its size is 0.
    """
    (users_overlay / "work/work/file").touch()
    os.setxattr(users_overlay / "work/work", "user.x", b"theirs")
    (users_overlay.parent / "lower/file").touch()
    mounted = users_overlay.parent / "mounted"
    mounted.mkdir()
    layers = f"{users_overlay.parent}/lower", f"{users_overlay}/upper"
    mounts.share(users_overlay.parent)

    def delete() -> None:
        lxc.mount_overlay(layers, str(mounted))
        (mounted / "file").unlink()

    in_a_hook(delete)
    assert (users_overlay / "upper/file").is_char_device()
    if is_second:  # the first mount left a whiteout in the directory that the next mount empties
        assert list((users_overlay / ".templater-work/work").iterdir())
        in_a_hook(lambda: lxc.mount_overlay(layers, str(mounted)))
    assert os.listdir(users_overlay / "work/work") == ["file"]
    assert os.listxattr(users_overlay / "work/work") == ["user.x"]
    status = (users_overlay / ".templater-work").stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (0, 0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("owner", "mode"), [(1234, 0o700), (0, 0o720), (0, 0o702)])
def test_attack_83_a_work_directory_that_others_could_fill_is_refused(users_overlay, owner, mode):
    layers = f"{users_overlay.parent}/lower", f"{users_overlay}/upper"
    work = users_overlay / ".templater-work"
    work.mkdir()
    work.chmod(mode)
    os.chown(work, owner, owner)
    with pytest.raises(RefusedError) as refused:
        lxc.open_layers(layers)
    assert refused.value.message == (
        f"'{work}' belongs to uid {owner} with mode {mode:04o}: another user could have put files there, and"
        " mounting the overlay would remove these files"
    )
    assert refused.value.hint == f"rename '{work}', and the next start makes a new directory"
    work.rename(users_overlay / "renamed")
    assert len(lxc.open_layers(layers)) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("owner", "mode", "said"), [(1234, 0o755, "belongs to another user"), (0, 0o777, "other users can write")]
)
def test_no_upper_layer_is_created_in_a_changeable_directory(tmp_path, owner, mode, said):
    """A user gave the name of the missing directory to another container's directory for a moment."""
    for name in ("lower", "u"):
        (tmp_path / name).mkdir()
    os.chown(tmp_path / "u", owner, owner)
    (tmp_path / "u").chmod(mode)
    layers = f"{tmp_path}/lower", f"{tmp_path}/u/web1/delta0"
    with pytest.raises(RefusedError, match=said):
        lxc.open_layers(layers)
    assert not list((tmp_path / "u").iterdir())
    os.chown(tmp_path / "u", 0, 0)
    (tmp_path / "u").chmod(0o755)
    assert len(lxc.open_layers(layers)) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
def test_an_overlay_with_special_characters_in_its_layers_is_mounted(mounts, tmp_path):
    mounts.share(tmp_path)
    for name in ("a,b", "c\\d", "mounted"):
        (tmp_path / name).mkdir()

    def write() -> None:
        lxc.mount_overlay((f"{tmp_path}/a,b", f"{tmp_path}/c\\d"), f"{tmp_path}/mounted")
        (tmp_path / "mounted/file").touch()

    in_a_hook(write)
    assert os.listdir(tmp_path / "c\\d") == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("settings", ["", "lxc.rootfs.options = userxattr\n"])
def test_an_overlay_is_mounted_with_the_containers_options(mounts, container, settings, tmp_path):
    mounts.share(tmp_path)
    for name in ("lower", "upper", "mounted"):
        (tmp_path / name / "etc").mkdir(parents=True)
    (tmp_path / "lower/etc/old").touch()
    os.setxattr(tmp_path / "upper/etc", "user.overlay.opaque", b"y")
    (container / "config").write_text(settings)
    layers = f"{tmp_path}/lower:{tmp_path}/upper"
    surroundings = environ(container, LXC_ROOTFS_PATH=layers, LXC_ROOTFS_MOUNT=f"{tmp_path}/mounted")

    def mount() -> None:
        lxc.read_request(Options(), surroundings).mount()
        assert os.listdir(tmp_path / "mounted/etc") == ([] if settings else ["old"])

    in_a_hook(mount)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("fails", [False, True])
def test_attack_90_a_hook_leaves_the_unmounting_of_the_overlay_to_another_process(
    mounts, tmp_path, monkeypatch, fails
):
    """An unmount writes all data of other containers to the disk. This took half a minute at each start."""
    mounts.share(tmp_path)
    for name in ("lower", "upper", "mounted"):
        (tmp_path / name).mkdir()
    where, handed_over = tmp_path / "mounted", []
    monkeypatch.setattr(lxc, "_refuses_second_mount", lambda: False)
    monkeypatch.setattr(
        close_in_another_process,
        "_hand_over",
        lambda held, _: handed_over.append([*map(is_overlay, held), where.is_mount()]),
    )

    def write() -> None:
        lxc.mount_overlay((f"{tmp_path}/lower", f"{tmp_path}/upper"), str(where))
        assert where.is_mount()
        (where / "file").touch()
        if fails:
            raise OSError("full")

    def hook() -> None:
        with contextlib.suppress(OSError):
            close_in_another_process.handing_over(write)
        assert handed_over == [[True, False]]

    in_a_hook(hook)
    assert os.listdir(tmp_path / "upper") == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
def test_attack_90_the_overlay_of_a_hook_exists_until_the_unmounting_process_ends(
    mounts, tmp_path, monkeypatch
):
    """With index=on, the kernel refuses an upper layer that another overlay uses."""
    mounts.share(tmp_path)
    folders = [tmp_path / name for name in ("lower", "upper", "work", "mounted")]
    for folder in folders:
        folder.mkdir()
    reader, writer = os.pipe()
    ended = monotonic() + 20

    def close_last(*_: object) -> None:
        os.read(reader, 1)
        os._exit(0)

    monkeypatch.setattr(lxc, "_refuses_second_mount", lambda: False)
    monkeypatch.setattr(close_in_another_process, "PATIENCE", 0.0)
    monkeypatch.setattr(close_in_another_process, "_close_last", close_last)
    monkeypatch.setattr(
        close_in_another_process, "_end_closing", lambda: None
    )  # this process waits here, not in the kernel
    mount = partial(lxc.mount_overlay, (str(folders[0]), str(folders[1])), str(folders[3]))
    in_a_hook(lambda: close_in_another_process.handing_over(mount))
    with pytest.raises(subprocess.CalledProcessError):
        mounts.overlay(*folders, "index=on")
    os.write(writer, b"x")
    os.close(reader)
    os.close(writer)
    while True:
        try:
            mounts.overlay(*folders, "index=on")
        except subprocess.CalledProcessError:
            assert monotonic() < ended
            sleep(0.1)
        else:
            return


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("setting", [b"Y\n", None])
def test_the_hook_itself_unmounts_if_mounting_again_may_fail(mounts, tmp_path, monkeypatch, setting):
    mounts.share(tmp_path)
    for name in ("lower", "upper", "mounted"):
        (tmp_path / name).mkdir()
    parameter = tmp_path / "index"
    if setting is not None:
        parameter.write_bytes(setting)
    opened = os.open
    monkeypatch.setattr(
        lxc.os, "open",
        lambda path, *words, **options: opened(parameter if "/index" in str(path) else path, *words, **options),
    )  # fmt: skip
    monkeypatch.setattr(close_in_another_process, "_hand_over", None)
    mount = partial(lxc.mount_overlay, (f"{tmp_path}/lower", f"{tmp_path}/upper"), f"{tmp_path}/mounted")
    in_a_hook(lambda: close_in_another_process.handing_over(mount))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize(("option", "itself"), [("index=on", True), ("index=off", False), ("ro", None)])
def test_the_hook_itself_unmounts_an_overlay_with_an_index(
    mounts, container, tmp_path, monkeypatch, option, itself
):
    """LXC's own mount failed while another process had removed files of the hook's overlay open."""
    mounts.share(tmp_path)
    for name in ("lower", "upper", "mounted"):
        (tmp_path / name).mkdir()
    (container / "config").write_text(f"lxc.rootfs.options = {option}\n")
    layers = f"{tmp_path}/lower:{tmp_path}/upper"
    surroundings = environ(container, LXC_ROOTFS_PATH=layers, LXC_ROOTFS_MOUNT=f"{tmp_path}/mounted")
    monkeypatch.setattr(lxc, "_refuses_second_mount", lambda: None)

    def mount() -> None:
        lxc.read_request(Options(), surroundings).mount()
        assert close_in_another_process._mounted == [(f"{tmp_path}/mounted", itself)]

    in_a_hook(mount)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("refuses", [True, False])
def test_a_hook_waits_until_removed_files_are_closed(mounts, tmp_path, monkeypatch, refuses):
    """Without the wait, LXC could not mount the overlay: "already mounted or mount point busy"."""
    mounts.share(tmp_path)
    folders = [tmp_path / name for name in ("lower", "upper", "work", "mounted")]
    for folder in folders:
        folder.mkdir()
    close_last = close_in_another_process._close_last

    def close_late(*arguments):
        sleep(1)
        close_last(*arguments)

    def write() -> None:
        lxc.mount_overlay((str(folders[0]), str(folders[1])), str(folders[3]))
        close_in_another_process._held.append(os.open(folders[3], os.O_PATH))

    def hook() -> None:
        began = monotonic()
        close_in_another_process.handing_over(write)
        assert (monotonic() - began > 1) is refuses

    monkeypatch.setattr(lxc, "_refuses_second_mount", lambda: refuses)
    monkeypatch.setattr(close_in_another_process, "_close_last", close_late)
    monkeypatch.setattr(close_in_another_process, "PATIENCE", 0.1)
    in_a_hook(hook)
    if refuses:
        mounts.overlay(*folders, "index=on")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("refuses", [False, True])
def test_attack_86_another_process_closes_the_removed_layers_of_an_overlay(
    mounts, tmp_path, monkeypatch, refuses
):
    """An empty upper layer with 300,000 attributes took 8 seconds to close when the hook ended."""
    mounts.share(tmp_path)
    folders = [tmp_path / name for name in ("lower", "upper", "mounted")]
    for folder in folders:
        folder.mkdir()
    handed_over, before = [], os.listdir("/proc/self/fd")
    removed = {folder.stat().st_ino for folder in folders[:2]}
    monkeypatch.setattr(lxc, "_refuses_second_mount", lambda: refuses)

    def hand_over(held, patience):
        assert not folders[2].is_mount()
        handed_over.append({os.fstat(fd).st_ino for fd in held if os.fstat(fd).st_nlink == 0})

    monkeypatch.setattr(close_in_another_process, "_hand_over", hand_over)

    def write() -> None:
        close_in_another_process.close_rest_at_end()
        lxc.mount_overlay((str(folders[0]), str(folders[1])), str(folders[2]))
        for folder in folders[:2]:
            folder.rmdir()

    def hook() -> None:
        close_in_another_process.handing_over(write)
        assert handed_over == [removed]
        monkeypatch.undo()
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2 + (not refuses)

    in_a_hook(hook)


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("itself", [False, True])
def test_attack_93_unmounting_an_overlay_does_not_commit_the_btrfs_file_system(
    mounts, tmp_path, monkeypatch, itself
):
    """Until another container's fsync had ended, the commit stopped every change: starts took 25 seconds."""
    folders, layers = overlay_on_btrfs(mounts, tmp_path)
    found = [("lxc.rootfs.options", "index=on")] if itself else []
    monkeypatch.setattr(lxc, "_refuses_second_mount", lambda: False)
    (folders[1] / "a").touch()
    before = transaction_of(folders[1])

    def write() -> None:
        lxc.mount_overlay(layers, str(folders[2]), found)
        (folders[2] / "file").write_text("text")

    for _ in range(2):
        in_a_hook(lambda: close_in_another_process.handing_over(write))
    (folders[1] / "b").touch()
    assert sorted(os.listdir(folders[1])) == ["a", "b", "file"]
    assert transaction_of(folders[1]) == before


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("why", ["an older kernel", "an index", "another file system"])
def test_a_hook_mounts_its_overlay_without_the_option_volatile(mounts, tmp_path, monkeypatch, why):
    """With the option volatile, the kernel does not sync copied files.

    Older kernels don't know this option.
    """
    if why == "another file system":
        mounts.tmpfs(tmp_path, "size=1m")
        folders, layers = overlay_in(tmp_path)
    else:
        folders, layers = overlay_on_btrfs(mounts, tmp_path)
    tried = []

    def libc(name):
        def call(*arguments):
            if name == "mount" and arguments[0] == b"overlay":
                tried.append(arguments[-1].endswith(b",volatile"))
                if tried[-1]:
                    return -1
            return oslite.libc(name)(*arguments)

        return call

    def hook() -> None:
        lxc.mount_overlay(layers, str(folders[2]))
        assert folders[2].is_mount()
        assert tried == ([True, False] if why == "an older kernel" else [False])

    monkeypatch.setattr(lxc, "libc", libc)
    monkeypatch.setattr(lxc, "_refuses_second_mount", lambda: why == "an index")
    in_a_hook(hook)


@as_root
@pytest.mark.parametrize("left", ["all", "no file", "no directory"])
def test_a_hook_mounts_an_overlay_after_an_earlier_volatile_mount(mounts, tmp_path, monkeypatch, left):
    """A container can have been moved from a btrfs, and a hook can have been killed at any time."""
    mounts.share(tmp_path)
    folders, layers = overlay_in(tmp_path)
    mark = tmp_path / ".templater-work/work/incompat/volatile"
    mark.mkdir(parents=True)
    (tmp_path / ".templater-work").chmod(0o700)
    if left == "all":
        (mark / "dirty").touch()
    elif left == "no directory":
        mark.rmdir()
    in_a_hook(lambda: lxc.mount_overlay(layers, str(folders[2])))
    assert not mark.exists()


@as_root
def test_an_error_about_an_irremovable_volatile_mark_contains_its_path(mounts, tmp_path):
    mark = tmp_path / ".templater-work/work/incompat/volatile"
    (mark / "dirty").mkdir(parents=True)
    (tmp_path / ".templater-work").chmod(0o700)
    mounts.share(tmp_path)
    folders, layers = overlay_in(tmp_path)

    def hook() -> None:
        with pytest.raises(WriteError, match=f"can't remove '{mark}': is a directory"):
            lxc.mount_overlay(layers, str(folders[2]))

    in_a_hook(hook)


def overlay_on_btrfs(mounts, tmp_path):
    place = mounts.btrfs(tmp_path)
    mounts.share(place)
    return overlay_in(place)


def overlay_in(place):
    """Return the directories of an overlay (lower, upper and mounted), and its layers."""
    folders = [place / name for name in ("lower", "upper", "mounted")]
    for folder in folders:
        folder.mkdir()
    return folders, (str(folders[0]), str(folders[1]))


def transaction_of(place) -> int:
    """Return the number of the current transaction of a btrfs: each commit ends a transaction."""
    answer = bytearray(1024)
    answer[48:56] = (2).to_bytes(8, sys.byteorder)  # the flag for the number
    fd = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x8400941F, answer)
    finally:
        os.close(fd)
    return int.from_bytes(answer[56:64], sys.byteorder)


# --- OCI


def state(bundle, **annotations):
    return json.dumps(
        {"ociVersion": "1.2.0", "id": "x1", "status": "creating", "pid": 7, "bundle": str(bundle),
         "annotations": annotations}
    ).encode()  # fmt: skip


def said(monkeypatch, data):
    stream = io.BytesIO(data)
    monkeypatch.setattr(oci.os, "read", lambda _fd, size: stream.read(size))


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}}))
    (tmp_path / "rootfs").mkdir()
    return tmp_path


def test_the_root_filesystem_path_is_read_from_the_bundle(bundle):
    assert oci.root_of({"root": {"path": "rootfs"}}, "/b") == "/b/rootfs"
    assert oci.root_of({"root": {"path": "/abs"}}, "/b") == "/abs"


def test_bundle_annotations_without_the_templater_prefix_are_ignored():
    found = oci._annotations(
        {"annotations": {"org.templater.config.user.x": "1", "other": "2", "org.templater.n": 3}}
    )
    assert found == {"org.templater.config.user.x": "1"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"[]",
        b"{",
        b'{"a":1}',
        b'{"ociVersion":1}',
        b"\xff",
        b'{"ociVersion":"1"} x',
        b"[" * 100000,
    ],
)
def test_attack_66_invalid_standard_input_gives_a_clear_error(data):
    with pytest.raises((InputError, UsageError)):
        oci.read_state(data)


def test_attack_66_an_endless_oci_state_hits_a_limit(monkeypatch):
    read, write = os.pipe()
    os.close(write)
    os.close(read)
    monkeypatch.setattr(oci.os, "read", lambda _fd, size: b"x" * size)
    with pytest.raises(LimitError):
        oci._stdin()


def test_the_hook_parses_json_like_the_json_module():
    text = '{"a": [1, -2.5e3, true, null, "\\u00e9\\n"], "b": {}}'
    assert json_input.parse_json(text.encode(), "x") == json.loads(text)


@pytest.mark.parametrize("depth", [1500, 5000, 100_000])
def test_a_deeply_nested_bundle_configuration_is_refused(depth):
    """The limits on nesting differ between releases of Python, and between reading and writing."""
    with pytest.raises(InputError):
        oci.merged('{"a": ' + "[" * depth + "]" * depth + "}", "config.json", "createRuntime", {})


def test_half_a_surrogate_pair_in_a_path_is_replaced():
    assert oci.root_of({"root": {"path": "a\ud800"}}, "/b") == "/b/a\ufffd"


def test_a_very_long_path_of_a_root_filesystem_is_refused():
    with pytest.raises(InputError, match=r"a root\.path of more than 4095 characters"):
        oci.root_of({"root": {"path": "a/" * 2048}}, "/b")


def test_id_mappings_of_a_bundle_become_an_id_map():
    mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
    ids = oci.id_map({"linux": {"uidMappings": mapping, "gidMappings": mapping}})
    assert ids.on_disk(3, 4) == (1003, 1004)
    assert oci.id_map({"linux": {}}) is None
    for wrong in ([{"containerID": 0}], ["x"], [{"containerID": -1, "hostID": 0, "size": 1}]):
        with pytest.raises(InputError):
            oci.id_map({"linux": {"uidMappings": wrong, "gidMappings": wrong}})


# --- nspawn


@pytest.mark.parametrize("words", [(), ("a", "b"), ("../x",), ("",), ("..",), ("a\nb",)])
def test_a_hook_needs_exactly_one_valid_machine_name(words):
    options = Options()
    options.words = words
    with pytest.raises(UsageError):
        nspawn.read_request(options, {})


def test_an_nspawn_machine_has_default_paths():
    options = Options()
    options.words = ("web1",)
    start = nspawn.read_request(options, {})
    assert (start.rootfs, start.image) == ("/var/lib/machines/web1", "/var/lib/templater/web1")


def test_machines_with_a_shared_image_have_separate_state_directories(tmp_path, monkeypatch):
    monkeypatch.setattr(nspawn, "INSTANCES", str(tmp_path / "state"))
    options = Options()
    options.source = str(tmp_path / "image")
    for name in ("m1", "m2"):
        options.words = (name,)
        request = nspawn.read_request(options, {})
        assert (request.image, request.state_folder) == (options.source, f"{tmp_path}/state/{name}")
        assert os.stat(request.state_folder).st_mode & 0o777 == 0o700
    options.state = str(tmp_path)
    assert nspawn.read_request(options, {}).state_folder == str(tmp_path)


@pytest.mark.parametrize("name", ["images", "incus", "old_contents"])
def test_a_reserved_machine_name_requires_the_source_and_state_options(tmp_path, name):
    options = Options()
    options.words, options.source = (name,), str(tmp_path)
    with pytest.raises(UsageError, match=f"reserved machine name '{name}': templater itself"):
        nspawn.read_request(options, {})
    options.state = str(tmp_path)
    assert isinstance(nspawn.read_request(options, {}), HookRequest)


def test_the_if_present_option_makes_a_hook_skip_a_machine_without_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr(nspawn, "INSTANCES", str(tmp_path / "state"))
    options = Options()
    options.words, options.source = ("web1",), str(tmp_path)
    assert isinstance(nspawn.read_request(options, {}), HookRequest)
    options.if_present = True
    assert isinstance(nspawn.read_request(options, {}), Notice)
    (tmp_path / "metadata.yaml").touch()
    assert isinstance(nspawn.read_request(options, {}), HookRequest)


def test_a_machine_without_its_own_directory_is_skipped(tmp_path, monkeypatch):
    """With ``--source``, the hook wrote files into every machine of the host."""
    monkeypatch.setattr(nspawn, "INSTANCES", str(tmp_path / "state"))
    (tmp_path / "metadata.yaml").touch()
    options = Options()
    options.words, options.source, options.if_present = ("web1",), str(tmp_path), True
    assert isinstance(nspawn.read_request(options, {}), Notice)
    assert not (tmp_path / "state").exists()
    (tmp_path / "state/web1").mkdir(parents=True)
    assert isinstance(nspawn.read_request(options, {}), HookRequest)
    options.words, options.state = ("web2",), str(tmp_path)
    assert isinstance(nspawn.read_request(options, {}), HookRequest)


def test_no_hook_code_modifies_a_request_after_its_creation():
    """A later part of the hook sees exactly the values that the runtime module chose."""
    import ast
    from pathlib import Path

    import templater

    hooks = Path(templater.__file__).parent / "hooks"
    for path in hooks.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = {ast.unparse(target.value) for target in targets if isinstance(target, ast.Attribute)}
            assert "request" not in names, f"{path}:{node.lineno}"
