"""Names beside the root filesystem."""

import pytest

from templater.checks.survey import Name
from templater.model.entry import FIFO
from tests.checks.builders import a_folder, a_link, a_special, advisories, seen, severities, survey

CHECK = "layout"


@pytest.mark.parametrize(
    ("name", "advisory"),
    [
        ("rootfs", "CVE-2026-48749"),
        ("templates", "CVE-2026-48752"),
        ("metadata.yaml", "CVE-2026-63343"),
        ("exec-output", "CVE-2026-48750"),
        ("backup.yaml", "CVE-2026-63125"),
    ],
)
def test_attack_06_10_11_a_link_where_the_daemons_followed_one(name, advisory):
    image = survey(names=[a_link(name, "/")])
    assert severities(CHECK, image) == ["critical"]
    assert advisories(CHECK, image) == {advisory}


def test_attack_11_metadata_that_is_a_fifo():
    assert severities(CHECK, survey(names=[a_special("metadata.yaml", FIFO)])) == ["critical"]


@pytest.mark.parametrize("first", ["./rootfs/", "rootfs"])
def test_attack_58_a_folder_then_a_link_is_found_twice(first):
    image = survey(names=[Name(first, a_folder("x").entry), a_link("rootfs", "/")])
    assert severities(CHECK, image) == ["critical", "critical"]


def test_attack_58_a_good_metadata_then_a_link():
    messages = [
        m for _, _, m in seen(CHECK, survey(names=["metadata.yaml", a_link("metadata.yaml", "/etc/shadow")]))
    ]
    assert "'metadata.yaml' comes 2 times, first as a file: the last one counts" in messages


def test_a_template_that_comes_twice():
    assert severities(CHECK, survey(names=["templates/a", "templates/a"])) == ["high"]


def test_folders_may_come_twice():
    assert not seen(CHECK, survey(names=[a_folder("templates"), a_folder("templates/"), "metadata.yaml"]))


def test_a_strange_name_is_mentioned():
    assert severities(CHECK, survey(names=["README"])) == ["info"]


def test_an_ordinary_image_is_fine():
    names = [
        "metadata.yaml",
        a_folder("templates"),
        "templates/a",
        a_folder("rootfs"),
        "rootfs/etc/a",
        "rootfs/etc/a",
    ]
    assert not seen(CHECK, survey(names=names))
