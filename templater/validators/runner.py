"""A runner of validators. It runs each validator once for a text, with time limits for all runs together."""

from __future__ import annotations

import resource
from time import monotonic
from typing import Any

from ..sandbox.validator_process import NotConfinedError
from .programs import all_validators
from .validator import Failure, Missing

#: time limits for all runs of an image: seconds of wall clock time, and seconds of processor time
SECONDS, PROCESSOR_SECONDS = 20.0, 5.0

Answer = dict[str, Any]


class Runner:
    """A runner of validators.

    If ``anyway`` is true, programs that cannot be confined run with limits only.
    """

    def __init__(self, *, anyway: bool = False) -> None:
        self._confined = True
        self._anyway = anyway
        self._answers: dict[tuple[str, str, bytes], Answer] = {}
        self._seconds, self._processor_seconds = SECONDS, PROCESSOR_SECONDS

    def ask(self, id: str, name: str, data: bytes) -> Answer:
        """Return an object with a single key: ``value``, ``missing``, ``off``, ``late`` or ``failed``."""
        key = (id, name, data)
        if key not in self._answers:
            if self._seconds <= 0:
                return {"late": f"all validators together take longer than {SECONDS:g} s"}
            if self._processor_seconds <= 0:
                most = f"{PROCESSOR_SECONDS:g} s of processor time"
                return {"late": f"all validators together take more than {most}"}
            begun, used = monotonic(), _processor_time()
            self._answers[key] = self._run(id, name, data)
            self._seconds -= monotonic() - begun
            self._processor_seconds -= _processor_time() - used
        return self._answers[key]

    def _run(self, id: str, name: str, data: bytes) -> Answer:
        validator = all_validators()[id]
        try:
            return {"value": validator.run(name, data, self._confined)}
        except NotConfinedError as error:
            if not self._anyway:
                return {"off": str(error)}
            self._confined = False
            return self._run(id, name, data)
        except Missing:
            return {"missing": True}
        except Failure as error:
            return {"failed": str(error)}


def _processor_time() -> float:
    """Return the processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
