"""The distribution: its name, its commands, and the versions of its dependencies that it accepts."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEBIAN_13 = [
    Requirement(line)
    for line in (ROOT / ".ci" / "debian-13.txt").read_text().splitlines()
    if not line.startswith("#")
]
EXTRAS = PROJECT["optional-dependencies"]
DEPENDENCIES = [*PROJECT["dependencies"], *EXTRAS["server"], *EXTRAS["check"], *EXTRAS["test"]]
ACCEPTED = {found.name.lower(): found for found in map(Requirement, DEPENDENCIES)}


def test_uvx_finds_a_command_named_like_the_distribution():
    assert PROJECT["scripts"][PROJECT["name"]] == PROJECT["scripts"]["templater"]


@pytest.mark.parametrize("shipped", DEBIAN_13, ids=str)
def test_the_dependency_ranges_accept_what_debian_13_ships(shipped):
    (version,) = (each.version for each in shipped.specifier)
    assert version in ACCEPTED[shipped.name].specifier


def test_zstd_is_a_dependency_until_python_3_14():
    """Python 3.14 has ``compression.zstd``; ``backports.zstd`` has wheels for every older version."""
    marker = ACCEPTED["backports.zstd"].marker
    assert marker is not None
    assert [marker.evaluate({"python_version": version}) for version in ("3.11", "3.13", "3.14")] == [
        True, True, False,
    ]  # fmt: skip


def test_the_console_commands_start():
    module, function = PROJECT["scripts"]["image-templater"].split(":")
    code = (
        f"import sys; sys.argv[1:] = ['--version']; from {module} import {function}; sys.exit({function}())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert PROJECT["version"] in done.stdout
