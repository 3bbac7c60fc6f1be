"""Progress messages appear on a terminal only."""

import io
import sys

import pytest

from templater.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_not_written_to_a_pipe(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress("packing") as show:
        show(64, 1 << 30, "name")
    assert pipe.getvalue() == ""


def test_a_terminal_shows_progress_with_escaped_names(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("packing") as show:
        show(64, 5 << 20, "etc/\x1b[31mred [bold]x")
    shown = terminal.getvalue()
    assert "packing: 64 files, 5 MiB, etc/\\x1b[31mred [bold]x" in shown


@pytest.mark.parametrize(("more", "is_shown"), [(0, False), (1, True)])
def test_a_large_file_is_shown_after_more_than_eight_mebibytes(monkeypatch, more, is_shown):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("packing") as show:
        show(1, (8 << 20) + more, "large")
    assert ("packing: 1 files, 8 MiB, large" in terminal.getvalue()) == is_shown
