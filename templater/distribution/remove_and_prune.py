"""Removal of images, old versions and unused files: first from a tree's catalog, and later from the disk.

Clients cache a catalog for up to an hour, so `prune` deletes a dropped file only after a grace period.
`.templater/removed.json` records when the catalog dropped each file.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..model.errors import InputError, LimitError
from ..model.file_names import STATE_FOLDER
from ..model.unprintable_characters import printable
from .catalog_decoder import COMBINED, MOST_BYTES, parse_json
from .client_image_list import ROOT_KINDS
from .tree import KEPT_FOLDERS, MOST_NESTED, MOST_REMOVED, Tree
from .tree_catalog import Catalog, clean_path, fingerprints_of

#: the path in a tree of the record of dropped files; clients do not request this file
REMOVED = f"{STATE_FOLDER}/removed.json"
DAY = 86400
GRACE = DAY
#: maximum number of files that one run deletes
_MOST_DELETED = 50_000
_LEAST_FINGERPRINT = 12


def remove(tree: Tree, names: Sequence[str]) -> Pruned:
    """Drop images from the catalog. Each name is a fingerprint, ``PRODUCT`` or ``PRODUCT@VERSION``."""
    tree.check()
    with tree.lock():
        catalog = tree.load()
        before = catalog.paths()
        dropped: list[tuple[str, str]] = []
        for name in names:
            dropped += _remove(catalog, name)
        record_and_save(tree, catalog, before)
        waiting = len(read_removed(tree))
    return Pruned(tuple(dropped), (), 0, waiting)


def _remove(catalog: Catalog, name: str) -> list[tuple[str, str]]:
    for path, value in catalog.named(name):
        versions = list(value.get("versions") or {})
        for version in versions:
            drop_version(catalog, path, name, version)
        if not versions:
            drop_product(catalog, path, name)
        return [(name, version) for version in versions]
    product, _, version = name.rpartition("@")
    for path, value in catalog.named(product):
        if version in (value.get("versions") or {}):
            drop_version(catalog, path, product, version)
            return [(product, version)]
    return _remove_fingerprint(catalog, name)


def _remove_fingerprint(catalog: Catalog, start: str) -> list[tuple[str, str]]:
    if len(start) < _LEAST_FINGERPRINT:
        raise InputError(
            f"unknown product '{printable(start)}'",
            hint=f"give PRODUCT, PRODUCT@VERSION or {_LEAST_FINGERPRINT} characters of a fingerprint",
        )
    found = [
        (path, product, version, value, fingerprint)
        for path, product, version, value in catalog.versions(containing=[start])
        for fingerprint in _fingerprints(value)
        if fingerprint.startswith(start)
    ]
    if not found:
        raise InputError(
            f"the tree has no image '{printable(start)}'",
            hint="to list the images, run: templater streams list TREE",
        )
    if len({fingerprint for *_, fingerprint in found}) > 1:
        raise InputError(f"several fingerprints begin with '{start}'", hint="give more characters")
    for path, product, version, value, fingerprint in found:
        _drop_image(value["items"], fingerprint)
        catalog.changed.add(path)
        if not _fingerprints(value):
            drop_version(catalog, path, product, version)
    return [(product, version) for _, product, version, _, _ in found]


def _fingerprints(version: dict[str, Any]) -> set[str]:
    items = version.get("items")
    values: Iterable[Any] = items.values() if isinstance(items, dict) else ()
    return {each for item in values if isinstance(item, dict) for each in fingerprints_of(item)}


def _drop_image(items: dict[str, Any], fingerprint: str) -> None:
    """Remove one image of a version. Keep the metadata item if another root filesystem needs it."""
    for key, item in list(items.items()):
        if fingerprint not in fingerprints_of(item):
            continue
        kinds = [
            kind
            for kind, root in ROOT_KINDS.items()
            if any(item.get(c) == fingerprint for c in root.combined)
        ]
        if not kinds:
            del items[key]
            continue
        for name in [name for name in COMBINED if item.get(name) == fingerprint]:
            del item[name]
        for kind in kinds:
            for other in [k for k, each in items.items() if each.get("ftype") == kind]:
                del items[other]
        if not fingerprints_of(item):
            del items[key]


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of `prune` or `remove`.

    * ``versions``: the dropped versions as pairs (product, version)
    * ``deleted``: the paths of the deleted files
    * ``size``: the bytes of the deleted files
    * ``waiting``: the number of dropped files that a later run will delete
    """

    versions: tuple[tuple[str, str], ...]
    deleted: tuple[str, ...]
    size: int
    waiting: int


