"""Annotations of a hostile image: the sources that they name, and names that an attacker swaps meanwhile."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from templater.hooks import run
from templater.hooks.runtimes import oci
from templater.model.metadata import TRIGGERS
from tests.processor_time import ends_within

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux"),
    pytest.mark.usefixtures("restored_process"),
]

METADATA = """\
architecture: x86_64
creation_date: 1
templates: {/etc/hostname: {when: [create, start], template: a.tpl}}
"""


IMAGE = {"metadata.yaml": METADATA, "templates/a.tpl": "{{ instance.name }} {{ config_get('user.x', '') }}"}
SECRET = "name: web1\nconfig: {user.x: hunter2}\n"


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def bundle(tmp_path):
    """Return a container's bundle, next to allowed image sources and another instance with a secret."""
    lay(tmp_path / "images/web", IMAGE | {"templates/a.tpl": "inside"})
    lay(tmp_path / "outside", IMAGE | {"templates/a.tpl": "outside"})
    lay(tmp_path / "instances/web1", IMAGE | {"instance.yaml": SECRET})
    lay(tmp_path / "descriptions", {"web.yaml": "name: web\nconfig: {user.x: described}\n"})
    bundle = lay(tmp_path / "bundle", {"config.json": json.dumps({"root": {"path": "rootfs"}})})
    (bundle / "rootfs/etc").mkdir(parents=True)
    return bundle


@pytest.fixture
def hook(bundle, monkeypatch):
    def call(*options, **annotations):
        state = {
            "ociVersion": "1.0.2", "id": "c1", "bundle": str(bundle), "pid": 1,
            "annotations": {f"org.templater.{name}": text for name, text in annotations.items()},
        }  # fmt: skip
        monkeypatch.setattr(oci, "_stdin", lambda: json.dumps(state).encode())
        return run.run(["oci", "--no-child", "--allow", str(bundle.parent / "images"), *options])

    return call


@pytest.mark.parametrize("name", ["source", "instance"])
def test_an_annotation_with_a_long_path_is_refused_at_once(name, hook, bundle, capfd):
    """A path of 500,000 directories took as long as the time limit allowed."""
    with ends_within(1):
        assert (
            hook(
                "--allow-instance",
                f"{bundle.parent}/images",
                **{name: f"{bundle.parent}/images" + "/a" * 400_000},
            )
            == 3
        )
    assert "an annotation names a path of more than 4095 characters" in capfd.readouterr().err


def swap(bundle: Path) -> None:
    """Replace the name with a link to another place."""
    place = bundle.parent / "images/web"
    if not place.is_symlink():
        place.rename(place.with_name("gone"))
        place.symlink_to(bundle.parent / "outside")


def swap_after(monkeypatch, owner, name, bundle):
    """Call ``swap`` whenever the function ``name`` of ``owner`` has returned."""
    real = getattr(owner, name)

    def looking(*arguments, **options):
        found = real(*arguments, **options)
        if name != "realpath" or str(arguments[0]).endswith("/web"):
            swap(bundle)
        return found

    monkeypatch.setattr(owner, name, looking)


def hostname(bundle: Path) -> str:
    path = bundle / "rootfs/etc/hostname"
    return path.read_text() if path.exists() else ""


def test_a_template_can_read_configuration_keys_from_annotations(bundle, hook):
    lay(bundle, IMAGE)
    assert hook(**{"config.user.x": "annotated"}) == 0
    assert hostname(bundle) == "c1 annotated"


def test_an_annotation_selects_the_image(hook, bundle):
    assert hook(source=f"{bundle.parent}/images/web") == 0
    assert hostname(bundle) == "inside"


def test_an_image_source_can_be_inside_the_bundle(hook, bundle):
    lay(bundle / "image", IMAGE)
    lay(bundle, {"instance.yaml": "name: own\nconfig: {user.x: mine}\n"})
    assert hook(source=f"{bundle}/image") == 0
    assert hostname(bundle) == "own mine"


def test_image_in_an_annotation_does_not_replace_the_description(hook, bundle):
    lay(bundle, IMAGE | {"instance.yaml": "name: own\nconfig: {user.x: mine}\n"})
    (bundle.parent / "images/web/templates/a.tpl").write_text(IMAGE["templates/a.tpl"])
    assert hook(source=f"{bundle.parent}/images/web") == 0
    assert hostname(bundle) == "own mine"
    assert hook(source=str(bundle)) == 0
    assert hostname(bundle) == "own mine"


