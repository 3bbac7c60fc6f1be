"""Replays of lifecycle cases that were recorded from a real daemon.

Two simulations take every step of a case: one of templater ("ours"), and one of the host as ``outcomes.py``
predicts it. The host's result must be the observed result. Ours must be equal too, unless a named deviation
explains the difference. Our simulation then continues with the host's state, so each step is judged
separately.

``sh`` and ``exec`` steps run real programs in a temporary directory with the folders of the instances. In
``exec`` steps, paths of the guest are converted to paths of the host.
"""

import base64
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import normpath
from typing import Any

from templater.model.entry import CHAR_DEVICE, DIRECTORY, FIFO, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import (
    HostError,
    InputError,
    MetadataError,
    RefusedError,
    TemplaterError,
    UsageError,
)
from templater.model.hosts import Host
from templater.model.instance import Instance, Profile
from templater.model.metadata import Metadata, Rule
from templater.model.pending_trigger import PENDING_KEY
from templater.model.plan import Change, Plan, split_passes
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.planning.decide_changes import plan_of
from templater.planning.follow_links import resolve
from templater.prediction import Due, HostFilesystem, StartResult, Surroundings, due_of, start
from templater.prediction.deviations import deviations_at
from templater.rendering.render import render, render_data
from templater.rootfs.id_map import IdMap
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.simulation.host_results import Started, StartError, check_image
from templater.simulation.instance_actions import Simulation
from templater.simulation.simulated_instance import Life, SimulatedInstance, described

WORK = "/work-of-the-recorder"
CONTAINERS = "/var/lib/containers"
SHIFT = 1_000_000
MAP = IdMap(((0, SHIFT, 1_000_000_000),), ((0, SHIFT, 1_000_000_000),))
MAX_ORDERS = 5040
BIG = 1 << 30

#: the part of the recorder's tiny root filesystem that the cases need
BASE = MemoryRootfs(
    {
        **{
            f"/{name}": Entry(DIRECTORY, 0o755)
            for name in ("bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin")
        },
        **{f"/{name}": Entry(DIRECTORY, 0o755) for name in ("sys", "tmp", "var")},
        "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": "root:x:0:\n",
        "/etc/inittab": "::sysinit:/bin/true\n",
        "/etc/os-release": "ID=tiny\n",
        "/bin/busybox": "\x7fELF",
        "/sbin/init": Entry(SYMLINK, 0o777, target="/bin/busybox"),
    }
)

DEVICES = {"root": {"path": "/", "pool": "default", "type": "disk"}}


#: configuration that the daemon itself adds to an instance before its first start
KEPT_BY_THE_DAEMON = (
    *(
        "volatile.base_image",
        "volatile.cloud-init.instance-id",
        "volatile.idmap.base",
        "volatile.idmap.current",
    ),
    *("volatile.idmap.next", "volatile.last_state.idmap", "volatile.uuid", "volatile.uuid.generation"),
)


class Tree:
    """The folder of an instance or an image: ``/metadata.yaml``, ``/templates`` and ``/rootfs``."""

    def __init__(self, tree: MemoryRootfs, properties: "Mapping[str, str] | None" = None) -> None:
        self.tree = tree
        self.unknown: dict[str, str] = {}
        self.guessed = False
        self.name = "img"
        #: the properties of the image in the store, if they differ from its metadata.yaml
        self.properties = properties
        #: the ids that exist; None means all
        self.ids: IdMap | None = None

    @property
    def image(self) -> "Tree":
        return self

    @property
    def rootfs(self) -> "SubTree":
        return SubTree(self.tree, "/rootfs", self.ids)

    def copy(self) -> "Tree":
        return Tree(self.tree.copy(), self.properties)

    def with_tree(self, tree: MemoryRootfs) -> "Tree":
        return Tree(tree, self.properties)

    def with_properties(self, properties: "Mapping[str, str]") -> "Tree":
        return Tree(self.tree, properties)

    def read_metadata(self) -> Source:
        entry = self.tree.entry("/metadata.yaml")
        if entry is None or entry.kind != FILE:
            kind = "missing" if entry is None else f"a {entry.kind}"
            raise InputError(f"metadata.yaml is {kind}")
        return Source("metadata.yaml", self.tree.read("/metadata.yaml", BIG))

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        folder = self.tree.entry("/templates")
        if folder is not None and folder.kind != DIRECTORY:
            error = RefusedError(f"templates is a {folder.kind}")
            return {name: TemplateFile(error=error) for name in names}
        return {name: self.template(name) for name in names}

    def template_names(self) -> list[str]:
        folder = self.tree.entry("/templates")
        return self.tree.listdir("/templates") if folder is not None and folder.kind == DIRECTORY else []

    def template(self, name: str) -> TemplateFile:
        if not name or "/" in name or name in (".", "..") or "\0" in name:
            return TemplateFile()
        entry = self.tree.entry(f"/templates/{name}")
        data = self.tree.read(f"/templates/{name}", BIG) if entry is not None and entry.kind == FILE else None
        return TemplateFile(entry, data)


