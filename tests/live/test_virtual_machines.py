"""Tests that templater predicts the next start of virtual machines in a real Incus and LXD.

At a start, the daemon renders the templates to files on the config drive. The agent in the guest then copies
these files. In these tests, no guest boots: the real agent runs in a root filesystem that the test creates.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from templater.sources.open_source import open_source

from .harness import make_image, make_rootfs, run
from .test_operator import FACTS, LIVES, METADATA, RULES, expected, files, templater
from .virtual_machines import VmHost, VmIncus, VmLxd, a_vm_host, need_vms

pytestmark = pytest.mark.live

DAEMONS = {"incus-debian": VmIncus, "lxd-debian": VmLxd}
#: also keys that only a virtual machine has; the daemon generates them at the creation and at the first start
VM_FACTS = FACTS.replace(
    "\n",
    " {{ instance.type }} {{ path }} {{ config_get('volatile.uuid', '-') }}"
    " {{ config_get('volatile.vsock_id', '-') }} {{ config_get('volatile.vm.definition', '-') }}\n",
)
TEMPLATES = {f"{rule}.tpl": VM_FACTS for rule in RULES}
STATES = {
    **LIVES,
    "changed": [words for words in LIVES["changed"] if "security.privileged=true" not in words],
    "copied-and-renamed": [["start", "NAME"], ["stop", "-f", "NAME"], ["copy", "NAME", "NAME-old"],
                           ["delete", "NAME"], ["rename", "NAME-old", "NAME"]],
}  # fmt: skip
#: LXD 5.0 cannot rebuild, and the code of the other states is the same in LXD and Incus
OF_LXD = ("never-started", "stopped", "running", "pending-copy", "pending-rename", "restored", "set-by-hand")


def import_image(daemon: VmHost, source: Path, metadata: str, templates: Mapping[str, str]) -> Path:
    """Import a virtual machine image with an empty disk, and return the path of the image's archive."""
    make_image(source, metadata, templates)
    run("qemu-img", "create", "-q", "-f", "qcow2", str(source / "rootfs.img"), "1M")
    archive = source / "image.tar"
    run("tar", "-C", str(source), "-cf", str(archive), "metadata.yaml", "templates", "rootfs.img")
    daemon("image", "import", str(archive), "--alias", "t")
    return archive


@pytest.fixture(scope="module", params=DAEMONS)
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmHost]:
    for daemon in a_vm_host(DAEMONS[request.param]):
        metadata = METADATA
        for rule in RULES:  # on the config drive, files are named after the template
            metadata = metadata.replace("template: a.tpl", f"template: {rule}.tpl", 1)
        daemon.archive = import_image(daemon, tmp_path_factory.mktemp("image"), metadata, TEMPLATES)
        daemon.host = request.param
        daemon("storage", "create", "pool2", "dir", "volume.size=16MiB")
        yield daemon


def do(daemon: VmHost, name: str, words: list[str]) -> None:
    """Run a client command of ``LIVES`` for an instance."""
    if daemon.name == "lxd" and words[0] == "snapshot":
        words = ["snapshot", *words[2:]] if words[1] == "create" else words[1:]
    daemon(*(word.replace("NAME", name) for word in words))


def a_guest(rootfs: Path, *, is_new: bool) -> Path:
    make_rootfs(rootfs)
    for name in () if is_new else ("once", "owned", "start"):
        (rootfs / "etc" / name).write_text("old\n")
        (rootfs / "etc" / name).chmod(0o600)
    return rootfs


