"""A simulation of instance lifecycles: which files change at each step, and why.

The simulation follows the chosen host: after a failed start, it continues with the files that the host would
have left behind. With the host ``none``, templater's own rule applies: a failed start writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..model.entry import DIRECTORY, FILE
from ..model.errors import HostError, TemplaterError, UsageError
from ..model.hosts import Host
from ..model.instance import Instance, Profile, require_name
from ..model.lifecycle import PENDING_KEY, Life
from ..model.metadata import Metadata, Rule
from ..model.options import RenderOptions
from ..model.plan import FAILED, Change, Plan, carry_out
from ..model.source import printable
from ..planning.new_instance import placeholder_note, with_placeholders
from ..planning.planner import plan_image
from ..prediction.deviations import deviations_at
from ..rendering.context import with_image_keys
from ..rendering.render import render_data
from ..rootfs.memory import MemoryRootfs
from .host_start import HostStart, start_on_host
from .steps import MAKING, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import Image
    from ..parsing.yaml_nodes import Limits as YamlLimits

#: names and aliases of architectures, from Incus: shared/osarch
ARCHITECTURES = frozenset(
    (
        *("i686", "x86_64", "armv6l", "armv7l", "armv8l", "aarch64", "ppc", "ppc64", "ppc64le", "s390x"),
        *("mips", "mips64", "riscv32", "riscv64", "loongarch64"),
        *("i386", "i586", "386", "x86", "generic_32", "amd64", "generic_64", "armel", "arm", "armhf"),
        *("armhfp", "armv7a_hardfp", "armv7", "armv7a_vfpv3_hardfp", "arm64", "arm64_generic", "powerpc"),
        *("powerpc64", "ppc64el", "mipsel", "mips64el", "rv32", "rv64", "loong64"),
    )
)

#: Incus: internal/instance InstanceIncludeWhenCopying. All other volatile keys get new values in a copy.
_COPIED_VOLATILE = ("volatile.base_image", "volatile.last_state.idmap")
POWER = "volatile.last_state.power"
#: the key that Incus, but not LXD, records when an instance stops
READY = "volatile.last_state.ready"


class Paper(Protocol):
    """An in-memory root filesystem that can be copied and written."""

    def entry(self, path: str) -> Any: ...
    def read(self, path: str, limit: int) -> bytes: ...
    def copy(self) -> Paper: ...
    def carry_out(self, change: Change) -> None: ...
    def mkdir(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None: ...
    def write(self, path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None: ...
    def overwrite(self, path: str, content: bytes) -> None: ...


class Folder(Protocol):
    """An instance's copy of the image's metadata and templates, and its root filesystem."""

    @property
    def image(self) -> Image: ...
    @property
    def rootfs(self) -> Paper: ...
    @property
    def properties(self) -> Mapping[str, str] | None:
        """Image properties that override those of metadata.yaml: edited, or set by publish. Else None."""

    @property
    def unknown(self) -> dict[str, str]:
        """Paths whose state on the host is unknown, with the reasons."""

    def copy(self) -> Folder: ...


@dataclass(frozen=True, slots=True)
class PaperFolder:
    """A folder whose templates never change. Copies share the image, but not the root filesystem."""

    image: Image
    rootfs: Paper = field(default_factory=MemoryRootfs)
    properties: Mapping[str, str] | None = None
    unknown: dict[str, str] = field(default_factory=dict)

    def copy(self) -> PaperFolder:
        return replace(self, rootfs=self.rootfs.copy(), unknown=dict(self.unknown))


@dataclass(slots=True)
class Subject:
    """One instance of the simulation."""

    instance: Instance
    folder: Folder
    life: Life
    #: the image that the instance was created from, for a rebuild; None if unknown
    origin: Folder | None
    snapshots: dict[str, tuple[Instance, Folder]] = field(default_factory=dict)
    #: the name to show in placeholders for keys that the daemon generates, or empty to show none. None if
    #: the instance existed before, because its description contains these keys.
    made: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The result of a start. ``unknown`` maps paths whose state is unknown to the reasons."""

    plan: Plan
    changes: tuple[Change, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    #: the templater limit that stopped a render; the host has no limit, so its result is unknown
    limit: TemplaterError | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a step. ``started`` is set if the step started the instance."""

    step: Step
    name: str
    #: the trigger that the next start runs before ``start``, or empty
    pending: str
    started: Started | None = None
    error: TemplaterError | None = None
    #: whether the step deleted the instance because it was ephemeral
    gone: bool = False

    @property
    def plan(self) -> Plan | None:
        return None if self.started is None else self.started.plan

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes that were written."""
        return () if self.started is None else self.started.changes

    @property
    def note(self) -> str:
        """A one-line summary of the step."""
        if self.error is not None:
            gone = " (the ephemeral instance is deleted)" if self.gone else ""
            verb = (
                "has an unknown result"
                if self.started is not None and self.started.limit is not None
                else "fails"
            )
            return f"{self.name}: {self.step.verb} {verb}{gone}: {self.error}"
        if self.gone:
            return f"{self.name}: {self.step.verb}: nothing is rendered; the ephemeral instance is deleted"
        if self.started is not None:
            count = len(self.changes)
            written = f"{count} file{'s' if count > 1 else ''}" if count else "nothing"
            unknown = f"; {len(self.started.unknown)} unknown" if self.started.unknown else ""
            return f"{self.name}: {' then '.join(self.started.plan.triggers)}: writes {written}{unknown}"
        pending = f"; the next start runs {self.pending}" if self.pending else ""
        return f"{self.name}: {_describe_step(self.step)}: nothing is rendered{pending}"


def _describe_step(step: Step) -> str:
    if step.verb not in ("c", "d", "p"):
        return step.verb
    key, equals, value = step.argument.partition("=")
    if step.verb == "p":
        return f"profile {printable(key)} is {'removed' if equals else 'added'}"
    what = printable(key.replace(",", " ", 1)) if step.verb == "d" else printable(key)
    return f"{what} is {'set' if value else 'unset' if step.verb == 'c' or ',' in key else 'removed'}"


def simulate(
    image: Image,
    instance: Instance,
    steps: Iterable[Step],
    options: RenderOptions,
    *,
    rootfs: Paper | None = None,
    reading: YamlLimits | None = None,
    pending: str | None = None,
    running: bool = False,
    open_folder: Callable[[str], Folder] | None = None,
    read_profile: Callable[[str], Profile] | None = None,
    placeholders: bool = False,
) -> list[Report]:
    """Simulate the steps and return a report of each.

    By default, the instance is first created from ``image``. If ``pending`` is given, the instance already
    exists, and its next start runs the pending trigger (empty for none). ``open_folder`` opens the IMAGE of
    ``rebuild=IMAGE``, and ``read_profile`` reads the FILE of ``p:FILE``. ``placeholders`` adds placeholders
    for the keys that a daemon generates when it creates an instance. The total time limit of ``options``
    applies to all steps together. Errors of steps are part of their reports. Raises TemplaterError if the
    instance cannot be created.
    """
    life = Simulation(
        options.begun(), reading=reading, open_folder=open_folder, read_profile=read_profile,
        placeholders=placeholders,
    )  # fmt: skip
    folder = PaperFolder(image, MemoryRootfs() if rootfs is None else rootfs)
    if pending is None:
        require_name(instance.name, daemon=bool(options.host.family))
        life.create(instance, folder)
    else:
        life.adopt(instance, folder, pending, running=running)
    return [life.take(step) for step in steps]


class Simulation:
    """A set of simulated instances. Each method is one step.

    A step that raises an error changes nothing. The exception is a failed start, after which the instance is
    as the host would leave it.
    """

    def __init__(
        self,
        options: RenderOptions,
        *,
        reading: YamlLimits | None = None,
        open_folder: Callable[[str], Folder] | None = None,
        read_profile: Callable[[str], Profile] | None = None,
        placeholders: bool = False,
    ) -> None:
        self.placeholders = placeholders
        self.options = options
        self.host = options.host
        self.reading = reading
        self.open_folder = open_folder
        self.read_profile = read_profile
        self.subjects: dict[str, Subject] = {}
        #: the instance to which steps without a name apply
        self.current = ""
        self.taken = 0
        #: whether the simulation began with an existing instance
        self.adopted = False

    def take(self, step: Step) -> Report:
        """Execute a step and report it. An error becomes part of the report."""
        name = step.name or self.current
        self.taken += 1
        try:
            started = self._take(step, name)
        except TemplaterError as error:
            left = self.subjects.get(name)
            started = error.started if isinstance(error, StartError) else None
            cause = error.cause if isinstance(error, StartError) else error
            gone = left is None and started is not None
            return Report(step, name, "" if left is None else left.life.pending, started, cause, gone)
        if step.verb in MAKING:
            name = step.made
        left = self.subjects.get(name)  # None if an ephemeral instance was stopped
        pending = "" if left is None else left.life.pending
        limit = None if started is None else started.limit
        return Report(step, name, pending, started, limit, gone=left is None)

    def _take(self, step: Step, name: str) -> Started | None:
        argument = step.argument
        if step.verb in MAKING:
            require_name(step.made, daemon=bool(self.host.family))
        key, _, value = argument.partition("=")
        if step.verb in ("start", "reboot"):
            return self.start(name, reboot=step.verb == "reboot")
        if step.verb == "restart":
            return self.restart(name)
        if step.verb == "copy":
            new, _, snapshot = argument.partition("/")
            self.copy(name, new, snapshot)
        elif step.verb == "rename":
            self.rename(name, argument)
        elif step.verb == "move":
            self.move(name, argument, **step.options)
        elif step.verb == "publish":
            new, _, snapshot = argument.partition("/")
            folder = self.publish(name, snapshot, step.options)
            self.create(_instance_of_published(self.find(name).instance, new), folder)
        elif step.verb == "export":
            self.import_(self.export(name), argument)
        elif step.verb == "snapshot":
            self.snapshot(name, argument)
        elif step.verb == "restore":
            return self.restore(name, argument)
        elif step.verb == "c":
            self.set(name, key, value)
        elif step.verb == "d":
            device, _, device_key = key.partition(",")
            self.set_device(name, device, device_key, value)
        elif step.verb == "p":
            self._change_profiles(name, argument)
        elif step.verb == "stop":
            self.stop(name)
        elif step.verb == "rebuild":
            self.rebuild(name, self._opened(argument) if argument else None)
        elif self.taken > 1 or self.adopted:
            raise UsageError(
                "only the first step can be 'create'", hint="use copy=NAME to create another instance"
            )
        return None

    def find(self, name: str) -> Subject:
        """Return an instance by its name. Raises UsageError if it does not exist."""
        try:
            return self.subjects[name]
        except KeyError:
            raise UsageError(f"unknown instance '{printable(name)}'") from None

    def create(self, instance: Instance, folder: Folder) -> None:
        """Create an instance from an image. The image's properties become its ``image.*`` keys."""
        metadata = metadata_of(folder, self.host, self.reading)
        check_links(folder, metadata, self.host)
        instance = with_image_keys(instance, properties_of(folder, metadata))
        instance, pending = _split_pending(instance)
        self._add(
            Subject(instance, folder.copy(), Life(pending or "create"), folder, made=self._made(instance))
        )

    def create_empty(self, instance: Instance, folder: Folder) -> None:
        """Create an instance without an image. Its first start also runs ``create``."""
        instance, pending = _split_pending(instance)
        self._add(
            Subject(instance, folder.copy(), Life(pending or "create"), folder, made=self._made(instance))
        )

    def adopt(self, instance: Instance, folder: Folder, pending: str, *, running: bool = False) -> None:
        """Add an existing instance. It gets no keys besides those of its description."""
        instance, _ = _split_pending(instance)
        self.adopted = True
        self._add(Subject(instance, folder.copy(), Life(pending, running), None))

    def start(self, name: str, *, reboot: bool = False) -> Started:
        """Start an instance: run the pending trigger, if there is one, and ``start``.

        ``reboot`` is a restart from inside the guest, which runs the same triggers. Raises StartError if the
        start fails. The instance is then as the host would leave it.
        """
        subject = self.startable(name, reboot=reboot)
        plan = self.plan(subject, subject.life.passes)
        if self.follows_host and not plan.instance.is_vm:
            return self._start_on_host(subject, plan)
        return self._start_at_once(subject, plan)

    @property
    def follows_host(self) -> bool:
        """Whether starts follow the chosen host. If not, a start writes everything or nothing."""
        return bool(self.host.family)

    def _start_at_once(self, subject: Subject, plan: Plan) -> Started:
        """Write everything or nothing, for the host ``none`` and for virtual machines."""
        error = next((change.error for change in plan.changes if change.action == FAILED), None)
        if error is None and self.follows_host:
            error = next(iter(_host_errors(plan)), None)
        if error is not None:  # errors of the guest's agent do not fail a start
            self._end(subject, subject.life.start_failed())
            raise StartError(Started(plan), error)
        changes = tuple((plan.as_agent() if plan.instance.is_vm else plan).files())
        carry_out(changes, subject.folder.rootfs)
        self._set_started(subject)
        remarks = (*(_remarks(plan) if self.follows_host else ()), *placeholder_note(plan.files()))
        return Started(plan, tuple(plan.files()), remarks=remarks)

    def _start_on_host(self, subject: Subject, plan: Plan) -> Started:
        folder = subject.folder
        names = {change.rule.template for change in plan.changes if change.rule.template}

        def render_other(data: bytes, rule: Rule, trigger: str) -> bytes:
            return render_data(data, rule, trigger, plan.instance, self.options)

        found = start_on_host(
            plan, folder.image.read_templates(names), folder.rootfs,
            render=render_other, check_time=self.options.check_time,
        )  # fmt: skip
        doubtful = {change.real for change in plan.changes if change.rule.create_only} & folder.unknown.keys()
        remarks = [*_remarks(plan), *_write(folder.rootfs, found, plan), *placeholder_note(plan.files())]
        for path in found.written.keys() - doubtful:
            folder.unknown.pop(path, None)
        folder.unknown.update(dict.fromkeys(found.unknown, found.reason or _why_unknown(plan)))
        unknown = {
            path: reason for path, reason in folder.unknown.items() if path in found.unknown | doubtful
        }
        errors = (change.render_error for change in plan.changes)
        limit = next((error for error in errors if error is not None and error.kind == "limit"), None)
        started = Started(plan, tuple(_changes(plan, found, unknown)), unknown, tuple(remarks), limit)
        if not found.error:
            self._set_started(subject)
            return started
        self._end(subject, subject.life.start_failed(plan.triggers[found.passed]))
        raise StartError(started, _host_error(self.host, found))

    def _set_started(self, subject: Subject) -> None:
        subject.life = subject.life.started()
        self._record_power(subject, "RUNNING")

    def _record_power(self, subject: Subject, state: str) -> None:
        """Set the volatile keys in which the daemon records the instance's power state."""
        if not self.host.product:
            return
        config = {**subject.instance.config, POWER: state}
        if state == "STOPPED" and self.host.product == "incus":
            config[READY] = "false"
        subject.instance = subject.instance.replace(config=config)

    def startable(self, name: str, *, reboot: bool = False) -> Subject:
        """Return the instance if it can be started. Raises UsageError otherwise.

        It must be stopped, or running for a reboot.
        """
        subject = self.find(name)
        if subject.life.running and not reboot:
            raise UsageError(f"'{printable(name)}' is already running", hint="use restart, or stop it first")
        if reboot and not subject.life.running:
            raise UsageError(f"'{printable(name)}' is not running")
        return subject

    def plan(self, subject: Subject, triggers: tuple[str, ...]) -> Plan:
        self._generate(subject)
        return plan_image(
            subject.folder.image,
            described(subject),
            self.options,
            triggers=triggers,
            rootfs=subject.folder.rootfs,
            reading=self.reading,
        )

    def restart(self, name: str) -> Started:
        """Stop and start an instance. This does not delete an ephemeral one."""
        with self.restarting(name):
            return self.start(name)

    @contextmanager
    def restarting(self, name: str) -> Iterator[None]:
        """Stop an instance without deleting it if it is ephemeral. The caller starts it again."""
        subject = self.find(name)
        subject.life = subject.life.stopped()
        self._record_power(subject, "STOPPED")
        ephemeral = subject.instance.ephemeral
        subject.instance = subject.instance.replace(ephemeral=False)
        try:
            yield
        finally:
            subject.instance = subject.instance.replace(ephemeral=ephemeral)

    def stop(self, name: str) -> None:
        """Stop an instance, and delete it if it is ephemeral."""
        subject = self.find(name)
        life = subject.life.stopped()
        self._record_power(subject, "STOPPED")
        self._end(subject, life)

    def _end(self, subject: Subject, life: Life) -> None:
        subject.life = life
        if subject.instance.ephemeral:
            del self.subjects[subject.instance.name]

    def copy(self, name: str, new: str, snapshot: str = "", *, refresh: bool = False) -> None:
        """Copy an instance. The copy is not ephemeral.

        ``refresh`` updates an existing copy, including its configuration, or creates one. A refreshed copy
        has no pending trigger.
        """
        source = self.find(name)
        life = source.life.copied(snapshot)
        instance, folder = source.snapshots[snapshot] if snapshot else (source.instance, source.folder)
        snapshots = {} if snapshot else dict(source.snapshots)
        config = {
            key: value
            for key, value in instance.config.items()
            if not key.startswith("volatile.") or key in _COPIED_VOLATILE
        }
        made = instance.replace(name=new, config=config, ephemeral=False)
        copied = Subject(made, folder.copy(), life, source.origin, snapshots, self._made(made))
        if refresh:
            if new in self.subjects:
                self.subjects[new].life.refreshed()
                del self.subjects[new]
            copied.life = life.refreshed()
        self._add(copied)

    def rename(self, name: str, new: str) -> None:
        subject = self.find(name)
        life = subject.life.renamed()
        self._require_free(new)
        subject.life, subject.instance = life, subject.instance.replace(name=new)
        del self.subjects[name]
        self.subjects[new] = subject
        if self.current == name:
            self.current = new

    def move(self, name: str, new: str, *, pool: str = "", project: str = "") -> None:
        """Move an instance to another name, storage pool or project.

        Without a new name, the daemon copies the instance and deletes the original. This keeps a pending
        trigger and the volatile keys. Observed on Incus 6.0.4.
        """
        subject = self.find(name)
        if name != new:
            self.rename(name, new)
        elif not pool and not project:
            raise UsageError(
                f"'{printable(name)}' already has that name", hint="set a new name, pool= or project="
            )
        elif subject.life.running:
            raise UsageError("a running instance can't be moved", hint="stop it first")
        else:
            subject.life = subject.life.with_pending(subject.life.pending or "copy")
        if pool:
            root = {"type": "disk", "path": "/", **subject.instance.expanded_devices().get("root", {})}
            devices = {**subject.instance.devices, "root": {**root, "pool": pool}}
            subject.instance = subject.instance.replace(devices=devices)

    def rebuild(self, name: str, folder: Folder | None = None) -> None:
        """Replace the root filesystem, templates and ``image.*`` keys with those of the image."""
        subject = self.find(name)
        origin = folder or subject.origin
        if origin is None:
            raise UsageError(
                f"the image of '{printable(name)}' is unknown", hint="pass it with rebuild=IMAGE"
            )
        if subject.snapshots and self.host.product == "incus":
            raise UsageError("Incus can't rebuild an instance with snapshots")
        subject.life = subject.life.rebuilt()
        subject.origin = origin
        subject.folder = origin.copy()
        config = {
            key: value for key, value in subject.instance.config.items() if not key.startswith("image.")
        }
        subject.instance = subject.instance.replace(config=config)
        if has_metadata(origin):
            properties = properties_of(origin, metadata_of(origin, self.host, self.reading))
            subject.instance = with_image_keys(subject.instance, properties)

    def _opened(self, image: str) -> Folder:
        if self.open_folder is None:
            raise UsageError(f"can't open image '{printable(image)}' here")
        return self.open_folder(image)

    def snapshot(self, name: str, snapshot: str) -> None:
        subject = self.find(name)
        subject.life = subject.life.snapshotted(snapshot)
        subject.snapshots[snapshot] = (subject.instance, subject.folder.copy())

    def restore(self, name: str, snapshot: str) -> Started | None:
        """Restore a snapshot. A running instance is stopped first and started afterwards."""
        subject = self.find(name)
        running = subject.life.running
        subject.life = subject.life.restored(snapshot)
        instance, folder = subject.snapshots[snapshot]
        subject.instance, subject.folder = instance.replace(name=name), folder.copy()
        return self.start(name) if running else None

    def publish(self, name: str, snapshot: str = "", properties: Mapping[str, str] | None = None) -> Folder:
        """Return an image of the instance or of a snapshot, with the instance's current templates.

        Incus merges ``properties`` into those of the image. LXD replaces the image's properties.
        """
        subject = self.find(name)
        subject.life.published(snapshot)
        folder = (subject.snapshots[snapshot][1] if snapshot else subject.folder).copy()
        if not properties:
            return folder
        before = properties_of(folder, metadata_of(folder, self.host, self.reading))
        return _with_properties(folder, {**({} if self.host.product == "lxd" else before), **properties})

    def export(self, name: str) -> Subject:
        subject = self.find(name)
        return replace(
            subject,
            life=subject.life.exported(),
            folder=subject.folder.copy(),
            snapshots=dict(subject.snapshots),
        )

    def import_(self, backup: Subject, name: str) -> None:
        self._add(
            replace(
                backup,
                instance=backup.instance.replace(name=name),
                folder=backup.folder.copy(),
                snapshots=dict(backup.snapshots),
            )
        )

    def set(self, name: str, key: str, value: str) -> None:
        """Set a configuration key, or unset it if the value is empty."""
        subject = self.find(name)
        if key == PENDING_KEY:
            subject.life = subject.life.with_pending(value)
            return
        config = {**subject.instance.config, key: value}
        if not value:
            del config[key]
        subject.instance = subject.instance.replace(config=config)

    def set_device(self, name: str, device: str, key: str, value: str) -> None:
        """Set a key of a device, or remove the device if ``key`` is empty.

        A device inherits the keys that profiles give it.
        """
        subject = self.find(name)
        devices = dict(subject.instance.devices)
        if not key:
            if device not in devices:
                raise UsageError(f"'{printable(name)}' has no local device '{printable(device)}'")
            del devices[device]
        else:
            keys = {**subject.instance.expanded_devices().get(device, {}), key: value}
            devices[device] = {key: text for key, text in keys.items() if text}
            if "type" not in devices[device]:
                raise UsageError(
                    f"device '{printable(device)}' has no type",
                    hint=f"set the type first, for example d:{printable(device)},type=nic",
                )
        subject.instance = subject.instance.replace(devices=devices)

    def set_profile(self, name: str, profile: Profile) -> None:
        """Add a profile to an instance, and replace profiles of the same name in every instance."""
        subject = self.find(name)
        if profile.name not in {each.name for each in subject.instance.profiles}:
            subject.instance = subject.instance.replace(profiles=(*subject.instance.profiles, profile))
        for other in self.subjects.values():
            profiles = tuple(
                profile if each.name == profile.name else each for each in other.instance.profiles
            )
            other.instance = other.instance.replace(profiles=profiles)

    def _change_profiles(self, name: str, argument: str) -> None:
        removed, equals, _ = argument.partition("=")
        if not equals:
            if self.read_profile is None:
                raise UsageError(f"can't open profile '{printable(argument)}' here")
            self.set_profile(name, self.read_profile(argument))
            return
        subject = self.find(name)
        profiles = tuple(each for each in subject.instance.profiles if each.name != removed)
        if len(profiles) == len(subject.instance.profiles):
            raise UsageError(f"'{printable(name)}' has no profile '{printable(removed)}'")
        subject.instance = subject.instance.replace(profiles=profiles)

    def delete(self, name: str) -> None:
        self.find(name)
        del self.subjects[name]

    def _made(self, instance: Instance) -> str:
        """Return the name to show in a new instance's placeholders. The first instance needs none."""
        return instance.name if self.current else ""

    def _generate(self, subject: Subject) -> None:
        """Add placeholders for missing keys that the daemon would have generated by now."""
        if self.placeholders and subject.made is not None:
            subject.instance = with_placeholders(subject.instance, subject.made)

    def _add(self, subject: Subject) -> None:
        name = subject.instance.name
        self._require_free(name)
        self._generate(subject)
        self.subjects[name] = subject
        self.current = self.current or name

    def _require_free(self, name: str) -> None:
        if name in self.subjects:
            raise UsageError(f"instance '{printable(name)}' already exists")


class StartError(TemplaterError):
    """A failed start. ``cause`` is the error, and ``started`` describes the files that the start wrote."""

    kind = "start"

    def __init__(self, started: Started, cause: TemplaterError) -> None:
        super().__init__(cause.message, cause.span, cause.hint, cause.notes)
        self.started = started
        self.cause = cause
        self.exit_code = cause.exit_code

    @property
    def plan(self) -> Plan:
        return self.started.plan


def _host_errors(plan: Plan) -> Iterable[TemplaterError]:
    """Yield the errors with which the start fails on the host."""
    if plan.host_error:
        yield HostError(f"{plan.host.name}: {plan.host_error}")
    for change in plan.changes:
        outcome = plan.outcome(change)
        if outcome is not None and outcome.result in ("fails", "hangs"):
            words = outcome.error or outcome.text
            yield HostError(f"{plan.host.name}: {words}", change.rule.spans.get("path"))


def _host_error(host: Host, found: HostStart) -> TemplaterError:
    """Return the error of a failed start.

    If templater fails at the same rule, this is templater's own error, because it has a position.
    """
    change = found.failed
    if change is not None and change.error is not None:
        return change.error
    verb = "hangs" if found.hangs else "fails"
    span = None if change is None else change.rule.spans.get("path")
    return HostError(f"the start {verb} on {host.name}: {printable(found.error)}", span)


def _remarks(plan: Plan) -> Iterable[str]:
    """Yield the deviations between templater and the host, each with the files that it affects."""
    found: dict[str, list[str]] = {}
    for change in (*plan.changes, *plan.agent):
        for deviation in deviations_at(plan, change):
            text = f"templater differs ({deviation.name}): {deviation.ours}"
            if change.path not in found.setdefault(text, []):
                found[text].append(change.path)
    yield from plan.notes
    for text, paths in found.items():
        yield f"{', '.join(printable(path) for path in paths)}: {text}"


def _write(rootfs: Paper, found: HostStart, plan: Plan) -> Iterable[str]:
    """Write the files that the host certainly writes. Return remarks on those that differ from the plan."""
    remarks = []
    planned = {change.real: change.content for change in plan.changes}
    for path, node in found.written.items():
        entry = rootfs.entry(path)
        if node.kind == DIRECTORY:
            if entry is None:
                rootfs.mkdir(path, node.mode, node.uid, node.gid)
            continue
        if node.kind != FILE or node.content is None:
            continue
        if entry is None:
            rootfs.write(path, node.content, node.mode, node.uid, node.gid)
        else:
            rootfs.overwrite(path, node.content)
        if planned.get(path) != node.content:
            left = "left empty" if not node.content else "written"
            remarks.append(f"{printable(path)}: {left} by {plan.host.name}")
    return remarks


def _why_unknown(plan: Plan) -> str:
    limited = any(change.render_error is not None for change in plan.changes)
    return "a templater limit stopped the render" if limited else "two rules write it, in random order"


def _changes(plan: Plan, found: HostStart, unknown: Mapping[str, str]) -> Iterable[Change]:
    """Yield the changes that the host makes, with the host's owner and mode."""
    for change in plan.files():
        node = found.written.get(change.real)
        if node is None or change.real in unknown or node.content != change.content:
            continue
        made = copy(change)
        made.uid, made.gid, made.mode = node.uid, node.gid, node.mode
        yield made


def _split_pending(instance: Instance) -> tuple[Instance, str]:
    """Split the pending trigger from the configuration, because ``Life`` stores it."""
    config = dict(instance.config)
    pending = config.pop(PENDING_KEY, "")
    return instance.replace(config=config), pending


def properties_of(folder: Folder, metadata: Metadata) -> Mapping[str, str]:
    """Return the image properties: those of the folder override those of metadata.yaml."""
    return metadata.properties if folder.properties is None else folder.properties


def has_metadata(folder: Folder) -> bool:
    """Return whether the folder has a metadata.yaml. It has none after ``rebuild --empty``."""
    try:
        folder.image.read_metadata()
    except TemplaterError:
        return False
    return True


def _with_properties(folder: Folder, properties: Mapping[str, str]) -> Folder:
    made: Any = copy(folder)
    return (
        replace(made, properties=properties)
        if isinstance(made, PaperFolder)
        else made.with_properties(properties)
    )


def described(subject: Subject) -> Instance:
    """Return the instance as its templates see it, with the pending trigger as a configuration key."""
    config = dict(subject.instance.config)
    if subject.life.pending:
        config[PENDING_KEY] = subject.life.pending
    return subject.instance.replace(config=config)


def metadata_of(folder: Folder, host: Host, reading: YamlLimits | None = None) -> Metadata:
    """Read and decode the folder's metadata.yaml. Raises TemplaterError if that fails."""
    from ..parsing.metadata_yaml import read_metadata

    return read_metadata(folder.image.read_metadata(), yaml=host.yaml, limits=reading)


def check_image(metadata: Metadata, host: Host) -> None:
    """Raise HostError if the host refuses to import an image with this metadata."""
    if metadata.architecture not in ARCHITECTURES:
        shown = f'"{metadata.architecture}"' if host.product == "lxd" else metadata.architecture
        raise HostError(
            f"{host.name} refuses to import the image: Architecture isn't supported: {printable(shown)}",
            metadata.spans.get("architecture"),
        )
    if not metadata.creation_date:
        raise HostError(
            f"{host.name} refuses to import the image: Missing creation date",
            metadata.spans.get("creation_date"),
        )


def check_links(folder: Folder, metadata: Metadata, host: Host) -> None:
    """Raise HostError if the host refuses to create an instance because a template is not a regular file."""
    if host.links_refused_at != "create":
        return
    names = {rule.template for rule in metadata.rules if rule.template and "/" not in rule.template}
    names -= {".", ".."}
    # An archive provides only the templates that rules name. A directory lists all of its templates.
    names |= set(getattr(folder.image, "template_names", tuple)())
    for name, file in sorted(folder.image.read_templates(names).items()):
        kind = file.entry.kind if file.entry is not None else "refused" if file.error is not None else ""
        if kind not in ("", FILE, DIRECTORY):
            raise HostError(
                f"{host.name} refuses to create the instance:"
                f" template '{printable(name)}' is not a regular file",
                hint="replace it with a regular file",
            )


def _instance_of_published(instance: Instance, name: str) -> Instance:
    """Return a new instance for a published image, which does not contain the source's configuration."""
    return Instance(name, instance.type, instance.architecture, profiles=instance.profiles)
