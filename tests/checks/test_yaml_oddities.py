"""YAML that daemons accept, but that authors do not intend."""

import pytest

from templater.checks.run_checks import audit
from tests.checks.builders import an_image, observed, rules, severities

CHECK = "metadata"


def test_attack_53_a_duplicate_rule_is_found():
    twice = rules("/etc/a: {when: [create], template: t}", "/etc/a: {when: [start], template: t}")
    assert [place for _, place, _ in observed(CHECK, an_image(twice))] == ["image/metadata.yaml:5:3"]


def test_an_unknown_trigger_is_found():
    assert observed(CHECK, an_image(rules("/etc/a: {when: [boot], template: t}")))


def test_unimportable_metadata_gives_a_finding():
    found = observed(CHECK, an_image("creation_date: 1\ntemplates: {}\n"))
    assert found == [
        (
            "medium",
            "image/metadata.yaml:1:1",
            "metadata.yaml has no architecture: the daemons refuse to import the image",
        )
    ]
    ((_, _, message),) = observed(CHECK, an_image("architecture: x86_64\n"))
    assert "no creation_date" in message
    ((_, place, message),) = observed(CHECK, an_image("architecture: foo\ncreation_date: 1\n"))
    assert place == "image/metadata.yaml:1:15"
    assert message == "unknown architecture 'foo': the daemons refuse to import the image"


@pytest.mark.parametrize("text", ["null\n", "~\n", "--- &a null\n"])
def test_a_null_document_gives_a_finding(text):
    """Incus 6.0.4 says: Architecture isn't supported."""
    ((severity, _, message),) = observed(CHECK, an_image(text))
    assert (severity, message) == ("medium", "the document is null: most daemons panic when they read it")


@pytest.mark.parametrize(("field", "column"), [("creation_date", 16), ("expiry_date", 14)])
def test_a_date_after_the_year_9999_gives_a_finding(field, column):
    """Recorded from Incus 6.0.4: parsing time "10000-01-01 00:00:00+00:00" as "2006-01-02"."""
    facts = {"architecture": "x86_64", "creation_date": "1", field: "253402300800"}
    text = "".join(f"{name}: {value}\n" for name, value in facts.items())
    message = f"{field} is after the year 9999: the daemons refuse to import the image"
    line = list(facts).index(field) + 1
    assert observed(CHECK, an_image(text)) == [("medium", f"image/metadata.yaml:{line}:{column}", message)]
    assert not observed(CHECK, an_image(text.replace("253402300800", "253402300799")))
    assert not observed(CHECK, an_image(text.replace("253402300800", "-99999999999999")))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("creation_date: -.inf\n", 2, "'creation_date' must be a number"),
        ("creation_date: 1.5\n", 2, "'creation_date' must be a number"),
        ("creation_date: 1\nexpiry_date: -1e19\n", 3, "'expiry_date' must be a number"),
        (
            "creation_date: 1\nproperties: {a: 2024-01-01}\n",
            3,
            "property 'a' must be text, but yaml.v4 reads '2024-01-01' as a date",
        ),
    ],
)
def test_a_refusal_by_incus_7_alone_gives_a_finding(text, line, message):
    """Recorded from yaml.v4 rc.6. No check compared the error of yaml.v4 with a file that yaml.v2 reads."""
    ((severity, place, found),) = observed(CHECK, an_image("architecture: x86_64\n" + text))
    assert (severity, found) == ("medium", f"releases of Incus 7 refuse to import the image: {message}")
    assert place.startswith(f"image/metadata.yaml:{line}:")


@pytest.mark.parametrize("text", ["creation_date: 1\ncreation_date: 2\n", "creation_date: 1\n---\nx: 1\n"])
def test_a_refusal_by_incus_7_alone_gives_only_one_finding(text):
    found = audit(an_image("architecture: x86_64\n" + text))
    assert [finding.severity.name for finding in found] == ["MEDIUM"]


def test_an_ordinary_metadata_yaml_has_no_finding():
    assert not observed(CHECK, an_image(rules("/etc/a: {when: [create], template: t}")))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x: &ok {template: bomb}\ntemplates:\n  /a: {template: h, when: [start], <<: *ok}\n", 1),
        ("x: &ok {mode: '0777'}\ntemplates:\n  /a: {template: h, when: [start], <<: *ok}\n", 0),
        ("x: &ok {template: bomb}\ntemplates:\n  /a: {<<: *ok, template: h, when: [start]}\n", 0),
        ("x: &ok {/a: {template: bomb}}\ntemplates:\n  /a: {template: h, when: [start]}\n  <<: *ok\n", 1),
    ],
)
def test_rules_with_another_meaning_in_incus_7_have_high_severity(text, found):
    image = an_image("architecture: x86_64\ncreation_date: 1\n" + text)
    assert severities("metadata", image).count("high") == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "properties: {os: b, <<: {os: a}}\n",
            "property 'os': Incus 7 reads 'b', and earlier releases 'a'",
        ),
        (
            "x: &x {properties: {os: a}}\nproperties: {release: b}\n<<: *x\n",
            "property 'os': Incus 7 reads no value, and earlier releases 'a'",
        ),
        ("<<: {architecture: i686}\n", "architecture: Incus 7 reads 'x86_64', and earlier releases 'i686'"),
        ("<<: {creation_date: 5}\n", "creation_date: Incus 7 reads 1, and earlier releases 5"),
        (
            "expiry_date: 7\n<<: {expiry_date: 9}\n",
            "expiry_date: Incus 7 reads 7, and earlier releases 9",
        ),
    ],
)
def test_facts_with_another_meaning_in_incus_7_have_high_severity(text, message):
    image = an_image("architecture: x86_64\ncreation_date: 1\n" + text)
    assert [each for severity, _, each in observed(CHECK, image) if severity == "high"] == [message]


@pytest.mark.parametrize(
    "text",
    [
        "properties: {<<: {os: a}, os: b}\n",
        "properties: {<<: {os: a}, release: b}\n",
        "properties: {os: yes, release: 010, a: ~, b: 1.10}\n",
    ],
)
def test_unambiguous_properties_have_no_finding_of_high_severity(text):
    image = an_image("architecture: x86_64\ncreation_date: 1\n" + text)
    assert not [message for severity, _, message in observed(CHECK, image) if severity == "high"]


def test_at_most_twenty_different_properties_are_reported():
    names = [f"p{number}" for number in range(50)]
    text = ", ".join(f"{name}: b" for name in names) + ", <<: {" + ", ".join(f"{n}: a" for n in names) + "}"
    image = an_image(f"architecture: x86_64\ncreation_date: 1\nproperties: {{{text}}}\n")
    assert severities(CHECK, image).count("high") == 20
