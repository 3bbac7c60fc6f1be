"""Debian's Incus and LXD with virtual machines, on a kernel without KVM and vsock.

The daemons and QEMU are the real programs, and QEMU emulates the processor. The virtual machines run, but no
guest boots, because the disks of the virtual machines are empty.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

from . import kernel_of_a_vm_host
from .daemon import CG2, Daemon
from .harness import lack, need, new_folder, run
from .incus import Incus
from .lxd import Lxd

QEMU = "qemu-system-x86_64"
#: the virtual machines' firmware, in the package ovmf
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
#: QEMU without the devices that the kernel lacks, and without SPICE, which is in another package
WRAPPER = r"""#!/bin/bash
set -eu
words=()
while [ $# -gt 0 ]; do
  case $1 in
    -accel) words+=(-accel tcg); shift ;;
    -cpu) words+=(-cpu max); shift ;;
    -spice) shift ;;
    -readconfig)
      sed -e '/^\[.*"qemu_\(vsock\|spice\)/,/^$/d' -e 's/accel = "kvm"/accel = "tcg"/' "$2" > "$2.tcg"
      words+=(-readconfig "$2.tcg"); shift ;;
    *) words+=("$1") ;;
  esac
  shift
done
exec QEMU "${words[@]}"
"""


class VmHost(Daemon):
    """A daemon that can run virtual machines on a kernel without KVM."""

    launcher = (*CG2, sys.executable, kernel_of_a_vm_host.__file__)
    #: the program that copies the rendered files inside a machine
    agent: ClassVar[str]
    #: the agent's directory inside a machine
    drive: ClassVar[str]

    def variables(self) -> dict[str, str]:
        folder = self.folder.parent / "bin"
        folder.mkdir()
        wrapper = folder / QEMU
        wrapper.write_text(WRAPPER.replace("QEMU", f"/usr/bin/{QEMU}"))
        wrapper.chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    def set_up(self) -> Self:
        super().set_up()
        drivers = self.json("query", "/1.0")["environment"]["driver"]
        assert "qemu" in drivers, f"no driver for virtual machines: {self.log.read_text()}"
        self("profile", "set", "default", "limits.memory=128MiB")
        self("profile", "device", "set", "default", "root", "size=16MiB")
        return self

    def files(self, name: str, pool: str = "default") -> dict[str, tuple[str, int]]:
        """Return text and mode of each file that the last start has written to the machine's config drive."""
        folder = self.place(name, pool) / "config/files"
        return {
            path.name: (path.read_text(), path.stat().st_mode & 0o7777)
            for path in folder.iterdir()
            if path.name != "metadata.yaml"
        }

    def run_agent(self, name: str, rootfs: Path, pool: str = "default") -> None:
        """Run the guest's agent in a root filesystem, with the config drive of the last start.

        The agent first copies the rendered files. It then fails, because the kernel has no vsock.
        """
        drive = rootfs / self.drive.lstrip("/")
        shutil.copytree(self.place(name, pool) / "config", drive, symlinks=True)
        shutil.copy(find_agent(self.agent), rootfs / "bin" / self.agent)
        answer = run(
            "unshare", "-m", "-u", "-n", "-i", "-p", "-f", f"--root={rootfs}", f"--wd={self.drive}",
            f"/bin/{self.agent}", code=1,
        )  # fmt: skip
        assert "nable to load the vsock kernel module" in answer.stderr, answer.stderr
        shutil.rmtree(drive)

    def place(self, name: str, pool: str = "default") -> Path:
        return self.folder / "storage-pools" / pool / "virtual-machines" / name


class VmIncus(VmHost, Incus):
    agent, drive = "incus-agent", "/run/incus_agent"


class VmLxd(VmHost, Lxd):
    agent, drive = "lxd-agent", "/run/lxd_agent"


def find_agent(name: str) -> str:
    """Return the path of the guest agent ``name``, or "" if it is not installed.

    Debian installs the agent of Incus outside of PATH.
    """
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/libexec/incus") or ""


def need_vms(kind: type[VmHost]) -> None:
    need(kind.client, kind.program, "unshare", QEMU, "qemu-img")
    if platform.machine() != "x86_64":
        lack("needs a machine with x86-64")
    if not FIRMWARE.exists():
        lack("needs ovmf")
    if not find_agent(kind.agent):
        lack(f"needs {kind.agent}")


def a_vm_host(kind: type[VmHost]) -> Iterator[VmHost]:
    """Yield a running daemon that can run virtual machines, and stop it afterwards."""
    need_vms(kind)
    for folder in new_folder():
        daemon = kind(folder)
        try:
            yield daemon.set_up()
        finally:
            daemon.close()
