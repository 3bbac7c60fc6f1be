"""The bundle of a hook's modules: it is used while it is up to date and rewritten otherwise."""

import _ctypes
import ast
import marshal
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

import templater
from templater.hooks import install
from templater.hooks.options import PROBE
from templater.startup import bundle
from templater.startup.line import templater_hook
from tests.rootfs_builders import as_root
from tests.sampling import some_fast
from tests.user_namespaces import user_namespace

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a copy of the package without a bundle, but with Python's own compiled files."""
    source = Path(templater.__file__).parent
    ignored = shutil.ignore_patterns("hook.*", "*.opt-*", "*.pyc.*")
    shutil.copytree(source, tmp_path / "templater", ignore=ignored)
    return tmp_path / "templater"


def command(package: Path, *options: str) -> list[str]:
    words = install.argv("lxc", ["--probe"])
    code = words[words.index("-c") + 1]
    words[words.index("-c") + 1] = code.replace(
        "[:0]=[", f"[:0]=['{package}/startup/line', '{package.parent}', "
    )
    return [words[0], *options, *words[1:]]


def line(package: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(package, *options), capture_output=True, text=True, check=False)


def processes_of(package: Path) -> list[str]:
    """Return the numbers of the processes whose command line names the package."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [file.parent.name] if os.fsencode(package) in file.read_bytes() else []
    return found


def kept(package: Path) -> Path:
    return package / "__pycache__" / Path(templater_hook.place()).name


def python(package: Path, code: str, *options: str) -> subprocess.CompletedProcess:
    """Run code in an interpreter that uses the bundle but does not run a hook."""
    start = (
        f"import sys; sys.path[:0] = ['{package}/startup/line', '{package.parent}']\n"
        "import templater_hook as hook\n"
        "modules = hook.Modules(hook.opened())\n"
        "sys.meta_path.insert(0, modules)\n"
    )
    words = [sys.executable, "-I", "-S", *options, "-c", start + code]
    return subprocess.run(words, capture_output=True, text=True, check=True)


def imported_from_files(said: subprocess.CompletedProcess) -> set[str]:
    """Return the package sources that Python's own import system found, as reported by ``-v``."""
    matches = [line.split()[-1] for line in said.stderr.splitlines() if " matches /" in line]
    return {path.split("/templater/")[-1] for path in matches if "/templater/" in path} - {
        "startup/line/templater_hook.py"
    }


@pytest.mark.slow
def test_the_next_hook_uses_the_module_bundle_that_a_probe_wrote(package):
    assert templater_hook.PROBE == PROBE
    assert line(package).returncode == 0
    assert kept(package).exists()
    used = imported_from_files(line(package, "-v"))
    assert "pongo2/codegen/jinja2_nodes.py" in used, "which is not for a warm hook"
    assert not used & {path_of(name) for group in bundle.GROUPS for name in group}


@pytest.mark.parametrize(
    "words", some_fast([[], ["--stage", "mount"], ["--on-error", "keep-going"]], every=3)
)
def test_attack_95_a_container_hook_writes_no_bundle(package, words):
    """pivot_root moved the process to the image's files. The image's ``encodings/evil.py`` then ran as root.

    A user who could read the bundle's directory could also stop this process, and all later hooks, for ever.
    """
    line = [*command(package)[:-1], *words]
    for _ in range(2):
        subprocess.run(line, capture_output=True, check=False, timeout=60)
        assert processes_of(package) == []
        assert not [file for file in kept(package).parent.glob("*") if ".bin" in file.name]


