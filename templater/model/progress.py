"""Reports about the progress of a long operation."""

from typing import Protocol


class Progress(Protocol):
    """A function that takes the number of items done, the number of bytes done, and the current name.

    ``total`` is the number of bytes of all items, or 0 if unknown.
    """

    def __call__(self, items: int, size: int, name: str, total: int = 0, /) -> None: ...


def silent(items: int, size: int, name: str, total: int = 0, /) -> None:
    """Report nothing."""
