"""A verdict for each rule of an instance: the effect of the next start on the rule's file.

The API shows every symlink as absolute, but hosts treat relative links differently. So if a target's path
contains a link, templater simulates the start twice: with absolute and with relative links. If the verdicts
on a file differ, the verdict is "unknown".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from ..live.address import Address
from ..live.live_instance import LiveInstance
from ..live.live_rootfs import LiveRootfs, UnreadableError
from ..model.errors import LimitError, TemplaterError
from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import Rule
from ..model.pending_trigger import PENDING_KEY, passes
from ..model.plan import CREATE, FAILED, KEEP, SKIP, UPDATE, Change, Plan
from ..model.render_options import RenderOptions
from ..model.unprintable_characters import printable
from ..planning.changed_rootfs import MAX_COMPARED
from ..planning.follow_links import clean
from ..planning.plan_image import plan_image
from ..simulation.host_results import StartError
from ..simulation.instance_actions import Simulation
from ..simulation.simulated_instance import MemoryFolder
from .read_ahead import read_ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..parsing.yaml_nodes import Limits as YamlLimits

#: the verdicts
NOT_REWRITTEN = "not rewritten"  # no trigger of the next start runs the rule
SAME = "same"  # the start writes the content that the file already has
CHANGES = "change"
CREATES = "create"
SKIPS = "skip"  # create_only, and the file exists
WRITES = "write"  # the file is written, but could not be read
UNREADABLE = "unreadable"
FAILS = "fail"  # the start fails at this rule or at an earlier rule
UNKNOWN = "unknown"

#: verdicts with which the next start changes the instance
CHANGING = (CHANGES, CREATES, WRITES)

#: results of the comparison of a file with the rendering of the current configuration
EQUAL, DIFFERENT, MISSING = "equal", "different", "missing"

#: the triggers that a user can make pending, in the order in which a command suggests them
_MAKEABLE = ("create", "copy", "rename")
#: directories on which other filesystems are mounted while a container runs
_MOUNTED = ("/dev", "/proc", "/sys", "/run")
#: maximum number of links in a reason, and maximum number of characters of each link
_MOST_LINKS, _LONGEST_LINK = 5, 200


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """The effect of the next start on the file of one rule.

    * ``change``: the change that the start makes
    * ``current``: EQUAL, DIFFERENT, MISSING or UNKNOWN, if the start does not write the file. This result
      compares the file with a rendering of the current configuration.
    * ``current_change``: the difference between the file and this rendering
    """

    rule: Rule
    path: str
    real: str
    verdict: str
    reason: str = ""
    change: Change | None = None
    current: str = ""
    current_reason: str = ""
    current_change: Change | None = None
    #: a trigger that would write the file, but that the next start does not run
    trigger: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NextStart:
    """The next start of an instance. ``unreadable`` is the reason why no file could be read, or ""."""

    address: Address
    instance: Instance
    host: Host
    triggers: tuple[str, ...]
    files: tuple[FileVerdict, ...]
    error: TemplaterError | None = None
    unreadable: str = ""
    notes: tuple[str, ...] = ()
    #: the simulated start
    plan: Plan | None = None
    #: a sentence about a newer version of the image whose templates differ, or empty
    newer_image: str = ""

    @property
    def is_running(self) -> bool:
        return self.instance.status not in ("", "Stopped", "Error")

    @property
    def changing(self) -> list[FileVerdict]:
        """The files that the start would change."""
        return [file for file in self.files if file.verdict in CHANGING]

    @property
    def differing(self) -> list[FileVerdict]:
        """The files that differ from the current configuration and that the start does not write.

        The list has a missing file only if the trigger ``create`` would write the file.
        """
        return [
            file
            for file in self.files
            if file.current == DIFFERENT or (file.current == MISSING and file.trigger == "create")
        ]

    @property
    def exit_code(self) -> int:
        """The exit code: 5 if the start fails or the result of a file is unknown, 0 in all other cases."""
        bad = any(file.verdict in (FAILS, UNKNOWN) for file in self.files)
        return 5 if bad or self.error is not None else 0


@dataclass(slots=True)
class _Attempt:
    """A simulated start.

    ``made`` maps the real path of each changed file to its change. If the result of a file is
    uncertain, ``unknown`` maps the file's path to the reason.
    """

    plan: Plan
    made: dict[str, Change] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    error: TemplaterError | None = None


def judge(
    live: LiveInstance, instance: Instance, options: RenderOptions, reading: YamlLimits | None = None
) -> NextStart:
    """Return the verdicts on an instance's next start. Raises TemplaterError for an unreadable instance.

    ``options`` must have a clock and a seed, so that every rendering gives the same text.
    """
    read_ahead(live)
    judgement = _Judgement(live, instance, options.begun(), reading)
    found = judgement.next_start()
    live.check_exists()
    return found


class _Index:
    """Dicts for look-ups of a plan's changes, by rule and by file."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.changes = _by_rule(plan.changes)
        self.agent = _by_rule(plan.agent)
        self.files: dict[str, Change] = {}
        for change in plan.files():
            self.files.setdefault(change.real, change)


