"""Instances on paper: what the daemons were seen to do (LIFECYCLE's numbers), and how a simulation tells it."""

from collections.abc import Iterable, Mapping

import pytest

from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import HostError, UsageError
from templater.model.hosts import INCUS, INCUS_DEBIAN, LXD_DEBIAN, Host
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.options import RenderOptions
from templater.model.plan import CREATE, UPDATE
from templater.model.source import Source
from templater.rootfs.memory import MemoryRootfs
from templater.simulation.simulate import (
    PaperFolder,
    Simulation,
    check_image,
    metadata_of,
    parse_step,
    simulate,
)

HEAD = "architecture: x86_64\ncreation_date: 1\nproperties: {os: tiny}\n"
FACTS = "trigger={{ trigger }} name={{ instance.name }} foo={{ config_get('user.foo', 'none') }}"
#: one file for each trigger
FOUR = "templates:\n" + "".join(
    f"  /etc/{name[:2]}:\n    when: [{name}]\n    template: a.tpl\n"
    for name in ("create", "copy", "rename", "start")
)


class Paper:
    """An image held in memory."""

    name = "img"

    def __init__(self, rules: str = FOUR, template: str = FACTS, entry: "Entry | None" = None) -> None:
        self.source = Source("img/metadata.yaml", HEAD + rules)
        self.file = TemplateFile(entry or Entry(FILE), template.encode())

    def read_metadata(self) -> Source:
        return self.source

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        return {name: self.file if name == "a.tpl" else TemplateFile() for name in names}


def rootfs() -> MemoryRootfs:
    return MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755)})


def life(*steps: str, image: "Paper | None" = None, host: Host = INCUS) -> Simulation:
    """A simulation of c1 after these steps, all of which must go well."""
    simulation = Simulation(RenderOptions(host))
    simulation.create(Instance("c1"), PaperFolder(image or Paper(), rootfs()))
    for step in steps:
        report = simulation.take(parse_step(step))
        assert report.error is None, report.error
    return simulation


def files(simulation: Simulation, name: str = "c1") -> dict[str, str]:
    view = simulation.find(name).folder.rootfs
    assert isinstance(view, MemoryRootfs)
    return {path: view.read(path, 999).decode() for path, entry in view.walk() if entry.kind == FILE}


def test_nothing_is_rendered_before_the_first_start() -> None:
    assert files(life()) == {}


def test_the_first_start_runs_create_and_then_start() -> None:
    assert files(life("start")) == {
        "/etc/cr": "trigger=create name=c1 foo=none",
        "/etc/st": "trigger=start name=c1 foo=none",
    }


def test_configuration_set_before_the_first_start_is_seen() -> None:  # 01
    assert files(life("c:user.foo=bar", "start"))["/etc/cr"].endswith("foo=bar")


def test_a_copy_of_a_never_started_instance_runs_copy() -> None:  # 07
    simulation = life("copy=c2", "c2:start", "start")
    assert set(files(simulation, "c2")) == {"/etc/co", "/etc/st"}
    assert set(files(simulation)) == {"/etc/cr", "/etc/st"}


def test_a_copy_of_a_snapshot_runs_copy() -> None:  # 09
    simulation = life("start", "snapshot=s0", "copy=c2/s0", "c2:start")
    assert files(simulation, "c2")["/etc/co"] == "trigger=copy name=c2 foo=none"


def test_a_rename_waits_for_the_next_start() -> None:  # 10
    simulation = life("start", "stop", "rename=c9", "start")
    assert files(simulation, "c9")["/etc/re"] == "trigger=rename name=c9 foo=none"


def test_restoring_a_snapshot_of_a_never_started_instance_fires_create_again() -> None:  # 17
    simulation = life("snapshot=s0", "start", "stop", "restore=s0")
    assert files(simulation) == {} and simulation.find("c1").life.pending == "create"


def test_restoring_a_running_instance_starts_it_again() -> None:
    simulation = life("snapshot=s0", "start", "restore=s0")
    assert set(files(simulation)) == {"/etc/cr", "/etc/st"} and simulation.find("c1").life.running


def test_restoring_drops_a_pending_rename() -> None:  # 184
    assert life("start", "stop", "snapshot=s0", "rename=c2", "restore=s0").find("c2").life.pending == ""


