"""Elements of HTML. Only this module makes HTML from text, and it escapes every text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Final

from ..model.unprintable_characters import printable_lines

#: elements without an end tag
_VOID: Final = frozenset(("meta", "link", "br", "hr", "input"))
#: the elements whose text is code, not HTML
_RAW: Final = frozenset(("style", "script"))


class Html(str):
    """A text that is valid HTML. Only the functions of this module make values of this class from text."""

    __slots__ = ()


#: a child of an element: HTML, a text, or nothing
Child = Html | str | None


def text(value: str) -> Html:
    """Return HTML that shows a text. Control characters are shown as escapes, such as ``\\x1b``."""
    return Html(escape(printable_lines(value)))


def join(children: Iterable[Child]) -> Html:
    """Return the HTML of several children, joined together."""
    return Html("".join([child if type(child) is Html else as_html(child) for child in children]))


def as_html(child: Child) -> Html:
    if child is None:
        return Html("")
    return child if isinstance(child, Html) else text(child)


def element(name: str, /, *children: Child, **attributes: str | bool | None) -> Html:
    """Return an element.

    * In an attribute's name, a trailing ``_`` is removed, and any other ``_`` becomes ``-``.
    * True gives an attribute without a value. None or False omits the attribute.

    Raises ValueError for a link to another page.
    """
    href = attributes.get("href")
    if href is not None and not str(href).startswith("#"):
        raise ValueError(f"a link to {href!r}, which is not in the page")
    given = "".join([_attribute(*pair) for pair in attributes.items() if pair[1] not in (None, False)])
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


@lru_cache(maxsize=1000)  # thousands of elements have the same attributes
def _attribute(key: str, value: str | bool) -> str:
    return f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(str(value))}"')


def code_element(name: str, code: str) -> Html:
    """Return a ``style`` or ``script`` element with code of this package."""
    if name not in _RAW or "</" in code:
        raise ValueError(f"'{name}' cannot contain this code")
    return Html(f"<{name}>{code}</{name}>")
