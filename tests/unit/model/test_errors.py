"""Texts of errors."""

import os

import pytest

from templater.model.errors import reason


def test_the_reason_of_a_system_error_is_its_text_in_lower_case(tmp_path):
    with pytest.raises(OSError) as caught:
        os.listdir(tmp_path / "missing")
    assert reason(caught.value) == os.strerror(caught.value.errno).lower() == "no such file or directory"
    assert reason(OSError("Without a number")) == "without a number"