@pytest.mark.slow
def test_attack_95_only_the_probe_option_makes_hooks_write_compiled_modules(package):
    """A user who could read ``__pycache__`` could delay each hook that wrote a file there, for ever."""
    for file in package.rglob("*.pyc"):
        if file.parent.parent.name != "line":
            file.unlink()
    line, before = command(package), [*package.rglob("*.pyc")]
    subprocess.run(line[:-1], capture_output=True, check=False, timeout=60)
    assert [*package.rglob("*.pyc")] == before
    assert subprocess.run(line, capture_output=True, check=False, timeout=60).returncode == 0
    compiled = {
        file.with_suffix(".pyc").name.replace(f".{sys.implementation.cache_tag}", "")
        for file in package.rglob(f"*.{sys.implementation.cache_tag}.pyc")
    }
    assert compiled == {file.with_suffix(".pyc").name for file in package.rglob("*.py")}


@pytest.mark.slow
@as_root
def test_attack_95_root_of_namespace_writes_no_compiled_modules_for_others(package):
    """LXC runs its template script as root of a user namespace.

    The container's root could then change the caller's modules.
    """
    for file in (package / "model" / "__pycache__").iterdir():
        file.unlink()
    with tempfile.TemporaryDirectory() as folder, user_namespace(100_000) as pid:
        os.chmod(folder, 0o755)
        place = Path(shutil.copytree(package.parent, f"{folder}/x")) / "templater"
        for each in (place.parent, place, *place.rglob("*")):
            os.chown(each, 100_005, 100_005)
        before = list(place.rglob("*.pyc"))
        # other users may not reach the interpreter of an environment
        words = ["/usr/bin/python3", *command(place, "-v")[1:]]
        inside = ["nsenter", f"--user=/proc/{pid}/ns/user", "--setuid=0", "--setgid=0", *words]
        done = subprocess.run(inside, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and f"{place}/model/__init__.py" in done.stderr
        made = [*(place / "__pycache__").glob("hook.*")]
        assert not made and list(place.rglob("*.pyc")) == before


def path_of(name: str) -> str:
    return bundle.source_of(name)[0].split("/templater/")[-1]


@pytest.mark.slow
def test_rewritten_bundle_still_contains_paths_of_the_c_modules(package):
    """The hook that rewrites a bundle has itself found the C modules by the old bundle."""

    def places() -> dict[str, tuple[str, int, int]]:
        data = kept(package).read_bytes()
        return marshal.loads(data[templater_hook.HEAD :])[6]

    line(package)
    wanted = {name: bundle.place_of(name) for name in bundle.C_MODULES}
    assert places() == wanted
    os.utime(package / "hooks/run.py", (1, 1))
    kept_before = kept(package).stat().st_ino
    assert line(package).returncode == 0
    assert kept(package).stat().st_ino != kept_before
    assert places() == wanted


def test_c_module_without_file_is_recorded_with_empty_path() -> None:
    assert bundle.place_of("posix") == ("", 0, 0), "it is built into the interpreter"
    assert bundle.place_of("_ctypes") == ("", 0, 0) or os.path.isfile(bundle.place_of("_ctypes")[0])


@pytest.mark.slow
def test_modified_module_is_loaded_from_source_instead_of_bundle(package):
    line(package)
    module = package / "hooks/run.py"
    module.write_text(
        module.read_text().replace('f"templater {__version__} on', 'f"changed {__version__} on')
    )
    assert line(package).stdout.startswith("changed ")
    assert line(package).stdout.startswith("changed "), "and kept anew"


def framed(head: object) -> bytes:
    data = marshal.dumps(head)
    return len(data).to_bytes(templater_hook.HEAD, "little") + data


def parse_bundle(data: bytes) -> tuple[list, bytes]:
    """Return the header of the bundle, and its code objects and functions."""
    head = marshal.loads(data[templater_hook.HEAD :])
    return list(head), data[-head[2][1] :]


DAMAGED = [
    b"",
    b"nonsense",
    framed(("x", "y", (0, 0), [])),
    framed(7),
    framed(("x",)),
    framed(("x", "y", []))[:9],
]


@pytest.mark.slow
def test_a_damaged_module_bundle_is_ignored(package):
    line(package)
    for data in DAMAGED:
        kept(package).write_bytes(data)
        assert line(package).returncode == 0, data
        assert kept(package).read_bytes() != data


@pytest.mark.slow
def test_a_truncated_or_empty_module_bundle_is_ignored(package):
    """A power failure can leave a truncated or empty bundle."""
    line(package)
    whole = kept(package).read_bytes()
    for left in (len(whole) - 1, 20_000):
        for data in (whole[:left], whole[:left] + bytes(len(whole) - left)):
            kept(package).write_bytes(data)
            answer = line(package)
            assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("goes_on", [False, True])
def test_hook_exits_with_usual_code_during_an_upgrade(package, goes_on):
    """The hook ended with a traceback, even with ``--on-error keep-going``."""
    line(package)
    (package / "hooks/run.py").unlink()
    options = ["--on-error", "keep-going"] if goes_on else []
    answer = subprocess.run([*command(package), *options], capture_output=True, text=True, check=False)
    assert answer.returncode == (0 if goes_on else 70)
    assert answer.stderr == (
        "templater: can't load its modules, for example during an upgrade: No module named"
        " 'templater.hooks.run'\n"
    )


@pytest.mark.slow
def test_a_hook_works_with_a_removed_module_in_its_bundle(package):
    """After an upgrade the bundle may still list a removed module."""
    line(package)
    head, codes = parse_bundle(kept(package).read_bytes())
    modules, files, *_ = head[3][0]
    modules[3] = (modules[3][0] + "_gone", False)
    files[3] = (f"{package}/gone.py", *files[3][1:])
    kept(package).write_bytes(framed(tuple(head)) + codes)
    assert line(package).returncode == 0
    assert b"/gone.py" not in kept(package).read_bytes()


TRIED = "# trying .*/_ctypes"


@pytest.mark.slow
def test_a_hook_loads_the_c_module_of_ctypes_without_a_search(package):
    line(package)
    assert not re.search(TRIED, python(package, "import _ctypes", "-vv").stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", [("/nowhere/_ctypes.so", 0, 0), (_ctypes.__file__, 0, 0)], ids=["other", "old"]
)
def test_c_module_is_searched_again_if_its_file_changed(package, place):
    """The file of a C module changes after an update of Python, or with another build of the same version."""
    line(package)
    head, codes = parse_bundle(kept(package).read_bytes())
    head[6] = {"_ctypes": place}
    kept(package).write_bytes(framed(tuple(head)) + codes)
    assert line(package).returncode == 0
    said = python(package, "import _ctypes; print(_ctypes.__file__)", "-vv")
    assert said.stdout.strip() == _ctypes.__file__
    assert re.search(TRIED, said.stderr)


@pytest.mark.slow
def test_a_world_writable_module_bundle_is_ignored(package):
    line(package)
    (version, where, _, groups, *stamp), _ = parse_bundle(kept(package).read_bytes())
    evil = marshal.dumps(((compile("raise SystemExit(99)", "x", "exec"), ()),) * 99)
    groups = [(modules, files, 0, len(evil)) for modules, files, _, _ in groups]
    kept(package).write_bytes(framed((version, where, (len(evil), len(evil)), groups, *stamp)) + evil)
    assert line(package).returncode == 99, "it would have been used"
    kept(package).chmod(0o666)
    assert line(package).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
@pytest.mark.slow
def test_a_module_bundle_of_another_user_is_ignored(package):
    line(package)
    os.chown(kept(package), 1234, 1234)
    before = kept(package).stat().st_ino
    assert line(package).returncode == 0
    assert kept(package).stat().st_ino != before


@pytest.mark.slow
def test_a_hook_works_if_the_bundle_directory_is_not_writable(package):
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    (package / "__pycache__").write_text("in the way")
    assert line(package).returncode == 0


@pytest.mark.slow
def test_a_broken_source_file_affects_only_hooks_that_import_the_file(package):
    source = package / "hooks/runtimes/oci.py"
    source.write_text(source.read_text()[:3000] + "\n(")
    answer = line(package)
    assert answer.returncode == line(package).returncode
    assert "SyntaxError" not in answer.stderr
    assert list((package / "__pycache__").glob("hook.*")) == []


@pytest.mark.slow
def test_a_failed_write_of_the_module_bundle_leaves_no_file(package, monkeypatch):
    place = str(package / "hook.bin")
    real = bundle.posix.write
    monkeypatch.setattr(bundle.posix, "write", lambda fd, data: real(fd, data[:100]))
    bundle.write(place)
    assert list(package.glob("hook.bin*")) == []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.posix, "fsync", full)
    monkeypatch.setattr(bundle.posix, "write", real)
    bundle.write(place)
    assert list(package.glob("hook.bin*")) == []


