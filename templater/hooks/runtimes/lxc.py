"""The hooks for LXC.

The pre-start or mount hook renders. The clone and destroy hooks record copies and renames.

LXC passes the event in the environment (hook version 1), or in three words at the end of the hook line
(version 0). The container's directory, which contains its ``config``, is its instance directory.

If the root filesystem is a directory, the pre-start hook renders it as the host's root user. LXC has not yet
mounted an overlay at that stage, so the hook mounts the overlay in a mount namespace of its own.

The mount stage runs after LXC has mounted the root filesystem. But in an unprivileged container the mount
hook runs as the container's root user, which can read neither the interpreter nor templater's state. So the
mount hook renders block devices and other images, and renders overlays only with ``--stage mount``.
"""

from ...instances.directory import InstanceDirectory, State, StateDirectory, write_whole
from ...model.entry import SYMLINK
from ...model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError, WriteError
from ...model.file_names import INSTANCE, METADATA, STATE_FOLDER, TEMPLATES, WRITTEN
from ...model.source import printable
from ...oslite import abspath, dirname, exists, fsencode, isdir, islink, join, os, split, stat
from ...rootfs.confined import Directory, Root, read_descriptor, write_error
from ..request import HookRequest, Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...rootfs.directory import IdMap, Ranges
    from ..install import Snippet
    from ..options import Options
    from ..status import Finding

#: the default directory of LXC's containers
LXC_PATH = "/var/lib/lxc"

#: the stages for which ``hook install`` writes a line; the hook ignores other stages
STAGES = ("pre-start", "clone", "destroy")

MAX_CONFIG = 1 << 20
MAX_INCLUDES = 64

#: the type prefixes of lxc.rootfs.path; LXC removes them except for clone hooks and ephemeral copies
PREFIXES = ("dir:", "overlay:", "overlayfs:", "btrfs:", "zfs:", "lvm:", "loop:", "nbd:", "rbd:")

#: the program by which the hooks of an ordinary user enter the user namespace of the container
USERNS_PROGRAM = b"lxc-usernsexec"

#: how many ancestors are searched for lxc-copy, which runs an ordinary user's clone hook as a grandchild
DEPTH = 4

#: the file in which a clone hook leaves a message for the destroy hook of the same lxc-copy
CLONED = "cloned"


def read_request(options: "Options", environ: "Mapping[str, str]") -> "HookRequest | Notice":
    stage = environ.get("LXC_HOOK_TYPE") or (options.words[-1] if options.words[-2:-1] == ("lxc",) else "")
    if not stage or "LXC_NAME" not in environ:
        raise UsageError("LXC did not call this hook", hint="to install one, run: templater hook install lxc")
    name = environ["LXC_NAME"]
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise UsageError(f"invalid container name '{printable(name)}'")
    folder = _folder(environ)
    if stage in ("pre-start", "mount"):
        return _start(stage, name, folder, options, environ)
    if stage == "clone":
        return clone(folder, name, environ.get("LXC_SRC_NAME", ""), options)
    if stage == "destroy":
        return destroy(folder)
    return Notice()


def state_folder(environ: "Mapping[str, str]") -> str:
    """Return the container's directory.

    Return "" if it has no ``.templater``, because logging must not create it.
    """
    folder = _folder(environ)
    return folder if exists(join(folder, STATE_FOLDER)) else ""


def _folder(environ: "Mapping[str, str]") -> str:
    return dirname(abspath(environ.get("LXC_CONFIG_FILE", "")))


def _start(
    stage: str, name: str, folder: str, options: "Options", environ: "Mapping[str, str]"
) -> "HookRequest | Notice":
    """Return the hook request, or an empty Notice if LXC's current stage has nothing to render.

    A directory or an overlay is rendered in pre-start, any other root filesystem after LXC has mounted it.
    """
    path = options.rootfs or without_prefix(environ.get("LXC_ROOTFS_PATH", ""))
    layers = () if isdir(path) or options.stage == "mount" else layers_of(path)
    early = bool(layers) or isdir(path)
    image = options.source or folder
    if options.if_present and not exists(join(image, METADATA)):
        return Notice()
    config = environ.get("LXC_CONFIG_FILE", "")
    if early != (stage == "pre-start"):
        if not early and options.stage != "mount":
            require_mount_hook(path, config)
        return Notice()
    mounted = environ.get("LXC_ROOTFS_MOUNT", "")
    return HookRequest(
        options, name=name, rootfs=mounted if layers or not early else path, image=image,
        state_folder=options.state or folder, ids=_ids(early, options, config),
        mount=(lambda: mount_overlay(layers, mounted)) if layers
        else None if early else (lambda: require_mounted(mounted)),
    )  # fmt: skip


