"""The sequence of every hook: resolve the request, render, apply, record, report.

A hook runs at every start of a container, so it avoids the slower modules of the command line. The line that
``templater hook install`` writes starts ``startup/line/templater_hook.py``, which calls ``serve``.
"""

import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow
import sys
from time import monotonic, process_time

from .. import __version__
from ..instances.instance_directory import InstanceDirectory
from ..instances.state_directory import State, StateDirectory
from ..model.entry import TEMPLATE_BYTES
from ..model.errors import (
    HostError,
    KeptError,
    LimitError,
    RefusedError,
    TemplaterError,
    UsageError,
    WriteError,
    described_bug,
)
from ..model.file_names import STARTED, STATE_FOLDER
from ..model.hosts import NONE
from ..model.instance_name import require_name
from ..model.metadata import TRIGGERS
from ..model.unprintable_characters import printable
from ..oslite import (
    Closing,
    abspath,
    birth_time,
    environment,
    exists,
    forbid_core_file,
    forget,
    join,
    limit_address_space,
    os,
    processor_limit,
    split,
)
from ..rootfs.close_in_another_process import close_rest_at_end, handing_over
from ..rootfs.confined_root import Root
from ..rootfs.resolve_beneath import mount_id
from ..rootfs.trusted_paths import (
    clean_path,
    open_fixed_below,
    open_folder,
    open_unshared,
    require_fixed,
    trusted_owners,
)
from ..rootfs.writable_by_others import name_owner
from .compile_cache import instance_cache, open_cache
from .log import Log, shortened, write_stderr
from .options import KEEP_GOING, PROBE, Options, parse
from .request import HookRequest, description_of, open_image_of
from .runtimes import function_of
from .sandboxed_rendering import Job, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

    from ..instances.record_of_written_files import Record
    from ..model.plan import Change, Plan
    from ..rootfs.confined_directory import Directory
    from ..rootfs.directory_rootfs import DirectoryRootfs
    from ..writing.remove_leftovers import Journal
    from .compile_cache import CompileCache
    from .sandboxed_rendering import Answer

#: the maximum number of triggers that a hook line or an annotation can name
MOST_TRIGGERS = 16
#: the maximum address space of a hook: enough for an output and an old content of 64 MiB each
MEMORY = 1 << 30
#: the least processor time in seconds for planning and preparing the files, if rendering took long
LEAST_SECONDS = 0.5
#: processor time in seconds that is reserved for each prepared file: to put it in place, or to remove it
COMMIT_SECONDS = 0.0003
#: processor time in seconds that is reserved for the error and the log before the hard limit of the runtime
REPORT_SECONDS = 0.1

#: signals that end a hook: from a user or a terminal, or because the runtime limits the processor time
_STOP = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGXCPU)

#: environment variables that could change a rendering
_IGNORED = ("TZ", "TZDIR", "LC_ALL", "LC_TIME", "LC_CTYPE", "LANG", "LANGUAGE", "TEMPLATER_CONFINED")


# This is not a subclass of Exception, so no handler mistakes it for the error of a rule.
class TimeUpError(BaseException):
    """Raised when the hook's time is over. The argument is the signal of the timer."""


class StoppedError(BaseException):
    """Raised by a signal that ends the hook, such as SIGTERM. Files are restored as after an error."""


#: whether the next signal raises an error: true until the first signal, or until the hook has its result
_can_stop = False
#: whether the timer of the processor time ends shortly before the hard limit of the runtime
_is_limited = False


def serve() -> int:
    """Run the hook with this process's arguments and return its exit code.

    No exception leaves this function.
    """
    return handing_over(_serve)


def _serve() -> int:
    close_rest_at_end()
    try:
        bound_memory()
        return run(sys.argv[1:])
    except BaseException as error:
        # a bug: fail the start rather than leave files half rendered, and report where the bug is
        text = f"{described_bug(error)}; please report this"
        write_stderr(f"templater: {text}")
        log = Log()
        log.add(f"failed: {text}")
        log.write(None, "")
        return 70
    finally:
        child = sys.modules.get("templater.sandbox.child")
        if child is not None:
            child.end_children()


