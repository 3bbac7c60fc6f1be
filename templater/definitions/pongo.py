"""Rendering of a definition's own texts, as distrobuilder's RenderTemplate does it: with pongo2 4.0.2."""

from __future__ import annotations

from typing import Any

from ..model.errors import InputError, RenderError, TemplaterError
from ..model.source import Source
from ..pongo2 import compile as compile_template
from ..pongo2.dialect import V4
from ..pongo2.state import Limits
from ..pongo2.values import GoList, GoMap

#: limits for the texts of one build
LIMITS = Limits(seconds=5.0, total=10.0)
#: a text is rendered again while it contains a delimiter; distrobuilder has no limit, and runs out of stack
MAX_ROUNDS = 20


def _as_go(value: Any) -> Any:
    """Return a value of a definition with the Go types that yaml.v2 gives it."""
    if isinstance(value, dict):
        items = {key: _as_go(item) for key, item in value.items()}
        return GoMap(items, "map[interface {}]interface {}")
    return GoList(map(_as_go, value), "[]interface {}") if isinstance(value, list) else value


def render(source: Source, context: dict[str, Any], limits: Limits) -> str:
    """Render a text with a definition as its context, again and again while it contains ``{{`` or ``{%``.

    Raises TemplaterError with a position in ``source`` if the first rendering fails.
    """
    text, span = source, source.span(0)
    if "{{" not in source.text and "{%" not in source.text and "{#" not in source.text:
        return source.text
    context = {name: _as_go(value) for name, value in context.items()}
    for round in range(MAX_ROUNDS):
        try:
            rendered = compile_template(text, V4, mode="incus", limits=limits).render(context)
        except TemplaterError as error:
            if round and not isinstance(error, InputError):
                error.span = span
            raise
        if "{{" not in rendered and "{%" not in rendered:
            return rendered
        text = Source(source.name, rendered)
    raise RenderError(
        f"the text still contains '{{{{' or '{{%' after it was rendered {MAX_ROUNDS} times",
        span,
        "the text, or a field that it prints, refers to itself: distrobuilder never finishes this build",
    )


def render_again(text: str, source: Source, target: dict[str, Any], family: str, limits: Limits) -> str:
    """Render the content of a `template` entry with ``pongo: true`` for the second time.

    The only variable is the target: its fields have Go's names, such as ``incus.VM.Filesystem``.
    """
    machine = target.get("vm", {})
    empty: Any = 0 if family == "incus" else ""
    fields = {"VM": {"Size": machine.get("size", empty), "Filesystem": machine.get("filesystem", "")}}
    generated = source if text == source.text else Source(source.name, text)
    return compile_template(generated, V4, mode="plain", limits=limits).render({family: fields})
