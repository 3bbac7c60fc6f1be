"""Plans as plain text, to which the command line adds colours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ..model.entry import parents_below
from ..model.plan import AGENT, FAILED, KEEP, SKIP, WRITE, WRITING
from ..model.unprintable_characters import printable
from ..rendering.render import is_due

if TYPE_CHECKING:
    from ..model.plan import Change, Outcome, Plan

FAILURE = 5
#: maximum number of rules named in a line
MOST_NAMED = 5
#: maximum number of new directories listed for a change
MOST_PARENTS = 20

#: the words for each result of a prediction; after 'fails' or 'hangs', the host runs no further rule
RESULT_TEXTS = {
    "fails": "the start fails", "hangs": "the start hangs", "random": "random result",
    "unknown": "unknown result",
}  # fmt: skip

#: the beginning of a daemon's error text if the daemon does not turn a panic into an error
PANIC = "panic: "
CRASH = "the daemon crashes"


class Block(NamedTuple):
    """The parts of one change in a report: a heading, remarks and a body.

    * ``body``: the rendered text, the explanation of an error, or None
    * ``warns``: false if the host writes or skips the file without a known deviation from templater
    """

    change: Change
    heading: Heading
    remarks: tuple[str, ...] = ()
    body: str | None = None
    warns: bool = True

    @property
    def failed(self) -> bool:
        return self.change.action == FAILED


class Heading(NamedTuple):
    """The heading of a change. ``owner`` and ``mode`` are empty if the change writes no file."""

    target: str
    action: str
    owner: str
    mode: str
    why: str

    def __str__(self) -> str:
        facts = f"  {self.owner} {self.mode}" if self.owner else ""
        return f"{self.target}  {self.action}{facts}  {self.why}"


def blocks(plan: Plan, *, fold: bool = False) -> Iterator[Block]:
    """Yield a block for each change, in order.

    If several triggers render a file, only the block of the last trigger shows the content. If ``fold`` is
    true, omit the changes that ``unchanged`` returns.
    """
    folded = set(unchanged(plan)) if fold else set()
    changes = [change for change in plan.changes if change not in folded]
    last = {change.real: change for change in changes if change.content is not None}
    for change in changes:
        again = last.get(change.real)
        remarks = tuple(_remarks(change, plan))
        warns = _warns(plan, change)
        if change.action in WRITING and again is not None and again is not change:
            remarks = (*remarks, written_again(again))
            yield Block(change, heading(change), remarks, warns=warns)
        else:
            yield Block(change, heading(change), remarks, _body(change), warns)
    for change in plan.agent:
        # An earlier block has already shown this content, as a file on the config drive.
        body = _body(change) if change.action == FAILED else None
        shown = heading(change)
        shown = shown._replace(target=f"in the guest: {shown.target}")
        yield Block(change, shown, tuple(_remarks(change, plan)), body, _warns(plan, change))


def written_again(later: Change) -> str:
    """Return a remark for a file that has a later change. Only the later change shows the content."""
    return f"{'written again' if later.action in WRITING else 'not changed'} on {later.trigger}"


def unchanged(plan: Plan) -> list[Change]:
    """Return the changes after which a file is the same as after an earlier trigger.

    Omit a change if its outcomes on the host and in templater differ.
    """
    earlier: dict[str, Change] = {}
    found = []
    for change in plan.changes:
        before = earlier.get(change.real)
        earlier[change.real] = change
        if before is None or FAILED in (before.action, change.action) or outcome_text(plan, change):
            continue
        facts = [(each.content, each.uid, each.gid, each.mode) for each in (before, change)]
        if change.action in (KEEP, SKIP) or facts[0] == facts[1]:
            found.append(change)
            earlier[change.real] = before
    return found


def _warns(plan: Plan, change: Change) -> bool:
    outcome = plan.outcome(change)
    return outcome is None or not outcome.ok or bool(deviation_names(plan, change))


def preview(plan: Plan) -> str:
    """Return all changes with target, owner, mode, reason and content, as plain text."""
    return "\n".join(plain(block) for block in blocks(plan))


def plain(block: Block) -> str:
    """Return a block without colours, ending in a newline."""
    lines = [f"==> {block.heading}\n", *(f"    ! {remark}\n" for remark in block.remarks)]
    if block.body is not None:
        lines.append(indented(block.body) if block.failed else ended(block.body) or "    (empty)\n")
    return "".join(lines)


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def ended(text: str) -> str:
    """Return the text, with diff's remark if the text has no newline at its end."""
    return text if text.endswith("\n") or not text else f"{text}\n\\ No newline at end of file\n"


def headline(change: Change) -> str:
    """Return a heading like ``/etc/hostname  create  0:0 0644  hostname.tpl on create: new``."""
    return str(heading(change))


def heading(change: Change) -> Heading:
    path = printable(change.path) or "''"
    if change.real != change.path:
        path = f"{path} -> {printable(change.real)}"
    writes = change.action not in (FAILED, SKIP)
    owner, mode = (f"{change.uid}:{change.gid}", f"{change.mode:04o}") if writes else ("", "")
    because = f": {change.reason}" if change.reason and change.action not in (WRITE, FAILED) else ""
    why = f"{printable(change.rule.template) or '-'} on {printable(change.trigger)}{because}"
    return Heading(path, change.action, owner, mode, why)


