"""Decisions about each file of a plan: create, update, keep, skip or fail. Nothing is written."""

from ..model.entry import (
    APPEND_ONLY,
    DIRECTORY,
    FILE,
    IMMUTABLE,
    Entry,
    Resolved,
    common_depth,
    parents_below,
)
from ..model.errors import LimitError, RefusedError, TemplaterError, WriteError
from ..model.permissions import parse_id, parse_mode
from ..model.plan import AGENT, CREATE, FAILED, KEEP, SKIP, UPDATE, WRITE, WRITING, Change, Plan, split_passes
from ..model.source import printable
from ..rendering.render import Rendering
from ..rootfs.paths import UnmappedError
from .follow_links import Steps, clean, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.entry import RootfsView
    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.metadata import Metadata, Rule

#: maximum size in bytes of an existing file that is read; larger files always count as different
MAX_COMPARED = 64 << 20
#: maximum size of an existing file whose content a plan keeps, for a patch
MAX_KEPT = 8 << 20
#: maximum number of bytes that one plan keeps from existing files
MAX_COMPARED_TOTAL = 64 << 20
#: stands for an unknown depth, because no path is this deep
_DEEPEST = 1 << 16


def plan_of(
    metadata: "Metadata",
    instance: "Instance",
    renderings: "list[Rendering]",
    rootfs: "RootfsView | None" = None,
    *,
    host: "Host",
    triggers: "tuple[str, ...]",
    in_place: bool = False,
) -> Plan:
    """Return the plan for these renderings, without a prediction."""
    if not instance.is_vm:
        return Plan(metadata, instance, host, triggers, decide(renderings, rootfs, in_place=in_place))
    drive = config_drive(renderings)
    agent = decide(_agent_renderings(metadata, drive), rootfs, in_place=in_place)
    return Plan(metadata, instance, host, triggers, drive, agent=agent)


def decide(
    renderings: "Iterable[Rendering]", rootfs: "RootfsView | None" = None, *, in_place: bool = False
) -> "tuple[Change, ...]":
    """Return a change for each rendering. A pass sees the files of the passes before it."""
    view = _ChangedRootfs(rootfs)
    steps = Steps()
    changes: list[Change] = []
    for renderings_of_pass in split_passes(renderings):
        targets = [_Target(rendering, view, steps) for rendering in renderings_of_pass]
        _find_collisions(targets)
        for target in targets:
            change = _decide(target, view, in_place)
            view.record(change)
            changes.append(change)
    return tuple(changes)


def config_drive(renderings: "Iterable[Rendering]") -> "tuple[Change, ...]":
    """Return the files ``<template>.out`` that the start of a virtual machine writes for the guest's agent.

    The files are named after the template, so rules that share a template overwrite each other.
    """
    changes: list[Change] = []
    written: dict[str, Change] = {}
    for rendering in renderings:
        path = f"{rendering.rule.template}.out"
        earlier = written.get(path)
        if rendering.error is not None:
            change = Change(rendering.rule, rendering.trigger, path, FAILED, "not rendered")
            change.error = change.render_error = rendering.error
        elif earlier is None:
            change = Change(rendering.rule, rendering.trigger, path, CREATE, "new on the config drive")
        else:
            action = KEEP if earlier.content == rendering.content else UPDATE
            change = Change(rendering.rule, rendering.trigger, path, action)
            change.reason = _shared(earlier, change)
            change.before = earlier.content
        change.content = rendering.content
        changes.append(change)
        if rendering.error is None:
            written[path] = change
    return tuple(changes)


class _Target:
    """A rendering, with the target of its rule.

    The target's links were resolved before the pass changed any file.
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


def _find_collisions(targets: "list[_Target]") -> None:
    """Mark rules of one pass that write the same file, or whose file is a parent of another rule's file."""
    by_place: dict[str, _Target] = {}
    reached = [target for target in targets if target.resolved is not None and target.error is None]
    for target in reached:
        assert target.resolved is not None
        other = by_place.setdefault(target.resolved.real, target)
        if other is not target:
            target.collides = other.rendering.rule
            other.collides = other.collides or target.rendering.rule
    # With "/" replaced by NUL, sorting puts a file right before all paths below it.
    above: list[tuple[str, _Target]] = []
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


def _decide(target: _Target, view: "_ChangedRootfs", in_place: bool) -> Change:
    try:
        return _change(target, view, in_place)
    except TemplaterError as error:
        change = _new(target, FAILED, error.message)
        change.error = error
        return change


#: kinds of errors that need a render: a daemon does not report them if create_only skips the rule
_LATE = ("syntax", "render", "limit")


def _change(target: _Target, view: "_ChangedRootfs", in_place: bool) -> Change:
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


