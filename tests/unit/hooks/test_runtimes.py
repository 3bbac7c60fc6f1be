"""Runtimes: one new file is enough for `hook install`, `hook status` and the hook to know a runtime."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import templater
from templater.hooks.lxc_config import settings
from templater.hooks.options import parse
from templater.hooks.runtimes import function_of, incus, runtimes_with
from templater.model.errors import InputError, UsageError
from templater.model.unprintable_characters import printable

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")

TOY = '''\
"""A runtime that says everything in its environment."""

from ...model.errors import UsageError
from ...oslite import join
from ..request import HookRequest


def read_request(options, environ):
    return HookRequest(
        options, name=environ["TOY_NAME"], rootfs=environ["TOY_ROOTFS"], image=options.source
    )


def snippet(name, words, path):
    from ..install import Snippet, argv, shell_line

    if not name:
        raise UsageError("which toy?")
    return Snippet(join(path or "/etc/toys", name), shell_line(argv("toy", words)) + "\\n")


def status(name, path):
    from ..common_status_checks import Finding, runs

    file = join(path or "/etc/toys", name)
    with open(file) as stream:
        line = stream.read().strip()
    yield Finding(True, "a toy")
    yield runs("toy", line, "templater hook install toy")
'''
METADATA = "architecture: x86_64\ntemplates:\n  /etc/a:\n    when: [create, start]\n    template: a.tpl\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with an image and a copy of the package that has one more runtime file."""
    source = Path(templater.__file__).parent
    shutil.copytree(source, tmp_path / "templater", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "templater/hooks/runtimes/toy.py").write_text(TOY)
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/templates/a.tpl").write_text("{{ container.name }} {{ trigger }}\n")
    (tmp_path / "image/metadata.yaml").write_text(METADATA)
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    return tmp_path


def run_here(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(place), "TOY_NAME": "t1", "TOY_ROOTFS": f"{place}/rootfs"
    }  # fmt: skip
    return subprocess.run(words, cwd=place, env=environ, capture_output=True, text=True, check=False)


def hook(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_here(place, sys.executable, "-m", "templater", "hook", *words)


@pytest.mark.slow
def test_one_new_python_file_adds_a_container_runtime(place: Path) -> None:
    answer = hook(place, "install", "toy", "t1", "--path", ".", "--source", "image", "--write")
    assert (answer.returncode, answer.stderr) == (0, "./t1: written\n")
    answer = hook(place, "status", "toy", "t1", "--path", ".")
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout.startswith("ok  a toy\nok  the hook line runs: templater ")
    for written in ("t1 start\n", "t1 start\n"):  # the second run finds everything in the cache
        (place / "rootfs/etc/a").write_text("")
        answer = run_here(place, "sh", "-c", (place / "t1").read_text())
        assert (answer.returncode, answer.stderr) == (0, "")
        assert (place / "rootfs/etc/a").read_text() == written
    assert hook(place, "toy", "--source", "image").returncode == 0


@pytest.mark.slow
def test_a_new_runtime_appears_in_the_help(place: Path) -> None:
    assert "\n  toy " in hook(place, "--help").stdout
    for command in ("install", "status"):
        answer = hook(place, command, "docker")
        assert answer.returncode == 2
        assert "'toy'" in answer.stderr
    answer = hook(place, "install", "toy")
    assert answer.returncode == 2
    assert answer.stderr.endswith("\nError: which toy?\n")


def test_the_error_about_a_failing_runtime_import_contains_the_module_name(place: Path) -> None:
    (place / "templater/hooks/runtimes/toy.py").write_text("import nosuch\n" + TOY)
    answer = hook(place, "toy", "--source", "image")
    assert answer.returncode != 0
    assert "No module named 'nosuch'" in answer.stderr


def test_each_runtime_module_has_the_expected_functions() -> None:
    assert {"incus", "lxc", "nspawn", "oci"} <= set(runtimes_with("read_request"))
    assert {"incus", "lxc", "nspawn", "oci", "podman"} <= set(runtimes_with("snippet"))
    assert {"lxc", "nspawn", "oci", "podman"} <= set(runtimes_with("status"))
    assert "podman" not in runtimes_with("read_request"), "its file calls oci"


@pytest.mark.parametrize(
    "word",
    [
        "",
        "docker",
        "podman",
        "run",
        "line",
        "line.templater_hook",
        "..errors",
        "lxc.os",
        "a/b",
        "a\0b",
        "--probe",
    ],
)
def test_a_module_without_runtime_functions_is_not_a_runtime(word: str) -> None:
    assert function_of(word, "read_request") is None
    with pytest.raises(UsageError, match=r"^missing or unknown runtime$"):
        parse([word])


def test_a_missing_include_directory_is_ignored_as_in_lxc(tmp_path):
    """LXC 6.0.4 ignores a missing directory only if its path ends with a slash.

    Debian's userns.conf has such a path.
    """
    config = tmp_path / "config"
    config.write_text("lxc.include = /nonexistent.d/\nlxc.uts.name = web1\n")
    assert ("lxc.uts.name", "web1") in list(settings(str(config)))
    config.write_text("lxc.include = /nonexistent.d\n")
    with pytest.raises(InputError, match=r"^'/nonexistent\.d' can't be read: no such file or directory$"):
        list(settings(str(config)))


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "a\n"])
def test_a_hook_of_incus_refuses_an_invalid_instance_name(name):
    with pytest.raises(UsageError) as caught:
        incus.read_request(None, {"LXC_NAME": name, "LXC_ROOTFS_PATH": "/x/rootfs"})
    assert caught.value.message == f"invalid instance name '{printable(name)}'"
    with pytest.raises(UsageError, match=r"^Incus did not call this hook through raw.lxc$"):
        incus.read_request(None, {"LXC_NAME": "c1"})
