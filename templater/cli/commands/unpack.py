"""``templater unpack``: create an instance directory from an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ...limit_option import COMMAND, IMAGE, Given
from ...model.errors import TemplaterError, UsageError
from ...model.file_names import METADATA
from ...model.unprintable_characters import printable
from .. import completers, options, output
from ..enforce_limits import guarded, processor_left, reserve_for_removal
from ..fetched_source import local_files
from ..progress import of_packed, progress

if TYPE_CHECKING:
    from ...image.unpack import Policy, Unpacked
    from ...model.instance import Instance
    from ...rootfs.confined_root import Root
    from ...rootfs.id_map import IdMap

HELP = """Unpack an image into an instance directory.

The directory gets rootfs, metadata.yaml, templates and instance.yaml. The create trigger is pending, so the
next start runs it; -c volatile.apply_template=TRIGGER chooses another trigger.

IMAGE is a directory, a unified tarball, or the metadata tarball of a split image followed by its
ROOTFS (a tarball or squashfs). DIR must be new or empty. If unpacking fails, a new DIR is not
created, and an existing DIR is empty again.

Features that could harm this machine are removed and listed: devices and fifos, setuid and setgid bits,
file capabilities, ACLs and trusted attributes. --keep keeps the features of one kind: devices, setuid or
xattrs. --trusted keeps the features of all kinds.

\b
Examples:
  templater unpack image.tar.xz web1 --name web1 -c user.role=web
  templater unpack meta.tar.xz rootfs.squashfs web1 --idmap 0:100000:65536
