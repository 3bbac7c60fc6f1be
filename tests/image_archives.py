"""Build tar archives block by block, also such as no tool would write."""

import contextlib
import tarfile
from pathlib import Path

METADATA = b"architecture: x86_64\ncreation_date: 1\n"
END = bytes(10240)


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for field, value in fields.items():
        setattr(info, field, value)
    is_short = len(name.encode("utf-8", "surrogateescape")) <= 100 and kind == tarfile.REGTYPE
    with contextlib.suppress(ValueError):  # a number that needs the format of GNU tar
        if is_short:
            return info.tobuf(tarfile.USTAR_FORMAT)
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def file(name: str, data: bytes = b"", **fields: object) -> bytes:
    return header(name, size=len(data), **fields) + padded(data)


def record(key: str, value: bytes) -> bytes:
    rest = len(key.encode()) + len(value) + 3
    size = rest + len(str(rest))
    size = rest + len(str(size))
    return b"%d %s=%s\n" % (size, key.encode(), value)


def pax(records: dict[str, bytes], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """An extended header for the next member. The kind ``g`` is for all members that follow."""
    body = b"".join(record(key, value) for key, value in records.items())
    return header("pax", kind, len(body)) + padded(body)


def sparse_map(pieces: bytes, size: int, **more: bytes) -> bytes:
    """The extended header of a sparse file in the pax format 0.1, with a map such as b"0,512,1024,0"."""
    count = (pieces.count(b",") + 1) // 2
    numbers = {"GNU.sparse.size": b"%d" % size, "GNU.sparse.numblocks": b"%d" % count}
    return pax({**numbers, "GNU.sparse.map": pieces, **{f"GNU.sparse.{key}": more[key] for key in more}})


def global_header(records: dict[str, bytes]) -> bytes:
    return pax(records, tarfile.XGLTYPE)


def image(path: Path, *members: bytes, metadata: bytes = METADATA, behind: bytes = b"") -> str:
    """Write metadata.yaml, these members, the end mark and what is to follow it."""
    path.write_bytes(b"".join([file("metadata.yaml", metadata), *members, END, behind]))
    return str(path)


def directories(count: int) -> list[bytes]:
    return [header(f"rootfs/{number}", tarfile.DIRTYPE) for number in range(count)]
