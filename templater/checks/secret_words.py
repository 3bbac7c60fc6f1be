"""Strings of a template that may name a secret."""

from __future__ import annotations

from collections.abc import Iterator

from ..pongo2.syntax.tokens import IDENTIFIER, STRING, Token

WORDS = (
    "password", "passwd", "secret", "token", "private", "credential",
    "passphrase", "api-key", "api_key", "apikey", "auth-key", "auth_key", "authkey",
    "access-key", "access_key", "accesskey", "encryption-key", "encryption_key",
)  # fmt: skip
#: short words that name a secret only as the last part of a name, as in user.root_pw
LAST_WORDS = frozenset(("creds", "jwt", "pin"))
#: the ends of other last parts, as in user.rootpw, and words that are exceptions
_ENDS, _NO_SECRETS = ("pass", "psk", "pw", "pwd"), ("bypass", "compass")
#: The kind of a token for a sum of strings, or for a string that is only a part of a name.
SUM = "sum of strings"


def strings_with_words(part: list[Token]) -> Iterator[Token]:
    """Yield the strings that name a secret, and sums of strings such as ``"pass" + "word"``."""
    pieces: list[Token] = []
    is_added = False
    for number, token in enumerate(part):
        if token.kind == STRING:
            if _is_whole(part, number) and has_word(token):
                yield token
            elif _contains_word(token):
                yield as_sum([token])
            if not is_added:
                yield from _sum_with_word(pieces)
                pieces = []
            pieces.append(token)
            is_added = False
        elif token.kind == "+" or token.value == "add":
            is_added = True
        elif token.kind not in ("(", ")", "|", ":"):
            yield from _sum_with_word(pieces)
            pieces, is_added = [], False


def _is_whole(part: list[Token], number: int) -> bool:
    """Return whether a string is a whole argument or subscript, or the whole value of a variable."""
    before, after = part[number - 1], part[number + 1 : number + 2]
    begins = before.kind in ("[", ",", "=") or (before.kind == "(" and part[number - 2].kind == IDENTIFIER)
    return begins and any(token.kind in (",", ")", "]", "%}", IDENTIFIER) for token in after)


def _sum_with_word(pieces: list[Token]) -> Iterator[Token]:
    if len(pieces) > 1 and not any(map(_contains_word, pieces)):
        token = as_sum(pieces)
        if has_word(token):
            yield token


def as_sum(pieces: list[Token]) -> Token:
    text = "".join(piece.value for piece in pieces)
    return Token(SUM, text, pieces[0].start, pieces[-1].end, pieces[0].unit)


def has_word(token: Token) -> bool:
    return is_name_of_secret(token.value)


def _contains_word(token: Token) -> bool:
    """Return whether a string contains one of ``WORDS``."""
    # Ignore words such as ``pw``, which mean a secret only at the end of a name: the template can add text
    # after the string.
    return any(word in token.value.lower() for word in WORDS)


def is_name_of_secret(text: str) -> bool:
    """Return whether a text contains one of ``WORDS``, or has a last part such as ``pin`` in ``user.pin``."""
    lower = text.lower()
    _, separator, last = lower.replace("_", ".").replace("-", ".").rpartition(".")
    is_secret = last in LAST_WORDS or (last.endswith(_ENDS) and not last.endswith(_NO_SECRETS))
    return any(word in lower for word in WORDS) or (separator != "" and is_secret)
