"""A search for files and directories of an image's system that users other than root can change."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ..model.entry import DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry, Resolved
from ..model.errors import LimitError
from ..model.file_names import ROOTFS
from ..model.unprintable_characters import printable
from ..planning.follow_links import Steps, resolve
from .base import Observation
from .scanned_image import IMPLIED, MAX_DEPTH, ScannedImage
from .security.sensitive_targets import FIRST_USER, USERS, is_sensitive

#: files that only root may write
FILES = {
    f"/etc/{name}"
    for name in ("passwd", "group", "shadow", "gshadow", "sudoers", "crontab", "ld.so.preload")
}  # fmt: skip
#: directories in which only root may create or write files
_OF_ROOT = ("/etc/cron.d", "/etc/pam.d", "/etc/sudoers.d", "/root/.ssh")
#: directories in which only root may create files
DIRECTORIES = {
    "/bin", "/etc", "/etc/init.d", "/etc/profile.d", "/etc/systemd/system", "/lib", "/root", "/sbin", "/usr",
    "/usr/bin", "/usr/lib", "/usr/sbin", *_OF_ROOT,
}  # fmt: skip
#: directories that can contain files that every user can write
_PUBLIC = (
    "dev/", "home/", "media/", "mnt/", "proc/", "run/", "srv/", "sys/", "tmp/", "var/cache/", "var/crash/",
    "var/games/", "var/lock/", "var/mail/", "var/run/", "var/spool/", "var/tmp/",
)  # fmt: skip
#: directories on which a booted system mounts other file systems
_EMPTY = ("dev/", "proc/", "run/", "sys/")
#: Directories in which only root may change files. ``_is_system`` adds the directories whose names begin with
#: "lib".
_SYSTEM = (
    "bin/", "boot/", "etc/", "init/", "opt/bin/", "root/", "sbin/", "usr/", "var/cron/", "var/db/sudo/",
    "var/lib/alternatives/", "var/lib/cloud/", "var/lib/portables/", "var/lib/systemd/linger/",
    "var/lib/confexts/", "var/lib/dkms/", "var/lib/dpkg/", "var/lib/extensions/", "var/lib/extrausers/",
    "var/lib/pacman/", "var/lib/polkit-1/", "var/lib/rpm/", "var/service/",
    "var/lib/snapd/", "var/spool/anacron/", "var/spool/at/", "var/spool/atjobs/", "var/spool/atspool/",
    "var/spool/cron/", "var/spool/fcron/", "var/spool/incron/",
)  # fmt: skip
#: directories of programs. Users of Nix can write to these directories, but only root may change the files in
#: them.
_STORES = ("nix/store/", "gnu/store/")
#: directories whose programs, libraries, units, scripts and settings root runs or trusts. A service may own a
#: directory that is not in this list, such as /etc/postgresql.
_PROGRAMS = (
    "etc/NetworkManager/", "etc/alternatives/",
    "etc/apt/", "etc/cloud/", "etc/conf.d/", "etc/dbus-1/", "etc/default/",
    "etc/dhcp/dhclient", "etc/dpkg/", "etc/init/", "etc/initramfs-tools/", "etc/kernel/", "etc/local.d/",
    "etc/logrotate.d/", "etc/needrestart/", "etc/netplan/", "etc/network/", "etc/runit/", "etc/s6/",
    "etc/selinux/", "etc/service/", "etc/ssh/", "etc/ssl/openssl.cnf/", "etc/supervisor/", "etc/sysconfig/",
    "etc/sysctl.d/", "etc/tmpfiles.d/", "etc/update-motd.d/", "etc/xdg/", "etc/xinetd.d/", "etc/zsh/",
    "init/", "opt/bin/", "root/", "usr/games/", "usr/share/dbus-1/", "usr/share/initramfs-tools/",
    "var/lib/alternatives/", "var/lib/cloud/", "var/lib/dpkg/", "var/lib/systemd/linger/", "var/service/",
    "bin/", "boot/", "etc/cron", "etc/init.d/", "etc/ld.so.", "etc/modprobe.d/", "etc/profile", "etc/rc",
    "etc/systemd/", "etc/udev/", "lib", "sbin/", "usr/bin/", "usr/lib", "usr/local/bin/", "usr/local/lib",
    "usr/local/sbin/", "usr/sbin/",
)  # fmt: skip
#: the directories above some of the ``_SYSTEM`` directories, such as var/lib above var/lib/dpkg
_ABOVE = {"var", "var/lib", "var/spool"}
#: directories in which users of a booted system can create files, even if the image lacks the directories
_CREATED = (
    "/tmp/", "/var/tmp/", "/dev/shm/", "/dev/fd/", "/dev/mqueue/", "/dev/stdin/",  # noqa: S108
    "/home/", "/run/lock/", "/run/media/", "/run/screen/", "/run/shm/", "/run/user/", "/var/crash/",
    "/var/lock/", "/var/mail/", "/var/run/lock/", "/var/run/media/", "/var/run/screen/", "/var/run/shm/",
    "/var/run/user/", "/var/spool/mail/",
)  # fmt: skip
#: files of a process in /proc whose content the user of the process chooses, such as environ or cwd/x
_OF_PROCESS = re.compile(r"/proc/(?:self|thread-self|[0-9]+)(?!/(?:mounts|mountinfo)\Z)(?:/|\Z)")
#: the kinds of files that users can change; a fifo in place of a script waits for the commands of a user
_CHANGED = (DIRECTORY, FIFO, FILE, SOCKET)
#: the triggers that can run after an earlier start, in which users could change files of the instance
_LATER = {"copy", "rename", "start"}
#: the lowest uid and gid of services
_FIRST_SERVICE = 1
_SHOWN = 8


class FilesOfUsers:
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
        """Follow ``path``, and report each directory or file on the path that users can change."""
        resolved = resolve(self.image.rootfs, path, self.steps)
        if isinstance(resolved.error, LimitError):
            raise resolved.error
        if resolved.error is not None:
            yield Observation(f"'{printable(path)}': {resolved.error.message}", ROOTFS + path)
        place = resolved.real
        if _is_created_by_users(place):
            message = f"'{printable(path)}' leads to '{printable(place)}', which users can create"
            yield Observation(message, ROOTFS + path)
        if place.count("/") > MAX_DEPTH:
            message = (
                f"'{printable(path)}' leads through more than {MAX_DEPTH} directories,"
                " and the deepest ones were not checked"
            )
            yield Observation(message, ROOTFS + path)
        while place not in ("", "/"):
            yield from self.at_place(place, path)
            place = place.rpartition("/")[0]

    def at_place(self, place: str, path: str) -> Iterator[Observation]:
        """Check ``place``: the file to which ``path`` leads, or a directory above this file."""
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
        """List the files, directories and links outside ``/tmp`` that users can change.

        Files that ``at_place`` has already checked are left out.
        """
        links, services, deep, folders = self.links()
        public, owned, acls, programs = [], [], [], []
        for name in self.image.names:
            path = name.path.removeprefix(ROOTFS + "/")
            if path == name.path or f"/{path}" in self.seen:
                continue
            entry = self.image.rootfs.entry(f"/{path}") if name.hard_link else name.entry
            if entry is None or entry.kind not in _CHANGED:
                continue
            below = bisect_right(folders, f"{path}/")
            in_store = path.startswith(_STORES)
            system = (
                in_store
                or _is_system(path)
                or path in _ABOVE
                or f"{path}/".startswith(tuple(folders[below - 1 : below]))
            )
            if not system and f"{path}/".startswith(_PUBLIC):
                # without the sticky bit, each user can replace the files and home directories of other users
                if f"{path}/" in _PUBLIC and entry.kind == DIRECTORY and entry.mode & 0o1002 == 0o002:
                    public.append(path)
                continue
            if entry.mode & 0o002:
                if system or entry.kind != DIRECTORY or not entry.mode & 0o1000:
                    public.append(path)
            elif system and self._belongs_to(entry, FIRST_USER, path):
                owned.append(path)
            elif system and name.path in self.acls:
                acls.append(path)
            elif (
                in_store or _is_program(path) or (system and _is_trusted(path, entry))
            ) and self._belongs_to(entry, _FIRST_SERVICE, path):
                programs.append(path)
        for paths, message, severity in (
            (public, "every user can write {}", "medium"),
            (owned, "an ordinary user or group can write {}", "medium"),
            (links, "users can replace the targets of the links {}", "medium"),
            (
                deep,
                f"the links {{}} lead through more than {MAX_DEPTH} directories,"
                " and the deepest ones were not checked",
                "medium",
            ),
            (acls, "ACLs can let users write {}", "medium"),
            (programs, "a system user or group other than root can write {}", "low"),
            (
                services,
                "a system user or group other than root can replace the targets of the links {}",
                "low",
            ),
        ):
            if paths:
                shown = ", ".join(f"'{printable('/' + path)}'" for path in paths[:_SHOWN])
                more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
                yield Observation(message.format(shown + more), f"{ROOTFS}/{paths[0]}", severity=severity)

    def of_targets(self) -> Iterator[Observation]:
        """Find targets that users can replace by a link before a later start writes to the target.

        The daemon follows the link as root.
        """
        for rule, path, resolved in self.image.targets:
            # The trigger ``create`` is safe, because a new instance has no users yet.
            if not set(rule.when) & _LATER or resolved.error is not None:
                continue
            places = [resolved.real, *(link for link, _ in resolved.links)]
            who, severity = "users", "medium"
            if any(self._is_in_directory_of(FIRST_USER, place) for place in places):
                pass
            elif any(map(_is_created_by_users, places)):
                severity = "low" if resolved.real.startswith("/home/") else "medium"
            elif any(self._is_in_directory_of(_FIRST_SERVICE, place) for place in places):
                who, severity = "a system user or group", "low"
            else:
                continue
            yield Observation(
                f"{who} can replace '{printable(path)}' by a link, through which a later start overwrites"
                " another file of the instance",
                rule.spans["path"],
                hint="choose a target in a directory that belongs to root, or use only the trigger 'create'",
                severity=severity,
            )

    def _is_in_directory_of(self, first: int, place: str) -> bool:
        """Return whether users can create a link at ``place``, or replace a directory above it by a link.

        Ignore user and group ids less than ``first``.
        """
        rootfs, child = self.image.rootfs, place
        while child not in ("", "/"):
            folder = child.rpartition("/")[0]
            entry = rootfs.entry(folder)
            if entry is not None and entry is not IMPLIED:
                present = rootfs.entry(child)
                # in a sticky directory, users can replace only their own files
                is_kept = entry.mode & 0o1000 and present is not None and present.uid < first
                is_public = entry.mode & 0o002 and not is_kept
                if is_public or self._belongs_to(entry, first) or ROOTFS + folder in self.acls:
                    return True
            child = folder
        return False

    def links(self) -> tuple[list[str], list[str], list[str], list[str]]:
        """Follow the links in the directories of the system, and return four lists.

        * links with a target that users can replace
        * links of ``_PROGRAMS`` with a target that the user of a service can replace
        * links with a target that is too deep to check
        * directories to which links lead, with a slash at the end; the files in them need the same check
        """
        targets = {
            name.path[len(ROOTFS) + 1 :]: name.entry.target
            for name in self.image.names
            if name.entry.kind == SYMLINK and name.path.startswith(ROOTFS + "/")
        }
        links = sorted(targets)
        todo = [path for path in links if (_is_system(path) or path in _ABOVE)]
        checked = DIRECTORIES | FILES  # of_system_files() checks these paths
        seen, found, of_services, deep, folders = set(todo), [], [], [], set()
        for path in todo:
            place = _target_inside(path, targets[path])
            is_program = _is_program(path)
            if place and (_is_program(place) if is_program else _is_system(place)):
                continue
            resolved = resolve(self.image.rootfs, f"/{path}", self.steps)
            if resolved.error is not None:  # the link may name a directory, as in "lib/"
                resolved = resolve(self.image.rootfs, f"/{path}/.", self.steps)
            if isinstance(resolved.error, LimitError):
                raise resolved.error
            # a booted system can have the part of the path that the image lacks, such as "x" in "/dev/x/.."
            is_lost = resolved.error is not None and resolved.real[1:].startswith((*_EMPTY, "tmp/"))
            if f"/{path}" in checked:
                pass
            elif is_lost or self._can_be_replaced(resolved, FIRST_USER):
                found.append(path)
            elif resolved.real.count("/") > MAX_DEPTH and not _is_system(place):
                deep.append(path)
            elif is_program and self._can_be_replaced(resolved, _FIRST_SERVICE):
                of_services.append(path)
            folder = f"{resolved.real[1:]}/"
            is_other = not _is_system(folder) and not folder.startswith(_EMPTY) and folder not in folders
            if is_other and resolved.entry is not None and resolved.entry.kind == DIRECTORY:
                folders.add(folder)
                below = links[
                    bisect_left(links, folder) : bisect_left(links, f"{folder[:-1]}0")
                ]  # "0" is the character after "/"
                self.steps.left -= len(below)
                todo += [each for each in below if each not in seen]
                seen.update(below)
        outer: list[str] = []
        for folder in sorted(folders):
            if not outer or not folder.startswith(outer[-1]):
                outer.append(folder)
        return found, of_services, deep, outer

    def _can_be_replaced(self, resolved: Resolved, first: int) -> bool:
        """Return whether users can replace a file, or any directory or link on the path to the file.

        Ignore user and group ids less than ``first``.
        """
        places = [resolved.real, *(link.rpartition("/")[0] for link, _ in resolved.links[1:])]
        if any(map(_is_created_by_users, places)):
            return True
        for place in places:
            while place not in ("", "/"):
                entry = self.image.rootfs.entry(place)
                if entry is not None and entry is not IMPLIED and entry.kind in _CHANGED:
                    # users of a group cannot replace root's files in a sticky directory
                    is_kept = place != resolved.real and resolved.entry is not None and entry.mode & 0o1000
                    is_kept = is_kept and (entry.uid < first or entry.uid == self.image.root_uid)
                    is_owned = self._belongs_to(entry, first) and not is_kept
                    if entry.mode & 0o002 or is_owned or ROOTFS + place in self.acls:
                        return True
                place = place.rpartition("/")[0]
        return False

    def _belongs_to(self, entry: Entry, first: int, path: str = "") -> bool:
        """Return whether a user or a group with an id of at least ``first`` can write a file.

        Include the group ``USERS``.
        """
        image = self.image
        by_group = entry.mode & 0o020 and (entry.gid >= first or entry.gid == USERS)
        # Ignore the owner of a job file below /var/spool, such as a crontab.
        is_own_job = (
            path.startswith("var/spool/") and entry.kind == FILE and not path.endswith(("/root", "/systab"))
        )
        return (entry.uid >= first and entry.uid != image.root_uid and not is_own_job) or bool(
            by_group and entry.gid != image.root_gid
        )


def _is_system(path: str) -> bool:
    below = f"{path}/"
    return path.startswith("lib") or (below.startswith(_SYSTEM) and not below.startswith("usr/tmp/"))


def _is_program(path: str) -> bool:
    return f"{path}/".startswith(_PROGRAMS)


def _is_trusted(path: str, entry: Entry) -> bool:
    """Return whether a path is a file in ``/etc`` itself, or a file that grants access or privileges."""
    is_file = entry.kind in (FIFO, FILE, SOCKET)
    return is_file and (path.rpartition("/")[0] == "etc" or is_sensitive(f"/{path}"))


def _is_created_by_users(path: str) -> bool:
    return _OF_PROCESS.match(path) is not None or f"{path}/".startswith(_CREATED)


def _target_inside(path: str, target: str) -> str:
    """Return the target of a link as a path, or "" if the target has a ".." after a name."""
    folder = "" if target.startswith("/") else path.rpartition("/")[0]
    if "/." not in f"/{target}" and "//" not in target:
        return f"{folder}/{target}".lstrip("/")
    names, is_start = folder.split("/"), True
    for name in target.split("/"):
        if name == "..":
            # The name can be a link, and ".." then leads to an unknown directory.
            if not is_start:
                return ""
            del names[-1:]
        elif name not in ("", "."):
            is_start = False
            names.append(name)
    return "/".join(names).lstrip("/")
