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

import re
from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...model.source import Span
from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..unknown_names_by_template import mistakes

#: operators that give True or False in pongo2
LOGIC = ("and", "or")
#: for each text at a syntax error: the Jinja construct that contains the text, and a hint
WORDS = {
    "is": ("is", "write {% if name %}, which is false if 'name' is not set"),
    "if": ("a if b else c", "write {% if b %}{{ a }}{% else %}{{ c }}{% endif %}"),
    "~": ("~", "write each value in its own {{ }}"),
}
FILTER_CALL = "a filter takes no parentheses"
#: fields of Jinja's variable ``loop``, with the names that pongo2 gives them
LOOP = {
    "index": "forloop.Counter", "index0": "forloop.Counter0", "revindex": "forloop.Revcounter",
    "revindex0": "forloop.Revcounter0", "first": "forloop.First", "last": "forloop.Last",
}  # fmt: skip


LOOP_FIELD = re.compile(r"loop\.(\w+)")
#: matches one argument in parentheses: a text or a number
ARGUMENT = re.compile(r"""\(\s*("[^"\\\n]*"|'[^'\\\n]*'|\d+)\s*\)""")


@check("jinja", "error", "a construct of Jinja that pongo2 does not have")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        if template.document is None:
            error = next(iter(template.errors.values()))
            if (words := of_jinja(error)) and error.span is not None:
                yield Observation(*words[:1], error.span, words[1], fix=without_parentheses(error))
        printed = {id(node.expression) for node in template.every(tree.Print)}
        for expression in template.every(tree.Operation):
            if expression.operator in LOGIC and (id(expression) in printed or has_text(expression)):
                yield Observation(
                    f"in pongo2, '{expression.operator}' gives True or False, not one of its operands",
                    template.span(expression),
                    "write value|default:…, which replaces an empty value",
                )
    for found in mistakes(image):
        if found.name == "loop":
            name = forloop(found.span) or "forloop.Counter"
            edits = tuple(
                (span.source.span(span.start, LOOP_FIELD.match(span.source.text, span.start).end()), new)  # type: ignore[union-attr]
                for span in found.spans
                if (new := forloop(span))
            )
            fix = Fix(edits) if len(edits) == len(found.spans) else None
            message = "pongo2 has no variable 'loop': this name is always empty"
            yield Observation(message, found.span, f"write {name}", fix=fix)


def forloop(span: Span) -> str:
    """Return pongo2's name for a field of Jinja's loop, or "" if pongo2 has no such field."""
    field = LOOP_FIELD.match(span.source.text, span.start)
    return LOOP.get(field[1], "") if field else ""


def without_parentheses(error: TemplaterError) -> Fix | None:
    """Return a fix if the error is a filter that has a literal argument in parentheses.

    Return None if the error has another cause.
    """
    if error.message != FILTER_CALL or error.span is None:
        return None
    source = error.span.source
    found = ARGUMENT.match(source.text, error.span.start)
    return Fix(((source.span(*found.span()), f":{found[1]}"),)) if found else None


def has_text(expression: tree.Operation) -> bool:
    """Return whether an operand is a nonempty literal text, which always counts as true."""
    return any(
        isinstance(side, tree.Literal) and side.value and isinstance(side.value, str)
        for side in expression.operands
    )


def of_jinja(error: TemplaterError) -> tuple[str, str] | None:
    """Return a message and a hint if a construct of Jinja causes the syntax error.

    Return None if the error has another cause.
    """
    if error.message == FILTER_CALL:
        return "a filter takes no parentheses in pongo2", error.hint
    text = error.span.text if error.span is not None else ""
    word = text[:1] if text[:1] == "~" else text
    if word in WORDS and (word != "if" or "two values" in error.message):
        return f"pongo2 has no '{WORDS[word][0]}'", WORDS[word][1]
    return None
