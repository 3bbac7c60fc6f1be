"""Requests of the hook for OCI runtimes: it reads the state, config.json and the options of its line."""

import io
import json
import os
import sys
from types import SimpleNamespace

import pytest

from templater.hooks.json_input import parse_json
from templater.hooks.options import Options
from templater.hooks.request import HookRequest, Notice
from templater.hooks.runtimes import oci
from templater.model.errors import InputError, LimitError, RefusedError, UsageError
from templater.rootfs.id_map import IDENTITY

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")

MAPPING = [{"containerID": 0, "hostID": 100000, "size": 10}]
NAMESPACE = {"namespaces": [5, {"type": "network"}, {"type": "user"}]}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that reads the request for a bundle."""
    (tmp_path / "rootfs").mkdir()

    def request(config=None, options=None, annotations=None, **state):
        (tmp_path / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, **(config or {})}))
        named = {f"org.templater.{key}": value for key, value in (annotations or {}).items()}
        data = {"ociVersion": "1.2.0", "id": "c1", "bundle": str(tmp_path), "annotations": named, **state}
        monkeypatch.setattr(oci, "_stdin", lambda: json.dumps(data).encode())
        given = Options()
        for name, value in (options or {}).items():
            setattr(given, name, value)
        return oci.read_request(given, {})

    return request


def test_a_bundle_without_annotations_is_used_as_the_image(read, tmp_path):
    request = read()
    assert (request.name, request.image, request.state_folder) == ("c1", str(tmp_path), str(tmp_path))
    assert request.rootfs == f"{tmp_path}/rootfs"
    assert (request.triggers, request.config, request.description) == ((), {}, None)
    status = (tmp_path / "rootfs").stat()
    assert (request.ids, request.owner) == (None, (status.st_uid, status.st_gid))
    assert (request.cross_mounts, request.compare, request.mounts) == (False, False, ())
    assert list(request.open_folders) == [str(tmp_path)]


def test_annotations_provide_the_name_and_the_triggers_and_the_configuration_keys(read):
    request = read(annotations={"name": "web", "trigger": "copy,start", "config.user.a": "1", "config.": "2"})
    assert (request.name, request.triggers) == ("web", ("copy", "start"))
    assert request.config == {"user.a": "1", "": "2"}


def test_the_container_id_is_ignored_if_instance_yaml_exists(read, tmp_path):
    (tmp_path / "instance.yaml").write_text("name: web\n")
    assert read(id=None).name == ""
    assert read(annotations={"name": "db"}).name == "db"


def test_a_relative_bundle_is_refused(read):
    with pytest.raises(InputError) as refused:
        read(bundle="a/b")
    assert refused.value.message == "the state on standard input has a relative bundle path 'a/b'"


def test_a_failed_oci_hook_writes_its_log_into_the_bundle(read, tmp_path):
    """The bundle's path comes from standard input, which can be read only once."""
    with pytest.raises(RefusedError):
        read(annotations={"source": "/srv/image"})
    assert oci.state_folder({}) == str(tmp_path)


@pytest.mark.parametrize("has_image", [False, True])
def test_the_hook_may_skip_a_bundle_without_an_image(read, tmp_path, has_image):
    if has_image:
        (tmp_path / "metadata.yaml").touch()
    found = read(options={"if_present": True})
    assert isinstance(found, HookRequest if has_image else Notice)
    assert has_image or not found.text


def test_the_id_map_comes_from_the_configuration_or_from_the_process(read):
    mapped = read({"linux": {"uidMappings": MAPPING, "gidMappings": MAPPING, **NAMESPACE}})
    assert mapped.ids.on_disk(3, 4) == (100003, 100004) and mapped.owner is None
    for linux in ({"uidMappings": MAPPING}, {"namespaces": [{"type": "network"}]}, {"namespaces": 5}, 5):
        assert read({"linux": linux}).ids is None
    joined = read({"linux": NAMESPACE}, pid=os.getpid())
    assert joined.ids.on_disk(0, 0) == (own("uid_map"), own("gid_map"))
    assert joined.owner is None


