"""Verdicts on the next start of instances, with the recorded answers of Incus and LXD."""

import json
from dataclasses import replace

import pytest

from templater.image.limits import DEFAULT
from templater.live.address import Address, parse_address
from templater.live.connect import open_daemon
from templater.live.live_instance import MissingInstanceError, open_instance
from templater.model.errors import InputError, LimitError
from templater.model.hosts import HOSTS, INCUS
from templater.model.plan import Plan
from templater.model.render_options import RenderOptions
from templater.next_start import judge_many
from templater.next_start.client_commands import commands
from templater.next_start.judge_many import Judged
from templater.next_start.read_ahead import read_ahead
from templater.next_start.verdict_output import counts, data_of, error_of, patches, short
from templater.next_start.verdicts import judge, links_text
from templater.parsing.instance_description import read_instance
from templater.pongo2.render_state import Limits as RenderLimits
from tests.recorded_daemon import error, sync

SEED = "/var/lib/cloud/seed/nocloud-net/meta-data"


def judged(daemon, name="c1", host=None, prepare=lambda live: None, limits=None):
    found = open_daemon(parse_address(f"{daemon.family}:{name}"))
    live = open_instance(found)
    prepare(live)
    try:
        options = RenderOptions(host or found.nearest.host, clock=0.0, seed=0, limits=limits)
        return judge(live, read_instance(live.description), options)
    finally:
        found.close()


def by_path(found):
    return {file.path: file for file in found.files}


def put_rules(daemon, rules, templates):
    """Replace the rules and templates of c1. A rule is (path, when, template) with more fields."""
    metadata = daemon.data("GET /1.0/instances/c1/metadata")
    metadata["templates"] = {
        path: {"when": when, "create_only": False, "template": template, "properties": None, **more}
        for path, when, template, more in rules
    }
    daemon.put("GET /1.0/instances/c1/metadata", sync(metadata, Etag="x"))
    for name, data in templates.items():
        headers = {"Content-Type": "application/octet-stream"}
        daemon.put(f"GET /1.0/instances/c1/metadata/templates?path={name}", (200, headers, data))


def test_each_file_of_a_running_instance_gets_a_verdict(incus):
    for folder in ("/srv/deep", "/var", "/var/lib", "/var/lib/cloud"):
        incus.put_file("c1", folder, kind="directory", mode="0755")
    incus.put_file("c1", "/srv/deep/file", b"old\n", uid=33, gid=34, mode="0604")
    incus.put_file("c1", "/etc/once", b"x", mode="0644")
    found = judged(incus)
    files = by_path(found)
    assert found.triggers == ("start",) and found.exit_code == 0
    assert {path: (file.verdict, file.current) for path, file in files.items()} == {
        "/etc/hostname": ("not rewritten", "equal"),
        "/etc/once": ("not rewritten", "different"),
        "/srv/deep/file": ("change", ""),
        SEED: ("not rewritten", "missing"),
    }
    change = files["/srv/deep/file"].change
    assert (change.before, change.uid, change.gid, change.mode) == (b"old\n", 33, 34, 0o604)
    assert commands(found, files["/srv/deep/file"]) == ("incus restart c1",)
    assert commands(found, files["/etc/hostname"]) == ()
    assert commands(found, files["/etc/once"]) == (
        "incus file delete c1/etc/once", "incus config set c1 volatile.apply_template=create", "incus restart c1",
    )  # fmt: skip
    assert commands(found, files[SEED]) == (
        "incus config set c1 volatile.apply_template=create",
        "incus restart c1",
    )
    assert counts(found) == "3 not rewritten, 1 change, 2 different from the current configuration"
    assert short(found) == f"change /srv/deep/file; different, but not rewritten: /etc/once, {SEED}"


def test_a_never_started_instance_runs_its_pending_trigger(incus):
    data = incus.data("GET /1.0/instances/c1")
    data["status"] = "Stopped"
    for key in ("config", "expanded_config"):
        data[key]["volatile.apply_template"] = "copy"
    incus.put("GET /1.0/instances/c1", sync(data))
    found = judged(incus)
    files = by_path(found)
    assert found.triggers == ("copy", "start")
    assert {path: file.verdict for path, file in files.items()} == {
        "/etc/hostname": "same", "/etc/once": "not rewritten", "/srv/deep/file": "create", SEED: "create",
    }  # fmt: skip
    assert commands(found, files[SEED]) == ("incus start c1",)


