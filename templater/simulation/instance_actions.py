"""The events of an instance's life: create, start, stop, copy, rename, rebuild, restore, publish and more.

After a failed start, the simulation continues with the files that the chosen host would leave behind. With
the host ``none``, a failed start writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ..model.errors import UsageError
from ..model.instance import Instance, Profile
from ..model.metadata import Rule
from ..model.pending_trigger import PENDING_KEY
from ..model.plan import FAILED, Plan, carry_out
from ..model.render_options import RenderOptions
from ..model.unprintable_characters import printable
from ..planning.generated_keys import placeholder_note, with_image_keys, with_new_id, with_placeholders
from ..planning.plan_image import plan_image
from ..prediction.simulated_start import start_on_host
from ..rendering.render import render_data
from .host_results import (
    Started,
    StartError,
    check_links,
    failed_pass,
    host_changes,
    host_errors,
    reason_unknown,
    start_error,
    write_host_files,
)
from .simulated_instance import (
    Folder,
    Life,
    SimulatedInstance,
    described,
    has_metadata,
    mark_guesses,
    metadata_of,
    properties_of,
    split_pending,
    with_properties,
)  # fmt: skip
from .step_report import deviation_remarks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..parsing.yaml_nodes import Limits as YamlLimits

#: volatile keys that a copy keeps (InstanceIncludeWhenCopying in Incus); all others get new values
_COPIED_VOLATILE = ("volatile.base_image", "volatile.last_state.idmap")

POWER = "volatile.last_state.power"
#: the configuration key that Incus, but not LXD, records when an instance stops
READY = "volatile.last_state.ready"


class Simulation:
    """A set of simulated instances. Each method is one step.

    A step that raises an error changes nothing. But a failed start leaves the same files as on the host.
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
        #: the targets of create_only rules that the simulation has run, although a daemon skips them if the
        #: files exist
        self.guessed: dict[str, None] = {}
        self.options = options
        self.host = options.host
        self.reading = reading
        self.open_folder = open_folder
        self.read_profile = read_profile
        self.subjects: dict[str, SimulatedInstance] = {}
        #: the instance to which steps without a name apply
        self.current = ""
        self.taken = 0
        #: whether the simulation began with an existing instance
        self.adopted = False

    def find(self, name: str) -> SimulatedInstance:
        """Return an instance by its name. Raises UsageError if it does not exist."""
        try:
            return self.subjects[name]
        except KeyError:
            raise UsageError(f"unknown instance '{printable(name)}'") from None

    def create(self, instance: Instance, folder: Folder) -> None:
        """Create an instance from an image. The image's properties become the instance's ``image.*`` keys."""
        metadata = metadata_of(folder, self.host, self.reading)
        check_links(folder, metadata, self.host)
        self.create_empty(with_image_keys(instance, properties_of(folder, metadata)), folder)

    def create_empty(self, instance: Instance, folder: Folder) -> None:
        """Create an instance without an image. The first start of this instance also runs ``create``."""
        instance, pending = split_pending(instance)
        life = Life(pending or "create")
        name = self._name_in_placeholders(instance)
        self._add(SimulatedInstance(instance, folder.copy(), life, folder, name_in_placeholders=name))

    def adopt(self, instance: Instance, folder: Folder, pending: str, *, running: bool = False) -> None:
        """Add an existing instance, with exactly the configuration keys of its description."""
        instance, _ = split_pending(instance)
        self.adopted = True
        self._add(SimulatedInstance(instance, folder.copy(), Life(pending, running), None))

    def start(self, name: str, *, reboot: bool = False) -> Started:
        """Start an instance: run the pending trigger, if there is one, and then the trigger ``start``.

        ``reboot`` is a restart from inside the guest. Raises StartError if the start fails.
        """
        subject = self.startable(name, reboot=reboot)
        plan = self.plan(subject, subject.life.passes)
        if self.follows_host and not plan.instance.is_vm:
            return self._start_on_host(subject, plan)
        return self._start_at_once(subject, plan)

    @property
    def follows_host(self) -> bool:
        """Whether starts are simulated as on the chosen host. If not, a start writes all files or no file."""
        return bool(self.host.family)

    def _start_at_once(self, subject: SimulatedInstance, plan: Plan) -> Started:
        """Simulate a start that writes all files or no file.

        This is a start on the host ``none``, or the start of a virtual machine.
        """
        error = next((change.error for change in plan.changes if change.action == FAILED), None)
        if error is None and self.follows_host:
            error = next(iter(host_errors(plan)), None)
        if error is not None:  # errors of the guest's agent do not fail a start
            clears = self.follows_host and not self.host.vm_keeps_pending
            self._end(subject, subject.life.start_failed(failed_pass(plan) if clears else ""))
            raise StartError(Started(plan), error)
        changes = tuple((plan.as_agent() if plan.instance.is_vm else plan).files())
        carry_out(changes, subject.folder.rootfs)
        self._set_started(subject)
        remarks = (*(deviation_remarks(plan) if self.follows_host else ()), *placeholder_note(plan.files()))
        return Started(plan, tuple(plan.files()), remarks=remarks)

    def _start_on_host(self, subject: SimulatedInstance, plan: Plan) -> Started:
        folder = subject.folder
        names = {change.rule.template for change in plan.changes if change.rule.template}

        def render_other(data: bytes, rule: Rule, trigger: str) -> bytes:
            return render_data(data, rule, trigger, plan.instance, self.options)

        found = start_on_host(
            plan, folder.image.read_templates(names), folder.rootfs,
            render=render_other, check_time=self.options.check_time,
        )  # fmt: skip
        doubtful = {change.real for change in plan.changes if change.rule.create_only} & folder.unknown.keys()
        remarks = [
            *deviation_remarks(plan),
            *write_host_files(folder.rootfs, found, plan),
            *placeholder_note(plan.files()),
        ]
        for path in found.written.keys() - doubtful:
            folder.unknown.pop(path, None)
        folder.unknown.update(dict.fromkeys(found.unknown, found.reason or reason_unknown(plan)))
        unknown = {
            path: reason for path, reason in folder.unknown.items() if path in found.unknown | doubtful
        }
        errors = (change.render_error for change in plan.changes)
        limit = next((error for error in errors if error is not None and error.kind == "limit"), None)
        started = Started(plan, tuple(host_changes(plan, found, unknown)), unknown, tuple(remarks), limit)
        if not found.error:
            self._set_started(subject)
            return started
        self._end(subject, subject.life.start_failed(plan.triggers[found.passed]))
        raise StartError(started, start_error(self.host, found))

    def _set_started(self, subject: SimulatedInstance) -> None:
        subject.life = subject.life.started()
        self._record_power(subject, "RUNNING")

    def _record_power(self, subject: SimulatedInstance, state: str) -> None:
        """Set the volatile keys in which the daemon records the instance's power state."""
        if not self.host.product:
            return
        config = {**subject.instance.config, POWER: state}
        if state == "STOPPED" and self.host.product == "incus":
            config[READY] = "false"
        subject.instance = subject.instance.replace(config=config)

    def startable(self, name: str, *, reboot: bool = False) -> SimulatedInstance:
        """Return an instance that can be started: it is stopped or, for a reboot, running.

        Raises UsageError for any other instance.
        """
        subject = self.find(name)
        if subject.life.running and not reboot:
            raise UsageError(
                f"'{printable(name)}' is already running", hint="use restart, or stop the instance first"
            )
        if reboot and not subject.life.running:
            raise UsageError(f"'{printable(name)}' is not running")
        return subject

    def plan(self, subject: SimulatedInstance, triggers: tuple[str, ...]) -> Plan:
        self._generate(subject)
        made = plan_image(
            subject.folder.image,
            described(subject),
            self.options,
            triggers=triggers,
            rootfs=subject.folder.rootfs,
            reading=self.reading,
        )
        if subject.folder.guessed:
            self.guessed.update(dict.fromkeys(mark_guesses(made)))
        return made

    def restart(self, name: str) -> Started:
        """Stop and start an instance. Unlike ``stop``, do not delete an ephemeral instance."""
        with self.restarting(name):
            return self.start(name)

    @contextmanager
    def restarting(self, name: str) -> Iterator[None]:
        """Stop an instance without deleting it, even if it is ephemeral.

        The caller starts the instance again in the ``with`` block.
        """
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

    def _end(self, subject: SimulatedInstance, life: Life) -> None:
        subject.life = life
        if subject.instance.ephemeral:
            del self.subjects[subject.instance.name]

    def copy(self, name: str, new: str, snapshot: str = "", *, refresh: bool = False) -> None:
        """Copy an instance. The copy is not ephemeral.

        With ``refresh``, create or update the copy. The copy then has no pending trigger.
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
        copied = SimulatedInstance(
            made, folder.copy(), life, source.origin, snapshots, self._name_in_placeholders(made)
        )
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
        subject.life = life
        subject.instance = with_new_id(subject.instance, subject.instance.replace(name=new))
        del self.subjects[name]
        self.subjects[new] = subject
        if self.current == name:
            self.current = new

    def move(self, name: str, new: str, *, pool: str = "", project: str = "") -> None:
        """Move an instance to another name, storage pool or project."""
        subject = self.find(name)
        if name != new:
            self.rename(name, new)
        elif not pool and not project:
            raise UsageError(
                f"the instance is already named '{printable(name)}'",
                hint="set a new name, or set pool= or project=",
            )
        elif subject.life.running:
            raise UsageError("a running instance can't be moved", hint="stop the instance first")
        else:
            # The daemon copies the instance and deletes the original. The copy keeps the volatile keys and a
            # pending trigger, as observed on Incus 6.0.4.
            subject.life = subject.life.with_pending(subject.life.pending or "copy")
        if pool:
            root = {"type": "disk", "path": "/", **subject.instance.expanded_devices().get("root", {})}
            devices = {**subject.instance.devices, "root": {**root, "pool": pool}}
            subject.instance = subject.instance.replace(devices=devices)

    def rebuild(self, name: str, folder: Folder | None = None) -> None:
        """Give an instance the root filesystem, the templates and the ``image.*`` keys of an image."""
        subject = self.find(name)
        origin = folder or subject.origin
        if origin is None:
            raise UsageError(
                f"the image of '{printable(name)}' is unknown", hint="pass an image with rebuild=IMAGE"
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

    def snapshot(self, name: str, snapshot: str) -> None:
        subject = self.find(name)
        subject.life = subject.life.snapshotted(snapshot)
        subject.snapshots[snapshot] = (subject.instance, subject.folder.copy())

    def restore(self, name: str, snapshot: str) -> Started | None:
        """Restore a snapshot. A running instance is stopped first and started afterwards.

        Return the result of the start, or None without a start.
        """
        subject = self.find(name)
        running = subject.life.running
        subject.life = subject.life.restored(snapshot)
        instance, folder = subject.snapshots[snapshot]
        subject.instance, subject.folder = instance.replace(name=name), folder.copy()
        return self.start(name) if running else None

    def publish(self, name: str, snapshot: str = "", properties: Mapping[str, str] | None = None) -> Folder:
        """Return an image of the instance or of a snapshot, with the instance's current templates.

        Incus merges ``properties`` into the image's properties. LXD replaces the image's properties.
        """
        subject = self.find(name)
        subject.life.published(snapshot)
        folder = (subject.snapshots[snapshot][1] if snapshot else subject.folder).copy()
        if not properties:
            return folder
        before = properties_of(folder, metadata_of(folder, self.host, self.reading))
        return with_properties(folder, {**({} if self.host.product == "lxd" else before), **properties})

    def export(self, name: str) -> SimulatedInstance:
        subject = self.find(name)
        return replace(
            subject,
            life=subject.life.exported(),
            folder=subject.folder.copy(),
            snapshots=dict(subject.snapshots),
        )

    def import_(self, backup: SimulatedInstance, name: str) -> None:
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
        subject.instance = with_new_id(subject.instance, subject.instance.replace(config=config))

    def set_device(self, name: str, device: str, key: str, value: str) -> None:
        """Set a key of a device, or remove the local device if ``key`` is empty."""
        subject = self.find(name)
        devices = dict(subject.instance.devices)
        if not key:
            if device not in devices:
                raise UsageError(f"'{printable(name)}' has no local device '{printable(device)}'")
            del devices[device]
        else:
            # A local device replaces a profile's device completely, so it needs the keys of the profile's
            # device.
            keys = {**subject.instance.expanded_devices().get(device, {}), key: value}
            devices[device] = {key: text for key, text in keys.items() if text}
            if "type" not in devices[device]:
                raise UsageError(
                    f"device '{printable(device)}' has no type",
                    hint=f"set the type first, for example d:{printable(device)},type=nic",
                )
        subject.instance = with_new_id(subject.instance, subject.instance.replace(devices=devices))

    def set_profile(self, name: str, profile: Profile) -> None:
        """Add a profile to an instance. Replace each existing profile of this name, in every instance."""
        subject = self.find(name)
        if profile.name not in {each.name for each in subject.instance.profiles}:
            profiles = (*subject.instance.profiles, profile)
            subject.instance = with_new_id(subject.instance, subject.instance.replace(profiles=profiles))
        for other in self.subjects.values():
            profiles = tuple(
                profile if each.name == profile.name else each for each in other.instance.profiles
            )
            other.instance = with_new_id(other.instance, other.instance.replace(profiles=profiles))

    def remove_profile(self, name: str, profile: str) -> None:
        subject = self.find(name)
        profiles = tuple(each for each in subject.instance.profiles if each.name != profile)
        if len(profiles) == len(subject.instance.profiles):
            raise UsageError(f"'{printable(name)}' has no profile '{printable(profile)}'")
        subject.instance = with_new_id(subject.instance, subject.instance.replace(profiles=profiles))

    def delete(self, name: str) -> None:
        self.find(name)
        del self.subjects[name]

    def _name_in_placeholders(self, instance: Instance) -> str:
        """Return the instance's name for the texts of its placeholders, or "" for the first instance."""
        return instance.name if self.current else ""

    def _generate(self, subject: SimulatedInstance) -> None:
        """Add placeholders for missing keys that the daemon would have generated by now."""
        if self.placeholders and subject.name_in_placeholders is not None:
            subject.instance = with_placeholders(subject.instance, subject.name_in_placeholders)

    def _add(self, subject: SimulatedInstance) -> None:
        name = subject.instance.name
        self._require_free(name)
        self._generate(subject)
        self.subjects[name] = subject
        self.current = self.current or name

    def _require_free(self, name: str) -> None:
        if name in self.subjects:
            raise UsageError(f"instance '{printable(name)}' already exists")
