"""The memory for old contents of mounted files, and the total size of replaced files."""

from types import SimpleNamespace

import pytest

from templater.model.errors import LimitError
from templater.writing.target_directories import MAX_COPIED, MAX_KEPT, MAX_REPLACED, TargetDirectories


def test_stored_old_contents_have_a_limit_on_total_size():
    session, change = SimpleNamespace(kept=0), SimpleNamespace(real="/etc/a")
    assert TargetDirectories.room_for(session, MAX_KEPT, change) == MAX_KEPT
    with pytest.raises(LimitError) as caught:
        TargetDirectories.room_for(session, 1, change)
    assert caught.value.message == f"'/etc/a' is a mounted file of 1 bytes, more than the limit of {MAX_KEPT}"
    assert caught.value.hint == "truncate the file, or omit --cross-mounts or --in-place"


@pytest.mark.parametrize(("is_copied", "most"), [(False, MAX_REPLACED), (True, MAX_COPIED)])
def test_the_replaced_files_of_one_run_have_a_total_size_limit(is_copied, most):
    session, change = SimpleNamespace(replaced=0), SimpleNamespace(real="/etc/a")
    TargetDirectories.count_replaced(session, most, change, is_copied=is_copied)
    with pytest.raises(LimitError) as caught:
        TargetDirectories.count_replaced(session, 1, change, is_copied=is_copied)
    assert caught.value.message == (
        f"'/etc/a' has 1 bytes, but one run may replace at most {most} bytes in total"
    )
    assert caught.value.hint == "truncate or remove the file"
