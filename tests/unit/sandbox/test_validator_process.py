"""The sandbox of validators, tried from inside: small programs that try to leave it.

Each test runs for root, and for a user without privileges, who needs user namespaces.
"""

import errno
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from templater.sandbox import refused_calls, validator_process
from templater.sandbox.validator_process import Limits, NotConfinedError, Result, ToolFailure

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confined on Linux only")
ROOT = os.geteuid() == 0
#: an unprivileged user that owns nothing, different in each process that runs tests
USER = 1879000000 + os.getpid() % 40000
#: the first Python that every user can execute
PYTHON = "/usr/bin/python3"
needs_python = pytest.mark.skipif(not os.path.exists(PYTHON), reason=f"needs {PYTHON}")


def in_child(work, uid: int | None = None):
    """Return what ``work`` returns in a child, as another user if ``uid`` is given."""
    validator_process.libc("prctl")  # imports a module that the other user may be unable to read
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if uid is not None:
                os.setgroups(())
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                validator_process.libc("prctl")(
                    4, 1, 0, 0, 0
                )  # dumpable, as after execve: it may write its uid_map
            try:
                result = work()
                answer = ("result", result.code, result.output)
            except (NotConfinedError, ToolFailure) as error:
                answer = (type(error).__name__, str(error), "")
            os.write(writer, marshal.dumps(answer))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    kind, *fields = marshal.loads(data)
    if kind == "result":
        return Result(*fields)
    raise {"NotConfinedError": NotConfinedError, "ToolFailure": ToolFailure}[kind](fields[0])


@pytest.fixture(params=["root", pytest.param("user", marks=pytest.mark.slow)] if ROOT else ["user"])
def run(request):
    """A function that runs a program in the sandbox: of root, or of a user without privileges."""
    if request.param == "root":
        if not ROOT:
            pytest.skip("needs root")
        return validator_process.run

    def as_user(*arguments, **options):
        return in_child(lambda: validator_process.run(*arguments, **options), USER if ROOT else None)

    try:
        as_user("/bin/true", [], {})
    except NotConfinedError:
        pytest.skip("needs user namespaces")
    return as_user


@pytest.fixture
def sh(run):
    """Run a script in the sandbox."""

    def script(text: str, files=None, **limits):
        return run("/bin/sh", ["-c", text], files or {}, limits=Limits(**limits) if limits else None)

    return script


def test_a_sandboxed_program_can_read_its_files_and_return_its_output(run):
    files = {"a/b": b"text", "stdin": b"input"}
    found = run("/bin/cat", ["{folder}/a/b", "-"], files, stdin="stdin")
    assert found == Result(0, "textinput")


def test_paths_in_program_output_are_relative_to_the_folder(run):
    assert run("/bin/ls", ["{folder}/a", "{folder}/none"], {"a": b""}) == Result(
        2, "ls: cannot access 'none': No such file or directory\na\n"
    )


def test_the_exit_code_of_a_sandboxed_program_is_returned(sh):
    assert sh("exit 3").code == 3


def test_a_program_outside_the_system_folders_can_run_in_the_sandbox(run, open_folder):
    program = shutil.copy("/bin/echo", open_folder / "my-echo")
    assert run(str(program), ["hello"], {}).output == "hello\n"


# --- files -------------------------------------------------------------------------------------