class _Judgement:
    def __init__(
        self, live: LiveInstance, instance: Instance, options: RenderOptions, reading: YamlLimits | None
    ) -> None:
        self.live, self.instance, self.options, self.reading = live, instance, options, reading
        self.rootfs = None if live.unreadable else live.rootfs
        #: for each other trigger: the plan of a start at which that trigger is pending
        self.others: dict[str, _Index] = {}

    def next_start(self) -> NextStart:
        first = self.attempt(self.rootfs)
        found = self.verdicts(first)
        error = first.error
        if self.rootfs is not None and self.rootfs.links:
            second = self.attempt(self.rootfs.with_relative_links())
            found = [self.combined(*pair) for pair in zip(found, self.verdicts(second), strict=True)]
            error = error if second.error is not None else None
        files = tuple(self.finished(index, file) for index, file in enumerate(found))
        return NextStart(
            self.live.address, self.instance, self.options.host, first.plan.triggers, files, error,
            self.live.unreadable, first.plan.notes, first.plan,
        )  # fmt: skip

    def attempt(self, rootfs: LiveRootfs | None) -> _Attempt:
        """Simulate the next start on the host."""
        if rootfs is None:
            plan = self.plan(self.live.pending, None)
            return _Attempt(plan, {change.real: change for change in _certain(plan)})
        life = Simulation(self.options, reading=self.reading)
        name = self.instance.name
        running = self.instance.status not in ("", "Stopped", "Error")
        life.adopt(self.instance, MemoryFolder(self.live.image, rootfs), self.live.pending, running=running)
        error: TemplaterError | None = None
        try:
            started = life.restart(name) if running else life.start(name)
        except StartError as failure:
            started, error = failure.started, failure.cause
        except LimitError:
            raise
        except TemplaterError:  # a file can't be read, so judge the rules one by one
            plan = self.plan(self.live.pending, rootfs)
            return _Attempt(plan, {change.real: change for change in _certain(plan)})
        made = {change.real: change for change in started.changes}
        if started.plan.instance.is_vm:
            made = {change.real: change for change in started.plan.as_agent().files()}
        return _Attempt(started.plan, made, started.unknown, error)

    def plan(self, pending: str, rootfs: LiveRootfs | None) -> Plan:
        """Return the plan of a start at which the trigger ``pending`` is pending."""
        config = {key: value for key, value in self.instance.config.items() if key != PENDING_KEY}
        if pending:
            config[PENDING_KEY] = pending
        return plan_image(
            self.live.image, self.instance.replace(config=config), self.options,
            triggers=passes(pending), rootfs=rootfs, reading=self.reading,
        )  # fmt: skip

    def verdicts(self, attempt: _Attempt) -> list[FileVerdict]:
        index = _Index(attempt.plan)
        return [self.verdict(attempt, rule, index) for rule in attempt.plan.metadata.rules]

    def verdict(self, attempt: _Attempt, rule: Rule, index: _Index) -> FileVerdict:
        changes = index.changes.get(id(rule), [])
        if attempt.plan.instance.is_vm:  # files on the config drive are not files of the instance
            changes = [change for change in changes if change.action == FAILED]
        changes = [*changes, *index.agent.get(id(rule), ())]
        if not changes:
            path = _cleaned(rule.path)
            return FileVerdict(rule, path, path, NOT_REWRITTEN)
        last = changes[-1]
        verdict, reason, change = self.judged(attempt, changes)
        return FileVerdict(rule, last.path, last.real, verdict, reason, change)

    def judged(self, attempt: _Attempt, changes: list[Change]) -> tuple[str, str, Change | None]:
        """Judge the file of a rule that the start runs. Return verdict, reason and change of the file."""
        plan, last = attempt.plan, changes[-1]
        if last.real in attempt.unknown:
            return UNKNOWN, attempt.unknown[last.real], None
        made = attempt.made.get(last.real)
        if made is not None and attempt.error is None:
            return {CREATE: CREATES, UPDATE: CHANGES}.get(made.action, WRITES), "", made
        failed = next((change for change in changes if change.error is not None), None)
        if failed is not None and isinstance(failed.error, UnreadableError):
            return UNREADABLE, failed.error.message, None
        for change in changes:
            outcome = plan.outcome(change)
            if outcome is not None and not outcome.ok:
                verdict = UNKNOWN if outcome.result in ("random", "unknown") else FAILS
                return verdict, outcome.error or outcome.text, None
        refused = failed.error if failed is not None else None
        if failed is not None and refused is not None:
            outcome = plan.outcome(failed)
            if outcome is None or outcome.result != "written":
                return FAILS, refused.message, None
        if attempt.error is not None:
            return FAILS, "another rule stops the start", None
        if refused is not None:  # the simulation does not run a rule that templater refuses
            name = self.options.host.name
            return UNKNOWN, f"{name} writes this file, but templater refuses: {refused.message}", None
        if last.action == SKIP:
            return SKIPS, last.reason, last
        return SAME, "", None

    def combined(self, absolute: FileVerdict, relative: FileVerdict) -> FileVerdict:
        """Merge the verdicts for absolute and relative symlinks into one."""
        same_content = _content(absolute) == _content(relative)
        if (absolute.verdict, absolute.real) == (relative.verdict, relative.real) and same_content:
            return absolute
        assert self.rootfs is not None
        links = links_text(self.rootfs.links)
        how = " ".join(filter(None, (absolute.verdict, absolute.reason and f"({absolute.reason})")))
        other = " ".join(filter(None, (relative.verdict, relative.reason and f"({relative.reason})")))
        reason = (
            f"the daemon does not show whether the symlink is absolute or relative ({links}):"
            f" the result is {how} for an absolute link, and {other} for a relative link"
        )
        certain = relative if relative.change is not None else absolute
        return replace(certain, verdict=UNKNOWN, reason=reason)

    def finished(self, index: int, file: FileVerdict) -> FileVerdict:
        """Add remarks to a verdict.

        If the next start does not write the file, also compare the file with the text of its rule.
        """
        if file.verdict == NOT_REWRITTEN:
            file = self.compared(index, file)
        elif file.verdict == SKIPS and file.change is not None:
            file = replace(self.skipped(file, file.change), change=None)
        return replace(file, remarks=tuple(self.remarks(file)))

    def compared(self, index: int, file: FileVerdict) -> FileVerdict:
        """Compare a file with the text that the rule would write on one of its triggers.

        The file's verdict must be NOT_REWRITTEN.
        """
        trigger = next((name for name in _MAKEABLE if name in file.rule.when), "")
        if not trigger:
            return replace(file, current=UNKNOWN, current_reason="no trigger of the daemon runs this rule")
        file = replace(file, trigger=trigger)
        if self.rootfs is None:
            return replace(file, current=UNKNOWN, current_reason=f"not read: {self.live.unreadable}")
        if trigger not in self.others:
            self.others[trigger] = _Index(self.plan(trigger, self.rootfs))
        other = self.others[trigger]
        rule = other.plan.metadata.rules[index]
        changes = (other.agent or other.changes).get(id(rule))
        if not changes:
            return replace(file, current=UNKNOWN, current_reason="the template can't be rendered")
        last = changes[-1]
        file = replace(file, path=last.path, real=last.real)
        if last.action == FAILED:
            assert last.error is not None
            return replace(file, current=UNKNOWN, current_reason=last.error.message)
        if last.action == SKIP:
            return self.skipped(file, last)
        if last.action == KEEP:
            return replace(file, current=EQUAL)
        final = other.files.get(last.real, last)
        return replace(file, current=MISSING if final.action == CREATE else DIFFERENT, current_change=final)

    def skipped(self, file: FileVerdict, change: Change) -> FileVerdict:
        """Compare the existing file of a create_only rule with the text that the rule renders.

        The next start keeps the file.
        """
        if self.rootfs is None or change.content is None:
            reason = self.live.unreadable or (change.render_error.message if change.render_error else "")
            return replace(file, current=UNKNOWN, current_reason=reason)
        try:
            entry = self.rootfs.entry(change.real)
            data = self.rootfs.read(change.real, MAX_COMPARED) if entry is not None else b""
        except TemplaterError as error:
            return replace(file, current=UNKNOWN, current_reason=error.message)
        if entry is None:
            return replace(file, current=UNKNOWN, current_reason="a dangling symlink")
        if data == change.content:
            return replace(file, current=EQUAL)
        shown = Change(change.rule, change.trigger, change.path, UPDATE)
        shown.real, shown.content, shown.before = change.real, change.content, data
        shown.uid, shown.gid, shown.mode = entry.uid, entry.gid, entry.mode
        return replace(file, current=DIFFERENT, current_change=shown)

    def remarks(self, file: FileVerdict) -> Iterator[str]:
        if self.rootfs is not None and file.real in self.rootfs.empty:
            yield "the daemon shows an empty file, which can also be a fifo or a device"
        if self.live.is_vm or self.live.status in ("Stopped", "Error", ""):
            return
        disks = (
            device.get("path", "").rstrip("/")
            for device in self.instance.expanded_devices().values()
            if device.get("type") == "disk"
        )
        for mount in (*_MOUNTED, *disks):
            if mount and (file.real == mount or file.real.startswith(f"{mount}/")):
                shown = printable(mount)
                yield f"while the instance runs, the mount '{shown}' hides the file that the start writes"
                return


def links_text(links: Mapping[str, str]) -> str:
    """Return a text that lists a few links with their targets, and the number of further links."""
    words = [printable(f"{path} -> {target}") for path, target in islice(links.items(), _MOST_LINKS)]
    words = [text if len(text) <= _LONGEST_LINK else f"{text[:_LONGEST_LINK]}…" for text in words]
    more = len(links) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")


def _by_rule(changes: Iterable[Change]) -> dict[int, list[Change]]:
    found: dict[int, list[Change]] = {}
    for change in changes:
        found.setdefault(id(change.rule), []).append(change)
    return found


def _certain(plan: Plan) -> Iterator[Change]:
    """Yield the planned changes. Leave out each change that may fail on the host."""
    for change in (plan.as_agent() if plan.instance.is_vm else plan).files():
        outcome = plan.outcome(change)
        if outcome is None or outcome.ok:
            yield change


def _content(file: FileVerdict) -> tuple[object, ...]:
    change = file.change
    return () if change is None else (change.content, change.uid, change.gid, change.mode)


def _cleaned(path: str) -> str:
    try:
        return clean(path)
    except TemplaterError:
        return path
