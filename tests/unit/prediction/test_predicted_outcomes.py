"""A plan's prediction of its host, beyond the recorded situations."""

import os
from pathlib import Path
from time import process_time

import pytest

from templater.image.open_image import open_image
from templater.model.entry import (
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    Entry,
    TemplateFile,
)  # fmt: skip
from templater.model.errors import LimitError
from templater.model.hosts import HOSTS, INCUS, INCUS_6_0, INCUS_6_0_4, LXD, NONE, Host
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import Outcome, Plan, Prediction
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.planning.decide_changes import plan_of
from templater.planning.plan_image import plan
from templater.prediction import FAMILIES, predict
from templater.prediction.host_filesystem import Node, _can_be_opened
from templater.prediction.incus_and_lxd_daemons import Fails
from templater.prediction.predicted_outcomes import _short
from templater.prediction.simulated_start import check_metadata
from templater.rendering.render import Rendering, render
from templater.reporting.json_data import plan_data
from templater.reporting.plan_text import not_due, preview, summary, verdict
from templater.rootfs.memory_rootfs import MemoryRootfs

ETC = {"/etc": Entry(DIRECTORY, 0o755)}


def planned(
    *rules: Rule,
    host: Host = INCUS,
    tree: "dict[str, str | bytes | Entry] | None" = None,
    known: bool = True,
    triggers: tuple[str, ...] = ("create",),
    vm: bool = False,
    template: str = "text",
    source: bytes = b"",
) -> Plan:
    instance = Instance("c1", VIRTUAL_MACHINE if vm else "container")
    metadata = Metadata(rules=rules)
    templates = {"a.tpl": TemplateFile(Entry(FILE), template.encode())}
    rootfs = MemoryRootfs({**ETC, **(tree or {})}) if known else None
    renderings = render(metadata, templates, instance, triggers, RenderOptions(host))
    plan = plan_of(metadata, instance, renderings, rootfs, host=host, triggers=triggers)
    return plan.with_prediction(predict(plan, templates, rootfs))


def rule(path: str = "/etc/a", template: str = "a.tpl", **fields: object) -> Rule:
    return Rule(path, template, ("create",), **fields)  # type: ignore[arg-type]


def results(plan: Plan) -> list[str]:
    return [outcome.result if outcome else "-" for outcome in map(plan.outcome, plan.changes)]


def first(plan: Plan) -> Outcome:
    outcome = plan.outcome(plan.changes[0])
    assert outcome is not None
    return outcome


def test_every_host_has_a_known_family() -> None:
    assert {host.family for host in HOSTS.values()} - {""} == set(FAMILIES)


def test_a_plan_for_the_host_named_none_has_no_predicted_outcomes() -> None:
    assert results(planned(rule(), host=NONE)) == ["-"]


def test_parents_are_assumed_to_exist_without_a_root_filesystem() -> None:
    plan = planned(rule("/nowhere/known/a"), known=False)
    assert results(plan) == ["written"]


def test_old_releases_follow_target_links_to_host_files() -> None:
    tree: dict[str, str | bytes | Entry] = {"/etc/a": Entry(SYMLINK, target="/etc/passwd")}
    outcome = first(planned(rule(), host=INCUS_6_0_4, tree=tree))
    assert outcome is not None and outcome.text == "the target is /etc/passwd on the host's own file system"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (INCUS, "Failed to check template file: statat etc/a: path escapes from parent"),
        (INCUS_6_0, "Template is attempting access to path outside of container"),
    ],
)
def test_each_newer_release_refuses_an_absolute_target_link(host: Host, words: str) -> None:
    plan = planned(rule(), host=host, tree={"/etc/a": Entry(SYMLINK, target="/srv/b")})
    assert first(plan).error == words
    assert plan.host_fails == list(plan.changes) and not plan.failed


def test_a_fifo_as_target_makes_incus_7_hang() -> None:
    assert results(planned(rule(), tree={"/etc/a": Entry(FIFO)})) == ["hangs"]


