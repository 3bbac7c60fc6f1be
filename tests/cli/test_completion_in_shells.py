"""Completion in real shells: a person types a line, presses Tab, and the shell runs the completed line."""

import os
import pty
import select
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.cli.manual import write_files

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("bash", "zsh", "fish")
#: a hanging shell fails the test after this time; on a busy machine a completion can take several seconds
PATIENCE = 60

METADATA = r"""architecture: x86_64
creation_date: 1700000000
templates:
  /etc/hostname: {when: [create], template: hostname.tpl}
  /etc/a:b: {when: [create], template: hostname.tpl}
  /etc/my file: {when: [create], template: hostname.tpl}
  /etc/it's: {when: [create], template: hostname.tpl}
  /etc/größe: {when: [create], template: hostname.tpl}
  '/srv/back\slash "quoted" *?[x]; !#&': {when: [create], template: hostname.tpl}
  /opt/$HOME: {when: [create], template: "other template.tpl"}
"""
FLEET = '[{"name": "web1"}, {"name": "web2"}, {"name": "db-größe"}]'

#: the typed text, and the words of the completed line
LINES = {
    "templater prev": ("preview",),
    "./.programs/templater prev": ("preview",),
    "~/../.programs/templater prev": ("preview",),
    "image-templater image templ": ("image", "template"),
    "templater preview image --no-exp": ("preview", "image", "--no-expanded"),
    "templater preview image --as lxd-5": ("preview", "image", "--as", "lxd-5.21.4"),
    "templater preview image --as=lxd-5": ("preview", "image", "--as=lxd-5.21.4"),
    "templater preview image -t create,ren": ("preview", "image", "-t", "create,rename"),
    "templater explain image /etc/hostn": ("explain", "image", "/etc/hostname"),
    r"templater explain my\ image /etc/my": ("explain", "my image", "/etc/my file"),
    "templater explain 'my image' \"/etc/my": ("explain", "my image", "/etc/my file"),
    "templater explain 'my image' '/etc/my": ("explain", "my image", "/etc/my file"),
    "templater explain image /etc/it": ("explain", "image", "/etc/it's"),
    "templater explain image /etc/a:": ("explain", "image", "/etc/a:b"),
    "templater explain image /etc/gr": ("explain", "image", "/etc/größe"),
    "templater explain image /opt/": ("explain", "image", "/opt/$HOME"),
    "templater explain image /srv/": ("explain", "image", r'/srv/back\slash "quoted" *?[x]; !#&'),
    'templater explain image "/opt/': ("explain", "image", "/opt/$HOME"),
    'templater explain image "/srv/': ("explain", "image", r'/srv/back\slash "quoted" *?[x]; !#&'),
    "templater image template show image oth": ("image", "template", "show", "image", "other template.tpl"),
    "templater preview image -i fleet.json#d": ("preview", "image", "-i", "fleet.json#db-größe"),
    "templater preview image -i 'é fleet.json#d": ("preview", "image", "-i", "é fleet.json#db-größe"),
    "templater preview image -i fleet.json#we": ("preview", "image", "-i", "fleet.json#web"),
    "templater check image --rule unknown-v": ("check", "image", "--rule", "unknown-variable"),
    "templater new image2 --preset open": ("new", "image2", "--preset", "openwrt"),
    "templater preview image --limit command-p": ("preview", "image", "--limit", "command-processor="),
    "templater preview ubuntu-d": ("preview", "ubuntu-daily:"),
    "templater preview incus:we": ("preview", "incus:we"),
    "templater preview my": ("preview", "my image/"),
    'templater preview image -i "é': ("preview", "image", "-i", "é fleet.json"),
    "templater preview image -i é": ("preview", "image", "-i", "é fleet.json"),
    "templater preview image --rootfs=my": ("preview", "image", "--rootfs=my image/"),
    "templater preview image -c user.data=@us": ("preview", "image", "-c", "user.data=@user data"),
    "templater preview damaged.tar /": ("preview", "damaged.tar", "/"),
}


