"""Simulated instances: recorded daemon behaviour (by LIFECYCLE number) and the reports of a simulation."""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import pytest

from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import HostError, UsageError
from templater.model.hosts import INCUS, INCUS_DEBIAN, LXD_DEBIAN, NONE, Host
from templater.model.instance import VIRTUAL_MACHINE, Instance, Profile
from templater.model.metadata import Rule
from templater.model.plan import CREATE, KEEP, SKIP, UPDATE, WRITE, Change, Outcome, Plan, Prediction
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.prediction import Node
from templater.prediction.errno_errors import Fails
from templater.prediction.simulated_start import HostStart, start_on_host
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.simulation.host_results import check_image, failed_pass, host_errors, write_host_files
from templater.simulation.instance_actions import Simulation
from templater.simulation.parse_steps import parse_step
from templater.simulation.run_steps import run_step, simulate
from templater.simulation.simulated_instance import Life, MemoryFolder, metadata_of
from templater.simulation.step_report import Report, patch_of

HEAD = "architecture: x86_64\ncreation_date: 1\nproperties: {os: tiny}\n"
FACTS = "trigger={{ trigger }} name={{ instance.name }} foo={{ config_get('user.foo', 'none') }}"
#: one file for each trigger
FOUR = "templates:\n" + "".join(
    f"  /etc/{name[:2]}:\n    when: [{name}]\n    template: a.tpl\n"
    for name in ("create", "copy", "rename", "start")
)


class Paper:
    """An image in memory."""

    name = "img"

    def __init__(self, rules: str = FOUR, template: str = FACTS, entry: "Entry | None" = None) -> None:
        self.source = Source("img/metadata.yaml", HEAD + rules)
        self.file = TemplateFile(entry or Entry(FILE), template.encode())
        self.others: dict[str, TemplateFile] = {}

    def read_metadata(self) -> Source:
        return self.source

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        files = {"a.tpl": self.file, **self.others}
        return {name: files.get(name) or TemplateFile() for name in names}


def rootfs() -> MemoryRootfs:
    return MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755)})


def life(*steps: str, image: "Paper | None" = None, host: Host = INCUS) -> Simulation:
    """Return a simulation of c1 after these steps, which must all succeed."""
    simulation = Simulation(RenderOptions(host))
    simulation.create(Instance("c1"), MemoryFolder(image or Paper(), rootfs()))
    for step in steps:
        report = run_step(simulation, parse_step(step))
        assert report.error is None, report.error
    return simulation


def files(simulation: Simulation, name: str = "c1") -> dict[str, str]:
    view = simulation.find(name).folder.rootfs
    assert isinstance(view, MemoryRootfs)
    return {path: view.read(path, 999).decode() for path, entry in view.walk() if entry.kind == FILE}


def test_a_simulation_renders_no_file_before_the_first_start() -> None:
    assert files(life()) == {}


def test_first_start_runs_create_trigger_before_start_trigger() -> None:
    assert files(life("start")) == {
        "/etc/cr": "trigger=create name=c1 foo=none",
        "/etc/st": "trigger=start name=c1 foo=none",
    }


def test_a_simulation_generates_no_placeholders_by_default() -> None:
    image = Paper(template="{{ config_get('volatile.uuid', 'none') }}")
    assert files(life("start", image=image))["/etc/st"] == "none"


def test_first_start_renders_keys_that_the_user_set_before() -> None:  # 01
    assert files(life("c:user.foo=bar", "start"))["/etc/cr"].endswith("foo=bar")


def test_a_copy_of_a_never_started_instance_runs_the_copy_trigger() -> None:  # 07
    simulation = life("copy=c2", "c2:start", "start")
    assert set(files(simulation, "c2")) == {"/etc/co", "/etc/st"}
    assert set(files(simulation)) == {"/etc/cr", "/etc/st"}


def test_a_copy_of_a_snapshot_runs_the_copy_trigger() -> None:  # 09
    simulation = life("start", "snapshot=s0", "copy=c2/s0", "c2:start")
    assert files(simulation, "c2")["/etc/co"] == "trigger=copy name=c2 foo=none"


def test_a_rename_takes_effect_at_the_next_start() -> None:  # 10
    simulation = life("start", "stop", "rename=c9", "start")
    assert files(simulation, "c9")["/etc/re"] == "trigger=rename name=c9 foo=none"


def test_restoring_a_never_started_snapshot_restores_the_create_trigger() -> None:  # 17
    simulation = life("snapshot=s0", "start", "stop", "restore=s0")
    assert files(simulation) == {} and simulation.find("c1").life.pending == "create"


def test_restoring_a_running_instance_starts_it_again() -> None:
    simulation = life("snapshot=s0", "start", "restore=s0")
    assert set(files(simulation)) == {"/etc/cr", "/etc/st"} and simulation.find("c1").life.running


def test_restoring_a_snapshot_removes_a_pending_rename_trigger() -> None:  # 184
    assert life("start", "stop", "snapshot=s0", "rename=c2", "restore=s0").find("c2").life.pending == ""


def test_a_backup_imported_under_a_new_name_has_no_pending_trigger() -> None:  # 20
    simulation = life("start", "stop", "export=c2", "c2:start")
    assert files(simulation, "c2") == files(simulation) | {"/etc/st": "trigger=start name=c2 foo=none"}


def test_an_instance_of_a_published_image_has_a_pending_create_trigger() -> None:  # 19
    simulation = life("start", "stop", "publish=c2", "c2:start")
    assert files(simulation, "c2")["/etc/cr"] == "trigger=create name=c2 foo=none"