def test_a_failing_rule_makes_the_other_results_of_its_pass_random() -> None:
    plan = planned(rule("/etc/a"), rule("/etc/b", "nope.tpl"))
    assert results(plan) == ["random", "fails"]
    assert "'/etc/b' stops the start" in first(plan).text


def test_a_trigger_pass_after_a_failed_pass_does_not_run() -> None:
    late = Rule("/etc/b", "a.tpl", ("start",))
    plan = planned(rule("/etc/a", "nope.tpl"), late, triggers=("create", "start"))
    assert results(plan) == ["fails", "fails"]
    assert plan.prediction.outcomes[plan.changes[1]].text.startswith("the host does not reach this rule")


def test_rules_for_the_same_file_have_a_random_result() -> None:
    assert results(planned(rule("/etc/a"), rule("etc/a"))) == ["random", "random"]


def test_a_failed_render_on_a_daemon_leaves_an_empty_target() -> None:
    old = first(planned(rule(), tree={"/etc/a": "precious"}, template="{% if %}"))
    new = first(planned(rule(), template="{% if %}"))
    assert old is not None and old.text == "the target is left empty"
    assert new is not None and new.text == "a new, empty file remains"


@pytest.mark.parametrize("host", [INCUS, HOSTS["incus-debian"]])
@pytest.mark.parametrize(
    ("vm", "remark", "end"),
    [
        (False, "the daemon panics, so the start fails: a new, empty file remains", "would fail at 1"),
        (True, "the daemon crashes: panic: runtime error: integer divide by zero", "would crash at 1"),
    ],
)
def test_a_panic_crashes_the_daemon_only_for_virtual_machines(vm, remark, end, host) -> None:
    plan = planned(rule(), vm=vm, template="{{ 1 % 0 }}", host=host)
    assert f"    ! {host.name}: {remark}\n" in preview(plan)
    assert summary(plan).endswith(f"; {host.name} {end}")


def test_lxd_recovers_from_template_panics_in_virtual_machines() -> None:
    plan = planned(rule(), vm=True, template="{{ 1 % 0 }}", host=LXD)
    assert "lxd: the start fails: Failed rendering template: Panic while rendering" in preview(plan)


@pytest.mark.parametrize("vm", [False, True])
def test_errors_that_resemble_a_panic_are_not_a_panic(vm) -> None:
    plan = planned(rule(), vm=vm, template="{{ 1|yesno:'panic: runtime error: ,,,,' }}")
    assert "incus: the start fails: " in preview(plan)


def test_the_predicted_outcome_says_that_lxd_ignores_owner_and_mode() -> None:
    outcome = first(planned(rule(uid="1000"), host=LXD))
    assert outcome is not None and (outcome.result, outcome.text) == (
        "written",
        "LXD ignores uid, gid and mode",
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"mode": "0600"}, "a dangling link counts as an existing file, so uid, gid and mode are ignored; "),
        ({}, ""),
    ],
)
def test_incus_6_ignores_the_mode_for_a_dangling_link(fields, text) -> None:
    """A real Incus 6.0.4 gave the new file the mode 0644 (lifecycle case 84)."""
    tree = {"/etc/a": Entry(SYMLINK, 0o777, target="b")}
    outcome = first(planned(rule(**fields), host=INCUS_6_0_4, tree=tree))
    assert outcome is not None and outcome.text == f"{text}a symlink leads to /etc/b"
    twice = planned(
        Rule("/etc/a", "a.tpl", ("create", "start"), mode="0600"),
        host=INCUS_6_0_4,
        triggers=("create", "start"),
    )
    assert [twice.prediction.outcomes[change].text for change in twice.changes] == ["", ""]


def test_a_start_with_null_metadata_fails_before_any_rule() -> None:
    metadata = Metadata(null=True)
    plan = plan_of(metadata, Instance(), [], None, host=INCUS, triggers=("start",))
    plan = plan.with_prediction(predict(plan, {}, None))
    assert plan.host_error == "panic: runtime error: invalid memory address or nil pointer dereference"
    assert verdict(plan) == 5
    why = "the daemon panics, so the start fails"
    assert summary(plan) == f"c1: start: nothing to do; incus: {why}: {plan.host_error}"
    assert plan_data(plan)["host_error"] == plan.host_error


