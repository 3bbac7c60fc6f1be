"""A runner of validators, with time limits for all texts together, and notes about failures."""

from __future__ import annotations

import math
import resource
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..model.unprintable_characters import printable

if TYPE_CHECKING:
    from .validator import Mistake

#: time limits for all runs of an image: seconds of wall clock time, and seconds of processor time
SECONDS, PROCESSOR_SECONDS = 20.0, 3.0
#: after this number of failures, a validator checks no other file
MOST_FAILURES = 3
#: limit on the processor time of a validator for one file, in seconds
FILE_SECONDS = 2
#: seconds of the command's processor time that the validators leave for the rest of the command
SPARE = 1.0

Answer = dict[str, Any]


class Validators:
    """Validators, which the function ``ask`` runs. ``notes`` are sentences for the report.

    ``incomplete`` has the id of each validator that did not check all of its texts.
    """

    def __init__(self, ask: Callable[[str, str, bytes], Answer]) -> None:
        self._ask = ask
        #: the number of failures that each validator may still have
        self._left: dict[str, int] = {}
        self._off = self._late = False
        self._mistakes: dict[tuple[str, str, str], list[Mistake]] = {}
        self.notes: list[str] = []
        self.incomplete: list[str] = []

    def mistakes(self, id: str, name: str, text: str, target: str) -> list[Mistake]:
        """Return the mistakes of a text.

        ``name`` is the file name that the validator sees. ``target`` is the path that the notes show.
        """
        key = (id, name, text)
        if key not in self._mistakes:
            self._mistakes[key] = self._run(id, name, text, target)
        return self._mistakes[key]

    def ran(self, id: str) -> bool:
        """Return whether a validator has run. Return False if failures or a time limit have disabled it."""
        return self._left.get(id, 0) > 0 and not self._late

    def _run(self, id: str, name: str, text: str, target: str) -> list[Mistake]:
        if self._late or self._left.setdefault(id, MOST_FAILURES) <= 0:
            self._leave_out(id, f"validator did not check all files: {id}")
            return []
        from .programs import all_validators
        from .validator import Failure

        validator = all_validators()[id]
        answer = self._ask(id, name, text.encode("utf-8", "surrogateescape"))
        if "value" in answer:
            try:
                return list(validator.read(answer["value"], text))
            except Failure as error:
                answer = {"failed": str(error)}
        if "missing" in answer:
            self._left[id] = 0
            hint = f"; {answer['missing']}" if answer["missing"] else ""
            self._leave_out(id, f"validator not installed: {id} (for {validator.about}){hint}")
        elif "off" in answer:
            self._left[id] = 0
            if not self._off:
                self.notes.append(
                    f"this machine cannot confine programs: {printable(answer['off'])}"
                    " (with --run-validators, templater runs validators without a sandbox)"
                )
            self._off = True
            self._leave_out(id, f"validator did not run: {id} (for {validator.about})")
        elif "late" in answer:
            self._late = True
            self.notes.append(
                f"not all files were validated, because {printable(answer['late'])};"
                f" the first file that was not validated is '{printable(target)}'"
            )
            self._leave_out(id, f"validator did not check all files: {id}")
        else:
            self._left[id] -= 1
            last = "" if self._left[id] else "; templater skips this validator for further files"
            reason = printable(answer["failed"])
            self.notes.append(f"validator failed: {id} for '{printable(target)}': {reason}{last}")
            self._leave_out(id)
        return []

    def _leave_out(self, id: str, note: str = "") -> None:
        """Record that a validator did not check a text. The first time, add a note."""
        if id not in self.incomplete:
            self.incomplete.append(id)
            if note:
                self.notes.append(note)


def in_this_process(*, anyway: bool, command_left: Callable[[], float] = lambda: math.inf) -> Validators:
    """Return validators that a ``Runner`` in this process runs."""
    return Validators(Runner(anyway=anyway, command_left=command_left).ask)


class Runner:
    """A runner of validators.

    * ``anyway``: whether a program that can't be confined runs without a sandbox, but with limits
    * ``command_left``: returns the seconds of processor time that the command may still use
    """

    def __init__(
        self,
        *,
        anyway: bool = False,
        processor_seconds: float = PROCESSOR_SECONDS,
        command_left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._confined = True
        self._anyway = anyway
        self._answers: dict[tuple[str, str, bytes], Answer] = {}
        self._seconds, self._processor_seconds = SECONDS, processor_seconds
        self._most = processor_seconds
        self._command_left = command_left

    def ask(self, id: str, name: str, data: bytes) -> Answer:
        """Return the answer of a validator, a dict with one key. The key tells the outcome.

        ``value``: the result of the validator.
        ``missing``: the validator is not installed. The value is an installation hint, or empty.
        ``off``: this process cannot confine the validator.
        ``late``: a time limit of all validators or of the command is reached.
        ``failed``: the validator died, hung or printed unexpected output.
        """
        key = (id, name, data)
        if key not in self._answers:
            left = self._command_left() - SPARE
            if self._seconds <= 0:
                return {"late": f"all validators together take longer than {SECONDS:g} s"}
            if self._processor_seconds <= 0:
                most = f"{self._most:.2g} s of processor time"
                return {"late": f"all validators together take more than {most}"}
            if left <= 0:
                return {"late": "the command has nearly reached its limit 'command-processor'"}
            begun, used = monotonic(), _processor_time()
            seconds = math.ceil(min(FILE_SECONDS, self._processor_seconds, left))
            self._answers[key] = self._run(id, name, data, seconds)
            self._seconds -= monotonic() - begun
            self._processor_seconds -= _processor_time() - used
        return self._answers[key]

    def _run(self, id: str, name: str, data: bytes, seconds: int) -> Answer:
        from ..sandbox.validator_process import NotConfinedError
        from .programs import all_validators
        from .validator import Failure, Missing

        validator = all_validators()[id]
        try:
            return {"value": validator.run(name, data, self._confined, seconds)}
        except NotConfinedError as error:
            if not self._anyway:
                return {"off": str(error)}
            self._confined = False
            return self._run(id, name, data, seconds)
        except Missing as error:
            return {"missing": str(error)}
        except Failure as error:
            return {"failed": str(error)}


def _processor_time() -> float:
    """Return the processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
