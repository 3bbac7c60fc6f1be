"""Functions that open SRC: an image, an instance directory or folder, a running instance, a backup, a
definition.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definitions.choice import DEFAULT_BUILD, Choice
from ..image.directory_image import DirectoryImage, identity_of, replaced_error
from ..image.limits import DEFAULT
from ..image.open_image import open_image
from ..instances.description_file import read_instance
from ..instances.instance_directory import MAX_INSTANCE
from ..instances.state_directory import MAX_STATE, State
from ..model.entry import DIRECTORY, FILE
from ..model.errors import InputError, RefusedError, TemplaterError, UsageError
from ..model.file_names import BACKUP_YAML, INSTANCE, ROOTFS, STATE, STATE_FOLDER
from ..model.pending_trigger import PENDING_KEY
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..parsing.instance_description import LIMITS
from ..rootfs.confined_root import Root
from ..rootfs.directory_rootfs import DirectoryRootfs, open_root
from ..rootfs.trusted_paths import MOST_COMPONENTS

if TYPE_CHECKING:
    from ..definitions.predicted_image import DefinitionImage
    from ..image.limits import Limits
    from ..live.live_instance import LiveInstance
    from ..live.nearest_host import Nearest
    from ..model.entry import Image, RootfsView
    from ..model.instance import Instance
    from ..rootfs.confined_without_descriptors import ByName
    from .backup import BackupImage

IMAGE = "image"
#: templater's own layout: metadata.yaml, templates, instance.yaml, rootfs, .templater
INSTANCE_DIRECTORY = "instance directory"
#: a directory in LXD's or Incus's storage: backup.yaml beside metadata.yaml, templates and rootfs
INSTANCE_FOLDER = "instance folder"
#: a tarball of ``incus export`` or ``lxc export``
BACKUP = "backup"
#: an instance of a daemon: ``incus:NAME`` or ``lxd:NAME``
LIVE = "live instance"


class OpenedSource(NamedTuple):
    """An opened SRC. An instance has a ``description`` or a ``state``; an image has neither.

    ``state`` is the content of ``.templater/state``. ``notes`` are texts to print on stderr.
    """

    path: str
    kind: str
    image: Image
    description: Source | None = None
    state: State | None = None
    #: a name that overrides the name in the description, or empty
    name: str = ""
    notes: tuple[str, ...] = ()
    #: the root filesystem's path, if it is a directory on disk
    rootfs_path: str = ""
    #: the backup, if SRC is a backup
    backup: BackupImage | None = None
    #: the predicted build, if SRC is a definition
    definition: DefinitionImage | None = None
    #: the running instance, if SRC is an instance of a daemon
    live: LiveInstance | None = None
    #: whether ``description`` may be a secret file that another user moved into SRC
    is_private: bool = False

    def close(self) -> None:
        """Close the connections to the daemon, if SRC is an instance of a daemon."""
        if self.live is not None:
            self.live.daemon.close()

    @property
    def nearest(self) -> Nearest | None:
        """The supported release nearest to the daemon of a running instance, or None for any other SRC."""
        return None if self.live is None else self.live.daemon.nearest

    @property
    def is_instance(self) -> bool:
        """Whether SRC is an instance rather than an image."""
        return self.kind != IMAGE

    @property
    def has_rootfs(self) -> bool:
        """Whether ``open_rootfs`` can open a root filesystem; it cannot for an image archive."""
        packed = self.backup is not None and self.backup.has_rootfs
        return bool(self.rootfs_path) or packed or (self.live is not None and not self.live.unreadable)

    def read_instance(
        self, *, name: str | None = None, config: Mapping[str, str] | None = None, **others: Any
    ) -> Instance:
        """Return SRC's instance. The ``notes`` of the result name the instance's source.

        The arguments override values, as in ``description_file.read_instance``. Raises UsageError if SRC is
        an image.
        """
        if not self.is_instance:
            raise UsageError(f"'{printable(self.path)}' is an image, not an instance")
        try:
            instance = read_instance(
                self.description, name=name or self.name or None, config=config, **others
            )
        except TemplaterError as error:
            if self.is_private and (error.span is None or error.span.source is self.description):
                raise _without_text(error, self.description) from None
            raise
        notes = [] if self.description is None else [f"using the instance from '{self.description.name}'"]
        folder = os.path.basename(os.path.abspath(self.path))
        # outside the default project, the folder is named PROJECT_NAME
        if self.kind == INSTANCE_FOLDER and name is None and not f"_{folder}".endswith(f"_{instance.name}"):
            notes.append(
                f"backup.yaml describes the instance '{printable(instance.name)}', but its folder is named"
                f" '{printable(folder)}': the file or the folder may belong to another instance"
            )
        if self.kind == INSTANCE_FOLDER and PENDING_KEY in instance.config:
            notes.append(
                "the pending trigger in backup.yaml may have run already, because a start leaves the trigger"
                " in backup.yaml; for the current state, save the output of `incus query"
                " /1.0/instances/NAME` to a file, and add -i FILE"
            )
        if self.state is None and self.kind == INSTANCE_DIRECTORY and PENDING_KEY not in instance.config:
            notes.append("'.templater' records no start: the next start counts as the first")
        return instance.replace(notes=(*notes, *instance.notes))

    def pending(self, instance: Instance) -> str | None:
        """Return the trigger that the next start runs before the trigger ``start``, or "" if none is pending.

        Return None if SRC is an image. ``instance`` is the result of ``read_instance``.
        """
        if not self.is_instance:
            return None
        if self.state is not None:
            return self.state.pending
        # without recorded state, hooks run `create`, as for a new instance
        return instance.config.get(PENDING_KEY, "create" if self.kind == INSTANCE_DIRECTORY else "")

    def open_below(self, path: str, *, cross_mounts: bool = False) -> DirectoryRootfs:
        """Open a root filesystem.

        Raises RefusedError if the path is inside SRC, and SRC is no longer the opened directory.
        """
        view = DirectoryRootfs(path, cross_mounts=cross_mounts)
        identity = getattr(self.image, "identity", None)
        if identity is None:
            return view
        assert isinstance(view.root, Root)
        # The owner of the directory above SRC can replace SRC with a different instance.
        if _is_inside(path, self.path) and not _is_below(view.root.fd, identity):
            view.close()
            raise replaced_error(self.path)
        return view

    @contextmanager
    def open_rootfs(self, *, cross_mounts: bool = False) -> Iterator[RootfsView | None]:
        """Open SRC's own root filesystem for reading. Yield None if SRC has no root filesystem."""
        if self.live is not None:
            yield None if self.live.unreadable else self.live.rootfs
            return
        if self.backup is not None and self.backup.has_rootfs:
            yield self.backup.read_rootfs()
            return
        if not self.rootfs_path:
            yield None
            return
        with self.open_below(self.rootfs_path, cross_mounts=cross_mounts) as view:
            yield view if self.is_instance else DirectoryFiles(view)


