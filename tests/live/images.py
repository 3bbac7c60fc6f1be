"""Images to publish, and clients that list published images. Several live tests use them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from templater.distribution.add_to_tree import add
from templater.distribution.list_stream import list_stream
from templater.distribution.stream_interface import LocalStream
from templater.distribution.tree import Tree
from tests.streams.builders import QCOW2, checked
from tests.streams.server import Server

from .harness import lack, make_rootfs, run

METADATA = """\
architecture: x86_64
creation_date: 1767225600
properties:
  os: Tiny
  release: "1"
  variant: %s
  description: tiny
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
"""
#: more templates of the images in the tree, with the names of their files
MORE = """\
  /etc/templated:
    when: [create, copy, start]
    template: templated.tpl
  /srv/new/deep/file:
    when: [start]
    template: deep.tpl
  /etc/existing:
    when: [start]
    template: existing.tpl
  /etc/once:
    when: [create]
    create_only: true
    template: templated.tpl
"""
WRITTEN = ("/etc/hostname", "/etc/templated", "/srv/new/deep/file", "/etc/existing", "/etc/once")
TEMPLATES = {
    "templated.tpl": '{{ container.name }} {{ trigger }} {{ config_get("user.foo", "none") }} {{ properties.variant }}\n',
    "deep.tpl": "{% for i in 'abc' %}{{ forloop.Counter }}{{ i }} {% endfor %}\n",
    "existing.tpl": "new content of {{ instance.name|upper }}\n",
}


def need_programs(*names: str) -> None:
    missing = [name for name in (*names, "openssl") if shutil.which(name) is None]
    if missing:
        lack(f"needs {', '.join(missing)}")


class Client:
    """The command `incus` or `lxc` with a new home directory, so that the command's cache is empty."""

    def __init__(self, home: Path, certificates: Path, program: str = "incus") -> None:
        self.program = program
        (home / "conf").mkdir(parents=True)
        self.environment = {
            **os.environ, "HOME": str(home), "SSL_CERT_FILE": str(certificates / "ca.pem"), "LC_ALL": "C",
            "INCUS_DIR": str(home / "no-daemon"), "LXD_DIR": str(home / "no-daemon"),
            "LXD_CONF": str(home / "conf"), "INCUS_CONF": str(home / "conf"),
        }  # fmt: skip

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(self.program, *words, code=None, env=self.environment)

    def add(self, server: Server) -> "Client":
        answer = self("remote", "add", "s", server.url, "--protocol", "simplestreams")
        assert answer.returncode == 0, answer.stderr
        return self

    def list(self) -> list[dict]:
        answer = self("image", "list", "s:", "-f", "json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)


def templater(*words: str) -> str:
    return run(sys.executable, "-m", "templater", *words).stdout


def make_directory(folder: Path, variant: str, *, more: bool = False) -> Path:
    (folder / "templates").mkdir(parents=True)
    (folder / "metadata.yaml").write_text(METADATA % variant + (MORE if more else ""))
    (folder / "templates/hostname.tpl").write_text("{{ instance.name }}\n")
    for name, text in TEMPLATES.items() if more else ():
        (folder / "templates" / name).write_text(text)
    make_rootfs(folder / "rootfs")
    return folder


CONTAINERS = {"default": "squashfs", "tarxz": "tar", "unified": "", "converted": ""}


def make_tree(folder: Path) -> Tree:
    """Return a new tree with container images of every kind, and with the image of a virtual machine."""
    tree = Tree(str(folder / "tree"))
    for variant, rootfs in CONTAINERS.items():
        image = make_directory(folder / variant, variant, more=True)
        if rootfs:
            templater(
                "image",
                "build",
                str(image),
                "-o",
                str(folder / "built"),
                "--format",
                "split",
                "--rootfs",
                rootfs,
                "--reuse",
            )
            add(tree, str(folder / "built"), [str(folder / "built.root")])
        else:
            templater("image", "build", str(image), "-o", str(folder / "built.tar.gz"), "--reuse")
            add(tree, str(folder / "built.tar.gz"), split=variant == "converted")
    image = make_directory(folder / "vm", "vm")
    templater("image", "build", str(image), "-o", str(folder / "built"), "--format", "split", "--reuse")
    (folder / "disk").write_bytes(QCOW2)
    add(tree, str(folder / "built"), [str(folder / "disk")], requirements={"secureboot": "false"})
    checked(tree)
    return tree


def same_as_list(tree: Tree, images: list[dict]) -> None:
    ours = {image.fingerprint: image for image in list_stream(LocalStream(tree))}
    assert {image["fingerprint"] for image in images} == set(ours)
    for image in images:
        mine = ours[image["fingerprint"]]
        names = {alias["name"] for alias in image["aliases"]}
        assert names == {spelling for name in mine.aliases for spelling in (name, f"{name}/amd64")}
        assert (image["size"], image["type"], image["architecture"]) == (
            mine.size,
            mine.type,
            mine.architecture,
        )
        assert image["properties"]["variant"] == mine.variant
