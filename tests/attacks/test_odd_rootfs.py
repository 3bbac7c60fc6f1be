"""Unusual entries at a target, from the command line: templater's result and the recorded Incus result."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from templater.model.errors import RefusedError
from templater.rootfs.directory_rootfs import DirectoryRootfs
from tests.attacks.outside import Scene
from tests.command_server import run_templater
from tests.rootfs_builders import as_root, snapshot

RECORDED = Path(__file__).resolve().parents[1] / "hosts" / "outcomes.json"

REFUSED = 3


def absolute_link(top: Path) -> None:
    (top / "usr/share").mkdir(parents=True)
    (top / "usr/share/a").write_text("zone")
    (top / "etc/a").symlink_to("/usr/share/a")


def dangling_link(top: Path) -> None:
    (top / "run").mkdir()
    (top / "etc/a").symlink_to("../run/a")


def fifo(top: Path) -> None:
    os.mkfifo(top / "etc/a")


def null_device(top: Path) -> None:
    os.mknod(top / "etc/a", stat.S_IFCHR | 0o666, os.makedev(1, 3))


def directory(top: Path) -> None:
    (top / "etc/a").mkdir()


def hard_link(top: Path) -> None:
    (top / "etc/a").write_text("old")
    os.link(top / "etc/a", top / "etc/twin")


#: the entry, where the text is written (None: refused), and the matching recorded case
CASES = [
    (absolute_link, "usr/share/a", "target symlink absolute, inside, exists in rootfs only"),
    (dangling_link, "run/a", "target symlink dangling relative"),
    (fifo, None, "target is a fifo"),
    pytest.param(null_device, None, "target is a char device (null)", marks=as_root),
    (directory, None, "target is an empty directory"),
    (hard_link, "etc/a", "existing file hard-linked"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "lands", "situation"), CASES)
def test_unusual_target_is_previewed_as_on_incus(
    scene: Scene, make: Callable[[Path], None], lands: str | None, situation: str
):
    image = scene.folder / "deep/root.image"
    (image / "templates").mkdir(parents=True)
    (image / "templates/a.tpl").write_text("new\n")
    (image / "metadata.yaml").write_text("templates: {/etc/a: {when: [start], template: a.tpl}}\n")
    make(scene.top)
    host, before = snapshot(scene.host, times=True), snapshot(scene.top, times=True)

    shown = templater("preview", image, "--rootfs", scene.top, "-t", "start", "--as", "incus", "--json")
    (change,) = json.loads(shown.stdout)["changes"]
    recorded = recorded_as(situation)
    assert change["host"]["result"] == recorded["outcome"]
    if recorded["error"]:
        assert change["host"]["error"] == recorded["error"]
    assert snapshot(scene.top, times=True) == before

    done = templater("apply", image, scene.top, "-t", "start")
    assert "Traceback" not in done.stderr
    if lands is None:
        assert done.returncode == REFUSED
        assert "'/etc/a' is a " in done.stderr
        assert snapshot(scene.top, times=True) == before
    else:
        assert (done.returncode, scene.text(lands)) == (0, "new\n")
        kept = {name: seen for name, seen in before.items() if name not in (lands, "etc/twin")}
        assert kept.items() <= snapshot(scene.top, times=True).items()
    if make is hard_link:
        assert scene.text("etc/twin") == "old"
        assert (scene.top / "etc/twin").stat().st_nlink == 1
    assert snapshot(scene.host, times=True) == host


def recorded_as(situation: str) -> dict[str, str]:
    found = [
        record
        for record in json.loads(RECORDED.read_text())
        if (record["situation"], record["host"], record["driver"]) == (situation, "incus-HEAD", "lxc")
    ]
    assert found, situation
    return found[0]


def templater(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_templater([str(argument) for argument in arguments])


def test_root_filesystem_is_refused_if_it_becomes_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the parent directory swapped the root filesystem and a link.

    After 15 runs, `apply` wrote outside of the root filesystem.
    """
    (tmp_path / "host").mkdir()
    (tmp_path / "rootfs").symlink_to(tmp_path / "host")
    monkeypatch.setattr("templater.rootfs.directory_rootfs.islink", lambda path: False)
    for path in (f"{tmp_path}/rootfs{end}" for end in ("", "/", "/.", "/./", "//.//.")):
        with pytest.raises(RefusedError, match="is a symlink, not a directory"):
            DirectoryRootfs(path)


@pytest.mark.parametrize("path", ["/proc/self/root", "/proc/self/cwd/."])
def test_hint_about_rootfs_in_proc_mentions_no_host_directory(path: str) -> None:
    """The link /proc/PID/root of a container has the text ``/``, so the hint named the root of the host."""
    with pytest.raises(RefusedError, match="is a symlink, not a directory") as caught:
        DirectoryRootfs(path)
    assert caught.value.hint == "give the path of the directory, not a link in /proc"
