"""The part of the code generator that writes expressions.

Generated code passes values to functions of the runtime, and never accesses an attribute of a Python object.
Generated code uses Python's own operations for truth tests, and for values whose exact type it has tested.
"""

from collections.abc import Callable, Sequence

from jinja2.compiler import Frame

from ..render_state import SMALL
from ..values import to_string
from . import jinja2_nodes as nodes
from .generator_state import Writer
from .jinja2_nodes import may_change, without_safe

_BINARY = {"Sub": "sub", "Mul": "mul", "Div": "div", "Mod": "mod"}
_ORDERS = {
    "lt": "less", "lteq": "less_or_equal", "gt": "greater", "gteq": "greater_or_equal", "in": "contains",
}  # fmt: skip


class ExpressionWriter(Writer):
    """A code generator for expressions. Each template expression becomes one Python expression in brackets.

    If the input of a filter is written next, ``consumer`` is the filter's work for each character.
    If not, ``consumer`` is 0.
    """

    consumer = 0

    def printed(self, node: nodes.Expr) -> None:
        """Write code for the text of a value. The text is escaped if autoescape is on."""
        mode = self.mode
        if isinstance(node, nodes.MarkSafe):
            node, mode = node.expr, False
        if isinstance(node, nodes.Const) and not (mode is not False and isinstance(node.value, str)):
            self.write(repr(to_string(node.value)))
        elif mode is False:
            name, text = self.temporary(), "to_string"
            self.write(f"({name} if type({name} := ")
            if isinstance(node, nodes.Name) and nodes.is_variable(node) and not self.spans:
                text = "text_of"
                self.write(self.raw_name(node.name))
            else:
                self.visit(node, self.frame)
            self.write(f") is str else {text}({name}))")
        else:
            self.charged(lambda: self.escaped(node, mode))

    def escaped(self, node: nodes.Expr, mode: bool | None) -> None:
        self.write("escaped(" if mode else f'escaped_if({self.scope}[" escape"], ')
        self.visit(node, self.frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """Write a call of a new function that evaluates the expressions of `nodes.steps` one by one."""
        name = self.fresh("x")
        self.later("s", name, lambda: self.steps(node.items))
        self.write(f"{name}({self.scope})")

    def steps(self, items: Sequence[nodes.Expr]) -> None:
        for item in items:
            self.writeline("v = ")
            self.visit(item, self.frame)
        self.writeline("return v")

    def operation(self, name: str, place: int, *operands: nodes.Expr) -> None:
        """Write a call of ``operate``, which counts the work and then calls the operator's function."""
        self.write(
            f"at(render, {place}, operate, render, {name}" if self.spans else f"operate(render, {name}"
        )
        for operand in operands:
            self.write(", ")
            self.visit(operand, self.frame)
        self.write(")")

    def weighed(self, node: nodes.Expr, weight: int) -> None:
        """Write the input of a filter. For a large input, generated code also counts the filter's work."""
        if not weight or (isinstance(node, nodes.Const) and not is_large(node.value)):
            self.visit(node, self.frame)
        elif self.spans or isinstance(node, nodes.Const):
            self.write("weigh(render, ")
            self.visit(node, self.frame)
            self.write(f", {weight})")
        elif isinstance(node, nodes.Filter) and not is_inline(node):
            # `charged` counts the work of the consumer together with the size of its input.
            self.consumer = weight
            self.visit(node, self.frame)
        else:
            name = self.temporary()
            self.write(f"({name} if type({name} := ")
            value = name
            if isinstance(node, nodes.Name) and nodes.is_variable(node):
                self.write(self.raw_name(node.name))
                value = f"called({name})"  # If the variable holds a function, call the function.
            else:
                self.visit(node, self.frame)
            self.write(f") is str and len({name}) < 1025 else weigh(render, {value}, {weight}))")

    def charged(self, write: Callable[[], None]) -> None:
        """Write code for a new value.

        If the value is large, the code counts its size, and the work of the filter that uses it next.
        """
        name, weight = self.temporary(), self.consumer
        self.consumer = 0
        self.write(f"({name} if type({name} := ")
        write()
        count = f"weigh(render, charge(render, {name}), {weight})" if weight else f"charge(render, {name})"
        self.write(f") is str and len({name}) < 1025 else {count})")

    def condition(self, node: nodes.Expr) -> None:
        """Write a condition with Python's operators. Python and pongo2 treat the same values as true."""
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
        self.operation("negate", nodes.place_of(node), node.node)

    def visit_Neg(self, node: nodes.UnaryExpr, frame: Frame) -> None:
        self.operation("negative", nodes.place_of(node), node.node)

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:
        place = nodes.place_of(node)
        if self.module.dialect.old:
            self.operation("add_v4", place, node.left, node.right)
        else:
            self.charged(lambda: self.operation("add_v6", place, node.left, node.right))

    def arithmetic(self, node: nodes.BinExpr, frame: Frame) -> None:
        self.operation(_BINARY[type(node).__name__], nodes.place_of(node), node.left, node.right)

    visit_Sub = visit_Mul = visit_Div = visit_Mod = arithmetic

    def visit_Pow(self, node: nodes.BinExpr, frame: Frame) -> None:
        power = self.module.imported("templater.pongo2.golang.math", "power")
        self.operation(power, nodes.place_of(node), node.left, node.right)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        operator, left, right = nodes.compared(node)
        place = nodes.place_of(node)
        if operator in _ORDERS:
            self.operation(_ORDERS[operator], place, left, right)
        else:
            self.equality(left, right, place, operator == "eq")

    def equality(self, left: nodes.Expr, right: nodes.Expr, place: int, wanted: bool) -> None:
        """Write ``==`` if ``wanted`` is true, or ``!=`` if ``wanted`` is false."""
        # Comparisons with a constant string are the most common comparisons, and have a faster form.
        if isinstance(right, nodes.Const) and isinstance(right.value, str) and not self.spans:
            name = self.temporary()
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
        if node.name == nodes.SCOPE:
            self.write(self.scope)
        elif node.name == nodes.PREVIOUS:
            self.write("v")
        elif node.name == nodes.CAPTURED:
            self.write(f"{self.captured}({self.scope})")
        elif node.name == nodes.ESCAPING:
            self.write(f'{self.scope}[" escape"]' if self.mode is None else repr(self.mode))
        elif self.spans:
            place, path = nodes.place_of(node), self.path(node)
            self.write(f"value_at(render, {place}, {self.raw_name(node.name)}, {path})")
        else:
            name, raw = self.temporary(), self.raw_name(node.name)
            self.write(f"({name} if type({name} := {raw}) is not Function else call({name}, ()))")

    def path(self, node: nodes.Node) -> str:
        return repr(self.emitter.texts[nodes.place_of(node)])

    def raw_name(self, name: str) -> str:
        """Return code that reads a variable. If the value is a function, the code does not call it."""
        if name in self.bound:
            value = f'{self.scope}["{name}"]'
            return f"current_value({value})" if name in self.module.field_holders else value
        self.names[name] = None
        return f"n_{name}"

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        """Write a lookup of ``.name`` or ``.0``. Generated code calls the member if it is a function."""
        key = nodes.member_key(node)
        if self.spans:
            getter = "field_at" if isinstance(key, str) else "index_at"
            self.write(f"{getter}(render, {nodes.place_of(node)}, ")
            self.base(node.node)
            self.write(f", {key!r}, {self.path(node)})")
        elif isinstance(key, str):
            if isinstance(node.node, nodes.Name) and node.node.name not in self.bound:
                value = self.raw_name(node.node.name)
                self.write(f"(get({value}, {key!r}) if type({value}")
            else:
                value = self.temporary()
                self.write(f"(get({value}, {key!r}) if type({value} := ")
                self.base(node.node)
            kinds = "in MAPS" if is_key(key) else "is GoMap"
            self.write(f") {kinds} else field({value}, {key!r}))")
        else:
            self.write("index(weigh(render, ")
            self.base(node.node)
            self.write(f", 1), {key})")

    def stored(self, node: nodes.Node) -> None:
        """Write code for a value that the template binds to a name.

        For a field of ``forloop``, generated code stores a LoopField, whose value changes in each round.
        """
        node = without_safe(node)
        value = self.temporary()
        if not self.module.forloop:
            self.visit(node, self.frame)
        elif isinstance(node, nodes.Name) and node.name in self.module.field_holders:
            self.write(f'({value} if type({value} := {self.scope}["{node.name}"]) is LoopField else ')
            self.visit(node, self.frame)
            self.write(")")
        elif isinstance(node, nodes.Getattr | nodes.Getitem) and may_change(node):
            self.write(f"(loop_field({value}, ")
            self.visit(node.arg if isinstance(node, nodes.Getitem) else nodes.Const(node.attr), self.frame)
            self.write(f") if type({value} := ")
            self.base(node.node)
            self.write(") is ForLoop else ")
            self.visit(node, self.frame)
            self.write(")")
        else:
            self.visit(node, self.frame)

    def base(self, node: nodes.Expr) -> None:
        """Write code for the value ``x`` of a lookup such as ``x.member``."""
        if isinstance(node, nodes.Name):
            self.write(self.raw_name(node.name))
        else:
            self.visit(node, self.frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """Write ``value[key]``. The key is not evaluated if the value is nil."""
        name = self.temporary()
        self.write(f"(None if ({name} := ")
        self.visit(node.node, frame)
        if self.spans:
            self.write(f") is None else item_at(render, {nodes.place_of(node)}, {name}, lambda: ")
        else:
            self.write(f") is None else item({name}, ")
        self.visit(node.arg, frame)
        self.write(f", {self.path(node)}))" if self.spans else "))")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        if nodes.tag_function(node) is not None:
            self.charged(lambda: self.invoke(node))
            return
        name = self.temporary()
        self.write(f"({self.when_nil(node)} if ({name} := ")
        self.callee(node.node)
        if self.spans:
            place, path = nodes.place_of(node), self.path(node)
            self.write(f") is None else call_at(render, {place}, {name}, {path}, (")
        else:
            self.write(f") is None else call({name}, (")
        for argument in node.args:
            self.write("lambda: " if self.spans else "")
            self.visit(argument, frame)
            self.write(", ")
        self.write(")))")

    def when_nil(self, node: nodes.Call) -> str:
        """Return the code that runs if the callee of a call is nil.

        A call of an unset variable gives nil. A call of a variable that holds nil fails.
        """
        callee = node.node
        if isinstance(callee, nodes.Name) and callee.name in self.module.called:
            arguments = f'{self.scope}[" set {callee.name}"], {self.path(node)}'
            if self.spans:
                return f"at(render, {nodes.place_of(node)}, nil_call, {arguments})"
            return f"nil_call({arguments})"
        return "None"

    def callee(self, node: nodes.Expr) -> None:
        """Write code that gets the callee of a call, but does not call it.

        `visit` would write code that also calls the callee.
        """
        if isinstance(node, nodes.Name):
            self.write(self.raw_name(node.name))
            return
        assert isinstance(node, nodes.Getattr)
        key = nodes.member_key(node)
        getter = "get_field" if isinstance(key, str) else "get_index"
        if self.spans:
            self.write(f"member_at(render, {nodes.place_of(node)}, {getter}, ")
        else:
            self.write(f"member({getter}, ")
        self.base(node.node)
        self.write(f", {key!r}, {self.path(node)})" if self.spans else f", {key!r})")

    def invoke(self, node: nodes.Call, *first: str) -> None:
        """Write a call of a tag's function. The code in ``first`` becomes the first arguments."""
        target = nodes.tag_function(node)
        assert target is not None
        function, place = self.module.imported(*target), nodes.place_of(node)
        self.write(f"at(render, {place}, {function}, render" if self.spans else f"{function}(render")
        for text in first:
            self.write(f", {text}")
        for argument in node.args:
            self.write(", ")
            self.visit(argument, self.frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        """Write the code of a node that `nodes.stored` or `nodes.lazy` returned.

        Each expression in a ``lazy`` node becomes a lambda.
        """
        argument = nodes.stored_expression(node)
        if argument is not None:
            self.stored(argument)
            return
        outer, self.scope = self.scope, "s"
        self.write("(")
        for item in node.items:
            # The lambda takes the scope, so that the expression is evaluated in the scope at the time of the
            # call.
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
        elif is_inline(node):
            assert node.node is not None
            value, other = self.temporary(), self.temporary()
            # The code evaluates the argument even if the value is true: both are items of a tuple. The tuple
            # is not empty and therefore always true, so the code after ``and`` gives the result.
            self.write(f"((({value} := ")
            self.visit(node.node, frame)
            self.write(f"), ({other} := ")
            self.filter_argument(argument, 0)
            self.write(f")) and ({value} or {other}))")
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
            place, of_tag = nodes.place_of(node), self.captured != ""
            self.write(f"filter_at(render, {place}, {of_tag}, {node.name!r}, {name}")
            self.write(f"{with_render}, ")
        elif function is None:
            self.write(f"unknown_filter({node.name!r}, ")
        else:
            self.write(f"{name}({with_render.removeprefix(', ')}{', ' if with_render else ''}")
        assert node.node is not None
        weight = getattr(function, "filter_weight", 0)
        self.weighed(node.node, weight)
        self.write(", ")
        self.filter_argument(argument, weight)
        self.write(")")

    def filter_argument(self, argument: nodes.Expr | None, weight: int) -> None:
        """Write the argument of a filter.

        A filter inside the argument does not count as a filter of the surrounding ``filter`` tag.
        """
        if argument is None:
            self.write("None")
            return
        captured, self.captured = self.captured, ""
        self.weighed(argument, weight)
        self.captured = captured


def is_inline(node: nodes.Filter) -> bool:
    """Return whether generated code applies a filter without a call.

    The result is true for ``safe``, and for ``default`` with an argument.
    """
    return node.name == ("default" if node.args else "safe")


def is_large(value: object) -> bool:
    return isinstance(value, str) and len(value) > SMALL


def is_key(name: str) -> bool:
    """Return whether a member can only be a key, not a Go method: methods begin with a capital letter."""
    return "a" <= name[0] <= "z"
