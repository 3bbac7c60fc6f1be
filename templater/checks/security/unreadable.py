"""What could not be read, or was stopped at a limit."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import LimitError, RefusedError
from ..survey import Sight, Survey, check


@check("unreadable", "medium", "a part of the image that can't be read, lies about its size or is too large")
def look(survey: Survey) -> Iterator[Sight]:
    for error in survey.errors:
        hostile = isinstance(error, LimitError | RefusedError)
        large_metadata = isinstance(error, LimitError) and "metadata.yaml" in str(error)
        yield Sight(
            error.message,
            error.span or "",
            error.hint,
            severity="high" if hostile else "",
            advisory="CVE-2026-41648" if large_metadata else "",
        )