@pytest.mark.slow
def test_writing_a_bundle_replaces_a_leftover_temporary_file(package, monkeypatch):
    (package / f"hook.bin.{os.getpid()}").touch()
    monkeypatch.setattr(bundle, "contents", lambda: b"modules")
    bundle.write(str(package / "hook.bin"))
    assert (package / "hook.bin").read_bytes() == b"modules"
    assert len(list(package.glob("hook.bin*"))) == 1


def test_no_module_is_compiled_if_the_bundle_directory_is_not_writable(package, monkeypatch):
    def for_nothing():
        raise AssertionError("compiled")

    monkeypatch.setattr(bundle, "contents", for_nothing)
    bundle.write(str(package / "nowhere/hook.bin"))


@pytest.mark.slow
def test_importing_one_bundled_module_loads_every_module_of_the_same_group(package):
    line(package)
    code = (
        "from templater.planning.decide_changes import plan_of\n"
        "import templater.model.errors as errors\n"
        "print(*(name for name in sys.modules if name.startswith('templater.')))\n"
        "first = sys.modules['templater']; spec = first.__spec__\n"
        "print(spec.origin == first.__file__, spec.parent, spec.loader is modules, errors.__spec__)\n"
        "print(sys.modules['templater.model'].errors is errors, errors.__package__, sys.modules['templater'].__path__)"
    )
    loaded, spec, place = python(package, code).stdout.splitlines()
    first, second, *_ = bundle.GROUPS
    assert {*loaded.split(), "templater"} == {*first, *second}
    assert spec == "True templater True None"
    assert place == f"True templater.model ['{package}']"


