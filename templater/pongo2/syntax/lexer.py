"""The lexer: it splits template text into tokens, with every quirk of pongo2's lexer."""

import re

from ...model.errors import LimitError, TemplateSyntaxError
from ..dialect import Dialect
from .tokens import IDENTIFIER, KEYWORDS, NUMBER, STRING, TEXT, Token, Unit, pongo2_text, syntax_error

#: pongo2 treats this character as the end of its input
END = "\x01"
#: the largest number of tokens of a template; real templates have hundreds
MAX_TOKENS = 20_000
VERBATIM = "{% verbatim %}"
END_VERBATIM = "{% endverbatim %}"

# Each of these patterns is compiled at its first use, because many templates do not need all of them.
# Compiling one pattern takes as long as lexing a template.
_OPENING = r"\{[{%#]|\x01"
_COMMENT_END = r"#\}|\n|\x01|\Z"
_CODE = r"""
    (?P<blank>[ \r\t]+)
  | (?P<word>[A-Za-z_][A-Za-z_0-9]*|[0-9]+[A-Za-z_][A-Za-z_0-9]*)
  | (?P<number>[0-9]+)
  | (?P<quote>["'])
  | (?P<close>-?[%}]\})
  | (?P<symbol>\{\{-|\{%-|==|>=|<=|&&|\|\||\{\{|\{%|!=|<>|[()+\-*<>/^,.!|:=%SUBSCRIPT])
  | (?P<newline>\n)
"""
# The quantifiers are possessive, because backtracking would need a hundred bytes of memory per character.
_STRING = {
    '"': r'(?:[^"\\\n\x01]++|\\["\\])*+',
    "'": r"""(?:[^'\\\n\x01]++|\\["\\])*+""",
}


