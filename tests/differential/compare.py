"""A comparison of the answers of pongo2 and templater to one example."""

import signal
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from templater.model.errors import TemplaterError
from templater.pongo2.__main__ import render

from .grammar import Example, replayed
from .oracle import Oracle

PATIENCE = 20  # seconds that a render of ours may take
THEIR_PATIENCE = 10  # seconds that pongo2 may take when it is asked again


class Stuck(Exception):
    """Raised if templater does not end in time."""


@contextmanager
def patience() -> Iterator[None]:
    def give_up(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise Stuck

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def ours(request: dict[str, Any]) -> dict[str, Any]:
    """Return templater's answer: "output" as bytes, "error" with pongo2's text, or else "broken"."""
    try:
        with patience():
            return {"output": render(request).encode("utf-8", "surrogateescape")}
    except TemplaterError as error:
        return {"error": getattr(error, "pongo2_error", None) or error.message, "kind": error.kind}
    except Exception as error:  # any other error is a bug that this comparison searches
        return {"broken": f"{type(error).__name__}: {error}"}


def theirs(answer: dict[str, Any]) -> dict[str, Any]:
    if "output_b64" in answer:
        return {"output": b64decode(answer["output_b64"])}
    if "output" in answer:
        return {"output": answer["output"].encode()}
    return {"error": answer["error"], "panic": answer.get("panic", False), "phase": answer["phase"]}


def agree(mine: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether both sides give the same bytes, or both an error."""
    if "broken" in mine:
        return False
    return mine.get("output") == other.get("output")


def same_text(mine: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether both error texts are the same."""
    return mine.get("error") == other.get("error")


def is_random(oracle: Oracle, request: dict[str, Any]) -> bool:
    """Return whether pongo2's own answer varies: by the order of Go's maps, or by addresses."""
    (answer,) = oracle.ask([request | {"repeat": 400, "seconds": 60}])
    return bool(answer.get("outputs"))


def differs(oracle: Oracle, request: dict[str, Any]) -> bool:
    """Return whether the sides still differ. Use a long timeout, so that a busy machine has no effect."""
    mine, other = ours(request), patiently(oracle, request)
    if "broken" in mine:
        return True
    if mine.get("kind") == "limit":  # on purpose: pongo2 has no limits
        return False
    return not agree(mine, other) and not unanswered(other) and not is_random(oracle, request)


def patiently(oracle: Oracle, request: dict[str, Any]) -> dict[str, Any]:
    (answer,) = oracle.ask([request | {"seconds": THEIR_PATIENCE}])
    return theirs(answer)


def unanswered(other: dict[str, Any]) -> bool:
    """Return whether pongo2 did not finish, so that its answer is unknown.

    For example, the filter ``join`` of pongo2 searches each character of a string from the start.
    """
    return other.get("phase") == "hang"


def shrunk(oracle: Oracle, example: Example, rounds: int = 2000) -> Example:
    """Return a simpler example that still differs. Remove choices, or make them smaller."""
    best = example
    for candidate in _simpler(list(best.choices)):
        rounds -= 1
        if rounds < 0:
            break
        example = Example(replayed(candidate.value), best.profile, best.dialect)
        if _size(example) < _size(best) and differs(oracle, example.request()):
            best = example
            candidate.accepted = True
    return best


def _size(example: Example) -> tuple[int, int, list[int]]:
    return len(example.template), len(example.choices), example.choices


class _Candidate:
    def __init__(self, value: list[int]) -> None:
        self.value = value
        self.accepted = False


def _simpler(choices: list[int]) -> Iterator[_Candidate]:
    """Yield shorter and smaller sequences, from coarse to fine. Continue with each accepted sequence."""
    current = choices
    progress = True
    while progress:
        progress = False
        for width in (32, 16, 8, 4, 2, 1):
            position = 0
            while position < len(current):
                for replacement in _replacements(current[position : position + width]):
                    candidate = _Candidate([*current[:position], *replacement, *current[position + width :]])
                    yield candidate
                    if candidate.accepted:
                        current = candidate.value
                        progress = True
                        break
                else:
                    position += max(1, width // 2)


def _replacements(part: list[int]) -> Iterator[list[int]]:
    yield []
    if any(part):
        yield [0] * len(part)
    if len(part) == 1 and part[0] > 1:
        yield [part[0] // 2]
        yield [part[0] - 1]
