"""The hooks for LXC.

* pre-start: renders the templates if the root filesystem is a directory or an overlay.
* mount: renders the templates for any other root filesystem, such as a block device.
* clone and destroy: record copies and renames.

With ``--stage mount``, the mount hook also renders directories and overlays. In an unprivileged container,
the mount hook runs as the container's root user. This user can read neither the interpreter nor templater's
state.

The container's directory, which contains its ``config``, is its instance directory.
"""

from ...instances.state_directory import StateDirectory, make
from ...model.errors import RefusedError, TemplaterError, UsageError, WriteError, reason
from ...model.file_names import METADATA, STATE_FOLDER
from ...model.unprintable_characters import printable
from ...oslite import abspath, dirname, exists, fsencode, is_missing, join, libc, os, split
from ...rootfs.close_in_another_process import is_on_btrfs, unmount_at_end
from ...rootfs.confined_directory import Directory
from ...rootfs.confined_root import Root
from ...rootfs.paths import MissingError
from ...rootfs.system_calls import write_error
from ...rootfs.trusted_paths import (
    clean_path,
    is_replaceable,
    is_same_place,
    make_folder,
    open_folder,
    open_unshared,
    require_fixed,
)
from ...rootfs.writable_by_others import own_map
from ..lxc_config import (
    PREFIXES,
    has_index,
    ids_in,
    is_directory,
    layers_of,
    mount_points,
    of_other_directory,
    or_identity,
    overlay_options,
    refuse_other_container,
    settings,
    without_prefix,
)
from ..options import calls_templater
from ..request import HookRequest, Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ...rootfs.id_map import IdMap
    from ..common_status_checks import Finding
    from ..install import Snippet
    from ..options import Options


def read_request(options: "Options", environ: "Mapping[str, str]") -> "HookRequest | Notice":
    # Hooks of version 0 get the stage as a word. For them, LXC_HOOK_TYPE can come from a hook of another
    # container, if that hook has started this container.
    by_word = options.words[-2:-1] == ("lxc",)
    stage = options.words[-1] if by_word else environ.get("LXC_HOOK_TYPE", "")
    if not stage or "LXC_NAME" not in environ:
        raise UsageError(
            "LXC did not call this hook", hint="to install a hook, run: templater hook install lxc"
        )
    name = environ["LXC_NAME"]
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise UsageError(f"invalid container name '{printable(name)}'")
    folder = state_folder(environ)
    if stage in ("pre-start", "mount"):
        return _start(stage, name, folder, options, environ)
    if stage == "clone":
        from ..lxc_copies import clone
        from ..options import FAIL

        options.on_error = FAIL  # without a record, the first start of the copy would run the trigger create
        source_name, rootfs = environ.get("LXC_SRC_NAME", ""), environ.get("LXC_ROOTFS_PATH", "")
        return clone(folder, name, source_name, options, rootfs)
    if stage == "destroy":
        from ..lxc_copies import destroy

        return destroy(folder)
    if stage in ("stop", "post-stop"):
        return Notice()
    raise UsageError(
        f"templates cannot be rendered in stage '{printable(stage)}'",
        hint="set lxc.hook.pre-start to the hook's command instead",
    )


def state_folder(environ: "Mapping[str, str]") -> str:
    """Return the container's directory, or "" if LXC has not started this hook."""
    config = environ.get("LXC_CONFIG_FILE", "")
    return dirname(clean_path(config)) if config else ""


