"""Comparison of files with the record of written files, and with the files that the next start would write.

The two comparisons are independent: a file changed by hand can be up to date or out of date.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from ..model.entry import FILE
from ..model.errors import KeptError, LimitError, RefusedError
from ..model.file_names import STARTED
from ..model.plan import CREATE, FAILED, KEEP, WRITING, Plan
from ..model.unprintable_characters import printable
from ..oslite import birth_time
from ..rootfs.close_in_another_process import close
from .record_of_written_files import (
    MAX_COMPARED_TOTAL,
    WrittenFile,
    content_digest,
    digest_of,
    has_content,
    size_of,
    size_to_compare,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..model.entry import RootfsView, TemplateFile
    from ..model.plan import Change
    from ..rootfs.confined_directory import Directory
    from .record_of_written_files import Record

#: reasons why a file counts as changed by hand
CONTENT, OWNER, MODE, REMOVED, MOVED = "content", "owner", "mode", "removed", "link"
#: A file that is this many bytes longer than the new text counts as changed, and is not read.
MAX_MORE = 1 << 20
#: the reason for an existing file that the record does not list
UNKNOWN = "no record"


@dataclass(frozen=True, slots=True)
class FileStatus:
    """The results for one file.

    * ``by_hand`` is None if the record does not list the file, and the next start does not create it.
    * ``differences`` lists the changes by hand.
    * ``change`` is the change at the next start, or None if no rule writes the file.
    * ``template_changed`` tells whether the template differs from the record, or is None if unknown.
    """

    path: str
    recorded: WrittenFile | None
    by_hand: bool | None
    differences: tuple[str, ...] = ()
    change: Change | None = None
    template_changed: bool | None = None

    @property
    def would_change(self) -> bool | None:
        """Return whether the next start would change the file, or None if its rule fails."""
        if self.change is None:
            return False
        return None if self.change.action == FAILED else self.change.action in WRITING


def status_of(
    plan: Plan,
    files: Mapping[str, WrittenFile],
    rootfs: RootfsView,
    templates: Mapping[str, TemplateFile],
) -> list[FileStatus]:
    """Return the status of each recorded file and of each file of the plan, sorted by path."""
    if sum(size_to_compare(rootfs, file) for file in files.values()) > MAX_COMPARED_TOTAL:
        raise _too_large()
    merged = {change.real: change for change in plan.files()}
    changes: dict[str, Change] = {}
    for each in plan.changes:
        changes[each.path] = merged.get(each.real, each) if each.action in WRITING else each
    found = []
    for path in sorted({*files, *changes}):
        recorded, change = files.get(path), changes.get(path)
        by_hand, differences = _by_hand(recorded, change, rootfs)
        template = None if recorded is None else templates.get(recorded.template)
        changed = None
        if recorded is not None and template is not None and template.data is not None:
            changed = digest_of(template.data) != recorded.template_digest
        found.append(FileStatus(path, recorded, by_hand, differences, change, changed))
    return found


def _too_large() -> LimitError:
    return LimitError(f"the recorded files have more than {MAX_COMPARED_TOTAL >> 20} MiB together")


def _by_hand(
    recorded: WrittenFile | None, change: Change | None, rootfs: RootfsView
) -> tuple[bool | None, tuple[str, ...]]:
    if recorded is None:
        new = change is not None and change.action == CREATE
        return (False, ()) if new else (None, (UNKNOWN,))
    if change is not None and change.action != FAILED and change.real != recorded.real:
        return True, (MOVED,)
    differences = differences_from(recorded, rootfs)
    return bool(differences), differences


def differences_from(recorded: WrittenFile, rootfs: RootfsView) -> tuple[str, ...]:
    """Return the differences between a file and its entry in the record."""
    entry = rootfs.entry(recorded.real)
    if entry is None:
        return (REMOVED,)
    if entry.kind != FILE:
        return (MOVED,)
    found = [
        (CONTENT, not has_content(rootfs, recorded)),
        (OWNER, (entry.uid, entry.gid) != (recorded.uid, recorded.gid)),
        (MODE, entry.mode != recorded.mode),
    ]
    return tuple(name for name, differs in found if differs)


def first_start(directory: Directory) -> dict[str, Any]:
    """Return the arguments ``since`` and ``is_copy`` of ``changed_by_hand``, from ``.templater``."""
    started = directory.lstat(STARTED)
    return {} if started is None else {"since": started.st_mtime_ns, "is_copy": started.st_size > 0}


def changed_by_hand(
    plan: Plan,
    record: Record,
    rootfs: RootfsView,
    *,
    made: float = 0,
    since: int | None = None,
    is_copy: bool = False,
) -> dict[str, str]:
    """Return the files changed by hand that the plan would write: a dict from real path to reason.

    If the record does not list an existing file, the file counts as changed. But if the plan runs ``create``,
    such a file usually comes from the image. It then counts as changed only in these cases:

    * The file is nonempty and on another mount, and was created or last changed before ``made``.
    * The file was last changed after ``since``.

    ``made`` is the creation time of the container's directory. ``since`` is the time of the first start, if
    the hook failed but the container started. Both times are in nanoseconds. ``is_copy`` tells whether the
    container was copied or renamed after ``since``.

    A mounted file that a rollback could not restore (``Record.unfinished``) counts as unchanged. Owner and
    mode are ignored, because ``apply`` keeps them.

    Raises LimitError if the files to compare have more than ``MAX_COMPARED_TOTAL`` bytes together.
    """
    new = "create" in plan.triggers
    kept: dict[str, str] = {}
    seen: set[str] = set()
    compared = 0
    for change in plan.changes:
        if change.action in WRITING and change.real not in seen and change.real not in record.unfinished:
            seen.add(change.real)
            size = size_of(rootfs, change.real)
            is_large = size > len(change.content or b"") + MAX_MORE
            recorded = record.file(change.path)
            if not is_large and (recorded is None or recorded.size == size):
                compared += size
            if compared > MAX_COMPARED_TOTAL:
                raise _too_large()
            is_known = recorded is not None or change.action == CREATE
            is_original = new and (is_known or not _may_be_edited(change, rootfs, made, since, is_copy))
            reason = _reason_to_keep(change, recorded, rootfs, new=is_original, is_large=is_large)
            if reason:
                kept[change.real] = reason
    return kept


def _reason_to_keep(
    change: Change, recorded: WrittenFile | None, rootfs: RootfsView, *, new: bool, is_large: bool
) -> str:
    if recorded is None:
        return "" if new or change.action == CREATE else "the record does not list the file"
    if change.real != recorded.real:
        return "a link in the file's path was changed by hand"
    if change.action == CREATE:  # a volume or a tmpfs can be new
        return "" if change.resolved is not None and change.resolved.mounts else "removed by hand"
    if is_large:
        return "too large to compare with the new text"
    return "" if has_content(rootfs, recorded) else "changed by hand"


def _may_be_edited(change: Change, rootfs: RootfsView, made: float, since: int | None, is_copy: bool) -> bool:
    """Return whether an existing file may differ from the image's file: see ``changed_by_hand``."""
    root, resolved = getattr(rootfs, "root", None), change.resolved
    is_mounted = resolved is not None and bool(resolved.mounts)
    found = root.lstat(change.real) if root is not None and (is_mounted or since is not None) else None
    if found is None:
        return False
    status = found[1]
    is_full = is_mounted and made and status.st_size > 0
    if is_full and (status.st_ctime_ns < made or _birth_time(root, change.real) < made):
        return True
    # Copying a container changes the ctime of each file.
    time = status.st_mtime_ns if is_copy else status.st_ctime_ns
    if since is None:
        return False
    has_fractions = time % 10**9 and since % 10**9  # some file systems store only whole seconds
    return bool(time > since if has_fractions else time // 10**9 > since // 10**9)


def _birth_time(root: Any, path: str) -> float:
    """Return a file's creation time in nanoseconds, or infinity if it is unknown."""
    fd = root.open(path)
    try:
        # The ctime does not show that a file is old. For example, with ``-v DIR:/vol:U``, podman updates the
        # ctime of all files in a volume, because it changes their owner.
        time = birth_time(fd)
        return int(time, 16) if time else inf
    finally:
        close(fd)


def recorded_content(plan: Plan, record: Record, rootfs: RootfsView) -> Callable[[Change], None]:
    """Return a function that ``apply`` calls for each change, shortly before it writes the file.

    The returned function raises RefusedError if the file no longer has the recorded content.
    """
    files: dict[str, WrittenFile] = {}
    for change in plan.changes:
        real = change.real
        if change.action not in WRITING:
            continue
        if real in record.unfinished:
            # A rollback could not restore this file, so its content can differ from all recorded contents.
            size = size_of(rootfs, real)
            now = content_digest(rootfs, real, size)
            files[real] = WrittenFile(change.path, real, now, 0, 0, 0, "", "", size=size)
        elif (file := record.file(change.path)) is not None:
            files[real] = file

    def check(change: Change) -> None:
        file = files.get(change.real)
        if file is not None and change.action != CREATE and not has_content(rootfs, file):
            raise RefusedError(
                f"{change.real!r} was changed by hand since the plan was made",
                hint="try again: --keep-modified then keeps the file",
            )

    return check


def without(plan: Plan, files: Mapping[str, str]) -> Plan:
    """Return the plan without the changes to ``files``."""
    changes = tuple(
        change for change in plan.changes if change.action not in (*WRITING, KEEP) or change.real not in files
    )
    return Plan(plan.metadata, plan.instance, plan.host, plan.triggers, changes, notes=plan.notes)


def files_kept(kept: Mapping[str, str]) -> KeptError:
    """Return the error for files that ``--keep-modified`` kept. The error's notes list the files."""
    names = tuple(f"{printable(path)}: {reason}" for path, reason in kept.items())
    return KeptError(
        f"--keep-modified kept {len(kept)} files" if len(kept) > 1 else "--keep-modified kept one file",
        notes=names,
        hint="to overwrite the kept files, run once without --keep-modified",
    )
