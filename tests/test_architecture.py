"""The architecture: which folder may import which, what stays pure, and what a warm hook loads.

Each folder of ``templater`` says in the docstring of its ``__init__.py`` what it may import. These tests read
that line, hold the code to it, and draw the graph: ``python -m tests.test_architecture`` prints it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import pytest

from templater.startup.bundle import GROUPS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "templater"

#: folders that take values and return values; modules in them that are entry points of their own
PURE = {
    "cloud_init",
    "model",
    "parsing",
    "pongo2",
    "rendering",
    "planning",
    "prediction",
    "reporting",
    "simulation",
}
IMPURE = {"pongo2.__main__", "pongo2.confined_folder", "simulation.writable_copy"}
#: modules of the other folders that are pure as well
PURE_MODULES = {"rootfs.memory_rootfs", "rootfs.paths", "checks.finding", "checks.base"}
#: the only folder that imports Jinja2
COMPILER = "pongo2.codegen."
#: the package itself holds the public API: names only, all of them lazy
PUBLIC = ""
#: modules that may print
DOORS = ("cli", "hooks", "__main__")
#: modules directly in ``templater/``: no drawer
AT_THE_TOP = 6


def words(text: str) -> set[str]:
    return set(text.split())


#: modules that the pure layers never import: they take values and return values
EFFECTS = words("""
    ctypes fcntl glob http mmap multiprocessing nt os pathlib posix select shutil signal socket subprocess sys
    tempfile threading
""")

#: every module of templater that a warm hook may load: the bundle's list, and the file that reads the bundle
LEAN = {name.removeprefix("templater").removeprefix(".") for group in GROUPS for name in group} | {
    "startup", "startup.line", "startup.line.templater_hook",
}  # fmt: skip
#: the modules of the standard library that lean modules may load; each loads fast
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


@lru_cache(maxsize=1)  # the trees of all modules take 100 MB
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_bytes())


class Import:
    """One import of one module. ``kind`` is eager, lazy (in a function) or types."""

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
    """Return the absolute name of the module in a ``from`` import."""
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
    for node, kind in statements(tree(module).body):
        for target in targets(module, node):
            yield Import(module, target, kind, node.lineno)


@cache
def all_imports() -> list[Import]:
    return [found for module in MODULES for found in imports(module)]


def own(target: str) -> str | None:
    """Return the module of templater that an import names, or None for another project's module."""
    if target == "templater":
        return PUBLIC
    return target.removeprefix("templater.") if target.startswith("templater.") else None


def folder_of(module: str) -> str:
    """Return the top folder of a module, or the module itself if it is directly in ``templater/``."""
    return module.split(".", maxsplit=1)[0]


FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
TOP_MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def allowed(folder: str) -> set[str]:
    """Return the list after "May import:" in the docstring of a folder's ``__init__.py``."""
    text = ast.get_docstring(tree(folder)) or ""
    found = re.search(r"^May import: ([^.]*)\.$", text, re.MULTILINE)
    assert found, f"templater/{folder}/__init__.py does not say what it may import"
    return set() if found[1].startswith("nothing") else set(found[1].replace("\n", " ").split(", "))


def internal() -> Iterator[tuple[Import, str]]:
    for found in all_imports():
        target = own(found.target)
        if target is not None:
            yield found, target


