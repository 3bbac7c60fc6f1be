"""Tests of the commands in the README, with a real Incus and with instances in every state.

`templater preview` predicts the next start of an instance. The test then starts the instance, and every file
must match the preview. There are several ways to give the instance to `preview`:

* the image, with the output of `incus query` or `incus list -f json` as ``-i``
* the instance's folder in the storage pool
* a backup of `incus export`
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from templater.sources.open_source import open_source

from .harness import make_image, make_rootfs, run
from .incus import Incus, an_incus

pytestmark = pytest.mark.live

FACTS = (
    "{{ trigger }} {{ instance.name }} {{ config_get('image.os', '-') }} {{ config_get('user.foo', '-') }}"
    " {{ config_get('volatile.apply_template', '-') }} {{ devices.root.pool }} {{ instance.privileged }}\n"
)
METADATA = "architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: tiny}\ntemplates:\n" + "".join(
    f"  /etc/{name}: {{when: [{when}], template: a.tpl{more}}}\n"
    for name, when, more in (
        ("create", "create", ""), ("copy", "copy", ""), ("rename", "rename", ""), ("start", "start", ""),
        ("birth", "create, copy", ""), ("once", "create, start", ", create_only: true"),
        ("owned", "start", ", uid: 33, gid: 34, mode: '0604'"), ("existing", "start", ""),
    )
)  # fmt: skip
RULES = ("create", "copy", "rename", "start", "birth", "once", "owned", "existing")

#: the steps that bring each instance into its state; STATE is created first
LIVES: dict[str, list[list[str]]] = {
    "never-started": [],
    "stopped": [["start", "NAME"], ["stop", "-f", "NAME"]],
    "running": [["start", "NAME"]],
    "pending-copy": [["start", "NAME"], ["stop", "-f", "NAME"], ["rename", "NAME", "NAME-old"],
                     ["copy", "NAME-old", "NAME", "-c", "user.foo=copied"]],
    "copy-never-started": [["rename", "NAME", "NAME-old"], ["copy", "NAME-old", "NAME"]],
    "pending-rename": [["start", "NAME"], ["stop", "-f", "NAME"], ["rename", "NAME", "NAME-old"],
                       ["rename", "NAME-old", "NAME"]],
    "moved": [["start", "NAME"], ["stop", "-f", "NAME"], ["move", "NAME", "NAME", "-s", "pool2"]],
    "rebuilt": [["start", "NAME"], ["stop", "-f", "NAME"], ["config", "set", "NAME", "image.os=mine"],
                ["rebuild", "t", "NAME"]],
    "changed": [["start", "NAME"], ["stop", "-f", "NAME"], ["config", "set", "NAME", "user.foo=changed"],
                ["config", "set", "NAME", "image.os=mine"], ["config", "set", "NAME", "security.privileged=true"]],
    "restored": [["snapshot", "create", "NAME", "s0"], ["start", "NAME"], ["stop", "-f", "NAME"],
                 ["snapshot", "restore", "NAME", "s0"]],
    "set-by-hand": [["config", "set", "NAME", "volatile.apply_template=copy"]],
    "with-a-profile": [["profile", "create", "web"], ["profile", "set", "web", "user.foo=profile"],
                       ["profile", "add", "NAME", "web"], ["start", "NAME"], ["stop", "-f", "NAME"]],
}  # fmt: skip


@pytest.fixture(scope="module")
def incus(tmp_path_factory) -> Iterator[Incus]:
    for incus in an_incus():
        source = tmp_path_factory.mktemp("image")
        make_image(source, METADATA, {"a.tpl": FACTS})
        make_rootfs(source / "rootfs")
        run(
            "tar", "-C", str(source), "-cf", str(source / "image.tar"), "metadata.yaml", "templates", "rootfs"
        )
        incus("image", "import", str(source / "image.tar"), "--alias", "t")
        incus("storage", "create", "pool2", "dir")
        incus.source = source
        yield incus


def templater(*words: str, code: int = 0) -> Any:
    """Run a command of templater with --json. Check its exit code, and return its output.

    The exit code is 5 if templater predicts a failure.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "templater", *words, "--json"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == code, answer.stderr
    return json.loads(answer.stdout)


