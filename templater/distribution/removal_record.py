"""The record of image files that the catalog of a tree has dropped. `prune` deletes them later."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from ..model.errors import InputError, LimitError
from ..model.file_names import STATE_FOLDER
from ..model.source import printable
from .catalog_decoder import MOST_BYTES, parse_json
from .tree import KEPT_FOLDERS, MOST_NESTED, MOST_REMOVED, Tree
from .tree_catalog import Catalog, clean_path

#: the record of removed images, which no client requests
REMOVED = f"{STATE_FOLDER}/removed.json"


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
    """Return whether `prune` may delete a file. A catalog can also name a catalog or a directory."""
    return path.partition("/")[0] not in KEPT_FOLDERS and not os.path.isdir(os.path.join(tree.path, path))


def record_removed(tree: Tree, files: Mapping[str, int]) -> None:
    data = json.dumps(files, indent=0, sort_keys=True).encode() + b"\n"
    if len(files) > MOST_REMOVED or len(data) > MOST_BYTES:
        raise LimitError(f"'{REMOVED}' would list {len(files)} files, more than `prune` can read")
    tree.write_json(REMOVED, [data])


def record_and_save(tree: Tree, catalog: Catalog, before: set[str], moment: int | None = None) -> None:
    """Record the files that the catalog no longer names, then write the catalog.

    Because of this order, the record names every dropped file, even if the process is killed between the two
    writes.
    """
    gone = before - catalog.paths()
    if gone:
        moment = int(time.time()) if moment is None else moment
        removed = read_removed(tree)
        removed.update(dict.fromkeys(gone, moment))
        record_removed(tree, removed)
    if catalog.changed:
        tree.save(catalog)
