"""The time that a job of a hook has left."""

from templater.hooks import sandboxed_rendering
from templater.hooks.sandboxed_rendering import Job
from templater.model.hosts import NONE
from templater.model.source import Source


def test_the_time_of_children_that_ended_during_a_job_is_charged_to_the_job(monkeypatch):
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 100)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 50)
    job = Job(Source("m", b""), {}, None, ("start",), NONE)
    assert job.left() == 8
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 101)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 53)
    assert job.left() == 4
