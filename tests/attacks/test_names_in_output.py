"""Names from an image in templater's output: no escape sequence and no extra line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.model.unprintable_characters import printable

ODD = "a\x1b]0;t\x07\nb.tpl"
SPELLED = '"a\\e]0;t\\a\\nb.tpl"'
SHOWN = "a\\x1b]0;t\\x07\\nb.tpl"


@pytest.fixture
def image(tmp_path: Path) -> str:
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "image/metadata.yaml").write_text(
        f'templates:\n  "/etc/\\e[31mx\\ny":\n    when: [create]\n    template: {SPELLED}\n'
    )
    (tmp_path / "image/templates" / ODD).write_text("{{ bad(")
    return str(tmp_path / "image")


@pytest.mark.parametrize(
    "words",
    [
        ["preview"],
        ["preview", "--json"],
        ["diff", "ROOTFS"],
        ["apply", "ROOTFS", "-t", "create"],
        ["simulate", "start"],
        ["audit"],
        ["audit", "--json"],
        ["audit", "--report", "sarif"],
        ["image", "info"],
        ["image", "template", "list"],
    ],
)
def test_attack_03_escape_sequences_in_a_file_name_do_not_reach_the_terminal(
    image: str, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(Path(image).parent / "rootfs")
    command, rest = (words[:-1], []) if words[0] == "image" else (words[:1], words[1:])
    last = words[-1:] if words[0] == "image" else []
    main([*command, *last, image, *(folder if word == "ROOTFS" else word for word in rest)])
    out, err = capfd.readouterr()
    if "--json" in words or "sarif" in words:
        json.loads(out)
    assert "\x1b" not in out + err
    assert "\x07" not in out + err
    assert "\nb.tpl" not in out + err
    assert "\ny" not in out + err


def test_an_error_position_shows_the_template_name_on_one_line(
    image: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", image, str(Path(image).parent / "rootfs"), "-t", "create"]) == 5
    assert f"templates/{SHOWN}:1:7: " in capfd.readouterr().err


HALF = "\\ud800"


def described(image: str, text: str) -> str:
    file = Path(image).parent / "instances.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    Path(image, "metadata.yaml").write_text("templates:\n  /x: {when: [create], template: x.tpl}\n")
    Path(image, "templates/x.tpl").write_text("{{ container.name }}={{ config_get('user.x', '') }}")
    return str(file)


@pytest.mark.parametrize("option", ["-i", "--instances"])
def test_lone_surrogate_in_json_is_parsed_as_in_go(
    image: str, option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Go's encoding/json replaces a lone surrogate with U+FFFD. A surrogate pair becomes one character."""
    text = f'{{"name": "c{HALF}", "config": {{"user.x": "{HALF}a\\ud83d\\ude00\\uDFFF"}}}}'
    file = described(image, f"[{text}]" if option == "--instances" else text)
    assert main(["preview", image, option, file, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["instance"] == "c\ufffd"
    assert found["changes"][0]["content"] == "c\ufffd=\ufffda\U0001f600\ufffd"


@pytest.mark.parametrize("option", ["-i", "--instances"])
def test_the_error_about_a_non_utf8_name_is_valid_utf8(
    image: str, option: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    text = '{"name": "c\udcff"}'
    file = described(image, f"[{text}]" if option == "--instances" else text)
    assert main(["preview", image, option, file, "--json"]) == 3
    assert "invalid instance name 'c\\xff'" in capfdbinary.readouterr().err.decode()


def test_control_characters_in_an_instance_name_do_not_reach_the_terminal(
    image: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = described(image, '[{"name": "c\\u001b[31m\\n=> x"}, {"name": "b"}]')
    Path(image, "templates/x.tpl").write_text("fixed")
    rootfs = str(Path(image).parent / "rootfs/{name}")
    for name in ("c\x1b[31m\n=> x", "b"):
        Path(rootfs.replace("{name}", name)).mkdir()
    assert main(["preview", image, "--instances", file]) == 3
    assert main(["diff", image, rootfs, "--instances", file]) == 3
    assert main(["preview", image, "-i", file]) in (2, 3)
    out, err = capfd.readouterr()
    assert err.count("c\\x1b[31m\\n=> x") == 3
    assert "\x1b" not in out + err
    assert "\n=> x" not in out + err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\t\n\r\0\x1b\x7f\x9b", " \\n\\r\\x00\\x1b\\x7f\\x9b"),
        ("\u202e\u2028\U000e0001\ud800\udcff", "\\u202e\\u2028\\U000e0001\\ud800\\xff"),
        ("plain ü € \U0001f600 \\", "plain ü € \U0001f600 \\"),
    ],
)
def test_control_and_invisible_characters_are_escaped_for_printing(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_sandboxed_child_reports_a_template_with_an_unusual_name(image: str, tmp_path: Path) -> None:
    """The child failed because it could not load the codec for the template's name."""
    (tmp_path / "image/rootfs").mkdir()
    line = ("nspawn", "--source", image, "--rootfs", str(tmp_path / "rootfs"), "--state", image, "m1")
    code = f"from templater.hooks.run import run; import os; os._exit(run({list(line)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 5
    assert f"templates/{SHOWN}:1:7: expected" in done.stderr
