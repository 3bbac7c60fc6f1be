"""``templater streams add``: add an image to a tree."""

from __future__ import annotations

import click

from ....limit_option import COMMAND, IMAGE, Given
from ... import completers, options, output
from ...enforce_limits import guarded
from ...progress import progress
from . import tree_argument

HELP = """Add an image to a tree.

Both Incus and LXD can download the image.

META is a unified image, or the metadata tarball of a split image. The root filesystems of a split image
follow META: a squashfs file or a tarball for containers, a qcow2 disk for virtual machines.

The product gets its name from the properties os, release and variant. The version gets its name from
creation_date, in UTC. Every image gets the alias OS/RELEASE/VARIANT. If the variant of an image is 'default',
the image also gets the alias OS/RELEASE.

Files of a version are never replaced. To publish new content, build an image with a new creation_date.

\b
Examples:
  templater streams add /srv/images metadata.tar.xz rootfs.squashfs
  templater streams add /srv/images meta.tar.xz disk.qcow2 --alias debian/vm
  templater streams add /srv/images image.tar.xz --split
"""


@click.command(help=HELP)
@tree_argument
@click.argument("metadata", metavar="META", shell_complete=completers.files)
@click.argument("roots", metavar="[ROOTFS|DISK]…", nargs=-1, shell_complete=completers.files)
@click.option(
    "--alias",
    "aliases",
    metavar="NAME",
    multiple=True,
    help="Additional alias. The command removes it from other products of the same architecture and type.",
)
@click.option(
    "--requirement",
    "requirements",
    metavar="KEY=VALUE",
    multiple=True,
    help="Requirement of the image, e.g. secureboot=false. Overrides requirements.KEY in metadata.yaml.",
)
@click.option(
    "--split", is_flag=True, help="Store a unified image as two files: metadata, and squashfs or disk image."
)
@options.limit_option(IMAGE, COMMAND)
@options.json_option
@guarded
def command(
    tree: str,
    metadata: str,
    roots: tuple[str, ...],
    aliases: tuple[str, ...],
    requirements: tuple[str, ...],
    split: bool,
    limits: Given,
    as_json: bool,
) -> None:
    from ....distribution.add_to_tree import add
    from ....distribution.tree import Tree

    example = "for example: --requirement secureboot=false"
    with progress("adding") as show:
        added = add(
            Tree(tree),
            metadata,
            roots,
            aliases=aliases,
            requirements=dict(options.key_value(text, example) for text in requirements),
            split=split,
            limits=limits.for_images(),
            progress=show,
        )
    for warning in added.warnings:
        output.say(f"warning: {warning}")
    if as_json:
        output.write_json(
            {
                "product": added.product,
                "version": added.version,
                "fingerprints": list(added.fingerprints),
                "aliases": list(added.aliases),
                "files": list(added.files),
                "new": added.new,
            }
        )
        return
    said = "added" if added.new else "already there:"
    output.say(f"{said} {added.product} {added.version} ({', '.join(added.aliases)})")
    output.write("".join(f"{fingerprint}\n" for fingerprint in added.fingerprints))
