"""The sessions of docs/ that need a runtime, replayed exactly as written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.sessions import Stage, complaint, replay

from .harness import CG2, need, run
from .incus import an_incus
from .test_lxc import remove_cgroups

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
#: podman with its own storage, if the machine's cgroups do not suit it
PODMAN = """\
#!/bin/bash
verb=$1; shift; more=
[ $verb != run ] || more="--network none --cgroups=disabled"
exec {cg2} /usr/bin/podman --root {folder}/root --runroot {folder}/runroot --storage-driver vfs --events-backend none \\
  --cgroup-manager cgroupfs --hooks-dir {folder}/hooks.d $verb $more "$@"
"""


class Live(Stage):
    """A stage with the runtimes and, if present, a daemon's directory."""

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
def test_live_sessions_in_the_docs_match(page: str, stage: Live, update: bool):
    need(*NEEDS[page])
    if page != "incus":
        replayed(DOCS / f"{page}.md", stage, update)
        return
    for incus in an_incus():
        stage.more = {name: incus.environment[name] for name in ("INCUS_DIR",)}
        replayed(DOCS / f"{page}.md", stage, update)


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
