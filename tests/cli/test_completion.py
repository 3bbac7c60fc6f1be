"""Completion of command lines: the requests of a shell's script, and templater's answers."""

import os
import re
import shlex
import signal
import socket
import tarfile
from pathlib import Path

import click
import pytest
from click.shell_completion import CompletionItem
from hypothesis import given
from hypothesis import strategies as st

from templater.checks.run_checks import all_checks
from templater.cli import completers
from templater.cli.commands import completion
from templater.cli.commands.completion import CommandLine, split
from templater.cli.run_command_line import command, main
from templater.limit_option import NAMES
from templater.model.hosts import HOSTS
from templater.model.metadata import TRIGGERS
from tests.image_archives import END, file

PAGE = Path(__file__).resolve().parents[2] / "docs" / "completion.md"
BREAKS = " \t\n\"'@><=;|&(:"
METADATA = """architecture: x86_64
creation_date: 1700000000
properties: {os: Debian, release: trixie}
templates:
  /etc/hostname: {when: [create], template: hostname.tpl}
  etc/relative: {when: [create], template: hostname.tpl}
  "/etc/\\e[31mred": {when: [create], template: hostname.tpl}
"""


def answered(*words, shell="zsh"):
    """Return the header and the words that a shell receives."""
    header, *rest = completion.answer(shell, CommandLine(("templater", *words), "", 0))
    return header, [line.partition("\t")[0] for line in rest]


@pytest.fixture
def image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image" / "templates").mkdir(parents=True)
    (tmp_path / "image" / "metadata.yaml").write_text(METADATA)
    return "image"


def archive(tmp_path, name="image.tar"):
    (tmp_path / "metadata.yaml").write_text(METADATA)
    with tarfile.open(tmp_path / name, "w") as made:
        made.add(tmp_path / "metadata.yaml", "metadata.yaml")
    return tmp_path / name


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("templater ", ("templater", "")),
        ("templater  preview", ("templater", "preview")),
        (r"templater my\ image x", ("templater", "my image", "x")),
        ("templater 'my image' \"a b", ("templater", "my image", "a b")),
        (r'templater "a\"b\c', ("templater", r"a\"b\c".replace(r"\"", '"'))),
        ("templater ''", ("templater", "")),
        ("templater a\\", ("templater", "a")),
    ],
)
def test_completion_splits_a_command_line_into_words(line, words):
    assert split(line).words == words


@pytest.mark.parametrize(
    ("line", "replaced"),
    [
        ("t preview incus:web", "web"),
        ("t preview --as=inc", "inc"),
        (r"t preview a\:b", "a:b"),
        ("t preview 'a:b", "a:b"),
        ("t preview a'b:c", "b:c"),
        ("t preview -c user.data=@us", "@us"),
        ("t preview a:b ", ""),
    ],
)
def test_bash_completion_replaces_only_text_after_last_word_break(line, replaced):
    found = split(line, BREAKS)
    assert found.words[-1][found.start :] == replaced


@given(
    st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" ")),
    st.sampled_from(["", "'", '"']),
)
def test_a_shell_parses_a_quoted_completion_to_the_original_text(word, quote):
    line = CommandLine(("templater", ""), quote, 0)
    if word:
        if quote != '"':  # between double quotes, shlex treats $ and ` as no shell does
            assert shlex.split(f"{quote}{line.quoted(word)}{quote}") == [word]
        assert split(f"templater {quote}{line.quoted(word)}").words[-1] == word


def test_completion_offers_every_command_and_option(image):
    names = command.list_commands(click.Context(command))
    assert answered("")[1] == names
    assert answered("", shell="bash")[1] == names
    assert {"--help", "--version"} <= set(answered("--", shell="bash")[1])
    assert answered("prev")[1] == ["preview"]
    assert answered("image", "templ")[1] == ["template"]
    assert {"--instance", "--instances"} <= set(answered("preview", image, "--inst")[1])


def test_option_description_is_the_first_sentence_of_its_help(image):
    (line,) = completion.answer("fish", CommandLine(("templater", "check", "--at-l"), "", 0))[1:]
    assert line == "--at-least\tShow findings of this severity and above"


def test_completion_offers_hosts_and_triggers(image):
    assert answered("preview", image, "--as", "")[1] == [*HOSTS, "all"]
    assert answered("preview", image, "--as=inc")[1] == [
        f"--as={name}" for name in HOSTS if name.startswith("inc")
    ]
    assert answered("check", image, "--as", "incus,lxd-6")[1] == [
        f"incus,{name}" for name in HOSTS if name.startswith("lxd-6")
    ]
    assert answered("apply", image, "x", "-t", "create,")[1] == [f"create,{name}" for name in TRIGGERS]


