"""Files of btrfs that a hook removes: another process waits until the kernel has freed their blocks.

With quotas, btrfs looks at every reference to each block of a removed file. A file of 64 KiB whose blocks
belong to 100,000 other files takes 20 seconds, and no limit on the size or on the time would end this. The
kernel does this work at the last close of a file without a name. So a hook opens each file before it removes
its name or replaces it. ``hand_over`` leaves the last close to another process, for which no runtime waits.

The same holds, on any file system, for a file whose name another process removes while the hook reads it.
"""

from ..oslite import os

#: the maximum number of files that a hook holds open before it hands them over
MOST_HELD = 64
#: how many descriptors the process closes if /proc is not mounted
_MANY = 4096


def hold(held: "list[int]", directory: int, name: str) -> None:
    """Open a file that is about to lose this name. Do nothing if it is missing or can't be opened."""
    _make_room(held)
    for _ in range(2):
        try:
            held.append(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))
        except FileNotFoundError:
            return
        except OSError:  # probably too many open files
            hand_over(held)
        else:
            return


def keep(held: "list[int]", fd: int) -> None:
    """Keep an open file that has lost its name."""
    _make_room(held)
    held.append(fd)


def _make_room(held: "list[int]") -> None:
    if len(held) >= MOST_HELD:
        hand_over(held)


def hand_over(held: "list[int]") -> None:
    """Close the files in such a way that the last close is in another process.

    The process has no other descriptors: some runtimes read the output of a hook until every process has
    closed it. If the process can't be started, the kernel frees the blocks before this function returns.
    """
    if not held:
        return
    pipe: tuple[int, ...] = ()
    try:
        pipe = os.pipe()
        if os.fork() == 0:
            _close_last(pipe[0], {*held, pipe[0]})
    except OSError:  # too many processes, or too little memory
        pass
    for fd in (*held, *pipe):  # the end of the pipe is last: now the process may end, too
        os.close(fd)
    held.clear()


def _close_last(pipe: int, kept: "set[int]") -> None:
    """End this process when the hook has closed the other end of the pipe."""
    try:
        os.setsid()  # signals for the hook's group do not end this process early
        for fd in _descriptors():
            if fd not in kept:
                _close(fd)
        os.read(pipe, 1)
    finally:
        os._exit(0)


def _descriptors() -> "list[int]":
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return list(range(_MANY))


def _close(fd: int) -> None:
    try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
        os.close(fd)
    except OSError:
        pass
