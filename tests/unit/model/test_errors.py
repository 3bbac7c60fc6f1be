"""Texts of errors."""

import os

import pytest

from templater.model.errors import described_bug, reason


def test_the_reason_of_a_system_error_is_its_text_in_lower_case(tmp_path):
    with pytest.raises(OSError) as caught:
        os.listdir(tmp_path / "missing")
    assert reason(caught.value) == os.strerror(caught.value.errno).lower() == "no such file or directory"
    assert reason(OSError("Without a number")) == "without a number"


def test_a_described_bug_has_the_type_and_the_innermost_position_but_not_the_message():
    def fail():
        raise ValueError("password")

    assert described_bug(KeyError("password")) == "KeyError"
    with pytest.raises(ValueError, match="password") as caught:
        fail()
    line = fail.__code__.co_firstlineno + 1
    assert described_bug(caught.value) == f"ValueError at {__file__}:{line}"