def test_no_requests_are_sent_for_instances_read_in_advance(incus):
    """Answers of a slow daemon must not use up the time for rendering."""
    put_rules(
        incus,
        [("/etc/a", ["start"], "a.tpl", {}), ("/etc/b", ["start"], "b.tpl", {})],
        {"a.tpl": b"a", "b.tpl": b"b"},
    )
    for path in ("/etc/a", "/etc/b"):
        incus.put_file("c1", path, b"old", mode="0644")
    sent = []

    def prepare(live):
        read_ahead(live)
        sent.extend(incus.requests)

    found = judged(incus, prepare=prepare)
    assert [file.verdict for file in found.files] == ["change", "change"]
    assert incus.requests[len(sent) :] == []


def test_the_rendering_limit_excludes_the_processor_time_for_reading_an_instance(incus, monkeypatch):
    put_rules(incus, [("/etc/a", ["start"], "a.tpl", {})], {"a.tpl": b"a"})
    incus.put_file("c1", "/etc/a", b"old")
    monkeypatch.setattr("templater.pongo2.render_state.thread_time", lambda: len(incus.requests))
    found = judged(incus, limits=RenderLimits(total=0.5))
    assert [file.verdict for file in found.files] == ["change"]


def test_the_first_result_is_returned_before_any_other_instance_is_read(incus, monkeypatch):
    """The first result must appear soon. Later, the limit on instances read in advance bounds the memory."""
    describe, described = judge_many.describe_instance, []
    monkeypatch.setattr(
        judge_many, "describe_instance", lambda *given: described.append(1) or describe(*given)
    )
    monkeypatch.setattr(judge_many, "_attempt", lambda live: InputError("not read"))
    daemon = open_daemon(parse_address("incus:c1"))
    listed = [
        (Address("incus", name=f"c{number}"), incus.data("GET /1.0/instances/c1")) for number in range(40)
    ]
    results = judge_many.judge_many(daemon, listed, lambda live: None, RenderOptions(INCUS), limits=DEFAULT)
    read = [len(described) for _ in results]
    most = judge_many._AHEAD
    assert read == [1, *(min(number + most, 40) for number in range(1, 40))]
    daemon.close()


def test_the_next_start_on_lxd_ignores_owner_and_mode(lxd):
    found = judged(lxd)
    change = by_path(found)["/srv/deep/file"].change
    assert found.host.name == "lxd-debian"
    assert (change.uid, change.gid, change.mode) == (0, 0, 0o644)
    assert commands(found, by_path(found)["/srv/deep/file"]) == ("lxc restart c1",)


def test_the_reason_gives_a_result_for_each_link_type(incus):
    put_rules(
        incus,
        [("/etc/link", ["start"], "a.tpl", {}), ("/etc/new", ["start"], "a.tpl", {})],
        {"a.tpl": b"x\n"},
    )
    incus.put_file("c1", "/etc/os-release", b"ID=tiny\n")
    found = judged(incus)
    link = by_path(found)["/etc/link"]
    assert link.verdict == "unknown" and found.exit_code == 5
    assert "(/etc/link -> /etc/os-release): the result is fail (Template is attempting" in link.reason
    assert link.reason.endswith(" for an absolute link, and change for a relative link")
    assert (
        link.change.content == b"x\n"
        and link.change.before == b"ID=tiny\n"
        and link.real == "/etc/os-release"
    )
    assert by_path(found)["/etc/new"].verdict == "unknown"


def test_a_seemingly_empty_file_gets_a_remark_about_fifos_and_devices(incus):
    put_rules(incus, [("/srv/fifo", ["start"], "a.tpl", {})], {"a.tpl": b"x\n"})
    (file,) = judged(incus).files
    assert file.verdict == "change"
    assert file.remarks == ("the daemon shows an empty file, which can also be a fifo or a device",)
    assert not [request for request in incus.requests if "GET" in request and "fifo" in request]


