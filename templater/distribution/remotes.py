"""Named image servers, from templater's own file, the Incus and LXD clients, and a built-in list.

The configuration of the clients also has the certificates of each remote.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..image.atomic_output import Output
from ..model.errors import InputError, UsageError, reason
from ..model.unprintable_characters import printable
from ..model.url_password import with_password, without_password
from .https_client import UrlStream
from .tls_trust import Trust
from .url import split_url

#: the protocols of servers
SIMPLESTREAMS = "simplestreams"
#: the REST API of Incus and LXD
API = "incus"
PROTOCOLS = (SIMPLESTREAMS, API)
#: names that can't be remotes, because in SRC they mean daemons or stores on this machine
RESERVED = ("incus", "lxd", "store", "local")
BUILT_IN = {
    "images": "https://images.linuxcontainers.org",
    "ubuntu": "https://cloud-images.ubuntu.com/releases",
    "ubuntu-daily": "https://cloud-images.ubuntu.com/daily",
    "ubuntu-minimal": "https://cloud-images.ubuntu.com/minimal/releases",
    "ubuntu-minimal-daily": "https://cloud-images.ubuntu.com/minimal/daily",
}
_MOST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+")
_REMOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+:")


@dataclass(frozen=True, slots=True)
class Remote:
    """An image server. ``source`` is the file that defines it, or "built in"."""

    name: str
    url: str = field(repr=False)  # the URL can contain a password
    protocol: str
    source: str
    trust: Trust = field(default_factory=Trust)

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        try:
            split_url(self.url)
        except UsageError:
            return "invalid URL"
        return without_password(self.url)


def read_remotes() -> dict[str, Remote]:
    """Return the remotes by name. Raises InputError if a configuration file is invalid.

    If several sources define a name, the first source wins.
    """
    remotes: dict[str, Remote] = {}
    for remote in (*_own(), *_of_clients(), *_built_in()):
        remotes.setdefault(remote.name, remote)
    return remotes


def add_remote(name: str, url: str, protocol: str = SIMPLESTREAMS, certificate: str = "") -> Remote:
    """Write a remote into templater's file, which only the user can read.

    Raises UsageError if the remote already exists, or for an invalid name or URL.
    """
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise UsageError(
            f"invalid name '{printable(name)}' of a remote",
            hint=f"use two or more letters, digits and '.', '_', '-'; reserved: {', '.join(RESERVED)}",
        )
    url = with_password(url)
    UrlStream(url)
    own = _read_own()
    if name in own:
        raise UsageError(
            f"the remote '{name}' already exists", hint=f"remove it first: templater remote remove {name}"
        )
    own[name] = {"url": url, "protocol": protocol}
    if certificate:
        Trust(certificate).context()
        own[name]["certificate"] = os.path.abspath(certificate)
    _write_own(own)
    return read_remotes()[name]


def remove_remote(name: str) -> None:
    """Remove a remote from templater's file. Raises UsageError if the file does not define the remote."""
    own = _read_own()
    if name not in own:
        hint = (
            "this remote is built in, or comes from the configuration of Incus or LXD"
            if name in read_remotes()
            else ""
        )
        raise UsageError(f"unknown remote '{printable(name)}'", hint=hint)
    del own[name]
    _write_own(own)


def own_file() -> str:
    """Return the path of templater's list of remotes."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "templater", "remotes.yaml")


def _own() -> Iterator[Remote]:
    for name, value in _read_own().items():
        yield Remote(name, value["url"], value["protocol"], own_file(), Trust(value.get("certificate", "")))


def _read_own() -> dict[str, dict[str, str]]:
    remotes = read_yaml(own_file())
    for name, value in remotes.items():
        texts = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        if not texts or "url" not in value or value.get("protocol") not in PROTOCOLS:
            raise InputError(f"'{own_file()}': invalid remote '{printable(str(name))}'")
    return remotes


def _write_own(remotes: dict[str, dict[str, str]]) -> None:
    path = own_file()
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with Output(os.path.dirname(path), private=True) as output:
        output.write(yaml.safe_dump(remotes, sort_keys=True).encode())
        output.publish(path, replace=True)


def _of_clients() -> Iterator[Remote]:
    """Yield the https remotes from the configuration of the Incus and LXD clients."""
    for remotes, path in client_remotes():
        for name, value in remotes.items():
            if not isinstance(name, str) or not isinstance(value, dict) or name in RESERVED:
                continue
            url, protocol = value.get("addr"), value.get("protocol") or API
            if isinstance(url, str) and url.startswith("https://"):
                trust = client_trust(path, name, value)
                yield Remote(name, url, API if protocol == "lxd" else str(protocol), path, trust)


def _built_in() -> Iterator[Remote]:
    for name, url in BUILT_IN.items():
        yield Remote(name, url, SIMPLESTREAMS, "built in")


def is_remote(src: str) -> bool:
    """Return whether SRC names an image on a server. An existing path always means a local file."""
    return not os.path.lexists(src) and (
        src.startswith(("https://", "http://")) or _REMOTE.match(src) is not None
    )


def client_remotes(family: str = "") -> Iterator[tuple[dict[Any, Any], str]]:
    """Yield the remotes in each configuration file of the clients, and the path of the file.

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
    """Return the certificates of a remote that the client's configuration file ``path`` defines."""
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
    """Parse a YAML text. Raises YAMLError for invalid YAML or an impossible date such as ``2024-99-99``."""
    try:
        return yaml.safe_load(data)
    except (ValueError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from None
    except (LookupError, AttributeError, TypeError):  # for values such as `!!bool x` and `!!timestamp x`
        raise yaml.YAMLError("a value does not match its YAML tag") from None
    except RecursionError:
        raise yaml.YAMLError("the text is nested too deeply") from None


def read_yaml(path: str) -> dict[str, Any]:
    """Return the mapping in a configuration file, or an empty mapping if the file is missing."""
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
