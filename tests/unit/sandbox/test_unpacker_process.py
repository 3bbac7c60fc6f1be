"""Limits of the program that reads squashfs, tried by other programs in its place."""

import io
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from errno import ENOSPC
from pathlib import Path
from types import SimpleNamespace

import pytest

from templater.cli.run_command_line import main
from templater.image.read_whole_image import open_contents
from templater.image.second_file import open_rootfs
from templater.model.counters_of_work import running_programs
from templater.model.errors import InputError, LimitError
from templater.sandbox import allowed_calls, unpacker_process
from templater.sandbox.child import Bounds
from tests.sampling import some_fast

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confined on Linux only")
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
needs_filter = pytest.mark.skipif(
    os.uname().machine not in allowed_calls.ARCHITECTURES, reason="no filter for this machine"
)


@pytest.fixture(params=["limits alone", "limits and filter"])
def walls(request, monkeypatch):
    """The limits have to hold on an architecture without a list of system calls as well."""
    if request.param == "limits alone":
        monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})
    return request.param


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"the image")
    return str(path)


def start(command, path, bounds):
    fd = os.open(path, os.O_RDONLY)
    try:
        return unpacker_process.start(command, path, fd, bounds)
    finally:
        os.close(fd)


def run(data, *command) -> tuple[int, bytes, str]:
    """Run a program in the sandbox and return its exit code, output and error output."""
    with start(list(command), data, Bounds(60)) as process:
        output = b""
        while piece := os.read(process.output, 1 << 16):
            output += piece
        return process.wait(), output, process.said()


@pytest.mark.parametrize("ends", [True, False])
def test_the_context_manager_ends_the_program_and_closes_its_descriptors(ends, data):
    before = os.listdir("/proc/self/fd")
    with start(["true" if ends else "cat", *["/dev/zero"][ends:]], data, Bounds(60)) as process:
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2
        if ends:
            assert process.wait() == 0
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(process._pid, 0)
    assert process.wait() == (0 if ends else -9)


def error_of(data, bounds, *command) -> str:
    """Run a program that fails in the sandbox, and return its error with the error's class."""
    with start(list(command), data, bounds) as process:
        while os.read(process.output, 1 << 16):
            pass
        assert process.failed()
        error = process.error("i.squashfs", command[0])
    return f"{type(error).__name__}: {error}"


def test_the_sandboxed_program_reads_the_image_and_writes_its_output(data, walls):
    assert run(data, "cat", unpacker_process.INPUT) == (0, b"the image", "")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_the_sandboxed_program_reads_an_image_without_world_permissions(data, walls, mode):
    os.chmod(data, mode)
    assert run(data, "cat", unpacker_process.INPUT)[1] == b"the image"


@needs_root
def test_a_private_sparse_image_is_copied_with_its_holes(data):
    """A squashfs file of 44 KiB with a hole of 40 GiB filled the disk."""
    with open(data, "r+b") as file:
        file.seek(1 << 30)
        file.write(b"the end")
        file.truncate((1 << 30) + 4096)
    os.chmod(data, 0o600)
    code, output, _ = run(data, "stat", "--dereference", "--format=%s %b %B", unpacker_process.INPUT)
    size, blocks, block = map(int, output.split())
    assert (code, size) == (0, (1 << 30) + 4096)
    assert blocks * block <= 1 << 20
    assert run(data, "tail", "-c", "4096", unpacker_process.INPUT)[1] == b"the end" + bytes(4089)


@needs_root
@pytest.mark.parametrize(("owner", "is_copied"), [(1234, False), (0, True)])
def test_a_large_private_image_of_another_user_is_not_copied(data, monkeypatch, owner, is_copied):
    monkeypatch.setattr(unpacker_process, "MAX_COPIED", 8)
    os.chmod(data, 0o600)
    os.chown(data, owner, owner)
    if is_copied:
        assert run(data, "cat", unpacker_process.INPUT)[1] == b"the image"
        return
    monkeypatch.setattr(os, "sendfile", lambda *_: pytest.fail("copied"))
    with pytest.raises(LimitError, match="private to another user") as caught:
        run(data, "cat", unpacker_process.INPUT)
    assert caught.value.hint == "let all users read the file, or make root its owner"


@needs_root
def test_copying_to_a_full_disk_gives_a_clear_error(data, monkeypatch):
    def full(*_):
        raise OSError(ENOSPC, "No space left on device")

    os.chmod(data, 0o600)
    monkeypatch.setattr(os, "sendfile", full)
    with pytest.raises(
        InputError, match="can't be copied for the sandbox: no space left on device"
    ) as caught:
        run(data, "cat", unpacker_process.INPUT)
    assert caught.value.hint.startswith("make room in the directory of temporary files")


