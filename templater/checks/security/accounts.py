"""A check for account files and accounts that let users of the instance become root."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import FILE
from ...model.source import printable
from ..base import Observation, ScannedImage, check
from ..scan import PASSWD

#: files that only root may write
FILES = (
    "rootfs/etc/passwd",
    "rootfs/etc/group",
    "rootfs/etc/shadow",
    "rootfs/etc/gshadow",
    "rootfs/etc/sudoers",
)


@check("accounts", "high", "an account file that every user can write, or a second account with uid 0")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for name in image.names:
        if name.path in FILES and name.entry.kind == FILE and name.entry.mode & 0o002:
            mode = f"{name.entry.mode & 0o777:04o}"
            yield Observation(f"'/{name.path[7:]}' has mode {mode}: every user can write it", name.path)
    passwd = image.heads.get(PASSWD, b"").decode("utf-8", "surrogateescape")
    roots = [line.split(":")[0] for line in passwd.splitlines() if line.split(":")[2:3] == ["0"]]
    if len(roots) > 1:
        yield Observation(
            f"{len(roots)} accounts have uid 0: {printable(', '.join(roots[:8]))}",
            PASSWD,
            hint="FreeBSD has the account 'toor'; on other systems, check why these accounts exist",
            severity="info",
        )
