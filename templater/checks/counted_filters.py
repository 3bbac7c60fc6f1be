"""Filters that also count the steps that pongo2 would need. With the count, a render finds slow templates.

`CountedLibrary` uses these filters in place of templater's usual filters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError
from ..pongo2.filters import SLOW, filter
from ..pongo2.filters.html import removetags, truncatechars_html, truncatewords_html
from ..pongo2.filters.lists import join
from ..pongo2.values import to_string

if TYPE_CHECKING:
    from ..pongo2.render_state import Render

#: The filters for which pongo2 needs quadratic time. The square of the number of characters, divided by this
#: number, is the number of steps. ``join`` decodes the whole text again for each character. The other two
#: filters read the rest of the text again for each "<".
#: pongo2 4.0.2 on Debian 13 joins 10,000 characters in about a second, the time for a million steps.
SQUARED = {"join": 100, "truncatechars_html": 250, "truncatewords_html": 250}
#: the steps for each tag in an argument of ``removetags``: pongo2 compiles a regular expression for the tag
STEPS_OF_TAG = 12


@filter("join", render=True)
def counted_join(render: Render, value: Any, argument: Any) -> Any:
    if isinstance(value, str):
        _count(render, "join", len(value), len(value), "use 'make_list' before 'join'")
    return join(value, argument)


@filter("truncatechars_html", render=True, weight=SLOW)
def counted_truncatechars(render: Render, value: Any, argument: Any) -> Any:
    _count_tags(render, "truncatechars_html", value)
    return truncatechars_html(value, argument)


@filter("truncatewords_html", render=True, weight=SLOW)
def counted_truncatewords(render: Render, value: Any, argument: Any) -> Any:
    _count_tags(render, "truncatewords_html", value)
    return truncatewords_html(value, argument)


@filter("removetags", render=True, weight=SLOW)
def counted_removetags(render: Render, value: Any, argument: Any) -> Any:
    tags = to_string(argument).count(",") + 1
    render.steps -= tags * STEPS_OF_TAG
    if render.steps < 0:
        raise LimitError(
            f"the filter 'removetags' gets {tags} tags, which takes the daemon very long",
            hint="the daemon compiles a regular expression for each tag: use fewer tags, or 'striptags'",
        )
    return removetags(render, value, argument)


def _count_tags(render: Render, name: str, value: Any) -> None:
    if isinstance(value, str):
        _count(render, name, len(value), value.count("<"), "use 'striptags' and a filter without '_html'")


def _count(render: Render, name: str, length: int, times: int, advice: str) -> None:
    """Count the steps of a filter that reads a text of ``length`` characters ``times`` times."""
    render.steps -= length * times // SQUARED[name]
    if render.steps < 0:
        raise LimitError(
            f"the filter '{name}' gets a text of {length} characters, which takes the daemon very long",
            hint=f"the time grows with the square of the length: {advice}",
        )


_COUNTED: Mapping[Callable[..., Any], Callable[..., Any]] = {
    join: counted_join,
    truncatechars_html: counted_truncatechars,
    truncatewords_html: counted_truncatewords,
    removetags: counted_removetags,
}


class CountedLibrary:
    """The filters of a dialect, some of which count their work."""

    def __init__(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        self.filters = _Filters(filters)


class _Filters:
    def __init__(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        self.filters = filters

    def get(self, name: str) -> Callable[..., Any] | None:
        function = self.filters.get(name)
        return None if function is None else _COUNTED.get(function, function)
