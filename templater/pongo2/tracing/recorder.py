"""The record of a traced render: for each printed text, the context variables on which the text depends.

`instrumented_template` adds calls of this module's functions to a template. The first argument is the render,
whose context is a `TracedContext`. The functions change no value.

A "read" is the record that an expression has used a name of the context. A read is a tuple:

* ``("config", "user.foo")``: a root name and its keys
* ``("config",)``: all keys of ``config``
* ``(CONFIG_DEFAULT, key)``: ``config_get`` returned its default, because ``key`` is missing
* ``(FILTER_DEFAULT,)``: the filter ``default`` returned its argument
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..values import CycleValue, Function, is_nil, to_string, truthy

if TYPE_CHECKING:
    from ..render_state import Render

Name = tuple[str, ...]
#: an ordered set of reads
Names = dict[Name, None]
Scope = dict[str, Any]
Thunk = Callable[[Scope], Any]

#: invented names for reads of default values; a context cannot contain these names
CONFIG_DEFAULT, FILTER_DEFAULT = "config_get default", "default filter"
#: the maximum number of pieces in the record of one render, because pieces need memory
MAX_PIECES = 50_000
#: the maximum number of reads in all pieces of one render
MAX_READS = 200_000
#: the prefix of the scope keys that store the reads on which a bound name depends
_READS = " reads "
#: the scope key of the `Binding` whose values are being evaluated
_BINDING = " binding "
#: stands for a missing key whose name the template computed
COMPUTED = "a computed key"


#: the kinds of sites: a text, a ``{{ }}``, a tag that prints one text, and a tag that has printed nothing
TEXT, VALUE, CAPTURED, NOTHING = "text", "value", "captured", "nothing"


class Site(NamedTuple):
    """A place in a template that prints a text: its offset in the source, and its kind."""

    start: int
    kind: str


class Piece(NamedTuple):
    """A text that was printed at a site.

    * ``reads``: the names on which the text depends
    * ``because``: the names on which the conditions and loops around the site depend

    A piece with a site of the kind NOTHING stands for a condition or loop without output.
    """

    text: str
    site: Site
    reads: tuple[Name, ...]
    because: tuple[Name, ...]


class Branch(NamedTuple):
    """A part of a template that runs only in some renders.

    * ``start``: the offset of the part, or of the tag to which it belongs
    * ``message``: the remark in a coverage report if no test reaches the part
    """

    start: int
    message: str


class TooManyPiecesError(Exception):
    """Raised if a render has more than ``MAX_PIECES`` pieces or ``MAX_READS`` reads."""


class Frame:
    """The state of one expression while it is evaluated.

    * ``reads``: the variables that were read so far
    * ``keys``: the computed keys, such as the value of ``x`` in ``a[x]``
    * ``sizes``: the lengths of the ``Trace.lists()`` before the expression
    """

    __slots__ = ("default_used", "keys", "reads", "sizes")

    def __init__(self, sizes: tuple[int, ...] = ()) -> None:
        self.reads: Names = {}
        self.keys: list[str] = []
        self.default_used = False
        self.sizes = sizes


class Trace:
    """The state of one traced render."""

    def __init__(self, runs: list[tuple[Site, ...]]) -> None:
        self.runs = runs
        self.pieces: list[Piece] = []
        #: the number of reads in the pieces
        self.size = 0
        #: a frame for each expression that is being evaluated; the first frame belongs to statements
        self.frames = [Frame()]
        #: the reads of the conditions and loops around the current statement
        self.control: list[Names] = []
        #: for each condition or loop around the current statement: the number of pieces before it
        self.counts: list[int] = []
        #: for each loop around the current statement: the reads of the iterated value, and the value
        self.loops: list[tuple[Names, Any]] = []
        #: the reads of expressions in ``{{ }}`` that are evaluated, but not printed yet
        self.printed: deque[Names] = deque()
        #: for each ``default`` filter whose argument is not evaluated yet: whether the filter returns the
        #: argument
        self.uses_default: list[bool] = []
        self.everything: Names = {}
        #: the names whose values the template has compared, or has changed in an unknown way
        self.compared: Names = {}
        #: the numbers of the branches that ran
        self.reached: set[int] = set()
        self.sites: tuple[Site, ...] = ()
        self.position = 0

    def add(self, reads: Iterable[Name]) -> None:
        for name in reads:
            self.frames[-1].reads[name] = self.everything[name] = None

    def lists(self) -> tuple[list[Any], ...]:
        return self.control, self.counts, self.loops, self.uses_default

    def begin(self) -> int:
        self.frames.append(Frame(tuple(map(len, self.lists()))))
        return len(self.frames) - 1

    def take(self, depth: int) -> Frame:
        """Remove the frames from ``depth`` on. Return the first of them, with the reads of all of them."""
        frame = self.frames[depth]
        for other in self.frames[depth + 1 :]:
            frame.reads.update(other.reads)
        del self.frames[depth:]
        # In pongo2 v4, a render continues after a macro has failed, so remove the failed macro's items.
        for items, size in zip(self.lists(), frame.sizes, strict=True):
            del items[size:]
        return frame

    def conditions(self) -> Names:
        found: Names = {}
        for names in self.control:
            found.update(names)
        return found

    def print(self, texts: Iterable[str]) -> None:
        because = tuple(self.conditions())
        for text in texts:
            site = self.sites[self.position]
            self.position += 1
            reads: Names = {}
            if site.kind == CAPTURED:
                reads, self.frames[0].reads = self.frames[0].reads, {}
            elif site.kind == VALUE:
                reads = self.printed.popleft()
            self.add_piece(Piece(text, site, tuple(reads), because))

    def add_piece(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.size += len(piece.reads) + len(piece.because)
        if len(self.pieces) > MAX_PIECES or self.size > MAX_READS:
            raise TooManyPiecesError


class TracedContext(dict[str, Any]):
    """The context of a traced render."""

    def __init__(self, context: Mapping[str, Any], runs: list[tuple[Site, ...]]) -> None:
        super().__init__(context)
        self.trace = Trace(runs)


class PrintedTexts(list[str]):
    """The texts that a template has printed. Generated code appends tuples of texts with ``+=``."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __iadd__(self, texts: Iterable[str]) -> PrintedTexts:  # type: ignore[override,misc]
        texts = tuple(texts)
        self.trace.print(texts)
        self.extend(texts)
        return self


