"""TOML: mistakes have a position, and dotted keys a bound that texts and numbers do not reach."""

import tomllib

import pytest

from templater.model.errors import InputError, LimitError
from templater.model.source import Source
from templater.parsing.toml_text import MAX_PARTS, read_toml

LONG = ".".join(["a"] * MAX_PARTS)
PARTS = "a." * MAX_PARTS + "a"


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG} = 1\n[b{LONG[1:]}]\nb = 1\n[[c{LONG[1:]}]]\n",
        f"a = '{PARTS}'\nb = \"{PARTS}\"\n",
        f'a = \'\'\'\n{PARTS}\n\'\'\'\nb = """\n{PARTS} = \\""" """"\n',
        f"# {PARTS}\na = [{'1.5, ' * 50}]\n",
        "".join(f"a{n}.b = 1.5\n" for n in range(50)),
        "a = [9223372036854775807, -9223372036854775808]",
    ],
    ids=["longest", "strings", "long strings", "numbers", "many keys", "64 bits"],
)
def test_toml_text_is_read_as_in_the_standard_library(text: str) -> None:
    assert read_toml(Source("a.toml", text)) == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        f"\n{PARTS} = 1",
        f"\n[{PARTS}]",
        f"\n[[ {PARTS} ]]",
        f"\na = {{{PARTS} = 1}}",
        "\n" + "'x' . " * MAX_PARTS + '"y" = 1',
        f'\na = {{b = """x"""", {PARTS} = 1}}',
        f"\na = {{b = '''x''''', {PARTS} = 1}}",
        f'\na = [{{b = "\\"", {PARTS} = 1}}]',
    ],
)
def test_a_toml_key_with_too_many_parts_is_refused(text: str) -> None:
    with pytest.raises(LimitError, match="more than 32 parts") as caught:
        read_toml(Source("a.toml", text))
    assert caught.value.span is not None
    assert caught.value.span.line == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\na = \n", "a.toml:2:1: invalid TOML: invalid value"),
        ("a = " + "[" * 100_000, "a.toml:1:1: invalid TOML: nested too deeply"),
        ("a = " + "1" * 5000, "a.toml:1:1: invalid TOML: a number or date out of range"),
        ("a = [{b = 0x" + "f" * 5000 + "}]", "a.toml:1:1: invalid TOML: a number or date out of range"),
        ("a = 9_223_372_036_854_775_808", "a.toml:1:1: invalid TOML: a number or date out of range"),
    ],
)
def test_a_toml_mistake_is_an_error_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_toml(Source("a.toml", text))
    assert str(caught.value) == message
