"""Man pages and completion scripts, which packages of templater install below ``share``.

``python -m templater.cli.manual DIR`` writes them into DIR. The pages have the text of ``--help``.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator

import click

from .. import __version__
from . import output
from .commands.completion import script
from .run_command_line import command

PROGRAM = "templater"
#: the second name of the program
OTHER = "image-templater"
#: for each shell, the path of a program's completion script below ``share``
SCRIPTS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
#: a text in backquotes
_MARKUP = re.compile(r"`([^`\n]+)`")
#: characters that troff would replace with others
SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", "`": r"\(ga", '"': r"\(dq"}


def shared_files(date: str) -> dict[str, str]:
    """Return a dict from the path of each file below ``share`` to the file's text.

    The man pages show ``date``, which has the form YYYY-MM-DD.
    """
    found = {f"man/man1/{name}.1": page for name, page in pages(date)}
    found[f"man/man1/{OTHER}.1"] = found[f"man/man1/{PROGRAM}.1"]
    for shell, place in SCRIPTS.items():
        # one file of zsh serves both names: its first line lists them
        for name in (PROGRAM,) if shell == "zsh" else (PROGRAM, OTHER):
            found[place.format(name)] = script(shell)
    return found


def pages(date: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each man page."""
    for ctx in contexts(click.Context(command, info_name=PROGRAM, max_content_width=100)):
        yield page_name(ctx), "\n".join(page(ctx, date)) + "\n"


def contexts(ctx: click.Context) -> Iterator[click.Context]:
    """Yield the click context of a command, and of each of its subcommands at any depth."""
    yield ctx
    yield from (each for below in children(ctx) for each in contexts(below))


def children(ctx: click.Context) -> Iterator[click.Context]:
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            found = ctx.command.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield click.Context(found, info_name=name, parent=ctx)


def page_name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def page(ctx: click.Context, date: str) -> Iterator[str]:
    """Yield the lines of the man page of a command."""
    name = page_name(ctx)
    yield f'.TH {literal(name.upper())} 1 "{date}" "{PROGRAM} {__version__}" "{PROGRAM}"'
    yield from (".nh", ".ad l")  # do not hyphenate the names of options and files
    yield from (".SH NAME", f"{literal(name)} \\- {escape(summary(ctx.command))}")
    yield ".SH SYNOPSIS"
    pieces = (piece for piece in ctx.command.collect_usage_pieces(ctx) if piece)
    yield " ".join((f"\\fB{literal(ctx.command_path)}\\fR", *map(escape, pieces)))
    yield ".SH DESCRIPTION"
    examples: list[str] = []
    for number, paragraph in enumerate(re.split(r"\n\s*\n", (ctx.command.help or "").strip("\n"))):
        kept = paragraph.strip("\n").startswith("\b")
        lines = paragraph.strip("\n\b").split("\n")
        if kept and lines[0].strip() in ("Example:", "Examples:"):
            examples = lines[1:]
        elif kept:
            yield from (".PP", *preformatted(lines))
        else:
            yield from ([".PP"] if number else [])
            yield from filled(" ".join(lines))
    options = [param for param in ctx.command.get_params(ctx) if isinstance(param, click.Option)]
    records = [record for param in options if (record := param.get_help_record(ctx)) is not None]
    if records:
        yield ".SH OPTIONS"
    for names, text in records:
        yield from (".TP", " ".join(map(marked, names.split(" "))), *filled(text))
    below = list(children(ctx))
    if below:
        yield ".SH COMMANDS"
    for each in below:
        yield from (".TP", reference(page_name(each)), *filled(each.command.get_short_help_str(1000)))
    if examples:
        yield from (".SH EXAMPLES", *preformatted(examples))
    variables = {param.envvar: param for param in options if isinstance(param.envvar, str)}
    if variables:
        yield ".SH ENVIRONMENT"
    for variable, param in variables.items():
        yield from (".TP", f"\\fB{variable}\\fR", f"The default of \\fB{literal(param.opts[0])}\\fR.")
    if ctx.parent is not None:
        above = dict.fromkeys((page_name(ctx.parent), PROGRAM))
        yield from (".SH SEE ALSO", ",\n".join(map(reference, above)))


def summary(found: click.Command) -> str:
    """Return the first sentence of the help, in lower case and without a full stop, as in other man pages."""
    text = found.get_short_help_str(1000).removesuffix(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def reference(name: str) -> str:
    return f"\\fB{literal(name)}\\fR(1)"


def marked(word: str) -> str:
    """Return a word of an option's usage: the option in bold, its value in italics."""
    comma = "," if word.endswith(",") else ""
    font = "B" if word.startswith("-") else "R" if word in ("/", "") else "I"
    return f"\\f{font}{literal(word.removesuffix(','))}\\fR{comma}"


def preformatted(lines: list[str]) -> Iterator[str]:
    yield from (".RS 4", ".nf")
    yield from (protected(literal(line.rstrip())) for line in textwrap.dedent("\n".join(lines)).split("\n"))
    yield from (".fi", ".RE")


def filled(text: str) -> list[str]:
    """Wrap a paragraph at 79 characters without breaking words, and escape it for troff."""
    words = " ".join(text.split())
    lines = textwrap.wrap(escape(words), 79, break_long_words=False, break_on_hyphens=False)
    return list(map(protected, lines))


def escape(text: str) -> str:
    """Escape a text for troff. Text in backquotes becomes bold."""
    parts = _MARKUP.split(text)
    parts[1::2] = [f"\\fB{literal(part)}\\fR" for part in parts[1::2]]
    parts[::2] = [literal(part) for part in parts[::2]]
    return "".join(parts)


def literal(text: str) -> str:
    """Escape a text for troff, so that each character is printed as it is."""
    return "".join(SPECIAL.get(each, each) if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)


def protected(line: str) -> str:
    """Return a line of text, escaped so that troff does not read the line as a command."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


def write_files(folder: str) -> None:
    """Write the man pages and completion scripts below a folder, such as ``/usr/share``."""
    for name, text in shared_files(release_day()).items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def release_day() -> str:
    """Return the date in SOURCE_DATE_EPOCH, in UTC.

    Without this variable, return "": the pages then have no date.
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    return time.strftime("%Y-%m-%d", time.gmtime(int(seconds))) if seconds else ""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        output.say("usage: python -m templater.cli.manual DIR")
        sys.exit(2)
    write_files(sys.argv[1])
