"""A copy of a template whose statements and expressions call the functions of `recorder`.

A render of this copy records, for each printed text, the context variables on which the text depends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from ...model.errors import LimitError
from .. import execution
from ..codegen.compiler import code_of
from ..codegen.generator_state import Module
from ..filters_and_tags import library_for
from ..render_state import Fault, Limits
from ..syntax import tree
from ..values import Failure, Panic, to_string
from . import recorder as trace
from .recorder import Piece, Site, TracedContext

if TYPE_CHECKING:
    from ..parse_with_includes import Compilation
    from ..render_state import Program
    from ..syntax.tokens import Token

#: for a traced render, the limits on steps and values of a normal render are multiplied by this factor
FACTOR = 20
#: modules whose tags remember values between calls
HISTORY = ("templater.pongo2.tags.cycle", "templater.pongo2.tags.ifchanged")
DEFAULTS = ("default", "default_if_none")
#: filters that show either their whole input or nothing of it, apart from its length
WHOLE = (*DEFAULTS, "capfirst", "escape", "length", "lower", "safe", "title", "upper")

Body = list[tree.Statement]


class Traced(NamedTuple):
    """The result of a traced render. ``text`` consists of the texts of ``pieces``.

    ``compared`` has the names of the context variables that the template has compared (see `compares`).
    """

    text: str
    pieces: list[Piece]
    compared: frozenset[trace.Name]


class TracedTemplate:
    """A template with calls of `recorder`, for several traced renders.

    * ``program`` is None if the template with these calls is too large to be compiled.
    * ``branches`` has the whole template, and then each part that runs only in some renders.
    * ``statements`` has the offset and the innermost branch's number of each statement and line of text.
    """

    def __init__(self, compilation: Compilation) -> None:
        document = compilation.parsed()
        tracer = Tracer(document)
        tracer.convert()
        self.runs, self.branches, self.statements = tracer.runs, tracer.branches, tracer.statements
        module = Module(document, compilation.dialect, library_for(compilation.dialect), False)
        module.traced = True
        self.program: Program | None = None
        with suppress(LimitError):
            self.program = execution.load(code_of(module))

    def render(
        self,
        context: Mapping[str, Any],
        *,
        clock: float | None = None,
        seed: int | None = None,
        limits: Limits | None = None,
    ) -> Traced | None:
        """Render as ``Template.render`` does. Record the context variables that each printed text depends on.

        Return None if the render fails or exceeds a limit.
        """
        found, text = self.record(context, clock=clock, seed=seed, limits=limits)
        return None if text is None else Traced(text, found.pieces, frozenset(found.compared))

    def record(
        self,
        context: Mapping[str, Any],
        *,
        clock: float | None = None,
        seed: int | None = None,
        limits: Limits | None = None,
    ) -> tuple[trace.Trace, str | None]:
        """Render like ``render``, and return the trace and the text.

        If the render fails, the trace ends at the failure, and the text is None.
        """
        traced = TracedContext(context, self.runs)
        if self.program is None:
            return traced.trace, None
        try:
            text = execution.execute(self.program, traced, clock, seed, larger(limits))
        except (LimitError, Failure, Panic, Fault, trace.TooManyPiecesError):
            return traced.trace, None
        return traced.trace, text


def larger(limits: Limits | None) -> Limits:
    """Return larger limits for a traced render, which needs more steps and values than a normal render."""
    limits = limits or Limits()
    made = Limits(
        limits.steps * FACTOR, limits.output, limits.values * FACTOR, limits.depth, limits.seconds,
        limits.total, limits.source,
    )  # fmt: skip
    made.deadline = limits.deadline
    return made


class Tracer:
    """A class that adds calls of `recorder` to a document.

    The list ``runs`` has one tuple of sites for each of these parts:

    * each sequence of texts and ``{{ }}``
    * each other statement that prints
    * the end of each condition or loop

    The parameter ``captured`` of the methods is true if the text of a body becomes a value, as in a macro.
    ``runs`` has no sites of such bodies.
    """

    def __init__(self, document: tree.Document) -> None:
        self.document = document
        self.runs: list[tuple[Site, ...]] = []
        self.converted: set[str] = set()
        self.branches: list[trace.Branch] = []
        self.statements: list[tuple[int, int]] = []
        #: the number of the branch whose statements are being converted
        self.inside = 0

    def convert(self) -> None:
        token = self.document.tokens[0]
        self.document.body = self.branch(
            token, "no test renders this template", self.document.body, captured=False
        )

    def branch(self, token: Token, message: str, statements: Body, *, captured: bool) -> Body:
        """Convert the body of a branch, so that the recorder notes whether the branch has run.

        For the meaning of ``message``, see `recorder.Branch`.
        """
        outer, self.inside = self.inside, len(self.branches)
        self.branches.append(trace.Branch(self.offset(token.start), message))
        made = [do(token, trace.reach, self.inside), *self.body(statements, captured=captured)]
        self.inside = outer
        return made

    def offset(self, start: int) -> int:
        return max(0, start - self.document.unit.shift)

    def note(self, statement: tree.Statement) -> None:
        """Record the branch that contains a statement. For a text, do so for each line that is not blank."""
        if isinstance(statement, tree.Text):
            start = self.offset(statement.start)
            for line in statement.value.split("\n"):
                if line.strip():
                    self.statements.append((start + len(line) - len(line.lstrip()), self.inside))
                start += len(line) + 1
        elif (token := token_of(statement)) is not None:
            self.statements.append((self.offset(token.start), self.inside))

    def body(self, statements: Body, *, captured: bool) -> Body:
        for statement in statements:
            self.note(statement)
        found: Body = []
        for is_output, group in groupby(statements, lambda node: isinstance(node, tree.Text | tree.Print)):
            if is_output:
                found += self.output(list(group), captured=captured)
            else:
                for statement in group:
                    method = getattr(self, f"statement_{type(statement).__name__.lower()}")
                    found += method(statement, captured)
        return found

    def output(self, statements: Body, *, captured: bool) -> Iterator[tree.Statement]:
        sites = []
        for statement in statements:
            if isinstance(statement, tree.Text):
                sites.append(Site(statement.start - self.document.unit.shift, trace.TEXT))
            else:
                assert isinstance(statement, tree.Print)
                sites.append(self.site(statement.expression.token, trace.VALUE))
        if not captured:
            yield self.run(self.document.tokens[0], *sites)
        for statement in statements:
            if not isinstance(statement, tree.Print):
                yield statement
                continue
            value = self.comparing(statement.expression)
            if not captured:
                value = enclosed(trace.printed, value)
            yield tree.Print(value, statement.raw or statement.expression.applied("safe"))

    def site(self, token: Token, kind: str) -> Site:
        return Site(token.start - self.document.unit.shift, kind)

    def run(self, token: Token, *sites: Site) -> tree.Do:
        self.runs.append(sites)
        return do(token, trace.run, len(self.runs) - 1)

    def close(
        self, token: Token, captured: bool, names: Iterable[str] = (), *, is_loop: bool = False
    ) -> tree.Do:
        """Return a call that records the end of the condition or loop that begins at ``token``."""
        number = -1
        if not captured:
            self.runs.append((self.site(token, trace.NOTHING),))
            number = len(self.runs) - 1
        return do(token, trace.close_branches, tree.Scope(), number, tuple(names), is_loop)

    # --- statements

    def statement_if(self, node: tree.If, captured: bool) -> Body:
        token = node.branches[0][0].token
        branches: list[tuple[tree.Expression, Body]] = []
        for test, body in node.branches:
            message = "no test makes this condition true"
            converted = self.branch(test.token, message, body, captured=captured)
            branches.append((enclosed(trace.decided, self.comparing(test)), converted))
        message = "no test reaches the 'else' of this condition"
        if node.otherwise is None:
            message = "in every test, this condition or the condition of an 'elif' is true"
            if len(branches) == 1:
                message = "this condition is true in every test"
        made = tree.If(branches, self.branch(token, message, node.otherwise or [], captured=captured))
        return [
            do(token, trace.open_branches),
            made,
            self.close(token, captured, self.assigned([node])),
        ]

    def statement_for(self, node: tree.For, captured: bool) -> Body:
        token = node.expression.token
        first = tree.Path(token, [tree.Part(node.key, token)])
        bind = do(token, trace.bind_round, tree.Scope(), node.key, node.value or "", first)
        made = tree.For(
            node.key, node.value, enclosed(trace.iterated, self.comparing(node.expression)), node.reverse,
            node.ordered,
            [bind, *self.branch(token, "no test runs this loop", node.body, captured=captured)],
            None if node.empty is None else self.branch(
                token, "no test reaches the 'empty' of this loop", node.empty, captured=captured
            ),
        )  # fmt: skip
        return [do(token, trace.open_branches), made, self.close(token, captured, is_loop=True)]

    def statement_set(self, node: tree.Set, captured: bool) -> Body:
        (value,), start, bind = self.binding([(node.name, node.expression)])
        return [start, tree.Set(node.name, value), bind]

    def statement_with(self, node: tree.With, captured: bool) -> Body:
        body = self.body(node.body, captured=captured)
        if not node.pairs:
            return [tree.With([], body)]
        values, start, bind = self.binding(node.pairs)
        names = (name for name, _ in node.pairs)
        return [start, tree.With(list(zip(names, values, strict=True)), [bind, *body])]

    def statement_macro(self, node: tree.Macro, captured: bool) -> Body:
        parameters = [
            (name, None if default is None else self.expression(default)) for name, default in node.parameters
        ]
        names = tuple(name for name, _ in parameters)
        bind = do(node.token, trace.bind_parameters, tree.Scope(), names)
        body = self.branch(node.token, "no test calls this macro", node.body, captured=True)
        made = tree.Macro(node.token, node.name, parameters, [bind, *body])
        made.bound = node.bound
        return [made]

    def statement_do(self, node: tree.Do, captured: bool) -> Body:
        return [tree.Do(self.expression(node.expression))]

    def statement_autoescape(self, node: tree.Autoescape, captured: bool) -> Body:
        return [tree.Autoescape(node.on, self.body(node.body, captured=captured))]

    def statement_filterblock(self, node: tree.FilterBlock, captured: bool) -> Body:
        uses = [
            use if use.argument is None else tree.FilterUse(use.token, self.expression(use.argument))
            for use in node.filters
        ]
        made = tree.FilterBlock(node.token, uses, self.body(node.body, captured=True))
        return [made] if captured else [self.run(node.token, self.site(node.token, trace.CAPTURED)), made]

    def statement_capture(self, node: tree.Capture, captured: bool) -> Body:
        token = node.invoke.token
        compares_texts = is_history(node.invoke)
        otherwise: Body | None = None
        if node.otherwise is not None:
            message = "no test reaches the 'else' of this tag"
            converted = self.branch(token, message, node.otherwise, captured=captured)
            otherwise = [do(token, trace.decided_by_statements, compares_texts), *converted]
        invoke = tree.Invoke(token, node.invoke.function, *map(self.argument, node.invoke.arguments))
        made: Body = [tree.Capture(invoke, self.body(node.body, captured=True), otherwise)]
        if compares_texts:
            made.insert(0, do(token, trace.with_history, None))
        if not captured:
            made.insert(0, self.run(token, self.site(token, trace.CAPTURED)))
        made.append(do(token, trace.decided_by_statements, compares_texts))
        return [
            do(token, trace.open_branches),
            *made,
            self.close(token, captured, self.assigned([node])),
        ]

    def statement_block(self, node: tree.Block, captured: bool) -> Body:
        if node.name not in self.converted:
            self.converted.add(node.name)
            blocks = self.document.blocks
            blocks[node.name] = self.body(blocks[node.name], captured=captured)
        return [node]

    def assigned(self, statements: Iterable[tree.Statement]) -> dict[str, None]:
        """Return the names that the statements bind in their scope.

        Omit the names in ``for`` and ``with`` tags, because these tags have their own scopes.
        """
        found: dict[str, None] = {}
        waiting = list(statements)
        while waiting:
            node = waiting.pop()
            if isinstance(node, tree.Set):
                found[node.name] = None
            elif isinstance(node, tree.Macro):
                found[node.bound] = None
            elif isinstance(node, tree.If):
                for _, body in node.branches:
                    waiting += body
                waiting += node.otherwise or []
            elif isinstance(node, tree.Autoescape | tree.FilterBlock):
                waiting += node.body
            elif isinstance(node, tree.Capture):
                waiting += [*node.body, *(node.otherwise or [])]
            elif isinstance(node, tree.Block):
                waiting += self.document.blocks.get(node.name, [])
        return found

    # --- expressions

    def comparing(self, node: tree.Expression) -> tree.Expression:
        """Convert an expression so that it also records the names whose values it compares.

        The function `compares` decides which expressions compare values.
        """
        if isinstance(node, tree.Operation) and node.operator in ("and", "or", "not"):
            return tree.Operation(node.operator, [self.comparing(operand) for operand in node.operands])
        made = self.expression(node)
        return enclosed(trace.compared, made) if compares(node) else made

    def expression(self, node: tree.Expression) -> tree.Expression:
        if isinstance(node, tree.Path):
            return self.path(node)
        if isinstance(node, tree.Filtered):
            return self.filtered(node)
        if isinstance(node, tree.Operation):
            return tree.Operation(node.operator, [self.expression(operand) for operand in node.operands])
        if isinstance(node, tree.Invoke):
            made = tree.Invoke(node.token, node.function, *map(self.argument, node.arguments))
            return tree.Invoke(node.token, trace.with_history, made) if is_history(node) else made
        return node

    def argument(self, argument: Any) -> Any:
        if isinstance(argument, tree.Expression):
            return self.expression(argument)
        if isinstance(argument, tree.Remembered):
            return argument if self.origin(argument.expression) else self.remembered(argument)
        if isinstance(argument, tree.Lazy):
            return tree.Lazy([self.expression(item) for item in argument.expressions])
        return argument

    def remembered(self, argument: tree.Remembered) -> tree.Remembered:
        return tree.Remembered(self.expression(argument.expression))

    def binding(
        self, pairs: Sequence[tuple[str, tree.Expression]]
    ) -> tuple[list[tree.Expression], tree.Do, tree.Do]:
        """Convert the expressions whose values a statement binds to names.

        Return the new expressions, a call to run before the binding, and a call to run after the binding.
        """
        token = pairs[0][1].token
        origins = [(name, self.origin(node)) for name, node in pairs]
        values = [
            node if origin else enclosed(trace.stored, self.comparing(node), tree.Scope(), name)
            for (name, node), (_, origin) in zip(pairs, origins, strict=True)
        ]
        start = do(token, trace.begin_binding, tree.Scope(), tuple(origins))
        return values, start, do(token, trace.bind, tree.Scope())

    def origin(self, node: tree.Expression) -> trace.Name:
        """Return the path of an expression that may read ``forloop``, or () for any other expression.

        For a path with a computed key, return ().
        """
        # The tracer must not wrap a field of ``forloop``: the wrapped value would not change with the loop.
        while isinstance(node, tree.Filtered) and all(use.name == "safe" for use in node.filters):
            node = node.atom
        if not isinstance(node, tree.Path) or not self.is_bound(node.name):
            return ()
        keys = tuple(key for key in static_keys(node) if key is not None)
        is_plain = len(keys) == len(node.parts) and all(part.arguments is None for part in node.parts)
        return keys if is_plain else ()

    def is_bound(self, name: str) -> bool:
        return name in self.document.bound or name == "forloop"

    def path(self, node: tree.Path) -> tree.Expression:
        token = node.token
        if self.is_config_get(node):
            assert node.parts[0].arguments is not None
            key, default = node.parts[0].arguments
            part = tree.Part("config_get", node.parts[0].token)
            part.arguments = [
                tree.Invoke(token, trace.subscript_key, self.expression(key)),
                self.delayed(trace.config_default, default),
            ]
            is_computed = not isinstance(key, tree.Literal)
            return enclosed(trace.config_value, tree.Path(token, [part]), is_computed)
        parts = []
        for old in node.parts:
            new = tree.Part(old.key, old.token)
            if isinstance(old.key, tree.Expression) and not isinstance(old.key, tree.Literal):
                new.key = tree.Invoke(token, trace.subscript_key, self.expression(old.key))
            if old.arguments is not None:
                new.arguments = [self.expression(argument) for argument in old.arguments]
            parts.append(new)
        made, keys = tree.Path(token, parts), static_keys(node)
        if self.is_bound(node.name):
            return enclosed(trace.bound_value, made, tree.Scope(), keys)
        return enclosed(trace.context_value, made, keys)

    def is_config_get(self, node: tree.Path) -> bool:
        if node.name != "config_get" or self.is_bound("config_get") or len(node.parts) > 1:
            return False
        return len(node.parts[0].arguments or ()) == 2

    def filtered(self, node: tree.Filtered) -> tree.Expression:
        """Convert a filter expression.

        The names in the argument of the filter ``default`` are recorded only if the filter returns the
        argument.
        """
        value = self.expression(node.atom)
        uses: list[tree.FilterUse] = []
        for use in node.filters:
            argument = use.argument
            if use.name in DEFAULTS and argument is not None:
                if uses:
                    value, uses = tree.Filtered(node.token, value, uses), []
                only_nil = use.name == "default_if_none"
                value = tree.Invoke(node.token, trace.default_input, value, only_nil)
                argument = self.delayed(trace.default_argument, argument)
            elif argument is not None:
                argument = self.expression(argument)
            uses.append(tree.FilterUse(use.token, argument))
        return tree.Filtered(node.token, value, uses)

    def delayed(self, function: Callable[..., Any], argument: tree.Expression) -> tree.Invoke:
        """Return a call of ``function``, which evaluates ``argument`` only if it needs the value."""
        lazy = tree.Lazy([self.expression(argument)])
        return tree.Invoke(argument.token, function, tree.Scope(), lazy)


def token_of(statement: tree.Statement) -> Token | None:
    """Return the token at which a statement begins, or None if only its parts have tokens."""
    if isinstance(statement, tree.If):
        return statement.branches[0][0].token
    if isinstance(statement, tree.Capture):
        return statement.invoke.token
    if isinstance(statement, tree.With) and statement.pairs:
        return statement.pairs[0][1].token
    expression: tree.Expression | None = getattr(statement, "expression", None)
    found: Token | None = getattr(statement if expression is None else expression, "token", None)
    return found


def do(token: Token, function: Callable[..., Any], *arguments: Any) -> tree.Do:
    return tree.Do(tree.Invoke(token, function, *arguments))


def enclosed(function: Callable[..., Any], value: tree.Expression, *more: Any) -> tree.Invoke:
    """Return a call that begins a `recorder.Frame`, evaluates ``value``, and runs ``function``.

    ``function`` ends the frame.
    """
    return tree.Invoke(value.token, function, tree.Invoke(value.token, trace.begin), value, *more)


def static_keys(path: tree.Path) -> tuple[str | None, ...]:
    """Return the keys of a path, with None for each key that is computed during a render."""
    found: list[str | None] = []
    for part in path.parts:
        key = part.key.value if isinstance(part.key, tree.Literal) else part.key
        found.append(None if isinstance(key, tree.Expression) else to_string(key))
    return tuple(found)


def compares(node: tree.Expression) -> bool:
    """Return whether an expression compares values, or can show a part of a value.

    The result is true for these expressions, and for expressions that contain them:

    * arithmetic, and comparisons except ``==`` and ``!=`` with an empty text
    * filters that are not in ``WHOLE``, and functions of tags
    * paths with an index, such as ``name.0``, or with a computed key
    """
    if isinstance(node, tree.Literal):
        return False
    if isinstance(node, tree.Filtered):
        arguments = [use.argument for use in node.filters if use.argument is not None]
        return any(use.name not in WHOLE for use in node.filters) or any(
            map(compares, (node.atom, *arguments))
        )
    if isinstance(node, tree.Path):
        arguments = [argument for part in node.parts for argument in part.arguments or ()]
        keys = [part.key.value if isinstance(part.key, tree.Literal) else part.key for part in node.parts]
        return not all(isinstance(key, str) for key in keys) or any(map(compares, arguments))
    if isinstance(node, tree.Operation) and node.operator in ("and", "or", "not"):
        return any(map(compares, node.operands))
    if isinstance(node, tree.Operation) and node.operator in ("==", "!="):
        others = [each for each in node.operands if not (isinstance(each, tree.Literal) and each.value == "")]
        return len(others) == len(node.operands) or any(map(compares, others))
    return True


def is_history(node: tree.Invoke) -> bool:
    return node.function.__module__ in HISTORY
