"""The message and the hint of each error about a daemon and its instances."""

import json
import os
import ssl

import pytest

from templater.live import connect, live_rootfs
from templater.live.address import parse_address
from templater.live.connect import open_daemon
from templater.live.live_instance import _yaml, open_instance
from templater.live.nearest_host import nearest_host
from templater.live.rest_client import Answer, Client, unix_socket
from templater.model.errors import LimitError, TemplaterError
from tests.recorded_daemon import JSON, error, recorded, sync

PROJECTS = "for another project, give --project or --all-projects"
GONE = error(404, "not found")
FILE = {"X-Incus-Type": "file", "X-Incus-Uid": "0", "X-Incus-Gid": "0", "X-Incus-Mode": "0644"}


def failed(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return caught.value.message, caught.value.hint


def opened(src, project=None):
    daemon = open_daemon(parse_address(src, project))
    try:
        return open_instance(daemon)
    except BaseException:
        daemon.close()
        raise


@pytest.mark.parametrize(
    ("request_", "answer", "message", "hint"),
    [
        ("GET /1.0", (200, JSON, b"<html>"), "incus answered '/1.0' with something other than JSON", ""),
        ("GET /1.0", sync([]), "incus sent an invalid description of itself", ""),
        ("GET /1.0", sync({"auth": "untrusted", "environment": {}}), "incus does not trust this client", "add the remote with its token: incus remote add local TOKEN"),
        ("GET /1.0", sync({"auth": "trusted"}), "incus does not trust this client", "add the remote with its token: incus remote add local TOKEN"),
        ("GET /1.0/instances/c1", GONE, "incus has no instance 'c1'", PROJECTS),
        ("GET /1.0/instances/c1", sync({"name": "c2"}), "incus sent an invalid description of 'c1'", ""),
        ("GET /1.0/instances/c1", sync([]), "incus sent an invalid description of 'c1'", ""),
        ("GET /1.0/profiles?recursion=1", sync({}), "incus sent an invalid list of profiles", ""),
        ("GET /1.0/profiles?recursion=1", (500, {}, b""), "incus answered: status 500", ""),
    ],
)  # fmt: skip
def test_an_invalid_daemon_response_gives_a_message_and_a_hint(incus, request_, answer, message, hint):
    incus.put(request_, answer)
    assert failed(opened, "incus:c1") == (message, hint)


def test_the_error_about_a_missing_instance_gives_the_project(incus):
    incus.put("GET /1.0/projects/p", sync({}))
    incus.put("GET /1.0/instances/c1?project=p", GONE)
    assert failed(opened, "incus:c1", "p") == ("incus has no instance 'c1' in the project 'p'", "")


def test_the_error_about_an_unexpected_daemon_suggests_a_prefix(incus, monkeypatch):
    monkeypatch.setenv("LXD_SOCKET", incus.socket)
    assert failed(opened, "lxd:c1") == (
        f"the daemon on '{incus.socket}' is incus, not lxd",
        "write incus:NAME",
    )


def test_an_instance_without_metadata_causes_a_note(incus):
    instance = incus.data("GET /1.0/instances/c1")
    (missing,) = (each for each in recorded("incus") if each["name"] == "metadata-missing")
    incus.put("GET /1.0/instances/c1/metadata", (200, JSON, json.dumps(missing["json"]).encode()))
    live = opened("incus:c1")
    assert live.notes == ("the instance has no metadata.yaml, so a start writes nothing",)
    live.daemon.close()
    instance["expanded_config"]["volatile.container.oci"] = "true"
    incus.put("GET /1.0/instances/c1", sync(instance))
    message = "'incus:c1' is an OCI application container, which has no templates"
    assert failed(opened, "incus:c1") == (message, "")


@pytest.mark.parametrize(
    ("family", "problem", "message", "hint"),
    [
        ("incus", FileNotFoundError(), "no incus daemon: the socket '/s' does not exist", ""),
        ("incus", ConnectionRefusedError(), "no incus daemon answers on '/s'", ""),
        ("incus", PermissionError(), "no permission for the socket '/s' of incus", "run as root, or as a member of the group incus-admin"),
        ("lxd", PermissionError(), "no permission for the socket '/s' of lxd", "run as root, or as a member of the group lxd"),
        ("lxd", ssl.SSLError(1, "bad"), "lxd does not answer on '/s': bad", ""),
        ("incus", OSError(5, "Input/output error"), "incus does not answer on '/s': input/output error", ""),
    ],
)  # fmt: skip
def test_an_unreachable_daemon_gives_a_message_and_a_hint(family, problem, message, hint):
    error = Client(family, "/s", unix_socket("/s"))._unreachable(problem)
    assert (error.message, error.hint) == (
        message,
        hint,
    )


def rootfs_of(incus, path, head=None, get=None):
    if head is not None:
        incus.put(f"HEAD /1.0/instances/c1/files?path={path}", head)
    if get is not None:
        incus.put(f"GET /1.0/instances/c1/files?path={path}", get)
    return opened("incus:c1")


@pytest.mark.parametrize(
    ("head", "get", "action", "message"),
    [
        ((200, {}, b""), None, "entry", "incus does not give the type of '/x'"),
        ((200, {"X-Incus-Type": "file"}, b""), None, "entry", "incus sent invalid attributes of '/x'"),
        ((200, {**FILE, "X-Incus-Uid": "a"}, b""), None, "entry", "incus sent invalid attributes of '/x'"),
        ((200, {**FILE, "X-Incus-Mode": "9"}, b""), None, "entry", "incus sent invalid attributes of '/x'"),
        ((403, {}, b""), error(403, "no access"), "entry", "can't read '/x': no access"),
        ((200, {**FILE, "Content-Length": "2"}, b""), GONE, "read", "'/x' vanished while it was read"),
        ((200, {**FILE, "Content-Length": "2"}, b""), (200, {"X-Incus-Type": "directory"}, b"{}"), "read", "'/x' changed while it was read"),
        ((200, {**FILE, "Content-Length": str((16 << 20) + 1)}, b""), None, "read", "'/x' is too large to compare"),
    ],
)  # fmt: skip
def test_an_unreadable_instance_file_gives_a_message(incus, head, get, action, message, monkeypatch):
    live = rootfs_of(incus, "%2Fx", head, get)
    monkeypatch.setattr(live_rootfs, "MOST_FILE", 16 << 20)
    arguments = ("/x", 100) if action == "read" else ("/x",)
    assert failed(getattr(live.rootfs, action), *arguments) == (message, "")
    live.daemon.close()


@pytest.mark.parametrize("body", [b"{}", b"x", b'{"metadata": {}}', b"5"])
def test_an_invalid_list_of_files_gives_a_message(incus, body):
    live = rootfs_of(incus, "%2Fx", get=(200, {"X-Incus-Type": "directory"}, body))
    assert failed(live.rootfs.listdir, "/x") == ("incus did not list '/x'", "")
    live.daemon.close()


def test_the_number_of_requests_for_files_is_limited(incus, monkeypatch):
    live = opened("incus:c1")
    live.rootfs._reader.names = 0
    monkeypatch.setattr(live_rootfs, "MOST_NAMES", 1)
    live.rootfs._reader.entry("/etc")
    assert failed(live.rootfs._reader.entry, "/etc") == ("the rules need more than 1 requests for files", "")
    live.daemon.close()


def test_too_large_metadata_is_refused():
    text = _yaml({"a": "b"}, 13, lambda: None)
    assert text == '{\n "a": "b"\n}'
    with pytest.raises(LimitError) as caught:
        _yaml({"a": "b"}, 12, lambda: None)
    assert caught.value.message == "the metadata is too large, or nested too deeply"


@pytest.mark.parametrize(
    ("family", "version", "text"),
    [
        ("incus", "8.0", "predicting incus, the nearest known release: the daemon is Incus 8.0, newer than every release that templater knows (see --as)"),
        ("lxd", "", "predicting lxd, the nearest known release: the daemon is LXD of an unknown version, newer than every release that templater knows (see --as)"),
        ("incus", "6.5", "predicting incus-6.0.4, the nearest known release: the daemon is Incus 6.5, which templater does not know (see --as)"),
    ],
)  # fmt: skip
def test_the_note_about_the_nearest_release_gives_the_reason(family, version, text):
    assert nearest_host(family, {"server_version": version}).text == text


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that installs a fake program ``incus``."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(script):
        (tmp_path / "incus").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "incus").chmod(0o755)

    return install