def test_a_read_timeout_does_not_hide_the_verdicts_on_other_files(lxd, monkeypatch):
    monkeypatch.setattr("templater.live.live_rootfs.FILE_TIMEOUT", 0.2)
    rules = [("/srv/fifo", ["start"], "a.tpl", {}), ("/etc/hostname", ["start"], "a.tpl", {}),
             ("/srv/new", ["start"], "a.tpl", {})]  # fmt: skip
    put_rules(lxd, rules, {"a.tpl": b"x\n"})
    found = judged(lxd)
    assert [file.verdict for file in found.files] == ["unreadable", "unreadable", "create"]
    assert "probably a fifo or a device" in found.files[0].reason
    assert "reading '/srv/fifo' took too long" in found.files[1].reason


def test_a_remark_says_that_a_mount_hides_a_target_below_it(incus):
    incus.put_file("c1", "/run", kind="directory", mode="0755")
    put_rules(
        incus, [("/run/x", ["start"], "a.tpl", {}), ("/etc/x", ["start"], "a.tpl", {})], {"a.tpl": b"x\n"}
    )
    found = by_path(judged(incus))
    assert found["/run/x"].remarks == (
        "while the instance runs, the mount '/run' hides the file that the start writes",
    )
    assert found["/etc/x"].remarks == ()


def test_a_remark_says_that_a_disk_hides_the_target(incus):
    data = incus.data("GET /1.0/instances/c1")
    data["devices"] = data["expanded_devices"] = {
        "data": {"type": "disk", "path": "/srv/"},
        "tty": {"type": "unix-char", "path": "/etc"},
    }
    incus.put("GET /1.0/instances/c1", sync(data))
    incus.put_file("c1", "/srv", kind="directory", mode="0755")
    put_rules(
        incus, [("/srv/x", ["start"], "a.tpl", {}), ("/etc/x", ["start"], "a.tpl", {})], {"a.tpl": b"x\n"}
    )
    found = by_path(judged(incus))
    assert found["/srv/x"].remarks == (
        "while the instance runs, the mount '/srv' hides the file that the start writes",
    )
    assert found["/etc/x"].remarks == ()


def test_the_error_of_a_failing_start_is_reported(incus):
    rules = [("/etc/a", ["start"], "bad.tpl", {}), ("/etc/b", ["create"], "good.tpl", {})]
    put_rules(incus, rules, {"bad.tpl": b"{{ x|nosuch }}", "good.tpl": b"x"})
    found = judged(incus)
    assert [file.verdict for file in found.files] == ["fail", "not rewritten"]
    assert found.exit_code == 5 and found.error is not None
    assert short(found).startswith("the start fails: ")


def test_results_are_unknown_if_another_rule_may_fail_first(incus):
    rules = [("/etc/a", ["start"], "bad.tpl", {}), ("/etc/same", ["start"], "good.tpl", {})]
    put_rules(incus, rules, {"bad.tpl": b"{{ x|nosuch }}", "good.tpl": b"x"})
    incus.put_file("c1", "/etc/same", b"x", mode="0644")
    failing, same = judged(incus).files
    assert (failing.verdict, same.verdict) == ("fail", "unknown")
    assert same.reason == "rules run in random order, and the rule for '/etc/a' stops the start"


def test_an_unreadable_template_affects_only_the_verdict_of_its_own_file(incus):
    rules = [("/etc/a", ["create"], "dir.tpl", {}), ("/etc/b", ["start"], "good.tpl", {})]
    put_rules(incus, rules, {"good.tpl": b"x"})
    incus.put("GET /1.0/instances/c1/metadata/templates?path=dir.tpl", error(500, "is a directory"))
    first, second = judged(incus).files
    assert (first.current, second.verdict) == ("unknown", "create")
    assert "is a directory" in first.current_reason


def test_an_unreadable_file_gets_the_write_verdict(incus):
    for method in ("GET", "HEAD"):
        incus.put(f"{method} /1.0/instances/c1/files?path=%2F", error(403, "not authorized"))
    found = judged(incus)
    assert {file.verdict for file in found.files} == {"write", "not rewritten"}
    assert found.unreadable == "not authorized"
    assert by_path(found)["/etc/hostname"].current_reason == "not read: not authorized"


