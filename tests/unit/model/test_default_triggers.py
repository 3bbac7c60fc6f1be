"""The default triggers and the notes about them."""

import pytest

from templater.model.default_triggers import default_triggers, first_start, next_start
from templater.model.instance import Instance

#: the output of `incus config show` for a stopped instance
EXISTING = {"volatile.uuid": "36e685d9-9391-470b-bade-7f1555aab98c", "volatile.last_state.power": "STOPPED"}


def instance(pending: str = "", status: str = "", *, exists: bool = False) -> Instance:
    config = {**(EXISTING if exists else {}), **({"volatile.apply_template": pending} if pending else {})}
    return Instance("web1", config=config, status=status)


@pytest.mark.parametrize("pending", ["copy", "rename", "create"])
def test_the_default_triggers_begin_with_the_pending_trigger_of_the_description(pending):
    found = default_triggers(instance(pending, exists=True), None)
    assert found.passes == (pending, "start")
    assert found.reason == f"'{pending}' is pending in the description"
    assert not found.notes


def test_the_default_triggers_of_a_new_instance_are_create_and_start():
    found = default_triggers(instance(), None)
    assert (found.passes, found.notes) == (("create", "start"), ())
    assert found.reason == "the first start of a new instance"


def test_a_note_says_that_existing_instances_run_only_start():
    found = default_triggers(instance(exists=True), None)
    assert found.passes == ("create", "start")
    assert found.notes == ("the instance already exists: its next start runs only 'start' (see -t next)",)


@pytest.mark.parametrize(
    ("found", "exists"),
    [
        (Instance(), False),
        (Instance(config={"user.a": "b", "volatile.apply_template": "copy"}), False),
        (Instance(config={"volatile.uuid": "x"}), True),
        (Instance(config={"volatile.base_image": ""}), True),
        (Instance(status="Stopped"), True),
        (Instance(recorded=True), True),
    ],
)
def test_an_instance_with_a_daemon_only_value_exists_already(found, exists):
    assert found.exists is exists


@pytest.mark.parametrize("pending", ["", "copy"])
def test_an_existing_instance_runs_the_triggers_of_its_next_start(pending):
    found = default_triggers(instance(exists=True), pending)
    assert found.passes == ((pending, "start") if pending else ("start",))
    waiting = "'copy'" if pending else "no trigger"
    assert found.reason == f"the next start, with {waiting} pending"
    assert not found.notes


def test_a_recorded_trigger_takes_precedence_over_the_description():
    assert next_start(instance("create"), "copy").passes == ("copy", "start")
    assert next_start(instance("create"), "").passes == ("start",)


def test_a_diff_with_an_existing_root_filesystem_shows_the_next_start():
    assert default_triggers(instance(exists=True), None, rootfs_of_instance=True).passes == ("start",)
    assert default_triggers(instance(), None, rootfs_of_instance=True).passes == ("create", "start")


def test_a_note_says_that_no_daemon_sets_the_pending_trigger_of_the_description():
    (note,) = first_start(instance("zzz")).notes
    assert note == "no daemon sets volatile.apply_template to 'zzz': a user has set this key by hand"


def test_a_note_says_that_a_running_instance_has_a_pending_trigger():
    (note,) = first_start(instance("copy", "Running")).notes
    assert note == (
        "the description has the status 'Running' and the pending trigger 'copy', but a start clears this"
        " trigger: a user has set the trigger by hand, or the description mixes older and newer data"
    )
    assert first_start(instance("copy", "Frozen")).notes == (note.replace("Running", "Frozen"),)
    assert not first_start(instance("copy", "Stopped")).notes
