"""The lines that call templater in the configuration of an LXC container, and the check of these lines."""

from ..model.errors import InputError, RefusedError, TemplaterError, UsageError
from ..model.unprintable_characters import printable
from ..oslite import abspath, dirname, exists, join, os
from ..rootfs.trusted_paths import is_same_place, open_folder
from ..rootfs.writable_by_others import namespace_creator, own_map
from .lxc_config import (
    ids_on_disk,
    is_directory,
    layers_of,
    of_other_directory,
    or_identity,
    refuse_other_container,
    settings,
    without_prefix,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..rootfs.id_map import Ranges
    from .common_status_checks import Finding
    from .install import Snippet

#: the default directory of LXC's containers
LXC_PATH = "/var/lib/lxc"

#: the stages for which ``hook install`` writes a line; the hook ignores other stages
STAGES = ("pre-start", "clone", "destroy")


def snippet(name: str, words: "list[str]", path: str) -> "Snippet":
    """Return the lines for a container's configuration.

    The lines also work in overlay copies of the container.
    """
    from .install import Snippet, argv, shell_line
    from .options import END

    if not name:
        raise UsageError("missing container name")
    file = join(path or LXC_PATH, name, "config")
    words = [*words, *owner_words(file)]
    commands = dict.fromkeys(STAGES, shell_line(argv("lxc", [*words, END])))
    if exists(file) and ids_on_disk(file) is not None:
        # LXC runs this hook in the container's user namespace. There, it could write compiled modules that
        # belong to the container's root, and later hooks of the host would load these modules.
        commands["clone"] = shell_line(argv("lxc", [*words, END], write_bytecode=False))
    if namespace := namespace_words(file):
        if os.geteuid() != 0:  # in the namespace, the hook can't see that a directory belongs to another user
            open_folder(dirname(file), fixed=True).close()
        # In the user namespace, the container's root has the id 0, so lxc.idmap does not apply to the files.
        rootfs = "" if "--rootfs" in words else '--rootfs "$LXC_ROOTFS_PATH" '
        line = f"{namespace} -- {shell_line(argv('lxc', words, write_bytecode=False))} {rootfs}{END}"
        commands |= {"pre-start": line, "destroy": line}
    lines = "".join(f"lxc.hook.{stage} = {line}\n" for stage, line in commands.items())
    return Snippet(file, lines, lambda before: added(before, file, lines))


def namespace_words(config: str) -> str:
    """Return the command that enters the container's user namespace, or "" if root starts the container."""
    # Only processes in this namespace can write the files of an ordinary user's container.
    ranges = zip("ug", _namespace(config)[:2], strict=True)
    maps = [f" -m {kind}:{first}:{disk}:{count}" for kind, each in ranges for first, disk, count in each]
    return "lxc-usernsexec" + "".join(maps) if maps else ""


def owner_words(config: str) -> "list[str]":
    """Return the option ``--owner`` and the uid of the user who starts the container.

    The uid is valid in the container's user namespace. Return [] if the user is root or the container's root.
    """
    # The hook uses the uid to recognise the user's directories.
    owner = _namespace(config)[2]
    return ["--owner", str(owner)] if owner else []


def _namespace(config: str) -> "tuple[Ranges, Ranges, int]":
    """Return the uid ranges, the gid ranges, and the starting user's uid in the hook's user namespace.

    If root starts the container, return empty ranges and 0.
    """
    from os import getegid, getuid

    ids = ids_on_disk(config) if exists(config) else None
    if ids is None or not ids.shifts:
        return (), (), 0
    if os.geteuid() != 0:
        own = getuid()
        uids, gids = _with(ids.uids, own), _with(ids.gids, getegid())
        return (
            uids,
            gids,
            next(first + own - disk for first, disk, count in uids if disk <= own < disk + count),
        )
    # lxc-create runs its template as root of a namespace with the ids of lxc.idmap and of the user. lxc.idmap
    # may contain the id of the user, too.
    uids, gids = (tuple(own_map(name)) for name in ("uid_map", "gid_map"))
    users = [disk for _, disk, count in uids if count == 1]
    if not set(ids.uids) <= set(uids) or not users or 0 in users:
        return (), (), 0
    return uids, gids, namespace_creator()


def _with(ranges: "Ranges", own: int) -> "Ranges":
    """Return ``ranges``. If no range contains the id ``own``, add a range for this id.

    As in LXC, the new range maps this id to the first free id of the namespace.
    """
    if any(disk <= own < disk + count for _, disk, count in ranges):
        return ranges
    free = 0
    for first, _, count in sorted(ranges):
        if first <= free:
            free = first + count
    return (*ranges, (free, own, 1))


def added(before: "str | None", file: str, lines: str) -> str:
    """Return the configuration without the lines of earlier templater versions, and with the new lines last.

    Raises InputError if the file does not exist.
    """
    from .options import calls_templater

    if before is None:
        raise InputError(f"'{file}' does not exist", hint="create the container first")
    # not splitlines: for LXC, only a line feed ends a line
    kept = [line for line in before.removesuffix("\n").split("\n") if not calls_templater(line)]
    return "".join(f"{line}\n" for line in kept if before) + lines


def status(name: str, path: str) -> "Iterator[Finding]":
    from shlex import quote

    from .common_status_checks import Finding, elsewhere, option_of, require_name, source_status
    from .options import calls_templater

    require_name(name)
    path = path or LXC_PATH
    folder = join(path, name)
    config = join(folder, "config")
    try:
        found = list(settings(config))
    except TemplaterError as error:
        hint = error.hint or "create the container first, or give its directory with --path"
        yield Finding(False, error.message, hint)
        return
    lines: dict[str, str] = {}
    for key, value in found:
        if key == "lxc.hook" and not value:
            lines.clear()
        elif key.startswith("lxc.hook.") and not value:
            lines.pop(key, None)  # an empty value makes LXC drop the earlier lines of this key
        elif key.startswith("lxc.hook.") and calls_templater(value):
            lines[key] = value
    given = option_of(lines.get("lxc.hook.pre-start", ""), "--rootfs")
    if given.startswith("$"):  # a variable of LXC with the value of lxc.rootfs.path
        given = ""
    rootfs = given or next((value for key, value in reversed(found) if key == "lxc.rootfs.path"), "")
    if not rootfs:
        problem = f"'{config}' names no root filesystem"
        yield Finding(False, problem, f"for example: lxc.rootfs.path = dir:{abspath(folder)}/rootfs")
        return
    root = without_prefix(rootfs)
    early = is_directory(root) or bool(layers_of(root))
    needed = "pre-start" if early else "mount"
    line = lines.get(f"lxc.hook.{needed}")
    hint = f"templater hook install lxc {quote(name)}{elsewhere(path, LXC_PATH)} --write"
    if line is None:
        # `install` does not write lxc.hook.mount, because most containers do not need this hook.
        by_hand = (
            "set lxc.hook.mount to the value of lxc.hook.pre-start: the hook must run after LXC has mounted"
            " this rootfs"
        )
        missing = not early and "lxc.hook.pre-start" in lines
        problem = f"'{config}' has no lxc.hook.{needed} that calls templater"
        yield Finding(False, problem, by_hand if missing else hint)
        return
    yield Finding(True, f"lxc.hook.{needed} calls templater")
    for stage, loss in (("clone", "copies get no trigger"), ("destroy", "a rename counts as a copy")):
        if f"lxc.hook.{stage}" not in lines:
            yield Finding(None, f"no lxc.hook.{stage}: {loss}", hint)
    yield line_status(line, config, hint)
    yield from rootfs_status(given, found, folder)
    yield from source_status(line, folder, folder)
    yield from way_status((layers_of(root) or (root,))[-1], folder)
    if is_directory(root):
        yield ids_status(config, root, is_given=bool(given))


def rootfs_status(given: str, found: "list[tuple[str, str]]", folder: str) -> "Iterator[Finding]":
    """Report if the directory of ``--rootfs`` is not the root filesystem that the container uses."""
    from .common_status_checks import Finding

    path = without_prefix(given)
    own = without_prefix(next((value for key, value in reversed(found) if key == "lxc.rootfs.path"), ""))
    if not path or abspath(path) == abspath(own) or is_same_place(path, own):
        return
    try:
        refuse_other_container((layers_of(path) or (path,))[-1], abspath(folder))
    except RefusedError as error:
        yield Finding(False, error.message, error.hint)
        return
    yield Finding(None, f"the hook writes to --rootfs '{printable(path)}', not to lxc.rootfs.path")


def line_status(line: str, config: str, install: str) -> "Finding":
    """Check a hook line. The line can begin with a command that enters the container's user namespace."""
    from contextlib import suppress

    from .common_status_checks import Finding, option_of, runs

    if not line.startswith("lxc-usernsexec "):
        return runs("lxc", line, install)
    namespace, _, inside = line.partition(" -- ")
    own: list[str] = []
    owner: list[str] = []
    with suppress(TemplaterError):  # ``ids_status`` reports an invalid map
        own, owner = namespace_words(config).split(), owner_words(config)
    if sorted(namespace.split()) != sorted(own):  # the order of the maps has no meaning
        return Finding(
            None,
            "the hook line was not run: for this user, `hook install` would write a line with a different"
            " user namespace",
            f"run this command as the user who starts the container, or write the line again: {install}",
        )
    if owner and option_of(inside, "--owner") != owner[1]:
        option = " ".join(owner)
        return Finding(
            False,
            f"the hook line has no {option}, so the hook refuses directories of the user who starts the"
            " container",
            f"write the line again: {install}",
        )
    return runs("lxc", inside, install, [*own, "--"])


def way_status(path: str, folder: str) -> "Iterator[Finding]":
    """Report if another user can exchange the root filesystem, or the upper layer of its overlay.

    Skip ``path`` if its parent is ``folder``, the container's directory.
    """
    # A hook in a user namespace can't check the owners: all other users of the host have the same id there.
    from .common_status_checks import Finding

    if not path.startswith("/") or dirname(path) == abspath(folder):
        return
    try:
        open_folder(path, fixed=True).close()
    except RefusedError as error:
        yield Finding(False, str(error), error.hint)
    except InputError:  # only the hook can open the directory, or it does not exist yet
        return


def ids_status(config: str, rootfs: str, *, is_given: bool) -> "Finding":
    from ..rootfs.directory_rootfs import DirectoryRootfs
    from .common_status_checks import Finding

    try:
        ids = ids_on_disk(config)
        ids = of_other_directory(ids, rootfs) if is_given else ids
        with DirectoryRootfs(rootfs, or_identity(ids)) as view:
            uid, gid = view.ids.on_disk(0, 0)
    except TemplaterError as error:
        return Finding(False, str(error), error.hint)
    return Finding(True, f"the container's root user is {uid}:{gid} on disk")