def trace_of(render: Render) -> Trace:
    assert isinstance(render.context, TracedContext)
    return render.context.trace


def printed_texts(render: Render) -> PrintedTexts:
    return PrintedTexts(trace_of(render))


# --- expressions


def begin(render: Render) -> int:
    """Begin a `Frame` for one expression, and return its depth.

    The function that ends the frame takes this depth as an argument.
    """
    return trace_of(render).begin()


def subscript_key(render: Render, value: Any) -> Any:
    trace_of(render).frames[-1].keys.append(to_string(value))
    return value


def context_value(render: Render, depth: int, value: Any, path: tuple[str | None, ...]) -> Any:
    """Record that the template reads a context variable. ``path`` has None for each computed key."""
    trace = trace_of(render)
    frame = trace.take(depth)
    value_of_root = render.context.get(str(path[0]))
    name = resolved(value_of_root, path, frame.keys)
    trace.add((*frame.reads, normal(render.context, name)))
    return value


def bound_value(render: Render, depth: int, value: Any, scope: Scope, path: tuple[str | None, ...]) -> Any:
    """Record that the template reads a variable that a tag, such as ``set``, can bind. Return ``value``."""
    trace = trace_of(render)
    frame = trace.take(depth)
    name = resolved(scope.get(str(path[0])), path, frame.keys)
    trace.add((*frame.reads, *reads_of(render, scope, name)))
    return value


def config_value(render: Render, depth: int, value: Any, is_computed: bool) -> Any:
    """Record a call of ``config_get`` with two arguments."""
    trace = trace_of(render)
    frame = trace.take(depth)
    keys = frame.keys[-1:] or [""]
    _, key = resolved(render.context.get("config"), ("config", None if is_computed else keys[0]), keys)
    default = ((CONFIG_DEFAULT, key),) if frame.default_used else ()
    trace.add((("config", key), *default, *frame.reads))
    return value


def config_default(render: Render, scope: Scope, argument: tuple[Thunk]) -> Any:
    """Evaluate the default of ``config_get``.

    If the key is missing, record the names that the default uses.
    """
    trace = trace_of(render)
    depth = begin(render)
    value = argument[0](scope)
    reads = trace.take(depth).reads
    frame, config = trace.frames[-1], render.context.get("config")
    if not isinstance(config, dict) or not frame.keys or frame.keys[-1] not in config:
        trace.add(reads)
        frame.default_used = True
    return value


