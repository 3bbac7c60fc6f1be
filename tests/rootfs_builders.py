"""Root filesystems, plans for them, and their snapshots, for the tests that write."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.planning.decide_changes import Plan, decide
from templater.rendering.render import Rendering
from templater.rootfs.confined_root import Root
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.resolve_beneath import OPENAT2, WALK

if TYPE_CHECKING:
    from templater.model.entry import RootfsView

MECHANISMS = (OPENAT2, WALK)

as_root = pytest.mark.skipif(os.getuid() != 0, reason="NOT RUN: needs root, for devices, owners and mounts")


def skip_without_root(case: dict[str, Any], *names: str) -> None:
    """Skip a recorded life of these names (also as ``shifted_NAME``) in which files belong to other users."""
    if os.geteuid() != 0 and case["id"].removeprefix("shifted_") in names:
        pytest.skip("NOT RUN: needs root, for files that belong to other users")


def a_rule(path: str, **fields: object) -> Rule:
    return Rule(path, "x.tpl", ("start",), **fields)  # type: ignore[arg-type]


def a_plan(
    files: Mapping[str, str | bytes] | list[tuple[Rule, bytes]],
    rootfs: "RootfsView | None",
    *,
    in_place: bool = False,
    trigger: str = "start",
    **fields: object,
) -> Plan:
    """The plan that writes these texts; decided by the real ``decide``."""
    if isinstance(files, Mapping):
        files = [
            (
                a_rule(path, **fields),
                text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text,
            )
            for path, text in files.items()
        ]
    renderings = [Rendering(rule, trigger, content) for rule, content in files]
    changes = decide(renderings, rootfs, in_place=in_place)
    return Plan(Metadata(), Instance(), HOSTS["none"], (trigger,), changes)


def a_directory(path: Path, files: Mapping[str, str | None]) -> Path:
    """Files by their text, directories by None; parents as needed, everything 0755 and 0644."""
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        place = path / name.lstrip("/")
        (place if text is None else place.parent).mkdir(parents=True, exist_ok=True)
        if text is not None:
            place.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def opened(path: Path, mechanism: str = "", **options: bool) -> DirectoryRootfs:
    return DirectoryRootfs(Root(str(path), mechanism=mechanism, **options))


def snapshot(top: Path, *, times: bool = False) -> dict[str, tuple[object, ...]]:
    """Return the kind, mode, owner, content, target and device of everything below a directory.

    ``times`` adds inodes, and mtimes except those of directories: temporary names change them.
    """
    return dict(_seen(top, times))


def _seen(top: Path, times: bool) -> Iterator[tuple[str, tuple[object, ...]]]:
    for place in [top, *sorted(below(top))]:
        status = place.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = place.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(place)
        seen = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, content, status.st_rdev)
        if times and not stat.S_ISDIR(status.st_mode):
            seen += (status.st_ino, status.st_mtime_ns)
        yield str(place.relative_to(top)), seen


def strays(top: Path) -> list[str]:
    return [str(place) for place in below(top) if place.name.startswith(".templater-")]


def below(top: Path) -> list[Path]:
    """Return everything below a directory, without mounted file systems such as /proc, which never ends."""
    device, found = top.stat().st_dev, []
    for folder, directories, files in os.walk(top):
        found += [Path(folder, name) for name in (*directories, *files)]
        directories[:] = [name for name in directories if Path(folder, name).lstat().st_dev == device]
    return found


class Mounts:
    """Mounts made by a test and taken away after it."""

    def __init__(self) -> None:
        self.places: list[Path] = []

    def bind(self, source: Path, place: Path) -> None:
        self._mount("--bind", str(source), str(place))

    def tmpfs(self, place: Path, options: str = "size=1m") -> None:
        self._mount("-t", "tmpfs", "-o", options, "tmpfs", str(place))

    def proc(self, place: Path) -> None:
        self._mount("-t", "proc", "proc", str(place))

    def loop(self, disk: Path, place: Path) -> None:
        self._mount("-o", "loop", str(disk), str(place))

    def btrfs(self, folder: Path) -> Path:
        """Mount a new btrfs file system and return the place, or skip the test if the machine can't."""
        return self._new(folder, "btrfs", "-M")

    def ext4(self, folder: Path, *options: str) -> Path:
        """Mount a new ext4 file system, as ``btrfs`` does. ``options`` are options of mkfs.ext4."""
        return self._new(folder, "ext4", "-F", *options)

    def xfs(self, folder: Path) -> Path:
        """Mount a new XFS file system, as ``btrfs`` does."""
        return self._new(folder, "xfs", size=320 << 20)

    def _new(self, folder: Path, kind: str, *options: str, size: int = 120 << 20) -> Path:
        if shutil.which(f"mkfs.{kind}") is None:
            pytest.skip(f"NOT RUN: needs mkfs.{kind}")
        disk, place = folder / "disk", folder / "mounted"
        with open(disk, "wb") as file:
            file.truncate(size)
        subprocess.run([f"mkfs.{kind}", "-q", *options, disk], check=True)
        place.mkdir()
        try:
            self.loop(disk, place)
        except subprocess.CalledProcessError:
            pytest.skip(f"NOT RUN: needs a loop device and a kernel with {kind}")
        return place

    def overlay(self, lower: Path, upper: Path, work: Path, place: Path, options: str) -> None:
        layers = f"lowerdir={lower},upperdir={upper},workdir={work},{options}"
        self._mount("-t", "overlay", "-o", layers, "overlay", str(place))

    def share(self, place: Path) -> None:
        """Bind a directory to itself as a shared mount, as systemd makes every mount shared."""
        self.bind(place, place)
        subprocess.run(["mount", "--make-shared", str(place)], check=True)

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)
        self.places.append(Path(arguments[-1]))

    def end(self) -> None:
        while self.places:
            subprocess.run(["umount", "-l", str(self.places.pop())], check=True)
