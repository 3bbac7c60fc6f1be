"""templater.pyz, which runs where nothing may be installed: the same results, hooks, and errors that name packages."""

import os
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from templater.image.compress import compressing
from tests.installations import PYTHONS, ROOT, Installation, jobs_of, jobs_of_checkout
from tests.live.harness import lack

pytestmark = pytest.mark.slow


def build(place: Path, **options: object) -> Path:
    if find_spec("pip") is None:
        lack("needs pip")
    words = [sys.executable, "-P", str(ROOT / ".github/packages/zipapp.py"), str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        lack(f"needs a package index: {done.stderr}")
    return place


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("zipapp") / "templater.pyz")


@pytest.fixture(params=PYTHONS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an interpreter without any package."""
    subprocess.run([request.param, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    return str(tmp_path / "venv/bin/python")


def test_a_second_zipapp_build_gives_the_same_bytes(built, tmp_path):
    environ = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    again = build(tmp_path / "folder" / "again.pyz", cwd=tmp_path, umask=0o077, env=environ)
    assert again.read_bytes() == built.read_bytes()
    assert stat.S_IMODE(built.stat().st_mode) == 0o755


def test_the_zipapp_works_and_unpacks_no_files(built, python, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    zipapp = Installation("env", f"TMPDIR={temporary}", python, str(built))
    assert jobs_of(zipapp, tmp_path) == jobs_of_checkout(tmp_path)
    assert list(temporary.iterdir()) == []
    assert list(built.parent.iterdir()) == [built]


def test_the_hook_status_command_accepts_a_hook_line_that_runs_a_zipapp(built, python, tmp_path):
    container = tmp_path / "lxc" / "web1"
    for name in ("metadata.yaml", "templates", "rootfs"):
        source = ROOT / "sample-images" / "debian-cloud" / name
        container.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(source), str(container)], check=True)
    (container / "config").write_text(f"lxc.uts.name = web1\nlxc.rootfs.path = dir:{container}/rootfs\n")
    zipapp = Installation(python, str(built))
    where = ("lxc", "web1", "-P", str(tmp_path / "lxc"))
    zipapp.templater(tmp_path, "hook", "install", *where, "--write")
    status = zipapp.templater(tmp_path, "hook", "status", *where)
    assert "ok  the hook line runs: templater" in status
    assert "every template compiles" in status


@pytest.mark.parametrize(
    ("kind", "package"),
    [("zstd", "backports.zstd or pyzstd (Debian: python3-pyzstd)"), ("lz4", "python3-lz4")],
)
def test_the_error_about_a_missing_library_mentions_its_package(built, python, kind, package, tmp_path):
    image = tmp_path / "image.tar"
    with image.open("wb") as file, compressing(kind, file.write) as packed:
        packed.write(b"content" * 1000)
    words = [python, "-I", str(built), "image", "info", str(image)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{kind} needs" in done.stderr and package in done.stderr
