"""Redaction of secret values."""

import pytest

from templater.model.instance import Instance, Profile
from templater.model.metadata import Rule
from templater.model.plan import WRITE, Change
from templater.rendering.origins import Origin
from templater.web import redaction
from templater.web.distinct_results import Variant
from templater.web.redaction import Redaction, is_hidden, is_secret

SECRET = "hunter2-very-secret"


def a_redaction(public="", **options):
    profile = Profile("web", config={"cloud-init.user-data": "#cloud-config\npassword: tr0ub4dor\n"})
    devices = {"eth0": {"hwaddr": "00:16:3e:00:00:01"}, "vpn": {"private-key": "abcdefgh12345678"}}
    instance = Instance("c1", config={"user.password": SECRET}, profiles=(profile,), devices=devices)
    return Redaction([instance], public, **options)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("user.password", True), ("user.DB_PASSWORD", True), ("user.api-key", True), ("user.auth_token", True),
        ("cloud-init.user-data", True), ("user.vendor-data", True), ("user.network-config", True),
        ("security.privileged", False), ("user.role", False), ("limits.cpu", False),
    ],
)  # fmt: skip
def test_the_name_of_a_configuration_key_decides_whether_its_value_is_secret(key, secret):
    assert is_secret(key) == secret


def test_the_value_of_a_secret_key_is_hidden_whether_the_instance_or_a_profile_sets_it():
    redaction = a_redaction()
    assert redaction.hides([Origin("user.password", "local")]) == ["user.password"]
    assert redaction.hides([Origin("cloud-init.user-data", "profile", "web")])
    assert redaction.hides([Origin("devices.vpn.private-key", "local")])
    assert not redaction.hides([Origin("devices.eth0.hwaddr", "local")])
    assert not redaction.hides([Origin("user.role", "local")])


def test_a_default_value_for_an_unset_secret_key_is_shown():
    assert not a_redaction().hides([Origin("user.password", "undefined"), Origin("the default", "default")])


def test_a_value_that_depends_on_all_keys_is_hidden():
    assert a_redaction().hides([Origin("all configuration keys", "several")])
    assert not Redaction([Instance("c1")]).hides([Origin("all configuration keys", "several")])


def test_a_loop_over_devices_is_hidden_only_if_a_device_has_a_secret_key():
    loop = [Origin("all devices", "several")]
    assert a_redaction().hides(loop)
    assert not Redaction(
        [Instance("c1", config={"user.password": SECRET}, devices={"eth0": {"a": "b"}})]
    ).hides(loop)


def test_messages_redact_secret_values_and_their_lines_and_quoted_parts():
    scrub = a_redaction().scrub
    assert scrub(f"value {SECRET} of") == "value [redacted] of"
    assert scrub("line password: tr0ub4dor is") == "line [redacted] is"
    assert scrub("not a number: 'ub4do'") == "not a number: '[redacted]'"
    assert scrub("unknown filter 'upper'") == "unknown filter 'upper'"


def test_a_message_that_may_quote_a_computed_secret_shows_only_quotes_from_the_image():
    """An error quotes what a template made of a secret, such as its upper case."""
    scrub = a_redaction("{{ 1|yesno:x }}").scrub
    assert (
        scrub("(got: 'TR0UB4DOR,b') in\n'1|yesno:x'", computed=True) == "(got: '[redacted]') in\n'1|yesno:x'"
    )
    assert scrub("(got: 'x' TR0UB4DOR 'y')", computed=True) == "(got: 'x'[redacted]'y')"
    assert scrub(f"(got: 'TR0UB4DOR{'b' * 400}…", computed=True) == "(got: '[redacted]…"
    assert scrub("regexp: Compile(`TR0UB4DOR`)", computed=True) == "regexp: Compile(`[redacted]`)"
    assert scrub("(got: 'TR0UB4DOR,b')") == "(got: 'TR0UB4DOR,b')"
    assert Redaction([Instance("c1")]).scrub("'TR0UB4DOR'", computed=True) == "'TR0UB4DOR'"


def test_overlapping_secret_parts_are_redacted_completely():
    document = "aaaa-bbbb-cccc\nbbbb-cccc-dddd-eeee\ncccc-dddd-eeee-ffff-gggg\n"
    scrub = Redaction([Instance("c1", config={"user.user-data": document})]).scrub
    assert scrub("x aaaa-bbbb-cccc-dddd-eeee-ffff-gggg y") == "x [redacted] y"
    assert scrub("bbbb-cccc-dddd-eeeebbbb-cccc-dddd-eeee") == "[redacted][redacted]"
    assert scrub("aaaa-bbbb-ccc") == "aaaa-bbbb-ccc"


def test_the_work_for_redacting_very_long_secrets_is_bounded(monkeypatch):
    searched = []

    class Text(str):
        def __contains__(self, part):
            searched.append(len(self))
            return super().__contains__(part)

    monkeypatch.setattr(redaction, "MOST_SEARCHED", 10_000)
    document = "\n".join(f"line number {number}" for number in range(100))
    found = Redaction([Instance("c1", config={"user.user-data": document})], Text("line number 3, " * 100))
    assert 0 < sum(searched) <= 10_000
    assert found.scrub("at line number 99") == "at [redacted]"
    assert found.scrub("at 'public'") == "at '[redacted]'"  # a text that was not searched may be secret


def test_texts_from_the_image_are_not_redacted():
    assert (
        a_redaction("#cloud-config\n").scrub("begins with '#cloud-config'") == "begins with '#cloud-config'"
    )
    assert a_redaction().scrub("begins with '#cloud-config'") == "begins with '[redacted]'"


def test_without_redaction_every_value_is_shown():
    redaction = a_redaction(enabled=False)
    assert redaction.scrub(SECRET) == SECRET
    assert not redaction.hides([Origin("user.password", "local")])


@pytest.mark.parametrize(
    ("content", "lines", "reads", "hidden"),
    [
        (None, None, None, False),  # the file has no content
        (b"x", None, None, True),  # the origins are unknown
        (b"x", None, [], False),
        (b"x", None, [Origin("user.role", "local")], False),
        (b"x", None, [Origin("user.role", "local"), Origin("user.password", "local")], True),
    ],
)
def test_a_file_whose_lines_have_no_known_origins_is_hidden_if_its_template_may_read_a_secret(
    content, lines, reads, hidden
):
    change = Change(Rule("/a", "t"), "create", "/a", WRITE)
    change.content = content
    variant = Variant(change, None, [0], lines, reads)
    assert is_hidden(a_redaction(), variant) is hidden
    assert not is_hidden(a_redaction(enabled=False), variant)


def test_a_line_of_eight_characters_and_a_value_of_four_are_redacted():
    scrub = Redaction(
        [Instance("c1", config={"user.password": "12345678\nabcdefg\n", "user.token": "wxyz"})]
    ).scrub
    assert scrub("x 12345678 y") == "x [redacted] y"
    assert scrub("x abcdefg y") == "x abcdefg y"
    assert scrub("x wxyz y") == "x [redacted] y"
    assert Redaction([Instance("c1", config={"user.token": "xyz"})]).scrub("x xyz y") == "x xyz y"
