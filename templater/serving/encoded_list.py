"""Answers with long lists. The answers to all clients share the encoded elements of a list."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress


class Elements(list[bytes]):
    """The encoded elements of a list."""

    ended = False

    def end(self) -> None:
        """Free the memory of the elements, and abort the answers that are still sending them."""
        self.ended = True
        self.clear()


class EncodedList:
    """The bytes of an answer with a list.

    ``chosen`` has a byte for each element, which is 0 if the answer leaves the element out. If ``chosen`` is
    empty, the answer has all elements. Iteration raises ConnectionResetError after a call of
    ``elements.end()``.
    """

    def __init__(
        self,
        elements: Elements,
        start: bytes = b"",
        end: bytes = b"",
        separator: bytes = b"",
        chosen: bytes = b"",
    ) -> None:
        self.elements, self._chosen = elements, chosen
        self._start, self._end, self._separator = start, end, separator
        self.size = sum(map(len, self))

    def __iter__(self) -> Iterator[bytes]:
        yield self._start
        separator = b""
        for element in compress(self.elements, self._chosen) if self._chosen else self.elements:
            yield separator
            yield element
            separator = self._separator
        if self.elements.ended:
            raise ConnectionResetError("newer lists have replaced this list")
        yield self._end
