"""Signals that arrive while a function must not be interrupted."""

import signal

import pytest

from templater.writing import deferred_signals
from templater.writing.deferred_signals import (
    DEFERRED,
    LIMITS,
    for_each_with_signals_deferred,
    with_signals_deferred,
)


@pytest.fixture
def arrived():
    """Return the signals that the handlers of the test have received."""
    found = []
    before = {number: signal.signal(number, lambda number, _: found.append(number)) for number in DEFERRED}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", DEFERRED)
@pytest.mark.parametrize("options", [{}, {"drop_alarm": False}, {"drop_alarm": True}])
def test_a_deferred_signal_is_delivered_unless_it_reports_an_obsolete_limit(number, options, arrived):
    during = []

    def call():
        signal.raise_signal(number)
        signal.raise_signal(number)
        during.extend(arrived)
        return "result"

    assert with_signals_deferred(call, **options) == "result"
    assert during == []
    assert arrived == ([] if options.get("drop_alarm") and number in LIMITS else [number])
    signal.raise_signal(number)
    assert arrived[-1:] == [number], "the handlers are restored"


def test_sigxcpu_during_a_successful_call_is_dropped(arrived):
    """All files were in place, but the start failed. The kernel sends SIGXCPU again each second."""
    with_signals_deferred(lambda: signal.raise_signal(signal.SIGXCPU), drop_alarm=True)
    assert arrived == []


@pytest.mark.parametrize("number", DEFERRED)
def test_a_signal_is_delivered_after_a_failed_call(number, arrived):
    def call():
        signal.raise_signal(number)
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        with_signals_deferred(call, drop_alarm=True)
    assert arrived == [number]


@pytest.mark.parametrize("number", DEFERRED)
def test_signal_during_one_call_is_delivered_before_the_next(number, arrived):
    seen = []

    def call(item):
        seen.append((item, [*arrived]))
        if item == 1:
            signal.raise_signal(number)
            assert arrived == []

    for_each_with_signals_deferred(call, range(4))
    assert seen == [(0, []), (1, []), (2, [number]), (3, [number])]
    signal.raise_signal(number)
    assert arrived == [number, number], "the handlers are restored"


@pytest.mark.parametrize("during", [False, True])
def test_no_item_is_handled_after_exception_in_signal_handler(during, monkeypatch):
    """The signal arrives in a call, or while the handlers are replaced."""
    seen = []

    def call(item):
        seen.append(item)
        signal.raise_signal(signal.SIGTERM)
        seen.append("rest")

    def stop(number, _):
        raise InterruptedError(number)

    before = signal.signal(signal.SIGTERM, stop)
    if not during:
        monkeypatch.setattr(
            deferred_signals, "_replace_handlers", lambda *_: signal.raise_signal(signal.SIGTERM)
        )
    try:
        with pytest.raises(InterruptedError):
            for_each_with_signals_deferred(call, "abc")
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == (["a", "rest"] if during else [])


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("place", range(len(DEFERRED)))
def test_all_signal_handlers_work_even_if_an_exception_interrupts_their_restoration(
    place, deferred, arrived, monkeypatch
):
    """The handlers that were not yet restored ignored their signals for ever."""
    each = deferred_signals._each

    def interrupted(call, arguments):
        if call is not signal.raise_signal:
            each(call, arguments[:place])
            raise InterruptedError  # as if a signal arrived now, whose handler raises
        each(call, arguments)

    monkeypatch.setattr(deferred_signals, "_each", interrupted)
    with pytest.raises(InterruptedError):
        with_signals_deferred(lambda: deferred and signal.raise_signal(signal.SIGHUP))
    monkeypatch.undo()
    assert arrived == ([signal.SIGHUP] if deferred else [])
    arrived.clear()
    for number in DEFERRED:
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert arrived == [number for number in DEFERRED for _ in range(2)]
