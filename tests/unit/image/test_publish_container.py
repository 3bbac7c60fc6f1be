"""The facts about a container that publishing finds before it packs the container."""

import os
import shutil
import subprocess

import pytest

from templater.image.publish_container import (
    architecture_of,
    find,
    publication,
    refuse_running,
    running,
    stale_of,
)
from templater.model.errors import InputError, RefusedError, TemplaterError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.rootfs.confined_root import Root

BUSYBOX = "/usr/bin/busybox"


@pytest.fixture
def container(tmp_path):
    top = tmp_path / "web1"
    (top / "rootfs" / "etc").mkdir(parents=True)
    (top / "templates").mkdir()
    (top / "metadata.yaml").write_text(
        "# ours\narchitecture: i686\ncreation_date: 1\nexpiry_date: 5\nproperties:\n"
        "  os: Debian\n  serial: '1' # build\n  description: base\n"
    )
    return top


def meaning(found):
    return read_metadata(Source("metadata.yaml", found.parts[0].data))


def test_publishing_sets_the_architecture_and_date_and_keeps_other_metadata(container):
    found = publication(str(container), now=77, architecture="x86_64", properties={"role": "web"})
    metadata = meaning(found)
    assert (metadata.architecture, metadata.creation_date, metadata.expiry_date) == ("x86_64", 77, 0)
    assert metadata.properties == {"os": "Debian", "role": "web"}
    assert found.dropped == ("description", "serial")
    assert found.parts[0].data.startswith(b"# ours\n")


def test_publishing_removes_stale_properties_unless_an_option_sets_or_keeps_them(container):
    found = publication(
        str(container), now=77, properties={"description": "mine"}, keep=("serial",), expiry=99
    )
    assert meaning(found).properties == {"os": "Debian", "serial": "1", "description": "mine"}
    assert meaning(found).expiry_date == 99 and found.dropped == ()


@pytest.mark.parametrize("name", ["description", "serial", "name", "label", "version", "type"])
def test_publishing_removes_the_build_properties_of_the_base_image(container, name):
    (container / "metadata.yaml").write_text(
        f"architecture: i686\ncreation_date: 1\nproperties: {{os: Debian, {name}: x}}\n"
    )
    found = publication(str(container), now=77, properties={})
    assert meaning(found).properties == {"os": "Debian"} and found.dropped == (name,)


def test_publishing_uses_the_architecture_of_the_instance(container):
    with Root(str(container)) as root:
        (container / "config").write_text("lxc.uts.name = x\nlxc.arch=armhf\n")
        assert architecture_of(root) == "armv7l"
        (container / "instance.yaml").write_text("name: web1\narchitecture: riscv64\n")
        assert architecture_of(root) == "riscv64"


@pytest.mark.parametrize(
    ("names", "architecture"),
    [
        ("x86_64 amd64", "x86_64"),
        ("i686 i386 i486 i586 x86", "i686"),
        ("aarch64 arm64", "aarch64"),
        ("armv7l armhf arm", "armv7l"),
        ("ppc64le ppc64el", "ppc64le"),
        ("riscv64", "riscv64"),
        ("s390x", "s390x"),
        ("loongarch64", "loongarch64"),
        ("mips", "mips"),
    ],
)
@pytest.mark.parametrize("key", ["lxc.arch", "lxc.architecture", None])
def test_publishing_uses_the_architecture_names_of_the_daemons(
    names, architecture, key, container, monkeypatch
):
    for name in names.split():
        monkeypatch.setattr("platform.machine", lambda name=name: "other" if key else name)
        if key:
            (container / "config").write_text(f"lxc.architectures = y\n {key} = {name}\nlxc.arch = z\n")
        with Root(str(container)) as root:
            assert architecture_of(root) == architecture


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that other users can't read")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("instance.yaml", "password: hunter2: x\n"),
        ("instance.yaml", "password: hunter2\nprofiles: hunter2\n"),
        ("instance.yaml", "name: web1\narchitecture: hunter2\n"),
        ("config", "lxc.arch = hunter2\n"),
    ],
)
def test_attack_50_publishing_does_not_quote_private_files_in_foreign_directories(name, text, container):
    path = container / name
    path.write_text(text)
    path.chmod(0o600)
    os.chown(container, 1234, 1234)
    message = f"^the private file '{name}' contains no known architecture$"
    with Root(str(container)) as root, pytest.raises(RefusedError, match=message) as caught:
        architecture_of(root)
    assert "hunter2" not in str(caught.value) + str(caught.value.span)
    path.chmod(0o644)
    with Root(str(container)) as root:
        try:
            assert architecture_of(root) == "hunter2"
        except TemplaterError as error:
            assert "hunter2" in str(error) + str(error.span and error.span.excerpt())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that other users can't read")
