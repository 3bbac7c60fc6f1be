"""Outcomes that depend on the random order in which the daemons run the rules of a pass."""

from __future__ import annotations

from ..model.plan import Change, Outcome

#: a remark cuts the path of another rule to this number of characters
_LONGEST_PATH = 100


def mark_random(changes: list[Change], outcomes: dict[Change, Outcome]) -> str:
    """Set each outcome that depends on the order of the rules to ``random``.

    The daemons run the rules in the random order of a Go map.

    Return the reason why the start ends in this pass, or an empty string if the start continues.
    """
    failing = [
        change for change, outcome in outcomes.items() if not outcome.ok and outcome.result != "unknown"
    ]
    for change, outcome in outcomes.items():
        if change.collides is not None:
            text = f"rules run in random order, and '{_short(change.collides.path)}' writes to the same place"
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
    """Cut a long path, because the remarks on all other rules repeat the path."""
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"
