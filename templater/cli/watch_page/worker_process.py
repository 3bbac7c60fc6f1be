"""A child process that renders one view at a time. If a view takes too long, the child process ends."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from ..options import Request

#: maximum number of requests that wait for an answer; the server refuses further requests
WAITING: Final = 8
#: a worker is killed this many seconds after its own time limit
GRACE: Final = 5.0
#: maximum number of bytes of an answer
LARGEST: Final = 256 << 20

#: the code of the worker process; its arguments are the search path for modules
START: Final = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from templater.cli.watch_page.worker_loop import main; sys.exit(main())"
)


class BusyError(Exception):
    """Raised if too many requests are waiting."""


class Answer(NamedTuple):
    """The answer to a request from the page: facts for the server, and JSON for the page."""

    facts: dict[str, Any]
    body: bytes


class Renderer:
    """The worker process.

    The first request starts the process. If the process has ended, the next request starts a new process.
    """

    def __init__(self, request: Request, instances: str | None, seconds: float) -> None:
        self._job = pickle.dumps((request, instances))
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._has_ended = False

    async def ask(self, question: bytes) -> Answer:
        """Return the answer to a request from the page. Raises BusyError if too many requests are waiting."""
        if self._waiting >= WAITING:
            raise BusyError
        self._waiting += 1
        try:
            async with self._lock:
                return await self._ask(question)
        finally:
            self._waiting -= 1

    async def _ask(self, question: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._seconds + GRACE):
                process = await self._started()
                assert process.stdin is not None
                process.stdin.write(frame(question))
                await process.stdin.drain()
                return Answer(json.loads(await self._receive(process)), await self._receive(process))
        except TimeoutError:
            text = f"rendering the page took longer than {self._seconds:g} seconds"
        except (OSError, EOFError):
            text = "the rendering process ended unexpectedly, perhaps because memory ran out"
        await self._kill()
        return failure(text)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._has_ended:
            raise EOFError
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *command(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C ends only the server, not the worker
            )  # fmt: skip
            assert self._process.stdin is not None
            self._process.stdin.write(frame(self._job))
        if self._has_ended:
            raise EOFError
        return self._process

    async def _receive(self, process: asyncio.subprocess.Process) -> bytes:
        assert process.stdout is not None
        try:
            size = int.from_bytes(await process.stdout.readexactly(4))
            if size > LARGEST:
                raise EOFError
            return await process.stdout.readexactly(size)
        except asyncio.IncompleteReadError:
            raise EOFError from None

    async def end(self) -> None:
        """Kill the worker, and answer no further requests."""
        self._has_ended = True
        await self._kill()
        # Wait until a worker that is starting has started. If this method cancelled the start, asyncio would
        # wait forever.
        async with self._lock:
            await self._kill()

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def command() -> list[str]:
    """Return the command that starts the worker, with the search path of this process for modules."""
    mode = ["-X", "utf8"] if sys.flags.utf8_mode else []
    # This process may run from a zipapp, so the worker gets its ``sys.path``. Without ``-I``, the worker
    # would also import modules from the working directory, which can be a hostile image.
    return [sys.executable, "-I", *mode, "-c", START, *sys.path]


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def failure(text: str) -> Answer:
    """Return an answer that shows an error instead of a view."""
    return Answer({}, json.dumps({"problem": text}).encode())
