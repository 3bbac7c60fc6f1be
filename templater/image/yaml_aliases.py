"""Functions that separate an edited YAML value from anchors and aliases. The text keeps its meaning.

An alias on the path to the value becomes a copy of its target. An anchor on that path moves to its first
alias.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import yaml_quoting
from .yaml_positions import Mark

_PROPERTIES = re.compile(r"(?:&[^\s,\[\]{}]*\s*|![^\s,\[\]{}]*\s*)+")
_NOT_IN_FLOW = re.compile(r"[,\[\]{}:?#\s]")


def unshared(text: str, root: Mark, way: Sequence[Mark], start: int, end: int) -> str:
    """Resolve one anchor or alias that an edit of the range ``start`` to ``end`` would affect.

    Return the new text, or an equal text if nothing is left. The list ``way`` has the nodes from the root to
    the edited value.
    """
    for node in way:
        if node.kind == "alias":
            return text[: node.start] + written_out(text, node.real) + text[node.end :]
    aliases: dict[int, list[Mark]] = {}
    for mark in root.below():
        if mark.target is not None:
            aliases.setdefault(id(mark.target), []).append(mark)
    edited = [node for node in root.below() if node.anchor and start <= node.start < end]
    for node, begin, stop in [*((n, n.start, n.end) for n in way), *((n, start, end) for n in edited)]:
        # the aliases in the edited range are of no use after the edit
        users = [user for user in aliases.get(id(node), ()) if not begin <= user.start < stop]
        if users:
            return _moved(text, node, users[0])
    return text


def _moved(text: str, node: Mark, user: Mark) -> str:
    """Move an anchor to the place of its first alias. Later aliases then refer to the moved anchor."""
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
    """Return a copy of a node's content, on one line and without anchors."""
    tag = _tag(text, node)
    if node.kind == "alias":
        return text[node.start : node.end]
    if node.kind == "scalar":
        return tag + _scalar(text, node)
    children = [written_out(text, child) for child in node.children]
    if node.kind == "sequence":
        return f"{tag}[{', '.join(children)}]"
    pairs = zip(children[::2], children[1::2], strict=True)
    # An alias used as a key needs a space before the colon.
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
        return yaml_quoting.double(node.text)
    # Only text that needs quotes gets quotes: quotes could change the type of a plain word such as `true`.
    return yaml_quoting.double(node.text) if _NOT_IN_FLOW.search(node.text) else node.text
