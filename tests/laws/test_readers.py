"""Tests that the time and memory of every parser of YAML, JSON and TOML grow in proportion to the text.

The tests find the parsers themselves: every public function of ``templater.parsing`` that takes a ``Source``
or the ``read`` method of a file.
"""

import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

import templater.parsing
from templater.model.source import Source
from tests.laws.growth import check


def readers() -> dict[str, Callable[[bytes], Any]]:
    found: dict[str, Callable[[bytes], Any]] = {}
    for info in pkgutil.iter_modules(templater.parsing.__path__):
        module = importlib.import_module(f"templater.parsing.{info.name}")
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if not own or name.startswith("_"):
                continue
            parameters = list(inspect.signature(function).parameters.values())
            hint = str(get_type_hints(function, vars(module)).get(parameters[0].name)) if parameters else ""
            required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
            if "model.source.Source" in hint and len(required) == 1:
                found[f"{info.name}.{name}"] = lambda data, f=function: f(Source("x.yaml", data))
            elif "Callable[[int], bytes]" in hint and len(required) == 2:
                found[f"{info.name}.{name}"] = lambda data, f=function: list(f(io.BytesIO(data).read, "x"))
    return found


READERS = readers()


def rules(n: int) -> bytes:
    one = "  /etc/%d:\n    when: [create, start]\n    template: a.tpl\n    properties: {a: b}\n"
    return (
        "architecture: x86_64\ncreation_date: 1\ntemplates:\n" + "".join(one % i for i in range(n))
    ).encode()


#: texts that grow with ``n``
SHAPES: dict[str, Callable[[int], bytes]] = {
    "rules": lambda n: rules(n // 4),
    "triggers": lambda n: b"templates: {/a: {template: a, when: [" + b"start, " * n + b"]}}",
    "keys": lambda n: b"name: c1\nconfig:\n" + b"".join(b"  user.k%d: v\n" % i for i in range(n)),
    "same key": lambda n: b"name: c1\nconfig:\n" + b"  user.k: v\n" * n,
    "unknown keys": lambda n: b"name: c1\n" + b"".join(b"nmae%d: v\n" % i for i in range(n // 20)),
    "devices": lambda n: b"name: c1\ndevices:\n" + b"".join(b"  d%d: {type: nic, mtu: 1}\n" % i for i in range(n // 3)),
    "profiles": lambda n: b"name: c1\nprofiles:\n" + b"".join(b"- {name: p%d, config: {a: b}}\n" % i for i in range(n // 4)),
    "long text": lambda n: b"name: c1\nconfig: {user.a: '" + b"text " * n * 8 + b"'}\n",
    "block text": lambda n: b"name: c1\nconfig:\n  user.a: |\n" + b"    line\n" * n * 4,
    "folded text": lambda n: b"name: c1\nconfig:\n  user.a: >\n" + b"    line\n\n" * n * 2,
    "comments": lambda n: b"name: c1\n" + b"# comment\n" * n * 4,
    "blank lines": lambda n: b"name: c1\n" + b"\n" * n * 16,
    "aliases": lambda n: b"config: &a {user.a: b}\nlist: [" + b"*a, " * n + b"]\n",
    "merges": lambda n: b"name: c1\nconfig:\n" + b"".join(b"  k%d: &k%d {a%d: b}\n" % (i, i, i) for i in range(n // 8))
    + b"  m: {<<: [" + b", ".join(b"*k%d" % i for i in range(n // 8)) + b"]}\n",
    "brackets": lambda n: b"[" * n,
    "braces": lambda n: b'{"a":' * n,
    "quotes": lambda n: b'name: "' + b"\\\\" * n * 8,
    "escapes": lambda n: b'{"name": "c1", "config": {"user.a": "' + b"\\ud83d\\ude00" * n * 2 + b'"}}',
    "half characters": lambda n: b'[{"name": "c1", "config": {"user.a": "' + b"\\ud83d" * n * 2 + b'"}}]',
    "a JSON list": lambda n: b"[" + b", ".join(b'{"name": "c%d", "config": {"user.a": "b"}}' % i for i in range(n // 4)) + b"]",
    "one JSON instance": lambda n: b'[{"name": "c1", "config": {"user.a": "' + b"x" * n * 64 + b'"}}]',
    "a cut JSON list": lambda n: b"[" + b'{"name": "c", "config": {"a": "b"}}, ' * (n // 4),
    "a YAML list": lambda n: b"".join(b"- {name: c%d}\n" % i for i in range(n // 2)),
    "blanks": lambda n: b" " * n * 16 + b"[{}]",
    "tabs": lambda n: b"name:" + b"\t" * n * 4,
    "documents": lambda n: b"---\n" * n,
    "dashes": lambda n: b"- " * n,
    "colons": lambda n: b"a: " * n,
    "dotted keys": lambda n: b"".join(b"a." * 30 + b"k%d = 1\n" % i for i in range(n // 16)),
    "a dotted key": lambda n: b"a." * n * 2 + b"a = 1\n",
    "a long header": lambda n: b"[" + b"a." * n + b"a]\n" + b"".join(b"k%d = 1\n" % i for i in range(n)),
    "TOML tables": lambda n: b"".join(b"[[a]]\nb.c = 1\n[d%d]\n" % i for i in range(n // 4)),
    "TOML quotes": lambda n: b'a = \'\'\'"""\'\'\'\n' * (n // 4) + b'"""\\' * n,
    "invalid UTF-8": lambda n: b"name: c1\nconfig: {user.a: '" + b"\xff" * n * 8 + b"'}\n",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", READERS)
def test_every_text_reader_takes_linear_time_and_memory(reader, shape):
    read, text = READERS[reader], SHAPES[shape]

    def subject(n: int) -> Callable[[], Any]:
        data = text(n)
        return lambda: read(data)

    check(subject, start=500, largest=64_000)
