"""A reader for JSON lists of any length. Only one element is in memory at a time."""

import codecs
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..model.errors import InputError, LimitError
from .instance_description import count_values, has_surrogates, whole
from .yaml_nodes import MIB, size_text

#: maximum number of characters in the buffer for one element of a list
LARGEST: Final = 16 * MIB
#: maximum number of values in the buffer; checked only if the buffer has more than 1 MiB
MOST_VALUES: Final = 2_000_000
#: a decoder that returns numbers and constants as texts
TEXTS: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)

#: the type of the ``read`` method of a binary file
Read = Callable[[int], bytes]

_CHUNK = 1 << 18
_BLANK = " \t\r\n"
_NUMBER = "-0123456789"
#: A number can continue in the next chunk: the buffer can end with "1e+", and the next chunk begin with "5".
#: So a number is complete only if at least this many characters follow the decoded part in the buffer.
_AFTER_NUMBER = 3


class JsonStream:
    """A buffer that reads a JSON text in chunks, on demand.

    In messages, ``file`` is the name of the text, and ``noun`` the name of an element.
    """

    def __init__(
        self, read: Read, file: str, noun: str = "instance", decoder: json.JSONDecoder = TEXTS
    ) -> None:
        self.read = read
        self.file = file
        self.noun = noun
        self.json = decoder
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text = ""
        self.position = 0
        self.ended = False
        self.has_surrogates = False

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the array at the current position.

        Raises InputError if the array is damaged or if more text follows it.
        """
        yield from self.items()
        if self.next_character():
            raise InputError(f"{self.file} has more text after its list of {self.noun}s")

    def items(self) -> Iterator[Any]:
        """Yield the elements of the array at the current position. Raises InputError if it is damaged."""
        self.position += 1
        number = 0
        while self.next_character() != "]":
            if number:
                if self.next_character() != ",":
                    raise InputError(f"not JSON: ',' expected after {self.noun} {number - 1} of {self.file}")
                self.position += 1
            self.next_character()
            yield self.value(number)
            number += 1
        self.position += 1

    def member(self, name: str) -> bool:
        """Move to the value of the member ``name`` in the object at the current position.

        Return False if the object has no such member.
        """
        if self.next_character() != "{":
            raise InputError(f"{self.file} is not a JSON object")
        while True:
            self.position += 1
            if self.next_character() != '"':
                return False
            found = self.value(0)
            if self.next_character() != ":":
                return False
            self.position += 1
            self.next_character()
            if found == name:
                return True
            self.value(0)
            if self.next_character() != ",":
                return False

    def rest(self, limit: int) -> bytes:
        """Return all bytes from the current position. Raises LimitError if there are more than ``limit``."""
        parts = [self.text[self.position :].encode("utf-8", "surrogateescape")]
        size = len(parts[0])
        while size <= limit and (data := self.read(_CHUNK)):
            parts.append(data)
            size += len(data)
        if size > limit:
            raise LimitError(f"{self.file} is larger than {size_text(limit)}")
        # If a character was split between two chunks, the decoder still holds its first bytes.
        return b"".join([parts[0], self.decoder.getstate()[0], *parts[1:]])

    def more(self, size: int = _CHUNK) -> bool:
        """Read the next chunk, and drop the text before the current position.

        Return False at the end of the file.
        """
        if self.ended:
            return False
        data = self.read(size)
        self.ended = not data
        self.text = self.text[self.position :] + self.decoder.decode(data, self.ended)
        self.position = 0
        self.has_surrogates = has_surrogates(self.text)
        return True

    def next_character(self) -> str:
        """Skip blanks and return the next character, or an empty string at the end of the file."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in _BLANK:
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            if not self.more():
                return ""

    def value(self, number: int) -> Any:
        """Decode the JSON value at the current position, and move to the end of the value."""
        # If the buffer ends inside the value, double the buffer and decode again. With doubling, the total
        # work is linear.
        while True:
            try:
                value, end = self.json.raw_decode(self.text, self.position)
                is_number = self.text[self.position] in _NUMBER
                if is_number and len(self.text) - end < _AFTER_NUMBER and not self.ended:
                    raise json.JSONDecodeError("incomplete number", self.text, end)
                if self.has_surrogates and has_surrogates(self.text[self.position : end]):
                    value = whole(value)
            except json.JSONDecodeError as error:
                buffered = len(self.text) - self.position
                if buffered > LARGEST:
                    message = f"{self.noun} {number} of {self.file} is larger than {size_text(LARGEST)}"
                    raise LimitError(message) from None
                if not self.more(max(buffered, _CHUNK)):
                    raise InputError(
                        f"not JSON: {self.noun} {number} of {self.file}: {error.msg.lower()}"
                    ) from None
                if len(self.text) > MIB and count_values(self.text) > MOST_VALUES:
                    raise LimitError(
                        f"{self.noun} {number} of {self.file} has more than {MOST_VALUES} values"
                    ) from None
            except ValueError:  # Python converts at most 4,300 digits
                raise InputError(
                    f"{self.noun} {number} of {self.file} has a number that is too long"
                ) from None
            except RecursionError:
                raise LimitError(f"{self.noun} {number} of {self.file} is nested too deeply") from None
            else:
                self.position = end
                return value
