"""The limits of generated code: checks of the code of every recording, and attempts to escape."""

import ast
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from templater import pongo2
from templater.model.errors import TemplateError
from templater.model.source import Source
from templater.pongo2 import error_positions, execution, runtime_calls_and_loops
from templater.pongo2.codegen.compiler import source_of
from templater.pongo2.compiled_template import Template
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import DIALECTS, V4, V6
from templater.pongo2.parse_with_includes import Compilation

VECTORS = Path(__file__).parents[3] / "vectors"

#: the names that a generated module may use besides its own
KNOWN = set(runtime_calls_and_loops.NAMESPACE) | set(error_positions.NAMESPACE)


def templates() -> list[tuple[str, str, dict[str, bool]]]:
    """Template, mode and options of every recording that compiles."""
    lines = chain.from_iterable(
        path.read_text("utf-8").split("\n") for path in sorted(VECTORS.rglob("*.jsonl"))
    )
    found = {}
    for line in filter(str.strip, lines):
        vector = json.loads(line)
        if "template" in vector:
            found[vector["template"], vector["mode"]] = vector.get("options") or {}
    return [(template, mode, options) for (template, mode), options in found.items()]


def generated(template: str, mode: str, dialect: Any, *, spans: bool) -> str | None:
    compilation = Compilation(Source("t", template), dialect, wrapped=mode == "incus")
    try:
        return source_of(compilation.module(spans=spans))
    except TemplateError:
        return None


ALLOWED = (
    ast.Module, ast.FunctionDef, ast.Lambda, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign,
    ast.Expr, ast.If, ast.For, ast.Nonlocal, ast.Pass, ast.Call, ast.Name, ast.Constant, ast.Tuple, ast.List,
    ast.Dict, ast.Subscript, ast.IfExp, ast.NamedExpr, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp,
    ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop,
)  # fmt: skip


def foreign(tree: ast.Module) -> Iterator[str]:
    """Yield everything in generated code that is not allowed."""
    nodes = list(ast.walk(tree))
    known = KNOWN.union(
        node.arg if isinstance(node, ast.arg) else node.name if isinstance(node, ast.FunctionDef) else node.id
        for node in nodes
        if isinstance(node, ast.arg | ast.FunctionDef)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    )
    for node in nodes:
        if not isinstance(node, ALLOWED):
            yield ast.dump(node)
        elif isinstance(node, ast.Name) and node.id not in known and not imported(node.id):
            yield f"the name {node.id}"
        elif isinstance(node, ast.Subscript) and not plain_subscript(node):
            yield ast.unparse(node)


def imported(name: str) -> bool:
    """Return whether the name is an alias of a filter or of a tag's function."""
    return name[0] == "g" and name[1:].isdecimal()


def plain_subscript(node: ast.Subscript) -> bool:
    """Return whether the scope, a loop's counter or a map's values are subscripted (no template value)."""
    assert isinstance(node.value, ast.Name)
    name = node.value.id
    return name[0] in "scj" and (not name[1:] or name[1:].isdecimal())


@pytest.mark.parametrize(
    "step", [60, pytest.param(3, marks=pytest.mark.slow)], ids=["every sixtieth", "every third"]
)
@pytest.mark.parametrize("spans", [False, True], ids=["plain", "with spans"])
@pytest.mark.parametrize("dialect", [V4, V6], ids=["v4", "v6"])
def test_generated_code_contains_only_allowed_syntax_nodes_and_no_attribute_access(
    dialect: Any, spans: bool, step: int
) -> None:
    count = 0
    for template, mode, _ in templates()[::step]:
        source = generated(template, mode, dialect, spans=spans)
        if source is not None:
            count += 1
            assert not list(foreign(ast.parse(source))), template
    assert count > 2000 // step


def test_the_generated_code_check_detects_forbidden_syntax_nodes() -> None:
    for bad in ("x.y", "import os", "__import__('os')", "v1['__class__']", "open('x')"):
        assert list(foreign(ast.parse(f"def root0(render, s, v1):\n    {bad}\n"))), bad


