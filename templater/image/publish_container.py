"""Images made from containers, as ``lxc publish`` makes them."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..model.entry import FILE
from ..model.errors import InputError, RefusedError, TemplaterError
from ..model.file_names import METADATA, ROOTFS
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..parsing.metadata_yaml import read_metadata
from ..rootfs.confined_root import Root
from ..rootfs.directory_rootfs import open_tree
from ..rootfs.id_map import IdMap, shifted
from . import metadata_edit
from .limits import DEFAULT, Limits
from .read_whole_image import DirectoryContents, Part
from .tar_reader import Member

#: properties of the base image's build, which would be wrong for the published image (lxops#24)
STALE = ("description", "serial", "name", "label", "version", "type")

#: the daemons' names of architectures, by the names of LXC and the kernel
ARCHITECTURES = {
    "amd64": "x86_64", "x86_64": "x86_64", "i386": "i686", "i486": "i686", "i586": "i686", "i686": "i686",
    "x86": "i686", "arm64": "aarch64", "aarch64": "aarch64", "armhf": "armv7l", "armv7l": "armv7l",
    "arm": "armv7l", "riscv64": "riscv64", "ppc64el": "ppc64le", "ppc64le": "ppc64le", "s390x": "s390x",
    "loongarch64": "loongarch64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Publication:
    """The files of the image to write. ``dropped`` has the names of the properties that were removed."""

    contents: DirectoryContents
    parts: list[Part]
    dropped: tuple[str, ...]


def find(path: str) -> str:
    """Return the directory of an instance, or of a snapshot given as ``DIR/SNAPSHOT``.

    Raises InputError for any other path.
    """
    if os.path.isdir(os.path.join(path, ROOTFS)):
        return path
    parent, name = os.path.split(path.rstrip("/"))
    # LXC keeps snapshots in ``snaps/``, the daemons in ``snapshots/``.
    for folder in ("snaps", "snapshots"):
        if os.path.isdir(os.path.join(parent, folder, name, ROOTFS)):
            return os.path.join(parent, folder, name)
    if os.path.isdir(path):
        raise InputError(
            f"'{path}' has no 'rootfs' directory",
            hint="give the directory of an instance or of an LXC container",
        )
    raise InputError(f"'{path}' is neither a directory nor a snapshot of an instance")


def publication(
    path: str,
    *,
    now: int,
    architecture: str = "",
    properties: Mapping[str, str],
    keep: Iterable[str] = (),
    expiry: int | None = None,
    ids: IdMap | None = None,
    latest: int | None = None,
    limits: Limits = DEFAULT,
) -> Publication:
    """Return a container's image, with architecture, dates and properties set in metadata.yaml.

    Drop the properties in ``STALE``, unless ``properties`` or ``keep`` names them.
    """
    with open_tree(path) as root:
        top = root.lstat("/" + ROOTFS)
        assert top is not None
        ids = ids or shifted(top[1].st_uid, top[1].st_gid)
        own = root.entry("/" + METADATA) is not None
        architecture = architecture or architecture_of(root)
        source = (
            Source(METADATA, root.read("/" + METADATA, limits.metadata_bytes, public=True))
            if own
            else _generate_metadata(root)
        )
    contents = DirectoryContents(
        path,
        limits,
        latest=latest,
        uid=lambda number: ids.in_container(number, 0)[0],
        gid=lambda number: ids.in_container(0, number)[1],
    )
    source, dropped = _updated(source, now, architecture, properties, frozenset(keep), expiry)
    parts = contents.parts() if own else [Part(Member(METADATA, FILE, 0o644))]
    parts[0].data = source.data
    parts[0].member.size = len(source.data)
    parts[0].member.mtime = now
    return Publication(contents, parts, dropped)


def stale_of(path: str) -> dict[str, str]:
    """Return the image properties in an instance's metadata.yaml that publishing would drop."""
    found = properties_of(path)
    return {name: found[name] for name in STALE if name in found}