def run(arguments: "list[str]") -> int:
    """Run a hook with these arguments and return its exit code."""
    global _can_stop  # noqa: PLW0603
    reset_process()
    log = Log()
    runtime, options = "", Options()
    try:
        if arguments[-1:] == [PROBE]:
            return probe()
        runtime, options = parse(arguments)
        name_owner(options.owner)
        start_timer(options.time_limit)
        request = function_of(runtime, "read_request")(options, environment())
        if isinstance(request, HookRequest):
            log.name = request.name
            start(request, options, log)
        elif request.text:
            log.add(request.text)
            _write_log(log, request.state_folder, options)
        return 0
    except BaseException as error:
        # Python runs signal handlers only after calls and at jumps backward, so none runs before this line
        _can_stop = False
        reported = _reported(error, options)
        if reported is None:
            raise
        return report_failure(reported, runtime, options, log)
    finally:
        _can_stop = False
        _ignore_stop_signals()  # no signal may interrupt a probe that then writes the compiled modules
        stop_timers()


def _reported(error: BaseException, options: Options) -> "TemplaterError | None":
    """Return the error that the hook reports for ``error``, with all notes of ``error``.

    Return None if ``error`` shows a bug in templater.
    """
    reported = _translated(error, options)
    if reported is not None and reported is not error:
        reported.notes = (*reported.notes, *getattr(error, "__notes__", ()))
    return reported


def _translated(error: BaseException, options: Options) -> "TemplaterError | None":
    if isinstance(error, TemplaterError):
        return error
    if isinstance(error, MemoryError):
        return LimitError(
            f"the hook needs more than {MEMORY >> 20} MiB of memory, or more than the runtime allows"
            " (RLIMIT_DATA)"
        )
    if isinstance(error, StoppedError):
        if error.args[0] == _signal.SIGXCPU:
            return LimitError("the hook needs more processor time than the runtime allows (RLIMIT_CPU)")
        return WriteError(f"stopped by signal {error.args[0]}")
    if isinstance(error, TimeUpError):
        return time_is_up(error, options.time_limit)
    if isinstance(error, OSError):
        return WriteError(f"a system call failed: {str(error).lower()}")
    if any(finder.has_changed() for finder in sys.meta_path if hasattr(finder, "has_changed")):
        return HostError("templater was upgraded while the hook ran", hint="start the container again")
    if isinstance(error, ImportError):
        return HostError(f"can't load a module, for example during an upgrade: {error}")
    return None


def bound_memory() -> None:
    """Limit this process's memory, and forbid core files."""
    limit_address_space(MEMORY)
    # With some runtimes, the current directory is the container's root filesystem, and the kernel would write
    # a core file there.
    forbid_core_file()


def probe() -> int:
    """Print versions.

    From this output, ``hook status`` learns that the hook line runs and finds its packages.
    """
    import yaml  # noqa: F401

    from ..pongo2.codegen import jinja2_nodes  # noqa: F401

    os.write(1, f"templater {__version__} on Python {sys.version.split()[0]}\n".encode())
    return 0


def reset_process() -> None:
    """Reset the umask, the signal mask and the environment, which come from the runtime."""
    os.umask(0o022)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM, _signal.SIGPROF))
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # wait() fails if SIGCHLD is ignored
    for name in _IGNORED:
        forget(name)


def start_timer(seconds: float) -> None:
    """Start a timer that raises TimeUpError after ``seconds``. The signals in ``_STOP`` raise StoppedError.

    Only the first signal raises an error.
    """
    global _can_stop  # noqa: PLW0603

    def expired(number: int, _: object) -> None:
        global _can_stop  # noqa: PLW0603
        if _can_stop:
            _can_stop = False
            if number == _signal.SIGPROF and _is_limited:
                raise StoppedError(_signal.SIGXCPU)
            raise TimeUpError(number)

    def stopped(number: int, _: object) -> None:
        global _can_stop  # noqa: PLW0603
        if _can_stop:
            _can_stop = False
            raise StoppedError(number)

    # An error of a later signal would interrupt the rollback or the report.
    _can_stop = True
    for number in _STOP:
        if number != _signal.SIGHUP or _signal.getsignal(number) != _signal.SIG_IGN:  # for example, by nohup
            _signal.signal(number, stopped)
    for number in (_signal.SIGALRM, _signal.SIGPROF):
        _signal.signal(number, expired)
    _signal.setitimer(_signal.ITIMER_REAL, seconds)
    start_processor_timer(float("inf"))