def _ids(early: bool, options: "Options", config: str) -> "IdMap | None":
    if not early:
        from ...rootfs.directory import IDENTITY

        return IDENTITY  # the hook runs in the container's user namespace, so it sees the container's ids
    if not options.rootfs:
        return ids_on_disk(config)
    return in_namespace(ids_on_disk(config)) if exists(config) else None


def in_namespace(ids: "IdMap | None") -> "IdMap | None":
    """Return the map of a hook that lxc-usernsexec has started, or None for another hook.

    In that user namespace the container's ids are unchanged, and the id of the container's owner has a number
    above all of them. Only the container's ids may own its files.
    """
    from ...rootfs.directory import IDENTITY, IdMap

    if ids is None or ids is IDENTITY or not set(ids.uids) < set(_own_map("uid_map")):
        return None
    uids, gids = (tuple((first, first, count) for first, _, count in each) for each in (ids.uids, ids.gids))
    return IdMap(uids, gids)


def require_mounted(path: str) -> None:
    """Raise RefusedError if nothing is mounted at ``path``: the directory is then a part of the host."""
    above, name = split(abspath(path))
    with Root(above, named=True) as parent:
        entry = parent.entry("/" + name)
    if entry is None or not entry.is_mount:
        raise RefusedError(
            f"LXC has mounted no root filesystem at '{printable(path)}', which is a directory of the host",
            hint="set lxc.rootfs.path, or remove the hook from the container's configuration",
        )


def require_mount_hook(path: str, config: str) -> None:
    """Raise RefusedError if only LXC can mount this root filesystem and no mount hook calls templater."""
    found = list(settings(config))
    for key, value in found:
        if key == "lxc.rootfs.path":
            path = value or path
    if path and any(key == "lxc.hook.mount" and "templater" in value for key, value in found):
        return
    if not path:
        raise RefusedError(
            "the container has no root filesystem of its own, and templater never writes to the host's",
            hint="remove the hook from the container's configuration, or set lxc.rootfs.path",
        )
    kind = next((prefix[:-1] for prefix in PREFIXES if path.startswith(prefix)), "")
    raise RefusedError(
        f"unsupported rootfs type{f' {kind!r}' if kind else ''}: '{printable(path)}' is neither a directory"
        " nor an overlay of directories, and can't be written before LXC has mounted it",
        hint="in the container's configuration, set lxc.hook.mount to the line of lxc.hook.pre-start as well",
    )


def without_prefix(path: str) -> str:
    for prefix in PREFIXES:
        if path.startswith(prefix):
            return path[len(prefix) :]
    return path


# --- overlays ----------------------------------------------------------------------------------

CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x44000


def layers_of(path: str) -> "tuple[str, ...]":
    """Return the lower and upper directories of ``lower:…:upper``, or () for any other path."""
    layers = tuple(path.split(":"))
    if len(layers) < 2 or not all(layer.startswith("/") and isdir(layer) for layer in layers):
        return ()
    return tuple(map(abspath, layers))  # abspath removes a final "/" or "/.", which would hide a symlink


def mount_overlay(layers: "tuple[str, ...]", where: str) -> None:
    """Mount the overlay as LXC will, in a private mount namespace that ends with this process.

    Raises RefusedError for a path that overlayfs can't mount, and WriteError if mounting fails.
    """
    from os import makedirs

    from ...sandbox.system_calls import libc

    *lower, upper = layers
    work = join(dirname(upper), "work")
    link = next((layer for layer in layers if islink(layer)), "")
    if link:
        raise RefusedError(f"the overlay layer '{printable(link)}' is a symlink")
    if any("," in layer or "\\" in layer for layer in layers):
        raise RefusedError(
            f"'{printable(':'.join(layers))}' has a comma or backslash, which overlayfs options can't contain"
        )
    options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
    steps = (
        ("unshare", (CLONE_NEWNS,)),
        ("mount", (b"none", b"/", None, MS_REC_PRIVATE, None)),
        ("mount", (b"overlay", fsencode(where), b"overlay", 0, fsencode(options))),
    )
    makedirs(work, exist_ok=True)
    for call, arguments in steps:
        if libc(call)(*arguments):
            raise WriteError(
                f"can't mount the overlay: {call} of '{printable(options)}' failed",
                hint="with --stage mount, templater renders after LXC has mounted the overlay",
            )