def _clean(path: str) -> str:
    return os.path.abspath(path).replace("//", "/")  # abspath keeps two slashes at the beginning


def _is_inside(path: str, folder: str) -> bool:
    """Return whether ``path`` is in ``folder``.

    The result is True if the paths as written match, or if the real paths without symlinks match.
    """
    # Comparing only the real paths would be unsafe, because another user can change a symlink.
    ways = [(each(path), each(folder)) for each in (_clean, os.path.realpath)]
    return any(f"{inner}/".startswith(f"{outer}/") for inner, outer in ways)


def _is_below(fd: int, identity: tuple[int, int]) -> bool:
    """Return whether the open directory ``fd``, or a directory above ``fd``, has this identity.

    An identity is a device number and an inode number.
    """
    way = "."
    with suppress(OSError):  # without permission for a directory above, SRC can't be found there
        for _ in range(MOST_COMPONENTS):
            status = os.stat(way, dir_fd=fd)
            if (status.st_dev, status.st_ino) == identity:
                return True
            way += "/.."
    return False


class DirectoryFiles:
    """The files of an image directory, to be packed into an image.

    The uids and gids are not mapped, because a file in an image can have any uid and gid.
    """

    __slots__ = ("entry", "has_content", "limit_reading", "name", "read", "walk")

    def __init__(self, view: DirectoryRootfs) -> None:
        self.name, self.entry, self.walk = view.name, view.entry, view.walk
        self.read, self.has_content, self.limit_reading = view.read, view.has_content, view.limit_reading


