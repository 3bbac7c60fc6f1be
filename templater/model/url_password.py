"""Passwords in URLs. The command line replaces each password by ``***``, so no output can contain a password.

The network code asks this module for the passwords. Users make mistakes in URLs. So a text that begins like a
URL counts as a URL with a password in two cases:

* The text has a ``:`` before its last ``@``.
* The text is an http or https URL without ``@``, and its port is not a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .errors import UsageError

#: the text that output shows instead of a password
HIDDEN = "***"
#: The beginning of a URL up to the host or user, even if it is misspelled, or follows other text such as the
#: name of a remote. A local path has a slash before ``//``, and a configuration value has ``=`` before a URL.
_START = re.compile(r"[^=]*?(?i:https?):[/\\]*|[^=/\\]*?(?:[/\\]{2,}|:[/\\]+)")
_AFTER_HOST = re.compile(r"[/?#]")
#: An invalid port, but not the end of an IPv6 address. If the user forgets the host, the port is a password.
_ODD_PORT = re.compile(r":(?![0-9]*$)[^:\]]*$")
#: an option whose value is in the same word
_OPTION = re.compile(r"--[a-z][a-z0-9-]*=")

#: maps the user and host of each URL of the command line to the user, password and host
_passwords: dict[str, str] = {}


def without_password(url: str) -> str:
    """Return a URL with its password hidden, for output. Any other text is returned unchanged."""
    start, login, rest = _split(url)
    return f"{start}{_shown(login)}{rest}"


def hide_passwords(arguments: Sequence[str], exists: Callable[[str], bool]) -> list[str]:
    """Return the words of a command line without the passwords of URLs. `with_password` restores them.

    The function ``exists`` recognises paths of existing files, which are not changed. Raises UsageError if
    one user has two passwords at one host.
    """
    _passwords.clear()
    return [_hide(word, exists) for word in arguments]


def with_password(url: str) -> str:
    """Return the URL with the password, if any, that the user has typed on the command line.

    The caller must not show the result.
    """
    start, login, rest = _split(url)
    shown = _up_to_host(login, rest)
    return url if shown not in _passwords else start + _passwords[shown] + url[len(start + shown) :]


def is_ambiguous(url: str) -> bool:
    """Return whether the URL has a part that can belong to the password, but also to the path.

    An example is the ``b`` in ``h:1/b@i``.
    """
    login = _split(url)[1]
    return ":" in login and _AFTER_HOST.search(login) is not None


def _hide(word: str, exists: Callable[[str], bool]) -> str:
    option = _OPTION.match(word)
    prefix, url = (option[0], word[option.end() :]) if option else ("", word)
    start, login, rest = _split(url)
    if ":" not in login or exists(url):
        return word
    shown = _up_to_host(_shown(login), rest)
    given = _up_to_host(login, rest)
    if _passwords.setdefault(shown, given) != given:
        raise UsageError(
            f"two URLs with different passwords begin with '{start}{shown}'",
            hint="use one command for each URL",
        )
    return f"{prefix}{start}{_shown(login)}{rest}"


def _shown(login: str) -> str:
    user, colon, _ = login.partition(":")
    return f"{user}:{HIDDEN}" + "@" * login.endswith("@") if colon else login


def _up_to_host(login: str, rest: str) -> str:
    return login + _AFTER_HOST.split(rest, maxsplit=1)[0]


def _split(url: str) -> tuple[str, str, str]:
    """Split a URL into its beginning, the user name and password with their ``@``, and the rest.

    The second part is too long if the URL's path contains an ``@``.
    """
    found = _START.match(url)
    if found is None:
        return "", "", url
    start, rest = found[0], url[found.end() :]
    end = rest.rfind("@") + 1
    if not end and "http" in start.lower():
        authority = _AFTER_HOST.split(rest, maxsplit=1)[0]
        end = len(authority) if _ODD_PORT.search(authority) else 0
    return start, rest[:end], rest[end:]
