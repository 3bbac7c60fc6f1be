"""Removal of old versions and unused files from a tree: at once from the catalog, later from the disk.

Clients cache a catalog for up to an hour and download its files. So a file is deleted only when it has been
missing from the catalog for the whole grace period. `.templater/removed.json` has the time when the catalog
dropped each file.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from .removal_record import read_removed, record_and_save, record_removed
from .tree import Tree
from .tree_catalog import Catalog

DAY = 86400
GRACE = DAY
#: maximum number of files that one run deletes
_MOST_DELETED = 50_000


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of a prune: dropped ``versions`` as (product, version), and deleted files with their size.

    ``waiting`` is the number of dropped files that are still in their grace period.
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
