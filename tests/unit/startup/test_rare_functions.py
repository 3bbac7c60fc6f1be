"""The functions that a warm hook loads only when they are called."""

import _ast
import os
import re
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from templater.hooks import install
from templater.startup import bundle, rare_functions
from templater.startup.rare_functions import RARE
from tests.bench.hook import container, environment, spoil

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")

#: size of marshalled code. Loading a smaller function takes about as long as making its substitute.
LEAST = 200
#: the child closes its standard error, so its calls are not recorded
NOT_RECORDED = ("templater.sandbox.",)

#: Prints the loaded modules, and the first line of each function that is called.
RECORD = """
import posix, sys
seen = set()
def record(frame, event, _):
    code = frame.f_code
    if event == "call" and code not in seen and code.co_filename.startswith("/"):
        seen.add(code)
        try:
            what = code.co_name if code.co_name == "<module>" else code.co_firstlineno
            posix.write(2, f"call {code.co_filename}:{what}\\n".encode())
        except OSError:  # in the child, which has closed its standard error
            sys.setprofile(None)
sys.setprofile(record)
"""

HEAD = '''\
"""The functions that a usual start of a container does not call.

In the file of a hook's modules, the code of these functions is marshalled separately, and the first call
loads it. A function that is missing in the list, or listed although a start calls it, only costs time.

``pytest tests/unit/startup/test_rare_functions.py --update`` writes this file.
"""

RARE: "dict[str, tuple[str, ...]]" = {
'''


def recorded() -> set[tuple[str, str]]:
    """Return the file and first line of each function that warm hooks call, with changed and equal files."""
    calls: set[tuple[str, str]] = set()
    with container() as folder:
        for options in ([], ["--no-child"]):
            words = install.argv("lxc", options)
            environ = environment(folder)
            for _ in range(2):
                spoil(folder)
                subprocess.run(words, env=environ, check=True)
            words[words.index("-c") + 1] = RECORD + words[words.index("-c") + 1]
            for change in (spoil, lambda _: None):
                change(folder)
                said = subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stderr
                calls.update(re.findall("^call (.*):(.*)$", said, re.MULTILINE))
    return calls


def functions_of(name: str) -> dict[str, tuple[int, str]]:
    """Return the functions of a module that can be loaded by their first call, with size and first line."""
    path, _ = bundle.source_of(name)
    tree = compile(Path(path).read_text(), path, "exec", _ast.PyCF_ONLY_AST)
    bundle._strip(tree)
    code = compile(tree, path, "exec", optimize=2)
    found = bundle.separable(tree.body, code)
    return {qualname: (len(data), str(body[index].lineno)) for body, index, qualname, data in found}


@pytest.fixture(scope="module")
def calls() -> set[tuple[str, str]]:
    return recorded()


def rare_now(calls: set[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Return the functions that belong into the list, with their sizes."""
    rare = {}
    for name in (name for group in bundle.GROUPS for name in group):
        path, _ = bundle.source_of(name)
        if (path, "<module>") in calls and not name.startswith(NOT_RECORDED):
            sizes = {
                function: size
                for function, (size, line) in functions_of(name).items()
                if size >= LEAST and (path, line) not in calls
            }
            if sizes:
                rare[name] = sizes
    return rare


def test_the_list_of_rare_functions_has_the_large_functions_that_a_usual_start_does_not_call(calls, update):
    rare = rare_now(calls)
    if update:
        Path(rare_functions.__file__).write_text(text_of(rare))
        return
    missing = {
        f"{name}:{function}": size
        for name, sizes in rare.items()
        for function, size in sizes.items()
        if function not in RARE.get(name, ())
    }
    assert sum(missing.values()) < 20_000, f"run this file with --update: {sorted(missing)}"


def text_of(rare: dict[str, dict[str, int]]) -> str:
    lines = [HEAD]
    for name, functions in sorted(rare.items()):
        quoted = "".join(f'"{function}", ' for function in sorted(functions)).rstrip()
        lines.append(f'    "{name}": (\n{textwrap.indent(textwrap.fill(quoted, 101), " " * 8)}\n    ),\n')
    return "".join(lines) + "}  # fmt: skip\n"


def test_a_usual_start_calls_no_rare_function(calls):
    called = []
    for name, functions in RARE.items():
        path, lines = bundle.source_of(name)[0], functions_of(name)
        called += [f"{name}:{each}" for each in functions if (path, lines[each][1]) in calls]
    assert called == []


def test_a_first_call_finds_every_rare_function_by_its_name():
    for name, functions in RARE.items():
        assert {*functions} <= {*functions_of(name)}
        for function in functions:
            found: Any = import_module(name)
            for part in function.split("."):
                found = vars(found)[part]
            assert isinstance(found, FunctionType)
            assert (found.__module__, found.__qualname__) == (name, function)


SOURCE = """\
def add(a, b=2, /, *more, c=3, **named):
    return a, b, more, c, named

def numbers(count):
    yield from range(count)

def deep(depth):
    return depth and 1 + deep(depth - 1)

def fail():
    raise ValueError("x")

class Base:
    def name(self):
        return "base"

class Child(Base):
    def name(self):
        return super().name()

    def own(self, word="w"):
        return self.name(), word

    @property
    def size(self):
        return 1

alias = deep
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Run ``SOURCE`` as a hook would run it, with every function in the list."""
    from templater.startup.line import templater_hook

    file = tmp_path / "example.py"
    file.write_text(SOURCE)
    names = ("add", "numbers", "deep", "fail", "Base.name", "Child.name", "Child.own", "Child.size")
    functions = bytearray()
    _, code = bundle.compiled(str(file), names, functions)
    monkeypatch.setitem(sys.modules, "example", None)
    modules = templater_hook.Modules(-1)
    modules.functions = bytes(functions)
    modules.run("example", str(file), False, code)
    return sys.modules["example"]


def test_the_first_call_loads_a_rare_function_into_the_same_object(module):
    before = module.add
    assert (before.__name__, before.__qualname__, before.__module__) == ("add", "add", "example")
    assert before.__code__.co_filename.endswith("templater_hook.py")
    assert before(1) == (1, 2, (), 3, {})
    assert before(1, 5, 6, c=7, d=8) == (1, 5, (6,), 7, {"d": 8})
    assert module.add is before
    assert before.__code__.co_filename == module.__file__


def test_generators_are_loaded_at_once(module):
    assert module.numbers.__code__.co_filename == module.__file__
    assert list(module.numbers(3)) == [0, 1, 2]


def test_rare_recursive_functions_and_methods_work_as_usual(module):
    limit = sys.getrecursionlimit() - 200
    assert module.alias(limit) == limit
    assert module.Child.own.__qualname__ == "Child.own"
    assert module.Child().own() == ("base", "w")
    assert module.Child().size == 1


def test_a_wrong_argument_gives_the_error_of_the_function_itself(module):
    with pytest.raises(TypeError, match=r"^add\(\) missing 1 required positional argument: 'a'$"):
        module.add()


def test_the_traceback_of_a_rare_function_has_the_lines_of_its_source(module):
    with pytest.raises(ValueError, match="x") as caught:
        module.fail()
    last = caught.traceback[-1]
    assert (os.fspath(last.path), last.lineno + 1) == (
        module.__file__,
        SOURCE.split("\n").index("def fail():") + 2,
    )
