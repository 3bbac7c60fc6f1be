"""Instances of recorded daemons."""

import contextlib
import http.client
import itertools
import math
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from templater.image.limits import DEFAULT
from templater.live import connect, rest_client
from templater.live.address import parse_address
from templater.live.connect import open_daemon
from templater.live.instance_filters import list_instances, parse_filters
from templater.live.live_instance import open_instance
from templater.live.rest_client import Answer, Client, HangError, NoAnswerError, unix_socket
from templater.model.entry import DIRECTORY, FILE, SYMLINK
from templater.model.errors import InputError, LimitError, UsageError
from templater.parsing.metadata_yaml import read_metadata
from templater.sources.open_source import LIVE, open_source
from tests.recorded_daemon import JSON, TEMPLATES, error, recorded, sync


@pytest.fixture(params=["incus", "lxd"])
def daemon(request):
    return request.getfixturevalue(request.param)


def opened(daemon, name="c1", project=None):
    found = open_daemon(parse_address(f"{daemon.family}:{name}", project))
    try:
        return open_instance(found)
    except BaseException:
        found.close()
        raise


def test_a_running_instance_is_read_with_its_profiles_as_layers(daemon):
    source = open_source(f"{daemon.family}:c1")
    instance = source.read_instance()
    recorded_c1 = daemon.data("GET /1.0/instances/c1")
    assert (source.kind, instance.name, instance.status) == (LIVE, "c1", "Running")
    assert instance.expanded_config() == recorded_c1["expanded_config"]
    assert instance.expanded_devices() == recorded_c1["expanded_devices"]
    assert [profile.name for profile in instance.profiles] == ["default"]
    assert source.pending(instance) == ""
    source.close()


def test_the_profiles_of_an_instance_in_another_project_are_read(incus):
    incus.put("GET /1.0/instances/c9/metadata?project=p2", sync(incus.data("GET /1.0/instances/c1/metadata")))
    live = opened(incus, "c9", "p2")
    assert [profile["devices"] for profile in live.profiles] == [
        {"root": {"path": "/", "pool": "default", "type": "disk"}}
    ]
    assert live.pending == "create"
    live.daemon.close()


def test_the_expanded_keys_are_used_if_profiles_cannot_be_read(incus):
    incus.put("GET /1.0/profiles?recursion=1", error(403, "not authorized"))
    source = open_source("incus:c1")
    instance = source.read_instance()
    assert instance.expanded_devices() == incus.data("GET /1.0/instances/c1")["expanded_devices"]
    assert instance.profiles == () and instance.expanded is not None
    source.close()


def test_the_metadata_and_templates_are_read_from_the_running_instance(daemon):
    live = opened(daemon)
    rules = {rule.path: rule for rule in read_metadata(live.image.read_metadata()).rules}
    assert list(rules) == [
        "/etc/hostname",
        "/etc/once",
        "/srv/deep/file",
        "/var/lib/cloud/seed/nocloud-net/meta-data",
    ]
    assert rules["/etc/hostname"].when == ("create", "copy") and rules["/etc/once"].create_only
    assert rules["/srv/deep/file"].mode == ("0604" if daemon.family == "incus" else "")
    found = live.image.read_templates(["hostname.tpl", "no.tpl", "../metadata.yaml"])
    assert found["hostname.tpl"].data == b"{{ container.name }}\n"
    assert found["no.tpl"].entry is None
    assert found["../metadata.yaml"].error is not None
    live.daemon.close()


@pytest.mark.parametrize("value", ['"\\x7f\x80 "\\', "\U0001f600\u2028é", "a: b # c", "{{ x }}\n\t- y"])
def test_instance_metadata_with_any_characters_is_read(incus, value):
    metadata = incus.data("GET /1.0/instances/c1/metadata")
    metadata["templates"]["/etc/hostname"]["properties"] = {value: value}
    incus.put("GET /1.0/instances/c1/metadata", sync(metadata, Etag="x"))
    live = opened(incus)
    assert read_metadata(live.image.read_metadata()).rules[0].properties == {value: value}
    live.daemon.close()


def test_a_running_instance_without_metadata_has_no_planned_files(incus):
    (missing,) = (each for each in recorded("incus") if each["name"] == "metadata-missing")
    incus.put("GET /1.0/instances/c1/metadata", (200, JSON, str_of(missing["json"])))
    live = opened(incus)
    assert read_metadata(live.image.read_metadata()).rules == ()
    assert "has no metadata.yaml" in live.notes[-1]
    live.daemon.close()


