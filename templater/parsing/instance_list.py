"""Lists of instances of any length, as ``incus list -f json`` prints them, read piece by piece."""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any, Final, Protocol

from ..model.errors import InputError, LimitError, TemplaterError
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
        yield instance_of(value, place, file)


def instance_of(value: Any, place: int, file: str) -> Instance:
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


def stream_values(read: Read, file: str, after: int = 0) -> Iterator[Value]:
    """The elements of a JSON array with their numbers, as ``instance_of`` takes them.

    With ``after``, so many were read before, and what comes stands behind their last comma.
    """
    text = _Text(read, file, "utf-8" if after else "utf-8-sig")
    number = after
    if not after:
        if text.next_character() != "[":
            raise InputError(f"{file} is not a list of instances", hint="`incus list -f json` prints one")
        text.skip(1)
    while number == after > 0 or text.next_character() != "]":
        if number > after:
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

    def __init__(self, read: Read, file: str, encoding: str) -> None:
        self.read = read
        self.file = file
        self.decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
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


# ---------------------------------------------------------------------------------------------
# Cut into blocks of whole elements, to be read by several


class Cuttable(Protocol):
    """The rest of a list, of which blocks are taken. A block may be a name of bytes: ``data_of`` has them."""

    def has(self, size: int) -> bool: ...
    def window(self, start: int, stop: int) -> bytes: ...
    def take(self, size: int | None = None) -> bytes: ...
    def give_back(self, blocks: Sequence[bytes]) -> None: ...
    def data_of(self, block: bytes) -> bytes: ...
    def read(self, size: int) -> bytes: ...


class Held:
    """Bytes as they come, some of them held to be looked at before they are taken."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._data = b""
        self._ended = False

    def has(self, size: int) -> bool:
        parts, held = [self._data], len(self._data)
        while held < size and not self._ended:
            parts.append(self._read(max(size - held, 1 << 16)))
            held += len(parts[-1])
            self._ended = not parts[-1]
        self._data = b"".join(parts)
        return held >= size

    def window(self, start: int, stop: int) -> bytes:
        self.has(stop)
        return self._data[start:stop]

    def take(self, size: int | None = None) -> bytes:
        if size is None:
            size = len(self._data)
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def give_back(self, blocks: Sequence[bytes]) -> None:
        self._data = b"".join([*blocks, self._data])

    def data_of(self, block: bytes) -> bytes:
        return block

    def read(self, size: int) -> bytes:
        return self.take(size) if self._data else self._read(size)


class Blocks:
    """A JSON list cut behind the commas between its elements; what was cut adds up to the list.

    Only decoding can tell where an element ends, and decoding is half of the work. So the first cut
    is found by decoding, and the next ones where the same few bytes around a comma are seen again.
    Such a guess can't do harm: a block that decodes as a list began and ended at the right places,
    and of one that doesn't ``values_of`` says so. Then ``give_back`` it, and ``decode`` henceforth.
    """

    def __init__(self, source: Cuttable) -> None:
        self.source = source
        self.decode = False
        self._seam = b""
        #: where in the seam the comma ends
        self._comma = 0

    def begin(self) -> bytes:
        """Go behind the bracket; nothing where there is none."""
        data = self.source.window(0, 1 << 12)
        head = data.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
        return self.source.take(len(data) - len(head) + 1) if head.startswith(b"[") else b""

    def next(self, size: int) -> tuple[bytes, bool] | None:
        """A block with its last comma, or all that is left and True; None where an element is too large."""
        while self.source.has(size):
            end = self._guess(size) or self._end(self.source.window(0, size))
            if end:
                return self.source.take(end), False
            if size > LARGEST_INSTANCE:
                return None
            size *= 2
        return self.source.take(), True

    def give_back(self, blocks: Sequence[bytes]) -> None:
        self.source.give_back(blocks)

    def _guess(self, size: int) -> int:
        if not self._seam or self.decode:
            return 0
        for start in (max(0, size - _TAIL), 0):
            found = self.source.window(start, size).rfind(self._seam)
            if found >= 0:
                return start + found + self._comma
        return 0

    def _end(self, data: bytes) -> int:
        """Where the last comma between elements ends, or 0."""
        end, comma = boundary(data)
        if comma:
            before = max(0, end - 8)
            key = _FIRST_KEY.match(data, comma)
            self._seam = data[before : key.end()] if key else b""
            self._comma = comma - before
        return comma


#: where a seam is looked for first
_TAIL = 1 << 14
_FIRST_KEY = re.compile(rb'\s*\{\s*"[^"\\]*"\s*:')


def boundary(data: bytes) -> tuple[int, int]:
    """Where the last element ends that has a comma behind it, and that comma; 0 where there is none."""
    text = data.decode("utf-8", "surrogateescape")
    end = comma = position = 0
    try:
        while True:
            _, stop = _DECODER.raw_decode(text, _after_blanks(text, position))
            position = _after_blanks(text, stop) + 1
            if text[position - 1 : position] != ",":
                break
            end, comma = stop, position
    except (json.JSONDecodeError, RecursionError):
        pass  # the end of what is there, or a mistake that whoever gets the rest will find
    if text.isascii():
        return end, comma
    return _size(text[:end]), _size(text[:comma])


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _after_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in _BLANKS:
        position += 1
    return position


_BLANKS = frozenset(_BLANK)


def values_of(block: bytes, last: bool) -> list[Any] | None:
    """The elements of a block; None where it is none, be it cut wrongly or not JSON at all.

    Only the ``last`` one brings the list's own bracket.
    """
    data = b"".join((b"[", block) if last else (b"[", block[:-1], b"]"))
    text = data.decode("utf-8", "surrogateescape")
    if has_surrogates(text):
        try:
            return [value for _, value in stream_values(BytesIO(data).read, "")] or None
        except TemplaterError:
            return None
    try:
        values, end = _DECODER.raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return values if values and _after_blanks(text, end) == len(text) else None
