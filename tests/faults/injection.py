"""Make one system call of an apply fail with strace, and inspect the result."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.faults.subject import NEW, OLD
from tests.faults.warm import Warm
from tests.memory_folders import directory_in_memory

ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EPERM", "EINTR")
KILL = "kill -9"
#: fail every call from then on: even a rollback then fails if it needs the same call
LASTING = ("ENOSPC+", "EIO+", "EROFS+")
FAULTS = (*ERRORS, *LASTING, KILL)

#: the system calls of an apply that change something or open something to change it
WRITES = (
    "flock", "openat", "openat2", "write", "fchown", "fchmod", "fsetxattr", "fremovexattr", "lseek", "ftruncate", "fsync", "syncfs",
    "linkat", "mkdirat", "renameat", "unlinkat", "utimensat", "close", "ioctl",
)  # fmt: skip
#: the system calls that only inspect files, with their possible errors
READS = (
    "fstat",
    "fstatfs",
    "newfstatat",
    "statx",
    "getdents64",
    "read",
    "pread64",
    "flistxattr",
    "fgetxattr",
    "fadvise64",
)
#: without a kill: it leaves the same files as a kill at the next call that changes something
READING_FAULTS = ("EIO", "EINTR", "EIO+")
CALLS = (*WRITES, *READS)
#: system calls that do not touch a file system; the tests check that the lists are complete
OTHERS = (
    "fcntl", "geteuid", "rt_sigaction", "rt_sigprocmask", "mmap", "munmap", "getrandom", "brk", "exit_group",
    "pipe2", "clone", "wait4", "clock_nanosleep", "memfd_create",
)  # fmt: skip

#: with the option in-place, a file is mounted on this target
MOUNTED = "/etc/issue"

WORDS = {
    "ENOSPC": "no space left on device",
    "EDQUOT": "disk quota exceeded",
    "EIO": "input/output error",
    "EROFS": "read-only file system",
    "EPERM": "operation not permitted",
    "EINTR": "interrupted system call",
}


def available() -> str:
    """Return why faults cannot be injected here, or an empty string."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    attach = "sleep 0.1 & strace -qq -o /dev/null -p $!"
    probe = subprocess.run(["sh", "-c", attach], check=False, capture_output=True, text=True)
    return probe.stderr.strip() if probe.returncode else ""


@dataclass(frozen=True)
class Call:
    """The n-th call of one kind by the subject, and its path."""

    name: str
    number: int
    about: str


@dataclass
class Outcome:
    call: Call
    fault: str
    exit_code: int = 0
    stderr: str = ""
    #: the number of targets with new content
    new: int = 0
    strays: int = 0
    #: all broken guarantees
    wrong: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        if self.wrong:
            return "WRONG: " + "; ".join(self.wrong)
        if self.exit_code == 0:
            return "done" + self._left
        new = f"{self.new} of {len(NEW)} new" if self.new else "all old"
        end = "killed" if self.exit_code < 0 else f"exit {self.exit_code}"
        return f"{end}, {new}{self._left}"

    @property
    def _left(self) -> str:
        return f", {self.strays} passing names, cleared by the next run" if self.strays else ""