def test_the_sandboxed_program_reads_an_image_in_a_private_directory(data, walls):
    os.chmod(os.path.dirname(data), 0o700)
    assert run(data, "cat", unpacker_process.INPUT)[1] == b"the image"
    code, output, _ = run(data, "cat", data)
    assert (code == 0) != ROOT
    assert output == b"" or not ROOT


def facts(data) -> dict[str, list[str]]:
    status = run(data, "cat", "/proc/self/status")[1].decode()
    return {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines()}


@needs_root
def test_the_sandboxed_program_has_no_privileges_and_cannot_gain_any(data, walls):
    found = facts(data)
    assert len({*found["Uid"], *found["Gid"]}) == 1
    assert int(found["Uid"][0]) not in (0, os.getuid())
    assert found["Groups"] == []
    assert {found[name][0] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
    assert found["NoNewPrivs"] == ["1"]


@needs_filter
def test_the_sandboxed_program_has_a_system_call_filter(data):
    assert facts(data)["Seccomp"] == ["2"]


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("what", ["/etc/shadow", "secret"])
def test_the_sandboxed_program_cannot_read_files_of_root(data, walls, tmp_path, what):
    os.chmod(tmp_path, 0o755)
    (tmp_path / "secret").write_text("s")
    (tmp_path / "secret").chmod(0o600)
    code, output, said = run(data, "cat", str(tmp_path / what))
    assert code != 0
    assert output == b""
    assert "denied" in said


@pytest.fixture
def open_folder():
    """Yield a world-writable folder, in which a program with write access could do damage."""
    folder = Path("/tmp/templater-sandbox-test")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "victim").write_text("precious")
    (folder / "victim").chmod(0o666)
    yield folder
    shutil.rmtree(folder)


CHANGES = {
    "make a file": ["touch", "{}/new"],
    "write to a file": ["dd", "if=/dev/zero", "of={}/victim", "count=1", "conv=notrunc"],
    "empty a file": ["truncate", "-s0", "{}/victim"],
    "remove a file": ["rm", "-f", "{}/victim"],
    "rename a file": ["mv", "{}/victim", "{}/gone"],
    "make a folder": ["mkdir", "{}/new"],
    "make a link": ["ln", "-s", "x", "{}/new"],
    "link a file": ["ln", "{}/victim", "{}/new"],
    "change a mode": ["chmod", "777", "{}/victim"],
    "make a fifo": ["mkfifo", "{}/new"],
    "change a time": ["touch", "-d", "2001-01-01", "{}/victim"],
}


@pytest.mark.slow
@needs_filter
@pytest.mark.parametrize("what", CHANGES)
def test_the_sandboxed_program_cannot_write_to_world_writable_directories(data, what, open_folder):
    before = os.stat(open_folder / "victim")
    run(data, *[word.format(open_folder) for word in CHANGES[what]])
    after = os.stat(open_folder / "victim")
    assert os.listdir(open_folder) == ["victim"]
    assert (open_folder / "victim").read_text() == "precious"
    assert (before.st_mode, before.st_mtime_ns, before.st_ino) == (
        after.st_mode, after.st_mtime_ns, after.st_ino
    )  # fmt: skip


def test_file_sizes_are_limited_without_a_system_call_filter(data, monkeypatch, open_folder):
    monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})
    run(data, "dd", "if=/dev/zero", f"of={open_folder}/new", "bs=1M", "count=4")
    assert sum(path.stat().st_size for path in open_folder.iterdir()) <= unpacker_process.COMPLAINTS + 8


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("where", some_fast(["tcp/127.0.0.1", "udp/127.0.0.1"], every=2))
def test_the_sandboxed_program_cannot_reach_the_network(data, walls, where):
    if walls == "limits alone" and not ROOT:
        pytest.skip("without a filter it takes root to leave the network")
    kind = socket.SOCK_STREAM if where.startswith("tcp") else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        server.settimeout(0.3)
        port = server.getsockname()[1]
        run(data, "bash", "-c", f"exec 3<>/dev/{where}/{port} && echo hello >&3")
        with pytest.raises(TimeoutError):
            server.accept() if kind == socket.SOCK_STREAM else server.recv(10)


def test_the_sandboxed_program_cannot_create_processes(data, walls):
    if walls == "limits alone" and not ROOT:
        pytest.skip("a limit on processes counts all of a user's")
    code, output, said = run(data, "sh", "-c", "cat /proc/self/status; echo made")
    assert (code, output) == (2, b"")
    assert "fork" in said


