"""Redaction of secret values in reports, which users attach to merge requests, and the note about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..checks.secret_keys import SecretKeys
from .html import Html, element

if TYPE_CHECKING:
    from ..model.instance import Instance
    from .distinct_results import Variant

#: the text that replaces a redacted value
MARK: Final = "[redacted]"
#: minimum lengths of values and of lines that are redacted; shorter texts also occur by chance
SHORTEST: Final = 4
SHORTEST_LINE: Final = 8
#: maximum number of characters of the image's texts in which secret lines are searched
MOST_SEARCHED: Final = 10_000_000
#: Maximum number of characters that are compared with secret lines, in the image's texts and in other texts.
#: Each comparison counts as 200 more characters, because its start takes as long as comparing 200 characters.
MOST_COMPARED: Final = 500_000_000
_COMPARISON: Final = 200


class Redaction(SecretKeys):
    """The secret values of instances. Values and lines that also occur in ``public`` are not redacted.

    ``public`` has the texts of the image. If the search takes too long, the rest of ``public`` is ignored.
    """

    def __init__(self, instances: Iterable[Instance], public: str = "", *, enabled: bool = True) -> None:
        super().__init__(instances if enabled else ())
        self.enabled = enabled
        parts = {value for value in self.values if len(value) >= SHORTEST}
        lines = (line.strip() for value in self.values for line in value.split("\n"))
        parts.update(line for line in lines if len(line) >= SHORTEST_LINE)
        found: set[str] = set()
        with suppress(TooManyComparisonsError):
            found.update(part for _, part in Parts(parts).search(public[:MOST_SEARCHED]))
        self._parts = Parts(parts - found)

    def scrub(self, text: str) -> str:
        """Return a text in which MARK replaces each secret value, and each line of a secret value.

        Return only MARK if the search takes too long. Secrets that a template has changed stay in the text
        (see ``reads_secret``).
        """
        kept, start, end = [], 0, 0
        try:
            for place, part in self._parts.search(text):
                if place >= end:  # otherwise, the part overlaps an earlier part
                    kept += [text[start:place], MARK]
                start = end = max(end, place + len(part))
        except TooManyComparisonsError:
            return MARK
        return "".join([*kept, text[start:]])


class TooManyComparisonsError(Exception):
    """Raised if the searches for secret parts compare more than ``MOST_COMPARED`` characters."""


class Parts:
    """A set of texts to search for. All searches together compare at most ``MOST_COMPARED`` characters."""

    def __init__(self, parts: Collection[str]) -> None:
        #: the texts, by their first SHORTEST characters and then by their length, longest first
        self._parts: dict[str, dict[int, set[str]]] = {}
        for part in sorted(parts, key=len, reverse=True):
            self._parts.setdefault(part[:SHORTEST], {}).setdefault(len(part), set()).add(part)
        #: the work of one search for all texts with the same first characters
        self._work = {
            start: sum(lengths) + _COMPARISON * len(lengths) for start, lengths in self._parts.items()
        }
        self._compared = 0

    def search(self, text: str) -> Iterator[tuple[int, str]]:
        """Find the texts of this set in ``text``. Yield the position and the text of each occurrence.

        Raises TooManyComparisonsError if the search takes too long.
        """
        for place in range(len(text) if self._parts else 0):
            beginning = text[place : place + SHORTEST]
            lengths = self._parts.get(beginning)
            if lengths is None:
                continue
            self._compared += self._work[beginning]
            if self._compared > MOST_COMPARED:
                raise TooManyComparisonsError
            for size, parts in lengths.items():
                part = text[place : place + size]
                if part in parts:
                    yield place, part


def reads_secret(redaction: Redaction, variant: Variant) -> bool:
    """Return whether a file's template reads, or may read, a secret value."""
    return any(map(redaction.may_be_read, variant.reads.values() or (None,)))


def is_chosen(redaction: Redaction, variant: Variant) -> bool:
    """Return whether a file can show parts of a secret because its template compares the secret."""
    if not redaction.values or not variant.has_content:
        return False
    return any(redaction.hides(part.compared) for line in variant.lines or () for part in line.parts)


def is_hidden(redaction: Redaction, variant: Variant) -> bool:
    """Return whether the content of a file has a secret value, or can show parts of a secret value.

    If the content's origins are unknown, return whether the template may read a secret.
    """
    if not redaction.values or not variant.has_content:
        return False
    if variant.lines is None:
        return reads_secret(redaction, variant)
    parts = (part for line in variant.lines for part in line.parts)
    return any(redaction.hides((*part.origins, *part.compared)) for part in parts)


def withheld(what: str) -> Html:
    """Return a note that ``what`` is not shown, because it can reveal a secret.

    ``what`` is "The content" or "The difference".
    """
    words = f"{what} is not shown, because it contains secret values, or values of unknown origin."
    return element("p", words, " See ", element("code", "--show-secrets"), ".", class_="note")