def default_input(render: Render, value: Any, only_nil: bool) -> Any:
    trace_of(render).uses_default.append(is_nil(value) if only_nil else not truthy(value))
    return value


def default_argument(render: Render, scope: Scope, argument: tuple[Thunk]) -> Any:
    """Evaluate the argument of the filter ``default``.

    If the filter returns its argument, record the names that the argument uses.
    """
    trace = trace_of(render)
    uses_default = trace.uses_default.pop()
    depth = begin(render)
    value = argument[0](scope)
    reads = trace.take(depth).reads
    if uses_default:
        trace.add(((FILTER_DEFAULT,), *reads))
    return value


def with_history(render: Render, value: Any) -> Any:
    """Record that ``value`` depends on all names that the render has used so far.

    Tags that store earlier values, such as ``cycle``, call this function.
    """
    trace = trace_of(render)
    trace.add(tuple(trace.everything))
    return value


def resolved(value: Any, path: tuple[str | None, ...], keys: list[str]) -> Name:
    """Replace each None in a path by the next computed key. If no key is left, end the path there.

    ``value`` is the value of the root.
    """
    found: list[str] = []
    waiting = iter(keys)
    for key in path:
        name = next(waiting, None) if key is None else key
        if name is None:
            break
        if found:
            value = value.get(name) if isinstance(value, dict) else None
        # A computed key that is not in the value can contain a secret.
        found.append(COMPUTED if key is None and value is None else name)
    return tuple(found)


def normal(context: Mapping[str, Any], name: Name) -> Name:
    """Normalise a read: replace ``container`` by ``instance``, and remove superfluous keys.

    At most two keys follow ``devices``, and at most one key follows any other name.
    """
    root = name[0]
    if root == "container":
        name = ("instance", *name[1:])
    if root == "config_get":
        return ("config",)
    if root == "devices" and len(name) > 1 and name[1] not in context.get(root, ()) and name[1][:1].isupper():
        return (root,)  # a method such as Sorted reads all devices
    if root == "devices" and len(name) > 2 and name[2][:1].isupper():
        return name[:2]
    return name[: 3 if root == "devices" else 2]


# --- names that the template binds


def reads_of(render: Render, scope: Scope, path: Name) -> Iterable[Name]:
    found: Names | None = scope.get(_READS + path[0])
    value = scope.get(path[0])
    if type(value) is CycleValue:  # the tag cycle has bound the name, without a call of `bind`
        return tuple(trace_of(render).everything)
    if found is not None:
        is_one = len(found) == 1 and isinstance(value, dict)
        return [below(render.context, name, path[1:]) for name in found] if is_one else found
    if value is None or path[0] in render.context:
        return [normal(render.context, path)]
    # A macro records its own reads. Any other value can depend on every earlier read.
    return () if type(value) is Function else tuple(trace_of(render).everything)


def below(context: Mapping[str, Any], name: Name, keys: Name) -> Name:
    """Return the path ``name`` with ``keys`` at its end.

    If ``name`` is not the path of a map in the context, return ``name`` unchanged.
    """
    is_map = name in (("config",), ("devices",), ("properties",), ("instance",))
    is_device = len(name) == 2 and name[0] == "devices" and name[1] in context.get("devices", ())
    return normal(context, (*name, *keys)) if keys and (is_map or is_device) else name


class Binding(NamedTuple):
    """The names that a statement binds, while the statement evaluates their values.

    * ``depth``: the depth of the statement's frame
    * ``reads``: the reads of each name's value, or None if a macro computes the value. In the latter case,
      the statement's frame has the reads.
    """

    depth: int
    reads: dict[str, Names | None]


def begin_binding(render: Render, scope: Scope, names: tuple[tuple[str, Name], ...]) -> None:
    """Prepare to record a statement that binds names. Call this before the statement evaluates the values.

    ``names`` has pairs of a name and the path of its value.
    """
    found = scope[_BINDING] = Binding(begin(render), {})
    for name, path in names:
        # For an empty path, `stored` records the reads later.
        if path:
            is_macro = type(scope.get(path[0])) is Function
            found.reads[name] = None if is_macro else dict.fromkeys(reads_of(render, scope, path))


def stored(render: Render, depth: int, value: Any, scope: Scope, name: str) -> Any:
    binding: Binding = scope[_BINDING]
    binding.reads[name] = trace_of(render).take(depth).reads
    return value


