"""A YAML emitter that writes scalars as Go's yaml.v2 does. PyYAML's emitter differs in three details."""

from __future__ import annotations

from typing import Any

from yaml.emitter import Emitter

_LONGEST_KEY = 128
_ESCAPES = {
    "\0": "0", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e",
    '"': '"', "\\": "\\", "\x85": "N", "\xa0": "_", "\u2028": "L", "\u2029": "P",
}  # fmt: skip


class GoEmitter(Emitter):
    """The emitter of yaml.v2: keys can be empty, and characters above U+FFFF are escaped."""

    def check_simple_key(self) -> bool:
        """Return whether a key needs no ``?`` in front of it, because it is a scalar of one line."""
        event: Any = self.event
        if not hasattr(event, "value"):
            return False
        self.analysis = self.analysis or self.analyze_scalar(event.value)
        return not self.analysis.multiline and len(event.value.encode("utf-8", "replace")) <= _LONGEST_KEY

    def analyze_scalar(self, scalar: str) -> Any:
        analysis = super().analyze_scalar(scalar)
        if any(character > "\uffff" for character in scalar):
            analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_single_quoted = analysis.allow_block = False
        return analysis

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        """Write a text in double quotes. A line can only break at a space after column 80."""
        self.write_indicator('"', True)
        after_space = False
        for index, character in enumerate(text):
            is_space = character == " "
            can_break = split and is_space and not after_space and 0 < index < len(text) - 1
            if can_break and self.column > self.best_width:
                self.write_indent()
                if text[index + 1] == " ":
                    self._put("\\")
                after_space = True
                continue
            self._put(character if _is_printable(character) else _escaped(character))
            after_space = is_space
        self.write_indicator('"', False)

    def _put(self, text: str) -> None:
        self.column += len(text)
        self.stream.write(text)


def _is_printable(character: str) -> bool:
    return character not in _ESCAPES.keys() - {"\xa0"} and (
        " " <= character <= "~" or "\xa0" <= character <= "\ud7ff" or "\ue000" <= character <= "\ufffd"
    ) and character != "\ufeff"  # fmt: skip


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return f"\\{_ESCAPES[character]}"
    number = ord(character)
    if number <= 0xFF:
        return f"\\x{number:02X}"
    return f"\\u{number:04X}" if number <= 0xFFFF else f"\\U{number:08X}"
