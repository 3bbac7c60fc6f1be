"""Decisions about each file of a plan: create, update, keep, skip or fail. Nothing is written."""

from ..model.entry import (
    DIRECTORY,
    FILE,
    Entry,
    Resolved,
)
from ..model.errors import RefusedError, TemplaterError
from ..model.permissions import parse_id, parse_mode
from ..model.plan import CREATE, FAILED, KEEP, SKIP, UPDATE, WRITE, Change, Plan, split_passes
from ..model.unprintable_characters import printable
from ..rendering.render import Rendering
from .changed_rootfs import ChangedRootfs
from .follow_links import Steps, clean, place_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.entry import RootfsView
    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.metadata import Metadata, Rule

#: the reason of a change if nothing is known of the root filesystem
NO_ROOTFS = "no root filesystem given"


def plan_of(
    metadata: "Metadata",
    instance: "Instance",
    renderings: "list[Rendering]",
    rootfs: "RootfsView | None" = None,
    *,
    host: "Host",
    triggers: "tuple[str, ...]",
    in_place: bool = False,
    for_patch: bool = True,
) -> Plan:
    """Return the plan for these renderings, without a prediction (see ``decide``)."""
    if not instance.is_vm:
        changes = decide(renderings, rootfs, in_place=in_place, for_patch=for_patch)
        return Plan(metadata, instance, host, triggers, changes)
    from .agent_files import agent_renderings, config_drive  # a hook never needs this module

    drive = config_drive(renderings)
    agent = decide(agent_renderings(metadata, drive), rootfs, in_place=in_place, for_patch=for_patch)
    return Plan(metadata, instance, host, triggers, drive, agent=agent)


def decide(
    renderings: "Iterable[Rendering]",
    rootfs: "RootfsView | None" = None,
    *,
    in_place: bool = False,
    for_patch: bool = True,
) -> "tuple[Change, ...]":
    """Return a change for each rendering. Each pass takes into account the files that earlier passes write.

    Without ``for_patch``, the changes lack the old content.
    """
    # Without ``for_patch``, an existing file is read only if it has the same size as the new content.
    view = ChangedRootfs(rootfs, for_patch=for_patch)
    steps = Steps()
    changes: list[Change] = []
    for renderings_of_pass in split_passes(renderings):
        targets = [Target(rendering, view, steps) for rendering in renderings_of_pass]
        _find_collisions(targets)
        for target in targets:
            change = _decide(target, view, in_place)
            view.record(change)
            changes.append(change)
    return tuple(changes)


class Target:
    """A rendering, with the target of its rule.

    The symlinks in the target's path are resolved before any change of the pass is applied.
    """

    __slots__ = ("collides", "error", "path", "rendering", "resolved")

    def __init__(self, rendering: Rendering, view: "RootfsView", steps: Steps) -> None:
        self.rendering = rendering
        self.path = rendering.rule.path
        self.resolved: Resolved | None = None
        self.error: TemplaterError | None = None
        #: another rule that writes this file, a parent of this file, or a file below this file; or None
        self.collides: Rule | None = None
        if rendering.rule.null:
            return
        try:
            self.path = clean(rendering.rule.path)
            self.resolved = resolve(view, self.path, steps)
            self.error = self.resolved.error
        except TemplaterError as error:
            self.error = error
        if self.error is not None:
            self.error = _placed(self.error, rendering.rule)


def _find_collisions(targets: "list[Target]") -> None:
    """Mark two rules of one pass if they can't both write their files.

    Two rules collide in these cases:

    * Both rules write the same file.
    * One rule needs a directory at the path where the other rule writes a file.
    """
    by_place: dict[str, Target] = {}
    reached = [target for target in targets if target.resolved is not None and target.error is None]
    for target in reached:
        assert target.resolved is not None
        other = by_place.setdefault(target.resolved.real, target)
        if other is not target:
            target.collides = other.rendering.rule
            other.collides = other.collides or target.rendering.rule
    # With "/" replaced by NUL, sorting puts a file right before all paths below it.
    above: list[tuple[str, Target]] = []
    for place, target in sorted(by_place.items(), key=lambda item: item[0].replace("/", "\0")):
        while above and not place.startswith(above[-1][0] + "/"):
            above.pop()
        if above:
            target.collides = target.collides or above[0][1].rendering.rule
            nearest = above[-1][1]
            nearest.collides = nearest.collides or target.rendering.rule
        assert target.resolved is not None
        if target.resolved.entry is None:  # `_replace` refuses an existing directory
            above.append((place, target))


def _decide(target: Target, view: "ChangedRootfs", in_place: bool) -> Change:
    try:
        return _change(target, view, in_place)
    except TemplaterError as error:
        change = _new(target, FAILED, error.message)
        change.error = error
        return change


#: kinds of errors that a daemon finds only if it renders the template; if create_only skips the rule, the
#: daemon does not render the template
_LATE = ("syntax", "render", "limit")


