"""Tests of hooks with systemd-nspawn. One test uses the unit of systemd-nspawn and a real systemd."""

import os
import subprocess
from pathlib import Path

import pytest

from templater.hooks import install
from templater.hooks.runtimes.nspawn import snippet

from .harness import (
    INSTANCE,
    born,
    hook_argv,
    lack,
    log_of,
    make_image,
    make_rootfs,
    need,
    run,
    show_words,
    shown,
    state_of,
)

pytestmark = pytest.mark.live

BASE = 65536 * 20


def machine(folder: Path) -> Path:
    need("systemd-nspawn")
    make_image(folder / "m1", instance=INSTANCE)
    return make_rootfs(folder / "machines/m1")


def hook(folder: Path, *options: str, code: int | None = 0) -> subprocess.CompletedProcess:
    where = (
        "--source",
        str(folder / "m1"),
        "--state",
        str(folder / "m1"),
        "--rootfs",
        str(folder / "machines/m1"),
    )
    return run(*hook_argv("nspawn", *where, *options), "m1", code=code)


def nspawn(rootfs: Path, *options: str, words: list[str] | None = None) -> subprocess.CompletedProcess:
    return run(
        "systemd-nspawn", "-q", "--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off",
        "--machine=templater-m1", *options, "-D", str(rootfs), *(words or show_words()),
    )  # fmt: skip


def test_the_hook_line_renders_the_files_before_the_container_starts(folder: Path):
    rootfs = machine(folder)
    hook(folder)
    assert shown(nspawn(rootfs).stdout) == born("m1")
    state = state_of(folder / "m1")
    assert state.pop("root").startswith(f"{rootfs.stat().st_ino} ")
    assert state == {"name": "m1"}


def test_a_hook_for_a_mapped_machine_writes_files_with_container_ids(folder: Path):
    rootfs = machine(folder)
    hook(folder)
    answer = nspawn(rootfs, f"--private-users={BASE}:65536", "--private-users-ownership=map")
    assert shown(answer.stdout) == born("m1")


def test_a_hook_detects_shifted_ids_of_nspawn_by_the_directory_owner(folder: Path):
    rootfs = machine(folder)
    users = (f"--private-users={BASE}:65536", "--private-users-ownership=chown")
    nspawn(rootfs, *users, words=["/bin/true"])
    assert rootfs.stat().st_uid == BASE
    hook(folder)
    assert shown(nspawn(rootfs, *users).stdout) == born("m1")
    assert (rootfs / "srv/new/deep/file").stat().st_uid == BASE + 33


def test_a_failing_template_fails_the_hook_line_and_reports_the_reason(folder: Path):
    machine(folder)
    (folder / "m1/templates/birth.tpl").write_text("{% nosuch %}\n")
    answer = hook(folder, code=5)
    assert "templates/birth.tpl:1:" in answer.stderr
    assert "templates/birth.tpl:1:" in log_of(folder / "m1")


def test_the_if_present_option_makes_a_hook_skip_a_machine_without_an_image(folder: Path):
    need("systemd-nspawn")
    make_rootfs(folder / "machines/m1")
    (folder / "m1").mkdir()
    hook(folder, "--if-present")
    assert hook(folder, code=2).stderr.startswith("templater: ")


UNDER_SYSTEMD = """\

systemctl start systemd-nspawn@m1.service
echo rc=$?
for i in $(seq 50); do [ -e /var/lib/machines/m1/var/seen ] && break; sleep 0.1; done
machinectl list --no-legend --no-pager
machinectl terminate m1; systemctl kill -s KILL systemd-nspawn@m1; sleep 0.3; systemctl stop systemd-nspawn@m1.service
journalctl --sync
journalctl -u systemd-nspawn@m1 -t templater --no-pager -o cat
cp /var/lib/templater/m1/templates/bad /var/lib/templater/m1/templates/templated.tpl
systemctl start systemd-nspawn@m1.service
echo rc=$?
journalctl --sync
journalctl -u systemd-nspawn@m1 --no-pager -o cat
"""