def own(name):
    """Return the id outside this process's user namespace for the id 0 in it."""
    with open(f"/proc/self/{name}") as file:
        return int(file.read().split()[1])


@pytest.mark.parametrize("pid", [None, "7", 1 << 22])
def test_a_user_namespace_with_an_unknown_id_map_is_refused(read, pid):
    with pytest.raises(RefusedError) as refused:
        read({"linux": NAMESPACE}, pid=pid)
    assert refused.value.message == (
        "the id map of the container's user namespace is unknown: the state on standard input has no pid of a"
        " running process"
    )
    assert refused.value.hint == "set uidMappings and gidMappings in config.json"


def test_a_hook_inside_namespaces_sees_container_ids_and_mounts(read):
    config = {"linux": {"uidMappings": MAPPING, "gidMappings": MAPPING}, "mounts": [{"destination": "/proc"}]}
    request = read(config, {"stage": "createContainer", "in_place": True})
    assert request.ids is IDENTITY and request.owner is None
    assert (request.mounts, request.cross_mounts) == ((), True)


def test_an_oci_hook_request_contains_the_later_mounts_of_the_runtime(read):
    mounts = [{"destination": "/proc"}, {"destination": "dev//pts/"}, {"destination": 5}, {}, "x"]
    request = read({"mounts": mounts})
    assert request.mounts == ("/proc", "/dev/pts")
    assert request.mounts_hint == (
        "install the hook with --in-place to write into the mount; --in-place does not help for a path of"
        " linux.maskedPaths"
    )
    assert read({"mounts": mounts}, {"stage": "prestart"}).mounts == ("/proc", "/dev/pts")
    assert read({"mounts": {"destination": "/proc"}}).mounts == ()


@pytest.mark.parametrize("stage", ["", "createContainer"])
def test_an_oci_hook_request_contains_the_masked_paths_of_the_runtime(read, stage):
    masked = ["/etc/app/", "/proc/kcore", "/processes", 5]
    config = {"mounts": [{"destination": "/proc"}], "linux": {"maskedPaths": masked}}
    mounts = () if stage else ("/proc",)
    assert read(config, {"stage": stage}).mounts == (*mounts, "/etc/app", "/processes")
    assert read({"linux": {"maskedPaths": "/etc"}}, {"stage": stage}).mounts == ()


