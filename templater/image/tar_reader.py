"""Tar archives as a stream of members, with a limit on every header.

This module does not parse archives with the standard library's ``tarfile``, for three reasons:

* ``tarfile`` reads an extended header of any size into memory.
* ``tarfile`` recurses from one extended header to the next.
* Before Python 3.11.13, ``tarfile`` loops on negative sizes.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SYMLINK
from ..model.errors import InputError, LimitError, RefusedError
from ..model.file_names import DISK, METADATA, ROOTFS
from ..model.unprintable_characters import printable
from ..parsing.file_kind import BLOCK, COMPRESSIONS, TAR, describe, hint_for, recognise
from ..rootfs.paths import NAME_MAX, PATH_MAX, encoded
from .decompress import ByteStream, open_stream
from .limits import DEFAULT, DIRECTORY_BYTES, INODE_BYTES, HeldBytes, Limits
from .tar_header_fields import Header, has_pax_format, read_number

HARD_LINK = "hard link"

_KINDS = {
    tarfile.REGTYPE: FILE,
    tarfile.AREGTYPE: FILE,
    tarfile.CONTTYPE: FILE,
    tarfile.GNUTYPE_SPARSE: FILE,
    tarfile.LNKTYPE: HARD_LINK,
    tarfile.SYMTYPE: SYMLINK,
    tarfile.CHRTYPE: CHAR_DEVICE,
    tarfile.BLKTYPE: BLOCK_DEVICE,
    tarfile.DIRTYPE: DIRECTORY,
    tarfile.FIFOTYPE: FIFO,
}
_XATTR = "SCHILY.xattr."
#: the types of extended headers. Solaris' type X is refused, because GNU tar reads it and Go does not.
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
#: pax records that set the name of a member or of its target
_NAMES = ("path", "linkpath", "GNU.sparse.name")
#: pax records of a sparse file; GNU tar applies some of these records to any member
_SPARSE = "GNU.sparse."
#: the records of each piece in the sparse format 0.0
_PIECE = ("GNU.sparse.offset", "GNU.sparse.numbytes")
#: The records of a sparse file, besides its name, that GNU tar and Go read in the same way. GNU tar ignores
#: a map before ``numblocks``. In the format 0.0, ``offset`` represents the records of all pieces.
_SPARSE_0 = (
    ["GNU.sparse.size", "GNU.sparse.numblocks", "GNU.sparse.offset"],
    ["GNU.sparse.size", "GNU.sparse.numblocks", "GNU.sparse.map"],
)
_SPARSE_1 = ["GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.realsize"]
#: pax records that change how a member is read, but only in some tools
_UNKNOWN_TO_SOME = ("GNU.", "SCHILY.realsize", "SCHILY.offset")
#: pax records about an archive in several parts
_VOLUME = "GNU.volume."
#: The pax records with numbers. GNU tar and Go parse such a record even if a later header overrides it.
_NUMBERS = ("uid", "gid", "size")
#: the global pax records, which apply to every later member; ``git archive`` writes only a comment
_INHERITED = ("uid", "gid", "mtime")
#: records that a global header must not have: they would set the name, data or attributes of every member
_NEVER_GLOBAL = (
    "path", "linkpath", "size",
    "GNU.sparse.", "SCHILY.xattr.", "SCHILY.acl.", "LIBARCHIVE.xattr.", "RHT.security.",
)  # fmt: skip
_MAX_GLOBAL_RECORDS = 100
#: The names that the daemons look for in an archive. Go returns a global header as if it were a member, with
#: the name in the header.
_LOOKED_FOR = (METADATA, ROOTFS, DISK)
#: the characters before the number in sqfs2tar's names of extended headers, such as pax/xattr7 and gnu/name7
_BEFORE_NUMBER = "abcdefghijklmnopqrstuvwxyz/"
#: the pax records with times. GNU tar and Go read them, and refuse the archive if one of them is malformed.
_TIMES = ("mtime", "atime", "ctime")
#: The grammar of times that GNU tar and Go accept; the group is the number of seconds.
_TIME = re.compile(rb"(-?[0-9]{1,19})(?:\.[0-9]*)?")
#: the number of characters that are parsed in a time: enough for all seconds and nanoseconds
_TIME_LENGTH = 40
#: maximum uid or gid: the range of ids in Linux and in GNU tar
_MAX_ID = 2**32 - 1
#: the offset and length of a piece of data in a sparse file
Piece: TypeAlias = tuple[int, int]
#: Linux limits: XATTR_NAME_MAX and XATTR_SIZE_MAX
_MAX_XATTR_NAME = 255
_MAX_XATTR_VALUE = 65536


@dataclass(slots=True)
class Member:
    """An archive member, with ids and names as in the archive. ``size`` is the file's size with its holes."""

    name: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: float = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    #: each piece of data in a sparse file; None for an ordinary file
    sparse: tuple[Piece, ...] | None = None
    #: bytes of data stored in the archive
    stored: int = 0

    @property
    def disk_size(self) -> int:
        """The number of bytes that ``DiskBudget`` counts for this member when it is unpacked.

        Each piece of a sparse file occupies at least a block of the file system.
        """
        pieces = INODE_BYTES * len(self.sparse or ())
        return (DIRECTORY_BYTES if self.kind == DIRECTORY else INODE_BYTES) + self.stored + pieces