def _change(target: Target, view: "ChangedRootfs", in_place: bool) -> Change:
    """Return the change of a target. Raises TemplaterError if the rule fails."""
    rule, error, resolved = target.rendering.rule, target.rendering.error, target.resolved
    if rule.null or resolved is None:
        raise target.error or error or RefusedError("the rule has no target")
    if target.collides is not None:
        raise _collision(rule, target.collides)
    # On Incus 6.0.6 and later, a missing template fails even if create_only would skip the rule.
    if rule.create_only and resolved.named is not None and (error is None or error.kind in _LATE):
        return _skip(target, resolved)
    failure = target.error or error
    if failure is not None:
        raise failure
    if resolved.entry is None:
        change = _create(target, resolved, view)
    else:
        change = _replace(target, resolved, resolved.entry, view)
    if change.action != KEEP and resolved.mounts:
        _through_mount(change, resolved, in_place)
    if change.action != KEEP:
        view.require_writable(change, resolved)
    return change


def _new(target: Target, action: str, reason: str) -> Change:
    rendering = target.rendering
    change = Change(rendering.rule, rendering.trigger, target.path, action, reason)
    change.content, change.render_error = rendering.content, rendering.error
    change.collides = target.collides
    if target.resolved is not None:
        change.real, change.resolved = target.resolved.real, target.resolved
    return change


def _skip(target: Target, resolved: Resolved) -> Change:
    dangling = " (a dangling symlink)" if resolved.dangling else ""
    change = _new(target, SKIP, f"create_only, and the path exists{dangling}")
    if resolved.entry is not None:
        _keep_owner(change, resolved.entry)
    return change


def _create(target: Target, resolved: Resolved, view: "ChangedRootfs") -> Change:
    change = _new(target, *((CREATE, "new") if view.known else (WRITE, NO_ROOTFS)))
    rule = change.rule
    change.uid = parse_id(rule.uid, "uid", rule)
    change.gid = parse_id(rule.gid, "gid", rule)
    view.require_ids(change.uid, change.gid, rule)
    change.mode = parse_mode(rule.mode, rule)
    if view.known and resolved.depth is not None:
        change.new_depth = max(resolved.depth, view.made_depth(resolved.real))
    if resolved.named is not None:
        change.reason = f"new, at the target of a dangling symlink: {printable(resolved.real)}"
    if resolved.real.split("/", 2)[1] in ("dev", "proc", "sys"):
        change.reason += "; in a running container, a mount usually hides this file"
    return change


def _replace(target: Target, resolved: Resolved, entry: Entry, view: "ChangedRootfs") -> Change:
    if entry.kind != FILE:
        raise RefusedError(
            f"{place_of(target.path, target.resolved)} is a {entry.kind}, not a regular file",
            target.rendering.rule.spans.get("path"),
            hint="" if entry.kind == DIRECTORY else "LXD and Incus may write into this file, or hang",
        )
    before = view.content(resolved.real, entry, target.rendering.content or b"")
    if before == target.rendering.content:
        change = _new(target, KEEP, "the file already has this content")
    else:
        change = _new(target, UPDATE, "content differs")
        if entry.nlink > 1:
            change.reason += f"; its {entry.nlink - 1} other hard link(s) keep the old content"
    change.before = before
    _keep_owner(change, entry)
    return change


def _through_mount(change: Change, resolved: Resolved, in_place: bool) -> None:
    mount = resolved.mounts[-1]
    if not in_place:
        raise RefusedError(
            f"{place_of(change.path, change.resolved)} is a mount point"
            if mount == resolved.real
            else f"{place_of(change.path, change.resolved)} is below the mount point '{printable(mount)}'",
            change.rule.spans.get("path"),
            hint="use `apply --cross-mounts` or `hook --in-place` to write the mounted file, which other"
            " programs may use",
        )
    change.in_place = mount == resolved.real
    if change.in_place:
        change.reason += "; a mount point, written in place"


def _keep_owner(change: Change, entry: Entry) -> None:
    """Keep the existing file's owner and mode. Like Incus, ignore the rule's values, even invalid ones."""
    change.uid, change.gid, change.mode = entry.uid, entry.gid, entry.mode


def _placed(error: "TemplaterError", rule: "Rule") -> "TemplaterError":
    if error.span is None:
        error.span = rule.spans.get("path")
    return error


def _collision(rule: "Rule", other: "Rule") -> RefusedError:
    span = other.spans.get("path")
    place = f" at {span.place}" if span is not None else ""
    return RefusedError(
        f"the rules for '{printable(rule.path)}' and '{printable(other.path)}' write the same file, or one "
        "target is a parent directory of the other target",
        rule.spans.get("path"),
        hint="keep one of the rules; LXD and Incus run rules in random order",
        notes=(f"the other rule: '{printable(other.path)}'{place}",),
    )
