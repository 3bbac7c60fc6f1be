"""Connections to a daemon: its Unix socket, `incus remote proxy`, or https with LXD's client certificate."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..distribution.daemon_connection import TIMEOUT, Connect
from ..distribution.daemon_socket_path import find_socket
from ..distribution.remotes import client_remote, client_trust
from ..distribution.tcp_and_tls_sockets import RemoteBounds, RemoteSocket, open_connection
from ..distribution.url import split_url
from ..model.errors import InputError, UsageError
from ..model.unprintable_characters import printable
from .address import LOCAL, Address, escaped
from .nearest_host import Nearest, nearest_host
from .rest_client import Client, DaemonError, unix_socket

_PROJECT_VARIABLES = {"incus": "INCUS_PROJECT", "lxd": "LXD_PROJECT"}
#: seconds to wait until `incus remote proxy` opens its socket, and seconds without a client until it exits
_PROXY_START, _PROXY_IDLE = 30.0, 600


@dataclass(slots=True)
class Daemon:
    """A connected daemon.

    ``address`` includes the project that the user or the client's configuration chose.
    """

    client: Client
    address: Address
    #: the ``environment`` of the daemon's answer to ``GET /1.0``
    environment: dict[str, Any]
    notes: tuple[str, ...] = ()
    #: functions that ``close`` calls to end programs and remove files
    cleanups: list[Callable[[], None]] = field(default_factory=list)

    @property
    def nearest(self) -> Nearest:
        """The supported release that behaves most like the daemon."""
        return nearest_host(self.address.family, self.environment)

    def close(self) -> None:
        """Close the connections. For a remote of Incus, also end the program `incus remote proxy`."""
        self.client.close()
        while self.cleanups:
            self.cleanups.pop()()


def open_daemon(address: Address) -> Daemon:
    """Connect to the daemon of an address.

    Raises InputError if the connection fails, and UsageError for an invalid remote.
    """
    cleanups: list[Callable[[], None]] = []
    is_user = False
    if address.remote == LOCAL:
        found = find_socket(address.family)
        place, connect, is_user = found.path, unix_socket(found.path), found.is_user
    elif address.family == "incus":
        place, connect = _proxy(address.remote, cleanups)
    else:
        place, connect = _of_lxd(address.remote)
    client = Client(address.family, place, connect)
    daemon = Daemon(client, address, {}, cleanups=cleanups)
    try:
        daemon.environment = _environment(client, address)
        _choose_project(daemon, is_user)
    except BaseException:
        daemon.close()
        raise
    return daemon


def _environment(client: Client, address: Address) -> dict[str, Any]:
    """Return the daemon's environment.

    Raises InputError if the daemon does not trust this client, and UsageError if the daemon is LXD instead of
    Incus, or Incus instead of LXD.
    """
    server = client.json("/1.0")
    if not isinstance(server, dict):
        raise InputError(f"{client.name} sent an invalid description of itself")
    environment = server.get("environment")
    if server.get("auth") == "untrusted" or not isinstance(environment, dict):
        raise InputError(
            f"{client.name} does not trust this client",
            hint=f"add the remote with its token: {address.client} remote add {address.remote} TOKEN",
        )
    family = environment.get("server")
    if family != address.family:
        raise UsageError(
            f"the daemon on '{printable(client.place)}' is {printable(str(family))}, not {address.family}",
            hint=f"write {printable(str(family))}:NAME",
        )
    return environment


def _choose_project(daemon: Daemon, is_user: bool) -> None:
    address = daemon.address
    if address.all_projects:
        return
    if not address.project:
        project, why = _default_project(address, is_user=is_user)
        if project:
            daemon.address = address._replace(project=project)
            daemon.notes += (f"using the project '{printable(project)}': {why} (see --project)",)
        return
    try:  # the daemon returns an empty list for an unknown project
        daemon.client.json(f"/1.0/projects/{escaped(address.project)}")
    except DaemonError as error:
        if error.status == 404:
            raise InputError(f"{daemon.client.name} has no project '{printable(address.project)}'") from None
        if error.status != 403:  # a user may see the instances of a project, but not the project itself
            raise


def _default_project(address: Address, *, is_user: bool) -> tuple[str, str]:
    """Return the project that the client of Incus or LXD would use, and the reason.

    Return two empty strings for the default project.
    """
    variable = _PROJECT_VARIABLES[address.family]
    if os.environ.get(variable):
        return os.environ[variable], f"set by {variable}"
    value, path = client_remote(address.family, address.remote)
    project = value.get("project")
    if isinstance(project, str) and project not in ("", "default"):
        return project, f"set in '{path}'"
    if is_user:
        return f"user-{os.getuid()}", "the default on the socket for unprivileged users"
    return "", ""


def _proxy(remote: str, cleanups: list[Callable[[], None]]) -> tuple[str, Connect]:
    """Start `incus remote proxy`. Return the path of its socket, and a function that connects to it.

    ``cleanups`` receives the function that ends the proxy.
    """
    if shutil.which("incus") is None:
        raise InputError(
            f"the remote '{printable(remote)}' needs the program incus, which is missing",
            hint="install the Incus client",
        )
    folder = tempfile.mkdtemp(prefix="templater-proxy.")  # only this user can enter the directory
    path = os.path.join(folder, "socket")
    program = subprocess.Popen(
        ["incus", "remote", "proxy", f"--timeout={_PROXY_IDLE}", "--", f"{remote}:", path],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True, text=True, errors="surrogateescape",
    )  # fmt: skip

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGTERM)
        try:
            program.wait(timeout=5)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        if program.stderr is not None:
            program.stderr.close()
        shutil.rmtree(folder, ignore_errors=True)

    cleanups.append(end)
    limit = time.monotonic() + _PROXY_START
    while not os.path.exists(path):
        if program.poll() is not None or time.monotonic() > limit:
            words = "" if program.poll() is None or program.stderr is None else program.stderr.read(1000)
            end()
            cleanups.clear()
            last = words.strip().rpartition("\n")[2]  # lines before the error can be advice
            text = printable(last.removeprefix("Error: ")) or "`incus remote proxy` opened no socket"
            raise InputError(f"can't connect to the remote '{printable(remote)}': {text}")
        time.sleep(0.02)
    return path, unix_socket(path)


def _of_lxd(remote: str) -> tuple[str, Connect]:
    """Return the URL of an LXD remote, and a function that connects to it with the client's certificate."""
    value, path = client_remote("lxd", remote)
    url = value.get("addr")
    if not path or not isinstance(url, str):
        raise UsageError(
            f"unknown LXD remote '{printable(remote)}'", hint="`lxc remote list` shows the known remotes"
        )
    if value.get("protocol") not in (None, "", "lxd"):
        raise UsageError(f"the remote '{printable(remote)}' has images only")
    if url.startswith("unix:"):
        place = url.removeprefix("unix:").removeprefix("//") or find_socket("lxd").path
        return place, unix_socket(place)
    parts = split_url(url)
    if parts.scheme != "https" or not parts.hostname or value.get("auth_type") == "oidc":
        raise UsageError(
            f"templater does not support the LXD remote '{printable(remote)}'",
            hint="templater supports https remotes with a client certificate, and Unix sockets",
        )
    trust = client_trust(path, remote, value)
    if trust.client is None:
        raise InputError(
            f"the LXD remote '{printable(remote)}' needs the client's certificate",
            hint=f"put client.crt and client.key into '{printable(os.path.dirname(path))}'",
        )
    context = trust.context()
    host, port = parts.hostname, parts.port or 8443

    def connect(timeout: float = TIMEOUT) -> Any:
        bounds = RemoteBounds(timeout)
        return RemoteSocket(context, bounds, open_connection((host, port), bounds), host)

    return f"https://{host}:{port}", connect