def str_of(value):
    import json

    return json.dumps(value).encode()


def test_a_link_with_an_empty_target_gives_no_traceback(daemon):
    """Linux has no such links, but a hostile daemon can send one; ``relpath`` raised a ValueError."""
    live = opened(daemon)
    daemon.put_file("c1", "/etc/link", b"", kind="symlink", mode="0777")
    assert live.rootfs.with_relative_links().entry("/etc/link").target == ""
    live.daemon.close()


def test_file_attributes_and_link_targets_come_from_the_running_instance(daemon):
    live = opened(daemon)
    rootfs = live.rootfs
    found = {
        path: rootfs.entry(path) for path in ("/srv/owned", "/srv", "/etc/link", "/etc/nope", "/nope/nope")
    }
    owned = found["/srv/owned"]
    head = next(e for e in recorded(daemon.family) if e["name"] == "files-head-file-owned")
    told = {name.rpartition("-")[2].lower(): value for name, value in head["headers"]}
    assert (owned.kind, owned.uid, owned.gid, owned.mode) == (
        FILE, int(told["uid"]), int(told["gid"]), int(told["mode"], 8),
    )  # fmt: skip
    assert found["/srv"].kind == DIRECTORY
    assert (found["/etc/link"].kind, found["/etc/link"].target) == (SYMLINK, "/etc/os-release")
    assert found["/etc/nope"] is found["/nope/nope"] is None and rootfs.missed
    assert rootfs.with_relative_links().entry("/etc/link").target == "os-release"
    assert rootfs.read("/etc/hostname", 100) == b"c1\n"
    live.daemon.close()


def test_a_file_with_length_0_is_never_fetched_from_the_daemon(incus):
    live = opened(incus)
    assert live.rootfs.read("/srv/fifo", 100) == b""
    assert live.rootfs.empty == {"/srv/fifo"}
    assert not [request for request in incus.requests if request.startswith("GET") and "fifo" in request]
    live.daemon.close()


def test_lxd_gets_no_further_file_requests_after_one_request_hangs(lxd, monkeypatch):
    monkeypatch.setattr("templater.live.live_rootfs.FILE_TIMEOUT", 0.2)
    live = opened(lxd)
    with pytest.raises(
        InputError,
        match=r"^lxd did not send '/srv/fifo' within 0\.2 seconds: it is probably a fifo or a device$",
    ):
        live.rootfs.read("/srv/fifo", 100)
    with pytest.raises(
        InputError, match=r"^'/etc/hostname' was not fetched, because reading '/srv/fifo' took too long$"
    ):
        live.rootfs.read("/etc/hostname", 100)
    live.daemon.close()


def test_each_path_of_an_instance_is_requested_only_once(daemon):
    live = opened(daemon)
    for _ in range(3):
        live.rootfs.entry("/etc/hostname")
        live.rootfs.copy().entry("/etc/hostname")
    heads = [request for request in daemon.requests if request.startswith("HEAD")]
    assert len(heads) == len(set(heads)) == 3  # the root, /etc and the file
    assert daemon.connections == 1
    live.daemon.close()


def test_a_simulated_write_sends_only_get_and_head_requests(incus):
    live = opened(incus)
    before = len(incus.requests)
    copy = live.rootfs.copy()
    copy.make_parents("/etc/new/file")
    copy.write("/etc/new/file", b"x")
    copy.overwrite("/etc/hostname", b"y")
    assert copy.read("/etc/hostname", 10) == b"y"
    assert live.rootfs.read("/etc/hostname", 10) == b"c1\n" and live.rootfs.entry("/etc/new") is None
    assert {request.split()[0] for request in incus.requests[before:]} <= {"GET", "HEAD"}
    live.daemon.close()


def test_a_missing_permission_to_read_files_gives_a_note(incus):
    for method in ("GET", "HEAD"):
        incus.put(f"{method} /1.0/instances/c1/files?path=%2F", error(403, "not authorized"))
    source = open_source("incus:c1")
    assert source.live.unreadable == "not authorized" and not source.has_rootfs
    assert (
        "existing files can't be read, so rendered files are not compared with them: not authorized"
        in source.notes
    )
    with source.open_rootfs() as rootfs:
        assert rootfs is None
    source.close()


