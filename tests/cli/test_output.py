"""Standard output: exact in a pipe, safe on a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from templater.cli import output
from templater.cli.run_command_line import system_error
from tests.processor_time import ends_within

ROOT = Path(__file__).resolve().parent.parent.parent

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
#: red, green, bright blue, magenta, cyan, and reset: no white, no black, no background colour
READABLE = {b"\x1b[%dm" % number for number in (31, 32, 94, 35, 36)} | {b"\x1b[39;49;00m"}


def an_image(tmp_path, text):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t.tpl").write_bytes(text)
    (tmp_path / "metadata.yaml").write_text(
        "templates:\n  /etc/a.yaml:\n    when: [create]\n    template: t.tpl\n"
    )
    return str(tmp_path)


def on_a_terminal(*arguments, **environment):
    """Return the bytes that a terminal receives."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "templater", *arguments],
        stdout=child,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PAGER": "cat", **environment},
    )
    os.close(child)
    seen = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    process.wait()
    os.close(parent)
    return seen


def piped(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "templater", *arguments],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    ).stdout


def test_output_to_a_pipe_has_the_exact_bytes_of_the_file(tmp_path):
    text = b"\xff\x00 \x1b[31m caf\xc3\xa9\n"
    assert text in piped("preview", an_image(tmp_path, text), "-t", "create")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["check", "audit"])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_findings_are_written_in_utf8_despite_another_output_encoding(command, encoding, tmp_path):
    image = Path(an_image(tmp_path, "{{ x😀 }}\n".encode()))
    (image / "templates/t.tpl").rename(image / "templates/😀.tpl")
    metadata = image / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("t.tpl", "😀.tpl"))
    answer = subprocess.run(
        [sys.executable, "-m", "templater", command, str(image)], cwd=ROOT, capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert b"Traceback" not in answer.stderr
    assert "😀.tpl".encode() in answer.stdout


def test_output_to_a_pipe_has_no_colour(tmp_path):
    assert b"\x1b" not in piped("preview", an_image(tmp_path, b"a: 1\n"), "-t", "create")


def test_output_to_a_terminal_has_colour(tmp_path):
    assert b"\x1b[" in on_a_terminal("preview", an_image(tmp_path, b"a: 1\n"), "-t", "create")


def test_the_no_color_variable_turns_colour_off(tmp_path):
    assert b"\x1b" not in on_a_terminal(
        "preview", an_image(tmp_path, b"a: 1\n"), "-t", "create", NO_COLOR="1"
    )


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["coloured", "plain"])
def test_escape_sequences_from_an_image_do_not_reach_a_terminal(environment, tmp_path):
    hostile = b"a\x1b]0;owned\x07b\x1b[2J\x9b31m\r\n"
    seen = on_a_terminal("preview", an_image(tmp_path, hostile), "-t", "create", **environment)
    assert b"\x1b]0;" not in seen
    assert b"\x1b[2J" not in seen
    assert b"\x07" not in seen
    assert b"x1b]0;owned" in seen


TABLE = b"127.0.0.1\tlocalhost\n\n\tindented \n\n"


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["coloured", "plain"])
def test_tabs_are_kept_on_a_terminal(environment, tmp_path):
    seen = on_a_terminal("preview", an_image(tmp_path, TABLE), "-t", "create", **environment)
    assert TABLE.replace(b"\n", b"\r\n") in COLOUR.sub(b"", seen)


def test_tabs_in_a_patch_are_kept_on_a_terminal(tmp_path):
    (tmp_path / "rootfs").mkdir()
    image = an_image(tmp_path, TABLE)
    seen = on_a_terminal("diff", image, str(tmp_path / "rootfs"), "-t", "create")
    assert b"+127.0.0.1\tlocalhost\r\n+\r\n+\tindented \r\n+\r\n" in COLOUR.sub(b"", seen)
    assert COLOUR.search(seen)


def test_plain_text_has_the_default_colour_of_the_terminal(tmp_path):
    image = an_image(tmp_path, TABLE)
    (tmp_path / "metadata.yaml").write_text(
        "templates:\n  /etc/h:\n    when: [create]\n    template: t.tpl\n"
    )
    assert b"\n" + TABLE.replace(b"\n", b"\r\n") in on_a_terminal("preview", image, "-t", "create")


@pytest.mark.parametrize("path", ["a.yaml", "a.json", "a.toml", "a.nix", "a.sh", "a.conf", "a.xml", "a.py"])
def test_syntax_colours_do_not_change_the_text(path):
    text = '\n\n# x\n[a]\nb: "c"\n\td = 1  \n<e f="g">@~$\n\n\nlast'
    shown = output.Highlighter().coloured(text, path)
    assert COLOUR.sub(b"", shown.encode()).decode() == text
    assert set(COLOUR.findall(shown.encode())) <= READABLE


