"""What each generator of a definition does with the root filesystem."""

from types import SimpleNamespace

import pytest

from templater.definitions.generators import _RUN
from templater.definitions.known_rootfs import KnownRootfs


def run(generator, data=None, **fields):
    rootfs = KnownRootfs(assume=False)
    rootfs.written["/old"] = "x"
    entry = SimpleNamespace(
        **{"path": "", "content": "", "mode": "", "source": "", "uid": "", "gid": "", **fields}
    )
    entry.definition = SimpleNamespace(family=fields.get("family"), data=data or {})
    entry.value = lambda name: ""
    entry.data = {}
    _RUN[generator](entry, None, rootfs)
    return {path: text for path, text in rootfs.written.items() if path != "/old"}, rootfs.modes


@pytest.mark.parametrize(
    ("family", "targets", "kind", "options"),
    [
        (None, {}, "ext4", "defaults"),
        ("incus", {"incus": {"vm": {"filesystem": "btrfs"}}}, "btrfs", "defaults,subvol=@"),
        (None, {"incus": {"vm": {"filesystem": "xfs"}}}, "xfs", "defaults"),
        ("lxd", {"incus": {"vm": {"filesystem": "btrfs"}}}, "ext4", "defaults"),
        ("lxd", {"lxd": {"vm": {"filesystem": "btrfs"}}}, "btrfs", "defaults,subvol=@"),
    ],
)
def test_the_fstab_generator_writes_the_file_systems_of_a_virtual_machine(family, targets, kind, options):
    text = f"LABEL=rootfs  /         {kind}  {options}  0 0\nLABEL=UEFI    /boot/efi vfat  defaults  0 0\n"
    assert run("fstab", {"targets": targets}, family=family) == ({"/etc/fstab": text}, {})


@pytest.mark.parametrize(
    ("path", "written"),
    [("/etc/a", "/etc/a"), ("/etc/", "/etc/b"), ("", "/x/b")],
)
def test_the_copy_generator_writes_a_file_with_unknown_content(path, written):
    assert run("copy", path=path, source="/x/b", mode="0640") == ({written: None}, {written: 0o640})


def test_the_dump_generator_ends_its_file_with_a_newline():
    assert run("dump", path="/a", content="b", mode="4755") == ({"/a": "b\n"}, {"/a": 0o755})


def test_removing_a_path_also_removes_the_files_below_it():
    rootfs = KnownRootfs()
    rootfs.write("/a/b", "x", "0600")
    rootfs.write("/ab", "y")
    assert rootfs.exists("/a") and not rootfs.assumed
    rootfs.remove("/a")
    assert (rootfs.written, rootfs.modes, rootfs.exists("/a/b"), rootfs.exists("/ab")) == (
        {"/ab": "y"},
        {},
        False,
        True,
    )
    assert rootfs.exists("/c") and rootfs.assumed == {"/c": None}
    assert not KnownRootfs(assume=False).exists("/c")
