"""The option ``--limit`` of each command: the limit that the user names takes effect."""

import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from templater import oslite
from templater.cli.run_command_line import main
from templater.hooks.options import read_options
from templater.instances.instance_directory import InstanceDirectory
from templater.rootfs import directory_rootfs

SAMPLE = Path(__file__).resolve().parents[2] / "sample-images" / "debian-cloud"
LOOP = "{% for a in 'x'|ljust:300 %}{% for b in 'x'|ljust:300 %}{{ a }}{% endfor %}{% endfor %}"


@pytest.fixture
def image(tmp_path):
    """Return an image with a loop of 90,000 rounds that prints 90,000 characters."""
    folder = tmp_path / "image"
    (folder / "templates").mkdir(parents=True)
    (folder / "rootfs/etc").mkdir(parents=True)
    (folder / "templates/a.tpl").write_text(LOOP)
    (folder / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\n"
        "templates: {/etc/a: {when: [create, start], template: a.tpl}}\n"
    )
    return folder


@pytest.fixture
def archive(image, tmp_path):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name in ("metadata.yaml", "templates", "rootfs"):
            tar.add(image / name, name)
    return tmp_path / "image.tar"


def said(capsys, *words) -> tuple[int, str]:
    code = main([str(word) for word in words])
    return code, "".join(capsys.readouterr())


RENDERS = {
    "preview": ["preview", "IMAGE", "--as", "none"],
    "diff": ["diff", "IMAGE", "IMAGE/rootfs", "--as", "none"],
    "apply": ["apply", "IMAGE", "IMAGE/rootfs", "-t", "create"],
    "simulate": ["simulate", "IMAGE", "start"],
    "instances": ["preview", "IMAGE", "--as", "none", "--instances", "IMAGE/../all.json"],
}


@pytest.mark.parametrize("command", RENDERS)
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("steps=1000", "more than 1000 steps"),
        ("output=5k", "more than 5120 characters"),
        ("metadata=20", "20 bytes"),
        ("yaml-depth=2", "more than 2 levels"),
        ("template=50", "50 bytes"),
    ],
)
def test_a_lowered_limit_stops_the_command(command, limit, words, image, capsys, monkeypatch):
    Path(image, "../all.json").write_text(json.dumps([{"name": "c1"}]))
    line = [word.replace("IMAGE", str(image)) for word in RENDERS[command]]
    assert said(capsys, *line)[0] == 0
    code, told = said(capsys, *line, "--limit", limit)
    assert code != 0
    assert words in told


@pytest.mark.slow
def test_raising_a_limit_lets_the_command_succeed(image, capsys):
    Path(image, "templates/a.tpl").write_text(LOOP.replace("300", "1500"))
    line = ["preview", image, "--as", "none", "-t", "create"]
    assert said(capsys, *line)[0] == 5
    code, told = said(capsys, *line, "--limit", "steps=20M", "--limit", "output=20MiB")
    assert code == 0, told[-300:]


@pytest.mark.slow
def test_an_audit_accepts_limits(image, archive, capsys):
    assert "runaway" not in said(capsys, "audit", image)[1]
    assert "runaway" in said(capsys, "audit", image, "--limit", "steps=1000")[1]
    assert "members" not in said(capsys, "audit", archive)[1]
    assert "more than 3 members" in said(capsys, "audit", archive, "--limit", "members=3")[1]


def test_image_commands_accept_image_limits(archive, tmp_path, capsys):
    for line in (["image", "info", archive], ["image", "export", archive, tmp_path / "out.tar"],
                 ["unpack", archive, tmp_path / "c1"]):  # fmt: skip
        code, told = said(capsys, *line, "--limit", "members=3")
        assert code == 4
        assert "more than 3 members" in told
        assert said(capsys, *line, "--limit", "steps=3")[0] == 2
    assert not (tmp_path / "c1").exists()


def test_an_invalid_limit_is_a_usage_error(image, capsys):
    code, told = said(capsys, "preview", image, "--limit", "tiem=5")
    assert code == 2
    assert "unknown limit 'tiem'" in told
    assert "template-time" in told


@pytest.mark.slow
def test_the_template_size_limit_applies_to_previews_and_hooks(image, capsys):
    """A template has one size limit, with one name and default, for reading, for compiling and for hooks."""
    (image / "templates/a.tpl").write_text("x" * ((4 << 20) + 1))
    line = ["preview", image, "-t", "create", "--as", "none", "--rootfs", "none", "--limit", "output=6MiB"]
    code, told = said(capsys, *line)
    assert code != 0
    assert "4 MiB" in told or "4194304" in told
    assert said(capsys, *line, "--limit", "template=5MiB")[0] == 0
    options = read_options(["--limit", "template=5MiB"])
    assert options.limits.template == 5 << 20
    with InstanceDirectory(str(image)) as directory:
        assert "a.tpl" in directory.read_templates(options.limits.template)
        assert directory.read_templates(options.limits.template)["a.tpl"].data is not None
        assert directory.read_templates()["a.tpl"].data is None


READS = {
    "status": ["status", "IMAGE"],
    "apply": ["apply", "IMAGE", "IMAGE/rootfs", "-t", "create"],
    "diff": ["diff", "IMAGE", "IMAGE/rootfs", "--as", "none", "-t", "create"],
    "preview": ["preview", "IMAGE", "--as", "none", "-t", "create"],
    "explain": ["explain", "IMAGE", "--as", "none", "-t", "create"],
    "instances": [
        "diff",
        "IMAGE",
        "IMAGE/../{name}/rootfs",
        "--as",
        "none",
        "--instances",
        "IMAGE/../all.json",
    ],
}


@pytest.fixture
def slow_files(image, monkeypatch):
    """Return an image whose two target files already have the rendered content.

    Reading each target file takes six seconds.
    """
    (image / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates:\n"
        "  /etc/a: {when: [create, start], template: a.tpl}\n"
        "  /etc/b: {when: [create, start], template: a.tpl}\n"
    )
    (image / "templates/a.tpl").write_text("text")
    for name in ("a", "b"):
        (image / "rootfs/etc" / name).write_text("text")
    (image / "instance.yaml").write_text("name: image\n")
    (image.parent / "all.json").write_text(json.dumps([{"name": "image", "config": {"volatile.uuid": "u"}}]))
    inodes = [(image / "rootfs/etc" / name).stat().st_ino for name in ("a", "b")]
    now, real = [0.0], os.read

    def slow(fd, size):
        data = real(fd, size)
        now[0] += 6.0 * (bool(data) and os.fstat(fd).st_ino in inodes)
        return data

    monkeypatch.setattr(oslite.os, "read", slow)
    monkeypatch.setattr(directory_rootfs, "monotonic", lambda: now[0])
    return image


@pytest.mark.parametrize("command", READS)
def test_attack_87_a_command_stops_reading_a_rootfs_after_8_seconds(slow_files, capsys, command):
    """The kernel decompresses many times the size of some files. No processor time limit counts this work."""
    words = [word.replace("IMAGE", str(slow_files)) for word in READS[command]]
    code, output = said(capsys, *words)
    assert code
    assert re.search(r"reading the files of '[^']*/rootfs' takes longer than 8\.0 s", output)
    assert said(capsys, *words, "--limit", "time=1m")[0] == 0


def test_attack_87_the_simulate_command_stops_reading_a_root_filesystem_at_the_limit(slow_files, capsys):
    assert "/etc/b  failed" in said(capsys, "simulate", slow_files, "create", "start")[1]
    assert "failed" not in said(capsys, "simulate", slow_files, "create", "start", "--limit", "time=1m")[1]
