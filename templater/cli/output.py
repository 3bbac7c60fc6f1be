"""Standard output: exact bytes in a pipe, colour and only printable characters on a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ..model.source import printable


def on_terminal() -> bool:
    """Whether people look at standard output, and want it styled."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write(text: str) -> None:
    """Write text unchanged, undecodable bytes included; on a terminal control characters are escaped."""
    if sys.stdout.isatty():
        text = visible(text)
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def flush() -> None:
    sys.stdout.flush()


def write_json(value: Any) -> None:
    import json

    write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_styled(text: str) -> None:
    """Write text that contains our own colour codes; the caller has escaped everything else."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def visible(text: str) -> str:
    """Every line printable: an image's escape sequences do not reach the terminal, tabs and all else do."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def say(text: str) -> None:
    """Write a message for users to stderr, after everything on standard output."""
    flush()
    click.echo(visible(text.rstrip("\n")), err=True)


def note(text: str) -> None:
    """Report an assumption or a choice on stderr."""
    say(f"note: {text}")


def coloured(text: str, path: str) -> str:
    """A written file's text as a highlighter for its kind shows it; plain text stays as it is.

    Every character stays, and only colours are used that can be read on a dark and on a light terminal.
    """
    language = language_of(path)
    if language == "text":
        return text
    from pygments import highlight
    from pygments.formatters.terminal import TerminalFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.token import STANDARD_TYPES, Token, string_to_tokentype

    colours = {string_to_tokentype(name): (colour, colour) for name, colour in COLOURS.items()}
    # a kind of token is looked for among its parents up to one that is here: all of the first level are
    for kind in STANDARD_TYPES:
        if kind is Token or kind.parent is Token:
            colours.setdefault(kind, ("", ""))
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    return str(highlight(text, lexer, TerminalFormatter(colorscheme=colours)))


COLOURS = {
    "Comment": "cyan", "Comment.Preproc": "magenta", "Keyword": "blue", "Name.Tag": "blue",
    "Name.Attribute": "blue", "Name.Builtin": "blue", "Name.Variable": "magenta", "String": "green",
    "Number": "magenta", "Error": "red",
}  # fmt: skip


def language_of(path: str) -> str:
    """Return the highlighter's language for a file name; ``text`` if unknown."""
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