def _start(
    stage: str, name: str, folder: str, options: "Options", environ: "Mapping[str, str]"
) -> "HookRequest | Notice":
    """Return the hook request, or an empty Notice if LXC's current stage has nothing to render.

    Directories and overlays are rendered in pre-start, unless the hook line has ``--stage mount``. Other
    root filesystems are rendered in the stage mount.
    """
    of_lxc = without_prefix(environ.get("LXC_ROOTFS_PATH", ""))
    path = without_prefix(options.rootfs) or of_lxc
    later = options.stage == "mount"
    is_folder = is_directory(path)
    layers = () if is_folder or later else layers_of(path)
    early = (is_folder and not later) or bool(layers)
    image = options.source or folder
    if options.if_present and is_missing(join(image, METADATA)):
        return Notice()
    config = environ.get("LXC_CONFIG_FILE", "")
    # whether LXC mounts another root filesystem; two different paths can lead to the same one through links
    is_other = abspath(path) != abspath(of_lxc) and not is_same_place(path, of_lxc)
    if is_other:
        refuse_other_container(layers[-1] if layers else path, folder)
    if is_other and not early and stage == "pre-start":
        raise RefusedError(
            f"--rootfs '{printable(path)}' is neither a directory nor an overlay of directories"
        )
    if stage == "mount":
        is_rendered = early or is_other
        if not is_other and is_deferred(options.state or folder):
            is_rendered = False
        if is_rendered and has_hook(config, "pre-start", elsewhere=is_other):
            return Notice()
        if is_other:
            raise RefusedError(
                f"the mount hook can't render templates into the --rootfs '{printable(path)}'",
                hint="set lxc.hook.pre-start to the hook's command instead",
            )
        early = False
    if early != (stage == "pre-start"):
        if not early:
            require_mount_hook(path, config, options.stage)
            defer(options.state or folder)
        return Notice()
    mounted = environ.get("LXC_ROOTFS_MOUNT", "")
    found = list(settings(config)) if early and (not options.rootfs or exists(config)) else []
    mounts: tuple[str, ...] = ()
    if not is_other and options.stage != "pre-start":
        refuse_later_mounts(path, found)
        mounts = mount_points(found, (join(folder, "rootfs"), path))
    state_folder = options.state or folder
    opened = {folder: open_unshared(folder)} if folder in (image, state_folder) else {}
    if found and not opened:  # the configuration was read from this directory
        open_folder(folder, fixed=True).close()
    return HookRequest(
        options, name=name, rootfs=path if early and not layers else mounted, image=image,
        state_folder=state_folder, open_folders=opened, ids=_ids(early, options, found, config, path, layers),
        mounts=mounts, mounts_hint="add --stage pre-start to the hook line if the mount hides no files",
        mount=(lambda: require_mounted(mounted)) if not early
        else (lambda: mount_overlay(layers, mounted, found)) if layers else None,
    )  # fmt: skip


#: The pre-start hook makes this file if it leaves the rendering to the mount hook.
DEFERRED = "deferred"


def defer(folder: str) -> None:
    """Record that the mount hook, not the pre-start hook, renders the templates in this start."""
    # The mount hook can't use the root filesystem's path as a sign: another hook may have mounted a volume
    # there.
    with open_unshared(folder) as opened, StateDirectory(opened) as directory:
        directory.replace(DEFERRED, b"", sync=False)  # each start writes it again


def is_deferred(folder: str) -> bool:
    """Return whether the pre-start hook of this start has left the rendering to the mount hook.

    Raises RefusedError if this process can't read the record of ``defer``.
    """
    # For example, the root user of an unprivileged container can't read the record.
    try:
        os.lstat(join(folder, STATE_FOLDER, DEFERRED))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(join(folder, STATE_FOLDER), reason(error)) from None
    with open_unshared(folder) as opened, StateDirectory(opened) as directory:
        found = directory.read(DEFERRED, 1, own=True) is not None
        directory.remove(DEFERRED)
    return found


def unreadable(path: str, why: str) -> RefusedError:
    return RefusedError(
        "the mount hook can't tell whether the pre-start hook has rendered the templates,"
        f" because '{printable(path)}' is unreadable: {why}",
        hint="in an unprivileged container, use only lxc.hook.pre-start",
    )