@pytest.fixture
def open_folder():
    """A folder of the machine in which every user can write."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_a_sandboxed_program_can_write_only_to_its_scratch_folder(sh, open_folder):
    places = f"/ /usr /usr/bin /usr/local /etc /dev /proc /proc/sys/kernel /run /tmp /var/tmp {open_folder} /root /home"
    script = f'for d in {places} . ; do touch "$d/new" 2>/dev/null && echo "$d"; done'
    assert set(sh(script).output.split()) <= {"/tmp", "/run", "."}
    assert not any(open_folder.iterdir())
    assert not os.path.exists("/tmp/new")
    assert not os.path.exists("/run/new")


def test_a_sandboxed_program_sees_no_host_files_except_the_installed_programs(sh, open_folder):
    (open_folder / "secret").write_text("secret")
    secrets = ["/etc/shadow", "/etc/hostname", "/etc/hosts", "/etc/ssl", "/root", "/home", "/var", "/srv",
               "/work", "/sys", "/boot", "/mnt", "/opt", str(open_folder / "secret"), __file__]  # fmt: skip
    script = "".join(f"ls -d {path} && cat {path}\n" for path in secrets)
    assert [line for line in sh(script).output.splitlines() if "No such file" not in line] == []


def test_a_sandboxed_program_cannot_reach_the_root_directory_of_the_host(sh):
    script = (
        "ls /proc/1/root /proc/1/cwd /proc/1/fd; cat /proc/1/environ; cd ../../../..; ls -d home root var"
    )
    lines = sh(script).output.splitlines()
    assert lines
    assert all("Permission denied" in line or "No such file" in line for line in lines)


def test_system_files_are_mounted_read_only_and_without_devices(sh):
    mounts = {
        line.split()[1]: line.split()[3].split(",") for line in sh("cat /proc/mounts").output.splitlines()
    }
    assert {"ro", "nosuid"} <= set(mounts["/"])
    assert {"ro", "nosuid", "nodev"} <= set(mounts["/usr"])
    assert {"rw", "nosuid", "nodev"} <= set(mounts["/tmp"])
    assert {"nosuid", "nodev", "noexec"} <= set(mounts["/proc"])


def test_the_scratch_folder_has_a_size_limit(sh):
    script = (
        "for n in 1 2 3; do dd if=/dev/zero of=big$n bs=64k count=80; done 2>/dev/null; du -sk . | cut -f1"
    )
    assert int(sh(script, scratch=8 << 20).output) <= 8 << 10


def test_the_scratch_folder_has_sixteen_megabytes_by_default(sh):
    script = "for n in 1 2; do dd if=/dev/zero of=big$n bs=1M count=10; done 2>/dev/null; du -sk . | cut -f1"
    assert 15 << 10 <= int(sh(script).output) <= 16 << 10


def test_the_number_of_files_in_the_scratch_folder_is_limited(sh):
    assert int(sh("n=0; while command : > f$n; do n=$((n+1)); done 2>/dev/null; ls | wc -l").output) < 1024


# --- privileges --------------------------------------------------------------------------------


def test_a_sandboxed_program_has_no_privileges(sh):
    status = dict(line.split(":", 1) for line in sh("cat /proc/self/status").output.splitlines())
    uids = {int(uid) for uid in (status["Uid"] + status["Gid"]).split()}
    assert len(uids) == 1
    assert 0 not in uids
    assert {status[name].strip("\t0") for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {""}
    assert status["NoNewPrivs"].strip() == "1"
    if os.uname().machine in refused_calls.ARCHITECTURES:
        assert status["Seccomp"].strip() == "2"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_programs_run_without_capabilities_in_a_user_namespace_with_one_id():
    """In such a namespace, the program cannot become another user."""
    code = (
        "from templater.sandbox import validator_process as tool\n"
        "print(tool.run('/bin/sh', ['-c', 'cat /proc/self/status; ls'], {'a': b''}).output)"
    )
    done = subprocess.run(
        ["unshare", "-r", sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("needs user namespaces")
    assert done.stdout.endswith("\na\n\n"), done.stderr
    status = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    assert {status[name].strip("\t0") for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {""}


@pytest.mark.slow
def test_a_sandboxed_program_inherits_no_descriptors_and_no_environment(sh, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    high = os.dup2(secret, 900, inheritable=True)
    try:
        assert sh("ls /proc/self/fd").output.split() == ["0", "1", "2", "3"]
        assert "hunter2" not in sh("env; cat /proc/1/environ /proc/2/environ").output
    finally:
        os.close(secret)
        os.close(high)


CALLS = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    print(name, getattr(libc, name)(*arguments), ctypes.get_errno())
call("unshare", 0x10000000)
call("unshare", 0x20000)
call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
call("umount2", b"/proc", 2)
call("chroot", b"/tmp")
call("ptrace", 16, 1, 0, 0)
call("ptrace", 16, os.getppid(), 0, 0)
call("sethostname", b"a", 1)
call("setns", 0, 0)
call("setuid", 0)
call("socket", 1, 1, 0)
call("socket", 2, 1, 0)
call("socket", 16, 3, 0)
call("syscall", %d, 0x10000000 | 17, 0, 0, 0, 0)
call("syscall", 425, 1, 0)
"""


@pytest.mark.slow
@needs_python
@pytest.mark.skipif(
    os.uname().machine not in refused_calls.ARCHITECTURES, reason="no filter for this machine"
)
def test_the_sandbox_refuses_system_calls_that_allow_an_escape(run):
    clone = refused_calls.CLONE[list(refused_calls.ARCHITECTURES).index(os.uname().machine)]
    found = run(PYTHON, ["-I", "-S", "-c", CALLS % clone], {})
    answers = [line.rsplit(" ", 2) for line in found.output.splitlines()]
    assert len(answers) == CALLS.count("\ncall(")
    assert {(result, error) for _, result, error in answers} <= {("-1", "1"), ("-1", "22")}
    assert [name for name, _, error in answers if error != "1"] in ([], ["setuid"])  # no other user exists