@pytest.mark.parametrize(
    ("host", "machine"),
    [(LXD, "container"), (LXD, "virtual-machine"), (INCUS, "virtual-machine"), (NONE, "container")],
)
def test_null_metadata_causes_no_error_on_hosts_with_a_null_check(host: Host, machine: str) -> None:
    plan = plan_of(Metadata(null=True), Instance(type=machine), [], None, host=host, triggers=("start",))
    plan = plan.with_prediction(predict(plan, {}, None))
    assert plan.host_error == ""
    assert verdict(plan) == 0


@pytest.mark.parametrize(
    ("host", "vm", "result", "says"),
    [
        ("incus-6.0.4", False, "written", "the template is the host's own file /etc/hostname"),
        ("incus-6.0.4", True, "written", "the template is the host's own file /etc/hostname"),
        ("incus-6.0", False, "fails", "Template path is attempting to read outside of template directory"),
        ("incus-6.0", True, "written", "the template is the host's own file /etc/hostname"),
        ("incus", False, "fails", "Template path is attempting to read outside of template directory"),
        ("incus", True, "fails", "Template path is attempting to read outside of template directory"),
        ("lxd", False, "fails", "path escapes from parent"),
        ("lxd", True, "fails", "path escapes from parent"),
    ],
)
def test_a_template_path_may_lead_to_a_host_file(host: str, vm: bool, result: str, says: str) -> None:
    template = "../../../../../../etc/hostname"
    outcome = first(planned(rule(template=template), host=HOSTS[host], vm=vm))
    place = f"the file is files/{template}.out on the config drive; " if vm and result == "written" else ""
    assert outcome.result == result
    assert (outcome.text == place + says) if result == "written" else outcome.error.endswith(says)


def test_rendered_files_of_a_virtual_machine_are_on_the_config_drive() -> None:
    plan = planned(rule(), rule("/etc/b"), vm=True)
    assert results(plan) == ["written", "written"]


def test_a_preview_shows_a_failed_rule_in_the_guest() -> None:
    source = Source("metadata.yaml", "uid: bob")
    wrong = rule(uid="bob", spans={"uid": source.span(5, 8)})
    plan = planned(wrong, rule("/etc/b", uid="1"), vm=True)
    assert results(plan) == ["written", "written"]
    assert (
        [change.path for change in plan.failed] == [change.path for change in plan.host_fails] == ["/etc/a"]
    )
    assert verdict(plan) == 5
    assert summary(plan) == "c1: create: 1 create, 1 keep, 1 failed in the guest; incus would fail at 1"
    shown = preview(plan)
    assert (
        "==> in the guest: /etc/a  failed  a.tpl on agent\n    ! incus: the agent fails: Bad file UID"
        in shown
    )
    assert "    metadata.yaml:1:6: uid" in shown
    assert "|      ^^^\n" in shown
    assert shown.count("    text") == 0, "what is written in the guest was shown with the config drive"


def test_a_preview_fails_if_only_the_guest_agent_fails() -> None:
    plan = planned(rule(), vm=True, tree={"/etc/a": Entry(FIFO, 0o644)}, host=HOSTS["incus"])
    assert verdict(plan) == 5


@pytest.mark.parametrize(
    ("tree", "result"),
    [
        ({}, ("written", "")),
        ({"/new": Entry(SYMLINK, target="nowhere")}, ("fails", "mkdir new: file exists")),
    ],
)
def test_the_agent_creates_the_missing_parents_of_a_relative_path(
    tree: dict[str, str | bytes | Entry], result: tuple[str, str]
) -> None:
    """The errors are those of ``os.MkdirAll("new/b", 0o755)`` in Go 1.24.4."""
    plan = planned(rule("new/b/a"), vm=True, tree=tree)
    assert plan.prediction is not None
    outcome = plan.prediction.outcomes[plan.agent[0]]
    assert (outcome.result, outcome.error) == result
    assert "Incus sets to /run/incus_agent" in preview(plan) or outcome.result == "fails"


