"""The terminal: whether it shows colours, its width, and the pager."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from typing import TextIO

CHOICES = ("auto", "always", "never")
#: the options that git passes to `less`: keep colours, and end at once if all lines fit on one screen
LESS = "FRX"


class _State:
    """The terminal state of this process: the options for colours and the pager, and the running pager."""

    color = "auto"
    pages = True
    pager: subprocess.Popen[bytes] | None = None
    #: copies of the descriptors that the pager has replaced, by number
    saved: dict[int, int]
    width = 0


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(_State, name, value)

    return callback


def options(*, hidden: bool) -> list[click.Option]:
    """Return the options ``--color`` and ``--no-pager``, which every command accepts."""
    color = click.Option(
        ["--color"], type=click.Choice(CHOICES), expose_value=False, hidden=hidden, callback=_set("color"),
        help="When to use colours: auto uses them on a terminal. Every command accepts this option.",
    )  # fmt: skip
    pager = click.Option(
        ["--no-pager", "pages"], is_flag=True, flag_value=False, default=None, expose_value=False,
        hidden=hidden, callback=_set("pages"), help="Print long output directly, not in a pager.",
    )  # fmt: skip
    return [color, pager]


def reset() -> None:
    """Forget the options of an earlier run in this process."""
    _State.color, _State.pages = "auto", True


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether the user sees the stream, on a terminal or in the pager.

    The default stream is standard output.
    """
    stream = stream or sys.stdout
    if _State.pager is not None and stream in (sys.stdout, sys.stderr) and stream.fileno() in _State.saved:
        return True
    return stream.isatty()


def has_colour(stream: TextIO | None = None) -> bool:
    """Return whether to write colours to the stream. The default stream is standard output."""
    if _State.color != "auto":
        return _State.color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    forced = any(os.environ.get(name, "") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
    return forced or (is_terminal(stream) and os.environ.get("TERM") != "dumb")


def has_layout(stream: TextIO | None = None) -> bool:
    """Return whether to write horizontal rules, aligned columns and wrapped text.

    The default stream is standard output.
    """
    return (is_terminal(stream) and os.environ.get("TERM") != "dumb") or has_colour(stream)


def width() -> int:
    import shutil

    return max(_State.width if _State.pager is not None else shutil.get_terminal_size().columns, 20)


def page() -> None:
    """Show the rest of the output in the user's pager, if standard output is a terminal.

    While a pager runs, the command has no time limit.
    """
    if not _State.pages or _State.pager is not None or not sys.stdout.isatty():
        return
    words = _pager_words()
    if not words or os.environ.get("TERM") == "dumb":
        return
    import signal
    import subprocess

    columns = width()
    try:
        pager = subprocess.Popen(words, stdin=subprocess.PIPE, env={"LESS": LESS, "LV": "-c", **os.environ})
    except OSError:
        return
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)  # stop the timer of ``cli.enforce_limits``
    assert pager.stdin is not None
    _State.saved = {}
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            stream.flush()
            _State.saved[stream.fileno()] = os.dup(stream.fileno())
            os.dup2(pager.stdin.fileno(), stream.fileno())
    pager.stdin.close()
    _State.pager, _State.width = pager, columns


def _pager_words() -> list[str]:
    """Return the command of the pager, or [] without a pager."""
    import shlex
    import shutil

    try:
        words = shlex.split(os.environ.get("PAGER", "less"))
    except ValueError:
        return []
    return words if words and words != ["cat"] and shutil.which(words[0]) else []


def end_pager() -> None:
    """Wait until the user leaves the pager, and let later messages go to the terminal."""
    pager = _State.pager
    if pager is None:
        return
    for stream in (sys.stdout, sys.stderr):
        number = stream.fileno()
        if number not in _State.saved:
            continue
        try:
            stream.flush()
        except BrokenPipeError:  # the user has left the pager early: discard the rest of the output
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
            stream.flush()
        os.dup2(_State.saved[number], number)
        os.close(_State.saved[number])
    _State.pager = None
    while True:
        with suppress(KeyboardInterrupt):  # the pager also receives Ctrl-C, and keeps running
            pager.wait()
            break
