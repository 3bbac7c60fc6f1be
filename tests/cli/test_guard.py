"""The limits of a whole command: exit code 4 with the limit's name, and all settings restored."""

import resource
import signal
import time
from contextlib import suppress

import pytest

from templater.cli import planning
from templater.cli.guard import guard
from templater.cli.main import main
from templater.limits import COMMAND, parse
from templater.model.errors import LimitError


@pytest.fixture
def image(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text("a")
    (tmp_path / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates: {/etc/a: {when: [create], template: a.tpl}}\n"
    )
    return str(tmp_path)


def state():
    return (
        signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF),
        signal.getitimer(signal.ITIMER_REAL), signal.getitimer(signal.ITIMER_PROF),
        resource.getrlimit(resource.RLIMIT_AS),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "work", "words"),
    [
        ("command-time=1", lambda: time.sleep(20), "longer than 1 seconds"),
        ("command-processor=1", lambda: _spin(20), "of processor time"),
        ("command-memory=64MiB", lambda: bytearray(256 << 20), "more than 64 MiB of memory"),
    ],
)
def test_an_operation_without_its_own_limit_ends_the_command(limit, work, words, image, monkeypatch, capfd):
    before = state()
    real = planning.render_options
    monkeypatch.setattr(planning, "render_options", lambda request: work() or real(request))
    begin = time.monotonic()
    assert main(["preview", image, "--limit", limit]) == 4
    assert time.monotonic() - begin < 15
    said = capfd.readouterr().err
    assert words in said
    assert f"--limit {limit.partition('=')[0]}=" in said
    assert state() == before


def _spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_an_exception_handler_does_not_delay_the_time_limit():
    begin = time.monotonic()
    with (
        pytest.raises(LimitError, match="longer than 1 seconds"),
        guard(parse(["command-time=1"], (COMMAND,))),
    ):
        for _ in range(20):
            with suppress(Exception):  # a reader of one member might suppress errors like this
                time.sleep(1)
    assert time.monotonic() - begin < 5


def test_a_successful_command_restores_signal_handlers_and_limits(image, capfd):
    before = state()
    assert main(["preview", image]) == 0
    assert main(["audit", image]) in (0, 1)
    assert state() == before


@pytest.mark.parametrize(
    "command",
    ["preview IMAGE", "diff IMAGE IMAGE", "simulate IMAGE start", "audit IMAGE", "image info IMAGE"],
)
def test_commands_that_read_an_image_have_a_memory_limit(command, image, monkeypatch, capfd):
    def too_much(*_, **__):
        raise MemoryError

    monkeypatch.setattr("templater.image.open.open_image", too_much)
    monkeypatch.setattr("templater.sources.open_source.open_source", too_much)
    monkeypatch.setattr("templater.checks.report.audit_report", too_much)
    monkeypatch.setattr("templater.image.describe.describe", too_much)
    assert main(command.replace("IMAGE", image).split()) == 4
    assert "--limit command-memory=" in capfd.readouterr().err