def test_an_oci_hook_request_contains_the_initially_empty_tmpfs_mounts(read):
    mounts = [
        {"destination": "/run/", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/tmp", "type": "tmpfs"},
        {"destination": "/srv", "type": "tmpfs", "options": ["tmpcopyup"]},
        {"destination": "/data", "type": "bind", "options": ["rbind"]},
        {"destination": "/mnt", "type": "tmpfs", "options": ["bind"]},
        {"destination": "/opt", "type": "tmpfs", "options": ["ro", "rbind"]},
        {"destination": "/ram", "type": "ramfs"},
        *({"type": "tmpfs"}, {"destination": 5, "type": "tmpfs"}, 7),
    ]
    assert read({"mounts": mounts}).empty_mounts == ("/run", "/tmp", "/ram")


def test_a_mount_point_with_two_dots_is_refused(read):
    """If the image makes /data/l a link to /etc/x, crun mounts /data/l/../f over /etc/f, which the hook replaced."""
    with pytest.raises(InputError) as refused:
        read({"mounts": [{"destination": "/data/l/../f", "type": "bind"}]})
    assert refused.value.message == "config.json has a '..' in the mount point or masked path '/data/l/../f'"
    assert refused.value.hint == "write the path without '..': some runtimes follow links before '..'"


def test_an_overlong_mount_point_or_masked_path_is_refused(read):
    """A masked path of 400 KB took more than 30 seconds."""
    name = "/" + "a/" * 2047
    assert (
        read({"mounts": [{"destination": name}], "linux": {"maskedPaths": [name]}}).mounts == (name[:-1],) * 2
    )
    for config in ({"mounts": [{"destination": name + "x"}]}, {"linux": {"maskedPaths": [name + "x"]}}):
        with pytest.raises(InputError) as refused:
            read(config)
        assert refused.value.message == (
            "config.json has a mount point or masked path of more than 4095 characters"
        )


@pytest.mark.parametrize(
    ("stage", "mounts"),
    [("", ("/srv/app", "/sys")), ("createContainer", ("/srv/app/conf",))],
)
def test_a_masked_path_below_a_mount_hides_writable_files(read, stage, mounts):
    """``--in-place`` wrote a secret into a volume, and the container could not see the file."""
    masked = ["/srv/app/conf", "/sys/firmware", "/proc/kcore"]
    config = {
        "mounts": [{"destination": "/srv/app"}, {"destination": "/sys"}],
        "linux": {"maskedPaths": masked if stage else masked[:2]},
    }
    assert read(config, {"stage": stage}).mounts == mounts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"root": {"path": "other"}, "root": {"path": "rootfs"}}', "root"),
        ('{"linux": {"maskedPaths": ["/a"]}, "linux": {}}', "linux"),
        ('{"mounts": [{"destination": "/a", "x\\u0007": 1, "x\\u0007": 2}]}', r"x\x07"),
    ],
)
def test_a_repeated_name_in_the_configuration_of_a_bundle_is_refused(text, name):
    """If a name is repeated, crun reads the first value, and the hook read the last value.

    runc merges the values.
    """
    with pytest.raises(InputError) as refused:
        parse_json(text.encode(), "config.json")
    assert refused.value.message == f"config.json: the key '{name}' occurs twice in an object"


def test_a_configuration_key_with_a_nul_is_refused():
    """crun reads a name up to the NUL, so it mounted a tmpfs that the hook did not see."""
    with pytest.raises(InputError) as refused:
        parse_json(rb'{"mounts": [{"destination\u0000": "/srv", "type": "tmpfs"}]}', "config.json")
    assert refused.value.message == r"config.json: the key 'destination\x00' contains a NUL"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"mounts": [{"destination": "/srv\0x", "type": "tmpfs"}]}, "destination"),
        ({"mounts": [{"destination": "/srv", "type": "tmpfs\0"}]}, "type"),
        ({"linux": {"maskedPaths": ["/proc/kcore", "/srv\0x"]}}, "maskedPaths"),
        ({"linux": {"namespaces": [{"type": "user\0x"}]}}, "type"),
    ],
)
def test_a_configuration_text_with_a_nul_is_refused(read, config, name):
    """crun reads a text up to the NUL, so it mounted a tmpfs at /srv, and the hook wrote a secret below it."""
    with pytest.raises(InputError) as refused:
        read(config)
    assert refused.value.message == f"config.json has a '{name}' with a NUL"


@pytest.mark.parametrize(
    ("config", "name", "usual"),
    [
        ({"Root": {"path": "other"}}, "Root", "root"),
        ({"root": {"path": "rootfs", "PATH": "x"}}, "PATH", "path"),
        ({"MOUNTS": []}, "MOUNTS", "mounts"),
        ({"mounts": [{"Destination": "/x"}]}, "Destination", "destination"),
        ({"linux": {"maskedpaths": []}}, "maskedpaths", "maskedPaths"),
        ({"linux": {"namespaces": [{"Type": "user"}]}}, "Type", "type"),
        ({"linux": {"masKedPaths": []}}, "masKedPaths", "maskedPaths"),
    ],
)
def test_a_name_in_config_json_with_wrong_capitalisation_is_refused(read, config, name, usual):
    """runc ignores the case of names, so the hook wrote into a root filesystem that runc did not use."""
    with pytest.raises(InputError) as refused:
        read(config)
    assert refused.value.message == f"config.json has the name '{name}', which runc reads as '{usual}'"
    assert refused.value.hint == f"write '{usual}', or remove the name"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((name, "x/y") for name in ("source", "instance", "rootfs", "state", "cache", "log")),
        ("allow", ("/a", "x/y")), ("allow_instance", ("x/y",)),
    ],
)  # fmt: skip
def test_an_oci_hook_refuses_a_relative_path(read, option, value):
    """runc starts a hook in the root filesystem of the container, where a link can lead to files of the host."""
    with pytest.raises(UsageError, match=r"^the hook line has the relative path 'x/y'$") as refused:
        read(options={option: value})
    assert refused.value.hint == "give an absolute path"


