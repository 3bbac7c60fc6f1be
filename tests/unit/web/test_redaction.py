"""Redaction of secret values."""

import pytest

from templater.model.instance import Instance, Profile
from templater.model.metadata import Rule
from templater.model.plan import WRITE, Change
from templater.rendering.origins import Origin
from templater.web import redaction
from templater.web.distinct_results import Variant
from templater.web.redaction import Redaction, is_hidden

SECRET = "hunter2-very-secret"


def a_redaction(public="", **options):
    profile = Profile("web", config={"cloud-init.user-data": "#cloud-config\npassword: tr0ub4dor\n"})
    devices = {"eth0": {"hwaddr": "00:16:3e:00:00:01"}, "vpn": {"private-key": "abcdefgh12345678"}}
    instance = Instance("c1", config={"user.password": SECRET}, profiles=(profile,), devices=devices)
    return Redaction([instance], public, **options)


def test_secret_values_and_single_lines_of_secret_values_are_redacted():
    scrub = a_redaction().scrub
    assert scrub(f"value {SECRET} of") == "value [redacted] of"
    assert scrub("line password: tr0ub4dor is") == "line [redacted] is"
    assert scrub("unknown filter 'upper'") == "unknown filter 'upper'"


def test_overlapping_secret_parts_are_redacted_completely():
    document = "aaaa-bbbb-cccc\nbbbb-cccc-dddd-eeee\ncccc-dddd-eeee-ffff-gggg\n"
    scrub = Redaction([Instance("c1", config={"user.user-data": document})]).scrub
    assert scrub("x aaaa-bbbb-cccc-dddd-eeee-ffff-gggg y") == "x [redacted] y"
    assert scrub("bbbb-cccc-dddd-eeeebbbb-cccc-dddd-eeee") == "[redacted][redacted]"
    assert scrub("aaaa-bbbb-ccc") == "aaaa-bbbb-ccc"


def test_only_beginning_of_image_text_is_compared_with_secrets(monkeypatch):
    monkeypatch.setattr(redaction, "MOST_SEARCHED", 32)
    document = "\n".join(f"line number {number}" for number in range(100))
    public = "line number 3, line number 41, " + "line number 99"
    found = Redaction([Instance("c1", config={"user.user-data": document})], public)
    assert found.scrub("at line number 41") == "at line number 41"
    assert found.scrub("at line number 99") == "at [redacted]"


def test_lines_are_redacted_if_comparison_with_image_is_slow(
    monkeypatch,
):
    document = "\n".join("a" * size + "b" for size in range(8, 28))
    public = "aaaaaaaab " + "a" * 1000 + "aaaaaaaaab"
    with monkeypatch.context() as patched:
        patched.setattr(redaction, "MOST_COMPARED", 50_000)
        found = Redaction([Instance("c1", config={"user.user-data": document})], public)
    assert found.scrub("x aaaaaaaab") == "x aaaaaaaab"
    assert found.scrub("x aaaaaaaaab") == "x [redacted]"


def test_overlapping_values_within_the_image_text_are_not_redacted():
    config = {"user.token": "wxyz", "user.user-data": "aaaa-bbbb-cccc\nbbbb-cccc-dddd\nbbbb-cccc\neeee-ffff"}
    found = Redaction([Instance("c1", config=config)], "<aaaa-bbbb-cccc-ddddwxyz>")
    text = "aaaa-bbbb-cccc bbbb-cccc-dddd bbbb-cccc wxyz"
    assert found.scrub(f"{text} eeee-ffff") == f"{text} [redacted]"


def test_text_is_redacted_if_comparison_with_secrets_is_slow(monkeypatch):
    monkeypatch.setattr(redaction, "MOST_COMPARED", 30_000)
    document = "\n".join("a" * size + "b" for size in range(8, 28))
    found = Redaction([Instance("c1", config={"user.user-data": document, "user.token": "wxyz"})])
    assert found.scrub("x aaaaaaaab wxyz") == "x [redacted] [redacted]"
    assert found.scrub("public " + "a" * 1000) == "[redacted]"
    assert found.scrub("public") == "public"


def test_texts_from_the_image_are_not_redacted():
    text = "begins with 'password: tr0ub4dor'"
    assert a_redaction("a\npassword: tr0ub4dor\n").scrub(text) == text
    assert a_redaction().scrub(text) == "begins with '[redacted]'"


def test_without_redaction_every_value_is_shown():
    redaction = a_redaction(enabled=False)
    assert redaction.scrub(SECRET) == SECRET
    assert not redaction.hides([Origin("user.password", "local")])


ROLE, PASSWORD = ("config", "user.role"), ("config", "user.password")
V4, V6 = ("", "v4"), ("after", "v6")


@pytest.mark.parametrize(
    ("content", "lines", "reads", "hidden"),
    [
        (None, None, {V4: None}, False),  # the file has no content
        (b"x", None, {V4: None}, True),  # the names are unknown
        (b"x", None, {}, True),
        (b"x", None, {V4: ()}, False),
        (b"x", None, {V4: (ROLE,)}, False),
        (b"x", None, {V4: (ROLE, PASSWORD)}, True),
        (b"x", None, {V4: (ROLE,), V6: (PASSWORD,)}, True),
        (b"x", None, {V4: (ROLE,), V6: None}, True),
    ],
)
def test_file_without_sources_is_hidden_if_template_reads_secrets(content, lines, reads, hidden):
    change = Change(Rule("/a", "t"), "create", "/a", WRITE)
    change.content = content
    variant = Variant(change, None, [0], lines, reads)
    assert is_hidden(a_redaction(), variant) is hidden
    assert not is_hidden(a_redaction(enabled=False), variant)


def test_short_values_and_lines_are_not_redacted():
    scrub = Redaction(
        [Instance("c1", config={"user.password": "12345678\nabcdefg\n", "user.token": "wxyz"})]
    ).scrub
    assert scrub("x 12345678 y") == "x [redacted] y"
    assert scrub("x abcdefg y") == "x abcdefg y"
    assert scrub("x wxyz y") == "x [redacted] y"
    assert Redaction([Instance("c1", config={"user.token": "xyz"})]).scrub("x xyz y") == "x xyz y"