def folder(incus: Incus, name: str) -> Path:
    (instance,) = (each for each in incus.json("list", "-f", "json") if each["name"] == name)
    pool = instance["expanded_devices"]["root"]["pool"]
    return incus.folder / "storage-pools" / pool / "containers" / name


def files(root: Path) -> dict[str, tuple[str, int, int, int] | None]:
    found: dict[str, tuple[str, int, int, int] | None] = {}
    for rule in RULES:
        path = root / "etc" / rule
        status = path.lstat() if path.exists() else None
        mine = (
            None
            if status is None
            else (path.read_text(), status.st_uid, status.st_gid, status.st_mode & 0o7777)
        )
        found[f"/etc/{rule}"] = mine
    return found


def expected(plan: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return the files that must exist after a start. ``before`` has the files before this start."""
    after = dict(before)
    for change in plan["changes"]:
        if change["action"] in ("create", "update", "write"):
            after[change["path"]] = (
                change["content"], change["uid"], change["gid"], int(change["mode"], 8),
            )  # fmt: skip
    return after


@pytest.mark.parametrize("state", LIVES)
def test_the_next_start_of_an_instance_writes_the_previewed_files(
    incus: Incus, state: str, tmp_path: Path
) -> None:
    name = state
    incus("create", "t", name, "-c", "user.foo=bar")
    for words in LIVES[state]:
        incus(*(word.replace("NAME", name) for word in words))
    place = folder(incus, name)
    (tmp_path / "query.json").write_text(incus("query", f"/1.0/instances/{name}"))
    (tmp_path / "all.json").write_text(incus("list", "-f", "json"))
    image, rootfs = str(incus.source / "image.tar"), ["--rootfs", str(place / "rootfs")]
    before = files(place / "rootfs")
    asked = {
        "query": ["preview", image, "-i", str(tmp_path / "query.json"), "-t", "next", *rootfs],
        "list": ["preview", image, "-i", f"{tmp_path}/all.json#{name}", "-t", "next", *rootfs],
        "folder": ["preview", str(place)],
    }
    description = json.loads((tmp_path / "query.json").read_text())
    if "volatile.apply_template" in description["config"]:
        asked["the default triggers"] = asked["query"][:4] + rootfs
    life = ["simulate", str(place), "start"]
    if state == "running":
        # backup.yaml in the folder is from before the start: preview notes it, and the daemon has to be asked
        del asked["folder"]
        assert any(
            "a start leaves the trigger in" in note for note in open_source(place).read_instance().notes
        )
        life = ["simulate", image, "restart", "-i", str(tmp_path / "query.json"), *rootfs]
    else:
        incus("export", name, str(tmp_path / "backup.tar.gz"), "-q", "--instance-only")
        asked["backup"] = ["preview", str(tmp_path / "backup.tar.gz")]
    told = {key: expected(templater(*words, "--as", "incus-debian"), before) for key, words in asked.items()}
    (step,) = templater(*life, "--as", "incus-debian")
    told["simulate"] = expected(step, before)
    incus("restart" if state == "running" else "start", name, *(["-f"] if state == "running" else []))
    after = files(place / "rootfs")
    incus("stop", "-f", name)
    assert told == dict.fromkeys(told, after)
    assert any(after[path] != before[path] for path in after) or state in (
        "running",
        "stopped",
        "with-a-profile",
    )


def test_a_preview_of_all_instances_matches_each_first_start(incus: Incus, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(incus("list", "-f", "json"))
    environment = {**os.environ, "LC_ALL": "C"}
    answer = subprocess.run(
        [sys.executable, "-m", "templater", "preview", str(incus.source / "image.tar"),
         "--instances", str(tmp_path / "all.json"), "--as", "incus-debian"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert all(name in answer.stdout for name in LIVES)