@pytest.mark.slow
def test_the_modules_of_a_bundle_group_are_in_import_order(package):
    """Otherwise the import system has to find and read the modules one by one."""
    line(package)
    names = [name for group in bundle.GROUPS for name in group]
    assert len(set(names)) == len(names)
    for group in bundle.GROUPS:
        assert imported_from_files(python(package, f"import {group[-1]}", "-v")) == set(), group


@pytest.mark.slow
def test_a_bundled_module_leaves_sys_modules_after_a_failed_import(package):
    module = package / "model/entry.py"
    module.write_text(module.read_text() + "\nraise LookupError\n")
    line(package)
    warm_write = (
        "try: from templater.hooks.run import serve\n"
        "except LookupError: print('templater.model.entry' in sys.modules, 'templater.model.source' in sys.modules)\n"
    )
    data = "from templater.startup.bundle import write; write(hook.place())"
    (package / "__pycache__").mkdir(exist_ok=True)
    python(package, data)
    assert python(package, warm_write).stdout.split() == ["False", "True"]


STAMP = "from templater.hooks.source_stamp import source_stamp; print(source_stamp().hex(), modules.stale)"


def stamp_of(package: Path) -> str:
    """Return the source stamp in the compile cache key, as a hook computes it."""
    return python(package, STAMP).stdout.split()[0]


EDITED = [
    "pongo2/codegen/python_of_statements.py", "pongo2/runtime_calls_and_loops.py", "pongo2/tags/for_.py", "pongo2/filters/text.py",
    "pongo2/syntax/lexer.py", "parsing/metadata_yaml.py", "model/metadata.py", "rendering/render.py",
    "hooks/sandboxed_rendering.py",
]  # fmt: skip