# --- ids ---------------------------------------------------------------------------------------


def ids_on_disk(config: str) -> "IdMap | None":
    """Return the id map of ``lxc.idmap``.

    If LXC mounts the root filesystem with that map, return the identity map.
    """
    from ...rootfs.directory import IDENTITY, IdMap

    ranges: dict[str, list[tuple[int, int, int]]] = {"u": [], "g": []}
    mounted = False
    for key, value in settings(config):
        if key == "lxc.idmap":
            words = value.split()
            if len(words) == 4 and words[0] in ranges and all(word.isdecimal() for word in words[1:]):
                ranges[words[0]].append((int(words[1]), int(words[2]), int(words[3])))
            elif not value:
                ranges = {"u": [], "g": []}
        elif key == "lxc.rootfs.options":
            mounted = "idmap=" in value
    if mounted:
        return IDENTITY
    if not ranges["u"] or not ranges["g"]:
        return None
    return IdMap(tuple(ranges["u"]), tuple(ranges["g"]))


def settings(path: str) -> "Iterator[tuple[str, str]]":
    """Yield the keys and values of a container's configuration and of the files that it includes.

    Raises InputError for an unreadable file, and LimitError for too many or too large files.
    """
    waiting, seen = [path], 0
    while waiting:
        file = waiting.pop(0)
        seen += 1
        if seen > MAX_INCLUDES:
            raise LimitError(f"'{path}' includes more than {MAX_INCLUDES} files")
        if isdir(file):
            waiting[:0] = [join(file, n) for n in sorted(os.listdir(file)) if n.endswith(".conf")]
            continue
        if file.endswith("/") and not exists(file):
            # LXC ignores a missing directory, too: its userns.conf includes one that Debian lacks.
            continue
        for key, value in _lines(file):
            if key == "lxc.include":
                waiting.append(value)
            yield key, value


def _lines(path: str) -> "Iterator[tuple[str, str]]":
    try:
        # opening a device can have effects, and a fifo would wait for a writer
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path!r} is not a regular file")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = read_descriptor(fd, MAX_CONFIG, path)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path!r} can't be read: {why.lower()}") from None
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        key, equals, value = line.partition("=")
        if equals and not key.lstrip().startswith("#"):
            yield key.strip(), value.strip()


# --- copies, snapshots, renames ----------------------------------------------------------------


def clone(folder: str, name: str, source_name: str, options: "Options") -> Notice:
    """Record that lxc-copy, lxc-copy -R or lxc-snapshot has made this container's directory.

    A snapshot keeps the container's pending trigger, and restoring the snapshot in place restores the
    trigger. Any other new directory counts as a copy, unless the destroy hook later detects a rename.
    """
    source, exact = find_source(folder, source_name)
    if not options.source:
        require_original(source, folder, exact=exact)
        copy_image(source, folder)
    with StateDirectory(source) as old:
        before = old.state()
        written = copied_record(old)
        if not exact:  # lxc-copy --snapshot always makes a copy
            old.replace(CLONED, "\n".join((folder, *ancestors(DEPTH))).encode("utf-8", "surrogateescape"))
    if exact and before is None:
        return Notice(f"{name}: made from {source_name}, which was never started", folder)
    state = State(before.pending if exact and before else "copy", name, before.image if before else "")
    with StateDirectory(folder) as new:
        new.lock("clone hook", options.time_limit)
        if written is not None:
            write_whole(new.directory, WRITTEN, written, sync=False)
        new.remember(state)
    return Notice(
        f"{name}: made from {source_name}; the next start runs {state.pending or 'start only'}", folder
    )