def open_source(
    path: str | os.PathLike[str],
    limits: Limits = DEFAULT,
    choice: Choice = DEFAULT_BUILD,
    project: str | None = None,
) -> OpenedSource:
    """Open SRC: an image, an instance on disk, an instance of a daemon, a backup or a definition.

    ``project`` is the project of a daemon's instance. Raises InputError or RefusedError if SRC is of another
    kind, damaged or hostile.
    """
    name = os.fspath(path)
    from ..live.address import is_live

    if is_live(name):
        choice.refuse_parameters(name)
        return _open_live(name, limits, project)
    if project is not None:
        raise UsageError("--project is for a running instance", hint="for example: incus:web1 --project p2")
    if os.path.isdir(name):
        choice.refuse_parameters(name)
        return _open_directory(name, limits)
    from ..definitions.is_definition import is_definition
    from ..definitions.predicted_image import open_definition

    if is_definition(name):
        image = open_definition(name, choice, limits)
        return OpenedSource(name, IMAGE, image, notes=image.notes, definition=image)
    choice.refuse_parameters(name)
    from .backup import is_backup, open_backup

    if not is_backup(name, limits):
        return OpenedSource(name, IMAGE, open_image(name, limits))
    backup = open_backup(name, limits)
    index, described = backup.names()
    notes: tuple[str, ...] = ()
    if index and index != described:
        notes = (
            f"backup.yaml describes the instance '{printable(described)}', but index.yaml names"
            f" '{printable(index)}': an import takes the name from index.yaml, and"
            " everything else from backup.yaml",
        )
    return OpenedSource(name, BACKUP, backup, backup.description, name=index, notes=notes, backup=backup)


def _open_live(src: str, limits: Limits, project: str | None) -> OpenedSource:
    from ..live.address import parse_address
    from ..live.connect import open_daemon
    from ..live.live_instance import open_instance

    address = parse_address(src, project)
    if not address.is_one:
        raise UsageError(
            f"'{printable(src)}' does not name one instance", hint=f"give {printable(src.rstrip('*?'))}NAME"
        )
    daemon = open_daemon(address)
    try:
        live = open_instance(daemon, limits)
    except BaseException:
        daemon.close()
        raise
    notes = (*daemon.notes, daemon.nearest.text, *live.notes)
    return OpenedSource(src, LIVE, live.image, live.description, name=address.name, notes=notes, live=live)


def _open_directory(path: str, limits: Limits) -> OpenedSource:
    with open_root(path) as top:
        identity = identity_of(top)
        own, is_private = _read_description(top, path, INSTANCE, MAX_INSTANCE)
        backup = None
        if own is None:
            backup, is_private = _read_description(top, path, BACKUP_YAML, LIMITS.bytes)
        record = _read_file(top, path, f"{STATE_FOLDER}/{STATE}", MAX_STATE)
        rootfs = top.entry(f"/{ROOTFS}")
        unpacked = next((name for name in ("backup/", "") if top.entry(f"/{name}index.yaml")), None)
    if unpacked is not None and own is None and backup is None:
        raise InputError(
            f"'{printable(path)}' is an unpacked backup",
            hint=f"give the tarball, or '{printable(os.path.join(path, unpacked + 'container'))}'",
        )
    if rootfs is not None and rootfs.kind != DIRECTORY:
        raise RefusedError(f"'{printable(path)}': 'rootfs' is a {rootfs.kind}, not a directory")
    place = "" if rootfs is None else os.path.join(path, ROOTFS)
    state = None if record is None else State.decode(record.data)
    kind = INSTANCE_DIRECTORY if own or state else INSTANCE_FOLDER if backup else IMAGE
    name = "" if state is None else state.name
    image = DirectoryImage(path, limits, identity=identity)
    return OpenedSource(
        path, kind, image, own or backup, state, name, rootfs_path=place, is_private=is_private
    )


def _read_description(top: Root | ByName, path: str, name: str, limit: int) -> tuple[Source | None, bool]:
    """Read the description of SRC's instance from its file.

    The second result is True if another user may have moved the file, with secrets, into SRC.
    """
    try:
        return _read_file(top, path, name, limit, public=True), False
    except RefusedError:
        # A daemon's backup.yaml looks like a moved file: only root can read backup.yaml, but its directory
        # belongs to the container's root.
        return _read_file(top, path, name, limit), True


def _read_file(
    top: Root | ByName, path: str, name: str, limit: int, *, public: bool = False
) -> Source | None:
    """Read the file ``name`` in the directory of metadata.yaml. Return None if the file is missing.

    Raises RefusedError if the file is not regular. If ``public`` is true, also raises RefusedError if the
    file is private and another user could have moved it there.
    """
    entry = top.entry(f"/{name}")
    if entry is None:
        return None
    if entry.kind != FILE:
        raise RefusedError(f"'{printable(path)}': '{name}' is a {entry.kind}, not a regular file")
    return Source(os.path.join(path, name), top.read(f"/{name}", limit, public=public))


def _without_text(error: TemplaterError, description: Source | None) -> TemplaterError:
    """Replace the error of an invalid description by an error that does not quote the description.

    The original message can quote a secret.
    """
    assert description is not None
    place = printable(description.name) if error.span is None else error.span.place
    return type(error)(
        f"{place}: the description of the instance is invalid",
        hint="to see the mistake, give the file with -i FILE; this error does not quote the file, "
        "because another user may have moved a secret file to this path",
    )
