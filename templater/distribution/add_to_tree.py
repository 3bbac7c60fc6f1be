"""Adding an image to a simplestreams tree, for Incus and LXD."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..image.atomic_output import Output
from ..image.file_extensions import extension
from ..image.limits import DEFAULT, Limits
from ..image.name_checks import clean_name
from ..image.open_file import (
    OpenFile,
    kind_of_file,
    opened,
    reading,
    refuse_private,
    refuse_same_file,
    size_of,
    whole_content,
)
from ..image.tar_reader import open_archive
from ..image.tar_writer import TarWriter
from ..image.tarball_image import TarballImage
from ..model.architectures import DEBIAN_NAMES, KERNEL_NAMES
from ..model.entry import FILE
from ..model.errors import InputError, LimitError, RefusedError, UsageError, reason
from ..model.file_names import DISK, ROOTFS
from ..model.metadata import Metadata
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from ..parsing.file_kind import COMPRESSIONS, QCOW2, SQUASHFS, TAR, XZ, describe
from ..parsing.metadata_yaml import read_metadata
from ..parsing.qcow2 import HEADER, backing_file, has_external_data
from .catalog_decoder import COMBINED, IMAGES_PATH, Decoded, decode_product
from .catalog_limits import UpperBounds
from .client_image_list import ROOT_KINDS
from .list_stream import refuse_unreadable
from .tree import IMAGES, Tree, content_path
from .tree_catalog import Catalog, complete_variants, fingerprints_of, products_file
from .truncated_root import refuse_truncated

if TYPE_CHECKING:
    import hashlib as _hashlib

FAMILIES = ("incus", "lxd")
_PIECE = 1 << 20
#: maximum seconds that the creation date of an image may be in the future, because of a wrong clock
_LATEST = 24 * 3600
_BAD_IN_ALIAS = re.compile(r"[\s,\x00-\x1f\x7f]")


@dataclass(slots=True)
class NewImage:
    """An image to enter into a tree's catalog. All paths are relative to the tree."""

    metadata: Metadata
    #: path, size and sha256 of the metadata file, or of the unified image
    first: dict[str, Any]
    #: path, size and hash of each root filesystem, by ``ftype``
    roots: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: the fingerprint of the image with each root filesystem, by ``ftype``
    fingerprints: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    requirements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Added:
    """The result of adding an image to a tree."""

    product: str
    version: str
    fingerprints: tuple[str, ...]
    aliases: tuple[str, ...]
    files: tuple[str, ...]
    #: False if the tree already contained this image
    new: bool
    warnings: tuple[str, ...]


def add(
    tree: Tree,
    metadata: str,
    roots: Sequence[str] = (),
    *,
    aliases: Sequence[str] = (),
    requirements: Mapping[str, str] | None = None,
    split: bool = False,
    limits: Limits = DEFAULT,
    progress: Progress = silent,
) -> Added:
    """Copy an image's files into the tree, then enter the image into the catalog.

    Raises:
        UsageError: the files, aliases and options do not form a valid request.
        InputError: the image is invalid, or its metadata.yaml lacks a required value.
        RefusedError: a file is private, or the image conflicts with the catalog (see ``insert``).
        LimitError: with the new image, the catalog would exceed a limit of templater.
    """
    for alias in aliases:
        check_alias(alias)
    with contextlib.ExitStack() as stack:
        metadata, *roots = _open_files(metadata, roots, stack)
        image = TarballImage(metadata, limits)
        image.read_to_end()
        unified = ROOTFS in image.kinds or DISK in image.kinds
        if unified and roots:
            raise UsageError(f"'{metadata}' already contains a root filesystem", hint="give only the image")
        if not unified and not roots:
            raise UsageError(
                f"'{metadata}' is the metadata of a split image, without a root filesystem",
                hint="give both files: the metadata tarball, then the root filesystem",
            )
        facts = read_metadata(image.read_metadata())
        check_facts(facts, metadata)
        machine = DISK in image.kinds
        if machine and not split:
            raise UsageError(
                f"'{metadata}' is a unified virtual machine image, which older clients list as a container",
                hint="add --split to store the image as metadata and disk",
            )
        if split and not unified:
            raise UsageError(f"'{metadata}' is already a split image", hint="omit --split")
        if split:
            into = _split_machine if machine else _split
            metadata, *roots = stack.enter_context(into(metadata, limits, progress))
            unified = False
        for path in roots:
            refuse_truncated(path)
        kinds = [root_ftype(path) for path in roots]
        for number, kind in enumerate(kinds):
            if kind in kinds[:number]:
                raise UsageError(f"'{roots[number]}' is a second root filesystem of the type '{kind}'")
        tree.create()
        staged = _stage(tree, metadata, roots, kinds, stack, progress)
        new = _new_image(facts, staged, kinds, tuple(aliases), requirements or {})
        with tree.lock():
            bounds = UpperBounds()
            catalog = tree.load(bounds.add)
            result = insert(catalog, new, unified=unified)
            if catalog.changed:
                refuse_unreadable(tree, catalog, bounds)
            for output, path in staged:
                if path in result.files:
                    tree.publish(output, path)
            tree.sync_images()
            if catalog.changed:
                tree.save(catalog)
        return result


