"""An upper bound of the work and the memory that a daemon needs to render a template.

``bound`` accepts only parts of the language whose cost is easy to bound, and raises NoBoundError for others.
``bound`` never renders the template, so conditions can't hide a part.

``LONG`` and ``KEYS`` are the assumed sizes of an instance's texts and maps. Properties and the paths of
rules, which the image's author chooses, count with their real lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..model.unprintable_characters import printable
from ..pongo2.names_read import fields, nodes
from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import TEXT, Token
from ..pongo2.tags.cycle import advance
from ..pongo2.tags.firstof import first
from ..pongo2.tags.ifchanged import changed_text, differs, no_else
from ..pongo2.tags.lorem import filler
from ..pongo2.tags.now import show
from ..pongo2.tags.spaceless import collapse
from ..pongo2.tags.widthratio import fixed_ratio, ratio
from ..pongo2.values import to_string
from .counted_filters import SQUARED
from .filter_cost_bounds import (
    CHANGING,
    COUNTING,
    DECODING,
    ESCAPED,
    LIST,
    LISTING,
    MISFIT,
    NUMBER,
    STEP,
    USE,
    USE_OF_SLOW,
    NoBoundError,
    bytes_of,
    cost_of_filter,
    plain,
)
from .scanned_image import ScannedImage

#: the assumed length of each text of an instance, such as a short cloud-config
LONG = 1000
#: the assumed number of keys of each map
KEYS = 20
#: limit on the work for a template: pongo2 needs two seconds for this work
MOST_WORK = 1_000_000_000
#: limit on the characters of the output and of all variables; Go needs several bytes for each character
MOST_HELD = 20_000_000
#: the number of characters that take as much memory as one element of a list
_ELEMENT = 32
#: larger numbers count as this number
_MANY = 1 << 62
#: the work to evaluate a part of a template, or to copy a variable, in units of the work to copy a character
_NODE = 50
#: the number of characters of a paragraph of the tag ``lorem``
_PARAGRAPH = 500
#: maximum depth of nested calls of macros; deeper calls have no bound
_DEPTH = 20

#: names of variables of the daemons and of pongo2
_DAEMON_NAMES = (
    *("block", "config", "config_get", "container", "devices", "forloop", "instance", "path", "pongo2"),
    *("properties", "trigger"),
)
#: the names of the daemons' maps, each with the number of keys that lead to a text
_MAPS = {"config": 1, "properties": 1, "devices": 2}

#: operators that do not read a text as a number; ``in`` searches a text or a list, but not a map
_CHEAP = ("and", "or", "not", "==", "!=", "<>", "in")
#: the work for each character of a text: for an operator that searches the text or reads the text as a
#: number, and for the tag ``spaceless``
_SEARCH, _SPACELESS = 50, 300
#: tags that assign only to copies of the variables
_WITH_COPIES = (tree.For, tree.With, tree.Macro)
#: for each operator: the maximum length of the result, without the operands that the result contains
_ARITHMETIC = {"+": LIST, **dict.fromkeys(("negative", "-", "*", "/", "%", "^", "not"), NUMBER)}
#: operators whose result can contain their operands
_JOINING = ("+", "and", "or")
#: the length of "False", the longest result of all other operators
_TRUTH = 5

#: the length of an error message of pongo2, without the texts that it quotes
_ERROR = 300

#: the functions of tags that only evaluate their arguments
_TAGS = (first, differs, no_else, ratio, fixed_ratio)


class Texts(NamedTuple):
    """The sizes of the texts that the image's author chooses. Lengths are in bytes.

    * ``number``: number of the image's properties, plus the highest number of properties of one rule
    * ``longest``: length of the longest name or value of a property
    * ``total``: total length of the image's property names and values, plus the highest total of one rule
    * ``path``: length of the longest path of a rule
    """

    number: int = 0
    longest: int = 0
    total: int = 0
    path: int = 0


NO_TEXTS = Texts()


def texts_of(image: ScannedImage) -> Texts:
    """Measure the properties of an image and of its rules, and the paths of the rules."""
    of_image = image.metadata.properties if image.metadata is not None else {}
    number = total = longest = 0
    # the rules of an image often share their properties
    for properties in {id(rule.properties): rule.properties for rule in image.rules}.values():
        lengths = [bytes_of(text) for pair in properties.items() for text in pair]
        number, total = max(number, len(properties)), max(total, sum(lengths))
        longest = max([longest, *lengths])
    lengths = [bytes_of(text) for pair in of_image.items() for text in pair]
    paths = [bytes_of(rule.path) for rule in image.rules]
    longest = max([longest, *lengths])
    return Texts(number + len(of_image), longest, total + sum(lengths), max(paths, default=0))


class Bound(NamedTuple):
    """Upper bounds for a render.

    * ``work``: the unit is the work to copy one character
    * ``held``: number of characters in memory at the end
    * ``token``: a token of the part of the template that needs the most work
    """

    work: int
    held: int
    token: Token


def bound(document: tree.Document, texts: Texts = NO_TEXTS) -> Bound:
    """Return upper bounds for a render of a template. Raises NoBoundError."""
    return _Bound(document, texts).bound()


class _Measure(NamedTuple):
    """Upper bounds for an expression: the characters of the value, and the work to compute it.

    * ``variables``: number of variables in the expression
    * ``pieces``: loop variables in ``_Position.pieces`` from which the value is computed
    * ``changed``: variables that a loop changes and that the value can contain
    * ``copies``: number of copies of the ``changed`` variables in the value
    """

    size: int
    work: int
    variables: int
    pieces: frozenset[str]
    changed: frozenset[str]
    copies: int


class _Position(NamedTuple):
    """The position of a part of a template.

    * ``runs``: number of times that a render runs the part
    * ``longer``: factor by which the filters around the part lengthen its output
    * ``weight``: number of times that these filters copy the output
    * ``macro``: whether the part is in a macro
    * ``escaped``: whether autoescape is on
    * ``pieces``: maps each variable that contains a piece of a text to the loop's variable and a length
    """

    runs: int = 1
    longer: int = 1
    weight: int = 1
    macro: bool = False
    escaped: bool = False
    #: In each iteration, the variable of a loop over a text contains one piece of the text. The pieces of all
    #: iterations together are only as long as the text.
    pieces: Mapping[str, tuple[str, int]] = {}


class _Bound:
    """The search for the upper bounds of a render.

    A first walk finds the lengths of variables. A second walk adds up the work.
    """

    def __init__(self, document: tree.Document, texts: Texts) -> None:
        self.document = document
        self.texts = texts
        self.text = max(LONG, texts.longest, texts.path)
        self.copies = len(document.bound) * _NODE
        found = list(nodes(document))
        loops = [node for node in found if isinstance(node, tree.For)]
        over_devices = [loop for loop in loops if getattr(plain(loop.expression), "text", "") == "devices"]
        #: how many loops set each name, and the names that loops set only to devices
        self.loop_names = Counter(name for loop in loops for name in (loop.key, loop.value) if name)
        values = Counter(loop.value for loop in over_devices if loop.value)
        self.devices = {name for name, number in values.items() if number == self.loop_names[name]}
        macros = [node for node in found if isinstance(node, tree.Macro)]
        self.macros = {macro.name: macro for macro in macros}
        if len(self.macros) < len(macros):
            raise NoBoundError("two macros have the same name", macros[-1].token)
        #: how many tags other than ``for`` give a value to each name
        self.assigned = Counter(name for node in found for name in _assigned_names(node))
        #: the names whose value in an iteration can come from the previous iteration
        self.changed = _changed_names(found, macros, document.blocks)
        #: the characters of the longest value of each name
        self.lengths = dict.fromkeys(self.changed, 0)
        self.is_known = False
        # a call in autoescape escapes the output of a macro, even if the macro is defined outside
        escaped = any(isinstance(node, tree.Autoescape) and node.on for node in found)
        self.in_macro = _Position(macro=True, escaped=escaped)
        # the longest token or path, which an error can quote
        quoted = [token.value for token in document.tokens if token.kind != TEXT]
        quoted += [node.text for node in found if isinstance(node, tree.Path)]
        self.longest_quote = max(map(bytes_of, quoted), default=0)
        #: the length of the longest value in bytes, and the length of all values that tags assign together
        self.largest = self.assigned_bytes = 0
        self.has_lists = any(isinstance(node, tree.FilterUse) and node.name in LISTING for node in found)
        #: for each macro: the length of the output of one call, and the work for the call
        self.calls: dict[str, tuple[int, int]] = {}
        self.running: list[str] = []

    def bound(self) -> Bound:
        self._walk([(self.document.body, _Position())])
        for macro in self._callers_first():  # calls give lengths to the parameters
            self._walk([(macro.body, self.in_macro)])
        self.is_known = True
        works: list[tuple[int, Token]] = []
        output, total = self._walk([(self.document.body, _Position())], works)
        _, token = max(works, key=lambda each: each[0], default=(0, self.document.tokens[0]))
        values = self.assigned_bytes + self.largest
        return Bound(total, _least(output + values * (_ELEMENT if self.has_lists else 1)), token)

    def _callers_first(self) -> list[tree.Macro]:
        """Return the macros in an order in which each macro follows its callers."""
        calls = {
            name: names_in(macro.body, self.document.blocks) & self.macros.keys()
            for name, macro in self.macros.items()
        }
        callers = Counter(name for called in calls.values() for name in called)
        ordered = [name for name in calls if not callers[name]]
        for caller in ordered:
            for name in calls[caller]:
                callers[name] -= 1
                if not callers[name]:
                    ordered.append(name)
        if len(ordered) < len(calls):
            first = next(macro for name, macro in self.macros.items() if callers[name] > 0)
            raise NoBoundError("macros can call each other without end", first.token)
        return [self.macros[name] for name in ordered]

    def _walk(
        self, waiting: list[tuple[Any, _Position]], works: list[tuple[int, Token]] | None = None
    ) -> tuple[int, int]:
        """Return how many characters the parts in ``waiting`` print, and the work for these parts.

        If the list ``works`` is given, append to it the work for each part with an expression.
        """
        output = total = 0
        while waiting:
            node, at = waiting.pop()
            if isinstance(node, list):
                waiting += [(each, at) for each in reversed(node)]
                continue
            measures: list[tuple[Token, _Measure]] = []
            size, copied, inside = self._visit(node, at, measures)
            waiting += reversed(inside)
            output = _least(output + size * at.longer * at.runs)
            work = _NODE + copied + size * at.weight + sum(measure.work for _, measure in measures)
            total = _least(total + work * at.runs)
            if works is not None and measures:
                works.append((work * at.runs, measures[0][0]))
        return output, total

    def _visit(
        self, node: Any, at: _Position, measures: list[tuple[Token, _Measure]]
    ) -> tuple[int, int, list[tuple[Any, _Position]]]:
        """Append the bounds for a statement's expressions to ``measures``. Return three values:

        * the number of characters that the statement prints
        * the work to copy variables
        * the bodies of the statement, with their positions
        """

        def measured(expression: tree.Expression) -> _Measure:
            measures.append((expression.token, self.measure(expression, at)))
            return measures[-1][1]

        if isinstance(node, tree.Text):
            return bytes_of(node.value), 0, []
        if isinstance(node, tree.Print):
            size = measured(node.expression).size
            if self._is_map(plain(node.expression)):  # pongo2 prints "<map[string]string Value>"
                size = MISFIT
            return size * ESCAPED if at.escaped else size, 0, []
        if isinstance(node, tree.Do):
            measured(node.expression)
            return 0, 0, []
        if isinstance(node, tree.Set):
            self._assign(node.name, node.expression, measured(node.expression), at)
            return 0, 0, []
        if isinstance(node, tree.If):
            for test, _ in node.branches:
                measured(test)
            return 0, 0, [*((body, at) for _, body in node.branches), (node.otherwise or [], at)]
        if isinstance(node, tree.For):
            return 0, self.copies, self._enter(node, measured(node.expression), at)
        if isinstance(node, tree.With):
            for name, value in node.pairs:
                self._assign(name, value, measured(value), at)
            return 0, self.copies, [(node.body, at)]
        if isinstance(node, tree.Macro):
            for name, default in node.parameters:
                if default is not None:
                    if not isinstance(plain(default), tree.Literal):  # each call computes the default
                        raise NoBoundError("a macro computes the default of a parameter", default.token)
                    self._assign(name, default, measured(default), at)
            return 0, 0, []
        if isinstance(node, tree.Autoescape):
            return 0, 0, [(node.body, at._replace(escaped=node.on))]
        if isinstance(node, tree.Block):
            return 0, self.copies, [(self.document.blocks[node.name], at)]
        if isinstance(node, tree.FilterBlock):
            size, longer, weight = 0, 1, 0
            for use in reversed(node.filters):
                if use.name in SQUARED:
                    raise NoBoundError(f"the tag 'filter' uses the filter '{use.name}'", use.token)
                factor, more, added = cost_of_filter(use)
                if use.argument is not None:
                    added += measured(use.argument).size
                size, longer, weight = size + added * longer, _least(longer * factor), weight + more
            weight = _least(weight * longer)
            inside = at._replace(
                longer=_least(at.longer * longer), weight=_least(at.weight * longer + weight)
            )
            return size, size * weight + USE_OF_SLOW * len(node.filters), [(node.body, inside)]
        if isinstance(node, tree.Capture) and node.invoke.function in (collapse, changed_text):
            return 0, 0, [(node.body, at._replace(weight=at.weight + _SPACELESS)), (node.otherwise or [], at)]
        raise NoBoundError(
            "the template uses a tag in an unusual way", getattr(node, "token", self.document.tokens[0])
        )

    def _assign(self, name: str, value: tree.Expression, measure: _Measure, at: _Position) -> None:
        """Compute the length of a variable's value, unless the lengths of all variables are known."""
        if self.is_known:
            return
        size = measure.size
        self._require_no_macro(name, value)
        if measure.changed:
            # each iteration makes this value longer by the lengths of all other parts of the expression
            if measure.changed != {name}:
                raise NoBoundError(
                    "a loop computes a variable from other variables that change in the loop", value.token
                )
            if measure.copies > 1:
                raise NoBoundError(
                    "each iteration of a loop can make a text several times longer", value.token
                )
            size = self.lengths.get(name, 0) + (size - self.lengths.get(name, 0)) * at.runs
        elif measure.pieces:  # a later loop can't know that the variable is a piece
            size = self.measure(value, at._replace(pieces={})).size
        self._lengthen(name, size)

    def _require_no_macro(self, name: str | None, value: tree.Expression) -> None:
        """Raise NoBoundError if a variable has the name of a macro, or if its value uses a macro."""
        if name in self.macros or any(each in self.macros for each in names_in(value, self.document.blocks)):
            raise NoBoundError(
                "a variable has the name of a macro, or contains the output of a macro", value.token
            )

    def _lengthen(self, name: str, size: int) -> None:
        self.assigned_bytes += size
        self.lengths[name] = _least(max(self.lengths.get(name, 0), size))

    def _enter(self, loop: tree.For, measure: _Measure, at: _Position) -> list[tuple[Any, _Position]]:
        """Return the bodies of a loop with their positions."""
        expression = loop.expression
        names = frozenset(filter(None, (loop.key, loop.value)))
        if measure.changed or not names.isdisjoint(self.changed):
            raise NoBoundError("a loop changes the value over which another loop runs", expression.token)
        for name in names:
            self._require_no_macro(name, expression)
        is_map = self._is_map(plain(expression))
        if loop.ordered and not is_map:
            raise NoBoundError("a loop sorts a text or a list", expression.token)
        if not self.is_known:
            for name in names:
                self._lengthen(
                    name, self.text if is_map and name not in self.devices else max(self.text, measure.size)
                )
        rounds = KEYS + self.texts.number if is_map else max(measure.size, 1)
        if (
            isinstance(expression, tree.Filtered)
            and expression.filters
            and expression.filters[-1].name in LISTING
        ):
            rounds = max(1, rounds - LIST + 1)  # without the text that pongo2 prints for a list
        # in the body of a loop over a piece, the variables of this piece count with their full length
        pieces = {
            name: piece
            for name, piece in at.pieces.items()
            if piece[0] not in measure.pieces and name not in names
        }
        if not is_map and loop.key not in self.assigned:
            pieces[loop.key] = loop.key, 1
        inside = at._replace(runs=_least(at.runs * rounds), pieces=pieces)
        for each in loop.body:
            if isinstance(each, tree.Set) and self.assigned[each.name] == 1 and each.name not in self.changed:
                of_value = self.measure(each.expression, inside)
                if of_value.variables == len(of_value.pieces) == 1:
                    pieces[each.name] = min(of_value.pieces), of_value.size
        iteration = tree.Text("", 0)  # also an iteration of an empty body takes time
        return [([iteration, loop.body], inside), (loop.empty or [], at)]

    def measure(self, expression: tree.Expression, at: _Position) -> _Measure:
        """Return upper bounds for the value of an expression, and for the work to compute the value."""
        size = work = variables = copies = 0
        decodes = changes = False
        pieces: set[str] = set()
        changed: set[str] = set()
        # Each tuple has a part, and three facts: how many times longer the filters around the part make the
        # part, how often these filters copy its characters, and whether the value can contain the part's
        # text.
        waiting: list[tuple[Any, int, int, bool]] = [(expression, 1, 1, True)]
        while waiting:
            node, longer, times, is_shown = waiting.pop()
            own, was_shown = 0, is_shown
            if isinstance(node, tree.Literal):
                own = bytes_of(to_string(node.value)) * (2 if changes else 1)
            elif isinstance(node, tree.Path):
                own, more = self._size_of_path(node, at)
                work += more + _NODE * len(node.parts)
                # pongo2 calls methods of Go even if the template has no brackets, and these methods copy maps
                methods = sum(str(part.key)[:1].isupper() for part in node.parts[1:])
                work += methods * self._size_of_map()
                variables += 1
                if node.name in self.changed and is_shown:
                    changed.add(node.name)
                    copies += longer
                if node.name in at.pieces:
                    pieces.add(at.pieces[node.name][0])
                    own *= 3 if decodes else 1
                elif changes:
                    own *= 2
            elif isinstance(node, tree.Operation):
                own = _ARITHMETIC.get(node.operator, _TRUTH)
                is_shown = is_shown and node.operator in _JOINING
            elif isinstance(node, tree.Filtered):
                for number in range(len(node.filters) - 1, -1, -1):
                    use = node.filters[number]
                    factor, weight, added = cost_of_filter(use)
                    size, work = size + added * longer * is_shown, work + added * longer * times
                    work += USE_OF_SLOW if use.name == "phone2numeric" else USE
                    times = _least(times + weight + self._square(node, number, at))
                    if use.argument is not None:
                        waiting.append((use.argument, longer, times, is_shown))
                    longer, is_shown = _least(longer * factor), is_shown and use.name not in COUNTING
                changes = changes or any(use.name in CHANGING for use in node.filters)
                decodes = decodes or changes or any(use.name in DECODING for use in node.filters)
            elif isinstance(node, tree.Invoke):
                own = self._size_of_tag(node)
            searches = isinstance(node, tree.Operation) and (
                node.operator not in _CHEAP
                or (node.operator == "in" and not self._is_map(plain(node.operands[-1])))
            )
            times = _least(times + (_SEARCH if searches else 1))
            waiting += [(each, longer, times, is_shown) for each in _inside(node)]
            self.largest = max(self.largest, _least(own * longer))
            size += own * longer * was_shown
            work += own * longer * times + _NODE
        self.largest = max(self.largest, _least(size))
        return _Measure(_least(size), _least(work), variables, frozenset(pieces), frozenset(changed), copies)

    def _size_of_path(self, path: tree.Path, at: _Position) -> tuple[int, int]:
        """Return the length of a variable's value or a macro's output, and the work for the macro's call."""
        name = path.name
        called = [part for part in path.parts if part.arguments is not None]
        if name in self.macros:
            if called not in ([], path.parts[:1]):
                raise NoBoundError(f"the template calls '{printable(path.text)}'", path.token)
            return self._call(path, at)
        if called and (name != "config_get" or called != path.parts[:1]):
            raise NoBoundError(f"the template calls '{printable(path.text)}'", path.token)
        if name in at.pieces:
            size = at.pieces[name][1]
            return size if len(path.parts) == 1 else max(1, size - LIST), 0
        if name == "block" and [part.key for part in path.parts[1:]] != ["Super"]:
            raise NoBoundError("the variable 'block' contains the whole configuration", path.token)
        size = self.text
        if name in _MAPS or name in self.devices:
            size = self._size_of_map()
        if len(path.parts) > _MAPS.get(name, 1) or name == "config_get":
            size = self.text
        if name in self.lengths:  # outside of the tag that binds it, the name means a daemon's variable
            size = max(self.lengths[name], size if name in _DAEMON_NAMES or len(path.parts) > 1 else 0)
        return size, 0

    def _size_of_map(self) -> int:
        return (KEYS + self.texts.number) * 2 * self.text + self.texts.total

    def _call(self, path: tree.Path, at: _Position) -> tuple[int, int]:
        """Return the length of the output of a call of a macro, and the work for the call."""
        macro = self.macros[path.name]
        arguments = [each for part in path.parts for each in part.arguments or ()]
        if not self.is_known:
            for (name, _), value in zip(macro.parameters, arguments, strict=False):
                self._require_no_macro(name, value)
                measure = self.measure(value, at._replace(pieces={}))
                if at.macro and any(each in self.assigned for each in names_in(value, self.document.blocks)):
                    raise NoBoundError("a macro calls a macro with a computed value", path.token)
                if measure.changed:
                    raise NoBoundError("a loop changes an argument of a macro", path.token)
                self._lengthen(name, measure.size)
            return 0, 0
        if macro.name not in self.calls:
            if macro.name in self.running or len(self.running) >= _DEPTH:
                raise NoBoundError(f"calls of macros can be nested more than {_DEPTH} deep", path.token)
            self.running.append(macro.name)
            output, work = self._walk([(macro.body, self.in_macro)])
            # pongo2 4 prints the error of a macro, which can quote the template and a value
            output += _ERROR + self.longest_quote + self.largest
            self.calls[macro.name] = output, _least(work + output + self.copies + _NODE)
            self.running.pop()
        return self.calls[macro.name]

    def _size_of_tag(self, node: tree.Invoke) -> int:
        """Return how many characters a tag can print, in addition to the texts of its arguments."""
        if node.function is filler:
            return max(int(node.arguments[0]), 0) * _PARAGRAPH
        if node.function is show:
            return 3 * bytes_of(node.arguments[0]) + NUMBER
        if node.function in _TAGS:
            return NUMBER
        if node.function is advance:
            name, items = node.arguments[3], [plain(item) for item in node.arguments[2].expressions]
            if not name:
                return 0
            if all(isinstance(item, tree.Literal) for item in items):  # pongo2 computes the items again later
                self._lengthen(name, NUMBER + sum(bytes_of(to_string(item.value)) for item in items))
                return 0
        raise NoBoundError("the template uses a tag in an unusual way", node.token)

    def _square(self, node: tree.Filtered, number: int, at: _Position) -> int:
        """Return the additional work per character if a filter decodes the whole text for each character.

        Return 0 for other filters. Raises NoBoundError if the text is computed.
        """
        use = node.filters[number]
        if use.name not in SQUARED or (
            use.name == "join" and number and node.filters[number - 1].name in LISTING
        ):
            return 0
        if number or not isinstance(node.atom, tree.Path | tree.Literal):
            raise NoBoundError(f"the filter '{use.name}' gets a computed text", use.token)
        size = (
            self._size_of_path(node.atom, at)[0]
            if isinstance(node.atom, tree.Path)
            else bytes_of(to_string(node.atom.value))
        )
        return max(size, self.text) * STEP // SQUARED[use.name]

    def _is_map(self, value: Any) -> bool:
        """Return whether an expression is a device, or another map that a daemon gives to templates."""
        if not isinstance(value, tree.Path) or self.assigned[value.name]:
            return False
        if value.name in self.devices:
            return len(value.parts) == 1
        return not self.loop_names[value.name] and len(value.parts) <= _MAPS.get(value.name, 0)


