"""Deferral of signals, so that neither Ctrl-C nor a time limit interrupts a step of ``apply``."""

import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    #: the handlers by signal. The key None is added when the restoration of the handlers begins.
    Handlers = dict[int | None, Any]
    Item = TypeVar("Item")
    Result = TypeVar("Result")

#: the signals of limits on time and on processor time. SIGXCPU is sent again each second.
LIMITS = (_signal.SIGALRM, _signal.SIGPROF, _signal.SIGXCPU)
#: the signals that are deferred
DEFERRED = (*LIMITS, _signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)


def with_signals_deferred(call: "Callable[[], Result]", *, drop_alarm: bool = False) -> "Result":
    """Call a function with signals deferred. Afterwards, deliver the signals that have arrived.

    With ``drop_alarm``, drop the signals of time limits if the call succeeds.
    """
    late: dict[int, None] = {}
    before: Handlers = {}
    try:
        try:
            # Blocking the signals would not suffice: in a process with several threads, the kernel would
            # deliver a signal to another thread.
            _replace_handlers(before, late)
        finally:
            result = call()  # even if a handler raises an exception before it is replaced
        if drop_alarm:
            for number in LIMITS:
                late.pop(number, None)
    finally:
        _restore_handlers(before, late)
    return result


def for_each_with_signals_deferred(call: "Callable[[Item], object]", items: "Iterable[Item]") -> None:
    """Call a function with each item, and defer signals during each call.

    Deliver the signals before the next call.
    """
    waiting = [*items][::-1]
    while waiting:
        late: dict[int, None] = {}
        before: Handlers = {}
        try:
            _replace_handlers(before, late)
            # Replacing the handlers takes twelve system calls, so the handlers stay replaced until a signal
            # arrives.
            while waiting and not late:
                call(waiting.pop())
        finally:
            _restore_handlers(before, late)


def _replace_handlers(before: "Handlers", late: "dict[int, None]") -> None:
    """Replace the handlers of the signals in ``DEFERRED``. Store the old handlers in ``before``.

    Each new handler adds its signal to ``late``.
    """

    def wait(number: int, _: object) -> None:
        if None in before:  # a handler has raised an exception before this one was restored
            _signal.signal(number, before[number])
            _signal.raise_signal(number)
        else:
            late[number] = None

    try:
        for number in DEFERRED:
            handler = _signal.getsignal(number)
            if handler is not None:  # None means that C code installed it, which Python could not restore
                before[number] = handler  # recorded first: the signal can arrive at any time
                _signal.signal(number, wait)
    except ValueError:  # only the main thread can set and run signal handlers
        before.clear()


def _restore_handlers(before: "Handlers", late: "dict[int, None]") -> None:
    """Restore the handlers, and deliver the signals in ``late``."""
    handlers = [*before.items()]
    before[None] = None
    # A restored handler can run at once and raise an exception. The remaining handlers are then not restored.
    # When the signal of a remaining handler arrives later, the function ``wait`` restores this handler.
    try:
        _each(_signal.signal, handlers)
    finally:
        _each(_signal.raise_signal, [(number,) for number in late])


def _each(call: "Callable[..., object]", arguments: "Sequence[tuple[Any, ...]]") -> None:
    """Call a function with each set of arguments, even if one of the calls raises an exception."""
    if arguments:
        try:
            call(*arguments[0])
        finally:
            _each(call, arguments[1:])