def test_unreadable_files_of_the_agent_get_the_write_verdict(incus):
    """The verdict was "same", because the host writes files with other names: those of the config drive."""
    make_vm(incus)
    rules = [("/etc/a", ["start"], "a.tpl", {}), ("/etc/b", ["start"], "b.tpl", {"create_only": True}),
             ("/etc/c", ["start"], "c.tpl", {}), ("/etc/d", ["copy"], "d.tpl", {})]  # fmt: skip
    put_rules(incus, rules, {"a.tpl": b"x\n", "b.tpl": b"y", "c.tpl": b"{{ x|nosuch }}", "d.tpl": b""})
    for method in ("GET", "HEAD"):
        incus.put(f"{method} /1.0/instances/c1/files?path=%2F", error(400, "Instance is not running"))
    found = judged(incus)
    assert [file.verdict for file in found.files] == ["write", "write", "fail", "not rewritten"]
    assert found.unreadable == "Instance is not running"
    assert found.files[0].change.content == b"x\n" and found.exit_code == 5


@pytest.mark.parametrize(
    ("pending", "contents"),
    [("copy", {"/etc/b": b"one copy", "/etc/a": b"one copy"}), ("", {"/etc/a": b"one none"})],
)
def test_a_template_can_read_configuration_despite_unreadable_files(incus, pending, contents):
    data = incus.data("GET /1.0/instances/c1")
    data["status"] = "Stopped"
    for key in ("config", "expanded_config"):
        data[key].pop("volatile.apply_template", None)
        data[key].update({"user.a": "one", **({"volatile.apply_template": pending} if pending else {})})
    incus.put("GET /1.0/instances/c1", sync(data))
    text = b'{{ config_get("user.a", "") }} {{ config_get("volatile.apply_template", "none") }}'
    rules = [("/etc/a", ["start"], "a.tpl", {}), ("/etc/b", ["copy"], "a.tpl", {})]
    put_rules(incus, rules, {"a.tpl": text})
    for method in ("GET", "HEAD"):
        incus.put(f"{method} /1.0/instances/c1/files?path=%2F", error(403, "not authorized"))
    assert {change.path: change.content for change in judged(incus).plan.changes} == contents


def test_an_instance_has_no_verdicts_if_it_was_deleted_meanwhile(incus):
    def vanish(live):
        incus.put("GET /1.0/instances/c1", error(404, "Instance not found"))

    with pytest.raises(MissingInstanceError, match="has no instance 'c1'"):
        judged(incus, prepare=vanish)


def test_a_missing_template_can_mean_that_the_instance_was_deleted(incus):
    """The daemon gives the same answer for a missing template and for a template of a missing instance."""

    def vanish(live):
        for name in ("hostname.tpl", "once.tpl", "deep.tpl", "cloud-init-meta.tpl"):
            incus.put(f"GET /1.0/instances/c1/metadata/templates?path={name}", error(404, "not found"))
        assert not live.image.missed
        live.image.read_templates(["hostname.tpl"])
        assert live.image.missed and not live.rootfs.missed and not live.unreadable
        live.check_exists()
        incus.put("GET /1.0/instances/c1", error(404, "Instance not found"))
        live.check_exists()

    with pytest.raises(MissingInstanceError, match="has no instance 'c1'"):
        judged(incus, prepare=vanish)


def test_the_patch_contains_only_valid_lines_and_comments(incus):
    incus.put_file("c1", "/etc/once", b"x")
    text = "".join(patches(judged(incus)))
    lines = text.splitlines()
    assert lines[0] == "# c1: the next start runs start"
    commands = "incus config set c1 volatile.apply_template=create && incus restart c1"
    assert f"#   to write the file: {commands}" in lines
    assert "#   the start also writes /etc/once" not in lines or "create" in text
    patch = [line for line in lines if not line.startswith("#")]
    assert patch[:4] == [
        "diff --git a/srv/deep/file b/srv/deep/file", "new file mode 100604", "--- /dev/null", "+++ b/srv/deep/file",
    ]  # fmt: skip


def test_the_verdicts_about_a_next_start_can_be_written_as_json(incus):
    import json

    found = judged(incus)
    data = json.loads(json.dumps(data_of(found)))
    assert (data["instance"], data["host"], data["status"]) == ("c1", "incus-debian", "Running")
    deep = next(file for file in data["files"] if file["path"] == "/srv/deep/file")
    assert deep["change"]["mode"] == "0604" and deep["commands"] == ["incus restart c1"]
    for said, file in zip(data["files"], found.files, strict=True):
        assert (said["path"], said["real"], said["template"]) == (file.path, file.real, file.rule.template)
        assert (said["when"], said["verdict"]) == (list(file.rule.when), file.verdict)