def test_repeated_statements_do_not_add_variables_to_generated_code() -> None:
    statements = (
        '{% cycle a "b" as c %}{{ c.d|upper }}{% if a == "b" %}{{ a|add:c }}{% endif %}{{ a[c]|default:c }}'
    )
    looped = "{% for x in a %}" + statements + "{% endfor %}"
    for statement in (statements, looped):
        variables = [
            {
                node.id
                for node in ast.walk(ast.parse(generated(statement * count, "plain", V6, spans=spans) or ""))
                if isinstance(node, ast.Name) and node.id[0] == "v"
            }
            for count in (1, 20)
            for spans in (False, True)
        ]
        assert variables[0], "the generated code has variables"
        assert variables[:2] == variables[2:]


def test_generated_code_has_no_builtins() -> None:
    namespace = dict(runtime_calls_and_loops.NAMESPACE)
    exec("def f(): return __builtins__", namespace)
    assert namespace["f"]() == {}


ESCAPES = [
    "x.__class__", "''.__class__.__mro__", "x.__class__.__mro__.1.__subclasses__", "config_get.__globals__",
    "config_get.__code__", "config_get.call.__globals__", "config.items", "config.update", "config.get",
    "config.__class__", "config.methods", "config.gotype", "devices.methods", "devices.Sorted.call",
    "devices.Sorted.0.fields", "devices.Sorted.0.__class__", "trigger.gotype", "trigger.__class__",
    "trigger.encode", "pongo2.methods", "forloop.cell", "forloop.parent", "block.super_", "f.__globals__",
    "f.call", "f().__class__", "self", "self.__init__", "cycler.__init__.__globals__", "render",
    "render.program", "lipsum.__globals__", "namespace.__init__", "__builtins__", "__import__", "globals",
    'x|attr("__class__")', '"{0.__class__}"|format:x', '"%(x)s"|stringformat:"{0.__class__}"',
    '"{0.__class__}"|stringformat:"%s"', 'x["__class__"]', 'config["__class__"]', 'devices["methods"]',
    "l.append", "l.__len__", 'l["__class__"]', "(1).real", "1.real", "true.real", "x.0.real", "c.node",
    "c.value", "c.items", "o", "s", "g0", "n_config", "steps", "get", "type",
]  # fmt: skip


def a_context() -> dict[str, Any]:
    daemon = daemon_context("create", "/x", {"name": "c1"}, {"a": "b"}, {"eth0": {"type": "nic"}}, {})
    return daemon | {"x": "text", "l": ["a", "b"]}


SETTING = (
    '{%% macro f() %%}m{%% endmacro %%}{%% cycle "a" as c silent %%}{%% for y in l %%}{%% block b %%}'
    "%s{%% endblock %%}{%% endfor %%}"
)


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("escape", ESCAPES)
def test_attack_38_39_a_template_cannot_read_an_attribute_of_a_python_object(
    escape: str, dialect: str
) -> None:
    """An escape attempt prints nothing, is an error, or prints data. It never shows a Python object."""
    try:
        text = pongo2.compile(SETTING % f"[{{{{ {escape} }}}}]", DIALECTS[dialect], mode="plain").render(
            a_context()
        )
    except TemplateError:
        return
    shown = text[text.index("[") : text.index("]", text.index("[")) + 1]
    harmless = ("[]", "[116]", "[True]", "[False]", "[&lt;config.DevicesSortable Value&gt;]", "[text]", "[a]")
    inert = (
        escape.partition("|")[0].strip("\"'") in shown or "%!" in shown
    )  # the text itself, or Go's complaint
    assert shown in harmless or inert, shown
    assert " at 0x" not in text and "<class" not in text and "<function" not in text


def test_the_code_of_a_compiled_template_runs_without_the_compiler() -> None:
    template = pongo2.compile("{{ x|upper }}", mode="plain")
    assert isinstance(template, Template)
    assert execution.run(template.code, {"x": "a"}) == "A"
