"""The intermediate form between the parsed tree and Python code: Jinja2's nodes, used for pongo2.

The class Emitter turns a parsed tree into nodes, from which `python_of_statements` generates code.

Some nodes store facts about pongo2 in fields that have another meaning in Jinja2, because Jinja2 forbids
subclasses of nodes. Access such nodes only through the constructors and accessors below.

A "place" is an index into ``Emitter.places``, a list of tokens with source positions. The attribute
``lineno`` of a node is its place.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jinja2.nodes import (  # isort: skip
    Add, And, Assign, BinExpr, Block, Call, CallBlock, Compare, Const, Div, EvalContext, Expr, ExprStmt,
    Filter, FilterBlock, For, Getattr, Getitem, If, ImportedName, Keyword, List, Macro, MarkSafe, Mod, Mul,
    Name, Neg, Node, Not, Operand, Or, Output, Pow, ScopedEvalContextModifier, Sub, Template, TemplateData,
    Tuple, UnaryExpr, With,
)  # fmt: skip

from ..render_state import WORK_OF_STEP
from ..runtime_calls_and_loops import no_block
from ..syntax import tree
from ..syntax.tokens import Token
from ..syntax.tree import Document, Statement
from ..values import CHANGING_FIELDS

Body = list[Statement]

#: the classes of Jinja2 that the other modules use, for annotations and type tests
__all__ = (
    "And", "Assign", "BinExpr", "Block", "Call", "CallBlock", "Compare", "Const", "EvalContext", "Expr",
    "ExprStmt", "Filter", "FilterBlock", "For", "Getattr", "Getitem", "If", "List", "Macro", "MarkSafe",
    "Name", "Node", "Not", "Or", "Output", "ScopedEvalContextModifier", "Template", "TemplateData", "Tuple",
    "UnaryExpr", "With",
)  # fmt: skip

#: pongo2's arithmetic operators
BINARY = {"+": Add, "-": Sub, "*": Mul, "/": Div, "%": Mod, "^": Pow}
_UNARY = {"not": Not, "negative": Neg}
_RELATIONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "lteq", ">": "gt", ">=": "gteq", "in": "in"}

#: the longest chain of filters or arithmetic operators that becomes nested nodes instead of `steps`
MAX_NESTED = 10
#: the work of a filter, in steps
FILTER_WEIGHT = 10
_INCLUDES = ("render_other", "render_named")

# The names of values that the code generator supplies.
# The names begin with a space, so no identifier of a template is equal to one of them.
#: the dict of all names that the template binds
SCOPE = " scope"
#: whether autoescape is on
ESCAPING = " escaping"
#: the output of the body of a ``filter`` tag
CAPTURED = " captured"
#: inside `steps`, the value of the preceding step
PREVIOUS = " value"


def place_of(node: Node) -> int:
    """Return the place of a node. Error messages about the node report this place."""
    return node.lineno


# --- values


def variable(name: str, place: int) -> Name:
    """Return the node for a variable of the template."""
    return Name(name, "load", lineno=place)


def supplied(name: str) -> Name:
    """Return the node for a value that the code generator supplies, such as `SCOPE`."""
    return Name(name, "load")


def is_variable(node: Node) -> bool:
    """Return whether a node is a variable of the template, not a value that the generator supplies."""
    return isinstance(node, Name) and node.name[0] != " "


def member(value: Expr, key: str, place: int) -> Getattr:
    """Return the node for ``value.key``. A key that consists of digits is an index."""
    return Getattr(value, key, "load", lineno=place)


def member_key(node: Getattr) -> int | str:
    """Return the key of a `member` node: an index (int) or a name (str)."""
    return int(node.attr) if node.attr.isdecimal() else node.attr


def subscript(value: Expr, key: Expr, place: int) -> Getitem:
    """Return the node for ``value[key]``."""
    return Getitem(value, key, "load", lineno=place)


def call(callee: Expr, arguments: list[Expr], place: int) -> Call:
    """Return the node for a call of a variable or member."""
    return Call(callee, arguments, [], None, None, lineno=place)


def tag_call(function: Callable[..., Any], arguments: list[Expr], place: int) -> Call:
    """Return the node for a call of a tag's function. The first argument is always the `Render` object.

    The callee is an ``ImportedName`` of the form "module:function".
    """
    return call(ImportedName(f"{function.__module__}:{function.__qualname__}"), arguments, place)


def tag_function(node: Call) -> tuple[str, str] | None:
    """Return the module and name of a tag's function, or None if the node was made by `call`."""
    if not isinstance(node.node, ImportedName):
        return None
    module, _, name = node.node.importname.partition(":")
    return module, name