def test_rebuilding_takes_the_root_filesystem_from_the_image() -> None:  # 18
    simulation = life("start", "stop", "c:user.foo=v2", "rebuild", "start")
    assert files(simulation)["/etc/cr"].endswith("foo=v2")


def test_a_reboot_runs_only_the_start_trigger() -> None:  # 22
    assert files(life("start", "c:user.foo=after", "reboot"))["/etc/st"].endswith("foo=after")


def test_a_reboot_runs_a_pending_trigger_that_the_user_set() -> None:
    simulation = life("start", "c:volatile.apply_template=copy", "reboot")
    assert "/etc/co" in files(simulation) and simulation.find("c1").life.pending == ""


def test_an_ephemeral_instance_is_deleted_when_it_stops() -> None:
    simulation = Simulation(RenderOptions(INCUS))
    simulation.create(Instance("c1", ephemeral=True), MemoryFolder(Paper(), rootfs()))
    steps = ("start", "restart", "reboot", "copy=c2", "stop", "start")
    reports = [run_step(simulation, parse_step(step)) for step in steps]
    assert [report.error for report in reports[:5]] == [None] * 5
    assert reports[4].note == "c1: stop: nothing is rendered; the ephemeral instance is deleted"
    assert "unknown instance 'c1'" in str(reports[5].error)
    assert not simulation.find("c2").instance.ephemeral


def test_an_ephemeral_instance_is_deleted_after_a_failed_start() -> None:
    simulation = Simulation(RenderOptions(INCUS))
    simulation.create(Instance("c1", ephemeral=True), MemoryFolder(Paper(template="{{ x|nope }}"), rootfs()))
    report = run_step(simulation, parse_step("start"))
    assert report.note.startswith("c1: start fails (the ephemeral instance is deleted): ")
    assert not simulation.subjects


def test_image_published_from_a_snapshot_has_its_files() -> None:
    simulation = life("snapshot=s0", "start", "publish=c2/s0", "c2:start")
    assert set(files(simulation, "c2")) == {"/etc/cr", "/etc/st"}
    assert files(life("start", "snapshot=s0", "publish=c2/s0"), "c2") != {}


def test_a_published_image_contains_no_instance_configuration() -> None:
    simulation = life("c:user.foo=bar", "start", "stop", "publish=c2", "c2:start")
    assert files(simulation, "c2")["/etc/cr"] == "trigger=create name=c2 foo=none"


@pytest.mark.parametrize(
    ("host", "steps", "state", "ready"),
    [
        (INCUS, [], None, None), (INCUS, ["start"], "RUNNING", None), (INCUS, ["start", "stop"], "STOPPED", "false"),
        (INCUS, ["start", "reboot"], "RUNNING", None), (LXD_DEBIAN, ["start"], "RUNNING", None),
        (LXD_DEBIAN, ["start", "stop"], "STOPPED", None), (NONE, ["start", "stop"], None, None),
    ],
)  # fmt: skip
def test_a_simulated_daemon_records_the_last_power_state_of_an_instance(
    host: Host, steps: list[str], state: str | None, ready: str | None
) -> None:
    config = life(*steps, host=host).find("c1").instance.config
    assert (config.get("volatile.last_state.power"), config.get("volatile.last_state.ready")) == (
        state,
        ready,
    )


def test_a_copy_has_no_last_power_state() -> None:
    simulation = life("c:volatile.last_state.power=RUNNING", "c:user.foo=bar", "copy=c2")
    config = simulation.find("c2").instance.config
    assert "volatile.last_state.power" not in config and config["user.foo"] == "bar"


@pytest.mark.parametrize(
    ("step", "note"),
    [
        ("copy=c2", "c2: copy: nothing is rendered; the next start runs the copy trigger"),
        ("rename=c2", "c2: rename: nothing is rendered; the next start runs the rename trigger"),
        ("export=c2", "c2: export: nothing is rendered"),
        ("publish=c2", "c2: publish: nothing is rendered; the next start runs the create trigger"),
        ("snapshot=s0", "c1: snapshot: nothing is rendered"),
    ],
)
def test_note_of_a_step_contains_name_of_new_instance(step: str, note: str) -> None:
    simulation = life("start", "stop")
    report = run_step(simulation, parse_step(step))
    assert report.note == note


def test_the_report_of_a_rename_step_contains_the_new_instance_name() -> None:
    report = run_step(life("copy=c2"), parse_step("c2:rename=c9"))
    assert (report.name, report.pending) == ("c9", "copy")


def test_refreshing_a_copy_adds_no_pending_trigger() -> None:  # 170
    simulation = life("copy=c2", "c2:start", "c2:stop")
    simulation.copy("c1", "c2", refresh=True)
    assert simulation.find("c2").life.pending == "" and files(simulation, "c2") == {}
    simulation.set("c1", "user.foo", "new")
    simulation.copy("c1", "c2", refresh=True)
    assert simulation.find("c2").instance.config["user.foo"] == "new"
    simulation.copy("c1", "c3", refresh=True)
    assert simulation.find("c3").life.pending == ""


def test_image_properties_and_the_pending_trigger_are_configuration_keys() -> None:
    image = Paper(
        FOUR, "{{ config_get('image.os', '') }} {{ config_get('volatile.apply_template', 'NONE') }}"
    )
    assert files(life("start", image=image)) == {"/etc/cr": "tiny create", "/etc/st": "tiny create"}


def test_setting_a_key_to_an_empty_value_removes_the_key() -> None:
    assert files(life("c:user.foo=x", "c:user.foo=", "start"))["/etc/cr"].endswith("foo=none")


TWO_PASSES = (
    "templates:\n  /etc/a: {when: [create], template: a.tpl}\n  /etc/b: {when: [start], template: no.tpl}\n"
)


