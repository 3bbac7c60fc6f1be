"""Explanations of rendered files, as data for ``json.dumps``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..model.metadata import Rule
from ..model.plan import WRITING
from ..rendering.origins import VALUE, Line, Origin, Part, Reading
from .explanation import Explained
from .json_data import error_data
from .json_escapes import json_text


def explained_data(explained: Explained) -> dict[str, Any]:
    change = explained.change
    rule = change.rule
    data: dict[str, Any] = {
        "path": json_text(change.path),
        "rule": json_text(rule.path),
        "template": json_text(rule.template),
        "trigger": change.trigger,
        "when": [json_text(trigger) for trigger in rule.when],
        "create_only": rule.create_only,
        "action": change.action,
    }
    if explained.later is not None:
        key = "written_again_on" if explained.later.action in WRITING else "not_changed_on"
        data[key] = explained.later.trigger
    if change.error is not None:
        data["error"] = error_data(change.error)
    data["lines"] = None if explained.lines is None else [line_data(line) for line in explained.lines]
    return data


def line_data(line: Line) -> dict[str, Any]:
    return {
        "line": line.number,
        "template_line": line.template_line,
        "parts": [part_data(part) for part in line.parts],
    }


def part_data(part: Part) -> dict[str, Any]:
    data: dict[str, Any] = {
        "text": json_text(part.text),
        "kind": part.kind,
        "template_line": part.line,
        "template_column": part.column,
    }
    if part.kind == VALUE:
        data["origins"] = [origin_data(origin) for origin in part.origins]
    if part.because:
        data["because"] = [origin_data(origin) for origin in part.because]
    return data


def origin_data(origin: Origin) -> dict[str, Any]:
    data: dict[str, Any] = {"name": json_text(origin.name), "kind": origin.kind}
    if origin.detail:
        data["detail"] = json_text(origin.detail)
    if origin.span is not None:
        span = origin.span.origin
        data |= {"file": json_text(span.source.name), "line": span.line}
    return data


def reading_data(template: str, rules: Sequence[Rule], found: Sequence[Reading]) -> dict[str, Any]:
    return {
        "template": json_text(template),
        "paths": [json_text(rule.path) for rule in rules],
        "reads": [{**origin_data(reading.origin), "lines": list(reading.lines)} for reading in found],
    }