class Archive:
    """The members of a tar archive, in order. A member's data is readable until the next member is read.

    * ``encodes``: whether the writer encodes the names of extended attributes, as GNU tar does
    * ``skipped``: the numbers of members that sqfs2tar omits, except for their extended headers
    """

    def __init__(self, stream: ByteStream, *, encodes: bool = True, skipped: Collection[int] = ()) -> None:
        self.stream = stream
        self._encodes = encodes
        self._skipped = skipped
        self.limits: Limits = stream.limits
        self.count = 0
        #: the unparsed header blocks of the current member, for copying the member unchanged
        self.header = bytearray()
        #: the records of global headers that the current member and all later members inherit
        self.inherited: dict[str, bytes] = {}
        self._global_size = 0  # the size of the global headers at the start of ``header``
        #: set by ``finish``: position of the first nonzero byte after the end mark, or None
        self.trailing_position: int | None = None
        #: set by ``finish``: whether a second archive begins at ``trailing_position``
        self.trailing_archive = False
        self._left = 0
        self._padding = 0
        self._ended = False
        self._global_records = 0
        self._extended_headers = HeldBytes(stream.path, stream.limits)
        head = stream.peek(BLOCK)
        kind = recognise(head)
        if kind != TAR:
            problem = f"the decompressed file {describe(kind)}" if head else "the decompressed file is empty"
            if stream.compression == TAR:
                problem = f"it {describe(kind)}" if head else "it is empty"
            raise InputError(f"'{stream.path}' is not a tar archive: {problem}", hint=hint_for(kind))

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            self.count += 1
            if self.count > self.limits.members:
                raise LimitError(
                    f"'{self.stream.path}' has more than {self.limits.members} members",
                    hint="if you trust the image, raise the limit: --limit members=…",
                )
            yield member

    def read(self, member: Member, limit: int) -> bytes:
        """Return all data of the current member, including holes. Raise LimitError above ``limit`` bytes."""
        if member.size > limit or member.stored > limit:
            size = max(member.size, member.stored)
            raise LimitError(f"'{printable(member.name)}' has {size} bytes, more than the limit of {limit}")
        if member.sparse is None:
            return self._take(self._left)
        data = bytearray(member.size)
        for offset, length in member.sparse:
            data[offset : offset + length] = self._take(length)
        return bytes(data)

    def head(self, member: Member, size: int) -> bytes:
        """Return up to ``size`` bytes from the start of the current member, including holes."""
        data = bytearray(min(size, member.size))
        for offset, piece in self.chunks(member, size):
            if offset >= len(data):
                break
            data[offset : offset + len(piece)] = piece[: len(data) - offset]
        return bytes(data)

    def chunks(self, member: Member, size: int = 1024 * 1024) -> Iterator[tuple[int, bytes]]:
        """Yield the current member's data in pieces with their offsets in the file, skipping holes."""
        for offset, length in member.sparse if member.sparse is not None else ((0, member.stored),):
            end = offset + length
            while offset < end:
                data = self._take(min(size, end - offset))
                yield offset, data
                offset += len(data)

    @property
    def global_headers(self) -> bytes:
        """The unparsed global headers before the current member."""
        return bytes(self.header[: self._global_size])

    def raw(self, size: int = 1024 * 1024) -> Iterator[bytes]:
        """Yield the bytes of the current member as stored: its headers, then its data and padding."""
        yield bytes(self.header)
        while self._left + self._padding:
            data = self.stream.read(min(size, self._left + self._padding))
            if not data:
                raise self._cut_short("the data ends inside a member")
            self._left, rest = max(0, self._left - len(data)), max(0, len(data) - self._left)
            self._padding -= rest
            yield data

    def finish(self) -> None:
        """Read the file to its end, to check the archive's end mark and all checksums.

        Set ``trailing_position`` to the position of data after the end mark, which tools ignore. Raises
        InputError if the end mark is missing, although GNU tar and Go accept such an archive.
        """
        if not self._ended:
            raise self._cut_short("the data ends before the end mark")
        self.trailing_position = self.stream.skip_zeros()
        if self.trailing_position is not None:
            block = self.stream.read(BLOCK)
            self.trailing_archive = recognise(block) in (TAR, *COMPRESSIONS)
            while self.stream.skip(1 << 30):
                pass

    def _take(self, size: int) -> bytes:
        data = self.stream.read(size)
        if len(data) < size:
            raise self._cut_short("the data ends inside a member")
        self._left -= size
        return data

    def _next(self) -> Member | None:
        self._finish_member()
        self.header.clear()
        self._global_size = 0
        own: dict[str, bytes] = {}
        seen = b""  # the types of the extended headers so far; each type is allowed once
        while True:
            block = self._header_block()
            if block is None:
                if own:
                    raise self._cut_short("the data ends after an extended header")
                return None
            info = self._parse(block)
            if info.type not in _EXTENDED:
                return self._member(info, block, {**self.inherited, **own} if self.inherited else own)
            if info.type == tarfile.XGLTYPE:
                if seen:
                    raise self._ambiguous("a global header between a member and its extended header")
                top = info.name.removeprefix("./").partition("/")[0]
                if top in _LOOKED_FOR:
                    raise self._ambiguous(f"a global header with the name '{top}'")
                self._add_global(self._records(info.size))
                self._global_size = len(self.header)
                continue
            if info.type == tarfile.XHDTYPE:
                records = self._records(info.size)
            else:
                key = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                records = {key: self._long_name(info.size)}
            if self._skipped and self._is_skipped(info.name):
                self.header.clear()
                continue
            if info.type in seen or not own.keys().isdisjoint(records):
                raise self._ambiguous("two extended headers that set the same field")
            if b"" in (records.get(key) for key in _NAMES):
                raise self._ambiguous("an extended header with an empty name")
            seen += info.type
            own.update(records)

    def _is_skipped(self, name: str) -> bool:
        """Return whether sqfs2tar skips the member of an extended header. ``name`` is the header's name."""
        number = name.lstrip(_BEFORE_NUMBER)
        if not number.isdecimal():
            raise self._ambiguous("an extended header without the number of its member")
        return int(number) in self._skipped

    def _ambiguous(self, what: str) -> RefusedError:
        """Return the error for an archive in which GNU tar and Go read different members."""
        return RefusedError(
            f"'{self.stream.path}' has {what}: tools read different members from it",
            hint="pack the image again",
        )

    def _add_global(self, records: dict[str, bytes]) -> None:
        """Store the records of a global header, which later members inherit. Refuse forbidden records."""
        self._global_records += max(1, len(records))  # an empty header takes as long to read
        if self._global_records > _MAX_GLOBAL_RECORDS:
            raise RefusedError(
                f"'{self.stream.path}' has more than {_MAX_GLOBAL_RECORDS} records in its global headers"
            )
        for name in self.inherited:
            if name not in records:  # GNU tar then forgets the earlier record, but other tools keep it
                raise self._ambiguous(f"a global header that does not repeat the earlier record '{name}'")
        for name, value in records.items():
            if name.startswith(_NEVER_GLOBAL):
                record = printable(name[:100])
                raise RefusedError(
                    f"'{self.stream.path}' has a global header that sets '{record}' for every member",
                    hint="pack the image again",
                )
            if name in _INHERITED:
                self.inherited[name] = value

    def _finish_member(self) -> None:
        skip = self._left + self._padding
        if skip and self.stream.skip(skip) < skip:
            raise self._cut_short("the data ends inside a member")
        self._left = self._padding = 0

    def _header_block(self) -> bytes | None:
        block = self._header_bytes(BLOCK)
        if len(block) == BLOCK:
            if any(block):
                return block
            self._ended = True
            self._check_end()
            return None
        if not block:
            return None  # finish() reports the missing end mark
        raise self._cut_short("the data ends inside a header")

    def _check_end(self) -> None:
        """Check the bytes after the first block of zeros, at which GNU tar ends an archive.

        Go requires a second block of zeros, or the end of the file.
        """
        second = self.stream.peek(BLOCK)
        if any(second):
            raise self._ambiguous("an end mark of only one block, before other data")
        if 0 < len(second) < BLOCK:
            raise self._cut_short("the data ends inside the end mark")

    def _cut_short(self, why: str) -> InputError:
        return InputError(
            f"'{self.stream.path}' is cut short: {why}, at byte {self.stream.position} of the archive",
            hint="copy or download the file again",
        )

    def _parse(self, block: bytes) -> Header:
        try:
            info = Header(block)
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if info.size < 0:
            raise self._damaged("a member has a negative size")
        return info

    def _damaged(self, why: str) -> InputError:
        place = max(0, self.stream.position - BLOCK)
        return InputError(f"'{self.stream.path}' is damaged: {why}, at byte {place} of the archive")

    def _out_of_range(self) -> InputError:
        return self._damaged("the uid, gid or time of a member is outside the range of Linux")

    def _extended(self, size: int) -> bytes:
        if size > self.limits.header_bytes:
            raise LimitError(
                f"'{self.stream.path}' has an extended header of {size} bytes, "
                f"more than the limit of {self.limits.header_bytes}"
            )
        padded = size + -size % BLOCK
        self._extended_headers.add(BLOCK + padded)
        data = self._header_bytes(padded)
        if len(data) < padded:
            raise self._cut_short("the data ends inside an extended header")
        return data[:size]

    def _long_name(self, size: int) -> bytes:
        """Read a GNU long name. Refuse a name that GNU tar and Go read differently.

        GNU tar reads up to a zero byte, and Go reads at most ``size`` bytes.
        """
        self._extended(size)
        padded = bytes(self.header[-(size + -size % BLOCK) :]) if size else b""
        name = padded.partition(b"\0")[0]
        if len(name) > size or padded[len(name) :].strip(b"\0"):
            raise self._ambiguous("a long name with text after its end")
        return name

    def _header_bytes(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.header += data
        return data

    def _records(self, size: int) -> dict[str, bytes]:
        """Parse pax records: "LENGTH KEY=VALUE" and a newline. The length counts the whole record."""
        data = self._extended(size)
        records: dict[str, bytes] = {}
        pieces: list[bytes] = []
        at = 0
        while at < len(data):  # also for NUL, at which GNU tar stops, and which Go refuses
            blank = data.find(b" ", at, at + 12)
            digits = data[at:blank] if blank > 0 else b""
            end = at + int(digits) if digits.isdigit() else 0
            key, equals, value = data[blank + 1 : end - 1].partition(b"=")
            if end <= blank + 1 or end > len(data) or not equals or data[end - 1] != 0x0A:
                raise self._damaged("a pax header has a malformed record")
            name = key.decode("utf-8", "surrogateescape")
            if name.startswith((" ", "\t")):
                raise self._ambiguous("a pax record with a blank before its name")  # GNU tar skips this blank
            if name in _PIECE:
                if name != _PIECE[len(pieces) % 2] or not value.isdigit():
                    raise self._ambiguous("a sparse file with misplaced records")
                pieces.append(value)
                name = _PIECE[0]
            elif name in records:  # in a global header, GNU tar uses the first record
                raise self._ambiguous(f"an extended header that repeats the record '{printable(name[:100])}'")
            records[name] = value
            at = end
            if name.startswith(_VOLUME):  # GNU tar refuses some values, even in a global header
                raise self._ambiguous(f"an extended header with the record '{printable(name[:100])}'")
        if pieces:
            records[_PIECE[0]] = b",".join(pieces)
        for number in _NUMBERS:
            if self._number(records, number, 0) > _MAX_ID and number != "size":
                raise self._out_of_range()
        for time in _TIMES:
            if time in records:
                match = _TIME.fullmatch(records[time])
                if match is None or not _is_time(int(match[1])):
                    raise self._damaged(f"the pax record '{time}' is not a time")
        return records

    def _member(self, info: Header, block: bytes, pax: dict[str, bytes]) -> Member:
        kind = _KINDS.get(info.type)
        if kind is None:
            raise RefusedError(
                f"'{self.stream.path}': '{printable(info.name)}' is a member of unknown type {info.type!r}"
            )
        if kind == DIRECTORY and block[156:157] == tarfile.AREGTYPE and "path" in pax:
            # In the old format, a final slash marks a directory. GNU tar and Go look for it in the pax name.
            raise self._ambiguous("an extended header before a directory in the old tar format")
        # GNU tar also reads the numbers that pax records replace.
        if not (0 <= info.uid <= _MAX_ID and 0 <= info.gid <= _MAX_ID and _is_time(info.mtime)):
            raise self._out_of_range()
        member = Member(
            name=_text(pax, "path", info.name),
            kind=kind,
            mode=info.mode & 0o7777,
            uid=self._number(pax, "uid", info.uid),
            gid=self._number(pax, "gid", info.gid),
            mtime=self._time(pax, info.mtime),
            target=_text(pax, "linkpath", info.linkname) if kind in (SYMLINK, HARD_LINK) else "",
            device=info.device if kind in (CHAR_DEVICE, BLOCK_DEVICE) else (0, 0),
        )
        if pax:
            member.xattrs = {
                decoded_attribute(key[len(_XATTR) :]) if self._encodes else key[len(_XATTR) :]: value
                for key, value in pax.items()
                if key.startswith(_XATTR)
            }
            for name in pax:
                if name.startswith(_UNKNOWN_TO_SOME) and (not name.startswith(_SPARSE) or kind != FILE):
                    raise self._ambiguous(f"a header with the record '{printable(name[:100])}' for a {kind}")
        # Only regular files may have data, because tools disagree about data of links and directories.
        # GNU tar would skip such data, but Go would parse the data as headers and find other members.
        stored = self._number(pax, "size", info.size)
        if kind != FILE:
            if stored:
                raise self._damaged(f"a {kind} has data")
            return self._checked(member)
        member.size = member.stored = stored
        self._left, self._padding = stored, -stored % BLOCK
        self._find_holes(member, info, block, pax)
        if member.name.endswith("/"):  # GNU tar makes a directory, and reads the file's data as headers
            raise self._ambiguous("a file whose name ends in '/'")
        return self._checked(member)

    def _checked(self, member: Member) -> Member:
        if member.kind != DIRECTORY and member.name.rstrip("/").endswith("/."):
            raise self._ambiguous(f"a {member.kind} whose name ends in '/.'")
        if member.kind == HARD_LINK and member.target.endswith(("/", "/.")):
            raise self._ambiguous("a hard link whose target ends in '/' or '/.'")
        longest = self.limits.name_bytes
        if len(member.name) > longest or len(member.target) > longest:
            raise LimitError(
                f"'{self.stream.path}' has a member whose name or target exceeds {longest} characters"
            )
        if not member.name.isascii() or len(member.name) > NAME_MAX or len(member.target) > NAME_MAX:
            self._refuse_long(member)
        if "\0" in member.name or "\0" in member.target or any("\0" in name for name in member.xattrs):
            raise RefusedError(f"'{printable(member.name)}': a name contains a NUL byte")
        for name, value in member.xattrs.items():
            if len(name) > _MAX_XATTR_NAME or len(value) > _MAX_XATTR_VALUE:
                raise LimitError(
                    f"'{printable(member.name)}' has the extended attribute '{printable(name[:100])}' with a"
                    f" value of {len(value)} bytes: Linux allows {_MAX_XATTR_VALUE} bytes for a value,"
                    f" and {_MAX_XATTR_NAME} bytes for a name"
                )
        if member.uid > _MAX_ID or member.gid > _MAX_ID:
            raise self._out_of_range()
        if member.kind in (SYMLINK, HARD_LINK) and not member.target:
            raise RefusedError(f"'{printable(member.name)}' is a {member.kind} without a target")
        major, minor = member.device
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):  # the ranges of MAJOR() and MINOR() in Linux
            raise self._damaged("a device number is outside the range of Linux")
        return member

    def _number(self, pax: dict[str, bytes], key: str, otherwise: int) -> int:
        value = pax.get(key)
        if value is None:
            return otherwise
        if not value.isdigit() or len(value) > 20:
            raise self._damaged(f"the pax record '{key}' is not a number")
        return int(value)

    def _time(self, pax: dict[str, bytes], otherwise: int) -> float:
        text = pax.get("mtime")
        time = otherwise if text is None else float(text[:_TIME_LENGTH])
        return time if -1e11 < time < 1e11 else 0

    def _refuse_long(self, member: Member) -> None:
        """Refuse a name, or the target of a link, that Linux can't store."""
        for part in member.name.split("/"):
            if len(encoded(part)) > NAME_MAX:
                raise RefusedError(f"the name '{printable(part[:40])}…' is longer than {NAME_MAX} bytes")
        for path in (member.name, member.target):
            if len(encoded(path)) >= PATH_MAX:
                raise RefusedError(f"'{printable(path[:40])}…' is longer than {PATH_MAX - 1} bytes")

    def _find_holes(self, member: Member, info: Header, block: bytes, pax: dict[str, bytes]) -> None:
        records = [name for name in pax if name.startswith(_SPARSE)]
        if info.type == tarfile.GNUTYPE_SPARSE:
            if records:
                raise self._ambiguous("a sparse file that is described in two formats")
            pieces = self._old_sparse_map(block)
            member.size = self._header_number(block[483:495])
        elif not records:
            return
        elif not has_pax_format(block):
            raise self._ambiguous("a sparse file with pax records and a header that is not in pax format")
        else:
            pieces = self._pax_sparse_map(member, pax, [n for n in records if n != "GNU.sparse.name"])
            member.name = _text(pax, "GNU.sparse.name", member.name)
        self._check_map(member, pieces)
        member.sparse = tuple(piece for piece in pieces if piece[1])

    def _pax_sparse_map(self, member: Member, pax: dict[str, bytes], records: list[str]) -> list[Piece]:
        """Parse the map in the pax formats 0.0, 0.1 and 1.0, and set the member's size."""
        if records in _SPARSE_0:
            member.size = self._number(pax, "GNU.sparse.size", 0)
            pieces = self._pairs([self._decimal(digits) for digits in pax[records[-1]].split(b",")])
            if len(pieces) != self._number(pax, "GNU.sparse.numblocks", 0):
                raise self._damaged("a sparse file's map has the wrong number of entries")
            return pieces
        if sorted(records) == _SPARSE_1 and (pax[_SPARSE_1[0]], pax[_SPARSE_1[1]]) == (b"1", b"0"):
            member.size = self._number(pax, "GNU.sparse.realsize", 0)
            return self._sparse_map_before_data()
        raise self._ambiguous("a sparse file that is described in an unknown format")

    def _check_map(self, member: Member, pieces: list[Piece]) -> None:
        end = total = 0
        for offset, length in pieces:
            if offset < end:  # also an empty piece, at which GNU tar cuts the file
                raise self._damaged("a sparse file's map is out of order")
            if length and total % BLOCK:
                # GNU tar skips the rest of the block before the next piece, but Go does not.
                raise self._ambiguous("a sparse file with a data segment that ends inside a block")
            end = offset + length
            total += length
        if end > member.size or total != self._left:
            raise self._damaged("a sparse file's map does not match the file's size")
        if end < member.size:  # GNU tar's file ends with the last piece, but Go's has zeros up to its size
            raise self._ambiguous("a sparse file whose map ends before the end of the file")

    def _pairs(self, numbers: list[int]) -> list[Piece]:
        if len(numbers) % 2:
            raise self._damaged("a sparse file's map is malformed")
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _header_number(self, field: bytes) -> int:
        try:
            number = read_number(field)
        except ValueError:
            number = -1
        if number < 0:
            raise self._damaged("a sparse file's map is malformed")
        return number

    def _old_sparse_map(self, block: bytes) -> list[Piece]:
        """Parse the map of the old GNU format: four entries in the header, then blocks of 21 entries."""
        numbers: list[int] = []
        entries, more = block[386:482], block[482]
        while True:
            for at in range(0, len(entries), 24):
                entry = entries[at : at + 24]
                if not (entry[0] and entry[12]):
                    # GNU tar stops at an entry without a length, and Go at an entry without an offset.
                    if more or any(entries[at:]):
                        raise self._ambiguous("a sparse file with data after the end of its map")
                    break
                numbers.append(self._header_number(entry[:12]))
                numbers.append(self._header_number(entry[12:]))
            if not more:
                return self._pairs(numbers)
            if len(numbers) * 12 > self.limits.header_bytes:
                raise LimitError(f"'{self.stream.path}' has a sparse file whose map has too many entries")
            block = self._header_bytes(BLOCK)
            if len(block) < BLOCK:
                raise self._cut_short("the data ends inside a sparse file's map")
            entries, more = block[:504], block[504]

    def _sparse_map_before_data(self) -> list[Piece]:
        """Parse the map of pax format 1.0: one decimal number per line, padded to whole blocks."""
        text = bytearray()
        newlines, wanted = 0, 1
        while newlines < wanted:
            if len(text) + BLOCK > self.limits.header_bytes:
                raise LimitError(f"'{self.stream.path}' has a sparse file whose map has too many entries")
            if self._left < BLOCK:
                raise self._damaged("a sparse file's map is malformed")
            text += (block := self._take(BLOCK))
            self.header += block
            newlines = text.count(b"\n") if wanted == 1 else newlines + text.count(b"\n", len(text) - BLOCK)
            if wanted == 1 and newlines:
                wanted = 1 + 2 * self._decimal(bytes(text).partition(b"\n")[0])
        lines = bytes(text).split(b"\n")[1:wanted]
        return self._pairs([self._decimal(line) for line in lines])

    def _decimal(self, digits: bytes) -> int:
        if not digits.isdigit() or len(digits) > 20:
            raise self._damaged("a sparse file's map is malformed")
        return int(digits)


def open_archive(path: str, limits: Limits = DEFAULT) -> Archive:
    return Archive(open_stream(path, limits))


def _text(pax: dict[str, bytes], key: str, otherwise: str) -> str:
    value = pax.get(key)
    return otherwise if value is None else value.decode("utf-8", "surrogateescape")


def _is_time(seconds: int) -> bool:
    return -(2**63) <= seconds < 2**63


def decoded_attribute(name: str) -> str:
    """Decode an attribute name that GNU tar has encoded. A plain "=" would end the name of a pax record."""
    return name.replace("%3D", "=").replace("%25", "%")


def encoded_attribute(name: str) -> str:
    """Return the name of an extended attribute as GNU tar writes it."""
    return name.replace("%", "%25").replace("=", "%3D")
