"""Tests of hooks in LXC without a daemon: most tests read the files from inside a started container."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .harness import (
    INSTANCE,
    born,
    hook_line,
    log_of,
    make_image,
    make_rootfs,
    need,
    run,
    shift,
    show_words,
    shown,
    state_of,
)

pytestmark = pytest.mark.live

BASE = 1000000


class Lxc:
    """The containers in one directory, which LXC's commands use as LXC path (``-P``)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str, *, settings: str = "", rootfs: str = "", hooks: str = "", **image) -> Path:
        folder = self.path / name
        make_rootfs(folder / "rootfs")
        make_image(folder, instance=INSTANCE, **image)
        stages = hooks or "".join(
            f"lxc.hook.{stage} = {hook_line('lxc')}\n" for stage in ("pre-start", "clone", "destroy")
        )
        (folder / "config").write_text(
            "lxc.include = /usr/share/lxc/config/common.conf\n"
            f"lxc.rootfs.path = {rootfs or f'dir:{folder}/rootfs'}\n"
            f"lxc.uts.name = {name}\nlxc.net.0.type = empty\n{settings}{stages}"
        )
        return folder

    def command(
        self, program: str, name: str, *words: str, code: int | None = 0
    ) -> subprocess.CompletedProcess:
        log = self.path / f"{name}.log"
        return run(
            program, "-P", str(self.path), "-n", name, "-o", str(log), "-l", "DEBUG", *words, code=code
        )

    def start(self, name: str, *words: str, code: int | None = 0) -> subprocess.CompletedProcess:
        return self.command("lxc-start", name, *words, code=code)

    def stop(self, name: str) -> None:
        self.command("lxc-stop", name, "-k", code=None)

    def seen(self, name: str, *paths: str) -> dict[str, tuple[str, str | None]]:
        answer = self.command("lxc-attach", name, "--clear-env", "--", *show_words(*paths))
        return shown(answer.stdout, *paths)

    def cat(self, name: str, path: str) -> str:
        return self.command("lxc-attach", name, "--clear-env", "--", "/bin/cat", path).stdout

    def close(self) -> None:
        for config in self.path.glob("*/config"):
            self.stop(config.parent.name)
        remove_cgroups()


def remove_cgroups() -> None:
    """Remove the empty cgroups that LXC leaves behind."""
    for folder, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if re.match(r"lxc\.(pivot|monitor|payload)", os.path.basename(folder)):
            with suppress(OSError):  # a cgroup of another process
                os.rmdir(folder)


@pytest.fixture
def lxc(folder: Path) -> Iterator[Lxc]:
    need("lxc-start", "lxc-attach", "lxc-copy")
    lxc = Lxc(folder)
    try:
        yield lxc
    finally:
        lxc.close()


def test_a_new_container_is_rendered_before_its_first_start(lxc: Lxc):
    folder = lxc.create("c1", settings="lxc.hook.version = 1\n")
    lxc.start("c1")
    assert lxc.seen("c1") == born("c1")
    assert state_of(folder) == {"name": "c1"}
    assert "create /etc/birth 0:0 0644" in log_of(folder)


def test_an_lxc_hook_of_version_0_gets_its_values_as_arguments(lxc: Lxc):
    lxc.create("c1", settings="lxc.hook.version = 0\n")
    lxc.start("c1")
    assert lxc.seen("c1") == born("c1")


def test_a_second_start_runs_only_the_start_trigger(lxc: Lxc):
    folder = lxc.create("c1")
    lxc.start("c1")
    lxc.stop("c1")
    (folder / "instance.yaml").write_text("name: c1\nconfig:\n  user.foo: changed\n")
    lxc.start("c1")
    assert lxc.cat("c1", "/etc/templated") == "c1 start changed\n"
    assert lxc.cat("c1", "/etc/birth") == "born by create as c1 of ?\n"


def test_a_reboot_from_inside_a_guest_runs_the_start_trigger_again(lxc: Lxc):
    folder = lxc.create("c1")
    lxc.start("c1")
    (folder / "instance.yaml").write_text("name: c1\nconfig:\n  user.foo: rebooted\n")
    lxc.command("lxc-attach", "c1", "--clear-env", "--", "/bin/reboot", "-f", code=None)
    for _ in range(100):
        time.sleep(0.05)
        if (folder / "rootfs/etc/templated").read_text() == "c1 start rebooted\n":
            break
    lxc.command("lxc-wait", "c1", "-s", "RUNNING", "-t", "10")
    assert lxc.cat("c1", "/etc/templated") == "c1 start rebooted\n"