LINK, FOLDER = Entry(SYMLINK, target="new"), Entry(DIRECTORY, 0o755)


@pytest.mark.parametrize(
    ("path", "tree", "result"),
    [
        ("/etc/f/a", {"/etc/f": "x"}, "mkdir /etc/f: not a directory"),
        ("/etc/f/b/a", {"/etc/f": "x"}, "mkdir /etc/f: not a directory"),
        ("/etc/l/a", {"/etc/l": LINK, "/etc/new": "x"}, "mkdir /etc/l: not a directory"),
        ("/etc/p/a", {"/etc/p": Entry(FIFO, 0o644)}, "mkdir /etc/p: not a directory"),
        ("etc/f/a", {"/etc/f": "x"}, "mkdir etc/f: not a directory"),
        ("/etc/l/a", {"/etc/l": LINK}, "mkdir /etc/l: file exists"),
        ("/etc/l/b/a", {"/etc/l": LINK, "/etc/new": FOLDER}, "written"),
        ("/etc//n/./a", {}, "written"),
        ("/n/a", {}, "written"),
        ("/a", {}, "written"),
        ("a", {}, "written"),
        ("../a", {}, "written"),
        ("/etc/n/../m/a", {}, "open /etc/n/../m/a: no such file or directory"),
        ("b/../a", {}, "open b/../a: no such file or directory"),
        ("/etc/n/", {}, "open /etc/n/: is a directory"),
        ("/etc/a/..", {}, "open /etc/a/..: is a directory"),
    ],
)
def test_the_agents_give_the_go_error_for_an_impossible_path(path, tree, result) -> None:
    """The errors are those of ``os.MkdirAll`` and ``os.Create`` in Go 1.24.4, in a root directory with this tree."""

    def outcome(host: str) -> str:
        plan = planned(rule(path), vm=True, tree=tree, host=HOSTS[host])
        assert plan.prediction is not None
        found = plan.prediction.outcomes[plan.agent[0]]
        return found.error or found.result

    prefix = "Failed creating template file: "
    assert outcome("lxd") == (prefix if result.startswith("open") else "") + result
    if "not a directory" in result:  # the agent of Incus takes this error of lstat for an existing file
        result = f"Failed to create template file: open {path}: not a directory"
    assert outcome("incus") == result


def test_rules_that_write_one_output_file_have_random_results() -> None:
    plan = planned(rule(), rule("/etc/b"), vm=True, template="{{ path }}")
    assert results(plan) == ["random", "random"]


def test_the_outcome_is_unknown_if_a_limit_stops_the_render() -> None:
    endless = "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}"
    plan = planned(rule(), template=endless)
    assert results(plan) == ["unknown"]
    assert "at a limit that the host does not have" in str(first(plan))


def test_other_files_are_written_after_a_limit_error() -> None:
    late = LimitError("a limit of ours")
    metadata = Metadata(rules=(rule("/etc/a"), rule("/etc/b")))
    renderings = [
        Rendering(metadata.rules[0], "start", error=late), Rendering(metadata.rules[1], "start", b"text\n")
    ]  # fmt: skip
    plan = plan_of(metadata, Instance(), renderings, None, host=INCUS, triggers=("start",))
    plan = plan.with_prediction(predict(plan, {"a.tpl": TemplateFile(Entry(FILE), b"")}, None))
    assert results(plan) == ["unknown", "written"]
    assert summary(plan) == "c1: start: 1 failed, 1 write; incus: 1 unknown"


@pytest.mark.slow
def test_prediction_takes_linear_time_in_the_number_of_rules() -> None:
    def seconds(count: int) -> float:
        rules = [rule(f"/etc/d{number}/a") for number in range(count)]
        began = process_time()
        planned(*rules)
        return process_time() - began

    seconds(50)
    small, large = seconds(500), seconds(5000)
    assert large < 40 * small


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (("fails", "hangs", "random"), "; incus would fail at 2, 1 random"),
        (("random", "random", "written"), "; incus: 2 random"),
        (("fails", "unknown"), "; incus would fail at 1, 1 unknown"),
        (("written", "skipped"), ""),
    ],
)
def test_a_prediction_summary_has_the_number_of_failed_results(
    results: tuple[str, ...], expected: str
) -> None:
    plan = planned(*(rule(f"/etc/{number}") for number in range(len(results))))
    outcomes = zip(plan.changes, map(Outcome, results), strict=True)
    plan = plan.with_prediction(Prediction(dict(outcomes)))
    assert summary(plan) == f"c1: create: {len(results)} create{expected}"