def test_names_in_the_suggested_commands_are_quoted(incus):
    put_rules(incus, [("/etc/a b", ["create"], "a.tpl", {"create_only": True})], {"a.tpl": b"x"})
    incus.put_file("c1", "/etc/a b", b"y")
    found = judged(incus)
    assert commands(found, found.files[0])[0] == "incus file delete c1'/etc/a b'"


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"{% if %}", b"{{ 1/0 }}", b"\x01", "é\u2028".encode(), b""]
)
def test_templates_may_contain_arbitrary_bytes(incus, data):
    put_rules(
        incus, [("/etc/a", ["start"], "a.tpl", {}), ("/etc/b", ["create"], "a.tpl", {})], {"a.tpl": data}
    )
    found = judged(incus)
    assert len(found.files) == 2
    "".join(patches(found)).encode("utf-8", "surrogateescape")
    data_of(found)


def test_a_plan_is_not_recomputed_for_each_rule(incus, monkeypatch):
    calls = []
    files = Plan.files
    monkeypatch.setattr(Plan, "files", lambda plan: calls.append(plan) or files(plan))
    rules = [(f"/etc/{n}", ["create"], "a.tpl", {}) for n in range(50)]
    put_rules(incus, rules, {"a.tpl": b"x\n"})
    assert {file.current for file in judged(incus).files} == {"missing"}
    assert len(calls) < 10


def test_the_reason_mentions_only_a_few_shortened_links():
    links = {f"/etc/{number}": "/etc/" + "./" * 2000 for number in range(40)}
    text = links_text(links)
    assert text.startswith("/etc/0 -> /etc/./") and text.endswith("… and 35 more")
    assert len(text) < 1200
    assert links_text({"/a": "/b"}) == "/a -> /b"


def test_a_comment_on_each_file_mentions_the_other_files(incus):
    rules = [(f"/etc/{n}", ["create"], "a.tpl", {}) for n in range(8)]
    put_rules(incus, rules, {"a.tpl": b"x\n"})
    lines = [line for line in "".join(patches(judged(incus))).splitlines() if "also writes" in line]
    assert lines[0] == "#   the start also writes /etc/1, /etc/2, /etc/3, /etc/4, /etc/5 and 2 more"
    assert lines[7] == "#   the start also writes /etc/0, /etc/1, /etc/2, /etc/3, /etc/4 and 2 more"
    put_rules(incus, rules[:2], {"a.tpl": b"x\n"})
    assert "#   the start also writes /etc/1\n" in "".join(patches(judged(incus)))


def test_a_skipped_create_only_rule_is_compared_with_the_existing_file(incus):
    rules = [
        (f"/etc/{name}", ["start"], f"{name}.tpl", {"create_only": True}) for name in ("a", "b", "c", "d")
    ]
    put_rules(incus, rules, {"a.tpl": b"x\n", "b.tpl": b"x\n", "c.tpl": b"{{ x|nosuch }}", "d.tpl": b"x\n"})
    for path, content in (("/etc/a", b"x\n"), ("/etc/b", b"y\n"), ("/etc/c", b"y\n"), ("/etc/d", b"y\n")):
        incus.put_file("c1", path, content, uid=7, gid=8, mode="0640")
    incus.put("GET /1.0/instances/c1/files?path=%2Fetc%2Fd", error(403, "forbidden"))
    found = judged(incus)
    assert [(file.verdict, file.change, file.current, file.current_reason) for file in found.files] == [
        ("skip", None, "equal", ""),
        ("skip", None, "different", ""),
        ("skip", None, "unknown", "unknown filter 'nosuch'"),
        ("skip", None, "unknown", "can't read '/etc/d': forbidden"),
    ]
    shown = found.files[1].current_change
    assert (shown.action, shown.before, shown.content) == ("update", b"y\n", b"x\n")
    assert (shown.uid, shown.gid, shown.mode) == (7, 8, 0o640)
    assert commands(found, found.files[0]) == ()
    assert commands(found, found.files[1]) == ("incus file delete c1/etc/b", "incus restart c1")


