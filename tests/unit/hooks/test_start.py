"""A start of a container by a hook that runs in this process: what it writes, logs and refuses."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from time import monotonic, process_time, sleep
from types import SimpleNamespace

import pytest

from templater import __version__, oslite
from templater.hooks import run
from templater.hooks.log import Log
from templater.hooks.request import Notice
from templater.instances.state_directory import State, StateDirectory
from templater.model.errors import BusyError, HostError, LimitError, RefusedError, RenderError
from templater.model.hosts import NONE
from templater.model.plan import CREATE, FAILED, KEEP, SKIP, UPDATE, WRITE, Change, Plan
from templater.oslite import environment
from templater.rootfs import close_in_another_process, disk_sync
from templater.rootfs.confined_directory import Directory

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux"),
    pytest.mark.usefixtures("restored_process"),
]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return the directory of a machine, whose hook sends nothing to the system's log."""
    monkeypatch.setattr(Log, "to_syslog", lambda log: None)
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text("text\n")
    (tmp_path / "metadata.yaml").write_text("templates: {/etc/a: {when: [start], template: a.tpl}}\n")
    return tmp_path


def start(machine, *words, rootfs=""):
    places = ("--source", str(machine), "--state", str(machine), "--rootfs", rootfs or f"{machine}/rootfs")
    return run.run(["nspawn", "--no-child", "--no-cache", *places, *words, "web1"])


def logged(file):
    """Return the lines of a log without their times."""
    return [line.partition("Z")[2] for line in file.read_text().splitlines()]


def test_the_file_list_is_only_in_the_private_log(machine, monkeypatch):
    public = []
    monkeypatch.setattr(Log, "to_syslog", lambda log: public.append(log.public_lines()))
    assert start(machine) == start(machine) == 0
    assert (machine / "rootfs/etc/a").read_text() == "text\n"
    assert logged(machine / ".templater/log") == [
        " web1: create /etc/a 0:0 0644 (a.tpl, start)",
        " web1: start: 0 written, 1 unchanged",
    ]
    assert public == [["create then start: 1 rules done"], ["start: 1 rules done"]]


def test_an_unreadable_record_of_written_files_is_ignored_and_logged(machine):
    assert start(machine) == 0
    (machine / ".templater/written").write_bytes(b"nonsense")
    (machine / "templates/a.tpl").write_text("new\n")
    assert start(machine) == 0
    assert (machine / "rootfs/etc/a").read_text() == "new\n"
    lines = logged(machine / ".templater/log")
    assert [line for line in lines if line.startswith(" web1: the record of written files is ignored: ")]


@pytest.mark.parametrize("pending", ["copy\r\x1b[2K x: failed", "c" * 20_000])
def test_a_pending_trigger_is_escaped_in_a_public_log(machine, monkeypatch, tmp_path, pending):
    """A user who can set the pending trigger could forge lines in the system's log, or end the hook."""
    monkeypatch.setattr(Log, "to_syslog", lambda log: None)
    assert start(machine) == 0
    log = tmp_path / "hook.log"
    log.touch()
    log.chmod(0o644)
    (machine / ".templater/state").write_text(f"pending={pending}\nname=web1\n")
    (machine / "rootfs/etc/a").unlink()
    assert start(machine, "--log", str(log)) == 0
    (line,) = logged(log)
    assert line.isprintable()
    assert line.startswith((" web1: copy\\r\\x1b[2K x: failed then start: 1 rules done", " web1: ccc"))
    assert len(line) < 1100


def test_the_probe_prints_the_versions_of_templater_and_python(capfd):
    assert run.run(["lxc", "--probe"]) == 0
    assert capfd.readouterr().out == f"templater {__version__} on Python {sys.version.split()[0]}\n"


