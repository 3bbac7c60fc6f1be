"""The words of an incomplete command line as shells split and quote them."""

from __future__ import annotations

from typing import NamedTuple

#: characters that a backslash quotes between double quotes
_QUOTED = '\\"$`'
#: characters that need no quotes; letters and digits of any language need none either
_PLAIN = "@%+=:,./-_#^"


class CommandLine(NamedTuple):
    """The words before the cursor, without quotes. The last word can be incomplete or empty.

    If the last word has an open quote, ``quote`` is the quote character. Otherwise, ``quote`` is empty. The
    shell replaces the characters of the last word from the index ``start`` on.
    """

    words: tuple[str, ...]
    quote: str
    start: int

    def quoted(self, word: str) -> str:
        """Return ``word`` from the character ``start`` on, quoted for the shell.

        In the command line, the shell replaces the last word from this character on with the text.
        """
        rest = word[self.start :]
        if self.quote == "'":
            return rest.replace("'", "'\\''")
        if self.quote:  # between double quotes, nothing keeps bash from replacing `!` by an earlier command
            text = "".join(f"\\{each}" if each in _QUOTED else each for each in rest)
            return text.replace("!", '"\\!"')
        return "".join(each if each.isalnum() or each in _PLAIN else f"\\{each}" for each in rest)


def split(line: str, breaks: str = "") -> CommandLine:
    """Split a line like a POSIX shell.

    ``breaks`` are the characters at which bash breaks words: the completion replaces only the text after
    them.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote, start = "", 0
    characters = iter(line)
    for each in characters:
        if not quote and each.isspace():
            if word is not None:
                words.append("".join(word))
            word, start = None, 0
            continue
        word = [] if word is None else word
        if each == quote:
            quote = ""
        elif not quote and each in "\"'":
            quote, start = each, len(word)
        elif each == "\\" and quote != "'":
            after = next(characters, "")
            word.append(after if not quote or after in _QUOTED else each + after)
        else:
            word.append(each)
            if not quote and each in breaks:
                start = len(word) - (each == "@")  # bash replaces the @, too
    return CommandLine((*words, "".join(word or ())), quote, start)