def time_left() -> float:
    """Return the seconds until the time limit of the hook."""
    left: float = _signal.getitimer(_signal.ITIMER_REAL)[0]
    return left


def start_processor_timer(seconds: float, changes: int = 0) -> None:
    """Start a timer that raises TimeUpError after this process has used ``seconds`` of processor time.

    If the hard limit RLIMIT_CPU is lower, the timer ends before that limit, and raises the error of SIGXCPU.
    The process then has time to put ``changes`` files in place, to restore them, and to report the error.
    """
    global _is_limited  # noqa: PLW0603
    reserved = REPORT_SECONDS + 2 * changes * COMMIT_SECONDS
    # SIGXCPU does not suffice: before the hard limit, the kernel sends it only at a lower soft limit
    left = max(processor_limit() - process_time() - reserved, 0.001)
    seconds = max(seconds, LEAST_SECONDS)
    _is_limited = left < seconds
    if min(left, seconds) < float("inf"):
        _signal.setitimer(_signal.ITIMER_PROF, min(left, seconds))


def stop_timers() -> None:
    for timer in (_signal.ITIMER_REAL, _signal.ITIMER_PROF):
        _signal.setitimer(timer, 0)


def time_is_up(error: TimeUpError, seconds: float) -> LimitError:
    if error.args == (_signal.SIGPROF,):
        return LimitError(
            "rendering and preparing all files takes longer than the limit 'time'",
            hint="use fewer rules, or allow ten minutes with --limit time=10m",
        )
    return LimitError(
        f"the hook took longer than {seconds:g} s",
        hint="to allow more time, add --time-limit SECONDS to the hook line",
    )


def _ignore_stop_signals() -> None:
    for number in (*_STOP, _signal.SIGALRM, _signal.SIGPROF):
        _signal.signal(number, _ignored)


def _ignored(number: int, frame: object) -> None:
    """Ignore a signal.

    The hook sets this handler instead of SIG_IGN. A signal that arrives while a program sets SIG_IGN can make
    Python print a traceback.
    """


def report_failure(error: TemplaterError, runtime: str, options: Options, log: Log) -> int:
    """Write the error to stderr and to the log; return the exit code. Some runtimes hide a hook's stderr."""
    _ignore_stop_signals()  # the report must be complete, and the hook ends soon
    stop_timers()  # writing the report has no time limit
    write_stderr("templater: " + error.explain())
    if not log.lines:  # if ``log`` has lines, the error is logged already
        _log_failure(error, options, log)
        try:
            find = function_of(runtime, "state_folder")
            own = "" if find is None else find(environment())
            if own and not _keeps_changes(options) and not exists(join(own, STATE_FOLDER)):
                own = ""  # logging must not create the state directory of a container that never started
            _write_log(log, options.state or own, options, failed=True)
        except (TemplaterError, OSError):
            log.write(None, options.log)
    if options.on_error == KEEP_GOING:
        write_stderr("templater: the container starts anyway, because of --on-error keep-going")
        return 0
    return error.exit_code


def _log_failure(error: TemplaterError, options: Options, log: Log) -> None:
    kept = isinstance(error, KeptError)  # number and names of the kept files can reveal a secret value
    log.add(f"failed: {error}", private=kept)
    if kept:
        log.summary = "failed: --keep-modified kept files"
    for note in dict.fromkeys(error.notes):
        log.add(f"  {note}", private=kept)
    if options.on_error == KEEP_GOING:
        log.add("started anyway: --on-error keep-going")


# --- a start -----------------------------------------------------------------------------------


