"""One error for several mistakes in a file, or in files that belong together."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.errors import TemplaterError

#: maximum number of mistakes that the notes of one error describe
MOST_NOTES = 20


def raise_all(errors: Sequence[TemplaterError]) -> None:
    """Raise the first error, with the remaining errors as notes. Do nothing if ``errors`` is empty."""
    if not errors:
        return
    first, *others = errors
    notes = [f"also: {error}" for error in others[:MOST_NOTES]]
    if len(others) > MOST_NOTES:
        notes.append(f"and {len(others) - MOST_NOTES} more mistakes")
    raise first.replace(notes=(*first.notes, *notes))
