"""Suggestions for words that are close to a known word."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

#: limits on the number of searches, on the number of known words, and on the length of a word
MOST_WORDS, MOST_KNOWN, LONGEST = 20, 100, 60


class ClosestWords:
    """A search for the known word that the author probably meant.

    The number of searches is limited, because each search is slow.
    """

    def __init__(self) -> None:
        self.left = MOST_WORDS

    def find(self, word: str, known: Collection[str]) -> str:
        """Return the known word that is closest to ``word``, or "" if no word is close."""
        if self.left <= 0 or not known or len(known) > MOST_KNOWN or len(word) > LONGEST:
            return ""
        self.left -= 1
        short = sorted(name for name in known if len(name) <= LONGEST)
        return next(iter(get_close_matches(word, short, 1, 0.66)), "")


def only_candidate(word: str, known: Iterable[str]) -> str:
    """Return the known word that is one edit away from ``word``.

    Return "" if no word, or more than one word, is that close.
    """
    near = {name for name in known if name != word and differ_by_one(word, name)}
    return near.pop() if len(near) == 1 else ""


def differ_by_one(a: str, b: str) -> bool:
    """Return whether one edit turns ``a`` into ``b``.

    An edit inserts, removes or replaces one character, or swaps two neighbouring characters.
    """
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    swapped = rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:]
    return swapped or rest_b in (rest_a[1:],) or rest_a == rest_b[1:] or rest_a[1:] == rest_b[1:]
