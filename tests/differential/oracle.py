"""The real pongo2 as a program that answers JSON lines: build it, run it, restart it."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

SOURCE = Path(__file__).parent / "oracle"
GO_LIBRARIES = "/usr/share/gocode"  # where Debian's golang-github-flosch-pongo2.v4-dev puts pongo2
BATCH = 64  # requests on their way at once; few enough to fit into a pipe


class Unavailable(Exception):
    """Raised if this machine has no oracle for a dialect. The message names the missing part."""


def build(source: Path) -> Path:
    """Compile a Go program offline against Debian's packages, once for all test processes and runs.

    The result is kept in the user's cache directory, named by a hash of the program and of the compiler.
    """
    version = subprocess.run(["go", "version"], capture_output=True, check=True).stdout
    files = sorted(path for path in source.rglob("*.go"))
    key = sha256(version + b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "templater-tests")
    cache.mkdir(0o700, parents=True, exist_ok=True)
    program = cache / f"{source.name}-{key}"
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _compile(source, program)
    return program


def _compile(source: Path, program: Path) -> None:
    with TemporaryDirectory(prefix="templater-oracle-") as folder:
        copy = Path(folder, "go", "src", source.name)
        shutil.copytree(source, copy)
        environment = os.environ | {
            "GO111MODULE": "off",
            "GOFLAGS": "",
            "GOPATH": f"{folder}/go:{GO_LIBRARIES}",
            "GOCACHE": os.environ.get("GOCACHE", f"{folder}/cache"),
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
        }
        made = Path(folder, "program")
        command = ["go", "build", "-o", made, "."]
        built = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise Unavailable(f"the oracle does not build: {built.stderr.strip()}")
        shutil.copy(made, program.with_suffix(".new"))
        program.with_suffix(".new").replace(program)


@cache
def program_for(dialect: str) -> Path:
    """Return the oracle of a dialect: TEMPLATER_ORACLE_V4 or _V6, or for v4 one built from the source here."""
    named = os.environ.get(f"TEMPLATER_ORACLE_{dialect.upper()}")
    if named:
        return Path(named)
    if dialect != "v4":
        raise Unavailable(f"TEMPLATER_ORACLE_{dialect.upper()} names no program")
    if shutil.which("go") is None:
        raise Unavailable("go is not installed (golang-go)")
    if not Path(GO_LIBRARIES, "src/github.com/flosch/pongo2").is_dir():
        raise Unavailable("pongo2 4.0.2 is not installed (golang-github-flosch-pongo2.v4-dev)")
    return build(SOURCE)


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
            with suppress(BrokenPipeError):  # requests that were not written are sent again
                self.process.stdin.close()
            self.process = None

    def ask(self, requests: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield one answer for each request, in order.

        If the program dies, the answer has the phase "death".
        """
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
        """Return the answers that the program gives before it dies or ends."""
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
        with suppress(OSError):  # the program died; requests that it did not read are sent again
            process.stdin.write(data)
            process.stdin.flush()


@contextmanager
def real_pongo2() -> Iterator[Oracle]:
    """Run pongo2 4 for a test. If that is not possible, the test is skipped, and fails in CI."""
    import pytest  # the benchmarks use this module without pytest

    try:
        program = program_for("v4")
    except Unavailable as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must compare with the real pongo2: {missing}")
        pytest.skip(f"NOT COMPARED WITH THE REAL PONGO2: {missing}")
    with Oracle(program) as running:
        yield running