def test_a_remote_of_incus_needs_the_incus_client_program(program):
    assert failed(connect._proxy, "r", []) == (
        "the remote 'r' needs the program incus, which is missing", "install the Incus client",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 1", "`incus remote proxy` opened no socket"),
        ("echo 'advice' >&2; echo 'Error: no such remote' >&2; exit 1", "no such remote"),
        ("echo 'not found' >&2; exit 0", "not found"),
    ],
)
def test_the_error_about_a_stopped_proxy_contains_its_output(script, text, program):
    program(script)
    cleanups = []
    assert failed(connect._proxy, "r", cleanups) == (f"can't connect to the remote 'r': {text}", "")
    assert cleanups == []


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({}, "unknown LXD remote 'r'", "`lxc remote list` shows the known remotes"),
        ({"addr": "https://h", "protocol": "simplestreams"}, "the remote 'r' has images only", ""),
        ({"addr": "http://h"}, "templater does not support the LXD remote 'r'", "templater supports https remotes with a client certificate, and Unix sockets"),
        ({"addr": "https://h", "auth_type": "oidc"}, "templater does not support the LXD remote 'r'", "templater supports https remotes with a client certificate, and Unix sockets"),
        ({"addr": "https://h"}, "the LXD remote 'r' needs the client's certificate", "put client.crt and client.key into '~'"),
    ],
)  # fmt: skip
def test_an_unusable_lxd_remote_gives_a_message_and_a_hint(value, message, hint, tmp_path, monkeypatch):
    path = os.path.join(tmp_path, "config.yml")
    monkeypatch.setattr(connect, "client_remote", lambda family, remote: (value, path))
    assert failed(connect._of_lxd, "r") == (message, hint.replace("~", str(tmp_path)))


