"""Standard output: exact bytes in a pipe, colour and only printable characters on a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from ..source import printable

if TYPE_CHECKING:
    from rich.console import Console


def on_terminal() -> bool:
    """Whether people look at standard output, and want it styled."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write(text: str) -> None:
    """Text as it is, undecodable bytes included; on a terminal what would steer it is made visible."""
    write_data(text.encode("utf-8", "surrogateescape"))


def write_data(data: bytes) -> None:
    """The same with what is encoded already."""
    if sys.stdout.isatty():
        data = visible(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def flush() -> None:
    sys.stdout.flush()


def write_json(value: Any) -> None:
    import json

    write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def visible(text: str) -> str:
    """Every line printable: an image's escape sequences do not reach the terminal."""
    return "\n".join(printable(line) for line in text.split("\n"))


def say(text: str) -> None:
    """Talk, for people: never mixed with the data on standard output."""
    flush()
    click.echo(visible(text.rstrip("\n")), err=True)


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def language_of(path: str) -> str:
    """What a written file is to a highlighter, by its name; ``text`` where nobody knows."""
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
