"""The rules of a pass with their renderings, and the error texts of a host's renderer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..model.errors import RenderError, TemplaterError, TemplateSyntaxError
from ..model.hosts import Host
from ..model.metadata import Rule
from ..model.plan import Change

#: a function (bytes of a template, rule, trigger) that renders a template which templater refuses to read
Renderer = Callable[[bytes, Rule, str], bytes]


class Due(NamedTuple):
    """A rule that runs in a pass, with the result of templater's own rendering."""

    rule: Rule
    trigger: str
    content: bytes | None
    #: pongo2's error text if rendering failed, or empty if the text is unknown
    error: str = ""
    panics: bool = False
    runtime: bool = False
    #: True if a limit of templater stopped the render: the result on the host is unknown
    limited: bool = False


def due_of(change: Change) -> Due:
    """Return the rule and trigger of a change, with the result of templater's own rendering."""
    error = change.render_error
    words = pongo2_words(error) if error is not None else ""
    return Due(
        change.rule,
        change.trigger,
        change.content,
        words,
        panics=words.startswith("panic: "),
        runtime=error is not None and error.kind == "render",
        limited=error is not None and error.kind == "limit",
    )


def pongo2_words(error: TemplaterError) -> str:
    """Return pongo2's text for an error, or an empty string if pongo2 does not report this error."""
    if not isinstance(error, TemplateSyntaxError | RenderError):
        return ""
    return error.pongo2_error or error.message


def render_error(host: Host, due: Due) -> str:
    """Return the daemon's error for a template that does not compile or render."""
    if due.panics:
        panic = due.error.removeprefix("panic: ")
        recovered = f"{host.render_prefix}Panic while rendering template: {panic}"
        return recovered if host.recovers_panics else f"panic: {panic}"
    # Incus before 6.23 and LXD before 6.8 render with the chroot loader, which adds no prefix.
    return due.error if due.runtime and not host.banned else host.render_prefix + due.error
