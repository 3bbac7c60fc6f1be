"""The modules that a warm hook loads: each one slows down every start of every container."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import templater
from templater.hooks import install
from templater.hooks.run import run
from templater.startup.bundle import GROUPS, write
from templater.startup.line.templater_hook import place

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")

PACKAGE = Path(templater.__file__).parent

METADATA = """\
architecture: x86_64
creation_date: 1700000000
templates:
  /etc/hostname:
    when: [create, start]
    template: hostname.tpl
"""

#: every templater module that an LXC hook loads if it renders in its own process: the first groups of the
#: bundle, because every hook needs them, and the groups of the runtime
OURS = {name for group in GROUPS[:3] for name in group} | {
    "templater.hooks.lxc_config", "templater.hooks.runtimes.lxc", "templater.startup.line.templater_hook",
}  # fmt: skip

#: further templater modules that a template's filters and operators can load
LANGUAGE = "templater.pongo2."

#: modules of the standard library that the interpreter has not loaded itself; most are built in
THEIRS = {
    "_blake2", "_ctypes", "_stat", "errno", "fcntl", "gc", "math", "resource", "select", "syslog", "templater_hook",
}  # fmt: skip

#: Prints every loaded module, also in the child. The import system reports the searched name to the
#: interpreter's audit hooks, and the code object names the module that is executed.
WATCH = f"""
import posix, sys
def watch(event, arguments):
    name = ""
    if event == "import":
        name = arguments[0]
    elif event == "exec" and arguments[0].co_name == "<module>":
        file = arguments[0].co_filename
        if file.startswith({str(PACKAGE)!r} + "/"):
            name = "templater/" + file.removeprefix({str(PACKAGE)!r} + "/")
            name = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if name:
        posix.write(2, f"module {{name}}\\n".encode())