def test_dangling_symlinks_are_not_compared_with_create_only_rules(incus):
    rules = [("/etc/a", [when], "a.tpl", {"create_only": True}) for when in ("start", "create")]
    put_rules(incus, rules[1:], {"a.tpl": b"x\n"})
    incus.put_file("c1", "/etc/a", b"/etc/none", kind="symlink")
    (file,) = judged(incus).files
    assert (file.verdict, file.current, file.current_reason) == (
        "not rewritten",
        "unknown",
        "a dangling symlink",
    )
    put_rules(incus, rules[:1], {"a.tpl": b"x\n"})
    make_vm(incus)
    found = judged(incus)
    (file,) = found.files
    assert (file.verdict, file.current_reason) == ("skip", "a dangling symlink")
    assert found.exit_code == 0  # both kinds of links give the same verdict


def test_a_file_is_not_compared_without_a_daemon_trigger(incus):
    put_rules(
        incus, [("/etc/a", [], "a.tpl", {}), ("/etc/b", ["stop"], "a.tpl", {})], {"a.tpl": b"{{ x|nosuch }}"}
    )
    found = judged(incus)
    for file in found.files:
        assert (file.verdict, file.current) == ("not rewritten", "unknown")
        assert file.current_reason == "no trigger of the daemon runs this rule"
        assert commands(found, file) == ()


def test_an_invalid_target_path_is_shown_unchanged(incus):
    put_rules(incus, [("/etc/../..", ["stop"], "a.tpl", {}), ("/", ["create"], "a.tpl", {})], {"a.tpl": b"x"})
    first, second = judged(incus).files
    assert (first.path, first.real) == ("/etc/../..", "/etc/../..")
    assert (second.current, second.current_reason) == (
        "unknown",
        "target path '/' is the root directory itself",
    )


def make_vm(daemon):
    daemon.put(
        "GET /1.0/instances/c1", sync(daemon.data("GET /1.0/instances/c1") | {"type": "virtual-machine"})
    )


def test_verdicts_on_virtual_machines_concern_files_of_the_agent(incus):
    make_vm(incus)
    rules = [("/etc/a", ["start"], "a.tpl", {}), ("/etc/b", ["start"], "a.tpl", {"create_only": True})]
    put_rules(incus, rules, {"a.tpl": b"x\n"})
    incus.put_file("c1", "/etc/a", b"y\n")
    found = judged(incus)
    assert [(file.path, file.verdict) for file in found.files] == [("/etc/a", "change"), ("/etc/b", "create")]
    assert found.files[0].change.before == b"y\n" and commands(found, found.files[0]) == ("incus restart c1",)


def test_vm_files_are_not_compared_if_their_template_fails(incus):
    make_vm(incus)
    rules = [("/etc/a", ["copy"], "a.tpl", {}), ("/etc/b", ["copy"], "b.tpl", {})]
    put_rules(incus, rules, {"a.tpl": b"{{ x|nosuch }}", "b.tpl": b"b"})
    first, second = judged(incus).files
    assert (first.current, first.current_reason) == ("unknown", "the template can't be rendered")
    assert second.current == "missing"


@pytest.mark.parametrize("content", [b"x\n", b"y\n"])
def test_the_result_of_colliding_rules_is_unknown_in_a_virtual_machine(incus, content):
    """The verdict was "same", because the simulation does not run a rule that templater refuses."""
    make_vm(incus)
    put_rules(
        incus, [("/etc/a", ["start"], "a.tpl", {}), ("/etc/./a", ["start"], "a.tpl", {})], {"a.tpl": b"x\n"}
    )
    incus.put_file("c1", "/etc/a", content)
    found = judged(incus)
    assert [file.verdict for file in found.files] == ["unknown", "unknown"] and found.exit_code == 5
    assert found.files[0].reason == (
        "incus-debian writes this file, but templater refuses: the rules for '/etc/a' and '/etc/./a' write the"
        " same file, or one target is a parent directory of the other target"
    )


@pytest.mark.parametrize("path", ["/etc/../../x", "/../x", "../x"])
def test_targets_outside_the_root_do_not_hide_other_verdicts(incus, path):
    make_vm(incus)
    put_rules(
        incus,
        [(path, ["start"], "a.tpl", {}), ("/etc/a", ["start"], "b.tpl", {})],
        {"a.tpl": b"x\n", "b.tpl": b"x"},
    )
    first, second = judged(incus).files
    assert first.verdict == "unknown"
    assert first.reason.endswith(
        f"templater refuses: target path '{path}' leaves the root filesystem by '..'"
    )
    assert second.verdict == "create"


