"""What an annotation names is reached as it was checked, whatever becomes of its name meanwhile."""

import json
import os
import sys
from pathlib import Path

import pytest

from templater.hooks import run
from templater.hooks.runtimes import oci
from templater.model.metadata import TRIGGERS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")

METADATA = """\
architecture: x86_64
creation_date: 1
templates: {/etc/hostname: {when: [create, start], template: a.tpl}}
"""


def make_image(folder: Path, text: str) -> Path:
    (folder / "templates").mkdir(parents=True)
    (folder / "metadata.yaml").write_text(METADATA)
    (folder / "templates/a.tpl").write_text(text)
    (folder / "instance.yaml").write_text(f"name: {text}\nconfig: {{user.x: {text}}}\n")
    return folder


@pytest.fixture
def bundle(tmp_path):
    """Images below the bundle's root filesystem, where the container may change names; and one outside."""
    bundle = tmp_path / "bundle"
    make_image(bundle / "rootfs/images/web", "inside")
    (bundle / "rootfs/etc").mkdir()
    (bundle / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}}))
    make_image(tmp_path / "outside", "outside")
    return bundle


@pytest.fixture
def hook(bundle, monkeypatch):
    def call(*options, **annotations):
        state = {
            "ociVersion": "1.0.2", "id": "c1", "bundle": str(bundle), "pid": 1,
            "annotations": {f"org.templater.{name}": text for name, text in annotations.items()},
        }  # fmt: skip
        monkeypatch.setattr(oci, "_stdin", lambda: json.dumps(state).encode())
        return run.run(["oci", "--no-child", *options])

    return call


def swap(bundle: Path) -> None:
    """The name leads out from now on."""
    place = bundle / "rootfs/images/web"
    if not place.is_symlink():
        place.rename(place.with_name("gone"))
        place.symlink_to(bundle.parent / "outside")


def swap_after(monkeypatch, owner, name, bundle):
    """``swap`` as soon as this function has looked."""
    real = getattr(owner, name)

    def looking(*arguments, **options):
        found = real(*arguments, **options)
        swap(bundle)
        return found

    monkeypatch.setattr(owner, name, looking)


def hostname(bundle: Path) -> str:
    path = bundle / "rootfs/etc/hostname"
    return path.read_text() if path.exists() else ""


def test_an_image_swapped_for_a_link_when_it_was_checked_is_refused(hook, bundle, monkeypatch, capfd):
    swap_after(monkeypatch, os.path, "realpath", bundle)
    assert hook(source=f"{bundle}/rootfs/images/web") == 3
    assert "symlink" in capfd.readouterr().err
    assert hostname(bundle) == ""


def test_a_folder_on_the_way_swapped_for_a_link_is_refused(hook, bundle, monkeypatch):
    def swap_parent(*_):
        if not (bundle / "rootfs/images").is_symlink():
            (bundle / "rootfs/images").rename(bundle / "rootfs/gone")
            (bundle.parent / "web").symlink_to("outside")
            (bundle / "rootfs/images").symlink_to(bundle.parent)

    real = os.path.realpath

    def looking(path):
        found = real(path)
        swap_parent()
        return found

    monkeypatch.setattr(os.path, "realpath", looking)
    assert hook(source=f"{bundle}/rootfs/images/web") == 3
    assert hostname(bundle) == ""


def test_an_image_swapped_later_is_still_the_one_that_was_checked(hook, bundle, monkeypatch):
    swap_after(monkeypatch, run.Notebook, "lock", bundle)
    assert hook(source=f"{bundle}/rootfs/images/web") == 0
    assert hostname(bundle) == "inside"


def test_a_description_swapped_for_another_is_not_read(hook, bundle, monkeypatch):
    make_image(bundle / "image", "{{ instance.name }} {{ config_get('user.x', '') }}")
    described = f"{bundle}/rootfs/images/web/instance.yaml"
    source = f"{bundle}/image"
    assert hook(source=source, instance=described) == 0
    assert hostname(bundle) == "inside inside"
    swap_after(monkeypatch, run.Notebook, "lock", bundle)
    assert hook(source=source, instance=described) == 0
    assert hostname(bundle) == "inside inside"


def test_a_description_swapped_for_a_link_when_it_was_checked_is_refused(hook, bundle, monkeypatch):
    make_image(bundle / "image", "x")
    swap_after(monkeypatch, os.path, "realpath", bundle)
    source = f"{bundle}/image"
    assert hook(source=source, instance=f"{bundle}/rootfs/images/web/instance.yaml") == 3
    assert hostname(bundle) == ""


def test_links_that_stay_inside_are_followed_as_they_stand(hook, bundle):
    (bundle / "current").symlink_to("rootfs/images/web")
    assert hook(source=f"{bundle}/current") == 0
    assert hostname(bundle) == "inside"


def test_what_does_not_exist_is_said_with_its_whole_name(hook, bundle, capfd):
    assert hook(source=f"{bundle}/images/nosuch") == 2
    assert f"{bundle}/images/nosuch" in capfd.readouterr().err


def test_an_image_that_is_not_there_is_none_if_present(hook, bundle):
    (bundle / "empty").mkdir()
    assert hook("--if-present", source=f"{bundle}/empty") == 0
    assert not (bundle / ".templater").exists()


@pytest.mark.parametrize("trigger", ["strat", "start,", ",", "create,strat", " start", "START"])
def test_an_unknown_trigger_is_an_error_that_names_it_and_the_known_ones(trigger, hook, bundle, capfd):
    assert hook(source=f"{bundle}/rootfs/images/web", trigger=trigger) == 2
    said = capfd.readouterr().err
    wrong = next(word for word in trigger.split(",") if word not in ("create", "start"))
    assert f"'{wrong}' is no trigger" in said
    assert all(f" {known}" in said for known in TRIGGERS)
    assert hostname(bundle) == ""


def test_an_unknown_trigger_in_the_line_is_one_too(hook, bundle, capfd):
    assert hook("-t", "strat", source=f"{bundle}/rootfs/images/web") == 2
    assert "'strat' is no trigger" in capfd.readouterr().err


NAMES = ["a\nb", "a/b", "..", ".", "\x1b[2J", "x" * 256, "a\0b", "\u2028"]


@pytest.mark.parametrize("name", NAMES)
def test_an_impossible_name_is_refused_before_anything_is_made(name, hook, bundle, capfd):
    assert hook(source=f"{bundle}/rootfs/images/web", name=name) == 3
    assert "is no name of an instance" in capfd.readouterr().err
    assert hostname(bundle) == ""
    assert not (bundle / ".templater").exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "a\0b"])
def test_an_impossible_name_in_a_description_is_refused_before_anything_is_written(name, hook, bundle, capfd):
    image = make_image(bundle / "image", "x")
    (image / "instance.yaml").write_text(json.dumps({"name": name}))
    for _ in range(2):  # the second time what was kept is used
        assert hook(source=str(image)) == 3
        assert "is no name of an instance" in capfd.readouterr().err
        assert hostname(bundle) == ""
    assert not (bundle / ".templater/state").exists()
