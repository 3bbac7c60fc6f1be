"""The JSON schemas of an installed cloud-init, read as files. templater never imports cloud-init itself.

The schemas mark deprecated parts, but a JSON Schema validator ignores these marks. So templater does not
report deprecated parts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cache
from glob import glob
from itertools import chain, islice
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from ...model.errors import LimitError
from ...model.source import Source
from ...oslite import address_space
from ...parsing.yaml_nodes import Mapping, Node, Sequence, parse
from ...sandbox import child_json
from ...sandbox.child import BoundError, Bounds, ChildFailure
from ..validator import LONGEST, Failure, Missing, Mistake, Validator, short

#: the variable that names the folder with the schemas, if cloud-init is not installed
VARIABLE = "TEMPLATER_CLOUD_INIT_SCHEMAS"
_FOLDERS = "/usr/lib/python3*/*-packages/cloudinit/config/schemas"
#: maximum bytes by which the process can grow. jsonschema quotes a wrong value in a message for each branch
#: of the schema, which takes memory.
_MEMORY = 256 << 20
#: maximum number of mistakes that are reported for one file
_MOST = 20
#: maximum length of an unknown key that is compared with known keys
_LONGEST_KEY = 60
#: maximum length of a value in a message
_LONGEST_VALUE = 40
#: keys that choose the branch of a schema
_CHOOSING = ("type", "version")
#: beginnings of messages about values that cloud-init accepts, although its schema lacks them
_WORKING = ("'loopback' is not one of", "'none' is not one of")


def _inner(value: dict[str, Any]) -> dict[str, Any]:
    """Return the network configuration, which can be below the key ``network``."""
    inner = value.get("network")
    return inner if isinstance(inner, dict) else value


def _version(value: dict[str, Any]) -> int:
    """Return the index of the schema for a network configuration: 0 for version 1, and 1 for version 2."""
    return 0 if _inner(value).get("version") == 1 else 1


#: for each kind: the schema files, and the function that chooses a schema
_SCHEMAS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], int]]] = {
    "cloud-config": (("schema-cloud-config-v1.json",), lambda value: 0),
    "network-config": (("schema-network-config-v1.json", "schema-network-config-v2.json"), _version),
}


def _schemas(folder: str | None, names: tuple[str, ...]) -> list[Any]:
    """Return the parsed schemas from the first folder with all schemas, or [] without such a folder."""
    for place in [folder] if folder else sorted(glob(_FOLDERS)):
        schemas = []
        try:
            for name in names:
                with open(f"{place}/{name}", "rb") as file:
                    schemas.append(json.load(file))
        except (OSError, ValueError):
            continue
        return schemas
    return []


@cache
def _judges(folder: str | None, names: tuple[str, ...]) -> list[Any]:
    """Return an evaluator for each installed schema.

    Raises Missing if a schema or jsonschema is missing. The hint names only the missing parts.
    """
    schemas = _schemas(folder, names)
    hints = [] if schemas else [f"install cloud-init or set {VARIABLE}"]
    try:
        from jsonschema.validators import validator_for
    except ImportError:
        hints.append("install templater's extra 'check'")
    if hints:
        raise Missing(", and also ".join(hints))
    judges = [validator_for(schema)(schema) for schema in schemas]
    for judge in judges:  # jsonschema imports and reads some files on first use
        list(judge.iter_errors({"network": {"version": 1, "config": [{"type": "physical"}]}, "a": 1}))
    return judges


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A YAML loader like cloud-init's. An invalid scalar such as ``2001-99-99`` raises a YAML error."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError):
            text = str(node.value)
            value = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
            raise ConstructorError(None, None, f"invalid value '{value}'", node.start_mark) from None


def _run(name: str, data: bytes, confined: bool, seconds: int) -> Any:
    """Return the mistakes in a cloud-config or a network configuration.

    ``name`` is "network-config" for a network configuration.
    """
    names, choose = _SCHEMAS["network-config" if name == "network-config" else "cloud-config"]
    judges = _judges(os.environ.get(VARIABLE), names)

    def prepare() -> tuple[int, ...]:
        yaml.load("a: [1, 2001-01-01, 1.5]", _Loader)  # noqa: S506 - this loader is safe
        return ()

    def work() -> list[Any]:
        try:
            value = yaml.load(data, _Loader)  # noqa: S506
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line if error.problem_mark is not None else 0
            return [[[], f"cloud-init cannot read the file: {error.problem}", line + 1]]
        if not isinstance(value, dict) or _inner(value).get("config") == "disabled":
            return []
        errors = chain.from_iterable(map(_described, judges[choose(value)].iter_errors(value)))
        return list(islice((error for error in errors if not error[1].startswith(_WORKING)), _MOST))

    if not sys.platform.startswith("linux"):
        return work()
    bounds = Bounds(cpu=seconds, wall=10.0, memory=address_space() + _MEMORY, output=1 << 20)
    try:
        return child_json.run(prepare, work, bounds)
    except BoundError as error:
        if error.bound != "memory":
            raise Failure(str(error).replace("rendering", "it")) from None
        raise Failure(f"it needs more than {_MEMORY >> 20} MiB of memory") from None
    except LimitError as error:
        raise Failure(str(error).replace("rendering", "it")) from None
    except ChildFailure as error:
        raise Failure(" ".join((str(error), *error.notes))) from None


def _described(error: Any) -> Iterator[list[Any]]:
    """Yield the path of a value, and the most specific message about it.

    Each unknown key has its own message.
    """
    while error.context:
        branches: dict[Any, list[Any]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        error = min(branches.values(), key=_distance)[0]
        if error.validator == "enum" and error.path and error.path[-1] in _CHOOSING:
            others = [each for each in error.parent.context if each.path == error.path]
            known = {
                str(name) for each in others if each.validator == "enum" for name in each.validator_value
            }
            yield [list(error.absolute_path), f"{error.instance!r} is not one of {', '.join(sorted(known))}"]
            return
    path = [part if isinstance(part, int) else str(part) for part in error.absolute_path]
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = set(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if isinstance(key, str) and key not in known]
        for key in unknown[:_MOST]:
            near = get_close_matches(key, sorted(known), 1, 0.66) if len(key) <= _LONGEST_KEY else ()
            yield [[*path, key], f"unknown key: did you mean '{near[0]}'?" if near else "unknown key"]
        if unknown:
            return
    yield [path, error.message[: LONGEST + 1]]


def _distance(errors: list[Any]) -> tuple[bool, bool, int, int]:
    """Return a sort key for the ``errors`` of a branch of the schema.

    The errors of the branch that the author probably meant come first.
    """
    chooses = any(error.path and error.path[-1] in _CHOOSING and not error.context for error in errors)
    is_other = any(not error.path and error.validator == "type" for error in errors)
    return chooses, is_other, -max(len(error.path) for error in errors), len(errors)


def _read(answer: Any, text: str) -> Iterator[Mistake]:
    """Yield the mistakes with their lines.

    Mistakes that the schema finds are warnings, because cloud-init only warns about them.
    """
    root = parse(Source("", text))
    for path, message, *place in answer:
        if place:
            yield place[0], short(message), "error"
            continue
        node, line = root, root.line if root is not None else 1
        for part in path:
            at, node = _child(node, part)
            if at is None:
                break
            line = at.line
        where = ".".join(map(str, path))
        yield line, f"{short(where)}: {short(message)}" if where else short(message), "warning"


def _child(node: Node | None, part: str | int) -> tuple[Node | None, Node | None]:
    """Return the key node and the value node of a mapping's entry, or the node of a list's item twice.

    Both nodes are None if the entry or item is missing.
    """
    if isinstance(node, Sequence) and isinstance(part, int) and part < len(node.children):
        return node.children[part], node.children[part]
    if isinstance(node, Mapping):
        for key, value in node.pairs():
            if getattr(key, "text", None) == part:
                return key, value
    return None, None


CLOUD_INIT = Validator(
    "cloud-init's schemas",
    "user-data, vendor-data and network-config",
    _run,
    _read,
)
