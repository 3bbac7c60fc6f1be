"""The function that applies a plan: it checks the plan, locks, cleans up after a killed run, and writes.

A plan without changes needs only the lock and the search for leftovers. So `transaction` is imported only if
a plan has changes.
"""

from ..model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError, WriteError
from ..model.plan import CREATE, KEEP, UPDATE, WRITE
from ..rootfs.close_in_another_process import close
from ..rootfs.confined_root import Root
from ..rootfs.paths import MissingError
from .remove_leftovers import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change, Plan
    from ..rootfs.directory_rootfs import DirectoryRootfs
    from .remove_leftovers import Journal
    from .transaction import Outcome

#: the number of files above which the limit on open files is raised; a runtime can pass on a small limit
_MANY_FILES = 20

#: maximum number of further errors in the notes of the first error
MOST_ERRORS = 20

#: limit on new directories of one run: each new directory keeps a descriptor open until the commit
MAX_DIRECTORIES = 2_000


def apply(
    plan: "Plan",
    rootfs: "DirectoryRootfs",
    *,
    wait: float = 10.0,
    journal: "Journal | None" = None,
    durable: bool = True,
    waits: bool = True,
    deadline: "float | None" = None,
    check: "Callable[[Change], None] | None" = None,
    outcome: "Outcome | None" = None,
) -> "list[Change]":
    """Write a plan's files, all or none. Return the changes for which a file was written.

    * ``wait``: seconds to wait for another run of ``apply`` on the same root filesystem
    * ``durable=False``: skip fsync. After a power cut, some files can be missing or incomplete.
    * ``waits=False``: on btrfs, do not wait until the names of the files are on the disk. After a power cut,
      all files are complete if any later change of the same file system has reached the disk.
    * ``deadline``: a time of ``time.monotonic()``. A run that would probably end later fails early.
    * ``check``: called with each change shortly before its file is written. The function can raise an error.
    * ``outcome``: notified when all files are in place, or when a file could not be restored

    Raises:
        TemplaterError: a rule of the plan has failed.
        BusyError: another run holds the lock for more than ``wait`` seconds.
        RefusedError: the root filesystem has changed since the plan was made, or a target is not a file.
        LimitError: the plan needs more than ``MAX_DIRECTORIES`` new directories, or too much time.
        WriteError: a system call failed.
        UsageError: the plan has no root filesystem, or this system has no directory descriptors.
    """
    changes = _to_write(plan)
    root = rootfs.root
    if not isinstance(root, Root):
        raise UsageError("this system has no directory descriptors, which templater needs to write safely")
    # imported here, because a system without directory descriptors has no fcntl either
    from .apply_locks import lock_all

    new = _count_new_directories(changes)
    if new > MAX_DIRECTORIES:
        raise LimitError(
            f"the plan needs {new} new directories, more than {MAX_DIRECTORIES}",
            hint="put most of the directories into the image",
        )
    if len(plan.changes if root.cross_mounts else changes) + new > _MANY_FILES:
        _allow_many_files()
    written = {change.real for change in changes}
    unchanged = [each for each in plan.changes if each.action == KEEP and each.real not in written]
    paths = [change.real for change in changes], [change.real for change in unchanged]
    held, waited = lock_all(root, *paths, wait)
    try:
        if waited or root.cross_mounts:  # an apply of another root filesystem can have ended meanwhile
            _require_content(unchanged, rootfs)
        reals = [change.real for change in plan.changes]
        left = sweep(root, reals, journal, is_replaced=bool(changes), held=held)
        if not changes:
            return []
        # imported here, because most starts change no file
        from .deferred_signals import for_each_with_signals_deferred
        from .target_directories import TargetDirectories
        from .transaction import NEVER, Transaction

        end = NEVER if deadline is None else deadline
        repeated: dict[Change, Change] = {}
        if root.cross_mounts and len(changes) + len(unchanged) > 1:
            from .same_files import find_repeated

            repeated = find_repeated(changes, unchanged, root)
        directories = TargetDirectories(rootfs, root, durable=durable, waits=waits)
        if check is not None:
            directories.check = check
        with Transaction(directories, journal, end, outcome) as transaction:
            own = [change for change in changes if change not in repeated] if repeated else changes
            transaction.announce(own, left)
            for_each_with_signals_deferred(transaction.carry_out, own)
            done = transaction.commit()
            if repeated:
                return [each for each in changes if repeated.get(each, each) in done]
            return done
    finally:
        for fd in held:
            close(fd)


def _require_content(unchanged: "list[Change]", rootfs: "DirectoryRootfs") -> None:
    """Raise RefusedError if an unchanged file no longer has the planned content."""
    # For example, another run had written the content before this plan was made, and rolled it back
    # afterwards.
    for change in unchanged:
        try:
            is_same = rootfs.has_content(change.real, change.content or b"")
        except MissingError:
            is_same = False
        except InputError as error:  # a system call failed
            raise WriteError(error.message, hint=error.hint) from None
        if not is_same:
            raise RefusedError(f"{change.real!r} was changed since the plan was made", hint="plan again")


def _to_write(plan: "Plan") -> "list[Change]":
    failed = plan.failed
    if failed:
        raise _plan_has_failed(failed)
    changes = [change for change in plan.files() if change.action in (CREATE, UPDATE, WRITE)]
    for change in changes:
        if change.action == WRITE:
            raise UsageError("a plan that was made without a root filesystem can't be applied")
        if change.real in ("", "/"):
            raise RefusedError("can't write to '/': it is the root directory itself")
    return changes


def _count_new_directories(changes: "list[Change]") -> int:
    return sum(
        change.real.count("/") - 1 - change.new_depth for change in changes if change.new_depth is not None
    )


def _plan_has_failed(failed: "list[Change]") -> TemplaterError:
    """Return the error of the first failed change. Its notes list the errors of the other failed changes."""
    errors = [change.error for change in failed if change.error is not None]
    if not errors:
        return UsageError(f"{failed[0].path!r} can't be written, so no file was written")
    first, *others = errors
    if others:
        own = (f"hint: {first.hint}",) if first.hint else ()
        more = (f"and {len(others) - MOST_ERRORS} more errors",) if len(others) > MOST_ERRORS else ()
        notes = (*first.notes, *own, *map(str, others[:MOST_ERRORS]), *more)
        return type(first)(first.message, first.span, "", notes)
    return first


def _allow_many_files() -> None:
    """Raise the limit on open files to its maximum: each unnamed staged file and each lock stays open."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
