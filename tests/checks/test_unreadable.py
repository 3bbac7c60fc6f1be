"""Files of an image that can't be read."""

from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import audit
from templater.checks.scanned_image import Name
from templater.model.entry import DIRECTORY, Entry
from templater.model.errors import InputError, LimitError, RefusedError
from tests.checks.builders import advisories, an_image, observed, severities
from tests.image_archives import METADATA, image

CHECK = "unreadable"


def test_attack_61_62_all_archive_errors_have_high_severity():
    """`audit --at-least high` found nothing in an archive that GNU tar reads further than templater."""
    made = an_image(errors=[LimitError("too much"), RefusedError("no"), InputError("cut short")])
    assert severities(CHECK, made) == ["high", "high", "high"]


def test_a_metadata_yaml_readable_only_for_daemons_has_high_severity(tmp_path):
    metadata = METADATA + b"note: !!binary AAAA\ntemplates: {/etc/passwd: {when: [start], template: ../x}}\n"
    found = audit(scan_image(image(tmp_path / "i.tar", metadata=metadata)))
    assert [(f.check, f.severity.name) for f in found] == [(CHECK, "HIGH")]


def test_attack_51_the_finding_about_an_oversized_metadata_yaml_mentions_a_security_advisory():
    assert advisories(CHECK, an_image(errors=[LimitError("'metadata.yaml' has too many bytes")])) == {
        "CVE-2026-41648"
    }


def test_an_image_without_errors_has_no_finding():
    assert not observed(CHECK, an_image())


def test_mount_points_with_unread_files_are_reported():
    """An audit of a container on another file system found nothing, because it read nothing."""
    paths = ["rootfs", *(f"rootfs/a{number}" for number in range(9)), "rootfs/proc", "rootfs/dev/pts"]
    names = [Name(path, Entry(DIRECTORY, 0o755, is_mount=True)) for path in paths]
    shown = ", ".join(f"'{path}'" for path in paths[:8])
    assert observed(CHECK, an_image(names=[*names, Name("rootfs/b", Entry(DIRECTORY, 0o755))])) == [
        ("medium", "rootfs", f"the files in mount points were not read: {shown} and 2 more")
    ]
