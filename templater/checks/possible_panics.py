"""A search for the parts of a template that make a daemon panic for some values.

The search must know each place in ``templater/pongo2`` that raises Panic. The search does not render the
template, because a render uses only one set of values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ..pongo2.names_read import nodes
from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import Token
from ..pongo2.tags.cycle import advance
from ..pongo2.tags.ifchanged import no_else
from ..pongo2.values import to_int, to_string
from .cost_bound import names_in
from .filter_cost_bounds import COUNTING, LISTING, plain

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
#: the kinds of the results of ``.name`` for a value of each kind; for the other kinds, ``.name`` fails
_FIELDS: _Kinds = {
    MISSING: (MISSING,),
    MAP: (TEXT, MISSING),
    NESTED: (MAP, MISSING),
    LOOP: (NUMBER, LOOP, MISSING),
    OBJECT: (TEXT, MISSING),
    ANYTHING: (ANYTHING,),
}
#: the kinds of the results of ``.0``, as in ``_FIELDS``
_ITEMS: _Kinds = {
    MISSING: (MISSING,),
    TEXT: (NUMBER, MISSING),
    LIST: (TEXT, MISSING),
    ANYTHING: (ANYTHING,),
}
#: the kinds of the results of a subscript; a subscript also panics for a hidden field of an object
_SUBSCRIPTS: _Kinds = {**_FIELDS, **_ITEMS}
#: the kinds of the first and of the second variable of a loop over a value of each kind
_KEYS: _Kinds = {TEXT: (TEXT,), LIST: (TEXT,), MAP: (TEXT,), NESTED: (TEXT,), ANYTHING: (ANYTHING,)}
_VALUES: _Kinds = {MAP: (TEXT,), NESTED: (MAP,), ANYTHING: (ANYTHING,)}

#: the kinds of values that a template can call without an error; the results of calls have the same kinds
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
#: filters whose result can be a text, or the value itself, unless the value is a list
_JOINING = ("first", "join", "last")
#: filters whose result can be a number
_CALCULATING = ("add", "floatformat", "get_digit")

#: if the kinds of a value change more often than this during the search, the value counts as ``ANYTHING``
_MOST_TIMES = 10


def possible_panic(document: tree.Document) -> tuple[str, Token] | None:
    """Return a message and a token for the first part of a template that panics for some values."""
    kinds = ValueKinds(document)
    panics = (_panic("forloop" in document.bound, kinds, node) for node in nodes(document))
    return next(filter(None, panics), None)


def _panic(is_forloop_bound: bool, kinds: ValueKinds, node: object) -> tuple[str, Token] | None:
    """Return a message and a token for an operation, filter or call that panics for some values.

    ``is_forloop_bound`` is true if the template sets the name ``forloop``.
    """
    if isinstance(node, tree.Operation) and len(node.operands) == 2:
        left, right = map(plain, node.operands)
        if node.operator in ("/", "%") and _may_be_zero(right):
            return "the template can divide by zero, which makes daemons panic", right.token
        if node.operator == "in" and kinds.of(left) & NUMBERS and kinds.of(right) & MAPS:
            return "the template can search a map for a number, which makes daemons panic", left.token
        # ``in`` compares the elements of a list, and only a list of an unknown kind can contain maps
        compares = node.operator in ("==", "!=", "<>") or (
            node.operator == "in" and ANYTHING in kinds.of(right)
        )
        if compares and kinds.of(left) & UNCOMPARABLE and kinds.of(right) & UNCOMPARABLE:
            return "the template can compare lists or maps, which makes daemons panic", left.token
    elif isinstance(node, tree.Remembered) and kinds.of(node.expression) & UNCOMPARABLE:
        return (
            "the tag 'ifchanged' can compare lists or maps, which makes daemons panic",
            node.expression.token,
        )
    elif isinstance(node, tree.Invoke) and node.function is no_else:
        return "the tag 'ifchanged' without 'else' can make a daemon panic", node.token
    elif isinstance(node, tree.Invoke) and node.function is advance and not node.arguments[2].expressions:
        return "the tag 'cycle' without values makes daemons panic", node.token
    elif isinstance(node, tree.Path) and kinds.may_fail(node):
        return "a variable with a subscript can fail, which makes daemons with pongo2 6 panic", node.token
    elif isinstance(node, tree.Part) and node.key in kinds.hidden:
        return "the template can read a hidden field of a tag, which makes daemons panic", node.token
    elif isinstance(node, tree.FilterUse) and node.name in _SAFE_ARGUMENTS:
        argument = None if node.argument is None else plain(node.argument)
        value = argument.value if isinstance(argument, tree.Literal) else None
        if value is None or not _SAFE_ARGUMENTS[node.name](value):
            return f"the filter '{node.name}' can make a daemon panic", node.token
    elif isinstance(node, tree.Part) and node.key == "Less" and node.arguments:
        return "the template can compare missing devices, which makes daemons panic", node.token
    elif is_forloop_bound and isinstance(node, tree.For):
        return "the template sets 'forloop', so a loop can make a daemon panic", node.expression.token
    elif isinstance(node, tree.For) and node.ordered and kinds.of(node.expression) & {TEXT, ANYTHING}:
        return "a loop can sort a text, which makes daemons panic", node.expression.token
    return None


def _may_be_zero(divisor: tree.Expression) -> bool:
    return not isinstance(divisor, tree.Literal) or to_int(divisor.value) == 0


#: Filters that panic for some arguments. The functions return whether a constant argument is safe.
_SAFE_ARGUMENTS: Mapping[str, Callable[[str | int | float], bool]] = {
    # Other texts can be invalid regular expressions.
    "removetags": lambda value: str(value).replace(",", "").replace(" ", "").isalnum(),
    # pongo2 4 panics for a negative start.
    "slice": lambda value: to_int(to_string(value).split(":")[0]) >= 0,
    "truncatechars": lambda value: to_int(value) >= 0,
    # pongo2 panics if the last line has two or more words but is not full.
    "wordwrap": lambda value: to_int(value) <= 2,
}


# --- the kinds of values


class ValueKinds:
    """The kinds that each value of a template can have.

    A variable has the kinds of all values that tags give to it, even if the tags come later.
    """

    def __init__(self, document: tree.Document) -> None:
        #: the kinds of the values that tags give each name
        self.names: dict[str, set[str]] = {}
        # A path that is not in this set also has the kind of the daemon's variable with this name.
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
        """Return each name that a tag sets, with the name's new value: an expression, a kind, or a loop."""
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
        """Return whether pongo2 6 may panic for a variable whose last part is a subscript."""
        key = path.parts[-1].key
        if not isinstance(key, tree.Expression):
            return False
        # pongo2 panics for some keys. An error in an earlier part also becomes a panic, because pongo2 can't
        # print the variable in the error message.
        return not self.of(key).isdisjoint((MISSING, ANYTHING)) or self._of_path(path)[1]

    def of(self, expression: Any) -> set[str]:
        """Return the kinds of the values that an expression can have.

        The set is empty if the expression always fails.
        """
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
        """Return the kinds of the results that a filter can have for values of the given kinds."""
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
        """Return the kinds of a variable's values, and whether pongo2 may fail to look up the variable."""
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
    """Return the kinds of a step's results for values of the given kinds.

    ``steps`` maps the kind of a value to the kinds of the results.
    """
    return {found for kind in kinds for found in steps.get(kind, ())}