def test_failed_start_on_host_none_keeps_the_pending_trigger() -> None:
    simulation = life(image=Paper(TWO_PASSES), host=NONE)
    report = run_step(simulation, parse_step("start"))
    assert report.error is not None and "'no.tpl' does not exist" in str(report.error)
    assert report.plan is not None and len(report.plan.failed) == 1
    assert files(simulation) == {} and report.pending == "create"


def test_create_trigger_is_not_repeated_after_failed_start_trigger() -> None:  # 24
    simulation = life(image=Paper(TWO_PASSES), host=INCUS_DEBIAN)
    report = run_step(simulation, parse_step("start"))
    assert report.error is not None and report.pending == ""
    assert files(simulation) == {"/etc/a": "trigger=create name=c1 foo=none"}
    assert [change.path for change in report.changes] == ["/etc/a"]
    assert any("if one rule fails, no file is written" in remark for remark in report.started.remarks)


@pytest.mark.parametrize(
    ("host", "in_create", "pending"),
    [
        (INCUS_DEBIAN, False, ""), (INCUS_DEBIAN, True, "create"), (LXD_DEBIAN, False, ""),
        (INCUS, False, "create"), (INCUS, True, "create"), (NONE, False, "create"),
    ],
)  # fmt: skip
def test_failed_start_of_virtual_machine_keeps_an_uncleared_trigger(host, in_create, pending):
    simulation = Simulation(RenderOptions(host))
    rules = TWO_PASSES.replace("a.tpl", "no.tpl") if in_create else TWO_PASSES
    simulation.create(Instance("c1", VIRTUAL_MACHINE), MemoryFolder(Paper(rules), rootfs()))
    report = run_step(simulation, parse_step("start"))
    assert report.error is not None and report.pending == pending and files(simulation) == {}


def test_trigger_stays_pending_after_a_failure_before_first_rule():
    plan = SimpleNamespace(host_error="too large", changes=())
    assert failed_pass(plan) == "" == failed_pass(SimpleNamespace(host_error="", changes=()))


def test_files_of_failed_pass_are_unknown_until_written_again() -> None:  # 118
    rules = (
        "templates:\n  /etc/good: {when: [start], template: a.tpl}\n"
        "  /etc/once: {when: [start], template: a.tpl, create_only: true}\n"
        "  /etc/bad: {when: [start], template: b.tpl}\n"
    )
    image = Paper(rules)
    image.others["b.tpl"] = TemplateFile(Entry(FILE), b"{{ config_get('user.n', 'x')|slice:'1'|nope }}")
    simulation = life(image=image, host=INCUS_DEBIAN)
    first = run_step(simulation, parse_step("start"))
    assert set(first.started.unknown) == {"/etc/good", "/etc/once"}
    assert first.note.startswith("c1: start fails: ")
    # the failing rule is the only one, so its target is certainly empty
    assert files(simulation) == {"/etc/bad": ""}
    assert "/etc/bad: left empty by incus-debian" in first.started.remarks
    image.others["b.tpl"] = TemplateFile(Entry(FILE), b"ok")
    second = run_step(simulation, parse_step("start"))
    assert second.error is None
    assert [change.path for change in second.changes] == ["/etc/good", "/etc/bad"]
    assert set(second.started.unknown) == {"/etc/once"}
    assert second.note == "c1: start: writes 2 files; 1 unknown"


def test_a_simulated_start_fails_if_the_host_refuses_absolute_links() -> None:  # 88
    rules = "templates:\n  /var/run/a: {when: [start], template: a.tpl}\n"
    tree = {
        "/var": Entry(DIRECTORY, 0o755),
        "/run": Entry(DIRECTORY, 0o755),
        "/var/run": Entry(SYMLINK, target="/run"),
    }
    for host, fails in ((INCUS_DEBIAN, True), (NONE, False)):
        steps = [parse_step("start")]
        (report,) = simulate(
            Paper(rules), Instance("c1"), steps, RenderOptions(host), rootfs=MemoryRootfs(tree)
        )
        assert (report.error is not None) == fails
        assert len(report.changes) == (not fails)
    assert report.note == "c1: create then start: writes 1 file"


def test_a_simulated_start_on_lxd_ignores_the_owner_of_a_rule() -> None:  # 42
    rules = "templates:\n  /etc/a: {when: [start], template: a.tpl, uid: 7, mode: '0600'}\n"
    (change,) = life_report(Paper(rules), LXD_DEBIAN, "start").changes
    assert (change.uid, change.mode) == (0, 0o644)
    (change,) = life_report(Paper(rules), INCUS_DEBIAN, "start").changes
    assert (change.uid, change.mode) == (7, 0o600)


def test_a_remark_about_a_deviation_mentions_each_file_only_once() -> None:
    fields = "{when: [create, start], template: a.tpl, uid: 5}"
    report = life_report(Paper(f"templates:\n  /etc/a: {fields}\n  /etc/b: {fields}\n"), LXD_DEBIAN, "start")
    assert report.started is not None
    (remark,) = report.started.remarks
    assert remark.startswith("/etc/a, /etc/b: templater differs (uid, gid and mode are used): ")


def test_file_is_unknown_if_randomly_ordered_rules_write_it() -> None:
    paths = ("/etc/a", "/etc/./a", "/etc/b", "/etc/x/../b", "/etc/c")
    rules = "templates:\n" + "".join(f"  {path}: {{when: [start], template: a.tpl}}\n" for path in paths)
    simulation = life(image=Paper(rules))
    simulation.find("c1").folder.rootfs.mkdir("/etc/x", 0o755, 0, 0)
    report = run_step(simulation, parse_step("start"))
    assert report.started is not None
    reason = "two rules write this file, in random order"
    assert report.started.unknown == {"/etc/a": reason, "/etc/b": reason}
    assert report.note == "c1: create then start: writes 1 file; 2 unknown"
    assert list(files(simulation)) == ["/etc/c"]