def _new(target: _Target, action: str, reason: str) -> Change:
    rendering = target.rendering
    change = Change(rendering.rule, rendering.trigger, target.path, action, reason)
    change.content, change.render_error = rendering.content, rendering.error
    change.collides = target.collides
    if target.resolved is not None:
        change.real, change.resolved = target.resolved.real, target.resolved
    return change


def _skip(target: _Target, resolved: Resolved) -> Change:
    dangling = " (a dangling symlink)" if resolved.dangling else ""
    change = _new(target, SKIP, f"create_only, and the path exists{dangling}")
    if resolved.entry is not None:
        _keep_owner(change, resolved.entry)
    return change


def _create(target: _Target, resolved: Resolved, view: "_ChangedRootfs") -> Change:
    change = _new(target, *((CREATE, "new") if view.known else (WRITE, "no root filesystem given")))
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


def _replace(target: _Target, resolved: Resolved, entry: Entry, view: "_ChangedRootfs") -> Change:
    if entry.kind != FILE:
        raise RefusedError(
            f"{_where(target)} is a {entry.kind}, not a regular file",
            target.rendering.rule.spans.get("path"),
            hint="" if entry.kind == DIRECTORY else "LXD and Incus may write into such a file, or hang",
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
            f"{_where(change)} is a mount point"
            if mount == resolved.real
            else f"{_where(change)} is below the mount point '{printable(mount)}'",
            change.rule.spans.get("path"),
            hint="other programs may use the mounted file; use `apply --cross-mounts` or `hook --in-place`",
        )
    change.in_place = mount == resolved.real
    if change.in_place:
        change.reason += "; a mount point, written in place"


def _keep_owner(change: Change, entry: Entry) -> None:
    """Keep the existing file's owner and mode. As on Incus, the rule's values are not even parsed."""
    change.uid, change.gid, change.mode = entry.uid, entry.gid, entry.mode


def _where(target: "_Target | Change") -> str:
    shown = f"'{printable(target.path)}'"
    real = target.path if target.resolved is None else target.resolved.real
    return shown if real == target.path else f"{shown} (at '{printable(real)}')"


def _placed(error: "TemplaterError", rule: "Rule") -> "TemplaterError":
    if error.span is None:
        error.span = rule.spans.get("path")
    return error


def _flagged(change: Change, path: str, flag: str) -> WriteError:
    place = "it" if path == change.real else f"'{printable(path)}'"
    return WriteError(
        f"can't write {_where(change)}: {place} is {flag}",
        change.rule.spans.get("path"),
        hint=f"remove the flag: chattr -{'i' if flag == IMMUTABLE else 'a'}",
    )


def _collision(rule: "Rule", other: "Rule") -> RefusedError:
    span = other.spans.get("path")
    place = f" at {span.place}" if span is not None else ""
    return RefusedError(
        f"the rules for '{printable(rule.path)}' and '{printable(other.path)}' write the same file, or the "
        "file of one is a parent of the other's",
        rule.spans.get("path"),
        hint="keep one of the rules; LXD and Incus run rules in random order",
        notes=(f"the other rule: '{printable(other.path)}'{place}",),
    )


def _shared(earlier: Change, change: Change) -> str:
    if earlier.rule is change.rule:
        return "same content" if change.action == KEEP else "rendered again"
    what = "same content as" if change.action == KEEP else "overwrites the output of"
    return f"{what} '{printable(earlier.rule.path)}' (trigger {earlier.trigger}): the rules share a template"


def _agent_renderings(metadata: "Metadata", drive: "tuple[Change, ...]") -> "list[Rendering]":
    """Return the renderings that the guest's agent applies.

    The agent ignores ``when``, and applies every rule whose .out file exists (incus-agent/templates.go).
    """
    outputs = {change.path: change.content for change in drive if change.action != FAILED}
    return [
        Rendering(rule, AGENT, outputs[f"{rule.template}.out"])
        for rule in metadata.rules
        if not rule.null and f"{rule.template}.out" in outputs
    ]


