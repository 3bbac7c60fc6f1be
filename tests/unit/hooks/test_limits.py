"""``--limit`` in a hook line: it limits rendering in a child or in the hook process, with and without a cache."""

import subprocess
import sys

import pytest

from templater.cli.run_command_line import main
from templater.hooks import install
from templater.hooks.options import parse
from templater.hooks.run import run

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux"),
    pytest.mark.usefixtures("restored_process"),
]

METADATA = """\
architecture: x86_64
creation_date: 1
templates: {/etc/a: {when: [create, start], template: a.tpl}}
"""
LOOP = "{% for a in 'x'|ljust:300 %}{% for b in 'x'|ljust:300 %}{{ a }}{% endfor %}{% endfor %}"


@pytest.fixture
def container(tmp_path, monkeypatch):
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text(LOOP)
    (tmp_path / "metadata.yaml").write_text(METADATA)
    (tmp_path / "config").write_text("lxc.uts.name = c1\n")
    for name, value in (
        ("LXC_NAME", "c1"), ("LXC_HOOK_TYPE", "pre-start"), ("LXC_CONFIG_FILE", f"{tmp_path}/config"),
        ("LXC_ROOTFS_PATH", f"{tmp_path}/rootfs"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("child", [(), ("--no-child",)], ids=["in a child", "in its own process"])
@pytest.mark.parametrize(
    ("limit", "words"),
    [("steps=1k", "more than 1000 steps"), ("output=5k", "more than 5120 characters")],
)
def test_a_hook_applies_a_rendering_limit(child, limit, words, container, capfd):
    for _ in range(2):
        code = run(["lxc", *child, "--limit", limit])
        assert words in capfd.readouterr().err
        assert code in (4, 5)
        assert not (container / "rootfs/etc/a").exists()
        assert run(["lxc", *child]) == 0  # the second run uses the cached code
        (container / "rootfs/etc/a").unlink()


def test_a_hook_applies_a_limit_on_reading_yaml(container, capfd):
    assert run(["lxc", "--no-cache", "--limit=yaml-depth=2"]) == 4
    assert "more than 2 levels" in capfd.readouterr().err


@pytest.mark.slow
def test_a_hook_applies_a_limit_on_its_child_process(container):
    """Run in a separate process: a process that ran many tests has spare memory."""
    wide = "".join(f"{{% set a{n} = '\U0001f600'|ljust:1000000 %}}" for n in range(7))  # 4 bytes a character
    (container / "templates/a.tpl").write_text(wide)
    line = [*install.argv("lxc", []), "--no-cache"]
    answer = subprocess.run([*line, "--limit", "memory=40MiB"], capture_output=True, text=True, check=False)
    assert answer.returncode == 4
    assert "memory" in answer.stderr
    assert subprocess.run(line, check=False).returncode == 0


@pytest.mark.slow
def test_a_higher_hook_limit_allows_a_large_template(container, capfd):
    (container / "templates/a.tpl").write_text(LOOP.replace("300", "1500"))
    assert run(["lxc"]) in (4, 5)
    assert run(["lxc", "--limit", "steps=20M", "--limit", "output=20MiB"]) == 0, capfd.readouterr().err
    assert (container / "rootfs/etc/a").stat().st_size == 1500 * 1500


def test_a_hook_rejects_limits_for_image_archives(container, capfd):
    assert run(["lxc", "--limit", "members=5"]) == 2
    assert "unknown limit 'members'" in capfd.readouterr().err


def test_the_install_command_writes_limits_into_the_hook_line(container, capsys):
    folder = str(container.parent)
    line = ["hook", "install", "lxc", container.name, "-P", folder, "--limit", "steps=10M"]
    assert main(line) == 0
    assert "--limit steps=10M" in capsys.readouterr().out
    assert parse(["lxc", "--limit", "steps=10M"])[1].limits.rendering == {"steps": 10_000_000}


def test_the_install_command_refuses_options_that_would_make_every_start_fail(container, capsys):
    assert main(["hook", "install", "lxc", "c1", "--limit", "stesp=10M"]) == 2
    assert "unknown limit 'stesp'" in capsys.readouterr().err
