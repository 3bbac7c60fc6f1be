"""Where templater differs from LXD and Incus on purpose: named rules, told to people and held by tests.

A deviation explains a difference between what we do in a start and what the host was seen to do; a
difference that none explains is a bug. The table in the README is made from this list.
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
    """One rule: when it is at work, what the hosts do there, what we do, and why.

    ``at`` tells whether it is at work in a change, with its outcome on a host.
    """

    name: str
    when: str
    hosts: str
    ours: str
    reason: str
    at: Callable[[Change, Outcome | None, Host], bool]


def deviations_at(plan: Plan, change: Change) -> list[Deviation]:
    """Return the deviations at work in one change of a plan."""
    outcome = plan.outcome(change)
    return [deviation for deviation in DEVIATIONS if deviation.at(change, outcome, plan.host)]


def table() -> str:
    """The deviations as a Markdown table."""
    rows = ["| when | LXD, Incus | templater | why |", "|---|---|---|---|"]
    rows += [f"| {each.when} | {each.hosts} | {each.ours} | {each.reason} |" for each in DEVIATIONS]
    return "\n".join(rows) + "\n"


def _never(change: Change, outcome: Outcome | None, host: Host) -> bool:
    """For differences in reading: they are told before there is a plan."""
    return False


def _passes(outcome: Outcome | None) -> bool:
    """The host does not fail at this change."""
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
    # whatever the action: a file that an earlier pass of this start made keeps its owner
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
        "links are followed inside",
        "a symlink on the way to a target is absolute, climbs above the root, or leads to nothing",
        "refused, or on old releases followed on the host's own file system; Incus 7 refuses dangling ones",
        "followed as the container would: an absolute link starts again at its root, `..` stops there",
        "`/var/run -> /run` and `/etc/resolv.conf` are in most images, and inside the root they are harmless",
        _link_inside,
    ),
    Deviation(
        "a dangling link's file is a new file",
        "a target is a dangling symlink",
        "the file is made as an existing one: owner and mode of the rule are ignored",
        "made where the link points, with the rule's owner and mode and whatever parents are missing",
        "it is a new file",
        _dangling_owner,
    ),
    Deviation(
        "only regular files are written",
        "a target is a fifo, a socket or a device",
        "opened and written: the text is lost, or the start hangs",
        "refused",
        "an image must not make root write into a device or wait for ever",
        _special_file,
    ),
    Deviation(
        "two rules, one file",
        "two rules of one pass reach one file, or one's file is the other's parent",
        "random order, the last one wins",
        "an error that names both",
        "the same image would give different containers",
        _collision,
    ),
    Deviation(
        "ids that name nobody",
        "`uid` or `gid` is negative, larger than any id, or none of the container's",
        "`-1` and 4294967295 keep the daemon's own root, 4294967296 is 0; what the map does not have stays"
        " the host's root",
        "an error",
        "none of them is what the author meant",
        _impossible_id,
    ),
    Deviation(
        "uid, gid and mode mean something",
        "a rule has `uid`, `gid` or `mode`, and the host is an LXD",
        "LXD ignores them, bad values too: 0:0 0644",
        "the owner and mode of a new file, as in Incus",
        "an image says what it wants; the preview says that LXD will not do it",
        _permissions,
    ),
    Deviation(
        "templates are plain files",
        "a template's name has a `/`, or it is a symlink, a directory or something else",
        "depends on the release: some read it, inside or outside of the image",
        "refused",
        "CVE-2026-23954, CVE-2026-48752: such names and links read the host's files",
        _refused_template,
    ),
    Deviation(
        "a missing template is an error at once",
        "a rule is `create_only`, its target exists, and its template does not",
        "old releases skip it",
        "an error, as with newer releases",
        "it will fail for whoever has no such file yet",
        _missing_template_skipped,
    ),
    Deviation(
        "renders are bounded",
        "a template runs for ever, or gives gigabytes",
        "nothing limits it: the daemon hangs or is killed",
        "an error",
        "a render must not take the host down",
        _limits,
    ),
    Deviation(
        "mount points are somebody else's",
        "a target is a mount point, or lies behind one",
        "written",
        "refused unless asked for; then written in place",
        "what is mounted there need not belong to the container",
        _mount,
    ),
    Deviation(
        "hard links are broken, not written through",
        "a target has a second name",
        "both names change",
        "the target is replaced; the other name keeps the old content",
        "the other name may be another container's, or the host's",
        _hard_links,
    ),
    Deviation(
        "a failed template empties nothing",
        "a template does not compile or fails while rendering",
        "the target is left empty, new parents stay",
        "the target stays as it was",
        "an empty `/etc/passwd` is worse than an old one",
        _render_fails,
    ),
    Deviation(
        "a start is one commit",
        "one rule of a start fails",
        "some files are written and others not; if only the `start` pass failed, the pending trigger is lost",
        "nothing at all is written, and the pending trigger stays for the next start",
        "the next start can do it right, all of it",
        _fails,
    ),
    Deviation(
        "an instance has a metadata.yaml",
        "metadata.yaml is missing from an instance's folder, or is a symlink",
        "missing: nothing is rendered; a symlink: old releases follow it",
        "an error",
        "CVE-2026-63343; and templates that silently do nothing are what templater is for",
        _never,
    ),
    Deviation(
        "metadata.yaml holds plain values",
        "a tag asks for something else (`!!binary`, `!!set`, `!foo`), or an anchor contains itself",
        "Go takes a scalar's text; a loop matters only where it is decoded",
        "an error with its place",
        "nobody means it, and it is how YAML readers are attacked",
        _never,
    ),
    Deviation(
        "metadata.yaml is bounded",
        "more than 1 MiB, 200,000 nodes, 400,000 with aliases expanded, or 64 levels",
        "newer releases stop at 1 MiB, others nowhere",
        "an error",
        "CVE-2026-41648; libyaml's own loader dies of nesting",
        _never,
    ),
    Deviation(
        "`{a:}` is not YAML",
        "a plain value ends in a colon inside brackets: `{a:}`, `[a:]`",
        "the text `a:`",
        "an error: libyaml does not read it",
        "quote it",
        _never,
    ),
)
