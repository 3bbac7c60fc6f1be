"""Conversion of the parsed tree into the nodes from which code is generated (see ``nodes``)."""

from collections.abc import Iterator, Sequence

from ..render_state import WORK_OF_STEP
from ..runtime_functions import no_block
from ..syntax import tree
from ..syntax.tokens import Token
from ..syntax.tree import Document, Statement
from ..values import CHANGING_FIELDS
from . import nodes

Body = list[Statement]

#: the longest chain of filters or arithmetic operators that becomes nested nodes instead of `nodes.steps`
MAX_NESTED = 10
#: the work of a filter, in steps
FILTER_WEIGHT = 10
_INCLUDES = ("render_other", "render_named")


class Emitter:
    """A converter of documents into nodes, and a collection of facts about the whole compilation.

    ``places`` has the tokens whose source positions the generated code needs. A place is an index into
    ``places``. ``texts`` has the name that messages use for the variable or macro at each place. ``loaded``,
    ``called`` and ``assigned`` have the names that templates read, call and bind. ``field_holders`` has the
    names that a template binds to a field of a loop, such as ``forloop.Counter``. ``copies`` has a pair
    (from, to) for each name that a template binds to the value of another name. ``units`` has the documents
    that become separate functions: the first document and the included documents.
    """

    def __init__(self, document: Document) -> None:
        self.places: list[Token] = []
        self.numbers: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.loaded: set[str] = set()
        self.units: list[Document] = [document]
        self.root = document
        self.called: set[str] = set()
        self.assigned: set[str] = set()
        self.field_holders: set[str] = set()
        self.copies: list[tuple[str, str]] = []
        self.has_macros = False
        self.has_lazy_includes = False
        self.autoescapes = 0
        self.blocks: dict[str, nodes.Bodies] = {}

    def unit(self, document: Document) -> nodes.Template:
        """Return the node for a document, or for the outermost document that it extends."""
        self.root, self.blocks = document, {}
        while self.root.parent is not None:
            self.root = self.root.parent
        return nodes.Template(self.body(self.root.body))

    def place(self, token: Token) -> int:
        """Return the number of a token in ``places``. A new token gets the next number."""
        number = self.numbers.get(id(token))
        if number is None:
            number = self.numbers[id(token)] = len(self.places)
            self.places.append(token)
        return number

    # --- statements

    def body(self, statements: Body) -> list[nodes.Node]:
        """Return the nodes of a body. Neighbouring texts and printed values become one ``Output``."""
        found: list[nodes.Node] = []
        output: nodes.Output | None = None
        for statement in statements:
            if isinstance(statement, tree.Text | tree.Print):
                if output is None:
                    output = nodes.Output([])
                    found.append(output)
                output.nodes.append(self.piece(statement))
            else:
                output = None
                found.append(self.statement(statement))
        return found

    def piece(self, statement: tree.Text | tree.Print) -> nodes.Expr:
        """Return one item of an ``Output``. Autoescape does not apply to a value in ``MarkSafe``."""
        if isinstance(statement, tree.Text):
            return nodes.TemplateData(statement.value)
        value = self.expression(statement.expression)
        if statement.raw or statement.expression.applied("safe"):
            return nodes.MarkSafe(value)
        return value

    def statement(self, node: tree.Statement) -> nodes.Node:
        method = getattr(self, f"statement_{type(node).__name__.lower()}")
        result: nodes.Node = method(node)
        return result

    def statement_if(self, node: tree.If) -> nodes.If:
        first, *others = [
            nodes.If(self.expression(test), self.body(body), [], []) for test, body in node.branches
        ]
        first.elif_ = others
        first.else_ = self.optional_body(node.otherwise)
        return first

    def optional_body(self, statements: Body | None) -> list[nodes.Node]:
        return [] if statements is None else self.body(statements)

    def statement_for(self, node: tree.For) -> nodes.For:
        names = [name for name in (node.key, node.value) if name is not None]
        self.assigned.update(names)
        empty = self.optional_body(node.empty)
        return nodes.loop(
            names, self.expression(node.expression), self.body(node.body), empty,
            self.place(node.expression.token), backward=node.reverse, ordered=node.ordered,
        )  # fmt: skip

    def statement_set(self, node: tree.Set) -> nodes.Assign:
        self.assigned.add(node.name)
        value = self.expression(node.expression)
        self.note_loop_field(node.name, value)
        return nodes.Assign(nodes.Name(node.name, "store"), value)

    def note_loop_field(self, name: str, value: nodes.Expr) -> None:
        """Record that ``name`` may hold a field of a loop, or that it is a copy of another name."""
        origin = without_safe(value)
        if may_change(origin):
            self.field_holders.add(name)
        elif isinstance(origin, nodes.Name):
            self.copies.append((origin.name, name))

    def statement_do(self, node: tree.Do) -> nodes.ExprStmt:
        return nodes.ExprStmt(self.expression(node.expression))

    def statement_with(self, node: tree.With) -> nodes.With:
        self.assigned.update(name for name, _ in node.pairs)
        names = [nodes.Name(name, "param") for name, _ in node.pairs]
        values = [self.expression(value) for _, value in node.pairs]
        for (name, _), value in zip(node.pairs, values, strict=True):
            self.note_loop_field(name, value)
        return nodes.With(names, values, self.body(node.body))

    def statement_macro(self, node: tree.Macro) -> nodes.Macro:
        self.has_macros = True
        place = self.place(node.token)
        self.texts[place] = node.name
        self.assigned.update(name for name, _ in node.parameters)
        parameters = [
            (name, None if default is None else self.expression(default)) for name, default in node.parameters
        ]
        return nodes.macro(node.bound, parameters, self.body(node.body), place)

    def statement_autoescape(self, node: tree.Autoescape) -> nodes.ScopedEvalContextModifier:
        self.autoescapes += 1
        return nodes.autoescape(node.on, self.body(node.body))

    def statement_filterblock(self, node: tree.FilterBlock) -> nodes.FilterBlock:
        place = self.place(node.token)
        chain = self.filters(nodes.supplied(nodes.CAPTURED), node.filters, place)
        return nodes.filter_block(self.body(node.body), chain, place)

    def statement_capture(self, node: tree.Capture) -> nodes.CallBlock:
        otherwise = self.optional_body(node.otherwise)
        return nodes.capture(self.expression_invoke(node.invoke), self.body(node.body), otherwise)

    def statement_block(self, node: tree.Block) -> nodes.Node:
        self.has_macros = True
        templates = [template for template in self.chain() if node.name in template.blocks]
        if not templates:  # The block is in a macro that another template imports.
            return nodes.ExprStmt(self.expression_invoke(tree.Invoke(node.token, no_block)))
        bodies = self.blocks.get(node.name)
        if bodies is None:
            bodies = self.blocks[node.name] = nodes.Bodies()
            for template in templates:
                bodies.found.append(self.body(template.blocks[node.name]))
        return nodes.block(node.name, bodies, self.place(node.token))

    def chain(self) -> Iterator[Document]:
        """Yield the templates that extend each other, the outermost first."""
        template: Document | None = self.root
        while template is not None:
            yield template
            template = template.child

    # --- expressions

    def expression(self, node: tree.Expression) -> nodes.Expr:
        method = getattr(self, f"expression_{type(node).__name__.lower()}")
        result: nodes.Expr = method(node)
        return result

    def expression_literal(self, node: tree.Literal) -> nodes.Const:
        return nodes.Const(node.value)

    def expression_path(self, node: tree.Path) -> nodes.Expr:
        place = self.place(node.token)
        self.texts[place] = "" if isinstance(node.parts[-1].key, tree.Expression) else node.text
        self.loaded.add(node.name)
        found: nodes.Expr = nodes.variable(node.name, place)
        for index, part in enumerate(node.parts):
            if index and isinstance(part.key, tree.Expression):
                found = nodes.subscript(found, self.expression(part.key), place)
            elif index:
                found = nodes.member(found, str(part.key), place)
            if part.arguments is not None:
                if not index:
                    self.called.add(node.name)
                found = nodes.call(found, [self.expression(argument) for argument in part.arguments], place)
        return found

    def expression_filtered(self, node: tree.Filtered) -> nodes.Expr:
        return self.filters(self.expression(node.atom), node.filters)

    def filters(self, value: nodes.Expr, uses: list[tree.FilterUse], place: int | None = None) -> nodes.Expr:
        """Return the node for a value to which several filters are applied in turn.

        ``place``, if given, is the place of all filters. By default, each filter has its own place.
        """
        items = [value]
        for use in uses:
            before = items[-1] if len(uses) <= MAX_NESTED else nodes.supplied(nodes.PREVIOUS)
            arguments = [] if use.argument is None else [self.expression(use.argument)]
            where = self.place(use.token) if place is None else place
            items.append(nodes.filtered(before, use.name, arguments, where))
        return items[-1] if len(uses) <= MAX_NESTED else nodes.steps(items)

    def expression_operation(self, node: tree.Operation) -> nodes.Expr:
        place = self.place(node.token)
        if node.operator in ("and", "or"):
            return self.logic(node.operator, [self.expression(operand) for operand in node.operands])
        if node.operator in nodes.BINARY:
            return self.arithmetic(node)
        if len(node.operands) == 1:
            return nodes.unary(node.operator, self.expression(node.operands[0]), place)
        left, right = map(self.expression, node.operands)
        return nodes.comparison(node.operator, left, right, place)

    def arithmetic(self, node: tree.Operation) -> nodes.Expr:
        """Return the node for a chain of arithmetic operators, which group to the left."""
        links: list[tree.Operation] = []
        first: tree.Expression = node
        while isinstance(first, tree.Operation) and first.operator in nodes.BINARY:
            links.append(first)
            first = first.operands[0]
        items = [self.expression(first)]
        for link in reversed(links):
            before = items[-1] if len(links) <= MAX_NESTED else nodes.supplied(nodes.PREVIOUS)
            right = self.expression(link.operands[1])
            items.append(nodes.binary(link.operator, before, right, self.place(link.token)))
        return items[-1] if len(links) <= MAX_NESTED else nodes.steps(items)

    def logic(self, operator: str, operands: Sequence[nodes.Expr]) -> nodes.Expr:
        """Return a chain of ``and`` or ``or`` as a balanced tree.

        The tree evaluates the same operands and has the same result as the chain, but does not nest deeply.
        """
        if len(operands) == 1:
            return operands[0]
        middle = len(operands) // 2
        sides = (self.logic(operator, operands[:middle]), self.logic(operator, operands[middle:]))
        return nodes.And(*sides) if operator == "and" else nodes.Or(*sides)

    def expression_invoke(self, node: tree.Invoke) -> nodes.Call:
        if any(isinstance(argument, tree.Scope) for argument in node.arguments):
            self.has_lazy_includes = self.has_lazy_includes or node.function.__name__ in _INCLUDES
        arguments = [self.argument(argument) for argument in node.arguments]
        return nodes.tag_call(node.function, arguments, self.place(node.token))

    def argument(self, argument: object) -> nodes.Expr:
        if isinstance(argument, tree.Expression):
            return self.expression(argument)
        if isinstance(argument, tree.Remembered):
            return nodes.stored(self.expression(argument.expression))
        if isinstance(argument, tree.Lazy):
            return nodes.lazy([self.expression(item) for item in argument.expressions])
        if isinstance(argument, tree.Scope):
            return nodes.supplied(nodes.SCOPE)
        if isinstance(argument, tree.Escaping):
            return nodes.supplied(nodes.ESCAPING)
        if isinstance(argument, tree.Other):
            self.units.append(argument.document)
            return nodes.Const(len(self.units) - 1)
        return nodes.Const(argument)


