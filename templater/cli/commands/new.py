"""``templater new``: create the directory of a new image."""

from __future__ import annotations

import time

import click

from .. import options, output
from .image.build import source_date_epoch
from .image.edit import pairs_of

HELP = """Create the directory of a new image.

The directory gets metadata.yaml, templates and an empty rootfs. KEY=VALUE sets a property. `--preset list`
shows the presets.

\b
Examples:
  templater new ./image
  templater new ./image --preset cloud-init os=Debian release=trixie
  templater preview ./image && templater image build ./image -o image.tar.xz
"""


@click.command(help=HELP)
@click.argument("directory", metavar="DIR", required=False, shell_complete=options.complete_files)
@click.argument("properties", metavar="[KEY=VALUE]…", nargs=-1)
@click.option("--preset", default="minimal", show_default=True, metavar="NAME", help="Preset to copy.")
@click.option(
    "--architecture", metavar="NAME", help="Architecture, as the daemons name it. [default: this machine's]"
)
def command(directory: str | None, properties: tuple[str, ...], preset: str, architecture: str | None) -> int:
    from ...image.presets import make, presets

    if preset == "list":
        for each in presets():
            output.write(f"{each.name:<12} {each.summary}\n")
        return 0
    if directory is None:
        raise click.UsageError("missing argument DIR: templater new DIR")
    epoch = source_date_epoch()
    files = make(
        directory,
        preset,
        now=int(time.time()) if epoch is None else epoch,
        architecture=architecture,
        properties=pairs_of(properties, what="templater new ./image"),
    )
    output.say(f"{directory}: {', '.join(files)}")
    output.say(f"next: templater preview {directory}")
    return 0
