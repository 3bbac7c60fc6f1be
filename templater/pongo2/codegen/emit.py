"""The tree as Jinja2's nodes: the intermediate form that Jinja2's code generator takes.

Stock nodes, read as pongo2 means them. What Jinja2 has no field for is said like this: ``lineno`` is the
number of a place (a token in ``Emitter.places``); ``.0`` is a ``Getattr`` of a numeric name; ``MarkSafe`` is
what autoescape leaves alone; the ``test`` of a ``For`` is the constant pair (reversed, sorted); a ``Tuple``
with the context "lazy" is handed over unevaluated, one with "kept" as a name would hold it; the items of a
``List`` are steps, each of which knows the one before as `` value``; names that begin with a blank are the
generator's own; an ``ImportedName`` is "module:function", and that function gets the render first;
``scoped`` of a ``Block`` is its ``Bodies``.
"""

from collections.abc import Iterator, Sequence

from jinja2 import nodes

from ..operations import no_block
from ..state import WORK_OF_STEP
from ..syntax import tree
from ..syntax.tokens import Token
from ..syntax.tree import Document, Statement
from ..values import CHANGING_FIELDS

Body = list[Statement]

BINARY = {
    "+": nodes.Add, "-": nodes.Sub, "*": nodes.Mul, "/": nodes.Div, "%": nodes.Mod, "^": nodes.Pow,
}  # fmt: skip
MAX_NESTED = 10
FILTER_WEIGHT = 10
_INCLUDES = ("render_other", "render_named")
_RELATIONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "lteq", ">": "gt", ">=": "gteq", "in": "in"}


class Bodies:
    """What the chain of templates has for a block, the outermost template's body first.

    They are emitted once, although several bodies may contain the block. They are not its nodes: a may
    contain b in one template, and b contain a in another.
    """

    def __init__(self) -> None:
        self.found: list[list[nodes.Node]] = []