def test_completion_offers_targets_and_templates_of_the_image(image, tmp_path):
    assert answered("explain", image, "/etc/")[1] == ["/etc/hostname", "/etc/relative"]
    assert answered("explain", "-t", "create", image, "--as", "lxd", "h")[1] == ["hostname.tpl"]
    assert answered("explain", str(archive(tmp_path)), "/etc/h")[1] == ["/etc/hostname"]
    assert answered("image", "template", "show", image, "")[1] == ["hostname.tpl"]
    assert answered("image", "template", "edit", image, "hostname.tpl", "--path", "")[1] == [
        "/etc/hostname", "etc/relative",
    ]  # fmt: skip
    assert answered("image", "unset-property", image, "")[1] == ["os", "release"]


def test_completion_does_not_offer_a_name_with_control_characters(image):
    assert not [word for word in answered("explain", image, "")[1] if "red" in word]


def test_completion_offers_the_names_of_the_instances_in_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fleet.json").write_text('[{"name": "web1"}, {"name": "web2"}, {"name": "db"}]')
    (tmp_path / "web.yaml").write_text("name: web9\n")
    assert answered("preview", "x", "-i", "fleet.json#we")[1] == ["fleet.json#web1", "fleet.json#web2"]
    assert answered("diff", "x", "--against-instance", "web.yaml#")[1] == ["web.yaml#web9"]
    assert answered("preview", "x", "-i", "fle") == ("files 0", [])


def test_completion_offers_limits_and_presets_and_the_ids_of_checks(tmp_path):
    ids = {check.id for folder in ("security", "authoring") for check in all_checks(folder)}
    assert set(answered("check", "--rule", "")[1]) == ids | {"list"}
    assert answered("preview", "x", "--limit", "command-")[1] == [
        f"{name}=" for name in NAMES if name.startswith("command-")
    ]
    assert "memory=" not in answered("preview", "x", "--limit", "mem")[1]
    assert answered("new", "x", "--preset", "o")[1] == ["openwrt"]


def test_completion_offers_remotes_and_stored_images(tmp_path, monkeypatch, image):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert answered("store", "info", "") == ("none 0", [])
    assert not (tmp_path / "data").exists(), "completion created a store"
    (tmp_path / "image.tar.root").write_bytes(file("etc/hostname") + END)
    assert main(["store", "import", str(archive(tmp_path)), "image.tar.root", "--alias", "ours/13"]) == 0
    assert main(["remote", "add", "mine", "https://images.example.org"]) == 0
    assert "ours/13" in answered("store", "info", "")[1]
    assert answered("preview", "store:o") == ("files 0", ["store:ours/13"])
    assert answered("preview", "m") == ("files 0", ["mine:"])
    assert {"images:", "incus:", "lxd:", "store:"} <= set(answered("preview", "")[1])
    assert answered("remote", "remove", "")[1] == ["mine"]


def test_completion_works_for_each_example_line_of_the_documentation_page(image, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "image.tar.root").write_bytes(file("etc/hostname") + END)
    assert main(["store", "import", str(archive(tmp_path)), "image.tar.root", "--alias", "ours"]) == 0
    assert main(["remote", "add", "mine", "https://images.example.org"]) == 0
    (tmp_path / "fleet.json").write_text('[{"name": "web1"}]')
    block = PAGE.read_text().partition("```text\n")[2].partition("```")[0]
    lines = [re.split(" {2,}", line)[0] for line in block.splitlines()]
    assert len(lines) > 12
    for line in lines:
        typed = line if line[-1] in "/#:,@" else f"{line} "
        header, *words = completion.answer("bash", split(typed, BREAKS))
        assert words or header.startswith("files"), typed
        assert header.startswith("files") == (line.endswith(("preview", "@", "store:")))


def test_completion_offers_file_names_after_an_at_sign():
    assert answered("preview", "x", "-c", "user.data=@us") == ("files 11", [])
    assert answered("preview", "x", "-c", "user.data=us") == ("none 0", [])
    assert answered("diff", "x", "--set=a=@us") == (f"files {len('--set=a=@')}", [])
    assert answered("preview", "x", "--rootfs=us") == ("files 9", [])


def test_completion_offers_the_steps_of_the_simulate_command(image):
    assert answered("simulate", image, "st")[1] == ["start", "stop"]
    assert answered("simulate", image, "create", "copy")[1] == ["copy="]
    assert answered("simulate", image, "create", "c:a=@us") == ("files 5", [])
    assert answered("simulate", image, "create", "p:us") == ("files 2", [])


def contexts(ctx):
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            found = ctx.command.get_command(ctx, name)
            yield from contexts(click.Context(found, info_name=name, parent=ctx))


def test_completion_offers_file_names_for_every_file_parameter():
    """The metavar tells the kind of a value."""
    missing = []
    for ctx in contexts(click.Context(command, info_name="templater")):
        for param in ctx.command.params:
            shown = param.metavar or ""
            if "FILE" in shown or "DIR" in shown or shown.startswith(("SRC", "ROOTFS", "[ROOTFS]")):
                kinds = {item.type for item in param.shell_complete(ctx, "")}
                if not kinds & {"file", "dir"}:
                    missing.append(f"{ctx.command_path} {param.name}")
    assert not missing


