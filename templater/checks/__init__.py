"""Checks of an image, one file a check: functions marked ``@check``, found by looking.

A check takes a ``Survey`` and yields what it sees. It neither opens nor changes anything.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..audit import Survey
    from ..source import Span


@dataclass(frozen=True, slots=True)
class Sight:
    """Something a check saw, at a place in a text or at a name of the image.

    ``severity`` and ``advisory`` are the check's own unless said; an empty advisory is none.
    """

    message: str
    at: Span | str
    hint: str = ""
    severity: str = ""
    advisory: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, how bad a finding of it is, what it looks for, and what it resembles."""

    id: str
    severity: str
    about: str
    advisory: str
    look: Callable[[Survey], Iterable[Sight]]


def check(
    id: str, severity: str, about: str, advisory: str = ""
) -> Callable[[Callable[[Survey], Iterable[Sight]]], Check]:
    """Mark a function as a check."""
    return lambda look: Check(id, severity, about, advisory, look)


def all_checks() -> Iterator[Check]:
    """Every check, by name of its file."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        for value in vars(import_module(f"{__name__}.{module}")).values():
            if isinstance(value, Check):
                yield value