def life_report(image: "Paper", host: Host, *steps: str) -> Report:
    simulation = Simulation(RenderOptions(host))
    simulation.create(Instance("c1"), MemoryFolder(image, rootfs()))
    return [run_step(simulation, parse_step(step)) for step in steps][-1]


def test_new_instance_keeps_a_pending_trigger_from_its_configuration() -> None:  # observed on Incus 6.0.4
    simulation = Simulation(RenderOptions(INCUS_DEBIAN))
    instance = Instance("c1", config={"volatile.apply_template": "copy"})
    simulation.create(instance, MemoryFolder(Paper(), rootfs()))
    simulation.start("c1")
    assert set(files(simulation)) == {"/etc/co", "/etc/st"}


def image_keys(simulation: Simulation) -> dict[str, str]:
    config = simulation.find("c1").instance.config
    return {key: value for key, value in config.items() if key.startswith("image.")}


def test_image_properties_replace_existing_keys_only_when_the_instance_is_created() -> None:  # n10, n61
    simulation = Simulation(RenderOptions(INCUS_DEBIAN))
    simulation.create(
        Instance("c1", config={"image.os": "mine", "image.own": "z"}), MemoryFolder(Paper(), rootfs())
    )
    assert image_keys(simulation) == {"image.os": "tiny", "image.own": "z"}
    simulation.set("c1", "image.os", "later")
    simulation.start("c1")
    assert image_keys(simulation) == {"image.os": "later", "image.own": "z"}
    simulation.set("c1", "image.os", "")
    assert image_keys(simulation) == {"image.own": "z"}


def test_a_rebuild_resets_the_image_keys() -> None:  # observed on Incus 6.0.4
    simulation = life("c:image.os=later", "c:image.own=z", "rebuild")
    assert image_keys(simulation) == {"image.os": "tiny"}


def test_a_rebuild_can_use_another_image() -> None:
    other = Paper(template="other {{ trigger }}")
    simulation = Simulation(
        RenderOptions(INCUS_DEBIAN), open_folder=lambda path: MemoryFolder(other, rootfs())
    )
    simulation.create(Instance("c1"), MemoryFolder(Paper(), rootfs()))
    for step in ("start", "stop", "rebuild=other.tar", "start"):
        assert run_step(simulation, parse_step(step)).error is None
    assert files(simulation) == {"/etc/cr": "other create", "/etc/st": "other start"}


def test_properties_in_a_publish_step_belong_to_the_new_image() -> None:  # n31
    simulation = life("publish=c2,role=web")
    config = simulation.find("c2").instance.config
    assert (config["image.os"], config["image.role"]) == ("tiny", "web")
    assert "image.os" not in life("publish=c2,role=web", host=LXD_DEBIAN).find("c2").instance.config


@pytest.mark.parametrize(
    ("before", "step", "pending"),
    [
        ((), "move=c1,pool=p2", "create"),
        (("start", "stop"), "move=c1,pool=p2", "copy"),
        (("start", "stop", "c:volatile.apply_template=rename"), "move=c1,project=lab", "rename"),
        (("start", "stop"), "move=c2,pool=p2", "rename"),
        (("start", "stop"), "move=c2", "rename"),
        ((), "move=c2,project=lab", "create"),
    ],
)
def test_only_a_new_name_makes_the_rename_trigger_pending(before, step, pending) -> None:
    report = run_step(life(*before), parse_step(step))  # n19, n21, n23, n57, and observed on Incus 6.0.4
    assert (report.error, report.pending) == (None, pending)


def test_a_move_to_another_pool_changes_the_root_device() -> None:
    simulation = life("move=c1,pool=p2")
    assert simulation.find("c1").instance.devices == {"root": {"type": "disk", "path": "/", "pool": "p2"}}
    simulation = life("d:root,type=disk", "d:root,size=1GiB", "d:eth0,type=nic", "move=c2,pool=p3")
    assert simulation.find("c2").instance.devices == {
        "root": {"type": "disk", "path": "/", "size": "1GiB", "pool": "p3"}, "eth0": {"type": "nic"},
    }  # fmt: skip


def test_device_and_profile_changes_take_effect_at_the_next_start() -> None:
    profiles = {"a.yaml": Profile("a", {"user.foo": "a"}), "b.yaml": Profile("b", {"user.foo": "b"})}
    simulation = Simulation(RenderOptions(INCUS_DEBIAN), read_profile=profiles.__getitem__)
    image = Paper(template="{{ config_get('user.foo', '-') }} {{ devices.eth0.mtu }}")
    simulation.create(Instance("c1"), MemoryFolder(image, rootfs()))
    steps = (
        "p:a.yaml",
        "d:eth0,type=nic",
        "d:eth0,mtu=1400",
        "start",
        "p:b.yaml",
        "restart",
        "p:b=",
        "d:eth0=",
        "restart",
    )
    told = []
    for step in steps:
        report = run_step(simulation, parse_step(step))
        assert report.error is None, report.error
        told += [files(simulation)["/etc/st"]] if report.started else []
    assert told == ["a 1400", "b 1400", "a "]
    assert run_step(simulation, parse_step("p:b=")).error is not None


def test_a_step_note_has_the_profile_name_without_the_file_name() -> None:
    simulation = Simulation(RenderOptions(INCUS_DEBIAN), read_profile=lambda file: Profile("web"))
    simulation.create(Instance("c1"), MemoryFolder(Paper(), rootfs()))
    notes = [run_step(simulation, parse_step(step)).note for step in ("p:prof.yaml", "p:web=")]
    assert [note.split(":")[1] for note in notes] == [" profile web is added", " profile web is removed"]


