"""Files of a virtual machine. A start writes them to the config drive, and the guest's agent copies them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.plan import AGENT, CREATE, FAILED, KEEP, UPDATE, Change
from ..model.unprintable_characters import printable
from ..rendering.render import Rendering

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.metadata import Metadata


def config_drive(renderings: Iterable[Rendering]) -> tuple[Change, ...]:
    """Return the files ``<template>.out`` that a virtual machine's start writes for the guest's agent."""
    changes: list[Change] = []
    written: dict[str, Change] = {}
    for rendering in renderings:
        path = f"{rendering.rule.template}.out"
        # If two rules share a template, the second rule overwrites the file of the first rule.
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


def _shared(earlier: Change, change: Change) -> str:
    if earlier.rule is change.rule:
        return "same content" if change.action == KEEP else "rendered again"
    what = "same content as" if change.action == KEEP else "overwrites the output of"
    return f"{what} '{printable(earlier.rule.path)}' (trigger {earlier.trigger}): the rules share a template"


def agent_renderings(metadata: Metadata, drive: tuple[Change, ...]) -> list[Rendering]:
    """Return the renderings that the guest's agent applies.

    The agent ignores ``when``, and applies every rule whose .out file exists (incus-agent/templates.go).
    """
    outputs = {change.path: change.content for change in drive if change.action != FAILED}
    return [
        Rendering(rule, AGENT, outputs[f"{rule.template}.out"])
        for rule in metadata.rules
        if not rule.null and f"{rule.template}.out" in outputs
    ]
