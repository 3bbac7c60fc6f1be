"""A YAML parser in Python, for texts that libyaml rejects and for a PyYAML without libyaml."""

import re
from typing import Any

from yaml.error import MarkedYAMLError
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner, ScannerError

#: PyYAML's error texts, and the same errors in the words of libyaml, yaml.v2 and yaml.v4
_LIBYAML_WORDS = (
    (r"(mapping values|mapping keys) are not allowed here", r"\1 are not allowed in this context"),
    (r"sequence entries are not allowed here", r"block sequence entries are not allowed in this context"),
    (r"(found character|found unknown escape character) '.*?'( that .*|$)", r"\1\2"),
    (r"expected '?<document start>'?, but found .*", r"did not find expected <document start>"),
    (r"expected <block end>, but found .*", r"did not find expected key"),
    (r"expected the node content, but found .*", r"did not find expected node content"),
    (r"expected (a comment or a|chomping or) .*", r"did not find expected comment or line break"),
    (
        r"expected (alphabetic or numeric character|',' or '.'), but (found|got) .*",
        r"did not find expected \1",
    ),
)

_BREAKS = "\r\n\x85\u2028\u2029"


class PureParser(Reader, Scanner, Parser):
    """PyYAML's Python parser with limits. This parser treats tabs as Go and libyaml do.

    ``longest_key`` limits the number of characters of a key, and ``deepest_flow`` the depth of brackets.
    """

    def __init__(self, text: str, longest_key: int, deepest_flow: int) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        self.longest_key = longest_key
        self.deepest_flow = deepest_flow
        self.is_too_deep = False

    def get_event(self) -> Any:
        try:
            return super().get_event()  # type: ignore[no-untyped-call]
        except MarkedYAMLError as error:
            for pattern, words in _LIBYAML_WORDS:
                error.problem = re.sub(pattern, words, error.problem or "", flags=re.DOTALL)
            if error.context == "while parsing a block collection":
                error.problem = str(error.problem).replace("expected key", "expected '-' indicator")
            raise

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        # The composer's depth limit is not enough, because the scanner reads many brackets before the
        # composer counts the first bracket: the scanner must find out whether the brackets are a key.
        if self.flow_level > self.deepest_flow:
            self.is_too_deep = True
            raise ScannerError(None, None, "too many nested brackets", self.get_mark())
        super().fetch_flow_collection_start(token_class)

    def scan_flow_scalar(self, style: str) -> Any:
        """Refuse escapes that are not characters, such as ``\\ud800``, as libyaml does."""
        start = self.get_mark()
        try:
            token = super().scan_flow_scalar(style)
            token.value.encode()
        except (ValueError, OverflowError):
            problem = "found invalid Unicode character escape code"
            raise ScannerError("while parsing a quoted scalar", start, problem, self.get_mark()) from None
        return token

    def scan_yaml_directive_number(self, start_mark: Any) -> int:
        """Refuse a long version number, as libyaml does. Python would be slow with thousands of digits."""
        if self.prefix(10).isdigit():
            problem = "found extremely long version number"
            raise ScannerError("while scanning a %YAML directive", start_mark, problem, self.get_mark())
        return int(super().scan_yaml_directive_number(start_mark))

    def scan_to_next_token(self) -> None:
        # As in yaml_parser_scan_to_next_token of libyaml: inside brackets, tabs count as blanks.
        # Outside brackets, tabs count as blanks wherever no key can start.
        while True:
            blanks = " \t" if self.flow_level or not self.allow_simple_key else " "
            while self.peek() in blanks:
                self.forward()
            if self.peek() == "#":
                while self.peek() not in "\0\r\n\x85\u2028\u2029":
                    self.forward()
            if not self.scan_line_break():  # type: ignore[no-untyped-call]
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain_spaces(self, indent: int, start_mark: Any) -> list[str] | None:
        """Return the blanks and line breaks in a plain scalar, or None if a document marker follows them.

        As in yaml_parser_scan_plain_scalar of libyaml, tabs are blanks, except in the indentation of a line.
        """
        length = 0
        while self.peek(length) in " \t":
            length += 1
        blanks = self.prefix(length)
        self.forward(length)
        if self.peek() not in _BREAKS:
            return [blanks] if blanks else []
        breaks = []
        while self.peek() in " \t" + _BREAKS:
            if self.peek() in _BREAKS:
                breaks.append(self.scan_line_break())  # type: ignore[no-untyped-call]
                self.allow_simple_key = True
                if self.prefix(3) in ("---", "...") and self.peek(3) in "\0 \t" + _BREAKS:
                    return None
            elif self.peek() == "\t" and self.column < indent:
                problem = "found a tab character that violates indentation"
                raise ScannerError("while scanning a plain scalar", start_mark, problem, self.get_mark())
            else:
                self.forward()
        if breaks[0] != "\n":
            return breaks
        return breaks[1:] or [" "]

    # For each token, PyYAML's own versions of the next two methods look at every possible key.
    # A closing bracket removes the possible keys inside the brackets, so the other keys are sorted by
    # position. Looking at the first possible key is therefore enough.

    def stale_possible_simple_keys(self) -> None:
        while self.possible_simple_keys:
            level, key = next(iter(self.possible_simple_keys.items()))
            if key.line == self.line and self.index - key.index <= self.longest_key:
                return
            if key.required:
                expected = "could not find expected ':'"
                raise ScannerError("while scanning a simple key", key.mark, expected, self.get_mark())
            del self.possible_simple_keys[level]

    def next_possible_simple_key(self) -> int | None:
        first = next(iter(self.possible_simple_keys.values()), None)
        return None if first is None else first.token_number