class Lexer:
    """A lexer for the text of one template. ``tokens`` do not overlap.

    Comments, blanks and the delimiters of verbatim blocks are in no token.
    """

    def __init__(self, unit: Unit, dialect: Dialect) -> None:
        self.unit = unit
        self.text = unit.text
        self.tokens: list[Token] = []
        pattern = _CODE.replace("SUBSCRIPT", r"\[\]" if dialect.subscripts else "")
        self.match_code = re.compile(pattern, re.VERBOSE).match
        self.search_opening = re.compile(_OPENING).search

    def run(self) -> list[Token]:
        text, position, start = self.text, 0, 0
        after_verbatim = False  # pongo2 ignores {% verbatim %} directly after {% endverbatim %}
        while position < len(text):
            if not after_verbatim and text.startswith(VERBATIM, position):
                self.add_text(start, position)
                position = start = self.verbatim(position + len(VERBATIM))
                after_verbatim = True
                continue
            after_verbatim = False
            opening = text[position : position + 2]
            if opening == "{#":
                self.add_text(start, position)
                position = start = self.comment(position)
                self.bounded(position)
            elif opening in ("{{", "{%"):
                self.add_text(start, position)
                position = start = self.code(position)
                self.bounded(position)
            elif text[position] == END:
                position += 1
                break
            else:
                found = self.search_opening(text, position + 1)
                position = found.start() if found else len(text)
        self.add_text(start, position)
        return self.tokens

    def bounded(self, position: int) -> None:
        if len(self.tokens) > MAX_TOKENS:
            place = self.unit.span(position, position + 1)
            raise LimitError(f"a template can't have more than {MAX_TOKENS} tokens", place)

    def add_text(self, start: int, end: int) -> None:
        if end > start:
            self.tokens.append(Token(TEXT, self.text[start:end], start, end, self.unit))

    def verbatim(self, start: int) -> int:
        """Add the text of a verbatim block, and return the position after ``{% endverbatim %}``."""
        # As in pongo2, the first character after ``{% verbatim %}`` always belongs to the text.
        end = self.text.find(END_VERBATIM, start + 1)
        stop = self.text.find(END, start, end if end >= 0 else len(self.text))
        if end < 0 or stop >= 0:
            end = stop + 1 if stop >= 0 else len(self.text)
            raise self.error("verbatim-tag not closed, got EOF.", end, start - len(VERBATIM), start)
        self.add_text(start, end)
        return end + len(END_VERBATIM)

    def comment(self, start: int) -> int:
        found = re.compile(_COMMENT_END).search(self.text, start + 2)
        if found is not None and found.group() == "#}":
            return found.end()
        newline = found is not None and found.group() == "\n"
        message = "Single-line comment not closed."
        if newline:
            message = "Newline not permitted in a single-line comment."
        raise self.error(message, start, start, start + 2)

    def code(self, position: int) -> int:
        """Read the tokens from an opening to a closing delimiter. Return the position after the delimiter.

        Like pongo2, stop before a character that cannot start a token. The text continues at this character.
        """
        text, unit, match, tokens = self.text, self.unit, self.match_code, self.tokens
        while found := match(text, position):
            if len(tokens) > MAX_TOKENS:
                self.bounded(position)
            group, value, end = found.lastgroup, found.group(), found.end()
            if group == "word":
                kind = value if value in KEYWORDS else IDENTIFIER
                tokens.append(Token(kind, value, position, end, unit))
            elif group == "symbol" or group == "close":
                trim = len(value) == 3
                kind = value.replace("-", "") if trim else value
                tokens.append(Token(kind, kind, position, end, unit, trim))
                if group == "close":
                    return end
            elif group == "number":
                tokens.append(Token(NUMBER, value, position, end, unit))
            elif group == "quote":
                end = self.string(position, value)
            elif group == "newline":
                raise self.error("Newline not allowed within tag/variable.", position, position, position + 1)
            position = end
        return position

    def string(self, start: int, quote: str) -> int:
        found = re.compile(_STRING[quote]).match(self.text, start + 1)
        end = start + 1 if found is None else found.end()
        following = self.text[end : end + 1]
        if following == quote:
            value = self.text[start + 1 : end]
            if "\\" in value:
                value = value.replace('\\"', '"').replace("\\\\", "\\")
            self.tokens.append(Token(STRING, value, start, end + 1, self.unit))
            return end + 1
        if following == "\n":
            raise self.error("Newline in string is not allowed.", start, start, end)
        if following == "\\":
            escaped = self.text[end + 1 : end + 2] or END
            shown = "\ufffd" if "\udc80" <= escaped <= "\udcff" else escaped
            raise self.error(f"Unknown escape sequence: \\{shown}", start, end, end + 2)
        raise self.error("Unexpected EOF, string not closed.", start, start, end)

    def error(self, message: str, offset: int, start: int, end: int) -> TemplateSyntaxError:
        """Return an error. pongo2 reports the position ``offset``; templater reports a range."""
        original = pongo2_text("lexer", message, self.unit.name, self.unit.position(offset))
        ours, hint = _OURS.get(message, (message, ""))
        if message.startswith("Unknown escape"):
            ours = "unknown escape sequence in a string"
            hint = 'pongo2 strings have only the escapes \\" and \\\\'
        return syntax_error(ours, self.unit.span(start, end), original, hint)


_OURS = {
    "verbatim-tag not closed, got EOF.": (
        "verbatim block is never closed",
        "end the block with exactly {% endverbatim %}, after at least one character",
    ),
    "Newline not permitted in a single-line comment.": (
        "a {# comment #} can't span lines", "use {% comment %} … {% endcomment %}",
    ),
    "Single-line comment not closed.": ("comment is never closed", "end the comment with #}"),
    "Newline not allowed within tag/variable.": (
        "a newline is not allowed inside {{ }} or {% %}", "put the whole tag on one line",
    ),
    "Newline in string is not allowed.": ("a string can't span lines", ""),
    "Unexpected EOF, string not closed.": ("string is never closed", ""),
}  # fmt: skip


def lex(unit: Unit, dialect: Dialect) -> list[Token]:
    """Return all tokens of a template's text. Raises TemplateSyntaxError where pongo2's lexer fails."""
    return Lexer(unit, dialect).run()