def test_files_in_a_shifted_root_filesystem_have_shifted_owners(lxc: Lxc):
    settings = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\n"
    folder = lxc.create("c1", settings=settings)
    shift(folder / "rootfs", BASE)
    lxc.start("c1")
    assert lxc.seen("c1") == born("c1")
    assert os.stat(folder / "rootfs/srv/new/deep/file").st_uid == BASE + 33


def test_files_on_an_idmapped_mount_have_container_ids(lxc: Lxc):
    settings = (
        f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\nlxc.rootfs.options = idmap=container\n"
    )
    folder = lxc.create("c1", settings=settings)
    lxc.start("c1")
    assert lxc.seen("c1") == born("c1")
    assert os.stat(folder / "rootfs/srv/new/deep/file").st_uid == 33


def test_an_id_map_is_refused_if_it_contradicts_the_root_filesystem(lxc: Lxc):
    settings = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\n"
    folder = lxc.create("c1", settings=settings)
    assert lxc.start("c1", code=None).returncode != 0
    assert "the id map gives root the uid 1000000" in log_of(folder)
    assert not (folder / "rootfs/etc/templated").exists()


@pytest.mark.parametrize("stage", ["pre-start", "mount"])
def test_pre_start_and_mount_hooks_can_render_an_overlay(lxc: Lxc, stage: str):
    line = hook_line("lxc", "--stage", stage)
    stages = ("pre-start", "mount", "clone") if stage == "mount" else ("pre-start", "clone")
    lxc.create("base", hooks="".join(f"lxc.hook.{name} = {line}\n" for name in stages))
    lxc.command("lxc-copy", "base", "-N", "o1", "-s", "-B", "overlay")
    lxc.start("o1")
    assert lxc.cat("o1", "/etc/templated") == "o1 start bar\n"
    assert lxc.cat("o1", "/etc/birth") == "born by copy as o1 of ?\n"
    assert lxc.seen("o1", "/srv/new/deep/file")["/srv/new/deep/file"] == ("33:34 604", "1a 2b 3c \n")
    assert not (lxc.path / "base/rootfs/etc/templated").exists()


def test_a_copy_runs_the_copy_trigger_and_never_the_create_trigger(lxc: Lxc):
    lxc.create("c1")
    lxc.command("lxc-copy", "c1", "-N", "c2")
    assert state_of(lxc.path / "c2") == {"pending": "copy", "name": "c2"}
    lxc.start("c2")
    assert lxc.cat("c2", "/etc/birth") == "born by copy as c2 of ?\n"
    assert "/etc/once" not in log_of(lxc.path / "c2")


def test_a_copy_of_a_started_container_runs_the_copy_trigger(lxc: Lxc):
    lxc.create("c1")
    lxc.start("c1")
    lxc.stop("c1")
    lxc.command("lxc-copy", "c1", "-N", "c2")
    lxc.start("c2")
    assert lxc.cat("c2", "/etc/birth") == "born by copy as c2 of ?\n"
    assert lxc.cat("c2", "/etc/once") == "born by create as c1 of ?\n"


def test_a_rename_is_distinguished_from_a_copy(lxc: Lxc):
    lxc.create("c1")
    lxc.start("c1")
    lxc.stop("c1")
    lxc.command("lxc-copy", "c1", "-N", "c9", "-R")
    assert not (lxc.path / "c1/config").exists()
    assert state_of(lxc.path / "c9") == {"pending": "rename", "name": "c9"}
    lxc.start("c9")
    assert lxc.cat("c9", "/etc/birth") == "born by rename as c9 of ?\n"


