"""Texts of errors."""

import os

import pytest

from templater.model.errors import TemplaterError, described_bug, reason


def test_the_reason_of_a_system_error_is_lower_case(tmp_path):
    with pytest.raises(OSError) as caught:
        os.listdir(tmp_path / "missing")
    assert reason(caught.value) == os.strerror(caught.value.errno).lower() == "no such file or directory"
    assert reason(OSError("Without a number")) == "without a number"


def test_a_bug_description_contains_no_error_message():
    def fail():
        raise ValueError("password")

    assert described_bug(KeyError("password")) == "KeyError"
    with pytest.raises(ValueError, match="password") as caught:
        fail()
    line = fail.__code__.co_firstlineno + 1
    assert described_bug(caught.value) == f"ValueError at {__file__}:{line}"


def test_each_error_has_an_exit_code_and_a_kind_for_json():
    classes = [TemplaterError]
    for each in classes:
        classes += [found for found in each.__subclasses__() if found.__module__ == each.__module__]
    assert {each.__name__: (each.exit_code, each.kind) for each in classes} == {
        "TemplaterError": (2, "error"), "UsageError": (2, "usage"), "InputError": (2, "input"),
        "MetadataError": (2, "metadata"), "RefusedError": (3, "refused"), "LimitError": (4, "limit"),
        "TemplateError": (5, "template"), "TemplateSyntaxError": (5, "syntax"), "RenderError": (5, "render"),
        "HostError": (5, "host"), "WriteError": (6, "write"), "KeptError": (1, "kept"), "BusyError": (7, "busy"),
    }  # fmt: skip