@pytest.mark.slow
def test_editing_a_source_file_changes_the_compile_cache_key(package):
    line(package)
    before = stamp_of(package)
    assert python(package, STAMP).stdout.split() == [before, "False"], "it is the same every time"
    for source in EDITED:
        path = package / source
        path.write_text(path.read_text() + "\n# edited\n")
        after = stamp_of(package)
        assert after != before, source
        before = after


@pytest.mark.slow
def test_cache_key_does_not_depend_on_the_bundle(package):
    line(package)
    before = stamp_of(package)
    kept(package).unlink()
    assert stamp_of(package) == before


@pytest.mark.slow
def test_edited_code_generator_takes_effect_at_the_next_hook(package, tmp_path):
    """Previously old compiled code ran until the template itself changed."""
    container = tmp_path / "c1"
    (container / "templates").mkdir(parents=True)
    (container / "rootfs/etc").mkdir(parents=True)
    (container / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\n"
        "templates: {/etc/a: {when: [create, start], template: a.tpl}}\n"
    )
    (container / "templates/a.tpl").write_text("plain text\n")
    (container / "config").write_text("")
    words = install.argv("lxc", [])
    code = words[words.index("-c") + 1]
    words[words.index("-c") + 1] = code.replace(
        "[:0]=[", f"[:0]=['{package}/startup/line', '{package.parent}', "
    )
    environ = {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{container}/config",
        "LXC_ROOTFS_PATH": f"{container}/rootfs",
    }  # fmt: skip

    def start() -> str:
        subprocess.run(words, env=environ, check=True, capture_output=True)
        return (container / "rootfs/etc/a").read_text()

    assert [start(), start()] == ["plain text\n"] * 2
    source = package / "pongo2/codegen/python_of_statements.py"
    source.write_text(
        source.read_text() + "\n\nwrite = StatementWriter.template\n"
        "StatementWriter.template = lambda self, tree: write(self, tree).replace('plain', 'other')\n"
    )
    assert [start(), start()] == ["other text\n"] * 2


ANNOTATED = """\
TYPE_CHECKING = False
if TYPE_CHECKING:
    import nowhere
else:
    here: int = 1
later: int


def failing(first: "X" = 2, *, second: "Y" = 3) -> "Z":
    third: int = first + second
    raise LookupError(third)
"""


def test_the_bundled_code_has_line_numbers_but_no_annotations(tmp_path):
    (tmp_path / "a.py").write_text(ANNOTATED)
    code = bundle.compiled(str(tmp_path / "a.py"), "a", bytearray())[1]
    module = {"__name__": "a"}
    exec(code, module)
    assert (module["here"], "later" in module) == (1, False)
    assert "nowhere" not in code.co_names
    assert "__annotations__" not in module
    assert module["failing"].__annotations__ == {}
    with pytest.raises(LookupError, match="5") as raised:
        module["failing"]()
    assert [line.lineno + 1 for line in raised.traceback][1:] == [11]


def test_a_bundled_function_has_no_names_of_local_variables(tmp_path):
    (tmp_path / "a.py").write_text(
        "class A:\n    def method(self, value, *rest, key=1, **named):\n"
        "        total = value + key\n        double = [each * 2 for each in rest]\n"
        "        kept = total\n        def inner(more):\n            sum_of = kept + more\n"
        "            return sum_of\n        return inner(1), double, named\n"
    )
    code = bundle.compiled(str(tmp_path / "a.py"), "a", bytearray())[1]
    module = {"__name__": "a"}
    exec(code, module)
    method = module["A"].method
    assert method(module["A"](), 2, 3, 4, key=5, more=6) == (8, [6, 8], {"more": 6})
    assert method.__code__.co_varnames[:5] == ("self", "value", "key", "rest", "named")
    assert {"total", "double", "each"}.isdisjoint(method.__code__.co_varnames)
    (inner,) = (each for each in method.__code__.co_consts if getattr(each, "co_name", "") == "inner")
    assert inner.co_varnames == ("more", "1")


