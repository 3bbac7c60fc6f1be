"""The predicted outcomes of each host, compared with outcomes recorded from the code of the releases.

``tests/hosts/outcomes.json`` has recordings of the builds in BUILDS, for containers and virtual machines. For
a virtual machine, the host writes the config drive, and the guest's agent writes files in its root.
TEMPLATER_OUTCOMES names another file of the same form. A recording has the target after a start (``after``),
the other changes (``left``), and the daemon's error.
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from posixpath import normpath
from typing import Any

import pytest

from templater.model.entry import (
    APPEND_ONLY,
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    IMMUTABLE,
    SOCKET,
    SYMLINK,
    Entry,
    TemplateFile,
)
from templater.model.errors import InputError, MetadataError, RefusedError
from templater.model.hosts import HOSTS, Host
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import Plan, split_passes
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.parsing.yaml_nodes import Limits
from templater.planning.decide_changes import plan_of
from templater.prediction import Due, Errno, HostFilesystem, Node, Surroundings, due_of, predict, start
from templater.prediction.errno_errors import ELOOP
from templater.prediction.host_filesystem import Place
from templater.rendering.render import Rendering, render, render_data
from templater.rootfs.memory_rootfs import MemoryRootfs

pytestmark = pytest.mark.slow  # the fast tests have two minutes

OTHER = os.environ.get("TEMPLATER_OUTCOMES")
DATA = Path(OTHER or Path(__file__).parent / "hosts" / "outcomes.json")

#: for each host, the recorded build, and the dialect of pongo2 in that build
BUILDS = {
    "incus": ("incus-HEAD", "v6"),
    "incus-6.0": ("incus-6.0.6", "v6"),
    "incus-debian": ("incus-6.23", "v6"),
    "lxd": ("lxd-HEAD", "v4"),
    "lxd-6.7": ("lxd-6.7", "v4"),
    "incus-6.0.4": ("incus-6.0.4", "v6"),
    "lxd-5.21.4": ("lxd-5.21.4", "v4"),
}

#: the hosts whose outcomes the fast tests compare: each has another model of the file system
FAST = ("incus", "lxd", "lxd-5.21.4")

#: the recorder's own instance folder; any other would do
INSTANCE = "/var/lib/incus/containers/c1"
KINDS = {
    "file": FILE, "dir": DIRECTORY, "symlink": SYMLINK, "fifo": FIFO, "socket": SOCKET, "char": CHAR_DEVICE,
    "block": BLOCK_DEVICE,
}  # fmt: skip
MODES = {FIFO: 0o666, SOCKET: 0o777, CHAR_DEVICE: 0o666, BLOCK_DEVICE: 0o666, DIRECTORY: 0o755}

Record = dict[str, Any]

CONTAINER = Instance("c1")


@cache
def records() -> dict[tuple[str, str], Record]:
    """Return the records of containers, by templater's name of the host and by situation."""
    return records_of("lxc")


@cache
def records_of(driver: str) -> dict[tuple[str, str], Record]:
    hosts = {build: host for host, (build, _) in BUILDS.items()}
    return {
        (hosts[record["host"]], record["situation"]): record
        for record in json.loads(DATA.read_text())
        if record["driver"] == driver and record["host"] in hosts
    }


# predicates for unpredictable records; each docstring is the reason


def other_names(record: Record, host: Host) -> bool:
    """A root filesystem has the number of hard links, not their paths. The second link changes, too."""
    return any(entry["type"] == "hardlink" for entry in record["setup"]["entries"]) and bool(record["left"])


def chroot_loader(record: Record, host: Host) -> bool:
    """Old releases let include read files through a chroot loader. templater never renders this include."""
    texts = "".join(record["setup"].get("templates", {}).values())
    return not host.banned and "{% include" in texts and record["outcome"] == "written"


def null_entry(record: Record, host: Host) -> bool:
    """The host's start fails at a null entry, so no plan contains the result of a guest's agent."""
    return record["driver"] == "agent" and None in (record["setup"].get("rules") or {}).values()


UNKNOWN = (other_names, chroot_loader, null_entry)