def test_an_unreadable_file_does_not_hide_the_verdicts_on_other_files(incus):
    put_rules(
        incus,
        [
            ("/etc/a", ["start"], "a.tpl", {}),
            ("/srv/b", ["start"], "b.tpl", {}),
        ],
        {"a.tpl": b"x\n", "b.tpl": b"x"},
    )
    incus.put("HEAD /1.0/instances/c1/files?path=%2Fetc%2Fa", error(403, "forbidden"))
    incus.put("GET /1.0/instances/c1/files?path=%2Fetc%2Fa", error(403, "forbidden"))
    first, second = judged(incus).files
    assert (first.verdict, first.reason) == ("unreadable", "can't read '/etc/a': forbidden")
    assert (second.verdict, second.change.content) == ("create", b"x")


def test_a_fail_verdict_contains_templaters_error_without_a_host(incus):
    put_rules(
        incus,
        [(path, ["start"], "a.tpl", {}) for path in ("/etc/../../x", "/etc/a", "/srv/b")],
        {"a.tpl": b"x\n"},
    )
    incus.put("HEAD /1.0/instances/c1/files?path=%2Fetc%2Fa", error(403, "forbidden"))
    incus.put("GET /1.0/instances/c1/files?path=%2Fetc%2Fa", error(403, "forbidden"))
    first, second, third = judged(incus, host=HOSTS["none"]).files
    assert first.verdict == "fail"
    assert first.reason == "target path '/etc/../../x' leaves the root filesystem by '..'"
    assert (second.verdict, second.reason) == ("unreadable", "can't read '/etc/a': forbidden")
    assert (third.verdict, third.reason) == ("fail", "another rule stops the start")


def test_a_file_with_equal_content_gets_the_verdict_same(incus):
    put_rules(incus, [("/etc/a", ["start"], "a.tpl", {})], {"a.tpl": b"x\n"})
    incus.put_file("c1", "/etc/a", b"x\n")
    found = judged(incus)
    (file,) = found.files
    assert (file.verdict, file.reason, file.change) == ("same", "", None)
    assert commands(found, file) == () and found.changing == []


def test_no_command_is_suggested_for_a_copy_only_rule(incus):
    put_rules(incus, [("/etc/a", ["copy"], "a.tpl", {})], {"a.tpl": b"x\n"})
    found = judged(incus)
    assert found.files[0].current == "missing" and commands(found, found.files[0]) == ()


def test_the_patch_and_the_json_report_contain_the_remarks(incus):
    put_rules(incus, [("/srv/fifo", ["start"], "a.tpl", {})], {"a.tpl": b"x\n"})
    found = replace(judged(incus), newer_image="a newer image \ud800", unreadable="not authorized")
    remark = "the daemon shows an empty file, which can also be a fifo or a device"
    assert f"#   {remark}\n" in "".join(patches(found))
    data = data_of(found)
    assert data["files"][0]["remarks"] == [remark]
    facts = ("instance", "project", "remote", "family", "type", "host")
    assert [data[name] for name in facts] == ["c1", "default", "local", "incus", "container", "incus-debian"]
    assert (data["newer_image"], data["unreadable"]) == ("a newer image \\ud800", "not authorized")


def test_too_many_file_requests_of_an_instance_are_an_error(incus, monkeypatch):
    monkeypatch.setattr("templater.live.live_rootfs.MOST_NAMES", 1)
    with pytest.raises(LimitError, match="the rules need more than 1 requests for files"):
        judged(incus)


def test_hostile_names_of_instances_are_written_as_valid_json():
    name = "x\ud800"
    failed = Judged(Address("incus", name=name, project=name), name, error=InputError("failed"))
    assert json.dumps(error_of(failed), ensure_ascii=False).encode()


def test_a_virtual_machine_cannot_start_with_a_failing_template(incus):
    make_vm(incus)
    put_rules(
        incus,
        [("/etc/a", ["start"], "a.tpl", {}), ("/etc/b", ["create"], "b.tpl", {})],
        {"a.tpl": b"{{ x|nosuch }}", "b.tpl": b"x"},
    )
    found = judged(incus)
    assert [(file.path, file.verdict) for file in found.files] == [
        ("a.tpl.out", "fail"),
        ("/etc/b", "not rewritten"),
    ]
    assert found.files[0].reason.startswith("Failed to render template: ") and found.exit_code == 5