def _ids(
    early: bool,
    options: "Options",
    found: "list[tuple[str, str]]",
    config: str,
    path: str,
    layers: "tuple[str, ...]",
) -> "IdMap | None":
    from ...rootfs.id_map import IDENTITY

    if not early:
        return IDENTITY  # the hook runs in the container's user namespace, so it sees the container's ids
    ids = ids_in(found, config)
    if options.rootfs:
        ids = in_namespace(ids) or of_other_directory(ids, layers[0] if layers else path)
    return or_identity(ids)


def in_namespace(ids: "IdMap | None") -> "IdMap | None":
    """Return the id map of a hook that lxc-usernsexec has started, or None for any other hook.

    The map leaves each of the container's ids unchanged, and has no other ids.
    """
    # The hook runs in the user namespace that lxc-usernsexec has made, so it sees the container's ids.
    if ids is None or not ids.shifts or not set(ids.uids) <= set(own_map("uid_map")):
        return None
    return ids.unshifted()


def require_mounted(path: str) -> bool:
    """Raise RefusedError if nothing is mounted at ``path``. Otherwise, return False.

    False means that the hook has mounted nothing (see ``mount`` of ``HookRequest``).
    """
    # Without a mount, ``path`` belongs to the host.
    above, name = split(abspath(path))
    with Root(above, named=True) as parent:
        entry = parent.entry("/" + name)
    if entry is None or not entry.is_mount:
        raise RefusedError(
            f"LXC has mounted no root filesystem at '{printable(path)}', which is a directory of the host",
            hint="set lxc.rootfs.path, or remove the hook from the container's configuration",
        )
    return False


_MOUNT_HINT = "in the container's configuration, set lxc.hook.mount to the same command as lxc.hook.pre-start"


def require_mount_hook(path: str, config: str, stage: str = "") -> None:
    """Raise RefusedError if the container lacks a mount hook that calls templater.

    If ``stage`` is "mount", the hook of a directory or an overlay must have the option ``--stage mount``.
    """
    found = list(settings(config))
    for key, value in found:
        if key == "lxc.rootfs.path":
            path = value or path
    lines = [line for line in hook_lines(found, "mount") if _renders(line)]
    if stage == "mount" and (is_directory(without_prefix(path)) or layers_of(without_prefix(path))):
        if not any("--stage mount" in line or "--stage=mount" in line for line in lines):
            raise RefusedError(
                "no hook renders the templates: the pre-start hook has --stage mount, and no lxc.hook.mount"
                " calls templater with --stage mount",
                hint=_MOUNT_HINT,
            )
        return
    if path and lines:
        return
    if not path:
        raise RefusedError(
            "the container has no root filesystem of its own, and hooks never write to the host",
            hint="remove the hook from the container's configuration, or set lxc.rootfs.path",
        )
    kind = next((prefix[:-1] for prefix in PREFIXES if path.startswith(prefix)), "")
    raise RefusedError(
        f"unsupported rootfs type{f' {kind!r}' if kind else ''}: '{printable(path)}' is neither a directory"
        " nor an overlay of directories, so only LXC can mount it",
        hint=_MOUNT_HINT,
    )


def hook_lines(found: "list[tuple[str, str]]", stage: str) -> "list[str]":
    """Return the hook commands that a container's configuration has for a stage.

    In LXC, an empty value of ``lxc.hook.STAGE`` or ``lxc.hook`` removes all earlier commands.
    """
    lines: list[str] = []
    for key, value in found:
        if key in ("lxc.hook", f"lxc.hook.{stage}") and not value:
            lines.clear()
        elif key == f"lxc.hook.{stage}":
            lines.append(value)
    return lines


def _renders(line: str) -> bool:
    return calls_templater(line) or "templater hook lxc" in line


def has_hook(config: str, stage: str, *, elsewhere: bool = False) -> bool:
    """Return whether a hook of a stage calls templater.

    Ignore hooks with ``--rootfs``, unless ``elsewhere`` is true. Raises RefusedError if the file ``config``
    is unreadable.
    """
    try:
        lines = hook_lines(list(settings(config)), stage)
        return any(_renders(line) and (elsewhere or "--rootfs" not in line) for line in lines)
    except TemplaterError as error:
        raise unreadable(config, error.message) from None


