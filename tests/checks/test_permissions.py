"""Owner and mode of a rule's file."""

import pytest

from tests.checks.builders import an_image, observed, rules, severities

CHECK = "permissions"


def found(field):
    return severities(CHECK, an_image(rules(f"/etc/a: {{when: [create], template: t, {field}}}")))


@pytest.mark.parametrize(
    "field", ["mode: rw", "mode: 0999", "uid: root", "gid: 99999999999", "uid: 1e3", "uid: -1"]
)
def test_attack_31_32_an_invalid_id_or_mode_is_found(field):
    assert found(field) == ["medium"]


@pytest.mark.parametrize(("field", "value"), [("uid", "root"), ("gid", "staff"), ("mode", "rw-r--r--")])
def test_an_invalid_id_or_mode_is_found_at_its_value(field, value):
    rule = f"/etc/a: {{when: [create], template: t, {field}: {value}}}"
    ((severity, place, message),) = observed(CHECK, an_image(rules(rule)))
    assert (severity, place) == ("medium", f"image/metadata.yaml:4:{43 + len(field)}")
    assert message.startswith(f"{field} '{value}' of '/etc/a' is not ")


def test_attack_31_a_decimal_mode_is_found():
    (severity, place, message), _ = observed(
        CHECK, an_image(rules("/etc/a: {when: [create], template: t, mode: 4755}"))
    )
    assert (severity, place) == ("medium", "image/metadata.yaml:4:47")
    assert message == "the daemons read mode '4755' as decimal, not octal: the file gets mode 0223"


@pytest.mark.parametrize("mode", ["04755", "01777", "0o2755"])
def test_attack_31_a_special_mode_bit_is_reported_if_the_daemon_drops_it(mode):
    assert "low" in found(f"mode: {mode}")


def test_a_world_writable_file_is_found():
    assert found("mode: 0666") == ["low"]


@pytest.mark.parametrize("field", ["mode: 0644", "mode: 640", "mode: 0o600", "uid: 1000", "uid: 0"])
def test_ordinary_permissions_have_no_finding(field):
    assert found(field) == []
