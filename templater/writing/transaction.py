"""The transaction that applies a plan: stage all files, then put all in place or restore the old state.

**Atomicity.** templater writes new content to a file without a name (O_TMPFILE) in the target's directory.
The file gets its owner, mode, ACLs and labels before any other process can see it. One system call gives a
new file its name.

Replacing a file takes two temporary names. One keeps the old content. The other belongs to the new content
for a moment, before a rename. On an overlay, a copy keeps the old content, see ``staged_file``.

A rollback restores each target in the same way. On a full disk, it uses renames, which need no space. So a
target always has its old or its new content, except for mount points, which cannot be replaced.
``remove_leftovers`` removes the temporary files of a killed run.

**Syncing.** The content of all files is on the disk before the first file gets its final name. The names are
on the disk before the run ends, except in a hook on btrfs, see ``disk_sync``. The content of mount points is
synced together with the names.

**Time.** A user of the container can make system calls slow, for example with ``chattr +S +D``. If there is a
deadline, at least half of the time remains for a rollback.

**Attributes.** An existing file keeps its owner, mode, ACLs and extended attributes. The exceptions are the
attributes of overlayfs, and the attributes that certify the old content: ``security.capability``, and the
hashes of IMA and EVM. chattr flags and the birth time are not copied.
"""

from time import monotonic

from ..model.errors import LimitError, TemplaterError
from ..oslite import os
from ..rootfs.resolve_beneath import mount_id
from ..rootfs.system_calls import again, write_error
from .apply_locks import SECONDS_FOR_MOUNTED
from .deferred_signals import with_signals_deferred
from .remove_leftovers import Search, above, attempt, is_there, token_line
from .staged_file import StagedFile
from .target_directories import TargetDirectories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import ParamSpec, Protocol, TypeVar

    from ..model.plan import Change
    from .mounted_file import MountedFile
    from .remove_leftovers import Journal

    class Outcome(Protocol):
        """An object whose methods a transaction calls at its end, to update the record of written files."""

        def commit(self) -> None:
            """Record that all files are in place. The transaction still defers signals."""

        def keep(self) -> None:
            """Record that a file could not be restored."""

    Arguments = ParamSpec("Arguments")
    Result = TypeVar("Result")

#: the deadline of a run without a time limit
NEVER = float("inf")
#: the fractions of the remaining time for preparing the files, and for putting the files in place
PREPARING = 1 / 4
COMMITTING = 1 / 3