@pytest.mark.parametrize(("words", "text"), [((), "c2"), (("-R",), "c2"), (("-K",), "c1\n")])
def test_hostnames_written_by_lxc_are_not_manual_changes(lxc: Lxc, words, text):
    """A hook with --keep-modified took the hostname for a change by hand.

    So the first start of each copy failed.
    """
    hooks = "".join(
        f"lxc.hook.{stage} = {hook_line('lxc', '--keep-modified')}\n"
        for stage in ("pre-start", "clone", "destroy")
    )
    metadata = "templates:\n  /etc/hostname: {when: [create, copy, rename], template: h.tpl}\n"
    folder = lxc.create("c1", hooks=hooks, metadata=metadata, templates={"h.tpl": "{{ container.name }}\n"})
    (folder / "rootfs/etc/hostname").write_text("of the image\n")
    lxc.start("c1")
    lxc.stop("c1")
    lxc.command("lxc-copy", "c1", "-N", "c2", *words)
    assert (lxc.path / "c2/rootfs/etc/hostname").read_text() == text
    lxc.start("c2")
    assert lxc.cat("c2", "/etc/hostname") == "c2\n"


def test_a_rename_before_the_first_start_still_runs_the_create_trigger(lxc: Lxc):
    lxc.create("c1")
    lxc.command("lxc-copy", "c1", "-N", "c9", "-R")
    assert state_of(lxc.path / "c9")["pending"] == "create"


def test_restoring_an_lxc_snapshot_restores_its_pending_trigger(lxc: Lxc):
    lxc.create("c1")
    lxc.start("c1")
    lxc.stop("c1")
    lxc.command("lxc-snapshot", "c1")
    (lxc.path / "c1/rootfs/etc/birth").write_text("spoilt")
    lxc.command("lxc-snapshot", "c1", "-r", "snap0")
    assert state_of(lxc.path / "c1") == {"name": "c1"}
    lxc.start("c1")
    assert lxc.cat("c1", "/etc/birth") == "born by create as c1 of ?\n"
    assert lxc.cat("c1", "/etc/templated") == "c1 start bar\n"


def test_a_snapshot_before_first_start_keeps_the_create_trigger(lxc: Lxc):
    lxc.create("c1")
    lxc.command("lxc-snapshot", "c1")
    lxc.start("c1")
    lxc.stop("c1")
    lxc.command("lxc-snapshot", "c1", "-r", "snap0")
    lxc.start("c1")
    assert lxc.cat("c1", "/etc/birth") == "born by create as c1 of ?\n"
    assert "create /etc/birth" in log_of(lxc.path / "c1")


def test_restoring_a_snapshot_under_another_name_runs_the_copy_trigger(lxc: Lxc):
    lxc.create("c1")
    lxc.start("c1")
    lxc.stop("c1")
    lxc.command("lxc-snapshot", "c1")
    lxc.command("lxc-snapshot", "c1", "-r", "snap0", "-N", "r1")
    lxc.start("r1")
    assert lxc.cat("r1", "/etc/birth") == "born by copy as r1 of ?\n"


def test_a_failing_template_stops_the_start_and_reports_the_reason(lxc: Lxc):
    folder = lxc.create("c1", templates={"templated.tpl": "{{ 1/0 }}\n", "birth.tpl": "x", "deep.tpl": "y",
                                         "existing.tpl": "z"})  # fmt: skip
    answer = lxc.start("c1", code=None)
    assert answer.returncode != 0
    assert "templates/templated.tpl:1:" in log_of(folder), "the instance's log says it"
    assert "templates/templated.tpl:1:" in (lxc.path / "c1.log").read_text(), "and LXC's at DEBUG"
    assert not (folder / "rootfs/etc/birth").exists(), "nothing at all is written"
    make_image(folder, instance=INSTANCE)
    lxc.start("c1")
    assert lxc.seen("c1") == born("c1"), "the creation was still owed"


def test_the_keep_going_option_tolerates_a_template_error(lxc: Lxc):
    hooks = f"lxc.hook.pre-start = {hook_line('lxc', '--on-error', 'keep-going')}\n"
    folder = lxc.create("c1", hooks=hooks, templates={})
    lxc.start("c1")
    assert "failed: " in log_of(folder)
    assert lxc.cat("c1", "/etc/existing") == "old content\n"


