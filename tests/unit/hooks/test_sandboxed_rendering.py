"""The time that a job of a hook has left, and the answers of its children."""

import pytest

from templater.hooks import sandboxed_rendering
from templater.hooks.sandboxed_rendering import Job, read_answer
from templater.model.hosts import NONE
from templater.model.source import Source
from templater.sandbox.child import ChildFailure


def test_the_time_of_children_that_ended_during_a_job_is_charged_to_the_job(monkeypatch):
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 100)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 50)
    job = Job(Source("m", b""), {}, None, ("start",), NONE)
    assert job.left() == 8
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 101)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 53)
    assert job.left() == 4


def job():
    return Job(Source("m", b""), {}, None, ("start",), NONE)


def test_the_answer_of_a_child_has_the_instance_and_the_entries_for_the_cache():
    answer = read_answer(job(), [
        [b"instance", b"c1", b"container", b"create", b"start"], [b"keys", b"a\0x\ny\0b\0"],
        [b"keep", b"image", b"templater.pongo2.a os", b"code"],
    ])  # fmt: skip
    assert (answer.instance.name, answer.instance.type) == ("c1", "container")
    assert (answer.triggers, answer.keys) == (("create", "start"), {"a": ("x", "y"), "b": ()})
    kept = answer.kept[sandboxed_rendering.IMAGE]
    assert (list(answer.kept), kept.modules, kept.payload) == (
        [sandboxed_rendering.IMAGE], ("templater.pongo2.a",), b"code",
    )  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        (b"odd",), (b"instance",), (b"text", b"0", b"start", b"x"), (b"text", b"x", b"start", b""), (b"text", b"0"),
        (b"keep", b"other", b"", b""), (b"keep", b"image", b"\xff", b""), (b"rule",), (b"fail", b"0"),
    ],
)  # fmt: skip
def test_an_invalid_answer_of_a_child_is_a_failure(record):
    with pytest.raises(ChildFailure) as caught:
        read_answer(job(), [list(record)])
    assert caught.value.message == "the sandboxed process sent an invalid answer"
    assert caught.value.hint == "please report this"
