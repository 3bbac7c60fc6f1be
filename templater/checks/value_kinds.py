"""The kinds of the values that a template computes. Some operations on some kinds make a daemon panic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ..pongo2.names_read import nodes
from ..pongo2.syntax import tree
from ..pongo2.tags.cycle import advance
from .cost_bound import names_in
from .filter_costs import COUNTING, LISTING, plain
from .set_variables import set_variables

#: The kinds of values. A number can also be true or false, a list and a map contain texts, and a nested map
#: contains maps. An object is the value of ``block`` or of a tag ``cycle``. A value of the last kind can be
#: anything.
TEXT, NUMBER, MISSING, LIST, MAP, NESTED = "text", "number", "missing", "list", "map", "nested"
LOOP, OBJECT, ANYTHING = "loop", "object", "anything"
#: the kinds of the values that Go cannot compare
UNCOMPARABLE = frozenset((LIST, MAP, NESTED, OBJECT, ANYTHING))
MAPS = frozenset((MAP, NESTED, ANYTHING))
NUMBERS = frozenset((NUMBER, ANYTHING))

_Kinds = Mapping[str, tuple[str, ...]]
#: what ``.name`` gives for a value of each kind; it fails for the other kinds
_FIELDS: _Kinds = {
    MISSING: (MISSING,),
    MAP: (TEXT, MISSING),
    NESTED: (MAP, MISSING),
    LOOP: (NUMBER, LOOP, MISSING),
    OBJECT: (TEXT, MISSING),
    ANYTHING: (ANYTHING,),
}
#: the same for ``.0``
_ITEMS: _Kinds = {
    MISSING: (MISSING,),
    TEXT: (NUMBER, MISSING),
    LIST: (TEXT, MISSING),
    ANYTHING: (ANYTHING,),
}
#: the same for a subscript, which also panics for a hidden field of an object
_SUBSCRIPTS: _Kinds = {**_FIELDS, **_ITEMS}
#: the first and the second variable of a loop over a value of each kind
_KEYS: _Kinds = {TEXT: (TEXT,), LIST: (TEXT,), MAP: (TEXT,), NESTED: (TEXT,), ANYTHING: (ANYTHING,)}
_VALUES: _Kinds = {MAP: (TEXT,), NESTED: (MAP,), ANYTHING: (ANYTHING,)}

#: the kinds of the results of calls, and of the values that a template can call without an error
_CALLABLE = frozenset((TEXT, MISSING, ANYTHING))

#: the variables of the daemons and of pongo2; each other name has no value
_DAEMON = {
    **dict.fromkeys(("config", "container", "instance", "pongo2", "properties"), MAP),
    "devices": NESTED,
    "trigger": TEXT,
    "path": TEXT,
    "config_get": ANYTHING,
}
#: the keys that a daemon always gives these maps
_FACTS = {"container": ("name", "type"), "instance": ("name", "type")}
#: the number of arguments of ``config_get``
_CONFIG_GET = 2

#: filters that replace a missing value
_REPLACING = ("default", "default_if_none")
#: filters whose result can be the value itself, or a text
_PASSING = ("center", "linebreaks", "random", "safe", "slice", "wordwrap")
#: the same, except that the result for a list is a text
_JOINING = ("first", "join", "last")
#: filters whose result can be a number
_CALCULATING = ("add", "floatformat", "get_digit")

#: a value that depends on the kinds of so many others counts as anything
_MOST_TIMES = 10


class ValueKinds:
    """The kinds that each value of a template can have.

    A variable can have the kind of each value that a tag anywhere in the template gives its name. If a render
    can read the variable before a tag sets it, the kinds of the daemon's variable of the same name are added.
    The class does not handle several macros with the same name, because ``bound`` refuses them.
    """

    def __init__(self, document: tree.Document) -> None:
        #: the kinds of the values that tags give each name
        self.names: dict[str, set[str]] = {}
        self.set = set_variables(document)
        #: the fields of the values of tags that no template can read
        self.hidden: set[str] = set()
        bindings = self._bindings(list(nodes(document)))
        self.names = {name: set() for name, _ in bindings}
        readers: dict[str, list[tuple[str, Any]]] = {}
        for binding in bindings:
            value = binding[1].expression if isinstance(binding[1], tree.For) else binding[1]
            for name in names_in(value):
                readers.setdefault(name, []).append(binding)
        waiting = list(bindings)
        times: Counter[int] = Counter()
        while waiting:
            binding = waiting.pop()
            name, value = binding
            times[id(binding)] += 1
            if times[id(binding)] > _MOST_TIMES:
                more = {ANYTHING}
            elif isinstance(value, str):
                more = {value}
            elif isinstance(value, tree.For):
                more = self._of_loop(name, value)
            else:
                more = self.of(value)
            if more - self.names[name]:
                self.names[name] |= more
                waiting += readers.get(name, ())

    def _bindings(self, found: list[Any]) -> list[tuple[str, Any]]:
        """Return each name that a tag sets, with its new value: an expression, a kind, or a loop."""
        bindings: list[tuple[str, Any]] = []
        macros = {node.name: node for node in found if isinstance(node, tree.Macro)}
        fewest: dict[str, int] = {}  # the number of arguments in the shortest call of each macro
        for node in found:
            if isinstance(node, tree.Set):
                bindings.append((node.name, node.expression))
            elif isinstance(node, tree.With):
                bindings += node.pairs
            elif isinstance(node, tree.For):
                bindings += [("forloop", LOOP), *((name, node) for name in (node.key, node.value) if name)]
            elif isinstance(node, tree.Block):
                self.hidden |= {"ctx", "wrappers"}
                bindings.append(("block", OBJECT))
            elif isinstance(node, tree.Path) and node.name in macros:
                arguments = node.parts[0].arguments or []
                names = [name for name, _ in macros[node.name].parameters]
                bindings += zip(names, arguments, strict=False)
                fewest[node.name] = min(len(arguments), fewest.get(node.name, len(arguments)))
            elif isinstance(node, tree.Invoke) and node.function is advance and node.arguments[3]:
                self.hidden |= {"node", "value"}
                bindings.append((node.arguments[3], OBJECT))
        for macro in macros.values():
            bindings.append((macro.name, TEXT))
            defaults = macro.parameters[fewest.get(macro.name, len(macro.parameters)) :]
            bindings += [(name, MISSING if value is None else value) for name, value in defaults]
        return bindings

    def _of_loop(self, name: str, loop: tree.For) -> set[str]:
        kinds = self.of(loop.expression)
        found = _all(kinds, _KEYS) if name == loop.key else set()
        if name == loop.value:
            found |= _all(kinds, _VALUES)
            # a loop over a text or a list does not set the second variable
            if kinds - {MAP, NESTED}:
                found.add(_DAEMON.get(name, MISSING))
        return found

    def may_fail(self, path: tree.Path) -> bool:
        """Return whether pongo2 6 may panic for a variable whose last part is a subscript.

        pongo2 panics for some keys. An error in an earlier part also becomes a panic, because pongo2 can't
        print the variable in the error message.
        """
        key = path.parts[-1].key
        if not isinstance(key, tree.Expression):
            return False
        return not self.of(key).isdisjoint((MISSING, ANYTHING)) or self._of_path(path)[1]

    def of(self, expression: Any) -> set[str]:
        """Return the kinds of the values that an expression can have. It has none if it always fails."""
        node = plain(expression)
        if isinstance(node, tree.Literal):
            return {TEXT if isinstance(node.value, str) else NUMBER}
        if isinstance(node, tree.Path):
            return self._of_path(node)[0]
        if isinstance(node, tree.Filtered):
            kinds = self.of(node.atom)
            for use in node.filters:
                kinds = self._filtered(kinds, use)
            return kinds
        # only ``+`` gives a text, and only since pongo2 5; ``and`` and ``or`` give true or false
        is_text = not isinstance(node, tree.Operation) or node.operator == "+"
        return {TEXT, NUMBER} if is_text else {NUMBER}

    def _filtered(self, kinds: set[str], use: tree.FilterUse) -> set[str]:
        """Return the kinds of the results of a filter for values of some kinds."""
        if use.name in _REPLACING:
            return (kinds - {MISSING}) | ({MISSING} if use.argument is None else self.of(use.argument))
        if use.name in LISTING:
            return {LIST}
        if use.name in COUNTING:
            return {NUMBER}
        if use.name in _CALCULATING:
            return {TEXT, NUMBER} | (kinds if use.name == "get_digit" else set())
        if use.name in _PASSING:
            return kinds | {TEXT}
        return (kinds - {LIST}) | {TEXT} if use.name in _JOINING else {TEXT}

    def _of_path(self, path: tree.Path) -> tuple[set[str], bool]:
        """Return the kinds of the values of a variable, and whether pongo2 may fail to find its value."""
        name = path.name
        first, *rest = path.parts
        kinds = set(self.names.get(name, ()))
        fails = first.arguments is not None
        if first.arguments is not None:
            kinds &= _CALLABLE
        if id(path) not in self.set:
            if name == "config_get":
                arguments = first.arguments or []
                fails = len(arguments) != _CONFIG_GET or name in self.names
                kinds = kinds.union({TEXT}, *map(self.of, arguments[1:]))
            else:
                kinds.add(_DAEMON.get(name, MISSING))
        for number, part in enumerate(rest):
            if isinstance(part.key, tree.Expression):
                fails = fails or OBJECT in kinds
                steps = _SUBSCRIPTS
            else:
                steps = _ITEMS if isinstance(part.key, int) else _FIELDS
            fails = fails or part.arguments is not None or ANYTHING in kinds or not kinds <= steps.keys()
            # a name with a capital letter can be a method of Go, which has any result
            is_method = isinstance(part.key, str) and part.key[:1].isupper() and kinds & MAPS
            kinds = _all(kinds, steps) | ({ANYTHING} if is_method else set())
            if not number and name not in self.names and part.key in _FACTS.get(name, ()):
                kinds = {TEXT}
            if part.arguments is not None:
                kinds &= _CALLABLE
        return kinds, fails


def _all(kinds: Collection[str], steps: _Kinds) -> set[str]:
    """Return the kinds of all results that a step can have for a value of one of ``kinds``."""
    return {found for kind in kinds for found in steps.get(kind, ())}