def test_rules_without_a_matching_trigger_are_listed_with_their_triggers() -> None:
    at_start = Rule("/etc/inittab", "a.tpl", ("start", "rename"))
    assert (
        not_due(planned(rule(), at_start)) == "not rendered, no matching trigger: /etc/inittab (start,rename)"
    )
    assert not_due(planned(rule(), at_start, triggers=("create", "start"))) == ""
    assert not_due(planned(Rule("/n", "a.tpl", ()), triggers=("copy", "start"))) == (
        "not rendered, no matching trigger: /n (never)"
    )


def test_at_most_five_rules_without_matching_trigger_are_listed() -> None:
    many = not_due(planned(*(Rule(f"/{number}", "a.tpl", ("copy",)) for number in range(7))))
    assert many.startswith("not rendered, no matching trigger: /0 (copy), /1") and many.endswith(
        "/4 (copy) and 2 more"
    )


@pytest.mark.parametrize(
    ("host", "type", "target"),
    [
        *((host, "container", f"{start}b.tpl") for host in ("incus-6.0.4", "lxd-5.21.4") for start in ("", "./", "../templates/")),
        ("lxd", "virtual-machine", "b.tpl"),
        ("lxd", "virtual-machine", "./b.tpl"),
    ],
)  # fmt: skip
def test_prediction_follows_a_template_link_to_a_file_without_a_rule(
    host: str, type: str, target: str, tmp_path: Path
) -> None:
    """Recorded as "template is a relative symlink inside templates, target new": written, 0644 0:0."""
    (tmp_path / "metadata.yaml").write_text("templates: {/etc/a: {when: [create], template: a.tpl}}\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/b.tpl").write_text("new\n")
    (tmp_path / "templates/a.tpl").symlink_to(target)
    instance = Instance(type=type)
    made = plan(open_image(tmp_path), instance, host=host, triggers=("create",), rootfs=MemoryRootfs(ETC))
    assert results(made) == ["written"] and made.failed


@pytest.mark.parametrize(
    ("host", "size", "error"),
    [
        (LXD, 1 << 20, ""),
        (
            LXD,
            (1 << 20) + 1,
            'Failed reading metadata: Failed parsing metadata file "$INSTANCE/metadata.yaml": '
            "yaml: input error: input data is larger than maximum 1048576 bytes",
        ),
        (INCUS, 2 << 20, ""),
    ],
)
def test_only_new_lxd_releases_refuse_metadata_above_1_mib(host, size, error):
    metadata = Metadata(source=Source("metadata.yaml", b"x" * size))
    if error:
        with pytest.raises(Fails) as caught:
            check_metadata(host, metadata, Instance())
        assert str(caught.value) == error
    else:
        check_metadata(host, metadata, Instance())


def test_rules_with_the_same_template_overwrite_one_output_file() -> None:
    changes = planned(
        rule(), rule("/etc/b"), rule("/etc/c", template="no.tpl"), vm=True, template="{{ path }}"
    ).changes
    assert [(change.path, change.action, change.before, change.content) for change in changes] == [
        ("a.tpl.out", "create", None, b"/etc/a"),
        ("a.tpl.out", "update", b"/etc/a", b"/etc/b"),
        ("no.tpl.out", "failed", None, None),
    ]
    same = planned(rule(), rule("/etc/b"), vm=True).changes[1]
    assert (same.action, same.before, same.content) == ("keep", b"text", b"text")


def test_a_path_above_100_characters_is_cut_in_remarks() -> None:
    assert _short("/" * 100) == "/" * 100
    assert _short("/" * 101) == "/" * 100 + "…"