class Emitter:
    """Turns documents into nodes and keeps what nodes have no room for.

    ``texts`` is what messages call the variable or macro at a place. ``loaded`` are the names read,
    ``called`` those that are called as such, ``assigned`` those that are given values. ``units`` are the
    documents that are rendered on their own: the first one, and those included.
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
        self.held: set[str] = set()
        self.copies: list[tuple[str, str]] = []
        self.macros = False
        self.lazy_includes = False
        self.modes = 0
        self.blocks: dict[str, Bodies] = {}

    def unit(self, document: Document) -> nodes.Template:
        """A document with the templates that it extends: the outermost one is what is rendered."""
        self.root, self.blocks = document, {}
        while self.root.parent is not None:
            self.root = self.root.parent
        return nodes.Template(self.body(self.root.body))

    def place(self, token: Token) -> int:
        number = self.numbers.get(id(token))
        if number is None:
            number = self.numbers[id(token)] = len(self.places)
            self.places.append(token)
        return number

    # --- statements

    def body(self, statements: Body) -> list[nodes.Node]:
        """Neighbouring texts and prints become one ``Output``."""
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
        first.else_ = self.body(node.otherwise) if node.otherwise is not None else []
        return first

    def statement_for(self, node: tree.For) -> nodes.For:
        self.assigned.update(filter(None, (node.key, node.value)))
        target: nodes.Node = nodes.Name(node.key, "store")
        if node.value is not None:
            target = nodes.Tuple([target, nodes.Name(node.value, "store")], "store")
        order = nodes.Const((node.reverse, node.ordered))
        empty = self.body(node.empty) if node.empty is not None else []
        return nodes.For(
            target, self.expression(node.expression), self.body(node.body), empty, order, False,
            lineno=self.place(node.expression.token),
        )  # fmt: skip

    def statement_set(self, node: tree.Set) -> nodes.Assign:
        self.assigned.add(node.name)
        value = self.expression(node.expression)
        self.keeps(node.name, value)
        return nodes.Assign(nodes.Name(node.name, "store"), value)

    def keeps(self, name: str, value: nodes.Expr) -> None:
        """Note a name that may hold a field of a loop, and one that may be given what another holds."""
        origin = unmarked(value)
        if may_change(origin):
            self.held.add(name)
        elif isinstance(origin, nodes.Name):
            self.copies.append((origin.name, name))

    def statement_do(self, node: tree.Do) -> nodes.ExprStmt:
        return nodes.ExprStmt(self.expression(node.expression))

    def statement_with(self, node: tree.With) -> nodes.With:
        self.assigned.update(name for name, _ in node.pairs)
        names = [nodes.Name(name, "param") for name, _ in node.pairs]
        values = [self.expression(value) for _, value in node.pairs]
        for (name, _), value in zip(node.pairs, values, strict=True):
            self.keeps(name, value)
        return nodes.With(names, values, self.body(node.body))

    def statement_macro(self, node: tree.Macro) -> nodes.Macro:
        self.macros = True
        place = self.place(node.token)
        self.texts[place] = node.name
        self.assigned.update(name for name, _ in node.parameters)
        names = [nodes.Name(name, "param") for name, _ in node.parameters]
        defaults = [
            nodes.Const(None) if default is None else self.expression(default)
            for _, default in node.parameters
        ]
        return nodes.Macro(node.bound, names, defaults, self.body(node.body), lineno=place)

    def statement_autoescape(self, node: tree.Autoescape) -> nodes.ScopedEvalContextModifier:
        self.modes += 1
        mode = nodes.Keyword("autoescape", nodes.Const(node.on))
        return nodes.ScopedEvalContextModifier([mode], self.body(node.body))

    def statement_filterblock(self, node: tree.FilterBlock) -> nodes.FilterBlock:
        place = self.place(node.token)
        chain = self.filters(nodes.Name(" captured", "load"), node.filters, place)
        return nodes.FilterBlock(self.body(node.body), chain, lineno=place)

    def statement_capture(self, node: tree.Capture) -> nodes.CallBlock:
        otherwise = self.body(node.otherwise) if node.otherwise is not None else []
        return nodes.CallBlock(self.expression_invoke(node.invoke), [], otherwise, self.body(node.body))

    def statement_block(self, node: tree.Block) -> nodes.Node:
        self.macros = True
        templates = [template for template in self.chain() if node.name in template.blocks]
        if not templates:  # the block of a macro that another template imports
            return nodes.ExprStmt(self.expression_invoke(tree.Invoke(node.token, no_block)))
        bodies = self.blocks.get(node.name)
        if bodies is None:
            bodies = self.blocks[node.name] = Bodies()
            for template in templates:
                bodies.found.append(self.body(template.blocks[node.name]))
        return nodes.Block(node.name, [], bodies, False, lineno=self.place(node.token))

    def chain(self) -> Iterator[Document]:
        """The templates that extend each other, the outermost first."""
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
        self.texts[place] = node.text
        self.loaded.add(node.name)
        found: nodes.Expr = nodes.Name(node.name, "load", lineno=place)
        for index, part in enumerate(node.parts):
            if index and isinstance(part.key, tree.Expression):
                found = nodes.Getitem(found, self.expression(part.key), "load", lineno=place)
            elif index:
                found = nodes.Getattr(found, str(part.key), "load", lineno=place)
            if part.arguments is not None:
                if not index:
                    self.called.add(node.name)
                arguments = [self.expression(argument) for argument in part.arguments]
                found = nodes.Call(found, arguments, [], None, None, lineno=place)
        return found

    def expression_filtered(self, node: tree.Filtered) -> nodes.Expr:
        return self.filters(self.expression(node.atom), node.filters)

    def filters(self, value: nodes.Expr, uses: list[tree.FilterUse], place: int | None = None) -> nodes.Expr:
        """Filters one after the other: nested, or in steps when there are many."""
        steps = [value]
        for use in uses:
            before = steps[-1] if len(uses) <= MAX_NESTED else nodes.Name(" value", "load")
            arguments = [] if use.argument is None else [self.expression(use.argument)]
            where = self.place(use.token) if place is None else place
            steps.append(nodes.Filter(before, use.name, arguments, [], None, None, lineno=where))
        return steps[-1] if len(uses) <= MAX_NESTED else nodes.List(steps)

    def expression_operation(self, node: tree.Operation) -> nodes.Expr:
        place = self.place(node.token)
        if node.operator in ("and", "or"):
            return self.logic(node.operator, [self.expression(operand) for operand in node.operands])
        if node.operator == "not":
            return nodes.Not(self.expression(node.operands[0]), lineno=place)
        if node.operator == "negative":
            return nodes.Neg(self.expression(node.operands[0]), lineno=place)
        if node.operator in BINARY:
            return self.arithmetic(node)
        left, right = map(self.expression, node.operands)
        return nodes.Compare(left, [nodes.Operand(_RELATIONS[node.operator], right)], lineno=place)

    def arithmetic(self, node: tree.Operation) -> nodes.Expr:
        """Operators grouped to the left: nested, or in steps when there are many."""
        links: list[tree.Operation] = []
        first: tree.Expression = node
        while isinstance(first, tree.Operation) and first.operator in BINARY:
            links.append(first)
            first = first.operands[0]
        steps = [self.expression(first)]
        for link in reversed(links):
            before = steps[-1] if len(links) <= MAX_NESTED else nodes.Name(" value", "load")
            right = self.expression(link.operands[1])
            steps.append(BINARY[link.operator](before, right, lineno=self.place(link.token)))
        return steps[-1] if len(links) <= MAX_NESTED else nodes.List(steps)

    def logic(self, operator: str, operands: Sequence[nodes.Expr]) -> nodes.Expr:
        """A balanced tree: the same value by the same short cuts, but never deep."""
        if len(operands) == 1:
            return operands[0]
        middle = len(operands) // 2
        sides = (self.logic(operator, operands[:middle]), self.logic(operator, operands[middle:]))
        return nodes.And(*sides) if operator == "and" else nodes.Or(*sides)

    def expression_invoke(self, node: tree.Invoke) -> nodes.Call:
        if any(isinstance(argument, tree.Scope) for argument in node.arguments):
            self.lazy_includes = self.lazy_includes or node.function.__name__ in _INCLUDES
        function = nodes.ImportedName(f"{node.function.__module__}:{node.function.__qualname__}")
        arguments = [self.argument(argument) for argument in node.arguments]
        return nodes.Call(function, arguments, [], None, None, lineno=self.place(node.token))

    def argument(self, argument: object) -> nodes.Expr:
        if isinstance(argument, tree.Expression):
            return self.expression(argument)
        if isinstance(argument, tree.Remembered):
            return nodes.Tuple([self.expression(argument.expression)], "kept")
        if isinstance(argument, tree.Lazy):
            return nodes.Tuple([self.expression(item) for item in argument.expressions], "lazy")
        if isinstance(argument, tree.Scope):
            return nodes.Name(" scope", "load")
        if isinstance(argument, tree.Escaping):
            return nodes.Name(" escaping", "load")
        if isinstance(argument, tree.Other):
            self.units.append(argument.document)
            return nodes.Const(len(self.units) - 1)
        return nodes.Const(argument)


def unmarked(node: nodes.Node) -> nodes.Node:
    """Without ``safe``, which hands on what it is given."""
    while isinstance(node, nodes.Filter) and node.name == "safe" and not node.args and node.node is not None:
        node = node.node
    return node


def may_change(node: nodes.Node) -> bool:
    """Whether this can be a field of a loop that changes in every round."""
    named = isinstance(node, nodes.Getattr) and node.attr in CHANGING_FIELDS
    first: nodes.Node = node
    while isinstance(first, nodes.Getattr | nodes.Getitem):
        first = first.node
    if not isinstance(first, nodes.Name):
        return False
    return named or (isinstance(node, nodes.Getitem) and first.name == "forloop")


def holders(held: set[str], copies: Sequence[tuple[str, str]]) -> set[str]:
    """Every name that may come to hold a field of a loop, by any number of copies."""
    found, waiting = set(held), list(held)
    while waiting:
        name = waiting.pop()
        more = {to for origin, to in copies if origin == name} - found
        found |= more
        waiting += more
    return found


def is_wrapped(body: Sequence[nodes.Node]) -> bool:
    """Whether one ``autoescape`` spans the whole template, as in LXD's and Incus's wrapper."""
    return len(body) == 1 and isinstance(body[0], nodes.ScopedEvalContextModifier)


def weight(body: Sequence[nodes.Node]) -> int:
    """How much work one pass through a body is, not counting the insides of loops and blocks in it."""
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
