"""``templater new``: create the directory of a new image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ...definitions.choice import CONTAINER, VM, Choice
from ...model.file_names import METADATA, TEMPLATES
from ...model.unprintable_characters import printable
from .. import completers, options, output
from ..enforce_limits import guarded
from ..packing import source_date_epoch

if TYPE_CHECKING:
    from ...limit_option import Given

HELP = """Create the directory of a new image.

The directory gets metadata.yaml, templates and an empty rootfs. KEY=VALUE sets a property. `--preset list`
shows the presets. With --from, the directory gets the metadata and templates that the build of a definition
would create.

\b
Examples:
  templater new ./image
  templater new ./image --preset cloud-init os=Debian release=trixie
  templater new ./image --from debian.yaml -o image.release=trixie
  templater preview ./image && templater image build ./image -o image.tar.xz
"""


@click.command(help=HELP)
@click.argument("directory", metavar="DIR", required=False, shell_complete=completers.files)
@click.argument("properties", metavar="[KEY=VALUE]…", nargs=-1)
@click.option(
    "--preset",
    "chosen",
    multiple=True,
    metavar="NAME",
    help="Preset to copy.  [default: minimal]",
    shell_complete=completers.presets,
)
@click.option(
    "--architecture", metavar="NAME", help="Architecture, as the daemons name it. [default: this machine's]"
)
@click.option(
    "--from", "definition", metavar="FILE", shell_complete=completers.files,
    help="Definition of distrobuilder or lxd-imagebuilder to copy, instead of a preset.",
)  # fmt: skip
@options.parameter_option
@click.option("--vm", is_flag=True, help="With --from: predict the build of a virtual machine.")
@click.option(
    "--rootfs",
    metavar="DIR|none",
    help="With --from: the root filesystem that the build unpacks.",
    shell_complete=completers.directories,
)
@options.limit_option()
@guarded
def command(
    directory: str | None,
    properties: tuple[str, ...],
    chosen: tuple[str, ...],
    architecture: str | None,
    definition: str | None,
    parameters: tuple[str, ...],
    vm: bool,
    rootfs: str | None,
    limits: Given,
) -> None:
    if definition is not None:
        if chosen:
            raise click.UsageError("--from can't be combined with --preset: both choose a source")
        choice = Choice(parameters, VM if vm else CONTAINER, rootfs, source_date_epoch())
        from_definition(directory, properties, definition, choice, limits)
        return
    if parameters or vm or rootfs:
        raise click.UsageError("-o, --vm and --rootfs need --from")
    from ...image.presets import make, presets

    if len(chosen) > 1:
        raise click.UsageError(
            f"--preset can be given only once: choose one of {printable(', '.join(chosen))}"
        )
    preset = "".join(chosen) or "minimal"
    if preset == "list":
        for each in presets():
            output.write(f"{each.name:<12} {each.summary}\n")
        return
    if directory is None:
        raise click.UsageError("missing argument DIR: templater new DIR")
    epoch = source_date_epoch()
    files = make(
        directory,
        preset,
        now=int(time.time()) if epoch is None else epoch,
        architecture=architecture,
        properties=options.pairs_of(properties, what="templater new ./image"),
    )
    made(directory, files)


def made(directory: str, files: list[str]) -> None:
    output.say(f"{directory}: {', '.join(files)}")
    output.say(f"next: templater preview {directory}")


def from_definition(
    directory: str | None, properties: tuple[str, ...], path: str, choice: Choice, limits: Given
) -> None:
    """Write the image directory of a definition's build."""
    from ...definitions.predicted_image import open_definition
    from ...image.presets import write_new

    if directory is None:
        raise click.UsageError("missing argument DIR: templater new --from FILE DIR")
    if properties:
        raise click.UsageError("--from can't be combined with KEY=VALUE: set fields with -o image.release=…")
    image = open_definition(options.existing(path), choice, limits.for_images())
    for note in image.notes:
        output.note(note)
    templates = {f"{TEMPLATES}/{name}": file.data or b"" for name, file in image.read_to_end().items()}
    made(directory, write_new(directory, {METADATA: image.read_metadata().data, **templates}))
