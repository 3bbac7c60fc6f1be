"""Tests of `lxc-create -t templater`, which creates a container from an image, as root or another user."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import templater as templater_package

from .harness import need, run
from .images import WRITTEN, make_directory, templater
from .test_lxc import BASE, Lxc
from .test_serve import preview, templater_serve, tls

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lxc(folder: Path) -> Iterator[Lxc]:
    need("lxc-create", "lxc-start", "lxc-attach")
    lxc = Lxc(folder)
    templater("hook", "install", "lxc-template", "-P", str(folder), "--write")
    try:
        yield lxc
    finally:
        lxc.close()


MAP = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\n"


def create(lxc: Lxc, settings: str, *words: str, code: int | None = 0):
    config = lxc.path / "default.conf"
    config.write_text(f"lxc.net.0.type = empty\n{settings}")
    return run(
        "lxc-create", "-P", str(lxc.path), "-f", str(config), "-n", "web1", "-t", str(lxc.path / "lxc-templater"),
        "--", *words, code=code,
    )  # fmt: skip


@pytest.mark.parametrize("settings", ["", MAP], ids=["root", "mapped"])
def test_a_container_from_the_lxc_create_command_can_start(lxc: Lxc, settings: str):
    image = make_directory(lxc.path / "image", "default")
    (image / "templates/hostname.tpl").write_text("{{ instance.name }} {{ config_get('user.role', '') }}\n")
    templater("image", "build", str(image), "-o", str(lxc.path / "image.tar.gz"))
    (lxc.path / "image.tar.gz").chmod(0o644)
    create(lxc, settings, str(lxc.path / "image.tar.gz"), "-o", 'user.role=it\'s "$HOME"')
    lxc.start("web1")
    assert lxc.cat("web1", "/etc/hostname") == 'web1 it\'s "$HOME"\n'
    owner = os.stat(lxc.path / "web1/rootfs/etc/hostname").st_uid
    assert owner == (BASE if settings else 0)
    assert not {".new", ".fetched"} & set(os.listdir(lxc.path / "web1"))


@pytest.mark.parametrize("words", [(), ("--unknown",), ("/absent.tar",)])
def test_a_failed_lxc_create_command_leaves_no_container(lxc: Lxc, words):
    assert create(lxc, "", *words, code=None).returncode != 0
    assert not (lxc.path / "web1").exists()


#: images on the server, each with its variant
SOURCES = {"URL/tiny/1/unified": "unified", "ours:tiny/1": "default", "ours:tiny/1/tarxz": "tarxz"}


def templated_files(lxc: Lxc) -> dict[str, str]:
    """Return the files that the image's templates have written into the running container ``web1``."""
    return {path: lxc.cat("web1", path) for path in WRITTEN}