def lazy(expressions: list[Expr]) -> Tuple:
    """Return a ``Tuple`` of arguments that a tag's function evaluates itself.

    The field ``ctx`` of the ``Tuple`` is "lazy".
    """
    return Tuple(expressions, "lazy")


def stored(expression: Expr) -> Tuple:
    """Mark an expression as an argument that the tag's function stores.

    Return a ``Tuple`` with the context "stored".
    """
    return Tuple([expression], "stored")


def stored_expression(node: Tuple) -> Expr | None:
    """Return the argument of `stored`, or None if the node was made by `lazy`."""
    return node.items[0] if node.ctx == "stored" else None


def steps(expressions: list[Expr]) -> List:
    """Return a ``List`` of expressions. Its value is the value of the last expression.

    Each expression after the first uses the preceding value as `PREVIOUS`.
    """
    # If the expressions of a long chain were nested in each other, the nodes would be too deep.
    return List(expressions)


def filtered(value: Expr, name: str, arguments: list[Expr], place: int) -> Filter:
    """Return the node for ``value|name``. ``arguments`` is empty or has one argument."""
    return Filter(value, name, arguments, [], None, None, lineno=place)


def unary(operator: str, operand: Expr, place: int) -> Expr:
    """Return the node that applies the operator "not" or "negative" to one operand."""
    return _UNARY[operator](operand, lineno=place)


def binary(operator: str, left: Expr, right: Expr, place: int) -> Expr:
    """Return the node that applies an operator in `BINARY` to two operands."""
    return BINARY[operator](left, right, lineno=place)


def comparison(operator: str, left: Expr, right: Expr, place: int) -> Compare:
    """Return the node for ``left operator right``."""
    # Jinja2's node has a list of right operands, for chains such as ``a < b < c``. Here, the list has one
    # item.
    return Compare(left, [Operand(_RELATIONS[operator], right)], lineno=place)


def compared(node: Compare) -> tuple[str, Expr, Expr]:
    """Return the operator, as Jinja2 names it ("eq", "lteq", …), and the two operands of a comparison."""
    operand = node.ops[0]
    return operand.op, node.expr, operand.expr


# --- statements


def autoescape(on: bool, body: list[Node]) -> ScopedEvalContextModifier:
    """Return the node for a body in which autoescape is on or off."""
    return ScopedEvalContextModifier([Keyword("autoescape", Const(on))], body)


def is_on(node: ScopedEvalContextModifier) -> bool:
    """Return whether autoescape is on in the body of a node that `autoescape` returned."""
    return bool(node.options[0].value.as_const())


def condition_of(node: If) -> Expr:
    """Return the condition of an ``If``, typed as an ``Expr``: Jinja2 annotates it only as a ``Node``."""
    assert isinstance(node.test, Expr)
    return node.test


def loop(
    names: Sequence[str], iterated: Expr, body: list[Node], empty: list[Node], place: int,
    *, backward: bool, ordered: bool,
) -> For:  # fmt: skip
    """Return a loop that binds one or two names. ``empty`` runs if the iterated value has no items.

    ``backward`` is true for a ``reversed`` loop, and ``ordered`` for a ``sorted`` loop.
    """
    stores = [Name(name, "store") for name in names]
    target = stores[0] if len(stores) == 1 else Tuple(stores, "store")
    # The field ``test`` stores both flags, because pongo2's loops have no condition.
    return For(target, iterated, body, empty, Const((backward, ordered)), False, lineno=place)


def loop_order(node: For) -> tuple[bool, bool]:
    """Return whether a loop is ``reversed``, and whether it is ``sorted``."""
    assert isinstance(node.test, Const)
    backward, ordered = node.test.value
    return backward, ordered


def loop_names(node: For) -> list[str]:
    """Return the names that a loop binds: one name or two."""
    targets = node.target.items if isinstance(node.target, Tuple) else [node.target]
    return [target.name for target in targets if isinstance(target, Name)]


def macro(name: str, parameters: Sequence[tuple[str, Expr | None]], body: list[Node], place: int) -> Macro:
    """Return the definition of a macro with its parameters and their defaults."""
    names = [Name(parameter, "param") for parameter, _ in parameters]
    # In Jinja2, parameters without a default have no entry in ``defaults``. Here, their entry is the constant
    # None.
    defaults = [Const(None) if default is None else default for _, default in parameters]
    return Macro(name, names, defaults, body, lineno=place)


