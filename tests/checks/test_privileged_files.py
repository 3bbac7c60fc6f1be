"""Files that give privileges, such as devices and setuid programs."""

from templater.checks.scanned_image import Name
from templater.model.entry import CHAR_DEVICE, FILE, Entry
from tests.checks.builders import a_special, an_image, observed

CHECK = "privileged-file"


def test_attack_60_a_device_is_found():
    ((severity, _, message),) = observed(CHECK, an_image(names=[a_special("rootfs/dev/sda", CHAR_DEVICE)]))
    assert (severity, message) == ("medium", "devices: 1 (rootfs/dev/sda)")


def test_attack_60_setuid_programs_are_listed_together():
    names = [Name(f"rootfs/bin/su{number}", Entry(FILE, 0o4755)) for number in range(10)]
    ((severity, _, message),) = observed(CHECK, an_image(names=names))
    assert severity == "info"
    assert message.startswith("setuid files: 10 (rootfs/bin/su0, ")
    assert message.endswith("…)")


def test_attack_60_setgid_bit_and_special_attributes_are_found():
    names = [
        Name("rootfs/a", Entry(FILE, 0o2755)),
        Name("rootfs/b", Entry(FILE), frozenset({"security.capability"})),
        Name("rootfs/c", Entry(FILE), frozenset({"trusted.overlay.opaque"})),
    ]
    assert {message.split(" (")[0] for _, _, message in observed(CHECK, an_image(names=names))} == {
        "setgid files: 1", "files with capabilities: 1", "files with trusted attributes: 1",
    }  # fmt: skip


def test_ordinary_files_have_no_finding():
    assert not observed(CHECK, an_image(names=["rootfs/a", Name("rootfs/tmp", Entry("directory", 0o2755))]))


def test_whiteouts_of_overlayfs_and_of_container_layers_are_found():
    """In overlayfs, a whiteout is a device 0:0. In container layers, its name begins with .wh."""
    names = [Name("rootfs/etc/gone", Entry(CHAR_DEVICE)), "rootfs/etc/.wh.shadow"]
    ((severity, _, message),) = observed(CHECK, an_image(names=names))
    assert severity == "medium"
    assert (
        message == "whiteouts, which hide files of a lower layer: 2 (rootfs/etc/gone, rootfs/etc/.wh.shadow)"
    )
