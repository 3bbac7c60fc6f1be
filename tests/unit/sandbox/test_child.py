"""Limits of the rendering child, tried from inside it: with resource limits only, and with the filter too."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from templater.model.errors import LimitError
from templater.sandbox import allowed_calls, child
from templater.sandbox.child import BoundError, Bounds, ChildFailure

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(params=["limits alone", "limits and filter"])
def walls(request, monkeypatch):
    """The limits have to hold on a kernel without seccomp as well."""
    if request.param == "limits alone":
        monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})
    return request.param


def answer(work, bounds=None):
    """Return the records of a child."""
    worker = child.start(lambda: None, work, bounds)
    try:
        return worker.answer()
    finally:
        worker.close()


def attempt(action):
    """Run ``action`` inside the child and return the name of its error or its result."""

    def work(send):
        try:
            result = action()
        except BaseException as error:
            send([type(error).__name__.encode(), str(error).encode()])
        else:
            send([b"done", repr(result).encode()])

    ((word, text),) = answer(work)
    return word.decode(), text.decode()


REFUSED = {"OSError", "PermissionError", "BlockingIOError"}

FORBIDDEN = {
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "write a file": lambda: os.open("/tmp/templater-child-was-here", os.O_WRONLY | os.O_CREAT),
    "list a directory": lambda: os.listdir("/"),
    "open a socket": lambda: socket.socket(),
    "open a unix socket": lambda: socket.socket(socket.AF_UNIX),
    "make a pipe": os.pipe,
    "duplicate a descriptor": lambda: os.dup(0),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
}
ROOT_ONLY = {
    "fork": os.fork,
    "become root again": lambda: os.setuid(0),
    "remove a file": lambda: os.unlink("/tmp/templater-child-was-here"),
    "read what is open": lambda: os.read(0, 1),
    "change root": lambda: os.chroot("/"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_sandboxed_child_cannot_perform_forbidden_operations(what, walls):
    if what == "signal its parent" and walls == "limits alone" and os.geteuid() != 0:
        pytest.skip("without a filter it is the same user as its parent")
    word, _ = attempt(FORBIDDEN[what])
    assert word in REFUSED
    assert not os.path.exists("/tmp/templater-child-was-here")


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0, reason="limits on processes do not bind root, who is needed to leave it"
)
@pytest.mark.parametrize("what", ROOT_ONLY)
def test_the_sandboxed_child_of_root_cannot_perform_forbidden_operations(what, walls):
    word, _ = attempt(ROOT_ONLY[what])
    assert word in REFUSED | {"FileNotFoundError"} - (
        {"FileNotFoundError"} if what != "remove a file" else set()
    )


def test_the_child_cannot_execute_programs():
    if os.uname().machine not in allowed_calls.ARCHITECTURES:
        pytest.skip("no filter for this machine")
    assert attempt(lambda: os.execv("/bin/true", ["true"]))[0] in REFUSED


def test_a_child_without_a_system_call_filter_cannot_execute_a_program(monkeypatch):
    monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})
    with pytest.raises(ChildFailure):  # a program cannot even open its libraries
        attempt(lambda: os.execv("/bin/true", ["true"]))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_the_child_of_a_root_process_is_unprivileged(monkeypatch):
    monkeypatch.setattr(allowed_calls, "ARCHITECTURES", {})
    word, ids = attempt(lambda: (os.getresuid(), os.getresgid(), os.getgroups()))
    uids, gids, groups = eval(ids)
    assert word == "done"
    assert len({*uids, *gids}) == 1 and uids[0] >= child.FIRST_UID
    assert groups == []


def test_the_child_can_read_the_clock_and_random_bytes(walls):
    assert attempt(time.time)[0] == "done"
    assert attempt(lambda: os.urandom(8))[0] == "done"


def limited(work, **bounds):
    with pytest.raises(LimitError) as caught:
        answer(work, Bounds(**bounds))
    return str(caught.value)


def forever(send):
    while True:
        pass


def test_the_wall_clock_limit_ends_the_child():
    start = time.monotonic()
    assert "longer than 0.2 s" in limited(forever, wall=0.2)
    assert time.monotonic() - start < 10


@pytest.mark.slow
def test_the_processor_time_limit_ends_the_child():
    assert "processor time" in limited(forever, cpu=1, wall=20)


def test_the_memory_limit_ends_the_child():
    assert "256 MiB of memory" in limited(lambda send: bytearray(1 << 29), memory=256 << 20)


def test_one_large_answer_of_the_child_hits_the_size_limit():
    assert "larger than 1 MiB" in limited(lambda send: send([b"x" * (2 << 20)]), output=1 << 20)


def test_many_small_answers_of_the_child_hit_the_size_limit():
    def work(send):
        while True:
            send([b"x" * 1000])

    assert "larger than 1 MiB" in limited(work, output=1 << 20)


DEPTH = """
from templater.sandbox import child, allowed_calls
def work(send):
    work(send)
try:
    child.start(lambda: None, work).answer()
except child.LimitError as error:
    print(error)