def has_default(default: Expr) -> bool:
    """Return whether the template defines this entry of a macro's ``defaults``: see ``macro``."""
    return not (isinstance(default, Const) and default.value is None)


def filter_block(body: list[Node], chain: Expr, place: int) -> FilterBlock:
    """Return a ``filter`` tag: a body, and the filters that its text passes through.

    In the filter expression ``chain``, `CAPTURED` is the text of the body.
    """
    return FilterBlock(body, chain, lineno=place)


def filter_chain(node: FilterBlock) -> Expr:
    """Return the filter expression of a `filter_block`: a ``Filter``, or the ``List`` of `steps`."""
    chain: Node = node.filter
    assert isinstance(chain, Expr)
    return chain


def capture(function: Call, body: list[Node], otherwise: list[Node]) -> CallBlock:
    """Return a call of a tag's function with the `Render` object and the text that ``body`` prints.

    If the function returns None, the statements ``otherwise`` run.
    """
    return CallBlock(function, [], otherwise, body)


def otherwise_of(node: CallBlock) -> Sequence[Node]:
    """Return the statements to run if the function of `capture` returns None."""
    return node.defaults


class Bodies:
    """The bodies of one block in a chain of templates, each of which extends the next.

    ``found`` begins with the body of the outermost template.
    """

    def __init__(self) -> None:
        # Bodies are not child nodes, because blocks can contain each other. Jinja2 would visit such child
        # nodes forever.
        self.found: list[list[Node]] = []


def block(name: str, bodies: Bodies, place: int) -> Block:
    """Return a node that prints a block.

    Its field ``scoped`` has the block's bodies in all templates that define the block.
    """
    return Block(name, [], bodies, False, lineno=place)


def bodies_of(node: Block) -> list[list[Node]]:
    """Return the bodies of a block in all templates that define it, the outermost template first."""
    bodies = node.scoped
    assert isinstance(bodies, Bodies)
    return bodies.found


# --- the parsed tree


