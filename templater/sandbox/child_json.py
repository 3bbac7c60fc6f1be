"""A child that answers with one JSON value, or with an error of templater."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from ..model import errors
from ..model.errors import TemplaterError
from .child import ChildFailure, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .child import Bounds, Send


def run(
    prepare: Callable[[], Iterable[int]],
    work: Callable[[], Any],
    bounds: Bounds,
    waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Any:
    """Start a child that runs ``prepare``, locks itself, and runs ``work``. Return the result of ``work``.

    * ``prepare``: imports modules, and returns the descriptors that ``work`` reads
    * ``waiting``: returns the context manager inside which this process waits for the child

    Raises the TemplaterError that the child raises, and the errors of ``Child.answer``.
    """

    failures: list[TemplaterError] = []

    def prepared() -> tuple[int, ...]:
        try:
            return tuple(prepare())
        except TemplaterError as error:
            failures.append(error)
            return ()

    def answer(send: Send) -> None:
        try:
            if failures:
                raise failures[0]
            found: dict[str, Any] = {"value": work()}
        except TemplaterError as error:
            found = {"error": _error_data(error)}
        send((json.dumps(found).encode("ascii"),))

    decode = json.loads  # load the module before the fork, for both processes
    worker = start(prepared, answer, bounds)
    try:
        with waiting():
            records = worker.answer()
    finally:
        worker.close()
    try:
        ((data,),) = records
        found = decode(data)
        if "error" in found:
            error = _error(found["error"])
        else:
            return found["value"]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise ChildFailure(
            "the sandboxed process sent an invalid answer", hint="please report this"
        ) from problem
    raise error


def _error_data(error: TemplaterError) -> dict[str, Any]:
    excerpt = "" if error.span is None else error.span.excerpt()
    notes = [*([excerpt] if excerpt else []), *error.notes]
    return {"class": type(error).__name__, "message": str(error), "hint": error.hint, "notes": notes}


def _error(data: dict[str, Any]) -> TemplaterError:
    kind = getattr(errors, data["class"], None)
    if not (isinstance(kind, type) and issubclass(kind, TemplaterError)):
        kind = TemplaterError
    return kind(str(data["message"]), None, str(data["hint"]), tuple(map(str, data["notes"])))
