"""No command prints or stores the password of a URL that the user gives as SRC.

The commands, their arguments and their output formats come from the command line itself. So a new command is
tested, too.
"""

import base64
import os
import shutil
from collections.abc import Iterator
from typing import Any

import click
import pytest

from templater.cli import completers
from templater.cli.file_watcher import Watch
from templater.cli.run_command_line import command as top
from templater.cli.run_command_line import main
from tests.streams.builders import metadata_yaml, tarball
from tests.streams.mutations import EXAMPLE
from tests.streams.server import make_certificates, serving

PASSWORD = "s3cretw0rd"
LOGIN = f"me:{PASSWORD}@"
#: a URL of an unreachable server, and URLs that no command accepts
BAD_URLS = [
    f"https://{LOGIN}127.0.0.1:1/image.tar", f"ftp://{LOGIN}h/x", f"http://{LOGIN}h/x", f"https:/{LOGIN}h/x",
    f"https://me:{PASSWORD}/x@h/x", f" https://{LOGIN}h/x", f"https://me:1/{PASSWORD}@127.0.0.1:1/x",
    f"https://me:p@127.0.0.1:1/{PASSWORD}@h/x", f"remote:https://{LOGIN}h/x", f"https//{LOGIN}h/x",
    f"https://me:{PASSWORD}/x",
]  # fmt: skip
RULES = "templates:\n  /etc/hostname:\n    when: [create, start]\n    template: t\n"
#: further words that a command needs
WORDS = {
    "apply": ["rootfs", "-t", "start"], "simulate": ["create"], "unpack": ["unpacked"], "test": ["--tests", "tests"],
    "image export": ["exported"], "image set-property": ["a=b"], "image unset-property": ["a"],
    "image template show": ["t"], "image template create": ["/etc/x", "--from", "tests/x"],
    "image template edit": ["t"], "image template delete": ["t"],
}  # fmt: skip
#: commands whose SRC must be on this machine: they read or change the templates of an image file
LOCAL = {
    "image edit", "image set-property", "image unset-property", "image template create",
    "image template delete", "image template edit", "image template list", "image template show",
}  # fmt: skip

pytestmark = pytest.mark.slow


