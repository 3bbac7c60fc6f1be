"""Attacks through owners, modes and id maps: cases 31 to 36."""

import os
import stat

import pytest

from templater.model.errors import MetadataError, RefusedError
from templater.planning.decide_changes import parse_mode
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.id_map import IdMap
from tests.rootfs_builders import a_plan, a_rule, as_root, snapshot


@pytest.mark.parametrize(
    ("spelled", "bits"),
    [
        ("4755", 0o223), ("1777", 0o361), ("7777", 0o141), ("0o777", 0o777), ("0x1ff", 0o777), ("-1", 0o777),
        ("1755", 0o333), ("04755", 0o755), ("0o7777", 0o777), ("644", 0o644),
    ],
)  # fmt: skip
def test_attack_31_mode_is_parsed_as_in_go_without_special_bits(scene, spelled, bits):
    assert parse_mode(spelled, a_rule("/etc/x", mode=spelled)) == bits
    scene.write({"/etc/x": "y"}, mode=spelled)
    assert stat.S_IMODE((scene.top / "etc/x").stat().st_mode) == bits


@pytest.mark.parametrize("spelled", ["999", "0888", "rwx", "0o", "1e3", "0755 ", "99999999999999999999"])
def test_attack_31_a_mode_is_an_error_if_the_go_parser_rejects_it(scene, spelled):
    scene.refuses({"/etc/x": "y"}, MetadataError, "mode", 2, mode=spelled)


@pytest.mark.parametrize("field", ["uid", "gid"])
@pytest.mark.parametrize("spelled", ["-1", "4294967295", "99999999999", "root", "1e3", "0x0", " 0"])
def test_attack_32_an_invalid_uid_or_gid_is_refused(scene, field, spelled):
    scene.refuses({"/etc/x": "y"}, MetadataError, field, 2, **{field: spelled})


@as_root
@pytest.mark.parametrize("field", ["uid", "gid"])
def test_attack_33_an_owner_outside_the_id_map_is_refused(scene, field):
    from templater.writing.apply_plan import apply

    ids = IdMap(((0, 0, 1000),), ((0, 0, 1000),))
    before = snapshot(scene.top, times=True)
    with DirectoryRootfs(str(scene.top), ids) as rootfs:
        plan = a_plan({"/etc/first": "1", "/etc/x": "y"}, rootfs, **{field: "1000"})
        with pytest.raises(RefusedError, match=f"{field} 1000 is not in its id map"):
            apply(plan, rootfs)
    assert snapshot(scene.top, times=True) == before


@as_root
def test_attack_33_an_id_map_that_contradicts_the_owner_is_refused(scene):
    with pytest.raises(RefusedError, match=r"root the uid 100000 on disk, but .* belongs to uid 0"):
        DirectoryRootfs(str(scene.top), IdMap(((0, 100000, 65536),), ((0, 100000, 65536),)))


@as_root
def test_attack_34_chown_never_follows_a_symlink(scene):
    os.chown(scene.host / "shadow", 42, 42)
    scene.link("etc/link", scene.host / "shadow")
    scene.link("etc/other", "keep")
    os.chown(scene.top / "etc/other", 7, 7, follow_symlinks=False)
    scene.write({"/etc/link": "x", "/etc/other": "y"}, uid="1000", gid="1000")
    status = (scene.host / "shadow").stat()
    assert (status.st_uid, status.st_gid) == (42, 42)
    link = (scene.top / "etc/other").lstat()
    assert (link.st_uid, link.st_gid) == (7, 7)


def test_attack_35_an_existing_file_keeps_its_mode(scene):
    """LXD and Incus keep the mode, too.

    An option to change the mode would make previews differ from the hosts.
    """
    (scene.top / "etc/hosts").chmod(0o600)
    scene.write({"/etc/hosts": "new"}, mode="0777")
    assert stat.S_IMODE((scene.top / "etc/hosts").stat().st_mode) == 0o600


@pytest.mark.parametrize("mask", [0, 0o077, pytest.param(0o777, marks=as_root)])
def test_attack_36_the_umask_does_not_change_the_written_modes(scene, mask):
    before = os.umask(mask)
    try:
        scene.write({"/srv/a/x": "1", "/etc/hosts": "2"}, mode="0666")
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE((scene.top / place).stat().st_mode) for place in ("srv", "srv/a", "srv/a/x", "etc/hosts")
    ]
    assert modes == [0o755, 0o755, 0o666, 0o644]
