"""A check for account files and accounts that let users of the instance become root."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.entry import DIRECTORY, FILE, SYMLINK, Entry
from ...model.errors import LimitError
from ...model.file_names import ROOTFS
from ...model.source import printable
from ...planning.follow_links import Steps, resolve
from ..base import Observation, check
from ..scan import PASSWD, PASSWD_BYTES
from ..scanned_image import IMPLIED, MAX_DEPTH, ScannedImage

#: files that only root may write
FILES = {
    f"/etc/{name}"
    for name in ("passwd", "group", "shadow", "gshadow", "sudoers", "crontab", "ld.so.preload")
}  # fmt: skip
#: directories in which only root may create files, and of which only root may write the files
_OF_ROOT = ("/etc/cron.d", "/etc/pam.d", "/etc/sudoers.d", "/root/.ssh")
#: directories in which only root may create files
DIRECTORIES = {
    "/bin", "/etc", "/etc/init.d", "/etc/profile.d", "/etc/systemd/system", "/lib", "/root", "/sbin", "/usr",
    "/usr/bin", "/usr/lib", "/usr/sbin", *_OF_ROOT,
}  # fmt: skip
#: directories at the top that can contain files that every user can write
_PUBLIC = {"dev", "home", "media", "mnt", "proc", "run", "srv", "sys", "tmp", "var"}
#: directories below them from which root runs jobs
_JOBS = ("var/spool/anacron", "var/spool/cron")
#: other directories at the top of which only root may change files
_SYSTEM = {"bin", "boot", "etc", "root", "sbin", "usr"}
#: the first uid and gid of an ordinary user, and the gid of the group "users"
_FIRST_USER, _USERS = 1000, 100
_SHOWN = 8
#: a number in the syntax that the C library accepts
_NUMBER = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)


@check(
    "accounts",
    "high",
    "a system file or directory that users other than root can write, or a second account with uid 0",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    writers = _Writers(image)
    yield from writers.of_system_files()
    yield from writers.of_other_files()
    for name in image.names:
        if name.path in (PASSWD, "rootfs/etc") and (name.hard_link or name.entry.kind == SYMLINK):
            kind = "hard link" if name.hard_link else name.entry.kind
            yield Observation(
                f"'/{name.path[7:]}' is a {kind}, so its accounts were not checked", name.path, severity="low"
            )
    data = image.heads.get(PASSWD, b"")
    if len(data) == PASSWD_BYTES:
        yield Observation(
            f"only the first {PASSWD_BYTES >> 20} MiB of '/etc/passwd' were checked", PASSWD, severity="low"
        )
    # splitlines() would also split a line at other characters, such as a form feed
    roots = [
        line.split(":")[0] for line in data.decode("utf-8", "surrogateescape").split("\n") if _is_root(line)
    ]
    if len(roots) > 1:
        yield Observation(
            f"{len(roots)} accounts have uid 0: {printable(', '.join(roots[:8]))}",
            PASSWD,
            hint="FreeBSD has the account 'toor'; on other systems, check why these accounts exist",
            severity="info",
        )


class _Writers:
    """A search for system files and directories that users can write. The search follows links."""

    def __init__(self, image: ScannedImage) -> None:
        self.image = image
        self.steps = Steps()
        #: the paths that were checked
        self.seen: set[str] = set()
        #: the names with an ACL
        self.acls: set[str] = set()
        for name in image.names:
            own = any(attribute.startswith("system.posix_acl") for attribute in name.xattrs)
            if own or name.hard_link in self.acls:
                self.acls.add(name.path)

    def of_system_files(self) -> Iterator[Observation]:
        for path in (*sorted(DIRECTORIES), *sorted(FILES)):
            yield from self.at_path(path)
        folders = {resolve(self.image.rootfs, path).real for path in _OF_ROOT}
        for name in self.image.names:
            if name.path == ROOTFS:
                yield from self.of_entry("/", "/", name.entry)
            path = name.path.removeprefix(ROOTFS)
            if path.rpartition("/")[0] in folders:
                yield from self.at_path(path) if name.entry.kind == SYMLINK else self.at_place(path, path)

    def at_path(self, path: str) -> Iterator[Observation]:
        """Follow a path, and check each directory on the way and the file at its end."""
        resolved = resolve(self.image.rootfs, path, self.steps)
        if isinstance(resolved.error, LimitError):
            raise resolved.error
        if resolved.error is not None:
            yield Observation(f"'{printable(path)}': {resolved.error.message}", ROOTFS + path)
        place = resolved.real
        if place.count("/") > MAX_DEPTH:
            message = (
                f"'{printable(path)}' leads through more than {MAX_DEPTH} directories, which were not checked"
            )
            yield Observation(message, ROOTFS + path)
        while place not in ("", "/"):
            yield from self.at_place(place, path)
            place = place.rpartition("/")[0]

    def at_place(self, place: str, path: str) -> Iterator[Observation]:
        """Check the file or directory ``place``, to which ``path`` leads."""
        entry = self.image.rootfs.entry(place)
        if entry is not None and entry is not IMPLIED and place not in self.seen:
            self.seen.add(place)
            yield from self.of_entry(place, path, entry)

    def of_entry(self, place: str, path: str, entry: Entry) -> Iterator[Observation]:
        name = f"'{printable(place)}'"
        subject = name if place == path else f"'{printable(path)}' leads through {name}, which"
        at = f"{ROOTFS}{path}".rstrip("/")
        mode = f"{entry.mode & 0o7777:04o}"
        if entry.mode & 0o002:
            yield Observation(f"{subject} has mode {mode}: every user can write it", at)
        elif entry.mode & 0o020 and entry.gid != self.image.root_gid:
            yield Observation(f"{subject} has mode {mode}: users in group {entry.gid} can write it", at)
        if entry.uid != self.image.root_uid:
            yield Observation(f"{subject} belongs to uid {entry.uid}, not to root", at)
        if ROOTFS + place in self.acls:
            yield Observation(f"{subject} has an ACL, which can let users write it", at)

    def of_other_files(self) -> Iterator[Observation]:
        """List the files and directories that users can write, except those in directories such as ``/tmp``.

        Files that the other methods have already checked are left out.
        """
        public, owned = [], []
        for name in self.image.names:
            top, _, path = name.path.partition("/")
            if top != ROOTFS or not path or f"/{path}" in self.seen:
                continue
            top = path.partition("/")[0]
            entry = self.image.rootfs.entry(f"/{path}") if name.hard_link else name.entry
            if entry is None or entry.kind not in (FILE, DIRECTORY):
                continue
            if top in _PUBLIC and not path.startswith(_JOBS):
                continue
            if entry.mode & 0o002:
                if entry.kind == FILE or not entry.mode & 0o1000:
                    public.append(name.path)
            elif (top in _SYSTEM or top.startswith("lib")) and self._belongs_to_a_user(entry):
                owned.append(name.path)
        for paths, who in ((public, "every user"), (owned, "an ordinary user or group")):
            if paths:
                shown = ", ".join(f"'{printable(path[6:])}'" for path in paths[:_SHOWN])
                more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
                yield Observation(f"{who} can write {shown}{more}", paths[0], severity="medium")

    def _belongs_to_a_user(self, entry: Entry) -> bool:
        """Return whether an ordinary user owns a file, or a group of ordinary users can write it."""
        image = self.image
        by_group = entry.mode & 0o020 and (entry.gid >= _FIRST_USER or entry.gid == _USERS)
        return (entry.uid >= _FIRST_USER and entry.uid != image.root_uid) or bool(
            by_group and entry.gid != image.root_gid
        )


def _is_root(line: str) -> bool:
    """Return whether a line of passwd has uid 0. musl reads large numbers modulo 2**32."""
    uid = line.split(":")[2:3]
    return bool(uid) and _NUMBER.fullmatch(uid[0][:40]) is not None and int(uid[0][:40]) % (1 << 32) == 0