class Machine:
    """The recorder's machine before a start: its file system, the instance's metadata and templates."""

    def __init__(self, record: Record) -> None:
        self.setup = record["setup"]
        self.view = MemoryRootfs()
        for place in (
            "/etc",
            "/srv",
            INSTANCE + "/rootfs/etc",
            INSTANCE + "/rootfs/srv",
            INSTANCE + "/templates",
        ):
            self.view._plant(place, Entry(DIRECTORY, 0o755))
        self.view._plant(INSTANCE, Entry(DIRECTORY, 0o777))
        self.templates = self.setup.get("templates") or {"a.tpl": "NEW {{ trigger }}\n"}
        for name, text in self.templates.items():
            self.view._plant(f"{INSTANCE}/templates/{name}", text)
        self.metadata = self.metadata_text()
        if self.metadata:
            self.view._plant(f"{INSTANCE}/metadata.yaml", self.metadata)
            self.view.write(f"{INSTANCE}/metadata.yaml", self.metadata.encode(), 0o666)
        for entry in self.setup["entries"]:
            self.add(self.inside(entry))
        first = next(iter(self.setup.get("rules") or {}), "/etc/a")
        self.target = normpath(f"{INSTANCE}/rootfs/{self.setup.get('target', first).lstrip('/')}")

    def metadata_text(self) -> str:
        text: str | None = self.setup.get("metadata")
        if text is None:
            image = {"architecture": "x86_64", "creation_date": 1, "templates": self.setup["rules"]}
            return json.dumps(image) + "\n"
        cut = re.fullmatch(r"(.*)… \((\d+) bytes\)", text, re.DOTALL)
        return cut[1].ljust(int(cut[2]), "x") if cut else text

    def inside(self, entry: Record) -> Record:
        """Return the entry with ids of the container instead of ids on the disk."""
        shift = self.setup.get("shift", 0)
        return entry | {name: entry[name] - shift for name in ("uid", "gid") if name in entry}

    def add(self, entry: Record) -> None:
        self.add_entry(entry)
        self.set_flag(entry)

    def add_entry(self, entry: Record) -> None:
        path = place(entry["path"])
        kind = entry["type"]
        if kind == "remove":
            self.view.remove(path)
        elif kind == "hardlink":
            self.view.link(place(entry["to"]), path)
        elif kind == "file":
            self.view._plant(path, entry.get("content", "OLD\n"))
            mode, uid, gid = int(entry.get("mode", "0644"), 8), entry.get("uid", 0), entry.get("gid", 0)
            self.view.write(path, entry.get("content", "OLD\n").encode(), mode, uid, gid)
        else:
            mode = int(entry["mode"], 8) if "mode" in entry else MODES.get(KINDS[kind], 0o777)
            major, minor = entry.get("dev", (0, 0))
            self.view._plant(
                path,
                Entry(
                    KINDS[kind], mode, entry.get("uid", 0), entry.get("gid", 0), target=entry.get("to", ""),
                    rdev=(major << 8) | minor,
                ),
            )  # fmt: skip

    def set_flag(self, entry: Record) -> None:
        if "attr" in entry:
            flag = {"immutable": IMMUTABLE, "append": APPEND_ONLY}[entry["attr"]]
            self.view.set_flag(place(entry["path"]), flag)

    def template_files(self) -> dict[str, TemplateFile]:
        """The instance's templates as ``open_image`` hands them to a plan."""
        files = {}
        for name in {rule.template for rule in self.read("v2").rules} if self.readable() else ():
            path = f"{INSTANCE}/templates/{name}"
            entry = self.view.entry(path) if name and "/" not in name and name not in (".", "..") else None
            data = self.view.read(path, 1 << 20) if entry is not None and entry.kind == FILE else None
            files[name] = TemplateFile(entry, data)
        return files

    def readable(self) -> bool:
        try:
            self.read("v2")
        except MetadataError:
            return False
        return True

    def read(self, yaml: str) -> Metadata:
        # a daemon treats a missing metadata.yaml like one without templates
        if not self.metadata:
            return Metadata()
        return read(self.metadata, yaml)


