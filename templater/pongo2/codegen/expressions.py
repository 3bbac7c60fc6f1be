"""Expressions into Python. Values are touched by functions of the runtime, and inline only where a test of
the exact type has shown it safe: no attribute of any Python object is ever named."""

from collections.abc import Callable, Sequence

from jinja2 import nodes
from jinja2.compiler import Frame

from ..state import SMALL
from .emit import may_change, unmarked
from .writer import Writer

MAX_BRACKETS = 60

_BINARY = {"Sub": "sub", "Mul": "mul", "Div": "div", "Mod": "mod"}
_ORDERS = {"lt": "less", "lteq": "less_or_equal", "gt": "greater", "gteq": "greater_or_equal"}


class ExpressionWriter(Writer):
    """Writes expressions: always one Python expression, in brackets of its own.

    ``consumer`` is the weight of the filter that gets the value which is about to be written.
    """

    consumer = 0

    def visit(self, node: nodes.Node, *args: object, **kwargs: object) -> object:
        """An expression that nests too deeply becomes a function of its own."""
        if not isinstance(node, nodes.Expr):
            return super().visit(node, *args, **kwargs)
        if self.brackets < MAX_BRACKETS:
            self.brackets += 4
            super().visit(node, *args, **kwargs)
            self.brackets -= 4
            return None
        name = self.fresh("x")
        self.later("s", name, lambda: self.returned(node))
        self.write(f"{name}({self.scope})")
        return None

    def returned(self, node: nodes.Expr) -> None:
        self.writeline("return ")
        self.visit(node, self.frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """Steps, each on the result of the one before."""
        name = self.fresh("x")
        self.later("s", name, lambda: self.steps(node.items))
        self.write(f"{name}({self.scope})")

    def steps(self, items: Sequence[nodes.Expr]) -> None:
        for item in items:
            self.writeline("v = ")
            self.visit(item, self.frame)
        self.writeline("return v")

    def operation(self, name: str, place: int, *operands: nodes.Expr) -> None:
        """Write a call of an operator's function; ``operate`` counts the work on large strings before."""
        self.write(
            f"at(render, {place}, operate, render, {name}" if self.spans else f"operate(render, {name}"
        )
        for operand in operands:
            self.write(", ")
            self.visit(operand, self.frame)
        self.write(")")

    def weighed(self, node: nodes.Expr, weight: int) -> None:
        """Write a value whose work is counted before a filter gets it, unless it is a small string."""
        if not weight or (isinstance(node, nodes.Const) and not is_large(node.value)):
            self.visit(node, self.frame)
        elif self.spans or isinstance(node, nodes.Const):
            self.write("weigh(render, ")
            self.visit(node, self.frame)
            self.write(f", {weight})")
        elif isinstance(node, nodes.Filter) and not is_inline(node):
            self.consumer = weight  # what counts the result counts its use as well
            self.visit(node, self.frame)
        else:
            name = self.fresh("v")
            self.write(f"({name} if type({name} := ")
            value = name
            if isinstance(node, nodes.Name) and node.name[0] != " ":
                self.write(self.raw_name(node.name))
                value = f"called({name})"  # a function is no string either
            else:
                self.visit(node, self.frame)
            self.write(f") is str and len({name}) < 1025 else weigh(render, {value}, {weight}))")

    def charged(self, write: Callable[[], None]) -> None:
        """A value that may be a new large one: counted if it is, and its use by a filter too."""
        name, weight = self.fresh("v"), self.consumer
        self.consumer = 0
        self.write(f"({name} if type({name} := ")
        write()
        count = f"weigh(render, charge(render, {name}), {weight})" if weight else f"charge(render, {name})"
        self.write(f") is str and len({name}) < 1025 else {count})")

    def condition(self, node: nodes.Expr) -> None:
        """The truth of a value. Python's is pongo2's, for every kind of value."""
        if isinstance(node, nodes.And | nodes.Or):
            self.write("(")
            self.condition(node.left)
            self.write(" and " if isinstance(node, nodes.And) else " or ")
            self.condition(node.right)
            self.write(")")
        elif isinstance(node, nodes.Not):
            self.write("(not ")
            self.condition(node.node)
            self.write(")")
        else:
            self.visit(node, self.frame)

    def visit_And(self, node: nodes.BinExpr, frame: Frame) -> None:
        self.write("(True if ")
        self.condition(node)
        self.write(" else False)")

    def visit_Or(self, node: nodes.BinExpr, frame: Frame) -> None:
        self.write("(True if ")
        self.condition(node)
        self.write(" else False)")

    def visit_Not(self, node: nodes.UnaryExpr, frame: Frame) -> None:
        self.operation("negate", node.lineno, node.node)

    def visit_Neg(self, node: nodes.UnaryExpr, frame: Frame) -> None:
        self.operation("negative", node.lineno, node.node)

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:
        if self.module.dialect.old:
            self.operation("add_v4", node.lineno, node.left, node.right)
        else:
            self.charged(lambda: self.operation("add_v6", node.lineno, node.left, node.right))

    def arithmetic(self, node: nodes.BinExpr, frame: Frame) -> None:
        self.operation(_BINARY[type(node).__name__], node.lineno, node.left, node.right)

    visit_Sub = visit_Mul = visit_Div = visit_Mod = arithmetic

    def visit_Pow(self, node: nodes.BinExpr, frame: Frame) -> None:
        power = self.module.imported("templater.pongo2.golang.math", "power")
        self.operation(power, node.lineno, node.left, node.right)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        operand = node.ops[0]
        if operand.op == "in":
            self.operation("contains", node.lineno, node.expr, operand.expr)
        elif operand.op in _ORDERS:
            self.operation(_ORDERS[operand.op], node.lineno, node.expr, operand.expr)
        else:
            self.equality(node.expr, operand.expr, node.lineno, operand.op == "eq")

    def equality(self, left: nodes.Expr, right: nodes.Expr, place: int, wanted: bool) -> None:
        """Two plain strings are what is nearly always compared."""
        if isinstance(right, nodes.Const) and isinstance(right.value, str) and not self.spans:
            name = self.fresh("v")
            text, operator = repr(right.value), "==" if wanted else "!="
            self.write(f"({name} {operator} {text} if type({name} := ")
            self.visit(left, self.frame)
            self.write(f") is str else equal({name}, {text}) is {wanted})")
            return
        self.write("(" if wanted else "(not ")
        self.operation("equal", place, left, right)
        self.write(")")

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        self.write(repr(node.value))

    # --- names and paths

    def visit_Name(self, node: nodes.Name, frame: Frame) -> None:
        if node.name == " scope":
            self.write(self.scope)
        elif node.name == " value":
            self.write("v")
        elif node.name == " captured":
            self.write(f"{self.captured}({self.scope})")
        elif node.name == " escaping":
            self.write(f'{self.scope}[" escape"]' if self.mode is None else repr(self.mode))
        elif self.spans:
            self.write(f"value_at(render, {node.lineno}, {self.raw_name(node.name)}, {self.path(node)})")
        else:
            name, raw = self.fresh("v"), self.raw_name(node.name)
            self.write(f"({name} if type({name} := {raw}) is not Function else call({name}, ()))")

    def path(self, node: nodes.Node) -> str:
        return repr(self.emitter.texts[node.lineno])

    def raw_name(self, name: str) -> str:
        """Where a variable's value is found; it may be a function."""
        if name in self.bound:
            value = f'{self.scope}["{name}"]'
            return f"current_value({value})" if name in self.module.held else value
        self.names[name] = None
        return f"n_{name}"

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        """``.name`` and ``.0``; a function found there is called."""
        key = node.attr if node.attr.isdecimal() else repr(node.attr)
        getter = "index" if node.attr.isdecimal() else "field"
        if self.spans:
            self.write(f"{getter}_at(render, {node.lineno}, ")
            self.base(node.node)
            self.write(f", {key}, {self.path(node)})")
        elif getter == "field":
            if isinstance(node.node, nodes.Name) and node.node.name not in self.bound:
                held = self.raw_name(node.node.name)
                self.write(f"(get({held}, {key}) if type({held}")
            else:
                held = self.fresh("v")
                self.write(f"(get({held}, {key}) if type({held} := ")
                self.base(node.node)
            kinds = "in MAPS" if is_key(node.attr) else "is GoMap"
            self.write(f") {kinds} else field({held}, {key}))")
        else:
            self.write("index(weigh(render, ")
            self.base(node.node)
            self.write(f", 1), {key})")

    def kept(self, node: nodes.Node) -> None:
        """A value that is remembered. A field of a loop goes on changing with the loop."""
        node = unmarked(node)
        held = self.fresh("v")
        if not self.module.forloop:
            self.visit(node, self.frame)
        elif isinstance(node, nodes.Name) and node.name in self.module.held:
            self.write(f'({held} if type({held} := {self.scope}["{node.name}"]) is LoopField else ')
            self.visit(node, self.frame)
            self.write(")")
        elif isinstance(node, nodes.Getattr | nodes.Getitem) and may_change(node):
            self.write(f"(loop_field({held}, ")
            self.visit(node.arg if isinstance(node, nodes.Getitem) else nodes.Const(node.attr), self.frame)
            self.write(f") if type({held} := ")
            self.base(node.node)
            self.write(") is ForLoop else ")
            self.visit(node, self.frame)
            self.write(")")
        else:
            self.visit(node, self.frame)

    def base(self, node: nodes.Expr) -> None:
        """The value to look into. A bare name may be a function still: the getters call it."""
        if isinstance(node, nodes.Name):
            self.write(self.raw_name(node.name))
        else:
            self.visit(node, self.frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """The subscript is not even worked out where there is nothing to look into."""
        name = self.fresh("v")
        self.write(f"(None if ({name} := ")
        self.visit(node.node, frame)
        if self.spans:
            self.write(f") is None else item_at(render, {node.lineno}, {name}, lambda: ")
        else:
            self.write(f") is None else item({name}, ")
        self.visit(node.arg, frame)
        self.write(f", {self.path(node)}))" if self.spans else "))")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        if isinstance(node.node, nodes.ImportedName):
            self.charged(lambda: self.invoke(node))
            return
        name = self.fresh("v")
        self.write(f"({self.when_nil(node)} if ({name} := ")
        self.callee(node.node)
        if self.spans:
            self.write(f") is None else call_at(render, {node.lineno}, {name}, {self.path(node)}, lambda: (")
        else:
            self.write(f") is None else call({name}, (")
        for argument in node.args:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")))")

    def when_nil(self, node: nodes.Call) -> str:
        """An unset variable can be called and gives nil; one that holds nil can't."""
        callee = node.node
        if isinstance(callee, nodes.Name) and callee.name in self.module.called:
            arguments = f'{self.scope}[" set {callee.name}"], {self.path(node)}'
            return (
                f"at(render, {node.lineno}, nil_call, {arguments})"
                if self.spans
                else f"nil_call({arguments})"
            )
        return "None"

    def callee(self, node: nodes.Expr) -> None:
        """What is called: a name or a member as it is found, not called by finding it."""
        if isinstance(node, nodes.Name):
            self.write(self.raw_name(node.name))
            return
        assert isinstance(node, nodes.Getattr)
        getter, key = ("get_index", node.attr) if node.attr.isdecimal() else ("get_field", repr(node.attr))
        if self.spans:
            self.write(f"member_at(render, {node.lineno}, {getter}, ")
        else:
            self.write(f"member({getter}, ")
        self.base(node.node)
        self.write(f", {key}, {self.path(node)})" if self.spans else f", {key})")

    def invoke(self, node: nodes.Call, *first: str) -> None:
        """A tag's own function."""
        assert isinstance(node.node, nodes.ImportedName)
        function = self.module.imported(*node.node.importname.split(":"))
        self.write(f"at(render, {node.lineno}, {function}, render" if self.spans else f"{function}(render")
        for text in first:
            self.write(f", {text}")
        for argument in node.args:
            self.write(", ")
            self.visit(argument, self.frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        """Lazy arguments: functions of the scope that is current when they are called."""
        if node.ctx == "kept":
            self.kept(node.items[0])
            return
        outer, self.scope = self.scope, "s"
        self.write("(")
        for item in node.items:
            self.write("(lambda s: ")
            self.visit(item, frame)
            self.write("), ")
        self.write(")")
        self.scope = outer

    # --- filters

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:
        argument = node.args[0] if node.args else None
        if is_inline(node) and argument is None:
            assert node.node is not None
            self.visit(node.node, frame)
        elif is_inline(node) and isinstance(argument, nodes.Const):
            assert node.node is not None
            self.write("(")
            self.visit(node.node, frame)
            self.write(f" or {argument.value!r})")
        else:
            self.charged(lambda: self.filter_call(node, argument))

    def filter_call(self, node: nodes.Filter, argument: nodes.Expr | None) -> None:
        filters = self.module.library.filters
        function = filters.get(node.name)
        name = "unknown_filter"
        if function is not None:
            name = self.module.imported(function.__module__, function.__qualname__)
        with_render = ", render" if getattr(function, "filter_render", False) else ""
        if self.spans:
            self.write(f"filter_at(render, {node.lineno}, {self.captured != ''}, {node.name!r}, {name}")
            self.write(f"{with_render}, ")
        elif function is None:
            self.write(f"unknown_filter({node.name!r}, ")
        else:
            self.write(f"{name}({with_render.removeprefix(', ')}{', ' if with_render else ''}")
        assert node.node is not None
        weight = getattr(function, "filter_weight", 0)
        self.weighed(node.node, weight)
        self.write(", ")
        if argument is None:
            self.write("None")
        else:
            captured, self.captured = self.captured, ""  # filters in the argument are not the tag's
            self.weighed(argument, weight)
            self.captured = captured
        self.write(")")


def is_inline(node: nodes.Filter) -> bool:
    """Whether a filter needs no call: ``safe``, and ``default`` with a constant."""
    if node.args:
        return node.name == "default" and isinstance(node.args[0], nodes.Const)
    return node.name == "safe"


def is_large(value: object) -> bool:
    return isinstance(value, str) and len(value) > SMALL


def is_key(name: str) -> bool:
    """Whether a field of this name can't be a Go method: those begin with a capital."""
    return "a" <= name[0] <= "z"
