"""Tests that compare the predictions of `templater diff` for real instances with the files of the next start.

templater's commands reach the daemon through a proxy that accepts only GET and HEAD. The tests then start the
instances with the client of Incus or LXD, and read the files in the storage pool.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from templater.live.address import Address
from templater.live.events import Event, Events
from templater.live.rest_client import Client, unix_socket
from templater.model.errors import TemplaterError
from tests.reading_proxy import ReadingProxy, reading_proxy

from .daemon import Daemon
from .harness import make_image, make_rootfs, run
from .incus import an_incus
from .lxd import an_lxd
from .test_operator import FACTS, LIVES

pytestmark = pytest.mark.live

METADATA = "architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: tiny}\ntemplates:\n" + "".join(
    f"  {path}: {{when: [{when}], template: {template}.tpl{more}}}\n"
    for path, when, template, more in (
        ("/etc/create", "create", "a", ""), ("/etc/copy", "copy", "a", ""), ("/etc/rename", "rename", "a", ""),
        ("/etc/start", "start", "a", ""), ("/etc/birth", "create, copy", "a", ""),
        ("/etc/once", "create, start", "a", ", create_only: true"),
        ("/etc/owned", "start", "a", ", uid: 33, gid: 34, mode: '0604'"), ("/etc/existing", "start", "a", ""),
        ("/srv/new/deep/file", "create, start", "a", ", uid: 5, mode: '600'"),
        ("/etc/linked", "start", "link", ""), ("/etc/dir/below", "start", "link", ""),
        ("/etc/bytes", "start", "bytes", ""), ("/etc/fixed", "start", "fixed", ""),
    )
)  # fmt: skip
TEMPLATES = {
    "a.tpl": FACTS, "link.tpl": "{{ instance.name }} through a link\n", "fixed.tpl": "always the same\n",
    "bytes.tpl": "tab\tcr\r\n{{ path }} é \U0001f600 {{ properties.x }}",
}  # fmt: skip
RULES = tuple(line.split(":")[0].strip() for line in METADATA.splitlines() if line.startswith("  /"))

IN = ["exec", "NAME", "--", "/bin/sh", "-c"]
START, STOP = ["start", "NAME"], ["stop", "-f", "NAME"]


def inside(script: str) -> list[list[str]]:
    """Return the steps that start an instance, run a shell script in it, and stop it."""
    return [START, [*IN, script], STOP]


def edited(kind: str, *name: str, text: str) -> list[Any]:
    """Return the step that replaces an instance's metadata, or one of its templates, with ``text``."""
    return [["config", kind, "edit", "NAME", *name], text]


#: the states of instances, with the steps that bring an instance into its state
STATES: dict[str, list[Any]] = {
    **{name: steps for name, steps in LIVES.items() if name != "moved"},
    "link-relative": inside("rm -f /etc/linked; echo there > /srv/there; ln -s ../srv/there /etc/linked"),
    "link-absolute": inside("rm -f /etc/linked; echo there > /etc/real; ln -s /etc/real /etc/linked"),
    "link-dangling": inside("rm -f /etc/linked; ln -s nowhere /etc/linked"),
    "link-folder": inside("rm -rf /etc/dir; mkdir -p /srv/dir; ln -s ../srv/dir /etc/dir"),
    "edited-by-hand": inside("echo mine > /etc/start; chmod 751 /etc/start; chown 7:8 /etc/start"),
    "deleted-by-hand": inside("rm -rf /etc/start /etc/birth /srv/new"),
    "emptied": inside("true > /etc/start; true > /etc/birth"),
    "large-file": inside("dd if=/dev/zero of=/etc/existing bs=1048576 count=10"),
    "target-is-a-folder": inside("rm -f /etc/start; mkdir /etc/start"),
    "target-is-a-fifo": inside("rm -f /etc/fixed; mknod /etc/fixed p"),
    "template-edited": [edited("template", "a.tpl", text="edited {{ instance.name }} {{ trigger }}\n"), *inside("true")],
    "template-edited-later": [*inside("true"), edited("template", "a.tpl", text="later {{ instance.name }}\n")],
    "template-missing": [*inside("true"), ["config", "template", "delete", "NAME", "fixed.tpl"]],
    "template-with-a-mistake": [*inside("true"), edited("template", "fixed.tpl", text="{{ nosuch|nosuch }}\n")],
    "metadata-edited": [*inside("true"), edited("metadata", text=METADATA.replace("[copy]", "[start]"))],
    "running-and-edited": [START, [*IN, "echo mine > /etc/start"], ["config", "set", "NAME", "user.foo", "new"]],
    "running-with-a-trigger": [START, ["config", "set", "NAME", "volatile.apply_template", "create"]],
    "privileged": [["config", "set", "NAME", "security.privileged", "true"]],
    "two-profiles": [["profile", "create", "one"], ["profile", "set", "one", "user.foo", "one"],
                     ["profile", "create", "two"], ["profile", "set", "two", "user.foo", "two"],
                     ["profile", "add", "NAME", "one"], ["profile", "add", "NAME", "two"]],
    "in-p2-new": [], "in-p2-stopped": inside("true"), "in-p2-running": [START],
}  # fmt: skip