def test_an_installed_systemd_drop_in_renders_the_files(folder: Path):
    """systemd starts the unit systemd-nspawn@m1 with the drop-in that `hook install` writes."""
    need("systemd-nspawn", "machinectl")
    if not Path("/usr/lib/systemd/systemd").exists():
        lack("needs systemd")
    with Booted(folder) as system:
        machine = system.root / "var/lib/machines/m1"
        make_rootfs(machine)
        show = " ".join(born("m1"))
        (machine / "etc/rc").write_text(
            f"for f in {show}; do stat -c '%u:%g %a' $f; [ -f $f ] && cat $f; echo --; done"
        )
        (machine / "etc/inittab").write_text(
            "::sysinit:/bin/sh -c 'sh /etc/rc > /var/out; mv /var/out /var/seen'\n::respawn:/bin/sleep 100000\n"
        )
        (machine / "bin/mv").symlink_to("busybox")
        image = make_image(system.root / "var/lib/templater/m1", instance=INSTANCE)
        (image / "templates/bad").write_text("{% nosuch %}\n")
        install.write(snippet("m1", [], str(system.root / "etc/systemd/system")))
        out = system.boot(UNDER_SYSTEMD)
        assert shown((machine / "var/seen").read_text()) == born("m1"), out
        assert "m1 " in out
        assert out.count("rc=0") == 1, "the first start"
        assert out.count("rc=1") == 1, "the one with the broken template"
        assert "create then start: " in out and " rules done" in out, (
            "the journal names the passes, but no files"
        )
        assert "templates/templated.tpl:1:" in out, "and why a start failed"


class Booted:
    """An overlay in memory over this machine's root filesystem.

    `boot` boots the overlay with a real systemd.
    """

    def __init__(self, folder: Path) -> None:
        self.layer = folder / "layer"
        self.root = folder / "root"

    def __enter__(self) -> "Booted":
        self.layer.mkdir()
        self.root.mkdir()
        run("mount", "-t", "tmpfs", "none", str(self.layer))
        for name in ("upper", "work"):
            (self.layer / name).mkdir()
        where = f"lowerdir=/,upperdir={self.layer}/upper,workdir={self.layer}/work"
        run("mount", "-t", "overlay", "overlay", "-o", where, str(self.root))
        (self.root / "etc/machine-id").write_text("0" * 31 + "1\n")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.root)], check=False)
        subprocess.run(["umount", "-l", str(self.layer)], check=False)

    def boot(self, script: str) -> str:
        """Boot the overlay, run a shell script as a unit, power off, and return the script's output."""
        (self.root / "live.sh").write_text(script)
        unit = (
            "[Unit]\nAfter=systemd-journald.service dbus.service\n[Service]\nType=oneshot\n"
            "ExecStart=/bin/bash -c '/bin/bash /live.sh > /live.out 2>&1; systemctl poweroff --force'\n"
        )
        units = self.root / "etc/systemd/system"
        (units / "live.service").write_text(unit)
        (units / "tmp.mount").symlink_to("/dev/null")  # an interpreter under /tmp would be hidden
        (units / "live.target").write_text("[Unit]\nRequires=basic.target live.service\nAfter=basic.target\n")
        subprocess.run(
            [
                "unshare", "-m", "--propagation", "private", "bash", "-c",
                'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"', "boot",
                "systemd-nspawn", "-q", "-b", "--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off",
                "--machine=templater-host", "--capability=all", "--private-network",
                "--system-call-filter=@mount @keyring bpf",
                "-D", str(self.root), "--", "--unit=live.target",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "SYSTEMD_NSPAWN_TMPFS_TMP": "0"},
        )  # fmt: skip
        answer = self.root / "live.out"
        assert answer.exists(), "systemd did not get as far as the script"
        return answer.read_text(errors="replace")