def refuse_later_mounts(path: str, found: "list[tuple[str, str]]") -> None:
    """Raise RefusedError if the container has a pre-mount hook, which may hide the rendered files."""
    # For example, the pre-mount hook of ``lxc-copy --ephemeral --tmpfs`` mounts a tmpfs over the layers.
    if hook_lines(found, "pre-mount"):
        raise RefusedError(
            "lxc.hook.pre-mount runs after the pre-start hook, and may hide files that the pre-start hook"
            f" writes to '{printable(path)}'",
            hint="if lxc.hook.pre-mount hides no files, add --stage pre-start to the command in"
            " lxc.hook.pre-start; if lxc.hook.pre-mount hides files, add --stage mount to the command in"
            " lxc.hook.pre-start, and set lxc.hook.mount to the same command as lxc.hook.pre-start",
        )


# --- overlays ----------------------------------------------------------------------------------

CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x44000


def mount_overlay(layers: "tuple[str, ...]", where: str, found: "Sequence[tuple[str, str]]" = ()) -> bool:
    """Enter a private mount namespace, and mount the overlay there until the hook ends. Return True.

    ``found`` has the keys and values of the container's configuration. For the result, see ``mount`` of
    ``HookRequest``.

    Raises:
        RefusedError: a layer or the mount point is a link, or another user can exchange the mount point or
            the upper layer.
        WriteError: mounting fails.
    """

    def call(name: str, *arguments: "bytes | int | None") -> None:
        if libc(name)(*arguments):
            raise WriteError(
                f"can't mount the overlay of '{printable(':'.join(layers))}': {name} failed",
                hint="with --stage mount, templater renders after LXC has mounted the overlay",
            )

    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC_PRIVATE, None)
    # the kernel accepts only descriptors that were opened in the new namespace
    opened = open_layers(layers)
    _remove_volatile_mark(opened[-1])
    *lower, upper, work = [f"/proc/self/fd/{root.fd}" for root in opened]
    options = ",".join(
        (f"lowerdir={':'.join(lower)}", f"upperdir={upper}", f"workdir={work}", *overlay_options(found))
    )
    by_default = _refuses_second_mount()
    # Without ``volatile``, the kernel commits all changes of a btrfs when it unmounts an overlay. The commit
    # can delay later changes for minutes. The hook does not need the commit: ``disk_sync`` uses the upper
    # layer to wait for the disk. With an index, the kernel itself copies files with several hard links to the
    # upper layer, and ``volatile`` would prevent the sync of these copies.
    is_volatile = not by_default and _is_btrfs(opened[-2])
    with _open_mount_point(where) as place:
        arguments = b"overlay", fsencode(f"/proc/self/fd/{place.fd}"), b"overlay", 0
        # kernels before 5.10 don't know the option
        if not is_volatile or libc("mount")(*arguments, fsencode(f"{options},volatile")):
            call("mount", *arguments, fsencode(options))
    index = has_index(found)
    unmount_at_end(where, itself=by_default if index is None else index)
    return True


def _open_mount_point(path: str) -> Root:
    """Open the directory at which the hook mounts the overlay.

    Raises RefusedError if another user can replace the mount point.
    """
    # With a link to ``/etc``, for example, the hook would read the container's files as files of the host.
    above, name = split(clean_path(path))
    with open_folder(above, fixed=True) as parent:
        place = parent.below("/" + name)
        require_fixed(parent, place)
        return place


def _is_btrfs(folder: Root) -> bool:
    if not is_on_btrfs(folder.fd):
        return False
    from ...rootfs.file_system_type import BTRFS, is_file_system_of

    return is_file_system_of({BTRFS}, folder.fd)


