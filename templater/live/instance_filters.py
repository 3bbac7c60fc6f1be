"""Lists of instances, chosen by name patterns and by KEY=VALUE filters as in `incus list`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ..model.errors import UsageError
from ..model.unprintable_characters import printable
from .address import Address
from .connect import Daemon
from .live_instance import profile_names

#: fields of an instance that a filter can name; each other key with a dot is a configuration key
_FIELDS = (
    "architecture",
    "description",
    "ephemeral",
    "location",
    "name",
    "profile",
    "project",
    "status",
    "type",
)
_TYPES = {"vm": "virtual-machine"}

#: a function that tells whether an instance is chosen
Filter = Callable[[Mapping[str, Any]], bool]


def parse_filters(address: Address, words: tuple[str, ...]) -> Filter:
    """Return a function that tells whether an instance matches ``words`` and the pattern in ``address.name``.

    A word is a KEY=VALUE filter or a name pattern. An instance must match all filters and one of the
    patterns. Raises UsageError for an invalid word.
    """
    patterns = [word for word in words if "=" not in word]
    for pattern in patterns:
        if "/" in pattern:
            raise UsageError(
                f"'{printable(pattern)}' is not a name pattern",
                hint="omit the directory: a running instance is compared with its own files",
            )
    pairs = [_pair(word) for word in words if "=" in word]

    def is_chosen(data: Mapping[str, Any]) -> bool:
        name = str(data.get("name"))
        if address.name and not fnmatchcase(name, address.name):
            return False
        if patterns and not any(fnmatchcase(name, pattern) for pattern in patterns):
            return False
        return all(_matches(data, key, value) for key, value in pairs)

    return is_chosen


def list_instances(daemon: Daemon, is_chosen: Filter) -> list[tuple[Address, Mapping[str, Any]]]:
    """Return the address and the description of each chosen instance, sorted by project and name."""
    address = daemon.address
    parameters = {"recursion": "1", **({"all-projects": "true"} if address.all_projects else {})}
    found = daemon.client.items(f"/1.0/instances{address.query(**parameters)}", "instance")
    chosen = [
        (_address_of(address, data), data) for data in found if isinstance(data, dict) and is_chosen(data)
    ]
    return sorted(chosen, key=lambda each: (each[0].project, each[0].name))


def _address_of(address: Address, data: Mapping[str, Any]) -> Address:
    project = str(data.get("project") or "") if address.all_projects else address.project
    return address.of(str(data.get("name")), project)


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    if key not in _FIELDS and "." not in key:
        raise UsageError(
            f"unknown key '{printable(key)}' in a KEY=VALUE filter",
            hint=f"known keys: {', '.join(_FIELDS)}, and configuration keys such as user.role",
        )
    return key, value


def _matches(data: Mapping[str, Any], key: str, value: str) -> bool:
    if key in _FIELDS:
        value = _TYPES.get(value, value) if key == "type" else value
        return any(fnmatchcase(text.lower(), value.lower()) for text in _texts(data, key))
    config = data.get("expanded_config")
    found = config.get(key, "") if isinstance(config, dict) else ""
    return fnmatchcase(str(found), value)


def _texts(data: Mapping[str, Any], key: str) -> Iterator[str]:
    if key == "profile":
        yield from profile_names(data)
    elif key == "ephemeral":
        yield str(bool(data.get(key))).lower()
    else:
        yield str(data.get(key) or "")
