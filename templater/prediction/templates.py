"""What the host makes of a template: which rules are due, and the words it fails with."""

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
    """A rule that is due, with what our own rendering of it gave."""

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
    """What the host's renderer would make of a change's template."""
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
    """What pongo2 says of an error in a template; empty for errors that are our own."""
    if not isinstance(error, TemplateSyntaxError | RenderError):
        return ""
    return error.pongo2_error or error.message


def render_error(host: Host, due: Due) -> str:
    """The daemon's words for a template that did not compile or render."""
    if due.panics:
        panic = due.error.removeprefix("panic: ")
        recovered = f"{host.render_prefix}Panic while rendering template: {panic}"
        return recovered if host.recovers_panics else f"panic: {panic}"
    # Incus before 6.23, LXD before 6.8: the template set of the chroot loader executes without a prefix
    return due.error if due.runtime and not host.banned else host.render_prefix + due.error
