"""The Unix socket of the Incus or LXD daemon on this machine."""

from __future__ import annotations

import os
from typing import NamedTuple

#: For each family: the environment variable with the socket's path, the variable with the daemon's directory,
#: and the usual directories.
_PLACES = {
    "incus": ("INCUS_SOCKET", "INCUS_DIR", ("/run/incus", "/var/lib/incus")),
    "lxd": ("LXD_SOCKET", "LXD_DIR", ("/var/snap/lxd/common/lxd", "/var/lib/lxd")),
}
#: sockets for users without full rights; through such a socket, each user works in a project of their own
_USER_SOCKETS = {"lxd": ("/var/snap/lxd/common/lxd-user/unix.socket",)}


class Socket(NamedTuple):
    """The path of a daemon's socket. The environment variable ``variable`` overrides this path."""

    path: str
    variable: str
    is_user: bool = False


def find_socket(family: str) -> Socket:
    """Return the socket that the client of Incus or LXD would use, even if it does not exist."""
    variable, directory, usual = _PLACES[family]
    given = os.environ.get(variable)
    if given:
        return Socket(given, variable)
    chosen = os.environ.get(directory)
    folders = (chosen,) if chosen else usual
    found = [path for path in (os.path.join(folder, "unix.socket") for folder in folders) if _exists(path)]
    for path in found:
        if os.access(path, os.W_OK):
            return Socket(path, variable)
    for path in (*(f"{path}.user" for path in found), *_USER_SOCKETS.get(family, ())):
        if not chosen and os.access(path, os.W_OK):
            return Socket(path, variable, is_user=True)
    return Socket(found[0] if found else os.path.join(folders[-1], "unix.socket"), variable)


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True  # the directory can't be searched, so connecting reports the missing permission
    except OSError:
        return False
    return True
