"""Output on a terminal: colours, width and the pager. Output to a pipe has none of them."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

from templater.cli import styled, terminal
from templater.cli.run_command_line import main
from tests.cli.test_output import on_a_terminal, piped

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / "sample-images"
COLOUR = re.compile("\x1b\\[[0-9;]*m")
YELLOW, RED = "\x1b[33m", "\x1b[31m"
COMMANDS = {
    "preview": ("preview", "debian-cloud"),
    "failures": ("preview", "broken"),
    "machine": ("preview", "rocky-vm", "--vm"),
    "hosts": ("preview", "rocky-vm", "--as", "all"),
    "tree": ("preview", "debian-cloud", "--tree"),
    "explain": ("explain", "debian-cloud"),
    "check": ("check", "broken", "--no-run-validators"),
    "audit": ("audit", "broken"),
    "simulate": ("simulate", "debian-cloud", "create", "start", "c:user.meta-data=x", "copy=w2", "w2:start"),
    "info": ("image", "info", "debian-cloud"),
}


def words_of(name):
    return [str(SAMPLES / word) if (SAMPLES / word).is_dir() else word for word in COMMANDS[name]]


@pytest.fixture
def shown(monkeypatch, capfd):
    """Return a function that runs a command in this process, as on a terminal of this width."""

    def run(*words, width=80, **environment):
        for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm", "PAGER": "cat", "COLUMNS": str(width), **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: True)
        main([str(word) for word in words])
        found = capfd.readouterr()
        return found.out + found.err

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_piped_output_without_rich_has_no_terminal_layout(name, monkeypatch, capfd):
    """The sessions in tests/cli/*.txt compare every byte. This test only looks for the terminal layout."""
    monkeypatch.setitem(sys.modules, "templater.cli.styled", None)
    main(words_of(name))
    found = capfd.readouterr()
    assert "\x1b" not in found.out + found.err
    assert not re.search("^── ", found.out, re.MULTILINE)


@pytest.mark.slow
def test_commands_in_a_pipe_import_neither_rich_nor_pygments_nor_subprocess():
    code = (
        "import sys\nfrom templater.cli.run_command_line import main\n"
        f"for words in {[words_of(name) for name in ('preview', 'explain', 'simulate', 'info')]!r}:\n"
        "    main(words)\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "sys.exit(str(loaded & {'rich', 'pygments', 'subprocess', 'shutil'} or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr.splitlines()[-1:] != ["set()"]
    for name in ("rich", "pygments", "subprocess"):
        assert f"'{name}'" not in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_all_lines_except_file_contents_fit_the_width_of_the_terminal(name, width, shown):
    text = COLOUR.sub("", shown(*words_of(name), width=width))
    contents = re.compile(r"^ *\d+ +\d+ \| |^ +\| ")  # lines of files are not wrapped
    wide = [line for line in text.split("\n") if cell_len(line) > width and not contents.match(line)]
    assert not wide


@pytest.mark.parametrize("width", [80, 200])
def test_the_host_table_gives_the_result_of_each_host(width, shown):
    lines = COLOUR.sub("", shown(*words_of("hosts"), width=width)).splitlines()
    if width == 80:
        assert lines[lines.index("── /etc/hostname  on create") + 1] == "   same     every host"
        motd = lines[lines.index("── /etc/motd  on start") :]
        assert motd[1].startswith("   same     incus, ") and motd[2].startswith("   differs  lxd, ")
        assert motd[3].startswith("            LXD ignores uid, gid and mode")
    else:
        header, motd = (
            next(line for line in lines if line.startswith(word)) for word in ("file", "/etc/motd")
        )
        assert motd[header.index("lxd") :].startswith("differs [1]")


def test_the_message_of_a_finding_follows_its_position(shown):
    message = "tag 'include' reads files  [CVE-2026-33897]"
    wide, narrow = (COLOUR.sub("", shown(*words_of("audit"), width=width)) for width in (300, 80))
    assert f"banned.tpl:1:4: {message}\n" in wide
    assert f"\n{' ' * 10}{message}\n" in narrow


def test_patches_of_different_files_are_separated_only_on_a_terminal(shown, capfd):
    words = ["diff", str(SAMPLES / "permissions"), "none", "--name", "c1"]
    separated = COLOUR.sub("", shown(*words)).split("\n\n# /")
    assert len(separated) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_no_color_variable_removes_every_escape_sequence(name, shown):
    plain = shown(*words_of(name), NO_COLOR="1")
    assert "\x1b" not in plain
    assert plain.splitlines() == COLOUR.sub("", shown(*words_of(name))).splitlines()[
        : len(plain.splitlines())
    ] or (
        name == "explain"  # colours have a legend
    )


def test_the_columns_of_file_lists_are_aligned(shown):
    text = COLOUR.sub("", shown(*words_of("preview"), width=120))
    rules = [line for line in text.split("\n") if line.startswith("── ")]
    assert len(rules) == 6
    assert len({line.index("0:0") for line in rules}) == 1
    assert len({re.search("update|create", line).start() for line in rules}) == 1


def test_unchanged_files_of_a_later_trigger_are_listed_in_one_line(tmp_path, shown):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t").write_text("{{ instance.name }}\n")
    rule = "{when: [create, start], template: t}"
    (tmp_path / "metadata.yaml").write_text(f"templates:\n  /etc/a: {rule}\n  /etc/b: {rule}\n")
    text = COLOUR.sub("", shown("preview", tmp_path))
    assert text.count("\nc1\n") == 2
    assert "unchanged on start: /etc/a, /etc/b\n" in text
    assert text.count("── /etc/") == 2
    assert "written again" not in text and "not changed on start" not in text


def test_a_rewritten_file_is_shown_only_for_the_later_trigger(tmp_path, shown):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t").write_text("on {{ trigger }}\n")
    (tmp_path / "metadata.yaml").write_text("templates:\n  /etc/a: {when: [create, start], template: t}\n")
    text = COLOUR.sub("", shown("preview", tmp_path))
    assert "written again on start" in text
    assert "\non start\n" in text and "\non create\n" not in text


def test_only_the_marked_part_of_a_source_line_is_red():
    error = (
        "t.tpl:1:3: unknown filter\n 1 | ab {{ x|uper }} cd\n   |         ^^^^\nhint: did you mean 'upper'?"
    )
    first, line, carets, hint = styled.ansi(styled.message(error, 80), colour=True).splitlines()
    assert "\x1b" not in first
    assert re.findall(f"{re.escape(RED)}(.*?)\x1b", line + "\x1b") == ["uper"]
    assert re.findall(f"{re.escape(RED)}(.*?)\x1b", carets + "\x1b") == ["^^^^"]
    assert hint == "\x1b[2mhint: did you mean 'upper'?\x1b[0m"


def test_files_on_the_config_drive_have_no_warning_colour(shown):
    text = shown("preview", SAMPLES / "debian-cloud", "--vm", "-t", "create")
    lines = [line for line in text.splitlines() if "on the config drive" in line]
    assert len(lines) >= 6
    assert not any(YELLOW in line for line in lines)


def test_refused_files_have_the_warning_colour(shown):
    assert f"{YELLOW}! " in shown(*words_of("failures"))


def test_an_enforced_property_has_a_yellow_exclamation_mark(tmp_path, shown):
    properties = "{os: x, requirements.nesting: 'true'}"
    (tmp_path / "metadata.yaml").write_text(f"architecture: x86_64\nproperties: {properties}\n")
    text = shown("image", "info", tmp_path)
    assert f"\n{YELLOW}! \x1b[0mrequirements.nesting  true\n" in text
    assert "\n  os                    x\n" in text


@pytest.mark.parametrize("name", ["simulate", "info"])
def test_the_simulate_and_image_info_commands_use_colours(name, shown):
    assert COLOUR.search(shown(*words_of(name)))


@pytest.mark.parametrize(
    ("option", "environment", "on_terminal", "colours"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0"}, False, False),
        ("auto", {"CLICOLOR_FORCE": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "0"}, False, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_the_color_option_overrides_the_environment(option, environment, on_terminal, colours, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(terminal._State, "color", option)
    monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: on_terminal)
    assert terminal.has_colour() == colours


@pytest.mark.parametrize("words", [("--color", "always", "preview"), ("preview", "--color", "always")])
def test_the_color_option_is_accepted_before_and_after_the_command(words, run):
    code, out, _ = run(*words, SAMPLES / "debian-cloud")
    assert code == 0
    assert "\x1b[1m/etc/hostname" in out
    code, out, _ = run("preview", SAMPLES / "debian-cloud")  # the option does not last
    assert "\x1b" not in out


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\u2066\x9b31m\r\u2028"


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["coloured", "plain"])
@pytest.mark.parametrize(
    "words",
    [
        ("preview",), ("preview", "--tree"), ("explain",), ("check", "--no-run-validators"), ("audit",),
        ("simulate", "create", "start"), ("image", "info"), ("preview", "--as", "all"),
        ("diff", "--set", "user.a=b"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_hostile_names_and_texts_are_escaped_on_a_terminal(words, environment, tmp_path, shown):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t").write_text(f"{HOSTILE} {{{{ config_get('user.a', 'x') }}}}\n")
    (tmp_path / "templates" / "bad").write_text(f"{{{{ x|{HOSTILE} }}}}\n")
    escaped = "".join(f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in HOSTILE)
    (tmp_path / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\n"
        f'properties: {{"a{escaped}": "b{escaped}"}}\n'
        f'templates:\n  "/etc/a{escaped}": {{when: [create], template: t}}\n'
        f'  "/etc/b{escaped}": {{when: [create, "{escaped}"], template: bad}}\n'
    )
    place = (2 if words[0] == "image" else 1,)
    given = (*words[: place[0]], tmp_path, *words[place[0] :])
    text = COLOUR.sub("", shown(*given, **environment))
    assert "x1b" in text
    assert not set(HOSTILE) & set(text) - set("0;owned[2J31m]")


def test_long_output_goes_through_the_pager_on_a_terminal():
    seen = on_a_terminal("preview", str(SAMPLES / "debian-cloud"), PAGER="tr a-z A-Z")
    assert b"LOCALHOST" in seen and b"localhost" not in seen


@pytest.mark.slow
def test_a_command_ends_only_after_its_pager(tmp_path):
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat >/dev/null\nsleep 0.3\ntouch {tmp_path}/left\n")
    pager.chmod(0o755)
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "templater", "preview", str(SAMPLES / "debian-cloud")]
    environment = {**os.environ, "TERM": "xterm", "PAGER": str(pager)}
    subprocess.run(words, stdout=child, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment, check=True)
    assert (tmp_path / "left").exists()
    os.close(parent)
    os.close(child)


def test_leaving_the_pager_early_restores_standard_output(tmp_path, monkeypatch):
    class Output:
        broken = True

        def __init__(self, number):
            self.fileno = lambda: number

        def flush(self):
            was_broken, self.broken = self.broken, False
            if was_broken:
                raise BrokenPipeError

    with (tmp_path / "out").open("wb") as file:
        number, before = file.fileno(), set(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(sys, "stdout", Output(number))
        monkeypatch.setattr(sys, "stderr", Output(-1))
        monkeypatch.setattr(terminal._State, "saved", {number: os.dup(number)}, raising=False)
        monkeypatch.setattr(terminal._State, "pager", SimpleNamespace(wait=lambda: 0))
        terminal.end_pager()
        assert set(os.listdir("/proc/self/fd")) == before
        assert os.path.samestat(os.fstat(number), os.stat(tmp_path / "out"))
    assert terminal._State.pager is None


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"PAGER": ""}, {"PAGER": "cat"}, {"PAGER": "no-such-pager"}])
def test_without_a_pager_the_output_goes_to_the_terminal(environment):
    assert b"localhost" in on_a_terminal("preview", str(SAMPLES / "debian-cloud"), **environment)


def test_the_no_pager_option_overrides_the_environment():
    seen = on_a_terminal("preview", str(SAMPLES / "debian-cloud"), "--no-pager", PAGER="tr a-z A-Z")
    assert b"localhost" in seen


def test_output_to_a_pipe_does_not_start_the_pager(monkeypatch):
    monkeypatch.setenv("PAGER", "tr a-z A-Z")
    assert b"localhost" in piped("preview", str(SAMPLES / "debian-cloud"))


def test_a_command_ends_without_a_message_if_its_pager_ends_early(tmp_path):
    for number in range(30):
        (tmp_path / "templates").mkdir(exist_ok=True)
        (tmp_path / "templates" / f"{number}").write_text("text\n" * 5000)
    rules = "".join(f"  /etc/{n}: {{when: [create], template: '{n}'}}\n" for n in range(30))
    (tmp_path / "metadata.yaml").write_text(f"templates:\n{rules}")
    seen = on_a_terminal("preview", str(tmp_path), PAGER="head -n 2")
    assert seen.count(b"\n") == 2
    assert b"Traceback" not in seen


@pytest.mark.parametrize(
    ("on_terminal", "term", "color", "layout"),
    [
        (True, "xterm", "never", True),
        (True, "dumb", "never", False),
        (True, "dumb", "always", True),
        (False, "xterm", "never", False),
        (False, "xterm", "always", True),
        (False, "dumb", "auto", False),
    ],
)
def test_terminal_layout_requires_a_capable_terminal_or_forced_colours(
    on_terminal, term, color, layout, monkeypatch
):
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: on_terminal)
    monkeypatch.setattr(terminal._State, "color", color)
    assert terminal.has_layout() is layout
