"""The form of SRC for running instances: ``incus:[REMOTE:]NAME`` or ``lxd:[REMOTE:]NAME``."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..model.errors import UsageError
from ..model.instance_name import daemon_name_problem
from ..model.unprintable_characters import printable

FAMILIES = ("incus", "lxd")
#: the name of the remote for the daemon on this machine, in the configuration of both clients
LOCAL = "local"
#: the first part of a name that means an image, such as ``incus:image/debian``
_IMAGE = "image/"
_WILDCARDS = "*?["


class Address(NamedTuple):
    """The instances that SRC names.

    * ``name``: an instance's name, a pattern with ``*``, ``?`` or ``[…]``, or "" for all instances
    * ``project``: a project, or "" if the user did not choose one
    """

    family: str
    remote: str = LOCAL
    name: str = ""
    project: str = ""
    all_projects: bool = False

    @property
    def is_one(self) -> bool:
        """Whether the address names exactly one instance."""
        return bool(self.name) and not any(character in self.name for character in _WILDCARDS)

    @property
    def client(self) -> str:
        """The name of the client program: ``incus`` or ``lxc``."""
        return "lxc" if self.family == "lxd" else "incus"

    @property
    def shown(self) -> str:
        """The address as the user types it, without the project."""
        remote = "" if self.remote == LOCAL else f"{self.remote}:"
        return f"{self.family}:{remote}{self.name}"

    def of(self, name: str, project: str) -> Address:
        """Return the address of one instance."""
        return self._replace(name=name, project=project, all_projects=False)

    def query(self, **parameters: str) -> str:
        """Return a query string with the project. The daemon reads an empty project as ``default``."""
        given = {**({"project": self.project} if self.project else {}), **parameters}
        return "?" + "&".join(f"{key}={escaped(value)}" for key, value in given.items()) if given else ""


def escaped(text: str) -> str:
    """Escape a name or path for a URL. Characters that UTF-8 can't encode become question marks."""
    from urllib.parse import quote

    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "replace")
    return quote(data, safe="")


def is_live(src: str) -> bool:
    """Return whether SRC names running instances. An existing path always means a local file."""
    family, colon, rest = src.partition(":")
    return bool(colon) and family in FAMILIES and not rest.startswith(_IMAGE) and not os.path.lexists(src)


def parse_address(src: str, project: str | None = None, *, all_projects: bool = False) -> Address:
    """Parse SRC. Raises UsageError if it is invalid."""
    family, _, rest = src.partition(":")
    remote, colon, name = rest.rpartition(":")
    if colon and (not remote or ":" in remote):
        raise UsageError(f"'{printable(src)}' is not {family}:[REMOTE:]NAME")
    if all_projects and project is not None:
        raise UsageError("--project and --all-projects can't be combined")
    if project == "":
        raise UsageError("--project needs the name of a project")
    address = Address(family, remote or LOCAL, name, project or "", all_projects)
    if "/" in name:
        instance, _, snapshot = name.partition("/")
        raise UsageError(
            f"'{printable(src)}' is a snapshot: the API does not provide the templates of snapshots",
            hint=f"copy the snapshot first: {address.client} copy"
            f" {printable(instance)}/{printable(snapshot)} NEW",
        )
    problem = daemon_name_problem(name) if address.is_one else ""
    if problem:
        raise UsageError(f"invalid instance name '{printable(name)}': {problem}")
    return address
