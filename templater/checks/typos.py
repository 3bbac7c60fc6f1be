"""Words that are one edit away from a known word."""

from __future__ import annotations

from collections.abc import Iterable


def only_candidate(word: str, known: Iterable[str]) -> str:
    """Return the only known word that is one edit away from ``word``, or "" for no or several words."""
    near = {name for name in known if name != word and differ_by_one(word, name)}
    return near.pop() if len(near) == 1 else ""


def differ_by_one(a: str, b: str) -> bool:
    """Return whether one edit turns ``a`` into ``b``: a character inserted, removed, replaced or swapped."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    swapped = rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:]
    return swapped or rest_b in (rest_a[1:],) or rest_a == rest_b[1:] or rest_a[1:] == rest_b[1:]