def start(request: HookRequest, options: Options, log: Log) -> None:
    """Render and apply the rules that run on the request's triggers.

    If any rule fails, write no file and raise TemplaterError.
    """
    global _can_stop  # noqa: PLW0603
    if request.name:
        require_name(request.name)
    owners = trusted_owners(request.rootfs) if options.state else ()
    with (
        request.open_folders.get(request.state_folder)
        or open_unshared(request.state_folder, owners) as folder,
        StateDirectory(folder) as state_directory,
    ):
        try:
            state_directory.lock(f"hook for {printable(request.name) or 'a container'}", options.patience)
            _start(request, log, state_directory, folder)
        except BaseException as error:
            _can_stop = False  # as in ``run``
            reported = _reported(error, options)
            if reported is None:
                raise
            _log_failure(reported, options, log)
            _record_start(state_directory, options)
            raise reported from None
        finally:
            log.write(state_directory, request.log)


def _keeps_changes(options: Options) -> bool:
    """Return whether the hook line has both ``--on-error keep-going`` and ``--keep-modified``."""
    return options.on_error == KEEP_GOING and options.keep_modified


def _record_start(state_directory: StateDirectory, options: Options) -> None:
    """Record the time of an instance's first start, if its hook has failed and the container starts anyway.

    Do nothing if no later start would use this time.
    """
    if not _keeps_changes(options):
        return
    try:
        state = state_directory.state()
        is_first = state is None or state.pending == "create"
        if is_first and state_directory.directory.lstat(STARTED) is None:
            state_directory.replace(STARTED, b"")
    except (TemplaterError, OSError):
        pass


def _start(request: HookRequest, log: Log, state_directory: StateDirectory, folder: Root) -> None:
    recorded = state_directory.state()
    # earlier versions recorded a shorter identity for a btrfs subvolume
    is_known = recorded is None or not request.root or request.root.startswith(recorded.root)
    if not is_known and not request.compare:
        log.add(
            "the machine has a different root directory than at its last start:"
            " templater treats the machine as new"
        )
        state_directory.forget_written()
        recorded = None
    # without recorded state, `templater unpack` did not create the container: run the trigger create
    state = State("create") if recorded is None else recorded
    triggers = request.triggers
    require_triggers(triggers)
    explicit = bool(triggers) or request.pending_in_config
    if not explicit:
        triggers = passes(state.pending)
    job = _job(request, triggers, folder)
    with PlannedRun(job, _cache(request, state_directory), request) as planned_run:
        from ..instances.record_of_written_files import Record
        from ..writing.remove_leftovers import Journal

        # If a power cut loses files of the trigger ``start``, the next start writes them again.
        # The files of a pending trigger must be on disk before the trigger is recorded as done.
        durable = explicit or bool(state.pending)
        lasting = None if request.options.state else _open_old_contents
        journal = Journal(state_directory.directory, open_lasting=lasting)
        record = Record(state_directory)
        answer, kept = _write_files(
            request, planned_run, log, journal, record, folder, durable=durable, records_state=not explicit
        )
    after = State("", request.name or state.name or answer.instance.name, state.image, request.root)
    if not explicit and not request.compare and (recorded is None or after != recorded):
        state_directory.remember(after)
        if state.pending == "create":
            state_directory.remove(STARTED)
    if kept:
        from ..instances.changed_by_hand import files_kept

        raise files_kept(kept)


