"""Archives that the daemons don't import, or that GNU tar can't unpack, are reported.

A live test compares the same archives with the answers of Incus.
"""

import gzip
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from tests.attacks.refused_archives import (
    ACCEPTED,
    DOTTED,
    NOT_IMPORTED,
    ODDLY_WRITTEN,
    ROOTFS,
    SKIPPED_BY_INCUS,
    UNPACKED,
    UNPACKED_BY_INCUS,
    archive,
    folder,
    like_a_compressed_file,
    member,
    without_magic,
)
from tests.sampling import some_fast


@pytest.mark.slow
@pytest.mark.parametrize("members", some_fast(UNPACKED.values(), every=3), ids=UNPACKED)
def test_attack_75_an_archive_that_gnu_tar_cannot_unpack_is_reported(tmp_path, members, capfd):
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 1
    assert main(["audit", image, "--at-least", "medium"]) == 1
    assert main(["image", "export", image, str(tmp_path / "new.tar")]) > 1
    assert not (tmp_path / "new.tar").exists()


@pytest.mark.parametrize("members", DOTTED.values(), ids=DOTTED)
def test_attack_75_a_directory_name_with_a_dot_at_its_end_is_reported(tmp_path, members, capfd):
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 1
    assert "the daemons can't unpack it" in capfd.readouterr().out
    assert main(["audit", image, "--at-least", "medium"]) == 1
    assert "the daemons can't unpack it" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("members", some_fast(UNPACKED_BY_INCUS.values(), every=3), ids=UNPACKED_BY_INCUS)
def test_attack_75_an_archive_that_only_incus_cannot_unpack_is_reported(tmp_path, members, capfd):
    """Incus unpacks an archive without its members below rootfs/dev.

    If another member needs one of the skipped members, the unpacking fails.
    """
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 1
    assert "Incus can't unpack it" in capfd.readouterr().out
    assert main(["check", image, "--as", "lxd"]) == 0
    assert main(["audit", image, "--at-least", "medium"]) == 1
    assert main(["image", "export", image, str(tmp_path / "new.tar")]) > 1
    assert not (tmp_path / "new.tar").exists()


@pytest.mark.slow
@pytest.mark.parametrize("members", SKIPPED_BY_INCUS.values(), ids=SKIPPED_BY_INCUS)
def test_archive_has_no_incus_error_if_only_lxd_fails(tmp_path, members, capfd):
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 0
    assert main(["check", image, "--as", "incus,lxd"]) == 1
    assert ": LXD can't unpack it" in capfd.readouterr().out


@pytest.mark.parametrize("members", some_fast(ODDLY_WRITTEN.values(), every=2), ids=ODDLY_WRITTEN)
def test_incus_unpacks_a_member_below_dev_with_an_unusually_spelt_path(tmp_path, members, capfd):
    assert main(["check", archive(tmp_path / "image.tar", members)]) == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
def test_incus_skips_members_below_dev_unless_the_second_file_is_squashfs(tmp_path, capfd):
    """Incus tells GNU tar to skip ``dev/a``. Incus passes no such option to unsquashfs."""
    members = [folder("dev"), member("dev/a"), member("h", tarfile.LNKTYPE, "dev/a")]
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        for info in members:
            tar.addfile(info)
    metadata = archive(tmp_path / "metadata.tar", [])
    assert main(["check", metadata, "--rootfs", str(tmp_path / "root.tar")]) == 1
    assert "Incus can't unpack it" in capfd.readouterr().out
    (tmp_path / "root" / "dev").mkdir(parents=True)
    (tmp_path / "root" / "dev" / "a").touch()
    os.link(tmp_path / "root" / "dev" / "a", tmp_path / "root" / "h")
    command = ["mksquashfs", str(tmp_path / "root"), str(tmp_path / "root.squashfs"), "-quiet", "-all-root"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert main(["check", metadata, "--rootfs", str(tmp_path / "root.squashfs")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("members", some_fast(ACCEPTED.values(), every=3), ids=ACCEPTED)
def test_archive_has_no_error_if_the_daemons_unpack_it(tmp_path, members, capfd):
    image = archive(tmp_path / "image.tar", members)
    assert main(["check", image]) == 0
    assert main(["image", "export", image, str(tmp_path / "new.tar")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("members", "metadata", "found"), some_fast(NOT_IMPORTED, every=2))
def test_attack_75_an_archive_is_reported_if_no_daemon_imports_it(tmp_path, members, metadata, found, capfd):
    image = archive(tmp_path / "image.tar", members, metadata)
    assert main(["check", image]) == 1
    assert found in capfd.readouterr().out
    assert main(["audit", image, "--at-least", "medium"]) == 1
    assert found in capfd.readouterr().out


@pytest.mark.slow
def test_attack_75_an_undetectable_uncompressed_archive_is_reported(tmp_path, capfd):
    """The daemons detect an uncompressed archive by the magic bytes of its first header."""
    first = archive(tmp_path / "image.tar", ROOTFS)
    old = without_magic(tmp_path / "image.tar")
    for image in (old, like_a_compressed_file(tmp_path / "b.tar", "BZ"), *names_like_xz(tmp_path)):
        assert main(["check", image]) == 1
        message = f"the daemons don't recognise '{image}' as a tar archive, and refuse to import the image"
        assert message in capfd.readouterr().out
        assert main(["audit", image, "--at-least", "medium"]) == 1
        assert message in capfd.readouterr().out
    with gzip.open(tmp_path / "image.tar.gz", "wb") as file:
        file.write(Path(first).read_bytes())
    assert main(["check", str(tmp_path / "image.tar.gz")]) == 0
    assert main(["check", like_a_compressed_file(tmp_path / "c.tar", "QFI7z")]) == 0


def names_like_xz(folder):
    return [like_a_compressed_file(folder / f"xz{number}.tar", f"{number}7zXZ") for number in range(2)]


@pytest.mark.slow
def test_an_undetected_second_file_of_a_split_image_is_reported(tmp_path, capfd):
    metadata = archive(tmp_path / "metadata.tar", [])
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.addfile(folder("etc"))
    assert main(["check", metadata, "--rootfs", str(tmp_path / "root.tar")]) == 0
    root = without_magic(tmp_path / "root.tar")
    assert main(["check", metadata, "--rootfs", root]) == 1
    assert f"recognise '{root}' as a tar archive, and refuse to import" in capfd.readouterr().out
