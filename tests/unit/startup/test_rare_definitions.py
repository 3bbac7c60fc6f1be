"""The classes and functions that a warm hook loads only when they are used."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from dis import get_instructions
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from templater.hooks import install
from templater.startup import bundle, rare_definitions
from templater.startup.rare_definitions import LATE, RARE
from tests.bench.hook import container, environment, spoil

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")

#: size of marshalled code. Loading a smaller method takes about as long as making its substitute.
LEAST = 200
#: the child closes its standard error, so its calls are not recorded
NOT_RECORDED = ("templater.sandbox.",)
#: A signal handler raises the errors, and a rollback without memory calls the functions: loading could fail.
NEEDED_AT_ONCE = {
    "templater.hooks.run": ("StoppedError", "TimeUpError"),
    "templater.writing.transaction": ("Transaction._roll_back", "_free_memory"),
}

#: Prints the loaded modules, the first line of each function that is called, and each loaded late definition.
RECORD = """
import posix, sys
seen = set()
def record(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith("/") and (code.co_name == "load_definition" or code not in seen):
        seen.add(code)
        try:
            what = code.co_name if code.co_name == "<module>" else code.co_firstlineno
            posix.write(2, f"call {code.co_filename}:{what}\\n".encode())
            if code.co_name == "load_definition":
                posix.write(2, f"late {frame.f_locals['module'].__name__}:{frame.f_locals['name']}\\n".encode())
        except OSError:  # in the child, which has closed its standard error
            sys.setprofile(None)
sys.setprofile(record)
"""

HEAD = '''\
"""The classes and functions that a usual start of a container does not use.

A hook loads a definition in ``LATE`` when code first uses its name. A hook loads a function or method in
``RARE`` at its first call. A wrong list only costs time.

``pytest tests/unit/startup/test_rare_definitions.py --update`` writes this file.
"""

'''

Names = dict[str, dict[str, int]]


def recorded(package: Path) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Return what warm hooks use, with changed and equal files, if they load templater from ``package``.

    The first set has the file and first line of each called function, the second one the module and name of
    each loaded late definition.
    """
    calls: set[tuple[str, str]] = set()
    late: set[tuple[str, str]] = set()
    place = f"[:0]=[{str(package / 'startup/line')!r}, {str(package.parent)!r}, "
    with container() as folder:
        for options in ([], ["--no-child"]):
            words = install.argv("lxc", options)
            at = words.index("-c") + 1
            words[at] = words[at].replace("[:0]=[", place)
            environ = environment(folder)
            for _ in range(2):
                spoil(folder)
                subprocess.run(words, env=environ, check=True)
            words[at] = RECORD + words[at]
            for change in (spoil, lambda _: None):
                change(folder)
                said = subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stderr
                calls.update(re.findall("^call (.*):(.*)$", said, re.MULTILINE))
                late.update(re.findall("^late (.*):(.*)$", said, re.MULTILINE))
    return calls, late


@pytest.fixture(scope="module")
def used() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    install.compile_hook()
    return recorded(Path(bundle.PACKAGE))


def loaded_modules(calls: set[tuple[str, str]]) -> list[str]:
    names = [name for group in bundle.GROUPS for name in group if not name.startswith(NOT_RECORDED)]
    return [name for name in names if (bundle.source_of(name)[0], "<module>") in calls]


def parsed(name: str) -> tuple[str, ast.Module]:
    path, _ = bundle.source_of(name)
    tree = ast.parse(Path(path).read_text(), path)
    bundle._strip(tree)
    return path, tree


def functions_of(name: str) -> dict[str, tuple[int, str]]:
    """Return the functions of a module that can be loaded by their first call, with size and first line."""
    path, tree = parsed(name)
    found = bundle.separable(tree.body, compile(tree, path, "exec", optimize=2))
    return {qualname: (len(data), str(body[index].lineno)) for body, index, qualname, data in found}


def definitions_of(name: str) -> dict[str, tuple[int, str]]:
    """Return the classes and functions of a module that can be late, with size and first line."""
    path, tree = parsed(name)
    bound = [*bundle._variables(tree)]
    return {
        node.name: (
            len(bundle._marshalled(node, path)),
            "class" if isinstance(node, ast.ClassDef) else str(node.lineno),
        )
        for node in tree.body
        if bundle._is_definition(node)
        and not node.decorator_list
        and not node.name.startswith("__")
        and bound.count(node.name) == 1
    }


def late_now(calls: set[tuple[str, str]]) -> Names:
    """Return the definitions that can be late, with their sizes: a usual start does not use their names.

    The hook of a copy of the package tells which names a start uses: there, all definitions are late.
    """
    possible = {
        name: {
            each: size
            for each, (size, line) in definitions_of(name).items()
            if (bundle.source_of(name)[0], line) not in calls and each not in NEEDED_AT_ONCE.get(name, ())
        }
        for name in loaded_modules(calls)
    }
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("hook.*", "*.pyc.*")
        package = Path(shutil.copytree(bundle.PACKAGE, f"{folder}/templater", ignore=ignored))
        (package / "startup/rare_definitions.py").write_text(text_of(possible, {}))
        words = install.argv("lxc", ["--probe"])
        place = f"[:0]=[{str(package / 'startup/line')!r}, {folder!r}, "
        words = [word.replace("[:0]=[", place) for word in words]
        subprocess.run(words, check=True, capture_output=True)
        _, loaded = recorded(package)
    assert ("templater.rootfs.confined_root", "Root") in loaded
    return {
        name: {each: size for each, size in sizes.items() if (name, each) not in loaded}
        for name, sizes in possible.items()
    }


def rare_now(calls: set[tuple[str, str]], late: Names) -> Names:
    """Return the functions that belong into ``RARE``, with their sizes."""
    return {
        name: {
            function: size
            for function, (size, line) in functions_of(name).items()
            if size >= LEAST
            and (bundle.source_of(name)[0], line) not in calls
            and function.partition(".")[0] not in late[name]
            and function not in NEEDED_AT_ONCE.get(name, ())
        }
        for name in loaded_modules(calls)
    }


@pytest.mark.slow
def test_large_definitions_unused_at_a_usual_start_are_listed(used, update):
    calls, _ = used
    late = late_now(calls)
    rare = rare_now(calls, late)
    if update:
        Path(rare_definitions.__file__).write_text(text_of(late, rare))
        return
    missing = {
        f"{name}:{each}": size
        for now, listed in ((late, LATE), (rare, RARE))
        for name, sizes in now.items()
        for each, size in sizes.items()
        if each not in listed.get(name, ())
    }
    assert sum(missing.values()) < 20_000, f"run this file with --update: {sorted(missing)}"


def text_of(late: Names, rare: Names) -> str:
    lines = [HEAD]
    for variable, found in (("LATE", late), ("RARE", rare)):
        lines.append(f'{variable}: "dict[str, tuple[str, ...]]" = {{\n')
        for name, definitions in sorted(found.items()):
            quoted = "".join(f'"{each}", ' for each in sorted(definitions)).rstrip()
            if quoted:
                lines.append(
                    f'    "{name}": (\n{textwrap.indent(textwrap.fill(quoted, 101), " " * 8)}\n    ),\n'
                )
        lines.append("}  # fmt: skip\n\n")
    return "".join(lines).rstrip("\n") + "\n"


@pytest.mark.slow
def test_usual_start_needs_no_late_definition_or_rare_function(used):
    calls, loaded = used
    called = []
    for name, functions in RARE.items():
        path, lines = bundle.source_of(name)[0], functions_of(name)
        called += [f"{name}:{each}" for each in functions if (path, lines[each][1]) in calls]
    assert called == []
    # Python looks for this attribute of a module that a function imports from
    assert {each for each in loaded if each[1] != "__path__"} == set()


def test_each_definition_in_the_late_and_rare_lists_can_be_loaded():
    for name, listed in LATE.items():
        assert {*listed} <= {*definitions_of(name)}
        for each in listed:
            found: Any = getattr(import_module(name), each)
            assert (found.__module__, found.__qualname__) == (name, each)
    for name, functions in RARE.items():
        assert {*functions} <= {*functions_of(name)}
        for function in functions:
            found = import_module(name)
            for part in function.split("."):
                found = vars(found)[part]
            assert isinstance(found, FunctionType)
            assert (found.__module__, found.__qualname__) == (name, function)


@pytest.mark.slow
def test_bundled_function_uses_same_late_definitions_as_its_source():
    """Names are replaced in the syntax tree, which could also change a local variable with the same name."""
    total = 0
    for name in (name for group in bundle.GROUPS for name in group):
        path, tree = parsed(name)
        names = {late: ("__here__", late) for late in LATE.get(name, ())}
        if not path.endswith("/__init__.py"):
            for node in tree.body:
                list(bundle._without_late_imports(node, name, names))
        wanted = global_uses(compile(parsed(name)[1], path, "exec", optimize=2), {*names})
        assert name_changes(name, path, {*names}) == set()
        rest, own = bundle._parsed(path, name)
        code = compile(ast.Module([*rest.body, *own], []), path, "exec", optimize=2)
        assert attribute_uses(code, {place: late for late, place in names.items()}) == wanted, name
        assert not global_uses(code, {*names}), name
        total += wanted.total()
    assert total > 500


def global_uses(code: CodeType, names: set[str]) -> "Counter[tuple[str, str]]":
    """Count how often each function loads each global variable in ``names``."""
    return Counter(
        (each.co_name, step.argval)
        for each in codes_of(code)
        for step in get_instructions(each)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in names
    )


def attribute_uses(code: CodeType, places: dict[tuple[str, str], str]) -> "Counter[tuple[str, str]]":
    """Count how often each function loads an attribute of a module, by the variable and the attribute."""
    found: Counter[tuple[str, str]] = Counter()
    for each in codes_of(code):
        module = ""
        for step in get_instructions(each):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                module = step.argval
            elif (module, step.argval) in places:  # as an attribute, or as an argument of ``__dict__.get``
                found[each.co_name, places[module, step.argval]] += 1
                module = ""
    return found


def name_changes(name: str, path: str, late: set[str]) -> set[str]:
    """Return the late names that functions change by ``global``, or that the module binds a second time."""
    tree = parsed(name)[1]
    changed = {
        each.argval
        for code in codes_of(compile(tree, path, "exec", optimize=2))
        for each in get_instructions(code)
        if each.opname in ("STORE_GLOBAL", "DELETE_GLOBAL", "DELETE_NAME")
    }
    bound = Counter(bundle._variables(tree))
    return late & changed | {each for each in late if bound[each] > 1}


def codes_of(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes_of(each)


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
    monkeypatch.setitem(RARE, "example", names)
    functions = bytearray()
    _, code, late = bundle.compiled(str(file), "example", functions)
    monkeypatch.setitem(sys.modules, "example", None)
    modules = templater_hook.Modules(-1)
    modules.functions = bytes(functions)
    modules.run("example", str(file), False, code, late)
    return sys.modules["example"]


def test_first_call_of_a_rare_function_loads_its_code(module):
    before = module.add
    assert (before.__name__, before.__qualname__, before.__module__) == ("add", "add", "example")
    assert before.__code__.co_filename.endswith("templater_hook.py")
    assert before(1) == (1, 2, (), 3, {})
    assert before(1, 5, 6, c=7, d=8) == (1, 5, (6,), 7, {"d": 8})
    assert module.add is before
    assert before.__code__.co_filename == module.__file__


def test_generator_functions_are_loaded_before_their_first_call(module):
    assert module.numbers.__code__.co_filename == module.__file__
    assert list(module.numbers(3)) == [0, 1, 2]


def test_rare_recursive_functions_and_methods_work_as_usual(module):
    limit = sys.getrecursionlimit() - 200
    assert module.alias(limit) == limit
    assert module.Child.own.__qualname__ == "Child.own"
    assert module.Child().own() == ("base", "w")
    assert module.Child().size == 1


def test_rare_function_without_argument_raises_the_usual_type_error(module):
    with pytest.raises(TypeError, match=r"^add\(\) missing 1 required positional argument: 'a'$"):
        module.add()


def test_traceback_of_rare_function_has_lines_of_its_source(module):
    with pytest.raises(ValueError, match="x") as caught:
        module.fail()
    last = caught.traceback[-1]
    assert (os.fspath(last.path), last.lineno + 1) == (
        module.__file__,
        SOURCE.split("\n").index("def fail():") + 2,
    )


DEFINING = """\
class Base(Exception):
    def told(self):
        return describe(self)

class Late(Base):
    pass

def describe(error, describes=len):
    def inner():
        return isinstance(error, Late), describes(error.args)
    return inner()

def count(to):
    Late = 1
    while to:
        yield Late
        to -= Late

def decorated(function):
    return function

@decorated
def kept():
    return Late
"""
USING = """\
import os
from ..a.defining import Base, Late as L, describe, kept
from ..a.defining import count

class Own(L):
    pass

def raised(late=True):
    try:
        raise Own(1, 2) if late else Base
    except (KeyError, L) as error:
        return error.told()
    except Base:
        return [*count(2)]

def shadowed(L, *describe, **count):
    Own = L
    return Own, describe, count, [kept for kept in ()], os.path

def other():
    try:
        raise LookupError(3)
    except Own:
        return 1
    except (Base, L) as error:
        return error
    except LookupError as error:
        return error.args

def nested():
    from ..a.defining import Late, describe
    return Late, (lambda: describe(L()))()
"""


@pytest.fixture
def late_modules(tmp_path, monkeypatch):
    """Run two modules as a hook would run them. Return a function that gives the loaded late definitions."""
    from templater.startup.line import templater_hook

    monkeypatch.setitem(LATE, "root.a.defining", ("Late", "Base", "describe", "count", "kept", "missing"))
    monkeypatch.setitem(LATE, "root.b.using", ("Own",))
    functions = bytearray()
    modules = templater_hook.Modules(-1)
    made = []
    for name, source in (("root.a.defining", DEFINING), ("root.b.using", USING)):
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        made.append((name, str(file), False, *bundle.compiled(str(file), name, functions)[1:]))
    modules.functions = bytes(functions)
    for package in ("root", "root.a", "root.b"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    for each in made:
        monkeypatch.setitem(sys.modules, each[0], None)
        modules.run(*each)
    sys.modules["root"].a, sys.modules["root"].b = sys.modules["root.a"], sys.modules["root.b"]
    defining, using = sys.modules["root.a.defining"], sys.modules["root.b.using"]
    names = {"Late", "Base", "describe", "count", "Own"}
    return defining, using, lambda: {*names} & ({*vars(defining)} | {*vars(using)})


def test_a_late_definition_is_loaded_when_code_first_uses_its_name(late_modules):
    defining, using, loaded = late_modules
    assert loaded() == set()
    assert using.shadowed(1, 2, x=3) == (1, (2,), {"x": 3}, [], os.path)
    assert loaded() == set()
    assert using.raised() == (True, 2)
    assert loaded() == {"Own", "Late", "Base", "describe"}
    assert using.raised(late=False) == [1, 1]
    assert loaded() == {"Own", "Late", "Base", "describe", "count"}
    assert using.Own.__mro__[1:3] == (defining.Late, defining.Base)
    assert using.Own("x").told.__func__ is defining.Base.told


def test_an_except_clause_does_not_load_its_exception_class(late_modules):
    """Loading could fail, for example for lack of memory, and the next clauses would not run."""
    _, using, loaded = late_modules
    assert using.other() == (3,)
    assert loaded() == set()


def test_a_late_definition_can_be_imported_from_another_module(late_modules):
    defining, using, _ = late_modules
    made, answer = using.nested()
    assert made is defining.Late and answer == (True, 0)
    exec("from root.a.defining import describe as found", space := {})
    assert space["found"] is defining.describe
    assert defining.kept() is defining.Late
    assert (made.__module__, made.__qualname__) == ("root.a.defining", "Late")


def test_a_module_with_late_definitions_raises_the_usual_attribute_error(
    late_modules,
):
    defining, _, _ = late_modules
    with pytest.raises(AttributeError, match=r"^module 'root.a.defining' has no attribute 'missing'$"):
        defining.missing
    assert not hasattr(defining, "__path__")


@pytest.mark.parametrize("data", [b"", b"i\0\0\0\0" * 2_000], ids=["missing", "another value"])
def test_late_definition_is_compiled_from_source_after_any_damage(data, late_modules):
    defining, using, loaded = late_modules
    defining.__loader__.functions = data
    assert using.raised() == (True, 2)
    assert "Own" in loaded()


@pytest.mark.parametrize("data", [b"", b"i\0\0\0\0" * 2_000], ids=["missing", "another value"])
def test_rare_function_is_compiled_from_source_after_any_damage(data, module):
    module.__loader__.functions = data
    assert module.add(1) == (1, 2, (), 3, {})


def test_damaged_definition_missing_in_the_source_raises_import_error(
    late_modules,
):
    defining, using, _ = late_modules
    defining.__loader__.functions = b""
    Path(using.__file__).write_text("")
    with pytest.raises(ImportError, match=r"^an upgrade has removed 'Own' from 'root.b.using'$"):
        using.raised()


def test_late_definition_is_loaded_once_despite_a_signal_handler(late_modules, monkeypatch):
    defining, _, _ = late_modules
    modules, seen = defining.__loader__, []
    stored = modules.stored

    def interrupted(start, end):
        code = stored(start, end)
        if not seen:
            seen.append(None)
            seen.append(defining.Base)
        return code

    monkeypatch.setattr(type(modules), "stored", lambda _, start, end: interrupted(start, end))
    assert defining.Base is seen[1]
    assert vars(defining)["Base"] is seen[1]