def find_source(folder: str, source_name: str) -> "tuple[str, bool]":
    """Return the original's directory, and whether a snapshot is being taken or restored in place.

    Raises InputError if no container or snapshot matches, or if several match.
    """
    above, here = split(folder)
    if split(above)[1] == "snaps" and split(dirname(above))[1] == source_name:
        return dirname(above), True
    inside = join(folder, "snaps", source_name)
    if isdir(inside):
        return inside, True
    program = copying_program()
    restored = join(above, named_container(), "snaps", source_name)
    if program == "lxc-snapshot" and isdir(restored):
        return restored, False
    beside = join(above, source_name)
    snapshots = [join(above, other, "snaps", source_name) for other in sorted(os.listdir(above))]
    found = [] if program == "lxc-copy" else [path for path in snapshots if isdir(path)]
    if isdir(beside) and program != "lxc-snapshot":
        if not found:
            return beside, False
        found.append(beside)  # LXC does not say whether it copies the container or the snapshot
    if len(found) != 1:
        raise InputError(
            f"'{here}' was made from '{printable(source_name)}', but"
            f" {'several containers have that name' if found else 'the original container is missing'}",
            hint=f"copy metadata.yaml, templates and instance.yaml to '{folder}', then run:"
            f" templater trigger '{folder}' copy",
        )
    return found[0], False


def require_original(source: str, folder: str, *, exact: bool) -> None:
    """Raise InputError unless it is certain that LXC copies the container ``source``.

    LXC gives only the original's name. With ``lxc-copy --newpath``, the original is in another directory, and
    a container of the same name can be beside the copy. The description of the wrong container would give its
    passwords to the copy.
    """
    if not copies_elsewhere() and (exact or _same_settings(join(source, "config"), join(folder, "config"))):
        return
    raise InputError(
        f"'{printable(source)}' may not be the original of '{printable(folder)}'",
        hint=f"copy metadata.yaml, templates and instance.yaml of the original to '{folder}', then run:"
        f" templater trigger '{folder}' copy",
    )


#: settings that LXC changes when it copies a container
_OWN_SETTINGS = ("lxc.rootfs.", "lxc.uts.", "lxc.net.", "lxc.hook.", "lxc.mount", "lxc.ephemeral", "lxc.log.")


def _same_settings(original: str, copy: str) -> bool:
    """Return whether a copy's configuration has the original's settings, except those that LXC changes."""
    there = set(_lines(copy))
    return all(line in there or line[0].startswith(_OWN_SETTINGS) for line in _lines(original))


def copies_elsewhere() -> bool:
    """Return whether the lxc-copy that runs this hook has the option ``-p`` or ``--newpath``."""
    return any(_has_newpath(words) for words in map(_words_of, ancestors(DEPTH)))


def copying_program() -> str:
    """Return ``lxc-copy`` or ``lxc-snapshot`` if that program runs this hook, else ""."""
    programs = {split(words[0])[1] for words in map(_words_of, ancestors(DEPTH)) if words}
    return next((name for name in ("lxc-copy", "lxc-snapshot") if name in programs), "")


def named_container() -> str:
    """Return the value of ``-n`` or ``--name`` of the lxc-snapshot that runs this hook, or ""."""
    for words in map(_words_of, ancestors(DEPTH)):
        if words and split(words[0])[1] == "lxc-snapshot":
            for number, word in enumerate(words[1:-1], 1):
                if word in ("-n", "--name"):
                    return words[number + 1]
                if word.startswith(("-n", "--name=")):
                    return word.removeprefix("--name=").removeprefix("-n")
    return ""


def _words_of(process: str) -> "list[str]":
    try:
        with open(f"/proc/{process.partition(':')[0]}/cmdline", "rb") as file:
            return file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return []


def _has_newpath(words: "list[str]") -> bool:
    if split(words[0] if words else "")[1] != "lxc-copy":
        return False
    for word in words[1:]:
        if word.startswith("--newp"):  # lxc-copy's getopt accepts abbreviations of --newpath
            return True
        if word.startswith("-") and not word.startswith("--"):
            flags = word[1:]
            taking = next((number for number, flag in enumerate(flags) if flag in _TAKING), len(flags))
            if "p" in flags[: taking + 1]:
                return True
    return False


#: options of lxc-copy that take a value
_TAKING = "nNpPolmBLft"


def copy_image(source: str, folder: str) -> None:
    """Copy metadata.yaml, templates and instance.yaml, which LXC omits, to a copy that lacks them."""
    with InstanceDirectory(source) as old, Root(folder, named=True) as root, root.directory("/") as new:
        if not old.has_image() or root.entry("/" + METADATA) is not None:
            return
        instance = old.read_instance()
        if instance is not None:
            write_whole(new, INSTANCE, instance.data)
        _copy_templates(old, new)
        # Copy metadata.yaml last, because it marks the copy as complete.
        write_whole(new, METADATA, old.read_metadata().data)


