"""The command `explain`: output on a terminal, hostile images, and limits."""

import json

import pytest

from templater.cli.explanation_output import split_row
from tests.cli.test_output import on_a_terminal

RULES = "templates:\n  /etc/a: {when: [create], template: a.tpl}\n"


@pytest.fixture
def image(tmp_path):
    """Return a function that makes an image with one template."""

    def make(template, rules=RULES):
        folder = tmp_path / "image"
        (folder / "templates").mkdir(parents=True)
        (folder / "metadata.yaml").write_text(rules)
        (folder / "templates" / "a.tpl").write_bytes(template.encode())
        return folder

    return make


def explained(run, image, *words):
    code, out, err = run("explain", image, "-t", "create", "--name", "c1", "--as", "none", *words)
    return code, out, err


@pytest.mark.slow
def test_values_are_coloured_by_origin_and_explained_in_legend(image):
    folder = image('{{ instance.name }} {{ config_get("user.a", "") }} {{ nothing }}\n')
    words = ["explain", str(folder), "-t", "create", "--name", "c1", "--as", "none", "-c", "user.a=one"]
    out = on_a_terminal(*words).decode()
    assert "\x1b[94mc1\x1b[0m \x1b[32mone\x1b[0m" in out
    assert "\x1b[32mlocal\x1b[0m: the instance's own configuration" in out
    assert "\x1b[94mdaemon\x1b[0m: supplied by the daemon" in out
    assert "\x1b[31mundefined\x1b[0m: not set" in out
    assert "profile" not in out
    assert "\x1b" not in on_a_terminal(*words, NO_COLOR="1").decode()


def test_control_characters_of_values_and_names_are_escaped(image, run):
    folder = image('{{ config["user.\x1b[31m"] }}{{ "\x1b[32m" }}{{ config_get("user.a", "") }}\x1b[33m')
    code, out, _ = explained(run, folder, "-c", "user.a=\x1b]0;x\x07")
    assert code == 0
    assert "\x1b" not in out and "\x07" not in out
    assert "\\x1b" in out
    _, out, _ = explained(run, folder, "--json")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("field", "last"),
    [
        ("create_only: true", "    nothing is written: the file exists"),
        ("uid: x", "    hint: write the container's numeric uid; names are not supported"),
    ],
)
def test_the_explain_command_shows_no_lines_of_an_unwritten_file(image, run, tmp_path, field, last):
    folder = image("text\n", RULES.replace("template:", f"{field}, template:"))
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    if field == "create_only: true":
        (rootfs / "etc/a").touch()
    _, out, _ = explained(run, folder, "--rootfs", rootfs)
    assert out.splitlines()[-1] == last
    _, out, _ = explained(run, folder, "--rootfs", rootfs, "--json")
    assert json.loads(out)["files"][0]["lines"] is None


def test_keys_of_a_condition_are_shown_without_their_values(image, run):
    """If a template uses a configuration value as a key, the name of the key reveals the value."""
    condition = '{% if config_get("user.secret", "") == "hunter2" %}yes{% endif %}'
    secret = 'config["user.secret"]'
    computed = (
        f"{{% set x = {secret} %}}{{% with c=config d=devices %}}{{% if config[x] or c[{secret}] or d[x] %}}"
    )
    folder = image(f'{condition}{computed}yes{{% endif %}}{{% endwith %}}{{{{ config_get({secret}, "-") }}}}')
    for words in ((), ("--json",)):
        _, out, err = explained(run, folder, "-c", "user.secret=hunter2", *words)
        assert "user.secret" in out
        assert "hunter2" not in out + err


@pytest.mark.slow
def test_file_with_too_many_pieces_is_shown_without_origins(image, run):
    inner = "{% for x in l %}{% for y in l %}{% for z in l %}{% if x %}-{% endif %}{% endfor %}{% endfor %}{% endfor %}"
    folder = image('{% set l = "' + "a" * 38 + '"|make_list %}' + inner)
    code, out, _ = explained(run, folder)
    assert code == 0
    assert "the origins are not shown" in out
    _, out, _ = explained(run, folder, "--json")
    assert json.loads(out)["files"][0]["lines"] is None


@pytest.mark.parametrize(
    "template",
    [
        "{% for k, v in config %}{{ v }}{% cycle 'a' 'b' %}{% endfor %}",
        "{% filter lower %}{% for k, v in config %}{{ v }}\n{% endfor %}{% endfilter %}",
    ],
    ids=["many parts with many origins", "many lines of one part"],
)
def test_file_with_too_many_origins_is_shown_without_them(image, run, tmp_path, template):
    file = tmp_path / "i.json"
    file.write_text(json.dumps({"name": "c1", "config": {f"user.{n}": "x" for n in range(1000)}}))
    code, out, _ = run("explain", image(template), "-t", "create", "-i", file, "--as", "none")
    assert code == 0
    assert "the origins are not shown" in out


