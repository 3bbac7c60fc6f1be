"""Removal of chosen images from a tree's catalog. `prune` deletes their files after a grace period."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..model.errors import InputError
from ..model.source import printable
from .catalog_decoder import COMBINED
from .client_image_list import ROOT_KINDS
from .prune_tree import Pruned, drop_product, drop_version
from .removal_record import read_removed, record_and_save
from .tree import Tree
from .tree_catalog import Catalog, fingerprints_of

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
