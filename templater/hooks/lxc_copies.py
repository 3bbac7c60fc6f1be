"""LXC's clone and destroy hooks, which record that a container was copied, snapshotted or renamed."""

from ..instances.instance_directory import InstanceDirectory
from ..instances.record_of_written_files import (
    SETTLED,
    STAGED,
    WrittenFile,
    digest_of,
    entries_of,
    head_of,
    read_record,
    real_of,
    text_of,
)
from ..instances.state_directory import State, StateDirectory, write_whole
from ..model.entry import SYMLINK
from ..model.errors import InputError, LimitError, RefusedError, TemplaterError
from ..model.file_names import INSTANCE, METADATA, STARTED, STATE_FOLDER, TEMPLATES, WRITTEN
from ..model.unprintable_characters import printable
from ..oslite import dirname, fsencode, is_missing, isdir, join, os, split
from ..rootfs.close_in_another_process import is_on_btrfs
from ..rootfs.confined_directory import Directory
from ..rootfs.confined_root import Root
from ..rootfs.system_calls import write_error
from ..rootfs.trusted_paths import open_folder, open_unshared
from ..writing.remove_leftovers import Journal
from .lxc_config import MAX_NAMES, lines_of, without_prefix
from .request import Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .options import Options

#: the program by which an ordinary user's hooks enter the container's user namespace
USERNS_PROGRAM = b"lxc-usernsexec"

#: number of ancestors to search for lxc-copy, which is the grandparent of an ordinary user's clone hook
DEPTH = 4

#: the file in which a clone hook leaves a message for the destroy hook of the same lxc-copy
CLONED = "cloned"


