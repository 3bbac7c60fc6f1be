"""Checks of the paths that annotations name.

Older versions of podman pass an image author's annotations on to the hook, which runs as root. So each path
must meet these conditions:

* The path is below a directory that the hook line allows. An image may also be in the container's bundle.
* Only trusted users can change the directories on the path.
* No directory on the path belongs to an instance.
* For an instance description, the part below the allowed directory contains no link. A link could lead to the
  description of another instance.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from ..instances.instance_directory import MAX_INSTANCE, MAX_TEMPLATES
from ..model.errors import InputError, RefusedError, TemplaterError, reason
from ..model.file_names import BACKUP_YAML, INSTANCE, MAX_PATH, METADATA, ROOTFS, STATE_FOLDER, TEMPLATES
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..rootfs.close_in_another_process import close
from ..rootfs.confined_root import Root
from ..rootfs.paths import MissingError
from ..rootfs.trusted_paths import open_unshared, trusted_owners

#: names of files that describe one instance (of templater and of Incus); they can contain passwords
DESCRIPTIONS = (INSTANCE, BACKUP_YAML)

#: names of directories that belong to one instance
_PRIVATE = (STATE_FOLDER, ROOTFS)


def open_source(path: str, allowed: Sequence[str], bundle: str, rootfs: str) -> Root:
    """Open the image directory that an annotation names, in ``allowed`` or in the container's ``bundle``.

    Raises:
        RefusedError: the directory is not in an allowed directory, is in ``rootfs``, or belongs to an
            instance, or another user can change the directory.
        InputError: the directory does not exist.
    """
    top, below = _place(path, [bundle, *allowed], follow=True)
    real = os.path.join(top, below)
    inside = os.path.realpath(rootfs)
    if real == inside or real.startswith(inside + "/"):
        raise RefusedError(
            f"an annotation names '{printable(path)}', which is in the container's root filesystem",
            hint="use an image source outside the root filesystem",
        )
    own = os.path.realpath(bundle)
    for directory in _directories(top, below):
        _require_trusted(directory, named=directory == top)
        if directory != own:
            _require_no_instance(directory)
    try:
        with Root(top, named=True) as root:
            image = root.below("/" + below)
    except TemplaterError as error:
        raise _with_name(error, path) from None
    try:
        _require_trusted_files(image.fd, real)
    except BaseException:
        image.close()
        raise
    return image


def read_description(path: str, allowed: Sequence[str]) -> Source:
    """Read the instance description that an annotation names.

    Raises:
        RefusedError: the hook line does not allow the file, or the file belongs to another instance, or
            another user can change the file.
        InputError: the file does not exist.
    """
    if not allowed:
        raise RefusedError(
            "the annotation org.templater.instance is not allowed",
            hint="to allow a directory of descriptions, add --allow-instance DIR to the hook line",
        )
    top, below = _place(path, allowed, follow=False)
    folder, _, name = below.rpartition("/")
    if name.startswith(DESCRIPTIONS):  # the prefix also matches the temporary file of a killed writer
        raise RefusedError(
            f"an annotation names '{printable(path)}':"
            f" the file name '{name}' is reserved for instance directories",
            hint="rename the description, for example to web.yaml",
        )
    for directory in _directories(top, folder):
        _require_trusted(directory, named=directory == top)
        _require_no_instance(directory)
    try:
        with Root(top, named=True) as root:
            check = lambda fd: _require_owner(os.fstat(fd), path)  # noqa: E731
            return Source(path, root.read("/" + below, MAX_INSTANCE, check=check))
    except TemplaterError as error:
        raise _with_name(error, path) from None


def _place(path: str, allowed: Sequence[str], *, follow: bool) -> tuple[str, str]:
    """Return the allowed directory that contains ``path``, and the path relative to it.

    The first path has no symlinks. If ``follow`` is true, the second path has no symlinks either. The caller
    opens both paths without following symlinks.
    """
    if len(path) > MAX_PATH:  # each lookup copies the path, so a long path takes minutes
        raise RefusedError(f"an annotation names a path of more than {MAX_PATH} characters")
    # Compare the text first: looking up any other path could mount a directory or wait for a dead server.
    named = os.path.normpath(path)
    within = [
        folder for folder in allowed if f"{named}/".startswith(os.path.normpath(folder).rstrip("/") + "/")
    ]
    if path.startswith("/") and "\0" not in path and within:
        _refuse_private(named[min(map(len, map(os.path.normpath, within))) :], named)
        for folder in within:
            top = os.path.realpath(folder)
            plain = top + named[len(os.path.normpath(folder)) :]
            real = os.path.realpath(path) if follow else plain
            # another user could have put a link on the way, or could replace a directory by a link
            if top != os.path.normpath(folder):
                open_unshared(folder, trusted_owners("/")).close()
            if real != plain:
                open_unshared(path, trusted_owners("/")).close()
            if real == top or real.startswith(top.rstrip("/") + "/"):
                _require_trusted_way(top)
                return top, real[len(top) :].strip("/")
    raise RefusedError(
        f"an annotation names '{printable(path)}', which is not below {' or '.join(allowed[-2:])}",
        hint="move the file, or allow its directory in the hook line with --allow or --allow-instance",
    )


def _directories(top: str, below: str) -> Iterator[str]:
    """Yield ``top`` and every directory on the way from ``top`` to ``below``."""
    yield top
    here = top
    _refuse_private(below, os.path.join(top, below))
    for name in below.split("/") if below else ():
        here = os.path.join(here, name)
        yield here


def _refuse_private(below: str, shown: str) -> None:
    """Raise RefusedError if a path below an allowed directory leads into an instance."""
    for name in below.split("/"):
        if name in _PRIVATE:
            raise RefusedError(
                f"an annotation names '{printable(shown)}',"
                f" but the directory '{name}' in this path belongs to an instance",
                hint="keep image sources apart from instances",
            )


def _require_trusted_way(top: str) -> None:
    """Raise RefusedError if another user can change a directory above ``top``.

    Sticky directories such as /tmp are allowed.
    """
    while top != "/":
        top = os.path.dirname(top)
        # In a sticky directory, other users can replace only their own files.
        _require_trusted(top, or_sticky=True, named=True)


def _require_trusted_files(image: int, shown: str) -> None:
    """Raise RefusedError if another user can change metadata.yaml, templates/ or a file in templates/."""

    def require(name: str) -> None:
        with suppress(MissingError):  # the file is missing now: only trusted users can have removed the file
            _require_trusted(os.path.join(shown, name), at=image, name=name)

    require(METADATA)
    # Check templates/ before reading its names: another user could make a directory that is slow to read.
    require(TEMPLATES)
    try:
        folder = os.open(TEMPLATES, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=image)
    except OSError:
        return  # reading the image fails later, with a better message
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MAX_TEMPLATES)]
    finally:
        close(folder)
    for each in names:
        require(f"{TEMPLATES}/{each}")


def _require_trusted(
    directory: str, *, or_sticky: bool = False, named: bool = False, at: int | None = None, name: str = ""
) -> None:
    """Raise RefusedError if another user can change a file or directory.

    * ``or_sticky``: other users may write to ``directory`` if it is sticky.
    * ``named``: the hook line names ``directory`` or a path below it (see ``_require_owner``).
    * ``at``: the descriptor of a directory in which to check ``name``, instead of the path ``directory``.
    """
    try:
        status = os.stat(name, dir_fd=at, follow_symlinks=False) if at is not None else os.lstat(directory)
    except FileNotFoundError:
        raise MissingError(f"'{printable(directory)}' does not exist") from None
    except OSError as error:
        raise InputError(f"'{printable(directory)}' can't be used: {reason(error)}") from None
    if stat.S_ISLNK(status.st_mode):
        raise RefusedError(f"an annotation uses '{printable(directory)}', which must not be a symlink")
    _require_owner(status, directory, or_sticky=or_sticky, named=named)


def _require_owner(
    status: os.stat_result, path: str, *, or_sticky: bool = False, named: bool = False
) -> None:
    # Rootless podman runs hooks in a user namespace, where the owner of "/" stands for all unmapped users.
    # Trust the owner of "/" only for directories that the operator's hook line names (``named``), and not in
    # a directory such as /tmp, in which all these users can make directories.
    trusted = {0, os.geteuid()}
    if named and not os.lstat(os.path.dirname(path)).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        trusted.add(os.lstat("/").st_uid)
    sticky = or_sticky and status.st_mode & stat.S_ISVTX
    if status.st_uid in trusted and (sticky or not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return
    raise RefusedError(
        f"an annotation uses '{printable(path)}', which other users can change:"
        f" it belongs to uid {status.st_uid} and has mode {status.st_mode & 0o7777:04o}",
        hint=_hint(status, path),
    )


def _hint(status: os.stat_result, path: str) -> str:
    """Return the hint of an error about a file that other users can change."""
    from ..rootfs.writable_by_others import namespace_creator

    # With ``--userns=keep-id``, the user of podman is an ordinary user of the container. But the hook in the
    # stage createContainer runs as the container's root.
    if status.st_uid and status.st_uid == namespace_creator():
        return "use --in-place or --userns=keep-id, not both: together, they do not work in rootless podman"
    return f"chown root '{printable(path)}'; chmod go-w '{printable(path)}'"


def _require_no_instance(directory: str) -> None:
    for name in (STATE_FOLDER, *DESCRIPTIONS):
        if os.path.lexists(os.path.join(directory, name)):
            raise RefusedError(
                f"an annotation uses the instance directory '{printable(directory)}': it contains '{name}'",
                hint="keep image sources in a directory of their own, such as /var/lib/templater/images",
            )


def _with_name(error: TemplaterError, path: str) -> TemplaterError:
    error.notes += (f"an annotation names '{printable(path)}'",)
    return error