def leaves(
    group: click.Group, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from leaves(found, (*words, name))
        elif found is not None:
            yield (*words, name), found


#: the commands of `hook` get their arguments from container runtimes
COMMANDS = {" ".join(words): found for words, found in leaves(top) if words[0] != "hook"}


def takes_source(parameter: click.Parameter) -> bool:
    return getattr(parameter, "_custom_shell_complete", None) is completers.source


SOURCES = [name for name, found in COMMANDS.items() if any(map(takes_source, found.params))]


def formats(found: click.Command) -> list[list[str]]:
    """Return lists of options. Each list selects another output format."""
    chosen: list[list[str]] = [[]]
    for option in (each for each in found.params if isinstance(each, click.Option)):
        name = option.opts[-1]
        if name == "--report" and isinstance(option.type, click.Choice):
            chosen += [[name, value] for value in option.type.choices]
        elif name == "--html":
            chosen.append([name, "page.html"])
        elif name in ("--json", "--diff", "--verbose", "--tree", "--reads", "--coverage", "--plan"):
            chosen.append([name])
        elif name == "--as":
            chosen += [
                [name, "incus"],
                *([[name, "all"]] if "all" in getattr(option.type, "choices", ()) else []),
            ]
    return chosen


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return make_certificates(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory with the files that commands need."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "INCUS_CONF", "LXD_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Watch, "wait", stop)
    monkeypatch.chdir(tmp_path)
    for folder in ("rootfs/etc", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tests/x").write_text("x\n")
    (tmp_path / "tests/first.yaml").write_text(
        'tests:\n- name: one\n  instance: {name: c1}\n  files:\n    /etc/hostname: {equals: "x\\n"}\n'
    )
    return tmp_path


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def server(certificates, home, monkeypatch, tmp_path_factory):
    """A server that answers only requests with the password."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(EXAMPLE, folder / "tree")
    metadata = metadata_yaml() + RULES.encode()
    image = {"metadata.yaml": metadata, "templates": None, "templates/t": b"{{ nam }} {{ x.y.z|upper }}\n"}
    (folder / "image.tar").write_bytes(
        tarball({**image, "rootfs": None, "rootfs/etc": None, "rootfs/etc/hostname": b"old\n"})
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    wanted = "Basic " + base64.b64encode(LOGIN.rstrip("@").encode()).decode()
    with serving(folder, certificates) as running:
        running.fault = lambda handler: (
            handler.headers.get("Authorization") != wanted and (handler.send_error(401) or True)
        )
        yield running


def url_of(server, path: str) -> str:
    return server.url.replace("https://", f"https://{LOGIN}") + path


def assert_hidden(capfd, home, words) -> str:
    """Fail if the password is in the output, or in the name or the content of a file."""
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err, words
    assert PASSWORD not in said.out + said.err, words
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            assert PASSWORD not in name, words
        for name in files:
            if name != "remotes.yaml":
                with open(os.path.join(folder, name), "rb") as file:
                    assert PASSWORD.encode() not in file.read(), (words, folder, name)
    return said.out + said.err


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_no_output_format_contains_the_password_of_the_url(name, server, home, capfd):
    shown = ""
    for chosen in formats(COMMANDS[name]):
        words = [*name.split(), url_of(server, "/image.tar"), *WORDS.get(name, []), *chosen]
        main(words)
        shown += assert_hidden(capfd, home, words)
        shutil.rmtree(home / "unpacked", ignore_errors=True)
    assert shown, "every command says something about SRC"
    sent = [headers for _, _, headers in server.requests if "Authorization" in headers]
    assert bool(sent) == (name not in LOCAL), (
        "the server gets the password, unless the command needs a local image"
    )


@pytest.mark.parametrize("report", ["json", "sarif", "junit", "github", "gitlab", "text"])
def test_a_report_for_continuous_integration_shows_the_url_without_its_password(report, server, home, capfd):
    main(["check", url_of(server, "/image.tar"), "--report", report, "--at-least", "info"])
    assert_hidden(capfd, home, report)
    url = url_of(server, "/none.tar")
    assert main(["check", url, url_of(server, "/image.tar"), "--report", report]) == 2
    assert_hidden(capfd, home, report)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_error_of_a_command_contains_the_password_of_a_url(name, home, capfd):
    found = COMMANDS[name]
    arguments = [each for each in found.params if isinstance(each, click.Argument)]
    options = [
        each.opts[-1] for each in found.params
        if isinstance(each, click.Option) and not each.is_flag and not isinstance(each.type, click.Choice)
        and each.name != "limits"
    ]  # fmt: skip
    for url in BAD_URLS:
        for count in range(1, len(arguments) + 3):
            words = [*name.split(), *[url] * count]
            main(words)
            assert_hidden(capfd, home, words)
    for option in options:
        words = [*name.split(), BAD_URLS[1], *WORDS.get(name, []), option, BAD_URLS[0]]
        main(words)
        assert_hidden(capfd, home, words)


@pytest.mark.parametrize("words", [["image", "info"], ["streams", "list"], ["audit", "--report", "json"]])
def test_a_malformed_url_is_shown_without_its_password(words, home, capfd):
    for url in (*BAD_URLS, f"//{LOGIN}h/x", f"https:\\\\{LOGIN}h/x"):
        assert main([*words, url]) == 2
        assert_hidden(capfd, home, url)


def test_an_image_path_may_resemble_a_url_with_a_password(home, capfd):
    image = home / "https:" / "me:x@h"
    image.mkdir(parents=True)
    (image / "metadata.yaml").write_bytes(metadata_yaml())
    assert main(["image", "info", "https://me:x@h"]) == 0
    assert main(["image", "info", "https:/me:x@h"]) == 0


@pytest.mark.parametrize("words", [[BAD_URLS[0]], ["image", BAD_URLS[0]], ["--nosuch", BAD_URLS[0]]])
def test_the_unknown_command_error_hides_the_password_of_a_url(words, home, capfd):
    assert main(words) == 2
    assert_hidden(capfd, home, words)


@pytest.mark.parametrize(
    "words", [["verify"], ["verify", "--json"], ["list"], ["list", "--json"], ["list", "--html", "p"]]
)
def test_commands_for_streams_can_read_a_password_protected_stream(words, server, home, capfd):
    command, *options = words
    assert main(["streams", command, url_of(server, "/tree"), *options]) == 0
    assert_hidden(capfd, home, words)


def test_the_reindex_command_writes_redirects_and_a_catalog_without_the_password(server, home, capfd):
    assert main(["streams", "reindex", url_of(server, "/tree"), "made", "--redirect", "rules"]) == 0
    assert "me:" not in assert_hidden(capfd, home, "reindex")


def test_the_password_of_a_remote_is_only_in_the_remotes_file(server, home, capfd):
    assert main(["remote", "add", "ours", url_of(server, "/tree")]) == 0
    assert main(["remote", "list"]) == 0
    assert main(["remote", "list", "--json"]) == 0
    assert "https://me:***@" in assert_hidden(capfd, home, "remote")
    assert PASSWORD in (home / ".config/templater/remotes.yaml").read_text()
    for words in (["preview", "ours:tiny/1"], ["audit", "ours:tiny/1"], ["store", "import", "ours:tiny/1"]):
        assert main(words) in (0, 1)
        assert_hidden(capfd, home, words)


def test_a_property_with_a_url_keeps_its_password(home, capfd):
    (home / "image").mkdir()
    (home / "image/metadata.yaml").write_bytes(metadata_yaml())
    url = f"https://{LOGIN}h/x"
    assert main(["image", "set-property", "image", "origin", url]) == 0
    assert url in (home / "image/metadata.yaml").read_text()
