"""Passwords in URLs: texts without them for output, and a table that gives them back to the network code.

The command line replaces the password of each URL by ``***`` before any command sees the URL. So no message,
report, file or log can contain the password. Only the code that sends a request asks for the password again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import UsageError

#: what replaces a password
HIDDEN = "***"
#: the beginning of a URL: Python's parser also accepts whitespace before it, and users forget a slash
_START = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:/+|https?:)")
_AFTER_HOST = re.compile(r"[/?#]")
#: an option whose value is in the same word
_OPTION = re.compile(r"--[a-z][a-z0-9-]*=")

#: maps the beginning of each URL of the command line without its password, up to the host, to the beginning
#: with the password
_passwords: dict[str, str] = {}


def without_password(url: str) -> str:
    """Return a URL as output shows it. Any other text is returned unchanged."""
    start, login, rest = _split(url)
    return f"{start}{_shown(login)}{rest}"


def hide_passwords(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line without the passwords of URLs.

    ``with_password`` returns the URL that the user has typed. Raises UsageError for two passwords of one user
    at one host.
    """
    _passwords.clear()
    return [_hide(word) for word in arguments]


def with_password(url: str) -> str:
    """Return the URL with the password that the user has typed on the command line.

    Do not show the result. A URL that had no password is returned unchanged.
    """
    begin = _begin(*_split(url))
    return url if begin not in _passwords else _passwords[begin] + url[len(begin) :]


def _hide(word: str) -> str:
    option = _OPTION.match(word)
    prefix, url = (option[0], word[option.end() :]) if option else ("", word)
    start, login, rest = _split(url)
    if ":" not in login:
        return word
    shown = _begin(start, _shown(login), rest)
    if _passwords.setdefault(shown, _begin(start, login, rest)) != _begin(start, login, rest):
        raise UsageError(
            f"two URLs with different passwords begin with '{shown}'", hint="use one command for each URL"
        )
    return f"{prefix}{start}{_shown(login)}{rest}"


def _shown(login: str) -> str:
    user, colon, _ = login.partition(":")
    return f"{user}:{HIDDEN}@" if colon else login


def _begin(start: str, login: str, rest: str) -> str:
    return f"{start}{login}{_AFTER_HOST.split(rest, maxsplit=1)[0]}"


def _split(url: str) -> tuple[str, str, str]:
    """Return the beginning of a URL, the user name and password with their ``@``, and the rest."""
    found = _START.match(url)
    if found is None:
        return "", "", url
    start, rest = found[0], url[found.end() :]
    authority = _AFTER_HOST.split(rest, maxsplit=1)[0]
    end = authority.rfind("@")
    if end < 0:
        _, colon, port = authority.rpartition(":")
        # In a password, the user may have forgotten to escape '/'.
        if colon and port and not port.isdigit() and "]" not in port:
            end = rest.rfind("@")
    return start, rest[: end + 1], rest[end + 1 :]
