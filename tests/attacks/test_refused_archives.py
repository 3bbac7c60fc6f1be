"""Archives that the daemons don't import, or that GNU tar can't unpack, are reported.

A live test compares the same archives with the answers of Incus.
"""

import pytest

from templater.cli.main import main
from tests.attacks.refused_archives import ACCEPTED, DOTTED, NOT_IMPORTED, UNPACKED, archive
from tests.sampling import some_fast


@pytest.mark.parametrize("members", some_fast(UNPACKED.values(), every=3), ids=UNPACKED)
def test_attack_75_an_archive_that_gnu_tar_cannot_unpack_is_reported_and_never_written(
    tmp_path, members, capfd
):
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 1
    assert main(["audit", image, "--at-least", "medium"]) == 1
    assert main(["image", "export", image, str(tmp_path / "new.tar")]) > 1
    assert not (tmp_path / "new.tar").exists()


@pytest.mark.parametrize("members", DOTTED.values(), ids=DOTTED)
def test_attack_75_a_directory_whose_name_ends_in_a_dot_is_reported_if_it_is_in_a_file(
    tmp_path, members, capfd
):
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 1
    assert "the daemons can't unpack it" in capfd.readouterr().out
    assert main(["audit", image, "--at-least", "medium"]) == 1
    assert "the daemons can't unpack it" in capfd.readouterr().out


@pytest.mark.parametrize("members", some_fast(ACCEPTED.values(), every=3), ids=ACCEPTED)
def test_an_archive_that_the_daemons_import_and_unpack_has_no_error(tmp_path, members, capfd):
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 0
    assert main(["image", "export", image, str(tmp_path / "new.tar")]) == 0


@pytest.mark.parametrize(("members", "metadata", "found"), some_fast(NOT_IMPORTED, every=2))
def test_attack_75_an_archive_that_no_daemon_imports_is_reported(tmp_path, members, metadata, found, capfd):
    image = archive(tmp_path / "image.tar", members, metadata)
    assert main(["check", image]) == 1
    assert found in capfd.readouterr().out
    assert main(["audit", image, "--at-least", "medium"]) == 1
    assert found in capfd.readouterr().out
