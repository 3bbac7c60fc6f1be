"""The life of instances on paper: which files change at each step, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .changes import Change, Plan
from .errors import HostError, TemplateError, TemplaterError, UsageError
from .hosts import INCUS, Host
from .instance import Instance
from .lifecycle import PENDING_KEY, Life, created
from .metadata import Metadata
from .plan import plan as plan_of_image
from .rootfs.memory import MemoryRootfs
from .source import printable
from .views import DIRECTORY, FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .pongo2.state import Limits
    from .views import Image
    from .yamltext import Limits as YamlLimits

#: Incus: shared/osarch; names and aliases
ARCHITECTURES = frozenset(
    (
        *("i686", "x86_64", "armv6l", "armv7l", "armv8l", "aarch64", "ppc", "ppc64", "ppc64le", "s390x"),
        *("mips", "mips64", "riscv32", "riscv64", "loongarch64"),
        *("i386", "i586", "386", "x86", "generic_32", "amd64", "generic_64", "armel", "arm", "armhf"),
        *("armhfp", "armv7a_hardfp", "armv7", "armv7a_vfpv3_hardfp", "arm64", "arm64_generic", "powerpc"),
        *("powerpc64", "ppc64el", "mipsel", "mips64el", "rv32", "rv64", "loong64"),
    )
)

VERBS = {
    "create": "a new instance; only of use as the first step, where it is what happens anyway",
    "start": "the pending trigger, then start",
    "stop": "nothing is rendered",
    "restart": "stop, then start",
    "reboot": "the guest restarts itself: start",
    "copy": "copy=NAME: a second instance; copy=NAME/SNAPSHOT from a snapshot",
    "rename": "rename=NAME",
    "rebuild": "the root filesystem from the image again",
    "snapshot": "snapshot=NAME",
    "restore": "restore=NAME",
    "publish": "publish=NAME: an image of the instance as it is, and a new instance NAME from it",
    "export": "export=NAME: a backup, imported again as NAME",
    "c": "c:KEY=VALUE: a configuration key of the instance; c:KEY= takes it away",
}


_NAMED = ("copy", "rename", "snapshot", "restore", "publish", "export")
#: how the steps are written
_FORMS = [f"{verb}=NAME" if verb in _NAMED else "c:KEY=VALUE" if verb == "c" else verb for verb in VERBS]


class Paper(Protocol):
    """A root filesystem that can be copied and written to without anybody being hurt."""

    def entry(self, path: str) -> Any: ...
    def read(self, path: str, limit: int) -> bytes: ...
    def copy(self) -> Paper: ...
    def carry_out(self, change: Change) -> None: ...


class Folder(Protocol):
    """What an instance is made of: its own copy of the image's metadata and templates, and its root."""

    @property
    def image(self) -> Image: ...
    @property
    def rootfs(self) -> Paper: ...
    def copy(self) -> Folder: ...


@dataclass(frozen=True, slots=True)
class PaperFolder:
    """A folder whose templates never change; only its root filesystem is its own."""

    image: Image
    rootfs: Paper = field(default_factory=MemoryRootfs)

    def copy(self) -> PaperFolder:
        return replace(self, rootfs=self.rootfs.copy())