@pytest.mark.parametrize(
    ("text", "has_folder", "logs"),
    [
        ("c2: made from c1", True, ["hook.log", ".templater/log"]),
        ("c2: renamed", False, ["hook.log"]),
        ("", True, []),
    ],
)
def test_a_hook_event_without_rendering_is_only_logged(machine, monkeypatch, text, has_folder, logs):
    notice = Notice(text, str(machine) if has_folder else "")
    monkeypatch.setattr(run, "function_of", lambda runtime, name: lambda options, environ: notice)
    assert run.run(["lxc", "--log", f"{machine}/hook.log"]) == 0
    assert [name for name in ("hook.log", ".templater/log") if (machine / name).exists()] == logs
    for name in logs:
        assert logged(machine / name) == [f": {text}"]
    assert list((machine / "rootfs/etc").iterdir()) == []


def test_a_hook_writes_no_file_for_a_virtual_machine(machine, capfd):
    (machine / "instance.yaml").write_text("name: web1\ntype: virtual-machine\n")
    assert start(machine) == 3
    assert capfd.readouterr().err == "templater: 'web1' is a virtual machine: hooks are for containers\n"
    assert list((machine / "rootfs/etc").iterdir()) == []


def test_a_hook_never_writes_to_the_root_filesystem_of_the_host(machine, capfd):
    (machine / "metadata.yaml").write_text("templates: {}\n")
    assert start(machine, rootfs="/") == 3
    assert capfd.readouterr().err == (
        "templater: '/' is the root filesystem of the host: hooks never write to the host\n"
        "hint: give the container a root filesystem of its own\n"
    )


def test_a_slow_start_fails_and_is_logged_once(machine, monkeypatch, capfd):
    def late(*_):
        raise run.TimeUpError(signal.SIGALRM)

    monkeypatch.setattr(run, "_start", late)
    assert start(machine, "--time-limit", "7") == 4
    assert (
        capfd.readouterr().err
        == "templater: the hook took longer than 7 s\nhint: to allow more time, add --time-limit SECONDS to the hook line\n"
    )
    assert logged(machine / ".templater/log") == [" web1: failed: the hook took longer than 7 s"]


