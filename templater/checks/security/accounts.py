"""A check for account files and accounts that let users of the instance become root."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.entry import DIRECTORY, FILE, SYMLINK
from ...model.source import printable
from ..base import Name, Observation, ScannedImage, check
from ..scan import PASSWD

#: files that only root may write
FILES = {
    f"rootfs/etc/{name}"
    for name in ("passwd", "group", "shadow", "gshadow", "sudoers", "crontab", "ld.so.preload")
}
#: directories in which only root may create files
DIRECTORIES = {
    "rootfs", "rootfs/etc", "rootfs/etc/cron.d", "rootfs/etc/pam.d", "rootfs/etc/sudoers.d", "rootfs/root",
    "rootfs/root/.ssh",
}  # fmt: skip
_SHARED = ("rootfs/etc/cron.d", "rootfs/etc/pam.d", "rootfs/etc/sudoers.d", "rootfs/root/.ssh")
#: a number in the syntax that the C library accepts
_NUMBER = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)


@check(
    "accounts",
    "high",
    "a system file or directory that users other than root can write, or a second account with uid 0",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for name in image.names:
        yield from _writable(name, image.root_uid)
        if name.path in (PASSWD, "rootfs/etc") and (name.hard_link or name.entry.kind == SYMLINK):
            kind = "hard link" if name.hard_link else name.entry.kind
            yield Observation(
                f"'/{name.path[7:]}' is a {kind}, so its accounts were not checked", name.path, severity="low"
            )
    passwd = image.heads.get(PASSWD, b"").decode("utf-8", "surrogateescape")
    roots = [line.split(":")[0] for line in passwd.splitlines() if _is_root(line)]
    if len(roots) > 1:
        yield Observation(
            f"{len(roots)} accounts have uid 0: {printable(', '.join(roots[:8]))}",
            PASSWD,
            hint="FreeBSD has the account 'toor'; on other systems, check why these accounts exist",
            severity="info",
        )


def _writable(name: Name, root_uid: int) -> Iterator[Observation]:
    """Check a file or directory that only root may write. ``root_uid`` is the uid of root."""
    path, entry = name.path, name.entry
    is_file = entry.kind == FILE and not name.hard_link
    if not (
        (is_file and (path in FILES or path.rpartition("/")[0] in _SHARED))
        or (entry.kind == DIRECTORY and path in DIRECTORIES)
    ):
        return
    if entry.mode & 0o002:
        mode = f"{entry.mode & 0o7777:04o}"
        yield Observation(f"'/{printable(path[7:])}' has mode {mode}: every user can write it", path)
    if entry.uid != root_uid:
        yield Observation(f"'/{printable(path[7:])}' belongs to uid {entry.uid}, not to root", path)


def _is_root(line: str) -> bool:
    """Return whether a line of passwd has uid 0. musl reads large numbers modulo 2**32."""
    uid = line.split(":")[2:3]
    return bool(uid) and _NUMBER.fullmatch(uid[0][:40]) is not None and int(uid[0][:40]) % (1 << 32) == 0
