"""An outcome beside every change of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from posixpath import normpath

from ..model.entry import FILE, TemplateFile
from ..model.errors import TemplaterError
from ..model.plan import Change, Outcome, Plan
from .agent import agent_of
from .config_drive import DRIVES
from .daemon import Daemon
from .errno_errors import Errno, Fails, Hangs
from .host_filesystem import World
from .known_paths import AnyRootfs, InstanceView, Surroundings, Unknown, names_of
from .start import FAMILIES, check_metadata
from .templates import Renderer, due_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import RootfsView


def predict(
    plan: Plan,
    templates: Mapping[str, TemplateFile],
    rootfs: RootfsView | None,
    surroundings: Surroundings | None = None,
    render: Renderer | None = None,
) -> None:
    """Put an outcome beside every change of a plan: what its host would do with that rule.

    Rules are looked at one by one, each pass in file order. Where a result depends on the random
    order in which the daemons take them, it says ``random``.
    """
    host = plan.host
    if not host.family:
        return
    try:
        check_metadata(host, plan.metadata, plan.instance)
    except Fails as failure:
        plan.host_error = str(failure)
        for change in plan.changes:
            change.outcome = Outcome("fails", error=plan.host_error)
        return
    data = b"" if plan.metadata.source is None else plan.metadata.source.data
    around = surroundings or Surroundings(instance=f"/var/lib/{host.product}/containers/{plan.instance.name}")
    view = around.view
    if view is None:
        known = rootfs if rootfs is not None else AnyRootfs(rule.path for rule in plan.metadata.rules)
        view = InstanceView(around.instance, known, templates, data)
    if plan.instance.is_vm:
        daemon = DRIVES[host.vm_output](host, World(view, around), plan.instance, render)
        _predict_config_drive(plan, daemon)
        agent = agent_of(daemon, rootfs, tuple(change.path for change in plan.agent))
        for change in plan.agent:
            change.outcome = agent.outcome(change)
        return
    container = FAMILIES[host.family](host, World(view, around), plan.instance, render)
    ended = ""
    for changes in passes_of(plan.changes):
        if ended:
            for change in changes:
                change.outcome = Outcome("fails", f"not reached: {ended}")
            continue
        for change in changes:
            change.outcome = _outcome(container, change)
        ended = _mark_random(changes)


def passes_of(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """The changes pass by pass."""
    current: list[Change] = []
    rules: set[int] = set()
    for change in changes:
        if current and (current[-1].trigger != change.trigger or id(change.rule) in rules):
            yield current
            current, rules = [], set()
        current.append(change)
        rules.add(id(change.rule))
    if current:
        yield current


def _outcome(daemon: Daemon, change: Change) -> Outcome | None:
    """What becomes of one rule; the world keeps what it wrote, unless it failed.

    None where it can't be told: the root filesystem does not let us look.
    """
    world = daemon.world
    mark = len(world.journal)
    try:
        result, text, words = _attempt(daemon, change)
    except TemplaterError:
        world.undo(mark)
        return None
    outcome = Outcome(result, text, words)
    outcome.left = _left(world, mark, change)
    if not outcome.ok:
        outcome.text = outcome.text or _aftermath(world, mark, change)
        world.undo(mark)
    return outcome


def _attempt(daemon: Daemon, change: Change) -> tuple[str, str, str]:
    """Result, what is to be said of it, and the daemon's own words where it fails."""
    error = change.render_error
    try:
        daemon.open_roots()
        if error is not None and error.kind == "limit" and not change.rule.null:
            daemon.check(change.rule)
            return "unknown", f"our limit ended it, and nothing limits a render there: {error.message}", ""
        return daemon.apply(due_of(change)), "; ".join(daemon.notes), ""
    except Fails as failure:
        return "fails", "", str(failure)
    except Hangs as hang:
        return "hangs", "", str(hang)
    except Unknown as place:
        return "written", f"to {place} on the host's own file system", ""


def _aftermath(world: World, mark: int, change: Change) -> str:
    """What a failure leaves behind at its own target."""
    target = normpath(f"{world.rootfs}/{change.rule.path.lstrip('/')}")
    try:
        names, node = world.walk(target)
    except (Errno, Unknown):
        return ""
    written = {place for place, _ in world.journal[mark:]}
    if node is None or node.kind != FILE or node.content != b"" or names not in written:
        return ""
    existed = all(before is not None for place, before in world.journal[mark:] if place == names)
    existed = existed or world.view.entry("/" + "/".join(names)) is not None
    return "the target is left empty" if existed else "an empty target is left"


def _left(world: World, mark: int, change: Change) -> tuple[str, ...]:
    """What else changed, as the daemon names it."""
    target = names_of(normpath(f"{world.rootfs}/{change.rule.path.lstrip('/')}"))
    written = dict.fromkeys(names for names, _ in world.journal[mark:] if names != target)
    return tuple(world.shown("/" + "/".join(names)) for names in written)


def _mark_random(changes: list[Change]) -> str:
    """Rules are taken in map order: a failure may come before or after its neighbours.

    Answers why the start ends in this pass; empty if it goes on.
    """
    failing = [
        change
        for change in changes
        if change.outcome is not None and not change.outcome.ok and change.outcome.result != "unknown"
    ]
    for change in changes:
        if change.collides is not None and change.outcome is not None:
            change.outcome = Outcome(
                "random",
                f"'{change.collides.path}' reaches the same place, and their order is random",
                change.outcome.error,
            )
    if not failing:
        return ""
    for change in changes:
        if change.outcome is not None and change.outcome.result == "written":
            change.outcome = Outcome(
                "random", f"written or not: '{failing[0].rule.path}' fails, and the order is random"
            )
    return f"'{failing[0].rule.path}' ends the start in the {changes[0].trigger} pass"


def _predict_config_drive(plan: Plan, daemon: Daemon) -> None:
    """A virtual machine's start: the host renders, nothing of path, owner or create_only matters there."""
    contents: dict[str, set[bytes | None]] = {}
    for change in plan.changes:
        contents.setdefault(f"{change.trigger} {change.path}", set()).add(change.content)
    for change in plan.changes:
        result, text, words = _attempt(daemon, change)
        place = f"files/{change.path} on the config drive" if result == "written" else ""
        change.outcome = Outcome(result, "; ".join(filter(None, (place, text))), words)
        if change.outcome.ok and len(contents[f"{change.trigger} {change.path}"]) > 1:
            change.outcome = Outcome(
                "random", f"rules that differ share {change.path}, and their order is random"
            )
