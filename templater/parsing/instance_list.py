"""A reader for lists of instances, such as the output of ``incus list -f json``.

The reader keeps only one instance in memory, so a list can have any length.
"""

from collections.abc import Iterator
from typing import Any

from ..model.errors import InputError
from ..model.instance import CONTAINER, VIRTUAL_MACHINE, Instance
from ..model.instance_name import require_name
from ..model.source import Source
from .instance_description import KNOWN_KEYS, LIMITS, described, read_instances
from .json_stream import JsonStream, Read


def stream_instances(read: Read, file: str) -> Iterator[Instance]:
    """Yield each instance of a list, or the single instance of a description.

    The string ``file`` is the name in messages. Raises InputError for a damaged list or a missing name,
    RefusedError for an invalid name, and LimitError for too large an instance.
    """
    text = JsonStream(read, file)
    if text.next_character() == "[":
        for number, value in enumerate(text.elements()):
            instance = _printed_by_daemon(value)
            if instance is None:
                instance = described(value, f"{file}[{number}]")
                if not instance.name:
                    raise InputError(f"instance {number} of {file} has no name")
                require_name(instance.name)
            yield instance
        return
    source = Source(file, text.rest(LIMITS.bytes))
    if not source.text.strip():
        raise InputError(f"{file} is empty", hint="`incus list -f json` prints a list of instances")
    for instance in read_instances(source):
        require_name(instance.name)
        yield instance


def _printed_by_daemon(value: Any) -> Instance | None:
    """Return the instance, or None if its description does not have exactly the form that daemons print.

    This function is four times as fast as ``described``.
    """
    if type(value) is not dict or not value.keys() <= KNOWN_KEYS or "privileged" in value:
        return None
    profiles = value.get("profiles")
    if not profiles or type(profiles) is not list or not _all_text(profiles):
        return None
    if "expanded_config" not in value and "expanded_devices" not in value:
        return None
    kind, ephemeral = value.get("type"), value.get("ephemeral")
    name, architecture = value.get("name"), value.get("architecture")
    if (kind != CONTAINER and kind != VIRTUAL_MACHINE) or type(ephemeral) is not bool:
        return None
    layers = [value.get(key) for key in ("config", "devices", "expanded_config", "expanded_devices")]
    if not (_is_texts(layers[0]) and _is_texts(layers[2]) and all(map(_is_devices, layers[1::2]))):
        return None
    if type(name) is not str or not name or type(architecture) is not str:
        return None
    return Instance(
        name, kind, architecture or "x86_64", ephemeral, layers[2] or layers[0], layers[3] or layers[1],
        status=value["status"] if type(value.get("status")) is str else "", recorded="created_at" in value,
    )  # fmt: skip


def _all_text(values: Any) -> bool:
    return {str}.issuperset(map(type, values))


def _is_texts(value: Any) -> bool:
    return type(value) is dict and _all_text(value.values())


def _is_devices(value: Any) -> bool:
    return type(value) is dict and all(map(_is_texts, value.values()))