def test_a_hook_renders_an_ephemeral_copy_of_a_container(lxc: Lxc):
    lxc.create("c1")
    lxc.command("lxc-copy", "c1", "-N", "e1", "-e")
    lxc.command("lxc-wait", "e1", "-s", "RUNNING", "-t", "10")
    assert lxc.cat("e1", "/etc/templated") == "e1 start bar\n"
    assert lxc.cat("e1", "/etc/birth") == "born by copy as e1 of ?\n"


@pytest.mark.parametrize("options", [(), ("--stage", "mount")])
def test_only_a_mount_hook_renders_a_copy_on_tmpfs(lxc: Lxc, options: tuple[str, ...]):
    """LXC mounts the tmpfs after the pre-start hook.

    The tmpfs hid the hook's files, and the start did not fail.
    """
    line = hook_line("lxc", *options)
    stages = ("pre-start", "mount", "clone")
    lxc.create("c1", hooks="".join(f"lxc.hook.{name} = {line}\n" for name in stages))
    lxc.command("lxc-copy", "c1", "-N", "e1", "-e", "-t", code=0 if options else 1)
    if options:
        lxc.command("lxc-wait", "e1", "-s", "RUNNING", "-t", "10")
        assert lxc.cat("e1", "/etc/birth") == "born by copy as e1 of ?\n"
    else:
        log = (lxc.path / "c1.log").read_text(errors="replace")
        assert "templater: lxc.hook.pre-mount runs after the pre-start hook, and may hide files" in log


@pytest.mark.parametrize("options", [(), ("--stage", "mount")])
def test_only_a_mount_hook_renders_volumes_mounted_at_start(lxc: Lxc, options: tuple[str, ...]):
    """A pre-start hook wrote files below the mount point, and the container started without these files."""
    line = hook_line("lxc", *options)
    volume, script = make_rootfs(lxc.path / "volume"), lxc.path / "decrypt"
    hooks = "".join(f"lxc.hook.{name} = {line}\n" for name in ("pre-start", "mount"))
    folder = lxc.create("c1", hooks=f"{hooks}lxc.hook.pre-mount = {script}\n")
    script.write_text(f"#!/bin/sh\nexec mount --bind {volume} {folder}/rootfs\n")
    script.chmod(0o755)
    lxc.start("c1", code=0 if options else 1)
    assert not (folder / "rootfs/etc/birth").exists()
    if options:
        assert lxc.cat("c1", "/etc/birth") == "born by create as c1 of ?\n"
    else:
        log = (lxc.path / "c1.log").read_text(errors="replace")
        assert "templater: lxc.hook.pre-mount runs after the pre-start hook, and may hide files" in log


def test_an_unprivileged_container_cannot_start_without_rendered_files(lxc: Lxc):
    settings = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\n"
    folder = lxc.create("c1", settings=settings, hooks=f"lxc.hook.mount = {hook_line('lxc')}\n")
    shift(folder / "rootfs", BASE)
    (folder / "config").chmod(0o640)
    lxc.start("c1", code=1)
    assert not (folder / "rootfs/etc/birth").exists()


def test_a_pre_start_hook_renders_overlays_without_upper_layer(lxc: Lxc):
    """A container has a pre-start hook and a mount hook. Each hook left the rendering to the other hook."""
    hooks = "".join(f"lxc.hook.{name} = {hook_line('lxc')}\n" for name in ("pre-start", "mount"))
    folder = lxc.path / "c1"
    lxc.create("c1", rootfs=f"overlay:{folder}/rootfs:{folder}/delta/d0", hooks=hooks)
    lxc.start("c1")
    assert lxc.cat("c1", "/etc/birth") == "born by create as c1 of ?\n"
    assert not (folder / "rootfs/etc/birth").exists()


def test_the_installed_hook_line_works_at_the_next_start(lxc: Lxc):
    from templater.cli.run_command_line import main
    from templater.hooks.runtimes.lxc import status

    folder = lxc.create("c1", hooks="# none yet\n")
    assert main(["hook", "install", "lxc", "c1", "-P", str(lxc.path), "--write"]) == 0
    assert all(finding.ok is not False for finding in status("c1", str(lxc.path)))
    lxc.start("c1")
    assert lxc.seen("c1") == born("c1")
    assert (folder / "config").read_text().count("from templater_hook import") == 3