class Bench:
    """A root filesystem in its initial state, recreated for each experiment."""

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        self.options = options
        environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}
        self.subject = Warm("tests.faults.subject", "-S", environment=environment)
        #: the mounted file system of the root filesystem, or "" for the usual temporary directory
        self.mounted = ""

    def __enter__(self) -> Self:
        if "btrfs" in self.options:
            self.mounted = tempfile.mkdtemp(prefix="templater-faults-")
            disk = Path(self.mounted + ".disk")
            disk.touch()
            os.truncate(disk, 120 << 20)
            subprocess.run(["mkfs.btrfs", "-q", "-M", disk], check=True)
            subprocess.run(["mount", "-o", "loop", disk, self.mounted], check=True)
            disk.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        self.subject.__exit__()
        if self.mounted:
            subprocess.run(["umount", "-l", self.mounted], check=True)
            Path(self.mounted).rmdir()

    def experiments(self, faults: tuple[str, ...] = FAULTS) -> Iterator[Outcome]:
        for call in self.calls():
            for fault in faults:
                if _makes_sense(call, fault):
                    yield self.experiment(call, fault)

    def calls(self) -> list[Call]:
        """Return the calls of an undisturbed apply between taking the lock and the end."""
        with Place(self) as place:
            place.run([])
            assert place.state() == NEW, place.state()
            return list(_calls(place.trace.read_text()))

    def others(self) -> set[str]:
        """Return the names of all other system calls between the lock and the end."""
        with Place(self) as place:
            place.run_undisturbed()
        with Place(self) as place:
            assert place.run([], every=True).returncode == 0
            names = re.findall(r"^(\w+)\(", place.trace.read_text(), re.M)
        return set(names[names.index("flock") :]) - set(CALLS)

    def experiment(self, call: Call, fault: str) -> Outcome:
        outcome = Outcome(call, fault)
        what = "signal=KILL" if fault == KILL else f"error={fault.rstrip('+')}"
        when = f"{call.number}+" if fault in LASTING else str(call.number)
        with Place(self) as place:
            done = place.run(["-e", f"inject={call.name}:{what}:when={when}"])
            outcome.exit_code, outcome.stderr = done.returncode, done.stderr
            self._judge(outcome, place)
            self._judge_next_run(outcome, place)
        return outcome

    def _judge(self, outcome: Outcome, place: "Place") -> None:
        state = place.state()
        outcome.new = sum(state.get(path) == text for path, text in NEW.items())
        outcome.strays = len(place.strays())
        for path, text in NEW.items():
            if state.get(path) not in (text, OLD.get(path)) and not self._excepted(path, outcome):
                outcome.wrong.append(f"{path} is neither old nor new: {state.get(path)!r}")
        outcome.wrong += place.attributes_lost()
        if outcome.exit_code == 0 and outcome.new != len(NEW):
            outcome.wrong.append("exit 0, but not everything is new")
        if outcome.exit_code > 0:
            self._judge_refusal(outcome)
        if outcome.exit_code and outcome.fault == "EINTR":
            outcome.wrong.append("an interrupted call was not repeated")
        if outcome.exit_code < 0 and outcome.fault != KILL:
            outcome.wrong.append(f"died of signal {-outcome.exit_code}")
        injected = outcome.fault == KILL or "(INJECTED)" in place.trace.read_text()
        if not injected:
            outcome.wrong.append("the fault was not injected")

    def _excepted(self, path: str, outcome: Outcome) -> bool:
        """Return whether the outcome is allowed: only a mount point may be neither old nor new."""
        return "in-place" in self.options and path == MOUNTED and outcome.fault in (KILL, *LASTING)

    def _judge_refusal(self, outcome: Outcome) -> None:
        lasting = outcome.fault in LASTING
        if lasting and outcome.new and "can't restore" not in outcome.stderr:
            outcome.wrong.append("something stayed new, and the message does not say so")
        if (outcome.new or outcome.strays) and not lasting:
            outcome.wrong.append(f"an error, but {outcome.new} new and {outcome.strays} strays")
        if "Traceback" in outcome.stderr:
            outcome.wrong.append("a traceback: " + outcome.stderr.strip().splitlines()[-1])
        elif WORDS.get(outcome.fault.rstrip("+"), "?") not in outcome.stderr:
            outcome.wrong.append(f"the message does not say why: {outcome.stderr.strip()!r}")
        elif not re.search(r"'/[^']*'", outcome.stderr):
            outcome.wrong.append(f"the message names no path: {outcome.stderr.strip()!r}")
        if outcome.exit_code != 6:
            outcome.wrong.append(f"exit code {outcome.exit_code}")

    def _judge_next_run(self, outcome: Outcome, place: "Place") -> None:
        done = place.run_undisturbed()
        if done.returncode:
            outcome.wrong.append(f"the next run fails: {done.stderr.strip()}")
        elif place.state() != NEW:
            outcome.wrong.append("after the next run not everything is new")
        if place.strays():
            outcome.wrong.append(f"left after the next run: {place.strays()}")
        outcome.wrong += place.attributes_lost()


