"""Tests that run the terminal sessions of docs/ that need a container runtime, and compare the output."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.distribution.add_to_tree import add
from templater.distribution.tree import Tree
from tests.cli.sessions import Stage, complaint, replay

from .harness import CG2, make_rootfs, need, run
from .images import templater
from .incus import Incus, an_incus
from .test_lxc import remove_cgroups
from .test_serve import templater_serve, tls

pytestmark = pytest.mark.live

DOCS = Path(__file__).parent.parent.parent / "docs"
BLOCK = re.compile(r"^```console live\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "lxc": ("lxc-create", "lxc-start", "lxc-copy"),
    "oci": ("runc",),
    "podman": ("podman", "crun"),
    "nspawn": ("systemd-nspawn",),
    "incus": ("incus",),
}
#: pages whose readers have an image server, with the commands that ran before the page begins
WITH_IMAGES = {
    "tutorial-lxc": "",
    "tutorial-incus": "incus profile device add default eth0 nic nictype=p2p -q",  # else the client warns
    "running-instances": """
printf 'architecture: x86_64\\ncreation_date: 1700000000\\ntemplates:\\n' > metadata.yaml
printf '  /etc/%s: {when: [%s], template: %s.tpl}\\n' >> metadata.yaml \\
  hostname create,\\ copy hostname birth create role motd start role
mkdir templates && echo '{{ instance.name }}' > templates/hostname.tpl
echo 'role {{ config_get("user.role", "") }}' > templates/role.tpl
tar -C $ROOTFS/.. -cf image.tar rootfs && tar -rf image.tar metadata.yaml templates
incus image import image.tar --alias roles -q
incus launch roles web1 -c user.role=bar -q 2>&1 && incus config set web1 user.role=quux""",
}
#: the entries of the real image's definition that make templates
DEFINITION = """\
image: {distribution: debian, release: trixie, variant: cloud, architecture: x86_64, serial: "20251124_00:00"}
files:
- {generator: hostname, path: /etc/hostname}
- {generator: hosts, path: /etc/hosts}
- {generator: cloud-init, name: user-data}
- {generator: cloud-init, name: meta-data}
- {generator: cloud-init, name: vendor-data}
- {generator: cloud-init, name: network-config}
"""
#: podman with its own storage, if the machine's cgroups do not suit it
PODMAN = """\
#!/bin/bash
verb=$1; shift; more=
[ $verb != run ] || more="--network none --cgroups=disabled"
exec {cg2} /usr/bin/podman --root {folder}/root --runroot {folder}/runroot --storage-driver vfs --events-backend none \\
  --cgroup-manager cgroupfs --hooks-dir {folder}/hooks.d $verb $more "$@"
"""


class Live(Stage):
    """An environment for terminal sessions, with real container runtimes and the variables of a daemon."""

    more: dict[str, str] = {}  # noqa: RUF012

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.more}


@pytest.fixture
def stage(folder: Path) -> Iterator[Live]:
    (folder / "home").mkdir()
    live = Live.set_up(folder / "home")
    (live.folder).chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in CG2)
    wrapper = live.folder / ".bin/podman"
    wrapper.write_text(PODMAN.format(cg2=quoted, folder=live.folder))
    wrapper.chmod(0o755)
    yield live
    for config in live.folder.glob("lxc/*/config"):
        run("lxc-stop", "-P", str(config.parent.parent), "-n", config.parent.name, "-k", code=None)
    remove_cgroups()


@pytest.mark.parametrize("page", NEEDS)
def test_the_docs_contain_real_sessions_with_a_daemon(page: str, stage: Live, update: bool):
    need(*NEEDS[page])
    if page != "incus":
        replayed(DOCS / f"{page}.md", stage, update)
        return
    for incus in an_incus():
        stage.more = {name: incus.environment[name] for name in ("INCUS_DIR",)}
        replayed(DOCS / f"{page}.md", stage, update)


@pytest.fixture(scope="module")
def images(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve an image named `debian/13/cloud` with the templates that distrobuilder would give it.

    Yield the URL of the server, and the image's small root filesystem.
    """
    folder = tmp_path_factory.mktemp("images")
    image = folder / "image"
    (folder / "debian.yaml").write_text(DEFINITION)
    templater("new", str(image), "--from", str(folder / "debian.yaml"))
    make_rootfs(image / "rootfs")
    (image / "rootfs/etc/hostname").write_text("distrobuilder\n")
    (image / "rootfs/etc/hosts").write_text("127.0.0.1\tlocalhost\n")
    templater(
        "image", "build", str(image), "-o", str(folder / "built"), "--format", "split", "--rootfs", "squashfs"
    )
    tree = Tree(str(folder / "tree"))
    add(tree, str(folder / "built"), [str(folder / "built.root")], aliases=["debian/13/cloud"])
    with templater_serve(tree.path, *tls(certificates)) as server:
        yield server.url, image / "rootfs"


@pytest.mark.parametrize("page", WITH_IMAGES)
def test_the_docs_contain_real_sessions_with_an_image_server(
    page: str, stage: Live, update: bool, images: tuple[str, Path], certificates: Path, trusting_incus: Incus
):
    """During this test, the remote `images` of Incus and templater is a local server."""
    need("lxc-create", "lxc-start", "lxc-copy")
    shutil.copy(certificates / "ca.pem", stage.folder / "ca.pem")
    stage.more = {
        "INCUS_DIR": trusting_incus.environment["INCUS_DIR"], "INCUS_CONF": str(stage.folder / ".incus"),
        "SSL_CERT_FILE": str(stage.folder / "ca.pem"), "ROOTFS": str(images[1]),
    }  # fmt: skip
    assert "[exit" not in stage.run(f"incus remote set-url images {images[0]}")
    before = stage.run(WITH_IMAGES[page])
    assert "[exit" not in before, before
    try:
        replayed(DOCS / f"{page}.md", stage, update)
    finally:
        stage.run(
            "incus list -f csv -c n | xargs -r incus delete -f; incus profile device remove default eth0 -q"
        )


def replayed(path: Path, stage: Live, update: bool) -> None:
    complaints = []

    def one(block: re.Match[str]) -> str:
        real, wrong = replay(block[1], stage)
        complaints.extend(wrong)
        return f"```console live\n{real}```"

    real = BLOCK.sub(one, path.read_text())
    if update:
        path.write_text(real)
    else:
        assert not complaints, complaint(complaints)
