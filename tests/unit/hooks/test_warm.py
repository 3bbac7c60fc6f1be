"""The file with a hook's modules: used while it is true, and written anew when it is not."""

import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import templater
from templater.hooks import install, warm

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, whose file of modules is its own."""
    source = Path(templater.__file__).parent
    shutil.copytree(source, tmp_path / "templater", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "templater"


def line(package: Path, *options: str) -> subprocess.CompletedProcess:
    words = install.argv("lxc", ["probe"])
    words[words.index("-c") + 1] = words[words.index("-c") + 1].replace(
        "[:0]=[", f"[:0]=['{package.parent}', "
    )
    return subprocess.run([words[0], *options, *words[1:]], capture_output=True, text=True, check=False)


def kept(package: Path) -> Path:
    return package / "__pycache__" / Path(warm.place()).name


def imported_from_files(package: Path) -> set[str]:
    """The modules that Python had to find by itself."""
    said = line(package, "-v").stderr
    return {line.split()[1] for line in said.splitlines() if " matches /" in line and "templater" in line}


def test_the_first_hook_writes_it_and_the_next_one_uses_it(package):
    assert line(package).returncode == 0
    assert kept(package).exists()
    used = {name.split("/templater/")[-1] for name in imported_from_files(package)}
    kept_there = {name.removeprefix("templater.").replace(".", "/") + ".py" for name in warm.MODULES}
    assert used
    assert not used & kept_there


def test_a_changed_module_is_read_from_its_source(package):
    line(package)
    module = package / "hooks/run.py"
    module.write_text(
        module.read_text().replace('f"templater {__version__} on', 'f"changed {__version__} on')
    )
    assert line(package).stdout.startswith("changed ")
    assert line(package).stdout.startswith("changed "), "and kept anew"


@pytest.mark.parametrize("data", [b"", b"nonsense", marshal.dumps(("x", "y", {})), marshal.dumps(7)])
def test_a_damaged_file_is_none(package, data):
    line(package)
    kept(package).write_bytes(data)
    assert line(package).returncode == 0
    assert kept(package).read_bytes() != data


def test_a_file_that_others_can_write_is_none(package):
    line(package)
    version, where, entries = marshal.loads(kept(package).read_bytes())
    evil = marshal.dumps(compile("raise SystemExit(99)", "x", "exec"))
    entries = {name: (*entry[:4], evil) for name, entry in entries.items()}
    kept(package).write_bytes(marshal.dumps((version, where, entries)))
    assert line(package).returncode == 99, "it would have been used"
    kept(package).chmod(0o666)
    assert line(package).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_none(package):
    line(package)
    os.chown(kept(package), 1234, 1234)
    before = kept(package).stat().st_ino
    assert line(package).returncode == 0
    assert kept(package).stat().st_ino != before


def test_a_place_that_cannot_be_written_is_no_trouble(package):
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    (package / "__pycache__").write_text("in the way")
    assert line(package).returncode == 0


def test_every_module_of_it_exists():
    for name in warm.MODULES:
        __import__(name)