@cache
def read(metadata: str, yaml: str) -> Metadata:
    return read_metadata(Source("metadata.yaml", metadata), yaml, Limits(bytes=32 << 20))  # type: ignore[arg-type]


def place(path: str) -> str:
    if path.startswith("host:"):
        return path[5:]
    return f"{INSTANCE}/{path[5:]}" if path.startswith("inst:") else f"{INSTANCE}/rootfs/{path}"


class Prediction:
    """One predicted result of a start, in the form of a recording."""

    def __init__(self, result: str, error: str, world: HostFilesystem, machine: Machine) -> None:
        self.result = result
        self.error = error
        self.after = described(world, machine.target)
        self.left = sorted(changes(world, machine))

    def same(self, record: Mapping[str, Any]) -> bool:
        return (self.result, self.after, self.left) == (
            record["outcome"],
            recorded_after(record["after"]),
            sorted(f"{left['change']} {left['path']} {recorded_after(left)}" for left in record["left"]),
        )

    def __repr__(self) -> str:
        return f"{self.result} {self.error!r} after={self.after} left={self.left}"


def recorded_after(after: Record) -> str:
    if after["type"] == "missing":
        return "missing"
    if after["type"] == "symlink":
        there = after["resolves_to"]
        if not isinstance(there, dict) or "type" not in there:
            return f"symlink {after['to']}"
        return f"symlink {after['to']} {there['path']} {recorded_after(there)}"
    content = f" {after['content']!r}" if after["type"] == "file" else ""
    return f"{after['type']} {after['mode']} {after['uid']}:{after['gid']}{content}"


def described(world: HostFilesystem, path: str) -> str:
    """Return the lstat and stat of a path in the words of ``recorded_after``."""
    try:
        place, node = world.walk(path, follow=False)
    except Errno:
        return "missing"
    # the recorder was outside of the chroot: from there, an absolute link on the way dangles
    if node is None or crosses_absolute_link(world, path):
        return "missing"
    if node.kind != SYMLINK:
        return node_text(world, place, node)
    try:
        there, end = world.walk(path)
    except Errno as error:
        if str(error) == ELOOP:
            return f"symlink {node.target}"
        lexical = normpath(
            f"{path.rpartition('/')[0]}/{node.target}" if node.target[0] != "/" else node.target
        )
        there = world.place(tuple(lexical.split("/")[1:]))
        end = world.node(there) if node.target.endswith("/") else None
    end_text = "missing" if end is None else node_text(world, there, end)
    return f"symlink {node.target} {shown(world, there)} {end_text}"


def shown(world: HostFilesystem, place: Place) -> str:
    path = world.shown(place.path)
    return path if path.startswith("$") else f"host:{path}"


def crosses_absolute_link(world: HostFilesystem, path: str) -> bool:
    place = world.top
    for name in path.split("/")[1:-1]:
        place = place.child(name)
        node = world.node(place)
        if node is not None and node.kind == SYMLINK:
            return node.target.startswith("/")
    return False


def node_text(world: HostFilesystem, place: Place, node: Node) -> str:
    kind = next(name for name, ours in KINDS.items() if ours == node.kind)
    content = f" {world.content(place).decode()!r}" if node.kind == FILE else ""
    return f"{kind} {node.mode:04o} {node.uid}:{node.gid}{content}"


def changes(world: HostFilesystem, machine: Machine) -> Iterator[str]:
    """Yield every change, except of the target itself and of the file to which it links."""
    target = world.place(tuple(machine.target.split("/")[1:]))
    own = {target}
    with suppress(Errno, RefusedError):
        node = world.node(target)
        if node is not None and node.kind == SYMLINK:
            own.add(world.walk(machine.target)[0])
    before = HostFilesystem(machine.view, world.surroundings)
    for names, made in world.made.items():
        place, old_place = world.place(names), before.place(names)
        old = before.node(old_place)
        if place in own or (
            old is not None and node_text(before, old_place, old) == node_text(world, place, made)
        ):
            continue
        verb = "created" if old is None else "changed"
        yield f"{verb} {shown(world, place)} {node_text(world, place, made)}"


