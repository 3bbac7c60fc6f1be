"""Tests that compare the images that Debian's distrobuilder builds with templater's predictions."""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.definitions.choice import Choice
from templater.definitions.predicted_image import open_definition
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata

from .images import need_programs

pytestmark = pytest.mark.live

APPLETS = [
    "cat",
    "chmod",
    "chown",
    "cp",
    "echo",
    "find",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mount",
    "mv",
    "reboot",
    "rm",
    "sh",
    "sleep",
    "stat",
    "true",
]
HOSTS = "127.0.0.1\tlocalhost\n127.0.1.1\tdistrobuilder.lan distrobuilder\n"
COMMANDS = "".join(
    f"    {name}: {{cmd: 'true'}}\n" for name in ("clean", "install", "remove", "refresh", "update")
)
END = f"packages:\n  custom_manager:\n{COMMANDS}"
#: a server image: filters, changes of the root filesystem, long and unusual texts
SERVER = """\
image:
  distribution: pebble
  release: 10.0
  variant: server
  architecture: x86_64
  expiry: 5w
  description: "{{ image.distribution|upper }} & <friends>: a description that is longer than eighty characters, so that YAML folds it"
  name: "{{ image.variant|default:'none' }}-{{ image.release }}{% if image.release == '10.0' %} ok{% endif %}"
files:
- generator: remove
  path: /etc/hostname
- generator: hostname
  path: /etc/hostname
- generator: dump
  path: /etc/sysconfig/network
  content: HOSTNAME=distrobuilder
  mode: 0640
- generator: hosts
  path: /etc/sysconfig/network
  template:
    when: [create, copy, rename]
- generator: hostname
  path: /etc/dangling
- generator: template
  name: motd
  path: /etc/motd
  releases: [10.0]
  content: |
    # Welcome to {{ instance.name }}: tabs	stay, and so do ünïcode
    {% for name in config sorted %}{{ name }}
    {% endfor %}
  template:
    properties:
      "10": ten
      "9": nine
      text: "a: b"
      lines: "one\\ntwo"
      date: "2026-01-02"
      yes: "no"
      empty: ""
      "": "a key without a text"
      "a key with eighty characters, so that the text after it begins behind column 80": "\\ta b"
      smile: "😀 is above U+FFFF"
      tab: "a\\tvery long text that needs double quotes, so that it breaks at a space  behind column eighty"
- generator: template
  name: motd-old
  path: /etc/motd.old
  releases: ["10"]
- generator: template
  name: Path-10
  path: /etc/x10
  architectures: [amd64]
- generator: template
  name: Path-9
  path: /etc/x9
  variants: [server, cloud]
mappings:
  architectures: {x86_64: amd64}
"""
#: a cloud image: cloud-init with own contents, and texts that the build renders
CLOUD = """\
image: {distribution: pebble, release: stone, variant: cloud, architecture: amd64}
targets: {incus: {vm: {filesystem: btrfs, size: 5368709120}}}
files:
- {generator: cloud-init, name: meta-data, path: /seed/meta-data, content: ignored}
- generator: cloud-init
  name: network-config
  content: |
    version: 2
    ethernets: {eth0: {dhcp4: true}}
- {generator: cloud-init, name: user-data, content: "#cloud-config\\nlocale: C\\n"}
- {generator: cloud-init, name: vendor-data, template: {properties: {default: "{}", more: x}}, types: [container]}
- {generator: fstab, types: [vm]}
- {generator: hosts, path: /etc/hosts}
- generator: template
  name: about
  path: "/etc/{{ image.distribution }}/about"
  pongo: true
  content: |-
    {% for file in files %}{{ file.generator }} {% endfor %}
    {{ targets.incus.vm.size }} {{ targets.type }} {{ image.serial }} {{ mappings.architecture_map }}
    {{ source.downloader|upper }} {{ image.architecture_mapped }} {{ image.architecture_kernel }}
    {{ image.architecture_personality }} {{ image }} {{ targets }} {{ files.0 }} {{ files }}
    [{{ container.name }}] {{ packages.custom_manager.clean.cmd }} {# a comment #}.
- {generator: template, name: about, path: /etc/second, content: "second\\n\\n"}
mappings: {architecture_map: debian}
"""


