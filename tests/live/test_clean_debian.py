"""Tests of the wheel, the zipapp and the Debian package on a new Debian 13 that has only Python and LXC."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installations import ENVIRONMENT, ROOT, Installation, jobs_of_checkout, results_of
from tests.test_packaging import pins

from .harness import BORN, INSTANCE, born, make_image, make_rootfs, need, new_folder, run, show_words, shown

pytestmark = pytest.mark.live

#: runs a command in a root filesystem as if it had booted; every mount disappears with the command
ENTER = """\
mount --bind "$0" "$0" && cd "$0" && mount --rbind /dev dev && mount --rbind /sys sys && mount -t proc proc proc &&
mount -t tmpfs tmpfs run && pivot_root . . && umount -l . && cd / && exec "$@"
"""
#: where each installation has a folder for its jobs
FOLDER = Path("/srv/jobs")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
#: how pip finds a package index on this machine
PIP = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and "LINKS" not in name}


def entering(root: Path) -> tuple[str, ...]:
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, str(root))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    need("mmdebstrap", "dpkg-buildpackage", "lintian", "lxc-start", "unshare")
    yield from new_folder()


@pytest.fixture(scope="module")
def debian(folder: Path) -> Path:
    """Return a new root filesystem of Debian 13 with Python and LXC."""
    root = folder / "debian"
    wanted = "--include=python3,python3-venv,ca-certificates,lxc"
    options = ["--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io"]  # dpkg then syncs no files
    run("mmdebstrap", *options, wanted, "trixie", str(root), timeout=900)
    shutil.copy("/etc/resolv.conf", root / "etc")
    shutil.copy(CERTIFICATES, root / CERTIFICATES.lstrip("/"))
    return root


@pytest.fixture(scope="module")
def wanted(folder: Path) -> dict[str, object]:
    """Return the results that templater gives if it runs from this checkout.

    Each installation of templater must give the same results.
    """
    return jobs_of_checkout(folder)


def install_wheel(root: Path) -> Installation:
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "-w",
        "-o",
        f"{root}/srv/wheel",
        str(ROOT),
        timeout=900,
    )
    (root / "srv/constraints").write_text("".join(f"{pin}\n" for pin in pins("runtime.txt").values()))
    pip = "cd /srv && python3 -m venv venv && venv/bin/pip install -q -c constraints wheel/*.whl"
    run(*entering(root), "env", "-i", *words(PIP), "sh", "-c", pip, timeout=900)
    return Installation("/srv/venv/bin/templater", enter=entering(root), root=root)


def install_zipapp(root: Path) -> Installation:
    build = str(ROOT / ".github/packages/zipapp.py")
    run(sys.executable, "-P", build, f"{root}/usr/local/bin/templater", timeout=900)
    return Installation("/usr/local/bin/templater", enter=entering(root), root=root)


def install_package(root: Path) -> Installation:
    run("bash", str(ROOT / ".github/packages/debian.sh"), f"{root}/srv", timeout=900)
    apt = "apt-get update -q && apt-get install -y -q --no-install-recommends /srv/*.deb"
    run(
        *entering(root),
        "env",
        "-i",
        *words({"DEBIAN_FRONTEND": "noninteractive"}),
        "sh",
        "-c",
        apt,
        timeout=900,
    )
    return Installation("/usr/bin/templater", enter=entering(root), root=root)


def words(environ: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in {**ENVIRONMENT, **environ}.items()]


@pytest.mark.parametrize("install", [install_zipapp, install_wheel, install_package])
def test_templater_works_on_a_new_debian_system(install, debian, wanted):
    """The Debian package is installed last, so its dependencies can't affect the zipapp and the wheel."""
    installation = install(debian)
    folder = FOLDER / install.__name__
    assert results_of(installation, folder) == wanted
    start_container(installation, folder)
    if install is not install_zipapp:  # a zipapp contains no C extension
        for kind in ("zst", "lz4"):
            installation.templater(folder, "image", "build", "image", "-o", f"image.tar.{kind}")
            assert "debian" in installation.templater(folder, "image", "info", f"image.tar.{kind}")


def start_container(installation: Installation, folder: Path) -> None:
    """Start a container with LXC on the new Debian. Check the files that templater's hook renders."""
    path = folder / "containers"
    container = installation.outside(path) / "c1"
    make_rootfs(container / "rootfs")
    make_image(container, instance=INSTANCE)
    (container / "config").write_text(
        "lxc.include = /usr/share/lxc/config/common.conf\n"
        f"lxc.rootfs.path = dir:{path}/c1/rootfs\nlxc.uts.name = c1\nlxc.net.0.type = empty\n"
    )
    installation.templater(folder, "hook", "install", "lxc", "c1", "-P", str(path), "--write")
    lxc = f"-P {path} -n c1"
    script = (
        f'lxc-start {lxc} && lxc-attach {lxc} --clear-env -- "$@"; code=$?; lxc-stop {lxc} -k; exit $code'
    )
    answer = installation.run(("sh", "-c", script, "lxc", *show_words()), folder)
    assert shown(answer, *BORN) == born("c1")