def properties_of(path: str) -> dict[str, str]:
    """Return the image properties in an instance's metadata.yaml."""
    with open_tree(path) as root:
        if root.entry("/" + METADATA) is None:
            return {}
        source = Source(METADATA, root.read("/" + METADATA, DEFAULT.metadata_bytes, public=True))
    return dict(read_metadata(source).properties)


def _updated(
    source: Source,
    now: int,
    architecture: str,
    properties: Mapping[str, str],
    keep: frozenset[str],
    expiry: int | None,
) -> tuple[Source, tuple[str, ...]]:
    old = read_metadata(source)
    facts: dict[str, str | None] = {"architecture": architecture, "creation_date": str(now)}
    if expiry is not None or old.expiry_date:
        facts["expiry_date"] = None if expiry is None else str(expiry)
    dropped = [name for name in STALE if name in old.properties and name not in {*properties, *keep}]
    source = metadata_edit.set_values(
        source, facts=facts, properties={**dict.fromkeys(dropped), **properties}
    )
    return source, tuple(dropped)


def architecture_of(root: Root) -> str:
    """Return a container's architecture from instance.yaml or LXC's config, or else the one of this machine.

    Raises RefusedError if a private file names an unknown architecture.
    """
    from ..model.file_names import INSTANCE

    for name, find_architecture in ((INSTANCE, _of_instance), ("config", _of_lxc_config)):
        if root.entry("/" + name) is None:
            continue
        try:
            source, is_private = Source(name, root.read("/" + name, 4 << 20, public=True)), False
        except RefusedError:
            source, is_private = Source(name, root.read("/" + name, 4 << 20)), True
        try:
            found = find_architecture(source)
        except TemplaterError:
            # Another user could have moved a secret file here, so no error may quote it.
            if not is_private:
                raise
            found = "unknown"
        if is_private and found not in {"", *ARCHITECTURES.values()}:
            raise RefusedError(
                f"the private file '{name}' contains no known architecture",
                hint="check whether another user has moved this file here",
            )
        if found:
            return found
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def _of_instance(source: Source) -> str:
    from ..parsing.instance_description import read_instance

    return read_instance(source).architecture


def _of_lxc_config(source: Source) -> str:
    for line in source.text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("lxc.arch", "lxc.architecture"):
            return ARCHITECTURES.get(value.strip(), value.strip())
    return ""


def _generate_metadata(root: Root) -> Source:
    """Generate metadata.yaml from os-release, for a container without a metadata.yaml."""
    said: dict[str, str] = {}
    with root.below("/" + ROOTFS) as rootfs:
        for path in ("/etc/os-release", "/usr/lib/os-release"):
            try:
                text = rootfs.read(path, 1 << 16, follow=True).decode("utf-8", "replace")
            except TemplaterError:
                continue
            for line in text.splitlines():
                key, _, value = line.partition("=")
                said.setdefault(key, value.strip().strip("\"'"))
            break
    source = Source(METADATA, "architecture: unknown\ncreation_date: 1\n")
    facts = {"os": said.get("ID"), "release": said.get("VERSION_CODENAME") or said.get("VERSION_ID")}
    for name, fact in facts.items():
        if fact:
            source = metadata_edit.set_property(source, name, fact)
    return source


def running(path: str) -> int | None:
    """Return the id of a process of the container in the directory ``path``, or None.

    This function misses a container that runs from an overlay.
    """
    try:
        root = os.stat(os.path.join(path, ROOTFS))
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    for process in processes:
        try:
            found = os.stat(f"/proc/{process}/root/")
        except OSError:
            continue  # the process ended or belongs to another user
        if (found.st_dev, found.st_ino) == (root.st_dev, root.st_ino) and stat.S_ISDIR(found.st_mode):
            return int(process)
    return None


def refuse_running(path: str) -> None:
    process = running(path)
    if process is not None:
        raise RefusedError(
            f"the container in '{printable(path)}' is running (process {process})",
            hint="stop the container, or add --force and risk incomplete files in the image",
        )