@dataclass(slots=True)
class Subject:
    """One instance of the simulation."""

    instance: Instance
    folder: Folder
    life: Life
    #: what it was made from, for a rebuild
    origin: Folder
    snapshots: dict[str, tuple[Instance, Folder]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step as asked for: ``[NAME:]VERB[=ARGUMENT]``."""

    text: str
    verb: str
    argument: str = ""
    #: the instance it is about; empty: the one at hand
    name: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a step did: ``plan`` where something was rendered, ``changes`` what was written."""

    step: Step
    name: str
    #: what the next start owes afterwards
    pending: str
    plan: Plan | None = None
    changes: tuple[Change, ...] = ()
    error: TemplaterError | None = None

    @property
    def note(self) -> str:
        """The step in one sentence."""
        if self.error is not None:
            return f"{self.name}: {self.step.verb} fails: {self.error}"
        if self.plan is not None:
            count = len(self.changes)
            written = f"{count} file{'s' if count > 1 else ''}" if count else "nothing"
            return f"{self.name}: {' then '.join(self.plan.triggers)}: writes {written}"
        owes = f"; the next start runs {self.pending}" if self.pending else ""
        done = self.step.verb
        if done == "c":
            key, _, value = self.step.argument.partition("=")
            done = f"{printable(key)} is {'set' if value else 'unset'}"
        return f"{self.name}: {done}: nothing is rendered{owes}"


def parse_step(text: str) -> Step:
    """``start``, ``c2:start``, ``copy=c2``, ``c:user.foo=bar``, ``c2:c:user.foo=bar``."""
    head, equals, argument = text.partition("=")
    *names, verb = head.split(":")
    if names and names[-1] == "c" and "." in verb:
        return Step(text, "c", f"{verb}={argument}", ":".join(names[:-1]))
    if verb not in VERBS or verb == "c" or len(names) > 1:
        raise UsageError(
            f"'{printable(text)}' is no step",
            hint=f"steps: {', '.join(_FORMS)}; with NAME: in front for another instance",
        )
    if verb in _NAMED and not argument:
        raise UsageError(f"step '{printable(text)}' needs a name", hint=f"for example {verb}=c2")
    if verb not in _NAMED and equals:
        raise UsageError(f"step '{printable(text)}': '{verb}' takes no name behind it")
    return Step(text, verb, argument, names[0] if names else "")


def simulate(
    image: Image,
    instance: Instance,
    steps: Iterable[Step],
    *,
    rootfs: Paper | None = None,
    host: Host = INCUS,
    dialect: str | None = None,
    clock: Any = None,
    seed: Any = None,
    limits: Limits | None = None,
    reading: YamlLimits | None = None,
) -> list[Report]:
    """Every step of a life, the instance's creation being the first whether asked for or not.

    The seconds that ``limits`` have in total are for all steps together.
    """
    begun = None if limits is None else limits.begun()
    life = Simulation(host, dialect=dialect, clock=clock, seed=seed, limits=begun, reading=reading)
    folder = PaperFolder(image, MemoryRootfs() if rootfs is None else rootfs)
    life.create(instance, folder)
    return [life.take(step) for step in steps]


class Simulation:
    """Any number of instances. Each method is one step; a step that fails changes nothing."""

    def __init__(
        self,
        host: Host,
        *,
        dialect: str | None = None,
        clock: Any = None,
        seed: Any = None,
        limits: Limits | None = None,
        reading: YamlLimits | None = None,
    ) -> None:
        self.host = host
        self.dialect = dialect
        self.clock = clock
        self.seed = seed
        self.limits = limits
        self.reading = reading
        self.subjects: dict[str, Subject] = {}
        #: the instance that steps without a name are about
        self.at_hand = ""

    def take(self, step: Step) -> Report:
        """Take a step; an error becomes part of the report."""
        name = step.name or self.at_hand
        try:
            plan = self._take(step, name)
        except TemplaterError as error:
            pending = self.subjects[name].life.pending if name in self.subjects else ""
            return Report(step, name, pending, getattr(error, "plan", None), (), error)
        after = self.subjects.get(name) or self.subjects[self.at_hand]
        changes = tuple(plan.files()) if plan is not None else ()
        return Report(step, after.instance.name, after.life.pending, plan, changes)

    def _take(self, step: Step, name: str) -> Plan | None:
        argument = step.argument
        if step.verb in ("start", "restart", "reboot"):
            if step.verb == "restart":
                self.stop(name)
            return self.start(name, reboot=step.verb == "reboot")
        if step.verb == "copy":
            new, _, snapshot = argument.partition("/")
            self.copy(name, new, snapshot)
        elif step.verb == "rename":
            self.rename(name, argument)
        elif step.verb == "publish":
            self.create(_renamed(self.find(name).instance, argument), self.publish(name))
        elif step.verb == "export":
            self.import_(self.export(name), argument)
        elif step.verb == "snapshot":
            self.snapshot(name, argument)
        elif step.verb == "restore":
            return self.restore(name, argument)
        elif step.verb == "c":
            key, _, value = argument.partition("=")
            self.set(name, key, value)
        elif step.verb == "stop":
            self.stop(name)
        elif step.verb == "rebuild":
            self.rebuild(name)
        elif len(self.subjects) > 1 or self.find(name).life != created():
            raise UsageError("only the first step can be 'create'", hint="copy=NAME makes another instance")
        return None

    def find(self, name: str) -> Subject:
        try:
            return self.subjects[name]
        except KeyError:
            raise UsageError(f"there is no instance '{printable(name)}'") from None

    def create(self, instance: Instance, folder: Folder) -> None:
        """A new instance; its configuration gains the image's properties as ``image.*``."""
        metadata = metadata_of(folder, self.host, self.reading)
        check_links(folder, metadata, self.host)
        config = {f"image.{key}": value for key, value in metadata.properties.items()}
        config |= instance.config
        self._add(Subject(_configured(instance, config), folder.copy(), created(), folder))

    def create_empty(self, instance: Instance, folder: Folder) -> None:
        """An instance made without an image owes ``create`` all the same."""
        self._add(Subject(instance, folder.copy(), created(), folder))

    def start(self, name: str, *, reboot: bool = False) -> Plan:
        """The passes that are due; nothing is written unless all of both can be."""
        subject = self.find(name)
        if subject.life.running and not reboot:
            raise UsageError(f"'{printable(name)}' is running already")
        triggers = ("start",) if reboot else subject.life.passes
        plan = self.plan(subject, triggers)
        if plan.failed:
            subject.life = subject.life.start_failed()
            raise StartError(plan)
        for change in (plan.as_agent() if plan.instance.is_vm else plan).files():
            subject.folder.rootfs.carry_out(change)
        subject.life = subject.life.rebooted() if reboot else subject.life.started()
        return plan

    def plan(self, subject: Subject, triggers: tuple[str, ...]) -> Plan:
        return plan_of_image(
            subject.folder.image,
            described(subject),
            triggers=triggers,
            rootfs=subject.folder.rootfs,
            host=self.host,
            dialect=self.dialect,
            clock=self.clock,
            seed=self.seed,
            limits=self.limits,
            reading=self.reading,
        )

    def stop(self, name: str) -> None:
        subject = self.find(name)
        subject.life = subject.life.stopped()

    def copy(self, name: str, new: str, snapshot: str = "", *, refresh: bool = False) -> None:
        """``refresh`` brings an existing copy up to date: what it owes stays as it is."""
        source = self.find(name)
        life = source.life.copied(snapshot)
        instance, folder = source.snapshots[snapshot] if snapshot else (source.instance, source.folder)
        if refresh and new in self.subjects:
            self.subjects[new].folder = folder.copy()
            return
        snapshots = {} if snapshot else dict(source.snapshots)
        self._add(Subject(_renamed(instance, new), folder.copy(), life, source.origin, snapshots))

    def rename(self, name: str, new: str) -> None:
        subject = self.find(name)
        life = subject.life.renamed()
        self._free(new)
        subject.life, subject.instance = life, _renamed(subject.instance, new)
        del self.subjects[name]
        self.subjects[new] = subject
        if self.at_hand == name:
            self.at_hand = new

    def rebuild(self, name: str, folder: Folder | None = None) -> None:
        subject = self.find(name)
        subject.life = subject.life.rebuilt()
        subject.origin = folder or subject.origin
        subject.folder = subject.origin.copy()

    def snapshot(self, name: str, snapshot: str) -> None:
        subject = self.find(name)
        subject.life = subject.life.snapshotted(snapshot)
        subject.snapshots[snapshot] = (subject.instance, subject.folder.copy())

    def restore(self, name: str, snapshot: str) -> Plan | None:
        """A running instance is stopped, restored and started again."""
        subject = self.find(name)
        running = subject.life.running
        subject.life = subject.life.stopped().restored(snapshot)
        instance, folder = subject.snapshots[snapshot]
        subject.instance, subject.folder = _renamed(instance, name), folder.copy()
        return self.start(name) if running else None

    def publish(self, name: str) -> Folder:
        """An image of the instance as it is: its own templates, edited or not."""
        return self.find(name).folder.copy()

    def export(self, name: str) -> Subject:
        subject = self.find(name)
        return replace(
            subject,
            life=subject.life.exported(),
            folder=subject.folder.copy(),
            snapshots=dict(subject.snapshots),
        )

    def import_(self, backup: Subject, name: str) -> None:
        self._add(replace(backup, instance=_renamed(backup.instance, name), folder=backup.folder.copy()))

    def set(self, name: str, key: str, value: str) -> None:
        """A configuration key; an empty value takes it away."""
        subject = self.find(name)
        if key == PENDING_KEY:
            subject.life = subject.life.with_pending(value)
            return
        config = {**subject.instance.config, key: value}
        if not value:
            del config[key]
        subject.instance = _configured(subject.instance, config)

    def delete(self, name: str) -> None:
        self.find(name)
        del self.subjects[name]

    def _add(self, subject: Subject) -> None:
        name = subject.instance.name
        self._free(name)
        self.subjects[name] = subject
        self.at_hand = self.at_hand or name

    def _free(self, name: str) -> None:
        if name in self.subjects:
            raise UsageError(f"there is an instance '{printable(name)}' already")


class StartError(TemplateError):
    """A start that would fail; ``plan`` says at what."""

    kind = "start"

    def __init__(self, plan: Plan) -> None:
        first = plan.failed[0].error
        assert first is not None
        super().__init__(first.message, first.span, first.hint, first.notes)
        self.plan = plan
        self.exit_code = first.exit_code


def described(subject: Subject) -> Instance:
    """The instance as its templates see it: what is pending is a configuration key."""
    config = dict(subject.instance.config)
    if subject.life.pending:
        config[PENDING_KEY] = subject.life.pending
    return _configured(subject.instance, config)


def metadata_of(folder: Folder, host: Host, reading: YamlLimits | None = None) -> Metadata:
    from .metadata_yaml import read_metadata

    return read_metadata(folder.image.read_metadata(), yaml=host.yaml, limits=reading)


def check_image(metadata: Metadata, host: Host) -> None:
    """What the daemons look at when an image is imported."""
    if metadata.architecture not in ARCHITECTURES:
        shown = f'"{metadata.architecture}"' if host.product == "lxd" else metadata.architecture
        raise HostError(
            f"{host.name} does not import it: Architecture isn't supported: {printable(shown)}",
            metadata.spans.get("architecture"),
        )
    if not metadata.creation_date:
        raise HostError(
            f"{host.name} does not import it: Missing creation date", metadata.spans.get("creation_date")
        )


def check_links(folder: Folder, metadata: Metadata, host: Host) -> None:
    """Releases that look for symlinks when an instance is made refuse the image."""
    if host.links_refused_at != "create":
        return
    names = {rule.template for rule in metadata.rules if rule.template and "/" not in rule.template}
    names -= {".", ".."}
    # an archive has been read as far as its rules go; a folder tells all that is in it
    names |= set(getattr(folder.image, "template_names", tuple)())
    for name, file in sorted(folder.image.read_templates(names).items()):
        kind = file.entry.kind if file.entry is not None else "refused" if file.error is not None else ""
        if kind not in ("", FILE, DIRECTORY):
            raise HostError(
                f"{host.name} makes no instance of it: template '{printable(name)}' is no plain file",
                hint="put the file itself into the templates folder",
            )


def _renamed(instance: Instance, name: str) -> Instance:
    return _changed(instance, name, instance.config)


def _configured(instance: Instance, config: Mapping[str, str]) -> Instance:
    return _changed(instance, instance.name, config)


def _changed(instance: Instance, name: str, config: Mapping[str, str]) -> Instance:
    return Instance(
        name,
        instance.type,
        instance.architecture,
        instance.ephemeral,
        config,
        instance.devices,
        instance.profiles,
        instance.notes,
    )