class Transaction:
    """The destination of a plan's changes, during one run. The caller holds the lock of the root filesystem.

    No file changes before ``commit``. If the ``with`` block raises an error, all files are restored.
    ``deadline`` is a time of ``monotonic``.
    """

    __slots__ = (
        "complete", "deadline", "directories", "end", "journal", "leftovers", "ordered_mounts", "outcome",
        "seconds", "targets", "troubles",
    )  # fmt: skip

    def __init__(
        self,
        directories: TargetDirectories,
        journal: "Journal | None",
        deadline: float = NEVER,
        outcome: "Outcome | None" = None,
    ) -> None:
        self.directories = directories
        self.journal = journal
        self.outcome = outcome
        self.deadline = deadline
        self._start_step(PREPARING)
        self.targets: list[StagedFile] = []
        #: the journal's lines of earlier runs whose leftovers remain
        self.leftovers: list[str] = []
        #: for each mount id, whether names on this mount need not be synced, see ``_is_ordered``
        self.ordered_mounts: dict[int, bool] = {}
        #: whether every file is in place and the temporary names are gone
        self.complete = False
        #: messages about the files that a rollback could not restore; None before the rollback
        self.troubles: list[str] | None = None

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(self, kind: object, error: "BaseException | None", trace: object) -> None:
        try:
            if error is None or self.complete:
                return
            if self.troubles is None:
                with_signals_deferred(lambda: self._roll_back(error))
            troubles = self.troubles or ()
            if troubles and self.outcome is not None:
                self.outcome.keep()
            if isinstance(error, TemplaterError):
                error.notes = (*error.notes, *troubles)
            else:  # a signal can have raised it while the first error was handled
                for trouble in (*_first_error(error), *troubles):
                    error.add_note(trouble)
        finally:
            for target in self.targets:
                target.close()
            self.directories.close()
            if self.journal is not None:
                self.journal.close()

    def announce(self, changes: "list[Change]", leftovers: "list[str]") -> None:
        """Write this run's token and the directories of its changes to the journal.

        Also write ``leftovers``, the journal's lines of unfinished runs.
        """
        self.leftovers = leftovers
        # If this run waits for the disk, first commit all earlier changes on btrfs (see ``disk_sync``).
        if self.directories.durable and self.directories.waits:
            _step("write", "/", self._commit_earlier_changes)
        if self.journal is not None:
            self.directories.without_inode = self.directories.is_overlay
            token = token_line(self.directories.token, len(changes))
            places = sorted({above(change.real) for change in changes})
            lines = [*dict.fromkeys((*leftovers, token, *places))]
            self.journal.write(lines, durable=self.directories.durable)

    def _commit_earlier_changes(self) -> None:
        from ..rootfs.disk_sync import commit

        commit(self.directories.root.fd)

    def carry_out(self, change: "Change") -> None:
        """Create the missing parent directories of a change's target, and stage its file.

        The caller defers signals, so that a rollback knows everything that was created.
        """
        _step("write", change.real, self._stage, change)

    def _stage(self, change: "Change") -> None:
        for path in change.new_parents:
            self._require_time_to_prepare()
            self.directories.make_directory(path)
        self._require_time_to_prepare()
        target = self._target(change)
        if target.needs_writing(self._require_time_to_prepare):
            self.directories.check(change)
            self.targets.append(target)
            target.stage(self._require_time_to_prepare)

    def _target(self, change: "Change") -> StagedFile:
        if not change.in_place:
            return StagedFile(change, self.directories)
        from .mounted_file import MountedFile

        return MountedFile(change, self.directories)

    def commit(self) -> "list[Change]":
        """Put every file in place, mount points last. Return the changes for which a file was written.

        Signals are deferred until all files are in place or restored.
        """
        self._sync_contents()
        self._start_step(COMMITTING)
        # A time limit that ends during a successful call has no effect.
        return with_signals_deferred(self._commit_or_roll_back, drop_alarm=True)

    def _commit_or_roll_back(self) -> "list[Change]":
        try:
            return self._commit()
        except BaseException as error:
            if not self.complete:
                self._roll_back(error)
            raise

    def _start_step(self, part: float) -> None:
        """Limit the next step to a part of the remaining time."""
        now = monotonic()
        self.seconds = (self.deadline - now) * part
        self.end = now + self.seconds

    def _require_time_to_prepare(self) -> None:
        self._require_time("preparing all files takes")

    def _require_time_to_commit(self) -> None:
        self._require_time("putting all files in place takes")

    def _require_time(self, what: str) -> None:
        if monotonic() > self.end:
            raise LimitError(
                f"{what} longer than {max(self.seconds, 0):.1f} s, so the time left would not suffice to"
                " restore all files",
                hint="write fewer files, or allow more time with --time-limit (hooks)"
                " or --limit command-time (commands)",
            )

    def _sync_contents(self) -> None:
        if self.directories.durable:
            from ..rootfs.disk_sync import sync_contents

            staged = {target.copy_fd: target.change.real for target in self.targets}
            staged |= {target.fd: target.change.real for target in self.targets}
            staged.pop(-1, None)  # -1 stands for every file that does not exist
            sync_contents("write", staged, self._require_time_to_prepare)
            for target in self.targets:
                target.close_copy()

    def _commit(self) -> "list[Change]":
        mounted = self._mounted() if any(target.change.in_place for target in self.targets) else []
        self._lock_and_save(mounted)
        for target in [*(each for each in self.targets if not each.change.in_place), *mounted]:
            self._require_time_to_commit()
            _step("put in place", target.change.real, target.commit)
        _step("put in place", "/", self._sync_names, mounted)
        for target in mounted:  # check all before cutting one: restoring a cut file needs space
            _step("put in place", target.change.real, target.require_unchanged)
        cut = [target for target in mounted if _step("put in place", target.change.real, target.cut)]
        self._clear_away()
        self.complete = True
        if self.outcome is not None:
            self.outcome.commit()
        attempt(self._sync_mounted, cut)  # everything except the new sizes is already on the disk
        for target in mounted:
            attempt(target.remove_earlier)
        return [target.change for target in self.targets]

    def _mounted(self) -> "list[MountedFile]":
        """Open the mounted files. Return them in the order in which every run locks them."""
        from .mounted_file import MountedFile

        mounted = [target for target in self.targets if isinstance(target, MountedFile)]
        identities = {target: _step("open", target.change.real, target.open) for target in mounted}
        return sorted(mounted, key=identities.__getitem__)

    def _lock_and_save(self, mounted: "list[MountedFile]") -> None:
        until = min(self.end, monotonic() + SECONDS_FOR_MOUNTED)
        for target in mounted:
            _step("lock", target.change.real, target.lock, until)
        if mounted:
            from .mounted_file import require_space

            places = [] if self.journal is None else self.journal.old_contents(make=True)
            for target in mounted:
                action, require_time = "save the old content of", self._require_time_to_commit
                _step(action, target.change.real, target.save, places, require_time)
            _step("put in place", "/", require_space, mounted)

    def _sync_names(self, mounted: "list[MountedFile]") -> None:
        """Sync each changed directory and mounted file. If this fails, all files are rolled back."""
        if self.directories.durable:
            from ..rootfs.disk_sync import sync_all

            sync_all("put in place", self._touched())
            self._sync_mounted(mounted)

    def _sync_mounted(self, mounted: "list[MountedFile]") -> None:
        if self.directories.durable and mounted:
            from ..rootfs.disk_sync import sync_all, write_content

            waiting = [each for each in mounted if not (self._is_ordered(each.fd) and write_content(each.fd))]
            sync_all("put in place", {each.fd: each.change.real for each in waiting})

    def _touched(self) -> "dict[int, str]":
        """Return the descriptors and paths of the directories that need a sync.

        Without a sync, a power cut could undo the changes of names in these directories.
        """
        parents = [target.parent for target in self.targets]
        parents += [parent for parent, _ in self.directories.made]
        found = {parent.fd: parent.path for parent in parents}
        return {fd: path for fd, path in found.items() if not self._is_ordered(fd)}

    def _is_ordered(self, fd: int) -> bool:
        """Return whether a directory need not be synced."""
        # btrfs commits all changes of names in their order. So a directory on the root directory's btrfs
        # needs no sync, except in a run that waits for the disk.
        if self.directories.waits:
            return False
        from ..rootfs.disk_sync import can_order, is_same_btrfs

        root = self.directories.root
        if not root.cross_mounts:
            return can_order(fd)
        mount = again(mount_id, fd)
        # Comparing two mounts of overlays takes long if the host has many mounts.
        if mount not in self.ordered_mounts:
            self.ordered_mounts[mount] = is_same_btrfs(fd, root.fd)
        return self.ordered_mounts[mount]

    def _roll_back(self, error: BaseException) -> None:
        if isinstance(error, MemoryError):
            _free_memory(error)
        self.troubles = self._undo()

    def _undo(self) -> "list[str]":
        """Restore all files. Return messages about the files that could not be restored."""
        committed = [target for target in reversed(self.targets) if target.committed]
        for target in self.targets:
            if not target.committed:
                target.close()  # on btrfs with a quota, its space may be needed
        troubles = {target: attempt(target.put_back) for target in committed}
        stuck = [target for target, trouble in troubles.items() if trouble]
        for target in self.targets:  # to remove a directory, a descriptor is needed
            target.close()
        self._clear_away(keep=stuck)
        search = Search(self.directories.root, {})
        for parent, name in reversed(self.directories.made):
            attempt(search.remove_directory, parent, name)
        return [troubles[target] for target in stuck]

    def _clear_away(self, keep: "Sequence[StagedFile]" = ()) -> None:
        """Remove staged files and backups until the deadline. If a file remains, the journal stays.

        The list ``keep`` has targets whose rollback failed. Their backups stay.
        """
        search = Search(self.directories.root, {self.directories.token: 0})
        places = [place for target in self.targets for place in target.names]
        # No other file has the old content of these targets.
        kept = [target.backup for target in keep]
        gone = [
            monotonic() < self.deadline and search.remove(*place) for place in places if place not in kept
        ]
        is_clean = all(gone) and not any(is_there(*place) for place in kept if place)
        is_clean = is_clean and self.directories.remove_private()
        if self.journal is not None and is_clean:
            is_clean = not attempt(self._sync_removals, self.journal)
        if self.journal is not None and is_clean:
            if self.leftovers:
                attempt(self.journal.write, self.leftovers, durable=self.directories.durable)
            else:
                attempt(self.journal.clear)

    def _sync_removals(self, journal: "Journal") -> None:
        """Sync the directories from which backups were removed, if the journal is on another file system."""
        # Without this sync, a power cut could restore the backups, but not the journal. Then no later run
        # would search for the backups.
        changed = [target.backup[0] for target in self.targets if target.backup]
        fd = self.directories.root.fd
        if not self.directories.durable or not changed:
            return
        if again(os.fstat, fd).st_dev == again(os.fstat, journal.directory.fd).st_dev:
            return
        from ..rootfs.disk_sync import is_same_btrfs, sync_all

        if not is_same_btrfs(fd, journal.directory.fd):
            changed += self.directories.private
            # a private directory is removed and closed
            sync_all("sync", {each.fd: each.path for each in changed if each.fd >= 0})


def _step(
    action: str, path: str, call: "Callable[Arguments, Result]", *args: "Arguments.args",
    **options: "Arguments.kwargs",
) -> "Result":  # fmt: skip
    try:
        return call(*args, **options)
    except OSError as error:
        raise write_error(action, path, error) from None


def _first_error(error: BaseException) -> "tuple[str, ...]":
    """Return the message of the error that was being handled when a signal raised ``error``."""
    return (str(error.__context__),) if isinstance(error.__context__, TemplaterError) else ()


def _free_memory(error: MemoryError) -> None:
    """Make memory available for a rollback: clear variables of the failed functions, and raise limits."""
    trace = error.__traceback__
    while trace is not None:
        try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
            trace.tb_frame.clear()
        except RuntimeError:  # the function still runs
            pass
        trace = trace.tb_next
    import resource

    # templater has set a limit on the address space, and a runtime can have set a limit on the data segment.
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))