def test_a_simulation_can_start_with_an_existing_instance() -> None:
    instance = Instance("c1", config={"volatile.apply_template": "copy", "image.os": "old"})
    steps = [parse_step("start")]
    options = RenderOptions(INCUS_DEBIAN)
    (report,) = simulate(Paper(), instance, steps, options, rootfs=rootfs(), pending="copy")
    assert report.plan is not None and report.plan.triggers == ("copy", "start")
    assert report.plan.instance.config["image.os"] == "old"  # it keeps the keys of its description
    (report,) = simulate(Paper(), instance, steps, options, rootfs=rootfs(), pending="", running=True)
    assert "is already running" in str(report.error)


def test_rebuilding_an_existing_instance_requires_an_image() -> None:
    reports = simulate(
        Paper(), Instance("c1"), [parse_step("rebuild")], RenderOptions(INCUS_DEBIAN), pending=""
    )
    assert "is unknown" in str(reports[0].error)


def test_an_existing_instance_cannot_be_created_in_a_simulation() -> None:
    reports = simulate(
        Paper(), Instance("c1"), [parse_step("create")], RenderOptions(INCUS_DEBIAN), pending=""
    )
    assert "only the first step can be 'create'" in str(reports[0].error)


def test_an_instance_with_snapshots_cannot_be_rebuilt() -> None:  # observed on Incus 6.0.4
    assert "can't rebuild" in str(run_step(life("snapshot=s0"), parse_step("rebuild")).error)


def test_templates_read_the_ephemeral_field_as_false_after_a_restart() -> None:  # n49
    simulation = Simulation(RenderOptions(INCUS_DEBIAN))
    simulation.create(
        Instance("c1", ephemeral=True), MemoryFolder(Paper(template="{{ instance.ephemeral }}"), rootfs())
    )
    simulation.start("c1")
    assert files(simulation)["/etc/st"] == "true"
    simulation.restart("c1")
    assert files(simulation)["/etc/st"] == "false" and simulation.find("c1").instance.ephemeral


def test_a_template_reads_the_power_state_from_before_the_start() -> None:  # n53
    simulation = life(image=Paper(template="{{ config_get('volatile.last_state.power', 'never') }}"))
    told = []
    for step in ("start", "stop", "start"):
        run_step(simulation, parse_step(step))
        told.append(files(simulation)["/etc/st"])
    assert told == ["never", "never", "STOPPED"]


def test_a_copy_does_not_keep_the_hardware_address_of_the_original() -> None:  # n51
    config = life("c:volatile.eth0.hwaddr=00:16:3e:aa:bb:cc", "copy=c2").find("c2").instance.config
    assert "volatile.eth0.hwaddr" not in config


@pytest.mark.parametrize("name", ["web_1", "web.1", "-web", "web-", "12", "w" * 64, "wéb"])
def test_an_invalid_instance_name_is_refused(name: str) -> None:  # observed on Incus 6.0.4
    assert "invalid instance name" in str(run_step(life(), parse_step(f"copy={name}")).error)
    assert run_step(life(host=NONE), parse_step(f"copy={name}")).error is None


def test_a_step_report_says_which_files_changed_and_why() -> None:
    first, second = simulate(
        Paper(),
        Instance("c1"),
        [parse_step("start"), parse_step("restart")],
        RenderOptions(INCUS),
        rootfs=rootfs(),
    )
    assert [(change.path, change.action, change.trigger) for change in first.changes] == [
        ("/etc/cr", CREATE, "create"),
        ("/etc/st", CREATE, "start"),
    ]
    assert second.changes == () and second.note == "c1: start: writes nothing"


def test_a_changed_key_changes_the_file_at_the_next_start() -> None:
    *_, last = simulate(
        Paper(),
        Instance("c1"),
        [parse_step(step) for step in ("start", "c:user.foo=b", "restart")],
        RenderOptions(INCUS),
        rootfs=rootfs(),
    )
    assert [(change.path, change.action) for change in last.changes] == [("/etc/st", UPDATE)]


def test_the_agent_writes_the_output_of_every_rule_regardless_of_triggers() -> None:
    simulation = Simulation(RenderOptions(INCUS))
    simulation.create(Instance("v1", VIRTUAL_MACHINE), MemoryFolder(Paper(), rootfs()))
    simulation.start("v1")
    assert set(files(simulation, "v1")) == {"/etc/cr", "/etc/co", "/etc/re", "/etc/st"}


@pytest.mark.parametrize(
    ("text", "verb", "argument", "name"),
    [
        ("start", "start", "", ""),
        ("c2:start", "start", "", "c2"),
        ("copy=c2", "copy", "c2", ""),
        ("c2:rename=c9", "rename", "c9", "c2"),
        ("c:user.foo=bar", "c", "user.foo=bar", ""),
        ("c2:c:user.foo=a=b:c", "c", "user.foo=a=b:c", "c2"),
        ("c:user.foo=", "c", "user.foo=", ""),
        ("c:start", "start", "", "c"),
    ],
)
def test_step_is_parsed_to_verb_and_argument_and_name(text: str, verb: str, argument: str, name: str) -> None:
    step = parse_step(text)
    assert (step.verb, step.argument, step.name) == (verb, argument, name)


