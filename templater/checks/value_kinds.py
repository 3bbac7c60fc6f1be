"""The variables of a template that can be a list or a map, for which some operations make a daemon panic."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..pongo2.reads import nodes
from ..pongo2.syntax import tree
from ..pongo2.tags.cycle import advance
from .cost_bound import names_in
from .filter_costs import plain

#: the kinds of values; a map of maps, or a list of maps, is ``NESTED``, too
LIST, MAP, NESTED = "list", "map", "nested"
#: filters whose result is a list
_LISTING = ("make_list", "split")
#: filters whose result can be the value itself, or an element of it
_PASSING = (
    *(
        "default",
        "default_if_none",
        "first",
        "get_digit",
        "join",
        "last",
        "linebreaks",
        "random",
        "safe",
        "slice",
    ),
    *("center", "wordwrap"),
)
#: names of maps of the daemons, and how many maps are nested
_DEPTHS = {
    "config": 1,
    "properties": 1,
    "container": 1,
    "instance": 1,
    "devices": 2,
    "block": 1,
    "forloop": 1,
    "pongo2": 1,
}


#: the number of arguments of ``config_get``
_CONFIG_GET = 2
#: variables of the daemons that are always a text
_TEXTS = ("trigger", "path", "instance.name", "container.name", "instance.type", "container.type")
#: filters whose result is always a text
_MAKING_TEXT = (
    *("addslashes", "capfirst", "cut", "lower", "stringformat", "striptags", "title", "upper", "urlencode"),
    *("truncatechars", "truncatewords"),
)

#: After this many searches for the kinds of a value, the value counts as every kind. A value with more
#: filters is not known to be a text.
_MOST_TIMES = 10


class ValueKinds:
    """The kinds of the values that the variables of a template can have, apart from texts and numbers."""

    def __init__(self, document: tree.Document) -> None:
        #: the kinds of each name that the template binds
        self.names: dict[str, set[str]] = {}
        found = list(nodes(document))
        macros = {node.name: node for node in found if isinstance(node, tree.Macro)}
        bindings: list[tuple[str, Any]] = []
        #: whether a tag ``cycle`` has a variable: daemons panic if a template reads a field of this variable
        self.has_cycles = False
        for node in found:
            if isinstance(node, tree.Set):
                bindings.append((node.name, node.expression))
            elif isinstance(node, tree.With):
                bindings += node.pairs
            elif isinstance(node, tree.For):
                bindings += [(name, node) for name in (node.key, node.value) if name]
            elif isinstance(node, tree.Macro):
                bindings += [(name, value) for name, value in node.parameters if value is not None]
            elif isinstance(node, tree.Path) and node.name in macros:
                arguments = [value for part in node.parts for value in part.arguments or ()]
                names = [name for name, _ in macros[node.name].parameters]
                bindings += zip(names, arguments, strict=False)
            elif isinstance(node, tree.Invoke) and node.function is advance and node.arguments[3]:
                self.has_cycles = True
                bindings += [(node.arguments[3], item) for item in node.arguments[2].expressions]
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
            kinds = self.names.setdefault(name, set())
            times[id(binding)] += 1
            if times[id(binding)] > _MOST_TIMES:
                more = {LIST, MAP, NESTED}
            elif isinstance(value, tree.For):
                more = {MAP} if NESTED in self.of(value.expression) else set()
            else:
                more = self.of(value)
            if more - kinds:
                kinds |= more
                waiting += readers.get(name, ())
        #: the names that the template binds only to texts, so they are never missing, and never a number
        self.texts = set(self.names)
        waiting = list(bindings)
        while waiting:
            name, value = waiting.pop()
            if name in self.texts and not self._gives_text(name, value):
                self.texts.remove(name)
                waiting += readers.get(name, ())

    def _gives_text(self, name: str, value: Any) -> bool:
        """Return whether a binding gives a text to a name. For a loop, ``value`` is the tag."""
        if not isinstance(value, tree.For):
            return self.is_text(value)
        kinds = self.of(value.expression)
        return NESTED not in kinds and (name == value.key or MAP in kinds)

    def is_text(self, expression: Any) -> bool:
        """Return whether the value of an expression is always a text."""
        node = plain(expression)
        if isinstance(node, tree.Literal):
            return isinstance(node.value, str)
        if isinstance(node, tree.Path):
            if node.name == "config_get":
                return all(self.is_text(each) for each in (node.parts[0].arguments or ())[1:])
            if isinstance(node.parts[-1].key, tree.Expression):
                return False
            return node.text in _TEXTS or (len(node.parts) == 1 and node.name in self.texts)
        if isinstance(node, tree.Operation):
            operator, operands = node.operator, []
            while isinstance(node, tree.Operation) and node.operator == operator:  # a long sum nests deeply
                operands += node.operands[1:]
                node = node.operands[0]
            texts = map(self.is_text, [node, *operands])
            return any(texts) if operator == "+" else operator in ("and", "or") and all(texts)
        if isinstance(node, tree.Filtered) and len(node.filters) <= _MOST_TIMES:
            use = node.filters[-1]
            before = tree.Filtered(node.token, node.atom, node.filters[:-1])
            if use.name == "default" and use.argument is not None:
                value = plain(before)
                is_setting = isinstance(value, tree.Path) and value.name in ("config", "properties")
                is_setting = is_setting and len(value.parts) == 2
                return self.is_text(use.argument) and (is_setting or self.is_text(before))
            return use.name in _MAKING_TEXT
        return False

    def may_fail(self, path: tree.Path) -> bool:
        """Return whether pongo2 6 may panic for a variable whose last part is a subscript.

        pongo2 panics for some keys. If an earlier part has an error, pongo2 also panics, because it can't
        print the variable.
        """
        *above, last = path.parts
        if not isinstance(last.key, tree.Expression):
            return False
        key = plain(last.key)
        if not isinstance(key, tree.Literal) and not self.is_text(key):
            return True
        if path.name == "config_get":
            return len(above) > 1 or len(above[0].arguments or ()) != _CONFIG_GET
        if last.arguments is not None or any(
            isinstance(part.key, int) or str(part.key)[:1].isupper() or part.arguments is not None
            for part in above
        ):
            return True
        if path.name not in self.names:
            return len(above) - 1 > _DEPTHS.get(path.name, 0 if path.name in _TEXTS else len(above))
        return not self.of(tree.Path(path.token, above)) and (path.name not in self.texts or len(above) > 1)

    def of(self, expression: Any) -> set[str]:
        """Return the kinds of the values that an expression can have."""
        found: set[str] = set()
        waiting = [expression]
        while waiting:
            node = plain(waiting.pop())
            if isinstance(node, tree.Path):
                own = self.names.get(node.name, set())
                # a method of Go, such as Clone, gives the same map or a list of its values
                keys = sum(not str(part.key)[:1].isupper() for part in node.parts[1:])
                depth = max(_DEPTHS.get(node.name, 0), 2 if NESTED in own else int(bool(own))) - keys
                if depth > 0:
                    found |= own or {MAP}
                    found |= {MAP} if keys else set()
                if depth > 1:
                    found |= {MAP, NESTED}
            elif isinstance(node, tree.Operation) and node.operator in ("and", "or"):
                waiting += node.operands
            elif isinstance(node, tree.Filtered):
                for use in reversed(node.filters):
                    if use.name in _LISTING:
                        found.add(LIST)
                        break
                    if use.name not in _PASSING:
                        break
                    if use.argument is not None:
                        waiting.append(use.argument)
                else:
                    waiting.append(node.atom)
        return found
