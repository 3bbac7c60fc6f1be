"""What every hook does: find out what happens to which container, render, apply, remember, tell.

A hook is on the path of every start, so nothing here goes through the command line's machinery:
the line that ``templater hook install`` writes comes in by ``line/templater_hook.py``.
"""

import _signal  # type: ignore[import-not-found]  # signal itself imports enum
import sys
from time import gmtime, strftime

from .. import __version__
from ..instances.directory import InstanceDirectory, State, StateDirectory
from ..model.errors import HostError, LimitError, RefusedError, TemplaterError, UsageError, WriteError
from ..model.hosts import NONE
from ..model.instance import require_name
from ..model.metadata import TRIGGERS
from ..model.source import Source, printable
from ..oslite import abspath, environment, exists, forget, isdir, os, split
from ..sandbox.child import Bounds, described_bug
from .compile_cache import CompileCache, open_cache
from .options import KEEP_GOING, PROBE, Options, parse
from .render_job import Job, Run
from .runtimes import part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..model.plan import Change, Plan
    from ..rootfs.confined import Root
    from ..rootfs.directory import DirectoryRootfs, IdMap
    from ..writing.transaction import Journal
    from .render_job import Answer

MAX_LOG = 1 << 20

#: the one instance of the outside world that may change what a template prints; it doesn't
_IGNORED = ("TZ", "TZDIR", "LC_ALL", "LC_TIME", "LC_CTYPE", "LANG", "LANGUAGE", "TEMPLATER_CONFINED")


class Start:
    """A container is about to start.

    ``image`` is the directory with metadata.yaml and templates, ``state_directory`` the one that holds
    ``.templater``, ``instance`` a file, or empty for instance.yaml beside the image. ``name`` is the
    runtime's, empty where the instance's own counts. ``triggers`` empty: as the state_directory says, or,
    with ``pending_in_config``, as the instance's volatile.apply_template does. ``compare``: nothing is
    written, and what would be is a finding. ``mount`` is called before the root filesystem is opened.
    ``held`` is the image's directory and ``described`` the instance where it was somebody else who named
    them: neither is opened by its name again.
    """

    __slots__ = (
        "compare",
        "config",
        "cross_mounts",
        "described",
        "held",
        "ids",
        "image",
        "instance",
        "mount",
        "name",
        "pending_in_config",
        "rootfs",
        "state_directory",
        "triggers",
    )  # fmt: skip

    def __init__(self, name: str, rootfs: str, image: str, state_directory: str = "") -> None:
        self.name = name
        self.rootfs = rootfs
        self.image = image
        self.state_directory = state_directory or image
        self.instance = ""
        self.held: Root | None = None
        self.described: Source | None = None
        self.triggers: tuple[str, ...] = ()
        self.config: Mapping[str, str] = {}
        self.ids: IdMap | None = None
        self.cross_mounts = False
        self.pending_in_config = False
        self.compare = False
        self.mount: Callable[[], None] | None = None


class Noted:
    """Something happened to a container that only had to be written down; ``text`` says what."""

    __slots__ = ("state_directory", "text")

    def __init__(self, text: str, state_directory: str = "") -> None:
        self.text = text
        self.state_directory = state_directory