def outcome_text(plan: Plan, change: Change, *, with_error: bool = True) -> str:
    """Return a text about the outcome of a change on the host, or "" if templater has the same outcome.

    Without ``with_error``, omit the host's error, which can quote values that the template evaluated.
    """
    outcome = plan.outcome(change)
    if outcome is None or _agrees(change, outcome):
        return ""
    shown = result_text(plan, outcome.result, outcome.error)
    if change.trigger == AGENT:  # the agent runs later, so its errors do not fail the start
        shown = shown.replace("the start", "the agent")
    why = outcome.text or (outcome.error if with_error else "")
    host = plan.host.name
    return f"{host}: {shown}: {printable(why)}" if why and why != shown else f"{host}: {shown}"


def result_text(plan: Plan, result: str, error: str) -> str:
    """Return the words for a result on the host. ``error`` is the daemon's error text, or empty."""
    if result == "fails" and error.startswith(PANIC):
        return CRASH if crashes(plan, error) else "the daemon panics, so the start fails"
    return RESULT_TEXTS.get(result, result)


def crashes(plan: Plan, error: str) -> bool:
    """Return whether an error ends the daemon: a panic during the start of a virtual machine."""
    # For a container, the daemon renders in an HTTP handler, and Go's net/http package recovers from a panic
    # in a handler.
    return plan.instance.is_vm and error.startswith(PANIC)


def host_error_text(plan: Plan) -> str:
    """Return the reason why a start fails on the host before any rule runs."""
    return f"{plan.host.name}: {result_text(plan, 'fails', plan.host_error)}: {printable(plan.host_error)}"


def differences(plan: Plan, change: Change) -> Iterator[str]:
    """Yield texts about the host's outcome and the deviations, if the host and templater differ."""
    if text := outcome_text(plan, change):
        yield text
        if names := deviation_names(plan, change):
            yield f"templater differs: {'; '.join(names)}"


def deviation_names(plan: Plan, change: Change) -> list[str]:
    """Return the names of the deviations that explain a different outcome on the host."""
    if not outcome_text(plan, change):
        return []
    from ..prediction.deviations import deviations_at

    return [deviation.name for deviation in deviations_at(plan, change)]


def summary(plan: Plan) -> str:
    """Return one line with the number of changes of each action, and the predicted problems on the host."""
    counts: dict[str, int] = {}
    for change in plan.changes:
        counts[change.action] = counts.get(change.action, 0) + 1
    words = ", ".join(f"{count} {action}" for action, count in counts.items()) or "nothing to do"
    in_guest = sum(change.action == FAILED for change in plan.agent)
    words += f", {in_guest} failed in the guest" if in_guest else ""
    return f"{printable(plan.instance.name)}: {' then '.join(plan.triggers)}: {words}{_host_summary(plan)}"


def _host_summary(plan: Plan) -> str:
    """Return a text that counts the predicted problems on the host, or "" without a problem.

    For example: ``; incus would fail at 3, 2 random, 1 unknown``.
    """
    outcomes = [plan.prediction.outcomes[change] for change in plan.host_fails]
    results = [outcome.result for outcome in outcomes]
    if plan.host_error and not results:  # the start failed before any rule ran
        return f"; {host_error_text(plan)}"
    chance, unknown = results.count("random"), results.count("unknown")
    failing = len(results) - chance - unknown
    verb = "crash" if any(crashes(plan, outcome.error) for outcome in outcomes) else "fail"
    words = [f"would {verb} at {failing}"] if failing else []
    words += [f"{chance} random"] if chance else []
    words += [f"{unknown} unknown"] if unknown else []
    return f"; {plan.host.name}{' ' if failing else ': '}{', '.join(words)}" if words else ""


def not_due(plan: Plan) -> str:
    """Return one line with the rules that no trigger of the plan matches, or "" if all rules match."""
    other = [rule for rule in plan.metadata.rules if not any(is_due(rule, name) for name in plan.triggers)]
    if not other:
        return ""
    shown = ", ".join(
        f"{printable(rule.path)} ({printable(','.join(rule.when)) or 'never'})" for rule in other[:MOST_NAMED]
    )
    more = f" and {len(other) - MOST_NAMED} more" if len(other) > MOST_NAMED else ""
    return f"not rendered, no matching trigger: {shown}{more}"


def verdict(plan: Plan) -> int:
    """Return the exit code of a preview: 5 if a rule or the host fails, else 0."""
    return FAILURE if plan.failed or plan.host_fails or plan.host_error else 0


def _remarks(change: Change, plan: Plan) -> Iterator[str]:
    if change.in_place and change.action in WRITING:
        yield "a mount point: written in place, not replaced"
    parents, more = new_parents(change)
    if parents:
        shown = ", ".join(map(printable, parents))
        yield f"creates directory {shown} and {more} more below it" if more else f"creates directory {shown}"
    yield from differences(plan, change)


def new_parents(change: Change) -> tuple[list[str], int]:
    """Return the outermost new directories of a change, and the number of other new directories."""
    if change.new_depth is None:
        return [], 0
    parents = list(islice(parents_below(change.real, change.new_depth), MOST_PARENTS))
    return parents, change.real.count("/") - 1 - change.new_depth - len(parents)


def _agrees(change: Change, outcome: Outcome) -> bool:
    if not outcome.ok or outcome.text:
        return False
    return (outcome.result == "skipped") == (change.action == SKIP) and change.action != FAILED


def _body(change: Change) -> str | None:
    if change.action == FAILED:
        return change.error.explain() if change.error is not None else None
    if change.action == SKIP or change.content is None:
        return None
    return change.content.decode("utf-8", "surrogateescape")