def test_the_sandboxed_program_cannot_signal_other_processes(data, walls):
    if walls == "limits alone" and not ROOT:
        pytest.skip("without a filter it is the same user")
    victim = subprocess.Popen(["sleep", "20"])
    try:
        run(data, "sh", "-c", f"kill -9 {victim.pid}")
        time.sleep(0.05)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_the_sandboxed_program_inherits_only_its_own_descriptors(data, tmp_path, monkeypatch):
    monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})  # the allowed system calls cannot list a folder
    monkeypatch.setenv("SECRET", "hunter2")
    secret = os.open(data, os.O_RDONLY)
    os.set_inheritable(secret, True)
    high = os.dup2(secret, 900, inheritable=True)
    try:
        assert run(data, "ls", "/proc/self/fd")[1].split() == [b"0", b"1", b"2", b"3", b"4"]
        assert b"hunter2" not in run(data, "cat", "/proc/self/environ")[1]
    finally:
        os.close(secret)
        os.close(high)


@pytest.mark.slow
def test_the_sandboxed_program_has_a_processor_time_limit(data, walls):
    message = "LimitError: 'i.squashfs': sh used more than 1 s of processor time and was stopped"
    assert error_of(data, Bounds(1), "sh", "-c", "while :; do :; done") == message


def test_the_sandboxed_program_has_a_memory_limit(data, walls):
    found = error_of(data, Bounds(20, memory=64 << 20), "sh", "-c", "x=aaaaaaaa; while :; do x=$x$x; done")
    assert "processor time" not in found


def test_an_out_of_memory_message_gives_a_limit_error(data, monkeypatch):
    """The program prints sqfs2tar's message about a lack of memory."""
    monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})  # the allowed system calls cannot redirect output
    words = ("sh", "-c", "echo 'loading filesystem tree: out of memory.' >&2; exit 1")
    message = "LimitError: 'i.squashfs': sh needs more than the limit of 64 MiB of memory"
    assert error_of(data, Bounds(20, memory=64 << 20), *words) == message


@pytest.mark.slow
def test_endless_error_output_does_not_fill_the_disk(data, walls):
    endless = ["sh", "-c", "while :; do echo complaint >&2; done"]
    with start(endless, data, Bounds(60)) as process:
        time.sleep(0.5)
        assert os.fstat(process._complaints.fileno()).st_size <= unpacker_process.COMPLAINTS


def test_the_sandboxed_program_is_killed_after_the_with_block(data, walls):
    with start(["cat", "/dev/zero"], data, Bounds(60)) as process:
        pid = process._pid
        os.read(process.output, 10)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def squashfs(tmp_path) -> str:
    if not (shutil.which("mksquashfs") and shutil.which("sqfs2tar")):
        pytest.skip("needs mksquashfs and sqfs2tar")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/hosts").write_text("localhost\n")
    path = tmp_path / "root.squashfs"
    subprocess.run(
        ["mksquashfs", tmp_path / "root", path, "-quiet", "-no-progress", "-noappend"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return str(path)


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_squashfs_file_is_read_in_the_sandbox(tmp_path, walls, mode):
    path = squashfs(tmp_path)
    os.chmod(path, mode)
    with open_rootfs(path) as archive:
        assert "etc/hosts" in {member.name.removeprefix("./") for member in archive}
    assert stat.S_IMODE(os.stat(path).st_mode) == mode


@needs_root
def test_data_after_a_squashfs_image_is_not_copied(tmp_path, monkeypatch):
    path = squashfs(tmp_path)
    size = os.path.getsize(path)
    with open(path, "ab") as file:
        file.write(b"x" * (2 << 20))
    os.chmod(path, 0o600)
    os.chown(path, 1234, 1234)
    monkeypatch.setattr(unpacker_process, "MAX_COPIED", size)
    with open_rootfs(path) as archive:
        assert "etc/hosts" in {member.name.removeprefix("./") for member in archive}


@needs_root
def test_the_audit_command_refuses_an_oversized_private_squashfs_file(tmp_path, monkeypatch, capsys):
    path = squashfs(tmp_path)
    os.chmod(path, 0o600)
    os.chown(path, 1234, 1234)
    monkeypatch.setattr(unpacker_process, "MAX_COPIED", 8)
    assert main(["audit", path]) == 4
    assert "is private to another user and has more than 0 MiB" in capsys.readouterr().err


@pytest.mark.slow
def test_a_squashfs_program_without_output_is_killed(tmp_path, monkeypatch):
    path = squashfs(tmp_path)
    real = unpacker_process.start
    monkeypatch.setattr(unpacker_process, "IDLE_SECONDS", 1)
    monkeypatch.setattr(unpacker_process, "start", lambda command, *rest: real(["sleep", "30"], *rest))
    monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})  # the allowed system calls cannot sleep
    begin = time.monotonic()
    with pytest.raises(LimitError, match="without output"), open_rootfs(path) as archive:
        list(archive)
    assert time.monotonic() - begin < 20


