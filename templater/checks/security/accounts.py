"""A check for account files and accounts that let users of the instance become root."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.entry import SYMLINK
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..files_that_users_can_change import FilesOfUsers
from ..image_scanner import PASSWD, PASSWD_BYTES
from ..scanned_image import ScannedImage

#: a number in the syntax that the C library accepts
_NUMBER = re.compile(r"\s*[+-]?([0-9]*)", re.ASCII)


@check(
    "accounts",
    "high",
    "a system file that users other than root can write, a target that these users can replace,"
    " or a second account with uid 0",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    writers = FilesOfUsers(image)
    yield from writers.of_system_files()
    yield from writers.of_other_files()
    yield from writers.of_targets()
    for name in image.names:
        if name.path in (PASSWD, "rootfs/etc") and (name.hard_link or name.entry.kind == SYMLINK):
            kind = "hard link" if name.hard_link else name.entry.kind
            yield Observation(
                f"'/{name.path[7:]}' is a {kind}, so its accounts were not checked", name.path, severity="low"
            )
    data = image.heads.get(PASSWD, b"")
    if len(data) == PASSWD_BYTES:
        yield Observation(
            f"only the first {PASSWD_BYTES >> 20} MiB of '/etc/passwd' were checked", PASSWD, severity="low"
        )
    # splitlines() would also split a line at other characters, such as a form feed
    roots = [
        line.split(":")[0] for line in data.decode("utf-8", "surrogateescape").split("\n") if _is_root(line)
    ]
    if len(roots) > 1:
        known = len(roots) == 2 and "toor" in roots
        yield Observation(
            f"{len(roots)} accounts have uid 0: {printable(', '.join(roots[:8]))}",
            PASSWD,
            hint="FreeBSD has the account 'toor'; on other systems, check why these accounts exist",
            severity="info" if known else "",
        )


def _is_root(line: str) -> bool:
    """Return whether a line of passwd has uid 0.

    Like musl, read an empty text as 0, and a large number modulo 2**32.
    """
    uid = line.split(":")[2:3]
    number = _NUMBER.fullmatch(uid[0]) if uid else None
    # Only the last 32 digits matter, because 2**32 divides 10**32.
    return number is not None and int(number[1][-32:] or "0") % (1 << 32) == 0
