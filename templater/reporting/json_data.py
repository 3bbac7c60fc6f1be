"""Plans as data for ``json.dumps``. docs/automation.md documents the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model.plan import FAILED, SKIP
from .json_escapes import json_text
from .plan_text import deviation_names, new_parents

if TYPE_CHECKING:
    from ..model.errors import TemplaterError
    from ..model.plan import Change, Plan


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return the whole plan as data for ``json.dumps``. ``content_base64`` holds text that is not UTF-8."""
    data: dict[str, Any] = {
        "instance": json_text(plan.instance.name),
        "type": plan.instance.type,
        "host": plan.host.name,
        "triggers": list(plan.triggers),
        "changes": [change_data(change, plan) for change in plan.changes],
    }
    if plan.host_error:
        data["host_error"] = plan.host_error
    if plan.agent:
        data["agent"] = [change_data(change, plan) for change in plan.agent]
    return data


def change_data(change: Change, plan: Plan | None = None) -> dict[str, Any]:
    """Return one change as data. If ``plan`` is given, add the outcome of the change on the host."""
    outcome = None if plan is None else plan.outcome(change)
    data: dict[str, Any] = {
        "trigger": change.trigger,
        "path": json_text(change.path),
        "real": json_text(change.real),
        "action": change.action,
        "template": json_text(change.rule.template),
        "reason": change.reason,
    }
    if change.action not in (FAILED, SKIP):
        parents, more = new_parents(change)
        data |= {
            "uid": change.uid,
            "gid": change.gid,
            "mode": f"{change.mode:04o}",
            "new_parents": [json_text(path) for path in parents],
            "in_place": change.in_place,
        }
        if more:
            data["more_new_parents"] = more
    if change.content is not None:
        data |= _content(change.content)
    if change.error is not None:
        data["error"] = error_data(change.error)
    if plan is not None and outcome is not None:
        data["host"] = {"result": outcome.result, "text": outcome.text, "error": outcome.error}
        if names := deviation_names(plan, change):
            data["host"]["deviations"] = names
    return data


def error_data(error: TemplaterError) -> dict[str, Any]:
    """Return an error as data: its kind, message, and position (file, line and column)."""
    data: dict[str, Any] = {"kind": error.kind, "message": error.message}
    if error.span is not None:
        span = error.span.origin
        data |= {"file": span.source.name, "line": span.line, "column": span.column}
    if error.hint:
        data["hint"] = error.hint
    if error.notes:
        data["notes"] = list(error.notes)
    return data


def _content(content: bytes) -> dict[str, str]:
    try:
        return {"content": content.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"content_base64": b64encode(content).decode("ascii")}
