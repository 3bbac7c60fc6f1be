"""Predictions of the host's outcome for each change of a plan, and for rules in random order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from posixpath import normpath

from ..model.entry import FILE, TemplateFile
from ..model.errors import TemplaterError
from ..model.plan import Change, Outcome, Plan, Prediction, split_passes
from .errno_errors import Errno, Fails
from .host_filesystem import HostFilesystem
from .host_rendering import Renderer
from .incus_and_lxd_daemons import Daemon
from .known_host_files import InstanceView, Surroundings, Unknown, UnknownRootfs
from .simulated_start import FAMILIES, check_metadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import RootfsView

#: a remark cuts the path of another rule to this number of characters
_LONGEST_PATH = 100


def predict(
    plan: Plan,
    templates: Mapping[str, TemplateFile],
    rootfs: RootfsView | None,
    surroundings: Surroundings | None = None,
    render: Renderer | None = None,
    check_time: Callable[[], None] | None = None,
) -> Prediction:
    """Predict an outcome for each change of a plan on the plan's host.

    An outcome is ``random`` if it depends on the random order in which daemons run rules. The function
    ``check_time`` raises an error if the prediction takes too long.
    """
    host = plan.host
    if not host.family:
        return Prediction()
    try:
        check_metadata(host, plan.metadata, plan.instance)
    except Fails as failure:
        error = str(failure)
        return Prediction({change: Outcome("fails", error=error) for change in plan.changes}, error)
    data = b"" if plan.metadata.source is None else plan.metadata.source.data
    around = surroundings or Surroundings(instance=f"/var/lib/{host.product}/containers/{plan.instance.name}")
    view = around.view
    if view is None:
        view = InstanceView(around.instance, UnknownRootfs() if rootfs is None else rootfs, templates, data)
    filesystem = HostFilesystem(view, around, check_time)
    if around.view is None and rootfs is None:
        filesystem.assume_directories(filesystem.rootfs, (rule.path for rule in plan.metadata.rules))
    outcomes: dict[Change, Outcome] = {}
    if plan.instance.is_vm:
        from .agent import agent_of
        from .config_drive import DRIVES, predict_config_drive

        daemon = DRIVES[host.vm_output](host, filesystem, plan.instance, render)
        predict_config_drive(plan, daemon, outcomes)
        agent = agent_of(daemon, rootfs, [change.path for change in plan.agent])
        for change in plan.agent:
            outcome = agent.outcome(change)
            if outcome is not None:
                outcomes[change] = outcome
        return Prediction(outcomes)
    container = FAMILIES[host.family](host, filesystem, plan.instance, render)
    failed_pass = ""
    for changes in split_passes(plan.changes):
        if failed_pass:
            outcomes |= {
                change: Outcome("fails", f"the host does not reach this rule: {failed_pass}")
                for change in changes
            }
            continue
        of_pass = {change: _outcome(container, change) for change in changes}
        found = {change: outcome for change, outcome in of_pass.items() if outcome is not None}
        failed_pass = mark_random(changes, found)
        outcomes |= found
    return Prediction(outcomes)


def mark_random(changes: list[Change], outcomes: dict[Change, Outcome]) -> str:
    """Set each outcome of a pass to ``random`` if the outcome depends on the order of the rules.

    Return a text with the rule that stops the start, or "" without such a rule.
    """
    # The daemons run the rules in the random order of a Go map.
    failing = [
        change for change, outcome in outcomes.items() if not outcome.ok and outcome.result != "unknown"
    ]
    for change, outcome in outcomes.items():
        if change.collides is not None:
            path = _short(change.collides.path)
            text = f"rules run in random order, and the rule for '{path}' writes to the same place"
            outcomes[change] = Outcome("random", text, outcome.error)
    if not failing:
        return ""
    first = _short(failing[0].rule.path)
    text = f"rules run in random order, and the rule for '{first}' stops the start"
    for change, outcome in outcomes.items():
        if outcome.result == "written":
            outcomes[change] = Outcome("random", text)
    return f"the rule for '{first}' stops the start in the {changes[0].trigger} pass"


def _short(path: str) -> str:
    """Shorten the path of a rule, because remarks on all other rules of the pass can repeat the path."""
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"


def _outcome(daemon: Daemon, change: Change) -> Outcome | None:
    """Predict one change. Return None if the root filesystem cannot be read at the change's path.

    The change's writes stay in the model file system unless the rule fails.
    """
    filesystem = daemon.filesystem
    filesystem.check_time()
    mark = len(filesystem.journal)
    try:
        result, text, words = daemon.attempt(change)
    except TemplaterError:
        filesystem.undo(mark)
        return None
    outcome = Outcome(result, text, words)
    if not outcome.ok:
        outcome.text = outcome.text or _aftermath(filesystem, mark, change)
        filesystem.undo(mark)
    return outcome


def _aftermath(filesystem: HostFilesystem, mark: int, change: Change) -> str:
    """Return a remark if a failed rule leaves an empty target, else an empty string."""
    target = normpath(f"{filesystem.rootfs}/{change.rule.path.lstrip('/')}")
    try:
        place, node = filesystem.walk(target)
    except (Errno, Unknown):
        return ""
    written = [before for each, before in filesystem.journal[mark:] if each is place]
    if node is None or node.kind != FILE or node.content != b"" or not written:
        return ""
    existed = place.before is not None or written[0] is not None
    return "the target is left empty" if existed else "a new, empty file remains"
