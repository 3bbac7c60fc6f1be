"""Slow closes of removed files, which hooks and commands leave to another process.

The kernel frees the blocks of a removed file when the last process closes the file. On btrfs, this can take
minutes, even for a small file. ``handing_over`` starts a process that does the slow work later:

* If a removal may be slow, ``hold`` opens the file before the caller removes its name.
* ``close`` leaves a file to the other process if the file's last name was removed.
* ``remove_directory`` leaves the removal of an empty directory to the other process.
* ``unmount_at_end`` leaves the end of a mount to the other process.
* ``close_rest_at_end`` is for files that are still open at the end, for example after an error.

Outside of ``handing_over``, this process does everything itself. The Python API does not use
``handing_over``, because its callers can have threads and child processes.
"""

import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow
from time import monotonic, sleep

from ..oslite import fsencode, keep_functions, libc, os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    Arguments = ParamSpec("Arguments")
    Item = TypeVar("Item")
    Result = TypeVar("Result")

#: the number of files that a process with few open files holds open before it hands them over
MOST_HELD = 64
#: the fraction of all open files that a process holds open before it hands them over. A new process copies
#: all descriptors, so a constant number of files would take quadratic time.
MOST_HELD_PART = 1 / 16
#: the size up to which the kernel removes a file quickly, except on btrfs
SMALL = 64 << 10
#: seconds to wait for the kernel at the end of a hook or command, so that ``umount`` succeeds afterwards
PATIENCE = 1.0
#: seconds to wait if LXC can mount its overlay only after the kernel has freed the files
LONG_PATIENCE = 30.0
#: how many descriptors the process closes if /proc is not mounted
_MANY = 4096

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

#: the files that are held open, or None outside of ``handing_over``
_held: "list[int] | None" = None
#: the directories to remove at the end (a descriptor of the directory above, and the name), or None
_doomed: "list[tuple[int, str]] | None" = None
#: the highest descriptor that was held open
_highest = 0
#: the mount points to unmount at the end, and whether this process itself unmounts them
_mounted: "list[tuple[str, bool]]" = []
#: the descriptors that ``close_rest_at_end`` leaves open, or None if it was not called
_kept: "set[int] | None" = None
#: the processes that this process has started but not waited for, and the processes that remove directories
_started: "list[int]" = []
_removing: "set[int]" = set()


def handing_over(
    call: "Callable[Arguments, Result]", *args: "Arguments.args", **options: "Arguments.kwargs"
) -> "Result":
    """Call a function that does the work of a hook or command.

    Afterwards, start a process that closes the removed files. The module's docstring gives the details.
    """
    global _doomed, _held, _kept  # noqa: PLW0603
    outer = _held, _kept
    others = _doomed
    held: list[int] | None = [] if hasattr(os, "O_PATH") else None
    _held, _kept, _doomed = held, None, None if held is None else []
    try:
        return call(*args, **options)
    finally:
        kept = _kept
        _held, _kept = outer
        if held is not None:
            while _mounted:
                _unmount(*_mounted.pop(), held)
            if kept is not None:
                _close_all_except(kept.union(held, (fd for fd, _ in _doomed or ())), held)
            if held or _doomed:
                _hand_over(held, PATIENCE)
            _end_closing()
        _doomed = others


def close_rest_at_end() -> None:
    """At the end of ``handing_over``, close all files and directories that are opened after this call.

    Call this function only in a process that ends after ``handing_over``.
    """
    global _kept  # noqa: PLW0603
    if hasattr(os, "O_PATH"):
        _kept = set(filter(_is_open, _descriptors()))


def unmount_at_end(path: str, *, itself: bool) -> None:
    """When ``handing_over`` ends, unmount a file system that this process has mounted in its own namespace.

    If ``itself`` is true, this process ends the mount, as an overlay with ``index=on`` needs. Otherwise,
    another process ends the mount.
    """
    _mounted.append((path, itself))


