"""The class of validators. A validator consists of the functions ``run`` and ``read``.

``run`` needs a process that can start programs. ``read`` should run in a locked process, because the output
of ``run`` depends on an untrusted text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.unprintable_characters import printable
from ..sandbox import validator_process

#: a mistake in a text: the line number from 1, a message, and optionally a severity
Mistake = tuple[int, str] | tuple[int, str, str]

#: a longer message of a program is cut to this number of characters
LONGEST = 200


class Missing(Exception):
    """The error for a validator that is not installed. Its text is an installation hint, or empty."""


class Failure(Exception):
    """The error for a validator that died, hung, or printed unexpected output."""


@dataclass(frozen=True, slots=True)
class Validator:
    """A validator. ``run`` validates a file and returns JSON, and ``read`` turns this JSON into mistakes."""

    #: the validator's name in messages
    id: str
    #: the kind of files that the validator reads, in the plural
    about: str
    #: the arguments are the file's name, the text, whether to confine the validator, and the most seconds of
    #: processor time
    run: Callable[[str, bytes, bool, int], Any]
    read: Callable[[Any, str], Iterable[Mistake]]


def program(
    id: str,
    about: str,
    names: Sequence[str],
    words: Sequence[str],
    read: Callable[[list[str], str], Iterable[Mistake]],
    harmless: str,
    *,
    folder: str = "",
    stdin: bool = False,
) -> Validator:
    """Return a validator that runs the first installed program of ``names`` on a file in ``folder``.

    * ``words``: the program's arguments, with ``{name}`` for the file's name
    * ``read``: receives the output lines and the file's name

    The validator raises Failure if the program fails, ``read`` finds no mistake, and no line matches the
    regular expression ``harmless``.
    """
    excuse = re.compile(harmless)

    def run(name: str, data: bytes, confined: bool, seconds: int) -> list[Any]:
        found = validator_process.find(names)
        if found is None:
            raise Missing
        path = f"{folder}{name}"
        try:
            result = validator_process.run(
                found,
                [word.replace("{name}", name) for word in words],
                {path: data},
                stdin=path if stdin else os.devnull,
                confined=confined,
                limits=validator_process.Limits(cpu=seconds),
            )
        except validator_process.ToolFailure as error:
            raise Failure(str(error)) from None
        return [name, result.code, result.output]

    def mistakes(answer: Any, text: str) -> list[Mistake]:
        name, code, output = answer
        lines = output.splitlines()
        found = list(read(lines, name)) if code else []
        if code and not found and not any(map(excuse.search, lines)):
            said = [line for line in lines if line.strip()]
            raise Failure(f"exit code {code}" + (f": {short(said[-1])}" if said else ""))
        return found

    return Validator(id, about, run, mistakes)


def short(text: str) -> str:
    """Return a program's message: printable, shortened, and with a first letter in lower case."""
    text = text.strip().rstrip(".")
    if text[:1].isupper() and text[1:2].islower():
        text = text[0].lower() + text[1:]
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
