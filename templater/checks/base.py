"""The decorator and classes for checks. A check is a function from a ``ScannedImage`` to ``Observation``s.

Checks never open or change files. Each file in ``security/`` and ``authoring/`` contains one function
decorated with ``@check``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..model.errors import TemplaterError
from ..model.metadata import Rule
from ..model.permissions import parse_mode
from ..model.source import Span


class Fix(NamedTuple):
    """A change that removes a mistake.

    * ``edits``: replacements of text in one file
    * ``fields``: new values for fields of the observation's rule
    * ``unsafe``: whether the fix can change the rendered files of a working image
    """

    edits: tuple[tuple[Span, str], ...] = ()
    fields: Mapping[str, str | tuple[str, ...]] = {}
    unsafe: bool = False


class Observation(NamedTuple):
    """One observation of a check, at a position in a text or at the path of a file in the image.

    If ``severity`` is empty or ``advisory`` is None, the check's own value applies.
    """

    message: str
    at: Span | str
    hint: str = ""
    severity: str = ""
    advisory: str | None = None
    rule: Rule | None = None
    fix: Fix | None = None


class Check(NamedTuple):
    """A check, with its id, default severity, summary for reports, related security advisory, and hint."""

    id: str
    severity: str
    about: str
    advisory: str
    run: Callable[[Any], Iterable[Observation]]
    hint: str = ""
    #: the explanation for the page about the check
    text: str = ""
    #: whether a validator makes some findings of the check
    validated: bool = False
    #: whether the check needs the names in the root filesystem
    rootfs: bool = False


def check(
    id: str,
    severity: str,
    about: str,
    advisory: str = "",
    *,
    hint: str = "",
    validated: bool = False,
    rootfs: bool = False,
) -> Callable[[Callable[[Any], Iterable[Observation]]], Check]:
    """Decorate a function to make it a ``Check``. The docstring of the function's module explains the check.

    ``hint`` is the default hint of the check's observations.
    """

    def decorate(run: Callable[[Any], Iterable[Observation]]) -> Check:
        module: Mapping[str, Any] = getattr(run, "__globals__", {})
        text = (module.get("__doc__") or "").strip()
        return Check(id, severity, about, advisory, run, hint, text, validated, rootfs)

    return decorate


def mode_of(rule: Rule) -> int:
    """Return the mode of a rule, or the default mode if the rule's mode is invalid."""
    try:
        return parse_mode(rule.mode, rule)
    except TemplaterError:
        return 0o644
