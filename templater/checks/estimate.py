"""An estimate of the time and memory that pongo2 needs for a template, for an instance with long values.

The estimate reads the parsed template without rendering it, so conditions can't hide a part of the template.
It assumes that each text of an instance has 1,000 characters, and each map 20 keys.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from ..pongo2.reads import fields
from ..pongo2.render_state import DEFAULT_LIMITS
from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import Token
from ..pongo2.tags.lorem import filler
from ..pongo2.values import to_int, to_string
from .cost_of_pongo2 import NODES_OF_STEP, SQUARED, STEPS_OF_TAG, VARIABLES_OF_STEP
from .cycle_values import CycleValues
from .growing_texts import COUNTING, Reads, bindings, find_growth, in_order, paths_in, plain

#: the runs of a loop over an unknown number of elements. Loops of real templates are nested at most two deep.
RUNS = 20
#: the characters of a text from the instance's keys, such as a short cloud-config
LONG = 1000
#: limit on the runs of nested loops, as in the limit ``steps``
MOST_RUNS = 3_000_000
#: limit on the characters of all values and of the output. Larger texts can fill the memory of a host.
MOST_CHARACTERS = 500_000_000
#: larger numbers all count as this many
_MANY = 1 << 62

#: filters whose argument is the size of the result
WIDENING = ("center", "ljust", "rjust")
#: filters whose argument chooses the size of the result
SIZED = (*WIDENING, "floatformat")
#: filters that choose between the value and the argument
_CHOOSING = ("default", "default_if_none", "yesno", "pluralize")
#: how many times longer the result of a filter can be than its value
_FACTORS = {
    "addslashes": 2,
    "e": 5,
    "escape": 5,
    "escapejs": 6,
    "iriencode": 12,
    "linebreaks": 7,
    "linebreaksbr": 6,
    "linenumbers": 7,
    "urlencode": 12,
    "urlize": 3,
    "urlizetrunc": 3,
}
#: the longest text that the filter ``stringformat`` can make from a number or a short text in pongo2
_LONGEST_FORMAT = 1_000_000
#: how many times longer than its value the result of a directive of ``stringformat`` can be, by the verb
_FORMATS = {"x": 5, "X": 5, "q": 12, "v": 12}
#: the characters that pongo2 adds for a directive that does not fit to its value
_MISFIT = 40
#: how many times longer than the layout of a time the time can be
_LONGEST_TIME = 3
#: names of maps of the daemons, and how many maps are nested
_MAPS = {"config": 1, "properties": 1, "devices": 2}
#: the longest names that the daemons allow
_NAMES = {"instance": 63, "container": 63}
_KINDS = {
    tree.For: "nested loops",
    tree.Path: "nested calls of macros",
    tree.Filtered: "the steps of slow filters",
    tree.FilterBlock: "the steps of slow filters",
}
#: how often the estimate goes over a template to find the lengths of the values
_PASSES = 4
#: how often the estimate repeats this if macros can print variables that depend on macros
_REPEATS = 8
#: the characters of a word or a paragraph of the tag ``lorem``
_WORD, _PARAGRAPH = 10, 500


Outer: TypeAlias = tree.For | tree.Path | tree.Filtered | tree.FilterBlock


class Texts(NamedTuple):
    """Lengths in characters that the author of the image chooses.

    ``number`` is the number of properties, and ``longest`` and ``total`` are the lengths of their values.
    ``path`` is the length of the longest path of a rule.
    """

    number: int = 0
    longest: int = 0
    total: int = 0
    path: int = 0


NO_TEXTS = Texts()


class Work(NamedTuple):
    """The part of a template that causes the most runs or characters, for example a loop."""

    amount: int
    what: str
    token: Token | None


class Place(NamedTuple):
    """How often a part of a template runs, and the names that it can read.

    ``times`` is the number of runs of the loops around the part. ``body`` is the number of the tag ``filter``
    around the part, or 0, and ``prints`` is the number of runs for each run of this tag. ``bound`` has the
    names of macros that are variables here. ``pieces`` has the variables of loops over the parts of a text.
    All these parts together are only as long as the text.
    """

    times: int
    prints: int
    bound: frozenset[str]
    pieces: frozenset[str]
    outer: Outer | None
    body: int


class MacroWork(NamedTuple):
    """The runs of one call of a macro, the characters that it creates, and the length of its output.

    ``expected`` is the length of its longest argument.
    """

    runs: int
    characters: int
    output: int
    expected: int


class Estimate:
    """The loops, calls of macros and texts of a template. A call of a macro also runs the loops in the macro.

    Every use of a macro's name counts as a call, because pongo2 also calls a macro if no brackets follow the
    name. There is one exception: a loop, a ``with`` or a macro can give the name another value. In the body
    of this tag, the name is a variable, and does not count. A ``set`` of the name does not matter. The
    exception does not hold for the name of a macro that such a tag or a block defines in its body.
    """

    def __init__(self, document: tree.Document, texts: Texts = NO_TEXTS) -> None:
        self.texts = texts
        #: all macros of each name, because a call can run any of them
        self.macros: dict[str, list[tree.Macro]] = {}
        self.found: dict[str, MacroWork] = {}
        #: the same from an earlier estimate
        self.earlier_found: dict[str, MacroWork] = {}
        #: the characters of the longest argument of each macro
        self.sizes: dict[str, int] = {}
        #: the results of ``_longest_argument``
        self.longest_arguments: dict[tuple[int, frozenset[str], frozenset[str]], int] = {}
        self.running: set[str] = set()
        #: a macro that calls itself, or whose calls are nested too deeply
        self.endless: tree.Macro | None = None
        self.body, self.blocks = document.body, document.blocks
        #: the largest number of characters or elements of the values of each name that the template binds
        self.lengths: dict[str, int] = {}
        #: the same from the last time that the estimate went over the template
        self.earlier: dict[str, int] = {}
        #: names to which a tag gives a map
        self.maps: set[str] = set()
        #: names that can be a device
        self.devices: set[str] = set()
        #: names that always have a part of the value of another name
        self.aliases: dict[str, str] = {}
        #: names that a tag other than ``for`` binds
        self.rebound: set[str] = set()
        #: names of macros that are defined in a loop, a ``with``, a macro or a block
        self.inner = _macros_in_tags(document)
        self.copies = len(document.bound) // VARIABLES_OF_STEP
        found = list(in_order([document.body, *document.blocks.values()]))
        for node in found:
            if isinstance(node, tree.Macro):
                self.macros.setdefault(node.name, []).append(node)
        self.calls = [node for node in found if isinstance(node, tree.Path) and node.name in self.macros]
        #: a variable that can become several times longer in each iteration of a loop, with a token
        self.growing, self.additions = find_growth(document, self.macros)
        cycles = CycleValues(document, self.macros)
        self.growing = self.growing or cycles.growing()
        #: the tag ``cycle`` whose value can be itself
        self.endless_cycle = cycles.containing_itself()
        self._find_aliases(found)
        #: a macro whose output still doubles when the estimate ends
        self.doubling: tree.Macro | None = None
        repeats = self._repeats(document, found)
        for _ in range(repeats):
            self._find_lengths(found)
            self.endless, self.found, self.earlier_found = None, {}, self.found
            self.longest_arguments.clear()
            self.runs, self.characters = self._longest()
            before = {name: self.earlier_found.get(name, work).output for name, work in self.found.items()}
            if before == {name: work.output for name, work in self.found.items()} and self.earlier_found:
                break
        else:
            for name, work in self.found.items() if repeats == _REPEATS else ():
                if work.output >= 2 * before[name] > 0:
                    self.doubling = self.macros[name][-1]

    def _repeats(self, document: tree.Document, found: list[Any]) -> int:
        """Return how often to repeat the estimate. Each time, the output of a macro can become longer.

        A variable can depend on the output of a macro, and a macro can print the variable. Then each use of
        the macro can be longer than the use before.
        """
        if not self.macros:
            return 1
        values = [(name, value) for node in found for name, value in bindings(node)]
        reads = Reads(self.macros, document.blocks)
        is_read = any(name in reads.in_macros for name, _ in values)
        return _REPEATS if is_read and any(reads.calls_macro(value) for _, value in values) else 2

    def _find_aliases(self, found: list[Any]) -> None:
        names = [name for node in found for name, _ in bindings(node)]
        names += [name for node in found if isinstance(node, tree.Macro) for name, _ in node.parameters]
        self.rebound = set(names)
        names += [
            name for node in found if isinstance(node, tree.For) for name in (node.key, node.value) if name
        ]
        number = Counter(names)
        loops = {node.key for node in found if isinstance(node, tree.For)}
        for node in found:
            for name, value in bindings(node):
                used = [each.name for each in paths_in(value)]
                if number[name] == 1 and len(used) == 1 and not isinstance(node, tree.Invoke):
                    (root,) = used
                    root = self.aliases.get(root, root)
                    if number[root] == 1 and root in loops and self.length(value, frozenset((root,))) <= 1:
                        self.aliases[name] = root

    def _find_lengths(self, found: list[Any]) -> None:
        """Estimate the length of the values of each name.

        A loop can compute a name from a name that a later tag changes. So the function goes over the template
        several times.
        """
        for number in range(_PASSES):
            added: Counter[str] = Counter()
            #: the pieces and rounds of each loop with additions
            loops: dict[int, tuple[frozenset[str], int]] = {}
            self.earlier, self.lengths = self.lengths, {}
            self.longest_arguments.clear()
            if number <= 1:
                before = self.earlier
            for node in found:
                if isinstance(node, tree.For):
                    self._bind_elements(node)
                for name, value in bindings(node):
                    if self._can_be_map(value):
                        self.maps.add(name)
                    if id(node) not in self.additions:
                        self._lengthen(name, self.length(value))
                    elif number:
                        loop, names = self.additions[id(node)]
                        if id(loop) not in loops:  # a loop can have a long expression and many additions
                            loops[id(loop)] = self._inside(loop, frozenset()), self._rounds(loop.expression)
                        pieces, rounds = loops[id(loop)]
                        added[name] += self.length(value, pieces, names) * rounds
                        self._lengthen(name, before.get(name, 0) + added[name])
            self.sizes = dict.fromkeys(self.macros, 0)
            get_maps = set()
            for call in self.calls:
                values = _arguments(call)
                self.sizes[call.name] = max([self.sizes[call.name], *map(self.length, values)])
                if any(map(self._can_be_map, values)):
                    get_maps.add(call.name)
            for macro in (macro for same in self.macros.values() for macro in same):
                for name, default in macro.parameters:
                    self._lengthen(name, max(self.sizes[macro.name], self.length(default)))
                if macro.name in get_maps:
                    self.maps.update(name for name, _ in macro.parameters)

    def _lengthen(self, name: str, size: int) -> None:
        self.lengths[name] = max(self.lengths.get(name, 0), min(size, _MANY))

    def _bind_elements(self, node: tree.For) -> None:
        """Estimate the lengths of the variables of a loop."""
        value = plain(node.expression)
        size = self.length(value)
        if isinstance(value, tree.Path) and self._is_map(value):
            size = RUNS
            if value.name == "devices":
                is_list = value.parts[-1].key in ("Sorted", "Reversed")
                device = node.key if is_list else node.value if len(value.parts) == 1 else None
                self.devices.update([device] if device else [])
        self._lengthen(node.key, size)
        if node.value:
            self._lengthen(node.value, RUNS if node.value in self.devices else max(LONG, self.texts.longest))

    def _longest(self) -> tuple[Work, Work]:
        """Return the loop or call with the most runs, and the part that creates the most characters.

        The amounts are the sums for the whole template.
        """
        runs, characters, _ = self._work_in([self.body], frozenset())
        return _add_up(runs.values()), _add_up(characters)

    def _work_in(self, parts: list[Any], bound: frozenset[str]) -> tuple[dict[int, Work], list[Work], int]:
        """Count the runs of each outermost loop and of each outermost call, by the id of its node.

        The second result has the characters of each printed text and of each result of a filter. The third
        result is the length of the output.
        """
        runs: dict[int, Work] = {}
        characters: list[Work] = []
        later: list[tuple[tree.Print | tree.Filtered | tree.Operation, Place]] = []
        inner: set[int] = set()
        evaluated: Counter[int] = Counter()  # nodes, by the id of the outermost loop or call, or 0
        bodies: list[tuple[tree.FilterBlock, Place]] = []
        lengths = [0]  # of the output, and of the body of each tag ``filter``
        start = Place(1, 1, bound, frozenset(), None, 0)
        waiting: list[tuple[object, Place]] = [(part, start) for part in parts]
        while waiting:
            node, place = waiting.pop()
            times, prints, bound, pieces, outer, body = place
            added = 0
            if isinstance(node, tree.NODES):
                weight = 1
                if isinstance(node, tree.FilterUse) and node.name == "removetags":
                    weight += self._tags(node) * STEPS_OF_TAG * NODES_OF_STEP
                evaluated[0 if outer is None else id(outer)] += times * weight
            if isinstance(node, list | tuple):
                waiting += [(each, place) for each in reversed(node)]
            elif isinstance(node, tree.Text):
                token = None if outer is None else _token(outer)
                characters.append(Work(_least(times * len(node.value)), "", token))
                lengths[body] = _least(lengths[body] + prints * len(node.value))
            elif isinstance(node, tree.Block):
                added = times * self.copies
                waiting.append((self.blocks[node.name], place))
            elif isinstance(node, tree.For):
                waiting += [(part, place) for part in (node.expression, node.empty)]
                outer = outer or node
                rounds = self._rounds(node.expression, pieces)
                added = times * (rounds + self.copies)
                names = self._with(bound, [node.key])
                inside = self._inside(node, pieces)
                times, prints = _least(times * rounds), _least(prints * rounds)
                waiting.append((node.body, Place(times, prints, names, inside, outer, body)))
            elif isinstance(node, tree.With):
                added = times * self.copies
                waiting += [(value, place) for _, value in node.pairs]
                names = self._with(bound, [name for name, _ in node.pairs])
                waiting.append((node.body, place._replace(bound=names)))
            elif isinstance(node, tree.FilterBlock):
                bodies.append((node, place))
                lengths.append(0)
                inside_body = place._replace(prints=1, pieces=frozenset[str](), body=len(bodies))
                waiting += [(node.filters, place), (node.body, inside_body)]
            elif isinstance(node, tree.NODES) and not isinstance(node, tree.Macro):
                waiting += [(getattr(node, name), place) for name in reversed(fields(type(node)))]
                if isinstance(node, tree.Print) or (isinstance(node, tree.Filtered) and node.filters):
                    later.append((node, place))
                elif isinstance(node, tree.Operation):
                    if id(node) not in inner:
                        later.append((node, place))
                    inner.add(id(node.operands[0]))
                elif isinstance(node, tree.Path) and node.name in self.macros and node.name not in bound:
                    outer = outer or node
                    of_macro = self._of_macro(node.name)
                    added = times * of_macro.runs
                    characters.append(Work(_least(times * of_macro.characters), "", node.token))
            if added and outer is not None:
                self._add_runs(runs, outer, added)
        for node, place in later:  # the outputs of the macros are known now
            if isinstance(node, tree.Print):
                token = node.expression.token
                size = max(
                    self.length(node.expression, place.pieces),
                    max(LONG, self.texts.total) * self._can_be_map(node.expression),
                )
                lengths[place.body] = _least(lengths[place.body] + place.prints * size)
            elif isinstance(node, tree.Operation):
                token, size = node.token, self._characters_of_operation(node, place.pieces)
            else:
                pieces = self._read_pieces(node, place.pieces)
                token, length = node.token, self._length_of_text(node.atom, pieces, frozenset())
                size, _, steps = self._work_of_filters(length, node.filters, pieces)
                if steps:
                    self._add_runs(runs, place.outer or node, place.times * steps)
            characters.append(Work(_least(place.times * size), "", token))
        for number in range(len(bodies), 0, -1):  # an inner tag comes after the outer tag
            block, place = bodies[number - 1]
            size, length, steps = self._work_of_filters(lengths[number], block.filters, frozenset())
            if steps:
                self._add_runs(runs, place.outer or block, place.times * steps)
            characters.append(Work(_least(place.times * size), "", block.token))
            lengths[place.body] = _least(lengths[place.body] + place.prints * length)
        for key, number in evaluated.items():
            before = runs.get(key, Work(0, "", None))
            runs[key] = before._replace(amount=_least(before.amount + number // NODES_OF_STEP))
        return runs, characters, lengths[0]

    def _add_runs(self, runs: dict[int, Work], outer: Outer, added: int) -> None:
        before = runs[id(outer)].amount if id(outer) in runs else 0
        runs[id(outer)] = Work(_least(before + added), _KINDS[type(outer)], _token(outer))

    def _with(self, bound: frozenset[str], names: list[str]) -> frozenset[str]:
        more = [
            name for name in names if name in self.macros and name not in bound and name not in self.inner
        ]
        return bound.union(more) if more else bound

    def _of_macro(self, name: str) -> MacroWork:
        """Return the work of one call: the runs are the call itself, and the loops and calls in the macro."""
        if name in self.running or len(self.running) > DEFAULT_LIMITS.depth:
            self.endless = self.macros[name][-1]
            return MacroWork(1, 0, 0, 0)
        if name not in self.found:
            self.running.add(name)
            total, created, output = 1 + self.copies, 0, 0
            for macro in self.macros[name]:
                parameters = [each for each, _ in macro.parameters]
                bound = self._with(frozenset(), parameters)
                defaults = [value for _, value in macro.parameters]
                for part, names in ((macro.body, bound), (defaults, frozenset[str]())):
                    runs, characters, length = self._work_in([part], names)
                    total += sum(work.amount for work in runs.values())
                    created += sum(work.amount for work in characters)
                    output += length
            self.found[name] = MacroWork(_least(total), _least(created), _least(output), self.sizes[name])
            self.longest_arguments.clear()
            self.running.remove(name)
        return self.found[name]

    def _is_map(self, value: object) -> bool:
        """Return whether an expression is a map of the daemons, or a device."""
        if not isinstance(value, tree.Path):
            return False
        if value.name in self.devices and value.parts[-1].key in ("Clone", "Config"):
            return len(value.parts) <= 2
        return len(value.parts) <= _MAPS.get(value.name, int(value.name in self.devices))

    def _can_be_map(self, value: object) -> bool:
        value = plain(value)
        return self._is_map(value) or (isinstance(value, tree.Path) and value.name in self.maps)

    def _rounds(self, expression: tree.Expression, pieces: frozenset[str] = frozenset()) -> int:
        """Return the estimated number of elements of a value."""
        size = self.length(expression, pieces)
        return size if size and self._read_pieces(expression, pieces) else max(RUNS, size)

    def _inside(self, loop: tree.For, pieces: frozenset[str]) -> frozenset[str]:
        """Return the variables in a loop that are parts of a text. A loop over a part uses up the part."""
        value = plain(loop.expression)
        used = self._read_pieces(value, pieces)
        names = pieces - used - {loop.key, loop.value or loop.key}
        is_text = not self._is_map(value) and (used or self.length(value) >= LONG)
        return names | {loop.key} if is_text and loop.key not in self.rebound else names

    def _read_pieces(self, expression: tree.Expression, pieces: frozenset[str]) -> frozenset[str]:
        """Return the names of ``pieces`` that an expression reads exactly once."""
        if not pieces:
            return pieces
        roots = Counter(self.aliases.get(path.name, path.name) for path in paths_in(expression))
        return frozenset(name for name in pieces if roots[name] == 1)

    def length(
        self,
        node: object,
        pieces: frozenset[str] = frozenset(),
        empty: frozenset[str] = frozenset(),
    ) -> int:
        """Return the estimated number of characters or elements of a value.

        ``pieces`` has names that have only a part of a text. ``empty`` has names that are empty.
        """
        if pieces and isinstance(node, tree.Expression):
            pieces = self._read_pieces(node, pieces)
        return _least(self._length(node, pieces, empty))

    def _length(self, node: object, pieces: frozenset[str], empty: frozenset[str]) -> int:
        if isinstance(node, tree.Literal):
            return len(to_string(node.value))
        if isinstance(node, tree.Filtered):
            read = self._length_of_text if node.filters else self._length
            return self._filtered(read(node.atom, pieces, empty), node.filters, pieces, empty)
        if isinstance(node, tree.Path):
            return self._length_of_path(node, pieces, empty)
        if isinstance(node, tree.Operation):
            total = most = 0
            while isinstance(node, tree.Operation):  # a long sum nests deeply at its first operand
                sizes = [self._length_of_text(each, pieces, empty) for each in node.operands[1:]]
                if node.operator == "+":  # a short number is probably added to a number
                    total += sum(
                        size
                        for each, size in zip(node.operands[1:], sizes, strict=True)
                        if not _is_short(each)
                    )
                else:
                    most = max(most, *sizes, 0)
                node = node.operands[0]
            return total + max(most, self._length_of_text(node, pieces, empty))
        if isinstance(node, tree.Invoke):
            if node.function is filler:
                count, method, _ = node.arguments
                return max(int(count), 0) * (_WORD if method == "w" else _PARAGRAPH)
            values = [
                each for lazy in node.arguments if isinstance(lazy, tree.Lazy) for each in lazy.expressions
            ]
            # the layout of the tag ``now``: its result can be as many times longer
            layouts = [_LONGEST_TIME * len(each) for each in node.arguments if isinstance(each, str)]
            return max([*(self._length(each, pieces, empty) for each in values), *layouts], default=0)
        return 0

    def _length_of_text(self, node: object, pieces: frozenset[str], empty: frozenset[str]) -> int:
        """Return the length of a value after its conversion to a text. The text of a map is long."""
        as_text = max(LONG, self.texts.total) if self._can_be_map(node) else 0
        return max(self._length(node, pieces, empty), as_text)

    def _length_of_path(self, node: tree.Path, pieces: frozenset[str], empty: frozenset[str]) -> int:
        name = node.name
        if name in empty:
            return 0
        if self.aliases.get(name, name) in pieces:
            return 1
        size = 0
        if name in self.macros:
            known = self.found.get(name) or self.earlier_found.get(name) or MacroWork(1, 0, LONG, LONG)
            size, expected = known.output, known.expected
            # an argument can be longer than expected, such as a call of the same macro
            size *= max(1, self._longest_argument(node, pieces, empty) // (expected or LONG))
        lengths = self.lengths if name in self.lengths else self.earlier
        if name in lengths:
            size = max(size, lengths[name], LONG if len(node.parts) > 1 else 0)
        if self._is_map(node):
            return max(size, RUNS + self.texts.number)
        if name == "config_get" or name in _MAPS:
            defaults = [self._length(each, pieces, empty) for each in (node.parts[0].arguments or ())[1:]]
            return max([size, LONG, self.texts.longest, *defaults])
        if name == "path":
            size = max(size, self.texts.path)
        return max(size, _NAMES.get(name, 0 if name in lengths or name in self.macros else RUNS))

    def _longest_argument(self, call: tree.Path, pieces: frozenset[str], empty: frozenset[str]) -> int:
        """Return the length of the longest argument of a call of a macro.

        The length is remembered while the estimate knows nothing new, because each of many nested calls asks
        for the lengths of all calls in it.
        """
        key = id(call), pieces, empty
        if key not in self.longest_arguments:
            sizes = (self._length_of_text(each, pieces, empty) for each in _arguments(call))
            self.longest_arguments[key] = max(sizes, default=0)
        return self.longest_arguments[key]

    def _filtered(
        self, size: int, filters: Iterable[tree.FilterUse], pieces: frozenset[str], empty: frozenset[str]
    ) -> int:
        """Return the length of a value of ``size`` characters after filters."""
        for after in self._sizes(size, filters, pieces, empty):
            size = after
        return size

    def _sizes(
        self, size: int, filters: Iterable[tree.FilterUse], pieces: frozenset[str], empty: frozenset[str]
    ) -> Iterator[int]:
        """Yield the length of a value of ``size`` characters after each filter."""
        for use in filters:
            argument = plain(use.argument) if use.argument is not None else None
            constant = argument.value if isinstance(argument, tree.Literal) else None
            length = self._length_of_text(argument, pieces, empty)
            if use.name in SIZED:
                width = to_int(constant)
                # below, Go's difference of the widths overflows
                size = max(size, width if width > -_MANY else _MANY)
            elif use.name == "stringformat":
                size = _formatted(size, constant) if isinstance(constant, str) else size + _LONGEST_FORMAT
            elif use.name == "join":
                size *= max(length, 1)
            elif use.name == "add":
                size += length
            elif use.name in _CHOOSING:
                size = max(size, length)
            elif use.name in COUNTING:
                size = RUNS
            else:
                size *= _FACTORS.get(use.name, 1)
            size = _least(size)
            yield size

    def _work_of_filters(
        self, size: int, filters: list[tree.FilterUse], pieces: frozenset[str]
    ) -> tuple[int, int, int]:
        """Return the characters that all filters read and make, the length of the result, and slow steps.

        A short result can follow a long text. ``size`` is the length of the value before the filters.
        """
        sizes = [size, *self._sizes(size, filters, pieces, frozenset())]
        steps, before = 0, ""
        read = 0
        for use, length in zip(filters, sizes, strict=False):
            if use.name == "removetags":
                read += length * self._tags(use)
            if use.name in SQUARED and not (use.name == "join" and before in ("make_list", "split")):
                longest = max(length, LONG) if pieces else length  # one piece can be the whole text
                steps += length * longest // SQUARED[use.name]
            before = use.name
        return _least(sum(sizes) + read), sizes[-1], steps

    def _tags(self, use: tree.FilterUse) -> int:
        """Return the number of tags in the argument of the filter ``removetags``."""
        argument = plain(use.argument) if use.argument is not None else None
        if isinstance(argument, tree.Literal):
            return 1 + str(argument.value).count(",")
        return 1 + self.length(argument)

    def _characters_of_operation(self, node: tree.Operation, pieces: frozenset[str]) -> int:
        """Return the characters of all sums and compared texts of an operation."""
        pieces = self._read_pieces(node, pieces)
        operations = []
        first: object = node
        while isinstance(first, tree.Operation):  # a long sum nests deeply at its first operand
            operations.append(first)
            first = first.operands[0]
        size, total = self._length_of_text(first, pieces, frozenset()), 0
        for each in reversed(operations):
            size += sum(self._length_of_text(value, pieces, frozenset()) for value in each.operands[1:])
            if each.operator not in ("and", "or"):
                total += size
                size *= each.operator == "+"
        return _least(total)


def _add_up(works: Collection[Work]) -> Work:
    most = max(works, default=Work(0, "", None), key=lambda work: (work.token is not None, work.amount))
    return most._replace(amount=sum(work.amount for work in works))


def _macros_in_tags(document: tree.Document) -> frozenset[str]:
    """Return the names of the macros that are defined in a loop, a ``with``, a macro or a block."""
    names = set()
    waiting: list[tuple[object, bool]] = [(document.body, False), (list(document.blocks.values()), True)]
    while waiting:
        node, is_inside = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += [(each, is_inside) for each in node]
        elif isinstance(node, tree.NODES):
            if isinstance(node, tree.Macro) and is_inside:
                names.add(node.name)
            is_inside = is_inside or isinstance(node, tree.For | tree.With | tree.Macro)
            waiting += [(getattr(node, name), is_inside) for name in fields(type(node))]
    return frozenset(names)


def _arguments(call: tree.Path) -> list[tree.Expression]:
    return [value for part in call.parts for value in part.arguments or ()]


def _token(node: Outer) -> Token:
    return node.expression.token if isinstance(node, tree.For) else node.token


def _formatted(size: int, layout: str) -> int:
    """Return the length of the result of the filter ``stringformat`` for a value of ``size`` characters.

    Go appends a value that no directive uses. A star as the width uses the value as the width.
    """
    total = len(layout) + size + _MISFIT + layout.count("*") * _LONGEST_FORMAT
    total += sum(min(int(digits), _LONGEST_FORMAT) for digits in re.findall("[0-9]{1,9}", layout))
    for flags, verb in re.findall("%([^a-zA-Z%]*)([a-zA-Z%]?)", layout):
        is_long = verb == "q" or "#" in flags or " " in flags
        total += size * (_FORMATS.get(verb, 1) if is_long else 2) + _MISFIT
    return total


def _is_short(expression: tree.Expression) -> bool:
    literal = plain(expression)
    return (
        isinstance(literal, tree.Literal)
        and not isinstance(literal.value, str)
        and len(str(literal.value)) < 20
    )


def _least(number: int) -> int:
    return min(number, _MANY)
