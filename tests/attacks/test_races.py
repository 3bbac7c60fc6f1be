"""Attacks by a concurrent process: cases 27 and 28, for writing and for reading."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from templater.image.limits import DEFAULT
from templater.image.open_image import open_image
from templater.image.tar_reader import Member
from templater.image.unpack import TRUSTED, DiskBudget, TreeWriter, Unpacked
from templater.model.entry import DIRECTORY, FILE, SYMLINK
from templater.model.errors import InputError, RefusedError, TemplaterError
from templater.rootfs.confined_root import Root
from templater.rootfs.id_map import IDENTITY
from templater.writing.apply_plan import apply
from tests.attacks.flipping import Flipping
from tests.attacks.outside import Scene
from tests.rootfs_builders import a_directory, a_plan, snapshot, strays

FLIPS = 100_000
SECONDS = 2.0

pytestmark = pytest.mark.slow


def test_attack_28_apply_stays_inside_the_root_while_directories_are_swapped(scene: Scene, capsys):
    """Complete plans are made and applied while /etc alternates between a directory and a link."""
    scene.link("link", link_to_host(scene, scene.top))
    a_directory(scene.host, {"hosts": "the host's own", "sub/hosts": "and another"})
    a_directory(scene.top, {"etc/sub/hosts": "old"})
    host, results = snapshot(scene.host, times=True), Counter[str]()
    with Flipping(scene.top / "etc", scene.top / "link") as flips:
        for number in rounds(flips):
            files = {
                "/etc/hosts": f"new {number}",
                "/etc/new": str(number),
                "/etc/sub/hosts": f"sub {number}",
            }
            with scene.rootfs() as rootfs:
                results[carried_out(lambda: apply(a_plan(files, rootfs), rootfs, durable=False))] += 1
    report(capsys, scene, flips, results, "apply")
    scene.hold(host)
    assert flips.count >= FLIPS
    assert results["done"] > 0 and results["RefusedError"] > 0


def test_attack_27_apply_stays_inside_the_root_if_a_link_appears(scene: Scene, capsys):
    """The attack runs only during `apply`.

    The plan always has the directory '/etc'. `apply` then finds the directory or the link.
    """
    scene.link("link", link_to_host(scene, scene.top))
    for top in (scene.host, scene.top / "etc"):
        a_directory(top, {"hosts": "old", "sub/hosts": "old"})
    host, results = snapshot(scene.host, times=True), Counter[str]()
    with scene.rootfs() as rootfs:
        plans = [
            a_plan({"/etc/hosts": text, "/etc/sub/hosts": text, "/etc/sub/a/x": text}, rootfs)
            for text in ("one", "two")
        ]
    with Flipping(scene.top / "etc", scene.top / "link") as flips:
        for number in rounds(flips):
            with scene.rootfs() as rootfs:
                results[carried_out(lambda: apply(plans[number % 2], rootfs, durable=False))] += 1
    report(capsys, scene, flips, results, "apply of a kept plan")
    scene.hold(host)
    assert flips.count >= FLIPS
    assert results["RefusedError"] > 0


def test_attack_28_no_host_file_is_read_through_a_replaced_directory(scene: Scene, capsys):
    image = a_directory(scene.folder / "deep/root/image", {"templates/shadow": "the template"})
    (image / "metadata.yaml").write_text("templates: {/etc/x: {when: [start], template: shadow}}\n")
    (image / "link").symlink_to(link_to_host(scene, image))
    results = Counter[str]()
    with Flipping(image / "templates", image / "link") as flips, Root(str(image)) as root:
        for _ in rounds(flips):
            results[read(image)] += 1
            for _ in range(10):
                results[carried_out(lambda: root.read("/templates/shadow", 100))] += 1
    report(capsys, scene, flips, results, "templates")
    assert flips.count >= FLIPS
    assert results["the template"] > 0
    assert set(results) <= {"the template", "RefusedError", "InputError", "missing"}


def test_attack_28_templater_reads_no_host_file_while_a_link_replaces_a_template(scene: Scene, capsys):
    image = a_directory(scene.folder / "deep/root/image", {"templates/shadow": "the template"})
    (image / "metadata.yaml").write_text("templates: {/etc/x: {when: [start], template: shadow}}\n")
    (image / "templates/link").symlink_to(link_to_host(scene, image / "templates", "shadow"))
    results = Counter[str]()
    with Flipping(image / "templates/shadow", image / "templates/link") as flips:
        for _ in rounds(flips):
            results[read(image)] += 1
    report(capsys, scene, flips, results, "a template")
    assert flips.count >= FLIPS
    assert results["the template"] > 0
    assert set(results) <= {"the template", "RefusedError", "InputError", "missing"}


def test_attack_28_unpack_stays_inside_its_root_if_a_link_appears(scene: Scene, capsys):
    """Usually, other users can't write to the new root filesystem.

    Even if they can, nothing is written outside of it.
    """
    scene.link("link", link_to_host(scene, scene.top))
    for top in (scene.host, scene.top / "etc"):
        a_directory(top, {"sub/there": "x"})
    host, results = snapshot(scene.host, times=True), Counter[str]()
    with Flipping(scene.top / "etc", scene.top / "link") as flips, Root(str(scene.top)) as root:
        for number in rounds(flips):
            results[carried_out(lambda: unpack_some(root, number))] += 1
    report(capsys, scene, flips, results, "unpack")
    scene.hold(host)
    assert flips.count >= FLIPS
    assert results["done"] > 0 and results["RefusedError"] > 0


#: a source without a packed size, so that no ratio limits what is written
NO_ARCHIVE: Any = SimpleNamespace(name="image", limits=DEFAULT, packed_size=0)


def unpack_some(root: Root, number: int) -> None:
    writer = TreeWriter(root, TRUSTED, IDENTITY, Unpacked(), DiskBudget(NO_ARCHIVE))
    writer.add(Member(f"etc/sub/{number}", FILE, size=4), iter([(0, b"data")]))
    writer.add(Member(f"etc/l{number}", SYMLINK, target="/etc"), iter(()))
    writer.add(Member(f"etc/d{number}", DIRECTORY, 0o755), iter(()))
    writer.finish()


def link_to_host(scene: Scene, start: Path, name: str = "") -> str:
    """Return a relative link to the host. Unlike an absolute link, it is followed if one flag is missing."""
    return os.path.relpath(scene.host / name, start)


def rounds(flips: Flipping) -> Iterator[int]:
    """Repeat until enough swaps have happened and enough time has passed."""
    began = time.monotonic()
    return itertools.takewhile(
        lambda _: flips.count < FLIPS or time.monotonic() - began < SECONDS, itertools.count()
    )


def carried_out(call: Callable[[], object]) -> str:
    try:
        found = call()
    except TemplaterError as error:
        return type(error).__name__
    return found.decode() if isinstance(found, bytes) else "done"


def read(image: Path) -> str:
    try:
        found = open_image(str(image)).read_templates(["shadow"])["shadow"]
    except (RefusedError, InputError) as error:
        return type(error).__name__
    if found.data is not None:
        return found.data.decode()
    return "missing" if found.error is None else type(found.error).__name__


def report(
    capsys: pytest.CaptureFixture[str], scene: Scene, flips: Flipping, results: Counter[str], what: str
) -> None:
    with capsys.disabled():
        print(
            f"\n  {what} ({scene.mechanism}): {flips.count} flips, {dict(results)}, {len(strays(scene.folder))} strays"
        )
