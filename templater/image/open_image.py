"""The function that opens an image: a directory or a tarball."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .limits import DEFAULT, Limits

if TYPE_CHECKING:
    from .directory_image import DirectoryImage
    from .tarball_image import TarballImage


def open_image(path: str | os.PathLike[str], limits: Limits = DEFAULT) -> DirectoryImage | TarballImage:
    """Open a directory, a unified tarball, the metadata tarball of a split image, or an instance directory.

    The compression is detected from the content.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        from .directory_image import DirectoryImage

        return DirectoryImage(name, limits)
    from .tarball_image import TarballImage

    return TarballImage(name, limits)