@pytest.mark.parametrize(
    ("host", "size", "fails"),
    [(LXD, 1 << 20, False), (LXD, (1 << 20) + 1, True), (INCUS, (1 << 20) + 1, False)],
)
def test_lxd_refuses_a_metadata_file_above_1_mib(host, size, fails) -> None:
    metadata = Metadata(source=Source("metadata.yaml", "#" * size))
    if fails:
        with pytest.raises(Fails, match="input data is larger than maximum 1048576 bytes"):
            check_metadata(host, metadata, Instance())
    else:
        check_metadata(host, metadata, Instance())


@pytest.mark.parametrize(
    ("kind", "major", "opens"),
    [
        (FILE, 0, True), (FIFO, 0, True), (SYMLINK, 0, True), (SOCKET, 0, False),
        *[(kind, major, True) for kind in (CHAR_DEVICE, BLOCK_DEVICE) for major in (1, 59, 64, 119, 128, 239, 255, 256 + 60)],
        *[(kind, major, False) for kind in (CHAR_DEVICE, BLOCK_DEVICE) for major in (60, 63, 120, 127, 240, 254)],
    ],
)  # fmt: skip
def test_a_device_with_a_local_major_number_cannot_be_opened(kind, major, opens) -> None:
    for minor in (0, 60, 255, 256, 0xFFF00):
        assert _can_be_opened(Node(kind, 0o600, 0, 0, rdev=os.makedev(major, minor))) == opens


DIR = Entry(DIRECTORY, 0o755)
OPENING = "opening a fifo waits until another process reads it"
SECURITY = 'Template security check failed for "%s": '


@pytest.mark.parametrize(
    ("host", "vm", "templates", "template", "outcome"),
    [
        ("incus", False, {"a.tpl": DIR}, "a.tpl", "Failed to read template file: read $TEMPLATES/a.tpl: is a directory"),
        ("lxd", False, {"a.tpl": DIR}, "a.tpl", "Failed reading template file: read $TEMPLATES/a.tpl: is a directory"),
        ("lxd", True, {"a.tpl": DIR}, "a.tpl", "Failed reading template file: read $TEMPLATES/a.tpl: is a directory"),
        ("lxd", True, {}, "a.tpl", "Failed reading template file: openat a.tpl: no such file or directory"),
        ("lxd", True, {}, "sub/a.tpl", "open /files/sub/a.tpl.out: no such file or directory"),
        ("incus-6.0.4", True, {}, "sub/a.tpl", "open /files/sub/a.tpl.out: no such file or directory"),
        ("incus-6.0.4", True, {}, "..", "Failed to read template file: read $INSTANCE: is a directory"),
        ("incus-6.0.4", False, {}, ".", "Failed to read template file: read $TEMPLATES: is a directory"),
        ("incus-6.0", False, {"a.tpl": FILE}, "..", "Template file is a symlink"),
        ("lxd", False, {"a.tpl": FILE}, "..", (SECURITY % "/etc/a") + "Could not access template file: statat ..: path escapes from parent"),
        ("lxd", False, {"a.tpl": FILE}, ".", "Failed reading template file: read $TEMPLATES/.: is a directory"),
    ],
)  # fmt: skip
def test_the_start_fails_without_a_regular_template_file(
    host: str, vm: bool, templates: "dict[str, Entry | str]", template: str, outcome: str
) -> None:
    files = {
        name: TemplateFile(DIR) if kind is DIR else TemplateFile(Entry(FILE), b"x")
        for name, kind in templates.items()
    }
    made = with_templates(files, rule(template=template), HOSTS[host], ETC, vm=vm)
    found = made.outcome(made.changes[0])
    assert found is not None and (found.result, found.error) == ("fails", outcome)


