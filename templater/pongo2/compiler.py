"""Nodes into Python: Jinja2's code generator, writing pongo2's semantics for our small runtime.

What it writes is one module: constants, and one function a template. It contains no attribute access at
all, so no attribute of any Python object can be reached by a template; values are touched by the
functions of ``runtime`` and ``values`` only, and inline where a test of the exact type proves it safe.

A compilation comes in two forms. The plain one knows no places. The one with spans hands every operation
that can fail the number of its place; it is made and run only to say where a failed render failed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import StringIO
from types import CodeType

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.nodes import EvalContext

from ..errors import LimitError
from .dialect import Dialect
from .emit import Emitter, is_wrapped, weight
from .library import Library
from .parser import Document
from .values import to_string

MAX_BLOCKS = 12  # of Python in one function: what nests deeper becomes a function of its own
MAX_BRACKETS = 60
MAX_BRANCHES = 60
MAX_PIECES = 200

_BINARY = {"Sub": "sub", "Mul": "mul", "Div": "div", "Mod": "mod", "Pow": "power"}
_ORDERS = {"lt": "less", "lteq": "less_or_equal", "gt": "greater", "gteq": "greater_or_equal"}


class Generator(CodeGenerator):
    """Writes one template of a compilation.

    ``scope`` is the variable that holds the private context, a plain dict with every name that may be
    bound; names never bound are read from the public context once, at the top. ``counting``: there are
    loops or macros, so work and output are counted as they happen. ``mode`` is autoescape here, None
    where it is known at run time only.
    """

    def __init__(self, emitter: Emitter, module: "Module", unit: int) -> None:
        super().__init__(module.environment, None, None, StringIO(), optimized=False)
        self.emitter = emitter
        self.module = module
        self.unit = unit
        self.spans = module.spans
        self.bound = module.bound
        self.names: dict[str, None] = {}
        self.functions: list[str] = []
        self.scope = "s"
        self.mode: bool | None = True
        self.dynamic = False
        self.counting = False
        self.counted = False
        self.blocks = 0
        self.brackets = 0
        self.serial = 0
        self.captured = ""
        self.deferred: list[Callable[[], None]] = []
        self.frame = Frame(EvalContext(module.environment))

    # --- the module

    def template(self, template: nodes.Template) -> str:
        """The function of one template."""
        body = template.body
        marks = (nodes.For, nodes.Macro, nodes.Block)
        self.counting = any(True for _ in template.find_all(marks))
        has_modes = self.emitter.modes > (1 if is_wrapped(body) else 0)
        self.dynamic = has_modes and any(True for _ in template.find_all((nodes.Macro, nodes.Block)))
        self._indentation = 1
        self.statements(body)
        self.writeline("return finish(render, o)")
        main = self.text()
        while self.deferred:
            self.deferred.pop()()
        parameters = "".join(f", n_{name}" for name in self.names)
        head = f"def root{self.unit}(render, s{parameters}):\n"
        head += "    steps, left = budget(render)\n" if self.counting else ""
        head += '    s[" escape"] = True\n' if self.dynamic else ""
        head += "".join(f'    s[" set {name}"] = False\n' for name in self.module.called)
        return f"{head}{''.join(self.functions)}    o = []\n{main}\n"

    def text(self) -> str:
        stream = self.stream
        assert isinstance(stream, StringIO)
        return stream.getvalue()

    @contextmanager
    def function(self, parameters: str, name: str) -> Iterator[None]:
        """What is written inside becomes a function beside the others, with ``s`` as its scope."""
        kept = (
            self.stream, self._indentation, self._new_lines, self._first_write, self.scope, self.blocks,
            self.brackets, self.counted,
        )  # fmt: skip
        self.stream, self._indentation, self._new_lines, self._first_write = StringIO(), 1, 0, False
        self.scope, self.blocks, self.brackets = "s", 0, 0
        self.counted = self.counting
        self.write(f"    def {name}({parameters}):")
        self.indent()
        if self.counting:
            self.writeline("nonlocal steps, left")
        yield
        self.functions.append(self.text() + "\n")
        (
            self.stream, self._indentation, self._new_lines, self._first_write, self.scope, self.blocks,
            self.brackets, self.counted,
        ) = kept  # fmt: skip

    def later(self, parameters: str, name: str, write: Callable[[], None]) -> None:
        """A function written when the current ones are done, so that nesting does not use up our stack."""
        mode, captured = self.mode, self.captured

        def written() -> None:
            kept = self.mode, self.captured
            self.mode, self.captured = mode, captured
            with self.function(parameters, name):
                write()
            self.mode, self.captured = kept

        self.deferred.append(written)

    def fresh(self, prefix: str) -> str:
        self.serial += 1
        return f"{prefix}{self.serial}"

    # --- statements

    def statements(self, body: Sequence[nodes.Node]) -> None:
        """A body at the current indentation; in a function of its own if it stands too deep."""
        if self.blocks >= MAX_BLOCKS and any(not isinstance(node, nodes.Output) for node in body):
            name = self.fresh("b")
            self.later("s, o", name, lambda: self.statements(body))
            self.writeline(f"{name}({self.scope}, o)")
            return
        for node in body:
            self.visit(node, self.frame)
        if not body:
            self.writeline("pass")

    def nested(self, body: Sequence[nodes.Node], blocks: int = 1) -> None:
        """A body one level deeper."""
        self.indent()
        self.blocks += blocks
        self.statements(body)
        self.blocks -= blocks
        self.outdent()

    def visit_Output(self, node: nodes.Output, frame: Frame) -> None:
        for start in range(0, len(node.nodes), MAX_PIECES):
            self.pieces(node.nodes[start : start + MAX_PIECES])

    def pieces(self, children: Sequence[nodes.Expr]) -> None:
        """One statement that puts out texts and values, and in loops counts them."""
        self.writeline("o += (")
        constant, names = 0, []
        for child in children:
            if isinstance(child, nodes.TemplateData):
                constant += len(child.data)
                self.write(repr(child.data))
            elif self.counted:
                names.append(self.fresh("v"))
                self.write(f"({names[-1]} := ")
                self.piece(child)
                self.write(")")
            else:
                self.piece(child)
            self.write(", ")
        self.write(")")
        if self.counted:
            self.writeline("left -= " + " + ".join([str(constant), *(f"len({name})" for name in names)]))

    def piece(self, node: nodes.Expr) -> None:
        """The text of a value, escaped as autoescape wants it here."""
        mode = self.mode
        if isinstance(node, nodes.MarkSafe):
            node, mode = node.expr, False
        if isinstance(node, nodes.Const) and not (mode is not False and isinstance(node.value, str)):
            self.write(repr(to_string(node.value)))
        elif mode is False:
            name = self.fresh("v")
            self.write(f"({name} if type({name} := ")
            self.visit(node, self.frame)
            self.write(f") is str else to_string({name}))")
        else:
            self.write("escaped(" if mode else f'escaped_if({self.scope}[" escape"], ')
            self.visit(node, self.frame)
            self.write(")")

    def visit_If(self, node: nodes.If, frame: Frame) -> None:
        branches = [node, *node.elif_]
        rest = branches[MAX_BRANCHES:]
        for keyword, branch in zip(["if "] + ["elif "] * MAX_BRANCHES, branches, strict=False):
            self.writeline(keyword)
            self.condition(branch.test)
            self.write(":")
            self.nested(branch.body)
        otherwise: Sequence[nodes.Node] = node.else_
        if rest:
            name = self.fresh("b")
            others = nodes.If(rest[0].test, rest[0].body, rest[1:], node.else_)
            self.later("s, o", name, lambda: self.statements([others]))
            self.writeline("else:")
            self.indent()
            self.writeline(f"{name}({self.scope}, o)")
            self.outdent()
        elif otherwise:
            self.writeline("else:")
            self.nested(otherwise)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        """One copied scope for all rounds; ``forloop`` is in it before the iterated value is worked out."""
        number = self.fresh("")
        outer, scope, items = self.scope, f"s{number}", f"i{number}"
        backward, ordered = node.test.as_const() if node.test is not None else (False, False)
        self.writeline(f"{scope} = {{**{outer}}}")
        self.scope = scope
        self.mark_set([name.name for name in node.target.find_all(nodes.Name)] or [node.target.name])
        if self.module.forloop:
            self.names["forloop"] = None
            self.writeline(f"c{number} = [-1]")
            parent = f'{outer}["forloop"], n_forloop'
            self.operation_line(
                f'{scope}["forloop"] = f{number} = ', "loop", node.lineno, f"c{number}, {parent}"
            )
        self.writeline(f"w{number} = ")
        self.visit(node.iter, frame)
        self.operation_line(
            f"{items}, j{number} = ", "iterate", node.lineno, f"w{number}, {backward}, {ordered}"
        )
        if self.module.forloop:
            self.writeline(f"start_loop(f{number}, {items}, {backward} and w{number})")
        self.writeline(f"if {items}:")
        self.indent()
        self.loop_head(node, number)
        self.indent()
        self.writeline(f"steps -= {weight(node.body)}")
        self.writeline("if steps < 0 or left < 0: spent(render, steps, left)")
        counted, self.counted = self.counted, True
        self.outdent()
        self.nested(node.body, 2)
        self.counted = counted
        self.outdent()
        if node.else_:
            self.writeline("else:")
            self.nested(node.else_)
        self.scope = outer

    def operation_line(self, target: str, name: str, place: int, arguments: str) -> None:
        self.writeline(f"{target}at(render, {place}, {name}, " if self.spans else f"{target}{name}(")
        self.write(f"{arguments})")

    def loop_head(self, node: nodes.For, number: str) -> None:
        key, value = node.target, None
        if isinstance(key, nodes.Tuple):
            key, value = key.items
        assert isinstance(key, nodes.Name)
        target = f'{self.scope}["{key.name}"]'
        backward = self.module.forloop and node.test is not None and node.test.as_const()[0]
        if self.module.forloop and not value:
            rounds = f"rounds(f{number}, i{number})" if backward else f"enumerate(i{number})"
            self.writeline(f"for c{number}[0], {target} in {rounds}:")
        elif value is None:
            self.writeline(f"for {target} in i{number}:")
        else:
            assert isinstance(value, nodes.Name)
            index = f"c{number}[0]" if self.module.forloop else f"k{number}"
            rounds = f"rounds(f{number}, i{number})" if backward else f"enumerate(i{number})"
            self.writeline(f"for {index}, {target} in {rounds}:")
            self.indent()
            self.writeline(f'if j{number} is not None: {self.scope}["{value.name}"] = j{number}[{index}]')
            self.outdent()

    def visit_Assign(self, node: nodes.Assign, frame: Frame) -> None:
        assert isinstance(node.target, nodes.Name)
        self.writeline(f'{self.scope}["{node.target.name}"] = ')
        self.visit(node.node, frame)
        self.mark_set([node.target.name])

    def mark_set(self, names: Sequence[str]) -> None:
        """Where calling an unset variable and calling one that holds nil differ, remember which it is."""
        for name in names:
            if name in self.module.called:
                self.writeline(f'{self.scope}[" set {name}"] = True')

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:
        self.newline()
        self.visit(node.node, frame)

    def visit_With(self, node: nodes.With, frame: Frame) -> None:
        outer, scope = self.scope, self.fresh("s")
        self.writeline(f"{scope} = {{**{outer}")
        names = [target.name for target in node.targets if isinstance(target, nodes.Name)]
        for name, value in zip(names, node.values, strict=True):
            self.write(f', "{name}": ')
            self.visit(value, frame)
        self.write("}")
        self.scope = scope
        self.mark_set(names)
        for statement in node.body:
            self.visit(statement, frame)
        self.scope = outer

    def visit_ScopedEvalContextModifier(self, node: nodes.ScopedEvalContextModifier, frame: Frame) -> None:
        on = bool(node.options[0].value.as_const())
        kept, before = self.mode, self.fresh("e")
        if self.dynamic:
            self.writeline(f'{before} = {self.scope}[" escape"]')
            self.writeline(f'{self.scope}[" escape"] = {on}')
        self.mode = on
        self.statements(node.body)
        self.mode = kept
        if self.dynamic:
            self.writeline(f'{self.scope}[" escape"] = {before}')

    def visit_Macro(self, node: nodes.Macro, frame: Frame) -> None:
        name = self.fresh("m")
        with self.unknown_mode():
            self.later("s, a", name, lambda: self.macro_body(node))
        self.writeline(f'{self.scope}["{node.name}"] = macro(render, {name}, {self.scope})')

    def macro_body(self, node: nodes.Macro) -> None:
        place, names = node.lineno, [parameter.name for parameter in node.args]
        self.writeline(f"s = enter(render, s, {place}, {self.emitter.texts[place]!r}, {tuple(names)!r}, (")
        for default in node.defaults:
            self.visit(default, self.frame)
            self.write(", ")
        self.write("), a)")
        for index, (parameter, default) in enumerate(zip(names, node.defaults, strict=True)):
            if parameter in self.module.called:
                given = isinstance(default, nodes.Const) and default.value is None
                self.writeline(f's[" set {parameter}"] = {not given} and len(a) <= {index}')
        self.writeline(f"steps -= {weight(node.body)}")
        self.writeline("if steps < 0 or left < 0: spent(render, steps, left)")
        self.writeline("o = []")
        self.statements(node.body)
        self.writeline("return captured(render, o)")

    @contextmanager
    def unknown_mode(self) -> Iterator[None]:
        """Inside, autoescape is what the scope says, if anything can change it."""
        kept, self.mode = self.mode, None if self.dynamic else self.mode
        yield
        self.mode = kept

    def capture(self, body: Sequence[nodes.Node]) -> str:
        """A function that returns what a body prints."""
        name = self.fresh("t")
        self.later("s", name, lambda: self.capturing(body))
        return name

    def capturing(self, body: Sequence[nodes.Node]) -> None:
        self.writeline("o = []")
        self.statements(body)
        self.writeline("return captured(render, o)")

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> None:
        kept, self.captured = self.captured, self.capture(node.body)
        self.put(lambda: self.visit(node.filter, frame))
        self.captured = kept

    def visit_CallBlock(self, node: nodes.CallBlock, frame: Frame) -> None:
        captured = f"{self.capture(node.body)}({self.scope})"
        self.put(lambda: self.invoke(node.call, captured))

    def put(self, write: Callable[[], None]) -> None:
        """Print a value that autoescape leaves alone."""
        name = self.fresh("v")
        self.writeline(f"{name} = to_string(")
        write()
        self.write(")")
        self.writeline(f"o += ({name},)")
        if self.counted:
            self.writeline(f"left -= len({name})")

    def visit_Block(self, node: nodes.Block, frame: Frame) -> None:
        """The last body is shown; the others can be reached from it through ``block.Super``."""
        names = []
        for scope in node.body:
            assert isinstance(scope, nodes.Scope)
            names.append(self.fresh("b"))
            with self.unknown_mode():
                self.later("s, o", names[-1], partial(self.statements, scope.body))
        above = ", ".join(names[:-1]) + ("," if len(names) > 1 else "")
        self.writeline(f'{self.scope}["block"] = block(render, {self.scope}, ({above}))')
        self.writeline(f"{names[-1]}({self.scope}, o)")

    # --- expressions

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

    def operation(self, name: str, place: int, *operands: nodes.Expr, extra: str = "") -> None:
        """A call of a function that can fail."""
        self.write(f"at(render, {place}, {name}" if self.spans else f"{name}(")
        for index, operand in enumerate(operands):
            self.write(", " if index or self.spans else "")
            self.visit(operand, self.frame)
        self.write(f"{extra})")

    def charged(self, write: Callable[[], None]) -> None:
        """A value that may be a new large one: counted if it is."""
        name = self.fresh("v")
        self.write(f"({name} if type({name} := ")
        write()
        self.write(f") is str and len({name}) < 1025 else charge(render, {name}))")

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

    def visit_And(self, node: nodes.And, frame: Frame) -> None:
        self.write("(True if ")
        self.condition(node)
        self.write(" else False)")

    def visit_Or(self, node: nodes.Or, frame: Frame) -> None:
        self.write("(True if ")
        self.condition(node)
        self.write(" else False)")

    def visit_Not(self, node: nodes.Not, frame: Frame) -> None:
        self.operation("negate", node.lineno, node.node)

    def visit_Neg(self, node: nodes.Neg, frame: Frame) -> None:
        self.operation("negative", node.lineno, node.node)

    def visit_Add(self, node: nodes.Add, frame: Frame) -> None:
        if self.module.dialect.old:
            self.operation("add_v4", node.lineno, node.left, node.right)
        else:
            self.charged(lambda: self.operation("add_v6", node.lineno, node.left, node.right))

    def arithmetic(self, node: nodes.BinExpr, frame: Frame) -> None:
        self.operation(_BINARY[type(node).__name__], node.lineno, node.left, node.right)

    visit_Sub = visit_Mul = visit_Div = visit_Mod = visit_Pow = arithmetic  # type: ignore[assignment]

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
            return f'{self.scope}["{name}"]'
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
            name = self.fresh("v")
            self.write(f"(get({name}, {key}) if type({name} := ")
            self.base(node.node)
            self.write(f") is GoMap else field({name}, {key}))")
        else:
            self.write("index(")
            self.base(node.node)
            self.write(f", {key})")

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

    def visit_Call(self, node: nodes.Call, frame: Frame) -> None:
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
        if node.name == "safe" and argument is None:
            assert node.node is not None
            self.visit(node.node, frame)
        elif node.name == "default" and isinstance(argument, nodes.Const):
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
        self.visit(node.node, self.frame)
        self.write(", ")
        if argument is None:
            self.write("None")
        else:
            self.visit(argument, self.frame)
        self.write(")")


class Module:
    """One compilation: the functions of all its templates, and what they need from elsewhere."""

    def __init__(self, document: Document, dialect: Dialect, library: Library, spans: bool) -> None:
        self.environment = environment()
        self.document = document
        self.dialect = dialect
        self.library = library
        self.spans = spans
        self.emitter = Emitter(document)
        self.bound: list[str] = []
        self.called: list[str] = []
        self.forloop = False
        self.imports: dict[tuple[str, str], str] = {}

    def imported(self, module: str, name: str) -> str:
        """The alias under which generated code knows a module's function."""
        return self.imports.setdefault((module, name), f"g{len(self.imports)}")

    def source(self) -> str:
        """The module's text. Templates are emitted first, since any may bind a name for all."""
        emitter, trees = self.emitter, []
        while len(trees) < len(emitter.units):
            trees.append((emitter.unit(emitter.units[len(trees)]), emitter.units[len(trees)]))
        self.spans = self.spans or (self.dialect.macro_errors_print and emitter.macros)
        bound = self.document.bound
        self.forloop = "forloop" in emitter.loaded | bound or len(trees) > 1 or emitter.lazy_includes
        self.bound = sorted(bound | {"forloop"} if self.forloop else bound)
        self.called = sorted(emitter.called & bound)
        functions, units = [], []
        for number, (tree, document) in enumerate(trees):
            generator = Generator(emitter, self, number)
            functions.append(generator.template(tree))
            units.append(f"(root{number}, {tuple(generator.names)!r}, {tuple(document.exported)!r})")
        imports = tuple((alias, module, name) for (module, name), alias in self.imports.items())
        return "".join(functions) + (
            f"UNITS = ({', '.join(units)},)\nBOUND = {tuple(self.bound)!r}\nIMPORTS = {imports!r}\n"
            f"PLACES = {self.places()!r}\n"
            f"DIALECT = {(self.dialect.name, self.dialect.version, self.dialect.old)!r}\n"
        )

    def places(self) -> tuple[tuple[str, int, int, str, int, int], ...]:
        if not self.spans:
            return ()
        return tuple(
            (token.unit.name, *token.unit.position(token.start), token.value, token.start, token.end)
            for token in self.emitter.places
        )

    def code(self) -> CodeType:
        try:
            return compile(self.source(), "<template>", "exec", dont_inherit=True)
        except (RecursionError, MemoryError) as error:
            raise LimitError("the template nests too deeply to be compiled") from error


_ENVIRONMENT: list[Environment] = []


def environment() -> Environment:
    """Jinja2's generator wants one; nothing of it is used."""
    if not _ENVIRONMENT:
        _ENVIRONMENT.append(Environment())  # noqa: S701 - nothing is rendered by it
    return _ENVIRONMENT[0]
