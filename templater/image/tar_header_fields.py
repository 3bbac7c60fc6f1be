"""A strict parser of tar headers. GNU tar and Go's archive/tar read each accepted header in the same way.

The daemons use both programs. If the two read different members, an image could evade templater's checks.
"""

from __future__ import annotations

import tarfile
from zlib import adler32

_HALF = 256
_SPACES = 8 * ord(" ")
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE)
_LONG_TYPES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_USTAR = b"ustar\0"
_OLD_GNU = b"ustar  \0"
#: the end of a header in the format star of the program star, and the size of this format's prefix field
_STAR, _STAR_PREFIX = b"tar\0", 131
#: the device number fields of most members: two zeros
_NO_DEVICE = frozenset((bytes(16), b"0000000\0" * 2))
#: the prefix field of most members
_NO_PREFIX = bytes(155)


class Header:
    """The fields of a header. Undecodable bytes in names become surrogates (``surrogateescape``)."""

    __slots__ = ("device", "gid", "linkname", "mode", "mtime", "name", "size", "type", "uid")

    def __init__(self, block: bytes) -> None:
        """Parse a header block of 512 bytes. Raises ValueError if the header is invalid."""
        if read_number(block[148:156]) not in _checksums(block):
            raise ValueError("bad checksum")
        self.mode = read_number(block[100:108])
        self.uid = read_number(block[108:116])
        self.gid = read_number(block[116:124])
        self.size = read_number(block[124:136])
        self.mtime = read_number(block[136:148])
        self.type = block[156:157]
        self.linkname = _text(block[157:257])
        name = _text(block[:100])
        if self.type == tarfile.AREGTYPE and name.endswith("/"):  # old archives store directories in this way
            self.type = tarfile.DIRTYPE
        magic = block[257:265]
        has_prefix = block[345:500] != _NO_PREFIX
        if magic == _OLD_GNU:
            # In this format, the prefix field contains times. Go reads any other text in this field as a
            # prefix.
            if has_prefix:
                _read_unused_number(block[345:357])
                _read_unused_number(block[357:369])
            if has_prefix and block[369:500].strip(b"\0") and self.type != tarfile.GNUTYPE_SPARSE:
                raise ValueError("a header has unexpected text after its time fields")
        elif self.type == tarfile.GNUTYPE_SPARSE:
            raise ValueError("a sparse member's header is not in the format of GNU tar")
        else:
            if self.type == tarfile.DIRTYPE:
                name = name.rstrip("/")
            if has_prefix:
                if magic[:6] != _USTAR:
                    raise ValueError("a header has a name prefix, but its format has no prefixes")
                prefix = _prefix(block)
                if self.type not in _LONG_TYPES:
                    name = f"{_text(prefix)}/{name}"
        self.name = name
        self.device = (0, 0)
        if block[329:345] not in _NO_DEVICE:
            read = read_number if self.type in _DEVICES else _read_unused_number
            self.device = read(block[329:337]), read(block[337:345])


def has_pax_format(block: bytes) -> bool:
    """Return whether GNU tar applies sparse records to a header that ``Header`` has accepted."""
    # GNU tar ignores sparse records in the formats gnu and star. ``Header`` accepts no header in the format
    # star (see ``_prefix``).
    return block[257:263] == _USTAR


def _prefix(block: bytes) -> bytes:
    """Return the name prefix of a header. Raises ValueError if text follows the prefix."""
    size = _STAR_PREFIX if block[508:] == _STAR else len(_NO_PREFIX)
    prefix = block[345 : 345 + size].partition(b"\0")[0]
    # In the format star, two timestamps follow the prefix. Go and GNU tar detect this format in different
    # ways, and refuse some timestamps.
    if not prefix or block[345 + len(prefix) : 500].strip(b"\0"):
        raise ValueError("a header has text after its name prefix")
    return prefix


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _read_unused_number(field: bytes) -> int:
    """Parse a number field that only Go reads. As in Go, a field of blanks and zero bytes gives 0."""
    return read_number(field) if field.strip(b" \0") else 0


def read_number(field: bytes) -> int:
    """Parse a number field: octal digits, or base 256 as in GNU tar if the first byte says so.

    Raises ValueError if the field is invalid.
    """
    first, last = field[0], field[-1]
    if last in (0, 0x20) and field[:-1].isdigit():  # the common case
        return _octal(field[:-1])
    if first == 0o200:
        return int.from_bytes(field[1:], "big")
    if first == 0o377:
        return int.from_bytes(field[1:], "big") - (1 << 8 * (len(field) - 1))
    digits = field.rstrip(b"\0 ").lstrip(b" ")
    # GNU tar refuses a field of blanks, but accepts blanks before a zero byte. A zero byte at the start of
    # the field does not count.
    if not digits and b"\0" in field[1:]:
        return 0
    if not digits.isdigit():  # int() would also accept signs and underscores
        raise ValueError("invalid header")
    return _octal(digits)


def _octal(digits: bytes) -> int:
    try:
        return int(digits, 8)
    except ValueError:  # Python's own message does not name the header
        raise ValueError("invalid header") from None


def _checksums(block: bytes) -> tuple[int, int]:
    """Return the two valid checksums of a header: the sum of its unsigned bytes, and of its signed bytes.

    Old archives can have the sum of signed bytes.
    """
    # The lower half of adler32 is 1 plus the sum of up to 256 bytes. adler32 is ten times as fast as sum().
    both = (adler32(block[:_HALF]) & 0xFFFF) + (adler32(block[_HALF:]) & 0xFFFF) - 2
    field = block[148:156]
    unsigned = both - sum(field) + _SPACES
    if block.isascii():
        return unsigned, unsigned
    high = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in field)
    return unsigned, unsigned - 256 * high