@pytest.mark.parametrize(
    ("name", "text", "architecture"),
    [
        ("instance.yaml", "name: web1\narchitecture: riscv64\n", "riscv64"),
        ("config", "lxc.arch = armhf\n", "armv7l"),
        ("config", "lxc.uts.name = web1\n", "s390x"),
    ],
)
def test_publishing_accepts_a_known_architecture_from_a_private_file(
    name, text, architecture, container, monkeypatch
):
    """LXC writes the configuration of an unprivileged container with mode 0640, in a directory of its root."""
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    (container / name).write_text(text)
    (container / name).chmod(0o640)
    os.chown(container, 100000, 100000)
    with Root(str(container)) as root:
        assert architecture_of(root) == architecture


def test_publishing_finds_the_snapshots_of_a_container(container):
    shutil.copytree(container, container / "snaps" / "snap0")
    assert find(str(container)) == str(container)
    assert find(f"{container}/snap0") == find(f"{container}/snap0/") == f"{container}/snaps/snap0"
    (container / "snaps" / "snap0").rename(container / "snaps" / "X")
    assert find(f"{container}/X") == f"{container}/snaps/X"
    with pytest.raises(InputError, match=r"^'.*' is neither a directory nor a snapshot of an instance$"):
        find(f"{container}/snap1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its root")
def test_publishing_detects_a_running_container_by_its_processes(container):
    if not os.path.exists(BUSYBOX):
        pytest.skip("needs busybox-static")
    shutil.copy(BUSYBOX, container / "rootfs" / "busybox")
    assert running(str(container)) is None
    refuse_running(str(container))
    process = subprocess.Popen(
        [
            "unshare",
            "-m",
            "chroot",
            str(container / "rootfs"),
            "/busybox",
            "sh",
            "-c",
            "echo up; exec /busybox sleep 60",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"up\n"
        assert running(str(container)) == process.pid
        with pytest.raises(RefusedError, match=rf"is running \(process {process.pid}\)") as caught:
            refuse_running(str(container))
        assert (
            caught.value.hint == "stop the container, or add --force and risk incomplete files in the image"
        )
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert running(str(container)) is None


def test_publishing_packs_templates_and_metadata_and_generates_missing_metadata(container):
    (container / "templates/a.tpl").write_text("a")
    found = publication(str(container), now=77, properties={})
    parts = [(part.member.name, part.member.size, part.member.mode) for part in found.parts]
    assert [part[0] for part in parts] == ["metadata.yaml", "templates", "templates/a.tpl"]
    assert parts[0][1] == len(found.parts[0].data)
    assert found.parts[0].member.mtime == 77
    (container / "metadata.yaml").unlink()
    (made,) = publication(str(container), now=77, architecture="x86_64", properties={}).parts
    assert (made.member.name, made.member.mode, made.member.mtime) == ("metadata.yaml", 0o644, 77)
    assert made.member.size == len(made.data)


@pytest.mark.parametrize(
    ("path", "text", "properties"),
    [
        ("etc/os-release", 'ID=tiny\nVERSION_ID="9"\n', {"os": "tiny", "release": "9"}),
        ("usr/lib/os-release", "ID='tiny'\nVERSION_ID=9\nVERSION_CODENAME=cat\n", {"os": "tiny", "release": "cat"}),
        ("etc/os-release", "# ID=x\nNAME=y\nID=a\nID=b\n", {"os": "a"}),
        ("etc/issue", "ID=x\n", {}),
    ],
)  # fmt: skip
def test_a_published_container_without_metadata_gets_its_properties_from_os_release(
    container, path, text, properties
):
    (container / "metadata.yaml").unlink()
    (container / "rootfs" / path).parent.mkdir(parents=True, exist_ok=True)
    (container / "rootfs" / path).write_text(text)
    found = meaning(publication(str(container), now=77, architecture="x86_64", properties={}))
    assert (found.architecture, found.creation_date, found.properties) == ("x86_64", 77, properties)


def test_etc_os_release_takes_precedence_over_usr_lib_os_release(container):
    (container / "metadata.yaml").unlink()
    (container / "rootfs/usr/lib").mkdir(parents=True)
    (container / "rootfs/usr/lib/os-release").write_text("ID=lib\nVERSION_ID=1\n")
    (container / "rootfs/etc/os-release").write_text("ID=etc\n")
    assert meaning(publication(str(container), now=77, properties={})).properties == {"os": "etc"}


def test_the_stale_properties_are_the_properties_that_publishing_removes(container):
    assert stale_of(str(container)) == {"serial": "1", "description": "base"}
    (container / "metadata.yaml").unlink()
    assert stale_of(str(container)) == {}
