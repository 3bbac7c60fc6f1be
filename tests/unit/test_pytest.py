"""The plugin for pytest."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from templater import pytest as plugin
from templater.testing.read_tests import read_cases
from templater.testing.tests_folder import Folder
from tests.unit.testing.images import an_image

ROOT = Path(__file__).parents[2]
PASSES = "tests:\n- {name: passes, matrix: {host: [incus, lxd]}, expect: {/etc/hostname: {contains: c1}}}\n"
FAILS = "tests:\n- {name: fails, expect: {/etc/hostname: {equals: x}}}\n"


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "pytest", "-p", "templater.pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-p",
        "no:hypothesispytest", *words,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow  # another pytest
def test_pytest_collects_only_the_tests_of_images_and_definitions(tmp_path):
    an_image(tmp_path / "good", {"a.yaml": PASSES, "files/web.yaml": "name: web\n"})
    an_image(tmp_path / "bad", {"a.yaml": FAILS, "b.yaml": "tests:\n- {nam: x}\n"})
    shutil.copytree(ROOT / "sample-images" / "definitions", tmp_path / "definitions")
    (tmp_path / "other" / "tests").mkdir(parents=True)
    (tmp_path / "other" / "tests" / "a.yaml").write_text("a: b\n")
    (tmp_path / "other" / "values.yaml").write_text("image: nginx\n")
    done = run_pytest(tmp_path, "-rA", "--continue-on-collection-errors", "-k", "not definitions or cloud")
    assert re.search(r"^PASSED good/tests/a.yaml::passes \[host=incus\]$", done.stdout, re.M), done.stdout
    assert re.search(
        r"^PASSED definitions/tests/debian/files.yaml::cloud variant \[instance=web1 #1\]$", done.stdout, re.M
    )
    assert re.search(r"^FAILED bad/tests/a.yaml::fails", done.stdout, re.M)
    assert "a.yaml:2:50: /etc/hostname: differs from the expected text" in done.stdout
    assert "+c1" in done.stdout
    assert "unknown key 'nam'" in done.stdout
    assert "other/" not in done.stdout
    assert re.search(r"1 failed, 4 passed, 5 deselected, 1 error", done.stdout)


@pytest.mark.slow  # another pytest
def test_the_pytest_plugin_does_nothing_in_an_unrelated_project(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "import sys\n\ndef test_modules():\n"
        "    print(*sorted(name for name in sys.modules if name.split('.')[0] in ('templater', 'yaml', 'jinja2')))\n"
    )
    (tmp_path / "tests" / "data.yaml").write_text("tests: [{name: a}]\n")
    (tmp_path / "config.yaml").write_text("image: x\n")
    done = run_pytest(tmp_path, "-s", "--ignore", "config.yaml")
    assert "1 passed" in done.stdout
    (tmp_path / "config.yaml").unlink()
    done = run_pytest(tmp_path, "-s")
    assert "\ntest" not in done.stdout.replace("tests/test_a.py", "")
    assert "templater templater.pytest" in done.stdout
    assert "templater.testing" not in done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("image/tests/a.yaml", "image"),
        ("image/tests/a.yml", "image"),
        ("image/tests/a.json", None),
        ("image/other/a.yaml", None),
        ("image/tests/files/a.yaml", None),
        ("definitions/tests/a.yaml", "definitions/debian.yaml"),
        ("definitions/tests/debian/a.yaml", "definitions/debian.yaml"),
        ("none/tests/a.yaml", None),
    ],
)
def test_the_pytest_plugin_collects_only_yaml_tests_of_images_and_definitions(
    name, source, tmp_path, monkeypatch
):
    for folder in ("image", "definitions", "none"):
        (tmp_path / folder).mkdir()
    (tmp_path / "image/metadata.yaml").write_text("")
    (tmp_path / "definitions/debian.yaml").write_text("image: {distribution: debian}\nsource: {}\n")
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("tests: []\n")
    monkeypatch.setattr(plugin.ImageTests, "from_parent", lambda parent, path, source: (path, source))
    found = plugin.pytest_collect_file(path, None)
    assert found == (None if source is None else (path, str(tmp_path / source)))


def test_the_line_numbers_of_the_pytest_plugin_begin_at_zero(tmp_path):
    path = an_image(tmp_path / "image", PASSES + FAILS.removeprefix("tests:\n"))
    cases = read_cases(Folder(str(path / "tests")))
    item = SimpleNamespace(path=path, name="a name")
    lines = []
    for item.case in cases:
        lines.append(plugin.ImageTest.reportinfo(item))
    assert lines == [(path, 1, "a name")] * 2 + [(path, 2, "a name")]


@pytest.fixture
def collected(tmp_path, request, monkeypatch):
    """Return a function that collects the tests of an image in this process."""

    def collect(tests):
        path = an_image(tmp_path / "image", tests)
        file = plugin.ImageTests.from_parent(request.session, path=path / "tests/a.yaml", source=str(path))
        file.finalizers = []
        monkeypatch.setattr(file, "addfinalizer", file.finalizers.append)
        return file

    return collect


def test_pytest_reports_the_failures_of_a_failing_case(collected):
    file = collected(PASSES + FAILS.removeprefix("tests:\n"))
    *passing, failing = file.collect()
    assert [item.name for item in passing] == ["passes [host=incus]", "passes [host=lxd]"]
    for item in passing:
        assert item.runtest() is None
    with pytest.raises(plugin.CaseFailed) as caught:
        failing.runtest()
    text = str(caught.value)
    assert failing.repr_failure(caught) == text
    first, *rest = text.splitlines()
    assert first.endswith("a.yaml:3:50: /etc/hostname: differs from the expected text") and "+c1" in text
    assert rest and all(line.startswith("  ") for line in rest)
    with pytest.raises(ValueError) as other:
        raise ValueError("another error")
    assert "another error" in str(failing.repr_failure(other)) != "another error"
    session = file.session_of_image
    assert file.finalizers == [file.close] and session is not None
    for _ in range(2):
        file.close()
        assert file.session_of_image is None


def test_pytest_reports_mistake_in_file_as_collection_error(collected):
    file = collected("tests:\n- {nam: x}\n")
    with pytest.raises(file.CollectError) as caught:
        list(file.collect())
    assert "unknown key 'nam'" in str(caught.value)


def test_a_case_fails_with_the_reason_if_it_cannot_run(collected):
    file = collected(PASSES)
    item = next(file.collect())
    (file.path.parent.parent / "metadata.yaml").write_text("[")
    with pytest.raises(plugin.CaseFailed, match=r"metadata\.yaml"):
        item.runtest()
