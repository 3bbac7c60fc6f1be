"""Functions that read values from YAML files of the guest.

Invalid files and invalid values count as missing, because cloud-init ignores them.
"""

from __future__ import annotations

from ..model.errors import TemplaterError
from ..model.source import Source
from ..parsing.yaml_nodes import Mapping, Node, Scalar, Sequence, parse

TRUE = ("true", "yes", "on", "1")


def root_of(data: bytes | None) -> Node | None:
    """Parse a file, and return its root node. Return None for a missing or invalid file."""
    try:
        return parse(Source("<cloud-init>", data)) if data is not None else None
    except TemplaterError:
        return None


def node_at(root: Node | None, *names: str) -> Node | None:
    """Return the node at a path of keys, or None."""
    node = root
    for name in names:
        if not isinstance(node, Mapping):
            return None
        pairs = [(key, value) for key, value in node.pairs() if isinstance(key, Scalar) and key.text == name]
        node = pairs[-1][1] if pairs else None
    return node


def text_at(root: Node | None, *names: str) -> str:
    node = node_at(root, *names)
    return node.text if isinstance(node, Scalar) and not is_null(node) else ""


def texts_at(root: Node | None, *names: str) -> tuple[str, ...] | None:
    """Return the texts of a list, or None if the node is missing or not a list."""
    node = node_at(root, *names)
    if not isinstance(node, Sequence):
        return None
    return tuple(item.text for item in node.children if isinstance(item, Scalar))


def is_null(node: Scalar) -> bool:
    return node.plain and node.text in ("", "null", "~")
