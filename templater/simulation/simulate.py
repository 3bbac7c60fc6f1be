"""The life of instances on paper: which files change at each step, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..model.entry import DIRECTORY, FILE
from ..model.errors import HostError, TemplateError, TemplaterError, UsageError
from ..model.hosts import Host
from ..model.instance import Instance, require_name
from ..model.lifecycle import PENDING_KEY, Life, created
from ..model.metadata import Metadata
from ..model.options import RenderOptions
from ..model.plan import FAILED, Change, Plan
from ..model.source import printable
from ..planning.planner import plan_image
from ..rootfs.memory import MemoryRootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import Image
    from ..parsing.yaml_nodes import Limits as YamlLimits

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

#: what a daemon notes of an instance's last start; a copy has had none
OF_A_START = ("volatile.last_state.power", "volatile.last_state.ready")

VERBS = {
    "create": "a new instance; only of use as the first step, where it is what happens anyway",
    "start": "the pending trigger, then start",
    "stop": "nothing is rendered",
    "restart": "stop, then start",
    "reboot": "the guest restarts itself: start; the pending trigger before it, if one was set by hand",
    "copy": "copy=NAME: a second instance; copy=NAME/SNAPSHOT from a snapshot",
    "rename": "rename=NAME",
    "rebuild": "the root filesystem from the image again",
    "snapshot": "snapshot=NAME",
    "restore": "restore=NAME",
    "publish": "publish=NAME: an image of the instance as it is, and a new instance NAME from it,"
    " with the profiles alone;"
    " publish=NAME/SNAPSHOT from a snapshot",
    "export": "export=NAME: a backup, imported again as NAME",
    "c": "c:KEY=VALUE: a configuration key of the instance; c:KEY= takes it away",
}


#: what is spoken of afterwards is the instance that is named behind these
_MAKING = ("copy", "rename", "publish", "export")
_NAMED = (*_MAKING, "snapshot", "restore")
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

    @property
    def made(self) -> str:
        """The instance that a copy, a rename, … gives; a snapshot may stand behind what is copied to."""
        return self.argument.partition("/")[0] if self.verb in ("copy", "publish") else self.argument


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
    #: the instance was ephemeral, and is no more
    gone: bool = False

    @property
    def note(self) -> str:
        """The step in one sentence."""
        if self.error is not None:
            gone = " (it was ephemeral and is gone)" if self.gone else ""
            return f"{self.name}: {self.step.verb} fails{gone}: {self.error}"
        if self.gone:
            return f"{self.name}: {self.step.verb}: nothing is rendered; it was ephemeral and is gone"
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
    options: RenderOptions,
    *,
    rootfs: Paper | None = None,
    reading: YamlLimits | None = None,
) -> list[Report]:
    """Every step of a life, the instance's creation being the first whether asked for or not.

    The time in total that ``options`` allow is for all steps together.
    """
    life = Simulation(options.begun(), reading=reading)
    folder = PaperFolder(image, MemoryRootfs() if rootfs is None else rootfs)
    life.create(instance, folder)
    return [life.take(step) for step in steps]


class Simulation:
    """Any number of instances. Each method is one step; a step that fails changes nothing."""

    def __init__(self, options: RenderOptions, *, reading: YamlLimits | None = None) -> None:
        self.options = options
        self.host = options.host
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
            left = self.subjects.get(name)
            plan = getattr(error, "plan", None)
            gone = left is None and plan is not None
            return Report(step, name, "" if left is None else left.life.pending, plan, (), error, gone)
        if step.verb in _MAKING:
            name = step.made
        left = self.subjects.get(name)  # none: an ephemeral one that was stopped
        changes = tuple(plan.files()) if plan is not None else ()
        return Report(step, name, "" if left is None else left.life.pending, plan, changes, gone=left is None)

    def _take(self, step: Step, name: str) -> Plan | None:
        argument = step.argument
        if step.verb in _MAKING:
            require_name(step.made)
        if step.verb in ("start", "reboot"):
            return self.start(name, reboot=step.verb == "reboot")
        if step.verb == "restart":
            return self.restart(name)
        if step.verb == "copy":
            new, _, snapshot = argument.partition("/")
            self.copy(name, new, snapshot)
        elif step.verb == "rename":
            self.rename(name, argument)
        elif step.verb == "publish":
            new, _, snapshot = argument.partition("/")
            folder = self.publish(name, snapshot)
            self.create(_made_of(self.find(name).instance, new), folder)
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
        """The passes that are due; nothing is written unless all of both can be.

        ``reboot``: the guest restarts itself, which is a start like any other.
        """
        subject = self.startable(name, reboot=reboot)
        plan = self.plan(subject, subject.life.passes)
        if any(change.action == FAILED for change in plan.changes):  # the guest's agent ends no start
            self._ended(subject, subject.life.start_failed())
            raise StartError(plan)
        for change in (plan.as_agent() if plan.instance.is_vm else plan).files():
            subject.folder.rootfs.carry_out(change)
        subject.life = subject.life.started()
        return plan

    def startable(self, name: str, *, reboot: bool = False) -> Subject:
        """The instance, if it is stopped; for a reboot, if it is running."""
        subject = self.find(name)
        if subject.life.running and not reboot:
            raise UsageError(f"'{printable(name)}' is running already")
        if reboot and not subject.life.running:
            raise UsageError(f"'{printable(name)}' is not running")
        return subject

    def plan(self, subject: Subject, triggers: tuple[str, ...]) -> Plan:
        return plan_image(
            subject.folder.image,
            described(subject),
            self.options,
            triggers=triggers,
            rootfs=subject.folder.rootfs,
            reading=self.reading,
        )

    def restart(self, name: str) -> Plan:
        """Even an ephemeral instance is there afterwards."""
        subject = self.find(name)
        subject.life = subject.life.stopped()
        return self.start(name)

    def stop(self, name: str) -> None:
        """An ephemeral instance is gone with it."""
        subject = self.find(name)
        self._ended(subject, subject.life.stopped())

    def _ended(self, subject: Subject, life: Life) -> None:
        subject.life = life
        if subject.instance.ephemeral:
            del self.subjects[subject.instance.name]

    def copy(self, name: str, new: str, snapshot: str = "", *, refresh: bool = False) -> None:
        """A copy is ephemeral only if it is asked to be. ``refresh`` brings an existing one up to date,
        its configuration included, or makes one; neither owes anything."""
        source = self.find(name)
        life = source.life.copied(snapshot)
        instance, folder = source.snapshots[snapshot] if snapshot else (source.instance, source.folder)
        snapshots = {} if snapshot else dict(source.snapshots)
        config = {key: value for key, value in instance.config.items() if key not in OF_A_START}
        copy = Subject(
            _changed(instance, new, config, ephemeral=False), folder.copy(), life, source.origin, snapshots
        )
        if refresh:
            if new in self.subjects:
                self.subjects[new].life.refreshed()
                del self.subjects[new]
            copy.life = life.refreshed()
        self._add(copy)

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
        subject.life = subject.life.restored(snapshot)
        instance, folder = subject.snapshots[snapshot]
        subject.instance, subject.folder = _renamed(instance, name), folder.copy()
        return self.start(name) if running else None

    def publish(self, name: str, snapshot: str = "") -> Folder:
        """An image of the instance, or of a snapshot, as it is: its own templates, edited or not."""
        subject = self.find(name)
        subject.life.published(snapshot)
        return (subject.snapshots[snapshot][1] if snapshot else subject.folder).copy()

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
                instance=_renamed(backup.instance, name),
                folder=backup.folder.copy(),
                snapshots=dict(backup.snapshots),
            )
        )

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
    from ..parsing.metadata_yaml import read_metadata

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


def _made_of(instance: Instance, name: str) -> Instance:
    """A new instance of what was published: the other one's own configuration is not in an image."""
    return Instance(name, instance.type, instance.architecture, profiles=instance.profiles)


def _changed(
    instance: Instance, name: str, config: Mapping[str, str], *, ephemeral: bool | None = None
) -> Instance:
    return Instance(
        name,
        instance.type,
        instance.architecture,
        instance.ephemeral if ephemeral is None else ephemeral,
        config,
        instance.devices,
        instance.profiles,
        instance.notes,
    )