@pytest.mark.slow
def test_a_setuid_program_gives_no_privileges_in_the_sandbox(sh):
    found = [path for path in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd") if os.path.exists(path)]
    if not found:
        pytest.skip("no set-user-ID program is installed")
    assert not [path for path in found if "Uid:\t0" in sh(f"{path} --help; cat /proc/self/status").output]
    assert sh("umount /proc && echo done").output.count("done") == 0


# --- other processes and the network --------------------------------------------------------------


def test_a_sandboxed_program_sees_only_its_own_processes(sh):
    assert sh("ls /proc | grep -c '^[0-9]'").output.strip() in ("3", "4")


def test_a_sandboxed_program_cannot_kill_processes_of_the_host(sh):
    with subprocess.Popen(["sleep", "30"]) as victim:
        try:
            found = sh(f"kill -9 {victim.pid} {os.getpid()}; kill -9 1; kill -STOP 1; echo alive")
            assert found.output.endswith("alive\n")
            assert victim.poll() is None
        finally:
            victim.kill()


def test_a_sandboxed_program_has_no_network(sh):
    assert [line.split(":")[0].strip() for line in sh("cat /proc/net/dev").output.splitlines()[2:]] in (
        ["lo"],
        [],
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_sandboxed_program_cannot_reach_a_server_on_the_host(run, kind):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        if kind == "tcp":
            server.listen()
        words = ["-c", f"exec 3<>/dev/{kind}/127.0.0.1/{server.getsockname()[1]} && echo hello >&3"]
        assert run(shutil.which("bash"), words, {}).code != 0
        with pytest.raises(TimeoutError):
            server.accept() if kind == "tcp" else server.recv(10)


# --- limits ------------------------------------------------------------------------------------


def processes_of_sandbox() -> list[str]:
    """The processes of users that only sandboxes have."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if f"Uid:\t{validator_process.FIRST_UID + os.getpid()}\t" in text or f"Uid:\t{USER}\t" in text:
            found.append(text.split("\n", 1)[0])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("script", ["sleep 60", "while :; do :; done", "exec >&- 2>&-; sleep 60"])
def test_a_hanging_sandboxed_program_is_killed(sh, script):
    begun = time.monotonic()
    with pytest.raises(ToolFailure, match=r"the program took longer than 0.5 s"):
        sh(script, wall=0.5)
    assert time.monotonic() - begun < 3
    assert not processes_of_sandbox()


@pytest.mark.slow
def test_the_processor_time_of_a_sandboxed_program_is_limited(sh):
    with pytest.raises(ToolFailure, match=r"the program died of signal (24|9)"):
        sh("while :; do :; done", cpu=1, wall=20.0)


def test_a_killed_sandboxed_program_gives_no_result(sh):
    with pytest.raises(ToolFailure, match="the program died of signal 11"):
        sh("kill -SEGV $$")


@pytest.mark.slow
def test_the_output_of_a_sandboxed_program_is_limited(sh):
    with pytest.raises(ToolFailure, match="the program printed more than 64 KiB"):
        sh("while :; do echo line; done")


@pytest.mark.slow
@needs_python
def test_the_memory_of_a_sandboxed_program_is_limited(run):
    script = "try:\n    bytearray(300 << 20)\nexcept MemoryError:\n    print('limited')"
    assert run(PYTHON, ["-I", "-S", "-c", script], {}).output == "limited\n"


@pytest.mark.slow
def test_the_number_of_processes_of_a_fork_bomb_is_limited(sh):
    """A fork bomb cannot exceed a limit of four processes, and all of them end with the program."""
    bomb = "f() { f & f & sleep 1; ls /proc | grep -c '^[0-9]'; }; f"
    try:
        found = sh(bomb, wall=3.0, processes=4)
        assert "fork" in found.output
    except ToolFailure:
        pass
    assert not processes_of_sandbox()


@pytest.mark.slow
def test_background_processes_of_a_sandboxed_program_end_with_the_program(sh):
    begun = time.monotonic()
    assert sh("sleep 60 > /dev/null 2>&1 & sleep 60 & echo done").output == "done\n"
    assert time.monotonic() - begun < 3
    assert not processes_of_sandbox()


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_a_sandboxed_program_ends_if_templater_is_killed():
    pid = os.fork()
    if pid == 0:
        validator_process.run("/bin/sleep", ["60"], {}, limits=Limits(wall=60.0))
        os._exit(0)
    uid = f"Uid:\t{validator_process.FIRST_UID + pid}\t"

    def running() -> bool:
        texts = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                texts.append(status.read_text())
            except OSError:
                continue
        return any(uid in text for text in texts)

    wait_until(running)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: not running())


def wait_until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- machines without namespaces ---------------------------------------------------------------


@pytest.mark.skipif(
    os.uname().machine not in refused_calls.ARCHITECTURES, reason="no filter for this machine"
)
@pytest.mark.parametrize("who", ["root", "user"])
def test_a_program_is_refused_if_the_machine_cannot_confine_the_program(tmp_path, who):
    if who == "root" and not ROOT:
        pytest.skip("needs root")

    def work():
        validator_process.libc("prctl")(validator_process.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        refused_calls.refuse()
        return validator_process.run("/bin/touch", [str(tmp_path / "started")], {})

    os.chmod(tmp_path, 0o777)
    with pytest.raises(NotConfinedError) as refused:
        in_child(work, USER if ROOT and who == "user" else None)
    assert str(refused.value) == "this process has no permission to call unshare, which the sandbox needs"
    assert not (tmp_path / "started").exists()


@pytest.mark.slow
def test_programs_have_the_same_limits_without_a_sandbox():
    def sh(script, **limits):
        return validator_process.run(
            "/bin/sh", ["-c", script], {"a": b"text"}, confined=False, limits=Limits(**limits)
        )

    assert sh("cat a").output == "text"
    with pytest.raises(ToolFailure, match=r"the program took longer than 0.3 s"):
        sh("sleep 60", wall=0.3)
    with pytest.raises(ToolFailure, match="the program died of signal"):
        sh("while :; do :; done", cpu=1, wall=20.0)
    with pytest.raises(ToolFailure, match="the program printed more than"):
        sh("while :; do echo line; done")
    status = sh("cat /proc/self/status").output
    assert "NoNewPrivs:\t1" in status
    assert "Uid:\t0" not in status
    folder = sh("pwd").output.strip()
    assert not os.path.exists(folder)


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_attack_50_other_users_cannot_read_the_files_of_an_unconfined_program():
    """Every local user could read and replace the rendered file that the validator checks."""
    script = "stat -c '%u %a %n' .. . a a/b; echo more >> a/b; cat a/b"
    result = validator_process.run("/bin/sh", ["-c", script], {"a/b": b"text\n"}, confined=False)
    outer, work, *inner, first, last = result.output.splitlines()
    assert (outer, work) == ("0 711 ..", "65534 700 .")
    assert [line.split()[0] for line in inner] == ["65534", "65534"]
    assert (first, last) == ("text", "more")


@pytest.mark.skipif(not ROOT or shutil.which("unshare") is None, reason="needs root and unshare")
@pytest.mark.parametrize(
    ("map_users", "answer"),
    [(["--map-users=0,0,2", "--map-groups=0,0,2"], "1 1 700 text"), (["-r"], "0 0 700 text")],
    ids=["two users", "one user"],
)
def test_unconfined_programs_can_read_their_files_without_user_65534(map_users, answer):
    code = (
        "from templater.sandbox import validator_process as tool\n"
        "script = 'echo $(id -u) $(stat -c \"%u %a\" .) $(cat a)'\n"
        "print(tool.run('/bin/sh', ['-c', script], {'a': b'text'}, confined=False).output)"
    )
    done = subprocess.run(
        ["unshare", "-U", *map_users, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip("needs user namespaces with several users")
    assert done.stdout == f"{answer}\n\n", done.stderr


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_an_unconfined_program_does_not_start_if_chown_fails(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    expected = "^can't change the owner of the files for the validator: Operation not permitted$"
    with pytest.raises(ToolFailure, match=expected):
        validator_process.run("/bin/touch", [str(tmp_path / "new")], {"a": b""}, confined=False)
    assert not (tmp_path / "new").exists()


def test_the_first_installed_program_in_a_list_of_candidates_is_used():
    assert validator_process.find(["templater-none", "/none/templater"]) is None
    assert validator_process.find(["templater-none", "sh"]) in ("/bin/sh", "/usr/bin/sh")


def test_a_sandboxed_program_finds_its_own_user_and_group_by_name(run):
    shown = run("/bin/cat", ["/etc/passwd", "/etc/group"], {}).output
    ids = run("/bin/sh", ["-c", "id -u; id -g"], {}).output.split()
    assert "0" not in ids
    assert shown == (
        "root:x:0:0:root:/:/bin/sh\n"
        f"nobody:x:{ids[0]}:{ids[1]}:nobody:/:/bin/sh\n"
        f"root:x:0:\nnogroup:x:{ids[1]}:\n"
    )