class Emitter:
    """A converter from parsed templates (documents) to nodes, which also collects facts about the templates.

    * ``places``: the tokens whose source positions the generated code needs
    * ``texts``: the names that error messages show, by the place of the variable or macro
    * ``loaded``, ``called`` and ``assigned``: the names that templates read, call and bind
    * ``field_holders``: the names that a template binds to a field of a loop, such as ``forloop.Counter``
    * ``copies``: pairs of names; a template binds the second name to the value of the first name
    * ``units``: the documents that become functions: the first document and the included documents
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
        self.blocks: dict[str, Bodies] = {}

    def unit(self, document: Document) -> Template:
        """Return the node for a document, or for the outermost document that it extends."""
        self.root, self.blocks = document, {}
        while self.root.parent is not None:
            self.root = self.root.parent
        return Template(self.body(self.root.body))

    def place(self, token: Token) -> int:
        """Return the number of a token in ``places``. A new token gets the next number."""
        number = self.numbers.get(id(token))
        if number is None:
            number = self.numbers[id(token)] = len(self.places)
            self.places.append(token)
        return number

    # --- statements

    def body(self, statements: Body) -> list[Node]:
        """Return the nodes of a body. Neighbouring texts and printed values become one ``Output``."""
        found: list[Node] = []
        output: Output | None = None
        for statement in statements:
            if isinstance(statement, tree.Text | tree.Print):
                if output is None:
                    output = Output([])
                    found.append(output)
                output.nodes.append(self.piece(statement))
            else:
                output = None
                found.append(self.statement(statement))
        return found

    def piece(self, statement: tree.Text | tree.Print) -> Expr:
        """Return one item of an ``Output``. Autoescape does not apply to a value in ``MarkSafe``."""
        if isinstance(statement, tree.Text):
            return TemplateData(statement.value)
        value = self.expression(statement.expression)
        if statement.raw or statement.expression.applied("safe"):
            return MarkSafe(value)
        return value

    def statement(self, node: tree.Statement) -> Node:
        method = getattr(self, f"statement_{type(node).__name__.lower()}")
        result: Node = method(node)
        return result

    def statement_if(self, node: tree.If) -> If:
        first, *others = [If(self.expression(test), self.body(body), [], []) for test, body in node.branches]
        first.elif_ = others
        first.else_ = self.optional_body(node.otherwise)
        return first

    def optional_body(self, statements: Body | None) -> list[Node]:
        return [] if statements is None else self.body(statements)

    def statement_for(self, node: tree.For) -> For:
        names = [name for name in (node.key, node.value) if name is not None]
        self.assigned.update(names)
        empty = self.optional_body(node.empty)
        return loop(
            names, self.expression(node.expression), self.body(node.body), empty,
            self.place(node.expression.token), backward=node.reverse, ordered=node.ordered,
        )  # fmt: skip

    def statement_set(self, node: tree.Set) -> Assign:
        self.assigned.add(node.name)
        value = self.expression(node.expression)
        self.note_loop_field(node.name, value)
        return Assign(Name(node.name, "store"), value)

    def note_loop_field(self, name: str, value: Expr) -> None:
        """Record the binding of ``name`` if ``value`` is another name or may be a field of a loop."""
        origin = without_safe(value)
        if may_change(origin):
            self.field_holders.add(name)
        elif isinstance(origin, Name):
            self.copies.append((origin.name, name))

    def statement_do(self, node: tree.Do) -> ExprStmt:
        return ExprStmt(self.expression(node.expression))

    def statement_with(self, node: tree.With) -> With:
        self.assigned.update(name for name, _ in node.pairs)
        names = [Name(name, "param") for name, _ in node.pairs]
        values = [self.expression(value) for _, value in node.pairs]
        for (name, _), value in zip(node.pairs, values, strict=True):
            self.note_loop_field(name, value)
        return With(names, values, self.body(node.body))

    def statement_macro(self, node: tree.Macro) -> Macro:
        self.has_macros = True
        place = self.place(node.token)
        self.texts[place] = node.name
        self.assigned.update(name for name, _ in node.parameters)
        parameters = [
            (name, None if default is None else self.expression(default)) for name, default in node.parameters
        ]
        return macro(node.bound, parameters, self.body(node.body), place)

    def statement_autoescape(self, node: tree.Autoescape) -> ScopedEvalContextModifier:
        self.autoescapes += 1
        return autoescape(node.on, self.body(node.body))

    def statement_filterblock(self, node: tree.FilterBlock) -> FilterBlock:
        place = self.place(node.token)
        chain = self.filters(supplied(CAPTURED), node.filters, place)
        return filter_block(self.body(node.body), chain, place)

    def statement_capture(self, node: tree.Capture) -> CallBlock:
        otherwise = self.optional_body(node.otherwise)
        return capture(self.expression_invoke(node.invoke), self.body(node.body), otherwise)

    def statement_block(self, node: tree.Block) -> Node:
        self.has_macros = True
        templates = [template for template in self.chain() if node.name in template.blocks]
        if not templates:  # The block is in a macro that another template imports.
            return ExprStmt(self.expression_invoke(tree.Invoke(node.token, no_block)))
        bodies = self.blocks.get(node.name)
        if bodies is None:
            bodies = self.blocks[node.name] = Bodies()
            for template in templates:
                bodies.found.append(self.body(template.blocks[node.name]))
        return block(node.name, bodies, self.place(node.token))

    def chain(self) -> Iterator[Document]:
        """Yield the templates that extend each other, the outermost first."""
        template: Document | None = self.root
        while template is not None:
            yield template
            template = template.child

    # --- expressions

    def expression(self, node: tree.Expression) -> Expr:
        method = getattr(self, f"expression_{type(node).__name__.lower()}")
        result: Expr = method(node)
        return result

    def expression_literal(self, node: tree.Literal) -> Const:
        return Const(node.value)

    def expression_path(self, node: tree.Path) -> Expr:
        place = self.place(node.token)
        self.texts[place] = "" if isinstance(node.parts[-1].key, tree.Expression) else node.text
        self.loaded.add(node.name)
        found: Expr = variable(node.name, place)
        for index, part in enumerate(node.parts):
            if index and isinstance(part.key, tree.Expression):
                found = subscript(found, self.expression(part.key), place)
            elif index:
                found = member(found, str(part.key), place)
            if part.arguments is not None:
                if not index:
                    self.called.add(node.name)
                found = call(found, [self.expression(argument) for argument in part.arguments], place)
        return found

    def expression_filtered(self, node: tree.Filtered) -> Expr:
        return self.filters(self.expression(node.atom), node.filters)

    def filters(self, value: Expr, uses: list[tree.FilterUse], place: int | None = None) -> Expr:
        """Return the node for a value with filters. Each filter gets the result of the previous filter.

        Errors report the source position ``place``, by default the position of the filter's name.
        """
        items = [value]
        for use in uses:
            before = items[-1] if len(uses) <= MAX_NESTED else supplied(PREVIOUS)
            arguments = [] if use.argument is None else [self.expression(use.argument)]
            where = self.place(use.token) if place is None else place
            items.append(filtered(before, use.name, arguments, where))
        return items[-1] if len(uses) <= MAX_NESTED else steps(items)

    def expression_operation(self, node: tree.Operation) -> Expr:
        place = self.place(node.token)
        if node.operator in ("and", "or"):
            return self.logic(node.operator, [self.expression(operand) for operand in node.operands])
        if node.operator in BINARY:
            return self.arithmetic(node)
        if len(node.operands) == 1:
            return unary(node.operator, self.expression(node.operands[0]), place)
        left, right = map(self.expression, node.operands)
        return comparison(node.operator, left, right, place)

    def arithmetic(self, node: tree.Operation) -> Expr:
        """Return the node for a chain of arithmetic operators, which group to the left."""
        links: list[tree.Operation] = []
        first: tree.Expression = node
        while isinstance(first, tree.Operation) and first.operator in BINARY:
            links.append(first)
            first = first.operands[0]
        items = [self.expression(first)]
        for link in reversed(links):
            before = items[-1] if len(links) <= MAX_NESTED else supplied(PREVIOUS)
            right = self.expression(link.operands[1])
            items.append(binary(link.operator, before, right, self.place(link.token)))
        return items[-1] if len(links) <= MAX_NESTED else steps(items)

    def logic(self, operator: str, operands: Sequence[Expr]) -> Expr:
        """Return a chain of ``and`` or ``or`` as a balanced tree with the same result."""
        if len(operands) == 1:
            return operands[0]
        # The tree evaluates the same operands as the chain, but does not nest deeply.
        middle = len(operands) // 2
        sides = (self.logic(operator, operands[:middle]), self.logic(operator, operands[middle:]))
        return And(*sides) if operator == "and" else Or(*sides)

    def expression_invoke(self, node: tree.Invoke) -> Call:
        if any(isinstance(argument, tree.Scope) for argument in node.arguments):
            self.has_lazy_includes = self.has_lazy_includes or node.function.__name__ in _INCLUDES
        arguments = [self.argument(argument) for argument in node.arguments]
        return tag_call(node.function, arguments, self.place(node.token))

    def argument(self, argument: object) -> Expr:
        if isinstance(argument, tree.Expression):
            return self.expression(argument)
        if isinstance(argument, tree.Remembered):
            return stored(self.expression(argument.expression))
        if isinstance(argument, tree.Lazy):
            return lazy([self.expression(item) for item in argument.expressions])
        if isinstance(argument, tree.Scope):
            return supplied(SCOPE)
        if isinstance(argument, tree.Escaping):
            return supplied(ESCAPING)
        if isinstance(argument, tree.Other):
            self.units.append(argument.document)
            return Const(len(self.units) - 1)
        return Const(argument)


def without_safe(node: Node) -> Node:
    """Remove ``safe`` filters from a node. The filter ``safe`` returns its input unchanged."""
    while isinstance(node, Filter) and node.name == "safe" and not node.args and node.node is not None:
        node = node.node
    return node


def may_change(node: Node) -> bool:
    """Return whether a value may be a loop field that changes in each round, such as forloop.Counter."""
    named = isinstance(node, Getattr) and node.attr in CHANGING_FIELDS
    first: Node = node
    while isinstance(first, Getattr | Getitem):
        first = first.node
    if not isinstance(first, Name):
        return False
    return named or (isinstance(node, Getitem) and first.name == "forloop")


def all_field_holders(direct: set[str], copies: Sequence[tuple[str, str]]) -> set[str]:
    """Return every name that may hold a field of a loop.

    ``direct`` has the names that a template binds to a field of a loop. Each pair in ``copies`` is a name,
    and a name to which a template copies its value.
    """
    found, waiting = set(direct), list(direct)
    while waiting:
        name = waiting.pop()
        more = {to for origin, to in copies if origin == name} - found
        found |= more
        waiting += more
    return found


def is_wrapped(body: Sequence[Node]) -> bool:
    """Return whether one ``autoescape`` tag contains the whole body.

    The daemons put every template into such a tag.
    """
    return len(body) == 1 and isinstance(body[0], ScopedEvalContextModifier)


def weight(body: Sequence[Node]) -> int:
    """Return the number of steps that one run of a body takes, without inner loops and blocks."""
    total = 1
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        total += FILTER_WEIGHT if isinstance(node, Filter) else 1
        if isinstance(node, Const) and isinstance(node.value, str):
            total += len(node.value) // WORK_OF_STEP
        if not isinstance(node, For):
            waiting.extend(node.iter_child_nodes())
    return total
