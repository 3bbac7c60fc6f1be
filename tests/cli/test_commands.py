"""Finding commands, and handling usage errors and interruptions."""

import errno
import importlib.metadata
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from templater.cli.command_group import ALIASES, Commands
from templater.cli.run_command_line import command, main
from templater.model.errors import LimitError

CLI = Path(__file__).resolve().parent.parent.parent / "templater" / "cli"
IMAGE = str(CLI.parent.parent / "sample-images" / "debian-cloud")


def said(capfd, *arguments):
    code = main(list(arguments))
    out = capfd.readouterr()
    return code, out.out, out.err


def test_the_help_contains_the_main_commands(capfd):
    code, out, _ = said(capfd, "--help")
    assert code == 0
    for name in ("preview", "diff", "apply", "watch"):
        assert f"\n  {name} " in out


#: click 8.1 counts this as a success
CLICK = tuple(map(int, importlib.metadata.version("click").split(".")[:2]))


def test_a_command_without_arguments_shows_the_help(capfd):
    code, out, err = said(capfd)
    assert code == (0 if CLICK < (8, 2) else 2)
    assert "Usage: templater" in out + err


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_of_every_command_contains_an_example(option, capfd):
    for path in CLI.glob("*.py"):
        source = path.read_text()
        if not ("\ndef command(" in source and "@click.command" in source) or "_" in path.stem:
            continue
        code, out, _ = said(capfd, path.stem, option)
        assert code == 0
        assert f"templater {path.stem}" in out.partition("Usage:")[2].partition("\n")[2], (
            f"no example in {path.stem}"
        )