def _write_files(
    request: HookRequest,
    planned_run: "PlannedRun",
    log: Log,
    journal: "Journal",
    record: "Record",
    folder: Root,
    *,
    durable: bool,
    records_state: bool,
) -> "tuple[Answer, Mapping[str, str]]":
    """Wait until the files are rendered, and write them.

    Return the ``Answer`` with the rendered files, and a dict with the reason for each file that was not
    overwritten. ``records_state`` tells whether the caller will record that the trigger is done.
    """
    # imported here, so that the parent loads these modules while the child renders
    from ..planning.decide_changes import plan_of
    from ..rootfs.directory_rootfs import READING, DirectoryRootfs
    from ..rootfs.id_map import shifted
    from ..writing.apply_plan import apply

    answer = planned_run.finish()
    if planned_run.child is not None:
        planned_run.child.close()  # the system counts the time of a child only after its end
    # the rest of the limit on rendering is the processor time for planning, and for preparing the files
    start_processor_timer(planned_run.job.left())
    if answer.instance.is_vm:
        raise RefusedError(
            f"'{printable(answer.instance.name)}' is a virtual machine: hooks are for containers"
        )
    require_name(answer.instance.name)
    log.name = log.name or answer.instance.name
    in_new_namespace = request.mount is not None and request.mount()
    kept: Mapping[str, str] = {}
    # the map comes from the checked owner, so a root directory with a different owner by now is refused
    ids = request.ids if request.owner is None else shifted(*request.owner)
    with DirectoryRootfs(_open_rootfs(request, folder, in_new_namespace=in_new_namespace), ids) as rootfs:
        rootfs.limit_reading(time_left() * READING)
        plan = planned_run.plan(plan_of, answer, rootfs)
        if request.compare:
            compare(plan, log)
            return answer, kept
        require_complete(plan)
        rules = len(plan.changes)
        hidden = hidden_places(plan, rootfs, request)
        if request.spare_hidden:
            plan = _without_hidden(plan, hidden, log)
        changes = len(plan.changes)
        start_processor_timer(planned_run.job.left() - changes * COMMIT_SECONDS, changes)
        if request.pending_in_config and "create" in answer.triggers:
            record.forget()  # the record is of an earlier instance with this name
        check = None
        if request.keep_modified:
            from ..instances.changed_by_hand import changed_by_hand, recorded_content, without

            record.require_readable()
            record.settle(rootfs)
            if request.in_place:
                from ..writing.mounted_file import left_incomplete

                record.unfinished |= left_incomplete(plan, rootfs.root, journal)  # type: ignore[arg-type]
            times = _first_times(folder, journal, request) if "create" in answer.triggers else {}
            kept = changed_by_hand(plan, record, rootfs, **times)
            plan = without(plan, kept)
            check = recorded_content(plan, record, rootfs)
        elif record.problem is not None:
            log.add(f"the record of written files is ignored: {record.problem}")
        with record.updated(plan, planned_run.job.templates, answer.keys) as outcome:
            # If the kernel writes the files before the state, the hook does not wait for the disk. After a
            # power cut, all files are complete, or the next start repeats the trigger.
            waits = durable and records_state and not _keeps_order(rootfs, journal)
            written = apply(
                plan, rootfs, wait=request.options.patience, journal=journal, durable=durable, waits=waits,
                deadline=monotonic() + time_left(), check=check, outcome=outcome,
            )  # fmt: skip
            # all files are written, so do not stop before the record and the log are complete
            for number in (_signal.SIGALRM, _signal.SIGPROF, _signal.SIGXCPU):
                _signal.signal(number, _ignored)
        _log_changes(plan, written, log, hidden, rules)
    return answer, kept


def _first_times(folder: Root, journal: "Journal", request: HookRequest) -> "dict[str, Any]":
    """Return the arguments ``made``, ``since`` and ``is_copy`` of ``changed_by_hand``.

    ``made`` is the time at which the container's directory was created, or infinity if it is unknown. It is 0
    without ``--in-place``.
    """
    from ..instances.changed_by_hand import first_start

    # Without ``--in-place``, the hook writes no mounted file.
    born = birth_time(folder.fd) if request.in_place else "0"
    return {"made": int(born, 16) if born else float("inf"), **first_start(journal.directory)}


def _open_old_contents(make: bool) -> "Directory | None":
    from .container_state_folder import open_old_contents

    return open_old_contents(make=make)


def _keeps_order(rootfs: "DirectoryRootfs", journal: "Journal") -> bool:
    """Return whether the kernel writes this run's files to the disk first, and the instance's state later."""
    from ..rootfs.disk_sync import is_same_btrfs

    return is_same_btrfs(rootfs.root.fd, journal.directory.fd)  # type: ignore[union-attr]  # hooks run only on Linux


