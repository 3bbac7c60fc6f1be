"""The rules that are due, and the error texts of a host's renderer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..model.errors import RenderError, TemplaterError, TemplateSyntaxError
from ..model.hosts import Host
from ..model.metadata import Rule
from ..model.plan import Change

#: renders a template that templater itself refuses to read: its bytes, the rule, the trigger
Renderer = Callable[[bytes, Rule, str], bytes]


@dataclass(frozen=True, slots=True)
class Due:
    """A rule that is due, with the result of templater's own rendering."""

    rule: Rule
    trigger: str
    content: bytes | None
    #: pongo2's own words where rendering failed; empty: not known
    error: str = ""
    panics: bool = False
    runtime: bool = False
    #: larger than we render: the host does, and what it gives is not known
    limited: bool = False


def due_of(change: Change) -> Due:
    """Return what the host's renderer does with the template of a change."""
    error = change.render_error
    words = pongo2_words(error) if error is not None else ""
    return Due(
        change.rule,
        change.trigger,
        change.content,
        words,
        panics=words.startswith("panic: ") or "runtime error: " in words,
        runtime=error is not None and error.kind == "render",
        limited=error is not None and error.kind == "limit",
    )


def pongo2_words(error: TemplaterError) -> str:
    """Return pongo2's text of an error in a template; empty for templater's own errors."""
    if not isinstance(error, TemplateSyntaxError | RenderError):
        return ""
    return error.pongo2_error or error.message


def render_error(host: Host, due: Due) -> str:
    """Return the daemon's error for a template that does not compile or render."""
    if due.panics:
        panic = due.error.removeprefix("panic: ")
        recovered = f"{host.render_prefix}Panic while rendering template: {panic}"
        return recovered if host.recovers_panics else f"panic: {panic}"
    # Incus before 6.23, LXD before 6.8: the template set of the chroot loader executes without a prefix
    return due.error if due.runtime and not host.banned else host.render_prefix + due.error
