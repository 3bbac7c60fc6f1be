"""Output. A pipe gets unchanged bytes. A terminal gets colours and only printable characters."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import TYPE_CHECKING, Any

import click

from ..model.unprintable_characters import printable_lines
from . import terminal

if TYPE_CHECKING:
    from rich.text import Text


def style(text: str, **styles: Any) -> str:
    """Return text with the codes of ``click.style`` if standard output has colours."""
    return click.style(text, **styles) if styles and terminal.has_colour() else text


def write(text: str) -> None:
    """Write text unchanged, including undecodable bytes. On a terminal, escape control characters."""
    if terminal.is_terminal():
        text = printable_lines(text)
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def flush() -> None:
    sys.stdout.flush()


#: write this many pieces of JSON text together; a piece has about ten characters
_CHUNKS = 10_000


def write_json(value: Any) -> None:
    import json
    from itertools import islice

    from ..reporting.json_escapes import safe_json

    # Write in pieces, because encoding a whole report takes several times its size in memory.
    chunks = json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value)
    while piece := "".join(islice(chunks, _CHUNKS)):
        write(safe_json(piece))
    write("\n")


def write_styled(text: str) -> None:
    """Write text with colour codes. The caller must have escaped all other control characters."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def write_lines(lines: Iterable[Text]) -> None:
    """Write lines that a function of ``cli.styled`` has returned."""
    from .styled import ansi

    write_styled(ansi(lines, colour=terminal.has_colour()))


#: the two arguments of the current ``without_repeats``: messages of the previous block, and of this block
_blocks: tuple[set[str], set[str]] | None = None


@contextmanager
def without_repeats(before: set[str], now: set[str]) -> Iterator[None]:
    """During a ``with`` block, print only messages that are not in the set ``before``.

    Add every message of the block to the set ``now``.
    """
    global _blocks  # noqa: PLW0603 - messages come from everywhere
    _blocks = before, now
    try:
        yield
    finally:
        _blocks = None


def say(text: str) -> None:
    """Write a message to stderr, after flushing standard output. On a terminal, wrap it at words."""
    flush()
    if _blocks is not None:
        _blocks[1].add(text)
        if text in _blocks[0]:
            return
    if not terminal.has_layout(sys.stderr):
        click.echo(printable_lines(text.rstrip("\n")), err=True)
        return
    from .styled import ansi, message

    colour = terminal.has_colour(sys.stderr)
    click.echo(ansi(message(text, terminal.width()), colour=colour), err=True, nl=False, color=True)


def note(text: str) -> None:
    """Report an assumption or a choice on stderr."""
    say(f"note: {text}")


#: the maximum numbers of characters in a file that is highlighted, and in each of its lines
LARGEST_COLOURED, LONGEST_COLOURED = 16_384, 1000
#: the maximum processor time in seconds for highlighting the files of one output
COLOUR_SECONDS = 0.5


class Highlighter:
    """Colours for the texts of rendered files, by their file types.

    After a time limit, the remaining text gets no colours.
    """

    def __init__(self) -> None:
        # Pygments can be slow, because some of its rules search the whole line or text at each position.
        self._left = COLOUR_SECONDS

    def coloured(self, text: str, path: str) -> str:
        """Highlight a text in colours that are readable on dark and on light terminals.

        Return plain text, a long text, and a text with a long line unchanged.
        """
        language = language_of(path)
        if language == "text" or len(text) > LARGEST_COLOURED or self._left <= 0:
            return text
        if max(map(len, text.split("\n"))) > LONGEST_COLOURED:
            return text
        from pygments import format as format_tokens
        from pygments.formatters.terminal import TerminalFormatter
        from pygments.lexers import get_lexer_by_name
        from pygments.token import STANDARD_TYPES, Token, string_to_tokentype

        colours = {string_to_tokentype(name): (colour, colour) for name, colour in COLOURS.items()}
        # A token type without a colour gets the colour of its parent, so each top-level type needs an entry.
        for kind in STANDARD_TYPES:
            if kind is Token or kind.parent is Token:
                colours.setdefault(kind, ("", ""))
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
        tokens = self._in_time(lexer.get_tokens(text), text, Token.Text)
        return str(format_tokens(tokens, TerminalFormatter(colorscheme=colours)))

    def _in_time(self, tokens: Iterable[tuple[Any, str]], text: str, plain: Any) -> Iterator[tuple[Any, str]]:
        """Yield tokens until the time is used up, and then the rest of the text as one token."""
        begun, length = process_time(), 0
        for kind, value in tokens:
            yield kind, value
            length += len(value)
            if process_time() - begun > self._left:
                yield plain, text[length:]
                break
        self._left -= process_time() - begun


#: In common terminals, blue on black has a contrast of only 1.6 to 2.3. Bright blue has a contrast of about
#: 4, on black and on white.
COLOURS = {
    "Comment": "cyan", "Comment.Preproc": "magenta", "Keyword": "brightblue", "Name.Tag": "brightblue",
    "Name.Attribute": "brightblue", "Name.Builtin": "brightblue", "Name.Variable": "magenta",
    "String": "green", "Number": "magenta", "Error": "red",
}  # fmt: skip


def language_of(path: str) -> str:
    """Return the highlighter's language for a file name, or ``text`` if it is unknown."""
    name = path.rpartition("/")[2]
    for ending, language in LANGUAGES.items():
        if name.endswith(ending):
            return language
    return "text"


LANGUAGES = {
    ".yaml": "yaml", ".yml": "yaml", "user-data": "yaml", "vendor-data": "yaml", "meta-data": "yaml",
    "network-config": "yaml", ".json": "json", ".toml": "toml", ".nix": "nix", ".sh": "bash", ".conf": "ini",
    ".network": "ini", ".cfg": "ini", ".service": "ini", ".xml": "xml", ".py": "python",
}  # fmt: skip


def size(number: int) -> str:
    """Return a number of bytes in a readable form, such as ``1.5 MiB``."""
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"
