"""The single steps of running a validator's program: limits on its output, its end, and its surroundings."""

import os
import sys
from types import SimpleNamespace

import pytest

from templater.sandbox import validator_process
from templater.sandbox.validator_process import Limits, NotConfinedError, Result, ToolFailure

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confined on Linux only")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"e3", Result(3, "a: x b\n")),
        (b"e0", Result(0, "a: x b\n")),
        (b"k9", "ToolFailure: the program died of signal 9"),
        (b"sno namespaces", "NotConfinedError: no namespaces"),
        (b"", "ToolFailure: the program could not start"),
        (b"x", "ToolFailure: the program could not start"),
    ],
)
def test_the_first_process_of_the_sandbox_reports_how_the_program_ended(said, found, monkeypatch):
    def outer(launch, output, status, uid):
        os.write(output, b"/w/a: x /w/b\n")
        os.write(status, said)
        os._exit(0)

    monkeypatch.setattr(validator_process, "_outer", outer)
    launch = validator_process._Launch("/bin/x", (), {}, os.devnull, Limits())
    before = os.listdir("/proc/self/fd")
    try:
        result = validator_process._wait(launch, "/w")
    except (ToolFailure, NotConfinedError) as error:
        result = f"{type(error).__name__}: {error}"
    assert result == found
    assert os.listdir("/proc/self/fd") == before


def received(text, *, ends=True, **limits):
    output, its_output = os.pipe()
    status, its_status = os.pipe()
    os.write(its_output, text)
    os.write(its_status, b"e0")
    os.close(its_status)
    if ends:
        os.close(its_output)
    try:
        found = validator_process._receive(output, status, Limits(**limits))
        return found[output], found[status]
    finally:
        for fd in (output, status, *([] if ends else [its_output])):
            os.close(fd)


def test_program_output_as_long_as_its_limit_is_allowed():
    assert received(b"x" * 3072, output=3072) == (b"x" * 3072, b"e0")
    with pytest.raises(ToolFailure, match=r"^the program printed more than 3 KiB$"):
        received(b"x" * 3073, output=3072)


def test_a_program_with_open_output_exceeds_the_time_limit():
    with pytest.raises(ToolFailure, match=r"^the program took longer than 0\.02 s$"):
        received(b"x", ends=False, wall=0.02)
    with pytest.raises(ToolFailure, match=r"^the program took longer than 0 s$"):
        received(b"x", wall=0)


def test_the_command_of_a_program_contains_the_path_of_its_folder():
    words = ("-f", "{folder}/a", "x{folder}")
    launch = validator_process._Launch("/usr/bin/tool", words, {}, os.devnull, Limits())
    assert launch.command("/w") == ["tool", "-f", "/w/a", "x/w"]


@pytest.mark.parametrize(
    ("kept", "closed"),
    [
        ((0, 1, 2), [(3, 10)]),
        ((4, 2), [(0, 2), (3, 4), (5, 10)]),
        ((9,), [(0, 9), (10, 10)]),
        ((), [(0, 10)]),
    ],
)
def test_all_descriptors_except_the_listed_ones_are_closed(kept, closed, monkeypatch):
    calls = []
    monkeypatch.setattr(validator_process, "os", SimpleNamespace(closerange=lambda *ends: calls.append(ends)))
    monkeypatch.setattr(validator_process, "highest_descriptor", lambda: 9)
    validator_process._keep(*kept)
    assert calls == closed


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(1, "Operation not permitted"), b"sOperation not permitted"),
        (OSError("odd"), b"sodd"),
        (KeyError("secret"), b"sKeyError"),
        (OSError(5, "x" * 600), b"s" + b"x" * 500),
    ],
)
def test_a_failure_before_the_program_starts_is_reported(error, text):
    reader, writer = os.pipe()
    validator_process._report(writer, error)
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == text


def test_an_unreportable_failure_is_ignored():
    reader, writer = os.pipe()
    os.close(reader)
    validator_process._report(writer, KeyError())
    os.close(writer)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_all_users_can_read_program_files_despite_strict_umask(umask, tmp_path):
    before = os.umask(umask)
    try:
        validator_process._write(str(tmp_path), {"a/b/c": b"one", "d": b""})
    finally:
        os.umask(before)
    assert (tmp_path / "a/b/c").read_bytes() == b"one" and (tmp_path / "d").read_bytes() == b""
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("a/b/c", "d")} == {0o644}


def test_the_threads_of_all_processes_of_a_user_are_counted(monkeypatch):
    owners = {"12": 7, "13": 7, "14": 8, "15": 7, "self": 7}
    tasks = {"/proc/12/task": ["12", "20"], "/proc/13/task": ["13"]}

    def names(path):
        if path == "/proc/15/task":
            raise FileNotFoundError(path)  # the process has ended
        return tasks[path]

    def entries(path):
        assert path == "/proc"
        return [
            SimpleNamespace(name=name, stat=lambda uid=uid: SimpleNamespace(st_uid=uid))
            for name, uid in owners.items()
        ]

    monkeypatch.setattr(validator_process, "os", SimpleNamespace(scandir=entries, listdir=names))
    assert validator_process._tasks(7) == 3
    assert validator_process._tasks(9) == 0


def test_the_thread_count_is_very_high_without_proc(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(validator_process, "os", SimpleNamespace(scandir=missing))
    assert validator_process._tasks(0) == 1 << 20


def test_programs_can_be_confined_only_on_linux(monkeypatch):
    monkeypatch.setattr(validator_process, "sys", SimpleNamespace(platform="darwin"))
    with pytest.raises(NotConfinedError, match=r"^templater can confine programs only on Linux$"):
        validator_process.run("/bin/true", [], {})
