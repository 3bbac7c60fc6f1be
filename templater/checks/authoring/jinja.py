"""A template uses a construct of Jinja that pongo2 does not have.

LXD and Incus render templates with pongo2, which looks like Jinja but differs:

    Jinja                         pongo2
    {% if x is defined %}         {% if x %}
    {{ loop.index }}              {{ forloop.Counter }}
    {{ x|default("y") }}          {{ x|default:"y" }}
    {{ x or "y" }}                {{ x|default:"y" }}       (`or` gives True or False)
    {{ a ~ b }}                   {{ a }}{{ b }}
    {{ a if b else c }}           {% if b %}{{ a }}{% else %}{{ c }}{% endif %}
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...pongo2.syntax import tree
from ..authored import AuthoredImage
from ..base import Observation, check
from ..names import mistakes

#: operators that give True or False in pongo2
LOGIC = ("and", "or")
#: text at a syntax error: the Jinja construct that contains the text, and what to write instead
WORDS = {
    "is": ("is", "write {% if name %}, which is false if 'name' is not set"),
    "if": ("a if b else c", "write {% if b %}{{ a }}{% else %}{{ c }}{% endif %}"),
    "~": ("~", "write each value in its own {{ }}"),
}
FILTER_CALL = "a filter takes no parentheses"
#: fields of Jinja's loop, with those of pongo2
LOOP = {
    "index": "forloop.Counter", "index0": "forloop.Counter0", "revindex": "forloop.Revcounter",
    "revindex0": "forloop.Revcounter0", "first": "forloop.First", "last": "forloop.Last",
}  # fmt: skip


@check("jinja", "error", "a construct of Jinja that pongo2 does not have")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        if template.document is None:
            error = next(iter(template.errors.values()))
            if (words := of_jinja(error)) and error.span is not None:
                yield Observation(*words[:1], error.span, words[1])
        printed = {id(node.expression) for node in template.every(tree.Print)}
        for expression in template.every(tree.Operation):
            if expression.operator in LOGIC and (id(expression) in printed or has_text(expression)):
                yield Observation(
                    f"'{expression.operator}' gives True or False, not one of the values",
                    template.span(expression),
                    "write value|default:…, which replaces an empty value",
                )
    for found in mistakes(image):
        if found.name == "loop":
            field = found.span.source.text[found.span.end :][1:12].split()
            name = LOOP.get(field[0].rstrip("}"), "forloop.Counter") if field else "forloop.Counter"
            yield Observation("pongo2 has no 'loop': it is always empty", found.span, f"write {name}")


def has_text(expression: tree.Operation) -> bool:
    """Return whether an operand is a text that is not empty. Such a text is always true."""
    return any(
        isinstance(side, tree.Literal) and side.value and isinstance(side.value, str)
        for side in expression.operands
    )


def of_jinja(error: TemplaterError) -> tuple[str, str] | None:
    """Return message and hint if a syntax error comes from a construct of Jinja, or None."""
    if error.message == FILTER_CALL:
        return "a filter takes no parentheses in pongo2", error.hint
    text = error.span.text if error.span is not None else ""
    word = text[:1] if text[:1] == "~" else text
    if word in WORDS and (word != "if" or "two values" in error.message):
        return f"pongo2 has no '{WORDS[word][0]}'", WORDS[word][1]
    return None