def _assigned_names(node: object) -> Iterator[str]:
    """Yield the names to which a tag other than ``for`` gives a value."""
    if isinstance(node, tree.Set):
        yield node.name
    elif isinstance(node, tree.With):
        yield from (name for name, _ in node.pairs)
    elif isinstance(node, tree.Macro):
        yield from (name for name, _ in node.parameters)
    elif isinstance(node, tree.Invoke) and node.function is advance and node.arguments[3]:
        yield node.arguments[3]


def _changed_names(
    found: list[Any], macros: list[tree.Macro], blocks: Mapping[str, tree.Body]
) -> frozenset[str]:
    """Return the names that an iteration of a loop can read before the same iteration sets them."""
    in_macros = {name for macro in macros for name in names_in(macro.body, blocks)}
    changed: set[str] = set()
    for loop in found:
        if isinstance(loop, tree.For):
            inside = _within(loop.body, blocks, _WITH_COPIES)
            sets = {each.name for each in inside if isinstance(each, tree.Set)}
            if not sets:
                continue
            read, fresh = set(in_macros), set[str]()
            for statement in loop.body:
                read |= {each.name for each in _within(statement, blocks) if isinstance(each, tree.Path)}
                if isinstance(statement, tree.Set) and statement.name not in read:
                    fresh.add(statement.name)
            changed |= sets - fresh
    return frozenset(changed)