class Place:
    """One root filesystem, its state directory, and a mount if the options ask for one."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        # without options, on the disk: so a file system of each kind is tried
        where = bench.mounted or (directory_in_memory() if bench.options else None)
        self.folder = Path(tempfile.mkdtemp(prefix="templater-faults-", dir=where))
        self.top, self.private = self.folder / "root", self.folder / "state"
        self.trace = self.folder / "trace"

    def __enter__(self) -> "Place":
        lower = self.folder / "lower" if "overlay" in self.bench.options else self.top
        for path, text in OLD.items():
            place = lower / path[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text)
            place.chmod(0o640)
            if hasattr(os, "setxattr"):
                os.setxattr(place, "user.note", b"kept")
        self.private.mkdir()
        if lower != self.top:
            upper, work = self.folder / "upper", self.folder / "work"
            for place in (upper, work, self.top):
                place.mkdir()
            layers = f"lowerdir={lower},upperdir={upper},workdir={work},index=off"
            subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", self.top], check=True)
        if "shifted" in self.bench.options:
            os.chown(self.top, 100000, 100000)
        if "in-place" in self.bench.options:
            shutil.copyfile(self.top / "etc/issue", self.folder / "mounted")
            (self.folder / "mounted").chmod(0o640)
            os.setxattr(self.folder / "mounted", "user.note", b"kept")
            subprocess.run(["mount", "--bind", self.folder / "mounted", self.top / "etc/issue"], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        if "in-place" in self.bench.options:
            subprocess.run(["umount", self.top / "etc/issue"], check=True)
        if "overlay" in self.bench.options:
            subprocess.run(["umount", "-l", self.top], check=True)
        shutil.rmtree(self.folder)

    def run(self, injection: list[str], *, every: bool = False) -> "subprocess.CompletedProcess[str]":
        calls = [] if every else ["-e", "trace=" + ",".join(CALLS)]
        return self._subject(["-o", str(self.trace), *calls, *injection])

    def run_undisturbed(self) -> "subprocess.CompletedProcess[str]":
        return self._subject([])

    def _subject(self, strace: list[str]) -> "subprocess.CompletedProcess[str]":
        return self.bench.subject.run([str(self.top), str(self.private), *self.bench.options], strace)

    def state(self) -> dict[str, bytes]:
        return {path: (self.top / path[1:]).read_bytes() for path in NEW if (self.top / path[1:]).exists()}

    def strays(self) -> list[str]:
        found = [str(path.relative_to(self.folder)) for path in self.top.rglob(".templater-*")]
        return found + [str(path.relative_to(self.folder)) for path in self.private.iterdir()]

    def attributes_lost(self) -> list[str]:
        """Describe the files with their final name and content but without mode or attributes."""
        lost = []
        for path, text in self.state().items():
            place = self.top / path[1:]
            mode = place.stat().st_mode & 0o7777
            wanted = 0o640 if path in OLD else 0o644
            if mode != wanted and text in (NEW[path], OLD.get(path)):
                lost.append(f"{path} has mode {mode:o}")
            if path in OLD and hasattr(os, "getxattr") and "user.note" not in os.listxattr(place):
                lost.append(f"{path} lost its attributes")
        for directory in ("srv", "srv/a"):
            place = self.top / directory
            if place.exists() and place.stat().st_mode & 0o7777 != 0o755:
                lost.append(f"{directory} has mode {place.stat().st_mode & 0o7777:o}")
        return lost


def _makes_sense(call: Call, fault: str) -> bool:
    """Return whether a fault fits a call: a lasting write error would also prevent error output."""
    if call.name in READS and fault not in READING_FAULTS:
        return False
    return fault not in LASTING or call.name != "write"


def _calls(trace: str) -> Iterator[Call]:
    """Return the calls after the lock, numbered from the start of the process as strace counts them."""
    counts: dict[str, int] = dict.fromkeys(CALLS, 0)
    begun = False
    for line in trace.splitlines():
        found = re.match(r"(\w+)\((.*)\)\s+= ", line)
        if found is None or found[1] not in counts:
            continue
        counts[found[1]] += 1
        begun = begun or found[1] == "flock"
        if begun:
            yield Call(found[1], counts[found[1]], _about(found[2]))


def _about(arguments: str) -> str:
    """Return the last quoted name without tokens and inode numbers."""
    names = re.findall(r'"([^"]*)"', arguments)
    name = names[-1] if names else ""
    return re.sub(
        r"\.templater-\w+-(\d+)-\d+", lambda m: f".templater-*-{'0' if m[1] == '0' else 'inode'}", name
    )