class Log:
    """Lines for people, kept until the end: one write, so that two hooks' lines do not mix."""

    __slots__ = ("lines", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lines: list[str] = []

    def add(self, text: str) -> None:
        self.lines.append(printable(text))

    def data(self) -> bytes:
        when = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
        name = f" {printable(self.name)}" if self.name else ""
        return "".join(f"{when}{name}: {line}\n" for line in self.lines).encode("utf-8", "replace")

    def write(self, state_directory: "StateDirectory | None", file: str) -> None:
        """To the instance's log, to ``file``, and to syslog (the journal); none of them is vital."""
        if not self.lines:
            return
        try:
            if state_directory is not None:
                state_directory.append("log", self.data(), MAX_LOG)
            if file:
                self.to_file(file)
        except (TemplaterError, OSError) as error:
            self.add(f"the log can't be written: {error}")
        self.to_syslog()

    def to_file(self, file: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(file, flags, 0o600)
        try:
            os.write(fd, self.data())
        finally:
            os.close(fd)

    def to_syslog(self) -> None:
        if not exists("/dev/log"):
            return
        import syslog

        syslog.openlog("templater", syslog.LOG_PID, syslog.LOG_DAEMON)
        for line in self.lines:
            text = f"{self.name}: {line}" if self.name else line
            syslog.syslog(syslog.LOG_INFO, text.encode("utf-8", "replace").decode())


def serve() -> int:
    """The exit code of the hook that this process's arguments ask for; nothing escapes."""
    try:
        return run(sys.argv[1:])
    except BaseException as error:
        # a bug of ours: the container must not start on half a truth, and the reason must be found
        said = f"{described_bug(error)}; please report this"
        tell(f"templater: {said}")
        log = Log()
        log.add(f"failed: {said}")
        log.write(None, "")
        return 70


def run(arguments: "list[str]") -> int:
    """The exit code of a hook."""
    settle()
    log = Log()
    options = Options()
    try:
        if arguments[-1:] == [PROBE]:
            return probe()
        runtime, options = parse(arguments)
        arm(options.time_limit)
        situation = understand(runtime, options)
        if isinstance(situation, Start):
            log.name = situation.name
            start(situation, options, log)
        elif situation.text:
            log.add(situation.text)
            _write_log(log, situation.state_directory, options)
        return 0
    except TemplaterError as error:
        return failed(error, options, log)
    except OSError as error:
        return failed(WriteError(f"the system refuses: {str(error).lower()}"), options, log)
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)


def probe() -> int:
    """For ``hook status``: this line runs, and finds what it would need."""
    import yaml  # noqa: F401

    from ..pongo2.codegen import emit  # noqa: F401

    os.write(1, f"templater {__version__} on Python {sys.version.split()[0]}\n".encode())
    return 0


def settle() -> None:
    """Whatever the runtime hands down (crun: umask 0) makes no difference to what is written."""
    os.umask(0o022)
    for name in _IGNORED:
        forget(name)


def arm(seconds: float) -> None:
    def expired(*_: object) -> None:
        raise LimitError(f"the hook took longer than {seconds:g} s", hint="see --time-limit")

    _signal.signal(_signal.SIGALRM, expired)
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


def failed(error: TemplaterError, options: Options, log: Log) -> int:
    """Say why on stderr, which the runtime may hide, and in the log if nobody had it open yet."""
    _signal.setitimer(_signal.ITIMER_REAL, 0)  # what is said of it comes too late to end anything
    tell("templater: " + error.explain())
    if not log.lines:
        _log_failure(error, options, log)
        try:
            _write_log(log, options.state, options)
        except (TemplaterError, OSError):
            log.write(None, options.log)
    if options.on_error == KEEP_GOING:
        tell("templater: the container starts all the same: --on-error keep-going")
        return 0
    return error.exit_code


def _log_failure(error: TemplaterError, options: Options, log: Log) -> None:
    log.add(f"failed: {error}")
    for note in dict.fromkeys(error.notes):
        log.add(f"  {note}")
    if options.on_error == KEEP_GOING:
        log.add("started all the same: --on-error keep-going")


def tell(text: str) -> None:
    try:  # noqa: SIM105 - a closed stderr is no reason to fail
        os.write(2, (text + "\n").encode("utf-8", "replace"))
    except OSError:
        pass


def understand(runtime: str, options: Options) -> "Start | Noted":
    """Each runtime tells what is going on in its own way."""
    situation: Callable[[Options, Mapping[str, str]], Start | Noted] = part(runtime, "situation")
    return situation(options, environment())


# --- a start -----------------------------------------------------------------------------------


def start(situation: Start, options: Options, log: Log) -> None:
    """Render and apply what is due; either everything is written, or nothing and an error is raised."""
    if situation.name:
        require_name(situation.name)
    with StateDirectory(situation.state_directory) as state_directory:
        try:
            state_directory.lock(f"hook for {printable(situation.name) or 'a container'}", options.time_limit)
            _start(situation, options, log, state_directory)
        except TemplaterError as error:
            _log_failure(error, options, log)
            raise
        finally:
            log.write(state_directory, options.log)


def _start(situation: Start, options: Options, log: Log, state_directory: StateDirectory) -> None:
    known = state_directory.state()
    # the first start of a container that nobody unpacked is its creation
    owed = State("create") if known is None else known
    triggers = options.triggers or situation.triggers
    require_triggers(triggers)
    told = bool(triggers) or situation.pending_in_config
    if not told:
        triggers = passes(owed.pending)
    job = _job(situation, options, triggers)
    with DescribedRun(job, _store(situation, options, state_directory), options) as rendering:
        from ..writing.transaction import Journal

        # What start alone wrote, the next start writes again. What is owed once has to be on the disk
        # before it counts as done.
        durable = told or bool(owed.pending)
        answer = _carry_out(situation, rendering, log, Journal(state_directory.directory), durable=durable)
    if told or situation.compare:
        return
    after = State("", situation.name or owed.name or answer.instance.name, owed.image)
    if known is None or after != known:
        state_directory.remember(after)


def _carry_out(
    situation: Start, rendering: "DescribedRun", log: Log, journal: "Journal", *, durable: bool
) -> "Answer":
    # imported while the child renders
    from ..planning.planner import plan_of
    from ..rootfs.directory import DirectoryRootfs
    from ..writing.transaction import apply

    answer = rendering.finish()
    if answer.instance.is_vm:
        raise RefusedError(
            f"'{printable(answer.instance.name)}' is a virtual machine: hooks are for containers"
        )
    require_name(answer.instance.name)
    log.name = log.name or answer.instance.name
    if situation.mount is not None:
        situation.mount()
    with DirectoryRootfs(_root(situation), situation.ids) as rootfs:
        plan = rendering.plan(plan_of, answer, rootfs)
        if situation.compare:
            compare(plan, log)
        else:
            wait = rendering.options.time_limit
            _note(plan, apply(plan, rootfs, wait=wait, journal=journal, durable=durable), log)
    return answer


def _root(situation: Start) -> "Root":
    """The container's root filesystem, open. The host's has many names, so what was opened counts."""
    from ..rootfs.confined import Root

    root = Root(situation.rootfs, cross_mounts=situation.cross_mounts)
    opened, host = os.fstat(root.fd), os.stat("/")
    if (opened.st_dev, opened.st_ino) == (host.st_dev, host.st_ino):
        root.close()
        raise RefusedError(
            f"the root filesystem '{printable(situation.rootfs)}' is the host's own, which no hook writes",
            hint="give the container a root filesystem of its own",
        )
    return root


def require_triggers(triggers: "tuple[str, ...]") -> None:
    unknown = [trigger for trigger in triggers if trigger not in TRIGGERS]
    if unknown:
        raise UsageError(f"'{printable(unknown[0])}' is no trigger", hint=f"there are {', '.join(TRIGGERS)}")


def compare(plan: "Plan", log: Log) -> None:
    """Where the root filesystem is not as this plan would leave it."""
    from ..model.plan import FAILED, WRITING

    found = []
    for change in plan.changes:
        if change.action in WRITING:
            found.append(f"{change.path} is not what {change.rule.template} gives on {change.trigger}")
        elif change.action == FAILED:
            found.append(f"{change.path}: {change.error}")
    for line in found:
        log.add(f"differs: {line}")
    if found:
        raise HostError(
            f"{len(found)} of {len(plan.changes)} files differ from templater's", notes=tuple(found)
        )
    log.add(f"{' then '.join(plan.triggers)}: {len(plan.changes)} files are as templater would have them")


def passes(pending: str) -> "tuple[str, ...]":
    from ..model.lifecycle import passes as passes_of

    return passes_of(pending)


class DescribedRun(Run):
    """A run, and the plan of what it gave."""

    __slots__ = ("options",)

    def __init__(self, job: Job, store: "CompileCache | None", options: Options) -> None:
        self.options = options
        wall = options.time_limit
        cpu = int(wall) + 1
        bounds = Bounds(cpu, wall) if options.limits is None else options.limits.for_child(wall, cpu)
        super().__init__(job, store, bounds, in_child=options.in_child)

    def __enter__(self) -> "DescribedRun":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, plan_of: "Callable[..., Plan]", answer: "Answer", rootfs: "DirectoryRootfs") -> "Plan":
        def of(answer: "Answer") -> "Plan":
            return plan_of(
                answer.metadata, answer.instance, answer.renderings, rootfs,
                host=self.job.host, triggers=answer.triggers, in_place=self.options.in_place,
            )  # fmt: skip

        plan = of(answer)
        if plan.failed and self.warm:  # kept rules have no places in metadata.yaml: read it again
            plan = of(self.anew())
        return plan


