"""The id map of an LXC container, for commands that read or write the container's root filesystem."""

from __future__ import annotations

import os
import stat
import sys

from ..model.errors import TemplaterError
from ..model.file_names import ROOTFS
from ..model.unprintable_characters import printable
from ..rootfs.directory_rootfs import DirectoryRootfs
from . import output


def use_id_map(rootfs: DirectoryRootfs, src: str) -> None:
    """Use the id map in the configuration of an LXC container, as a hook does.

    Read the file ``config`` beside the root filesystem. If this file is missing, read ``config`` in ``src``,
    unless ``src`` contains another root filesystem. Leave the guessed map of ``rootfs`` in these cases:

    * Other users can change the configuration.
    * The configuration does not name the path of ``rootfs``.
    * The map contradicts the owner of the root directory.
    * The configuration or the map is missing or invalid.
    """
    if sys.platform != "linux":
        return
    folders = [os.path.dirname(os.path.abspath(rootfs.name))]
    own = os.path.join(src, ROOTFS)
    if not os.path.isdir(own) or os.path.samefile(own, rootfs.name):
        folders.append(src)
    for folder in folders:
        config = os.path.join(folder, "config")
        try:
            fd = os.open(config, os.O_PATH | os.O_NOFOLLOW)
        except (OSError, ValueError):
            continue
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                _use_map_in(config, fd, status, rootfs)
                return
        finally:
            os.close(fd)


def _use_map_in(config: str, fd: int, status: os.stat_result, rootfs: DirectoryRootfs) -> None:
    """Use the map in an open configuration. If templater ignores the map, print a note with the reason."""
    from ..hooks.lxc_config import ids_in, settings, without_prefix

    opened = f"/proc/self/fd/{fd}"  # another user could exchange the path
    place = printable(config)
    guess = rootfs.ids
    try:
        # By changing the map, other users could give files to any user of the host.
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            if guess.shifts:  # in the user namespace of lxc-usernsexec, ids are not shifted
                output.note(f"'{place}' is ignored: other users can change it (owner uid {status.st_uid})")
            return
        found = list(settings(opened))
        ids = ids_in(found, opened)
        if ids is None or (ids.uids, ids.gids) == (guess.uids, guess.gids):
            return
        path = without_prefix(dict(found).get("lxc.rootfs.path", ""))
        # An image author does not know this path. Without the path, the file may come from an image.
        if not (path.startswith("/") and os.path.exists(path) and os.path.samefile(path, rootfs.name)):
            output.note(
                f"the id map in '{place}' is ignored: lxc.rootfs.path is not '{printable(rootfs.name)}'"
            )
            return
        root, owner = ids.on_disk(0, 0), guess.on_disk(0, 0)
    except TemplaterError as error:
        output.note(f"the id map in '{place}' is ignored: {error.message.replace(opened, place)}")
        return
    if root != owner:
        output.note(
            f"the id map in '{place}' is ignored: it gives root the ids {root[0]}:{root[1]}, but the root"
            f" directory belongs to {owner[0]}:{owner[1]}"
        )
        return
    output.note(f"using the id map in '{place}'")
    rootfs.ids = ids
