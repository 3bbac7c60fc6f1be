"""The replacement for ``os`` on the hook path gives the same answers as ``os``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templater import oslite

pytestmark = pytest.mark.skipif(os.name != "posix", reason="hooks run on Linux")

#: paths made of slashes, dots, names and invalid UTF-8
PATHS = st.text(alphabet="//..ab\udcff \0", max_size=12)


def test_path_and_descriptor_give_the_same_time_of_creation(tmp_path):
    (tmp_path / "file").touch()
    found = subprocess.run(
        ["stat", "-c", "%.9W", tmp_path / "file"], capture_output=True, text=True, check=True
    )
    nanoseconds = int(found.stdout.replace(".", ""))
    if not nanoseconds:
        pytest.skip("the file system records no time of creation")
    os.utime(tmp_path / "file", (1, 1))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    assert oslite.birth_time(str(tmp_path / "file")) == oslite.birth_time(fd) == f"{nanoseconds:x}"
    os.close(fd)
    assert oslite.birth_time(str(tmp_path / "none")) == ""


@given(PATHS, st.lists(PATHS, max_size=3))
def test_paths_are_joined_as_the_os_module_joins_them(folder, names):
    assert oslite.join(folder, *names) == os.path.join(folder, *names)


@given(PATHS)
def test_paths_are_split_as_the_os_module_splits_them(path):
    assert oslite.split(path) == os.path.split(path)
    assert oslite.dirname(path) == os.path.dirname(path)


@given(PATHS)
def test_absolute_paths_are_the_same_as_in_the_os_module(path):
    assert oslite.abspath(path) == os.path.abspath(path)


@given(PATHS)
def test_path_queries_give_the_same_results_as_in_the_os_module(path):
    assert oslite.exists(path) == os.path.exists(path)
    assert oslite.isdir(path) == os.path.isdir(path)
    assert oslite.islink(path) == os.path.islink(path)
    assert oslite.fsencode(path) == os.fsencode(path)


def test_exists_and_isdir_and_islink_agree_with_os_module(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("", "file", "dangling", "nothing"):
        path = str(tmp_path / name)
        assert oslite.exists(path) == os.path.exists(path)
        assert oslite.isdir(path) == os.path.isdir(path)
        assert oslite.islink(path) == os.path.islink(path)


def test_processor_limit_is_the_hard_limit_of_the_process(tmp_path):
    import resource

    code = "from templater.oslite import processor_limit; print(processor_limit())"
    for hard, printed in ((7, "7"), (resource.RLIM_INFINITY, "inf")):
        limits = (resource.RLIMIT_CPU, (5, hard))
        done = subprocess.run(
            [sys.executable, "-c", code], preexec_fn=lambda limits=limits: resource.setrlimit(*limits),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == printed


#: runs in an interpreter that has not loaded ``os``
BARE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from templater import oslite
assert "os" not in sys.modules
said = dict(oslite.environment())
one, none = oslite.variable("ONE"), oslite.variable("NONE")
oslite.forget("TZ")
oslite.forget("NONE")
import time
time.tzset()
assert "os" not in sys.modules
import os
assert "TZ" not in os.environ
assert said == {{**os.environ, "TZ": "XYZ-3"}}
assert (one, none) == (os.environ["ONE"], "")
print(time.tzname[0])
"""


def test_environment_can_be_read_without_loading_the_os_module():
    environ = {"ONE": "caf\udce9=1", "TZ": "XYZ-3"}
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BARE], env=environ, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() != "XYZ"


def test_environment_comes_from_os_module_if_it_is_loaded(monkeypatch):
    monkeypatch.setenv("TEMPLATER_TEST", "yes")
    assert oslite.variable("TEMPLATER_TEST") == oslite.environment()["TEMPLATER_TEST"] == "yes"
    oslite.forget("TEMPLATER_TEST")
    oslite.forget("TEMPLATER_TEST")
    assert "TEMPLATER_TEST" not in os.environ
