"""Anchors and aliases out of the way of an edit: the text means what it meant, and nothing is shared.

An alias on the way to what changes is written out; an anchor that others use moves to the first of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import spelling
from .marks import Mark

_PROPERTIES = re.compile(r"(?:&[^\s,\[\]{}]*\s*|![^\s,\[\]{}]*\s*)+")
_NOT_IN_FLOW = re.compile(r"[,\[\]{}:?#\s]")


def unshared(text: str, root: Mark, way: Sequence[Mark], start: int, end: int) -> str:
    """The text with the first thing written out, or moved, that keeps ``start`` to ``end`` from a change
    of its own; the same text when nothing does. ``way`` are the nodes around it, from the root on.
    """
    for node in way:
        if node.kind == "alias":
            return text[: node.start] + written_out(text, node.real) + text[node.end :]
    for node in way:
        if node.anchor and (users := _users(root, node, node.start, node.end)):
            return _moved(text, node, users[0])
    for node in root.below():
        if node.anchor and start <= node.start < end and (users := _users(root, node, start, end)):
            return _moved(text, node, users[0])
    return text


def _users(root: Mark, node: Mark, start: int, end: int) -> list[Mark]:
    """The aliases of a node outside of a place."""
    return [mark for mark in root.below() if mark.target is node and not start <= mark.start < end]


def _moved(text: str, node: Mark, user: Mark) -> str:
    """The anchor set where it is first used; the aliases behind that follow."""
    copy = f"&{node.anchor} {written_out(text, node)}"
    text = text[: user.start] + copy + text[user.end :]
    found = re.compile(rf"((?:![^\s,\[\]{{}}]*\s+)?)&{re.escape(node.anchor)}([ \t]*)").match(
        text, node.start
    )
    assert found is not None and user.start >= node.start
    before, behind = text[: node.start] + found[1], text[found.end() :]
    if behind[:1] in ("\n", "\r", ""):
        before = before.rstrip(" \t")
    return before + behind


def written_out(text: str, node: Mark) -> str:
    """A node's content once more, on one line, without the anchors in it."""
    tag = _tag(text, node)
    if node.kind == "alias":
        return text[node.start : node.end]
    if node.kind == "scalar":
        return tag + _scalar(text, node)
    children = [written_out(text, child) for child in node.children]
    if node.kind == "sequence":
        return f"{tag}[{', '.join(children)}]"
    pairs = zip(children[::2], children[1::2], strict=True)
    # an alias as a key wants a blank before the colon
    return tag + "{" + ", ".join(f"{key}{' ' * key.startswith('*')}: {value}" for key, value in pairs) + "}"


def _tag(text: str, node: Mark) -> str:
    found = (
        _PROPERTIES.match(text, node.start, max(node.start, node.end)) if node.anchor or node.tag else None
    )
    return "".join(f"{word} " for word in found[0].split() if word[0] == "!") if found else ""


def _scalar(text: str, node: Mark) -> str:
    if node.null and not node.style:
        return "~" if not node.tag else ""
    if node.style:
        return spelling.double(node.text)
    # another spelling could be another type; several words are text anyway
    return spelling.double(node.text) if _NOT_IN_FLOW.search(node.text) else node.text