STEPS = (
    "known steps: create, start, stop, restart, reboot, copy=NAME, rename=NAME, move=NAME, rebuild, rebuild=IMAGE,"
    " snapshot=NAME, restore=NAME, publish=NAME, export=NAME, c:KEY=VALUE, d:DEVICE,KEY=VALUE, p:FILE;"
    " to apply a step to another instance, write 'NAME:' before it"
)
DEVICE = "d:DEVICE,KEY=VALUE sets a key of a device, d:DEVICE= removes the device"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        *(
            (text, f"unknown step '{text}'", STEPS)
            for text in ("", "begin", "a:b:start", "c", "=", "c2:", "c:foo=1", "c:user.foo", "c2:c:", "c2:d:")
        ),
        ("copy", "step 'copy' needs a name", "write a name, for example copy=c2"),
        ("start=now", "step 'start=now': 'start' takes no argument", ""),
        ("d", "step 'd' needs a device and a key", DEVICE),
        ("d:", "step 'd:' needs a device and a key", DEVICE),
    ],
)
def test_an_invalid_simulation_step_is_a_usage_error(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_step(text)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (["start", "start"], "already running"),
        (["start", "rename=c2"], "can't be renamed"),
        (["c3:start"], "unknown instance 'c3'"),
        (["copy=c1"], "instance 'c1' already"),
        (["restore=s"], "unknown snapshot 's'"),
        (["stop"], "can't be stopped"),
        (["restart"], "can't be stopped"),
        (["reboot"], "'c1' is not running"),
        (["start", "publish=c2"], "can't be published"),
        (["publish=c2/s0"], "unknown snapshot 's0'"),
        (["rename=c2/s0"], "invalid instance name 'c2/s0'"),
        (["copy=../s0"], "invalid instance name '..'"),
        (["start", "create"], "only the first step"),
    ],
)
def test_an_impossible_simulation_step_is_reported_and_changes_nothing(steps: list[str], says: str) -> None:
    *before, last = steps
    simulation = life(*before)
    seen = files(simulation)
    report = run_step(simulation, parse_step(last))
    assert says in str(report.error) and files(simulation) == seen


def test_the_create_step_is_allowed_as_the_first_step() -> None:
    assert files(life("create", "start")) == files(life("start"))


def test_no_instance_is_created_if_the_simulated_release_rejects_template_links() -> None:  # 67
    link = Paper(entry=Entry(SYMLINK, target="b.tpl"))
    said = r"^incus-debian refuses to create the instance: template 'a.tpl' is not a regular file$"
    with pytest.raises(HostError, match=said):
        life(image=link, host=INCUS_DEBIAN)
    life(image=link, host=LXD_DEBIAN)


@pytest.mark.parametrize(
    ("head", "says", "place"),
    [
        ("creation_date: 1\n", "Architecture isn't supported: ", ""),
        ("architecture: foo\ncreation_date: 1\n", "Architecture isn't supported: foo", "metadata.yaml:1:15"),
        ("architecture: x86_64\n", "Missing creation date", ""),
        ("architecture: x86_64\ncreation_date: 0\n", "Missing creation date", "metadata.yaml:2:16"),
    ],
)
def test_the_error_says_why_the_daemon_does_not_import_the_image(
    head: str, says: str, place: str
) -> None:  # 156, 157, 158
    image = Paper()
    image.source = Source("metadata.yaml", head + FOUR)
    with pytest.raises(HostError) as caught:
        check_image(metadata_of(MemoryFolder(image), INCUS), INCUS)
    assert says in str(caught.value)
    assert (caught.value.span.place if caught.value.span else "") == place


@pytest.mark.parametrize(
    ("steps", "wrong", "message", "hint"),
    [
        (["start"], "start", "'c1' is already running", "use restart, or stop the instance first"),
        ([], "move=c1", "the instance is already named 'c1'", "set a new name, or set pool= or project="),
        (["start"], "move=c1,pool=p", "a running instance can't be moved", "stop the instance first"),
        (["start"], "rename=c2", "a running instance can't be renamed", "stop the instance first"),
        (["start"], "rebuild", "a running instance can't be rebuilt", "stop the instance first"),
        (["start"], "publish=c2", "a running instance can't be published", "stop the instance first"),
        (["snapshot=s"], "rebuild", "Incus can't rebuild an instance with snapshots", ""),
        ([], "stop", "a stopped instance can't be stopped", ""),
        ([], "create", "only the first step can be 'create'", "use copy=NAME to create another instance"),
        ([], "rebuild=img", "can't open image 'img': the argument open_folder is missing", ""),
        ([], "p:web.yaml", "can't read profile 'web.yaml': the argument read_profile is missing", ""),
        ([], "p:web=", "'c1' has no profile 'web'", ""),
        ([], "d:eth0=", "'c1' has no local device 'eth0'", ""),
        ([], "d:eth0,mtu=9", "device 'eth0' has no type", "set the type first, for example d:eth0,type=nic"),
        ([], "copy=c1", "instance 'c1' already exists", ""),
    ],
)
def test_a_refused_step_gives_a_message_and_a_hint(
    steps: list[str], wrong: str, message: str, hint: str
) -> None:
    simulation = life(*steps)
    simulation.taken = 2
    with pytest.raises(UsageError) as caught:
        error = run_step(simulation, parse_step(wrong)).error
        assert error is not None
        raise error
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_rebuilding_an_instance_with_an_unknown_image_requires_an_image_argument() -> None:
    simulation = life()
    simulation.find("c1").origin = None
    with pytest.raises(UsageError) as caught:
        simulation.rebuild("c1")
    assert caught.value.message == "the image of 'c1' is unknown"
    assert caught.value.hint == "pass an image with rebuild=IMAGE"