@pytest.mark.parametrize("settings", ["", MAP], ids=["root", "mapped"])
@pytest.mark.parametrize("source", SOURCES)
def test_the_lxc_create_command_makes_a_container_from_an_image_on_a_server(
    lxc: Lxc, image_tree, certificates, tmp_path, monkeypatch, settings, source
):
    """The container has the same templated files as a preview of the image."""
    shutil.copy(certificates / "ca.pem", lxc.path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(lxc.path / "ca.pem"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(lxc.path / "remotes"))
    with templater_serve(image_tree.path, *tls(certificates)) as server:
        templater("remote", "add", "ours", server.url)
        for path in (lxc.path / "remotes", *(lxc.path / "remotes").rglob("*")):
            path.chmod(0o755)  # the mapped root must be able to read the list of remotes
        create(lxc, settings, source.replace("URL", server.url), "-o", "user.foo=bar")
    lxc.start("web1")
    assert templated_files(lxc) == preview(image_tree, SOURCES[source], "web1")


#: install the template script where lxc-create finds it by name, and run a command
BY_NAME = """\
set -eu
mount -t tmpfs -o mode=755 templates /usr/share/lxc/templates
(cd / && "$1" -m templater hook install lxc-template --write)
shift
exec "$@"
"""


def by_name(python: str) -> tuple[str, ...]:
    """Return words to put before the command `lxc-create`, which then finds the template script by name.

    A tmpfs hides the machine's directory of template scripts. So the test does not change this directory.
    """
    return "unshare", "-m", "--propagation", "private", "bash", "-c", BY_NAME, "by-name", python


@pytest.mark.parametrize("settings", ["", MAP], ids=["root", "mapped"])
def test_lxc_create_finds_the_installed_template_by_its_name(
    lxc: Lxc, image_tree, certificates, tmp_path, monkeypatch, settings
):
    shutil.copy(certificates / "ca.pem", lxc.path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(lxc.path / "ca.pem"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (lxc.path / "default.conf").write_text(f"lxc.net.0.type = empty\n{settings}")
    words = (
        "lxc-create",
        "-P",
        str(lxc.path),
        "-f",
        str(lxc.path / "default.conf"),
        "-n",
        "web1",
        "-t",
        "templater",
    )
    with templater_serve(image_tree.path, *tls(certificates)) as server:
        run(*by_name(sys.executable), *words, "--", f"{server.url}/tiny/1/unified", "-o", "user.foo=bar")
    lxc.start("web1")
    assert templated_files(lxc) == preview(image_tree, "unified", "web1")


# an ordinary user

USER = "templater-live"
#: give a user's session a cgroup of its own, as systemd does, and a cgroup2 in the place where LXC expects it
SESSION = """\
set -eu
user=$1; shift
umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/$user/session
for each in /sys/fs/cgroup/$user /sys/fs/cgroup/$user/session; do
  chown $user $each $each/cgroup.procs $each/cgroup.subtree_control $each/cgroup.threads
done
echo $$ >/sys/fs/cgroup/$user/session/cgroup.procs
cd "$HOME"
exec setpriv --reuid $user --regid $user --init-groups "$@"
"""


class UserLxc(Lxc):
    """The containers of an ordinary user. This user runs every command of LXC."""

    python = sys.executable

    def run(self, *words: str, code: int | None = 0, before: tuple[str, ...] = ()):
        """Run a command as the user. ``before`` are words before the command that root runs."""
        kept = {
            name: os.environ[name] for name in ("SSL_CERT_FILE", "PATH", "PYTHONPATH") if name in os.environ
        }
        environment = {
            **kept,
            "HOME": str(self.path),
            "USER": USER,
            "XDG_CONFIG_HOME": str(self.path / "config"),
        }
        session = ("unshare", "-m", "--propagation", "private", "bash", "-c", SESSION, "session", USER)
        return run(*before, *session, *words, code=code, env=environment)

    def command(
        self, program: str, name: str, *words: str, code: int | None = 0, before: tuple[str, ...] = ()
    ):
        place = ("-P", str(self.path / "lxc"))
        return self.run(program, *place, "-n", name, *words, code=code, before=before)

    def cat(self, name: str, path: str) -> str:
        assert self.command("lxc-info", name, "-s").stdout.split() == ["State:", "RUNNING"]
        # The command runs. Then lxc-attach fails to move it into the container's cgroup, for every image.
        words = ("--clear-env", "--", "/bin/cat", path)
        return self.command("lxc-attach", name, *words, code=None).stdout

    def as_container_root(self, *words: str) -> str:
        return self.run("lxc-usernsexec", "--", *words).stdout


@pytest.fixture(scope="session")
def users_python() -> Iterator[str]:
    """Yield the path of a Python interpreter with templater that every user can run.

    Other users can't run an interpreter in root's home directory. In this case, install templater elsewhere.
    """
    needed = [Path(sys.executable), Path(sys.executable).resolve(), Path(templater_package.__file__)]
    if all(folder.stat().st_mode & 0o001 for path in needed for folder in path.parents):
        yield sys.executable
        return
    with tempfile.TemporaryDirectory(prefix="templater-live.") as place:
        Path(place).chmod(0o755)
        run("/usr/bin/python3", "-m", "venv", place, timeout=300)
        run(f"{place}/bin/pip", "install", "-q", str(ROOT), timeout=300)
        yield f"{place}/bin/python"


@pytest.fixture
def user_lxc(folder: Path, users_python: str) -> Iterator[UserLxc]:
    need("lxc-create", "lxc-start", "lxc-usernsexec", "newuidmap", "useradd", "setpriv")
    run("useradd", "--home-dir", str(folder), "--no-create-home", "--shell", "/bin/sh", USER)
    lxc = UserLxc(folder)
    try:
        ids = [line.split(":") for line in Path("/etc/subuid").read_text().splitlines()]
        (base, count) = next((words[1], words[2]) for words in ids if words[0] == USER)
        maps = "".join(f"lxc.idmap = {kind} 0 {base} {count}\n" for kind in "ug")
        (folder / "default.conf").write_text(f"lxc.net.0.type = empty\n{maps}")
        (folder / "lxc").mkdir()
        shutil.chown(folder, USER, USER)
        shutil.chown(folder / "lxc", USER, USER)
        lxc.python = users_python
        words = ("hook", "install", "lxc-template", "-P", str(folder), "--write")
        run(users_python, "-m", "templater", *words, cwd="/")
        yield lxc
        for name in lxc.run("lxc-ls", "-P", str(folder / "lxc"), "-1").stdout.split():
            lxc.command("lxc-destroy", name, "-f")
        assert lxc.run("ls", str(folder / "lxc")).stdout == ""
    finally:
        run("pkill", "-KILL", "-u", USER, code=None)
        for cgroups in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
            run("find", str(cgroups / USER), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";", code=None)
        run("userdel", USER)


@pytest.mark.parametrize("source", SOURCES)
def test_an_ordinary_user_creates_and_starts_a_container_from_a_server(
    user_lxc: UserLxc, image_tree, certificates, monkeypatch, source
):
    """root has installed the template script. The container's files are equal to the files of a preview."""
    lxc, folder = user_lxc, user_lxc.path
    shutil.copy(certificates / "ca.pem", folder / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    with templater_serve(image_tree.path, *tls(certificates)) as server:
        lxc.run(lxc.python, "-m", "templater", "remote", "add", "ours", server.url)
        lxc.run("chmod", "-R", "a+rX", str(folder / "config"))  # the container's root reads the remotes
        lxc.command(
            "lxc-create", "web1", "-f", str(folder / "default.conf"), "-t", "templater",
            "--", source.replace("URL", server.url), "-o", "user.foo=bar", before=by_name(lxc.python),
        )  # fmt: skip
    lxc.start("web1", "-l", "DEBUG", "-o", str(folder / "web1.log"))
    assert templated_files(lxc) == preview(image_tree, SOURCES[source], "web1")
    log = lxc.as_container_root("cat", str(folder / "lxc/web1/.templater/log"))
    assert "web1: create /etc/hostname 0:0 0644 (hostname.tpl, create)" in log
    assert os.stat(folder / "lxc/web1/rootfs/etc/hostname").st_uid >= 100000
    lxc.stop("web1")


def test_copying_or_renaming_by_an_ordinary_user_activates_triggers(user_lxc: UserLxc, image_tree):
    lxc, folder = user_lxc, user_lxc.path
    image = make_directory(folder / "image", "default")
    templater("image", "build", str(image), "-o", str(folder / "image.tar.gz"))
    (folder / "image.tar.gz").chmod(0o644)
    words = ("-f", str(folder / "default.conf"), "-t", str(folder / "lxc-templater"))
    lxc.command("lxc-create", "web1", *words, "--", str(folder / "image.tar.gz"))
    lxc.start("web1")
    lxc.stop("web1")
    lxc.command("lxc-copy", "web1", "-N", "web2")
    lxc.start("web2")
    assert lxc.cat("web2", "/etc/hostname") == "web2\n"
    lxc.stop("web2")
    lxc.command("lxc-copy", "web2", "-N", "web3", "-R")
    assert lxc.as_container_root("cat", str(folder / "lxc/web3/.templater/state")).startswith(
        "pending=rename\n"
    )


def test_a_hook_line_without_the_owner_option_is_refused(user_lxc: UserLxc, image_tree):
    """Older versions of templater wrote hook lines without --owner, and guessed the owner from the id map."""
    lxc, folder = user_lxc, user_lxc.path
    image = make_directory(folder / "image", "default")
    templater("image", "build", str(image), "-o", str(folder / "image.tar.gz"))
    (folder / "image.tar.gz").chmod(0o644)
    words = ("-f", str(folder / "default.conf"), "-t", str(folder / "lxc-templater"))
    lxc.command("lxc-create", "web1", *words, "--", str(folder / "image.tar.gz"))
    hook = (lxc.python, "-m", "templater", "hook")
    place = ("lxc", "web1", "-P", str(folder / "lxc"))
    assert "ok  the hook line runs" in lxc.run(*hook, "status", *place).stdout
    config = folder / "lxc/web1/config"
    config.write_text(re.sub(r" --owner \d+", "", config.read_text()))
    status = lxc.run(*hook, "status", *place, code=1).stdout
    assert re.search(r"the hook line has no --owner \d+, so the hook refuses directories of the user", status)
    lxc.start("web1", "-l", "DEBUG", "-o", str(folder / "web1.log"), code=None)
    assert "to the hook line: run templater hook install lxc" in (folder / "web1.log").read_text()
    lxc.run(*hook, "install", *place, "--write")
    lxc.start("web1")
    assert lxc.cat("web1", "/etc/hostname") == "web1\n"
    lxc.stop("web1")