def bind(render: Render, scope: Scope) -> None:
    """Record, for each name that a statement has bound, the context variables on which its value depends."""
    trace = trace_of(render)
    binding: Binding = scope[_BINDING]
    of_macros = trace.take(binding.depth).reads
    for name, reads in binding.reads.items():
        scope[_READS + name] = of_macros if reads is None else reads
        trace.everything.update(scope[_READS + name])


def bind_parameters(render: Render, scope: Scope, names: tuple[str, ...]) -> None:
    """Record that each parameter of a macro depends on all arguments and defaults of the call."""
    # The frame of the calling expression has the names in these arguments and defaults.
    reads = dict(trace_of(render).frames[-1].reads)
    for name in names:
        scope[_READS + name] = reads


def bind_round(render: Render, scope: Scope, key: str, value: str, number: Any) -> None:
    """Record the context variables on which the loop's variables depend in this round.

    ``number`` is the value of the loop's first variable.
    """
    reads, iterated = trace_of(render).loops[-1]
    is_map = isinstance(iterated, dict)
    item = reads
    # In a loop over a map of the context, both variables depend only on the current item.
    # If both names are the same, `number` is the value of the item instead of its key.
    if is_map and isinstance(number, str) and len(reads) == 1 and key != value:
        name = below(render.context, next(iter(reads)), (number,))
        item = {name: None}
    scope[_READS + key] = item
    # As in pongo2, only a loop over a map sets the second name.
    if value and is_map:
        scope[_READS + value] = item
    scope[_READS + "forloop"] = reads


# --- statements


def reach(render: Render, number: int) -> None:
    """Record that a branch of the template runs."""
    trace_of(render).reached.add(number)


def run(render: Render, number: int) -> None:
    """Record that the next texts come from the sites in ``trace.runs[number]``, one after the other."""
    trace = trace_of(render)
    trace.sites, trace.position = trace.runs[number], 0
    trace.frames[0].reads = {}


def printed(render: Render, depth: int, value: Any) -> Any:
    trace = trace_of(render)
    trace.printed.append(trace.take(depth).reads)
    return value


def compared(render: Render, depth: int, value: Any) -> Any:
    """Record that an expression compares values, or can show a part of a value, as ``name.0`` does.

    `instrumented_template.compares` decides which expressions call this function.
    """
    trace = trace_of(render)
    reads = trace.take(depth).reads
    trace.compared.update(reads)
    trace.add(reads)
    return value


def open_branches(render: Render) -> None:
    trace = trace_of(render)
    trace.control.append({})
    trace.counts.append(len(trace.pieces))


def decided(render: Render, depth: int, value: Any) -> Any:
    """Record the names on which a condition depends. Return ``value``."""
    trace = trace_of(render)
    reads = trace.take(depth).reads
    # Later branches depend on these names, too, because they run only if this condition is false.
    trace.control[-1].update(reads)
    trace.add(reads)
    return value


def iterated(render: Render, depth: int, value: Any) -> Any:
    """Record the names on which a loop depends. Return the iterated value."""
    trace = trace_of(render)
    reads = trace.take(depth).reads
    # The body of a loop over a text can compare each character.
    if isinstance(value, str):
        trace.compared.update(reads)
    trace.control[-1].update(reads)
    trace.add(reads)
    trace.loops.append((reads, value))
    return value


def decided_by_statements(render: Render, compares: bool) -> None:
    """Record that the branches of a `tree.Capture` depend on all names used since the last call of `run`.

    ``compares`` is true if the statement compares the text of its body with an earlier text.
    """
    trace = trace_of(render)
    trace.control[-1].update(trace.frames[0].reads)
    if compares:
        trace.compared.update(trace.frames[0].reads)


def close_branches(
    render: Render, scope: Scope, number: int, names: tuple[str, ...] = (), is_loop: bool = False
) -> None:
    """Record the end of a condition or loop.

    * ``number``: the index of the statement in ``trace.runs``, or -1 in a captured body
    * ``names``: the names that the branches have bound. Their values now also depend on the condition.
    """
    trace = trace_of(render)
    count, because = trace.counts.pop(), tuple(trace.conditions())
    if number >= 0 and count == len(trace.pieces) and because:
        trace.add_piece(Piece("", trace.runs[number][0], (), because))
    reads = trace.control.pop()
    if is_loop:
        trace.loops.pop()
    for name in names:
        scope[_READS + name] = {**dict.fromkeys(reads_of(render, scope, (name,))), **reads}