#: the lines that the scripts of a package complete, too
INSTALLED = (
    "image-templater image templ",
    r"templater explain my\ image /etc/my",
    "templater preview image --as=lxd-5",
    "templater explain image /etc/a:",
    "templater preview incus:we",
)


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.seen = folder, b""
        self.child, self.screen = pty.fork()
        if not self.child:
            os.chdir(folder)
            os.execvpe(words[0], words, environment)

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def line(self, text: str) -> list[str]:
        """Type a line and Tab, and return the words with which the shell runs the completed line."""
        answer = self.folder / "words"
        answer.unlink(missing_ok=True)
        self.type(f"{text}\t\x01show \r")  # Ctrl-A moves to the start of the line
        end = time.monotonic() + PATIENCE
        while not answer.exists():
            self.read()
            assert time.monotonic() < end, f"no answer; the screen shows {self.seen[-3000:]!r}"
        return answer.read_text().split("\0")[:-1]

    def read(self) -> None:
        ready = select.poll()  # select() accepts no descriptor above 1023
        ready.register(self.screen, select.POLLIN)
        if ready.poll(50):
            self.seen += os.read(self.screen, 65536)

    def close(self) -> None:
        os.close(self.screen)
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shell")
    for name in ("image", "my image"):
        (folder / name / "templates").mkdir(parents=True)
        (folder / name / "metadata.yaml").write_text(METADATA)
    for name in ("fleet.json", "é fleet.json"):
        (folder / name).write_text(FLEET)
    (folder / "user data").write_text("#cloud-config\n")
    (folder / "damaged.tar").write_bytes(os.urandom(4096))
    programs = folder / ".programs"
    programs.mkdir()
    for name in ("templater", "image-templater"):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m templater "$@"\n')
    (programs / "show").write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" > .words && mv .words words\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    return folder


#: two configurations of each shell; the second one uses the files of a package
CONFIGURATION = {
    "bash": ("source <(templater completion bash)", "source /usr/share/bash-completion/bash_completion"),
    "zsh": (
        "autoload -Uz compinit; compinit -u; source <(templater completion zsh)",
        "fpath=($SHARE/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u",
    ),
    "fish": ("templater completion fish | source", ""),
}
#: the editor keeps the slash at the end of a directory, and has the usual keys
SETTINGS = {
    "bash": "PS1='> '",
    "zsh": "PS1='> '; bindkey -e; setopt no_auto_remove_slash",
    "fish": "set fish_greeting",
}
FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": "fish/config.fish"}


def start(shell: str, folder: Path, *, installed: bool) -> Terminal:
    """Start a shell that loads templater's completion script.

    If ``installed`` is true, the script is in the directory where packages install such scripts. Otherwise,
    the configuration of the shell loads the script.
    """
    if shutil.which(shell) is None:
        pytest.skip(f"NOT RUN: needs {shell}")
    home = folder / f".home-{shell}{'-installed' if installed else ''}"
    file = home / FILES[shell]
    file.parent.mkdir(parents=True)
    file.write_text(f"{SETTINGS[shell]}\n{CONFIGURATION[shell][installed]}\n")
    environment = {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "xterm",
        "PATH": f"{folder}/.programs:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    if installed:
        share = str(home / "share")
        write_files(share)
        environment |= {"SHARE": share, "XDG_DATA_DIRS": f"{share}:/usr/local/share:/usr/share"}
    return Terminal([shell, "-i"], folder, environment)


@pytest.fixture(scope="module", params=SHELLS)
def terminal(request, folder) -> Iterator[Terminal]:
    terminal = start(request.param, folder, installed=False)
    yield terminal
    terminal.close()


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_the_tab_key_completes_the_command_line_in_each_shell(line, terminal):
    assert terminal.line(line)[1:] == list(LINES[line])


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_finds_the_completion_scripts_of_an_installed_package(shell, folder):
    if shell == "bash" and not Path("/usr/share/bash-completion/bash_completion").exists():
        pytest.skip("NOT RUN: needs bash-completion")
    terminal = start(shell, folder, installed=True)
    try:
        for line in INSTALLED:
            assert terminal.line(line)[1:] == list(LINES[line])
    finally:
        terminal.close()