def test_the_error_about_a_damaged_squashfs_file_contains_the_path(tmp_path):
    path = Path(squashfs(tmp_path))
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 3000)
    with pytest.raises(InputError) as caught, open_rootfs(str(path)) as archive:
        list(archive)
    assert str(path) in str(caught.value)


def test_a_missing_squashfs_program_gives_an_installation_hint(tmp_path, monkeypatch):
    path = squashfs(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError) as caught, open_rootfs(path) as archive:
        list(archive)
    assert "squashfs-tools-ng" in caught.value.hint


def test_the_error_has_the_name_of_the_crashed_sandboxed_program(data, monkeypatch):
    monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})  # the allowed system calls cannot send signals
    message = "InputError: 'i.squashfs' can't be read: sh died of signal 11"
    assert error_of(data, Bounds(60), "sh", "-c", "kill -11 $$") == message


def test_the_second_part_of_a_split_image_is_read(tmp_path):
    path = squashfs(tmp_path)
    first = tmp_path / "meta.tar"
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    subprocess.run(["tar", "-C", tmp_path, "-cf", first, "metadata.yaml"], check=True)
    found = {
        member.name: b"".join(piece for _, piece in data)
        for member, data in open_contents(str(first), path).rootfs()
    }
    assert found["etc/hosts"] == b"localhost\n"


@pytest.mark.parametrize(
    ("code", "said", "kind", "text"),
    [
        (-signal.SIGXCPU, "", LimitError, "p used more than 7 s of processor time and was stopped"),
        (
            -signal.SIGKILL,
            "out of memory",
            LimitError,
            "p used more than 7 s of processor time and was stopped",
        ),
        (1, "memory is full", LimitError, "p needs more than the limit of 3 MiB of memory"),
        (-signal.SIGSEGV, "text", InputError, "can't be read: p died of signal 11"),
        (1, "bad\nblock", InputError, "can't be read: bad\\nblock"),
    ],
)
def test_the_error_of_a_sandboxed_program_says_how_the_program_ended(code, said, kind, text):
    program = SimpleNamespace(wait=lambda: code, said=lambda: said, _bounds=Bounds(7, memory=3 << 20))
    error = unpacker_process.Program.error(program, "image", "p")
    assert type(error) is kind
    assert error.message == (f"'image' {text}" if text.startswith("can't") else f"'image': {text}")


def test_the_error_names_the_program_if_the_program_printed_no_message():
    program = SimpleNamespace(wait=lambda: 1, said=lambda: "", _bounds=Bounds(7))
    assert unpacker_process.Program.error(program, "image", "p").message == "'image' can't be read by p"


@pytest.mark.parametrize(
    ("code", "said", "kind", "message"),
    [
        (-signal.SIGXCPU, "", LimitError, "'i': p used more than 7 s of processor time and was stopped"),
        (-signal.SIGKILL, "", LimitError, "'i': p used more than 7 s of processor time and was stopped"),
        (1, "out of memory", LimitError, "'i': p needs more than the limit of 3 MiB of memory"),
        (-signal.SIGSEGV, "", InputError, "'i' can't be read: p died of signal 11"),
        (1, "bad\x1b block\n ", InputError, "'i' can't be read: bad\\x1b block"),
        (1, "x" * 1001, InputError, f"'i' can't be read: {'x' * 1000}"),
        (2, "\n", InputError, "'i' can't be read by p"),
    ],
)
def test_the_error_says_why_the_sandboxed_program_ended(code, said, kind, message):
    program = unpacker_process.Program(0, None, io.BytesIO(said.encode()), Bounds(7, memory=3 << 20))
    running_programs.discard(program.processor_seconds)
    program._status = code
    error = program.error("i", "p")
    assert (type(error), error.message) == (kind, message)


def test_the_processor_time_of_a_program_is_read_from_its_process():
    program = unpacker_process.Program(os.getpid(), None, None, Bounds())
    running_programs.discard(program.processor_seconds)
    before = time.process_time()
    assert 0 < before <= program.processor_seconds() <= time.process_time()
    program._pid = 1 << 22
    assert program.processor_seconds() == 0


def test_reading_program_output_has_a_timeout_of_sixty_seconds(data):
    with start(["cat", unpacker_process.INPUT], data, Bounds(60)) as process:
        wait = process._output.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        assert struct.unpack("ll", wait) == (60, 0)
        assert process.failed() is False  # it takes one byte of the output
        assert os.read(process.output, 99) == b"he image"
        assert os.read(process.output, 99) == b""
        assert process.failed() is False and process.wait() == 0


def test_a_missing_program_cannot_be_started(data):
    with pytest.raises(FileNotFoundError, match=r"^templater-none$"):
        start(["templater-none"], data, Bounds())
