"""A parser of TOML with limits that the standard library's parser lacks."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from ..model.errors import InputError, LimitError
from ..model.source import Source, Span
from ..model.unprintable_characters import printable

#: maximum number of parts of a dotted key: ``tomllib`` keeps every prefix of a key, so memory and time grow
#: with the square of the number of parts
MAX_PARTS = 32
# No token needs backtracking. An unclosed string ends with its line, or with the text.
_TOKEN = re.compile(
    r'''
    (?P<part> [A-Za-z0-9_-]++ | [ \t]++ | "(?!"")(?:[^"\\\n]|\\.?)*+"? | '(?!'')[^'\n]*+'? )
  | (?P<dot> \. )
  | \#[^\n]*+
  | """(?:[^"\\]++|\\.?|"(?!""))*+(?:"{3,5}|\Z)
  | \'\'\'(?:[^']++|'(?!''))*+(?:'{3,5}|\Z)
  | .
    ''',
    re.VERBOSE | re.DOTALL,
)


def read_toml(source: Source) -> dict[str, Any]:
    """Parse TOML. Raises InputError at the line of a mistake, and LimitError at a key with too many parts."""
    _refuse_long_keys(source)
    try:
        read = tomllib.loads(source.text)
        # The TOML specification requires only integers of 64 bits.
        _refuse_long_integers(read)
        return read
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        message = str(error)[: found.start()] if found else str(error)
        at = _start_of_line(source, int(found[1])) if found else source.span(0)
        raise InputError(f"invalid TOML: {printable(message[:1].lower() + message[1:])}", at) from None
    except RecursionError:
        raise InputError("invalid TOML: nested too deeply", source.span(0)) from None
    except ValueError:
        raise InputError("invalid TOML: a number or date out of range", source.span(0)) from None


def _refuse_long_keys(source: Source) -> None:
    dots = 0
    for token in _TOKEN.finditer(source.text):
        if token.lastgroup is None:
            dots = 0
        elif token.lastgroup == "dot":
            dots += 1
            if dots == MAX_PARTS:
                raise LimitError(f"a key has more than {MAX_PARTS} parts", source.span(token.start()))


def _refuse_long_integers(value: Any) -> None:
    """Raise ValueError for an integer of more than 64 bits. Python can't print a very long integer."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _refuse_long_integers(each)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("an integer of more than 64 bits")


def _start_of_line(source: Source, number: int) -> Span:
    start = 0
    for _ in range(number - 1):
        start = source.text.find("\n", start) + 1
    return source.span(start)
