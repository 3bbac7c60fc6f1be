"""The intentional differences between templater and LXD or Incus.

A deviation explains a difference between templater and the recorded behaviour of a host. A difference
without a deviation is a bug. The table in docs/differences.md is generated from this list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..model.entry import FILE
from ..model.errors import MetadataError, RefusedError
from ..model.hosts import Host
from ..model.plan import CREATE, FAILED, KEEP, SKIP, UPDATE, WRITE, Change, Outcome, Plan
from ..rootfs.paths import UnmappedError

DOES = (CREATE, UPDATE, KEEP, SKIP, WRITE)


@dataclass(frozen=True, slots=True)
class Deviation:
    """One intentional difference: its condition, the behaviour of hosts and of templater, and the reason."""

    name: str
    when: str
    hosts: str
    ours: str
    reason: str
    #: returns whether the deviation applies to a change with this outcome on this host
    at: Callable[[Change, Outcome | None, Host], bool]


def deviations_at(plan: Plan, change: Change) -> list[Deviation]:
    """Return the deviations that apply to one change of a plan."""
    outcome = plan.outcome(change)
    return [deviation for deviation in DEVIATIONS if deviation.at(change, outcome, plan.host)]


def table() -> str:
    """Return the deviations as a Markdown table."""
    rows = ["| when | LXD, Incus | templater | why |", "|---|---|---|---|"]
    rows += [
        f"| **{each.name}**: {each.when} | {each.hosts} | {each.ours} | {each.reason} |"
        for each in DEVIATIONS
    ]
    return "\n".join(rows) + "\n"


def _never(change: Change, outcome: Outcome | None, host: Host) -> bool:
    """Return False: this deviation is about reading an image, so it applies to no change of a plan."""
    return False


def _passes(outcome: Outcome | None) -> bool:
    """Return whether the outcome was predicted, and is not a failure."""
    return outcome is not None and outcome.result != "fails"


def _link_inside(change: Change, outcome: Outcome | None, host: Host) -> bool:
    followed = change.real != change.path
    return change.action in DOES and followed and outcome is not None and outcome.result == "fails"


def _dangling_owner(change: Change, outcome: Outcome | None, host: Host) -> bool:
    dangling = change.action == CREATE and change.resolved is not None and change.resolved.dangling
    return dangling and outcome is not None and outcome.result == "written"


def _special_file(change: Change, outcome: Outcome | None, host: Host) -> bool:
    there = change.resolved.entry if change.resolved is not None else None
    return change.action == FAILED and there is not None and there.kind != FILE and _passes(outcome)


def _collision(change: Change, outcome: Outcome | None, host: Host) -> bool:
    return change.collides is not None


def _impossible_id(change: Change, outcome: Outcome | None, host: Host) -> bool:
    refused = change.action == FAILED and isinstance(change.error, MetadataError | UnmappedError)
    return refused and not change.rule.null and host.permissions and _passes(outcome)


def _permissions(change: Change, outcome: Outcome | None, host: Host) -> bool:
    # The action does not matter: a file created by an earlier pass of the start keeps its owner.
    rule = change.rule
    return bool(rule.uid or rule.gid or rule.mode) and bool(host.family) and not host.permissions


def _refused_template(change: Change, outcome: Outcome | None, host: Host) -> bool:
    return isinstance(change.render_error, RefusedError) and _passes(outcome)


def _missing_template_skipped(change: Change, outcome: Outcome | None, host: Host) -> bool:
    error = change.render_error
    return change.action == FAILED and error is not None and error.kind == "template" and _passes(outcome)


def _limits(change: Change, outcome: Outcome | None, host: Host) -> bool:
    return change.render_error is not None and change.render_error.kind == "limit"


def _mount(change: Change, outcome: Outcome | None, host: Host) -> bool:
    mounts = change.resolved.mounts if change.resolved is not None else ()
    return change.action == FAILED and bool(mounts) and _passes(outcome)


def _hard_links(change: Change, outcome: Outcome | None, host: Host) -> bool:
    there = change.resolved.entry if change.resolved is not None else None
    return change.action == UPDATE and there is not None and there.nlink > 1


def _render_fails(change: Change, outcome: Outcome | None, host: Host) -> bool:
    return change.render_error is not None and change.action == FAILED


def _fails(change: Change, outcome: Outcome | None, host: Host) -> bool:
    return change.action == FAILED


DEVIATIONS = (
    Deviation(
        "links are followed only inside the root filesystem",
        "a symlink on the way to a target is absolute, climbs above the root, or dangles",
        "newer releases refuse absolute and climbing links, and Incus 7 also refuses dangling links;"
        " old releases follow these links on the host",
        "templater follows the link as a process in the container would, and never leaves the root",
        "most images contain absolute links (`/var/run -> /run`), which are harmless inside the root",
        _link_inside,
    ),
    Deviation(
        "the target of a dangling link counts as a new file",
        "a target is a dangling symlink",
        "the file is created, but the rule's owner and mode are ignored, as for an existing file",
        "the file (with the rule's owner and mode) and missing parents are created where the link points",
        "no file existed at the link's target",
        _dangling_owner,
    ),
    Deviation(
        "targets must be regular files",
        "a target is a fifo, a socket or a device",
        "the daemon opens and writes the target: the text is lost, or the start hangs",
        "refused",
        "an image must not make root write to a device, or make the start hang",
        _special_file,
    ),
    Deviation(
        "colliding rules are refused",
        "two rules of one pass write the same file, or one target is a parent directory of the other target",
        "rules run in random order; the last rule wins",
        "an error that names both rules",
        "the same image would produce different containers",
        _collision,
    ),
    Deviation(
        "ids outside the container are refused",
        "`uid` or `gid` is negative, too large, or outside the container's id map",
        "for `-1`, 4294967295, 4294967296 and ids outside the id map, the file gets the uid or gid 0 of the"
        " host",
        "an error",
        "no image author intends ids outside the container",
        _impossible_id,
    ),
    Deviation(
        "uid, gid and mode are used",
        "a rule has `uid`, `gid` or `mode`, and the host is LXD",
        "LXD ignores `uid`, `gid` and `mode`, even invalid values: the file gets 0:0 0644",
        "templater uses `uid`, `gid` and `mode` for new files, as Incus does",
        "the fields state the author's intent; the preview says that LXD ignores them",
        _permissions,
    ),
    Deviation(
        "templates must be plain files",
        "a template's name contains `/`, or the template is not a regular file",
        "some releases read a template even if it is outside the image",
        "refused",
        "CVE-2026-23954, CVE-2026-48752: a name with `/` or a symlink can make the daemon read the host's"
        " files",
        _refused_template,
    ),
    Deviation(
        "a missing template is always an error",
        "a rule is `create_only`, its target exists, and its template is missing",
        "old releases skip the rule",
        "an error, as in newer releases",
        "old releases also fail at this rule if the target is missing",
        _missing_template_skipped,
    ),
    Deviation(
        "rendering has limits",
        "the rendering of a template never ends, or prints gigabytes",
        "rendering has no limit: the daemon hangs or is killed",
        "an error",
        "a template must not take the host down",
        _limits,
    ),
    Deviation(
        "mount points are not replaced",
        "a target is a mount point, or below a mount point",
        "the daemon writes the file",
        "refused; with `--cross-mounts`, the mounted file is written in place",
        "the mounted file system may belong to the host or to another container",
        _mount,
    ),
    Deviation(
        "other hard links keep the old content",
        "a target has several hard links",
        "all hard links show the new content",
        "the target is replaced; its other hard links keep the old content",
        "another hard link may belong to another container or to the host",
        _hard_links,
    ),
    Deviation(
        "a failed template changes nothing",
        "a template does not compile, or fails while rendering",
        "the target is left empty, and new parent directories remain",
        "the target is unchanged",
        "an empty `/etc/passwd` is worse than an old one",
        _render_fails,
    ),
    Deviation(
        "if one rule fails, no file is written",
        "one rule of a start fails",
        "some files are written; if only the `start` pass fails, the pending trigger is lost",
        "no file is written; the pending trigger stays for the next start",
        "the next start can write all files",
        _fails,
    ),
    Deviation(
        "an instance must have a metadata.yaml",
        "metadata.yaml is missing from an instance directory, or is a symlink",
        "if metadata.yaml is missing, no template is rendered; if it is a symlink, old releases follow it",
        "an error",
        "CVE-2026-63343; templates must not be skipped silently",
        _never,
    ),
    Deviation(
        "metadata.yaml must not contain tags or recursive anchors",
        "metadata.yaml has a tag such as `!!binary`, `!!set`, `!foo` or `!`, or an anchor that contains "
        "itself",
        "Go uses the text of a tagged scalar; Go rejects a recursive anchor only in a field that Go decodes",
        "an error with its source position",
        "attacks on YAML readers use tags and recursive anchors; no legitimate image uses them",
        _never,
    ),
    Deviation(
        "metadata.yaml is too large or too deep",
        "metadata.yaml exceeds 1 MiB, 200,000 nodes (400,000 with aliases expanded), 100 million comparisons "
        "of keys or a depth of 64 levels",
        "newer releases reject more than 1 MiB; older releases have no limit",
        "an error",
        "CVE-2026-41648; deep nesting crashes libyaml's own loader",
        _never,
    ),
    Deviation(
        "`{a:}` is rejected",
        "a plain value inside brackets ends in a colon: `{a:}`, `[a:]`",
        "the text `a:`",
        "an error: libyaml rejects the value",
        "YAML readers disagree about values that end in a colon; quote such values",
        _never,
    ),
)