# --- the variables that are set


def set_variables(document: tree.Document) -> set[int]:
    """Return the ``id()`` of each ``tree.Path`` whose variable is always set when the template reads it."""
    walk = _Walk(document)
    walk.body(document.body)
    return walk.found


class _Walk:
    """A walk through the parts of a template, in the order of a render.

    ``names`` has the names that are certainly set at the current place.
    """

    def __init__(self, document: tree.Document) -> None:
        self.blocks = document.blocks
        self.names: set[str] = set()
        #: the same names, in the order in which tags set them
        self.order: list[str] = []
        self.found: set[int] = set()

    def body(self, statements: Iterable[tree.Statement]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: Any) -> None:
        if isinstance(node, tree.Set):
            self.read(node.expression)
            self.bind(node.name)
        elif isinstance(node, tree.If):
            self.read([test for test, _ in node.branches])
            self.one_of([*(body for _, body in node.branches), node.otherwise or []])
        elif isinstance(node, tree.For):
            self.read(node.expression)
            self.within(["forloop", *filter(None, (node.key, node.value))], node.body)
            self.within(["forloop"], node.empty or [])
        elif isinstance(node, tree.With):
            self.read([value for _, value in node.pairs])
            self.within([name for name, _ in node.pairs], node.body)
        elif isinstance(node, tree.Macro):
            self.bind(node.bound)
            self.read([default for _, default in node.parameters])
            # The body of a macro also has the names that were set before the macro's definition.
            self.within([name for name, _ in node.parameters], node.body)
        elif isinstance(node, tree.Block):
            self.bind("block")
            self.body(self.blocks[node.name])
        elif isinstance(node, tree.Autoescape):
            self.body(node.body)
        elif isinstance(node, tree.FilterBlock):
            self.read(node.filters)
            self.body(node.body)
        elif isinstance(node, tree.Capture):
            self.read(node.invoke)
            self.body(node.body)
            self.one_of([node.otherwise or [], []])
        else:
            self.read(node)

    def read(self, part: object) -> None:
        """Record which variables in a part of the template are certainly set at the current place."""
        self.found |= {
            id(node) for node in nodes(part) if isinstance(node, tree.Path) and node.name in self.names
        }

    def bind(self, *names: str) -> None:
        for name in names:
            if name not in self.names:
                self.names.add(name)
                self.order.append(name)

    def within(self, names: Iterable[str], statements: Iterable[tree.Statement]) -> None:
        """Walk through the body of a tag that sets ``names`` only for its body.

        Afterwards, forget also the names that the body has set.
        """
        before = len(self.order)
        self.bind(*names)
        self.body(statements)
        self.forget(before)

    def one_of(self, bodies: Iterable[Iterable[tree.Statement]]) -> None:
        """Walk through the alternative bodies of a tag. A render runs only one of them.

        Afterwards, a name is set only if each body sets it.
        """
        before = len(self.order)
        added = []
        for body in bodies:
            self.body(body)
            added.append(self.forget(before))
        self.bind(*set.intersection(*added))

    def forget(self, before: int) -> set[str]:
        """Keep the first ``before`` names of ``order``. Remove the later names, and return them."""
        added = set(self.order[before:])
        del self.order[before:]
        self.names -= added
        return added
