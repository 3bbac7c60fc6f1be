"""The architecture, as a table that is checked: who may import whom, and what a warm hook loads.

Read LAYERS from the top: a module may import from its own layer and from those above it in the table,
never from one below. Imports inside functions (lazy ones) and those for the type checker keep to it too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "templater"

LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("texts and errors", ("source", "errors")),
    ("what planning speaks of", ("views", "metadata", "instance")),
    ("the language", ("pongo2", "pongo2.*")),
    ("what is read, as text", ("yamltext", "metadata_yaml", "instance_yaml", "instance_list")),
    ("what a template may know, and when", ("hosts", "context", "lifecycle")),
    ("rendering", ("rendering",)),
    ("planning", (
        "changes", "permissions", "plan", "resolve", "outcomes", "outcomes.*", "deviations", "diff",
        "report", "forms", "simulate", "audit", "checks", "checks.*", "rootfs", "rootfs.memory",
    )),
    ("the shell: images, root filesystems, writing", (
        "system", "image", "image.*", "rootfs", "rootfs.*", "child", "kept", "rendering_child",
        "instance_directory", "instance_file", "limits", "survey", "leftovers", "staging", "apply", "watch",
        "fleet", "list_file", "shared_list", "workers", "postponed",
    )),
    ("the doors", ("hooks", "hooks.*", "cli", "cli.*", "__main__")),
)  # fmt: skip
SHELL = 7
#: modules of the pure layers that are doors of their own
IMPURE = {"pongo2.__main__", "pongo2.folder"}
#: what turns a tree of the language into Jinja2's nodes, and those into code
COMPILER = {"pongo2.emit", "pongo2.expressions", "pongo2.statements", "pongo2.writer"}
#: the package itself holds the public API: names only, all of them lazy
PUBLIC = ""


def words(text: str) -> set[str]:
    return set(text.split())


#: what the pure layers never import: they take values and return values
EFFECTS = words("""
    ctypes fcntl glob http mmap multiprocessing nt os pathlib posix select shutil signal socket subprocess sys
    tempfile threading
""")

#: everything of ours that a warm hook may load, beside the runtime's own file
LEAN = {""} | words("""
    errors source system metadata instance views context lifecycle rendering changes permissions plan resolve
    hosts pongo2
    pongo2.runtime pongo2.state pongo2.operations pongo2.values pongo2.embedding
    rootfs rootfs.confined rootfs.directory rootfs.lock
    rootfs.attributes leftovers staging apply child
    kept rendering_child instance_directory hooks hooks.options hooks.run hooks.line hooks.line.templater_hook
""")
#: what the lean modules may load of the standard library; each costs next to nothing
LEAN_STDLIB = words("""
    __future__ _ctypes _hashlib _imp _sha2 _sha256 _signal _stat binascii ctypes errno fcntl gc marshal math nt posix
    resource select signal stat struct sys syslog time zlib
""")
#: never in a warm hook, by whatever way they would come in
HEAVY = words("""
    click collections dataclasses enum functools inspect jinja2 json logging pathlib re rich subprocess
    tempfile typing yaml