def test_a_backup_imported_under_a_new_name_owes_nothing() -> None:  # 20
    simulation = life("start", "stop", "export=c2", "c2:start")
    assert files(simulation, "c2") == files(simulation) | {"/etc/st": "trigger=start name=c2 foo=none"}


def test_a_published_image_owes_create() -> None:  # 19
    simulation = life("start", "stop", "publish=c2", "c2:start")
    assert files(simulation, "c2")["/etc/cr"] == "trigger=create name=c2 foo=none"


def test_rebuilding_takes_the_root_filesystem_from_the_image() -> None:  # 18
    simulation = life("start", "stop", "c:user.foo=v2", "rebuild", "start")
    assert files(simulation)["/etc/cr"].endswith("foo=v2")


def test_a_reboot_runs_start_alone() -> None:  # 22
    assert files(life("start", "c:user.foo=after", "reboot"))["/etc/st"].endswith("foo=after")


def test_a_reboot_runs_what_was_set_by_hand_before() -> None:
    simulation = life("start", "c:volatile.apply_template=copy", "reboot")
    assert "/etc/co" in files(simulation) and simulation.find("c1").life.pending == ""


def test_an_ephemeral_instance_is_gone_when_it_stops() -> None:
    simulation = Simulation(RenderOptions(INCUS))
    simulation.create(Instance("c1", ephemeral=True), PaperFolder(Paper(), rootfs()))
    steps = ("start", "restart", "reboot", "copy=c2", "stop", "start")
    reports = [simulation.take(parse_step(step)) for step in steps]
    assert [report.error for report in reports[:5]] == [None] * 5
    assert reports[4].note == "c1: stop: nothing is rendered; it was ephemeral and is gone"
    assert "no instance 'c1'" in str(reports[5].error)
    assert not simulation.find("c2").instance.ephemeral


def test_an_ephemeral_instance_does_not_survive_a_failed_start() -> None:
    simulation = Simulation(RenderOptions(INCUS))
    simulation.create(Instance("c1", ephemeral=True), PaperFolder(Paper(template="{{ x|nope }}"), rootfs()))
    report = simulation.take(parse_step("start"))
    assert report.note.startswith("c1: start fails (it was ephemeral and is gone): ")
    assert not simulation.subjects


def test_a_published_snapshot_is_as_it_was_then() -> None:
    simulation = life("snapshot=s0", "start", "publish=c2/s0", "c2:start")
    assert set(files(simulation, "c2")) == {"/etc/cr", "/etc/st"}
    assert files(life("start", "snapshot=s0", "publish=c2/s0"), "c2") != {}


def test_an_image_holds_no_configuration_of_the_instance() -> None:
    simulation = life("c:user.foo=bar", "start", "stop", "publish=c2", "c2:start")
    assert files(simulation, "c2")["/etc/cr"] == "trigger=create name=c2 foo=none"


def test_a_copy_knows_nothing_of_its_originals_last_start() -> None:
    simulation = life("c:volatile.last_state.power=RUNNING", "c:user.foo=bar", "copy=c2")
    config = simulation.find("c2").instance.config
    assert "volatile.last_state.power" not in config and config["user.foo"] == "bar"


@pytest.mark.parametrize(
    ("step", "note"),
    [
        ("copy=c2", "c2: copy: nothing is rendered; the next start runs copy"),
        ("rename=c2", "c2: rename: nothing is rendered; the next start runs rename"),
        ("export=c2", "c2: export: nothing is rendered"),
        ("publish=c2", "c2: publish: nothing is rendered; the next start runs create"),
        ("snapshot=s0", "c1: snapshot: nothing is rendered"),
    ],
)
def test_a_report_speaks_of_the_instance_that_a_step_made(step: str, note: str) -> None:
    simulation = life("start", "stop")
    report = simulation.take(parse_step(step))
    assert report.note == note


def test_renaming_another_instance_is_reported_of_that_one() -> None:
    report = life("copy=c2").take(parse_step("c2:rename=c9"))
    assert (report.name, report.pending) == ("c9", "copy")