def test_a_hook_renders_an_overlay_of_an_unprivileged_container(lxc: Lxc):
    settings = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\n"
    folder = lxc.create("base", settings=settings)
    shift(folder / "rootfs", BASE)
    lxc.command("lxc-copy", "base", "-N", "o1", "-s", "-B", "overlay")
    lxc.start("o1")
    assert lxc.seen("o1", "/srv/new/deep/file", "/etc/templated") == {
        "/srv/new/deep/file": ("33:34 604", "1a 2b 3c \n"),
        "/etc/templated": ("0:0 644", "o1 start bar\n"),
    }


def test_a_hook_sees_replaced_directories_in_an_unprivileged_overlay(lxc: Lxc):
    """A hook that ignored the option userxattr saw deleted files as existing files.

    Deleted files came back.
    """
    settings = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\nlxc.rootfs.options = userxattr\n"
    folder = lxc.create("base", settings=settings)
    (folder / "metadata.yaml").write_text(
        "templates:\n  /srv/a/new/file: {when: [start], template: t}\n  /srv/b/file: {when: [start], template: t}\n"
    )
    (folder / "templates/t").write_text("text\n")
    for name in ("a", "b"):
        (folder / "rootfs/srv" / name).mkdir(parents=True)
        (folder / "rootfs/srv" / name / "old").touch()
    (folder / "rootfs/srv/b/file").write_text("text\n")
    shift(folder / "rootfs", BASE)
    lxc.command("lxc-copy", "base", "-N", "o1", "-s", "-B", "overlay")
    lxc.start("o1")
    shell = "rm -rf /srv/a /srv/b && mkdir /srv/b"
    lxc.command("lxc-attach", "o1", "--clear-env", "--", "/bin/busybox", "sh", "-c", shell)
    lxc.stop("o1")
    lxc.start("o1")
    found = lxc.command("lxc-attach", "o1", "--clear-env", "--", "/bin/busybox", "find", "/srv", "-type", "f")
    assert sorted(found.stdout.split()) == ["/srv/a/new/file", "/srv/b/file"]


def test_leftovers_in_the_work_directory_do_not_prevent_starting(lxc: Lxc):
    """The kernel leaves a whiteout in the work directory.

    After a crash of the host, the work directory also has other files.
    """
    settings = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\n"
    folder = lxc.create("base", settings=settings)
    shift(folder / "rootfs", BASE)
    lxc.command("lxc-copy", "base", "-N", "o1", "-s", "-B", "overlay")
    lxc.start("o1")
    lxc.command("lxc-attach", "o1", "--clear-env", "--", "/bin/busybox", "rm", "/etc/existing")
    lxc.stop("o1")
    work = lxc.path / "o1/overlay/work"
    assert [path.is_char_device() for path in (work / "work").iterdir()] == [True], "a whiteout"
    (work / "work/#1").touch()
    lxc.start("o1")
    assert lxc.cat("o1", "/etc/templated") == "o1 start bar\n"
    lxc.stop("o1")
    lxc.command("lxc-destroy", "o1")
    assert not (lxc.path / "o1").exists()


@pytest.mark.parametrize("kind", ["loop", "nbd", "zfs", "lvm", "rbd"])
def test_attack_68_the_hook_refuses_an_unsupported_root_filesystem_type(
    lxc: Lxc, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """LXC itself fails later if it can't mount the root filesystem.

    The hook of templater must report this problem first.
    """
    paths = {"zfs": "tank/c1", "lvm": "/dev/vg0/c1", "rbd": "pool/c1"}
    path = paths.get(kind, str(lxc.path / "disk.img"))
    (lxc.path / "disk.img").write_bytes(bytes(1 << 20))
    for name in (
        "tank/c1",
        "pool/c1",
    ):  # in the current directory, the names of other file systems mean nothing
        make_rootfs(lxc.path / name)
    folder = lxc.create("c1", rootfs=f"{kind}:{path}")
    monkeypatch.chdir(lxc.path)
    lxc.start("c1", "-F", code=1)
    assert not list(lxc.path.glob("*/c1/etc/birth"))
    log = (lxc.path / "c1.log").read_text(errors="replace")
    assert f"templater: unsupported rootfs type '{kind}': '{kind}:{path}'" in log
    assert not (folder / ".templater").exists()
