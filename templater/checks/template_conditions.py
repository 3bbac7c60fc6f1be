"""The conditions in templates: every expression that a template tests for true or false."""

from __future__ import annotations

from collections.abc import Iterator

from ..pongo2.syntax import tree
from .authored_image import Template

LOGIC = ("and", "or", "not")


def conditions(template: Template) -> Iterator[tree.Expression]:
    """Yield the condition of each ``if`` and ``elif``.

    For a condition with ``and``, ``or`` or ``not``, yield each operand instead.
    """
    for statement in template.every(tree.If):
        waiting = [condition for condition, _ in statement.branches]
        while waiting:
            node = waiting.pop(0)
            if isinstance(node, tree.Operation) and node.operator in LOGIC:
                waiting = [*node.operands, *waiting]
            else:
                yield node