def test_template_above_a_limit_fails_like_in_preview(image, run):
    loop = "{% for x in l %}{% for y in l %}{% for z in l %}-{% endfor %}{% endfor %}{% endfor %}"
    folder = image('{% set l = "' + "a" * 20 + '"|make_list %}' + loop)
    code, out, _ = explained(run, folder, "--limit", "steps=1k")
    assert code == 5
    assert "the template takes more than 1000 steps" in out


def test_rule_without_a_valid_path_is_shown_as_failed(image, run):
    folder = image("x", "templates:\n  /../a: {when: [create], template: a.tpl}\n  /etc/n: null\n")
    code, out, _ = explained(run, folder)
    assert code == 5
    assert "never written: the entry is null" in out


def test_the_explain_command_refuses_an_empty_target(image, run):
    folder = image("x", "templates:\n  /etc/a: {when: [create], template: a.tpl}\n  /etc/n: null\n")
    code, _, err = explained(run, folder, "")
    assert code == 2
    assert "no rule writes ''\nhint: the image has rules for /etc/a, /etc/n" in err


TWICE = "templates:\n  /etc/a: {when: [create, start], template: a.tpl}\n"


def test_a_rewritten_file_is_explained_only_for_the_later_trigger(image, run):
    folder = image("{{ trigger }}\n", TWICE)
    code, out, _err = run("explain", folder, "-t", "create,start", "--as", "none")
    first, second = out.split("\n\n")
    assert code == 0
    assert first.splitlines()[1:] == [
        "    rewritten on create and start; not on copy or rename",
        "    written again on start",
    ]
    assert "trigger: supplied by the daemon" in second
    code, out, _err = run("explain", folder, "-t", "create,start", "--as", "none", "--json")
    created, started = json.loads(out)["files"]
    assert (created["written_again_on"], created["lines"]) == ("start", None)
    assert "written_again_on" not in started and started["lines"]


def test_file_is_called_unchanged_if_later_trigger_keeps_it(image, run):
    folder = image("{{ container.name }}\n", TWICE)
    _code, out, _err = run("explain", folder, "-t", "create,start", "--as", "none")
    assert out.split("\n\n")[0].splitlines()[-1] == "    not changed on start"
    _code, out, _err = run("explain", folder, "-t", "create,start", "--as", "none", "--json")
    created, kept = json.loads(out)["files"]
    assert created["not_changed_on"] == "start" and "written_again_on" not in created
    assert kept["action"] == "keep" and kept["lines"]
    _code, out, _err = run("preview", folder, "-t", "create,start", "--as", "none")
    assert "    ! not changed on start\n" in out and "written again" not in out


def test_the_explain_command_marks_empty_files_and_templates_that_read_nothing(image, run):
    folder = image("")
    assert explained(run, folder)[1].splitlines()[-1] == "    (empty)"
    assert explained(run, folder, "--reads")[1] == "==> a.tpl  /etc/a\n    reads nothing\n"


@pytest.mark.parametrize(
    ("row", "width", "lines"),
    [
        ([("   12 |  3 | ", "dim"), ("a text of the file that is too long", "")], 20, None),
        ([("m | ", "x"), ("^a", ""), ("b", "")], 20, None),
        (
            [("   12 | a note that is too long to stay in one line", "dim")],
            40,
            [
                [("   12 | ", ""), ("a note that is too long to", "dim")],
                [("   12 | ", ""), ("  stay in one line", "dim")],
            ],
        ),
        (
            [("  note of several words that is wrapped here", "dim")],
            32,
            [
                [("   ", ""), ("note of several words that", "dim")],
                [("   ", ""), ("  is wrapped here", "dim")],
            ],
        ),
        (
            [("   |   | ", "dim"), ("^ a remark of several words that is long", "blue")],
            40,
            [
                [("   |   | ", ""), ("^ a remark of several words", "blue")],
                [("   |     ", ""), ("  that is long", "blue")],
            ],
        ),
        ([("x|", "k")], 9, [[("   ", ""), ("x|", "k")]]),
        ([("| a", "k")], 9, [[("| ", ""), ("a", "k")]]),
    ],
)
def test_list_of_origins_is_wrapped_but_not_file_lines(row, width, lines):
    assert list(split_row(row, width)) == ([row] if lines is None else lines)
