"""Attacks through an image's own directory: cases 5 to 11, from image to plan and file."""

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from templater.image.open_image import open_image
from templater.model.errors import InputError, RefusedError, TemplaterError
from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.planning.decide_changes import CREATE, Plan
from templater.planning.plan_image import plan
from templater.rootfs.confined_root import Root
from templater.writing.apply_plan import apply
from tests.attacks.outside import Scene
from tests.rootfs_builders import as_root, snapshot

SECRET = "root:secret"


@pytest.fixture
def image(scene: Scene) -> Path:
    top = scene.folder / "deep/image"
    (top / "templates").mkdir(parents=True)
    (top / "templates/good.tpl").write_text("good")
    return top


def ask(image: Path, template: str = "x.tpl", target: str = "/etc/x") -> None:
    (image / "metadata.yaml").write_text(
        "templates:\n"
        "  /etc/good: {when: [start], template: good.tpl}\n"
        f'  {target}: {{when: [start], template: "{template}"}}\n'
    )


def made(image: Path, scene: Scene) -> Plan:
    with within(1), scene.rootfs() as rootfs:
        return plan(
            open_image(str(image)), Instance(), triggers=("start",), rootfs=rootfs, host=HOSTS["none"]
        )


def refused(image: Path, scene: Scene, says: str, kind: type[TemplaterError] = RefusedError) -> None:
    """Check that the rule fails with this error, the plan has no secret, and nothing is written."""
    before, host = snapshot(scene.top, times=True), snapshot(scene.host, times=True)
    with pytest.raises(kind, match=says) as caught:
        found = made(image, scene)
        assert all(SECRET.encode() not in (change.content or b"") for change in found.changes)
        with scene.rootfs() as rootfs:
            apply(found, rootfs)
    assert SECRET not in caught.value.explain()
    assert snapshot(scene.top, times=True) == before
    assert snapshot(scene.host, times=True) == host


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer, for example because it waits for a fifo."""

    def late(*_: object) -> None:
        raise AssertionError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "name", ["../x", "../../host/shadow", "/etc/shadow", "a/b", ".", "..", "x\\0y", "../templates/good.tpl"]
)
def test_attack_05_a_template_name_with_a_path_is_refused(image, scene, name):
    ask(image, name)
    refused(image, scene, "template name|is not a plain|NUL|must be")


def test_attack_05_an_empty_template_name_is_refused(image, scene):
    ask(image, "")
    refused(image, scene, "template", TemplaterError)


@pytest.mark.parametrize("target", ["../../host", "/", "sibling"])
def test_attack_06_a_symlink_as_templates_directory_is_refused(image, scene, target):
    ask(image, "shadow")
    os.rename(image / "templates", image / "sibling")
    (image / "templates").symlink_to(scene.host if target == "../../host" else target)
    refused(image, scene, "'templates' is a symlink, not a directory")


def test_attack_06_a_file_as_templates_directory_is_refused(image, scene):
    ask(image)
    os.rename(image / "templates", image / "elsewhere")
    (image / "templates").write_text("x")
    refused(image, scene, "'templates' is a file, not a directory")


def test_attack_06_a_missing_templates_directory_is_an_error(image, scene):
    ask(image)
    os.rename(image / "templates", image / "elsewhere")
    refused(image, scene, "good.tpl", TemplaterError)


def test_attack_06_a_missing_templates_directory_is_ignored_if_no_rule_is_active(image, scene):
    (image / "metadata.yaml").write_text("templates: {/etc/x: {when: [copy], template: x.tpl}}\n")
    os.rename(image / "templates", image / "elsewhere")
    assert made(image, scene).changes == ()


@pytest.mark.parametrize(
    "target", ["good.tpl", "../../../host/shadow", "/etc/shadow", "nowhere", "x.tpl", "host"]
)
def test_attack_07_a_symlink_as_template_is_refused(image, scene, target):
    ask(image)
    (image / "templates/x.tpl").symlink_to(scene.host / "shadow" if target == "host" else target)
    refused(image, scene, "'x.tpl' is a symlink")


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "char device", "block device"])
def test_attack_08_a_non_regular_template_file_is_refused(image, scene, kind, monkeypatch):
    ask(image)
    path = image / "templates/x.tpl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    elif os.getuid():
        pytest.skip("NOT RUN: needs root, for devices")
    else:
        os.mknod(path, 0o666 | (stat.S_IFCHR if kind[0] == "c" else stat.S_IFBLK), os.makedev(1, 5))
    refused(image, scene, f"'x.tpl' is a {kind}")


def test_attack_09_the_link_count_of_a_template_is_reported(image, scene):
    """Legitimate hard links look like hostile ones, so templater reads them.

    ``audit`` shows the link count.
    """
    ask(image)
    os.link(scene.host / "shadow", image / "templates/x.tpl")
    files = open_image(str(image)).read_templates(["x.tpl"])
    assert files["x.tpl"].entry.nlink == 2


@pytest.mark.parametrize("target", ["../../host", "/", "sibling"])
def test_attack_10_a_symlink_as_instance_rootfs_is_refused(image, scene, target):
    (image / "sibling").mkdir()
    (image / "rootfs").symlink_to(scene.host if target == "../../host" else target)
    with (
        Root(str(image)) as instance,
        pytest.raises(RefusedError, match="'/rootfs' is a symlink, not a directory"),
    ):
        instance.below("/rootfs")


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "directory"])
def test_attack_11_a_non_regular_metadata_file_is_refused(image, scene, kind):
    path = image / "metadata.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(scene.host / ("shadow" if kind == "symlink" else "nothing"))
    refused(
        image,
        scene,
        f"metadata.yaml.* is a {'symlink' if kind == 'dangling' else kind}",
        (RefusedError, InputError),
    )


@as_root
def test_attack_11_an_endless_device_as_metadata_is_refused(image, scene):
    os.mknod(image / "metadata.yaml", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    refused(image, scene, "metadata.yaml.* is a char device", (RefusedError, InputError))


@pytest.mark.slow
def test_attack_56_many_rules_with_one_template_take_linear_time(image, scene):
    """The template is read and compiled once, and rules are not compared pairwise."""

    def seconds(count: int) -> float:
        rules = "".join(f"  /d{n}/f: {{when: [start], template: good.tpl}}\n" for n in range(count))
        (image / "metadata.yaml").write_text("templates:\n" + rules)
        begun = time.process_time()
        with scene.rootfs() as rootfs:
            found = plan(
                open_image(str(image)), Instance(), triggers=("start",), rootfs=rootfs, host=HOSTS["none"]
            )
        assert len(found.changes) == count and not found.failed
        return time.process_time() - begun

    few, many = (min(seconds(count) for _ in range(3)) for count in (250, 2_000))
    assert many < 24 * few, (few, many)


def test_the_files_of_a_valid_image_are_written(image, scene):
    ask(image)
    (image / "templates/x.tpl").write_text("fine")
    found = made(image, scene)
    with scene.rootfs() as rootfs:
        assert [change.action for change in apply(found, rootfs)] == [CREATE, CREATE]
    assert (scene.text("etc/good"), scene.text("etc/x")) == ("good", "fine")
