"""The README and docs/ are correct: tests replay the sessions, and run the examples."""

import doctest
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click import Context

from templater import limit_option
from templater.cli import open_and_plan
from templater.cli.run_command_line import command
from templater.image.limits import DEFAULT
from templater.parsing import yaml_nodes
from templater.prediction.deviations import table
from templater.sandbox.child import Bounds
from tests.cli.sessions import Stage, complaint, replay
from tests.command_server import run_templater
from tests.live.test_docs import NEEDS, WITH_IMAGES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: a block that was run on a machine with a runtime says so: ```console live
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: a fingerprint depends on the owners of the packed files
NEEDS_ROOT = re.compile(r"templater unpack|^[0-9a-f]{64}$", re.MULTILINE)


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=page_name)
def test_the_terminal_sessions_on_a_page_give_the_shown_output(page, tmp_path, update):
    """All blocks of a page are one session, in one folder."""
    if os.geteuid() != 0 and any(map(NEEDS_ROOT.search, BLOCK.findall(page.read_text()))):
        pytest.skip("NOT RUN: needs root, for files that belong to other users")
    stage, complaints = Stage.set_up(tmp_path), []

    def run(block: re.Match[str]) -> str:
        real, wrong = replay(block[1], stage)
        complaints.extend(wrong)
        return f"```console\n{real}```"

    real = BLOCK.sub(run, page.read_text())
    if update:
        page.write_text(real)
    else:
        assert not complaints, complaint(complaints)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in page.read_text()], ids=page_name)
def test_the_python_examples_of_a_page_succeed(page, tmp_path, monkeypatch):
    Stage.set_up(tmp_path)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert not failed
    assert tried
    samples = ROOT / "sample-images"
    left = subprocess.run(["diff", "-r", "--no-dereference", samples, "sample-images"], check=False)
    assert left.returncode == 0, "who tries it in a clone has changes in it"


OPENING, CLOSING = (
    "<!-- deviations: `pytest tests/test_docs.py --update` writes this table -->\n",
    "<!-- /deviations -->",
)


def test_the_table_of_differences_from_the_hosts_is_up_to_date(update):
    page = ROOT / "docs/differences.md"
    before, opening, rest = page.read_text().partition(OPENING)
    old, closing, after = rest.partition(CLOSING)
    assert opening
    assert closing
    if update:
        page.write_text(before + opening + table() + closing + after)
    else:
        assert old == table()


LIMITS_OPENING = "<!-- limits: `pytest tests/test_docs.py --update` writes this table -->\n"
LIMITS_CLOSING = "<!-- /limits -->"


def limits_table() -> str:
    """Return the table with the limits of ``preview``, which has the most limits.

    ``memory`` is that of the child.
    """
    ours = {
        limit_option.RENDERING: open_and_plan.rendering(limit_option.Given()), limit_option.READING: yaml_nodes.LIMITS,
        limit_option.IMAGE: DEFAULT, limit_option.CHILD: Bounds(), limit_option.COMMAND: limit_option.CommandLimits(),
    }  # fmt: skip
    lines = ["| name | default | what it limits |\n|---|---|---|\n"]
    for name, (kind, attribute, unit, about) in limit_option.NAMES.items():
        lines.append(f"| `{name}` | {shown(getattr(ours[kind], attribute), unit)} | {about} |\n")
    return "".join(lines)


def shown(value: float, unit: str) -> str:
    """Return a value in the form that ``--limit`` accepts."""
    suffixes = [suffix for suffix in limit_option.UNITS[unit] if suffix != "b"]
    names = {"kib": "KiB", "mib": "MiB", "gib": "GiB", "m": "M" if unit == limit_option.NUMBER else "m"}
    best = max(
        (s for s in suffixes if value % limit_option.UNITS[unit][s] == 0),
        key=lambda s: (limit_option.UNITS[unit][s], len(s)),
    )
    return f"{int(value) // limit_option.UNITS[unit][best]}{names.get(best, best)}"


def test_the_table_of_limits_is_up_to_date(update):
    page = ROOT / "docs" / "limits.md"
    before, opening, rest = page.read_text().partition(LIMITS_OPENING)
    old, closing, after = rest.partition(LIMITS_CLOSING)
    assert opening
    assert closing
    if update:
        page.write_text(before + opening + limits_table() + closing + after)
    else:
        assert old == limits_table()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_links_of_a_page_are_valid(page):
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_every_documentation_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    missing = [page.name for page in PAGES if page.parent.name == "docs" and f"({page.name})" not in index]
    assert missing == ["README.md"]
    pages = re.findall(r"\]\(([a-z]+\.md)\)", index)
    assert len(pages) == len(set(pages))


def test_the_unsandboxed_commands_on_the_security_page_exist():
    """The page lists the commands that render in their own process."""
    sentence = re.search(
        r"^\* (.*?) render in their own process", (ROOT / "docs/security.md").read_text(), re.M
    )
    assert sentence
    assert not set(re.findall("`([a-z]+)`", sentence[1])) - set(command.list_commands(Context(command)))


def test_commands_in_the_readme_list_have_the_json_option():
    row = re.search(r"^\| feed another program \|.*", (ROOT / "README.md").read_text(), re.M)
    assert row
    words = re.findall("`([a-z][a-z ]*)`", row[0])
    assert len(words) > 5
    for word in words:
        assert "--json" in run_templater([*word.split(), "--help"]).stdout, word


def test_every_command_is_documented_in_the_readme_or_on_another_page():
    text = "".join(page.read_text() for page in PAGES)
    commands = [name for name in command.list_commands(Context(command)) if f"templater {name}" not in text]
    assert not commands


#: a replacement for Incus: the recorded answers of `incus query` and `incus list -f json`
INCUS = """#!/bin/sh
case "$1" in
  query) cat "$(dirname "$0")/web1.json";;
  list) printf '['; cat "$(dirname "$0")/web1.json"; printf ']';;
esac
"""
WEB1 = {
    "name": "web1", "type": "container", "architecture": "x86_64", "ephemeral": False, "status": "Stopped",
    "config": {"image.os": "Debian"}, "devices": {}, "profiles": ["default"],
    "expanded_config": {"image.os": "Debian"},
    "expanded_devices": {"root": {"path": "/", "pool": "default", "type": "disk"}},
}  # fmt: skip
PREPARE = """
cp -a sample-images/debian-cloud image && cp -a image/rootfs rootfs && mkdir tree
templater image build image -o image.tar.xz && mkdir out
templater image export image.tar.xz out/ --format split && mv out/meta-* meta.tar.xz && mv out/*.tar* split.tar.xz
templater unpack image.tar.xz web1 --name web1
cp sample-images/definitions/debian.yaml .
"""


#: commands in tables that are not run, each with its reason
_LIVE = "needs a daemon; tests/live/test_next_start.py and test_live_simulate.py run it"
NOT_RUN = {
    "templater apply": "docs/performance.md names with it what was measured",
    "templater diff incus:web1": _LIVE, "templater diff incus:": _LIVE, "templater watch incus:web1": _LIVE,
}  # fmt: skip


#: commands that run until Ctrl-C, each with the text that it prints when it has started
RUNS_ON = {
    "watch ./image -i": "web1: create then start",
    "watch ./image --web": "?token=",
    " serve ": "serving ",
}


def commands_in_tables() -> list[str]:
    """Return every command in a table of the README or of a page."""
    rows = [line for page in PAGES for line in page.read_text().splitlines() if line.startswith("|")]
    found = [span for row in rows for span in re.findall(r"`((?:incus [^`]*; )?templater [^`]+)`", row)]
    return list(dict.fromkeys(found))


@pytest.mark.slow
def test_every_command_in_a_table_of_the_docs_can_be_run(tmp_path):
    """In the order of the pages, as a reader would try them one after the other."""
    stage = Stage.set_up(tmp_path)
    (tmp_path / ".bin/incus").write_text(INCUS)
    (tmp_path / ".bin/incus").chmod(0o755)
    (tmp_path / ".bin/web1.json").write_text(json.dumps(WEB1))
    assert "[exit" not in stage.run(PREPARE)
    commands = commands_in_tables()
    assert set(NOT_RUN) <= set(commands)
    failed = {}
    for typed in commands:
        if typed in NOT_RUN:
            continue
        line = typed.replace("rootfs.squashfs", "split.tar.xz")
        for verb, place in (("unpack", "web1"), ("streams", "tree")):  # which other rows have made
            if line.startswith(f"templater {verb}"):
                line = f"rm -r {place}; {line}"
        if " serve " in line:
            line += " --listen 0"  # another test may use the default port
        line = line.replace("--web --open", "--web --allow-root")  # no browser, and CI is root
        last = next((text for words, text in RUNS_ON.items() if words in line), "")
        said = stage.run_until(last, line) if last else stage.run(line)
        code = re.search(r"\[exit (\d+)\]\n$", said)
        ended = (0, 130) if last else (0, 1)
        if int(code[1] if code else 0) not in ended or "Traceback" in said or last not in said:
            failed[typed] = said
    assert not failed


def test_the_readme_is_short_and_mentions_each_tool_of_the_benchmark():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    table = "\n".join(lines[lines.index("## Compared with other tools") :])
    tools = (
        "distrobuilder",
        "incus-simplestreams",
        "cloud-init devel render",
        "p2cli",
        "Ansible",
        "Incus",
        "LXD",
    )
    assert [tool for tool in tools if not re.search(rf"^\|.*\[`?{tool}`?\]\(https://", table, re.M)] == []


FENCE = re.compile(r"^(`[\w/.]+`\n\n)?```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
SHELL = re.compile(
    r"^(\$|templater|incus|lxc-\w+|lxc|podman|rclone|sudo|apt\S*|pip|python3?|mkdocs|\.venv/bin/\S+|cat|cp|printf|mkdir) ",
    re.MULTILINE,
)
#: scripts without a prompt, each with the test that runs the same commands
RUN_BY = {
    ("docs/completion.md", "templater explain"): "tests/cli/test_completion.py::test_completion_works_for_each_example_line_of_the_documentation_page",
    ("README.md", "python3 -m venv"): "tests/test_docs.py::test_the_first_command_of_the_readme_works",
    ("README.md", ".venv/bin/python -m pytest"): ".ci/run::-m pytest",
    ("docs/contributing.md", "python3 -m venv"): "tests/test_docs.py::test_the_first_command_of_the_readme_works",
    ("docs/contributing.md", "python -m pytest"): "tests/test_contributing.py::test_each_contributing_recipe_works_as_written",
    ("docs/contributing.md", "ruff format && ruff check"): "tests/test_contributing.py::test_each_contributing_recipe_works_as_written",
    ("docs/contributing.md", "pip install --require-hashes"): ".ci/run::--require-hashes",
    ("docs/contributing.md", "pip install -e '.[docs]'"): "tests/test_site.py::site",
    ("docs/installing.md", "python3 -m venv"): "tests/test_distributions.py::test_the_wheel_works_in_an_empty_virtual_environment",
    ("docs/installing.md", "install -m 755"): "tests/test_zipapp.py::test_the_hook_status_command_accepts_a_hook_line_that_runs_a_zipapp",
    ("docs/installing.md", "apt install"): "tests/live/test_clean_debian.py::test_templater_works_on_a_new_debian_system",
    ("docs/language.md", "python -m tests.differential"): "tests/differential/test_differential.py::test_",
    ("docs/lxc.md", "lxc-create -n web1"): "tests/live/test_lxc_template.py::test_the_lxc_create_command_makes_a_container_from_an_image_on_a_server",
    ("docs/lxc.md", "printf"): "tests/live/test_lxc_template.py::test_an_ordinary_user_creates_and_starts",
    ("docs/nspawn.md", "mkdir"): "tests/live/test_recipes.py::test_the_nspawn_recipe_makes_a_machine",
    ("docs/page.md", "templater watch"): "tests/page/test_page_in_browser.py::test_editing_a_key_in_the_form_changes_the_preview",
    ("docs/page.md", ".venv/bin/pip"): "tests/test_docs.py::test_the_first_command_of_the_readme_works",
    ("docs/podman.md", "image="): "tests/live/test_recipes.py::test_the_podman_recipe_makes_a_container",
    ("docs/publishing.md", "images.example.com {"): "tests/live/test_streams.py::test_a_web_server_with_documented_configuration",
    ("docs/publishing.md", "incus remote add"): "tests/live/test_streams.py::test_a_web_server_with_documented_configuration",
    ("docs/publishing.md", "server {"): "tests/live/test_streams.py::test_a_web_server_with_documented_configuration",
    ("docs/publishing.md", "set -eu"): "tests/live/test_streams.py::test_the_documented_upload_script",
    ("docs/publishing.md", "templater streams reindex"): "tests/live/test_serve.py::test_incus_downloads_images_through_redirects",
    ("docs/serving.md", ".venv/bin/pip install"): "tests/test_docs.py::test_the_first_command_of_the_readme_works",
    ("docs/serving.md", "templater serve"): "tests/live/test_serve.py::test_a_client_can_list_and_export_every_image",
}  # fmt: skip


#: the only script that no test runs: it runs the whole suite twice
MEASURES_ALL = ("docs/contributing.md", "pip install 'coverage>=7.10'")


def test_every_console_block_of_every_page_is_run_by_a_test():
    """A block with a prompt is a session. Blocks below the name of a file belong to the recipes of contributing.md."""
    live = {*NEEDS, *WITH_IMAGES}
    not_run, named = [], set()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for file, language, text in FENCE.findall(page.read_text()):
            name, first = page_name(page), text.partition("\n")[0]
            replayed = (language == "console" and page in PAGES) or (
                language == "console live" and page.stem in live and page.parent.name == "docs"
            )
            if replayed or file:
                continue
            keys = {key for key in (*RUN_BY, MEASURES_ALL) if key[0] == name and first.startswith(key[1])}
            named |= keys
            if keys:
                continue
            if re.match("console|sh$|bash$", language) or (language in ("", "text") and SHELL.search(text)):
                not_run.append(f"{name}: {first}")
    assert not_run == []
    assert named == {*RUN_BY, MEASURES_ALL}


@pytest.mark.parametrize("test", sorted(set(RUN_BY.values())))
def test_each_script_in_the_docs_has_an_existing_test(test):
    path, _, name = test.partition("::")
    assert name in (ROOT / path).read_text()


@pytest.mark.slow
def test_the_first_command_of_the_readme_works(tmp_path):
    """It makes a virtual environment, installs templater with its dependencies, and shows a preview."""
    script = next(
        text for _, language, text in FENCE.findall((ROOT / "README.md").read_text()) if language == "sh"
    )
    clone = tmp_path / "clone"
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "tests", "docs", "site"
    )
    shutil.copytree(ROOT, clone, symlinks=True, ignore=left_out)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PIP_NO_COMPILE"] = "1"
    done = subprocess.run(
        ["bash", "-c", script], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    if "Could not find a version" in done.stderr and not os.environ.get("CI"):
        pytest.skip("NOT RUN: needs a package index")
    assert done.returncode == 0, done.stderr
    assert "==> /etc/hostname" in done.stdout
