"""The log lines of a hook: in the instance's own log, in the FILE of ``--log``, in syslog and on stderr."""

import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow
from time import gmtime, strftime

from ..model.errors import TemplaterError
from ..model.unprintable_characters import printable
from ..oslite import exists, os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..instances.state_directory import StateDirectory

MAX_LOG = 1 << 20
#: maximum seconds for each message to the system's log
SYSLOG_SECONDS = 2.0
#: the maximum number of lines that one hook logs, and of characters in a line
MOST_LINES = 1000
LONGEST_LINE = 1000
#: the maximum number of bytes that one hook writes to the FILE of ``--log``, which nothing rotates
MOST_IN_FILE = 16 << 10


class Log:
    """The log lines of one hook. All lines are written at once, so the lines of two hooks do not mix."""

    __slots__ = ("lines", "name", "omitted", "private", "summary")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lines: list[str] = []
        #: lines for the instance's own log, which only its owner can read, and not for syslog
        self.private: set[str] = set()
        #: the line that replaces ``private`` in syslog, because the names and the number of changed files can
        #: reveal a secret
        self.summary = ""
        self.omitted = 0

    def add(self, text: str, *, private: bool = False) -> None:
        # An image determines the number and the length of the log lines, so both are limited.
        if len(self.lines) == MOST_LINES:
            self.omitted += 1
            return
        line = shortened(printable(text))
        self.lines.append(line)
        if private:
            self.private.add(line)

    def end(self) -> None:
        """Add a last log line with the number of omitted lines."""
        if self.omitted:
            self.lines.append(f"… and {self.omitted} more lines")
            if self.private:  # the number reveals how many lines are private
                self.private.add(self.lines[-1])
            self.omitted = 0

    def data(self, *, public: bool = False) -> bytes:
        lines = self.public_lines() if public else self.lines
        when = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
        name = f" {self.shown_name()}" if self.name else ""
        return "".join(f"{when}{name}: {line}\n" for line in lines).encode("utf-8", "replace")

    def public_lines(self) -> "list[str]":
        """Return the log lines that other users may read."""
        return [line for line in (*self.lines, self.summary) if line and line not in self.private]

    def write(self, state_directory: "StateDirectory | None", file: str) -> None:
        """Write the lines to the instance's log, to ``file``, and to syslog. Failures raise no error."""
        if not self.lines:
            return
        self.end()
        if file:  # first, because the owner of the instance's directory can make the other log unwritable
            self._attempt(self.to_file, file)
        if state_directory is not None:
            self._attempt(state_directory.append, "log", self.data(), MAX_LOG)
        self.to_syslog()

    def _attempt(self, call: "Callable[..., None]", *arguments: object) -> None:
        try:
            call(*arguments)
        except (TemplaterError, OSError) as error:
            self.add(f"the log can't be written: {error}")

    def to_file(self, file: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(file, flags, 0o600)
        try:
            status = os.fstat(fd)
            is_own = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o077
            data = self.data(public=not is_own)
            if len(data) > MOST_IN_FILE:
                end = data.rindex(b"\n", 0, MOST_IN_FILE) + 1
                omitted = data.count(b"\n", end)
                data = data[:end] + f"… and {omitted} more lines\n".encode()
            os.write(fd, data)
        finally:
            os.close(fd)

    def shown_name(self) -> str:
        """Return the container's name, escaped for a log. The name can come from a hostile annotation."""
        return shortened(printable(self.name))

    def to_syslog(self) -> None:
        if not exists("/dev/log"):
            return
        import syslog

        waiting = False

        def expired(*_: object) -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                raise TimeoutError

        # syslog(3) waits while the journal reads nothing. After a signal, it tries once more, so the timer
        # repeats.
        _signal.signal(_signal.SIGALRM, expired)
        _signal.setitimer(_signal.ITIMER_REAL, SYSLOG_SECONDS, SYSLOG_SECONDS)
        try:
            waiting = True
            syslog.openlog("templater", syslog.LOG_PID, syslog.LOG_DAEMON)
            for line in self.public_lines():
                text = f"{self.shown_name()}: {line}" if self.name else line
                syslog.syslog(syslog.LOG_INFO, text.encode("utf-8", "replace").decode())
            waiting = False
        except TimeoutError:
            write_stderr("templater: the system's log accepts no messages")
        finally:
            waiting = False
            _signal.setitimer(_signal.ITIMER_REAL, 0)


def write_stderr(text: str) -> None:
    lines = [shortened(printable(line)) for line in text.split("\n")[:MOST_LINES]]
    try:  # noqa: SIM105 - a closed stderr must not stop the start
        os.write(2, ("\n".join(lines) + "\n").encode("utf-8", "replace"))
    except OSError:
        pass


def shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…"
