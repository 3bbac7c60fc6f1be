"""``templater completion``: print the script with which a shell completes command lines.

The script passes the incomplete command line to this command. The command splits and quotes words as shells
do.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from ...limit_option import COMMAND, parse
from .. import output
from ..enforce_limits import guard

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HELP = """Print a script for completion with the Tab key.

With the script, the shell completes commands, options, hosts, triggers, the target paths of SRC's rules, the
instances of a FILE#NAME, and more. Packages of templater install the scripts.

\b
Examples:
  source <(templater completion bash)   in ~/.bashrc
  source <(templater completion zsh)    in ~/.zshrc, after compinit
  templater completion fish | source    in ~/.config/fish/config.fish
"""

SHELLS = ("bash", "zsh", "fish")
#: the limits on a completion, which are low because the user waits for it
LIMITS = ("command-time=10s", "command-processor=2s", "command-memory=512MiB")
#: a word that ends with one of these characters is not complete, so no space follows the word
OPEN = ("=", ":", "/")
#: characters that need a backslash between double quotes
_QUOTED = '\\"$`'
#: characters that need no quotes; letters and digits of any language need none either
_PLAIN = "@%+=:,./-_#^"


@click.command(help=HELP)
@click.argument("shell", type=click.Choice(SHELLS))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="")
def command(shell: str, words: tuple[str, ...]) -> None:
    """Print the script. If the script calls this command with ``words``, print possible completions instead.

    The scripts for zsh and fish pass the words on the command line; fish passes the last word with its
    quotes. The script for bash passes two values: the line up to the cursor, and COMP_WORDBREAKS.
    """
    if not words:
        output.write(script(shell))
        return
    if shell == "bash":
        line = split(*words[:2])
    else:
        last = split(words[-1]).words[-1] if shell == "fish" else words[-1]
        line = CommandLine(("templater", *words[:-1], last), "", 0)
    text = "\n".join(answer(shell, line))
    sys.stdout.buffer.write(os.fsencode(f"{text}\n"))


def script(shell: str) -> str:
    from importlib.resources import files

    return (files("templater.cli") / "shells" / shell).read_text("utf-8")


def answer(shell: str, line: CommandLine) -> list[str]:
    """Return the answer to the shell's script: a header, and a line for each possible completion.

    The header says whether the shell also completes file names. If so, the header also has an index: the
    position of the file name in the last word.
    """
    current = line.words[-1]
    try:
        with guard(parse(LIMITS, (COMMAND,))):
            found = completions(list(line.words[1:-1]), current, described=shell != "bash")
    except Exception:  # the user did not run a command, so a message would only disturb the user
        return ["none 0"]
    # `--option=` precedes the value that click completes
    base = current.find("=") + 1 if current.startswith("--") else 0
    header, words = "none 0", {}
    for item in found:
        start = base + (item.start or 0)
        if item.type != "plain":
            header = f"{'directories' if item.type == 'dir' else 'files'} {start}"
            continue
        word = f"{current[:start]}{item.value}"
        if word.startswith(current) and word.isprintable():
            words[word] = item.help or ""
    if shell != "bash":
        return [header, *(f"{word}\t{about(text)}" if text else word for word, text in words.items())]
    if header == "none 0" and len(words) == 1 and next(iter(words)).endswith(OPEN):
        header = "nospace"
    return [header, *map(line.quoted, words)]


def completions(words: list[str], current: str, *, described: bool) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem, ShellComplete

    from ..run_command_line import command as templater

    if not words and not described and not current.startswith("-"):
        return [CompletionItem(name) for name in templater.names()]  # descriptions would import every command
    return ShellComplete(templater, {}, "templater", "").get_completions(words, current)


def about(text: str) -> str:
    """Return the first sentence of a help text, in one line without control characters."""
    first = " ".join(text.split()).partition(". ")[0]
    return "".join(filter(str.isprintable, first if first.endswith("...") else first.removesuffix(".")))


class CommandLine(NamedTuple):
    """The words before the cursor, without quotes. The last word can be incomplete or empty.

    ``quote`` is the open quote character of the last word, or empty. The shell replaces only the part of the
    last word from the index ``start`` on.
    """

    words: tuple[str, ...]
    quote: str
    start: int

    def quoted(self, word: str) -> str:
        """Return the part of ``word`` from the index ``self.start`` on, quoted for the shell.

        The shell replaces the last word from the same index on.
        """
        rest = word[self.start :]
        if self.quote == "'":
            return rest.replace("'", "'\\''")
        if self.quote:  # between double quotes, bash would replace `!` by an earlier command
            text = "".join(f"\\{each}" if each in _QUOTED else each for each in rest)
            return text.replace("!", '"\\!"')
        return "".join(each if each.isalnum() or each in _PLAIN else f"\\{each}" for each in rest)


def split(line: str, breaks: str = "") -> CommandLine:
    """Split a line like a POSIX shell.

    ``breaks`` are the characters at which bash breaks words. If the last word contains such characters, the
    completion replaces only the text after the last such character.
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