"""


@click.command(help=HELP)
@click.argument("files", metavar="IMAGE [ROOTFS] DIR", nargs=-1, shell_complete=completers.source)
@options.instance_options
@click.option(
    "--idmap",
    "ranges",
    multiple=True,
    metavar="[u:|g:]INSIDE:OUTSIDE:COUNT",
    help="Map ids of the container to ids on disk. Repeatable. u: is for users only, g: for groups only.",
)
@click.option(
    "--keep", multiple=True, type=click.Choice(["devices", "setuid", "xattrs"]), help="Keep these features."
)
@click.option(
    "--trusted",
    is_flag=True,
    help="Keep devices, setuid bits and xattrs of a trusted image. A malicious image could do harm.",
)
@options.limit_option(IMAGE, COMMAND)
@guarded
def command(
    files: tuple[str, ...],
    instance: options.Description,
    ranges: tuple[str, ...],
    keep: tuple[str, ...],
    trusted: bool,
    limits: Given,
) -> None:
    from ...hooks.precompile import precompile
    from ...image.fingerprint import fingerprint
    from ...image.read_whole_image import open_contents
    from ...image.unpack import unpack
    from ...instances.state_directory import State, StateDirectory, write_whole
    from ...model.file_names import INSTANCE
    from ...model.pending_trigger import PENDING_KEY

    if len(files) not in (2, 3):
        raise UsageError("unpack takes an image and a directory", hint="templater unpack IMAGE [ROOTFS] DIR")
    *image, target = files
    if len(image) == 1:
        image = [path for path in local_files(image[0]) if path is not None]
    contents = open_contents(*image, limits=limits.for_images())
    parts = contents.parts()
    described = described_by(instance, parts[0].data)
    packed = not os.path.isdir(image[0])
    known_as = fingerprint(*image) if packed else os.path.abspath(image[0])

    config = dict(described.config)
    pending = config.pop(PENDING_KEY, "") or "create"  # `.templater/state` records the trigger

    data = instance_yaml(described.replace(config=config))

    warnings: list[str] = []

    def finish(folder: Root) -> None:
        with folder.directory("/") as top:
            write_whole(top, INSTANCE, data, mode=0o600)  # cloud-init keys contain passwords
        with StateDirectory(folder) as state_directory:
            state_directory.remember(State(pending=pending, name=described.name, image=known_as))
        try:  # so that the first start is fast
            precompile(folder, seconds=max(1.0, processor_left()))
        except TemplaterError as error:
            warnings.append(f"warning: {error.explain()}")

    reserve_for_removal()
    with progress("unpacking") as show:
        done = unpack(
            contents,
            parts,
            target,
            policy=_policy(keep, trusted),
            ids=ids_of(ranges),
            finish=finish,
            progress=of_packed(contents, show),
        )
    output.say(f"{target}: {done.members} files; the {printable(pending)} trigger is pending")
    _say_left_out(done)
    for warning in warnings:
        output.say(warning)


def described_by(description: options.Description, metadata: bytes) -> Instance:
    """Return the described instance, with the keys that a daemon copies from the image to a new instance."""
    from ...model.instance import Instance
    from ...model.source import Source
    from ...parsing.metadata_yaml import read_metadata
    from ...planning.generated_keys import with_image_keys

    instance = description.read()
    for note in instance.notes:
        output.say(f"note: {note}")
    if instance.is_vm:
        raise UsageError("a virtual machine's image has no root filesystem to unpack")
    image = read_metadata(Source(METADATA, metadata))
    made = with_image_keys(instance, image.properties)
    return Instance(
        instance.name,
        instance.type,
        instance.architecture if description.file else image.architecture or instance.architecture,
        instance.ephemeral,
        dict(sorted(made.expanded_config().items())),
        instance.expanded_devices(),
    )


def instance_yaml(instance: Instance) -> bytes:
    """Return the instance.yaml of an instance.

    Raises InputError or LimitError if later commands and hooks could not read the same values from the file.
    """
    import yaml

    from ...instances.instance_directory import MAX_INSTANCE
    from ...model.errors import InputError, LimitError
    from ...model.file_names import INSTANCE
    from ...model.source import Source
    from ...model.unprintable_characters import is_whole
    from ...parsing.instance_description import read_instance

    value = {
        "name": instance.name,
        "type": instance.type,
        "architecture": instance.architecture,
        "ephemeral": instance.ephemeral,
        "config": dict(instance.config),
        "devices": {name: dict(device) for name, device in instance.devices.items()},
    }
    for kind, texts in (("config", instance.config), *instance.devices.items()):
        for key, text in texts.items():
            if not is_whole(kind + key + text):
                raise InputError(f"{printable(kind)}: '{printable(key)}' is not valid UTF-8")
    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=2**20))
    if any(character in text for character in _LINE_BREAKS):
        text = str(yaml.safe_dump(value, sort_keys=False, width=2**20))  # escapes these characters
    data = text.encode()
    if len(data) > MAX_INSTANCE:
        raise LimitError(f"the configuration of the instance takes more than {MAX_INSTANCE} bytes")
    found = read_instance(Source(INSTANCE, data))
    if found.config != instance.config or found.devices != instance.devices:
        raise InputError(f"writing the configuration of the instance to {INSTANCE} would change values")
    return data


#: characters that PyYAML writes as they are, although YAML readers change them to spaces or line feeds
_LINE_BREAKS = "\x85\u2028\u2029"


def _policy(keep: tuple[str, ...], trusted: bool) -> Policy:
    from ...image.unpack import Policy

    owners = os.geteuid() == 0
    if not owners:
        output.say("note: not run as root: all files will belong to you, and devices can't be created")
    return Policy(
        special=owners and (trusted or "devices" in keep),
        privileges=trusted or "setuid" in keep,
        xattrs=trusted or "xattrs" in keep,
        owners=owners,
    )


def ids_of(ranges: tuple[str, ...]) -> IdMap:
    from ...rootfs.id_map import IDENTITY, IdMap

    if not ranges:
        return IDENTITY
    uids, gids = [], []
    for text in ranges:
        which, numbers = id_range(text)
        if which in ("u", "b"):
            uids.append(numbers)
        if which in ("g", "b"):
            gids.append(numbers)
    return IdMap(tuple(uids), tuple(gids))


def id_range(text: str) -> tuple[str, tuple[int, int, int]]:
    """Parse ``[u:|g:|b:]INSIDE:OUTSIDE:COUNT``. Spaces can replace the colons, as in LXC."""
    words = text.replace(":", " ").split()
    which, *numbers = words if words and not words[0].isdecimal() else ("b", *words)
    are_numbers = all(number.isdecimal() and len(number) < 16 for number in numbers)
    if which not in ("u", "g", "b") or len(numbers) != 3 or not are_numbers:
        raise UsageError(
            f"invalid id range '{text}'", hint="for example: --idmap 0:100000:65536, or 'u 0 100000 65536'"
        )
    inside, outside, count = map(int, numbers)
    return which, (inside, outside, count)


def _say_left_out(done: Unpacked) -> None:
    said = (
        ("skipped devices and fifos", done.left_out, "devices"),
        ("removed setuid bits or capabilities", done.without_privileges, "setuid"),
        ("removed extended attributes", done.without_xattrs, "xattrs"),
    )
    for what, names, keep in said:
        unique = list(dict.fromkeys(names))
        if unique:
            shown = ", ".join("/" + printable(name) for name in unique[:3]) + (
                ", …" if len(unique) > 3 else ""
            )
            output.say(f"{what}: {len(unique)} ({shown}); add --keep {keep} to keep them")
