"""The files of a plan in a new folder."""

import os

import pytest

from templater.image.presets import write_new
from templater.model.errors import RefusedError
from templater.model.plan import carry_out
from templater.rootfs.trusted_paths import make_folder
from templater.writing import new_folder
from templater.writing.new_folder import FolderDestination, NewFolder
from tests.rootfs_builders import a_plan, as_root


def test_writing_files_to_a_new_folder_drops_setuid_bits(tmp_path):
    target = tmp_path / "out"
    (change,) = a_plan({"/etc/a/b": "text"}, None).files()
    change.mode = 0o4750
    carry_out([change], FolderDestination(str(target)))
    assert (target / "etc/a/b").read_text() == "text"
    assert (target / "etc/a/b").stat().st_mode & 0o7777 == 0o750
    assert target.stat().st_mode & 0o777 == 0o700
    with pytest.raises(RefusedError, match="not empty") as caught:
        FolderDestination(str(target))
    assert caught.value.hint == "choose a new folder, or use `templater apply` for a rootfs"


@pytest.mark.parametrize("mode", [0o755, 0o2777, 0o500 | 0o070])
def test_attack_50_other_users_cannot_enter_an_existing_output_folder(tmp_path, mode):
    """An existing folder kept its mode, so other users could read secrets in the files."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(mode)
    FolderDestination(str(tmp_path / "out")).close()
    assert (tmp_path / "out").stat().st_mode & 0o7777 == mode & 0o7700


def test_a_folder_with_files_is_refused_and_keeps_its_mode(tmp_path):
    (tmp_path / "out/etc").mkdir(parents=True)
    (tmp_path / "out").chmod(0o755)
    with pytest.raises(RefusedError, match="not empty"):
        FolderDestination(str(tmp_path / "out"))
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_output_folder_with_subfolder_of_another_user_is_refused(tmp_path, monkeypatch):
    """The other user would keep the added folder open, and read the files in it."""
    change = os.fchmod

    def add(fd, mode):
        (tmp_path / "out/etc").mkdir()
        change(fd, mode)

    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    monkeypatch.setattr(os, "fchmod", add)
    with pytest.raises(RefusedError, match="not empty"):
        FolderDestination(str(tmp_path / "out"))


@as_root
def test_an_existing_folder_of_another_user_is_refused_as_output_folder(tmp_path):
    (tmp_path / "out").mkdir()
    os.chown(tmp_path / "out", 1234, 1234)
    with pytest.raises(RefusedError) as caught:
        FolderDestination(str(tmp_path / "out"))
    assert (
        caught.value.message
        == f"'{tmp_path}/out' belongs to another user (uid 1234), who could read the files"
    )
    assert caught.value.hint == "choose a new folder"


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="needs directory descriptors")
def test_files_are_written_only_to_the_opened_folder(tmp_path):
    """The owner of the directory above replaced the new folder by a folder with a link to /etc."""
    (tmp_path / "other").mkdir()
    folder = FolderDestination(str(tmp_path / "out"))
    (tmp_path / "out").rename(tmp_path / "hidden")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/etc").symlink_to(tmp_path / "other")
    changes = a_plan({"/etc/cron.d/x": "* * * * *", "/srv/x": ""}, None).files()
    carry_out(changes, folder)
    assert (tmp_path / "hidden/etc/cron.d/x").read_text() == "* * * * *"
    (tmp_path / "hidden/var").symlink_to(tmp_path / "other")
    with pytest.raises(RefusedError, match="/var' is a symlink"):
        carry_out(a_plan({"/var/x": ""}, None).files(), folder)
    folder.close()
    assert os.listdir(tmp_path / "other") == []


@as_root
def test_no_folder_is_created_through_another_users_link(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "home/link").symlink_to(tmp_path / "other")
    os.chown(tmp_path / "home", 1234, 1234)
    for make in (FolderDestination, lambda path: write_new(path, {"metadata.yaml": b""})):
        for name in ("link", "link/new"):
            with pytest.raises(RefusedError, match="may be a link that another user controls"):
                make(f"{tmp_path}/home/{name}")
    assert os.listdir(tmp_path / "other") == []


@pytest.mark.parametrize("descriptors", [True, False])
def test_files_are_created_even_without_directory_descriptors(descriptors, tmp_path, monkeypatch):
    monkeypatch.setattr(new_folder, "HAS_DESCRIPTORS", descriptors)
    target = tmp_path / "above/out"
    if descriptors:
        target.parent.mkdir()
    with NewFolder(str(target), 0o700) as folder:
        assert folder.is_empty()
        folder.make("a/b")
        folder.make("a/b")
        assert not folder.is_empty()
        for name in ("/top", "a/b/c", "new/deep/file"):
            with open(folder.create(name, 0o640), "wb") as file:
                file.write(name.encode())
        with pytest.raises(FileExistsError):
            folder.create("top")
    assert {name: (target / name).read_text() for name in ("top", "a/b/c", "new/deep/file")} == {
        "top": "/top", "a/b/c": "a/b/c", "new/deep/file": "new/deep/file",
    }  # fmt: skip
    assert (target / "top").stat().st_mode & 0o777 == 0o640
    assert target.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("umask", "file", "folder"), [(0, 0o666, 0o777), (0o027, 0o640, 0o750)])
def test_new_folders_and_files_have_modes_according_to_the_umask(umask, file, folder, tmp_path):
    before = os.umask(umask)
    try:
        write_new(f"{tmp_path}/above/image", {"metadata.yaml": b"", "templates/t": b""})
        make_folder(f"{tmp_path}/one/two").close()
        NewFolder(f"{tmp_path}/three").close()
    finally:
        os.umask(before)
    names = ("above", "above/image", "above/image/rootfs", "above/image/templates", "one", "one/two", "three")
    modes = {name: (tmp_path / name).stat().st_mode & 0o7777 for name in names}
    assert modes == dict.fromkeys(names, folder)
    for name in ("metadata.yaml", "templates/t"):
        assert (tmp_path / "above/image" / name).stat().st_mode & 0o7777 == file