#: all definitions except those for lxd-imagebuilder, one that copies files of the builder, and one with a map
#: that distrobuilder 3.2 does not know
SAMPLES = [
    path
    for path in sorted((Path(__file__).parents[2] / "sample-images/definitions").glob("*.yaml"))
    if not re.search("lxd-agent|lxd:|simplestream|generator: copy|_map: openwrt", path.read_text())
]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory) -> Path:
    """Return a small root filesystem with busybox.

    The file rootfs.tar.xz beside it contains the same files.
    """
    need_programs("distrobuilder", "busybox", "mksquashfs", "rsync", "unshare")
    root = tmp_path_factory.mktemp("source") / "root"
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "usr/bin"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/hosts").write_text(HOSTS)
    (root / "etc/hostname").write_text("distrobuilder\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/dangling").symlink_to("/nowhere")
    with tarfile.open(root.parent / "rootfs.tar.xz", "w:xz") as tar:
        tar.add(root, ".")
    return root


SERIAL = "image.serial=20260102_0304"


def built_files(definition: Path, folder: Path, *parameters: str) -> dict[str, bytes]:
    """Build an image with distrobuilder, and return its metadata.yaml and templates."""
    command = ["unshare", "-m", "distrobuilder", "build-incus", str(definition), str(folder / "out")]
    command += ["--cache-dir", str(folder / "cache"), "--keep-sources=false"]
    command += [word for each in parameters for word in ("-o", each)]
    build = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, check=False)
    assert build.returncode == 0, build.stdout + build.stderr
    with tarfile.open(folder / "out/incus.tar.xz") as tar:
        files = {os.path.normpath(each.name): tar.extractfile(each) for each in tar if each.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def assert_predicted(written: dict[str, bytes], definition: Path, rootfs: Path, *parameters: str) -> None:
    image = open_definition(str(definition), Choice(parameters, rootfs=str(rootfs)))
    metadata = image.read_metadata()
    dates = r"(creation|expiry)_date: \d+"
    real = written.pop("metadata.yaml").decode()
    assert re.sub(dates, "", metadata.text) == re.sub(dates, "", real)
    built, predicted = read_metadata(Source("real", real)), read_metadata(metadata)
    # distrobuilder reads the clock for each of the two dates
    lives = [each.expiry_date - each.creation_date for each in (built, predicted)]
    assert abs(lives[0] - lives[1]) <= 1
    assert {f"templates/{name}": file.data for name, file in image.read_to_end().items()} == written


@pytest.mark.parametrize("text", [SERVER, CLOUD], ids=["server", "cloud"])
def test_the_files_of_distrobuilder_are_predicted_byte_for_byte(text, rootfs, tmp_path):
    url = f"source: {{downloader: rootfs-http, url: 'file://{rootfs.parent}/rootfs.tar.xz'}}\n"
    definition = tmp_path / "definition.yaml"
    definition.write_text(text + url + END)
    assert_predicted(built_files(definition, tmp_path, SERIAL), definition, rootfs, SERIAL)


@pytest.mark.parametrize("sample", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_the_build_of_each_valid_sample_is_predicted_byte_for_byte(sample, rootfs, tmp_path):
    """The test replaces the definition's source and package manager, because the build must work offline."""
    text = re.sub(r"(?m)^packages:.*\n([ \t]+.*\n)*", END, sample.read_text())
    definition = tmp_path / "definition.yaml"
    definition.write_text(text)
    source = f"source.url=file://{rootfs.parent}/rootfs.tar.xz"
    parameters = (SERIAL, "image.variant=cloud", "source.downloader=rootfs-http", source)
    assert_predicted(built_files(definition, tmp_path, *parameters), definition, rootfs, *parameters)


#: recorded messages of definitions that already their validation refuses
REFUSED = [path for path in (Path(__file__).parents[1] / "definitions/errors").glob("*.txt") if path.stem[1:]]


@pytest.mark.parametrize("recorded", REFUSED, ids=[path.stem for path in REFUSED])
def test_distrobuilder_refuses_each_recorded_definition_with_the_recorded_message(recorded):
    need_programs("distrobuilder")
    command = ["distrobuilder", "validate", str(recorded.with_suffix(".yaml"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert recorded.read_text().strip() in done.stdout.replace('\\"', '"')
