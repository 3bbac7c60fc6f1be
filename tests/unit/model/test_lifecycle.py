"""The pending trigger over an instance's life. Numbers are those of the observed cases."""

import pytest

from templater.model.errors import UsageError
from templater.model.lifecycle import Life, created, passes, pending_after


def test_a_start_runs_the_pending_trigger_and_then_start() -> None:
    assert passes("create") == ("create", "start")
    assert passes("") == ("start",)


def test_a_new_instance_owes_create_until_it_has_started() -> None:
    assert created().passes == ("create", "start")
    assert created().started().stopped().passes == ("start",)


def test_a_rename_before_the_first_start_stays_create() -> None:  # 11
    assert created().renamed().pending == "create"


def test_a_copy_owes_copy_even_of_a_never_started_instance() -> None:  # 07, 185
    assert created().copied().pending == "copy"
    assert created().copied().copied().pending == "copy"


def test_copy_then_rename_stays_copy() -> None:  # 12
    assert created().started().stopped().copied().renamed().pending == "copy"


def test_renamed_twice_owes_rename_once() -> None:  # 13
    assert created().started().stopped().renamed().renamed().pending == "rename"


def test_a_running_instance_is_not_renamed() -> None:  # 14
    with pytest.raises(UsageError, match="running"):
        created().started().renamed()


def test_rebuilding_owes_create() -> None:  # 18
    assert created().started().stopped().rebuilt().pending == "create"


def test_a_rebuild_before_the_next_start_displaces_nothing() -> None:  # observed on Incus 6.0.4
    assert created().started().stopped().renamed().rebuilt().pending == "rename"
    assert created().copied().rebuilt().pending == "copy"


def test_what_is_stopped_is_not_stopped_again() -> None:
    with pytest.raises(UsageError, match="stopped"):
        created().stopped()


def test_a_running_instance_is_published_by_its_snapshots_alone() -> None:
    running = created().started().snapshotted("s0")
    running.published("s0")
    with pytest.raises(UsageError, match="can't be published"):
        running.published()
    with pytest.raises(UsageError, match="no snapshot 'nope'"):
        running.published("nope")


def test_a_refreshed_copy_owes_nothing() -> None:  # 170
    assert created().copied().refreshed().pending == ""
    with pytest.raises(UsageError, match="running"):
        created().copied().started().refreshed()


def test_a_snapshot_brings_back_what_was_pending() -> None:  # 17, 184
    never_started = created().snapshotted("s0").started().stopped()
    assert never_started.restored("s0").pending == "create"
    started = created().started().stopped().snapshotted("s0").renamed()
    assert started.pending == "rename"
    assert started.restored("s0").pending == ""


def test_a_copy_of_a_snapshot_owes_copy() -> None:  # 09
    assert created().started().snapshotted("s0").copied("s0") == Life("copy")


def test_an_unknown_snapshot_is_an_error() -> None:
    with pytest.raises(UsageError, match="no snapshot 'nope'"):
        created().restored("nope")


def test_a_backup_of_a_never_started_instance_still_owes_create() -> None:  # 21
    assert created().exported().pending == "create"
    assert created().started().exported() == Life()


def test_a_failed_start_keeps_what_was_pending() -> None:
    assert created().start_failed().pending == "create"


def test_the_daemons_lose_it_when_only_the_start_pass_failed() -> None:  # 23, 24
    assert created().start_failed("create").pending == "create"
    assert created().start_failed("start").pending == ""


def test_any_text_may_be_set_by_hand() -> None:  # 25
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
def test_only_a_rename_gives_way(pending: str, trigger: str, then: str) -> None:
    assert pending_after(pending, trigger) == then


def test_steps_leave_the_value_they_start_from_alone() -> None:
    life = created()
    life.started(), life.snapshotted("s"), life.copied(), life.renamed()
    assert life == Life("create")