class _ChangedRootfs:
    """A root filesystem with the changes of earlier passes on top.

    Without a root filesystem, only the changes are known.
    """

    __slots__ = (
        "compared_bytes", "depths", "files", "flags", "folders", "known", "made", "new_folders", "paths",
        "rootfs",
    )  # fmt: skip

    def __init__(self, rootfs: "RootfsView | None") -> None:
        self.rootfs = rootfs
        self.compared_bytes = 0
        self.known = rootfs is not None
        self.files: dict[str, bytes] = {}
        self.made: dict[str, Entry] = {}
        #: the paths of created files, sorted
        self.paths: list[str] = []
        #: for each created file, the number of its parent directories that existed before
        self.depths: dict[str, int] = {}
        #: the entries and flags of directories: most rules of an image write into few directories
        self.folders: dict[str, Entry] = {}
        self.flags: dict[str, str] = {}
        #: the directories that the changes create, as far as paths lead through them
        self.new_folders: set[str] = set()

    def record(self, change: Change) -> None:
        if change.action not in WRITING or change.content is None:
            return
        size = len(change.content)
        entry = Entry(FILE, change.mode, change.uid, change.gid, size, is_mount=change.in_place)
        self.files[change.real] = change.content
        if change.real not in self.made:
            self.paths.insert(self.index(change.real), change.real)
        self.made[change.real] = entry
        if change.new_depth is not None:
            self.depths.setdefault(change.real, change.new_depth)

    def index(self, path: str) -> int:
        """Return the index at which to insert a path into ``paths``.

        The module bisect is not used, because its import would slow hooks.
        """
        low, high = 0, len(self.paths)
        while low < high:
            middle = (low + high) // 2
            if self.paths[middle] < path:
                low = middle + 1
            else:
                high = middle
        return low

    def entry(self, path: str) -> "Entry | None":
        made = self.made.get(path)
        if made is not None:
            return made
        below = None
        if self.paths:
            index = self.index(path + "/")
            if index < len(self.paths) and self.paths[index].startswith(path + "/"):
                below = self.paths[index]
        # A directory that an earlier change creates is missing in the root filesystem: look up neither it nor
        # the names in it. Another process could create the directory now, with links in it.
        is_new = path in self.new_folders or path.rpartition("/")[0] in self.new_folders
        if below and path.count("/") > self.depths.get(below, _DEEPEST):
            is_new = True
        if self.rootfs is not None and not is_new:
            found = self.folders.get(path) or self.rootfs.entry(path)
            if found is not None:
                if found.kind == DIRECTORY:
                    self.folders[path] = found
                return found
        if below is None:
            return None
        self.new_folders.add(path)
        return Entry(DIRECTORY, 0o755)

    def made_depth(self, path: str) -> int:
        """Return how many parent directories ``path`` shares with the files that earlier passes created."""
        index = self.index(path)
        depths = [common_depth(path, other) for other in self.paths[max(index - 1, 0) : index + 1]]
        return max(depths, default=0)

    def read(self, path: str, limit: int) -> bytes:
        if path in self.files:
            return self.files[path]
        assert self.rootfs is not None
        return self.rootfs.read(path, limit)

    def require_ids(self, uid: int, gid: int, rule: "Rule") -> None:
        """Raise UnmappedError if the root filesystem has an id map without ``uid`` or ``gid``."""
        ids = getattr(self.rootfs, "ids", None)
        if ids is None:
            return
        for field, on_disk, number in (("uid", ids.uid_on_disk, uid), ("gid", ids.gid_on_disk, gid)):
            try:
                on_disk(number)
            except UnmappedError as error:
                error.span = rule.spans.get(field)
                raise

    def require_writable(self, change: Change, resolved: Resolved) -> None:
        """Raise WriteError if a chattr(1) flag prevents templater from replacing or creating the file."""
        flag_of = getattr(self.rootfs, "flag", None)
        if self.rootfs is None or flag_of is None or change.real in self.made:
            return
        flag = flag_of(change.real) if resolved.entry is not None else ""
        if flag:
            raise _flagged(change, change.real, flag)
        new = change.real  # the outermost name that this change creates
        if resolved.depth is not None:
            new = next(parents_below(new, resolved.depth), new)
        folder = new.rpartition("/")[0] or "/"
        if folder not in self.flags and not change.in_place:
            self.flags[folder] = flag_of(folder)
        flag = "" if change.in_place else self.flags[folder]
        # An append-only directory accepts new files, but templater renames files and new directories in it.
        if flag == IMMUTABLE or (flag and (new != change.real or resolved.entry is not None)):
            raise _flagged(change, folder, flag)
        if resolved.entry is not None and not change.in_place:  # the replacement has a temporary name in "/"
            if "/" not in self.flags:
                self.flags["/"] = flag_of("/")
            if self.flags["/"] == APPEND_ONLY:
                raise _flagged(change, "/", APPEND_ONLY)

    def content(self, path: str, entry: Entry, new: bytes) -> "bytes | None":
        """Return the content of an existing file, or None if it differs from ``new`` and is too large."""
        if path in self.files:
            return self.files[path]
        most = min(MAX_KEPT, MAX_COMPARED_TOTAL - self.compared_bytes)
        if entry.size > most and entry.size != len(new):
            return None
        try:
            data = self.read(path, MAX_COMPARED if entry.size > most else most)
        except LimitError:
            return None
        if data == new:
            return new
        if len(data) > most:
            return None
        self.compared_bytes += len(data)
        return data