def _within(part: object, blocks: Mapping[str, tree.Body], without: tuple[type, ...] = ()) -> Iterator[Any]:
    """Yield all nodes in a part of a template, and in the ``blocks`` that this part contains.

    Leave out nodes of the classes in ``without``, and all nodes inside them.
    """
    waiting = [part]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += node
        elif isinstance(node, tree.NODES) and not isinstance(node, without):
            yield node
            waiting += [getattr(node, name) for name in fields(type(node))]
            if isinstance(node, tree.Block):
                waiting.append(blocks.get(node.name))


def names_in(part: object, blocks: Mapping[str, tree.Body] = {}) -> set[str]:
    """Return the names of all variables in a part of a template, and in the blocks inside the part.

    ``blocks`` maps the names of blocks to their bodies.
    """
    return {node.name for node in _within(part, blocks) if isinstance(node, tree.Path)}


def _inside(node: tree.Expression) -> Iterator[tree.Expression]:
    """Yield the parts of an expression that are evaluated before the whole expression.

    Omit the arguments of filters.
    """
    if isinstance(node, tree.Filtered):
        yield node.atom
    elif isinstance(node, tree.Operation):
        yield from node.operands
    elif isinstance(node, tree.Path):
        for part in node.parts:
            if isinstance(part.key, tree.Expression):
                yield part.key
            yield from part.arguments or ()
    elif isinstance(node, tree.Invoke):
        for each in node.arguments:
            if isinstance(each, tree.Lazy):
                yield from each.expressions
            elif isinstance(each, tree.Remembered):
                yield each.expression
            elif isinstance(each, tree.Expression):
                yield each


def _least(number: int) -> int:
    return min(number, _MANY)
