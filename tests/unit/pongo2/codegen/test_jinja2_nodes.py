"""The intermediate form: only ``jinja2_nodes`` knows where Jinja2's nodes store the facts about pongo2."""

import ast
from pathlib import Path

import pytest

from templater.pongo2.codegen import jinja2_nodes as nodes
from templater.pongo2.daemon_context import daemon_context

FOLDER = Path(nodes.__file__).parent
#: fields of Jinja2's nodes that have another meaning here than in Jinja2
ENCODED = {"lineno", "scoped", "ctx", "importname", "options", "ops"}


@pytest.mark.parametrize(
    "name", sorted(path.name for path in FOLDER.glob("*.py") if path.name != "jinja2_nodes.py")
)
def test_only_the_nodes_module_imports_jinja2_nodes(name: str) -> None:
    for node in ast.walk(ast.parse((FOLDER / name).read_bytes())):
        assert not (isinstance(node, ast.Attribute) and node.attr in ENCODED), ast.unparse(node)
        assert not (isinstance(node, ast.ImportFrom) and node.module == "jinja2.nodes"), ast.unparse(node)


@pytest.mark.parametrize("order", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("names", [["key"], ["key", "value"]])
def test_a_loop_node_returns_its_variable_names_and_its_order(
    names: list[str], order: tuple[bool, bool]
) -> None:
    backward, ordered = order
    loop = nodes.loop(names, nodes.Const(()), [], [], 7, backward=backward, ordered=ordered)
    assert (nodes.loop_names(loop), nodes.loop_order(loop), nodes.place_of(loop)) == (names, order, 7)


def test_template_calls_are_not_mistaken_for_tag_functions() -> None:
    assert nodes.tag_function(nodes.tag_call(daemon_context, [], 0)) == (
        "templater.pongo2.daemon_context", "daemon_context",
    )  # fmt: skip
    assert nodes.tag_function(nodes.call(nodes.variable("name", 0), [], 0)) is None


def test_a_member_name_of_digits_is_an_index() -> None:
    value = nodes.variable("name", 0)
    assert nodes.member_key(nodes.member(value, "0", 0)) == 0
    assert nodes.member_key(nodes.member(value, "x0", 0)) == "x0"


def test_a_value_from_the_code_generator_is_not_a_template_variable() -> None:
    assert nodes.is_variable(nodes.variable("scope", 0))
    assert not nodes.is_variable(nodes.supplied(nodes.SCOPE))


def test_a_stored_argument_node_is_distinguished_from_a_lazy_argument_node() -> None:
    argument = nodes.variable("name", 0)
    assert nodes.stored_expression(nodes.stored(argument)) is argument
    assert nodes.stored_expression(nodes.lazy([argument])) is None


def test_a_macro_node_says_which_parameters_have_a_default() -> None:
    macro = nodes.macro("m", [("a", None), ("b", nodes.Const(0))], [], 0)
    assert [nodes.has_default(default) for default in macro.defaults] == [False, True]