def test_a_command_module_is_imported_only_when_it_is_used():
    code = (
        "import sys; from templater.cli.run_command_line import main; main(['--version'])\n"
        "assert not [m for m in sys.modules if m.startswith(('templater.cli.commands.preview', 'jinja2', 'rich', 'yaml'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_an_alias_of_a_command_runs_the_command():
    group = Commands("templater.cli")
    context = click.Context(group)
    for alias, name in ALIASES.items():
        assert group.get_command(context, alias) is group.get_command(context, name)


def test_a_mistyped_command_gets_a_suggestion(capfd):
    code, _, err = said(capfd, "preveiw", IMAGE)
    assert code == 2
    assert "did you mean 'preview'?" in err


@pytest.mark.parametrize("name", ["options", "output", "commands", "__init__", "../cli", "os", ""])
def test_the_name_of_a_helper_module_is_not_a_command(name, capfd):
    code, _, err = said(capfd, name)
    assert code == 2
    assert "unknown command" in err


def test_a_package_in_the_commands_folder_is_a_command_group(tmp_path, monkeypatch):
    group = tmp_path / "some_cli/image"
    group.mkdir(parents=True)
    (tmp_path / "some_cli/__init__.py").touch()
    (group / "__init__.py").write_text(
        "from templater.cli.command_group import Commands\ncommand = Commands(__name__)\n"
    )
    for file in ("show", "image/info", "image/set_property"):
        (tmp_path / f"some_cli/{file}.py").write_text("import click\n@click.command()\ndef command(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    above = Commands("some_cli")
    assert above.list_commands(click.Context(above)) == ["image", "show"]
    below = above.get_command(click.Context(above), "image")
    assert below.list_commands(click.Context(below)) == ["info", "set-property"]


def test_a_closed_pipe_ends_the_command_quietly():
    done = subprocess.run(
        [
            "bash",
            "-c",
            f'"{sys.executable}" -m templater preview "{IMAGE}" | true; echo "${{PIPESTATUS[0]}}"',
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=CLI.parent.parent,
    )
    assert done.stdout.strip() in ("0", "141")
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


def test_an_interrupt_shows_no_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "templater", "watch", IMAGE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CLI.parent.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Traceback" not in err


def test_an_interrupt_of_code_in_a_text_does_not_change_the_exit_code(tmp_path):
    """Dataclasses run texts. CPython remembers such an interrupt, and ``python -m`` then kills itself."""
    (tmp_path / "ends.py").write_text("""\
import atexit
from templater.cli.run_command_line import end
atexit.register(print, "exit function")
try:
    exec("raise KeyboardInterrupt")
except KeyboardInterrupt:
    end(0)
""")
    done = subprocess.run(
        [sys.executable, "-m", "ends"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "exit function\n", "")


@pytest.mark.slow
def test_an_interrupted_serve_command_shows_no_traceback(tmp_path):
    """A command closes all file descriptors at its end. A finalizer then closed one of them a second time."""
    catalog = tmp_path / "streams" / "v1"
    catalog.mkdir(parents=True)
    (catalog / "index.json").write_text('{"format": "index:1.0", "index": {}}')
    process = subprocess.Popen(
        [sys.executable, "-m", "templater", "serve", tmp_path, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CLI.parent.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "XDG_CONFIG_HOME": str(tmp_path / "config")},
    )
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Traceback" not in err
    assert b"Error" not in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed_for_shell_in_environment_variable(shell):
    done = subprocess.run(
        [sys.executable, "-m", "templater"],
        env={**os.environ, "_TEMPLATER_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=False,
        cwd=CLI.parent.parent,
    )
    assert "_TEMPLATER_COMPLETE" in done.stdout


def test_completion_offers_commands_and_triggers():
    def complete(words, position):
        return subprocess.run(
            [sys.executable, "-m", "templater"],
            env={
                **os.environ,
                "_TEMPLATER_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(position),
            },
            capture_output=True,
            text=True,
            check=False,
            cwd=CLI.parent.parent,
        ).stdout

    assert "plain,preview" in complete("templater prev", 1)
    assert "plain,create" in complete("templater preview x -t c", 4)
    assert complete("templater preview -i we", 3) == "file,we\n"  # the shell completes file names itself


def test_the_watch_command_ends_if_its_command_line_is_invalid(capsys):
    assert main(["watch", IMAGE, "-c", "foo"]) == 2
    assert "is not KEY=VALUE" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rootfs", "instance"])
def test_the_watch_command_waits_for_missing_files(kind, tmp_path):
    wanted = tmp_path / "wanted"
    arguments = [str(wanted)] if kind == "rootfs" else ["-i", str(wanted)]
    process = subprocess.Popen(
        [sys.executable, "-m", "templater", "watch", IMAGE, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert any(line == f"waiting for '{wanted}' to appear\n" for line in process.stderr)
        if kind == "rootfs":
            wanted.mkdir()
        else:
            wanted.write_text("name: web1\n")
        assert any(line.startswith("changed: ") and str(wanted) in line for line in process.stderr)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def every_command(group, *words):
    yield group, words
    if isinstance(group, click.Group):
        for name in group.list_commands(click.Context(group)):
            yield from every_command(group.get_command(click.Context(group), name), *words, name)


@pytest.mark.parametrize(
    ("found", "words"),
    list(every_command(command)),
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_the_lines_of_the_help_fit_the_width_of_a_terminal(found, words):
    """The terminal wraps no line, and no summary in a list of commands is cut off with dots."""
    context = click.Context(found, info_name=" ".join(["templater", *words]), terminal_width=80)
    lines = found.get_help(context).split("\n")
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if line.startswith("  ") and line.endswith("...")] == []


def described(parameter):
    """Return the name, values and help of an option or argument, in the same form for each release of click."""
    kind = parameter.type
    names = ("exists", "file_okay", "dir_okay", "min", "max")
    flags = ("required", "multiple", "is_flag", "hidden", "show_default", "is_eager")
    default = "" if callable(parameter.default) or "UNSET" in repr(parameter.default) else parameter.default
    words = [
        *parameter.opts,
        *parameter.secondary_opts,
        parameter.metavar or "",
        f"[{'|'.join(map(str, kind.choices))}]" if isinstance(kind, click.Choice) else type(kind).__name__,
        *(f"{name}={getattr(kind, name)}" for name in names if getattr(kind, name, None)),
        *(name for name in flags if getattr(parameter, name, None)),
        f"x{parameter.nargs}",
        f"default={default!r}" if default else "",
    ]
    return [
        f"  {' '.join(filter(None, words))}",
        *[f"    {text}" for text in [getattr(parameter, "help", "")] if text],
    ]


def test_the_options_and_the_help_of_every_command_are_as_recorded(update):
    """`pytest --update` writes the record; review it."""
    shown = []
    for found, words in every_command(command):
        flags = [name for name in ("hidden", "deprecated", "no_args_is_help") if getattr(found, name)]
        shown += [f"$ {' '.join(['templater', *words, *flags])}", found.help]
        for parameter in found.params:
            shown += described(parameter)
    text = "\n".join(shown) + "\n"
    path = Path(__file__).parent / "outputs/options.txt"
    if update:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MemoryError(), 4, "out of memory"),
        (RecursionError(), 4, "the input is nested too deeply"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 2, "/x: no space left on device"),
        (LimitError("too large", hint="less"), 4, "too large\nhint: less"),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_no_traceback(error, code, text, monkeypatch, capfd):
    def fail(package):
        raise error

    monkeypatch.setattr("templater.cli.commands.schema.files", fail)
    assert main(["schema"]) == code
    assert capfd.readouterr() == ("", f"templater: {text}\n")


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["lint"], "check"), (["validate"], "check"), (["verify"], "audit"), (["scan"], "audit"),
        (["show"], "preview"), (["plan"], "preview"), (["init"], "new"), (["export"], "image export"),
        (["build"], "image build"), (["info"], "image info"), (["edit"], "image edit"),
        (["install"], "hook install"), (["rendr"], "render"), (["image", "exprt"], "export"),
        (["image", "scan"], None), (["qqq"], None),
    ],
)  # fmt: skip
def test_error_about_unknown_command_suggests_a_similar_command(words, suggestion, capfd):
    code, _, err = said(capfd, *words)
    asked = f"; did you mean '{suggestion}'?" if suggestion else ""
    assert (code, err.splitlines()[-1]) == (2, f"Error: unknown command '{words[-1]}'{asked}")


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (click.Abort(), 130), (click.UsageError("wrong"), 2), (None, 0)],
)
def test_an_interrupted_command_has_the_usual_exit_code_of_shells(error, code, monkeypatch, capfd):
    def end(package):
        if error is not None:
            raise error
        return CLI.parent / "image"

    monkeypatch.setattr("templater.cli.commands.schema.files", end)
    assert main(["schema"]) == code
    assert capfd.readouterr().err.endswith("Error: wrong\n" if code == 2 else "")


def test_an_interrupted_command_mentions_unrestored_files(monkeypatch, capfd):
    """Ctrl-C ended the command without a message, although a file had parts of its old and new text."""

    def end(package):
        error = KeyboardInterrupt()
        error.add_note("can't restore '/etc/a'")
        raise error

    monkeypatch.setattr("templater.cli.commands.schema.files", end)
    assert main(["schema"]) == 130
    assert capfd.readouterr().err.strip() == "templater: can't restore '/etc/a'"


@pytest.mark.parametrize(
    "place",
    ["templater.cli.commands.schema.output.write", "templater.cli.run_command_line.terminal.end_pager"],
)
def test_command_ends_quietly_if_its_output_pipe_is_closed(place, monkeypatch, capfd):
    def broken(*_):
        raise BrokenPipeError

    saved = os.dup(1)
    monkeypatch.setattr(place, broken)
    try:
        assert main(["schema"]) == 141
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert capfd.readouterr().err == ""
