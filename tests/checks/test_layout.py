"""Names beside the root filesystem."""

import pytest

from templater.checks.scanned_image import Name
from templater.model.entry import BLOCK_DEVICE, FIFO, FILE, SOCKET, Entry
from tests.checks.builders import a_folder, a_link, a_special, advisories, an_image, observed, severities

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
def test_attack_06_10_11_a_link_gives_a_critical_finding_if_vulnerable_daemons_follow_it(name, advisory):
    image = an_image(names=[a_link(name, "/")])
    assert severities(CHECK, image) == ["critical"]
    assert advisories(CHECK, image) == {advisory}


def test_attack_11_a_fifo_as_metadata_yaml_gives_a_critical_finding():
    assert severities(CHECK, an_image(names=[a_special("metadata.yaml", FIFO)])) == ["critical"]


def test_attack_58_a_rootfs_directory_and_a_later_rootfs_link_give_two_findings():
    image = an_image(names=[a_folder("rootfs"), a_link("rootfs", "/")])
    assert severities(CHECK, image) == ["critical", "critical"]


def test_attack_58_later_link_named_metadata_yaml_is_reported():
    messages = [
        m
        for _, _, m in observed(
            CHECK, an_image(names=["metadata.yaml", a_link("metadata.yaml", "/etc/shadow")])
        )
    ]
    assert "'metadata.yaml' occurs 2 times, first as a file: the daemons use the last copy" in messages


def test_a_duplicate_template_gives_a_finding_of_high_severity():
    assert severities(CHECK, an_image(names=["templates/a", "templates/a"])) == ["high"]


def test_duplicate_directories_are_not_reported():
    assert not observed(
        CHECK, an_image(names=[a_folder("templates"), a_folder("templates"), "metadata.yaml"])
    )


def test_file_with_unknown_name_in_image_has_info_severity():
    assert severities(CHECK, an_image(names=["README"])) == ["info"]


def test_an_ordinary_image_has_no_finding():
    names = [
        "metadata.yaml",
        a_folder("templates"),
        "templates/a",
        a_folder("rootfs"),
        "rootfs/etc/a",
        "rootfs/etc/a",
    ]
    assert not observed(CHECK, an_image(names=names))


OUTSIDE = [
    "rootfs.img",
    "config",
    "state",
    "snapshots",
    "qemu.nvram",
    "root.img",
    "README",
    "docs/x",
    "templates/a",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_attack_60_link_next_to_rootfs_has_high_severity(name):
    """An audit had no finding about `rootfs.img -> /dev/sda`: qemu-img would have read the host's disk."""
    for found in (
        a_link(name, "/dev/sda"),
        a_special(name, FIFO),
        a_special(name, SOCKET),
        a_special(name, BLOCK_DEVICE),
        Name(name, Entry(FILE), hard_link="rootfs/x"),
    ):
        assert severities(CHECK, an_image(names=[found])) == ["high"]


@pytest.mark.parametrize(
    "name",
    [
        "config",
        "state",
        "snapshots",
        "qemu.nvram",
        "OVMF_VARS.4MB.fd",
        "root.img",
        "backup.yaml",
        "agent.key",
        "tpm.vtpm",
    ],
)
def test_file_name_reserved_by_daemons_has_high_severity(name):
    assert severities(CHECK, an_image(names=[name])) == ["high"]
    assert severities(CHECK, an_image(names=[f"docs/{name}"])) == []


@pytest.mark.parametrize("name", ["README", "tests", ".gitignore", "Makefile"])
def test_unknown_file_next_to_the_rootfs_has_info_severity(name):
    assert severities(CHECK, an_image(names=[name])) == ["info"]


def test_a_directory_with_the_name_of_a_disk_image_is_found():
    """A real Incus 6.0.4 imported an image with such a directory as a virtual machine.

    Incus compares only the name.
    """
    message = "'rootfs.img' is a directory: Incus can import the image as a virtual machine"
    assert observed(CHECK, an_image(names=[a_folder("rootfs.img")])) == [("high", "rootfs.img", message)]


def test_the_disk_of_a_virtual_machine_has_no_finding():
    assert not observed(CHECK, an_image(names=["metadata.yaml", "rootfs.img"]))


def test_instance_description_or_state_directory_in_image_is_found():
    """After `tar -x` of a hostile image, preview ran the pending trigger in the image's state directory.

    A hook ran the compiled code in this directory.
    """
    state = an_image(names=[a_folder(".templater"), Name(".templater/state", Entry(FILE))])
    assert severities(CHECK, state) == ["critical"]
    assert severities(CHECK, an_image(names=[Name("instance.yaml", Entry(FILE))])) == ["medium"]
    assert severities(CHECK, an_image(names=[Name("rootfs/.templater", Entry(FILE))])) == []


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        (".templater/state", "critical"),
        ("snapshots/snap0/rootfs/x", "medium"),
        ("config/x", "medium"),
        ("doc/readme", None),
        ("rootfs/etc/hostname", None),
        ("templates/a", None),
    ],
)
def test_directory_is_checked_even_without_its_own_archive_entry(name, severity):
    assert severities(CHECK, an_image(names=[name])) == ([severity] if severity else [])


def test_finding_about_directory_is_reported_once_for_all_members():
    assert severities(CHECK, an_image(names=["state/a", "state/b", a_folder("state")])) == ["medium"]


def test_backup_directory_in_an_image_has_high_severity():
    image = an_image(names=["backup/container/metadata.yaml"])
    assert [(place, severity) for severity, place, _ in observed(CHECK, image)] == [("backup", "high")]


@pytest.mark.parametrize(
    ("names", "severity"),
    [
        (
            "backup.yaml index.yaml config config.json config.mount console.log devices lxc.conf network root.img",
            "high",
        ),
        (
            "shmounts snapshots state virtual-machines-snapshots qemu.log OVMF_VARS.fd agent.crt agent-client.crt",
            "high",
        ),
        ("agent-server.key tpm.1 seccomp.x lxc.log", "high"),
        ("README LICENSE configs agent lxc instance.yml", "info"),
    ],
)
def test_file_that_daemons_create_for_instances_has_high_severity(names, severity):
    for name in names.split():
        assert severities(CHECK, an_image(names=[Name(name, Entry(FILE, 0o644))])) == [severity], name


def test_attack_75_name_that_daemons_cannot_find_is_reported():
    image = an_image(
        names=["metadata.yaml", "rootfs/etc/motd"], unfound=(".//metadata.yaml", "/rootfs/etc\n")
    )
    assert observed(CHECK, image) == [
        ("medium", "", "the daemons don't find './/metadata.yaml', and refuse to import the image"),
        ("medium", "", "the daemons don't find '/rootfs/etc\\n', and refuse to import the image"),
    ]
    assert advisories(CHECK, image) == {""}
