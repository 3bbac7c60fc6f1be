"""Attacks on a hook's environment: umask, signals, links, names, owners, and sizes of files."""

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from time import sleep
from typing import Any

import pytest

from templater.hooks import changeable_files, common_status_checks, install, lxc_config, lxc_copies, run
from templater.hooks import log as hook_log
from templater.hooks.oci_annotated_paths import open_source, read_description
from templater.hooks.options import PROBE, Options
from templater.hooks.request import HookRequest, Notice
from templater.hooks.runtimes import lxc, nspawn
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from templater.oslite import libc
from templater.rootfs.confined_root import Root
from tests.attacks.test_hook_input import a_state, an_image, oci, run_hook
from tests.rootfs_builders import Mounts
from tests.sampling import some_fast

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root")
#: the signals that end a hook early
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF)
HEAD = "architecture: x86_64\ncreation_date: 1\ntemplates:\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return an_image(tmp_path / "bundle")


def rules(bundle: Path, lines: str) -> None:
    (bundle / "metadata.yaml").write_text(HEAD + lines)


# --- the runtime's process


@pytest.mark.slow
def test_files_created_under_umask_0_are_not_publicly_writable(bundle: Path, tmp_path: Path) -> None:
    """crun starts hooks with umask 0; Python's first import creates ``__pycache__``, which must not be 0777."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "templater", copy / "templater", ignore=shutil.ignore_patterns("__pycache__"))
    line = install.argv("oci", [])
    # the libraries can be in an environment below ROOT
    line[6] = line[6].replace(f'"{ROOT}"', f'"{copy}"').replace(f'"{ROOT}/templater', f'"{copy}/templater')
    for words in (line, [*line, PROBE]):
        answer = subprocess.run(
            words, input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False, umask=0
        )
        assert answer.returncode == 0, answer.stderr
    made = [path for path in copy.rglob("*") if path.name == "__pycache__" or path.suffix in (".pyc", ".bin")]
    assert len(made) > 10
    assert [path for path in made if path.stat().st_mode & 0o022] == []


@pytest.mark.slow
def test_a_hook_unblocks_a_blocked_alarm_signal(bundle: Path) -> None:
    code = (
        "import os,signal,sys;signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGALRM]);"
        "os.execv(sys.argv[1],sys.argv[1:])"
    )
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", code, *install.argv("oci", ["--time-limit", "1"])],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        assert waiting.wait(timeout=30) == 4  # it waits for a state on standard input
    assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_the_time_limit_stops_the_planning_of_many_slow_rules(bundle: Path) -> None:
    """The alarm must not become the error of one rule, after which the next rules have no time limit."""
    deep, links = 1900, 38
    fd = os.open(bundle / "rootfs", os.O_RDONLY)
    for _ in range(deep):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    for number in range(links):
        os.symlink("/" + "d/" * deep + f"l{number + 1}", f"l{number}", dir_fd=fd)
    os.symlink("/", f"l{links}", dir_fd=fd)
    os.close(fd)
    os.symlink("/" + "d/" * deep + "l0", bundle / "rootfs/l0")
    rules(bundle, "".join(f"  /l0/f{n}: {{when: [start], template: a.tpl}}\n" for n in range(20)))
    begun = time.monotonic()
    answer = oci(a_state(bundle), "--time-limit", "1")
    seconds = time.monotonic() - begun
    subprocess.run(["rm", "-rf", bundle / "rootfs"], check=True)
    assert answer.returncode in (0, 3, 4), answer.stderr
    assert seconds < 15
    if answer.returncode == 4:
        assert re.search("took longer than 1 s|lead through too many directories and links", answer.stderr)


# --- all or none


def needs_strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("NOT RUN: needs strace")


@pytest.mark.slow
@pytest.mark.parametrize("call", ["linkat", "mkdirat", "renameat", "unlinkat"])
def test_all_files_or_none_are_written_after_an_alarm(bundle: Path, call: str) -> None:
    needs_strace()
    rules(
        bundle,
        "".join(f"  /n{n}: {{when: [start], template: a.tpl}}\n" for n in range(2))
        + "  /new/folder/x: {when: [start], template: a.tpl}\n  /etc/hosts: {when: [start], template: a.tpl}\n",
    )
    ends = set()
    for number in range(1, 9):
        shutil.rmtree(bundle / "rootfs")
        shutil.rmtree(bundle / ".templater", ignore_errors=True)
        (bundle / "rootfs/etc").mkdir(parents=True)
        (bundle / "rootfs/etc/hosts").write_text("old")
        inject = f"inject={call}:signal=SIGALRM:when={number}"
        answer = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *install.argv("oci", [])],
            input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        if "ptrace" in answer.stderr:
            pytest.skip("NOT RUN: strace can't trace here")
        files = {
            str(path.relative_to(bundle / "rootfs")): path.is_file()
            for path in (bundle / "rootfs").rglob("*")
        }
        new = {
            name
            for name, is_file in files.items()
            if is_file and (bundle / "rootfs" / name).read_text() != "old"
        }
        assert new in (set(), {"n0", "n1", "new/folder/x", "etc/hosts"}), (number, answer.stderr, files)
        assert not [name for name in files if ".templater" in name], (number, files)
        if not new:
            assert "new" not in files, (number, answer.stderr)
        assert (answer.returncode == 0) == bool(new), (number, answer.stderr)
        ends.add(answer.returncode)
    assert ends <= {0, 4}


@as_root
def test_huge_file_on_a_mount_is_refused_before_reading(bundle: Path, tmp_path: Path) -> None:
    """A container's root can make podman's /etc/hosts of any size.

    For a rollback, a hook keeps the old content of each file in memory.
    """
    rules(bundle, "  /etc/hosts: {when: [start], template: a.tpl}\n")
    huge = tmp_path / "huge"
    huge.write_bytes(b"")
    os.truncate(huge, 3 << 30)
    script = f'mount --bind "$1" "$2" && shift 2 && exec prlimit --as={1 << 30} "$@"'
    answer = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", huge, bundle / "rootfs/etc/hosts", *install.argv("oci", ["--in-place"])],
        input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    if "mount:" in answer.stderr or "unshare:" in answer.stderr:
        pytest.skip(f"NOT RUN: nothing can be mounted here: {answer.stderr}")
    assert answer.returncode == 4, answer.stderr
    assert "one run may replace at most" in answer.stderr
    assert huge.stat().st_size == 3 << 30


# --- logs


@pytest.mark.slow
def test_the_log_shortens_thousands_of_errors_to_a_few_lines(bundle: Path) -> None:
    path = ("\x01" * 250 + "/") * 15
    (bundle / "rootfs" / path).mkdir(parents=True)
    (bundle / "rootfs/l").symlink_to("/" + path)
    for number in range(1000):
        (bundle / "rootfs" / path / f"d{number}").mkdir()
    rules(bundle, "".join(f"  /l/d{n}: {{when: [start], template: a.tpl}}\n" for n in range(1000)))
    answer = oci(a_state(bundle))
    shutil.rmtree(bundle / "rootfs")
    assert answer.returncode == 3
    assert len(answer.stderr) < 10_000
    assert sum(path.stat().st_size for path in (bundle / ".templater").iterdir() if path.is_file()) < 20_000
    assert "other rules failed too" in answer.stderr


def test_a_hook_log_contains_only_the_first_of_many_failures(bundle: Path) -> None:
    """A list of the failed rules would reveal a secret: one character for each rule."""
    rules(bundle, "".join(f"  /f{n}: {{when: [start], template: t{n}.tpl}}\n" for n in range(5)))
    for number in range(5):
        (bundle / f"templates/t{number}.tpl").write_text(
            "{{ 1|divisibleby:'x'|add:nothing.x.y }}{% if 1 %}{{ -'a' }}{% endif %}"
        )
    answer = oci(a_state(bundle))
    assert answer.returncode == 5
    assert sum(f"/f{number}" in answer.stderr for number in range(5)) == 1
    assert "other rules failed too: templater preview shows them" in answer.stderr


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch, restored_process: None) -> list[str]:
    """The lines that a log sends to the system's journal."""
    import syslog

    sent: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda level, text: sent.append(text))
    monkeypatch.setattr(syslog, "openlog", lambda *arguments: None)
    monkeypatch.setattr(hook_log, "exists", lambda path: True)
    return sent


