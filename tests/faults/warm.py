"""A process that has imported its subject and forks a child for each experiment, which then waits for no import.

``python -m tests.faults.warm MODULE`` calls the function ``main`` of a module in each child, with the experiment's words.
"""

import ctypes
import json
import os
import select
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Self, TextIO

REPOSITORY = Path(__file__).resolve().parents[2]
PR_SET_CHILD_SUBREAPER = 36


class Warm:
    """The process that forks. ``options`` are the interpreter's."""

    def __init__(self, module: str, *options: str, environment: dict[str, str]) -> None:
        wait, self._go = os.pipe()
        self._folder = tempfile.TemporaryDirectory(prefix="templater-faults-")
        self._errors = Path(self._folder.name, "errors")
        self._process = subprocess.Popen(
            [sys.executable, *options, "-m", "tests.faults.warm", module, str(wait), str(self._errors)],
            env=environment, cwd=REPOSITORY, pass_fds=[wait], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        os.close(wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        os.close(self._go)
        self._folder.cleanup()

    def run(self, words: Sequence[str], strace: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
        """Run the subject in a new child, from its start under strace if there are options of strace."""
        pid = self._ask(json.dumps(words))
        tracer = None
        if strace:
            tracer = subprocess.Popen(
                ["strace", "--quiet=exit", *strace, "-p", str(pid)], stderr=subprocess.PIPE, text=True
            )
            assert tracer.stderr is not None
            first = tracer.stderr.readline()
            assert first.endswith(" attached\n"), first
        os.write(self._go, b".")
        code = self._answer()
        if tracer is not None:
            tracer.communicate()
        return subprocess.CompletedProcess(words, code, "", self._errors.read_text())

    def _ask(self, request: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def serve(main: Callable[[list[str]], int], answers: TextIO, wait: int, errors: str) -> None:
    for request in sys.stdin:
        # strace may see the child only after the wait, so no call that a test counts comes before its end
        stderr = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        pid = os.fork()
        if pid == 0:
            os.dup2(stderr, 2)
            select.select([wait], [], [])
            try:
                os._exit(main(json.loads(request)))
            finally:
                traceback.print_exc()
                os._exit(1)
        os.close(stderr)
        print(pid, file=answers, flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.read(wait, 1)
        with suppress(ChildProcessError):
            while True:
                os.wait()  # for what the subject has started
        print(code, file=answers, flush=True)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the subject's output
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    main = import_module(sys.argv[1]).main
    # Other tests change the repository's directory, and each child would list it again at its first import.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != REPOSITORY]
    serve(main, answers, int(sys.argv[2]), sys.argv[3])
