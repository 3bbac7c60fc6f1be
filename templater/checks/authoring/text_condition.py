"""A condition tests a value that is always a string.

The daemons give `instance.privileged` and `instance.ephemeral` as the strings `true` and `false`. Values of
configuration keys are strings, too. Every nonempty string makes a condition true, even the string `false`.

    {% if instance.privileged %}                 wrong: always true in a container
    {% if instance.privileged == "true" %}       right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import Span
from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage, Template
from ..base import Observation, check

#: fields of an instance, and configuration keys, whose values are "true" or "false"
FIELDS = {("instance", "privileged"), ("container", "privileged")} | {
    ("instance", "ephemeral"), ("container", "ephemeral")
}  # fmt: skip
KEYS = {
    "boot.autostart", "security.csm", "security.nesting", "security.privileged", "security.protection.delete",
    "security.secureboot",
}  # fmt: skip
LOGIC = ("and", "or", "not")


@check("text-condition", "error", "a condition that is true even for the string 'false'")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        for condition in conditions(template):
            name = text_boolean(condition)
            if name:
                yield Observation(
                    f"'{name}' is a string: the condition is true even for \"false\"",
                    template.span(condition),
                    f'write {name} == "true"',
                )
            elif isinstance(condition, tree.Operation) and condition.operator in ("==", "!="):
                yield from compared(template.span(condition), condition)


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


def compared(span: Span, condition: tree.Operation) -> Iterator[Observation]:
    left, right = condition.operands
    for one, other in ((left, right), (right, left)):
        name = text_boolean(one)
        if name and isinstance(other, tree.Literal) and isinstance(other.value, bool):
            yield Observation(
                f"'{name}' is a string, so it never equals the boolean {str(other.value).lower()}",
                span,
                f'write {name} {condition.operator} "{str(other.value).lower()}"',
            )


def text_boolean(node: object) -> str:
    """Return the text of an expression whose value is always "true" or "false".

    Return "" for any other expression.
    """
    if not isinstance(node, tree.Path):
        return ""
    path = tuple(str(part.key) for part in node.parts)
    if path in FIELDS:
        return node.text
    first = node.parts[0]
    if first.key == "config_get" and first.arguments and isinstance(first.arguments[0], tree.Literal):
        key = first.arguments[0].value
        return f'config_get("{key}", "false")' if key in KEYS else ""
    return ""
