"""The archive has a member that the daemons can't unpack, so they can't create an instance of the image.

The import succeeds, because the daemons unpack the archive later. GNU tar, which they use, fails in these
cases:

* a member is below a file, or below a symlink that is absolute or contains `..`;
* a hard link comes before its target, or leads to a directory or to a missing member;
* a file or a link replaces a directory that is not empty.

Incus omits the members below `rootfs/dev/` of a tarball, and below `dev/` of a split image's second file. A
hard link to such a member fails in Incus, but not in LXD.

The check `unreadable` reports headers that GNU tar can't read, and names that GNU tar can't store.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..unpack_refusals import unpack_refusals


@check(
    "refused-member",
    "error",
    "a member of an archive that the daemons can't unpack",
    hint="build the image again from a directory that contains its files",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if image.packed:
        products = {"", *(host.product for host in image.hosts)}
        for message, path, product in unpack_refusals(image.names):
            if product in products:
                yield Observation(message, path)
