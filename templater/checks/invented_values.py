"""Invented values for configuration keys. The checks render templates with these values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ..model.instance import Instance
from ..pongo2.names_read import config_key
from ..pongo2.syntax import tree

#: values for the keys that templates read as whole documents
DOCUMENTS = {
    "user-data": "#cloud-config\nlocale: C\n",
    "vendor-data": "#cloud-config\nlocale: C\n",
    "meta-data": "key: value\n",
    "network-config": "version: 1\nconfig:\n- type: physical\n  name: eth0\n  subnets:\n  - type: dhcp\n",
}
#: the invented value of a key for which the checks know no better value
SET = "value"
#: values to try instead if a file rendered with invented values has a mistake
OTHER_VALUES = ("true", "8080", "10.0.0.5", "10.0.0.5/24", SET)
#: for each default such as "true", the opposite value
OPPOSITES = {
    one: other
    for pair in (("true", "false"), ("yes", "no"), ("on", "off"))
    for one, other in (pair, reversed(pair))
}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
#: a value that breaks most formats unless a template quotes the value
AWKWARD = """it's: a "b" #c, {d}"""


def invented_instance(keys: Collection[str], defaults: Mapping[str, str]) -> Instance | None:
    """Return an instance with an invented value for each key, or None without keys.

    ``defaults`` is a dict from keys to the defaults of the templates.
    """
    values = {key: invented_value(key, defaults.get(key, "")) for key in sorted(keys)}
    return Instance("c1", config=values) if values else None


def invented_value(key: str, default: str = "") -> str:
    """Return a plausible value for the configuration key ``key``.

    ``default`` is the default in the template.
    """
    if (value := document_of(key)) is not None:
        return value
    if default.lower() in OPPOSITES:
        return OPPOSITES[default.lower()]
    return default if _NUMBER.fullmatch(default) else _fitting(key)


def document_of(key: str) -> str | None:
    """Return an example of the document that a configuration key holds.

    Return None for a key with a short value.
    """
    last = key.rpartition(".")[2].replace("_", "-")
    return next((text for name, text in DOCUMENTS.items() if last.endswith(name)), None)


def _fitting(key: str) -> str:
    """Return a value that fits the name of a configuration key."""
    lower = key.rpartition(".")[2].lower()
    if "ip" in lower.replace("script", "") or "addr" in lower or "gateway" in lower:
        return "10.0.0.5"
    return "8080" if "port" in lower else SET


def other_instances(values: Mapping[str, str], defaults: Mapping[str, str]) -> tuple[Instance, ...]:
    """Return instances with other values for the keys. Documents in ``values`` stay unchanged.

    The first instance has the templates' defaults. Each other instance has one value of ``OTHER_VALUES`` for
    all keys.
    """
    free = [key for key in values if document_of(key) is None]
    others = [{key: defaults.get(key, values[key]) for key in free}]
    others += [dict.fromkeys(free, value) for value in OTHER_VALUES]
    return tuple(Instance("c1", config={**values, **other}) for other in others)


def literal_defaults(nodes: Iterable[tree.Path | tree.Filtered]) -> Mapping[str, str]:
    """Return a dict from configuration keys to the defaults that templates give as literals."""
    found: dict[str, str] = {}
    for node in nodes:
        path = node.atom if isinstance(node, tree.Filtered) else node
        if not isinstance(path, tree.Path) or (key := config_key(path)) is None:
            continue
        literals: list[object] = list((path.parts[0].arguments or [])[1:2])
        if isinstance(node, tree.Filtered):
            literals = [use.argument for use in node.filters if use.name == "default"]
        for literal in literals:
            if isinstance(literal, tree.Literal) and literal.value != "":
                found.setdefault(key, str(literal.value))
    return found