# --- secrets of other instances


def check_refused(hook, bundle, *options, **annotations) -> None:
    """Check that the hook refuses this source and writes nothing."""
    assert hook(*options, **annotations) == 3
    assert hostname(bundle) == ""


def test_another_instance_is_refused_as_image_source(hook, bundle, capfd):
    """An annotation of a hostile image named /var/lib/templater/web1.

    The container of the hostile image then received the password of web1.
    """
    instances = f"{bundle.parent}/instances"
    check_refused(hook, bundle, source=f"{instances}/web1")
    check_refused(hook, bundle, source=f"{instances}/web1", instance=f"{instances}/web1/instance.yaml")
    check_refused(hook, bundle, "--allow", instances, source=f"{instances}/web1")
    assert "an annotation uses the instance directory" in capfd.readouterr().err


@pytest.mark.parametrize("mark", [".templater", "instance.yaml", "backup.yaml"])
def test_a_path_inside_an_instance_is_refused_as_image_source(mark, hook, bundle):
    place = lay(bundle.parent / "images/web1", {f"image/{name}": text for name, text in IMAGE.items()})
    assert hook(source=f"{place}/image") == 0
    (bundle / "rootfs/etc/hostname").unlink()
    (place / mark).mkdir()
    check_refused(hook, bundle, source=f"{place}/image")


@pytest.mark.parametrize("name", ["rootfs", ".templater", "rootfs/a", "a/rootfs/b"])
def test_a_root_filesystem_or_state_directory_is_refused_as_image_source(name, hook, bundle):
    lay(bundle.parent / "images" / name, IMAGE)
    lay(bundle / name, IMAGE)
    check_refused(hook, bundle, source=f"{bundle.parent}/images/{name}")
    check_refused(hook, bundle, source=f"{bundle}/{name}")


def test_any_container_rootfs_is_refused_as_image_source(hook, bundle):
    (bundle / "rootfs").rename(bundle / "merged")
    (bundle / "rootfs/etc").mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps({"root": {"path": "merged"}}))
    lay(bundle / "merged/image", IMAGE)
    check_refused(hook, bundle, source=f"{bundle}/merged/image")


def test_an_instance_outside_the_default_image_directory_is_refused(hook, bundle, monkeypatch):
    assert oci.ALLOWED == "/var/lib/templater/images"
    monkeypatch.setattr(oci, "ALLOWED", f"{bundle.parent}/instances/images")
    monkeypatch.setattr(oci, "_stdin", lambda: json.dumps({
        "ociVersion": "1.0.2", "id": "c1", "bundle": str(bundle),
        "annotations": {"org.templater.source": f"{bundle.parent}/instances/web1"},
    }).encode())  # fmt: skip
    assert run.run(["oci", "--no-child"]) == 3
    assert hostname(bundle) == ""


def test_description_is_refused_unless_the_hook_line_allows_it(hook, bundle):
    source, described = f"{bundle.parent}/images/plain", f"{bundle.parent}/descriptions/web.yaml"
    lay(Path(source), IMAGE)
    check_refused(hook, bundle, source=source, instance=described)
    check_refused(hook, bundle, "--allow", f"{bundle.parent}/descriptions", source=source, instance=described)
    assert hook("--allow-instance", f"{bundle.parent}/descriptions", source=source, instance=described) == 0
    assert hostname(bundle) == "web described"


def test_an_instance_description_of_another_instance_is_never_used(hook, bundle):
    source, other = f"{bundle.parent}/images/web", bundle.parent / "instances/web1"
    allowed = ("--allow-instance", str(bundle.parent))
    check_refused(hook, bundle, *allowed, source=source, instance=f"{other}/instance.yaml")
    lay(
        other,
        {"backup.yaml": SECRET, ".templater/copy.yaml": SECRET, "rootfs/copy.yaml": SECRET, "a.yaml": SECRET},
    )
    for name in ("backup.yaml", ".templater/copy.yaml", "rootfs/copy.yaml", "a.yaml"):
        check_refused(hook, bundle, *allowed, source=source, instance=f"{other}/{name}")
    link = bundle.parent / "descriptions/link.yaml"
    link.symlink_to(other / "instance.yaml")
    check_refused(hook, bundle, *allowed, source=source, instance=str(link))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