def test_a_copy_keeps_only_two_of_the_volatile_keys() -> None:
    simulation = Simulation(RenderOptions(INCUS))
    keys = ("volatile.base_image", "volatile.last_state.idmap", "volatile.eth0.hwaddr", "user.a")
    simulation.create(Instance("c1", config=dict.fromkeys(keys, "x")), MemoryFolder(Paper(), rootfs()))
    run_step(simulation, parse_step("copy=c2"))
    config = simulation.find("c2").instance.config
    assert {key: value for key, value in config.items() if key in keys} == dict.fromkeys(
        ("volatile.base_image", "volatile.last_state.idmap", "user.a"), "x"
    )


def test_an_image_cannot_be_imported_if_the_daemon_refuses_it() -> None:
    for text, message in (
        (
            "architecture: x\ncreation_date: 1\n",
            "incus refuses to import the image: Architecture isn't supported: x",
        ),
        ("architecture: x86_64\n", "incus refuses to import the image: Missing creation date"),
    ):
        image = Paper()
        image.source = Source("img/metadata.yaml", text)
        with pytest.raises(HostError) as caught:
            check_image(metadata_of(MemoryFolder(image, rootfs()), INCUS), INCUS)
        assert caught.value.message == message


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("move=c2,pool", "step 'move=c2,pool': unknown option 'pool'"),
        ("move=c2,place=x", "step 'move=c2,place=x': unknown option 'place=x'"),
        ("publish=a,b", "step 'publish=a,b': unknown option 'b'"),
    ],
)
def test_an_unknown_option_of_a_step_is_refused(step, message):
    with pytest.raises(UsageError) as caught:
        parse_step(step)
    assert caught.value.message == message and caught.value.hint


def test_the_options_of_a_step_are_parsed():
    assert parse_step("move=c2,pool=a,project=b").options == {"pool": "a", "project": "b"}


def test_the_name_of_a_new_snapshot_must_be_unused():
    life = Life("copy").snapshotted("s")
    assert life.snapshots == {"s": "copy"} and life != Life("copy") and life != "copy"
    with pytest.raises(UsageError, match=r"^snapshot 's' already exists$"):
        life.snapshotted("s")


@pytest.mark.parametrize(
    ("text", "verb", "argument", "name"),
    [
        ("d:start", "start", "", "d"),
        ("p:start", "start", "", "p"),
        ("p:start=", "p", "start=", ""),
        ("p:web.yaml", "p", "web.yaml", ""),
        ("c2:p:start", "p", "start", "c2"),
        ("c2:p:a:b", "p", "a:b", "c2"),
        ("d:eth0,mtu=9", "d", "eth0,mtu=9", ""),
        ("c2:d:eth0=", "d", "eth0=", "c2"),
        ("c:a.b==", "c", "a.b==", ""),
        ("c:user.a=@f", "c", "user.a=@f", ""),
        ("rebuild=", "rebuild", "", ""),
    ],
)
def test_an_instance_can_be_named_like_a_verb(text, verb, argument, name):
    step = parse_step(text)
    assert (step.text, step.verb, step.argument, step.name) == (text, verb, argument, name)


def test_a_key_can_be_set_to_the_content_of_a_file():
    read = {"f": "one=two\n", "": "none"}.__getitem__
    for text, argument in (
        ("c2:c:user.a=@f", "user.a=one=two\n"), ("c:user.a=@", "user.a=none"), ("c:user.a=x@f", "user.a=x@f"),
        ("d:eth0,mtu=@f", "eth0,mtu=@f"), ("p:@f", "@f"),
    ):  # fmt: skip
        assert parse_step(text, read).argument == argument


@pytest.mark.parametrize("text", ["d:eth0,mtu", "d:,mtu=1", "d:eth0=x", "d:=", "c2:d:eth0"])
def test_device_step_without_device_and_key_is_refused(text):
    with pytest.raises(UsageError, match=rf"^step '{text}' needs a device and a key$"):
        parse_step(text)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("copy=c2/s0", "c2"),
        ("publish=c2/s0", "c2"),
        ("copy=c2", "c2"),
        ("rename=c2/s0", "c2/s0"),
        ("export=c2", "c2"),
    ],
)
def test_part_before_slash_is_name_of_new_instance(text, made):
    assert parse_step(text).made == made


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("c:user.a=1", "user.a is set"), ("c:user.a=", "user.a is unset"), ("d:eth0,type=nic", "eth0 type is set"),
        ("d:root,size=", "root size is unset"), ("d:root=", "root is removed"), ("snapshot=s0", "snapshot"),
    ],
)  # fmt: skip
def test_the_note_of_a_step_describes_the_change(step, said):
    report = run_step(life("d:root,type=disk", "d:root,size=1GiB"), parse_step(step))
    assert report.note == f"c1: {said}: nothing is rendered; the next start runs the create trigger"


def started(*nodes):
    """Write these nodes as the files of a start, and return the files with the remarks."""
    tree = MemoryRootfs({"/etc/old": "before", "/etc/dir": Entry(DIRECTORY, 0o700)})
    rule = Rule("/etc/planned", "a.tpl", ("start",))
    planned = Change(rule, "start", "/etc/planned", CREATE)
    planned.content = b"text"
    found = HostStart(written=dict(nodes))
    remarks = write_host_files(tree, found, Plan(None, Instance("c1"), INCUS, ("start",), (planned,)))
    return (
        {path: (entry.kind, entry.mode, entry.uid, entry.gid) for path, entry in tree.walk()},
        tree,
        list(remarks),
    )