sys.addaudithook(watch)
"""


@pytest.fixture(scope="module", autouse=True)
def _bundle() -> None:
    """Write the bundle of modules. A hook would leave this to a process for which it does not wait."""
    write(place())


@pytest.fixture
def container(tmp_path):
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/hostname.tpl").write_text("{{ container.name }}\n")
    (tmp_path / "metadata.yaml").write_text(METADATA)
    (tmp_path / "instance.yaml").write_text("name: c1\n")
    (tmp_path / "config").write_text("lxc.uts.name = c1\n")
    return tmp_path


def environ(folder) -> dict[str, str]:
    return {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{folder}/config",
        "LXC_ROOTFS_PATH": f"{folder}/rootfs",
    }  # fmt: skip


def loaded(folder, *options) -> set[str]:
    words = install.argv("lxc", list(options))
    words[words.index("-c") + 1] = WATCH + words[words.index("-c") + 1]
    for _ in range(2):  # the second run is warm
        answer = subprocess.run(words, env=environ(folder), capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
    return set(re.findall("^module (.*)$", answer.stderr, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--no-child",), ()], ids=["in its own process", "in a child"])
def test_a_hook_with_a_filled_cache_loads_only_the_listed_modules(container, options):
    found = loaded(container, *options)
    ours = {name for name in found if name.split(".")[0] == "templater"}
    wanted = OURS if options else OURS | {"templater.sandbox.allowed_calls", "templater.sandbox.child"}
    assert {name for name in ours - wanted if not name.startswith(LANGUAGE)} == set()
    assert ours >= wanted
    assert found - ours <= THEIRS


#: templater modules that reading and compiling these files needs in addition to those of a warm hook
COMPILING = {
    "templater.parsing",
    "templater.pongo2.codegen",
    "templater.pongo2.syntax",
    "templater.startup",
    "templater.parsing.instance_description",
    "templater.parsing.go_scalars",
    "templater.parsing.metadata_yaml",
    "templater.startup.lazy_imports",
    "templater.pongo2.codegen.compiler",
    "templater.pongo2.syntax.parser",
    "templater.pongo2.dialect",
    "templater.pongo2.names_read",
    "templater.pongo2.codegen.jinja2_nodes",
    "templater.pongo2.codegen.python_of_expressions",
    "templater.pongo2.syntax.hints",
    "templater.pongo2.syntax.lexer",
    "templater.pongo2.filters_and_tags",
    "templater.pongo2.runtime_calls_and_loops",
    "templater.pongo2.render_state",
    "templater.pongo2.codegen.python_of_statements",
    "templater.pongo2.tags",
    "templater.pongo2.tags.autoescape",
    "templater.pongo2.compiled_template",
    "templater.pongo2.limit_position",
    "templater.pongo2.parse_with_includes",
    "templater.pongo2.syntax.tokens",
    "templater.pongo2.syntax.tree",
    "templater.pongo2.codegen.generator_state",
    "templater.parsing.yaml_nodes",
}

#: the imports of the code generator itself; not the lexer, parser, environment, filters or loaders
GENERATOR = {
    "jinja2", "jinja2.compiler", "jinja2.exceptions", "jinja2.idtracking", "jinja2.nodes", "jinja2.optimizer",
    "jinja2.utils", "jinja2.visitor", "markupsafe", "markupsafe._speedups",
}  # fmt: skip

#: modules that must not be loaded even through Jinja2 or PyYAML, which import all of them by default
NEVER = {
    "_hashlib", "ast", "bz2", "click", "dataclasses", "difflib", "dis", "hashlib", "importlib.metadata",
    "importlib.util", "logging", "lzma", "pathlib", "pickle", "pkgutil", "rich", "shutil", "subprocess", "tarfile",
    "tempfile", "tokenize", "watchdog", "yaml.cyaml", "yaml.dumper", "yaml.loader", "yaml.resolver",
}  # fmt: skip


@pytest.mark.slow
def test_hook_with_empty_cache_loads_only_the_expected_modules(container):
    found = loaded(container, "--no-child", "--no-cache")
    assert {name for name in found if name.split(".")[0] == "templater"} == OURS | COMPILING
    assert {name for name in found if name.split(".")[0] in ("jinja2", "markupsafe")} == GENERATOR
    assert "yaml.events" in found
    assert not found & NEVER


def test_hook_without_cache_loads_only_filters_of_its_templates(container):
    (container / "templates/hostname.tpl").write_text("{{ container.name|upper }}\n")
    found = loaded(container, "--no-child", "--no-cache")
    assert {name for name in found if name.startswith("templater.pongo2.filters.")} == {
        "templater.pongo2.filters.text"
    }


#: modules that would make up a quarter of a preview's time: dataclasses imports inspect and compiles code for
#: each class, PyYAML's reader compiles a large pattern, and the others serve rare options
NOT_FOR_A_PREVIEW = NEVER - {"click", "difflib", "importlib.util"} | {
    "click.shell_completion", "shlex", "templater.parsing.pure_yaml", "templater.prediction.agent",
    "templater.reporting.json_data",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-i", "instance.yaml"), ("--as", "lxd")])
def test_the_preview_command_imports_no_module_for_rare_cases(container, options):
    code = WATCH + "from templater.__main__ import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "preview", ".", *options]
    environ = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    answer = subprocess.run(words, cwd=container, env=environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found = set(re.findall("^module (.*)$", answer.stderr, re.MULTILINE))
    assert "templater.cli.commands.preview" in found
    assert found & NOT_FOR_A_PREVIEW == set()


CHILDREN = pytest.mark.parametrize("child", [("--no-child",), ()], ids=["in its own process", "in a child"])


@pytest.mark.slow
@CHILDREN
def test_an_unusual_instance_description_causes_no_late_import_in_the_child(container, child):
    """A child cannot open files while it renders, so every import has to happen before."""
    loaded(container, *child)  # fill the image's cache
    for text in ('{"name": "c1", "config": {"user.a": "\\u00e4"}}', "name: c1\nconfiig: {}\n"):
        for options in (child, (*child, "--no-cache")):
            (container / "instance.yaml").write_text(text)
            (container / "rootfs/etc/hostname").write_text("")
            loaded(container, *options)
            assert (container / "rootfs/etc/hostname").read_text() == "c1\n"


@pytest.mark.slow
@CHILDREN
@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{{ container.name|uper }}", "did you mean 'upper'?"),
        ("{% iff trigger %}", "did you mean 'if'?"),
        ("{{ 1|add:'\x01' + }}", "templates/hostname.tpl:1:"),
    ],
)
def test_rare_error_is_reported_even_if_child_imports_nothing(container, child, text, hint):
    (container / "templates/hostname.tpl").write_text(text)
    words = install.argv("lxc", [*child, "--no-cache"])
    answer = subprocess.run(words, env=environ(container), capture_output=True, text=True, check=False)
    assert answer.returncode == 5
    assert hint in answer.stderr


@pytest.mark.slow
def test_a_cache_entry_of_another_user_is_never_run(container, monkeypatch):
    """The cache is trusted only while no other user can write to it."""
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    loaded(container, "--no-child")
    os.chown(container / ".templater/cache", 1234, 1234)
    assert "jinja2" in loaded(container, "--no-child")


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--no-child",), ()], ids=["in its own process", "in a child"])
def test_a_changed_template_is_recompiled(container, options):
    loaded(container, *options)
    (container / "templates/hostname.tpl").write_text("changed {{ container.name }}\n")
    loaded(container, *options)
    assert (container / "rootfs/etc/hostname").read_text() == "changed c1\n"


@pytest.mark.slow
def test_a_cache_entry_with_a_wrong_digest_is_never_executed(container):
    """The entry has the right name and key, but its digest does not match its content."""
    import marshal

    loaded(container, "--no-child")
    code = compile(f"open({str(container / 'pwned')!r}, 'w')", "x", "exec")
    for entry in (container / ".templater/cache").iterdir():
        head = entry.read_bytes().split(b"\n")[:5]
        entry.write_bytes(b"\n".join([*head, marshal.dumps(("", {}, [], {"hostname.tpl": code}))]))
    loaded(container, "--no-child")
    loaded(container)
    assert not (container / "pwned").exists()


@pytest.mark.slow
def test_cached_code_from_the_sandbox_is_not_used_without_the_sandbox(container):
    loaded(container)
    names = {entry.name for entry in (container / ".templater/cache").iterdir()}
    loaded(container, "--no-child")
    assert not names & ({entry.name for entry in (container / ".templater/cache").iterdir()} - names)
    assert len(list((container / ".templater/cache").iterdir())) == 2 * len(names)


@pytest.mark.usefixtures("restored_process")
def test_an_error_in_cached_code_has_its_position_in_the_template(container, capfd, monkeypatch):
    (container / "templates/hostname.tpl").write_text(
        "ok\n{% if trigger|lower == 'start' %}{{ 1/0 }}{% endif %}\n"
    )
    for name, value in (
        ("LXC_NAME", "c1"), ("LXC_HOOK_TYPE", "pre-start"), ("LXC_CONFIG_FILE", f"{container}/config"),
        ("LXC_ROOTFS_PATH", f"{container}/rootfs"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert run(["lxc", "-t", "create"]) == 0
    assert run(["lxc", "-t", "start"]) == 5
    said = capfd.readouterr().err
    assert "templates/hostname.tpl:2:" in said
    assert "metadata.yaml:4:3" in said
    assert "{{ 1/0 }}" in said
