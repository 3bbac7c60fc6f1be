"""The files of a plan in a new folder."""

import pytest

from templater.model.errors import RefusedError
from templater.model.plan import carry_out
from templater.writing.folder import FolderDestination
from tests.rootfs_builders import a_plan


def test_writing_files_to_a_new_folder_drops_setuid_bits(tmp_path):
    target = tmp_path / "out"
    (change,) = a_plan({"/etc/a/b": "text"}, None).files()
    change.mode = 0o4750
    carry_out([change], FolderDestination(str(target)))
    assert (target / "etc/a/b").read_text() == "text"
    assert (target / "etc/a/b").stat().st_mode & 0o7777 == 0o750
    with pytest.raises(RefusedError, match="not empty") as caught:
        FolderDestination(str(target))
    assert caught.value.hint == "give a new folder, or use `templater apply` for a rootfs"