@pytest.mark.parametrize(
    "path",
    ["/a.yaml", "a.yml", "b/user-data", "vendor-data", "meta-data", "network-config", "a.json", "a.toml", "a.nix",
     "a.sh", "a.conf", "a.network", "a.cfg", "a.service", "a.xml", "a.py"],
)  # fmt: skip
def test_only_files_of_a_known_type_have_colours(path):
    text = '# x\n<a b="c">\n[a]\nb: "c"\nd = 1\n'
    assert COLOUR.search(output.Highlighter().coloured(text, path).encode())
    for other in ("/etc/hostname", "yaml", f"{path}.txt", "data", ""):
        assert output.Highlighter().coloured(text, other) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "text"),
    [("a.nix", "é"), ("a.yaml", "%"), ("a.conf", "="), ("a.py", "\n "), ("a.xml", "<!--"), ("a.sh", "$(")],
)
def test_slow_syntax_highlighting_stops_at_the_time_limit(path, text, monkeypatch):
    """For the texts of this test, lexers of Pygments take quadratic time."""
    monkeypatch.setattr(output, "COLOUR_SECONDS", 0.05)
    line = (text * 1000)[:1000].rstrip("\n") + "\n"
    text = (line * 1000)[: output.LARGEST_COLOURED]
    highlighter = output.Highlighter()
    highlighter.coloured("a = 1\n", path)  # imports are not measured
    with ends_within(0.8):
        for _ in range(50):
            shown = highlighter.coloured(text, path)
            assert COLOUR.sub(b"", shown.encode()).decode() == text


@pytest.mark.parametrize(("line", "count"), [("a: 1\n", 3276), ("a: " + "b" * 997 + "\n", 1)])
def test_long_texts_and_long_lines_are_not_highlighted(line, count, monkeypatch):
    monkeypatch.setattr(output, "COLOUR_SECONDS", 5)
    text = line * count
    assert COLOUR.search(output.Highlighter().coloured(text, "a.yaml").encode())
    longer = text + line if count > 1 else f"b{line}"
    assert output.Highlighter().coloured(longer, "a.yaml") == longer


def test_a_missing_final_newline_is_shown_on_a_terminal(tmp_path):
    assert b"No newline at end of file" in on_a_terminal(
        "preview", an_image(tmp_path, b"a: 1"), "-t", "create"
    )


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("/etc/hosts", "text"),
        ("/etc/netplan/10.yaml", "yaml"),
        ("/var/lib/cloud/seed/nocloud-net/user-data", "yaml"),
    ],
)
def test_the_language_for_syntax_colours_is_detected_from_the_file_name(path, language):
    assert output.language_of(path) == language


def test_large_json_output_is_written_in_pieces(monkeypatch, capsysbinary):
    pieces = []
    monkeypatch.setattr(output, "write", pieces.append)
    value = [{"n": number, "text": "x" * 100} for number in range(5000)]
    output.write_json(value)
    assert json.loads("".join(pieces)) == value
    assert max(map(len, pieces)) < len("".join(pieces)) / 3


def test_json_output_escapes_control_characters_of_terminals(capsysbinary):
    value = {"a": "é\u202e\u009b\u2028\n\udcff😀"}
    output.write_json(value)
    output.flush()
    written = capsysbinary.readouterr().out
    assert written == '{\n  "a": "é\\u202e\\u009b\\u2028\\n'.encode() + b"\xff" + '😀"\n}\n'.encode()


def test_a_system_error_about_a_file_begins_with_the_path(tmp_path):
    with pytest.raises(OSError) as named:
        os.listdir(tmp_path / "missing")
    assert system_error(named.value) == f"{tmp_path}/missing: no such file or directory"
    with pytest.raises(OSError) as unnamed:
        os.read(-1, 1)
    assert system_error(unnamed.value) == "bad file descriptor"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_command_runs_with_closed_standard_streams(tmp_path, closed):
    """A closed standard output gave a traceback and exit code 1."""
    made = f'"$0" -m templater new image --preset openwrt --architecture x86_64 {closed}'
    listed = f'"$0" -m templater preview image {closed}'
    answer = subprocess.run(
        ["sh", "-c", f"{made} && {listed}", sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert (answer.returncode, "Traceback" in answer.stderr) == (0, False)
    assert ("/etc/config/system" in answer.stdout) == (">&-" not in closed.replace("2>&-", ""))