def clone(folder: str, name: str, source_name: str, options: "Options", rootfs: str = "") -> Notice:
    """Record that lxc-copy, lxc-copy -R or lxc-snapshot has made this container's directory.

    Copy the original's image, description and record of written files. Record a pending trigger: the
    original's trigger if a snapshot is taken or restored in place, otherwise ``copy``.
    ``rootfs`` is the copy's ``lxc.rootfs.path``.

    Raises InputError if the hook can't be certain which container is the original. With ``--source``, an
    uncertain original without an image and a description raises no error: then record only the trigger.
    """
    source, exact = find_source(folder, source_name)
    if options.if_present and is_missing(join(options.source or source, METADATA)):
        return Notice()
    if not exact:
        require_copyable(options, rootfs)
    # with both options, a start reads neither the image nor the description from the container's directory
    is_read = not (options.source and options.state)
    original = open_unshared(source) if is_read else open_folder(source, fixed=True)
    with original, open_folder(folder, fixed=True) as made, StateDirectory(original) as old:
        before = old.state()
        if not exact:
            require_new(made)
        names = (METADATA, TEMPLATES, INSTANCE)
        is_bare = bool(options.source) and all(original.entry("/" + each) is None for each in names)
        certain = is_original(original, made, exact=exact)
        # A bare original has neither an image nor a description, so its copy needs only the trigger.
        if not certain and (exact or not is_bare):
            raise uncertain(original, made)
        records: "dict[str, bytes | None]" = {}
        unfinished = None
        if certain:
            copy_image(original, made)
            records = {record: copied_record(old, record) for record in (WRITTEN, STAGED)}
            records[STAGED] = with_hostname(records[WRITTEN], records[STAGED], name)
            unfinished = Journal(old.directory).read()
        started = old.directory.lstat(STARTED) if certain else None
        if not exact and may_rename():
            old.lock("clone hook", options.patience)
            old.replace(CLONED, "\n".join((folder, *ancestors(DEPTH))).encode("utf-8", "surrogateescape"))
            old.unlock()
        never = Notice(f"{name}: made from {source_name}, which was never started", folder)
        facts = (started, unfinished, *records.values())
        if exact and before is None and all(each is None for each in facts):
            return never
        state = State(
            before.pending if exact and before else "copy", name, before.image if before and certain else ""
        )
        with StateDirectory(made) as new:
            new.lock("clone hook", options.patience)
            if started is not None:
                new.replace(STARTED, b"copied\n")
                times = (started.st_mtime_ns, started.st_mtime_ns)
                os.utime(STARTED, ns=times, dir_fd=new.directory.fd, follow_symlinks=False)
            for record, data in records.items():
                if data is not None:
                    write_whole(new.directory, record, data, sync=False, staged=SETTLED)
            if unfinished is not None:  # the copied root filesystem has the leftovers of a killed run, too
                Journal(new.directory).write(unfinished)
            if exact and before is None:
                return never
            new.remember(state)
    return Notice(
        f"{name}: made from {source_name}; the next start runs"
        f" {f'the {state.pending} trigger' if state.pending else 'only the start trigger'}",
        folder,
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
    found = [] if program == "lxc-copy" else _snapshots(above, source_name)
    if isdir(beside) and program != "lxc-snapshot":
        if not found:
            return beside, False
        found.append(beside)  # LXC does not say whether it copies the container or the snapshot
    if len(found) != 1:
        raise InputError(
            f"'{here}' was made from '{printable(source_name)}', but"
            f" {'several containers have that name' if found else 'the original container is missing'}",
            hint=f"copy metadata.yaml, templates and instance.yaml (those that exist) to '{folder}', then"
            f" run: templater trigger '{folder}' copy",
        )
    return found[0], False


def _snapshots(above: str, name: str) -> "list[str]":
    """Return the directories of snapshots called ``name``, for all containers in ``above``.

    Raises LimitError if ``above`` has too many containers.
    """
    found = []
    with os.scandir(above) as entries:
        for number, entry in enumerate(entries):
            if number == MAX_NAMES:
                raise LimitError(f"'{printable(above)}' has more than {MAX_NAMES} entries")
            path = join(above, entry.name, "snaps", name)
            if isdir(path):
                found.append(path)
    return sorted(found)


def require_copyable(options: "Options", rootfs: str) -> None:
    """Raise RefusedError if the copied hook line names a directory of the original."""
    # LXC copies the hook line unchanged. The start of the copy would use the original's state, or write into
    # the original's root filesystem.
    is_own = without_prefix(options.rootfs) == without_prefix(rootfs)
    for option, path in (("--state", options.state), ("--rootfs", "" if is_own else options.rootfs)):
        if path:
            raise RefusedError(
                f"the copied hook line has {option} '{printable(path)}', which belongs to the original"
                " container",
                hint="remove the hook lines, copy the container, and install the hook in both containers",
            )


def require_new(made: Root) -> None:
    """Raise RefusedError if the directory of a copy already has files of an instance."""
    # The files from the original would overwrite these files.
    for name in (f"{STATE_FOLDER}/state", INSTANCE, METADATA, TEMPLATES):
        if made.entry("/" + name) is not None:
            raise RefusedError(
                f"'{made.name}' already contains '{name}', so this directory belongs to another container",
                hint="copy the container to a new directory",
            )


def is_original(original: Root, made: Root, *, exact: bool) -> bool:
    """Return whether it is certain that LXC copies the container in ``original``."""
    # LXC tells the hook only the original's name. The lxcpath of the copy can also contain a different
    # container with this name. The copy must not get that container's description and passwords.
    return not copies_elsewhere() and (exact or bool(copying_program() and _same_settings(original, made)))


def uncertain(original: Root, made: Root) -> InputError:
    return InputError(
        f"it is not certain that '{printable(made.name)}' is a copy of '{printable(original.name)}'",
        hint="copy metadata.yaml, templates and instance.yaml of the original (those that exist) to"
        f" '{made.name}', then run: templater trigger '{made.name}' copy",
    )


#: settings that LXC changes when it copies a container
_OWN_SETTINGS = ("lxc.rootfs.", "lxc.uts.", "lxc.net.", "lxc.hook.", "lxc.mount", "lxc.ephemeral", "lxc.log.")


def _same_settings(original: Root, made: Root) -> bool:
    """Return whether a copy has all settings of the original, except those that LXC changes in a copy."""
    there = set(lines_of(made))
    return all(line in there or line[0].startswith(_OWN_SETTINGS) for line in lines_of(original))


def copies_elsewhere() -> bool:
    """Return whether the lxc-copy that runs this hook has the option ``-p`` or ``--newpath``."""
    return any(_has_option(words, "p", "--newp") for words in map(_words_of, ancestors(DEPTH)))


def may_rename() -> bool:
    """Return whether the program that runs this hook can destroy the original after the copy.

    lxc-copy does so only with the option ``-R`` or ``--rename``, and lxc-snapshot never does.
    """
    return not copying_program() or any(
        _has_option(words, "R", "--r") for words in map(_words_of, ancestors(DEPTH))
    )


def copying_program() -> str:
    """Return ``lxc-copy`` or ``lxc-snapshot``, if one of these programs runs this hook, else ""."""
    programs = {split(words[0])[1] for words in map(_words_of, ancestors(DEPTH)) if words}
    return next((name for name in ("lxc-copy", "lxc-snapshot") if name in programs), "")


def named_container() -> str:
    """Return the container's name in the command line of the lxc-snapshot that runs this hook, or ""."""
    from getopt import GetoptError, gnu_getopt

    for words in map(_words_of, ancestors(DEPTH)):
        if words and split(words[0])[1] == "lxc-snapshot":
            try:
                # LXC also accepts the name as an argument, and abbreviations of ``--name``.
                options, arguments = gnu_getopt([word for word in words[1:] if word], *_SNAPSHOT_OPTIONS)
            except GetoptError:
                return ""
            names = [value for option, value in options if option in ("-n", "--name")]
            return (names[-1:] or arguments[:1] or [""])[0]
    return ""


def _words_of(process: str) -> "list[str]":
    try:
        with open(f"/proc/{process.partition(':')[0]}/cmdline", "rb") as file:
            return file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return []


def _has_option(words: "list[str]", letter: str, long: str) -> bool:
    """Return whether the words are an lxc-copy command that has a given option.

    ``letter`` is the option's short form, and ``long`` is the shortest abbreviation of its long form.
    """
    if split(words[0] if words else "")[1] != "lxc-copy":
        return False
    for word in words[1:]:
        if word.startswith(long):  # lxc-copy's getopt accepts abbreviations
            return True
        if word.startswith("-") and not word.startswith("--"):
            flags = word[1:]
            taking = next((number for number, flag in enumerate(flags) if flag in _TAKING), len(flags))
            if letter in flags[: taking + 1]:
                return True
    return False


#: the options of lxc-snapshot, as getopt needs them
_SNAPSHOT_OPTIONS = (
    "n:Lr:N:d:c:Co:l:qP:?h",
    (
        *("name=", "list", "restore=", "newname=", "destroy=", "comment=", "showcomments", "rcfile="),
        *("logfile=", "logpriority=", "quiet", "lxcpath=", "help", "usage", "version"),
    ),
)

#: options of lxc-copy that take a value
_TAKING = "nNpPolmBL"


def copy_image(source: Root, made: Root) -> None:
    """Copy metadata.yaml, templates and instance.yaml, which LXC omits, to the copy of a container.

    Do nothing if the copy already has a metadata.yaml.
    """
    old = InstanceDirectory(source.name, source)
    with made.directory("/") as new:
        if made.entry("/" + METADATA) is not None:
            return
        instance = old.read_instance()
        if instance is not None:
            write_whole(new, INSTANCE, instance.data)
        # With ``--source``, the original has no image, but it can have a description.
        if not old.has_image():
            return
        _copy_templates(old, new)
        # Not private: the copy can belong to another user, whose hook would refuse a private file of root.
        # Copy metadata.yaml last, because its presence means that the copy is complete.
        write_whole(new, METADATA, old.read_metadata().data, mode=0o644)


def _copy_templates(old: InstanceDirectory, new: Directory) -> None:
    """Copy the templates, and sync them.

    The caller then writes metadata.yaml, which shows that the copy is complete.
    """
    # imported here, because only this hook needs it
    from ..rootfs.disk_sync import MOST_FSYNCS, can_sync_file_system, sync_file_system

    try:
        if new.lstat(TEMPLATES) is None:
            new.mkdir(TEMPLATES)
        with new.directory(TEMPLATES) as folder:
            templates = old.read_templates()
            many = len(templates) > MOST_FSYNCS and not is_on_btrfs(folder.fd)  # see ``disk_sync``
            at_once = many and can_sync_file_system(folder.fd)
            for name, file in templates.items():
                if file.data is not None:
                    write_whole(folder, name, file.data, sync=not at_once, mode=0o644)
                elif file.entry is not None and file.entry.kind == SYMLINK and folder.lstat(name) is None:
                    # keep the symlink: the copy then fails to start, like the original
                    folder.symlink(file.entry.target, name)
            if at_once:
                sync_file_system(folder.fd)
    except OSError as error:
        raise write_error("copy", TEMPLATES, error) from None


def destroy(folder: str) -> Notice:
    """Detect a rename: lxc-copy -R clones a container and then destroys the original, in the same process.

    Ignore every failure: LXC destroys the container in any case.
    """
    try:
        old = _state_directory(folder)
        if old is None:
            return Notice()
        with old:
            # The file names a directory in which this hook writes, so it must be the clone hook's own file.
            # The owner of the container's directory can have moved another file of root to this name.
            word = old.read(CLONED, 1 << 16, own=True) if old.is_own else None
            before = old.state()
        if word is None:
            return Notice()
        new, *processes = word.decode("utf-8", "surrogateescape").split("\n")
        above, name = split(new)
        if above != dirname(folder) or name in ("", ".", "..") or not set(ancestors(1)) & set(processes):
            return Notice()
        return _renamed(new, before or State("create"))
    except (TemplaterError, OSError):
        return Notice()


def _state_directory(folder: str) -> "StateDirectory | None":
    """Open a container's state directory. Return None if it is missing.

    Raises RefusedError if another user can exchange the container's directory.
    """
    with open_folder(folder, fixed=True) as opened:
        return None if opened.entry("/" + STATE_FOLDER) is None else StateDirectory(opened)


def copied_record(original: StateDirectory, name: str) -> "bytes | None":
    """Return the original's record of written files from the file ``name``. It is also valid for the copy.

    Return None if the record is unreadable, or if another user can change it.
    """

    try:
        return read_record(original, name)
    except TemplaterError:
        return None


def with_hostname(written: "bytes | None", staged: "bytes | None", name: str) -> "bytes | None":
    """Return the record ``staged`` for a container's copy, with the content that LXC writes to /etc/hostname.

    LXC writes ``name``, the name of the copy, without a line feed. With ``--keepname``, LXC keeps the content
    that ``written`` records. So the next start does not treat the file as changed by a user.
    """
    both = [entries_of(text_of(data or b"")) or {} for data in (written, staged)]
    of_copy = both[1]
    for path, entry in {**both[0], **both[1]}.items():
        if b"/etc/hostname" in (path, real_of(entry)):
            file, content = WrittenFile.decode(entry), fsencode(name)
            file.digest, file.size = digest_of(content), len(content)
            of_copy[path] = file.encode()
    text = b"".join([b"\0", *of_copy.values()])
    return head_of(text) + text if of_copy else staged


def _renamed(folder: str, before: State) -> Notice:
    from ..model.pending_trigger import pending_after

    new = _state_directory(folder)
    if new is None:
        return Notice()
    with new:
        new.lock("destroy hook")
        state = new.state()
        if state is None or state.pending != "copy":
            return Notice()
        state.pending = pending_after(before.pending, "rename")
        new.remember(state)
    return Notice(f"{state.name}: renamed; the next start runs the {state.pending} trigger", folder)


def ancestors(how_many: int) -> "list[str]":
    """Return up to ``how_many`` ancestor processes, each as ``PID:START_TIME``. Skip lxc-usernsexec."""
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
