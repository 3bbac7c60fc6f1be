"""Hook configuration: installed lines, error reports, and rollback at the time limit."""

import os
import shlex
import signal
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from templater import oslite
from templater.hooks import install, run
from templater.hooks.runtimes import lxc, nspawn
from templater.model.errors import LimitError, RefusedError, UsageError, WriteError
from templater.planning.plan_image import plan
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.writing.apply_plan import apply
from templater.writing.deferred_signals import with_signals_deferred
from templater.writing.staged_file import StagedFile

pytestmark = pytest.mark.usefixtures("restored_process")


def test_the_install_command_follows_no_link_beside_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "lxc" / "c1" / "config"
    config.parent.mkdir(parents=True)
    config.write_text("lxc.uts.name = c1\n")
    config.chmod(0o600)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (config.parent / "config.templater-new").symlink_to(victim)
    assert install.write(lxc.snippet("c1", [], str(tmp_path / "lxc")))
    assert victim.read_text() == "precious"
    assert "lxc.hook.clone" in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("is_replaced", [False, True])
def test_attack_83_the_install_command_removes_no_file_next_to_a_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    """The owner of the directory made a file of 5 million shared blocks. Its removal took 27 s."""
    config = tmp_path / "c1" / "config"
    config.parent.mkdir()
    config.write_text("lxc.uts.name = c1\n")
    (tmp_path / "c1" / "config.templater-new").write_text("large")
    real = oslite.os.fsync

    def exchange(fd: int) -> None:
        real(fd)
        if is_replaced:
            config.rename(tmp_path / "moved")
            config.write_text("other")
            (staged,) = (path for path in config.parent.iterdir() if path.name.startswith(".templater-new-"))
            staged.unlink()
            staged.write_text("large, too")

    monkeypatch.setattr(oslite.os, "fsync", exchange)
    if is_replaced:
        with pytest.raises(RefusedError, match="another process replaced"):
            install.write(lxc.snippet("c1", [], str(tmp_path)))
    else:
        assert install.write(lxc.snippet("c1", [], str(tmp_path)))
    texts = sorted(path.read_text() for path in config.parent.iterdir() if path != config)
    assert texts == (["large", "large, too"] if is_replaced else ["large"])


def test_new_file_is_removed_if_the_old_was_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "c1" / "config"
    config.parent.mkdir()
    config.write_text("lxc.uts.name = c1\n")
    monkeypatch.setattr(oslite.os, "fsync", lambda fd: (config.rename(tmp_path / "moved"), config.touch()))
    with pytest.raises(RefusedError, match="another process replaced"):
        install.write(lxc.snippet("c1", [], str(tmp_path)))
    assert os.listdir(config.parent) == ["config"]


def test_the_hook_install_command_refuses_a_symlink_as_configuration_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "c1").mkdir()
    (tmp_path / "c1" / "config").symlink_to(victim)
    with pytest.raises(RefusedError):
        install.write(lxc.snippet("c1", [], str(tmp_path)))
    assert victim.read_text() == "precious"


def test_lxc_passes_a_quoted_interpreter_path_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """lxc-info shows how LXC parses `'a b' … 'c'`: it drops the first and the last quote."""
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python3")
    line = install.shell_line(install.argv("lxc", ["--source", "/a b"]))
    assert line[0] not in "'\""
    assert shlex.split(line)[:2] == ["env", "/opt/my python/bin/python3"]


def test_a_systemd_unit_line_keeps_backslashes_but_cannot_contain_newlines() -> None:
    words = ["/bin/x", "a\\n", "100%", "$HOME", "it's"]
    line = nspawn.unit_line(words)
    assert "a\\\\n" in line
    assert shlex.split(nspawn.words_of_unit(line)) == words
    with pytest.raises(UsageError):
        nspawn.unit_line(["/bin/x", "a\nExecStart=/bin/evil"])


def test_system_error_makes_a_hook_fail_without_keep_going(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "environment", full)
    assert run.run(["lxc"]) == WriteError.exit_code
    assert "no space left" in capfd.readouterr().err
    assert run.run(["lxc", "--on-error", "keep-going"]) == 0


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGPROF])
@pytest.mark.parametrize("with_threads", [False, True])
def test_a_time_limit_signal_does_not_interrupt_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, with_threads: bool
) -> None:
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    rules = "".join(f"  /{name}: {{when: [start], template: a.tpl}}\n" for name in "abc")
    (image / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\ntemplates:\n" + rules)
    (image / "templates" / "a.tpl").write_text("new")
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    for name in "abc":
        (rootfs / name).write_text("old")

    def expired(*_: object) -> None:
        raise LimitError("the hook took too long")

    commit, put_back = StagedFile.commit, StagedFile.put_back

    def failing(target: StagedFile) -> None:
        if target.name == "c":
            raise OSError(5, "Input/output error")
        commit(target)

    def alarmed(target: StagedFile) -> None:
        os.kill(os.getpid(), number)
        put_back(target)

    monkeypatch.setattr(StagedFile, "commit", failing)
    monkeypatch.setattr(StagedFile, "put_back", alarmed)
    before = signal.signal(number, expired)
    over = Event()
    if with_threads:  # the kernel may deliver the signal to any of the threads
        Thread(target=over.wait, daemon=True).start()
    try:
        with DirectoryRootfs(str(rootfs)) as view, pytest.raises((LimitError, WriteError)):
            apply(plan_of(image, view), view)
    finally:
        over.set()
        signal.signal(number, before)
    assert sorted(path.name for path in rootfs.iterdir()) == ["a", "b", "c"]
    assert {path.read_text() for path in rootfs.iterdir()} == {"old"}


def test_signals_during_a_rollback_are_delivered_after_the_rollback() -> None:
    seen: list[int] = []

    def heard(number: int, _: object) -> None:
        seen.append(number)
        raise LimitError(f"signal {number}")

    numbers = (signal.SIGALRM, signal.SIGPROF, signal.SIGTERM)
    before = {number: signal.signal(number, heard) for number in numbers}

    def undo() -> list[str]:
        for number in numbers:
            signal.raise_signal(number)
        assert not seen
        return []

    try:
        with pytest.raises(LimitError):
            with_signals_deferred(undo)
        assert seen == list(numbers)
        assert {signal.getsignal(number) for number in numbers} == {heard}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGPROF])
def test_a_time_limit_signal_during_a_successful_step_is_dropped(number: int) -> None:
    before = signal.signal(number, lambda *_: pytest.fail("the signal was delivered"))
    try:
        with_signals_deferred(lambda: signal.raise_signal(number), drop_alarm=True)
    finally:
        signal.signal(number, before)


def plan_of(image: Path, view: DirectoryRootfs):  # type: ignore[no-untyped-def]
    from templater.image.open_image import open_image
    from templater.model.hosts import NONE
    from templater.model.instance import Instance

    return plan(open_image(str(image)), Instance("c1"), triggers=("start",), rootfs=view, host=NONE)


def test_the_output_of_a_compromised_child_is_escaped():
    from templater.hooks.sandboxed_rendering import error_read

    fields = [b"RenderError", b"gone\x1b[2J\nok", b"\x1b]0;x\x07", b"0", b"note\r\x1b[1A"]
    error = error_read(fields, lambda name: None)
    assert error.explain().split("\n") == ["gone\\x1b[2J\\nok", "note\\r\\x1b[1A", "hint: \\x1b]0;x\\x07"]