def test_bundle_mounts_are_ignored_for_another_rootfs_directory(read, tmp_path):
    (tmp_path / "other").mkdir()
    request = read({"mounts": [{"destination": "/proc"}]}, {"rootfs": f"{tmp_path}/other"})
    assert (request.rootfs, request.mounts) == (f"{tmp_path}/other", ())


def test_bundle_mounts_are_considered_for_the_bundles_own_rootfs(read, tmp_path):
    """A hint suggests the option if root.path is a link. With the option, the hook wrote below mounts."""
    (tmp_path / "link").symlink_to("rootfs")
    config = {"root": {"path": "link"}, "mounts": [{"destination": "/srv"}], "linux": {"maskedPaths": ["/x"]}}
    for path in ("rootfs", "link"):
        request = read(config, {"rootfs": f"{tmp_path}/{path}"})
        assert (request.rootfs, request.mounts) == (f"{tmp_path}/{path}", ("/srv", "/x"))


@pytest.mark.parametrize(("uid", "gid"), [(65535, 0), (0, 65535), (65536, 0), (0, 65536)])
def test_a_shifted_root_filesystem_without_user_namespace_is_refused(uid, gid, monkeypatch):
    status = SimpleNamespace(st_uid=uid, st_gid=gid)
    monkeypatch.setattr(oci, "os", SimpleNamespace(stat=lambda path: status))
    if max(uid, gid) == 65535:
        assert oci._owner_of("/r") == (uid, gid)
        return
    with pytest.raises(RefusedError) as refused:
        oci._owner_of("/r")
    assert refused.value.message == f"'/r' belongs to {uid}:{gid}, but the container has no user namespace"
    assert refused.value.hint == "change the owner of the root filesystem's directory, for example: chown 0:0"


def test_the_owner_of_a_missing_root_filesystem_is_unknown(tmp_path):
    assert oci._owner_of(f"{tmp_path}/none") is None


def test_the_path_of_a_root_filesystem_can_have_4095_characters():
    assert oci.root_of({"root": {"path": "/" * 4095}}, "/b") == "/" * 4095
    with pytest.raises(InputError):
        oci.root_of({"root": {"path": "/" * 4096}}, "/b")


def test_the_state_on_standard_input_is_limited_to_one_mebibyte(monkeypatch):
    for size, fits in ((1 << 20, True), ((1 << 20) + 1, False)):
        stream = io.BytesIO(b" " * size)
        monkeypatch.setattr(
            oci, "os", SimpleNamespace(read=lambda fd, most, stream=stream: stream.read(most))
        )
        if fits:
            assert oci._stdin() == b" " * size
        else:
            with pytest.raises(
                LimitError, match=r"^the state on standard input is larger than 1048576 bytes$"
            ):
                oci._stdin()


@pytest.mark.parametrize("has_image", [False, True])
def test_the_source_option_prevents_a_search_in_the_bundle(read, tmp_path, has_image):
    (tmp_path / "image").mkdir()
    (tmp_path / ("image/metadata.yaml" if has_image else "metadata.yaml")).touch()
    found = read(options={"if_present": True, "source": f"{tmp_path}/image"})
    assert isinstance(found, HookRequest if has_image else Notice)
    assert not has_image or (found.image, found.state_folder) == (f"{tmp_path}/image", str(tmp_path))