def test_simulated_start_sets_predicted_owners_only_on_new_files():
    files, tree, remarks = started(
        ("/new", Node(DIRECTORY, 0o711, 3, 4)), ("/new/a", Node(FILE, 0o640, 5, 6, content=b"")),
        ("/etc/dir", Node(DIRECTORY, 0o755, 0, 0)), ("/etc/old", Node(FILE, 0o777, 7, 8, content=b"other")),
        ("/etc/planned", Node(FILE, 0o600, 0, 0, content=b"text")), ("/etc/odd", Node(FILE, 0o600, 0, 0)),
    )  # fmt: skip
    assert files == {
        "/etc": (DIRECTORY, 0o755, 0, 0), "/etc/dir": (DIRECTORY, 0o700, 0, 0), "/etc/old": (FILE, 0o644, 0, 0),
        "/etc/planned": (FILE, 0o600, 0, 0), "/new": (DIRECTORY, 0o711, 3, 4), "/new/a": (FILE, 0o640, 5, 6),
    }  # fmt: skip
    assert (tree.read("/etc/old", 9), tree.read("/etc/planned", 9)) == (b"other", b"text")
    assert remarks == ["/new/a: left empty by incus", "/etc/old: written by incus"]


def test_host_errors_include_a_failure_before_the_first_rule():
    rules = [Rule(f"/{number}", "a.tpl", ("start",)) for number in range(4)]
    changes = tuple(Change(rule, "start", rule.path, CREATE) for rule in rules)
    results = (("fails", "text", "said"), ("hangs", "never ends", ""), ("written", "text", "said"))
    outcomes = {change: Outcome(*result) for change, result in zip(changes, results, strict=False)}
    plan = Plan(None, Instance("c1"), INCUS, ("start",), changes, prediction=Prediction(outcomes, "no start"))
    assert [error.message for error in host_errors(plan)] == [
        "incus: no start",
        "incus: said",
        "incus: never ends",
    ]
    assert list(host_errors(Plan(None, Instance("c1"), INCUS, ("start",), changes))) == []


def test_the_start_fails_if_the_host_cannot_read_the_metadata(monkeypatch):
    def refuse(host, metadata, instance):
        raise Fails("too large")

    monkeypatch.setitem(start_on_host.__globals__, "check_metadata", refuse)
    report = run_step(life(), parse_step("start"))
    assert report.error.message == "the start fails on incus: too large"
    assert report.pending == "create" and report.changes == ()


def test_all_files_are_unknown_if_several_rules_fail():
    rules = "templates:\n" + "".join(
        f"  /etc/{name}: {{when: [start], template: {name}.tpl}}\n" for name in ("bad", "good", "odd")
    )
    image = Paper(rules)
    image.others = {
        "bad.tpl": TemplateFile(Entry(FILE), b"{{ 1|nope }}"), "odd.tpl": TemplateFile(Entry(FILE), b"{{ 2|nope }}"),
        "good.tpl": TemplateFile(Entry(FILE), b"text"),
    }  # fmt: skip
    simulation = life(image=image, host=INCUS_DEBIAN)
    report = run_step(simulation, parse_step("start"))
    assert report.error is not None
    assert set(report.started.unknown) == {"/etc/bad", "/etc/good", "/etc/odd"}
    assert set(report.started.unknown.values()) == {
        "the host runs rules in random order and stops at the rule for '/etc/bad'"
    }
    assert files(simulation) == {} and patch_of(report) == ""


def test_the_patch_of_a_step_is_empty_without_a_start():
    assert patch_of(run_step(life(), parse_step("snapshot=s0"))) == ""


ONCE = (
    "templates:\n  /etc/a: {when: [create, copy], template: a.tpl, create_only: true}\n"
    "  /proc/b: {when: [start], template: a.tpl}\n"
)


def test_a_simulation_without_a_root_filesystem_knows_only_its_own_files() -> None:
    guessed: dict[str, None] = {}
    steps = [parse_step(step) for step in ("start", "copy=c2", "c2:start")]
    first, _, copied = simulate(
        Paper(ONCE, "{{ trigger }}"), Instance("c1"), steps, RenderOptions(INCUS), guessed=guessed
    )
    why = "no root filesystem given"
    assert [(change.path, change.action, change.reason) for change in first.changes] == [
        ("/etc/a", WRITE, why),
        ("/proc/b", WRITE, f"{why}; in a running container, a mount usually hides this file"),
    ]
    assert list(guessed) == ["/etc/a"]
    assert copied.plan is not None
    assert [change.action for change in copied.plan.changes] == [SKIP, KEEP]


def test_a_simulation_with_a_root_filesystem_guesses_nothing() -> None:
    guessed: dict[str, None] = {}
    (report,) = simulate(
        Paper(ONCE),
        Instance("c1"),
        [parse_step("start")],
        RenderOptions(INCUS),
        rootfs=rootfs(),
        guessed=guessed,
    )
    assert [change.action for change in report.changes] == [CREATE, CREATE]
    assert not guessed


def test_target_of_failing_rule_may_exist_in_unknown_rootfs() -> None:
    guessed: dict[str, None] = {}
    (report,) = simulate(
        Paper(ONCE, "{{ 1|nosuch }}"),
        Instance("c1"),
        [parse_step("start")],
        RenderOptions(NONE),
        guessed=guessed,
    )
    assert report.error is not None
    assert list(guessed) == ["/etc/a"]


def test_simulated_virtual_machine_has_a_new_config_drive() -> None:
    guessed: dict[str, None] = {}
    steps = [parse_step("start")]
    machine = Instance("v1", VIRTUAL_MACHINE)
    (report,) = simulate(Paper(ONCE), machine, steps, RenderOptions(INCUS), guessed=guessed)
    assert report.plan is not None
    assert [change.action for change in report.plan.changes] == [CREATE, UPDATE], "both have one template"
    assert {change.action for change in report.plan.agent} == {WRITE}
    assert not guessed