def _open_rootfs(request: HookRequest, folder: Root, *, in_new_namespace: bool = False) -> Root:
    """Open the container's root filesystem. ``folder`` is the open directory of the container.

    ``in_new_namespace`` tells whether the hook has mounted the root filesystem in its own mount namespace.

    Raises RefusedError if ``request.rootfs`` leads to the root filesystem of the host.
    """
    path = clean_path(request.rootfs)
    above, name = split(path)
    own, inside = {}, []
    # directories that were opened before the mount lead to the host's directory, which the mount covers
    if not in_new_namespace:
        own = {abspath(opened.name): opened for opened in request.open_folders.values()}
        inside = [place for place in (*own, abspath(folder.name)) if path.startswith(f"{place}/")]
    if above in own:  # the container's own open directory: its owner can exchange only names in it
        root = own[above].below("/" + name, cross_mounts=request.cross_mounts)
    elif inside:  # an untrusted image can supply directories on the way, so follow no link in them
        parent = own.get(inside[0], folder)
        root = open_fixed_below(parent, path[len(inside[0]) :], cross_mounts=request.cross_mounts)
    else:
        with open_folder(above, fixed=True) as parent:
            root = parent.below("/" + name, cross_mounts=request.cross_mounts)
            require_fixed(parent, root)
            if in_new_namespace and mount_id(root.fd) == mount_id(parent.fd):
                raise RefusedError(
                    f"another process has replaced '{printable(path)}', on which the hook mounted the root"
                    " filesystem"
                )
    root.named = False
    # many paths can lead to the host's root filesystem, so compare inodes instead of paths
    opened, host = os.fstat(root.fd), os.stat("/")
    if (opened.st_dev, opened.st_ino) == (host.st_dev, host.st_ino):
        root.close()
        raise RefusedError(
            f"'{printable(request.rootfs)}' is the root filesystem of the host:"
            " hooks never write to the host",
            hint="give the container a root filesystem of its own",
        )
    return root


def require_complete(plan: "Plan") -> None:
    """Raise the error of the first rule that has failed. The message does not name other failed rules."""
    errors = [change.error for change in plan.failed if change.error is not None]
    # The message names only the first rule, because the set of failed rules can reveal a secret value.
    if len(errors) > 1:
        first = errors[0]
        more = "other rules failed too: templater preview shows them"
        raise type(first)(first.message, first.span, first.hint, (*first.notes, more))


def hidden_places(plan: "Plan", rootfs: "DirectoryRootfs", request: HookRequest) -> "Collection[str]":
    """Return the real paths at which the runtime mounts file systems after the hook.

    Raises RefusedError if a mount would hide a file of the plan.
    """
    from ..model.plan import WRITING

    below = tuple(f"{mount.rstrip('/')}/" for mount in request.mounts)
    # To save time, skip a plan that writes no file and has no file below a mount point.
    if not below or not any(each.action in WRITING or each.real.startswith(below) for each in plan.changes):
        return ()
    from .hidden_targets import real_places, refuse_hidden

    places = real_places(
        request.mounts,
        rootfs.root,  # type: ignore[arg-type]  # hooks run only on Linux
        request.empty_mounts,
    )
    for change in plan.changes:
        refuse_hidden(change, places, request.mounts_hint)
    return places


def require_triggers(triggers: "tuple[str, ...]") -> None:
    """Raise UsageError if a trigger is unknown."""
    if len(triggers) > MOST_TRIGGERS:
        raise UsageError(f"{len(triggers)} triggers were given, more than the limit of {MOST_TRIGGERS}")
    unknown = [trigger for trigger in triggers if trigger not in TRIGGERS]
    if unknown:
        raise UsageError(
            f"unknown trigger '{printable(unknown[0])}'", hint=f"known triggers are {', '.join(TRIGGERS)}"
        )


def compare(plan: "Plan", log: Log) -> None:
    """Compare the root filesystem with the plan. Raises HostError if the plan would change a file."""
    from ..model.plan import FAILED, WRITING

    found = []
    for change in plan.changes:
        if change.action in WRITING:
            found.append(
                f"{printable(change.path)} differs from the result of {printable(change.rule.template)}"
                f" on {change.trigger}"
            )
        elif change.action == FAILED:
            found.append(f"{printable(change.path)}: {change.error}")
    for line in found:
        log.add(f"differs: {line}", private=True)
    if found:  # name only one file: the set of differing files can reveal a secret value
        more = ("other files differ too: .templater/log lists all of them",) if len(found) > 1 else ()
        raise HostError("files differ from templater's result", notes=(found[0], *more))
    log.add(f"{' then '.join(plan.triggers)}: {len(plan.changes)} files match templater's result")