def predictions(record: Record, host: Host, dialect: str) -> list[Prediction]:
    """Return every possible end of the start. There is one, unless the order of two rules matters."""
    machine = Machine(record)
    around = Surroundings(
        machine.view, INSTANCE, int(record["setup"].get("umask", "022"), 8), record["setup"].get("shift", 0)
    )
    world = HostFilesystem(machine.view, around)
    try:
        if record["setup"].get("skipmeta"):
            raise InputError("metadata.yaml is a directory")
        metadata = machine.read(host.yaml)
    except (InputError, MetadataError):
        return [Prediction("fails", "", world, machine)]
    triggers = tuple(record["setup"].get("triggers", ("create",)))
    templates = machine.template_files()
    instance = Instance("c1")
    renderings = render(metadata, templates, instance, triggers, RenderOptions(host, dialect))
    plan = plan_of(metadata, instance, renderings, host=host, triggers=triggers)
    passes = [[due_of(change) for change in changes_] for changes_ in split_passes(plan.changes)] or [[]]
    orders: list[list[list[Due]]] = [passes]
    if record.get("order_dependent"):
        orders = [[list(order)] for order in itertools.permutations(passes[0])]

    def render_other(data: bytes, rule: Rule, trigger: str) -> bytes:
        return render_data(data, rule, trigger, instance, RenderOptions(host, dialect))

    ends = []
    for order in orders:
        verdict = start(
            host,
            HostFilesystem(machine.view, around),
            instance,
            order,
            metadata=metadata,
            render=render_other,
        )
        ends.append(Prediction(verdict.result, verdict.error, verdict.filesystem, machine))
    return ends


@cache
def ends_of(name: str, situation: str) -> list[Prediction]:
    """Return the predictions for one record. All tests share them."""
    return predictions(records()[name, situation], HOSTS[name], BUILDS[name][1])


def unknown(record: Record, host: Host) -> str:
    """Return the reasons why templater can't predict a record, or an empty string."""
    return "; ".join(reason.__doc__ or "" for reason in UNKNOWN if reason(record, host))


def equal(record: Record, ends: list[Prediction]) -> bool:
    """Return whether the predictions include every recorded result."""
    ways = record.get("varies") or [record]
    return all(any(end.same(way) for end in ends) for way in ways)


def check_each(driver: str, name: str, check: Callable[[Record, str], object]) -> None:
    """Check each record of a host, and fail with all that differ and all known differences that don't."""
    found: dict[str, str] = {}
    for (host, situation), record in records_of(driver).items():
        if host != name:
            continue
        try:
            check(record, situation)
        except AssertionError as error:
            if not unknown(record, HOSTS[name]):
                found[situation] = str(error)
        else:
            # in other recordings than ours, an unpredictable outcome can match by chance
            if (reason := unknown(record, HOSTS[name])) and not OTHER:
                found[situation] = f"predicted now, though: {reason}"
    assert not found, f"{len(found)} differ\n" + "\n".join(f"{key}: {text}" for key, text in found.items())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in BUILDS]
)
def test_the_predicted_outcome_equals_the_recorded_outcome(name: str) -> None:
    def check(record: Record, situation: str) -> None:
        ends = ends_of(name, situation)
        assert equal(record, ends), f"predicted {ends}"

    check_each("lxc", name, check)


@pytest.mark.parametrize("name", BUILDS)
def test_at_least_98_percent_of_recorded_outcomes_are_predicted(name: str) -> None:
    of_host = [record for (host, _), record in records().items() if host == name]
    known = [record for record in of_host if not unknown(record, HOSTS[name])]
    assert len(known) >= 0.98 * len(of_host)