""")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below ``templater``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_bytes()) for name, path in MODULES.items()}


def is_hook(module: str) -> bool:
    """Whether this is the file of a runtime that calls a hook."""
    return module.startswith("hooks.") and any(
        isinstance(node, ast.FunctionDef) and node.name == "situation" for node in TREES[module].body
    )


LEAN |= set(filter(is_hook, MODULES))


class Import:
    """One imported module as seen from one place: ``kind`` is eager, lazy (in a function) or types."""

    def __init__(self, module: str, target: str, kind: str, line: int) -> None:
        self.module, self.target, self.kind, self.line = module, target, kind, line

    def __str__(self) -> str:
        return f"{self.module or 'templater'}:{self.line} imports {self.target or 'templater'} ({self.kind})"


def is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(body: list[ast.stmt], kind: str = "eager") -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement with its kind."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, kind
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node.body, "types" if kind == "types" else "lazy")
        elif isinstance(node, ast.If) and is_type_checking(node):
            yield from statements(node.body, "types")
            yield from statements(node.orelse, kind)
        else:
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                for child in getattr(node, field, []):
                    inner = child.body if isinstance(child, ast.ExceptHandler | ast.match_case) else [child]
                    yield from statements(inner, kind)


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The full name that a ``from`` import starts at."""
    if not node.level:
        return node.module or ""
    package = f"templater.{module}".rstrip(".").split(".")
    if MODULES[module].name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def targets(module: str, node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = absolute(module, node)
        for alias in node.names:
            longer = f"{start}.{alias.name}"
            yield longer if longer.removeprefix("templater.") in MODULES else start


def imports(module: str) -> Iterator[Import]:
    for node, kind in statements(TREES[module].body):
        for target in targets(module, node):
            yield Import(module, target, kind, node.lineno)


IMPORTS = [found for module in MODULES for found in imports(module)]


def own(target: str) -> str | None:
    """The module of ours that an import names, or None for somebody else's."""
    if target == "templater":
        return PUBLIC
    return target.removeprefix("templater.") if target.startswith("templater.") else None


def layer_of(module: str) -> int:
    for index, (_, patterns) in enumerate(LAYERS):
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return index
    raise AssertionError(f"templater/{module.replace('.', '/')} stands in no layer: add it to LAYERS")


def internal() -> Iterator[tuple[Import, str]]:
    for found in IMPORTS:
        target = own(found.target)
        if target is not None:
            yield found, target


def test_every_module_stands_in_one_layer():
    for module in MODULES:
        if module != PUBLIC:
            layer_of(module)


def test_imports_go_one_way():
    wrong = [
        f"{found}: {LAYERS[layer_of(found.module)][0]!r} must not know {LAYERS[layer_of(target)][0]!r}"
        for found, target in internal()
        if PUBLIC not in (found.module, target) and layer_of(target) > layer_of(found.module)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "kinds",
    [{"eager"}, {"eager", "lazy"}, {"eager", "lazy", "types"}],
    ids=["at import", "lazy imports too", "imports for types too"],
)
def test_there_is_no_import_cycle(kinds):
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found, target in internal():
        if found.kind in kinds and PUBLIC not in (found.module, target) and target in graph:
            graph[found.module].add(target)
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "a cycle: " + " → ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for target in sorted(graph[module] - {module}):
                walk(target, (*trail, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def pure_modules() -> list[str]:
    return [m for m in MODULES if m not in IMPURE | {PUBLIC} and layer_of(m) < SHELL]


def test_pure_modules_have_no_effects():
    pure = set(pure_modules())
    wrong = [
        str(found) for found in IMPORTS if found.module in pure and found.target.split(".")[0] in EFFECTS
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_modules_neither_open_nor_print():
    wrong = [
        f"{module}:{node.lineno} calls {node.func.id}()"
        for module in pure_modules()
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"open", "print", "input"}
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_doors_print():
    wrong = [
        f"{module}:{node.lineno}"
        for module in MODULES
        if module not in IMPURE | {PUBLIC} and layer_of(module) < len(LAYERS) - 1
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, "\n".join(wrong)


def test_jinja2_is_our_compiler_and_not_our_runtime():
    users = {
        found.module for found in IMPORTS if found.target.split(".")[0] == "jinja2" and found.kind != "types"
    }
    assert users <= COMPILER


def test_the_public_module_imports_nothing_at_once():
    eager = [str(found) for found in IMPORTS if found.module == PUBLIC and found.kind == "eager"]
    eager = [line for line in eager if " imports sys " not in line]
    assert not eager, "\n".join(eager)


@pytest.mark.parametrize("module", sorted(LEAN & set(MODULES)))
def test_a_lean_module_imports_lean_modules_only(module):
    wrong = []
    for found in imports(module):
        target = own(found.target)
        lean = target in LEAN if target is not None else found.target.split(".")[0] in LEAN_STDLIB
        if found.kind == "eager" and not lean:
            wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


LOADED = """
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
for name in {names!r}:
    __import__(name)
print(*sorted(set(sys.modules) - before), sep="\\n")
"""


def loaded(names: list[str]) -> set[str]:
    """What a bare interpreter has loaded after importing these modules."""
    code = LOADED.format(root=str(ROOT), names=names)
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return set(answer.stdout.split())


def test_the_lean_modules_load_nothing_but_each_other():
    names = [f"templater.{m}".rstrip(".") for m in sorted(LEAN & set(MODULES)) if m != PUBLIC]
    got = loaded(names)
    ours = {own(name) for name in got if name.split(".")[0] == "templater"}
    assert ours <= LEAN
    assert not {name.split(".")[0] for name in got} & HEAVY


def own_test_names() -> set[str]:
    tests = ROOT / "tests"
    names = {path.stem.removeprefix("test_") for path in tests.rglob("test_*.py")}
    return names | {path.stem for path in (tests / "cli").glob("*.txt")}


@pytest.mark.parametrize("folder", ["pongo2/tags", "pongo2/filters", "cli", "hooks", "checks"])
def test_every_plugin_has_a_test_of_its_name(folder):
    plugins = {path.stem.strip("_") for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__"}
    missing = plugins - {name.strip("_") for name in own_test_names()}
    assert not missing, f"no test_NAME.py (or tests/cli/NAME.txt) for {sorted(missing)} of {folder}"
