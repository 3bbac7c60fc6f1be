"""A reproducible writer of tar archives: equal members give equal bytes."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection, Iterable
from typing import Literal

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SYMLINK
from ..model.errors import InputError
from ..model.unprintable_characters import printable
from ..parsing.file_kind import BLOCK
from .limits import DEFAULT, too_many_pieces
from .tar_reader import HARD_LINK, Member, encoded_attribute

Format = Literal["pax", "gnu"]

_TYPES = {
    FILE: tarfile.REGTYPE,
    HARD_LINK: tarfile.LNKTYPE,
    SYMLINK: tarfile.SYMTYPE,
    CHAR_DEVICE: tarfile.CHRTYPE,
    BLOCK_DEVICE: tarfile.BLKTYPE,
    DIRECTORY: tarfile.DIRTYPE,
    FIFO: tarfile.FIFOTYPE,
}
_RECORD = 20 * BLOCK  # GNU tar pads archives to multiples of this size, and warns about other sizes
_PIECE = 256 * 1024
_ZEROS = bytes(_PIECE)
_OCTAL_ID = 0o7777777
_OCTAL_SIZE = 0o77777777777


class TarWriter:
    """A writer of members, in the order of the calls of ``add``.

    It passes the archive's bytes to the function ``write``. Like the reader, it refuses a sparse file whose
    map is longer than ``header_bytes``.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        format: Format = "pax",
        header_bytes: int = DEFAULT.header_bytes,
    ) -> None:
        self._write_out = write
        self._format = format
        self._header_bytes = header_bytes
        #: the fields ("uid", "gid", "mtime") that copied global headers set for members without such a record
        self.inherited: Collection[str] = ()
        self._pending: list[bytes] = []
        self._pending_size = 0
        self.position = 0

    def add(self, member: Member, data: Iterable[tuple[int, bytes]] = ()) -> None:
        """Write a member. ``data`` yields the pieces between holes, each with its offset.

        If the member is not ``sparse``, holes are written as zeros.
        """
        prefix = self._sparse_map(member) if member.sparse is not None and self._format == "pax" else b""
        header = self._pax_header(member, prefix) if self._format == "pax" else self._gnu_header(member)
        self._write(header)
        if member.kind != FILE:
            return
        self._write(prefix)
        written = 0
        for offset, piece in data:
            if member.sparse is None and offset > written:
                written += self._write_zeros(offset - written)
            self._write(piece)
            written += len(piece)
        written += self._write_zeros(stored_bytes(member) - written)
        self._write(bytes(-(len(prefix) + written) % BLOCK))

    def copy(self, raw: bytes) -> None:
        """Write blocks of another archive unchanged."""
        self._write(raw)

    def close(self) -> None:
        self._write(bytes(2 * BLOCK))
        self._write(bytes(-self.position % _RECORD))
        self._flush()

    def _write(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_size += len(data)
        self.position += len(data)
        if self._pending_size >= _PIECE:
            self._flush()

    def _write_zeros(self, size: int) -> int:
        for _ in range(size // _PIECE):
            self._write(_ZEROS)
        self._write(_ZEROS[: size % _PIECE])
        return size

    def _flush(self) -> None:
        pending, self._pending, self._pending_size = self._pending, [], 0
        self._write_out(b"".join(pending))

    def _info(self, member: Member, name: str, target: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name + "/" if member.kind == DIRECTORY else name)
        info.type = _TYPES[member.kind]
        info.mode = member.mode
        info.uid, info.gid = member.uid, member.gid
        info.mtime = int(member.mtime)
        info.linkname = target
        info.size = stored_bytes(member)
        info.devmajor, info.devminor = member.device
        return info

    def _gnu_header(self, member: Member) -> bytes:
        if member.xattrs:
            raise InputError(
                f"'{printable(member.name)}' has extended attributes, which the gnu format can't store",
                hint="use the pax format",
            )
        info = self._info(member, member.name, member.target)
        if member.sparse is None:
            return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if 24 * len(_map_with_end(member)) > self._header_bytes:
            raise too_many_pieces(member.name)
        info.type = tarfile.GNUTYPE_SPARSE
        blocks = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        return blocks[:-BLOCK] + _gnu_sparse(blocks[-BLOCK:], member)

    def _pax_header(self, member: Member, prefix: bytes) -> bytes:
        records = {
            _bytes(f"SCHILY.xattr.{encoded_attribute(name)}"): value for name, value in member.xattrs.items()
        }
        name, target = _bytes(member.name), _bytes(member.target)
        info = self._info(member, "", "")
        if member.sparse is not None:
            records |= {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.name": name,
                b"GNU.sparse.realsize": b"%d" % member.size,
            }
            head, _, last = name.rpartition(b"/")
            name = (head + b"/" if head else b"") + b"GNUSparseFile.0/" + last
            info.size = len(prefix) + stored_bytes(member)
        directory = b"/" if member.kind == DIRECTORY else b""
        info.name = _fits(name + directory, records, b"path")
        info.linkname = _fits(target, records, b"linkpath")
        for key in ("uid", "gid"):
            if getattr(info, key) > _OCTAL_ID or key in self.inherited:
                records[key.encode()] = b"%d" % getattr(info, key)
                setattr(info, key, 0)
        if info.size > _OCTAL_SIZE:
            records[b"size"] = b"%d" % info.size
            info.size = 0
        if not 0 <= info.mtime <= _OCTAL_SIZE or "mtime" in self.inherited:
            records[b"mtime"] = b"%d" % info.mtime
            info.mtime = 0
        block = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
        return _extended(records, info.name) + block if records else block

    def _sparse_map(self, member: Member) -> bytes:
        pieces = _map_with_end(member)
        numbers = [len(pieces), *(number for piece in pieces for number in piece)]
        text = b"".join(b"%d\n" % number for number in numbers)
        text += bytes(-len(text) % BLOCK)
        if len(text) > self._header_bytes:
            raise too_many_pieces(member.name)
        return text


def _map_with_end(member: Member) -> list[tuple[int, int]]:
    """Return the map of a sparse file. As in GNU tar, the map ends with an empty piece at the file's end."""
    return [*(member.sparse or ()), (member.size, 0)]


def stored_bytes(member: Member) -> int:
    """Return the number of bytes of data in a member, not counting holes."""
    if member.kind != FILE:
        return 0
    return member.size if member.sparse is None else sum(length for _, length in member.sparse)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _fits(name: bytes, records: dict[bytes, bytes], key: bytes) -> str:
    """Return the name for the plain header. If the name does not fit, shorten it and add a pax record."""
    if len(name) <= 100 and name.isascii():
        return name.decode("ascii")
    records[key] = name
    return name.decode("ascii", "replace").replace("\ufffd", "?")[:99]


def _extended(records: dict[bytes, bytes], name: str) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    info = tarfile.TarInfo(f"PaxHeaders/{name.rstrip('/').rpartition('/')[2]}"[:99])
    info.type = tarfile.XHDTYPE
    info.size = len(body)
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict") + body + bytes(-len(body) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Return a pax record. The length at its start counts the whole record, including the length itself."""
    rest = len(key) + len(value) + 3
    size = rest + len(str(rest))
    size = rest + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)


def _gnu_sparse(block: bytes, member: Member) -> bytes:
    pieces = _map_with_end(member)
    fields = [_octal(number) for piece in pieces for number in piece]
    header = bytearray(block)
    header[386:482] = b"".join(fields[:8]).ljust(96, b"\0")
    header[482] = len(fields) > 8
    header[483:495] = _octal(member.size)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    blocks = [bytes(header)]
    for at in range(8, len(fields), 42):
        is_last = at + 42 >= len(fields)
        blocks.append(b"".join(fields[at : at + 42]).ljust(504, b"\0") + bytes([not is_last]) + bytes(7))
    return b"".join(blocks)


def _octal(number: int) -> bytes:
    if number <= _OCTAL_SIZE:
        return b"%011o\0" % number
    return b"\x80" + number.to_bytes(11, "big")
