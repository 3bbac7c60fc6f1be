"""Lists of instances of any length, as ``incus list -f json`` prints them, read piece by piece."""

import codecs
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..model.errors import InputError, LimitError
from ..model.instance import CONTAINER, VIRTUAL_MACHINE, Instance
from .instance_yaml import KNOWN_KEYS, described, has_surrogates, whole
from .yaml_nodes import MIB, size_text

#: What one instance of a list may take.
LARGEST_INSTANCE: Final = 16 * MIB

Read = Callable[[int], bytes]
#: where an element stands in its list, and what it is
Value = tuple[int, Any]

_CHUNK = 1 << 18
_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def stream_instances(read: Read, file: str) -> Iterator[Instance]:
    """Instance by instance out of a list of any length, as it is read.

    ``read`` is a binary file's. No more than the largest instance is held, and that is limited.
    """
    for place, value in stream_values(read, file):
        yield to_instance(value, place, file)


def to_instance(value: Any, place: int, file: str) -> Instance:
    """The instance that an element of a list describes."""
    instance = _listed(value) or described(value, f"{file}[{place}]")
    if not instance.name:
        raise InputError(f"instance {place} of {file} has no name")
    return instance


def _listed(value: Any) -> Instance | None:
    """What the daemons print for an instance with profiles; None where anything is otherwise.

    It takes a quarter of the time of the closer look, and there may be thousands.
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
    if type(name) is not str or type(architecture) is not str:
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


def stream_values(read: Read, file: str) -> Iterator[Value]:
    """Yield the elements of a JSON array with their numbers, as ``to_instance`` takes them."""
    text = _Text(read, file)
    if text.next_character() != "[":
        raise InputError(f"{file} is not a list of instances", hint="`incus list -f json` prints one")
    text.skip(1)
    number = 0
    while text.next_character() != "]":
        if number:
            if text.next_character() != ",":
                raise InputError(f"not JSON: ',' expected after instance {number - 1} of {file}")
            text.skip(1)
        text.next_character()
        yield number, text.value(number)
        number += 1
    text.skip(1)
    if text.next_character():
        raise InputError(f"{file} goes on after its list of instances")


class _Text:
    """A window on a text that is read as it is needed."""

    def __init__(self, read: Read, file: str) -> None:
        self.read = read
        self.file = file
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.window = ""
        self.position = 0
        self.ended = False
        self.has_surrogates = False

    def more(self, size: int = _CHUNK) -> bool:
        """False at the end of the text; what lies behind the position is given up."""
        if self.ended:
            return False
        data = self.read(size)
        self.ended = not data
        self.window = self.window[self.position :] + self.decoder.decode(data, self.ended)
        self.position = 0
        self.has_surrogates = has_surrogates(self.window)
        return True

    def next_character(self) -> str:
        """The next one that is no blank, or nothing at the end."""
        while True:
            while self.position < len(self.window) and self.window[self.position] in _BLANK:
                self.position += 1
            if self.position < len(self.window):
                return self.window[self.position]
            if not self.more():
                return ""

    def skip(self, count: int) -> None:
        self.position += count

    def value(self, number: int) -> Any:
        """One JSON value. If it does not end in the window, twice as much is tried, so that the work
        stays in proportion to the text."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.window, self.position)
                if self.has_surrogates and has_surrogates(self.window[self.position : end]):
                    value = whole(value)
            except json.JSONDecodeError as error:
                held = len(self.window) - self.position
                if held > LARGEST_INSTANCE:
                    message = f"instance {number} of {self.file} is larger than {size_text(LARGEST_INSTANCE)}"
                    raise LimitError(message) from None
                if not self.more(max(held, _CHUNK)):
                    raise InputError(
                        f"not JSON: instance {number} of {self.file}: {error.msg.lower()}"
                    ) from None
            except RecursionError:
                raise LimitError(f"instance {number} of {self.file} is nested too deep") from None
            else:
                self.position = end
                return value