def check_alias(alias: str) -> None:
    if not alias or _BAD_IN_ALIAS.search(alias):
        raise UsageError(
            f"invalid alias '{printable(alias)}': clients split aliases at commas and keep spaces",
            hint="use letters, digits, '/', '.', '_' and '-'",
        )


def _open_files(path: str, roots: Sequence[str], stack: contextlib.ExitStack) -> list[OpenFile]:
    """Open each file of an image once, so that another user cannot replace a file after its check."""
    if os.path.isdir(path):
        raise UsageError(
            f"'{path}' is a directory", hint=f"pack the directory first: templater image build {path} -o FILE"
        )
    first, *others = (refuse_private(stack.enter_context(opened(name))) for name in (path, *roots))
    for other in others:
        refuse_same_file(first, other)
    return [first, *others]


def root_ftype(path: str) -> str:
    """Return the ``ftype`` of a root filesystem or disk, detected from its content."""
    kind = kind_of_file(path)
    if kind == QCOW2:
        with reading(path) as file:
            head = file.read(HEADER + 8)
        if backing_file(head) is not None or has_external_data(head):
            what = "a backing file" if backing_file(head) is not None else "an external data file"
            raise RefusedError(
                f"'{path}' is a qcow2 file that needs {what}, which clients don't have",
                hint="convert the disk first: qemu-img convert -O qcow2",
            )
        return "disk-kvm.img"
    if kind == SQUASHFS:
        return "squashfs"
    if kind == TAR or kind in COMPRESSIONS:
        return "root.tar.xz"
    raise InputError(
        f"'{path}' {describe(kind)}", hint="a root filesystem is a squashfs file, a tarball or a qcow2 disk"
    )


def check_facts(facts: Metadata, path: str) -> None:
    """Raise InputError if metadata.yaml lacks a value that a client or daemon requires."""
    if KERNEL_NAMES.get(facts.architecture) is None:
        found = (
            f"unknown architecture '{printable(facts.architecture)}'"
            if facts.architecture
            else "no architecture"
        )
        raise InputError(
            f"'{path}': metadata.yaml has {found}",
            hint="write the key at the top level, for example 'architecture: x86_64'",
        )
    if facts.creation_date <= 0:
        raise InputError(
            f"'{path}': metadata.yaml has no creation_date, and the version is named after this date"
        )
    if facts.creation_date > time.time() + _LATEST:  # clients would prefer it to later builds
        raise InputError(
            f"'{path}': the creation_date {facts.creation_date} of metadata.yaml is in the future",
            hint="build the image on a machine whose clock is right",
        )
    for name in ("os", "release"):
        if not facts.properties.get(name, "").strip():
            raise InputError(
                f"'{path}': metadata.yaml has no property '{name}'",
                hint=f"set it: templater image set-property {path} {name}=VALUE",
            )


def _temporary_folder() -> contextlib.AbstractContextManager[str]:
    from tempfile import TemporaryDirectory  # most images are not split, and the import takes long

    return TemporaryDirectory(prefix="templater-split-")


@contextlib.contextmanager
def _split(path: str, limits: Limits, progress: Progress) -> Iterator[tuple[str, ...]]:
    from ..image.build import Packing, build
    from ..image.read_whole_image import open_contents

    with _temporary_folder() as folder:
        contents = open_contents(path, limits=limits)
        built = build(
            contents,
            contents.parts(),
            folder,
            Packing("split", rootfs="squashfs"),
            progress=progress,
        )
        yield built.files


