"""The real pongo2 as a program that answers JSON lines: building it, driving it, outliving it."""

import atexit
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from typing import Any

SOURCE = Path(__file__).parent / "oracle"
GO_LIBRARIES = "/usr/share/gocode"  # where Debian's golang-github-flosch-pongo2.v4-dev puts pongo2
BATCH = 64  # requests on their way at once; few enough to fit into a pipe


class Unavailable(Exception):
    """There is no oracle for this dialect here; the message says what is missing."""


def build(folder: Path) -> Path:
    """Compile the oracle for v4 into the folder, offline, against Debian's package."""
    if shutil.which("go") is None:
        raise Unavailable("go is not installed (golang-go)")
    if not Path(GO_LIBRARIES, "src/github.com/flosch/pongo2").is_dir():
        raise Unavailable("pongo2 4.0.2 is not installed (golang-github-flosch-pongo2.v4-dev)")
    source = folder / "go" / "src" / "oracle"
    shutil.copytree(SOURCE, source, dirs_exist_ok=True)
    program = folder / "oracle-v4"
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPATH": f"{folder / 'go'}:{GO_LIBRARIES}",
        "GOCACHE": os.environ.get("GOCACHE", str(folder / "cache")),
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
    }
    built = subprocess.run(
        ["go", "build", "-o", program, "."],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise Unavailable(f"the oracle does not build: {built.stderr.strip()}")
    return program


@cache
def program_for(dialect: str) -> Path:
    """The oracle of a dialect: what TEMPLATER_ORACLE_V4 or _V6 names, else (v4) one built once, here."""
    named = os.environ.get(f"TEMPLATER_ORACLE_{dialect.upper()}")
    if named:
        return Path(named)
    if dialect != "v4":
        raise Unavailable(f"TEMPLATER_ORACLE_{dialect.upper()} names no program")
    folder = Path(mkdtemp(prefix="templater-oracle-"))
    atexit.register(_remove, folder, os.getpid())
    return build(folder)


def _remove(folder: Path, owner: int) -> None:
    """Not by a forked child that ends: the folder is its parent's."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


class Oracle:
    """Asks one oracle program, and starts it again when a template kills it."""

    def __init__(self, program: Path, *arguments: str) -> None:
        self.command = [str(program), *arguments]
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0

    def __enter__(self) -> "Oracle":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdin is not None and self.process.stdout is not None
            self.process.stdout.close()
            with suppress(BrokenPipeError):  # what was not written yet is asked again
                self.process.stdin.close()
            self.process = None

    def ask(self, requests: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """One answer for each request, in order; {"error", "phase": "death"} where the program died."""
        for start in range(0, len(requests), BATCH):
            yield from self._ask_all(requests[start : start + BATCH])

    def _ask_all(self, requests: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        waiting = list(requests)
        while waiting:
            answers = self._exchange(waiting)
            yield from answers
            del waiting[: len(answers)]
            hangs = bool(answers) and answers[-1].get("phase") == "hang"  # its last words
            if waiting or hangs:
                self.stop()
                self.deaths += 1
                if not hangs:
                    yield {"error": "the oracle died", "phase": "death"}
                    del waiting[0]

    def _exchange(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """As many answers as the program gives before it dies."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        data = b"".join(json.dumps(request).encode() + b"\n" for request in requests)
        writer = Thread(target=self._write, args=(process, data))
        writer.start()
        answers = []
        for _ in requests:
            line = process.stdout.readline()
            if not line:
                break
            answers.append(json.loads(line))
        writer.join()
        return answers

    @staticmethod
    def _write(process: "subprocess.Popen[bytes]", data: bytes) -> None:
        assert process.stdin is not None
        with suppress(OSError):  # it died; what it did not read is asked again
            process.stdin.write(data)
            process.stdin.flush()