"""


def test_the_recursion_limit_ends_the_child():
    # run in a separate process: a child of this one may lack the memory for such depth
    done = subprocess.run([sys.executable, "-c", DEPTH], check=True, capture_output=True, text=True)
    assert "deeper" in done.stdout


INHERITED = """
import os, resource, sys
from templater.sandbox import child, allowed_calls
allowed_calls.ARCHITECTURES = {}  # the filter would hide what is open
if "no /proc" in sys.argv:
    child.os.listdir = lambda path: os.stat("/nowhere")
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (5000, hard))
secret = os.open("/etc/hostname", os.O_RDONLY)
places = [900, 1023, 1024, 2000, 4999]
for place in places:
    os.dup2(secret, place, inheritable=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100 if "lowered" in sys.argv else hard))
def work(send):
    left = []
    for place in range(5000):
        try:
            os.fstat(place)
            left.append(b"%d" % place)
        except OSError as error:
            assert error.errno == 9, error
    send(left)
((pipe,),) = child.start(lambda: None, work).answer()
print("only", pipe.decode())
"""


@pytest.mark.parametrize("how", [(), ("lowered",), ("no /proc",)])
def test_the_child_inherits_no_descriptor_after_lowering_the_limit(how):
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 5000:
        pytest.skip("the limit can't be raised here")
    done = subprocess.run(
        [sys.executable, "-c", INHERITED, *how], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("only "), done.stderr[-500:]


def test_a_killed_child_is_reported(monkeypatch):
    with pytest.raises(ChildFailure, match=r"^the sandboxed process died of signal 11$"):
        answer(lambda send: os.abort())


def test_an_exception_in_a_child_is_reported():
    with pytest.raises(ChildFailure, match=r"^the sandboxed process failed$") as caught:
        answer(lambda send: send(None))
    assert caught.value.hint == "please report this"


def test_a_large_answer_of_the_child_arrives_complete():
    def work(send):
        for number in range(50):
            send([b"%d" % number, bytes([number]) * 100_000])

    records = answer(work)
    assert records == [[b"%d" % n, bytes([n]) * 100_000] for n in range(50)]


def ended(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


SIGNALLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from templater.sandbox import child
def expired(*_):
    raise TimeoutError
signal.signal(signal.SIGALRM, expired)
fork = os.fork
def forked():
    pid = fork()
    if pid:
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGALRM)
    return pid
child.os.fork = forked
try:
    child.start(signal.pause, lambda send: None)
except TimeoutError:
    print("raised", flush=True)
child.end_children()
child.end_children()
"""


def test_attack_97_a_child_ends_with_its_parent_despite_a_signal_during_fork():
    """Another process of the PID namespace sent a signal, and the child went on in the image's files."""
    root = str(Path(__file__).parents[3])
    said = subprocess.check_output([sys.executable, "-c", SIGNALLED, root], text=True, timeout=30).split()
    assert said[1:] == ["raised"] and ended(said[0])


@pytest.mark.slow
@pytest.mark.parametrize("prepare", ["lambda: None", "lambda: time.sleep(100)"])
def test_the_child_ends_when_its_parent_is_killed(prepare):
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1]);"
        "from templater.sandbox import child;"
        f"c = child.start({prepare}, lambda send: [0 for _ in iter(int, 1)]); print(c.pid, flush=True);"
        "time.sleep(100)"
    )
    root = str(Path(__file__).parents[3])
    parent = subprocess.Popen([sys.executable, "-c", code, root], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    for _ in range(100):
        if ended(pid):
            break
        time.sleep(0.02)
    else:
        os.kill(pid, 9)
        pytest.fail("the child outlived its parent")


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"3:ab,",
        b"3:abc",
        b"3abc,",
        b"-1:,",
        b"03:abc,",
        b"99999999999:a,",
        b":,",
        b"5:9:ab,,",
        b"1:a,x",
        b" 1:a,",
    ],
)
def test_a_child_answer_in_an_unknown_format_counts_as_a_failure(data):
    with pytest.raises(ChildFailure):
        child.parse(data)


def test_nested_message_frames_are_parsed_to_their_original_values():
    record = child.frame(child.frame(b"a") + child.frame(b"") + child.frame(b"12:x,"))
    assert child.parse(record + child.frame(b"")) == [[b"a", b"", b"12:x,"], []]


