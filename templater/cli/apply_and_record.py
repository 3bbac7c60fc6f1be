"""Functions of `apply` and `status`: apply a plan, and open and update the record of written files."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..image.directory_image import identity_of, replaced_error
from ..instances.changed_by_hand import changed_by_hand, first_start, recorded_content, without
from ..instances.record_of_written_files import Record
from ..instances.state_directory import MAX_STATE, State, StateDirectory
from ..model.errors import UsageError
from ..model.file_names import ROOTFS, STATE, STATE_FOLDER
from ..model.unprintable_characters import printable
from ..rootfs.confined_root import Root
from ..rootfs.trusted_paths import open_folder
from ..writing.mounts_elsewhere import refuse_mounted
from . import output

if TYPE_CHECKING:
    from ..model.plan import Change, Plan
    from ..rootfs.directory_rootfs import DirectoryRootfs
    from ..sources.open_source import OpenedSource
    from .open_and_plan import Opened

#: maximum seconds to wait while a hook uses the same state directory
PATIENCE = 10.0


def state_folder(src: str, rootfs: str | None) -> str:
    """Return the instance directory whose ``.templater`` belongs to a root filesystem, or "".

    Return the first of these directories that contains ``.templater``:

    1. SRC, if ``rootfs`` is None or is the root filesystem in SRC
    2. the parent directory of ``rootfs``
    3. SRC, if SRC contains ``.templater/state`` and no root filesystem, as for an nspawn machine

    Skip the third directory if a hook has recorded a different root directory.
    """
    folders = [] if rootfs is None else [os.path.dirname(os.path.abspath(rootfs))]
    own = os.path.join(src, ROOTFS)
    if rootfs is None or (os.path.isdir(own) and os.path.samefile(own, rootfs)):
        folders.insert(0, src)
    found = next(filter(_has_state, folders), "")
    # An image with compiled templates has the directory .templater, but no state file.
    if found or src in folders or not os.path.isfile(os.path.join(src, STATE_FOLDER, STATE)):
        return found
    place = printable(os.path.join(src, STATE_FOLDER))
    if os.path.isdir(own):
        output.note(f"'{place}' is ignored: it is for the root filesystem '{printable(own)}' (see --state)")
    elif _has_state(src) and rootfs is not None and not _is_known(src, rootfs):
        output.note(f"'{place}' is ignored: it is for another root directory (see --state)")
    elif _has_state(src):
        output.note(f"using the record of written files in '{place}'")
        return src
    return ""


def _is_known(src: str, rootfs: str) -> bool:
    """Return whether ``rootfs`` can be the root directory that a hook has recorded in SRC."""
    from ..hooks.container_state_folder import directory_identity

    with open(os.path.join(src, STATE_FOLDER, STATE), "rb") as file:
        state = State.decode(file.read(MAX_STATE))
    return state is None or directory_identity(rootfs).startswith(state.root)


def _has_state(folder: str) -> bool:
    path = os.path.join(folder, STATE_FOLDER)
    try:
        owner = os.lstat(path).st_uid
        # Every user can create .templater in a directory such as /tmp.
        if owner == 0 or owner in (os.geteuid(), os.stat(folder).st_uid):
            return True
    except (OSError, ValueError):
        return False
    output.note(f"'{printable(path)}' is ignored: it belongs to another user (uid {owner})")
    return False


@contextmanager
def opened_record(
    folder: str, *, lock: str = "", places: Collection[tuple[int, int] | None] = ()
) -> Iterator[Record | None]:
    """Open the record of an instance directory. Yield None if ``folder`` is empty.

    If the text ``lock`` is not empty, lock the record. Other processes show this text while they wait.

    Raises RefusedError if ``places`` is not empty and does not contain the directory's device and inode.
    """
    if not folder:
        yield None
        return
    with open_folder(folder) as opened:
        if places and identity_of(opened) not in places:
            raise replaced_error(folder)
        state_directory = StateDirectory(opened)
    with state_directory:
        if lock:
            state_directory.lock(lock, PATIENCE)
        yield Record(state_directory)


def _places(source: OpenedSource, rootfs: DirectoryRootfs) -> Collection[tuple[int, int] | None]:
    """Return the identities (device and inode) of SRC and of the parent directory of the root filesystem.

    Return () if the root filesystem is not a ``Root``.
    """
    if not isinstance(rootfs.root, Root):
        return ()
    above = os.stat("..", dir_fd=rootfs.root.fd)
    return (above.st_dev, above.st_ino), getattr(source.image, "identity", None)


def apply_recorded(
    found: Opened,
    plan: Plan,
    apply: Callable[..., list[Change]],
    state: str | None,
    *,
    keep_modified: bool,
) -> tuple[Mapping[str, str], list[Change]]:
    """Apply a plan and update the record.

    Return two values: the files that were not overwritten because a user had changed them, and the written
    changes.
    """
    from ..pongo2.dialect import DIALECTS
    from ..pongo2.names_read import config_keys
    from ..rootfs.directory_rootfs import DirectoryRootfs
    from ..writing.remove_leftovers import Journal

    rootfs, request = found.rootfs, found.request
    assert isinstance(rootfs, DirectoryRootfs)
    folder = state or state_folder(request.src, request.rootfs)
    if keep_modified and not folder:
        raise UsageError(
            "--keep-modified needs a record of written files, and this root filesystem has none",
            hint=f"add --state DIR: apply creates the record in DIR/{STATE_FOLDER}, "
            "and later runs need the same DIR",
        )
    # Another user can replace a directory before templater opens the record by its path, so
    # ``opened_record`` compares the identities.
    places = () if state else _places(found.source, rootfs)
    checks = [refuse_mounted(plan, rootfs.root, output.note)] if isinstance(rootfs.root, Root) else []

    def check(change: Change) -> None:
        for each in checks:
            each(change)

    with opened_record(folder, lock="apply", places=places) as record:
        if record is None:
            return {}, apply(plan, rootfs, check=check)
        journal = Journal(record.state_directory.directory)
        kept: Mapping[str, str] = {}
        if keep_modified:
            record.require_readable()
            record.settle(rootfs)
            if isinstance(rootfs.root, Root):
                from ..writing.mounted_file import left_incomplete

                record.unfinished |= left_incomplete(plan, rootfs.root, journal)
            times = first_start(record.state_directory.directory) if "create" in plan.triggers else {}
            kept = changed_by_hand(plan, record, rootfs, **times)
            plan = without(plan, kept)
            checks.append(recorded_content(plan, record, rootfs))
        elif record.problem is not None:
            output.note(f"the record of written files is ignored: {record.problem}")
        names = {change.rule.template for change in plan.changes}
        templates = found.source.image.read_templates(names)
        dialect = DIALECTS[request.dialect or request.host.dialect]
        keys = {name: config_keys(file.data or b"", dialect) for name, file in templates.items()}
        with record.updated(plan, templates, keys) as outcome:
            return kept, apply(plan, rootfs, journal=journal, check=check, outcome=outcome)