def _unmount(path: str, itself: bool, held: "list[int]") -> None:
    """Detach a file system from this process's namespace.

    If ``itself`` is true, first wait until another process has closed the removed files.
    """
    # When the kernel unmounts an overlay, it frees the files that were removed from the layers. Without the
    # option ``volatile``, it first writes all changes of the upper layer's file system to the disk.
    if not itself:
        try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
            # The last close of this directory ends the mount.
            held.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        except OSError:  # probably too many open files
            pass
    elif held or _doomed:
        # While a removed file of an overlay with ``index=on`` is open, the kernel refuses another overlay
        # with the same upper layer.
        _hand_over(held, LONG_PATIENCE)
    libc("umount2")(fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW)


def _close_all_except(kept: "set[int]", held: "list[int]") -> None:
    """Close all files and directories that are not in ``kept``.

    If the last name of a file was removed, add its descriptor to ``held`` instead.
    """
    for fd in {*_descriptors()}.difference(kept):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
            continue  # another thread can still use a pipe or a socket
        if status.st_nlink:
            _close(fd)
        else:
            held.append(fd)


def hold(directory: int, name: str, on_btrfs: "list[bool] | None" = None) -> None:
    """Open a file before the caller removes or replaces its name, if removing the file may be slow.

    Ignore errors. ``on_btrfs`` stores the result of ``is_on_btrfs`` for later calls with the same directory.
    """
    held = _held
    if held is None or not _may_be_slow(directory, name, [] if on_btrfs is None else on_btrfs):
        return
    _make_room(held)
    for _ in range(2):
        try:
            _keep(held, os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))
        except FileNotFoundError:
            return
        except OSError:  # probably too many open files
            _hand_over(held)
        else:
            return


def remove_directory(above: int, name: str) -> None:
    """Remove the empty directory ``name`` in the directory with the descriptor ``above``.

    During ``handing_over``, leave the removal to another process, which ignores errors. Raises OSError if the
    removal in this process fails.
    """
    # If a process looks up a missing name in a directory, the kernel keeps a record of that name. The removal
    # of the directory frees these records: for four million names, this takes 7 seconds. During this time,
    # the directory above is locked.
    doomed = _doomed
    if doomed is None:
        os.rmdir(name, dir_fd=above)
        return
    if doomed and _is_same(doomed[-1][0], above):
        doomed.append((doomed[-1][0], name))
        return
    try:
        fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
    except OSError:  # too many open files
        os.rmdir(name, dir_fd=above)
    else:
        doomed.append((fd, name))


def _is_same(one: int, other: int) -> bool:
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def close(fd: int, status: "os.stat_result | None" = None) -> None:
    """Close a file or directory, and ignore errors.

    During ``handing_over``, leave a file to the other process if the file's last name was removed.
    """
    held = _held
    if held is None or (_has_name(fd) if status is None else status.st_nlink):
        _close(fd)
        return
    _make_room(held)
    _keep(held, fd)


def close_duplicate(fd: int) -> None:
    """Close a descriptor of a file that another descriptor still keeps open."""
    _close(fd)


def _has_name(fd: int) -> bool:
    try:
        return os.fstat(fd).st_nlink > 0
    except OSError:
        return True


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def is_on_btrfs(fd: int) -> bool:
    """Return whether an open file, or its upper layer in an overlay, is on btrfs."""
    # Unlike other disk file systems, btrfs reports 0 as its number of inodes, also below overlayfs.
    return not os.fstatvfs(fd).f_files


def _may_be_slow(directory: int, name: str, on_btrfs: "list[bool]") -> bool:
    """Return whether the kernel may need a long time to remove a file."""
    try:
        if not on_btrfs:
            on_btrfs.append(is_on_btrfs(directory))
        # With quotas, btrfs looks at every reference to each block. If the blocks of a file of 64 KiB also
        # belong to 100,000 other files, this takes 20 seconds. Even an empty file can have gigabytes of
        # extended attributes.
        if on_btrfs[0]:
            return True
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return True
    return max(status.st_size, status.st_blocks * 512) > SMALL


def _make_room(held: "list[int]") -> None:
    # the kernel gives a new file the lowest free number, so the highest number tells how many files were open
    if len(held) >= MOST_HELD and len(held) >= _highest * MOST_HELD_PART:
        _hand_over(held)


def _keep(held: "list[int]", fd: int) -> None:
    global _highest  # noqa: PLW0603
    held.append(fd)
    _highest = max(_highest, fd)