@pytest.mark.parametrize(
    ("status", "kind", "message", "hint"),
    [
        (24, BoundError, "rendering used more than 7 s of processor time and was stopped", ""),
        (9, BoundError, "rendering used more than 7 s of processor time and was stopped", ""),
        (11, ChildFailure, "the sandboxed process died of signal 11", ""),
        (child.OUT_OF_MEMORY << 8, BoundError, "rendering needs more than 3 MiB of memory", ""),
        (child.TOO_DEEP << 8, LimitError, "rendering nests deeper than Python allows", ""),
        (child.TOO_MUCH << 8, BoundError, "the rendered files are larger than 2 MiB together", ""),
        (99 << 8, ChildFailure, "the sandboxed process failed", "please report this"),
    ],
)
def test_the_error_says_why_the_sandboxed_process_ended(status, kind, message, hint):
    error = child._failure_of(status, 6.9, Bounds(cpu=7, memory=3 << 20, output=2 << 20), b"")
    assert type(error) is kind
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_the_memory_error_mentions_a_lower_runtime_limit(kind, monkeypatch):
    """crun gives its hooks the resource limits of the container."""
    before = resource.getrlimit
    monkeypatch.setattr(
        resource, "getrlimit", lambda what: (8 << 20, 8 << 20) if what == kind else before(what)
    )
    error = child._failure_of(child.OUT_OF_MEMORY << 8, 0.0, Bounds(), b"")
    assert error.message == "rendering needs more than 8 MiB of memory"


def test_a_killed_child_does_not_count_as_too_slow():
    """The kernel kills a child for the memory limit of a container, too."""

    worker = child.start(lambda: None, lambda send: [0 for _ in iter(int, 1)], Bounds(cpu=5, wall=60))
    os.kill(worker.pid, 9)
    with pytest.raises(
        ChildFailure, match=r"^another process or the kernel killed the sandboxed process$"
    ) as caught:
        worker.answer()
    assert caught.value.hint == "if the container or the hook has a memory limit (cgroup), allow more memory"


@pytest.mark.parametrize(
    ("records", "notes"),
    [
        ([[child.BUG, b"KeyError: 'a'"]], ("KeyError: 'a'",)),
        ([[b"text", b"a"], [child.BUG, b"KeyError: 'a'"]], ("KeyError: 'a'",)),
        ([[child.BUG, b"KeyError: 'a'"], [b"text", b"a"]], ()),
        ([[b"text", b"a"]], ()),
        ([[child.BUG]], ()),
        ([[child.BUG, b"a", b"b"]], ()),
        ([], ()),
    ],
)
def test_a_failed_child_error_includes_the_last_recorded_exception(records, notes):
    data = b"".join(child.frame(b"".join(map(child.frame, record))) for record in records)
    assert child._failure_of(99 << 8, 0.0, Bounds(), data).notes == notes
    assert child._failure_of(99 << 8, 0.0, Bounds(), data + b"1:").notes == ()


@pytest.mark.parametrize(
    ("sizes", "written", "later"),
    [
        ([6], [], [12]), ([7], [], [14]), ([8], [15], []), ([1, 1], [], [14]), ([1, 2], [7], [8]),
        ([1, 8, 1], [7, 15], [7]), ([], [], []),
    ],
)  # fmt: skip
def test_small_records_of_the_child_are_sent_together(sizes, written, later, monkeypatch):
    sent = []
    monkeypatch.setattr(child, "CHUNK", 14)
    monkeypatch.setattr(child.os, "write", lambda pipe, data: sent.append(len(data)) or len(data))
    send = child._Sender(7, Bounds(1, output=1 << 20))
    for size in sizes:
        send([b"x" * size])
    assert sent == written
    for _ in range(2):
        send.flush()
        assert sent == written + later


def test_short_writes_do_not_reduce_the_output_limit(monkeypatch):
    sent = []
    monkeypatch.setattr(child.os, "write", lambda pipe, data: sent.append(bytes(data[:7])) or len(data[:7]))
    send = child._Sender(7, Bounds(1, output=31))
    send([b"0123456789"])
    send([b"a", b""])
    send([])
    with pytest.raises(child._TooMuch):
        send([])
    send.flush()
    assert b"".join(sent) == b"14:10:0123456789,,7:1:a,0:,,0:,"


LOCKED = """
import os, sys, time
from templater.oslite import forbid_core_file, limit_address_space
from templater.sandbox import child
limit_address_space(1 << 30)
forbid_core_file()
worker = child.start(lambda: None, lambda send: [0 for _ in iter(int, 1)])
def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line[:-1].split(":\\t", 1) for line in file if ":\\t" in line)
for _ in range(3000):
    if (found := status(worker.pid))["Seccomp"] == "2":
        break
    time.sleep(0.01)
print(found["Seccomp"], *(int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")))
with open("/proc/self/limits") as file:
    limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
print(limits["Max address space"][0], *limits["Max core file size"])
worker.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and x86_64")
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["setarch", "i686"],
        ["setpriv", "--securebits", "+no_setuid_fixup"],
        ["unshare", "--user", "--map-root-user"],
    ],
    ids=["as usual", "32 bits", "securebits", "one user"],
)
def test_every_sandboxed_child_has_a_system_call_filter_and_no_capabilities(
    words,
):
    """In a 32-bit session, uname(2) names another architecture.

    With securebits, a change of the user id does not drop the capabilities.
    """
    command = [*words, sys.executable, "-c", LOCKED]
    if words and shutil.which(words[0]) is None:
        pytest.skip(f"NOT RUN: needs {words[0]}")
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.stdout.split("\n")[:2] == ["2 0 0 0 0", f"{1 << 30} 0 0"], said.stderr