def without_safe(node: nodes.Node) -> nodes.Node:
    """Remove ``safe`` filters from a node. These filters return their input unchanged."""
    while isinstance(node, nodes.Filter) and node.name == "safe" and not node.args and node.node is not None:
        node = node.node
    return node


def may_change(node: nodes.Node) -> bool:
    """Return whether a value may be a loop field that changes in each round, such as forloop.Counter."""
    named = isinstance(node, nodes.Getattr) and node.attr in CHANGING_FIELDS
    first: nodes.Node = node
    while isinstance(first, nodes.Getattr | nodes.Getitem):
        first = first.node
    if not isinstance(first, nodes.Name):
        return False
    return named or (isinstance(node, nodes.Getitem) and first.name == "forloop")


def all_field_holders(direct: set[str], copies: Sequence[tuple[str, str]]) -> set[str]:
    """Return every name that may hold a field of a loop.

    ``direct`` has the names that a template binds to a field of a loop. ``copies`` has
    pairs of names (from, to): the template assigns ``from`` to ``to``.
    """
    found, waiting = set(direct), list(direct)
    while waiting:
        name = waiting.pop()
        more = {to for origin, to in copies if origin == name} - found
        found |= more
        waiting += more
    return found


def is_wrapped(body: Sequence[nodes.Node]) -> bool:
    """Return whether one ``autoescape`` contains the whole body. The daemons put one around each template."""
    return len(body) == 1 and isinstance(body[0], nodes.ScopedEvalContextModifier)


def weight(body: Sequence[nodes.Node]) -> int:
    """Return the number of steps that one run of a body takes, without inner loops and blocks."""
    total = 1
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        total += FILTER_WEIGHT if isinstance(node, nodes.Filter) else 1
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            total += len(node.value) // WORK_OF_STEP
        if not isinstance(node, nodes.For):
            waiting.extend(node.iter_child_nodes())
    return total