@pytest.mark.parametrize("name", ["images", "images/web", ""])
def test_a_directory_writable_by_other_users_is_refused(mode, name, hook, bundle):
    """A sticky directory above the allowed directory is accepted: other users can't replace its entries."""
    source = f"{bundle.parent}/images/web"
    (bundle.parent / name).chmod(mode)
    if mode == 0o1777 and not name:
        assert hook(source=source) == 0
    else:
        check_refused(hook, bundle, source=source)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
@pytest.mark.parametrize("name", ["images", "images/web", "descriptions"])
def test_a_directory_of_another_user_is_refused(name, hook, bundle):
    os.chown(bundle.parent / name, 1234, 1234)
    described = {"instance": f"{bundle.parent}/descriptions/web.yaml"}
    allowed = ("--allow-instance", f"{bundle.parent}/descriptions")
    check_refused(hook, bundle, *allowed, source=f"{bundle.parent}/images/web", **described)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.slow
def test_unprivileged_users_can_use_their_own_image_sources(bundle):
    """Rootless podman is an example."""
    script = (
        "import json, os, pkgutil, sys\n"
        "import jinja2, templater\n"
        "for module in pkgutil.walk_packages(templater.__path__, 'templater.'):\n"  # while it can read them
        "    if not module.name.endswith('__main__'):\n"
        "        __import__(module.name)\n"
        "from templater.hooks import run\n"
        "from templater.hooks.runtimes import oci\n"
        "os.setgid(1234); os.setuid(1234)\n"
        "state = json.dumps({'ociVersion': '1.0.2', 'id': 'c1', 'bundle': sys.argv[1],\n"
        "    'annotations': {'org.templater.source': sys.argv[2] + '/web'}}).encode()\n"
        "oci._stdin = lambda: state\n"
        "sys.exit(run.run(['oci', '--no-child', '--allow', sys.argv[2]]))\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        place = Path(home)
        place.chmod(0o755)
        for name in ("bundle", "images"):
            shutil.copytree(bundle.parent / name, place / name)
        for path in (place, *place.rglob("*")):
            os.chown(path, 1234, 1234)
        words = [sys.executable, "-c", script, str(place / "bundle"), str(place / "images")]
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert hostname(place / "bundle") == "inside"


# --- names swapped during the run


def test_image_is_refused_if_a_link_replaces_it(hook, bundle, monkeypatch, capfd):
    swap_after(monkeypatch, os.path, "realpath", bundle)
    check_refused(hook, bundle, source=f"{bundle.parent}/images/web")
    assert "symlink" in capfd.readouterr().err


def test_a_source_is_refused_if_a_link_replaces_its_parent_directory(hook, bundle, monkeypatch):
    lay(bundle.parent / "images/group/web", IMAGE)
    lay(bundle.parent / "elsewhere/web", IMAGE)
    real = os.path.realpath

    def looking(path):
        found = real(path)
        group = bundle.parent / "images/group"
        if not group.is_symlink():
            group.rename(bundle.parent / "images/gone")
            group.symlink_to(bundle.parent / "elsewhere")
        return found

    monkeypatch.setattr(os.path, "realpath", looking)
    check_refused(hook, bundle, source=f"{bundle.parent}/images/group/web")


def test_opened_image_is_read_even_if_another_replaces_it(hook, bundle, monkeypatch):
    swap_after(monkeypatch, run.StateDirectory, "lock", bundle)
    assert hook(source=f"{bundle.parent}/images/web") == 0
    assert hostname(bundle) == "inside"


def test_changing_instance_description_is_read_once(hook, bundle, monkeypatch):
    source, folder = lay(bundle.parent / "images/plain", IMAGE), bundle.parent / "descriptions"
    lock = run.StateDirectory.lock

    def swapped(*arguments):
        (folder / "web.yaml").write_text(SECRET)
        lock(*arguments)

    monkeypatch.setattr(run.StateDirectory, "lock", swapped)
    assert hook("--allow-instance", str(folder), source=str(source), instance=f"{folder}/web.yaml") == 0
    assert hostname(bundle) == "web described"


def test_links_inside_the_allowed_directory_are_followed(hook, bundle):
    (bundle.parent / "images/current").symlink_to("web")
    assert hook(source=f"{bundle.parent}/images/current") == 0
    assert hostname(bundle) == "inside"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_attack_76_a_link_of_another_user_below_the_allowed_directory_is_refused(hook, bundle, capfd):
    """The owner of the link could select the description of another instance, with its password."""
    images, descriptions = bundle.parent / "images", bundle.parent / "descriptions"
    for folder, name, target in ((images, "next", "../web"), (descriptions, "c1.yaml", "../web.yaml")):
        (folder / "x").mkdir()
        (folder / "x" / name).symlink_to(target)
        for place in (folder / "x", folder / "x" / name):
            os.chown(place, 1234, 1234, follow_symlinks=False)
    (images / "current").symlink_to("x/next")
    for path in ("x/next", "current"):
        check_refused(hook, bundle, source=f"{images}/{path}")
        assert f"'{images}/x' belongs to another user (uid 1234)" in capfd.readouterr().err
    words = ("--allow-instance", str(descriptions))
    check_refused(hook, bundle, *words, source=f"{images}/web", instance=f"{descriptions}/x/c1.yaml")
    assert f"an annotation uses '{descriptions}/x', which other users can change" in capfd.readouterr().err


def test_description_path_with_a_link_is_refused(hook, bundle, capfd):
    folder = bundle.parent / "descriptions"
    (folder / "link.yaml").symlink_to("web.yaml")
    (folder / "link").symlink_to(".")
    for path in ("link.yaml", "link/web.yaml"):
        allowed = ("--allow-instance", str(folder))
        check_refused(
            hook, bundle, *allowed, source=f"{bundle.parent}/images/web", instance=f"{folder}/{path}"
        )
        assert "symlink" in capfd.readouterr().err


@pytest.mark.parametrize("path", ["/etc", "{top}/images/../outside", "{top}/images/out", "images/web", "/a\0b",
                                  "{top}/imagesx"])  # fmt: skip
def test_a_source_outside_the_allowed_directories_is_refused(path, hook, bundle, capfd):
    (bundle.parent / "images/out").symlink_to(bundle.parent / "outside")
    lay(bundle.parent / "imagesx", IMAGE)
    check_refused(hook, bundle, source=path.format(top=bundle.parent))
    assert "which is not below" in capfd.readouterr().err


def test_a_missing_source_is_reported_with_its_full_path(hook, bundle, capfd):
    assert hook(source=f"{bundle.parent}/images/nosuch") == 2
    assert f"{bundle.parent}/images/nosuch" in capfd.readouterr().err


def test_the_if_present_option_makes_a_hook_skip_a_missing_image(hook, bundle):
    (bundle.parent / "images/empty").mkdir()
    assert hook("--if-present", source=f"{bundle.parent}/images/empty") == 0
    assert not (bundle / ".templater").exists()


@pytest.mark.parametrize("trigger", ["strat", "start,", ",", "create,strat", " start", "START"])
def test_the_error_about_an_unknown_trigger_mentions_the_known_triggers(trigger, hook, bundle, capfd):
    assert hook(source=f"{bundle.parent}/images/web", trigger=trigger) == 2
    said = capfd.readouterr().err
    wrong = next(word for word in trigger.split(",") if word not in ("create", "start"))
    assert f"unknown trigger '{wrong}'" in said
    assert all(f" {known}" in said for known in TRIGGERS)
    assert hostname(bundle) == ""


def test_a_hook_line_with_an_unknown_trigger_gives_an_error(hook, bundle, capfd):
    assert hook("-t", "strat", source=f"{bundle.parent}/images/web") == 2
    assert "unknown trigger 'strat'" in capfd.readouterr().err


NAMES = ["a\nb", "a/b", "..", ".", "\x1b[2J", "x" * 256, "a\0b", "\u2028"]


@pytest.mark.parametrize("name", NAMES)
def test_an_invalid_name_is_refused_before_anything_is_created(name, hook, bundle, capfd):
    assert hook(source=f"{bundle.parent}/images/web", name=name) == 3
    assert "invalid instance name" in capfd.readouterr().err
    assert hostname(bundle) == ""
    assert not (bundle / ".templater").exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "a\0b"])
def test_invalid_name_is_refused_before_anything_is_written(name, hook, bundle, capfd):
    lay(bundle, {"instance.yaml": json.dumps({"name": name})})
    for _ in range(2):  # the second run uses the cache
        check_refused(hook, bundle, source=f"{bundle.parent}/images/web")
        assert "invalid instance name" in capfd.readouterr().err
    assert not (bundle / ".templater/state").exists()
