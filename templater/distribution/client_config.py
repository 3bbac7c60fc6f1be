"""The configuration of the Incus and LXD clients: their remotes, and the certificates of each remote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import yaml

from ..model.errors import InputError, reason
from ..model.source import printable
from .tls_trust import Trust

#: the protocols of servers
SIMPLESTREAMS = "simplestreams"
#: the REST API of Incus and LXD
API = "incus"
_MOST_BYTES = 1 << 20


def client_remotes(family: str = "") -> Iterator[tuple[dict[Any, Any], str]]:
    """Yield, for each configuration file of the clients, the remotes in the file and the file's path.

    ``family`` is "incus" or "lxd", or empty for both families.
    """
    for folder in _client_folders(family):
        path = os.path.join(folder, "config.yml")
        remotes = read_yaml(path).get("remotes")
        if isinstance(remotes, dict):
            yield remotes, path


def client_remote(family: str, name: str) -> tuple[dict[str, Any], str]:
    """Return a remote from the configuration of the Incus or LXD client, and the path of this configuration.

    If no configuration defines the remote, both values are empty.
    """
    for remotes, path in client_remotes(family):
        value = remotes.get(name)
        if isinstance(value, dict):
            return value, path
    return {}, ""


def client_trust(path: str, name: str, value: dict[str, Any]) -> Trust:
    """Return the certificates of a remote in the client's configuration file ``path``."""
    folder = os.path.dirname(path)
    server = os.path.join(folder, "servercerts", f"{name}.crt")
    pair = (os.path.join(folder, "client.crt"), os.path.join(folder, "client.key"))
    private = (
        value.get("protocol") != SIMPLESTREAMS and not value.get("public") and all(map(os.path.isfile, pair))
    )
    return Trust(server if os.path.isfile(server) else "", pair if private else None)


def _client_folders(family: str) -> Iterator[str]:
    """Yield the clients' configuration directories in the order in which the clients read them."""
    home = os.path.expanduser("~")
    if family != "lxd":
        yield os.environ.get("INCUS_CONF") or os.path.join(home, ".config", "incus")
        yield "/etc/incus"
    if family != "incus":
        yield os.environ.get("LXD_CONF") or os.path.join(home, "snap", "lxd", "common", "config")
        yield os.path.join(home, ".config", "lxc")
        yield "/etc/lxc"


def load_yaml(data: bytes | str) -> Any:
    """Parse a YAML text. Raises YAMLError, also for impossible values such as ``2024-99-99``."""
    try:
        return yaml.safe_load(data)
    except (ValueError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from None
    except (LookupError, AttributeError, TypeError):  # for values such as `!!bool x` and `!!timestamp x`
        raise yaml.YAMLError("a value does not match its YAML tag") from None
    except RecursionError:
        raise yaml.YAMLError("the text is nested too deeply") from None


def read_yaml(path: str) -> dict[str, Any]:
    """Return the mapping in a configuration file, which is empty if the file is missing."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"can't read '{printable(path)}': {reason(error)}") from error
    try:
        value = load_yaml(data[:_MOST_BYTES]) or {}
    except yaml.YAMLError as error:
        raise InputError(f"'{printable(path)}' is not valid YAML: {printable(str(error))}") from None
    if not isinstance(value, dict):
        raise InputError(f"'{printable(path)}' has no mapping at the top level")
    return value