def _remove_volatile_mark(work: Root) -> None:
    """Remove the mark that the kernel left in the work directory when it mounted a ``volatile`` overlay.

    The caller checks that only this process's user can change names in the work directory.
    """
    # While the mark exists, the kernel refuses to mount an overlay with this work directory.
    try:
        with work.directory("/work/incompat") as incompat:
            with incompat.directory("volatile") as volatile:
                if volatile.lstat("dirty") is not None:
                    os.unlink("dirty", dir_fd=volatile.fd)
            os.rmdir("volatile", dir_fd=incompat.fd)
    except (MissingError, FileNotFoundError):
        pass
    except OSError as error:
        raise write_error("remove", join(work.name, "work/incompat/volatile"), error) from None


def _refuses_second_mount() -> bool:
    """Return whether the kernel may refuse to mount the overlay a second time.

    Return True if an overlay has an index by default, or if the default is unknown.
    """
    # The kernel refuses a second mount of an overlay that has an index.
    try:
        fd = os.open("/sys/module/overlay/parameters/index", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return os.read(fd, 1) != b"N"
    finally:
        os.close(fd)


def open_layers(layers: "tuple[str, ...]") -> "list[Root]":
    """Open the layers of an overlay and the directory ``WORK`` beside the upper layer."""
    # A user of the container can own the directory that contains the upper layer, so no link in it is used.
    *lower, upper = layers
    opened = [open_folder(layer, follow=False) for layer in lower]
    above, name = split(upper)
    with make_folder(above, fixed=True) as folder, folder.directory("/") as directory:
        # LXC makes missing directories, too, but in an unprivileged container it may lack the rights
        if directory.lstat(name) is None:
            _make_layer(directory, name, os.fstat(opened[0].fd))
        opened.append(folder.below("/" + name))
        require_fixed(folder, opened[-1])
        if directory.lstat("work") is None:
            _make_layer(directory, "work", os.fstat(opened[0].fd))
        make(directory, WORK)
        opened.append(folder.below("/" + WORK))
        _require_own(opened[-1])
        return opened


#: the hook's own work directory for an overlay; LXC's is ``work``
WORK = ".templater-work"


def _require_own(work: Root) -> None:
    """Raise RefusedError if another user could put files or attributes into the work directory."""
    # The kernel removes all files in the work directory during mount(2), and no time limit ends this removal.
    # The container's root can own LXC's work directory, so the hook uses a work directory of its own.
    status = os.fstat(work.fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise RefusedError(
            f"'{printable(work.name)}' belongs to uid {status.st_uid} with mode"
            f" {status.st_mode & 0o7777:04o}: another user could have put files there, and mounting the"
            " overlay would remove these files",
            hint=f"rename '{printable(work.name)}', and the next start makes a new directory",
        )


def _make_layer(directory: Directory, name: str, lower: "os.stat_result") -> None:
    """Make a directory that belongs to the container's root, the owner of the lower layer, as LXC does."""
    # A user who can replace names in ``directory`` could exchange the new directory before a chown. In this
    # case, the hook makes the directory as the container's root.
    try:
        if not is_replaceable(directory.fd):
            directory.mkdir(name)
            os.chown(name, lower.st_uid, lower.st_gid, dir_fd=directory.fd, follow_symlinks=False)
            return
        set_gid, set_uid = libc("setfsgid"), libc("setfsuid")
        try:
            set_gid(lower.st_gid)
            set_uid(lower.st_uid)
            directory.mkdir(name)
        finally:
            set_uid(os.geteuid())
            set_gid(os.getegid())
    except OSError as error:
        raise write_error("make", "/" + name, error) from None


# --- configuration -----------------------------------------------------------------------------


def snippet(name: str, words: "list[str]", path: str) -> "Snippet":
    from ..lxc_install_and_status import snippet

    return snippet(name, words, path)


def status(name: str, path: str) -> "Iterator[Finding]":
    from ..lxc_install_and_status import status

    return status(name, path)
