"""The process that renders for the page, with a stand-in for the process."""

import asyncio
import json
import os
import pickle
import signal
import sys
from types import SimpleNamespace

import pytest

from templater.cli.watch_page import worker_loop, worker_process
from templater.cli.watch_page.worker_process import BusyError, Renderer, command, failure, frame

JOB = frame(pickle.dumps(("job", None)))


class Process:
    """A stand-in for a worker process.

    The process answers each request with the text of the request, unless the test gives an answer.
    """

    def __init__(self, answer=None):
        self.answer, self.returncode, self.asked, self.killed = answer, None, [], 0
        self.stdin = SimpleNamespace(write=self.asked.append, drain=self.drain)
        self.stdout = asyncio.StreamReader()

    async def drain(self):
        if self.answer is None:
            self.stdout.feed_data(frame(b'{"a": 1}') + frame(self.asked[-1][4:]))
        else:
            self.stdout.feed_data(self.answer)
            self.stdout.feed_eof()

    def kill(self):
        self.killed += 1

    async def wait(self):
        pass


@pytest.fixture
def workers(monkeypatch):
    """The processes that the next starts return, and the words of each start so far."""
    ready, started = [], []

    async def start(*words, **options):
        started.append((words, options["start_new_session"]))
        return ready.pop(0)

    monkeypatch.setattr(worker_process.asyncio, "create_subprocess_exec", start)
    return ready, started


def test_a_new_renderer_process_starts_only_after_the_previous_process_ended(workers):
    ready, started = workers

    async def run():
        first, second = Process(), Process()
        ready.extend([first, second])
        worker = Renderer("job", None, 5.0)
        answers = [await worker.ask(b"one"), await worker.ask(b"two")]
        first.returncode = 1
        answers.append(await worker.ask(b"three"))
        await worker.end()
        answers.append(await worker.ask(b"four"))
        return first, second, answers

    first, second, answers = asyncio.run(run())
    assert first.asked == [JOB, frame(b"one"), frame(b"two")]
    assert second.asked == [JOB, frame(b"three")]
    assert [answer.body for answer in answers[:3]] == [b"one", b"two", b"three"]
    assert answers[0].facts == {"a": 1}
    ended = "the rendering process ended unexpectedly, perhaps because memory ran out"
    assert json.loads(answers[3].body) == {"problem": ended}
    assert (second.killed, started) == (1, [(tuple(command()), True)] * 2)


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\5{}", (worker_process.LARGEST + 1).to_bytes(4)])
def test_a_renderer_is_killed_after_an_invalid_answer(answer, workers):
    async def run():
        process = Process(answer)
        workers[0].append(process)
        return process, await Renderer("", None, 5.0).ask(b"x")

    process, found = asyncio.run(run())
    assert process.killed == 1
    ended = "the rendering process ended unexpectedly, perhaps because memory ran out"
    assert found == failure(ended)


def test_a_slow_renderer_process_is_killed(workers, monkeypatch):
    monkeypatch.setattr(worker_process, "GRACE", 0.01)

    async def run():
        process = Process()
        process.stdin.drain = lambda: asyncio.sleep(0)
        workers[0].append(process)
        return process, await Renderer("", None, 0.0).ask(b"x")

    process, found = asyncio.run(run())
    assert (process.killed, found) == (1, failure("rendering the page took longer than 0 seconds"))


def test_the_renderer_may_answer_shortly_after_the_time_limit(workers, monkeypatch):
    monkeypatch.setattr(worker_process, "GRACE", 5.0)

    async def run():
        process = Process()
        answer = process.drain

        async def later():
            await asyncio.sleep(0.001)
            await answer()

        process.stdin.drain = later
        workers[0].append(process)
        return await Renderer("", None, 0.0).ask(b"x")

    assert asyncio.run(run()).body == b"x"


def test_the_number_of_waiting_renderer_requests_is_limited(workers):
    async def run():
        worker = Renderer("", None, 5.0)
        worker._waiting = worker_process.WAITING
        with pytest.raises(BusyError):
            await worker.ask(b"x")
        worker._waiting -= 1
        workers[0].append(Process())
        assert (await worker.ask(b"x")).body == b"x"
        assert worker._waiting == worker_process.WAITING - 1

    asyncio.run(run())


def test_the_renderer_and_server_have_the_same_import_path():
    words = command()
    assert (words[0], words[1], words[-len(sys.path) :]) == (sys.executable, "-I", sys.path)
    code = "import sys; sys.path[:] = sys.argv[1:]; from templater.cli.watch_page.worker_loop import main; sys.exit(main())"
    assert words[-len(sys.path) - 2 : -len(sys.path)] == ["-c", code]


def test_the_renderer_answers_each_request_until_its_input_ends(tmp_path, monkeypatch, capfd):
    class Answering:
        def __init__(self, *job):
            self.job = job

        def answer(self, question):
            os.write(1, b"printed by the renderer")
            return {"job": self.job}, question.decode()

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(worker_loop, "Views", Answering)
    asked = tmp_path / "asked"
    asked.write_bytes(JOB + frame(b"one") + frame(b"two") + b"\0\0\0")
    try:
        for content in (asked.read_bytes(), b""):
            asked.write_bytes(content)
            with open(asked, encoding="utf-8") as stdin, open(tmp_path / "answers", "w+b") as answers:
                saved = os.dup(1)
                os.dup2(answers.fileno(), 1)
                monkeypatch.setattr(sys, "stdin", stdin)
                try:
                    worker_loop.main()
                finally:
                    os.dup2(saved, 1)
                    os.close(saved)
                assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
                answers.seek(0)
                found = answers.read()
            facts = frame(b'{"job": ["job", null]}')
            assert found == (facts + frame(b'"one"') + facts + frame(b'"two"') if content else b"")
    finally:
        signal.signal(signal.SIGINT, before)
    assert "printed by the renderer" in capfd.readouterr().err