def passes(pending: str) -> "tuple[str, ...]":
    from ..model.pending_trigger import passes as passes_of

    return passes_of(pending)


class PlannedRun(Run, Closing):
    """A rendering in a child process, and the plan that the hook makes from the child process's answer."""

    __slots__ = ("in_place",)

    def __init__(self, job: Job, cache: "CompileCache | None", request: HookRequest) -> None:
        self.in_place = request.in_place
        bounds = None
        if request.in_child:
            from ..sandbox.child import Bounds

            wall = request.time_limit
            cpu = int(min(wall, job.total)) + 1
            bounds = Bounds(cpu, wall) if request.limits is None else request.limits.for_child(wall, cpu)
        super().__init__(job, cache, bounds, in_child=request.in_child)

    def plan(self, plan_of: "Callable[..., Plan]", answer: "Answer", rootfs: "DirectoryRootfs") -> "Plan":
        def make(answer: "Answer") -> "Plan":
            return plan_of(
                answer.metadata, answer.instance, answer.renderings, rootfs,
                host=self.job.host, triggers=answer.triggers, in_place=self.in_place, for_patch=False,
            )  # fmt: skip

        plan = make(answer)
        if plan.failed and self.warm:  # rules from the cache lack the positions that error messages show
            answer = self.recompile()
            if self.child is not None:
                self.child.close()  # the system counts the time of a child only after its end
            start_processor_timer(self.job.left())
            plan = make(answer)
        return plan


def _job(request: HookRequest, triggers: "tuple[str, ...]", folder: Root) -> Job:
    with InstanceDirectory(request.image, open_image_of(request, folder)) as directory:
        metadata = directory.read_metadata()
        longest = TEMPLATE_BYTES if request.limits is None else request.limits.template
        templates = directory.read_templates(longest)
        instance = description_of(request, directory, folder)
    return Job(
        metadata, templates, instance, triggers, NONE,
        name=request.name, config=request.config, dialect=request.dialect, limits=request.limits,
    )  # fmt: skip


def _cache(request: HookRequest, state_directory: StateDirectory) -> "CompileCache | None":
    if not request.use_cache:
        return None
    return open_cache(request.cache) if request.cache else instance_cache(state_directory)


def _without_hidden(plan: "Plan", hidden: "Collection[str]", log: Log) -> "Plan":
    """Return the plan without the files that a mount of the runtime hides, and log these files."""
    from ..model.plan import WRITING

    covered = {
        each.real: each.path for each in plan.changes if each.action in WRITING and each.real in hidden
    }
    if not covered:
        return plan
    from ..instances.changed_by_hand import without

    for path in covered.values():
        log.add(f"leave {path} alone: the runtime mounts a file over it", private=True)
    return without(plan, covered)


def _log_changes(
    plan: "Plan", written: "list[Change]", log: Log, hidden: "Collection[str]", rules: int
) -> None:
    """Log the changes. The public summary has only the number of rules."""
    for change in written:
        log.add(
            f"{change.action} {change.path} {change.uid}:{change.gid} {change.mode:04o}"
            f" ({change.rule.template}, {change.trigger})"
            f"{', hidden by a mount' if change.real in hidden else ''}",
            private=True,
        )
    untouched = len(plan.changes) - len(written)
    triggers = " then ".join(plan.triggers)
    if untouched or not written:
        log.add(f"{triggers}: {len(written)} written, {untouched} unchanged", private=True)
    # The summary omits the number of written files, because this number can reveal a secret.
    log.summary = shortened(printable(f"{triggers}: {rules} rules done"))


def _write_log(log: Log, folder: str, options: Options, *, failed: bool = False) -> None:
    if not folder:
        log.write(None, options.log)
        return
    owners = trusted_owners(options.rootfs or "/") if options.state else ()
    with open_unshared(folder, owners) as opened, StateDirectory(opened) as state_directory:
        if failed:
            _record_start(state_directory, options)
        log.write(state_directory, options.log)
