"""Execution of the steps that a user typed, with a report for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..model.errors import TemplaterError, UsageError
from ..model.instance import Instance, Profile
from ..model.instance_name import require_name
from ..model.render_options import RenderOptions
from ..model.unprintable_characters import printable
from ..rootfs.memory_rootfs import MemoryRootfs
from .host_results import Started, StartError
from .instance_actions import Simulation
from .parse_steps import MAKING, Step
from .simulated_instance import Folder, MemoryFolder, WritableRootfs
from .step_report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import Image
    from ..parsing.yaml_nodes import Limits as YamlLimits


def simulate(
    image: Image,
    instance: Instance,
    steps: Iterable[Step],
    options: RenderOptions,
    *,
    rootfs: WritableRootfs | None = None,
    reading: YamlLimits | None = None,
    pending: str | None = None,
    running: bool = False,
    open_folder: Callable[[str], Folder] | None = None,
    read_profile: Callable[[str], Profile] | None = None,
    placeholders: bool = False,
    guessed: dict[str, None] | None = None,
) -> list[Report]:
    """Simulate the steps and return a report of each. The reports contain the errors of steps.

    * ``pending`` is None for a new instance, which is first created. For an existing instance, ``pending`` is
      the trigger that its next start runs before ``start``, or "".
    * ``open_folder`` opens the IMAGE of ``rebuild=IMAGE``. ``read_profile`` reads the FILE of ``p:FILE``.
    * ``placeholders`` adds placeholders for the keys that a daemon generates for a new instance.
    * If ``rootfs`` is None, the root filesystem is empty at first. ``guessed`` then collects the targets of
      create_only rules whose files perhaps exist.

    Raises TemplaterError if the instance cannot be created.
    """
    life = Simulation(
        options.begun(),  # the total time limit applies to all steps together
        reading=reading, open_folder=open_folder, read_profile=read_profile,
        placeholders=placeholders,
    )  # fmt: skip
    folder = MemoryFolder(image, MemoryRootfs() if rootfs is None else rootfs, guessed=rootfs is None)
    if pending is None:
        require_name(instance.name, daemon=bool(options.host.family))
        life.create(instance, folder)
    else:
        life.adopt(instance, folder, pending, running=running)
    reports = [run_step(life, step) for step in steps]
    if guessed is not None:
        guessed.update(life.guessed)
    return reports


def run_step(simulation: Simulation, step: Step) -> Report:
    """Execute a step and report it. An error becomes part of the report."""
    name = step.name or simulation.current
    simulation.taken += 1
    profile = ""
    try:
        if step.verb == "p" and "=" not in step.argument:
            profile = _add_profile(simulation, name, step.argument)
        started = _execute(simulation, step, name)
    except TemplaterError as error:
        left = simulation.subjects.get(name)
        started = error.started if isinstance(error, StartError) else None
        cause = error.cause if isinstance(error, StartError) else error
        gone = left is None and started is not None
        _drop_tracebacks(cause)
        return Report(step, name, "" if left is None else left.life.pending, started, cause, gone)
    if step.verb in MAKING:
        name = step.made
    left = simulation.subjects.get(name)  # None if the step deleted an ephemeral instance
    pending = "" if left is None else left.life.pending
    limit = None if started is None else started.limit
    return Report(step, name, pending, started, limit, gone=left is None, profile=profile)


def _drop_tracebacks(error: BaseException | None) -> None:
    """Drop the frames of a report's error, because they would keep all files of the failed step in memory."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _execute(simulation: Simulation, step: Step, name: str) -> Started | None:
    """Execute a step. Return the result if the step starts the instance, else None."""
    argument = step.argument
    if step.verb in MAKING:
        require_name(step.made, daemon=bool(simulation.host.family))
    key, _, value = argument.partition("=")
    if step.verb in ("start", "reboot"):
        return simulation.start(name, reboot=step.verb == "reboot")
    if step.verb == "restart":
        return simulation.restart(name)
    if step.verb == "copy":
        new, _, snapshot = argument.partition("/")
        simulation.copy(name, new, snapshot)
    elif step.verb == "rename":
        simulation.rename(name, argument)
    elif step.verb == "move":
        simulation.move(name, argument, **step.options)
    elif step.verb == "publish":
        new, _, snapshot = argument.partition("/")
        folder = simulation.publish(name, snapshot, step.options)
        simulation.create(_instance_of_published(simulation.find(name).instance, new), folder)
    elif step.verb == "export":
        simulation.import_(simulation.export(name), argument)
    elif step.verb == "snapshot":
        simulation.snapshot(name, argument)
    elif step.verb == "restore":
        return simulation.restore(name, argument)
    elif step.verb == "c":
        simulation.set(name, key, value)
    elif step.verb == "d":
        device, _, device_key = key.partition(",")
        simulation.set_device(name, device, device_key, value)
    elif step.verb == "p":
        if "=" in argument:
            simulation.remove_profile(name, key)
    elif step.verb == "stop":
        simulation.stop(name)
    elif step.verb == "rebuild":
        simulation.rebuild(name, _open_image(simulation, argument) if argument else None)
    elif simulation.taken > 1 or simulation.adopted:
        raise UsageError(
            "only the first step can be 'create'", hint="use copy=NAME to create another instance"
        )
    return None


def _open_image(simulation: Simulation, image: str) -> Folder:
    if simulation.open_folder is None:
        raise UsageError(f"can't open image '{printable(image)}': the argument open_folder is missing")
    return simulation.open_folder(image)


def _add_profile(simulation: Simulation, name: str, file: str) -> str:
    """Add the profile in ``file`` to an instance, and return the profile's name."""
    if simulation.read_profile is None:
        raise UsageError(f"can't read profile '{printable(file)}': the argument read_profile is missing")
    profile = simulation.read_profile(file)
    simulation.set_profile(name, profile)
    return profile.name


def _instance_of_published(instance: Instance, name: str) -> Instance:
    """Return the description of a new instance for a published image.

    The image does not contain the configuration of ``instance``.
    """
    return Instance(name, instance.type, instance.architecture, profiles=instance.profiles)