def prune(
    tree: Tree,
    *,
    keep: int | None = None,
    older_than: int | None = None,
    grace: int = GRACE,
    dry_run: bool = False,
    now: Callable[[], float] = time.time,
) -> Pruned:
    """Drop old versions, then delete the files whose grace period has passed.

    ``keep`` is the number of versions to keep of each product. Versions younger than ``older_than`` seconds
    are kept as well. If neither ``keep`` nor ``older_than`` is given, no version is dropped.
    """
    tree.check()
    with tree.lock():
        catalog = tree.load()
        before = catalog.paths()
        moment = int(now())
        dropped = _drop_old(catalog, keep, older_than, moment) if (keep, older_than) != (None, None) else []
        if not dry_run:
            record_and_save(tree, catalog, before, moment)
        deleted, size, waiting = _delete_files(tree, catalog, grace, moment, dry_run=dry_run)
    return Pruned(tuple(dropped), tuple(deleted), size, waiting)


def _drop_old(
    catalog: Catalog, keep: int | None, older_than: int | None, moment: int
) -> list[tuple[str, str]]:
    dropped = []
    for path, name, product in catalog.read():
        for version in sorted(product.get("versions") or {}, reverse=True)[keep or 0 :]:
            if older_than is None or _age(version, moment) > older_than:
                drop_version(catalog, path, name, version)
                dropped.append((name, version))
    return dropped


def _age(version: str, moment: int) -> float:
    """Return the seconds since the version's date.

    Return 0 for a version whose name has no date, so that the version is kept.
    """
    for length, layout in ((13, "%Y%m%d_%H%M"), (12, "%Y%m%d%H%M"), (8, "%Y%m%d")):
        if len(version) >= length:
            with contextlib.suppress(ValueError):
                return moment - datetime.strptime(version[:length], layout).replace(tzinfo=UTC).timestamp()
    return 0


def _delete_files(
    tree: Tree, catalog: Catalog, grace: int, moment: int, *, dry_run: bool
) -> tuple[list[str], int, int]:
    named = catalog.paths()
    recorded = read_removed(tree)
    removed = {path: at for path, at in recorded.items() if path not in named}
    for path in tree.content_files():  # a killed `add` leaves files that the catalog never named
        if path not in named:
            removed.setdefault(path, moment)
    # the other files follow in the next run
    due = sorted(path for path, at in removed.items() if moment - at >= grace)[:_MOST_DELETED]
    size = 0
    if not dry_run:
        for path in due:
            size += tree.unlink(path)
            del removed[path]
        if removed != recorded:
            record_removed(tree, removed)
    return due, size, len(removed) - (len(due) if dry_run else 0)


def drop_version(catalog: Catalog, path: str, product: str, version: str) -> None:
    catalog.changed.add(path)
    versions = catalog.files[path]["products"][product]["versions"]
    del versions[version]
    if not versions:
        drop_product(catalog, path, product)


def drop_product(catalog: Catalog, path: str, product: str) -> None:
    catalog.changed.add(path)
    del catalog.files[path]["products"][product]


def read_removed(tree: Tree) -> dict[str, int]:
    """Return the files that the catalog has dropped, with the Unix time when it dropped each file."""
    try:
        raw = parse_json(tree.read(REMOVED), REMOVED)
    except FileNotFoundError:
        return {}
    if not isinstance(raw, dict):
        raise InputError(f"'{printable(os.path.join(tree.path, REMOVED))}' is not a JSON object")
    if len(raw) > MOST_REMOVED:
        raise LimitError(f"'{REMOVED}' lists more than {MOST_REMOVED} files")
    return {
        path: at
        for path, at in raw.items()
        if type(at) is int
        and path.count("/") <= MOST_NESTED
        and clean_path(path) == path
        and _may_be_image(tree, path)
    }


def _may_be_image(tree: Tree, path: str) -> bool:
    """Return whether `prune` may delete a path.

    A catalog can also name catalog files and directories, but `prune` never deletes these.
    """
    return path.partition("/")[0] not in KEPT_FOLDERS and not os.path.isdir(os.path.join(tree.path, path))


def record_removed(tree: Tree, files: Mapping[str, int]) -> None:
    data = json.dumps(files, indent=0, sort_keys=True).encode() + b"\n"
    if len(files) > MOST_REMOVED or len(data) > MOST_BYTES:
        raise LimitError(f"'{REMOVED}' would list {len(files)} files, more than `prune` can read")
    tree.write_json(REMOVED, [data])


def record_and_save(tree: Tree, catalog: Catalog, before: set[str], moment: int | None = None) -> None:
    """Record the files that the catalog no longer names, then write the catalog."""
    # The record comes first, so that it names every dropped file if the process is killed between the writes.
    gone = before - catalog.paths()
    if gone:
        moment = int(time.time()) if moment is None else moment
        removed = read_removed(tree)
        removed.update(dict.fromkeys(gone, moment))
        record_removed(tree, removed)
    if catalog.changed:
        tree.save(catalog)