def planned(plan: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return the files that a plan writes to the config drive, with their contents and modes."""
    assert all(change["action"] in ("create", "update", "keep") for change in plan["changes"])
    return {change["path"]: (change["content"], int(change["mode"], 8)) for change in plan["changes"]}


@pytest.mark.parametrize(
    ("daemon", "state"),
    [
        (host, state)
        for host, states in (("incus-debian", STATES), ("lxd-debian", OF_LXD))
        for state in states
    ],
    indirect=["daemon"],
)
def test_a_virtual_machine_and_its_agent_write_previewed_files(
    daemon: VmHost, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = state
    daemon("init", "t", name, "--vm", "-c", "user.foo=bar")
    for words in STATES[state]:
        do(daemon, name, words)
    for key in (f"{daemon.name.upper()}_DIR", "HOME"):
        monkeypatch.setenv(key, daemon.environment[key])
    pool = "pool2" if state == "moved" else "default"
    place = daemon.place(name, pool)
    (tmp_path / "query.json").write_text(daemon("query", f"/1.0/instances/{name}"))
    (tmp_path / "all.json").write_text(daemon("list", "-f", "json"))
    image, query = str(daemon.archive), str(tmp_path / "query.json")
    asked = {
        "query": ["preview", image, "-i", query, "-t", "next"],
        "list": ["preview", image, "-i", f"{tmp_path}/all.json#{name}", "-t", "next"],
        "daemon": ["preview", f"{daemon.name}:{name}"],
    }
    pending = "volatile.apply_template" in json.loads(Path(query).read_text())["config"]
    if pending:
        asked["the default triggers"] = asked["query"][:4]
    if state == "rebuilt":
        assert not (place / "backup.yaml").exists()  # until the next start
    elif "volatile.apply_template" in (place / "backup.yaml").read_text() and not pending:
        # the first start writes backup.yaml, but with the trigger that it has already run
        assert any(
            "a start leaves the trigger in" in note for note in open_source(place).read_instance().notes
        )
    else:
        asked["folder"] = ["preview", str(place)]
    verb = "restart" if state == "running" else "start"
    if state != "running":
        daemon("export", name, str(tmp_path / "backup.tar.gz"), "-q", "--instance-only")
        asked["backup"] = ["preview", str(tmp_path / "backup.tar.gz")]
    told = {key: planned(templater(*words, "--as", daemon.host)) for key, words in asked.items()}
    rootfs = a_guest(tmp_path / "guest", is_new=state == "never-started")
    guest = templater(*asked["query"], "--rootfs", str(rootfs), "--as", daemon.host)["agent"]
    for change in guest if daemon.name == "lxd" else ():
        if change["action"] == "create":
            assert change["path"] != "/etc/owned" or change["host"]["text"] == "LXD ignores uid, gid and mode"
            change |= {"uid": 0, "gid": 0, "mode": "0644"}
    expected_guest = expected({"changes": guest}, files(rootfs))
    (step,) = templater("simulate", image, verb, "-i", query, "--as", daemon.host)
    told["simulate"] = planned(step)
    verdicts = templater("diff", f"{daemon.name}:{name}")["files"]
    daemon(verb, name, *(["-f"] if state == "running" else []))
    after = daemon.files(name, pool)
    daemon("stop", "-f", name)
    assert told == dict.fromkeys(told, after)
    daemon.run_agent(name, rootfs, pool)
    assert files(rootfs) == expected_guest
    # no agent runs in the machine, so the files in the guest can't be read
    written = {file["path"] for file in verdicts if file["verdict"] == "write"}
    assert {file["verdict"] for file in verdicts} <= {"write", "not rewritten"}
    assert written == {f"/etc/{output.removesuffix('.tpl.out')}" for output in after}


def test_a_pending_trigger_is_lost_if_qemu_cannot_start(
    daemon: VmHost,
) -> None:
    """The failed start writes the files of the lost trigger to the config drive.

    The next start removes these files.
    """
    daemon("init", "t", "broken", "--vm", "-c", "raw.qemu=-nosuch")
    assert "-nosuch: invalid option" in daemon.fails("start", "broken")
    assert {"create.tpl.out", "start.tpl.out"} < set(daemon.files("broken"))
    daemon("config", "unset", "broken", "raw.qemu")
    daemon("start", "broken")
    written = {f"{rule}.tpl.out" for rule in ("start", "once", "owned", "existing")}
    assert set(daemon.files("broken")) == written
    daemon("stop", "-f", "broken")


@pytest.mark.parametrize(("template", "lost"), [("create.tpl", False), ("start.tpl", True)])
def test_a_pending_trigger_survives_only_if_its_template_fails(
    daemon: VmHost, template: str, lost: bool
) -> None:
    name = f"failing-{template[:-4]}"
    daemon("init", "t", name, "--vm")
    (daemon.place(name) / "templates" / template).write_text("{{ 1|nosuch }}")
    steps = templater("simulate", str(daemon.place(name)), "start", "start", "--as", daemon.host, code=5)
    assert "Filter 'nosuch' does not exist" in daemon.fails("start", name)
    config = daemon.json("query", f"/1.0/instances/{name}")["config"]
    assert ("volatile.apply_template" not in config) == lost
    second = ["start"] if lost else ["create", "start"]
    assert [step["triggers"] for step in steps] == [["create", "start"], second]


@pytest.mark.parametrize("host", DAEMONS)
def test_a_panic_in_a_vm_template_ends_the_daemon(host: str, folder: Path) -> None:
    need_vms(DAEMONS[host])
    daemon = DAEMONS[host](folder)
    try:
        daemon.set_up()
        import_image(daemon, folder / "panicking", METADATA, {"a.tpl": "{{ 1 % 0 }}"})
        daemon("init", "t", "v1", "--vm")
        plan = templater("preview", str(daemon.place("v1")), "--as", host, code=5)
        daemon.fails("start", "v1")
        (panic,) = {change["host"]["error"] for change in plan["changes"]}
        assert panic == "panic: runtime error: integer divide by zero"
        assert panic in daemon.death(within=10)
    finally:
        daemon.stop()
