"""What could not be read."""

from templater.model.errors import InputError, LimitError, RefusedError
from tests.checks.builders import advisories, an_image, observed, severities

CHECK = "unreadable"


def test_attack_61_62_a_limit_is_worse_than_damage():
    image = an_image(errors=[LimitError("too much"), RefusedError("no"), InputError("cut short")])
    assert severities(CHECK, image) == ["high", "high", "medium"]


def test_attack_51_too_large_a_metadata_has_its_advisory():
    assert advisories(CHECK, an_image(errors=[LimitError("'metadata.yaml' has too many bytes")])) == {
        "CVE-2026-41648"
    }


def test_nothing_wrong_is_fine():
    assert not observed(CHECK, an_image())
