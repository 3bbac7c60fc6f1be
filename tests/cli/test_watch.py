"""Watching: every kind of save is noticed, bursts are grouped, replaced folders are watched again."""

import os
import shutil
import threading
import time

import pytest

from templater.cli.watcher import PATIENCE, Watch, sources_of

SOON = 5.0


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image" / "templates").mkdir(parents=True)
    (tmp_path / "image" / "metadata.yaml").write_text("templates: {}\n")
    (tmp_path / "image" / "templates" / "hosts.tpl").write_text("one\n")
    return tmp_path / "image"


@pytest.fixture
def watch(image):
    files, folders = sources_of(str(image))
    with Watch(files, folders) as watch:
        yield watch


def saved_in_place(path):
    path.write_text("changed\n")


def saved_atomically(path):
    new = path.with_name("." + path.name + ".new")
    new.write_text("changed\n")
    os.replace(new, path)


def saved_as_vim_does(path):
    """Save as vim does: rename to a backup, write a new file, and create a probe file named 4913."""
    probe = path.with_name("4913")
    probe.touch()
    probe.unlink()
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text("changed\n")
    backup.unlink()


def removed(path):
    path.unlink()


@pytest.mark.parametrize("save", [saved_in_place, saved_atomically, saved_as_vim_does, removed])
@pytest.mark.parametrize("name", ["metadata.yaml", "templates/hosts.tpl"])
def test_an_edit_is_noticed(image, watch, save, name):
    save(image / name)
    assert str(image / name) in watch.wait(SOON)


def test_a_new_template_is_noticed(image, watch):
    (image / "templates" / "new.tpl").write_text("new\n")
    assert watch.wait(SOON) == [str(image / "templates" / "new.tpl")]


def test_reading_a_file_is_not_reported_as_a_change(image, watch):
    (image / "templates" / "hosts.tpl").read_text()
    (image / "metadata.yaml").read_text()
    assert watch.wait(0.4) == []


@pytest.mark.parametrize("name", [".hosts.tpl.swp", "hosts.tpl~", "#hosts.tpl#", "4913"])
def test_attack_72_an_editor_scratch_file_is_not_a_change(image, watch, name):
    (image / "templates" / name).write_text("scratch\n")
    assert watch.wait(0.4) == []


def test_a_file_outside_the_image_is_not_a_change(image, watch):
    (image / "notes.txt").write_text("not ours\n")
    assert watch.wait(0.4) == []


def test_one_save_of_an_editor_is_reported_as_one_change(image, watch):
    saved_as_vim_does(image / "templates" / "hosts.tpl")
    assert watch.wait(SOON)
    assert watch.wait(0.4) == []


def test_attack_72_a_replaced_folder_is_watched_again(image, watch):
    templates = image / "templates"
    templates.rename(image / "old")
    shutil.copytree(image / "old", templates)
    assert watch.wait(SOON)
    while watch.wait(1.0):
        pass
    (templates / "hosts.tpl").write_text("in the new folder\n")
    assert watch.wait(SOON) == [str(templates / "hosts.tpl")]


def test_attack_72_a_folder_replaced_by_a_link_is_noticed(image, watch):
    (image / "templates").rename(image / "elsewhere")
    (image / "templates").symlink_to("elsewhere")
    assert watch.wait(SOON)


def test_an_instance_file_behind_a_link_is_watched(tmp_path):
    real = tmp_path / "real" / "web1.yaml"
    real.parent.mkdir()
    real.write_text("name: web1\n")
    (tmp_path / "web1.yaml").symlink_to(real)
    with Watch([str(tmp_path / "web1.yaml")]) as watch:
        real.write_text("name: web2\n")
        assert watch.wait(SOON) == [str(real)]


@pytest.mark.slow
def test_attack_72_many_events_are_grouped_into_few_changes(image, watch):
    """10,000 saves, renames and swap files while watching are reported at once, not 10,000 times."""
    templates, stop = image / "templates", threading.Event()
    done = 0

    def storm():
        nonlocal done
        while done < 10_000 and not stop.is_set():
            name = templates / f"t{done % 50}.tpl"
            name.with_suffix(".swp").write_text("x")
            os.replace(name.with_suffix(".swp"), name)
            done += 1

    thread = threading.Thread(target=storm)
    thread.start()
    started, seen = time.monotonic(), 0
    assert watch.wait(SOON), "the storm hid every change"
    assert time.monotonic() - started < PATIENCE + 2, "the storm put the preview off"
    seen += 1
    while thread.is_alive():
        seen += bool(watch.wait(0.2))
    thread.join()
    while watch.wait(0.5):
        seen += 1
    assert done == 10_000
    assert seen < 100
    assert threading.active_count() < 20
