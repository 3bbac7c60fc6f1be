"""Tests that run the recipes of docs/ for an image on a server. Only the directories and the image differ."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import CG2, need, run
from .images import make_directory, templater
from .test_docs import DOCS, PODMAN
from .test_nspawn import hook_argv, nspawn
from .test_serve import templater_serve, tls

pytestmark = pytest.mark.live

RULES = """\
  /etc/motd:
    when: [create]
    template: motd.tpl
"""


@pytest.fixture
def environment(folder: Path, certificates: Path) -> Iterator[dict[str, str]]:
    """Serve a split image as `ours:tiny/1`.

    Yield environment variables whose PATH begins with this templater.
    """
    image = make_directory(folder / "image", "default")
    with (image / "metadata.yaml").open("a") as file:
        file.write(RULES)
    (image / "templates/motd.tpl").write_text("made for {{ instance.name }}\n")
    built = folder / "built"
    templater("image", "build", str(image), "-o", str(built), "--format", "split", "--rootfs", "squashfs")
    (folder / "bin").mkdir()
    (folder / "bin/templater").write_text(f'#!/bin/sh\nexec {sys.executable} -m templater "$@"\n')
    (folder / "bin/templater").chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data"),
        "SSL_CERT_FILE": str(certificates / "ca.pem"),
    }  # fmt: skip
    with templater_serve(str(built), f"{built}.root", *tls(certificates)) as server:
        run("templater", "remote", "add", "ours", server.url, env=environment)
        yield environment


def recipe(page: str, **changes: str) -> str:
    """Return the only shell script of a page of docs/, with another image and other directories."""
    (script,) = re.findall(r"^```sh\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    for old, new in {"images:debian/13": "ours:tiny/1", **changes}.items():
        assert old in script
        script = script.replace(old, new)
    return f"set -eu\n{script}"


def test_the_podman_recipe_makes_a_container_from_an_image(folder: Path, environment):
    need("podman", "crun")
    quoted = " ".join(f"'{word}'" for word in CG2)
    (folder / "bin/podman").write_text(PODMAN.format(cg2=quoted, folder=folder))
    (folder / "bin/podman").chmod(0o755)
    words = ("hook", "install", "podman", "-P", str(folder / "hooks.d"), "--allow", str(folder / "images"))
    run("templater", *words, "--write", env=environment)
    script = recipe(
        "podman.md",
        **{
            "/var/lib/templater/images": str(folder / "images"),
            "run -d": "run",
            "/sbin/init": "/bin/cat /etc/motd",
        },
    )
    try:
        answer = run("bash", "-c", script, env=environment)
        assert answer.stdout.endswith("made for web1\n")
    finally:
        run(str(folder / "bin/podman"), "rm", "-fa", "-t", "0", code=None)
        shutil.rmtree(folder / "root", ignore_errors=True)


def test_the_nspawn_recipe_makes_a_machine_from_an_image(folder: Path, environment):
    """This test runs no systemd.

    test_nspawn.py tests that systemd runs the drop-in before the machine starts.
    """
    need("systemd-nspawn")
    (folder / "machines").mkdir()
    units = folder / "units"
    script = recipe(
        "nspawn.md",
        **{
            "/var/lib/templater": str(folder / "state"),
            "/var/lib/machines": str(folder / "machines"),
            "nspawn web1 --write": f"nspawn web1 -P {units} --write",
            "systemctl daemon-reload && machinectl start web1\n": "",
        },
    )
    run("bash", "-c", script, env=environment)
    assert "ExecStartPre=" in (units / "systemd-nspawn@web1.service.d/templater.conf").read_text()
    machine = folder / "machines/web1"
    state = str(folder / "state/web1")
    run(*hook_argv("nspawn", "--source", state, "--state", state, "--rootfs", str(machine)), "web1")
    assert nspawn(machine, words=["/bin/cat", "/etc/motd", "/etc/hostname"]).stdout == "made for web1\nweb1\n"