@pytest.mark.parametrize("name", BUILDS)
def test_a_predicted_error_has_the_recorded_text_of_the_daemon(name: str) -> None:
    """This covers failed checks and writes. Other tests cover errors of YAML libraries and templates."""
    wrong = []
    for (host, situation), record in records().items():
        if host != name or record["outcome"] != "fails" or unknown(record, HOSTS[name]):
            continue
        if (
            "Could not parse" in record["error"]
            or "metadata" in record["error"]
            or "where:" in record["error"]
        ):
            continue
        ends = ends_of(host, situation)
        if record["error"] not in {end.error for end in ends}:
            wrong.append((situation, [end.error for end in ends], record["error"]))
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_predictions_for_single_files_agree_with_the_recorded_result(name: str) -> None:
    wrong = []
    for (host, situation), record in records().items():
        if host != name or record.get("order_dependent") or "rules" not in record["setup"]:
            continue
        if not record["setup"]["rules"] or "skipmeta" in record["setup"]:
            continue
        (end,) = ends_of(host, situation)
        outcomes = predicted(record, HOSTS[name], BUILDS[name][1]).prediction.outcomes
        said = {outcome.result for outcome in outcomes.values()}
        whole = next((result for result in ("hangs", "fails", "written") if result in said), "skipped")
        # a start that fails before it looks at any rule has no change to say it of
        if whole != end.result and outcomes:
            wrong.append((situation, said, end.result))
    assert not wrong


@pytest.mark.parametrize("name", BUILDS)
def test_the_predicted_outcome_of_a_virtual_machine_equals_the_recorded_outcome(name: str) -> None:
    check_each("qemu", name, lambda record, _: check_virtual_machine(record, name))


def check_virtual_machine(record: Record, name: str) -> None:
    """Check the error, or whether the files are on the config drive."""
    plan = predicted(record, HOSTS[name], BUILDS[name][1], Instance("c1", VIRTUAL_MACHINE))
    said = [plan.prediction.outcomes[change] for change in plan.changes if plan.outcome(change)]
    if record["outcome"] == "fails":
        assert record["error"] in {plan.host_error, *(outcome.error for outcome in said)}
    elif record["outcome"] == "skipped":
        assert not said
        assert not plan.host_error
    else:  # if two rules share a template, the last one is random; the recorder saw only one order
        way = "random" if len(said) > 1 else "written"
        assert [outcome.result for outcome in said] == [way] * len(said)
        assert said


@pytest.mark.parametrize("name", BUILDS)
def test_the_predicted_outcome_of_the_guest_agent_equals_the_recorded_outcome(name: str) -> None:
    check_each("agent", name, lambda record, _: check_agent(record, name))


def check_agent(record: Record, name: str) -> None:
    host, machine = HOSTS[name], Machine(record)
    guest = MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755), "/srv": Entry(DIRECTORY, 0o755)})
    machine.view = guest
    for entry in record["setup"]["entries"]:
        machine.add(entry)
    metadata, files = machine.read(host.yaml), record["setup"]["files"]
    drive = [
        Rendering(rule, "create", files[f"{rule.template}.out"].encode())
        for rule in metadata.rules
        if f"{rule.template}.out" in files
    ]
    instance = Instance("c1", VIRTUAL_MACHINE)
    plan = plan_of(metadata, instance, drive, guest, host=host, triggers=("create",))
    plan = plan.with_prediction(predict(plan, machine.template_files(), guest))
    said = [plan.prediction.outcomes[change] for change in plan.agent if plan.outcome(change)]
    assert len(said) == len(drive)
    ends = {(outcome.result, outcome.error) for outcome in said} or {("skipped", "")}
    assert ends == {(record["outcome"], record["error"])}
    wide = any(entry.get("mode", "0644") != "0644" for entry in record["setup"]["entries"])
    tells = wide and record["outcome"] == "written" and host.agent == "lxd-6.8"
    assert ("the mode of the file becomes 0644" in str(said)) == tells


def predicted(record: Record, host: Host, dialect: str, instance: Instance = CONTAINER) -> Plan:
    """Return a plan with predicted outcomes, as ``plan()`` makes it."""
    machine = Machine(record)
    around = Surroundings(machine.view, INSTANCE, int(record["setup"].get("umask", "022"), 8))
    metadata, templates = machine.read(host.yaml), machine.template_files()
    triggers = tuple(record["setup"].get("triggers", ("create",)))
    renderings = render(metadata, templates, instance, triggers, RenderOptions(host, dialect))
    plan = plan_of(metadata, instance, renderings, host=host, triggers=triggers)
    return plan.with_prediction(predict(plan, templates, None, around))