class SubTree:
    """A directory of a tree as a root filesystem of its own."""

    def __init__(self, tree: MemoryRootfs, top: str, ids: "IdMap | None" = None) -> None:
        self.tree = tree
        self.top = top
        self.ids = ids

    def entry(self, path: str) -> "Entry | None":
        return self.tree.entry(self.top if path == "/" else self.top + path)

    def read(self, path: str, limit: int) -> bytes:
        return self.tree.read(self.top + path, limit)

    def copy(self) -> "SubTree":
        return SubTree(self.tree.copy(), self.top)

    def mkdir(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        self.tree.mkdir(self.top + path, mode, uid, gid)

    def write(self, path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        self.tree.write(self.top + path, content, mode, uid, gid)

    def overwrite(self, path: str, content: bytes) -> None:
        self.tree.overwrite(self.top + path, content)

    def carry_out(self, change: Change) -> None:
        self.tree.make_parents(self.top + change.real)
        self.tree.write(self.top + change.real, change.content or b"", change.mode, change.uid, change.gid)


class Machine:
    """The host's file system for predictions: the instance's folder, and files of ``sh`` steps."""

    def __init__(self, folder: Tree, instance: str, outside: MemoryRootfs) -> None:
        self.folder = folder
        self.instance = instance
        self.outside = outside

    def entry(self, path: str) -> "Entry | None":
        if path == self.instance or path.startswith(self.instance + "/"):
            return self.folder.tree.entry(path[len(self.instance) :] or "/")
        if self.instance.startswith(path.rstrip("/") + "/"):
            return Entry(DIRECTORY, 0o755)
        return self.outside.entry(path)

    def read(self, path: str, limit: int) -> bytes:
        if path.startswith(self.instance + "/"):
            return self.folder.tree.read(path[len(self.instance) :], limit)
        return self.outside.read(path, limit)


class OurSimulation(Simulation):
    """A simulation of templater, which writes all files or none. It calls ``looked`` before it renders."""

    follows_host = False

    def __init__(self, host: Host, looked: "Callable[[Simulation], None]", *, shifted: bool) -> None:
        super().__init__(RenderOptions(host))
        self.looked = looked
        self.shifted = shifted

    def plan(self, subject: SimulatedInstance, triggers: tuple[str, ...]) -> Plan:
        assert isinstance(subject.folder, Tree)
        subject.folder.ids = MAP if self.shifted and not subject.instance.privileged else None
        return super().plan(subject, triggers)

    def start(self, name: str, *, reboot: bool = False) -> Started:
        self.looked(self)
        return super().start(name, reboot=reboot)


class HostSimulation(Simulation):
    """A simulation of the predicted host. If a start can end in several ways, ``choose`` selects one."""

    shifted = False
    #: instances whose ids on disk are shifted: those whose last start had a map, and their copies
    mapped: frozenset[str] = frozenset()
    #: targets whose text only the host can give: our renderer refuses them as too large
    unknown: frozenset[str] = frozenset()
    choose: "Callable[[str, list[HostStart]], HostStart] | None" = None

    def start(self, name: str, *, reboot: bool = False) -> Started:
        subject = self.startable(name, reboot=reboot)
        starts = list(self.ways(subject, subject.life.passes))
        chosen = self.choose(name, starts) if self.choose is not None else starts[0]
        subject.folder, subject.life = chosen.folder, chosen.life
        self.note_map(name)
        if chosen.verdict.result in ("fails", "hangs"):
            self._end(subject, chosen.life)
            raise HostError(chosen.verdict.error)
        self._record_power(subject, "RUNNING")
        return Started(chosen.plan)

    def copy(self, name: str, new: str, snapshot: str = "", *, refresh: bool = False) -> None:
        super().copy(name, new, snapshot, refresh=refresh)
        self.mapped |= {new} & {new if name in self.mapped else ""}

    def rename(self, name: str, new: str) -> None:
        super().rename(name, new)
        self.mapped |= {new} & {new if name in self.mapped else ""}

    def import_(self, backup: SimulatedInstance, name: str) -> None:
        super().import_(backup, name)
        self.mapped |= {name} & {name if backup.instance.name in self.mapped else ""}

    def note_map(self, name: str) -> None:
        """Record whether a start shifts the ids on disk. A privileged instance has no id map."""
        subject = self.subjects.get(name)
        if subject is not None and self.shifted:
            self.mapped = self.mapped - {name} if subject.instance.privileged else self.mapped | {name}

    def ways(self, subject: SimulatedInstance, triggers: tuple[str, ...]) -> "Iterator[HostStart]":
        """Yield a start for each order of rules that the daemon may choose, if the order matters."""
        instance = described(subject)
        folder = subject.folder
        assert isinstance(folder, Tree)
        try:
            metadata = self.metadata(folder)
        except MetadataError as error:
            # the parser's own words differ; only that it fails is predicted
            failed = StartResult(
                "fails", "", HostFilesystem(Machine(folder, "/x", MemoryRootfs()), Surroundings())
            )
            plan = Plan(Metadata(), instance, self.host, triggers, ())
            yield HostStart(failed, plan, folder.copy(), subject.life.start_failed(triggers[0]), str(error))
            return
        templates = folder.read_templates({rule.template for rule in metadata.rules})
        renderings = render(metadata, templates, instance, triggers, self.options)
        plan = plan_of(metadata, instance, renderings, folder.rootfs, host=self.host, triggers=triggers)
        passes = aligned(plan, triggers)
        limited = [
            change for change in plan.changes if change.render_error and change.render_error.kind == "limit"
        ]
        self.unknown |= {change.real for change in limited}

        def render_other(data: bytes, rule: Rule, trigger: str) -> bytes:
            return render_data(data, rule, trigger, instance, self.options)

        around = self.surroundings(instance)
        for order in orders(passes, plan):
            tree = folder.copy()
            world = HostFilesystem(Machine(folder, around.instance, self.outside), around)
            verdict = start(self.host, world, instance, order, metadata=metadata, render=render_other)
            put_back(world, tree.tree, around)
            failed = verdict.result in ("fails", "hangs")
            life = subject.life.start_failed(triggers[verdict.passed]) if failed else subject.life.started()
            yield HostStart(verdict, plan, tree, life)

    def metadata(self, folder: Tree) -> Metadata:
        # a daemon treats a missing metadata.yaml like one without templates, and follows a link
        path = "/metadata.yaml"
        entry = folder.tree.entry(path)
        if entry is not None and entry.kind == SYMLINK:
            path = "/" + entry.target
            entry = folder.tree.entry(path)
        if entry is None:
            return Metadata()
        return read_metadata(Source("metadata.yaml", folder.tree.read(path, BIG)), self.host.yaml)

    outside = MemoryRootfs()

    def surroundings(self, instance: Instance) -> Surroundings:
        shift = SHIFT if self.shifted and not instance.privileged else 0
        return Surroundings(None, f"{CONTAINERS}/{instance.name}", shift=shift)


@dataclass
class HostStart:
    """One possible end of a start on the host."""

    verdict: StartResult
    plan: Plan
    folder: Tree
    life: Any
    why: str = ""


def orders(passes: list[list[Due]], plan: Plan) -> Iterator[list[list[Due]]]:
    """Yield the file order. If a failure or a collision makes the order matter, also yield other orders."""
    yield passes
    matters = any(change.render_error or change.error or change.collides for change in plan.changes)
    if matters:
        every = (itertools.permutations(dues) for dues in passes)
        for order in itertools.islice(itertools.product(*every), 1, MAX_ORDERS):
            yield [list(dues) for dues in order]


def aligned(plan: Plan, triggers: tuple[str, ...]) -> list[list[Due]]:
    """Return the due rules of each pass. A pass without due rules has an empty list."""
    groups = list(split_passes(plan.changes))
    passes = []
    for trigger in triggers:
        due = groups.pop(0) if groups and groups[0][0].trigger == trigger else []
        passes.append([due_of(change) for change in due])
    return passes


def put_back(world: HostFilesystem, tree: MemoryRootfs, around: Surroundings) -> None:
    """Copy the host's writes in the instance's folder from its file system to the tree."""
    top = tuple(around.instance.split("/")[1:])
    for names, node in sorted(world.made.items()):
        if names[: len(top)] != top:
            continue
        path = "/" + "/".join(names[len(top) :])
        uid, gid = node.uid - around.shift, node.gid - around.shift
        there = tree._find(path) if tree.entry(path) is not None else None
        if there is not None:  # truncated in place: all its names change
            there.content = node.content if node.content is not None else there.content
        elif node.kind == DIRECTORY:
            tree.mkdir(path, node.mode, uid, gid)
        else:
            tree.write(path, node.content or b"", node.mode, uid, gid)


def explanations(plan: Plan) -> dict[str, list[Change]]:
    """Return the changes of a start that deviate from the host, by the name of the deviation."""
    found: dict[str, list[Change]] = {}
    for change in (*plan.changes, *plan.agent):
        for deviation in deviations_at(plan, change):
            found.setdefault(deviation.name, []).append(change)
    return found


class Replay:
    """One case, step by step."""

    def __init__(self, case: Mapping[str, Any], host: Host) -> None:
        self.case = case
        self.host = host
        self.shifted = case["id"].startswith("shifted_")
        self.ours = OurSimulation(host, self.note, shifted=self.shifted)
        self.theirs = HostSimulation(RenderOptions(host))
        #: the simulation that `templater simulate` shows; it knows only one order of the rules
        self.told = Simulation(RenderOptions(host))
        self.theirs.shifted = self.shifted
        self.outside = MemoryRootfs({WORK + "/run": Entry(DIRECTORY, 0o755)})
        self.theirs.outside = self.outside
        self.images: dict[str, Tree] = {}
        self.backups: dict[str, SimulatedInstance] = {}
        self.profiles: dict[str, Profile] = {"default": Profile("default", {}, DEVICES)}
        #: reboots and shutdowns that guests requested, and that the daemon has not done yet
        self.rebooting: list[str] = []
        self.leaving: list[str] = []
        self.paused: set[str] = set()
        #: True after a start that hangs: the replay ends, because the start continues when another process
        #: opens the fifo
        self.hangs = False
        #: the names of the deviations that occurred
        self.used: set[str] = set()

    def run(self) -> None:
        """Replay every step.

        Raises AssertionError for a wrong prediction, and for a difference that no deviation explains.
        """
        if not self.import_image():
            return
        for number, observed in enumerate(self.case["observed"], 1):
            if self.hangs:
                return
            if "skipped" not in observed:
                self.take(number, observed)

    def import_image(self) -> bool:
        tree = image_tree(self.case["image"])
        try:
            check_image(read_metadata(tree.read_metadata(), self.host.yaml), self.host)
        except TemplaterError as error:
            assert self.case["import"]["rc"] != 0, f"import: we say {error}"
            return False
        assert self.case["import"]["rc"] == 0, f"import: {self.case['import']}"
        self.images["img"] = tree
        return True

    def take(self, number: int, observed: Mapping[str, Any]) -> None:
        step = observed["step"]
        what = f"step {number} {step!r:.120}"
        ways: list[HostStart] = []
        self.theirs.choose = lambda name, starts: ways.extend(starts) or self.closest(name, starts, observed)
        self.last_plan = None
        #: the error of our start that a guest requested
        self.guest_error: TemplaterError | None = None
        self.note(self.ours)
        self.let_guests_go(observed)
        paused = set(self.paused)
        theirs_error = self.do(self.theirs, observed)
        self.paused = set(paused)
        told_error = self.do(self.told, observed)
        self.paused = paused
        ours_error = self.do(self.ours, observed) or self.guest_error
        probe = step[0] in ("sh", "exec", "sleep") or observed["rc"] == "timeout"
        failed = observed["rc"] != 0
        if not probe:
            assert (theirs_error is not None) == failed, (
                f"{what}: predicted {theirs_error}, observed {observed}"
            )
        self.check_words(what, theirs_error, observed)
        expected = self.observed(observed["after"])
        predicted = self.states(self.theirs)
        assert predicted == expected, (
            f"{what}: the host's prediction differs\n{difference(predicted, expected)}"
        )
        if not self.shifted:
            self.check_simulation(what, told_error, theirs_error, expected)
        self.hangs = bool(ways) and any(way.verdict.result == "hangs" for way in ways)
        mine = self.states(self.ours)
        if mine == expected and (probe or (ours_error is not None) == failed):
            return
        self.explain(what, ours_error, self.before, mine, expected, host_failed=theirs_error is not None)
        self.ours.subjects = {name: twin(subject) for name, subject in self.theirs.subjects.items()}

    def check_simulation(
        self,
        what: str,
        error: "TemplaterError | None",
        host_error: "TemplaterError | None",
        expected: Mapping[str, Any],
    ) -> None:
        """Check the files that `templater simulate` shows, except those that it calls unknown."""
        simulation = self.told
        found = self.states(simulation)
        missing_metadata = isinstance(error, InputError) and "metadata.yaml is" in str(error)
        if not missing_metadata:
            assert (error is None) == (host_error is None), f"{what}: simulate says {error}, not {host_error}"
            doubted = {path for subject in simulation.subjects.values() for path in subject.folder.unknown}
            wrong = differing(found, expected) - doubted
            assert not wrong, f"{what}: simulate is wrong about {wrong}\n{difference(found, expected)}"
        for name, subject in self.theirs.subjects.items():
            told = simulation.subjects.get(name)
            unknown = {} if told is None else dict(told.folder.unknown)
            simulation.subjects[name] = twin(subject)
            simulation.subjects[name].folder.unknown.update(unknown)

    def note(self, simulation: Simulation) -> None:
        """Record the state that a failed start of ours must leave unchanged."""
        self.before = self.states(simulation)

    def let_guests_go(self, observed: Mapping[str, Any]) -> None:
        """Do the reboots and shutdowns that guests requested, as soon as the recording shows their effect."""
        for name in list(self.rebooting):
            after = (observed["after"] or {}).get(name)
            asked_for = observed["step"][0] == "exec" and "reboot" in observed["step"][-2:]
            if after is not None and (after["status"] == "Running" or not asked_for):
                self.rebooting.remove(name)
                for simulation in (self.theirs, self.told, self.ours):
                    self.guest_error = self.attempt(
                        simulation, lambda each=simulation, name=name: self.start(each, name, reboot=True)
                    )
        for name in list(self.leaving):
            if name not in (observed["after"] or {}):
                self.leaving.remove(name)
                for simulation in (self.theirs, self.told, self.ours):
                    simulation.subjects.pop(name, None)

    def explain(
        self,
        what: str,
        error: "TemplaterError | None",
        before: Mapping[str, Any],
        mine: Mapping[str, Any],
        expected: Mapping[str, Any],
        *,
        host_failed: bool,
    ) -> None:
        """Check that a deviation explains the difference between our result and the host's."""
        if isinstance(error, InputError) and not isinstance(error, StartError):
            # the daemons treat a missing metadata.yaml like one without templates, or follow a link
            assert "metadata.yaml is" in str(error) and mine == before, f"{what}: ours failed with {error}"
            return
        plan = error.plan if isinstance(error, StartError) else self.last_plan
        found = explanations(plan) if plan is not None else {}
        words = f"ours: {error}\n{difference(mine, expected)}"
        assert found, f"{what}: no deviation explains it; {words}"
        assert plan is not None
        self.used |= found.keys()
        if plan.failed:
            assert isinstance(error, StartError) and mine == before, (
                f"{what}: a failed start is not undone; {words}"
            )
            return
        # if only the host fails, it has done a part of the start, and the trigger is still pending
        explained = (
            plan.changes if host_failed else (change for changes in found.values() for change in changes)
        )
        places = {place for change in explained for place in reach(change)}
        places |= {"pending"} if host_failed else set()
        places |= other_names(self.theirs, places)
        strange = {path for path in differing(mine, expected) if path not in places}
        assert not strange, f"{what}: no deviation explains {strange}; {words}"

    #: our plan of the start that was just replayed
    last_plan: "Plan | None" = None

    def closest(self, name: str, starts: list[HostStart], observed: Mapping[str, Any]) -> HostStart:
        """Return the start that was observed, or else the first."""
        after = (observed["after"] or {}).get(name)
        if after is not None:
            self.theirs.note_map(name)
            wanted = self.observed({name: after})[name]
            for way in starts:
                if (way.life.pending, self.files(way.folder)) == (wanted["pending"], wanted["files"]):
                    return way
        return starts[0]

    def check_words(self, what: str, error: "TemplaterError | None", observed: Mapping[str, Any]) -> None:
        """Check that the predicted error is the error in the daemon's log."""
        logged = [
            entry["err"]
            for entry in observed.get("daemon_log", ())
            if entry["msg"] == "The start hook failed"
        ]
        if not isinstance(error, HostError) or not logged or not error.message:
            return
        said = logged[-1]
        for folder in ("$INCUS_DIR/containers", "$LXD_DIR/containers"):
            said = re.sub(
                re.escape(folder) + r"/[^/ :]+/(rootfs|templates)", lambda m: "$" + m[1].upper(), said
            )
        assert error.message == said, f"{what}: predicted error {error.message!r}, logged {said!r}"

    def states(self, simulation: Simulation) -> dict[str, Any]:
        found = {}
        for name, subject in sorted(simulation.subjects.items()):
            assert isinstance(subject.folder, Tree)
            found[name] = {"pending": subject.life.pending, "files": self.files(subject.folder)}
        return found

    def observed(self, after: "Mapping[str, Any] | None") -> dict[str, Any]:
        """Return the recorded state of each instance. Ids are as in its container."""
        found = {}
        for name, state in sorted((after or {}).items()):
            shift = SHIFT if name in self.theirs.mapped else 0
            files = {path: observed_text(entry, shift) for path, entry in state["files"].items()}
            found[name] = {"pending": state["volatile.apply_template"] or "", "files": self.known(files)}
        return found

    def files(self, folder: Tree) -> dict[str, str]:
        return self.known(files_of(folder))

    def known(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return the files. Replace the text of each file that only the host can render."""
        unknown = self.theirs.unknown
        return {path: "a file of any text" if path in unknown else text for path, text in files.items()}

    # steps

    def do(self, simulation: Simulation, observed: Mapping[str, Any]) -> "TemplaterError | None":
        """Take a step. Return the error with which the step ends, or None."""
        verb, *words = observed["step"]
        method = getattr(self, f"do_{verb}", None)
        if method is None:
            raise AssertionError(f"no step {verb!r} is known here")
        if verb == "exec" and observed["rc"] in (126, 127):
            return None  # the guest has no such program
        return self.attempt(simulation, lambda: method(simulation, *words))

    def attempt(self, simulation: Simulation, action: "Callable[[], None]") -> "TemplaterError | None":
        try:
            action()
        except TemplaterError as error:
            if isinstance(error, StartError) and simulation is self.ours:
                self.last_plan = error.plan
            return error
        return None

    def start(self, simulation: Simulation, name: str, *, reboot: bool = False) -> None:
        if name in self.paused:
            self.paused.discard(name)  # it goes on where it was
            return
        if self.tree(simulation, name).entry("/rootfs") is None:
            raise HostError("")  # before any template is looked at, in words that are not about them
        started = simulation.start(name, reboot=reboot)
        if simulation is self.ours:
            self.last_plan = started.plan
        tree = self.tree(simulation, name)
        if tree.entry("/rootfs/sbin/init") is None and tree.entry("/rootfs/init") is None:
            simulation.stop(name)
            raise HostError("")  # the templates are done, and then there is nothing to run

    def do_create(self, simulation: Simulation, image: str, name: str, *options: str) -> None:
        _, given = parted([*options])
        instance = self.described(Instance(name, profiles=(self.profiles["default"],)), given, create=True)
        config = dict.fromkeys(KEPT_BY_THE_DAEMON, "recorded") | dict(instance.config)
        if image not in self.images:
            raise UsageError(f"no image {image}")
        simulation.create(changed(instance, config=config), self.images[image])

    def described(
        self, instance: Instance, given: "list[tuple[str, str]]", *, create: bool = False
    ) -> Instance:
        """Return an instance with the options of create or copy.

        In a copy, ``-d`` changes only local devices.
        """
        config, devices = dict(instance.config), dict(instance.devices)
        profiles = instance.profiles
        named = [self.profiles[value] for option, value in given if option in ("-p", "--profile")]
        for option, value in given:
            if option in ("-c", "--config"):
                key, _, text = value.partition("=")
                config[key] = text
            elif option in ("-d", "--device"):
                device, _, rest = value.partition(",")
                known = instance.expanded_devices() if create else instance.devices
                facts = {**known.get(device, {}), **dict(pairs(rest.split(",")))}
                if "type" not in facts:
                    raise UsageError(f"no device {device}")
                devices[device] = facts
            elif option in ("--no-profiles",):
                profiles = ()
            elif option in ("-s", "--storage"):
                root = {"type": "disk", "path": "/", **instance.expanded_devices().get("root", {})}
                devices["root"] = {**root, "pool": value}
        ephemeral = any(option in ("-e", "--ephemeral") for option, _ in given)
        config = {key: text for key, text in config.items() if text}
        return changed(
            instance, config=config, devices=devices, profiles=tuple(named) or profiles, ephemeral=ephemeral
        )

    def do_start(self, simulation: Simulation, *words: Any) -> None:
        for name in self.named(simulation, words, running=False):
            self.start(simulation, name)

    def do_stop(self, simulation: Simulation, *words: Any) -> None:
        for name in self.named(simulation, words, running=True):
            self.paused.discard(name)
            simulation.stop(name)

    def do_restart(self, simulation: Simulation, *words: Any) -> None:
        for name in self.named(simulation, words, running=True):
            with simulation.restarting(name):
                self.start(simulation, name)

    def named(self, simulation: Simulation, words: "tuple[Any, ...]", *, running: bool) -> list[str]:
        """Return the instances that a command names.

        Numbers among the words are waiting times of the recorder.
        """
        names, given = parted([word for word in words if isinstance(word, str)])
        if "--all" in dict(given):
            names = [n for n, subject in simulation.subjects.items() if subject.life.running == running]
        return names

    def do_copy(self, simulation: Simulation, *words: str) -> None:
        (source, new), given = parted(list(words))
        name, _, snapshot = source.partition("/")
        options = dict(given)
        simulation.copy(name, new, snapshot, refresh="--refresh" in options)
        subject = simulation.find(new)
        made = dict.fromkeys(KEPT_BY_THE_DAEMON, "recorded")
        subject.instance = changed(subject.instance, config=made | dict(subject.instance.config))
        if "--instance-only" in options:
            subject.snapshots, subject.life = {}, Life(subject.life.pending)
        try:
            subject.instance = self.described(subject.instance, given)
        except UsageError:
            simulation.delete(new)
            raise

    def do_rename(self, simulation: Simulation, name: str, new: str) -> None:
        simulation.rename(name, new)

    def do_set(self, simulation: Simulation, name: str, key: str, value: str) -> None:
        simulation.set(name, key, value)

    def do_set_stdin(self, simulation: Simulation, name: str, key: str, value: Any) -> None:
        simulation.set(name, key, repeated(value))

    def do_unset(self, simulation: Simulation, name: str, key: str) -> None:
        simulation.set(name, key, "")

    def tree(self, simulation: Simulation, name: str) -> MemoryRootfs:
        folder = simulation.find(name).folder
        assert isinstance(folder, Tree)
        return folder.tree

    def do_tpl_create(self, simulation: Simulation, name: str, template: str, *_: Any) -> None:
        if "/" in template:
            raise UsageError("a template has no slash in its name")
        tree = self.tree(simulation, name)
        if tree.entry(f"/templates/{template}") is None:
            write(tree, f"/templates/{template}", b"")

    def do_tpl_edit(self, simulation: Simulation, name: str, template: str, text: str) -> None:
        write(self.tree(simulation, name), f"/templates/{template}", text.encode())

    def do_tpl_delete(self, simulation: Simulation, name: str, template: str) -> None:
        entry = self.tree(simulation, name).entry(f"/templates/{template}")
        # LXD takes the name away, wherever a link leads
        if self.host.product != "lxd" or entry is None or entry.kind != SYMLINK:
            self.do_tpl_show(simulation, name, template)
        self.tree(simulation, name).remove(f"/templates/{template}")

    def do_tpl_show(self, simulation: Simulation, name: str, template: str) -> None:
        """The API follows links that stay in the instance, and no others."""
        tree = self.tree(simulation, name)
        found = resolve(tree, f"/templates/{template}")
        leaves = any(leads_out(place, target) for place, target in found.links)
        if "/" in template or found.entry is None or leaves:
            raise UsageError(f"no template {template}")

    def do_tpl_list(self, simulation: Simulation, *_: Any) -> None:
        pass

    def do_meta_show(self, simulation: Simulation, *_: Any) -> None:
        pass

    def do_meta_edit(self, simulation: Simulation, name: str, text: str) -> None:
        read_metadata(Source("metadata.yaml", text), self.host.yaml)
        write(self.tree(simulation, name), "/metadata.yaml", text.encode())

    def do_sleep(self, simulation: Simulation, *_: Any) -> None:
        pass

    def do_sh(self, simulation: Simulation, command: str) -> None:
        with Laid(simulation, self.outside, self.theirs.mapped) as laid:
            laid.run(["bash", "-c", command.replace("{CT}", laid.containers)])

    def do_exec(self, simulation: Simulation, name: str, *argv: str) -> None:
        words = list(argv)
        while words and words[0] in ("--", "busybox", "/bin/busybox"):
            words.pop(0)
        if words and words[0].rpartition("/")[2] == "reboot":
            if name not in self.rebooting:
                self.rebooting.append(name)
            return
        if words and words[0].rpartition("/")[2] in ("poweroff", "halt"):
            subject = simulation.find(name)
            subject.life = subject.life.stopped()
            if subject.instance.ephemeral and name not in self.leaving:
                self.leaving.append(name)
            return
        with Laid(simulation, self.outside, frozenset()) as laid:  # a guest sees its own ids
            top = f"{laid.containers}/{name}/rootfs"
            laid.run([guest_word(word, top) for word in words])

    def do_incus(self, simulation: Simulation, *argv: str) -> None:
        """Simulate a command of ``incus`` or ``lxc``. Its first one to three words are the command's name."""
        words = list(argv)
        if words[0] == "exec":
            return self.do_exec(simulation, words[1], *words[2:])
        words, given = parted(words)
        parts = [words.pop(0)]
        while words and words[0] in SUBCOMMANDS.get(" ".join(parts), ()):
            parts.append(words.pop(0))
        command = " ".join(parts)
        command = {"init": "create", "restore": "snapshot restore"}.get(command, command)
        command = ("snapshot create" if command == "snapshot" else command).replace("-", "_")
        method = getattr(self, "client_" + command.replace(" ", "_"), None)
        if method is not None:
            method(simulation, words, given)
        elif parts[0] not in ("image", "profile", "info", "list", "config", "snapshot"):
            raise AssertionError(f"no command 'incus {command}' is known here")
        return None

    do_lxc = do_incus

    def client_create(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        if "--empty" not in dict(given):
            self.do_create(simulation, words[0], words[1], *itertools.chain(*given))
            return
        empty = Instance(words[0], profiles=(self.profiles["default"],))
        instance = self.described(empty, given, create=True)
        simulation.create_empty(instance, empty_tree(self.host))

    def client_launch(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        self.client_create(simulation, words, given)
        self.start(simulation, words[-1])

    def client_start(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        self.do_start(simulation, *words, *itertools.chain(*given))

    def client_stop(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        self.do_stop(simulation, *words, *itertools.chain(*given))

    def client_restart(
        self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]"
    ) -> None:
        self.do_restart(simulation, *words, *itertools.chain(*given))

    def client_pause(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.paused |= set(words)

    def client_resume(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.paused -= set(words)

    def client_copy(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        self.do_copy(simulation, *words, *itertools.chain(*given))

    def client_rename(self, simulation: Simulation, words: list[str], _: object) -> None:
        simulation.rename(words[0], words[1])

    def client_move(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        options = dict(given)
        pool = options.get("-s") or options.get("--storage") or ""
        project = options.get("--target-project", "")
        if "/" in words[0]:  # a snapshot is renamed
            name, _, old = words[0].partition("/")
            self.client_snapshot_rename(simulation, [name, old, words[1].partition("/")[2]], given)
            return
        simulation.move(words[0], words[-1], pool=pool, project=project)
        subject = simulation.find(words[-1])
        subject.instance = self.described(subject.instance, given)

    def do_query(self, simulation: Simulation, *argv: str) -> None:
        """Simulate an API request that changes an instance or a profile. Ignore all other requests."""
        words, given = parted(list(argv))
        options = dict(given)
        method = options.get("-X", options.get("--request", "GET"))
        place = words[-1].partition("?")[0].removeprefix("/1.0/").split("/")
        data = json.loads(options.get("-d") or options.get("--data") or "{}")
        if method == "GET":
            return
        if place[0] == "instances" and len(place) == 2:
            self.query_instance(simulation, method, place[1], data)
        elif place[0] == "instances" and place[2] == "state":
            {"start": self.do_start, "stop": self.do_stop, "restart": self.do_restart}[data["action"]](
                simulation, place[1]
            )
        elif place[0] == "profiles" and method in ("PUT", "PATCH"):
            old = self.profiles[place[1]] if method == "PATCH" else Profile(place[1])
            self.profile(
                simulation, place[1], {**old.config, **data.get("config", {})},
                {**old.devices, **data.get("devices", {})},
            )  # fmt: skip
        else:
            raise AssertionError(f"no request {method} {words[-1]} is known here")

    def query_instance(self, simulation: Simulation, method: str, name: str, data: "dict[str, Any]") -> None:
        if method == "DELETE":
            simulation.delete(name)
            return
        if method == "POST":
            simulation.move(name, data["name"])
            return
        subject = simulation.find(name)
        fields = {key: data[key] for key in ("architecture", "ephemeral") if key in data}
        old = subject.instance
        config, devices = dict(old.config), dict(old.devices)
        if method == "PUT":
            fields.setdefault("ephemeral", False)
            config = {key: value for key, value in config.items() if key.startswith("volatile.")}
            devices = {}
        config = {key: value for key, value in (config | data.get("config", {})).items() if value != ""}
        if PENDING_KEY in config:
            subject.life = subject.life.with_pending(config.pop(PENDING_KEY))
        devices |= data.get("devices", {})
        subject.instance = changed(old, config=config, devices=devices, **fields)
        if "profiles" in data or method == "PUT":
            self.assign(subject, data.get("profiles", []))

    def client_query(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        self.do_query(simulation, *itertools.chain(*given), *words)

    def client_delete(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        for name in words:
            if simulation.find(name).life.running and not forced(given):
                raise UsageError("it is running")
            simulation.delete(name)

    def client_rebuild(
        self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]"
    ) -> None:
        empty = "--empty" in dict(given)
        with self.stopped(simulation, words[-1], given):
            simulation.rebuild(words[-1], empty_tree(self.host) if empty else self.images[words[0]])

    @contextmanager
    def stopped(self, simulation: Simulation, name: str, given: "list[tuple[str, str]]") -> "Iterator[None]":
        """With ``--force``, stop a running instance for the ``with`` block, and start it again afterwards."""
        subject = simulation.find(name)
        running = subject.life.running and forced(given)
        if running:
            subject.life = subject.life.stopped()
        yield
        if running:
            self.start(simulation, name)

    def client_publish(
        self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]"
    ) -> None:
        name, _, snapshot = words[0].partition("/")
        with self.stopped(simulation, name, given):
            folder = simulation.publish(name, snapshot, dict(pairs(words[1:])))
        assert isinstance(folder, Tree)
        self.images[dict(given).get("--alias", "published")] = folder

    def client_export(self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]") -> None:
        backup = simulation.export(words[0])
        if "--instance-only" in dict(given):
            backup = replace(backup, snapshots={}, life=Life(backup.life.pending))
        self.backups[words[1]] = backup

    def client_import(self, simulation: Simulation, words: list[str], _: object) -> None:
        backup = self.backups[words[0]]
        simulation.import_(backup, words[1] if len(words) > 1 else backup.instance.name)

    def client_snapshot_create(
        self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]"
    ) -> None:
        subject = simulation.find(words[0])
        free = next(name for n in itertools.count() if (name := f"snap{n}") not in subject.snapshots)
        snapshot = words[1] if len(words) > 1 else free
        if "--reuse" in dict(given) and snapshot in subject.snapshots:
            self.client_snapshot_delete(simulation, [words[0], snapshot], given)
        simulation.snapshot(words[0], snapshot)

    def client_snapshot_restore(self, simulation: Simulation, words: list[str], _: object) -> None:
        started = simulation.restore(words[0], words[1])
        if simulation is self.ours:
            self.last_plan = None if started is None else started.plan

    def client_snapshot_delete(self, simulation: Simulation, words: list[str], _: object) -> None:
        subject = simulation.find(words[0])
        subject.life.published(words[1])  # it has to be there
        del subject.snapshots[words[1]]
        owed = {name: pending for name, pending in subject.life.snapshots.items() if name != words[1]}
        subject.life = Life(subject.life.pending, subject.life.running, owed)

    def client_snapshot_rename(self, simulation: Simulation, words: list[str], _: object) -> None:
        name, old, new = words
        subject = simulation.find(name)
        subject.life.published(old)
        held, owed = subject.snapshots[old], subject.life.snapshots[old]
        self.client_snapshot_delete(simulation, [name, old], ())
        subject.snapshots[new] = held
        owes = {**subject.life.snapshots, new: owed}
        subject.life = Life(subject.life.pending, subject.life.running, owes)

    def client_image_delete(self, simulation: Simulation, words: list[str], _: object) -> None:
        for alias in words:
            self.images.pop(alias, None)

    def client_image_set_property(self, simulation: Simulation, words: list[str], _: object) -> None:
        image = self.images[words[0]]
        properties = image.properties
        if properties is None:
            properties = read_metadata(image.read_metadata(), self.host.yaml).properties
        image.properties = {**properties, words[1]: words[2]}

    def client_image_unset_property(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.client_image_set_property(simulation, [*words, ""], ())
        properties = self.images[words[0]].properties or {}
        self.images[words[0]].properties = {key: text for key, text in properties.items() if key != words[1]}

    # profiles: a changed profile changes its instances

    def client_profile_create(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.profiles.setdefault(words[0], Profile(words[0]))

    def client_profile_delete(self, simulation: Simulation, words: list[str], _: object) -> None:
        users = (subject.instance.profiles for subject in simulation.subjects.values())
        if words[0] in {profile.name for profiles in users for profile in profiles}:
            raise UsageError("profile is currently in use")
        self.profiles.pop(words[0], None)

    def client_profile_rename(self, simulation: Simulation, words: list[str], _: object) -> None:
        old = self.profiles.get(words[0]) or self.profiles[words[1]]
        self.profiles[words[1]] = Profile(words[1], old.config, old.devices)
        self.profiles.pop(words[0], None)
        for subject in simulation.subjects.values():
            names = [profile.name for profile in subject.instance.profiles]
            self.assign(subject, [words[1] if name == words[0] else name for name in names])

    def client_profile_copy(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.profiles[words[1]] = Profile(
            words[1], self.profiles[words[0]].config, self.profiles[words[0]].devices
        )

    def client_profile_set(self, simulation: Simulation, words: list[str], _: object) -> None:
        if any(key.startswith("image.") for key, _ in pairs(words[1:])):
            raise UsageError("Image keys can only be set on instances")
        config = dict(self.profiles[words[0]].config) | dict(pairs(words[1:]))
        self.profile(simulation, words[0], config={key: text for key, text in config.items() if text})

    def client_profile_unset(self, simulation: Simulation, words: list[str], _: object) -> None:
        config = {k: text for k, text in self.profiles[words[0]].config.items() if k != words[1]}
        self.profile(simulation, words[0], config=config)

    def client_profile_device_add(self, simulation: Simulation, words: list[str], _: object) -> None:
        devices = {**self.profiles[words[0]].devices, words[1]: {"type": words[2], **dict(pairs(words[3:]))}}
        self.profile(simulation, words[0], devices=devices)

    def client_profile_device_remove(self, simulation: Simulation, words: list[str], _: object) -> None:
        devices = {k: facts for k, facts in self.profiles[words[0]].devices.items() if k not in words[1:]}
        self.profile(simulation, words[0], devices=devices)

    def profile(
        self,
        simulation: Simulation,
        name: str,
        config: "Mapping[str, str] | None" = None,
        devices: "Mapping[str, Mapping[str, str]] | None" = None,
    ) -> None:
        old = self.profiles[name]
        self.profiles[name] = Profile(
            name, old.config if config is None else config, old.devices if devices is None else devices
        )
        for subject in simulation.subjects.values():
            self.assign(subject, [profile.name for profile in subject.instance.profiles])

    def assign(self, subject: SimulatedInstance, names: list[str]) -> None:
        subject.instance = changed(subject.instance, profiles=tuple(self.profiles[name] for name in names))

    def client_profile_assign(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.assign(simulation.find(words[0]), [name for name in words[1].split(",") if name])

    def client_profile_add(self, simulation: Simulation, words: list[str], _: object) -> None:
        subject = simulation.find(words[0])
        self.assign(subject, [*(profile.name for profile in subject.instance.profiles), words[1]])

    def client_profile_remove(self, simulation: Simulation, words: list[str], _: object) -> None:
        subject = simulation.find(words[0])
        self.assign(subject, [p.name for p in subject.instance.profiles if p.name != words[1]])

    # an instance's configuration and devices

    def client_config_set(
        self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]"
    ) -> None:
        if "--property" in dict(given):
            fields = {key: value == "true" for key, value in pairs(words[1:]) if key == "ephemeral"}
            subject = simulation.find(words[0])
            subject.instance = changed(subject.instance, **fields)
            return
        for key, value in pairs(words[1:]):
            simulation.set(words[0], key, value)

    def client_config_unset(self, simulation: Simulation, words: list[str], _: object) -> None:
        simulation.set(words[0], words[1], "")

    def devices(self, simulation: Simulation, name: str, device: str, facts: Mapping[str, str]) -> None:
        subject = simulation.find(name)
        subject.instance = changed(
            subject.instance, devices={**subject.instance.devices, device: facts} if facts else
            {key: old for key, old in subject.instance.devices.items() if key != device},
        )  # fmt: skip

    def client_config_device_add(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.devices(simulation, words[0], words[1], {"type": words[2], **dict(pairs(words[3:]))})

    def client_config_device_remove(self, simulation: Simulation, words: list[str], _: object) -> None:
        for device in words[1:]:
            self.devices(simulation, words[0], device, {})

    def client_config_device_override(self, simulation: Simulation, words: list[str], _: object) -> None:
        facts = simulation.find(words[0]).instance.expanded_devices()[words[1]]
        self.devices(simulation, words[0], words[1], {**facts, **dict(pairs(words[2:]))})

    client_config_device_set = client_config_device_override

    def client_config_device_unset(self, simulation: Simulation, words: list[str], _: object) -> None:
        facts = simulation.find(words[0]).instance.devices[words[1]]
        self.devices(simulation, words[0], words[1], {k: fact for k, fact in facts.items() if k != words[2]})

    def client_config_template_create(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.do_tpl_create(simulation, *words)

    def client_config_template_edit(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.do_tpl_edit(simulation, *words, text="")  # the recorder's commands read nothing

    def client_config_template_delete(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.do_tpl_delete(simulation, *words)

    def client_config_template_show(self, simulation: Simulation, words: list[str], _: object) -> None:
        self.do_tpl_show(simulation, *words)

    # files over the API

    def client_file_push(
        self, simulation: Simulation, words: list[str], given: "list[tuple[str, str]]"
    ) -> None:
        name, _, path = words[1].partition("/")
        source = expanded(words[0])
        tree, place = self.tree(simulation, name), f"/rootfs/{path}"
        if path.endswith("/"):
            place += os.path.basename(source)
        options = dict(given)
        there = tree.entry(place)
        if there is not None and min(there.uid, there.gid) < 0:
            raise UsageError("permission denied")  # an owner that the container's map does not have
        if "--create-dirs" in dict(given) or "-p" in dict(given):
            for end in (index for index, sign in enumerate(place) if sign == "/" and index):
                if tree.entry(place[:end]) is None:
                    tree.mkdir(place[:end])
        mode = int(options.get("--mode", "0644"), 8) if there is None or "--mode" in options else there.mode
        uid, gid = int(options.get("--uid", 0)), int(options.get("--gid", 0))
        tree.write(place, self.outside.read(source, BIG), mode, uid, gid)

    def client_file_delete(self, simulation: Simulation, words: list[str], _: object) -> None:
        for word in words:
            name, _, path = word.partition("/")
            self.tree(simulation, name).remove(f"/rootfs/{path}")


#: commands, with their subcommands
SUBCOMMANDS = {
    "snapshot": ("create", "restore", "delete", "list", "show", "rename"),
    "config": ("set", "unset", "get", "show", "edit", "device", "template", "metadata", "trust"),
    "config device": ("add", "remove", "set", "unset", "get", "list", "show", "override"),
    "config template": ("create", "delete", "edit", "list", "show"),
    "config metadata": ("edit", "show"),
    "profile": (
        *("create", "set", "unset", "get", "show", "add", "remove", "assign", "apply", "edit", "list"),
        *("delete", "rename", "copy", "device"),
    ),
    "profile device": ("add", "remove", "set", "unset", "get", "list", "show"),
    "image": (
        *("import", "export", "delete", "list", "show", "copy", "edit", "info", "alias", "refresh"),
        *("set-property", "unset-property", "get-property"),
    ),
    "file": ("push", "pull", "delete", "edit", "create", "mount"),
}

#: the client's options without a value
FLAGS = (
    *("-q", "--quiet", "-f", "--force", "-e", "--ephemeral", "--empty", "--refresh", "--all", "--vm"),
    *("--instance-only", "--stateless", "--stateful", "--no-profiles", "--reuse", "--public"),
    *("--optimized-storage", "--console", "-r", "--recursive", "--create-dirs"),
    *("--wait", "--raw", "--property", "--mode-only", "--all-projects", "--diff"),
)


def parted(words: list[str]) -> "tuple[list[str], list[tuple[str, str]]]":
    """Return a client's words, and its options with their values. The value of a flag is empty."""
    names, given = [], []
    flags = (*FLAGS, "-p") if words[:1] == ["file"] else FLAGS
    rest = iter(word for word in words if word)
    for word in rest:
        option, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            names.append(word)
        elif equals and word.startswith("--"):
            given.append((option, value))
        else:
            given.append((word, "" if word in flags else next(rest, "")))
    return names, given


def forced(given: "list[tuple[str, str]]") -> bool:
    return any(option in ("-f", "--force") for option, _ in given)


def pairs(words: list[str]) -> "Iterator[tuple[str, str]]":
    """``KEY=VALUE …`` or ``KEY VALUE``."""
    if words and "=" not in words[0]:
        yield words[0], " ".join(words[1:])
        return
    for word in words:
        key, _, value = word.partition("=")
        yield key, value


def reach(change: Change) -> Iterator[str]:
    """Yield every path of the root filesystem that a change can affect."""
    yield from (change.path, change.real, *change.new_parents)
    if change.resolved is not None:
        yield from (place for place, _ in change.resolved.links)
        yield from change.resolved.missing


def other_names(simulation: Simulation, places: set[str]) -> set[str]:
    """Return the other names of the files at these places (hard links)."""
    found = set()
    for subject in simulation.subjects.values():
        assert isinstance(subject.folder, Tree)
        tree = subject.folder.tree
        nodes = {
            id(tree._find("/rootfs" + place)) for place in places if tree.entry("/rootfs" + place) is not None
        }
        files = tree.walk("/rootfs") if nodes else ()
        found |= {path[len("/rootfs") :] for path, _ in files if id(tree._find(path)) in nodes}
    return found


def differing(mine: Mapping[str, Any], expected: Mapping[str, Any]) -> set[str]:
    """Return the paths at which two states of all instances differ.

    A different pending trigger gives ``pending``.
    """
    paths = set()
    for name in {*mine, *expected}:
        a, b = (
            mine.get(name, {"pending": "?", "files": {}}),
            expected.get(name, {"pending": "?", "files": {}}),
        )
        paths |= {path for path in {*a["files"], *b["files"]} if a["files"].get(path) != b["files"].get(path)}
        paths |= {"pending"} if a["pending"] != b["pending"] else set()
    return paths


def twin(subject: SimulatedInstance) -> SimulatedInstance:
    snapshots = {name: (instance, folder.copy()) for name, (instance, folder) in subject.snapshots.items()}
    return SimulatedInstance(subject.instance, subject.folder.copy(), subject.life, subject.origin, snapshots)


def changed(instance: Instance, **fields: Any) -> Instance:
    """Return a copy of the instance with other values of these fields."""
    return Instance(**{name: fields.get(name, getattr(instance, name)) for name in Instance.__slots__})


def image_tree(image: Mapping[str, Any]) -> Tree:
    """Return the folder of an unpacked image."""
    tree = MemoryRootfs()
    tree._plant("/metadata.yaml", image["metadata_yaml"])
    if image["templates_dir"] == "dir":
        tree.mkdir("/templates")
        for name, content in image["templates"].items():
            entry = content if isinstance(content, dict) and "repeat" not in content else {"content": content}
            plant(tree, {"path": name, **entry}, "/templates/")
    elif image["templates_dir"] != "absent":
        tree.symlink("/templates", image["templates_dir"])
    tree.mkdir("/rootfs")
    for path, entry in BASE.walk():
        tree._plant(f"/rootfs{path}", BASE.read(path, BIG) if entry.kind == FILE else entry)
    for entry in image["rootfs_extra"]:
        plant(tree, entry, "/rootfs")
    return Tree(tree)


def empty_tree(host: Host) -> Tree:
    """Return the folder of an instance without an image. Incus makes an empty root filesystem, LXD none."""
    tree = MemoryRootfs()
    if host.product == "incus":
        tree.mkdir("/rootfs")
    return Tree(tree)


def plant(tree: MemoryRootfs, entry: Mapping[str, Any], top: str) -> None:
    path = top + entry["path"]
    kind = entry.get("type", "file")
    if tree.entry(path) is not None and kind != "dir":
        tree.remove(path)
    mode = int(entry["mode"], 8) if "mode" in entry else None
    uid, gid = entry.get("uid", 0), entry.get("gid", 0)
    if kind == "file":
        data = (
            base64.b64decode(entry["b64"]) if "b64" in entry else repeated(entry.get("content", "")).encode()
        )
        tree._plant(path, data)
        tree.write(path, data, mode or 0o644, uid, gid)
    elif kind == "hardlink":
        target = entry["target"].removeprefix("templates/").removeprefix("rootfs/").lstrip("/")
        tree.link(f"{top.rstrip('/')}/{target}", path)
    elif kind == "symlink":
        tree._plant(path, Entry(SYMLINK, 0o777, uid, gid, target=expanded(entry["target"])))
    else:
        kinds = {"dir": (DIRECTORY, 0o755), "fifo": (FIFO, 0o644), "char": (CHAR_DEVICE, 0o666)}
        name, usual = kinds[kind]
        rdev = (1 << 8) | 3 if kind == "char" else 0
        tree._plant(path, Entry(name, usual if mode is None else mode, uid, gid, rdev=rdev))


def write(tree: MemoryRootfs, path: str, data: bytes) -> None:
    if tree.entry("/templates") is None:
        tree.mkdir("/templates")
    tree.write(path, data)


def repeated(text: Any) -> str:
    """Return a recorded text. Long texts are recorded as a part and a number of repetitions."""
    return text["repeat"] * text["times"] if isinstance(text, dict) else str(text)


def leads_out(place: str, target: str) -> bool:
    """Return whether an ``os.Root`` of the instance's folder refuses a link."""
    return target.startswith("/") or normpath(f".{os.path.dirname(place)}/{target}").startswith("..")


def expanded(text: str) -> str:
    return text.replace("$WORK", WORK)


def guest_word(word: str, top: str) -> str:
    """Return a word of a guest's command. Convert absolute paths of the guest to paths of the host."""
    return re.sub(r"(?<![\w.$/-])/(?=[\w.])", f"{top}/", word)


# states, as the recorder wrote them down


def files_of(folder: Tree) -> dict[str, str]:
    """Return each difference between the root filesystem and the base, in the recorder's words."""
    if folder.tree.entry("/rootfs") is None:
        return {}
    root = SubTree(folder.tree, "/rootfs")
    found = {}
    for full, entry in folder.tree.walk("/rootfs"):
        path = full[len("/rootfs") :]
        hidden = path.startswith(("/dev/", "/proc/", "/sys/")) and entry.kind != FILE
        base = BASE.entry(path)
        if hidden or (base is not None and same(base, path, entry, root)):
            continue
        if entry.kind == FILE:
            found[path] = file_text(entry.uid, entry.gid, entry.mode, root.read(path, BIG), entry.nlink)
        elif entry.kind == SYMLINK:
            found[path] = f"symlink {entry.target.replace(WORK, '$WORK')}"
        else:
            kind = {DIRECTORY: "dir", FIFO: "fifo", CHAR_DEVICE: "char"}.get(entry.kind, "other")
            found[path] = f"{kind} {entry.uid}:{entry.gid} {entry.mode:04o}"
    return found


def same(base: Entry, path: str, entry: Entry, root: SubTree) -> bool:
    if base.kind == DIRECTORY and entry.kind == DIRECTORY:
        return True
    if base.kind == entry.kind == SYMLINK:
        return base.target == entry.target
    return base.kind == entry.kind == FILE and BASE.read(path, BIG) == root.read(path, BIG)


def file_text(uid: int, gid: int, mode: int, content: bytes, nlink: int) -> str:
    shown = repr(content) if len(content) <= 3000 else f"{len(content)} {hashlib.sha256(content).hexdigest()}"
    return f"file {uid}:{gid} {mode:04o} {shown}" + (f" nlink {nlink}" if nlink > 1 else "")


def observed_text(entry: Mapping[str, Any], shift: int) -> str:
    uid, gid = entry["uid"] - shift, entry["gid"] - shift
    kind = entry["type"]
    if kind == "symlink":
        return f"symlink {entry['target']}"
    if kind != "file":
        return f"{kind} {uid}:{gid} {entry['mode']}"
    if "sha256" in entry:
        return f"file {uid}:{gid} {entry['mode']} {entry['size']} {entry['sha256']}"
    content = base64.b64decode(entry["content_b64"]) if "content_b64" in entry else entry["content"].encode()
    return file_text(uid, gid, int(entry["mode"], 8), content, entry.get("nlink", 1))


def difference(mine: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    lines = []
    for name in sorted({*mine, *expected}):
        a, b = mine.get(name), expected.get(name)
        if a is None or b is None:
            lines.append(f"{name}: {'is not here' if a is None else 'should not be here'}")
            continue
        if a["pending"] != b["pending"]:
            lines.append(f"{name}: pending {a['pending']!r}, observed {b['pending']!r}")
        for path in sorted({*a["files"], *b["files"]}):
            if a["files"].get(path) != b["files"].get(path):
                lines.append(f"{name} {path}: {a['files'].get(path)!s:.300}")
                lines.append(f"{name} {path}: observed {b['files'].get(path)!s:.300}")
    return "\n".join(lines)


class Laid:
    """The instances' folders on disk, for commands that use them. At the end, they are read back."""

    def __init__(self, simulation: Simulation, outside: MemoryRootfs, mapped: "frozenset[str]") -> None:
        self.simulation = simulation
        self.outside = outside
        self.mapped = mapped

    def shift(self, name: str) -> int:
        return SHIFT if name in self.mapped else 0

    def __enter__(self) -> "Laid":
        self.top = tempfile.mkdtemp(prefix="templater-replay-")
        self.containers = f"{self.top}/pool/containers"
        self.work = f"{self.top}/work"
        os.makedirs(self.containers)
        for name, subject in self.simulation.subjects.items():
            assert isinstance(subject.folder, Tree)
            lay(subject.folder.tree, f"{self.containers}/{name}", self.shift(name))
        outside = MemoryRootfs()
        for path, entry in self.outside.walk(WORK):
            outside._plant(path[len(WORK) :], self.outside.read(path, BIG) if entry.kind == FILE else entry)
        lay(outside, self.work)
        base = f"{self.work}/img/base/rootfs"
        os.makedirs(os.path.dirname(base), exist_ok=True)
        lay(BASE, base)
        return self

    def run(self, argv: list[str]) -> None:
        environment = {"PATH": os.environ.get("PATH", ""), "WORK": self.work, "LC_ALL": "C"}
        with suppress(subprocess.TimeoutExpired, FileNotFoundError):
            subprocess.run(argv, cwd=self.top, env=environment, capture_output=True, check=False, timeout=20)

    def __exit__(self, *_: object) -> None:
        try:
            for name, subject in self.simulation.subjects.items():
                assert isinstance(subject.folder, Tree)
                before = subject.folder.tree
                tree = gathered(f"{self.containers}/{name}", before, self.shift(name))
                subject.folder = subject.folder.with_tree(tree)
            left = gathered(f"{self.work}/run", MemoryRootfs())
            for path, entry in left.walk():
                self.outside._plant(
                    f"{WORK}/run{path}", left.read(path, BIG) if entry.kind == FILE else entry
                )
        finally:
            shutil.rmtree(self.top)


def lay(tree: MemoryRootfs, top: str, shift: int = 0) -> None:
    """Write a tree to disk, ids moved up by ``shift``; without root, owners and devices stay behind."""
    os.makedirs(top)
    links: dict[int, str] = {}
    for path, entry in tree.walk():
        place = top + path
        node = id(tree._find(path))
        if entry.kind == DIRECTORY:
            os.mkdir(place)
        elif entry.kind == SYMLINK:
            os.symlink(entry.target.replace(WORK, top.partition("/pool/")[0] + "/work"), place)
        elif entry.kind == FIFO:
            os.mkfifo(place)
        elif node in links:
            os.link(links[node], place)
            continue
        elif entry.kind == FILE:
            links[node] = place
            Path(place).write_bytes(tree.read(path, BIG))
        else:
            with suppress(PermissionError):
                os.mknod(place, stat.S_IFCHR | 0o666, entry.rdev)
            if not os.path.lexists(place):
                continue
        with suppress(PermissionError):
            os.lchown(place, entry.uid + shift, entry.gid + shift)
        if entry.kind != SYMLINK:
            os.chmod(place, entry.mode)


def gathered(top: str, before: MemoryRootfs, shift: int = 0) -> MemoryRootfs:
    """Return the files on disk as a tree.

    Unchanged files keep the attributes that could not be written to disk.
    """
    tree = MemoryRootfs()
    links: dict[int, str] = {}
    root = os.geteuid() == 0
    if not os.path.isdir(top):
        return tree
    for folder, folders, files in os.walk(top):
        for name in sorted(folders + files):
            place = f"{folder}/{name}"
            path = place[len(top) :]
            status = os.lstat(place)
            old = before.entry(path)
            uid, gid = status.st_uid - shift, status.st_gid - shift
            if not root:
                uid, gid = (old.uid, old.gid) if old is not None else (0, 0)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(place).replace(top.partition("/pool/")[0] + "/work", WORK)
                tree._plant(path, Entry(SYMLINK, 0o777, uid, gid, target=target))
            elif stat.S_ISDIR(status.st_mode):
                tree._plant(path, Entry(DIRECTORY, mode, uid, gid))
            elif stat.S_ISFIFO(status.st_mode):
                tree._plant(path, Entry(FIFO, mode, uid, gid))
            elif stat.S_ISCHR(status.st_mode):
                tree._plant(path, Entry(CHAR_DEVICE, mode, uid, gid, rdev=status.st_rdev))
            elif status.st_ino in links:
                tree.link(links[status.st_ino], path)
            else:
                links[status.st_ino] = path
                tree._plant(path, b"")
                tree.write(path, Path(place).read_bytes(), mode, uid, gid)
    return tree


def cases_in(folder: Path) -> list[dict[str, Any]]:
    """Return every observed case of a folder. The snippets of ``pongo2_probe.json`` are not cases."""
    found = []
    for path in sorted(folder.glob("*.json")):
        case = json.loads(path.read_text())
        if "observed" in case:
            found.append(case)
    return found


def only_starts(case: Mapping[str, Any]) -> bool:
    return {step["step"][0] for step in case["observed"]} <= {"create", "start"}