def test_the_project_option_excludes_the_all_projects_option():
    assert (
        failed(parse_address, "incus:", "p", all_projects=True)[0]
        == "--project and --all-projects can't be combined"
    )
    assert failed(parse_address, "incus:", "")[0] == "--project needs the name of a project"
    assert failed(parse_address, "incus:web1/snap0") == (
        "'incus:web1/snap0' is a snapshot: the API does not provide the templates of snapshots",
        "copy the snapshot first: incus copy web1/snap0 NEW",
    )


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("application/json", b'{"error": "no such thing"}', "no such thing"),
        ("application/json; charset=utf-8", b'{"error": "no such thing"}', "no such thing"),
        ("text/plain", b'{"error": "no such thing"}', "status 418"),
        ("application/json", b'{"error": ""}', "status 418"),
        ("application/json", b'{"error": ["no"]}', "status 418"),
        ("application/json", b"{}", "status 418"),
        ("application/json", b"[]", "status 418"),
        ("application/json", b"no JSON", "status 418"),
        ("", b"", "status 418"),
    ],
)
def test_an_error_contains_the_daemons_message_or_http_status(kind, body, text):
    answer = Answer(418, {"content-type": kind} if kind else {}, body)
    error = Client("incus", "/s", unix_socket("/s")).error(answer)
    assert (error.status, error.text) == (418, text)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(403, "no access"), "can't read the template 'once.tpl': no access"),
        (error(500, ""), "can't read the template 'once.tpl': status 500"),
        (GONE, None),
    ],
)
def test_an_error_of_one_template_does_not_hide_other_templates(incus, answer, message):
    incus.put("GET /1.0/instances/c1/metadata/templates?path=once.tpl", answer)
    live = opened("incus:c1")
    found = live.image.read_templates(["once.tpl", "hostname.tpl"])
    live.daemon.close()
    problem = found["once.tpl"].error
    assert (problem.message if problem else None) == message and found["once.tpl"].data is None
    assert found["hostname.tpl"].data


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(error(404, "not found"), "the instance has no files"), (error(403, "no access"), "no access")],
)
def test_the_reason_for_unreadable_files_depends_on_the_response(incus, answer, reason):
    for method in ("HEAD", "GET"):
        incus.put(f"{method} /1.0/instances/c1/files?path=/", answer)
    live = opened("incus:c1")
    live.daemon.close()
    assert live.unreadable == reason


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("limit", "fits"), [(5, True), (4, False)])
def test_the_total_size_of_fetched_instance_files_is_limited(incus, limit, fits, known, monkeypatch):
    """LXD 5.0 does not tell the size of a file before it sends the file."""
    for path, body in (("%2Fx", b"ab"), ("%2Fy", b"abc")):
        head = {**FILE, "Content-Length": str(len(body))} if known else FILE
        live = rootfs_of(incus, path, (200, head, b""), (200, head, body))
    monkeypatch.setattr(live_rootfs, "MOST_FILES", limit)
    assert live.rootfs.read("/x", 9) == b"ab"
    if fits:
        assert live.rootfs.read("/y", 9) == b"abc"
    else:
        late = "incus answered '/1.0/instances/c1/files?path=%2Fy' with more than 2 bytes"
        said = "'/y' is too large to compare" if known else late
        assert failed(live.rootfs.read, "/y", 9) == (said, "")
    live.daemon.close()
