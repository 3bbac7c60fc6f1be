"""Lazy modules: they execute at the first attribute access and otherwise behave like normal modules."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

ROOT = Path(__file__).parents[3]


def output_of(code: str, *folders: Path) -> str:
    """Return the output of a bare interpreter with lazy modules."""
    start = (
        f"import sys\nsys.path[:0] = {[str(ROOT), *map(str, folders)]!r}\n"
        "from templater.startup import lazy_imports\nlazy_imports.install()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", start + code], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def test_importing_a_submodule_does_not_load_the_whole_package():
    code = "import jinja2.compiler, yaml.events\nprint(*(name in sys.modules for name in {names!r}))"
    names = ("jinja2.nodes", "jinja2.environment", "hashlib", "ast", "yaml.scanner")
    assert output_of(code.format(names=names)) == "True False False False False"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import jinja2; print(jinja2.Environment().from_string('{{ 6 * 7 }}').render())",
        "from jinja2 import Environment; print(Environment().from_string('{{ 6 * 7 }}').render())",
        "from jinja2 import *; print(Template('{{ 6 * 7 }}').render())",
        "import jinja2.nodes, jinja2; print(jinja2.Template('{{ 6 * 7 }}').render())",
        "from jinja2 import nodes; print(nodes.Const(42).value)",
        "import yaml; print(yaml.safe_load('42'))",
        "import inspect; print(42 if inspect.isfunction(inspect.unwrap) else inspect)",
        "import jinja2; print(42 if jinja2.__version__ and 'Template' in dir(jinja2) else dir(jinja2))",
        "import jinja2; print(getattr(jinja2, 'no_such_thing', 42))",
        "import jinja2; print(42 if repr(jinja2).startswith('<module ') else jinja2)",
        "import importlib, jinja2; print(42 if importlib.reload(jinja2).Template else 0)",
    ],
)
def test_every_form_of_import_finds_an_existing_attribute(code):
    assert output_of(code) == "42"


@pytest.mark.parametrize(
    "text", ["", "one line", "  one line ", "two\n    lines\n", "\ta tab", "a\n\n  b\n\tc"]
)
def test_the_lazy_inspect_module_cleans_help_texts_like_the_real_module(text):
    code = f"import inspect; print(ascii(inspect.cleandoc({text!r})), 'ast' in sys.modules)"
    assert output_of(code) == f"{inspect.cleandoc(text)!a} {chr(10) in text or chr(9) in text}"


def test_lazy_inspect_module_behaves_like_the_real_module():
    code = """
import inspect
class A:
    a: int
class B(A): pass
class C(A):
    b: "str" = ""
names = ["a.py", "b/c.py", "__pycache__", "", ".py", "a.b", "d.abi3.so", "e.so", "f.cpython-313.pyc", "g.pyc"]
answers = lambda: ([inspect.get_annotations(each) for each in (A, B, C)], [inspect.getmodulename(name) for name in names])
before = answers(), "ast" in sys.modules
inspect.unwrap
print(before == (answers(), False), "ast" in sys.modules, inspect.get_annotations(inspect.unwrap, eval_str=True))
"""
    assert output_of(code) == "True True {}"


def test_yaml_c_parser_does_not_load_the_python_parser():
    code = """
import yaml._yaml
unused = ("composer", "constructor", "emitter", "reader", "representer", "serializer")
print(*(type(sys.modules[f"yaml.{name}"]).__name__ for name in unused))
try:
    parser = yaml._yaml.CParser("\\x00")
    while parser.get_event():
        pass
except yaml.error.YAMLError as error:
    print(error.args[-1])
print(yaml.safe_load(yaml.safe_dump({"a": [1]})), issubclass(yaml.reader.ReaderError, yaml.error.YAMLError))
"""
    assert output_of(code).split("\n") == [
        " ".join(["Postponed"] * 6), "control characters are not allowed", "{'a': [1]} True",
    ]  # fmt: skip


def test_a_lazy_import_of_a_missing_module_raises_an_error_immediately():
    code = (
        "lazy_imports.NAMES = {'nonsense'}\ntry:\n    import nonsense\nexcept ImportError as e:\n    print(e)"
    )
    assert output_of(code) == "No module named 'nonsense'"


def test_a_broken_lazy_module_raises_an_error_at_every_access(tmp_path):
    (tmp_path / "broken.py").write_text("early = 1\nraise ValueError('broken')\n")
    code = """
lazy_imports.NAMES = {'broken'}
import broken
for _ in range(2):
    try:
        broken.late
    except ValueError as error:
        print(error)
"""
    assert output_of(code, tmp_path) == "broken\nbroken"


def test_threads_wait_while_another_thread_loads_a_lazy_module(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.2)\nlate = 1\n")
    code = """
from concurrent.futures import ThreadPoolExecutor
lazy_imports.NAMES = {'slow'}
import slow
with ThreadPoolExecutor(4) as pool:
    print(*pool.map(lambda _: slow.late, range(4)))
"""
    assert output_of(code, tmp_path) == "1 1 1 1"


def test_a_lazy_module_can_import_itself_while_it_loads(tmp_path):
    (tmp_path / "own.py").write_text(
        "import own\nearly = 1\nseen = own.early, hasattr(own, 'late')\nlate = 1\n"
    )
    assert output_of("lazy_imports.NAMES = {'own'}\nimport own\nprint(own.seen)", tmp_path) == "(1, False)"


def test_circular_imports_of_lazy_modules_work(tmp_path):
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle/__init__.py").write_text("")
    (tmp_path / "circle/one.py").write_text("from . import two\n")
    (tmp_path / "circle/two.py").write_text("from . import one\nname = one.__name__\n")
    code = "lazy_imports.NAMES = {'circle'}\nfrom circle import one\nprint(one.two.name)"
    assert output_of(code, tmp_path) == "circle.one"


def test_a_lazy_module_can_be_reloaded(tmp_path):
    (tmp_path / "again.py").write_text("times = globals().get('times', 0) + 1\n")
    code = "lazy_imports.NAMES = {'again'}\nimport importlib, again\nagain.times\nprint(importlib.reload(again).times)"
    assert output_of(code, tmp_path) == "2"


@pytest.mark.parametrize("package", ["jinja2", "yaml"])
def test_no_attribute_of_a_lazy_package_hides_a_submodule(package):
    """An access to a submodule gives the same object before and after the import of the submodule."""
    found = import_module(package)
    for module in iter_modules(found.__path__):
        its = import_module(f"{package}.{module.name}")
        assert getattr(found, module.name) is its


def test_lazy_imports_do_not_change_the_compiled_code():
    code = (
        "from templater import pongo2\nimport marshal\n"
        "text = '{% for k, v in config sorted %}{{ k|upper }}{% if v == 2 %}{{ v }}{% endif %}{% endfor %}'\n"
        "print(marshal.dumps(pongo2.compile(text).code).hex())"
    )
    here = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}"
    plain = subprocess.run([sys.executable, "-I", "-c", here], capture_output=True, text=True, check=True)
    assert output_of(code) == plain.stdout.strip()