def _refuse_sparse(path: str, size: int, limits: Limits) -> None:
    """Raise LimitError if a disk, with its holes, is much larger than the image file that contains it."""
    packed = size_of(path)
    # The disk is copied to a separate file with zeros in place of the holes, so this file would be large.
    if size > max(limits.ratio_from, packed * limits.ratio):
        raise LimitError(
            f"'{DISK}' in '{path}' has {size} bytes including its holes: more than {limits.ratio} times"
            f" the size of the image file ({packed} bytes)",
            hint="if you trust the image, raise the limit: --limit ratio=…",
        )


@contextlib.contextmanager
def _split_machine(path: str, limits: Limits, progress: Progress) -> Iterator[tuple[str, ...]]:
    from ..image.compress import compressing
    from ..image.read_whole_image import open_contents

    with _temporary_folder() as folder:
        first, disk = os.path.join(folder, "metadata.tar.xz"), os.path.join(folder, "disk")
        with open(first, "wb") as file, compressing(XZ, file.write) as packer:
            writer = TarWriter(packer.write)
            for part in open_contents(path, limits=limits).parts():
                writer.add(part.member, ((0, part.data),) if part.data else ())
            writer.close()
        archive = open_archive(path, limits)
        with archive.stream, open(disk, "wb") as file:
            for member in archive:
                if clean_name(member) == DISK and member.kind == FILE:
                    _refuse_sparse(path, member.size, limits)
                    for offset, data in archive.chunks(member):
                        file.seek(offset)
                        file.write(data)
                        progress(0, offset + len(data), path, member.size)
                    file.truncate(member.size)
        yield first, disk


def _stage(
    tree: Tree,
    metadata: str,
    roots: Sequence[str],
    kinds: Sequence[str],
    stack: contextlib.ExitStack,
    progress: Progress,
) -> list[tuple[Output, str]]:
    """Copy the image's files into unnamed temporary files. Return the copies with their paths in the tree."""
    staged = []
    for number, path in enumerate((metadata, *roots)):
        output = stack.enter_context(tree.output(IMAGES))
        _copy(path, output, progress)
        if number and root_ftype(output.path) != kinds[number - 1]:
            raise InputError(f"'{path}' changed while it was copied")
        ending = extension(kind_of_file(output.path))
        staged.append((output, content_path(output.sha256.hexdigest(), ending)))
        output.sync()
    return staged