def test_bundled_module_has_no_annotations():
    tree = ast.parse(
        "if TYPE_CHECKING:\n    import a\nelse:\n    b: int = 1\nif other:\n    c: int\n"
        "class D:\n    e: int\n    f: int = 2\n    def g(self, h: int = 3) -> str:\n        return [h for h in self]\n"
    )
    bundle._strip(tree)
    assert ast.unparse(tree).replace("\n\n", "\n") == (
        "b = 1\nif other:\n    pass\nclass D:\n    pass\n    f = 2\n    def g(self, h=3):\n        return [h for h in self]"
    )
    for node in ast.walk(tree):
        if hasattr(node, "lineno"):
            assert (node.col_offset, node.end_col_offset, node.end_lineno) == (0, 0, node.lineno)


def test_the_source_of_a_package_is_its_init_file(tmp_path):
    assert bundle.source_of("templater.hooks") == (f"{bundle.PACKAGE}/hooks/__init__.py", True)
    assert bundle.source_of("templater.hooks.run") == (f"{bundle.PACKAGE}/hooks/run.py", False)
    assert bundle._is_directory(str(tmp_path)) is True
    assert bundle._is_directory(__file__) is bundle._is_directory("/none") is False


@pytest.mark.parametrize(
    ("handling", "code"), [(signal.SIG_DFL, -signal.SIGINT), (signal.SIG_IGN, 0)], ids=["default", "ignored"]
)
def test_interrupt_ends_a_hook_without_a_traceback(handling, code):
    script = (
        "import os, signal, sys, types\n"
        "from templater.startup.line import templater_hook\n"
        "def serve():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    os._exit(0)\n"
        "sys.modules['templater.hooks.run'] = types.SimpleNamespace(serve=serve)\n"
        "templater_hook.main()\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handling),
    )  # fmt: skip
    assert (said.returncode, said.stdout, said.stderr) == (code, "", "")


@pytest.mark.parametrize(
    ("stamp", "grown", "found", "stale"),
    [(b"recorded", 0, b"recorded", False), (b"recorded", 1, b"", True), (b"", 1, b"", False)],
)
def test_a_recorded_source_stamp_is_used_while_no_source_has_changed(stamp, grown, found, stale, tmp_path):
    (tmp_path / "a.py").write_text("a = 1\n")
    status = (tmp_path / "a.py").stat()
    modules = object.__new__(templater_hook.Modules)
    modules.stamp, modules.stale, modules.checked = stamp, False, {}
    modules.sources = [(f"{tmp_path}/a.py", status.st_mtime_ns, status.st_size + grown)]
    for _ in range(2):
        assert (modules.source_stamp(), modules.stale) == (found, stale)


@pytest.mark.parametrize(
    ("on_path", "grown", "found"), [(True, 0, True), (False, 0, False), (True, 1, False)]
)
def test_recorded_c_module_is_not_used_after_a_change(on_path, grown, found, tmp_path, monkeypatch):
    (tmp_path / "_quick.so").write_bytes(b"code")
    status = (tmp_path / "_quick.so").stat()
    monkeypatch.setattr(sys, "path", [str(tmp_path)] if on_path else [])
    modules = object.__new__(templater_hook.Modules)
    modules.groups, modules.checked, modules.cold = {}, {}, True
    modules.places = {"_quick": (f"{tmp_path}/_quick.so", status.st_mtime_ns, status.st_size + grown)}
    spec = modules.find_spec("_quick")
    assert (spec and (spec.name, spec.origin)) == (("_quick", f"{tmp_path}/_quick.so") if found else None)
    assert modules.find_spec("_other") is None
