"""A strict reader of YAML files. It checks a file against the same JSON Schema that editors use.

The reader knows the parts of JSON Schema that ``tests.schema.json`` uses. It reads each scalar as text:
``0600`` and ``yes`` are texts where the schema allows a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from ..model.errors import InputError
from ..model.unprintable_characters import printable
from ..parsing.go_scalars import is_merge, is_null
from ..parsing.yaml_nodes import Mapping, Node, Scalar, Sequence, merged_nodes
from ..pongo2.syntax.hints import did_you_mean

Schema = dict[str, Any]
#: for each type of a JSON Schema, the kind of YAML node that has this type
_KINDS = {
    "object": "mapping",
    "array": "sequence",
    "string": "scalar",
    "number": "scalar",
    "boolean": "scalar",
}
#: after this many mistakes, the rest of a file is not read
MOST = 100
_WORDS = {"object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false"}


@cache
def schema_of_tests() -> Schema:
    """Return the JSON Schema of test files."""
    schema: Schema = json.loads((files(__package__) / "tests.schema.json").read_text("utf-8"))
    return schema


def entries(node: Node | None) -> dict[str, tuple[Node, Node]]:
    """Return a dict from each key's text to its key node and value node, including merged mappings.

    The result is empty if the node is not a mapping.
    """
    found: dict[str, tuple[Node, Node]] = {}
    if not isinstance(node, Mapping):
        return found
    merged: list[Node] = []
    for key, value in node.pairs():
        if is_merge(key):
            merged += merged_nodes(key, value)
        elif isinstance(key, Scalar):
            found[key.text] = key, value
    below: dict[str, tuple[Node, Node]] = {}
    for mapping in reversed(merged):
        below.update(entries(mapping))
    return {**below, **found}


class Reader:
    """A class that checks the nodes of one YAML file, and collects the mistakes in ``errors``."""

    def __init__(self, schema: Schema) -> None:
        self.root = schema
        self.errors: list[InputError] = []

    def check(self, node: Node, schema: Schema, what: str) -> None:
        """Record the mistakes of a node. Messages call the node ``what``."""
        if len(self.errors) >= MOST:
            return
        for part in self.parts(schema):
            if "anyOf" in part:
                self.check_any(node, part["anyOf"], what)
            if "enum" in part and not self.check_enum(node, part["enum"], what):
                return
            if "type" in part and not self.check_type(node, part["type"], what):
                return
            if "pattern" in part and not re.search(part["pattern"], getattr(node, "text", "")):
                self.wrong(
                    node,
                    f"invalid {what} '{printable(getattr(node, 'text', ''))}'",
                    part.get("description", ""),
                )
            if isinstance(node, Mapping):
                self.check_mapping(node, part, what)
            elif isinstance(node, Sequence):
                self.check_list(node, part, what)

    def parts(self, schema: Schema) -> Iterator[Schema]:
        """Yield all schemas that apply to a node. References and ``allOf`` are resolved."""
        if "$ref" in schema:
            target: Any = self.root
            for name in schema["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            yield from self.parts(target)
        elif "allOf" in schema:
            for part in schema["allOf"]:
                yield from self.parts(part)
        else:
            yield schema

    def kinds(self, schema: Schema) -> set[str]:
        """Return the kinds of nodes that a schema allows."""
        found: set[str] = set()
        for part in self.parts(schema):
            for each in part.get("anyOf", ()):
                found |= self.kinds(each)
            if "enum" in part:
                found.add("scalar")
            types = part.get("type", ())
            found |= {_KINDS[name] for name in ([types] if isinstance(types, str) else types)}
        return found

    def check_any(self, node: Node, choices: list[Schema], what: str) -> None:
        """Check a node by the schema in ``choices`` that allows the node's kind: scalar, mapping or sequence.

        If no schema allows this kind, record a mistake.
        """
        # No two of the schemas allow the same kind.
        fitting = [each for each in choices if node.kind in self.kinds(each)]
        if fitting:
            self.check(node, fitting[0], what)
            return
        words = {"scalar": "text", "mapping": "a mapping", "sequence": "a list"}
        kinds = [words[kind] for each in choices for kind in sorted(self.kinds(each))]
        self.wrong(node, f"{what} must be {' or '.join(dict.fromkeys(kinds))}, not a {node.kind}")

    def check_type(self, node: Node, types: str | list[str], what: str) -> bool:
        names = [types] if isinstance(types, str) else types
        null = isinstance(node, Scalar) and is_null(node, "v2")
        if node.kind not in {_KINDS[name] for name in names} or null:
            kind = "empty" if null else f"a {node.kind}"
            self.wrong(node, f"{what} must be {_WORDS[names[0]]}, not {kind}")
            return False
        if names == ["boolean"] and not (isinstance(node, Scalar) and node.text in ("true", "false")):
            self.wrong(node, f"{what} must be true or false")
            return False
        return True

    def check_enum(self, node: Node, values: list[Any], what: str) -> bool:
        texts = ["true" if value is True else str(value) for value in values]
        if not isinstance(node, Scalar):
            self.wrong(node, f"{what} must be {texts[0] if len(texts) == 1 else 'text'}, not a {node.kind}")
            return False
        if node.text in texts:
            return True
        if len(texts) == 1:
            self.wrong(node, f"{what} must be {texts[0]}")
        else:
            hint = did_you_mean(node.text[:100], texts) or f"known values: {', '.join(texts)}"
            shown = what.removeprefix("an entry of ")
            self.wrong(node, f"unknown value '{printable(node.text)}' of {shown}", hint)
        return False

    def check_mapping(self, node: Mapping, schema: Schema, what: str) -> None:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        self.check_keys(node)
        found = entries(node)
        for name, (key, value) in found.items():
            if name in properties:
                self.check(value, properties[name], f"'{name}'")
            elif isinstance(others, dict):
                self.check(value, others, f"'{printable(name)}'")
            elif not others:
                hint = did_you_mean(name[:100], list(properties)) or f"known keys: {', '.join(properties)}"
                self.wrong(key, f"unknown key '{printable(name)}'", hint)
        for name in schema.get("required", ()):
            if name not in found:
                self.wrong(node, f"{what} has no '{name}'")
        if len(found) < schema.get("minProperties", 0):
            self.wrong(node, f"{what} is empty", f"known keys: {', '.join(properties)}" if properties else "")

    def check_keys(self, node: Mapping) -> None:
        first: dict[str, Node] = {}
        for key, value in node.pairs():
            if is_merge(key):
                if not all(isinstance(each, Mapping) for each in merged_nodes(key, value)):
                    self.wrong(value, "'<<' needs a mapping or a list of mappings")
            elif not isinstance(key, Scalar):
                self.wrong(key, f"a key must be text, not a {key.kind}")
            elif key.text in first:
                self.wrong(
                    key, f"duplicate key '{printable(key.text)}', first in line {first[key.text].line}"
                )
            else:
                first[key.text] = key

    def check_list(self, node: Sequence, schema: Schema, what: str) -> None:
        if len(node.children) < schema.get("minItems", 0):
            self.wrong(node, f"{what} is an empty list")
        if len(node.children) > schema.get("maxItems", len(node.children)):
            self.wrong(node, f"{what} has more than {schema['maxItems']} entries")
        if "items" in schema:
            for child in node.children:
                self.check(child, schema["items"], f"an entry of {what}")

    def wrong(self, node: Node, message: str, hint: str = "") -> None:
        self.errors.append(InputError(message, node.span, hint))
