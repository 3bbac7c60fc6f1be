"""`preview -o`: the rendered files in a folder or a tar archive."""

import os
import tarfile
from pathlib import Path

import pytest

from templater.cli.run_command_line import main

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample-images"
PERMISSIONS = str(SAMPLES / "permissions")


def preview(*arguments):
    return main(["preview", *map(os.fspath, arguments)])


def test_preview_to_a_folder_writes_every_file_with_its_mode(tmp_path):
    assert preview(PERMISSIONS, "-t", "create", "-o", tmp_path / "tree", "--rootfs", "none") == 0
    found = {
        str(path.relative_to(tmp_path / "tree")): f"{path.stat().st_mode & 0o7777:04o}"
        for path in (tmp_path / "tree").rglob("*")
        if path.is_file()
    }
    assert found == {
        "etc/app/app.conf": "0644",
        "etc/app/defaults": "0644",
        "etc/app/secret.env": "0640",
        "usr/local/bin/app-setup": "0755",
        "var/lib/app/.ssh/authorized_keys": "0600",
    }


def test_a_preview_folder_lacks_the_files_of_skipped_rules(tmp_path):
    assert preview(PERMISSIONS, "-t", "create", "-o", tmp_path / "tree") == 0
    assert sorted(os.listdir(tmp_path / "tree/etc/app")) == ["app.conf", "secret.env"]


def test_the_umask_does_not_change_the_written_modes(tmp_path):
    old = os.umask(0o077)
    try:
        preview(PERMISSIONS, "-t", "create", "-o", tmp_path / "tree")
    finally:
        os.umask(old)
    assert (tmp_path / "tree/usr/local/bin/app-setup").stat().st_mode & 0o7777 == 0o755


def test_a_preview_tar_has_the_planned_owners_even_without_root_privileges(tmp_path):
    preview(PERMISSIONS, "-t", "create", "-o", tmp_path / "files.tar")
    with tarfile.open(tmp_path / "files.tar") as tar:
        members = {m.name: (m.uid, m.gid, f"{m.mode:04o}") for m in tar if m.isfile()}
    assert members["etc/app/secret.env"] == (1000, 33, "0640")
    assert members["var/lib/app/.ssh/authorized_keys"] == (1000, 1000, "0600")
    assert members["etc/app/app.conf"] == (0, 0, "0644")


def test_two_previews_of_the_same_plan_write_identical_tar_files(tmp_path):
    for name in ("one.tar", "two.tar"):
        preview(PERMISSIONS, "-o", tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_preview_folder_has_the_content_of_the_last_trigger(tmp_path):
    preview(PERMISSIONS, "-t", "create,start", "-o", tmp_path / "tree")
    assert "written on start" in (tmp_path / "tree/etc/app/app.conf").read_text()


def test_a_preview_folder_has_files_of_the_config_drive(tmp_path):
    preview(SAMPLES / "rocky-vm", "--vm", "-t", "create", "-o", tmp_path / "tree")
    assert {path.name for path in (tmp_path / "tree").iterdir()} == {"hostname.tpl.out", "ifcfg.tpl.out"}
    preview(SAMPLES / "rocky-vm", "--vm", "-t", "create", "-o", tmp_path / "drive.tar")
    with tarfile.open(tmp_path / "drive.tar") as drive:
        assert set(drive.getnames()) == {"hostname.tpl.out", "ifcfg.tpl.out"}


def test_preview_refuses_a_non_empty_output_folder(tmp_path, capfd):
    (tmp_path / "mine").write_text("mine")
    assert preview(PERMISSIONS, "-o", tmp_path) == 3
    assert "not empty" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("target", ["file/tree", "nosuch/files.tar"])
def test_an_unwritable_output_path_is_reported(target, tmp_path, capfd):
    (tmp_path / "file").write_text("no folder")
    assert preview(PERMISSIONS, "-o", tmp_path / target) == 6
    assert str(tmp_path / target.split("/")[0]) in capfd.readouterr().err


def test_preview_folders_contain_valid_files_despite_a_failed_file(tmp_path):
    assert preview(SAMPLES / "broken", "-t", "create", "-o", tmp_path / "tree", "--rootfs", "none") == 5
    assert (tmp_path / "tree/etc/directory").read_text() == "c1\n"


@pytest.mark.parametrize("name", ["tree.tar.gz", "tree.tgz", "tree.TAR.XZ", "tree.zip"])
def test_an_output_name_for_a_compressed_tar_is_refused(name, tmp_path, capsys):
    assert preview(PERMISSIONS, "-t", "create", "-o", tmp_path / name) == 2
    assert "tree.tar," in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_existing_preview_tar_is_replaced_only_with_the_reuse_option(tmp_path, capsys):
    target = tmp_path / "files.tar"
    target.write_text("mine")
    assert preview(PERMISSIONS, "-t", "create", "--as", "none", "-o", target) == 3
    assert "--reuse" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert preview(PERMISSIONS, "-t", "create", "--as", "none", "-o", target, "--reuse") == 0
    assert tarfile.is_tarfile(target)
