"""The template script for lxc-create: what is written, and that a shell accepts it."""

import subprocess
import sys

import pytest

from templater.hooks.install import write
from templater.hooks.runtimes.lxc_template import snippet
from templater.model.errors import UsageError


def test_the_script_is_executable_and_calls_this_interpreter(tmp_path):
    made = snippet("", [], str(tmp_path))
    assert write(made)
    script = tmp_path / "lxc-templater"
    assert script.stat().st_mode & 0o777 == 0o755
    assert sys.executable in script.read_text()
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    assert not write(made), "already up to date"


def test_options_of_the_hook_are_quoted(tmp_path):
    assert "--write --log '/a b'\n" in snippet("", ["--log", "/a b"], str(tmp_path)).text


def test_the_script_belongs_to_no_container(tmp_path):
    with pytest.raises(UsageError, match="the same for all containers"):
        snippet("web1", [], str(tmp_path))


@pytest.mark.parametrize("words", [[], ["--name=x", "--path=/x", "--rootfs=/x/r"], ["--strange"], ["image"]])
def test_a_call_with_a_missing_argument_is_one_error(tmp_path, words):
    write(snippet("", [], str(tmp_path)))
    done = subprocess.run([tmp_path / "lxc-templater", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lxc-templater: ")
    assert done.stderr.count("\n") == 1
