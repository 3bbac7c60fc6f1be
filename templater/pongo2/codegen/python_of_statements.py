"""The part of the code generator that writes statements.

Each template becomes a function. Some bodies become functions, too: the bodies of macros, blocks and filters,
and bodies that nest too deeply.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from jinja2.compiler import Frame

from . import jinja2_nodes as nodes
from .jinja2_nodes import is_wrapped, weight
from .python_of_expressions import ExpressionWriter

#: the maximum depth of Python blocks; a deeper block becomes a function
MAX_NESTING = 12
#: the maximum number of branches of one Python ``if``; further branches become a function
MAX_BRANCHES = 60
#: the largest number of texts and values that one Python statement prints
MAX_PIECES = 200


class StatementWriter(ExpressionWriter):
    """The generator of Python code for templates and their statements.

    Generated functions use these variables:

    * ``s``: the scope
    * ``o``: the list of printed texts
    * ``steps``: the number of remaining steps
    * ``left``: the number of characters that the template may still print
    """

    def template(self, template: nodes.Template) -> str:
        """Return the Python source of the function for one template."""
        body = template.body
        self.counting = any(True for _ in template.find_all((nodes.For, nodes.Macro, nodes.Block)))
        has_modes = self.emitter.autoescapes > (1 if is_wrapped(body) else 0)
        self.dynamic = has_modes and any(True for _ in template.find_all((nodes.Macro, nodes.Block)))
        self.writeline(f"o = {self.printed_texts()}")
        self.statements(body)
        self.writeline("return finish(render, o)")
        main = self.written.getvalue()
        self.write_deferred()
        head = f"def root{self.unit}(render, s{''.join(f', n_{name}' for name in self.names)}):\n"
        head += "    steps, left = budget(render)\n" if self.counting else ""
        head += '    s[" escape"] = True\n' if self.dynamic else ""
        head += "".join(f'    s[" set {name}"] = False\n' for name in self.module.called)
        return f"{head}{''.join(self.functions)}{main}\n"

    def printed_texts(self) -> str:
        if not self.module.traced:
            return "[]"
        return f"{self.module.imported('templater.pongo2.tracing.recorder', 'printed_texts')}(render)"

    def statements(self, body: Sequence[nodes.Node]) -> None:
        """Write a body at the current indentation.

        If the body nests too deeply, write a call of a new function.
        """
        if self.nesting >= MAX_NESTING and any(not isinstance(node, nodes.Output) for node in body):
            name = self.fresh("b")
            self.later("s, o", name, lambda: self.statements(body))
            self.writeline(f"{name}({self.scope}, o)")
            return
        for node in body:
            self.visit(node, self.frame)
        if not body:
            self.writeline("pass")

    def nested(self, body: Sequence[nodes.Node], blocks: int = 1) -> None:
        """Write an indented body. ``blocks`` is the number of new Python blocks around the body."""
        self.indent()
        self.nesting += blocks
        self.statements(body)
        self.nesting -= blocks
        self.outdent()

    def visit_Output(self, node: nodes.Output, frame: Frame) -> None:
        for start in range(0, len(node.nodes), MAX_PIECES):
            self.pieces(node.nodes[start : start + MAX_PIECES])

    def pieces(self, children: Sequence[nodes.Expr]) -> None:
        """Write one statement that prints texts and values.

        If ``self.counted`` is true, write another statement that counts the printed characters.
        """
        self.writeline("o += (")
        constant = 0
        names: list[str] = []
        for child in children:
            self.temporaries = len(names)
            if isinstance(child, nodes.TemplateData):
                constant += len(child.data)
                self.write(repr(child.data))
            elif self.counted:
                names.append(self.temporary())
                self.write(f"({names[-1]} := ")
                self.printed(child)
                self.write(")")
            else:
                self.printed(child)
            self.write(", ")
        self.write(")")
        if self.counted:
            self.writeline("left -= " + " + ".join([str(constant), *(f"len({name})" for name in names)]))

    def visit_If(self, node: nodes.If, frame: Frame) -> None:
        branches = [node, *node.elif_]
        rest = branches[MAX_BRANCHES:]
        for keyword, branch in zip(["if "] + ["elif "] * MAX_BRANCHES, branches, strict=False):
            self.writeline(keyword)
            self.condition(nodes.condition_of(branch))
            self.write(":")
            self.nested(branch.body)
        otherwise: Sequence[nodes.Node] = node.else_
        if rest:
            name = self.fresh("b")
            others = nodes.If(rest[0].test, rest[0].body, rest[1:], otherwise)
            self.later("s, o", name, lambda: self.statements([others]))
            self.writeline("else:")
            self.indent()
            self.writeline(f"{name}({self.scope}, o)")
            self.outdent()
        elif otherwise:
            self.writeline("else:")
            self.nested(otherwise)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        """Write a loop. All rounds of the loop use the same copy of the outer scope.

        As in pongo2, ``forloop`` is set before the iterated value is evaluated.
        """
        number, place = self.fresh(""), nodes.place_of(node)
        outer, scope, items = self.scope, f"s{number}", f"i{number}"
        backward, ordered = nodes.loop_order(node)
        self.writeline(f"{scope} = {{**{outer}}}")
        self.scope = scope
        if self.module.forloop:
            self.names["forloop"] = None
            self.writeline(f"c{number} = [-1]")
            state = f'{outer}[" set forloop"]' if "forloop" in self.module.called else "0"
            parent = f'{outer}["forloop"], n_forloop, {state}'
            self.operation_line(f'{scope}["forloop"] = f{number} = ', "loop", place, f"c{number}, {parent}")
        self.writeline(f"w{number} = ")
        self.visit(node.iter, frame)
        self.operation_line(f"{items}, j{number} = ", "iterate", place, f"w{number}, {backward}, {ordered}")
        if self.module.forloop:
            self.writeline(f"start_loop(f{number}, {items}, {backward} and w{number})")
        self.writeline(f"if {items}:")
        self.indent()
        self.mark_targets(node, number)
        self.loop_head(node, number)
        self.indent()
        self.count(node.body)
        counted, self.counted = self.counted, True
        self.outdent()
        self.nested(node.body, 2)
        self.counted = counted
        self.outdent()
        if node.else_:
            self.writeline("else:")
            self.nested(node.else_)
        self.scope = outer

    def value(self, node: nodes.Expr) -> None:
        self.visit(node, self.frame)

    def operation_line(self, target: str, name: str, place: int, arguments: str) -> None:
        self.writeline(f"{target}at(render, {place}, {name}, " if self.spans else f"{target}{name}(")
        self.write(f"{arguments})")

    def loop_head(self, node: nodes.For, number: str) -> None:
        key, *values = nodes.loop_names(node)
        target = f'{self.scope}["{key}"]'
        backward = self.module.forloop and nodes.loop_order(node)[0]
        if self.module.forloop and not values:
            rounds = f"rounds(f{number}, i{number})" if backward else f"enumerate(i{number})"
            self.writeline(f"for c{number}[0], {target} in {rounds}:")
        elif not values:
            self.writeline(f"for {target} in i{number}:")
        else:
            index = f"c{number}[0]" if self.module.forloop else f"k{number}"
            rounds = f"rounds(f{number}, i{number})" if backward else f"enumerate(i{number})"
            self.writeline(f"for {index}, {target} in {rounds}:")
            self.indent()
            self.writeline(f'if j{number} is not None: {self.scope}["{values[0]}"] = j{number}[{index}]')
            self.outdent()

    def visit_Assign(self, node: nodes.Assign, frame: Frame) -> None:
        assert isinstance(node.target, nodes.Name)
        self.writeline(f'{self.scope}["{node.target.name}"] = ')
        self.stored(node.node)
        self.mark_set([node.target.name])

    def mark_set(self, names: Sequence[str]) -> None:
        """Write code that marks names as set. Only names that a template calls need this mark."""
        for name in names:
            if name in self.module.called:
                self.writeline(f'{self.scope}[" set {name}"] = True')

    def mark_targets(self, node: nodes.For, number: str) -> None:
        """Write code that marks the variables of a loop as set.

        The second variable of a loop is set only if the loop iterates over a map.
        """
        key, *value = nodes.loop_names(node)
        self.mark_set([key])
        if value and value[0] in self.module.called:
            self.writeline(f'if j{number} is not None: {self.scope}[" set {value[0]}"] = True')

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:
        self.newline()
        self.visit(node.node, frame)

    def visit_With(self, node: nodes.With, frame: Frame) -> None:
        outer, scope = self.scope, self.fresh("s")
        self.writeline(f"{scope} = {{**{outer}")
        names = [target.name for target in node.targets if isinstance(target, nodes.Name)]
        for name, value in zip(names, node.values, strict=True):
            self.write(f', "{name}": ')
            self.stored(value)
        self.write("}")
        self.scope = scope
        self.mark_set(names)
        for statement in node.body:
            self.visit(statement, frame)
        self.scope = outer

    def visit_ScopedEvalContextModifier(self, node: nodes.ScopedEvalContextModifier, frame: Frame) -> None:
        on = nodes.is_on(node)
        outer, before = self.mode, self.fresh("e")
        if self.dynamic:
            self.writeline(f'{before} = {self.scope}[" escape"]')
            self.writeline(f'{self.scope}[" escape"] = {on}')
        self.mode = on
        self.statements(node.body)
        self.mode = outer
        if self.dynamic:
            self.writeline(f'{self.scope}[" escape"] = {before}')

    def visit_Macro(self, node: nodes.Macro, frame: Frame) -> None:
        name = self.fresh("m")
        with self.unknown_mode():
            self.later("s, a", name, lambda: self.macro_function(node))
        self.writeline(f'{self.scope}["{node.name}"] = macro(render, {name}, {self.scope})')

    def macro_function(self, node: nodes.Macro) -> None:
        place, names = nodes.place_of(node), [parameter.name for parameter in node.args]
        call = f"at(render, {place}, enter, " if self.spans else "enter("
        self.writeline(f"s = {call}render, s, {self.emitter.texts[place]!r}, {tuple(names)!r}, (")
        for default in node.defaults:
            self.visit(default, self.frame)
            self.write(", ")
        self.write("), a)")
        for index, (parameter, default) in enumerate(zip(names, node.defaults, strict=True)):
            if parameter in self.module.called:
                defaulted, plain = nodes.has_default(default), 2 if parameter == "forloop" else False
                self.writeline(f's[" set {parameter}"] = {defaulted} and len(a) <= {index} or {plain}')
        self.count(node.body)
        self.writeline("o = []")
        self.statements(node.body)
        self.writeline("return captured(render, o)")

    def count(self, body: Sequence[nodes.Node]) -> None:
        """Write code that subtracts the steps of one run of a body from the remaining steps."""
        self.writeline(f"steps -= {weight(body)}")
        self.writeline("if steps < 0 or left < 0: steps = spent(render, steps, left)")

    @contextmanager
    def unknown_mode(self) -> Iterator[None]:
        """Return a context manager for writing a macro or block.

        If ``self.dynamic`` is true, the written code reads the autoescape state from the scope.
        """
        outer, self.mode = self.mode, None if self.dynamic else self.mode
        yield
        self.mode = outer

    def capture(self, body: Sequence[nodes.Node]) -> str:
        """Schedule a generated function that returns the text of a body. Return the function's name."""
        name = self.fresh("t")
        self.later("s", name, lambda: self.capturing_function(body))
        return name

    def capturing_function(self, body: Sequence[nodes.Node]) -> None:
        self.writeline("o = []")
        self.statements(body)
        self.writeline("return captured(render, o)")

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> None:
        outer, self.captured = self.captured, self.capture(node.body)
        self.put(lambda: self.value(nodes.filter_chain(node)))
        self.captured = outer

    def visit_CallBlock(self, node: nodes.CallBlock, frame: Frame) -> None:
        captured = f"{self.capture(node.body)}({self.scope})"
        otherwise = nodes.otherwise_of(node)
        if not otherwise:
            self.put(lambda: self.invoke(node.call, captured))
            return
        name = self.temporary()
        self.writeline(f"{name} = ")
        self.invoke(node.call, captured)
        self.writeline(f"if {name} is None:")
        self.nested(otherwise)
        self.writeline("else:")
        self.indent()
        self.put(lambda: self.write(name))
        self.outdent()

    def put(self, write: Callable[[], None]) -> None:
        """Write code that prints a value without autoescape. ``write`` writes the value's expression."""
        name = self.temporary()
        self.writeline(f"{name} = to_string(")
        write()
        self.write(")")
        self.writeline(f"o += ({name},)")
        if self.counted:
            self.writeline(f"left -= len({name})")

    def visit_Block(self, node: nodes.Block, frame: Frame) -> None:
        """Write code that prints a block: its last body, which replaces the bodies before it.

        In this body, ``block.Super`` prints the replaced bodies.
        """
        names = self.bodies.get(node.name)
        if names is None:
            bodies = nodes.bodies_of(node)
            names = self.bodies[node.name] = [self.fresh("b") for _ in bodies]
            for name, body in zip(names, bodies, strict=True):
                with self.unknown_mode():
                    self.later("s, o", name, partial(self.block_function, body))
        above = ", ".join(names[:-1]) + ("," if len(names) > 1 else "")
        self.writeline(f'{self.scope}["block"] = block(render, {self.scope}, ({above}))')
        self.writeline(f"{names[-1]}({self.scope}, o)")

    def block_function(self, body: Sequence[nodes.Node]) -> None:
        """Write the function for one body of a block.

        The function counts work, because the body may run repeatedly.
        """
        self.count(body)
        self.statements(body)