def _copy_templates(old: InstanceDirectory, new: Directory) -> None:
    try:
        if new.lstat(TEMPLATES) is None:
            new.mkdir(TEMPLATES)
        with new.directory(TEMPLATES) as folder:
            for name, file in old.read_templates().items():
                if file.data is not None:
                    write_whole(folder, name, file.data)
                elif file.entry is not None and file.entry.kind == SYMLINK and folder.lstat(name) is None:
                    # keep the symlink: the copy then fails to start, like the original
                    folder.symlink(file.entry.target, name)
    except OSError as error:
        raise write_error("copy", TEMPLATES, error) from None


def destroy(folder: str) -> Notice:
    """Detect a rename: lxc-copy -R is a clone followed by a destroy from the same process.

    Ignore every failure: LXC destroys the container in any case.
    """
    try:
        with StateDirectory(folder) as old:
            word = old.read(CLONED, 1 << 16)
            before = old.state()
        if word is None:
            return Notice()
        new, *processes = word.decode("utf-8", "surrogateescape").split("\n")
        if not set(ancestors(1)) & set(processes):
            return Notice()
        return _renamed(new, before or State("create"))
    except (TemplaterError, OSError):
        return Notice()


def copied_record(original: StateDirectory) -> "bytes | None":
    """Return the record of written files, which is also right for the copy.

    Return None if the record is unreadable.
    """
    from ...instances.written_files import MAX_RECORD

    try:
        return original.read(WRITTEN, MAX_RECORD)
    except TemplaterError:
        return None


def _renamed(folder: str, before: State) -> Notice:
    from ...model.lifecycle import pending_after

    with StateDirectory(folder) as new:
        new.lock("destroy hook")
        state = new.state()
        if state is None or state.pending != "copy":
            return Notice()
        state.pending = pending_after(before.pending, "rename")
        new.remember(state)
    return Notice(f"{state.name}: renamed; the next start runs {state.pending}", folder)


def ancestors(how_many: int) -> "list[str]":
    """Return up to ``how_many`` ancestor processes, each as ``PID:START_TIME``, without lxc-usernsexec."""
    found: list[str] = []
    pid = os.getppid()
    while pid > 0 and len(found) < how_many:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                name, _, rest = file.read(4096).partition(b"(")[2].rpartition(b")")
        except OSError:
            break
        words = rest.split()
        if name != USERNS_PROGRAM:
            found.append(f"{pid}:{int(words[19])}")
        pid = int(words[1])
    return found


# --- configuration -----------------------------------------------------------------------------


def snippet(name: str, words: "list[str]", path: str) -> "Snippet":
    """Return the lines for a container's configuration. They also work in copies that use an overlay."""
    from ..install import Snippet, argv, shell_line
    from ..options import END

    if not name:
        raise UsageError("missing container name")
    file = join(path or LXC_PATH, name, "config")
    commands = dict.fromkeys(STAGES, shell_line(argv("lxc", [*words, END])))
    if exists(file) and ids_on_disk(file) is not None:
        # LXC runs this hook in the container's user namespace, where it could write compiled modules that
        # belong to the container's root, and that later hooks of the host would load.
        commands["clone"] = shell_line(argv("lxc", [*words, END], write_bytecode=False))
    if namespace := namespace_words(file):
        # In the user namespace, the container's root has the id 0, so lxc.idmap does not apply to the files.
        rootfs = "" if "--rootfs" in words else '--rootfs "$LXC_ROOTFS_PATH" '
        line = f"{namespace} -- {shell_line(argv('lxc', words, write_bytecode=False))} {rootfs}{END}"
        commands |= {"pre-start": line, "destroy": line}
    lines = "".join(f"lxc.hook.{stage} = {line}\n" for stage, line in commands.items())
    return Snippet(file, lines, lambda before: added(before, file, lines))


def namespace_words(config: str) -> str:
    """Return the command that enters the container's user namespace, or "" for a container that root starts.

    Only processes in that namespace can write the files of an ordinary user's container.
    """
    from os import getegid, getuid

    from ...rootfs.directory import IDENTITY

    ids = ids_on_disk(config) if exists(config) else None
    if ids is None or ids is IDENTITY:
        return ""
    if os.geteuid() != 0:
        maps = [_with(ids.uids, getuid()), _with(ids.gids, getegid())]
    else:
        # lxc-create runs its template as root of a namespace with the ids of lxc.idmap and of the user.
        maps = [tuple(_own_map(name)) for name in ("uid_map", "gid_map")]
        users = [disk for _, disk, count in maps[0] if count == 1]
        if not set(ids.uids) < set(maps[0]) or users in ([], [0]):
            return ""
    ranges = zip("ug", maps, strict=True)
    return "lxc-usernsexec" + "".join(
        f" -m {kind}:{first}:{disk}:{count}" for kind, each in ranges for first, disk, count in each
    )