@pytest.mark.parametrize(
    ("host", "vm", "path", "tree", "outcome"),
    [
        ("incus", False, "/etc/new/", {}, ("fails", "Failed to create template file: openat etc/new/: is a directory")),
        ("incus", False, "/etc/a/", {"/etc/a": b"x"}, ("fails", "Failed to check template file: statat etc/a/: not a directory")),
        ("incus", False, "/etc/a\0b", {}, ("fails", "Failed to check template file: statat etc/a\0b: invalid argument")),
        ("incus", False, "/et\0c/ab/c", {}, ("fails", "Failed to create template directory: mkdirat et\0c: invalid argument")),
        ("incus", False, "/etc/..", {}, ("fails", "Failed to create template file: openat etc/..: is a directory")),
        ("incus", False, "/etc/a", {"/etc/a": Entry(SYMLINK, target="b/."), "/etc/b": DIR}, ("fails", "Failed to create template file: openat etc/a: is a directory")),
        ("incus", False, "/etc/a", {"/etc/a": Entry(SYMLINK, target="b/"), "/etc/b": b"x"}, ("fails", "Failed to check template file: statat etc/a: not a directory")),
        ("incus", False, "/etc/a", {"/etc/a": Entry(SYMLINK, target="../srv/.."), "/srv": DIR}, ("fails", "Failed to create template file: openat etc/a: is a directory")),
        ("incus-6.0", False, "/etc/a", {"/etc/a": Entry(SOCKET)}, ("fails", "Failed to create template file: open $ROOTFS/etc/a: no such device or address")),
        ("incus-6.0", False, "/etc/a", {"/etc/a": Entry(FIFO)}, ("written", "")),
        ("lxd", False, "/etc/a", {"/etc/a": DIR}, ("fails", (SECURITY % "/etc/a") + 'Template target path "etc/a" is a directory, not a regular file')),
        ("lxd", True, "", {}, ("fails", "Failed creating template file: open : no such file or directory")),
        ("lxd", True, "/et\0c/ab/c", {}, ("fails", "mkdir /et\0c: invalid argument")),
        ("lxd", True, "/etc/a", {"/etc/a": Entry(FIFO)}, ("hangs", "")),
        ("incus", True, "/etc/a", {"/etc/a": DIR}, ("fails", "Failed to create template file: open /etc/a: is a directory")),
        ("incus", True, "/etc/new/", {}, ("fails", "open /etc/new/: is a directory")),
    ],
)  # fmt: skip
def test_the_prediction_for_an_unusual_target_is_correct(
    host: str, vm: bool, path: str, tree: "dict[str, Entry | bytes]", outcome: tuple[str, str]
) -> None:
    files = {"a.tpl": TemplateFile(Entry(FILE), b"x")}
    made = with_templates(files, rule(path), HOSTS[host], {**ETC, **tree}, vm=vm)
    found = made.outcome([*made.changes, *made.agent][-1])
    assert found is not None and (found.result, found.error) == outcome
    texts = {"hangs": OPENING, "written": "the target is a fifo, so the text is lost"}
    assert found.text == texts.get(found.result, "")


def test_the_lxd_agent_may_change_modes_of_existing_files() -> None:
    files = {"a.tpl": TemplateFile(Entry(FILE), b"x")}
    tree = {**ETC, "/etc/a": Entry(FILE, 0o600)}
    skipped = with_templates(files, rule(create_only=True), LXD, tree, vm=True)
    assert [skipped.outcome(change).result for change in skipped.agent] == ["skipped"]
    written = with_templates(files, rule(), LXD, tree, vm=True)
    assert [written.outcome(change).text for change in written.agent] == ["the mode of the file becomes 0644"]
    hanging = with_templates(files, rule(), LXD, {**ETC, "/etc/a": Entry(FIFO)}, vm=True)
    assert [hanging.outcome(change).text for change in hanging.agent] == [OPENING]


def with_templates(
    templates: "dict[str, TemplateFile]", rule: Rule, host: Host, tree: "dict[str, Entry]", *, vm: bool
) -> Plan:
    instance = Instance("c1", VIRTUAL_MACHINE if vm else "container")
    metadata, rootfs = Metadata(rules=(rule,)), MemoryRootfs(tree)
    renderings = render(metadata, templates, instance, ("create",), RenderOptions(host))
    made = plan_of(metadata, instance, renderings, rootfs, host=host, triggers=("create",))
    return made.with_prediction(predict(made, templates, rootfs))