def adapted(daemon: Daemon, words: list[str]) -> list[str]:
    """Convert a command of the client `incus` to a command of the daemon's own client, `incus` or `lxc`."""
    if daemon.name == "lxd" and words[:2] == ["snapshot", "create"]:
        return ["snapshot", *words[2:]]
    if daemon.name == "lxd" and words[:2] == ["snapshot", "restore"]:
        return ["restore", *words[2:]]
    return words


class Made:
    """A daemon with an instance for each state. ``left_out`` names the states that LXD does not support."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.socket = str(daemon.folder / "unix.socket")
        self.left_out: set[str] = set()

    def names(self) -> list[str]:
        return [name for name in STATES if name not in self.left_out]

    def project(self, name: str) -> str:
        return "p2" if name.startswith("in-p2") else "default"

    def client(self, name: str, *words: str, text: str | None = None) -> None:
        words = tuple(word.replace("NAME", name) for word in adapted(self.daemon, list(words)))
        command = [self.daemon.client, "--project", self.project(name), *words]
        answer = subprocess.run(
            command, input=text or "", text=True, capture_output=True, env=self.daemon.environment, check=False,
            timeout=120,
        )  # fmt: skip
        assert answer.returncode == 0, (command, answer.stdout, answer.stderr)

    def make(self, name: str) -> None:
        verb = "create" if self.daemon.name == "incus" else "init"
        self.client(name, verb, "t", name, "-c", "user.foo=bar")
        for step in STATES[name]:
            words, text = step if isinstance(step[0], list) else (step, None)
            if self.daemon.name == "lxd" and words[0] == "rebuild":
                self.left_out.add(name)  # LXD 5.0 has no such command
                return
            self.client(name, *words, text=text)

    def rootfs(self, name: str) -> Path:
        project = self.project(name)
        return self.daemon.rootfs(name if project == "default" else f"{project}_{name}")

    def templater(self, proxy: ReadingProxy, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, f"{self.daemon.name.upper()}_SOCKET": proxy.path}
        return subprocess.run(
            [sys.executable, "-m", "templater", *words], capture_output=True, text=True, check=False,
            env=environment, timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture(scope="module", params=[an_incus, an_lxd], ids=["incus", "lxd"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    for daemon in request.param():
        source = tmp_path_factory.mktemp("image")
        make_image(source, METADATA, TEMPLATES)
        make_rootfs(source / "rootfs")
        run(
            "tar", "-C", str(source), "-cf", str(source / "image.tar"), "metadata.yaml", "templates", "rootfs"
        )
        daemon("image", "import", str(source / "image.tar"), "--alias", "t")
        daemon("project", "create", "p2", "-c", "features.images=false", "-c", "features.profiles=false")
        made = Made(daemon)
        with ThreadPoolExecutor(4) as pool:  # each stop waits for a second
            list(pool.map(made.make, STATES))
        try:
            yield made
        finally:
            daemon.end_instances("p2")


def files(root: Path) -> dict[str, tuple[Any, ...] | None]:
    """Return owner, mode and content of each rule's file.

    Follow symlinks inside the root filesystem ``root``.
    """
    found: dict[str, tuple[Any, ...] | None] = {}
    for path in RULES:
        place = root / path[1:]
        with contextlib.suppress(OSError):
            place = place.parent.resolve() / place.name
            if place.is_symlink() and not os.readlink(place).startswith("/"):
                place = place.parent / os.readlink(place)
        if not place.is_file() or place.is_symlink():
            kind = "link" if place.is_symlink() else "other"
            found[path] = (kind, place.lstat().st_ino) if os.path.lexists(place) else None
            continue
        status = place.stat()
        found[path] = (status.st_uid, status.st_gid, f"{status.st_mode & 0o777:04o}", place.read_bytes())
    return found


def expected(said: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return the files after the start, as `diff` predicts them. Omit files whose prediction is unknown."""
    after = dict(before)
    doubtful: list[str] = []
    for file in said["files"]:
        if file["verdict"] in ("change", "create"):
            change = file["change"]
            after[file["path"]] = (change["uid"], change["gid"], change["mode"], change["content"].encode())
            if any("also be a fifo" in remark for remark in file.get("remarks", ())):
                doubtful.append(file["path"])
        elif file["verdict"] in ("unknown", "unreadable"):
            del after[file["path"]]
    if said["instance"] == "target-is-a-fifo" and said["family"] == "incus":
        assert doubtful == ["/etc/fixed"]  # the daemon shows a fifo as an empty file, and diff says so
        del after["/etc/fixed"]
    return after