def test_an_application_container_is_refused_because_it_has_no_templates(incus):
    instance = incus.data("GET /1.0/instances/c1")
    instance["expanded_config"]["volatile.container.oci"] = "true"
    incus.put("GET /1.0/instances/c1", sync(instance))
    with pytest.raises(
        InputError, match=r"^'incus:c1' is an OCI application container, which has no templates$"
    ):
        opened(incus)


@pytest.mark.parametrize(
    ("request_", "answer", "words"),
    [
        ("GET /1.0", (200, JSON, b"<html>"), "something other than JSON"),
        ("GET /1.0", sync([]), "description of itself"),
        ("GET /1.0", sync({"auth": "untrusted"}), "does not trust this client"),
        ("GET /1.0/instances/c1", (200, JSON, b"[" * 100_000), "something other than JSON"),
        ("GET /1.0/instances/c1", sync({"name": "c2"}), "invalid description of"),
        ("GET /1.0/instances/c1", error(503, "node is offline"), "incus answered: node is offline"),
        ("GET /1.0/instances/c1/metadata", (200, JSON, b"{}"), "metadata that is not JSON"),
        ("GET /1.0/instances/c1/metadata", sync({"templates": {"/a": {"template": "\ud800"}}}), "metadata that is not JSON"),
        ("GET /1.0/instances/c1/metadata", error(500, "yaml: line 2"), "incus answered: yaml: line 2"),
    ],
)  # fmt: skip
def test_an_invalid_daemon_response_gives_one_clear_error(incus, request_, answer, words):
    incus.put(request_, answer)
    with pytest.raises(InputError, match=words):
        opened(incus)


def test_a_repeated_profile_of_an_instance_becomes_one_layer(incus):
    """A hostile daemon named one profile 100,000 times: the description took 2 GB."""
    data = {**incus.data("GET /1.0/instances/c1"), "profiles": ["default"] * 3}
    incus.put("GET /1.0/instances/c1", sync(data))
    live = opened(incus)
    assert [profile["name"] for profile in live.profiles] == ["default"]
    live.daemon.close()


@pytest.mark.parametrize("profiles", [5, True, "default", {"a": 1}, [["default"]], [{}]])
def test_profiles_of_a_wrong_type_count_as_unknown(incus, profiles):
    config = {"volatile.container.oci": 5}
    data = {**incus.data("GET /1.0/instances/c1"), "profiles": profiles, "expanded_config": config}
    incus.put("GET /1.0/instances/c1", sync(data))
    live = opened(incus)
    assert live.profiles == []
    live.daemon.close()


def test_requests_still_work_after_a_too_long_daemon_response(incus, monkeypatch):
    monkeypatch.setattr("templater.live.rest_client.MOST_JSON", 1000)
    daemon = open_daemon(parse_address("incus:c1"))
    incus.put("GET /1.0/instances/c1", (200, JSON, b" " * 2000))
    with pytest.raises(LimitError, match=r"^incus answered '/1\.0/instances/c1' with more than 1000 bytes$"):
        daemon.client.json("/1.0/instances/c1", 1000)
    assert daemon.client.json("/1.0", 100_000)["auth"] == "trusted"
    daemon.close()


@pytest.mark.parametrize(("limit", "most"), [("MOST_JSON", 8 << 20), ("MOST_LIST", 64 << 20)])
def test_a_daemon_response_of_exactly_the_size_limit_is_accepted(incus, monkeypatch, limit, most):
    assert getattr(rest_client, limit) == most
    daemon = open_daemon(parse_address("incus:c1"))
    answer = b'{"type": "sync", "metadata": 5}'
    monkeypatch.setattr(rest_client, limit, 1000)
    incus.put("GET /1.0/x", (200, JSON, answer.ljust(1000)))
    assert daemon.client.json("/1.0/x", getattr(rest_client, limit)) == 5
    incus.put("GET /1.0/x", (200, JSON, answer.ljust(1001)))
    with pytest.raises(LimitError, match=r"^incus answered '/1\.0/x' with more than 1000 bytes$"):
        daemon.client.json("/1.0/x", getattr(rest_client, limit))
    daemon.close()


def test_a_missing_instance_and_a_missing_project_give_different_errors(incus):
    with pytest.raises(InputError, match=r"^incus has no instance 'nope'$") as caught:
        opened(incus, "nope")
    assert caught.value.hint == "for another project, give --project or --all-projects"
    with pytest.raises(InputError, match=r"^incus has no project 'none'$"):
        opened(incus, "c1", "none")