@pytest.mark.parametrize("code", [0, 5])
def test_the_operator_log_is_written_despite_unwritable_container_log(machine, capfd, code):
    """The owner of the container's directory could switch off the log of --log FILE."""
    assert start(machine) == 0
    (machine / ".templater/log").unlink()
    (machine / ".templater/log").mkdir()
    if code:
        (machine / "templates/a.tpl").write_text("{{ 1|pluralize:'a,b,c' }}")
    assert start(machine, "--log", str(machine / "operator.log")) == code
    lines = logged(machine / "operator.log")
    assert lines[0].startswith(" web1: failed: " if code else " web1: start: ")
    capfd.readouterr()


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.slow
def test_an_error_about_a_lock_held_too_long_contains_its_path(machine, capfd, is_own):
    """The owner of a container's directory can hold the directory's lock.

    The error named the time limit, but no lock.
    """
    place = machine / (".templater" if is_own else "rootfs")
    place.mkdir(exist_ok=True, mode=0o700)
    fd = os.open(place / "lock" if is_own else place, os.O_RDWR | os.O_CREAT if is_own else os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert start(machine, "--time-limit", "2") == BusyError.exit_code
    finally:
        os.close(fd)
    error = capfd.readouterr().err
    said = f"'{place}' is in use by another process" if is_own else f"'{place}' is being written by process "
    assert error.startswith(f"templater: {said}")
    assert said in logged(machine / ".templater/log")[0]


@pytest.mark.parametrize(
    ("number", "message", "hint"),
    [
        (signal.SIGALRM, "the hook took longer than 2.5 s", "to allow more time, add --time-limit SECONDS to the hook line"),
        (
            signal.SIGPROF, "rendering and preparing all files takes longer than the limit 'time'",
            "use fewer rules, or allow ten minutes with --limit time=10m",
        ),
    ],
)  # fmt: skip
def test_the_error_about_a_slow_hook_contains_the_exceeded_time_limit(number, message, hint):
    run.start_timer(600)
    assert 590 < signal.getitimer(signal.ITIMER_REAL)[0] <= 600
    with pytest.raises(run.TimeUpError) as caught:
        signal.raise_signal(number)
    run.stop_timers()
    error = run.time_is_up(caught.value, 2.5)
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_the_work_of_a_hook(number):
    run.start_timer(600)
    with pytest.raises(run.StoppedError) as caught:
        signal.raise_signal(number)
    for later in (number, signal.SIGALRM, signal.SIGPROF):  # would interrupt the rollback or the report
        signal.raise_signal(later)
    run.stop_timers()
    assert caught.value.args == (number,)


@pytest.mark.parametrize(("seconds", "least", "most"), [(100, 99, 100.1), (0.6, 0.4, 0.7), (-3, 0.3, 0.6)])
def test_planning_gets_at_least_half_a_processor_second(seconds, least, most):
    run.start_timer(600)
    run.start_processor_timer(seconds)
    assert least < signal.getitimer(signal.ITIMER_PROF)[0] < most
    run.stop_timers()
    assert signal.getitimer(signal.ITIMER_PROF)[0] == signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_the_processor_timer_ends_before_the_hard_limit_of_the_runtime(monkeypatch):
    """At the hard limit, the kernel killed the hook while it put files in place."""
    end = process_time() + 10
    monkeypatch.setattr(run, "processor_limit", lambda: end)
    run.start_timer(600)
    assert 9 < signal.getitimer(signal.ITIMER_PROF)[0] < 9.95
    run.start_processor_timer(100, 1000)
    assert 8.5 < signal.getitimer(signal.ITIMER_PROF)[0] < 9.35
    with pytest.raises(run.StoppedError) as stopped:
        signal.raise_signal(signal.SIGPROF)
    assert stopped.value.args == (signal.SIGXCPU,)
    run.start_timer(600)
    run.start_processor_timer(5, 1000)
    with pytest.raises(run.TimeUpError):
        signal.raise_signal(signal.SIGPROF)
    run.stop_timers()


def plan(*actions):
    changes = []
    for number, action in enumerate(actions):
        change = Change(SimpleNamespace(template="a.tpl"), "start", f"/etc/{number}", action)
        if action == FAILED:
            change.error = RenderError("unknown filter 'x'")
        changes.append(change)
    return Plan(None, None, NONE, ("create", "start"), tuple(changes))


def test_the_log_says_how_many_files_match_the_result_of_templater():
    log = Log()
    run.compare(plan(KEEP, SKIP), log)
    assert log.lines == log.public_lines() == ["create then start: 2 files match templater's result"]


@pytest.mark.parametrize("action", [CREATE, UPDATE, WRITE])
def test_the_error_about_a_differing_file_contains_its_path(action):
    log, text = Log(), "/etc/1 differs from the result of a.tpl on start"
    with pytest.raises(HostError, match=r"^files differ from templater's result$") as caught:
        run.compare(plan(KEEP, action), log)
    assert caught.value.notes == (text,)
    assert (log.lines, log.public_lines()) == ([f"differs: {text}"], [])


def test_the_error_about_several_differing_files_mentions_only_the_first_file():
    log = Log()
    with pytest.raises(HostError) as caught:
        run.compare(plan(FAILED, UPDATE), log)
    assert caught.value.notes == (
        "/etc/0: unknown filter 'x'", "other files differ too: .templater/log lists all of them",
    )  # fmt: skip
    assert log.lines == [
        "differs: /etc/0: unknown filter 'x'", "differs: /etc/1 differs from the result of a.tpl on start",
    ]  # fmt: skip
    assert log.public_lines() == []


def test_an_unwritable_log_file_is_reported_in_the_system_log(machine, monkeypatch):
    public = []
    monkeypatch.setattr(Log, "to_syslog", lambda log: public.extend(log.public_lines()))
    log = Log("c1")
    log.add("text")
    log.write(None, str(machine))
    assert public[0] == "text" and re.fullmatch(r"the log can't be written: .*directory.*", public[1])


@pytest.mark.parametrize(("mode", "lines"), [(0o600, 2), (0o640, 1), (0o604, 1), (0o644, 1)])
def test_a_log_readable_by_others_gets_only_public_lines(machine, mode, lines):
    file = machine / "hook.log"
    file.touch()
    file.chmod(mode)
    log = Log("c1")
    log.add("secret", private=True)
    log.add("text")
    log.write(None, str(file))
    assert logged(file) == [" c1: secret", " c1: text"][-lines:]


def test_only_the_owner_can_read_a_new_log_file(machine):
    log = Log()
    log.write(None, f"{machine}/none")
    log.add("text")
    log.write(None, f"{machine}/hook.log")
    assert (machine / "hook.log").stat().st_mode & 0o777 == 0o600
    assert not (machine / "none").exists()


def test_an_error_about_a_target_has_the_rules_position(machine, capfd):
    (machine / "metadata.yaml").write_text(
        "architecture: x86_64\ntemplates: {/etc/a: {when: [start], template: a.tpl}}\n"
    )
    places = ("--source", str(machine), "--state", str(machine), "--rootfs", f"{machine}/rootfs")
    words = ["nspawn", "--no-child", "--cache", f"{machine}/cache", *places, "web1"]
    assert run.run(words) == 0
    assert [path.name.partition("-")[0] for path in (machine / "cache").iterdir()] == ["image"]
    (machine / "rootfs/etc/a").unlink()
    (machine / "rootfs/etc/a").mkdir()
    capfd.readouterr()
    assert run.run(words) == 3
    said = capfd.readouterr().err
    assert said.startswith(f"templater: {machine}/metadata.yaml:2:13: ") and "is a directory" in said


def test_the_incus_hook_compares_incus_files_with_templaters_result(machine, monkeypatch, capfd):
    (machine / "config").write_text("")
    (machine / "backup.yaml").write_text(
        "container: {name: c1, config: {volatile.apply_template: copy}, devices: {}}\n"
    )
    (machine / "state").mkdir()
    for name, value in (
        ("LXC_NAME", "c1"),
        ("LXC_ROOTFS_PATH", f"{machine}/rootfs"),
        ("LXC_CONFIG_FILE", f"{machine}/config"),
    ):
        monkeypatch.setenv(name, value)
    words = ["incus", "--no-child", "--state", f"{machine}/state"]
    assert run.run(words) == 5
    assert capfd.readouterr().err == (
        "templater: files differ from templater's result\n/etc/a differs from the result of a.tpl on start\n"
    )
    assert not (machine / "rootfs/etc/a").exists()
    (machine / "rootfs/etc/a").write_text("text\n")
    assert run.run(words) == 0
    assert (
        logged(machine / "state/.templater/log")[-1]
        == " c1: copy then start: 1 files match templater's result"
    )
    assert not (machine / "state/.templater/state").exists()


def test_a_hook_resets_umask_and_signals_and_variables(monkeypatch):
    for name in ("TZ", "LC_ALL", "LANG", "TEMPLATER_CONFINED"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LXC_NAME", "c1")
    os.umask(0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM, signal.SIGPROF, signal.SIGUSR1))
    run.reset_process()
    assert os.umask(0) == 0o022
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {
        signal.SIGALRM,
        signal.SIGPROF,
        signal.SIGUSR1,
    } == {signal.SIGUSR1}
    known = environment()
    assert known["LXC_NAME"] == "c1"
    assert not {"TZ", "LC_ALL", "LANG", "TEMPLATER_CONFINED"} & set(known)


@pytest.mark.parametrize(("words", "kept"), [((), ["image"]), (("--no-cache",), None)])
def test_compiled_templates_are_kept_in_the_state_directory(machine, words, kept):
    places = ("--source", str(machine), "--state", str(machine), "--rootfs", f"{machine}/rootfs")
    assert run.run(["nspawn", "--no-child", *words, *places, "web1"]) == 0
    cache = machine / ".templater/cache"
    assert ([path.name.partition("-")[0] for path in cache.iterdir()] if cache.exists() else None) == kept


def serve(machine, monkeypatch, *words):
    places = ("--source", str(machine), "--state", str(machine), "--rootfs", f"{machine}/rootfs")
    monkeypatch.setattr(run, "bound_memory", lambda: None)
    monkeypatch.setattr(sys, "argv", ["hook", "nspawn", "--no-child", "--no-cache", *places, *words, "web1"])
    return run.serve()


@pytest.mark.slow
def test_attack_89_a_hook_ends_in_time_despite_slow_synchronisation(machine, monkeypatch, capfd):
    """The container's root can set flags (chattr +S +D) for which the kernel syncs each new name.

    With 3,500 files, preparing the files took 60 seconds, and the rollback 26 more seconds.
    """
    rules = [f"  /etc/{number}: {{when: [start], template: a.tpl}}\n" for number in range(100)]
    (machine / "metadata.yaml").write_text("".join(("templates:\n", *rules)))
    create = Directory.create_unnamed
    monkeypatch.setattr(Directory, "create_unnamed", lambda self: sleep(0.05) or create(self))
    before = monotonic()
    assert start(machine, "--time-limit", "4") == LimitError.exit_code
    assert monotonic() - before < 3
    assert re.search(r"preparing all files takes longer than (1\.0|0\.\d) s", capfd.readouterr().err)
    assert os.listdir(machine / "rootfs/etc") == []


@pytest.mark.parametrize("fails", [False, True])
def test_attack_84_a_hook_does_not_wait_until_btrfs_frees_files(
    machine, mounts, monkeypatch, tmp_path, fails
):
    """With quotas, the kernel looked at each of millions of references during unlink(2)."""
    place = mounts.btrfs(tmp_path)
    shutil.copytree(machine / "rootfs", place / "rootfs")
    for name in ("templates", "metadata.yaml"):
        shutil.move(machine / name, place)
    (place / "rootfs/etc/a").write_text("old")
    old = (place / "rootfs/etc/a").stat().st_ino
    seen = []

    def hand_over(held, patience):
        seen.append([os.fstat(fd).st_nlink for fd in held if os.fstat(fd).st_ino == old])
        seen.append((place / ".templater/log").read_text().count("failed" if fails else "update /etc/a"))
        hold_no_more(held, patience)

    hold_no_more = close_in_another_process._hand_over
    monkeypatch.setattr(close_in_another_process, "_hand_over", hand_over)
    if fails:
        monkeypatch.setattr(StateDirectory, "remember", refuses)
    assert serve(place, monkeypatch) == (RefusedError.exit_code if fails else 0)
    assert (place / "rootfs/etc/a").read_text() == "text\n"
    assert seen == [[0, 0], 1]  # once as the replaced target, once as the backup
    assert close_in_another_process._held is None


def refuses(*_):
    raise RefusedError("no")


def test_no_process_is_started_if_no_file_is_replaced(machine, mounts, monkeypatch, tmp_path):
    place = mounts.btrfs(tmp_path)
    for name in ("rootfs", "templates", "metadata.yaml"):
        shutil.move(machine / name, place)
    assert serve(place, monkeypatch) == 0
    monkeypatch.setattr(close_in_another_process, "_hand_over", None)
    assert serve(place, monkeypatch) == 0


@pytest.fixture
def syncs(monkeypatch):
    """Return the list of all syncs and commits."""
    syncs = []
    fsync, ioctl, call_libc = oslite.os.fsync, fcntl.ioctl, disk_sync.call_libc

    def request(fd, number, *arguments):
        if number in (disk_sync._START_SYNC, disk_sync._WAIT_SYNC):
            syncs.append("commit")
        return ioctl(fd, number, *arguments)

    def libc(name, *arguments):
        if name == "syncfs":
            syncs.append(name)
        return call_libc(name, *arguments)

    monkeypatch.setattr(oslite.os, "fsync", lambda fd: syncs.append("fsync") or fsync(fd))
    monkeypatch.setattr(fcntl, "ioctl", request)
    monkeypatch.setattr(disk_sync, "call_libc", libc)
    return syncs


@pytest.mark.slow
@pytest.mark.parametrize("state", ["same", "subvolume", "elsewhere"])
@pytest.mark.parametrize("is_first", [True, False])
def test_attack_93_a_hook_on_btrfs_syncs_nothing_and_waits_for_no_commit(
    machine, mounts, tmp_path, syncs, state, is_first
):
    """Another container synced a file with many attributes in a loop: a first start failed after 27 s.

    If the state of the machine is on another file system, btrfs can't keep the order of the changes.
    """
    place = mounts.btrfs(tmp_path)
    shutil.copytree(machine / "rootfs", place / "rootfs")
    (place / "rootfs/etc/a").write_text("old")
    folder = {"same": place, "subvolume": place / "sub", "elsewhere": machine}[state]
    if state == "subvolume":
        subprocess.run(["btrfs", "subvolume", "create", folder], check=True, capture_output=True)
    words = ("--state", str(folder))
    if not is_first:
        assert start(machine, *words, rootfs=f"{place}/rootfs") == 0
        (place / "rootfs/etc/a").write_text("changed")
        syncs.clear()
    assert start(machine, *words, rootfs=f"{place}/rootfs") == 0
    assert (place / "rootfs/etc/a").read_text() == "text\n"
    if state != "elsewhere":
        assert syncs == []
    elif is_first:
        assert syncs.count("commit") == 6  # the last ones write the removal of the backups to the disk


@pytest.mark.slow
def test_attack_93_power_cuts_leave_complete_files_or_a_pending_trigger(
    machine, mounts, tmp_path, monkeypatch
):
    """The disk is a file, so copies of the file show the disk after power cuts at several steps."""
    place = mounts.btrfs(tmp_path)
    shutil.copytree(machine / "rootfs", place / "rootfs")
    (place / "rootfs/etc/a").write_text("old")
    text = "text " * 5000
    (machine / "templates/a.tpl").write_text(text)
    (machine / "metadata.yaml").write_text(
        "templates:\n  /etc/a: {when: [create], template: a.tpl}\n  /b/c: {when: [create], template: a.tpl}\n"
    )
    with StateDirectory(str(place)) as state:
        state.remember(State("create", "web1"))
    copies = []
    top = os.open(place, os.O_RDONLY)
    disk_sync.sync_file_system(top)

    def cut(name, patch):
        call = getattr(oslite.os, name)

        def then_cut(*arguments, **options):
            result = call(*arguments, **options)
            disk_sync.commit(top)
            copies.append(tmp_path / f"copy{len(copies)}")
            shutil.copyfile(tmp_path / "disk", copies[-1])
            return result

        patch.setattr(oslite.os, name, then_cut)

    with monkeypatch.context() as patch:
        for name in ("link", "rename", "unlink"):
            cut(name, patch)
        assert start(machine, "--state", str(place), rootfs=f"{place}/rootfs") == 0
    os.close(top)
    mounts.end()
    seen = []
    for copy in copies:
        after = tmp_path / f"after-{copy.name}"
        after.mkdir()
        mounts.loop(copy, after)
        pending = b"pending=create" in (after / ".templater/state").read_bytes()
        new = [path.is_file() and path.read_text() for path in (after / "rootfs/etc/a", after / "rootfs/b/c")]
        assert pending or new == [text, text]
        assert new[0] in ("old", text) and new[1] in (False, text)
        seen.append(pending)
        mounts.end()
    assert seen == sorted(seen, reverse=True)
    assert len(seen) > 6 and seen[0] and not seen[-1]