def test_a_completion_never_uses_the_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    opened = []
    monkeypatch.setattr(socket, "socket", lambda *arguments, **options: opened.append(arguments))
    for src in ("images:debian/13", "incus:web1", "https://example.org/image.tar.xz", "lxd:host:web1"):
        assert answered("explain", src, "/etc/") == ("none 0", [])
        assert answered("preview", src)[1] == []
    assert not opened


@pytest.mark.parametrize("metadata", ["templates: [", "a: &a [*a]", "\0", "templates: {/etc/x: 5}"])
def test_a_damaged_image_has_no_completions_and_no_message(metadata, image, tmp_path, capfd):
    (tmp_path / "image" / "metadata.yaml").write_text(metadata)
    assert main(["completion", "zsh", "--", "explain", image, "/etc/"]) == 0
    assert capfd.readouterr() == ("none 0\n", "")


def test_completion_does_not_open_a_pipe(image, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert answered("explain", "pipe", "/etc/") == ("none 0", [])
    assert answered("preview", image, "-i", "pipe#")[1] == []


def test_completion_does_not_read_a_large_archive(image, tmp_path):
    path = archive(tmp_path)
    assert answered("explain", str(path), "/etc/h")[1] == ["/etc/hostname"]
    os.truncate(path, completers.LARGEST_ARCHIVE + 1)
    assert answered("explain", str(path), "/etc/h")[1] == []


def test_completion_does_not_read_a_large_list_of_instances(tmp_path):
    path = tmp_path / "fleet.json"
    path.write_text('[{"name": "web1"}]')
    assert answered("preview", "x", "-i", f"{path}#")[1] == [f"{path}#web1"]
    path.write_text('[{"name": "web1"}]' + " " * completers.LARGEST_LIST)
    assert answered("preview", "x", "-i", f"{path}#")[1] == []


@pytest.mark.slow
def test_an_endless_completion_stops_after_a_time_limit(monkeypatch):
    def spin(*arguments, **options):
        while True:
            pass

    monkeypatch.setattr(completion, "completions", spin)
    monkeypatch.setattr(completion, "LIMITS", ("command-processor=1",))
    assert completion.answer("bash", split("templater ")) == ["none 0"]
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_the_completion_script_of_each_shell_is_printed(capfd):
    for shell in completion.SHELLS:
        assert main(["completion", shell]) == 0
        script = capfd.readouterr().out
        assert f"templater completion for {shell}" in script or f"{shell} completion for templater" in script
        assert "image-templater" in script


@pytest.mark.parametrize(
    ("line", "start", "quote"),
    [("te", 0, ""), ("a:b", 2, ""), ("a 'b", 0, "'"), ("'b", 0, "'"), ("a@", 1, ""), ("'a'b", 0, "")],
)
def test_completion_finds_the_start_of_the_replaced_text(line, start, quote):
    found = split(line, BREAKS)
    assert (found.start, found.quote) == (start, quote)


ITEMS = [
    CompletionItem("web1", help="An instance.  More"), CompletionItem("bad\n"), CompletionItem("other", help="x..."),
    CompletionItem("web2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("shell", "typed", "items", "answer"),
    [
        ("zsh", "we", ITEMS, ["none 0", "web1\tAn instance", "web2"]),
        ("fish", "o", ITEMS, ["none 0", "other\tx..."]),
        ("bash", "we", ITEMS, ["none 0", "web1", "web2"]),
        ("bash", "x", [CompletionItem("x=")], ["nospace", "x="]),
        ("bash", "x", [CompletionItem("x/")], ["nospace", "x/"]),
        ("zsh", "x", [CompletionItem("x=")], ["none 0", "x="]),
        ("bash", "x", [CompletionItem("x="), CompletionItem("xy")], ["none 0", "x=", "xy"]),
        ("zsh", "", [CompletionItem("", type="dir")], ["directories 0"]),
        ("zsh", "", [CompletionItem("", type="file"), CompletionItem("b")], ["files 0", "b"]),
        (
            "zsh",
            "--a=b=c",
            [CompletionItem("b=cd"), CompletionItem("", type="file")],
            ["files 4", "--a=b=cd"],
        ),
        (
            "zsh",
            "a=b",
            [CompletionItem("", type="dir", start=2), CompletionItem("bc", start=2)],
            ["directories 2", "a=bc"],
        ),
        ("bash", "a/", [CompletionItem("", type="file"), CompletionItem("a/")], ["files 0", "a/"]),
    ],
)
def test_first_line_of_completion_selects_file_names_to_add(shell, typed, items, answer, monkeypatch):
    asked = []
    monkeypatch.setattr(
        completion,
        "completions",
        lambda words, current, described: asked.append((words, current, described)) or items,
    )
    assert completion.answer(shell, CommandLine(("templater", "a", typed), "", 0)) == answer
    assert asked == [(["a"], typed, shell != "bash")]
