"""Files of an image that can't be read."""

from templater.model.errors import InputError, LimitError, RefusedError
from tests.checks.builders import advisories, an_image, observed, severities

CHECK = "unreadable"


def test_attack_61_62_an_exceeded_limit_is_more_severe_than_damage():
    image = an_image(errors=[LimitError("too much"), RefusedError("no"), InputError("cut short")])
    assert severities(CHECK, image) == ["high", "high", "medium"]


def test_attack_51_a_too_large_metadata_yaml_has_an_advisory():
    assert advisories(CHECK, an_image(errors=[LimitError("'metadata.yaml' has too many bytes")])) == {
        "CVE-2026-41648"
    }


def test_an_image_without_errors_has_no_finding():
    assert not observed(CHECK, an_image())