def _with(ranges: "Ranges", own: int) -> "Ranges":
    """Return the ranges. If they lack the caller's own id, add a range for that id after all others."""
    if any(disk <= own < disk + count for _, disk, count in ranges):
        return ranges
    return (*ranges, (max(first + count for first, _, count in ranges), own, 1))


def _own_map(name: str) -> "Iterator[tuple[int, int, int]]":
    with open(f"/proc/self/{name}", "rb") as file:
        for line in file:
            first, disk, count = map(int, line.split())
            yield first, disk, count


def added(before: "str | None", file: str, lines: str) -> str:
    """Return the configuration without the lines of earlier templater versions, and with the new lines last.

    Raises InputError if the file does not exist.
    """
    from ..install import calls_templater

    if before is None:
        raise InputError(f"'{file}' does not exist", hint="create the container first")
    kept = [line for line in before.splitlines(keepends=True) if not calls_templater(line)]
    if kept and not kept[-1].endswith("\n"):
        kept.append("\n")
    return "".join(kept) + lines


def status(name: str, path: str) -> "Iterator[Finding]":
    from shlex import quote

    from ..install import calls_templater
    from ..status import Finding, elsewhere, option_of, require_name, runs, source_status

    require_name(name)
    path = path or LXC_PATH
    folder = join(path, name)
    config = join(folder, "config")
    try:
        found = list(settings(config))
    except TemplaterError as error:
        yield Finding(False, str(error), "create the container first, or give its directory with --path")
        return
    lines: dict[str, str] = {}
    for key, value in found:
        if key.startswith("lxc.hook.") and not value:
            lines.pop(key, None)  # an empty value makes LXC drop the earlier lines of this key
        elif key.startswith("lxc.hook.") and calls_templater(value):
            lines[key] = value
    given = option_of(lines.get("lxc.hook.pre-start", ""), "--rootfs")
    rootfs = given or next((value for key, value in reversed(found) if key == "lxc.rootfs.path"), "")
    if not rootfs:
        problem = f"'{config}' names no root filesystem"
        yield Finding(False, problem, f"for example: lxc.rootfs.path = dir:{abspath(folder)}/rootfs")
        return
    root = without_prefix(rootfs)
    early = isdir(root) or bool(layers_of(root))
    needed = "pre-start" if early else "mount"
    line = lines.get(f"lxc.hook.{needed}")
    hint = f"templater hook install lxc {quote(name)}{elsewhere(path, LXC_PATH)} --write"
    if line is None:
        # `install` does not write lxc.hook.mount, because most containers do not need it.
        by_hand = "set lxc.hook.mount to the line of lxc.hook.pre-start: only LXC can mount this rootfs"
        missing = not early and "lxc.hook.pre-start" in lines
        problem = f"'{config}' has no lxc.hook.{needed} that calls templater"
        yield Finding(False, problem, by_hand if missing else hint)
        return
    yield Finding(True, f"lxc.hook.{needed} calls templater")
    for stage, loss in (("clone", "copies get no trigger"), ("destroy", "a rename counts as a copy")):
        if f"lxc.hook.{stage}" not in lines:
            yield Finding(None, f"no lxc.hook.{stage}: {loss}", hint)
    includes = [value for key, value in found if key == "lxc.include"]
    yield runs(lambda word: ["sh", "-c", f"exec {line} {word}"], config, *includes)
    yield from source_status(line, folder, folder)
    if isdir(root):
        yield ids_status(config, root)


def ids_status(config: str, rootfs: str) -> "Finding":
    from ...rootfs.directory import DirectoryRootfs
    from ..status import Finding

    try:
        with DirectoryRootfs(rootfs, ids_on_disk(config)) as view:
            uid, gid = view.ids.on_disk(0, 0)
    except TemplaterError as error:
        return Finding(False, str(error), error.hint)
    return Finding(True, f"the container's root is {uid}:{gid} on disk")