@contextlib.contextmanager
def recorded_events(socket_path: str) -> Iterator[list[Event]]:
    """Record the daemon's events during the ``with`` block, over a separate connection."""
    found: list[Event] = []
    stop = threading.Event()
    stream = Events(
        Client("daemon", socket_path, unix_socket(socket_path)), Address("incus", all_projects=True)
    )

    def listen() -> None:
        with contextlib.suppress(TemplaterError):
            while not stop.is_set():
                found.extend(stream.wait(0.1))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield found
        stop.wait(0.5)  # the last events arrive after the last answer
    finally:
        stop.set()
        thread.join()
        stream.close()


READING = {
    "instance-file-retrieved", "instance-metadata-retrieved", "instance-metadata-template-retrieved", "image-retrieved",
}  # fmt: skip


@pytest.fixture(scope="module")
def said(made: Made) -> dict[str, dict[str, Any]]:
    """Return the JSON object of `diff --all-projects` for each instance.

    The command runs through the proxy.
    """
    with recorded_events(made.socket) as events, reading_proxy(made.socket) as proxy:
        answer = made.templater(proxy, "diff", f"{made.daemon.name}:", "--all-projects", "--json")
    if made.daemon.name == "lxd":  # LXD 5.0 gives no length, so templater has tried to fetch the fifo
        os.close(os.open(made.rootfs("target-is-a-fifo") / "etc/fixed", os.O_WRONLY | os.O_NONBLOCK))
    assert "Traceback" not in answer.stderr, answer.stderr
    assert proxy.refused == []
    assert {request.split()[0] for request in proxy.requests} == {"GET", "HEAD"}
    assert {event.action for event in events} <= READING
    found = [json.loads(line) for line in answer.stdout.splitlines()]
    errors = {each["instance"]: each["error"]["message"] for each in found if "files" not in each}
    assert not errors
    assert len(found) >= 30
    return {each["instance"]: each for each in found}


@pytest.mark.parametrize("state", STATES)
def test_the_next_start_writes_the_files_predicted_by_the_diff_command(
    made: Made, said: dict[str, dict[str, Any]], state: str
) -> None:
    if state in made.left_out:
        pytest.skip("recorded with Incus only: LXD 5.0 can't rebuild an instance")
    about = said[state]
    before = files(made.rootfs(state))
    running = about["status"] == "Running"
    verdicts = {file["path"]: file["verdict"] for file in about["files"]}
    words = ["restart", "-f", state] if running else ["start", state]
    answer = run(
        made.daemon.client, "--project", made.project(state), *words, code=None, env=made.daemon.environment
    )
    after = files(made.rootfs(state))
    want = expected(about, before)
    if "fail" in verdicts.values():
        assert answer.returncode != 0
        want = {
            path: value for path, value in want.items() if verdicts[path] in ("same", "not rewritten", "skip")
        }
    elif "unknown" not in verdicts.values():
        assert answer.returncode == 0, answer.stderr
    assert {path: after[path] for path in want} == want
    links = [file for file in about["files"] if file["verdict"] == "unknown" and "symlink" in file["reason"]]
    assert bool(links) == state.startswith("link-"), about["files"]
    if answer.returncode != 0 and links:  # the daemon refuses absolute links, and the reasons say so
        assert all(
            "'/etc/linked'" in file["reason"] or "the result is fail" in file["reason"] for file in links
        )


