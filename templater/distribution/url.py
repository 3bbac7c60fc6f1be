"""Splitting of a URL that a user typed, with errors for invalid and ambiguous URLs."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from ..model.errors import UsageError
from ..model.url_password import is_ambiguous


def split_url(url: str) -> SplitResult:
    """Split a URL.

    Raises UsageError if the URL is invalid, or if a part of the password looks like a path.
    """
    # Messages show the paths of URLs, but they must not show passwords.
    if is_ambiguous(url):
        raise UsageError(
            "the URL is ambiguous: the text with '/', '?' or '#' before '@' can be a password or a path",
            hint="in a password, write these characters as %2F, %3F and %23; in a path, write '@' as %40",
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        what = "port" if "port" in str(error).lower() else "host"
        raise UsageError(f"the URL has an invalid {what}") from None
    return parts
