"""The pending trigger over the life of an instance. Numbers are those of the recorded cases."""

import pytest

from templater.model.errors import UsageError
from templater.model.pending_trigger import passes, pending_after
from templater.simulation.simulated_instance import Life, created


def test_a_start_runs_the_pending_trigger_and_then_the_start_trigger() -> None:
    assert passes("create") == ("create", "start")
    assert passes("") == ("start",)


def test_the_create_trigger_is_pending_until_the_first_start() -> None:
    assert created().passes == ("create", "start")
    assert created().started().stopped().passes == ("start",)


def test_create_trigger_stays_pending_after_renaming_a_new_instance() -> None:  # 11
    assert created().renamed().pending == "create"


def test_copy_of_never_started_instance_has_pending_copy_trigger() -> None:  # 07, 185
    assert created().copied().pending == "copy"
    assert created().copied().copied().pending == "copy"


def test_a_rename_keeps_a_pending_copy_trigger() -> None:  # 12
    assert created().started().stopped().copied().renamed().pending == "copy"


def test_after_two_renames_one_rename_trigger_is_pending() -> None:  # 13
    assert created().started().stopped().renamed().renamed().pending == "rename"


def test_a_running_instance_cannot_be_renamed() -> None:  # 14
    with pytest.raises(UsageError, match=r"^a running instance can't be renamed$") as caught:
        created().started().renamed()
    assert caught.value.hint == "stop the instance first"


def test_a_rebuild_makes_the_create_trigger_pending() -> None:  # 18
    assert created().started().stopped().rebuilt().pending == "create"


def test_a_rebuild_keeps_a_pending_rename_or_copy_trigger() -> None:  # observed on Incus 6.0.4
    assert created().started().stopped().renamed().rebuilt().pending == "rename"
    assert created().copied().rebuilt().pending == "copy"


def test_a_stopped_instance_cannot_be_stopped() -> None:
    with pytest.raises(UsageError, match=r"^a stopped instance can't be stopped$"):
        created().stopped()


def test_a_running_instance_can_be_published_only_from_a_snapshot() -> None:
    running = created().started().snapshotted("s0")
    running.published("s0")
    with pytest.raises(UsageError, match=r"^a running instance can't be published$") as caught:
        running.published()
    assert caught.value.hint == "stop the instance first"
    with pytest.raises(UsageError, match=r"^unknown snapshot 'nope'$"):
        running.published("nope")


def test_a_refreshed_copy_has_no_pending_trigger() -> None:  # 170
    assert created().copied().refreshed().pending == ""
    with pytest.raises(UsageError, match=r"^a running instance can't be refreshed$") as caught:
        created().copied().started().refreshed()
    assert caught.value.hint == "stop the instance first"


def test_restoring_a_snapshot_restores_the_pending_trigger() -> None:  # 17, 184
    never_started = created().snapshotted("s0").started().stopped()
    assert never_started.restored("s0").pending == "create"
    started = created().started().stopped().snapshotted("s0").renamed()
    assert started.pending == "rename"
    assert started.restored("s0").pending == ""


def test_a_copy_of_a_snapshot_has_a_pending_copy_trigger() -> None:  # 09
    assert created().started().snapshotted("s0").copied("s0") == Life("copy")


def test_an_unknown_snapshot_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"^unknown snapshot 'nope'$"):
        created().restored("nope")


def test_backup_of_never_started_instance_has_pending_create_trigger() -> None:  # 21
    assert created().exported().pending == "create"
    assert created().started().exported() == Life()


def test_templater_keeps_the_pending_trigger_after_a_failed_start() -> None:
    assert created().start_failed().pending == "create"


def test_failed_start_keeps_trigger_only_if_its_rule_failed() -> None:  # 23, 24
    assert created().start_failed("create").pending == "create"
    assert created().start_failed("start").pending == ""


def test_a_user_can_set_any_text_as_the_pending_trigger() -> None:  # 25
    assert created().started().with_pending("zzz").passes == ("zzz", "start")


@pytest.mark.parametrize(
    ("pending", "trigger", "then"),
    [
        ("", "rename", "rename"),
        ("create", "rename", "create"),
        ("rename", "copy", "copy"),
        ("copy", "create", "create"),
    ],
)
def test_a_new_trigger_replaces_only_a_pending_rename_trigger(pending: str, trigger: str, then: str) -> None:
    assert pending_after(pending, trigger) == then


def test_lifecycle_steps_do_not_modify_the_original_state() -> None:
    life = created()
    life.started(), life.snapshotted("s"), life.copied(), life.renamed()
    assert life == Life("create")