def test_an_unresponsive_system_log_delays_a_start_only_briefly(
    journal: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """If journald is stopped, syslog(3) waits for journald, and tries once more after a signal."""
    import syslog
    from time import sleep

    monkeypatch.setattr(syslog, "syslog", lambda level, text: sleep(3600))
    monkeypatch.setattr(hook_log, "SYSLOG_SECONDS", 0.01)
    log = hook_log.Log("web1")
    log.add("start: done")
    log.to_syslog()
    assert capfd.readouterr().err == "templater: the system's log accepts no messages\n"


def test_the_system_journal_omits_the_number_of_kept_files(journal: list[str]) -> None:
    """The container's root could let the number of kept files encode a letter of a secret."""
    from templater.hooks import run
    from templater.instances.changed_by_hand import files_kept

    log = hook_log.Log("web1")
    log.summary = "start: 3 rules done"
    run._log_failure(files_kept({"/etc/a": "changed by hand", "/etc/b": "removed by hand"}), Options(), log)
    log.to_syslog()
    assert journal == ["web1: failed: --keep-modified kept files"]
    assert b"kept 2 files" in log.data() and b"/etc/b: removed by hand" in log.data()


def test_the_system_journal_contains_no_names_of_written_files(journal: list[str]) -> None:
    """All members of a group can read the journal, but only root can read the instance's own log."""
    log = hook_log.Log("web1")
    log.add("update /etc/hosts", private=True)
    log.add("start: 1 written, 3 unchanged", private=True)
    log.summary = "start: 4 rules done"
    log.to_syslog()
    assert journal == ["web1: start: 4 rules done"]
    assert b"/etc/hosts" in log.data()


def test_the_log_omits_the_size_of_a_rendered_value(bundle: Path) -> None:
    """The size of a rendered value can be a number that the template computes from a password."""
    rules(bundle, "  /etc/x: {when: [start], template: x.tpl}\n")
    text = "{% spaceless %}" + "{{ 'x'|ljust:8192 }}" * 64 + "{{ 'x'|ljust:1234 }}{% endspaceless %}"
    (bundle / "templates/x.tpl").write_text(text)
    answer = oci(a_state(bundle))
    assert answer.returncode == 4, answer.stderr
    written = answer.stderr + (bundle / ".templater/log").read_text()
    assert "one filter or operator exceeds its limit on work" in written
    assert str((64 * 8192 + 1234) * 8) not in written


def test_the_system_journal_does_not_count_omitted_log_lines(journal: list[str]) -> None:
    log = hook_log.Log("web1")
    for number in range(hook_log.MOST_LINES + 5):
        log.add(f"update /etc/{number}", private=True)
    log.write(None, "")
    assert journal == []
    assert log.lines[-1] == "… and 5 more lines"


def test_the_name_of_a_container_is_escaped_and_shortened_in_logs(journal: list[str]) -> None:
    """An annotation can set a container's name.

    Line breaks in the name forged log lines of other programs.
    """
    log = hook_log.Log("x\n<86>sshd: Accepted\x1b[2J" + "A" * 100_000)
    log.add("failed")
    log.write(None, "")
    assert len(journal) == 1
    assert journal[0].isprintable()
    assert len(journal[0]) < 2 * hook_log.LONGEST_LINE
    assert len(log.data()) < 3 * hook_log.LONGEST_LINE


@pytest.mark.parametrize(("mode", "is_private"), [(0o600, True), (0o644, False), (0o640, False)])
def test_public_log_omits_the_names_of_written_files(tmp_path: Path, mode: int, is_private: bool) -> None:
    log, file = hook_log.Log("c1"), tmp_path / "log"
    log.add("create /etc/secret", private=True)
    log.add("public")
    log.summary = "1 rule done"
    file.touch()
    file.chmod(mode)
    log.write(None, str(file))
    assert [line.partition("c1: ")[2] for line in file.read_text().splitlines()] == (
        ["create /etc/secret", "public"] if is_private else ["public", "1 rule done"]
    )


def test_the_number_and_length_of_log_lines_are_limited() -> None:
    log = hook_log.Log()
    for number in range(hook_log.MOST_LINES + 5):
        log.add(f"{number} " + "x" * 5000)
    log.end()
    assert len(log.lines) == hook_log.MOST_LINES + 1
    assert log.lines[-1] == "… and 5 more lines"
    assert max(map(len, log.lines)) <= hook_log.LONGEST_LINE + 1


# --- links


@pytest.mark.slow
@pytest.mark.parametrize("path", some_fast(["rootfs", "rootfs/.", "./rootfs/", "rootfs//."], every=2))
@pytest.mark.parametrize("runtime", ["lxc", "oci"])
def test_a_symlink_as_root_filesystem_is_refused(
    bundle: Path, tmp_path: Path, runtime: str, path: str
) -> None:
    (tmp_path / "elsewhere/etc").mkdir(parents=True)
    shutil.rmtree(bundle / "rootfs")
    (bundle / "rootfs").symlink_to(tmp_path / "elsewhere")
    (bundle / "config.json").write_text(json.dumps({"ociVersion": "1.2.0", "root": {"path": path}}))
    if runtime == "oci":
        answer = oci(a_state(bundle))
    else:
        environment = {
            **os.environ, "LXC_HOOK_TYPE": "pre-start", "LXC_NAME": "c1", "LXC_HOOK_VERSION": "1",
            "LXC_CONFIG_FILE": str(bundle / "config"), "LXC_ROOTFS_PATH": str(bundle / path),
        }  # fmt: skip
        answer = run_hook("lxc", env=environment)
    assert answer.returncode == 3, answer.stderr
    assert "symlink" in answer.stderr
    assert list((tmp_path / "elsewhere/etc").iterdir()) == []


def test_a_hook_line_with_a_symlink_as_rootfs_is_refused(bundle: Path) -> None:
    """The image can have put the symlink at the path of the root filesystem."""
    (bundle / "link").symlink_to(bundle / "rootfs")
    answer = oci(a_state(bundle), "--rootfs", str(bundle / "link"))
    assert answer.returncode == 3
    assert "symlink" in answer.stderr


def test_hook_follows_a_symlink_in_var_lib_machines(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook follows the link in /var/lib/machines, but no second link at the end of the first."""
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines/m1").symlink_to(bundle / "rootfs")
    monkeypatch.setattr(nspawn, "MACHINES", str(tmp_path / "machines"))
    from templater.hooks.options import Options

    options = Options()
    options.words = ("m1",)
    options.source = options.state = str(bundle)
    request = nspawn.read_request(options, {})
    assert isinstance(request, HookRequest)
    assert request.rootfs == str(bundle / "rootfs")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("owner", "is_refused"), [(5 * 65536, False), (0, False), (1000, False), (5 * 65536 + 65535, True)]
)
@pytest.mark.parametrize("kind", ["owner", "group"])
def test_owner_in_the_middle_of_a_range_is_refused(
    bundle: Path, kind: str, owner: int, is_refused: bool
) -> None:
    """The guessed range of ids began at the owner, and reached into the range of another machine."""
    from templater.hooks.options import Options

    first = owner - owner % 65536
    os.chown(bundle / "rootfs", *((owner, first) if kind == "owner" else (first, owner)))
    options = Options()
    options.words, options.rootfs = ("m1",), str(bundle / "rootfs")
    options.source = options.state = str(bundle)
    if is_refused:
        with pytest.raises(RefusedError, match="not the first id of a machine's range") as refused:
            nspawn.read_request(options, {})
        assert str(5 * 65536) in refused.value.hint
    else:
        assert isinstance(nspawn.read_request(options, {}), HookRequest)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("is_changed", [True, False])
def test_machine_directory_is_refused_if_its_owner_changes(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, is_changed: bool
) -> None:
    """The machine's root changed the owner: a file got the id of the next machine's root."""
    os.chown(bundle / "rootfs", 5 * 65536, 5 * 65536)
    opened = run._open_rootfs

    def changed(request: HookRequest, folder: Root, **options: bool) -> Root:
        if is_changed:
            os.chown(bundle / "rootfs", 5 * 65536 + 1, 5 * 65536)
        return opened(request, folder, **options)

    monkeypatch.setattr(run, "_open_rootfs", changed)
    words = ["--source", str(bundle), "--state", str(bundle), "--rootfs", str(bundle / "rootfs")]
    assert run.run(["nspawn", *words, "m1"]) == (RefusedError.exit_code if is_changed else 0)


@pytest.mark.parametrize("end", ["", "/", "/.", "//."])
def test_a_symlink_as_overlay_layer_is_refused(tmp_path: Path, end: str) -> None:
    (tmp_path / "lower").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "upper").symlink_to("target")
    with pytest.raises(RefusedError, match="upper' is a symlink"):
        lxc.open_layers(lxc_config.layers_of(f"{tmp_path}/lower:{tmp_path}/upper{end}"))
    assert not (tmp_path / "work").exists()


def test_a_link_instead_of_the_work_directory_is_refused(tmp_path: Path) -> None:
    """At each mount, the kernel empties the directory ``work`` inside the work directory."""
    for name in ("lower", "upper", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / ".templater-work").symlink_to("target")
    with pytest.raises(RefusedError, match="work' is a symlink"):
        lxc.open_layers((f"{tmp_path}/lower", f"{tmp_path}/upper"))


@pytest.mark.parametrize("name", ["images", "incus"])
def test_a_machine_cannot_have_the_name_of_a_templater_directory(name: str) -> None:
    from templater.hooks.options import Options

    options = Options()
    options.words = (name,)
    with pytest.raises(UsageError, match="templater itself uses the directory"):
        nspawn.read_request(options, {})
    options.if_present = True
    assert isinstance(nspawn.read_request(options, {}), Notice)


def test_the_mount_hook_never_writes_to_an_unmounted_directory(bundle: Path, tmp_path: Path) -> None:
    (bundle / "config").write_text(
        "lxc.rootfs.path = loop:/img.raw\nlxc.hook.mount = from templater_hook import\n"
    )
    (tmp_path / "mnt/etc").mkdir(parents=True)
    environment = {
        **os.environ, "LXC_HOOK_TYPE": "mount", "LXC_NAME": "c1", "LXC_HOOK_VERSION": "1",
        "LXC_CONFIG_FILE": str(bundle / "config"), "LXC_ROOTFS_PATH": "loop:/img.raw",
        "LXC_ROOTFS_MOUNT": str(tmp_path / "mnt"),
    }  # fmt: skip
    answer = run_hook("lxc", env=environment)
    assert answer.returncode == 3
    assert "mounted no root filesystem" in answer.stderr
    assert list((tmp_path / "mnt/etc").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("is_replaced", [False, True])
def test_attack_98_a_hook_writes_to_an_overlay_mounted_inside_the_container_directory(
    bundle: Path, tmp_path: Path, mounts: Mounts, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    """The hook opened the container's directory before the mount, so it saw the directory below the mount."""
    mounts.share(tmp_path)
    rules(bundle, "  /etc/a: {when: [start], template: a.tpl}\n")
    (bundle / "config").touch()
    for name in ("lower", "upper", "mnt", "other"):
        (bundle / name / "etc").mkdir(parents=True)
    environment = {
        "LXC_HOOK_TYPE": "pre-start", "LXC_NAME": "c1", "LXC_CONFIG_FILE": str(bundle / "config"),
        "LXC_ROOTFS_PATH": f"overlay:{bundle}/lower:{bundle}/upper", "LXC_ROOTFS_MOUNT": str(bundle / "mnt"),
    }  # fmt: skip
    real = lxc.mount_overlay

    def mount(*words: Any) -> bool:
        result = real(*words)
        if is_replaced:
            subprocess.run(["umount", "-l", str(bundle / "mnt")], check=True)
        return result

    monkeypatch.setattr(lxc, "mount_overlay", mount)
    monkeypatch.setattr(run, "environment", lambda: environment)
    monkeypatch.setattr(hook_log.Log, "to_syslog", lambda log: None)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = run.run(["lxc", "--no-child"])
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == RefusedError.exit_code * is_replaced
    written = [*map(str, bundle.glob("*/etc/a"))]
    assert written == ([] if is_replaced else [f"{bundle}/upper/etc/a"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
def test_attack_100_a_hook_follows_no_link_at_its_mount_point(
    bundle: Path, tmp_path: Path, mounts: Mounts
) -> None:
    """If the link led to /etc, the hook of root loaded a library that the image's nsswitch.conf names."""
    mounts.share(tmp_path)
    rules(bundle, "  /etc/a: {when: [start], template: a.tpl}\n")
    for name in ("lower", "upper"):
        (bundle / name / "etc").mkdir(parents=True)
    (bundle / "mnt").symlink_to(tmp_path / "host")
    (tmp_path / "host").mkdir()
    (bundle / "config").write_text(f"lxc.rootfs.mount = {bundle}/mnt\n")
    layers = f"overlay:{bundle}/lower:{bundle}/upper"
    environment = {
        **os.environ, "LXC_HOOK_TYPE": "pre-start", "LXC_NAME": "c1", "LXC_CONFIG_FILE": f"{bundle}/config",
        "LXC_ROOTFS_PATH": layers, "LXC_ROOTFS_MOUNT": f"{bundle}/mnt",
    }  # fmt: skip
    code = (
        "import sys\n"
        "from templater.hooks.runtimes import lxc\n"
        "real = lxc.libc\n"
        "def libc(name):\n"
        "    if name == 'mount':\n"
        "        return lambda *words: sys.stderr.write(f'{words}\\n') and real(name)(*words)\n"
        "    return real(name)\n"
        "lxc.libc = libc\n"
        "from templater.hooks.run import run\n"
        "sys.exit(run(['lxc', '--no-child']))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == RefusedError.exit_code
    assert f"'{bundle}/mnt' is a symlink, not a directory" in answer.stderr
    assert "b'overlay'" not in answer.stderr, "the hook mounted the overlay"


@pytest.mark.slow
@pytest.mark.parametrize("hard", [1, 30])
def test_attack_103_a_hook_restores_all_files_after_the_cpu_limit(bundle: Path, hard: int) -> None:
    """``podman run --ulimit cpu=1`` sets the soft and the hard limit.

    At the hard limit, the kernel kills the hook without SIGXCPU.
    """
    import resource

    rules(bundle, "".join(f"  /etc/n{n}: {{when: [start], template: a.tpl}}\n" for n in range(9000)))
    answer = subprocess.run(
        install.argv("oci", ["--no-child"]),
        input=json.dumps(a_state(bundle)),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, hard)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == LimitError.exit_code, answer.stderr
    assert answer.stderr == (
        "templater: the hook needs more processor time than the runtime allows (RLIMIT_CPU)\n"
    )
    assert not [*(bundle / "rootfs/etc").glob("n*")]


@pytest.mark.slow
def test_failure_is_logged_even_if_another_line_precedes_it(bundle: Path, tmp_path: Path) -> None:
    """The owner of a container's directory could damage the record of written files.

    The hook then logged a line about the record, and did not log the failed start.
    """
    rules(bundle, "  /etc/a: {when: [start], template: a.tpl}\n")
    (bundle / ".templater").mkdir(mode=0o700)
    (bundle / ".templater/written").write_text("damaged\n")
    (bundle / ".templater/written").chmod(0o600)
    fd = os.open(bundle / "rootfs", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    hook = subprocess.Popen(
        install.argv("oci", ["--log", f"{tmp_path}/log"]), stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
    )
    assert hook.stdin is not None
    hook.stdin.write(json.dumps(a_state(bundle)))
    hook.stdin.close()
    while (
        "pid" not in (bundle / ".templater/lock").read_text()
        if (bundle / ".templater/lock").exists()
        else True
    ):
        assert hook.poll() is None
    sleep(0.5)  # the hook waits for the lock of the root filesystem
    hook.send_signal(signal.SIGTERM)
    assert hook.wait() == 6
    os.close(fd)
    for log in (tmp_path / "log", bundle / ".templater/log"):
        first, second = log.read_text().splitlines()
        assert "the record of written files is ignored" in first
        assert second.endswith("failed: stopped by signal 15")


#: Runs the hook with a mounted file in this process, which is killed before it cuts the file.
KILLED = """
import os, sys
from templater.hooks import run
from templater.hooks.runtimes import oci
from templater.writing.mounted_file import MountedFile
state = sys.stdin.buffer.read()
oci._stdin = lambda: state
MountedFile.cut = lambda target: os.kill(os.getpid(), 9)
run.run(["oci", "--no-child", *sys.argv[1:]])
"""


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("is_edited", some_fast([False, True], every=2))
def test_partial_write_does_not_count_as_a_manual_change(
    bundle: Path, mounts: Mounts, is_edited: bool
) -> None:
    """``--keep-modified`` kept such a file for ever."""
    rules(bundle, "  /etc/a: {when: [start], template: a.tpl}\n  /etc/b: {when: [start], template: a.tpl}\n")
    shared = bundle / "volume"
    shared.write_text("")
    (bundle / "rootfs/etc/a").touch()
    mounts.bind(shared, bundle / "rootfs/etc/a")
    options = ("--stage", "createContainer", "--in-place", "--keep-modified", "--state", str(bundle))
    (bundle / "templates/a.tpl").write_text("a long first version\n")
    assert oci(a_state(bundle), *options).returncode == 0
    (bundle / "templates/a.tpl").write_text("v2\n")
    if is_edited:
        (bundle / "rootfs/etc/b").write_text("by hand\n")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *options], input=json.dumps(a_state(bundle)), text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert shared.read_text() == "v2\nong first version\n"
    answer = oci(a_state(bundle), *options)
    assert shared.read_text() == "v2\n"
    assert answer.returncode == is_edited
    assert (bundle / "rootfs/etc/b").read_text() == ("by hand\n" if is_edited else "v2\n")
    shared.write_text("by hand\n")
    answer = oci(a_state(bundle), *options)
    (bundle / "templates/a.tpl").write_text("v3\n")
    assert "/etc/a: changed by hand" in answer.stderr
    assert shared.read_text() == "by hand\n"


#: Runs the hook on a file system that is full after the overwrite of a mounted file.
FULL = """
import errno, sys
from templater.hooks import container_state_folder, run
from templater.hooks.runtimes import oci
from templater.writing.mounted_file import MountedFile
def fail(target):
    raise OSError(errno.ENOSPC, "")
state = sys.stdin.buffer.read()
oci._stdin = lambda: state
container_state_folder.OLD_CONTENTS = sys.argv[1]
MountedFile.cut = MountedFile._restore = fail
sys.exit(run.run(["oci", "--no-child", *sys.argv[2:]]))
"""


@as_root
@pytest.mark.parametrize("has_state", [False, True])
def test_attack_102_old_mounted_content_is_stored_outside_the_bundle(
    bundle: Path, mounts: Mounts, tmp_path: Path, has_state: bool
) -> None:
    """``podman run --rm`` removed the only copy of the old content after the failed start."""
    rules(bundle, "  /etc/a: {when: [start], template: a.tpl}\n")
    (shared := tmp_path / "volume").write_text("the old text of the volume\n")
    (bundle / "rootfs/etc/a").touch()
    mounts.bind(shared, bundle / "rootfs/etc/a")
    (tmp_path / "state").mkdir()
    options = ["--stage", "createContainer", "--in-place", *(["--state", f"{tmp_path}/state"] * has_state)]
    failed = subprocess.run(
        [sys.executable, "-c", FULL, f"{tmp_path}/templater/old_contents", *options],
        input=json.dumps(a_state(bundle)), text=True, check=False, capture_output=True,
    )  # fmt: skip
    assert failed.returncode == 6
    named = failed.stderr.partition("its old content is in '")[2].partition("'")[0]
    place = "state/.templater" if has_state else "templater/old_contents"
    assert Path(named).parent == tmp_path / place
    assert Path(named).read_text() == "the old text of the volume\n"


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("is_edited", some_fast([False, True], every=2))
def test_failed_rollback_does_not_count_as_a_manual_change(
    bundle: Path, mounts: Mounts, is_edited: bool
) -> None:
    """``--keep-modified`` kept the half-written file for ever."""
    rules(bundle, "  /etc/a: {when: [start], template: a.tpl}\n")
    shared = bundle / "volume"
    shared.write_text("")
    (bundle / "rootfs/etc/a").touch()
    mounts.bind(shared, bundle / "rootfs/etc/a")
    options = ["--stage", "createContainer", "--in-place", "--keep-modified", "--state", str(bundle)]
    for text in ("a long first version\n", "v2\n"):
        (bundle / "templates/a.tpl").write_text(text)
        for _ in range(2):
            if text == "v2\n":
                words = [sys.executable, "-c", FULL, "/dev/null", *options]
                state = json.dumps(a_state(bundle))
                assert subprocess.run(words, input=state, text=True, check=False).returncode == 6
            else:
                assert oci(a_state(bundle), *options).returncode == 0
    assert shared.read_text() == "v2\nong first version\n"
    (bundle / "templates/a.tpl").write_text("v3\n")
    if is_edited:
        shared.write_text("by hand\n")
    answer = oci(a_state(bundle), *options)
    assert answer.returncode == is_edited
    assert ("/etc/a: changed by hand" in answer.stderr) == is_edited
    assert shared.read_text() == ("by hand\n" if is_edited else "v3\n")


@pytest.mark.slow
@pytest.mark.parametrize("is_ignored", [True, False])
def test_a_terminal_hangup_ends_a_hook_unless_the_caller_ignores_hangups(
    bundle: Path, is_ignored: bool, tmp_path: Path
) -> None:
    """``lxc-start -F`` in a terminal that was closed ended without a line in the log."""
    rules(bundle, "".join(f"  /etc/n{n}: {{when: [start], template: a.tpl}}\n" for n in range(2000)))
    log = tmp_path / "log"
    hook = subprocess.Popen(
        install.argv("oci", ["--log", str(log)]), stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    assert hook.stdin is not None
    hook.stdin.write(json.dumps(a_state(bundle)))
    hook.stdin.close()
    while not (bundle / ".templater/journal").exists():  # the hook prepares the files
        assert hook.poll() is None
    hook.send_signal(signal.SIGHUP)
    code = hook.wait()
    assert (code == 0) == is_ignored
    assert ("failed: stopped by signal 1" in log.read_text()) == (not is_ignored)
    assert len([*(bundle / "rootfs/etc").glob("n*")]) == (2000 if is_ignored else 0)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGALRM,), STOPPING])
def test_attack_99_a_hook_reports_one_error_after_many_signals(
    bundle: Path, numbers: tuple[int, ...]
) -> None:
    rules(bundle, "".join(f"  /etc/n{n}: {{when: [start], template: a.tpl}}\n" for n in range(200)))
    for milliseconds in range(0, 200, 10):
        hook = subprocess.Popen(install.argv("oci", []), stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
        assert hook.stdin is not None
        hook.stdin.write(json.dumps(a_state(bundle)))
        hook.stdin.close()
        catches = 1 << signal.SIGTERM - 1 | 1 << signal.SIGPROF - 1
        while hook.poll() is None:  # wait until the hook has set its handlers
            found = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{hook.pid}/status").read_text())
            if found is not None and int(found[1], 16) & catches == catches:
                break
        sleep(milliseconds / 1000)
        while hook.poll() is None:
            for number in numbers:
                hook.send_signal(number)
        assert hook.stderr is not None
        error = hook.stderr.read()
        assert hook.returncode in (0, 4, 6), error
        assert "Traceback" not in error and "please report" not in error
        assert error.count("templater: ") == (hook.returncode != 0)


def test_container_without_rootfs_is_refused_despite_a_mount_hook(
    bundle: Path,
) -> None:
    (bundle / "config").write_text(
        "lxc.hook.mount = /usr/bin/python3 -c 'from templater_hook import main' lxc\n"
    )
    with pytest.raises(
        RefusedError,
        match=r"^the container has no root filesystem of its own, and hooks never write to the host$",
    ) as caught:
        lxc.require_mount_hook("", str(bundle / "config"))
    assert caught.value.hint == "remove the hook from the container's configuration, or set lxc.rootfs.path"


# --- names


@pytest.mark.parametrize(
    "name", ["--no-child", "--on-error=keep-going", "--if-present", "--time-limit=86400"]
)
def test_a_container_name_is_never_parsed_as_an_option(name: str) -> None:
    from templater.hooks.options import Options, read_options

    snippet = lxc.snippet("c1", [], "/var/lib/lxc")
    assert snippet.text.splitlines()[0].endswith(" lxc --")
    assert nspawn.snippet("", [], "").text.endswith(" --if-present -- %i\n")
    options = read_options(["--time-limit", "30", "--", name, "lxc", "pre-start"])
    assert options.words == (name, "lxc", "pre-start")
    assert (options.in_child, options.on_error, options.if_present) == (True, Options().on_error, False)
    assert options.time_limit == 30


# --- owners


@as_root
@pytest.mark.parametrize("changed", ["templates", "templates/a.tpl", "metadata.yaml"])
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_image_is_refused_if_others_can_change_its_files(tmp_path: Path, changed: str, how: str) -> None:
    image = an_image(tmp_path / "images/x")
    shutil.rmtree(image / "rootfs")
    _trust_way(tmp_path)
    open_source(
        str(image), [str(tmp_path / "images")], str(tmp_path / "b"), str(tmp_path / "b/rootfs")
    ).close()
    if how == "owner":
        os.chown(image / changed, 65534, 65534)
    else:
        (image / changed).chmod(0o777)
    with pytest.raises(RefusedError, match="other users can change"):
        open_source(str(image), [str(tmp_path / "images")], str(tmp_path / "b"), str(tmp_path / "b/rootfs"))


def _trust_way(path: Path) -> None:
    for each in (path, *path.parents):
        if not each.stat().st_mode & stat.S_ISVTX and each.stat().st_mode & 0o022:
            pytest.skip(f"NOT RUN: '{each}' is writable by others")


@pytest.mark.parametrize("name", ["instance.yaml", "instance.yaml.new", "backup.yaml", "backup.yaml.new"])
def test_a_description_file_named_instance_yaml_or_backup_yaml_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "descriptions").mkdir()
    (tmp_path / "descriptions" / name).write_text("name: web1\n")
    with pytest.raises(RefusedError):
        read_description(str(tmp_path / "descriptions" / name), [str(tmp_path / "descriptions")])


@as_root
def test_another_users_image_is_not_trusted_in_a_namespace() -> None:
    """In a user namespace, files of root and of all other users have the same owner."""
    with tempfile.TemporaryDirectory() as folder:  # unlike tmp_path, every user can reach it
        top = Path(folder)
        image = an_image(top / "images/theirs")
        shutil.rmtree(image / "rootfs")
        for path in (top, top / "images"):
            path.chmod(0o755)
        for path in (image, *image.rglob("*")):
            os.chown(path, 4321, 4321)
        answer = in_a_user_namespace(1234, lambda: outcome(image, top))
    if answer.startswith("OSError"):
        pytest.skip(f"NOT RUN: no user namespace here: {answer}")
    assert answer == "RefusedError"


def outcome(image: Path, top: Path) -> str:
    try:
        open_source(str(image), [str(top / "images")], str(top / "b"), str(top / "b/rootfs")).close()
    except TemplaterError as error:
        return type(error).__name__
    return "trusted"


def in_a_user_namespace(uid: int, call: Callable[[], str]) -> str:
    """Return a function's result in a child whose user 0 is ``uid`` outside, as with rootless podman."""
    ready, go, answer = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            failed = libc("unshare")(0x10000000)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            if failed:
                raise OSError("unshare failed")
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            text = call()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(answer[1], text.encode())
        os._exit(0)
    try:
        os.read(ready[0], 1)
        for name in ("uid_map", "gid_map"):
            try:
                Path(f"/proc/{pid}/{name}").write_text(f"0 {uid} 1\n")
            except OSError:
                break
        os.write(go[1], b"x")
        return os.read(answer[0], 1000).decode()
    finally:
        os.waitpid(pid, 0)
        for fd in (*ready, *go, *answer):
            os.close(fd)


@as_root
def test_file_is_changeable_if_an_acl_lets_others_write(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    config.chmod(0o664)
    os.chown(config, 0, 0)
    assert not changeable_files.is_changeable(str(config))
    if shutil.which("setfacl") is None:
        pytest.skip("NOT RUN: needs setfacl")
    subprocess.run(["setfacl", "-m", "u:65534:rw", config], check=True)
    assert changeable_files.is_changeable(str(config))


def test_the_hook_status_command_shows_no_escape_sequences(bundle: Path) -> None:
    line = "x --source '\x1b]0;PWN\x07rel'"
    texts = [finding.text for finding in common_status_checks.source_status(line, str(bundle), str(bundle))]
    assert texts
    assert not any("\x1b" in text for text in texts)


# --- install


@as_root
def test_the_install_command_follows_no_link_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o700)
    (tmp_path / "root/config").write_text("secret\n")
    (tmp_path / "lxc").mkdir()
    os.symlink(tmp_path / "root", tmp_path / "lxc/c1")
    os.lchown(tmp_path / "lxc/c1", 65534, 65534)
    with pytest.raises(
        RefusedError, match=r"^'c1' on the way to '.*' may be a link that another user controls$"
    ) as caught:
        install.write(lxc.snippet("c1", [], str(tmp_path / "lxc")))
    assert caught.value.hint == "give a path without links of other users"
    assert (tmp_path / "root/config").read_text() == "secret\n"


def test_the_hook_install_command_opens_the_container_directory_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who swaps the directory between reading and writing would get a copy of root's file."""
    secret, theirs = tmp_path / "secret", tmp_path / "lxc/c1"
    for folder, text in ((secret, "secret\n"), (theirs, "theirs\n")):
        folder.mkdir(parents=True)
        (folder / "config").write_text(text)
    read = install._read

    def swapping(root, name):
        text = read(root, name)
        theirs.rename(tmp_path / "lxc/aside")
        secret.rename(theirs)
        return text

    monkeypatch.setattr(install, "_read", swapping)
    assert install.write(lxc.snippet("c1", [], str(tmp_path / "lxc")))
    assert (theirs / "config").read_text() == "secret\n"  # the other user's file is unchanged
    assert "theirs" in (tmp_path / "lxc/aside/config").read_text()


# --- the sandbox


def test_starting_the_sandbox_fails_on_a_kernel_without_system_call_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from templater.sandbox import allowed_calls

    monkeypatch.setattr(allowed_calls, "libc", lambda name: lambda *arguments: -1)
    with pytest.raises(PermissionError, match="no system call filter"):
        allowed_calls.allow(allowed_calls.COMPUTING)


def test_a_hook_renders_in_a_user_namespace_with_one_user(bundle: Path) -> None:
    answer = subprocess.run(
        ["unshare", "-r", *install.argv("oci", [])],
        input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    if re.search("unshare:", answer.stderr):
        pytest.skip(f"NOT RUN: no user namespace here: {answer.stderr}")
    assert answer.returncode == 0, answer.stderr
    assert (bundle / "rootfs/etc/x").read_text() == "c1"


# --- memory, records, copies


@pytest.mark.slow
def test_errors_of_one_template_share_its_text_in_memory(bundle: Path) -> None:
    rules(bundle, "".join(f"  /f{n}: {{when: [start], template: a.tpl}}\n" for n in range(200)))
    (bundle / "templates/a.tpl").write_text("\U0001f600" * (900 << 10) + "{{ 1|nothing }}")
    answer = subprocess.run(
        ["prlimit", f"--as={700 << 20}", *install.argv("oci", [])],
        input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 5, answer.stderr
    assert "unknown filter 'nothing'" in answer.stderr


def test_a_hook_above_its_memory_limit_gives_one_clear_error(bundle: Path) -> None:
    """A directory with many names, links or contents can't make the system run out of memory."""
    script = (
        "import sys; from templater.hooks import run; run._start = lambda *a: bytearray(2 << 30);"
        "sys.exit(run.serve())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, "oci"], input=json.dumps(a_state(bundle)), text=True,
        capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.returncode == 4
    assert "templater: the hook needs more than 1024 MiB of memory" in answer.stderr


def test_a_hook_renders_a_rule_with_many_properties_and_triggers(bundle: Path) -> None:
    properties = "".join(f"      p{n}: v\n" for n in range(100))
    rules(
        bundle,
        "  /etc/x:\n    when: ["
        + "start, " * 100
        + "create]\n    template: a.tpl\n    properties:\n"
        + properties,
    )
    answer = oci(a_state(bundle))
    assert answer.returncode == 0, answer.stderr


def test_a_hook_line_with_too_many_triggers_is_refused(bundle: Path) -> None:
    answer = oci(a_state(bundle), "-t", ",".join(["create"] * 100))
    assert answer.returncode == 2
    assert "100 triggers were given, more than the limit of 16" in answer.stderr


def test_a_hook_renders_even_if_sigchld_is_ignored(bundle: Path) -> None:
    code = (
        "import os,signal,sys;signal.signal(signal.SIGCHLD,signal.SIG_IGN);os.execv(sys.argv[1],sys.argv[1:])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, *install.argv("oci", [])],
        input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        (["lxc-copy", "-n", "a", "-N", "b"], False),
        (["/usr/bin/lxc-copy", "-n", "a", "-N", "b", "-p", "/x"], True),
        (["lxc-copy", "-n", "a", "--newpath", "/x"], True),
        (["lxc-copy", "-n", "a", "--newp=/x"], True),
        (["lxc-copy", "-n", "a", "--newname=p"], False),
        (["lxc-copy", "-sp", "/x"], True),
        (["lxc-copy", "-etp", "/x"], True),
        (["lxc-copy", "-np", "-Np"], False),
        (["lxc-copy", "-P", "/x", "-n", "a", "-N", "b"], False),
        (["other", "-p"], False),
        ([], False),
    ],
)
def test_the_newpath_option_of_the_lxc_copy_command_is_detected(words: list[str], elsewhere: bool) -> None:
    assert lxc_copies._has_option(words, "p", "--newp") == elsewhere


@pytest.mark.parametrize("program", ["lxc-copy", "lxc-snapshot", ""])
def test_a_copy_is_refused_if_its_original_container_is_uncertain(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that use liblxc, such as python3-lxc, can copy from another directory as well."""
    monkeypatch.setattr(lxc_copies, "copying_program", lambda: program)
    for name, text in (("web1", "lxc.arch = i686\nlxc.uts.name = web1\n"), ("web2", "lxc.uts.name = web2\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config").write_text(text)

    def is_certain(*, exact: bool = False) -> bool:
        with Root(str(tmp_path / "web1")) as original, Root(str(tmp_path / "web2")) as made:
            return lxc_copies.is_original(original, made, exact=exact)

    assert not is_certain()
    (tmp_path / "web2/config").write_text("lxc.uts.name = web2\nlxc.arch = i686\nlxc.rootfs.path = x\n")
    assert is_certain(exact=True)
    assert is_certain() == bool(program)


@pytest.mark.parametrize("description", ["", "instance.yaml", "metadata.yaml"])
def test_unknown_program_cannot_copy_a_container_with_a_description(
    description: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``--source``, the hook refused the copy even if the original had no description."""
    monkeypatch.setattr(lxc_copies, "copying_program", lambda: "")
    for name in ("web1", "web2", "web1/.templater"):
        (tmp_path / name).mkdir(mode=0o700)
    for name in ("web1/config", "web2/config"):
        (tmp_path / name).touch()
    (tmp_path / "web1/.templater/state").write_text("pending=\nname=web1\nimage=x\n")
    (tmp_path / "web1/.templater/written").write_text("x")
    if description:
        (tmp_path / "web1" / description).write_text("name: web1\n")
    options = Options()
    options.source = an_image(tmp_path / "image")
    if description:
        with pytest.raises(InputError, match="it is not certain that"):
            lxc_copies.clone(str(tmp_path / "web2"), "web2", "web1", options)
        assert not (tmp_path / "web2/.templater").exists()
        return
    notice = lxc_copies.clone(str(tmp_path / "web2"), "web2", "web1", options)
    assert notice.text == "web2: made from web1; the next start runs the copy trigger"
    assert (tmp_path / "web2/.templater/state").read_text().split() == ["pending=copy", "name=web2"]
    assert not (tmp_path / "web2/.templater/written").exists()


@as_root
@pytest.mark.parametrize("has_source", [False, True])
@pytest.mark.parametrize(
    ("made", "source"),
    [("u/copy", "web1"), ("u/web1/snaps/snap1", "web1"), ("u/web1", "snap0"), ("copies/copy", "web1")],
)
def test_attack_74_a_clone_hook_refuses_containers_that_another_user_can_replace(
    made: str, source: str, has_source: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of one container got the password of a second container, whose state was also replaced."""
    program = "lxc-copy" if source == "web1" else "lxc-snapshot"
    monkeypatch.setattr(lxc_copies, "copying_program", lambda: program)
    (tmp_path / "copies").mkdir()
    (tmp_path / "u").mkdir()
    (tmp_path / "copies/web1").symlink_to(tmp_path / "u/web1")
    for folder in (tmp_path / "u/web1", tmp_path / "u/web1/snaps/snap0", tmp_path / made):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config").touch()
    an_image(tmp_path / "u/web1")
    options = Options()
    options.source = an_image(tmp_path / "image") if has_source else ""
    os.chown(tmp_path / "u", 1234, 1234)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        RefusedError, match=rf"'{tmp_path}/u' belongs to another user \(uid 1234\)|may be a link"
    ):
        lxc_copies.clone(str(tmp_path / made), Path(made).name, source, options)
    assert sorted(tmp_path.rglob("*")) == before
    os.chown(tmp_path / "u", 0, 0)
    assert lxc_copies.clone(str(tmp_path / made), Path(made).name, source, options).text


@pytest.fixture
def destroyed(tmp_path: Path) -> Callable[[str], None]:
    """Return a function that destroys the container ``lxc/web1``, whose clone record names another directory."""

    def destroy(new: str) -> None:
        record = tmp_path / "lxc/web1/.templater/cloned"
        record.parent.mkdir(mode=0o700, exist_ok=True)
        record.write_text("\n".join((new, *lxc_copies.ancestors(1))))
        lxc_copies.destroy(str(tmp_path / "lxc/web1"))

    (tmp_path / "lxc/web1").mkdir(parents=True)
    (tmp_path / "lxc/web2/.templater").mkdir(parents=True, mode=0o700)
    (tmp_path / "lxc/web2/.templater/state").write_text("pending=copy\nname=web2\n")
    return destroy


@as_root
def test_clone_record_in_another_users_directory_is_ignored(
    tmp_path: Path, destroyed: Callable[[str], None]
) -> None:
    """A user moved a directory, from an image that root had unpacked, into the container's directory.

    Because of this directory, another container lost its trigger.
    """
    state = tmp_path / "lxc/web2/.templater/state"
    os.chown(tmp_path / "lxc/web1", 1234, 1234)
    destroyed(str(tmp_path / "lxc/web2"))
    assert "pending=copy" in state.read_text()
    os.chown(tmp_path / "lxc/web1", 0, 0)
    destroyed(str(tmp_path / "lxc/web2"))
    assert "pending=create" in state.read_text()


@pytest.mark.parametrize("name", ["", ".", "..", "missing", "web3"])
def test_a_destroy_hook_makes_no_state_directory(
    name: str, tmp_path: Path, destroyed: Callable[[str], None]
) -> None:
    """A destroy hook of root made a state directory above LXC's directory."""
    (tmp_path / "lxc/web3").mkdir()
    destroyed(f"{tmp_path}/lxc/{name}")
    assert {path.parent.name for path in tmp_path.rglob(".templater")} == {"web1", "web2"}


def test_destroying_a_never_started_container_creates_no_state_directory(tmp_path: Path) -> None:
    lxc_copies.destroy(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@as_root
def test_a_destroy_hook_follows_no_link_that_another_user_controls(
    tmp_path: Path, destroyed: Callable[[str], None]
) -> None:
    (tmp_path / "user").mkdir()
    os.chown(tmp_path / "user", 1234, 1234)
    (tmp_path / "lxc/web2").rename(tmp_path / "user/web2")
    (tmp_path / "lxc/web2").symlink_to(tmp_path / "user/web2")
    destroyed(str(tmp_path / "lxc/web2"))
    assert "pending=copy" in (tmp_path / "user/web2/.templater/state").read_text()


# --- mounts of a bundle


def mount_at(bundle: Path, *destinations: object) -> None:
    mounts = [{"destination": place, "type": "tmpfs"} for place in destinations]
    config = {"root": {"path": "rootfs"}, "mounts": [*mounts, "x", None, {"type": "tmpfs"}]}
    (bundle / "config.json").write_text(json.dumps(config))


def test_public_log_does_not_reveal_content_of_mounted_files(bundle: Path, tmp_path: Path) -> None:
    """The number of written rules in the log said whether a file equals the text that the image chooses."""
    rules(bundle, "  /etc/hosts: {when: [start], template: a.tpl}\n")
    mount_at(bundle, "/etc/hosts")
    log = tmp_path / "public.log"
    found = set()
    (bundle / "rootfs/etc").mkdir(exist_ok=True)
    (bundle / "templates/a.tpl").write_text("text\n")
    for text in ("text\n", "another text\n"):
        (bundle / "rootfs/etc/hosts").write_text(text)
        (bundle / ".templater/state").unlink(missing_ok=True)
        log.write_text("")
        log.chmod(0o644)
        assert oci(a_state(bundle), "--log", str(log)).returncode == 0
        found.add(log.read_text().partition("Z ")[2])
    assert len(found) == 1


@as_root
def test_a_log_file_of_another_user_gets_only_the_public_lines(tmp_path: Path) -> None:
    """A log directory of an application, or logrotate, can give the file to another user."""

    file = tmp_path / "log"
    for owner, is_private in ((0, True), (1000, False)):
        file.write_bytes(b"")
        file.chmod(0o600)
        os.chown(file, owner, 0)
        log = hook_log.Log("web1")
        log.add("update /etc/hosts", private=True)
        log.summary = "start: 1 rules done"
        log.to_file(str(file))
        assert (b"/etc/hosts" in file.read_bytes()) == is_private


@pytest.mark.slow
@pytest.mark.parametrize(
    ("destinations", "options", "is_refused"),
    some_fast(
        [
            (["/etc/app"], [], True),
            (["/proc", "/etc//app/./"], ["--stage", "prestart"], True),
            (["etc/app"], [], True),  # runtimes clean the path as Go does
            (["/etc"], ["--in-place"], True),
            (["/link"], [], True),  # the runtime follows links in the root filesystem, too
            (["/"], [], True),
            (["/etc/app/conf"], [], False),
            (["/etc/app/co", "/proc", "/link/other", "\ud800", 7], [], False),
            (["/etc/app"], ["--stage", "createContainer"], False),  # the hook sees the mounts itself
            (["/etc/app"], ["--rootfs", "{bundle}/rootfs"], True),  # the directory of the runtime
        ],
        every=3,
    ),
)
def test_target_is_refused_if_a_bundle_mount_hides_it(
    bundle: Path, destinations: list[object], options: list[str], is_refused: bool
) -> None:
    """The hook wrote a file with secrets into the directory below a volume, and the start went on."""
    rules(bundle, "  /etc/app/conf: {when: [start], template: a.tpl}\n")
    (bundle / "rootfs/link").symlink_to("/etc/app")
    mount_at(bundle, *destinations)
    answer = oci(a_state(bundle), *(word.format(bundle=bundle) for word in options))
    file = bundle / "rootfs/etc/app/conf"
    is_covered = destinations == ["/etc/app/conf"]
    assert (answer.returncode, file.exists()) == ((3, False) if is_refused else (0, not is_covered))
    if is_refused:
        mount = destinations[-1]
        said = f"the container's mount at '{os.path.normpath(os.path.join('/', str(mount)))}' would hide '/etc/app/conf'"
        assert said in answer.stderr
    else:
        log = (bundle / ".templater/log").read_text()
        assert (": leave /etc/app/conf alone: the runtime mounts a file over it\n" in log) == is_covered
        assert (": create /etc/app/conf " in log) == (not is_covered)


@pytest.mark.parametrize("options", [(), ("--stage", "createContainer"), ("--in-place",)])
def test_target_below_a_masked_directory_is_refused(bundle: Path, options: tuple[str, ...]) -> None:
    """``podman run --security-opt mask=PATH`` hid files that the hook had reported as created."""
    rules(bundle, "  /etc/app/conf: {when: [start], template: a.tpl}\n")
    config = json.loads((bundle / "config.json").read_text())
    config["linux"] = {"maskedPaths": ["/proc/kcore", "/etc/app"]}
    (bundle / "config.json").write_text(json.dumps(config))
    answer = oci(a_state(bundle), *options)
    assert answer.returncode == 3
    assert "the container's mount at '/etc/app' would hide '/etc/app/conf'" in answer.stderr
    assert not (bundle / "rootfs/etc/app/conf").exists()


def test_linked_target_is_refused_if_a_mount_hides_it(
    bundle: Path,
) -> None:
    rules(bundle, "  /link/conf: {when: [start], template: a.tpl}\n")
    (bundle / "rootfs/link").symlink_to("etc/app")
    mount_at(bundle, "/etc/app")
    answer = oci(a_state(bundle))
    assert answer.returncode == 3
    assert "the container's mount at '/etc/app' would hide '/link/conf'" in answer.stderr


@pytest.mark.slow
@as_root
@pytest.mark.parametrize(
    ("link", "target", "said"),
    some_fast(
        [
            ("data", "/etc/app/", "would hide '/etc/app/conf'"),
            ("home/u/d", "/etc/app", "would hide '/etc/app/conf'"),
            ("home/u/d", "../../../nosuch/../etc", "would hide '/etc/app/conf'"),
            ("home/u/d", "/etc/other", ""),
            ("home/u/d", "d", "leads through too many links"),
        ],
        every=2,
    ),
)
def test_the_hook_resolves_a_link_at_a_mount_point(bundle: Path, link: str, target: str, said: str) -> None:
    """The hook did not resolve the link in the mount point, and wrote a file that the mount hid."""
    rules(bundle, "  /etc/app/conf: {when: [start], template: a.tpl}\n")
    (bundle / "rootfs/home/u").mkdir(parents=True)
    (bundle / "rootfs" / link).symlink_to(target)
    os.chown(bundle / "rootfs/home/u", 1000, 1000)
    mount_at(bundle, f"/{link}")
    answer = oci(a_state(bundle))
    assert answer.returncode == (3 if said else 0), answer.stderr
    assert (bundle / "rootfs/etc/app").exists() != bool(said)
    assert not said or f"the container's mount at '/{link}' {said}" in answer.stderr


@as_root
def test_mount_point_behind_a_link_is_resolved_across_mounts(
    bundle: Path,
) -> None:
    rules(bundle, "  /etc/app/conf: {when: [start], template: a.tpl}\n")
    (bundle / "rootfs/var").mkdir()
    mount_at(bundle, "/var/data")
    mount = f'mount -t tmpfs none {bundle}/rootfs/var; ln -s "$0" {bundle}/rootfs/var/data; exec "$@"'
    for target, code in (("/etc/app", 3), ("/etc/other", 0)):
        answer = subprocess.run(
            ["unshare", "-m", "sh", "-c", mount, target, *install.argv("oci", [])],
            input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False,
        )  # fmt: skip
        if "mount:" in answer.stderr or "unshare:" in answer.stderr:
            pytest.skip(f"NOT RUN: nothing can be mounted here: {answer.stderr}")
        assert answer.returncode == code, answer.stderr


def test_existing_target_is_refused_if_a_mount_hides_it(bundle: Path) -> None:
    """The second start logged "0 written, 1 unchanged", but the container did not see the unchanged file."""
    rules(bundle, "  /etc/app/conf: {when: [start], template: a.tpl}\n")
    mount_at(bundle, "/etc/app/conf")
    assert oci(a_state(bundle)).returncode == 0
    mount_at(bundle, "/etc/app")
    answer = oci(a_state(bundle))
    assert answer.returncode == 3
    assert "the container's mount at '/etc/app' would hide '/etc/app/conf'" in answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "options", "mount"),
    some_fast(
        [
            (["/srv/app etc/app none bind 0 0"], [], "/etc/app"),
            (["/srv/app\t{rootfs}/etc/app none bind 0 0"], [], "/etc/app"),
            (["/srv/app {folder}/rootfs/etc/my\\040app/ none bind"], [], "/etc/my app"),
            (["/srv/app etc/app none bind 0 0"], ["--stage", "pre-start"], ""),
            (["/srv/app etc/app none bind 0 0"], ["--rootfs", "{folder}/other"], ""),
            (["/srv/app etc/app none bind 0 0", "", "proc proc", "x"], [], ""),
            (["/srv/app /etc/app none bind 0 0"], [], ""),  # LXC ignores other absolute paths
        ],
        every=3,
    ),
)
def test_target_is_refused_if_an_lxc_mount_hides_it(
    tmp_path: Path, lines: list[str], options: list[str], mount: str
) -> None:
    """The hook wrote the file into the directory under a bind mount, and the start went on."""
    folder = tmp_path / "web1"
    an_image(folder)
    for name in ("other", "elsewhere"):
        (folder / name).mkdir()
    rules(folder, f"  {mount or '/etc/app'}/conf: {{when: [start], template: a.tpl}}\n")
    places = {"folder": folder, "rootfs": f"{folder}/elsewhere"}
    entries = "".join(f"lxc.mount.entry = {line.format(**places)}\n" for line in lines)
    (folder / "config").write_text(entries)
    environment = {
        **os.environ, "LXC_HOOK_TYPE": "pre-start", "LXC_NAME": "web1", "LXC_HOOK_VERSION": "1",
        "LXC_CONFIG_FILE": f"{folder}/config", "LXC_ROOTFS_PATH": f"{folder}/elsewhere",
    }  # fmt: skip
    answer = run_hook("lxc", *(word.format(**places) for word in options), env=environment)
    assert answer.returncode == (3 if mount else 0), answer.stderr
    if mount:
        assert f"the container's mount at '{mount}' would hide '{mount}/conf'" in answer.stderr
        assert not (folder / "elsewhere/etc").exists()


# --- status


@pytest.mark.parametrize("runtime", ["lxc", "oci"])
def test_the_hook_status_command_does_not_wait_for_a_fifo(tmp_path: Path, runtime: str) -> None:
    (tmp_path / "c1").mkdir()
    os.mkfifo(tmp_path / "c1" / ("config" if runtime == "lxc" else "config.json"))
    words = ["lxc", "c1", "-P", str(tmp_path)] if runtime == "lxc" else ["oci", str(tmp_path / "c1")]
    answer = subprocess.run(
        [sys.executable, "-m", "templater", "hook", "status", *words],
        capture_output=True, text=True, check=False, timeout=30, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.returncode == 1
    assert "regular file" in answer.stdout


@as_root
def test_the_hook_status_command_finds_python_code_writable_by_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common_status_checks, "search_path", lambda: [str(tmp_path)])
    before = [finding.text for finding in common_status_checks.code_status()]
    assert not any(str(tmp_path) in text for text in before)
    os.chown(tmp_path, 65534, 65534)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    (finding,) = common_status_checks.code_status()
    assert f"'{tmp_path}', and every start runs code from this path as root" in finding.text


def test_a_missing_path_counts_as_changeable_by_other_users(tmp_path: Path) -> None:
    """The owner of a file can move the file away after root has read it."""
    assert changeable_files.is_changeable(str(tmp_path / "gone"))


def test_an_annotation_with_a_missing_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match=r"^'.*' does not exist$"):
        open_source(
            str(tmp_path / "images/gone"),
            [str(tmp_path / "images")],
            str(tmp_path / "b"),
            str(tmp_path / "b/rootfs"),
        )


def test_copy_is_refused_if_its_source_name_is_ambiguous(tmp_path: Path) -> None:
    """LXC gives the hook of a restored snapshot only the snapshot's name, such as snap0."""
    for folder in ("victim/snaps/snap0", "snap0", "restored"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"^'restored' was made from 'snap0', but several containers have that name$"
    ):
        lxc_copies.find_source(str(tmp_path / "restored"), "snap0")


@pytest.mark.parametrize(
    ("program", "found"), [("lxc-copy", "snap0"), ("lxc-snapshot", "victim/snaps/snap0")]
)
def test_source_name_is_a_snapshot_only_in_lxc_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, found: str
) -> None:
    for folder in ("victim/snaps/snap0", "snap0", "restored"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(lxc_copies, "copying_program", lambda: program)
    assert lxc_copies.find_source(str(tmp_path / "restored"), "snap0")[0] == str(tmp_path / found)


@pytest.mark.parametrize("owner", [0, 1234])
def test_directory_is_refused_if_it_was_replaced_during_creation(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, owner: int
) -> None:
    from templater.rootfs.confined_directory import Directory
    from templater.rootfs.confined_root import Root
    from templater.rootfs.directory_rootfs import DirectoryRootfs
    from templater.writing.target_directories import TargetDirectories

    private = bundle / "rootfs/private"
    private.mkdir(mode=0o700)
    (private / "secret").write_text("x")
    if owner:
        if os.geteuid() != 0:
            pytest.skip("NOT RUN: needs root to make another user's file")
        (private / "secret").unlink()  # the owner is enough to refuse it
        os.chown(private, owner, owner)
    make = Directory.mkdir
    # a user of the container put a directory with millions of names there
    monkeypatch.setattr(Directory, "listdir", lambda _: pytest.fail("read all names"))

    def swapped(self: Directory, name: str, mode: int = 0o777) -> None:
        make(self, name, mode)
        os.rmdir(name, dir_fd=self.fd)
        private.rename(bundle / "rootfs" / name)

    monkeypatch.setattr(Directory, "mkdir", swapped)
    with DirectoryRootfs(str(bundle / "rootfs")) as rootfs:
        assert isinstance(rootfs.root, Root)
        session = TargetDirectories(rootfs, rootfs.root, durable=False)
        with pytest.raises(
            RefusedError, match=r"^another process replaced '/new' while templater was creating it$"
        ):
            session.make_directory("/new")
        session.close()
    assert 0o700 in {path.stat().st_mode & 0o777 for path in (bundle / "rootfs").iterdir()}


def test_the_hook_status_command_runs_no_hook_of_an_untrusted_bundle(bundle: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    args = ["/bin/sh", "-c", f"touch {proof}; : from templater_hook import"]
    hook = {"path": "/bin/sh", "args": args}
    (bundle / "config.json").write_text(
        json.dumps({"root": {"path": "rootfs"}, "hooks": {"createRuntime": [hook]}})
    )
    from templater.hooks.runtimes import oci as runtime

    texts = [finding.text for finding in runtime.status(str(bundle), "")]
    assert any("was not run" in text for text in texts)
    assert not proof.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_all_files_or_none_are_written_after_stop_signals(bundle: Path, number: str) -> None:
    needs_strace()
    rules(bundle, "".join(f"  /new/n{n}: {{when: [start], template: a.tpl}}\n" for n in range(2)))
    for call, when in (("openat", 20), ("mkdirat", 2), ("linkat", 1), ("linkat", 2), ("fsync", 1)):
        shutil.rmtree(bundle / "rootfs")
        shutil.rmtree(bundle / ".templater", ignore_errors=True)
        (bundle / "rootfs/etc").mkdir(parents=True)
        inject = f"inject={call}:signal={number}:when={when}"
        answer = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *install.argv("oci", [])],
            input=json.dumps(a_state(bundle)), text=True, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        if "ptrace" in answer.stderr:
            pytest.skip("NOT RUN: strace can't trace here")
        files = {path.name for path in (bundle / "rootfs").rglob("*")}
        assert files in ({"etc"}, {"etc", "new", "n0", "n1"}), (call, when, answer.stderr)
        assert "please report" not in answer.stderr


@pytest.mark.parametrize("word", ["-n other", "-nother", "--name other", "--name=other"])
def test_restored_snapshot_belongs_to_container_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    for folder in ("victim/snaps/snap0", "other/snaps/snap0", "restored"):
        (tmp_path / folder).mkdir(parents=True)
    words = ["/usr/bin/lxc-snapshot", *word.split(" "), "-r", "snap0"]
    monkeypatch.setattr(lxc_copies, "_words_of", lambda process: words)
    assert lxc_copies.find_source(str(tmp_path / "restored"), "snap0") == (
        str(tmp_path / "other/snaps/snap0"),
        False,
    )


def test_path_outside_the_allowed_directories_is_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path could lead to a mount of a dead server, on which the hook would hang."""
    monkeypatch.setattr(os.path, "realpath", lambda path: pytest.fail(f"looked up {path}"))
    with pytest.raises(
        RefusedError, match=r"^an annotation names '/net/evil\.example/x', which is not below .*$"
    ) as caught:
        read_description("/net/evil.example/x", [str(tmp_path)])
    assert (
        caught.value.hint
        == "move the file, or allow its directory in the hook line with --allow or --allow-instance"
    )
