"""System calls that are interrupted."""

import errno
import os

import pytest

from templater.rootfs import system_calls


def test_an_interrupted_system_call_is_retried_a_limited_number_of_times():
    calls = []

    def interrupted() -> None:
        calls.append(1)
        raise InterruptedError(errno.EINTR, "interrupted")

    with pytest.raises(InterruptedError):
        system_calls.again(interrupted)
    assert 2 < len(calls) < 1000


def test_a_system_call_succeeds_after_two_interruptions():
    answers = iter([errno.EINTR, errno.EAGAIN, 0])

    def call() -> str:
        number = next(answers)
        if number:
            raise OSError(number, os.strerror(number))
        return "done"

    assert system_calls.again(call) == "done"
