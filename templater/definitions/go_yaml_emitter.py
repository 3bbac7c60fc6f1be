"""YAML output as in Go's yaml.v2: an emitter for texts, and the order of keys.

The emitter follows emitterc.go. PyYAML's emitter has other rules for line breaks, trailing white space and
escapes.
"""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import Any

from yaml.emitter import Emitter, ScalarAnalysis

_LONGEST_KEY = 128
_ESCAPES = {
    "\0": "0", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e",
    '"': '"', "\\": "\\", "\x85": "N", "\xa0": "_", "\u2028": "L", "\u2029": "P",
}  # fmt: skip


_BREAKS = "\r\n\x85\u2028\u2029"
_SPECIAL = re.compile("[^\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
#: texts that yaml.v2 does not write as plain scalars: they begin with an indicator, or contain ``: `` or a
#: comment
_INDICATORS = re.compile(
    r"""---|\.\.\.|[#,\[\]{}&*!|>'"%@`]|[?-](?:[ \t]|\Z)|.*(?::(?:[ \t]|\Z)|[ \t]#)""",
    re.DOTALL,
)
_FLOW_INDICATORS = re.compile(r"[,?:\[\]{}]")
_BREAK_SPACE, _SPACE_BREAK = re.compile(f"[{_BREAKS}] "), re.compile(f" [{_BREAKS}]")
_DIGITS = re.compile("[0-9]*")


class GoEmitter(Emitter):
    """The emitter of yaml.v2."""

    def check_simple_key(self) -> bool:
        """Return whether a key is a short scalar of one line. Other keys get a ``?`` in front of them."""
        event: Any = self.event
        if not hasattr(event, "value"):
            return False
        self.analysis = self.analysis or self.analyze_scalar(event.value)
        return not self.analysis.multiline and len(event.value.encode("utf-8", "replace")) <= _LONGEST_KEY

    def analyze_scalar(self, scalar: str) -> Any:
        if not scalar:
            return super().analyze_scalar(scalar)
        special = _SPECIAL.search(scalar) is not None or _SPACE_BREAK.search(scalar) is not None
        around = {scalar[0], scalar[-1]}
        quoted = not special and not _BREAK_SPACE.search(scalar)
        multiline = not set(_BREAKS).isdisjoint(scalar)
        plain = quoted and not multiline and " " not in around and not _INDICATORS.match(scalar)
        return ScalarAnalysis(
            scalar=scalar,
            empty=False,
            multiline=multiline,
            allow_flow_plain=plain and not _FLOW_INDICATORS.search(scalar),
            allow_block_plain=plain,
            allow_single_quoted=quoted,
            allow_double_quoted=True,
            allow_block=not special and scalar[-1] != " ",
        )

    def write_indent(self) -> None:
        super().write_indent()
        self.whitespace = self.indention = True

    def write_single_quoted(self, text: str, split: bool = True) -> None:
        """Write a text in single quotes. A line can only break at a single space after column 80."""
        self.write_indicator("'", True)
        after_space = after_break = False
        for index, character in enumerate(text):
            if character == " ":
                can_break = split and not after_space and 0 < index < len(text) - 1
                if can_break and self.column > self.best_width and text[index + 1] != " ":
                    self.write_indent()
                else:
                    self._put(character)
                after_space = True
            elif character in _BREAKS:
                if not after_break and character == "\n":
                    self._put_break(character)
                self._put_break(character)
                self.indention = after_break = True
            else:
                if after_break:
                    self.write_indent()
                self._put("''" if character == "'" else character)
                self.indention = after_space = after_break = False
        self.write_indicator("'", False)
        self.indention = False

    def write_literal(self, text: str) -> None:
        """Write a text as a block. Unlike PyYAML, do not mark the end of the document after the block."""
        self.write_indicator(f"|{self.determine_block_hints(text)}", True)
        self.write_line_break()
        after_break = True
        for character in text:
            if character in _BREAKS:
                self._put_break(character)
                self.indention = after_break = True
            else:
                if after_break:
                    self.write_indent()
                self._put(character)
                self.indention = after_break = False

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        """Write a text in double quotes. A line can only break at a space after column 80.

        If the text begins with U+FEFF, yaml.v2 escapes every character.
        """
        self.write_indicator('"', True)
        escapes_all = text.startswith("\ufeff")
        after_space = False
        for index, character in enumerate(text):
            is_space = character == " " and not escapes_all
            can_break = split and is_space and not after_space and 0 < index < len(text) - 1
            if can_break and self.column > self.best_width:
                self.write_indent()
                if text[index + 1] == " ":
                    self._put("\\")
                after_space = True
                continue
            self._put(character if _is_printable(character) and not escapes_all else _escaped(character))
            after_space = is_space
        self.write_indicator('"', False)

    def _put(self, text: str) -> None:
        self.column += len(text)
        self.stream.write(text)

    def _put_break(self, text: str) -> None:
        self.column = 0
        self.stream.write(text)


def _is_printable(character: str) -> bool:
    return character not in _ESCAPES.keys() - {"\xa0"} and not _SPECIAL.match(character)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return f"\\{_ESCAPES[character]}"
    number = ord(character)
    if number <= 0xFF:
        return f"\\x{number:02X}"
    return f"\\u{number:04X}" if number <= 0xFFFF else f"\\U{number:08X}"


def _order(first: str, second: str) -> int:
    """Compare two keys as yaml.v2 sorts them: numbers by their value, and letters after other characters.

    The comparison is not transitive: "1e3" < "007" < "10" < "1e3". Go writes such keys in a random order.
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
    """Return the 64-bit integer that Go computes from decimal digits, including overflows."""
    # Only the last 64 digits affect the result, because 10**64 is a multiple of 2**64.
    number = int(digits[-64:] or "0") % (1 << 64)
    return number - (1 << 64) if number >> 63 else number


#: the key function for ``sorted``
KEY_ORDER = cmp_to_key(_order)
