"""The order in which Go's yaml.v2 writes the keys of a mapping."""

from __future__ import annotations

import re
from functools import cmp_to_key

_DIGITS = re.compile("[0-9]*")


def _order(first: str, second: str) -> int:
    """Compare two keys as yaml.v2 sorts them: numbers by their value, and letters after other characters.

    The order is not total. For keys such as "1e3", "10" and "007", Go's result depends on a random order.
    """
    if first == second:
        return 0
    return -1 if _less(first, second) else 1


def _less(first: str, second: str) -> bool:
    index = _common(first, second)
    if index == min(len(first), len(second)):
        return len(first) < len(second)
    a, b = first[index], second[index]
    if a.isalpha() and b.isalpha():
        return a < b
    if a.isalpha() or b.isalpha():
        return b.isalpha()
    before = first[:index]
    digits = before[len(before.rstrip("0123456789")) :]
    leading = "1" if "0" in (a, b) and digits.strip("0") else ""
    one, two = (_DIGITS.match(text, index) for text in (first, second))
    assert one is not None
    assert two is not None
    values = _as_int64(leading + one[0]), _as_int64(leading + two[0])
    if values[0] != values[1]:
        return values[0] < values[1]
    if len(one[0]) != len(two[0]):
        return len(one[0]) < len(two[0])
    return a < b


def _common(first: str, second: str) -> int:
    """Return the length of the texts' longest common prefix. Bisection makes this fast for long prefixes."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _as_int64(digits: str) -> int:
    """Return the 64-bit integer that Go computes from decimal digits, including overflows.

    Only the last 64 digits affect the result, because 10**64 is a multiple of 2**64.
    """
    number = int(digits[-64:] or "0") % (1 << 64)
    return number - (1 << 64) if number >> 63 else number


#: the key function for ``sorted``
KEY_ORDER = cmp_to_key(_order)
