"""Commands on running instances, with the recorded answers of Incus."""

import json
import os
import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from templater import limit_option
from templater.cli import enforce_limits, live_diff, live_watch
from templater.cli.live_copy import live_copy
from templater.image.limits import DEFAULT
from templater.live.address import Address, parse_address
from templater.live.connect import open_daemon
from templater.live.live_instance import open_instance
from templater.live.rest_client import NoAnswerError
from templater.model import counters_of_work
from templater.model.errors import InputError
from templater.next_start import judge_many, verdict_output
from templater.next_start.judge_many import Judged
from templater.next_start.read_ahead import read_ahead
from tests.peak_memory import measured
from tests.recorded_daemon import JSON, error, incus, key, sync  # noqa: F401


@pytest.fixture
def several(incus):  # noqa: F811
    """Give the daemon five instances: c1 as recorded, a stopped instance, and three instances with errors."""
    listed = incus.data("GET /1.0/instances?recursion=1")
    c1 = next(each for each in listed if each["name"] == "c1")
    names = {"bad-json": {}, "gone": {}, "oci": {"volatile.container.oci": "true"}}
    for name, config in names.items():
        made = {**c1, "name": name, "expanded_config": {**c1["expanded_config"], **config}}
        listed.append(made)
        incus.put(
            f"GET /1.0/instances/{name}/metadata",
            sync(incus.data("GET /1.0/instances/c1/metadata"), Etag="x"),
        )
    incus.put("GET /1.0/instances/bad-json/metadata", (200, JSON, b"not JSON"))
    incus.put("HEAD /1.0/instances/gone/files?path=/", error(404, "not found"))
    incus.put("GET /1.0/instances/gone", error(404, "Instance not found"))
    incus.put("HEAD /1.0/instances/stopped/files?path=/", error(403, "not authorized"))
    incus.put("GET /1.0/instances/stopped/files?path=/", error(403, "not authorized"))
    for name in ("hostname.tpl", "once.tpl", "deep.tpl", "cloud-init-meta.tpl"):
        query = f"metadata/templates?path={name}"
        incus.put(f"GET /1.0/instances/stopped/{query}", incus.answers[key(f"GET /1.0/instances/c1/{query}")])
    incus.put("GET /1.0/instances?recursion=1", sync(listed))
    return incus


def test_a_diff_of_all_instances_prints_a_line_for_each_instance(several, run):
    code, out, err = run("diff", "incus:")
    lines = out.splitlines()
    assert code == 2
    assert [line.split()[:2] for line in lines] == [
        ["bad-json", "Running"], ["c1", "Running"], ["gone", "Running"], ["oci", "Running"], ["stopped", "Stopped"],
    ]  # fmt: skip
    assert "error: 'incus:bad-json': incus sent metadata that is not JSON" in lines[0]
    assert "create /srv/deep/file" in lines[1]
    assert "error: incus has no instance 'gone'" in lines[2]
    assert "OCI application container" in lines[3]
    assert err.endswith("3 not read\n") and "2 of 5 instances would change" in err
    assert several.refused == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_diff_displays_progress_unless_output_is_a_terminal(several, run, monkeypatch, is_terminal):
    seen = []

    def recorded(*words, shown):
        seen.append((words, shown))
        return nullcontext(lambda *_: None)

    monkeypatch.setattr("templater.cli.progress.progress", recorded)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal, raising=False)
    run("diff", "incus:")
    assert seen == [(("reading", "instances"), not is_terminal)]


def test_an_error_outside_the_selection_hides_no_selected_instance(several, run):
    code, out, err = run("diff", "incus:", "c*", "status=running", "user.foo=bar", "--exit-code")
    assert (code, out.split()[0], out.count("\n")) == (1, "c1", 1)
    code, out, err = run("diff", "incus:c1", "type=vm")
    assert (code, out) == (0, "") and "0 of 0 instances" in err


def test_the_as_option_selects_the_predicted_host_of_all_instances(several, run):
    for words, host, mode in (
        ([], "incus-debian", "0604"), (["--as", "none"], "none", "0604"), (["--as", "lxd"], "lxd", "0644"),
    ):  # fmt: skip
        _code, out, err = run("diff", "incus:", "c1", "--json", *words)
        found = json.loads(out)
        changes = [each["change"]["mode"] for each in found["files"] if "change" in each]
        assert (found["host"], changes) == (host, [mode])
        assert ("predicting" in err) == (not words)


