"""The distribution: its name, its commands, its version, and the versions of its dependencies that it accepts."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from templater import __version__

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: extras for those who work on templater
DEVELOPMENT = ("test", "bench", "docs")
INSTALLED = [each for extra, wanted in EXTRAS.items() if extra not in DEVELOPMENT for each in wanted]
ACCEPTED = {
    canonicalize_name(found.name): found
    for found in map(Requirement, [*PROJECT["dependencies"], *INSTALLED, *EXTRAS["test"]])
    if found.name != PROJECT["name"]
}
#: the dependencies of templater itself; the others are those of its tests
DEPENDENCIES = [canonicalize_name(Requirement(each).name) for each in [*PROJECT["dependencies"], *INSTALLED]]


def pins(name: str) -> dict[str, Requirement]:
    """Return the requirements of a file in ``.ci``, by name."""
    text = re.sub(r"\\\n +--hash=\S+", "", (ROOT / ".ci" / name).read_text())
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {canonicalize_name(found.name): found for found in map(Requirement, lines)}


def version_of(pin: Requirement) -> str:
    (only,) = pin.specifier
    assert only.operator == "=="
    return only.version


DEBIAN_13 = pins("debian-13.txt")


def test_a_console_command_has_the_distribution_name_for_uvx():
    assert PROJECT["scripts"][PROJECT["name"]] == PROJECT["scripts"]["templater"]


def test_the_package_version_equals_the_newest_version_in_the_changelog():
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"] == {"path": "templater/__init__.py"}
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == __version__


@pytest.mark.parametrize("name", DEBIAN_13)
def test_the_dependency_ranges_accept_the_package_versions_in_debian_13(name):
    assert version_of(DEBIAN_13[name]) in ACCEPTED[name].specifier


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_the_oldest_accepted_version_of_each_dependency_is_tested(name):
    (oldest,) = (each.version for each in ACCEPTED[name].specifier if each.operator == ">=")
    tested = version_of(pins("oldest.txt")[name])
    if name == "lz4":  # the older versions have no wheels; the Debian package is tested with 4.4.0
        assert (oldest, tested) == ("4.4", "4.4.3")
    else:
        assert re.sub(r"(\.0)+$", "", tested) == oldest


@pytest.mark.parametrize("name", ["newest.txt", "oldest.txt"])
def test_each_package_in_the_lists_for_ci_has_a_hash(name):
    found = pins(name)
    assert set(ACCEPTED) <= set(found)
    assert all(version_of(pin) for pin in found.values())
    requirements = (ROOT / ".ci" / name).read_text().replace("\\\n", " ").splitlines()
    assert all(re.fullmatch(r"[^/@]+?( +--hash=sha256:[0-9a-f]{64})+", line) for line in requirements)


def test_backports_zstd_is_a_dependency_only_before_python_3_14():
    """Python 3.14 has ``compression.zstd``; ``backports.zstd`` has wheels for every older version."""
    marker = ACCEPTED["backports-zstd"].marker
    assert marker is not None
    assert [marker.evaluate({"python_version": version}) for version in ("3.11", "3.13", "3.14")] == [
        True, True, False,
    ]  # fmt: skip


def test_the_installed_console_commands_start():
    module, function = PROJECT["scripts"]["image-templater"].split(":")
    code = (
        f"import sys; sys.argv[1:] = ['--version']; from {module} import {function}; sys.exit({function}())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert __version__ in done.stdout