def _hand_over(held: "list[int]", patience: "float | None" = None) -> None:
    """Start another process that closes the files in ``held`` later. Then close the files in this process.

    If ``patience`` is given, the other process also removes the directories of ``remove_directory``. This
    process then waits at most ``patience`` seconds for the end of the other process. Give ``patience`` only
    at the end of all work.
    """
    files = _taken(held)
    # An earlier removal could lock a directory that this process needs.
    directories = _taken(_doomed)[::-1] if _doomed and patience is not None else []
    above = {fd for fd, _ in directories}
    # If a process of the container traced the new process, the container would have that process's rights on
    # the host, and its open files.
    if directories and _can_be_traced():
        _remove_all(directories, monotonic() + PATIENCE)  # no time limit applies any more
        directories = []
    pipe: tuple[int, ...] = ()
    child = 0
    # the new process never unblocks the signals, so no handler of this process runs in it
    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        try:
            pipe = os.pipe()
            highest = max(_descriptors())
            child = os.fork()
            if child == 0:
                try:
                    _close_last(pipe[0], {*files, *above, pipe[0]}, directories, highest)
                finally:
                    os._exit(0)
        except OSError:  # too many processes, or too little memory
            pass
        if not child:
            # No other process could be started, so this process does the work.
            _remove_all(directories)
        for fd in (*files, *above, *pipe):  # the end of the pipe is last: now the process may end, too
            _close(fd)
        if child:
            _started.append(child)
            if directories:
                _removing.add(child)
            # If the child ends later, the next call of this function reaps it. Until then, the child counts
            # towards limits on processes.
            _wait(child, patience or 0.0)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)


def _taken(held: "list[Item]") -> "list[Item]":
    """Remove all items from a list, and return them, last item first.

    Another thread can remove items from the same list at the same time.
    """
    taken = []
    while True:
        try:
            taken.append(held.pop())
        except IndexError:
            return taken


def _close_last(pipe: int, kept: "set[int]", directories: "list[tuple[int, str]]", highest: int) -> None:
    """Keep the files in ``kept`` open until the parent process has closed them. Then remove the directories.

    This function runs in the process that ``_hand_over`` starts.
    """
    keep_functions()
    os.setsid()  # a SIGKILL for the group of the parent process does not end this process early
    # Some runtimes read the output of a hook until every process has closed the output.
    first = 0
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, highest + 1)
    os.read(pipe, 1)
    _remove_all(directories)


def _can_be_traced() -> bool:
    """Return whether processes of the container can see and trace a process that this process starts."""
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(fd, 1 << 16).split(b"\n")
        finally:
            os.close(fd)
    except OSError:
        return True
    # They can if /proc shows an outer PID namespace, and this process is in an inner PID namespace. Some
    # hooks run in such a namespace.
    return not any(line.startswith(b"NSpid:") and len(line.split()) == 2 for line in lines)


def _remove_all(directories: "list[tuple[int, str]]", until: "float | None" = None) -> None:
    """Remove empty directories. Stop at the time ``until``, because an empty directory does no harm."""
    for above, name in directories:
        if until is not None and monotonic() > until:
            return
        try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
            os.rmdir(name, dir_fd=above)
        except OSError:  # for example, another process has put a file into it
            pass


def _wait(child: int, patience: float) -> None:
    until = monotonic() + patience
    while True:
        _started[:] = [process for process in _started if not _has_ended(process)]
        if child not in _started or monotonic() >= until:
            return
        sleep(0.001)


def _end_closing() -> None:
    """Kill the processes that only close files. The kernel closes the files when these processes end."""
    # Another process of the same PID namespace could stop a process that keeps running, and a container could
    # trace it later. A kill has no effect on a process that is already closing its files.
    for child in _started:
        if child not in _removing and not _has_ended(child):
            os.kill(child, 9)


def _has_ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except OSError:  # this process ignores SIGCHLD, so the kernel has no record of the child
        return True


def _descriptors() -> "list[int]":
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return list(range(_MANY))


def _close(fd: int) -> None:
    # After an error, the descriptor is closed anyway. A caller that needs the data on disk has already synced
    # it.
    try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
        os.close(fd)
    except OSError:
        pass