def test_the_error_about_an_unexpected_daemon_family_gives_the_actual_family(incus, monkeypatch):
    monkeypatch.setenv("LXD_SOCKET", incus.socket)
    with pytest.raises(UsageError, match="is incus, not lxd") as caught:
        open_daemon(parse_address("lxd:c1"))
    assert caught.value.hint == "write incus:NAME"


def test_the_error_about_a_missing_daemon_socket_gives_the_socket_path(monkeypatch, tmp_path):
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "unix.socket"))
    with pytest.raises(InputError, match=r"no incus daemon: the socket '.*unix.socket' does not exist"):
        open_daemon(parse_address("incus:c1"))


def test_a_socket_without_a_listening_daemon_gives_an_error(monkeypatch, tmp_path):
    folder = os.path.relpath(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{folder}/s")
    monkeypatch.setenv("INCUS_SOCKET", f"{folder}/s")
    with pytest.raises(InputError, match="no incus daemon answers"):
        open_daemon(parse_address("incus:c1"))


def test_a_client_reconnects_after_the_daemon_closes_the_connection(incus):
    daemon = open_daemon(parse_address("incus:c1"))
    daemon.client._local.connection.sock.shutdown(socket.SHUT_RDWR)
    assert daemon.client.json("/1.0")["auth"] == "trusted"
    daemon.close()


def test_a_hanging_daemon_request_gives_an_error_at_the_timeout(incus):
    incus.put("GET /1.0/slow", None)
    daemon = open_daemon(parse_address("incus:c1"))
    with pytest.raises(HangError, match=r"^incus did not answer within 0\.1 seconds$"):
        daemon.client.get("/1.0/slow", 10, 0.1)
    daemon.close()


def test_a_note_says_that_the_project_comes_from_the_environment(incus, monkeypatch):
    monkeypatch.setenv("INCUS_PROJECT", "p2")
    daemon = open_daemon(parse_address("incus:c9"))
    assert daemon.address.project == "p2"
    assert daemon.notes == ("using the project 'p2': set by INCUS_PROJECT (see --project)",)
    daemon.close()


def test_the_project_in_the_configuration_of_the_client_is_used(incus, monkeypatch, tmp_path):
    (tmp_path / "config.yml").write_text("remotes: {local: {addr: 'unix://', project: p2}}\n")
    monkeypatch.setenv("INCUS_CONF", str(tmp_path))
    daemon = open_daemon(parse_address("incus:c9"))
    assert daemon.address.project == "p2" and "config.yml'" in daemon.notes[0]
    daemon.close()


def test_each_unusable_lxd_remote_gives_a_specific_error(monkeypatch, tmp_path):
    monkeypatch.setenv("LXD_CONF", str(tmp_path))
    remote = "remotes: {there: {addr: 'https://127.0.0.1:1', protocol: lxd}, oidc: {addr: 'https://x', auth_type: oidc}, odd: {addr: 'https://[x'}, images: {addr: 'https://x', protocol: simplestreams}}\n"
    (tmp_path / "config.yml").write_text(remote)
    with pytest.raises(InputError, match=r"^the LXD remote 'there' needs the client's certificate$"):
        open_daemon(parse_address("lxd:there:c1"))
    with pytest.raises(UsageError, match=r"^templater does not support the LXD remote 'oidc'$") as caught:
        open_daemon(parse_address("lxd:oidc:c1"))
    assert caught.value.hint == "templater supports https remotes with a client certificate, and Unix sockets"
    with pytest.raises(UsageError, match=r"^the URL has an invalid host$"):
        open_daemon(parse_address("lxd:odd:c1"))
    with pytest.raises(UsageError, match=r"^unknown LXD remote 'nowhere'$") as refused:
        open_daemon(parse_address("lxd:nowhere:c1"))
    assert refused.value.hint == "`lxc remote list` shows the known remotes"
    with pytest.raises(UsageError, match=r"^the remote 'images' has images only$"):
        open_daemon(parse_address("lxd:images:c1"))


@pytest.mark.skipif(shutil.which("incus") is None, reason="the Incus client is not installed")
def test_an_unknown_remote_of_incus_gives_the_error_of_the_client(monkeypatch, tmp_path):
    monkeypatch.setenv("INCUS_CONF", str(tmp_path))
    with pytest.raises(
        InputError, match=r"^can't connect to the remote 'nowhere': The remote isn't a private server$"
    ):
        open_daemon(parse_address("incus:nowhere:c1"))


PROXY = """#!/bin/sh
echo "$@" > "$0.words"
%s
"""
SERVE = """exec python3 -c 'import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".new")
listener.listen()
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(60)' "$6"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "the remote 'there' needs the program incus, which is missing"),
        ("exit 1", "can't connect to the remote 'there': `incus remote proxy` opened no socket"),
        ("echo advice >&2; echo 'Error: no such remote' >&2; exit 1", "can't connect to the remote 'there': no such remote"),
        ("exec sleep 60", "can't connect to the remote 'there': `incus remote proxy` opened no socket"),
        (SERVE, ""),
    ],
    ids=["no client", "silent", "error", "no socket", "socket"],
)  # fmt: skip
def test_the_incus_client_gives_access_to_a_remote(script, words, tmp_path, monkeypatch):
    program = tmp_path / "bin/incus"
    program.parent.mkdir()
    if script is not None:
        program.write_text(PROXY % script)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}" if script else str(program.parent))
    short = tempfile.mkdtemp(prefix="p.")  # the path of a socket can have only 107 bytes
    monkeypatch.setattr("tempfile.tempdir", short)
    monkeypatch.setattr(connect, "_PROXY_START", 30 if script == SERVE else 1.5)
    cleanups, started = [], []
    popen = subprocess.Popen
    monkeypatch.setattr(
        connect.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[0]
    )
    if words:
        with pytest.raises(InputError) as refused:
            connect._proxy("there", cleanups)
        assert refused.value.message == words
        assert refused.value.hint == ("" if script else "install the Incus client")
        assert cleanups == []
    else:
        path, reach = connect._proxy("there", cleanups)
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        assert Path(f"{program}.words").read_text() == f"remote proxy --timeout=600 -- there: {path}\n"
        reach(1).close()
        assert started[0].poll() is None
        cleanups.pop()()
    assert [each.poll() is not None for each in started] == [True] * bool(script)
    os.rmdir(short)  # nothing was left in it


def test_only_a_directory_of_an_instance_can_be_listed(incus):
    live = opened(incus)
    recorded_names = next(each for each in recorded("incus") if each["name"] == "files-get-dir")["json"][
        "metadata"
    ]
    assert live.rootfs.listdir("/srv") == sorted(recorded_names)
    with pytest.raises(InputError, match=r"^'/etc/hostname' changed while it was read$"):
        live.rootfs.listdir("/etc/hostname")
    live.daemon.close()


@pytest.mark.slow
def test_a_client_waits_for_a_restarting_daemon(incus):
    """The first daemon ends after two requests, and a second daemon later appears on the same socket."""
    path = f"{incus.socket}.restarted"

    def serve_one(listener, requests):
        connection, _ = listener.accept()
        with connection:
            for _ in range(requests):
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(4096)
                body = b'{"metadata": 1}'
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def restart():
        with listen(path) as first:
            ready.set()
            serve_one(first, 2)
        os.unlink(path)
        time.sleep(0.4)
        with listen(path) as second:
            serve_one(second, 1)

    ready = threading.Event()
    thread = threading.Thread(target=restart)
    thread.start()
    ready.wait()
    client = Client("incus", path, unix_socket(path))
    assert [client.json("/1.0") for _ in range(3)] == [1, 1, 1]
    client.close()
    thread.join()


def test_clients_make_few_attempts_while_the_daemon_is_stopped(incus, monkeypatch):
    monkeypatch.setattr("templater.live.rest_client.PATIENCE", 0.3)
    attempts = []
    connect = unix_socket(incus.socket)

    def counted(timeout):
        attempts.append(timeout)
        if len(attempts) > 50:
            raise AssertionError("busy attempts")
        return connect(timeout)

    client = Client("incus", incus.socket, counted)
    client.json("/1.0")
    client._local.connection.sock.shutdown(socket.SHUT_RDWR)
    os.unlink(incus.socket)
    with pytest.raises(NoAnswerError, match="does not exist"):
        client.json("/1.0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "most", "error"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 40], 100, HangError),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 40], 100, HangError),
        ([b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n"] * 40], 100, HangError),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"] * 40, 100, HangError),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", *[b"a: b\r\n"] * 40], 100, HangError),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx"], 100, NoAnswerError),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nx"], 100, NoAnswerError),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n", b"x" * 300], 100, LimitError),
    ],
    ids=["slow", "slow chunks", "slow headers", "slow interim answers", "slow trailers", "incomplete", "incomplete chunk", "too long"],
)  # fmt: skip
def test_a_slow_or_incomplete_daemon_response_is_an_error(sent, most, error):
    ours, theirs = socket.socketpair()

    def send():
        with theirs, contextlib.suppress(OSError):
            theirs.recv(4096)
            for piece in sent:
                theirs.sendall(piece)
                time.sleep(0.02)

    thread = threading.Thread(target=send)
    thread.start()
    client = Client("incus", "socket", lambda timeout: ours)
    with pytest.raises(error):
        client.get("/1.0/file", most, 0.2 if error is HangError else 30)
    client.close()
    thread.join()


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
    ],
    ids=["interim answers", "chunks", "trailers"],
)
def test_a_daemon_response_with_too_much_protocol_overhead_is_an_error(monkeypatch, start, repeated):
    monkeypatch.setattr("templater.distribution.daemon_connection.MOST_OVERHEAD", 1 << 16)
    ours, theirs = socket.socketpair()

    def send():
        with theirs, contextlib.suppress(OSError):
            theirs.recv(4096)
            theirs.sendall(start + repeated * 20_000)

    thread = threading.Thread(target=send)
    thread.start()
    client = Client("incus", "socket", lambda timeout: ours)
    much = "0 MiB of protocol data in addition to the content" if start else "32 KiB of headers"
    with pytest.raises(NoAnswerError, match=f"^incus sent an invalid response: more than {much}$"):
        client.get("/1.0/file", 1 << 20)
    client.close()
    thread.join()


DONE = Answer(200, {})
CLOSED, RESET, INVALID = (
    http.client.RemoteDisconnected("closed"),
    ConnectionResetError(104, "reset"),
    ValueError("x"),
)
BAD, DENIED = http.client.BadStatusLine("x"), PermissionError(13, "denied")


@pytest.mark.parametrize(
    ("outcomes", "pauses", "seconds", "error"),
    [
        ([DONE], 0, 0, None),
        ([CLOSED], 0, 0, "incus sent an invalid response: closed"),
        ([BAD], 0, 0, "incus sent an invalid response: x"),
        ([RESET], 0, 0, "incus does not answer on 'place': reset"),
        ([DONE, CLOSED, DONE], 0, 0, None),
        ([DONE, BAD, DONE], 0, 0, None),
        ([DONE, CLOSED, CLOSED], 0, 0, "incus sent an invalid response: closed"),
        ([DONE, INVALID], 0, 0, "incus sent an invalid response: x"),
        ([DONE, ValueError()], 0, 0, "incus sent an invalid response: ValueError"),
        ([DONE, TimeoutError()], 0, 0, "incus did not answer within 9 seconds"),
        ([DONE, RESET, DONE], 0, 0, None),
        ([DONE, RESET, RESET, RESET, DONE], 2, 0, None),
        ([DONE, RESET, RESET], 0, 100, "incus does not answer on 'place': reset"),
        ([DONE, DENIED, DENIED], 0, 0, "no permission for the socket 'place' of incus"),
        ([DONE, DENIED, DONE], 0, 0, None),
    ],
)
def test_failed_requests_are_repeated_only_after_an_earlier_response(
    outcomes, pauses, seconds, error, monkeypatch
):
    """A daemon that stops closes idle connections, and a daemon that restarts refuses connections for a while."""
    client = Client("incus", "place", lambda timeout: None)
    waiting, paused, times = list(outcomes), [], itertools.count(step=seconds)

    def exchange(*_):
        outcome = waiting.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def closed(connection):
        connection.used = False

    monkeypatch.setattr(client, "_exchange", exchange)
    monkeypatch.setattr("templater.live.rest_client.Connection.close", closed)
    monkeypatch.setattr("templater.live.rest_client.time.monotonic", lambda: next(times))
    monkeypatch.setattr("templater.live.rest_client.time.sleep", paused.append)
    answers, failed = [], None
    while waiting and failed is None:
        try:
            answers.append(client.get("/", 9, 9))
        except NoAnswerError as found:
            failed = found.message
    assert (waiting, len(paused), failed) == ([], pauses, error)
    assert answers == [DONE] * outcomes.count(DONE)


def listen(path):
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen()
    return made


def test_a_template_above_the_size_limit_does_not_hide_other_templates(incus):
    instance = opened(incus)
    instance.image.limits = instance.image.limits._replace(template_bytes=len(TEMPLATES["once.tpl"]))
    found = instance.image.read_templates(["once.tpl", "cloud-init-meta.tpl"])
    assert found["once.tpl"].data == TEMPLATES["once.tpl"]
    error_ = found["cloud-init-meta.tpl"].error
    most = len(TEMPLATES["once.tpl"])
    assert isinstance(error_, LimitError)
    assert error_.message == f"the template 'cloud-init-meta.tpl' is larger than {most} bytes"


def test_the_total_size_of_the_templates_of_an_instance_is_limited(incus):
    instance = opened(incus)
    instance.image.limits = instance.image.limits._replace(templates_bytes=40)
    assert instance.image.read_templates(["once.tpl"])
    with pytest.raises(LimitError, match=r"^'incus:c1': its templates have more than 40 bytes$"):
        instance.image.read_templates(["deep.tpl"])


def test_the_instances_of_all_projects_are_sorted_by_project_and_name(incus):
    listed = [{"name": "a", "project": "web"}, {"name": "b", "project": "db"}, {"name": "a", "project": "db"}]
    incus.put("GET /1.0/instances?recursion=1&all-projects=true", sync([*listed, {"name": "c"}]))
    found = open_daemon(parse_address("incus:", all_projects=True))
    addresses = [address for address, _ in list_instances(found, lambda data: True)]
    assert [(address.project, address.name) for address in addresses] == [
        ("", "c"), ("db", "a"), ("db", "b"), ("web", "a"),
    ]  # fmt: skip
    assert not any(address.all_projects for address in addresses)
    found.close()


def test_a_list_with_too_many_instances_is_refused(incus, monkeypatch):
    monkeypatch.setattr(rest_client, "MOST_ELEMENTS", 1)
    listed = [{"name": name} for name in ("c1", "c2")]
    incus.put("GET /1.0/instances?recursion=1", sync(listed))
    found = open_daemon(parse_address("incus:"))
    with pytest.raises(LimitError, match=r"^incus has more than 1 instances$"):
        list_instances(found, lambda data: True)
    incus.put("GET /1.0/instances?recursion=1", sync(listed[:1]))
    assert [address.name for address, _ in list_instances(found, lambda data: True)] == ["c1"]
    found.close()


INSTANCE = {
    "name": "c1", "status": "Running", "type": "virtual-machine", "ephemeral": True, "profiles": ["default", "web"],
    "expanded_config": {"user.role": "db"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (("profile=web",), True), (("profile=w*",), True), (("profile=none",), False), (("ephemeral=true",), True),
        (("ephemeral=false",), False), (("type=vm",), True), (("type=container",), False), (("status=running",), True),
        (("user.role=db",), True), (("user.role=web",), False), (("user.none=",), True), (("c*",), True),
        (("d*",), False), (("d*", "c1"), True), (("c1", "profile=none"), False), (("location=",), True),
    ],
)  # fmt: skip
def test_a_filter_compares_the_fields_and_the_keys_of_an_instance(words, chosen):
    assert parse_filters(parse_address("incus:"), words)(INSTANCE) is chosen


@pytest.mark.parametrize(("src", "chosen"), [("incus:c*", True), ("incus:d*", False), ("incus:", True)])
def test_the_name_in_an_address_can_be_a_pattern(src, chosen):
    assert parse_filters(parse_address(src), ("status=running",))(INSTANCE) is chosen


@pytest.mark.parametrize("data", [{"ephemeral": False}, {}, {"ephemeral": None}])
def test_an_instance_is_not_considered_ephemeral_by_default(data):
    assert parse_filters(parse_address("incus:"), ("ephemeral=false",))(data)
    assert not parse_filters(parse_address("incus:"), ("ephemeral=true",))(data)


def test_a_name_pattern_for_running_instances_cannot_contain_a_slash():
    with pytest.raises(UsageError, match=r"^'a/b' is not a name pattern$"):
        parse_filters(parse_address("incus:"), ("a/b",))


@pytest.mark.parametrize(
    ("status", "message"), [(404, "incus has no project 'p'"), (500, "incus answered: no")]
)
def test_a_missing_or_unavailable_project_is_an_error(incus, status, message):
    incus.put("GET /1.0/projects/p", error(status, "no"))
    with pytest.raises(InputError) as caught:
        open_daemon(parse_address("incus:c1", "p"))
    assert caught.value.message == message


def test_a_project_without_read_permission_is_accepted(incus):
    incus.put("GET /1.0/projects/p", error(403, "not authorized"))
    found = open_daemon(parse_address("incus:c1", "p"))
    assert (found.address.project, found.notes) == ("p", ())
    found.close()


def test_the_socket_for_unprivileged_users_selects_their_own_project():
    project, why = connect._default_project(parse_address("incus:none:c1"), is_user=True)
    assert (project, why) == (
        f"user-{os.getuid()}",
        "the default on the socket for unprivileged users",
    )


@pytest.mark.parametrize("place", ["unix:///x/lxd.socket", "unix:/x/lxd.socket"])
def test_an_lxd_remote_on_a_unix_socket_is_used_without_certificates(monkeypatch, tmp_path, place):
    monkeypatch.setenv("LXD_CONF", str(tmp_path))
    (tmp_path / "config.yml").write_text(f"remotes: {{here: {{addr: '{place}'}}}}\n")
    assert connect._of_lxd("here")[0] == "/x/lxd.socket"


def test_files_of_a_running_instance_cannot_be_listed(lxd):
    rootfs = opened(lxd).rootfs
    with pytest.raises(InputError, match=r"^the files of a running instance can't be listed$"):
        rootfs.walk()
    lxd.put_file("c1", "/etc/none", b"", length=False)
    assert rootfs.entry("/etc/none").kind == FILE and "/etc/none" not in rootfs.empty
    assert rootfs.read("/etc/none", 10) == b"" and "/etc/none" in rootfs.empty


def test_reading_a_changing_symlink_gives_an_error(incus):
    rootfs = opened(incus).rootfs
    incus.put_file("c1", "/etc/l", b"/x", kind="symlink")
    incus.put("GET /1.0/instances/c1/files?path=%2Fetc%2Fl", (200, {"X-Incus-Type": "file"}, b"x"))
    with pytest.raises(InputError, match=r"^'/etc/l' changed while it was read$"):
        rootfs.entry("/etc/l")


@pytest.mark.parametrize(("most", "fits"), [(0.5, True), (0.49, False)])
def test_instance_metadata_may_be_twice_as_large_as_a_metadata_file(incus, most, fits):
    """The daemon sends JSON, which is longer than YAML."""
    metadata = {**incus.data("GET /1.0/instances/c1/metadata"), "properties": {"a": "x" * 10_000}}
    answer = sync(metadata, Etag="x")
    incus.put("GET /1.0/instances/c1/metadata", answer)
    limits = DEFAULT._replace(metadata_bytes=math.ceil(len(answer[2]) * most))
    daemon = open_daemon(parse_address("incus:c1"))
    if fits:
        assert open_instance(daemon, limits).image.has_metadata
    else:
        with pytest.raises(
            LimitError, match=r"^incus answered '/1\.0/instances/c1/metadata' with more than \d+ bytes$"
        ):
            open_instance(daemon, limits)
    daemon.close()


def test_a_copy_of_a_simulated_rootfs_keeps_changed_links(daemon):
    live = opened(daemon)
    copy = live.rootfs.copy()
    assert copy.entry("/etc/link").kind == SYMLINK
    copy.symlink("/etc/new", "hostname")
    copy.remove("/etc/link")
    copy.write("/etc/link", b"x")
    for twin in (copy.copy(), copy.with_relative_links()):
        assert (twin.entry("/etc/new").kind, twin.entry("/etc/new").target) == (SYMLINK, "hostname")
        assert (twin.entry("/etc/link").kind, twin.read("/etc/link", 9)) == (FILE, b"x")
    assert live.rootfs.entry("/etc/new") is None and live.rootfs.entry("/etc/link").kind == SYMLINK
    live.daemon.close()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("Running", False, "")), ({"status": None, "type": "virtual-machine"}, ("", True, "")),
        ({"status": "Stopped", "config": {"volatile.apply_template": "copy"}}, ("Stopped", False, "copy")),
        ({"config": {"volatile.apply_template": None}}, ("Running", False, "")), ({"config": 5}, ("Running", False, "")),
    ],
)  # fmt: skip
def test_status_and_type_and_trigger_come_from_the_daemon(incus, fields, expected):
    live = opened(incus)
    live.data = {**live.data, **fields}
    assert (live.status, live.is_vm, live.pending) == expected
    live.daemon.close()