def test_an_unknown_filter_is_a_usage_error(several, run):
    code, _out, err = run("diff", "incus:", "foo=1")
    assert code == 2 and "unknown key 'foo' in a KEY=VALUE filter" in err


def test_a_json_diff_prints_one_line_per_instance(several, run):
    _code, out, _err = run("diff", "incus:", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [each["instance"] for each in found] == ["bad-json", "c1", "gone", "oci", "stopped"]
    assert found[0]["error"]["kind"] == "input" and found[1]["files"][0]["verdict"] == "not rewritten"


def test_a_diff_of_one_instance_prints_a_patch(incus, run):  # noqa: F811
    code, out, err = run("diff", "incus:c1")
    assert code == 0 and "+++ b/srv/deep/file" in out
    assert "note: predicting incus-debian: the daemon is Incus 6.0.4 on Debian (see --as)" in err
    assert "c1: 3 not rewritten, 1 create" in err
    assert run("diff", "incus:c1", "--exit-code")[0] == 1


def test_a_diff_predicts_cloud_init_at_the_next_boot(incus, run):  # noqa: F811
    _, _, err = run("diff", "incus:c1")
    *_, headline, socket, source = err.splitlines()
    said = "cloud-init of unknown version, datasource_list unknown: the next boot reads no data"
    assert headline == said
    data = json.loads(run("diff", "incus:c1", "--json")[1])["cloud_init"]
    assert [socket, source] == [f"  {each['text']} ({each['rule']})" for each in data["reasons"]]


def test_the_as_option_selects_the_predicted_host(incus, run):  # noqa: F811
    _code, out, _err = run("diff", "incus:c1", "--as", "lxd")
    assert "# /srv/deep/file: new, 0:0 0644" in out


def test_the_host_none_gives_the_result_of_templater_itself(incus, run):  # noqa: F811
    code, out, _err = run("diff", "incus:c1", "--as", "none")
    assert code == 0 and "# /srv/deep/file: new, 33:34 0604" in out


def test_the_diff_command_says_that_no_template_reads_a_changed_key(incus, run):  # noqa: F811
    code, _out, err = run("diff", "incus:c1", "--set", "user.foo=other")
    assert code == 0 and "no template reads 'user.foo'" in err


@pytest.mark.parametrize("command", [["preview"], ["explain"], ["diff", "--set", "user.foo=other"]])
def test_every_command_predicts_the_host_of_the_daemon(incus, run, command):  # noqa: F811
    _code, out, err = run(command[0], "incus:c1", *command[1:], "--json")
    assert "note: predicting incus-debian" in err
    assert set(re.findall(r'"host": "(.*?)"', out)) == {"incus-debian"}


def test_an_instance_cannot_be_compared_with_its_own_host(incus, run):  # noqa: F811
    code, _out, err = run("diff", "incus:c1", "--against-host", "incus-debian")
    assert code == 2 and "both sides use the host incus-debian" in err
    assert run("diff", "incus:c1", "--against-host", "incus")[0] == 0


@pytest.mark.parametrize("command", [["preview"], ["explain"], ["check"], ["simulate", "restart"], ["diff"]])
def test_every_rendering_command_accepts_a_running_instance_as_its_source(incus, run, command):  # noqa: F811
    code, _out, err = run(command[0], "incus:c1", *command[1:])
    assert code in (0, 1), err
    assert {request.split()[0] for request in incus.requests} <= {"GET", "HEAD"} and incus.refused == []


def test_the_check_command_copies_every_template_of_a_running_instance(incus):  # noqa: F811
    with live_copy("incus:c1", None, DEFAULT) as (folder, instance, host):
        assert sorted(os.listdir(folder)) == ["metadata.yaml", "templates"]
        for name in ("cloud-init-meta.tpl", "deep.tpl", "hostname.tpl", "once.tpl"):
            _status, _headers, data = incus.answers[
                key(f"GET /1.0/instances/c1/metadata/templates?path={name}")
            ]
            with open(f"{folder}/templates/{name}", "rb") as file:
                assert file.read() == data
    assert (instance.name, host.startswith("incus")) == ("c1", True)
    assert not os.path.exists(folder)


@pytest.mark.parametrize("words", [["audit"], ["unpack", "x"], ["image", "info"]])
def test_a_command_for_images_refuses_a_running_instance(incus, run, words, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    name, *more = words
    arguments = [name, *more, "incus:c1"] if name == "image" else [name, "incus:c1", *more]
    code, _out, err = run(*arguments)
    assert code == 2 and "this command reads images, and 'incus:c1' is an instance" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["preview", "incus:"], "does not name one instance"),
        (["preview", "incus:c*"], "does not name one instance"),
        (["preview", "incus:nope"], "incus has no instance 'nope'"),
        (["preview", "incus:c1", "--project", "none"], "incus has no project 'none'"),
        (["diff", "incus:c1", "-t", "create"], "always shows the next start"),
        (["diff", "incus:", "--instances", "x"], "can't be combined"),
        (["diff", "incus:c1", "./rootfs"], "'./rootfs' is not a name pattern"),
        (["watch", "incus:"], "does not name one instance"),
        (["watch", "incus:c1", "rootfs"], "ROOTFS can't be combined"),
        (["diff", "incus:", "-i", "x"], "can't be combined with several"),
        (["preview", "incus:c1", "--all-projects"], "--all-projects is for"),
        (["preview", ".", "--project", "p2"], "--project is for a running instance"),
        (["check", ".", "--project", "p2"], "--project is for running instances"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_gives_one_clear_error(incus, run, words, text):  # noqa: F811
    code, out, err = run(*words)
    assert code == 2 and out == "" and text in err


def test_a_missing_daemon_gives_one_clear_error(run, monkeypatch, tmp_path):
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "socket"))
    code, _out, err = run("diff", "incus:")
    assert code == 2 and "does not exist" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "size"), [(300, 300), (40, 7 << 20)], ids=["many instances", "large files"]
)
def test_memory_use_does_not_grow_with_the_number_of_running_instances(incus, tmp_path, count, size):  # noqa: F811
    """The peak must not grow with the instances, although each of them has six files."""
    listed = incus.data("GET /1.0/instances?recursion=1")
    c1 = next(each for each in listed if each["name"] == "c1")
    metadata = incus.data("GET /1.0/instances/c1/metadata")
    metadata["templates"] = {
        f"/etc/file{n}": {"when": ["start"], "create_only": False, "template": "deep.tpl", "properties": None}
        for n in range(6)
    }
    template = incus.answers[key("GET /1.0/instances/c1/metadata/templates?path=deep.tpl")]
    content = b"old\n" * (size // 4)
    for number in range(count):
        name = f"i{number}"
        incus.put(f"GET /1.0/instances/{name}/metadata", sync(metadata, Etag="x"))
        incus.put(f"GET /1.0/instances/{name}/metadata/templates?path=deep.tpl", template)
        for path in ("/", "/etc"):
            incus.put_file(name, path, kind="directory", mode="0755")
        for n in range(6):
            incus.put_file(name, f"/etc/file{n}", content)
    incus.put(
        "GET /1.0/instances?recursion=1", sync([{**c1, "name": f"i{number}"} for number in range(count)])
    )
    done, peak = measured(tmp_path / "peak", "diff", "incus:")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == count
    assert all("change /etc/file0" in line for line in lines)
    assert peak <= (120 if size < 1 << 20 else 250)


def add_instances(daemon, count, **description):
    """Give the daemon copies of c1. Return their list."""
    c1 = next(each for each in daemon.data("GET /1.0/instances?recursion=1") if each["name"] == "c1")
    listed = [{**c1, **description, "name": f"i{number}"} for number in range(count)]
    daemon.put("GET /1.0/instances?recursion=1", sync(listed))
    return listed


@pytest.mark.slow
def test_all_instances_of_a_daemon_share_one_limit_on_processor_time(incus, run, monkeypatch):  # noqa: F811
    metadata = incus.data("GET /1.0/instances/c1/metadata")
    rules = {f"/etc/{n}": {"when": ["start"], "template": "deep.tpl"} for n in range(20)}
    template = incus.answers[key("GET /1.0/instances/c1/metadata/templates?path=deep.tpl")]
    for each in add_instances(incus, 400):
        instance = f"/1.0/instances/{each['name']}"
        incus.put(f"GET {instance}/metadata", sync({**metadata, "templates": rules}, Etag="x"))
        incus.put(f"GET {instance}/metadata/templates?path=deep.tpl", template)
    monkeypatch.setattr(limit_option, "DAEMON_SECONDS", 1)
    monkeypatch.setattr(counters_of_work, "_instances", 0)
    code, out, err = run("diff", "incus:")
    assert code != 4 and out.count("\n") == 400  # each instance adds to the limit
    monkeypatch.setattr(enforce_limits, "INSTANCES_PER_SECOND", 1_000_000)
    code, out, err = run("diff", "incus:")
    assert code == 4 and 0 < out.count("\n") < 400
    assert "the command takes longer than 1 seconds of processor time" in err
    assert "--limit command-processor=1h" in err


@pytest.mark.slow
@pytest.mark.parametrize("words", [("diff", "incus:"), ("diff", "incus:c1"), ("preview", "incus:c1")])
def test_the_memory_limit_stops_a_command_with_too_many_profiles(incus, tmp_path, words):  # noqa: F811
    empty = "{}," * 330_000
    profiles = ",".join(f'{{"name":"p{n}","config":{{"k":[{empty}{{}}]}}}}' for n in range(60))
    for query in ("recursion=1", "project=default&recursion=1"):
        body = f'{{"metadata":[{profiles}]}}'.encode()
        incus.put(f"GET /1.0/profiles?{query}", (200, JSON, body))
    done, peak = measured(tmp_path / "peak", *words)
    assert done.returncode == 4
    assert "the command needs more than 416 MiB of memory" in done.stderr
    assert peak < 500


def test_reading_instances_in_advance_does_not_change_the_diff(several, run, monkeypatch):
    ahead = run("diff", "incus:")
    monkeypatch.setattr(judge_many, "_MOST", 100)
    assert run("diff", "incus:") == ahead


def test_templater_stops_reading_in_advance_if_the_daemon_no_longer_answers(incus):  # noqa: F811
    daemon = open_daemon(parse_address("incus:c1"))
    live = open_instance(daemon)
    live.image.read_templates({name for _, name in live.image.rules() if name})
    daemon.close()
    asked = []
    live.rootfs._reader.client.head = lambda path: asked.append(path) or daemon.client.get(path, 1)
    read_ahead(live)
    assert len(asked) == 1


def test_a_daemon_answer_with_too_many_header_bytes_is_refused(incus, run):  # noqa: F811
    status, headers, body = incus.answers[key("GET /1.0")]
    incus.put("GET /1.0", (status, {**headers, "X-Long": "x" * 60_000}, body))
    code, _out, err = run("diff", "incus:c1")
    assert code == 2 and "incus sent an invalid response: more than 32 KiB of headers" in err


@pytest.mark.parametrize(
    ("exit_code", "found", "code"),
    [
        (False, (0, ["a"]), 0),
        (True, (0, ["a"]), 1),
        (True, (0, []), 0),
        (True, (5, ["a"]), 5),
        (False, (5, []), 5),
    ],
)
def test_exit_code_and_summary_depend_on_changes_and_errors(exit_code, found, code, monkeypatch, capsys):
    monkeypatch.setattr(verdict_output, "short", lambda found: "nothing")
    address = Address("incus", "r", "web1", "p")
    table = live_diff.Table([address], as_json=False, exit_code=exit_code)
    judged = Judged(address, "", SimpleNamespace(exit_code=found[0], changing=found[1], differing=found[1]))
    table.add(judged)
    assert table.code == code
    table.add(Judged(address, "Running", None, InputError("bad\n")))
    assert table.code == max(code, 2)
    table.report()
    shown = capsys.readouterr()
    assert shown.out == "web1  -         nothing\nweb1  Running   error: bad\\n\n"
    parts = [f"{len(found[1])} of 2 instances would change"]
    parts += ["1 with files that do not match the current configuration"] if found[1] else []
    parts += ["1 would fail or have unknown results"] if found[0] else []
    assert shown.err == f"{', '.join(parts)}, 1 not read\n"


@pytest.mark.parametrize(("length", "width"), [(40, 40), (41, 40), (3, 3)])
def test_the_column_of_instance_names_is_at_most_forty_characters_wide(length, width, capsys):
    addresses = [Address("incus", "r", name, project) for project, name in (("p", "x"), ("p", "n" * length))]
    table = live_diff.Table(addresses, as_json=False, exit_code=False)
    table.add(Judged(addresses[0], "Stopped", None, InputError("bad")))
    assert capsys.readouterr().out == f"{'x':<{width}}  Stopped   error: bad\n"
    assert live_diff.Table([], as_json=False, exit_code=False).width == 0
    other = [*addresses, Address("incus", "r", "x", "other\n")]
    assert live_diff.Table(other, as_json=False, exit_code=False).label(other[2]) == "other\\n/x"


class Ended(Exception):
    pass


def test_a_watch_connects_again_when_its_event_stream_ends(monkeypatch, capsys):
    address, log = Address("incus", "r", "web1", "p"), []

    def daemon(name):
        return SimpleNamespace(address=address, client=name, close=lambda: log.append(f"close {name}"))

    def follow(daemon, address):
        log.append(f"follow {daemon}")
        return SimpleNamespace(close=lambda: log.append("close events"))

    def watch(request, address, events, profiles):
        log.append(profiles)
        if len(log) < 9:
            raise NoAnswerError("no answer")
        raise KeyboardInterrupt

    opened = iter([daemon("one"), InputError("not yet"), daemon("two")])

    def connect(address):
        found = next(opened)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("templater.live.address.parse_address", lambda src, project: address)
    monkeypatch.setattr("templater.live.connect.open_daemon", connect)
    monkeypatch.setattr("templater.live.events.Events", follow)
    monkeypatch.setattr(live_watch, "_look", lambda request, first: log.append(first) or frozenset("p"))
    monkeypatch.setattr(live_watch, "_watch", watch)
    monkeypatch.setattr(live_watch.time, "sleep", lambda seconds: log.append(seconds))
    request = SimpleNamespace(rootfs=None, src="incus:web1", project="p")
    assert live_watch.watch(request) == 0
    assert log == [
        "follow one", True, frozenset("p"), "close events", "close one", 1.0, 1.0,
        "follow two", False, frozenset("p"), "close events", "close two", "close two",
    ]  # fmt: skip
    assert capsys.readouterr().err == "no answer\n"


def test_a_burst_of_events_causes_one_diff_in_watch(monkeypatch, capsys):
    address = Address("incus", "r", "web1", "p")
    bursts = iter([["other"], ["a", "b"], ["a"], [], ["c"], []])
    waits, looks, cleared = [], [], []

    def wait(seconds):
        waits.append(seconds)
        try:
            return next(bursts)
        except StopIteration:
            raise Ended from None

    def add(actions, events, address, profiles):
        actions.update(
            (f"{each} of {'+'.join(sorted(profiles))}", None) for each in events if each != "other"
        )

    monkeypatch.setattr("templater.live.events.add_actions", add)
    monkeypatch.setattr(
        live_watch, "_look", lambda request: looks.append(request) or frozenset("q" if len(looks) < 2 else "")
    )
    monkeypatch.setattr(live_watch.click, "clear", lambda: cleared.append(1))
    for layout in (True, False):
        monkeypatch.setattr(
            live_watch.terminal, "has_layout", lambda stream=None, layout=layout: layout and stream is None
        )
        bursts, waits[:], looks[:], cleared[:] = (
            iter([["other"], ["a", "b"], ["a"], [], ["c"], []]),
            [],
            [],
            [],
        )
        with pytest.raises(Ended):
            live_watch._watch("request", address, SimpleNamespace(wait=wait), frozenset("p"))
        assert waits == [3600, 3600, 0.3, 0.3, 3600, 0.3, 3600]
        assert looks == ["request"] * 2 and cleared == ([1, 1] if layout else [])
        assert capsys.readouterr().err == "changed: a of p, b of p\nchanged: c of q\n"


def test_a_watch_ends_only_if_its_first_diff_fails(monkeypatch, capsys):
    def fail(request):
        raise InputError("bad", hint="better")

    monkeypatch.setattr(live_diff, "judge_one", fail)
    request = SimpleNamespace(limits=limit_option.Given(), as_json=True)
    with pytest.raises(InputError):
        live_watch._look(request, first=True)
    assert live_watch._look(request) == frozenset()
    assert capsys.readouterr().err == "bad\nhint: better\n"
    shown = []
    found = SimpleNamespace(
        instance=SimpleNamespace(profiles=[SimpleNamespace(name="p"), SimpleNamespace(name="q")])
    )
    monkeypatch.setattr(live_diff, "judge_one", lambda request: (found, "boot"))
    monkeypatch.setattr(live_diff, "show", lambda *words, **options: shown.append((words, options)))
    assert live_watch._look(request) == {"p", "q"}
    assert shown == [((found, "boot"), {"as_json": True, "lines": True})]