def test_refreshing_a_copy_owes_nothing_new() -> None:  # 170
    simulation = life("copy=c2", "c2:start", "c2:stop")
    simulation.copy("c1", "c2", refresh=True)
    assert simulation.find("c2").life.pending == "" and files(simulation, "c2") == {}
    simulation.set("c1", "user.foo", "new")
    simulation.copy("c1", "c2", refresh=True)
    assert simulation.find("c2").instance.config["user.foo"] == "new"
    simulation.copy("c1", "c3", refresh=True)
    assert simulation.find("c3").life.pending == ""


def test_image_properties_and_the_pending_trigger_are_configuration() -> None:
    image = Paper(
        FOUR, "{{ config_get('image.os', '') }} {{ config_get('volatile.apply_template', 'NONE') }}"
    )
    assert files(life("start", image=image)) == {"/etc/cr": "tiny create", "/etc/st": "tiny create"}


def test_an_empty_value_takes_a_key_away() -> None:
    assert files(life("c:user.foo=x", "c:user.foo=", "start"))["/etc/cr"].endswith("foo=none")


def test_a_failed_start_writes_nothing_and_keeps_what_was_pending() -> None:
    rules = "templates:\n  /etc/a: {when: [create], template: a.tpl}\n  /etc/b: {when: [start], template: no.tpl}\n"
    simulation = life(image=Paper(rules))
    report = simulation.take(parse_step("start"))
    assert report.error is not None and "'no.tpl' does not exist" in str(report.error)
    assert report.plan is not None and len(report.plan.failed) == 1
    assert files(simulation) == {} and report.pending == "create"


def test_a_report_says_which_files_changed_and_why() -> None:
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


def test_a_virtual_machines_agent_applies_every_rule_whose_output_exists() -> None:
    simulation = Simulation(RenderOptions(INCUS))
    simulation.create(Instance("v1", VIRTUAL_MACHINE), PaperFolder(Paper(), rootfs()))
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
def test_a_step_is_a_verb_with_an_argument_and_a_name(text: str, verb: str, argument: str, name: str) -> None:
    step = parse_step(text)
    assert (step.verb, step.argument, step.name) == (verb, argument, name)


@pytest.mark.parametrize("text", ["", "begin", "copy", "start=now", "a:b:start", "c", "=", "c2:"])
def test_what_is_no_step_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        parse_step(text)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (["start", "start"], "running already"),
        (["start", "rename=c2"], "can't be renamed"),
        (["c3:start"], "no instance 'c3'"),
        (["copy=c1"], "instance 'c1' already"),
        (["restore=s"], "no snapshot 's'"),
        (["stop"], "can't be stopped"),
        (["restart"], "can't be stopped"),
        (["reboot"], "'c1' is not running"),
        (["start", "publish=c2"], "can't be published"),
        (["publish=c2/s0"], "no snapshot 's0'"),
        (["rename=c2/s0"], "'c2/s0' is no name of an instance"),
        (["copy=../s0"], "'..' is no name of an instance"),
        (["start", "create"], "only the first step"),
    ],
)
def test_a_step_that_cannot_be_is_reported_and_changes_nothing(steps: list[str], says: str) -> None:
    *before, last = steps
    simulation = life(*before)
    seen = files(simulation)
    report = simulation.take(parse_step(last))
    assert says in str(report.error) and files(simulation) == seen


def test_create_may_be_said_first() -> None:
    assert files(life("create", "start")) == files(life("start"))


def test_releases_that_look_for_links_make_no_instance() -> None:  # 67
    link = Paper(entry=Entry(SYMLINK, target="b.tpl"))
    with pytest.raises(HostError, match=r"'a.tpl' is no plain file"):
        life(image=link, host=INCUS_DEBIAN)
    life(image=link, host=LXD_DEBIAN)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("creation_date: 1\n", "Architecture isn't supported: "),
        ("architecture: foo\ncreation_date: 1\n", "Architecture isn't supported: foo"),
        ("architecture: x86_64\n", "Missing creation date"),
    ],
)
def test_what_the_daemons_do_not_import_is_told(head: str, says: str) -> None:  # 156, 157, 158
    image = Paper()
    image.source = Source("metadata.yaml", head + FOUR)
    with pytest.raises(HostError) as caught:
        check_image(metadata_of(PaperFolder(image), INCUS), INCUS)
    assert says in str(caught.value)
