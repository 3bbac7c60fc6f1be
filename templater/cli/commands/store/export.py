"""``templater store export``: copy an image's files out of the store."""

from __future__ import annotations

import os
from stat import S_IROTH

import click

from ....model.errors import InputError
from ... import completers, output
from . import image_argument

HELP = """Copy an image's files out of the store.

The files get the names that the daemons use: FINGERPRINT.tar.xz, or meta-FINGERPRINT.tar.xz and
FINGERPRINT.squashfs.
`templater image export store:IMAGE` converts an image to another format.

\b
Example:
  templater store export debian out/
"""


@click.command(help=HELP)
@image_argument
@click.argument("directory", metavar="[DIR]", default=".", shell_complete=completers.files)
def command(image: str, directory: str) -> None:
    from ....distribution.store import Store
    from ....image.atomic_output import Output
    from ....image.file_extensions import extension
    from ....image.open_file import kind_of_file

    store = Store()
    found = store.use(image)
    if not found.complete:
        raise InputError(
            f"the store has only the metadata of '{image}'",
            hint=f"import the whole image first: templater store import {found.source}",
        )
    os.makedirs(directory, exist_ok=True)
    paths = store.paths(found)
    for number, path in enumerate(paths):
        prefix = "meta-" if number == 0 and len(paths) > 1 else ""
        target = os.path.join(directory, f"{prefix}{found.fingerprint}{extension(kind_of_file(path))}")
        private = not (found.public or found.source or os.stat(path).st_mode & S_IROTH)
        with open(path, "rb") as file, Output(directory, private=private) as copy:
            while piece := file.read(1 << 20):
                copy.write(piece)
            copy.publish(target)
        output.write(f"{target}\n")
