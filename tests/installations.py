"""Jobs that every installed templater must do as this checkout does: preview, apply, check, and a hook that LXC calls."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "sample-images" / "debian-cloud"
#: an image with mistakes that `check` finds without other programs
BROKEN = ROOT / "sample-images" / "broken"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
#: the Python of this venv, and Debian's; in CI the first is 3.11 and the second is 3.13
PYTHONS = sorted({str(Path(place).resolve()) for place in (sys.executable, "/usr/bin/python3")})


class Installation:
    """An installed templater, whose command ``words`` start. The words ``enter`` start them in ``root``."""

    def __init__(self, *words: str, enter: tuple[str, ...] = (), root: Path = Path("/")) -> None:
        self.words = words
        self.enter = enter
        self.root = root

    def run(self, words: tuple[str, ...], folder: Path, code: int = 0, **environ: str) -> str:
        """Run a program in ``folder`` and return its standard output."""
        here = [f"{name}={value}" for name, value in {**ENVIRONMENT, **environ, "HOME": str(folder)}.items()]
        words = (*self.enter, "env", "-i", "-C", str(folder), *here, *words)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def templater(self, folder: Path, *words: str, code: int = 0) -> str:
        return self.run((*self.words, *words), folder, code)

    def outside(self, folder: Path) -> Path:
        """Return the path of the installation's folder as the test sees it."""
        return self.root / folder.relative_to("/")

    def call_hook(self, folder: Path, name: str) -> None:
        """Run the line that `hook install` has written, in the way in which LXC runs it."""
        config = self.outside(folder / "lxc" / name) / "config"
        (line,) = (
            line.partition(" = ")[2]
            for line in config.read_text().splitlines()
            if line.startswith("lxc.hook.pre-start = ")
        )
        self.run(
            ("sh", "-c", f"exec {line} {name} lxc pre-start"), Path("/"),
            LXC_NAME=name, LXC_HOOK_TYPE="pre-start",
            LXC_CONFIG_FILE=f"{folder}/lxc/{name}/config", LXC_ROOTFS_PATH=f"dir:{folder}/lxc/{name}/rootfs",
        )  # fmt: skip


def contents(folder: Path) -> dict[str, tuple[str, str]]:
    """Return mode and content of each regular file."""
    return {
        str(path.relative_to(folder)): (stat.filemode(path.stat().st_mode), path.read_text())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def prepare(folder: Path) -> None:
    """Make an image, a broken image, a root filesystem, and an LXC container's directory."""
    shutil.copytree(IMAGE, folder / "image", symlinks=True)
    shutil.copytree(BROKEN, folder / "broken", symlinks=True)
    shutil.copytree(IMAGE / "rootfs", folder / "rootfs", symlinks=True)
    container = folder / "lxc" / "web1"
    shutil.copytree(IMAGE, container, symlinks=True)
    shutil.copy(IMAGE / "instances" / "web1.yaml", container / "instance.yaml")
    (container / "config").write_text("lxc.uts.name = web1\n")


def do_all_jobs(installation: Installation, folder: Path) -> dict[str, object]:
    """Return the results of all jobs in ``folder``, which ``prepare`` has made."""
    outside = installation.outside(folder)
    instance = ("-i", "image/instances/web1.yaml")
    results: dict[str, object] = {
        "preview": installation.templater(folder, "preview", "image", *instance),
        "apply": installation.templater(folder, "apply", "image", "rootfs", *instance, "-t", "create,start"),
        "applied": contents(outside / "rootfs"),
    }
    report = json.loads(installation.templater(folder, "check", "image", "broken", "--json", code=1))
    results["check"] = [image["findings"] for image in report]
    installation.templater(folder, "hook", "install", "lxc", "web1", "-P", str(folder / "lxc"), "--write")
    for start in ("first start", "second start"):
        installation.call_hook(folder, "web1")
        results[start] = contents(outside / "lxc" / "web1" / "rootfs")
    log = (outside / "lxc" / "web1" / ".templater" / "log").read_text()
    results["log"] = [line.partition(" ")[2] for line in log.splitlines()]
    return results


def results_of(installation: Installation, folder: Path) -> dict[str, object]:
    """Return the results in a new folder."""
    outside = installation.outside(folder)
    outside.mkdir(mode=0o755, parents=True)
    prepare(outside)
    return do_all_jobs(installation, folder)


def jobs_of(installation: Installation, parent: Path) -> dict[str, object]:
    try:
        return results_of(installation, parent / "jobs")
    finally:
        shutil.rmtree(parent / "jobs")


def jobs_of_checkout(parent: Path) -> dict[str, object]:
    checkout = Installation("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "templater")
    return jobs_of(checkout, parent)