def test_every_command_sends_only_get_and_head_requests(made: Made) -> None:
    name, family = "running", made.daemon.name
    commands: dict[str, list[str]] = {
        "preview": [], "diff": [], "explain": [], "check": [], "simulate": ["c:user.foo=x", "restart"],
    }  # fmt: skip
    with recorded_events(made.socket) as events, reading_proxy(made.socket) as proxy:
        for command, more in commands.items():
            answer = made.templater(proxy, command, f"{family}:{name}", *more)
            assert answer.returncode in (0, 1), (command, answer.stdout, answer.stderr)
        diff = made.templater(proxy, "diff", f"{family}:{name}", "--set", "user.foo=other")
        assert diff.returncode == 0
    assert proxy.refused == []
    assert {request.split()[0] for request in proxy.requests} == {"GET", "HEAD"}
    assert events and {event.action for event in events} <= READING


def test_a_vanished_instance_does_not_hide_other_instances(
    made: Made,
) -> None:
    made.client("doomed", "create" if made.daemon.name == "incus" else "init", "t", "doomed")
    deleted = threading.Event()

    with reading_proxy(made.socket) as proxy:
        original = proxy.requests

        class Watching(list):
            def append(self, request: str) -> None:
                original.append(request)
                if "doomed/files" in request and not deleted.is_set():
                    deleted.set()
                    made.client("doomed", "delete", "-f", "doomed")

        proxy.requests = Watching()
        answer = made.templater(proxy, "diff", f"{made.daemon.name}:", "running", "doomed", "stopped")
    lines = answer.stdout.splitlines()
    assert deleted.is_set() and len(lines) == 3 and answer.returncode == 2
    assert lines[0].startswith("doomed") and "has no instance 'doomed'" in lines[0]
    assert not any("error" in line for line in lines[1:])


@pytest.fixture(scope="module")
def restricted(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a client whose certificate is restricted to the project p2."""
    if made.daemon.name == "lxd":
        pytest.skip("recorded with Incus only: LXD has no `remote proxy`")
    configuration = tmp_path_factory.mktemp("client")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made.daemon("config", "set", "core.https_address", f"127.0.0.1:{port}")
    environment = {**os.environ, "INCUS_CONF": str(configuration), "HOME": str(configuration)}
    environment.pop("INCUS_DIR", None)
    run("incus", "remote", "generate-certificate", env=environment)
    made.daemon(
        "config",
        "trust",
        "add-certificate",
        str(configuration / "client.crt"),
        "--restricted",
        "--projects",
        "p2",
    )
    run("incus", "remote", "add", "there", f"https://127.0.0.1:{port}", "--accept-certificate", "--project", "p2",
        env=environment)  # fmt: skip
    return environment


def through(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "templater", *words], capture_output=True, text=True, check=False, env=environment,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


def test_diff_with_a_restricted_certificate_uses_the_project_of_the_certificate(
    restricted: dict[str, str],
) -> None:
    answer = through(restricted, "diff", "incus:there:")
    names = [line.split()[0] for line in answer.stdout.splitlines()]
    assert names == ["in-p2-new", "in-p2-running", "in-p2-stopped"], answer.stderr
    assert "using the project 'p2'" in answer.stderr
    one = through(restricted, "diff", "incus:there:in-p2-stopped")
    assert one.returncode == 0 and "incus start there:in-p2-stopped --project p2" not in one.stderr


def test_a_restricted_client_gets_an_error_for_another_project(
    restricted: dict[str, str],
) -> None:
    for words in (
        ("diff", "incus:there:", "--project", "default"),
        ("diff", "incus:there:running", "--project", "default"),
    ):
        answer = through(restricted, *words)
        assert answer.returncode == 2 and answer.stdout == ""
        assert "does not have permission" in answer.stderr and "Traceback" not in answer.stderr


def test_the_name_of_a_remote_never_becomes_an_option(restricted: dict[str, str]) -> None:
    for name in ("-x", "--force-local"):
        answer = through(restricted, "diff", f"incus:{name}:c1")
        assert answer.returncode == 2 and f"can't connect to the remote '{name}': " in answer.stderr
        assert "unknown" not in answer.stderr and "usage" not in answer.stderr.lower()
