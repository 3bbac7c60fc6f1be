"""Replay of terminal sessions: commands and their expected output.

A line that begins with ``$ `` is a command, and ``> `` continues it. Other lines are its combined standard
output and standard error. ``[exit 5]`` is the exit code, 0 by default. A line with only ``…`` matches any
lines, and a line that begins with ``## `` is a note to the reader.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.command_server import ask, client

ROOT = Path(__file__).resolve().parent.parent.parent
ANY = "…"
EXIT = re.compile(r"\[exit (\d+)\]")
#: a command that needs no shell
PLAIN = re.compile(r"templater( [\w./:=@,+%-]+)+")


SAID = "## "


@dataclass
class Step:
    """A command with its expected output and exit code. ``after`` is the note below the output."""

    command: str
    output: str
    after: str = ""

    def __str__(self) -> str:
        return (
            "".join(f"{'>' if n else '$'} {line}\n" for n, line in enumerate(self.command.split("\n")))
            + self.output
            + self.after
        )


@dataclass
class Stage:
    """A folder with a copy of the sample images, in which sessions are replayed."""

    folder: Path
    asks: bool  # a server, unless each command starts a new interpreter

    @classmethod
    def set_up(cls, folder: Path, *, new_interpreters: bool = False) -> Stage:
        """Fill a folder with sample images and a command `templater`.

        The command starts a new interpreter if ``new_interpreters`` is true. Otherwise, it sends its words to
        a server.
        """
        shutil.copytree(ROOT / "sample-images", folder / "sample-images", symlinks=True)
        tool = folder / ".bin" / "templater"
        tool.parent.mkdir()
        words = [sys.executable, "-m", "templater"] if new_interpreters else client()
        tool.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        tool.chmod(0o755)
        python = tool.parent / "python"
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        return cls(folder, not new_interpreters)

    def run(self, command: str) -> str:
        """Return the output on a terminal without colour."""
        if self.asks and PLAIN.fullmatch(command):
            with tempfile.TemporaryFile() as file:
                fd = file.fileno()
                code = ask(command.split()[1:], (fd, fd), cwd=self.folder, env=self.environment())
                return self.shown(os.pread(fd, os.fstat(fd).st_size, 0), code)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=120,
        )
        return self.shown(done.stdout, done.returncode)

    def run_until(self, text: str, command: str) -> str:
        """Return the output of a command that gets SIGINT when it has printed a text."""
        running = subprocess.Popen(
            ["timeout", "--foreground", "120", "bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,  # so that no line is read too early
        )
        assert running.stdout
        output = b""
        while text.encode() not in output and (line := running.stdout.readline()):
            output += line
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate()
        return self.shown(output + rest, running.returncode)

    def shown(self, printed: bytes, code: int) -> str:
        output = printed.decode("utf-8", "backslashreplace").replace(str(self.folder), "/home/user")
        if output and not output.endswith("\n"):
            output += "\n"
        return output + (f"[exit {code}]\n" if code else "")

    def environment(self) -> dict[str, str]:
        path = f"{self.folder / '.bin'}:{os.environ['PATH']}"
        return {
            "PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
            "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
            "TEMPLATER_RUN_VALIDATORS": "no",  # which validators are installed differs between machines
        }  # fmt: skip


def steps_of(text: str) -> tuple[str, list[Step]]:
    """Return the text of a session before its first command, and the steps of the session."""
    preamble, steps = "", []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            steps.append(Step(line[2:].rstrip("\n"), ""))
        elif line.startswith("> ") and steps and not steps[-1].output:
            steps[-1].command += "\n" + line[2:].rstrip("\n")
        elif steps and (steps[-1].after or line.startswith(SAID)):
            steps[-1].after += line
        elif steps:
            steps[-1].output += line
        else:
            preamble += line
    return preamble, steps


def matches(expected: str, got: str) -> bool:
    """Compare outputs: ``…`` matches any lines, and empty lines at the end are ignored."""
    parts = re.split(
        rf"^{ANY}\n", expected.rstrip("\n") + "\n" if expected.strip() else "", flags=re.MULTILINE
    )
    pattern = "(?:.*\n)*".join(re.escape(part) for part in parts)
    return re.fullmatch(pattern, got.rstrip("\n") + "\n" if got.strip() else "") is not None


def replay(text: str, stage: Stage) -> tuple[str, list[tuple[Step, str]]]:
    """Return the text of a session with the real outputs, and each step whose output differs.

    A step is returned with its real output. The new text keeps the empty lines at the end of each expected
    output.
    """
    preamble, steps = steps_of(text)
    wrong, real = [], preamble
    for step in steps:
        got = stage.run(step.command)
        spacing = step.output[len(step.output.rstrip("\n")) + 1 :] if step.output.strip() else step.output
        if matches(step.output, got):
            real += str(step)
        else:
            wrong.append((step, got))
            real += str(Step(step.command, got + spacing, step.after))
    return real, wrong


def complaint(wrong: list[tuple[Step, str]]) -> str:
    return "\n".join(f"$ {step.command}\n--- expected\n{step.output}--- came\n{got}" for step, got in wrong)
