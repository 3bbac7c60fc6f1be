"""Progress is for a terminal, and for nobody else."""

import io
import sys

from templater.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_sees_nothing(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress("packing") as show:
        show(64, 1 << 30, "name")
    assert pipe.getvalue() == ""


def test_a_terminal_sees_what_is_done_and_names_that_can_not_steer_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("packing") as show:
        show(64, 5 << 20, "etc/\x1b[31mred [bold]x")
    shown = terminal.getvalue()
    assert "packing: 64 files, 5 MiB, etc/\\x1b[31mred [bold]x" in shown
