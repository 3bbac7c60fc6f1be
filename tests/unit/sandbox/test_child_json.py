"""Children that answer with JSON: valid and invalid answers, and errors of templater."""

import sys
from contextlib import contextmanager

import pytest

from templater.model.errors import InputError, LimitError, TemplaterError
from templater.model.source import Source
from templater.sandbox import child_json
from templater.sandbox.child import Bounds, ChildFailure

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confined on Linux only")


class Worker:
    """A child that has answered already."""

    def __init__(self, records):
        self.records = records
        self.events = []

    def answer(self):
        self.events.append("answer")
        return self.records

    def close(self):
        self.events.append("close")


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs ``work`` in this process, or gives the answer ``records``."""

    def answered(work=None, records=None, **options):
        workers = []

        def start(prepare, answer, bounds):
            sent = []
            if records is None:
                answer(lambda fields: sent.append(list(fields)))
            workers.append(Worker(sent if records is None else records))
            return workers[0]

        monkeypatch.setattr(child_json, "start", start)
        try:
            return child_json.run(lambda: (), work, Bounds(), **options)
        finally:
            assert workers[0].events == ["answer", "close"]

    return answered


def test_the_parent_receives_the_return_value_of_the_child(run):
    assert run(lambda: {"a": [1, "\u00e9\ud800", None]}) == {"a": [1, "\u00e9\ud800", None]}


def test_the_waiting_context_is_active_only_while_the_parent_waits(run):
    events = []

    @contextmanager
    def waiting():
        events.append("begin")
        yield
        events.append("end")

    assert run(lambda: events.append("work"), waiting=waiting) is None
    assert events == ["work", "begin", "end"]


@pytest.mark.parametrize("kind", [InputError, LimitError, TemplaterError])
def test_the_parent_raises_the_error_of_the_child(run, kind):
    def work():
        raise kind("wrong", Source("f.yaml", "a: b\n").span(3, 4), "do it", ("one", "two"))

    with pytest.raises(TemplaterError) as caught:
        run(work)
    error = caught.value
    assert type(error) is kind
    assert (error.message, error.span, error.hint) == ("f.yaml:1:4: wrong", None, "do it")
    assert (len(error.notes), error.notes[1:]) == (3, ("one", "two"))
    assert "a: b" in error.notes[0]


def test_the_parent_keeps_the_notes_of_a_child_error(run):
    def work():
        raise InputError("wrong", notes=("one",))

    with pytest.raises(InputError) as caught:
        run(work)
    assert (str(caught.value), caught.value.hint, caught.value.notes) == ("wrong", "", ("one",))


@pytest.mark.parametrize("name", ["KeyError", "TYPE_CHECKING", "described_bug", "none"])
def test_a_child_error_of_an_unknown_class_becomes_a_general_error(run, name):
    data = b'{"error": {"class": "%b", "message": "m", "hint": 5, "notes": [6]}}' % name.encode()
    with pytest.raises(TemplaterError) as caught:
        run(records=[[data]])
    assert type(caught.value) is TemplaterError
    assert (caught.value.message, caught.value.hint, caught.value.notes) == ("m", "5", ("6",))


@pytest.mark.parametrize(
    "records",
    [
        [], [[]], [[b"1"], [b"2"]], [[b"1", b"2"]], [[b"{"]], [[b"\xff"]], [[b"[]"]], [[b"{}"]], [[b"5"]],
        [[b'{"error": 5}']], [[b'{"error": {"class": "InputError"}}']],
        [[b'{"error": {"class": "InputError", "message": "m", "hint": "h", "notes": 5}}']],
    ],
)  # fmt: skip
def test_an_invalid_answer_of_the_child_is_a_failure(run, records):
    with pytest.raises(ChildFailure) as caught:
        run(records=records)
    assert caught.value.message == "the sandboxed process sent an invalid answer"
    assert caught.value.hint == "please report this"