def _job(situation: Start, options: Options, triggers: "tuple[str, ...]") -> Job:
    with InstanceDirectory(situation.image, situation.held) as directory:
        metadata = directory.read_metadata()
        templates = directory.read_templates()
        instance = _description(situation, options, directory)
    return Job(
        metadata, templates, instance, triggers, NONE,
        name=situation.name, config=situation.config, dialect=options.dialect, limits=options.limits,
    )  # fmt: skip


def _description(situation: Start, options: Options, image: InstanceDirectory) -> "Source | None":
    path = options.instance or situation.instance
    if not path and situation.described is not None:
        return situation.described
    if not path:
        beside = situation.state_directory
        if beside != situation.image and isdir(beside):
            with InstanceDirectory(beside) as directory:
                found = directory.read_instance()
            if found is not None:
                return found
        # an annotation names an image source, never a description
        return image.read_instance() if situation.held is None else None
    from ..instances.directory import MAX_INSTANCE
    from ..rootfs.confined import Root

    folder, name = split(abspath(path))
    with Root(folder, named=True) as root:
        return Source(path, root.read("/" + name, MAX_INSTANCE))


def _store(situation: Start, options: Options, state_directory: StateDirectory) -> "CompileCache | None":
    if not options.keep:
        return None
    if options.cache:
        return open_cache(options.cache)
    directory = state_directory.cache()
    return None if directory is None else CompileCache(directory)


def _note(plan: "Plan", written: "list[Change]", log: Log) -> None:
    for change in written:
        log.add(
            f"{change.action} {change.path} {change.uid}:{change.gid} {change.mode:04o}"
            f" ({change.rule.template}, {change.trigger})"
        )
    untouched = len(plan.changes) - len(written)
    if untouched or not written:
        log.add(f"{' then '.join(plan.triggers)}: {len(written)} written, {untouched} left as they are")


def _write_log(log: Log, where: str, options: Options) -> None:
    if not where:
        log.write(None, options.log)
        return
    with StateDirectory(where) as state_directory:
        log.write(state_directory, options.log)