@cache
def graph() -> dict[str, set[str]]:
    """Return the imports of each folder and top module: at import, lazily, and for types."""
    arrows: dict[str, set[str]] = {name: set() for name in (*FOLDERS, *TOP_MODULES)}
    for found, target in internal():
        if PUBLIC not in (found.module, target) and folder_of(found.module) != folder_of(target):
            arrows[folder_of(found.module)].add(folder_of(target))
    return arrows


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Return the height of each folder: one more than the highest folder that it imports."""
    heights: dict[str, int] = {}

    def height(room: str, trail: tuple[str, ...]) -> int:
        assert room not in trail, "a cycle: " + " → ".join([*trail[trail.index(room) :], room])
        if room not in heights:
            heights[room] = 1 + max((height(target, (*trail, room)) for target in arrows[room]), default=-1)
        return heights[room]

    for room in arrows:
        height(room, ())
    return heights


def drawing() -> str:
    arrows = graph()
    heights = floors(arrows)
    lines = [
        f"{len(arrows)} rooms on {max(heights.values()) + 1} floors, {sum(map(len, arrows.values()))} arrows"
    ]
    for floor in range(max(heights.values()), -1, -1):
        for room in sorted(name for name, at in heights.items() if at == floor):
            lines.append(f"{floor}  {room:<12} {' '.join(sorted(arrows[room]))}".rstrip())
    return "\n".join(lines)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_exactly_the_folders_in_its_docstring(folder):
    text = ast.get_docstring(tree(folder)) or ""
    assert len(text.split()) >= 8, "a folder says what it is for"
    assert graph()[folder] <= allowed(folder)
    assert not allowed(folder) - graph()[folder], "the docstring allows an import that nothing needs"


def test_the_imports_between_folders_have_no_cycle(capsys):
    with capsys.disabled():
        print("\n" + drawing())
    floors(graph())


def test_the_package_contains_few_top_level_modules():
    assert len(TOP_MODULES) + 1 <= AT_THE_TOP


def test_no_public_function_has_the_name_of_a_module():
    from templater import __all__ as public

    assert not set(public) & {*FOLDERS, *TOP_MODULES}


@pytest.mark.parametrize(
    "kinds",
    [{"eager"}, {"eager", "lazy"}, {"eager", "lazy", "types"}],
    ids=["at import", "lazy imports too", "imports for types too"],
)
def test_the_imports_between_modules_have_no_cycle(kinds):
    arrows: dict[str, set[str]] = {module: set() for module in MODULES}
    for found, target in internal():
        if found.kind in kinds and PUBLIC not in (found.module, target) and target in arrows:
            arrows[found.module].add(target)
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "a cycle: " + " → ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for target in sorted(arrows[module] - {module}):
                walk(target, (*trail, module))
            done.add(module)

    for module in arrows:
        walk(module, ())


def pure_modules() -> list[str]:
    return [m for m in MODULES if m in PURE_MODULES or (folder_of(m) in PURE and m not in IMPURE)]


def test_pure_modules_import_no_module_with_side_effects():
    pure = set(pure_modules())
    wrong = [
        str(found)
        for found in all_imports()
        if found.module in pure and found.target.split(".")[0] in EFFECTS
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_modules_neither_open_files_nor_print():
    wrong = [
        f"{module}:{node.lineno} calls {node.func.id}()"
        for module in pure_modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"open", "print", "input"}
    ]
    assert not wrong, "\n".join(wrong)


def test_only_entry_point_modules_call_the_print_function():
    wrong = [
        f"{module}:{node.lineno}"
        for module in MODULES
        if module not in IMPURE
        and folder_of(module) not in DOORS
        and b"print(" in MODULES[module].read_bytes()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_compiler_imports_jinja2():
    users = {
        found.module
        for found in all_imports()
        if found.target.split(".")[0] == "jinja2" and found.kind != "types"
    }
    assert all(user.startswith(COMPILER) for user in users)


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("aiohttp", {"serving.connections", "serving.image_server", "serving.watch_page_server"}),
        ("cryptography", {"serving.certificate"}),
    ],
)
def test_only_modules_in_the_serving_folder_import_aiohttp_and_cryptography(library, users):
    assert {found.module for found in all_imports() if found.target.split(".")[0] == library} == users
    importers = [found for found in all_imports() if own(found.target) in users and found.kind == "eager"]
    assert all(folder_of(found.module) == "serving" for found in importers), (
        "commands import the server when it runs"
    )


def test_importing_the_package_loads_no_submodule():
    eager = [str(found) for found in all_imports() if found.module == PUBLIC and found.kind == "eager"]
    eager = [line for line in eager if " imports sys " not in line]
    assert not eager, "\n".join(eager)


@pytest.mark.parametrize("module", sorted(LEAN & set(MODULES)))
def test_a_hook_module_may_import_only_hook_modules(module):
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
    """Return the modules that a bare interpreter has loaded after importing these modules."""
    code = LOADED.format(root=str(ROOT), names=names)
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return set(answer.stdout.split())


def test_importing_all_hook_modules_loads_no_other_templater_modules():
    names = [f"templater.{m}".rstrip(".") for m in sorted(LEAN & set(MODULES)) if m != PUBLIC]
    got = loaded(names)
    ours = {own(name) for name in got if name.split(".")[0] == "templater"}
    assert ours <= LEAN
    assert not {name.split(".")[0] for name in got} & HEAVY


def own_test_names() -> set[str]:
    tests = ROOT / "tests"
    names = {path.stem.removeprefix("test_") for path in tests.rglob("test_*.py")}
    return names | {path.stem for path in (tests / "cli").glob("*.txt")}


@pytest.mark.parametrize(
    "folder", ["pongo2/tags", "pongo2/filters", "cli/commands", "hooks/runtimes", "checks/security"]
)
def test_every_plugin_module_has_a_test_file_with_its_name(folder):
    plugins = {path.stem.strip("_") for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__"}
    missing = plugins - {name.strip("_") for name in own_test_names()}
    assert not missing, f"no test_NAME.py (or tests/cli/NAME.txt) for {sorted(missing)} of {folder}"


if __name__ == "__main__":
    print(drawing())


#: data classes whose values change after they are made
CHANGING = words("""
    _Attempt _Block _Comment _Content _File _Meaning _Opened _Reader Catalog Daemon Decoded Definition Description
    FileView Image InstanceView LiveInstance Mark Member NewImage PageState Part PublicFiles Report
    Result Results SimulatedInstance Tree Unpacked Variant
""")
WITHOUT_SLOTS = words("""
    _Block _ImageOfOneFile AuthoredImage Definition FileEntry Results Rule ScannedImage
""")


def test_every_unlisted_data_class_is_frozen_and_has_slots():
    """Plans, images and reports are shared between instances, hosts and passes."""
    found = [
        pair
        for path in MODULES.values()
        for pair in re.findall(r"^@dataclass\b(.*)\n(?:@.*\n)*class (\w+)", path.read_text(), re.MULTILINE)
    ]
    assert len(found) > 100
    assert {name for facts, name in found if "frozen=True" not in facts} == CHANGING
    assert {name for facts, name in found if "slots=True" not in facts} == WITHOUT_SLOTS