def _copy(path: str, output: Output, progress: Progress) -> None:
    try:
        with reading(path) as file:
            for piece in whole_content(file, path):
                output.write(piece)
                progress(0, output.size, path, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise InputError(f"'{path}' can't be read: {reason(error)}") from error


def _new_image(
    facts: Metadata,
    staged: Sequence[tuple[Output, str]],
    kinds: Sequence[str],
    aliases: tuple[str, ...],
    requirements: Mapping[str, str],
) -> NewImage:
    first, *roots = staged
    wanted = {
        name.removeprefix("requirements."): value
        for name, value in facts.properties.items()
        if name.startswith("requirements.")
    }
    new = NewImage(facts, _file(*first), aliases=aliases, requirements={**wanted, **requirements})
    for kind, (output, path) in zip(kinds, roots, strict=True):
        new.roots[kind] = _file(output, path)
        new.fingerprints[kind] = _combined(first[0].sha256.copy(), output)
    if not kinds:
        new.fingerprints[""] = new.first["sha256"]
    return new


def _file(output: Output, path: str) -> dict[str, Any]:
    return {"path": path, "size": output.size, "sha256": output.sha256.hexdigest()}


def _combined(digest: _hashlib._Hash, root: Output) -> str:
    offset = 0
    while data := os.pread(root.fd, _PIECE, offset):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()


# the catalog


def insert(catalog: Catalog, new: NewImage, *, unified: bool) -> Added:
    """Enter the image into the products file ``IMAGES_PATH``. After an error, the catalog is unchanged.

    Raises:
        RefusedError: this version of the product has a different image, or another version has this image.
        LimitError: a value is too long.
    """
    facts = new.metadata
    warnings: list[str] = []
    fields = product_fields(facts)
    name = ":".join(_word(fields[key]) for key in ("os", "release", "arch", "variant"))
    version = version_name(facts.creation_date)
    # The other products files are not suitable, because `reindex` overwrites them.
    product = catalog.own_products().get(name)
    items = _existing_items(product, version)
    wanted = _items(new, unified=unified)
    is_new = _check_items(items, wanted, f"'{name}' version '{version}'")
    _refuse_fingerprints(catalog, new, name, version)
    readable = {**fields, "requirements": new.requirements, "versions": {version: {"items": items | wanted}}}
    decode_product(name, readable, Decoded())  # raises LimitError for values that readers refuse
    if is_new:
        product = products_file(catalog)["products"].setdefault(name, {})
        _versions(product).setdefault(version, {}).setdefault("items", {}).update(wanted)
    assert product is not None
    if version == max(_versions(product)) and _describe_product(product, fields, new.requirements, warnings):
        catalog.changed.add(IMAGES_PATH)
    if is_new:
        complete_variants(catalog, warnings)
    _set_aliases(catalog, name, product, fields, new, warnings)
    fingerprints = tuple(new.fingerprints.values())
    files = tuple(dict.fromkeys(str(item["path"]) for item in wanted.values()))
    aliases = tuple(alias for alias in product.get("aliases", "").split(",") if alias)
    return Added(name, version, fingerprints, aliases, files, is_new, tuple(warnings))


def product_fields(facts: Metadata) -> dict[str, str]:
    properties = facts.properties
    kernel = KERNEL_NAMES[facts.architecture]
    arch = properties.get("architecture", "")
    if KERNEL_NAMES.get(arch) != kernel:
        arch = DEBIAN_NAMES.get(kernel, kernel)
    release = properties["release"].strip()
    return {
        "os": properties["os"].strip(),
        "release": release,
        "release_title": properties.get("release_title", release),
        "arch": arch,
        "variant": properties.get("variant", "").strip() or "default",
    }


def version_name(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d_%H%M")
    except (ValueError, OverflowError, OSError):
        raise InputError(f"creation_date {seconds} is not a date") from None


def _word(text: str) -> str:
    """Convert a text for use in a product name or an alias.

    The result is lower-case ASCII text without spaces, commas, slashes and colons.
    """
    return re.sub(r"[\s,:/]+|[^ -~]", "", text.lower()) or "unnamed"


def default_aliases(fields: Mapping[str, str]) -> list[str]:
    """Return the default alias ``OS/RELEASE/VARIANT``.

    For the variant ``default``, return two aliases: first ``OS/RELEASE``, then the alias with the variant.
    """
    os_, release, variant = (_word(fields[key]) for key in ("os", "release", "variant"))
    short = [f"{os_}/{release}"] if variant == "default" else []
    return [*short, f"{os_}/{release}/{variant}"]


def _versions(product: dict[str, Any]) -> dict[str, Any]:
    versions: dict[str, Any] = product.setdefault("versions", {})
    return versions


def _existing_items(product: dict[str, Any] | None, version: str) -> dict[str, Any]:
    if product is None:
        return {}
    found = (product.get("versions") or {}).get(version) or {}
    return dict(found.get("items") or {})


def _items(new: NewImage, *, unified: bool) -> dict[str, dict[str, Any]]:
    """Return the items of one version. The items for Incus and for LXD name the same files."""
    items: dict[str, dict[str, Any]] = {}
    ending = "_combined.tar.gz" if unified else ".tar.xz"
    combined = {
        key: new.fingerprints[kind] for kind in new.roots for key in ROOT_KINDS[kind].combined
    }  # fmt: skip
    for family in FAMILIES:
        ftype = family + ending
        items[ftype] = {"ftype": ftype, **new.first, **combined}
    for kind, root in new.roots.items():
        items[kind] = {"ftype": kind, **root}
    return items


def _check_items(existing: dict[str, Any], wanted: dict[str, dict[str, Any]], place: str) -> bool:
    """Return whether ``wanted`` has new or changed items compared with ``existing``.

    Raises RefusedError if a new item would replace a different file.
    """
    if not existing:
        return True
    firsts = {key for key in {*existing, *wanted} if key.partition(".")[0].partition("_")[0] in FAMILIES}
    for key in sorted({*wanted, *firsts}):
        ours, theirs = wanted.get(key, {}), existing.get(key)
        if key in firsts and key in existing and key not in wanted:
            raise _other_bytes(place, key)
        # A version can get an additional root filesystem of another type.
        if theirs is None:
            continue
        if not isinstance(theirs, dict) or theirs.get("sha256") != ours.get("sha256"):
            raise _other_bytes(place, key)
        # Keep the fingerprints of other root filesystems, and the path of an existing file.
        for name in (*COMBINED, "path"):
            if name in theirs and (name == "path" or name not in ours):
                ours[name] = theirs[name]
    return any(key not in existing or existing[key] != item for key, item in wanted.items())


def _other_bytes(place: str, key: str) -> RefusedError:
    return RefusedError(
        f"{place} already has an image with a different '{key}'",
        hint="build the image again with a new creation_date, or remove the old version first",
    )


def _refuse_fingerprints(catalog: Catalog, new: NewImage, name: str, version: str) -> None:
    """Raise RefusedError if another version has an image with one of the new image's fingerprints."""
    ours = set(new.fingerprints.values())
    for path, product, other, value in catalog.versions(containing=ours):
        if (path, product, other) == (IMAGES_PATH, name, version):
            continue
        for item in (value.get("items") or {}).values():
            if not ours.isdisjoint(fingerprints_of(item)):
                raise RefusedError(
                    f"the tree already has this image: '{printable(product)}', version '{printable(other)}'",
                    hint="remove the existing image: clients can't download an image that is listed twice",
                )


def _describe_product(
    product: dict[str, Any], fields: Mapping[str, str], requirements: Mapping[str, str], warnings: list[str]
) -> bool:
    """Give a product the fields and requirements of the new image. Return whether the product changed."""
    before = {key: product.get(key) for key in (*fields, "requirements")}
    if before["arch"] and (before["requirements"] or {}) != requirements:
        warnings.append("the new requirements apply to all versions of the product")
    product.update(fields)
    product["requirements"] = dict(sorted(requirements.items()))
    if not requirements:
        del product["requirements"]
    return before != {key: product.get(key) for key in before}


def _set_aliases(
    catalog: Catalog,
    name: str,
    product: dict[str, Any],
    fields: Mapping[str, str],
    new: NewImage,
    warnings: list[str],
) -> None:
    """Add the requested aliases and the default aliases to the product.

    If another product of the same architecture and type has an alias, move the alias only if it was
    requested.
    """
    own = [alias for alias in str(product.get("aliases") or "").split(",") if alias]
    asked = [alias for alias in new.aliases if alias not in own]
    derived = [alias for alias in default_aliases(fields) if alias not in {*own, *asked}]
    for other_path, other, value in catalog.products(containing=[*asked, *derived]):
        if (other_path, other) == (IMAGES_PATH, name):
            continue
        if KERNEL_NAMES.get(str(value.get("arch"))) != KERNEL_NAMES[fields["arch"]]:
            continue
        theirs = str(value.get("aliases") or "").split(",")
        # Products of one architecture can share an alias only if their images have different types.
        for alias in [alias for alias in derived if alias in theirs and _shares_type(value, new)]:
            derived.remove(alias)
            warnings.append(f"did not set the alias '{alias}', which belongs to '{printable(other)}'")
        moved = [alias for alias in asked if alias in theirs and _shares_type(value, new)]
        if moved:
            value["aliases"] = ",".join(alias for alias in theirs if alias not in moved)
            catalog.changed.add(other_path)
            warnings.append(f"moved the alias '{', '.join(moved)}' from '{printable(other)}'")
    joined = ",".join([*own, *derived, *asked])
    if joined != product.get("aliases", ""):
        product["aliases"] = joined
        catalog.changed.add(IMAGES_PATH)


def _shares_type(product: Mapping[str, Any], new: NewImage) -> bool:
    """Return whether the product has an image of the new image's type."""
    ours = {ROOT_KINDS[kind].type if kind else "container" for kind in new.fingerprints}
    return not ours.isdisjoint(types_of(product))


def types_of(product: Mapping[str, Any]) -> Iterator[str]:
    """Yield the type of each image of a product. A type can occur more than once."""
    for version in (product.get("versions") or {}).values():
        for item in (version.get("items") or {}).values():
            ftype = str(item.get("ftype", ""))
            if ftype in ROOT_KINDS:
                yield ROOT_KINDS[ftype].type
            elif ftype.endswith("_combined.tar.gz"):
                yield "container"
