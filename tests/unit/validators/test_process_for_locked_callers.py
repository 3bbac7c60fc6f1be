"""The process that runs validators for a locked process, and checks of archives, which need it."""

import json
import os
import shutil
import sys
import tarfile
from types import SimpleNamespace

import pytest

from templater.validators import process_for_locked_callers
from templater.validators.process_for_locked_callers import UnlockedProcess
from templater.validators.runner import Runner
from tests.command_server import run_templater

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0,
    reason="archives are read in a sandbox by root only",
)
ENDED = {"failed": "the process that runs validators ended"}
METADATA = """architecture: x86_64
creation_date: 1
templates:
  /etc/sudoers.d/admin: {when: [create], template: sudoers}
  /usr/bin/a: {when: [create], template: script}
"""


@pytest.mark.slow
def test_the_helper_process_returns_the_answer_of_the_validator():
    with UnlockedProcess(Runner()) as helper:
        code = helper.ask("sh", "script", b"#!/bin/sh\nfi\n")["value"][1]
        assert code == 2
        assert helper.ask("sh", "script", b"#!/bin/sh\n\xff\n") == {"value": ["script", 0, ""]}


@pytest.mark.parametrize(
    ("id", "name"),
    [("rm", "a"), ("sh", "../../etc/passwd"), ("sh", "/etc/passwd"), ("sh", ".."), ("sh", ""), ("sh", "a b")],
)
def test_the_helper_process_ends_after_an_unknown_validator_or_file_name(id, name):
    with UnlockedProcess(Runner()) as helper:
        assert helper.ask(id, name, b"") == ENDED
        assert helper.ask("sh", "script", b"") == ENDED


def test_the_helper_process_refuses_an_overlong_message():
    with UnlockedProcess(Runner()) as helper:
        assert helper.ask("sh", "script", bytes(2 << 20)) == ENDED


def test_the_helper_process_ends_at_the_end_of_the_with_block():
    with UnlockedProcess(Runner()) as helper:
        pid = helper._pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--run-validators"]])
def test_validators_check_the_files_of_an_archive(tmp_path, options):
    if shutil.which("visudo") is None:
        pytest.skip("NOT RUN: needs visudo")
    found = check_archive(tmp_path, *options)
    assert [(each["check"], each["place"].rpartition("templates/")[2]) for each in found["findings"]] == [
        ("shell", "script:3:1"), ("sudoers", "sudoers:1:1"),
    ]  # fmt: skip
    assert not [note for note in found["notes"] if "validat" in note]


@pytest.mark.slow
def test_the_no_run_validators_option_disables_all_validators(tmp_path):
    found = check_archive(tmp_path, "--no-run-validators")
    assert found["findings"] == []
    assert not [note for note in found["notes"] if "validat" in note]


def check_archive(folder, *options: str) -> dict:
    path = folder / "image"
    (path / "templates").mkdir(parents=True)
    (path / "metadata.yaml").write_text(METADATA)
    (path / "templates/sudoers").write_text("{{ instance.name }} ALL=(ALL ALL\n")
    (path / "templates/script").write_text("#!/bin/sh\n\nfi\n")
    with tarfile.open(folder / "image.tar", "w") as archive:
        archive.add(path, ".")
    done = run_templater(["check", "image.tar", "--json", *options], cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    (report,) = json.loads(done.stdout)
    return report


def test_message_as_long_as_the_limit_is_accepted(monkeypatch):
    monkeypatch.setattr(process_for_locked_callers, "_LONGEST", 5)
    reader, writer = os.pipe()
    for data in (b"12345", b"", b"1"):
        process_for_locked_callers._send(writer, data)
        assert process_for_locked_callers._receive(reader) == data
    process_for_locked_callers._send(writer, b"123456")
    with pytest.raises(EOFError):
        process_for_locked_callers._receive(reader)
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize(
    ("name", "fits"),
    [("a" * 200, True), ("a" * 201, False), ("Z9:_@\\x.-", True), ("é", False), ("...", False)],
)
def test_file_name_for_validator_must_be_short_and_plain(name, fits):
    with UnlockedProcess(SimpleNamespace(ask=lambda *question: {"value": question[1]})) as helper:
        assert helper.ask("sh", name, b"") == ({"value": name} if fits else ENDED)
