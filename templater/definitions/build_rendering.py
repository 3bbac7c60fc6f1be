"""Functions that render the texts in a definition with pongo2 4.0.2, like distrobuilder's RenderTemplate."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from ..model.errors import InputError, RenderError, TemplaterError
from ..model.source import Source
from ..pongo2 import compile as compile_template
from ..pongo2.compiled_template import Template
from ..pongo2.dialect import V4
from ..pongo2.render_state import Limits
from ..pongo2.values import GoList, GoMap

#: limits on rendering the texts of one build
LIMITS = Limits(seconds=3.0, total=5.0)
#: maximum number of times that a text is rendered because it contains a delimiter; distrobuilder has no
#: limit, and runs out of stack
MAX_ROUNDS = 20


class Data:
    """The context of a build: the values of its definition, with the Go types that yaml.v2 gives them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @cached_property
    def context(self) -> dict[str, Any]:
        """The context's values, computed only once because a definition can have hundreds of texts."""
        return {name: _as_go(value) for name, value in self._values.items()}


def _as_go(value: Any) -> Any:
    if isinstance(value, dict):
        items = {key: _as_go(item) for key, item in value.items()}
        return GoMap(items, "map[interface {}]interface {}")
    return GoList(map(_as_go, value), "[]interface {}") if isinstance(value, list) else value


def render(source: Source, data: Data, limits: Limits) -> str:
    """Render a text with a definition as the context. Repeat while the result contains ``{{`` or ``{%``.

    Raises TemplaterError with a position in ``source`` if the first rendering fails.
    """
    text, span = source, source.span(0)
    if "{{" not in source.text and "{%" not in source.text and "{#" not in source.text:
        return source.text
    for round in range(MAX_ROUNDS):
        try:
            rendered = _compiled(text, "incus", limits).render(dict(data.context))
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
        "the text refers to itself, or prints a field that refers to itself:"
        " distrobuilder never finishes this build",
    )


def render_again(text: str, source: Source, target: dict[str, Any], family: str, limits: Limits) -> str:
    """Render the content of a `template` entry with ``pongo: true`` a second time.

    ``text`` is the result of the first rendering. The only variable is ``incus`` or ``lxd``, the build's
    target. Its fields have Go's names, such as ``incus.VM.Filesystem``.
    """
    machine = target.get("vm", {})
    empty: Any = 0 if family == "incus" else ""
    fields = {"VM": {"Size": machine.get("size", empty), "Filesystem": machine.get("filesystem", "")}}
    generated = source if text == source.text else Source(source.name, text)
    return _compiled(generated, "plain", limits).render({family: fields})


def _compiled(source: Source, mode: Literal["incus", "plain"], limits: Limits) -> Template:
    if limits.is_over:  # check the time limit here, because compiling does not check it
        raise limits.late()
    return compile_template(source, V4, mode=mode, limits=limits)
