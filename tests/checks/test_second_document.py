"""A second YAML document in metadata.yaml: some programs read it, others ignore it."""

import pytest

from templater.checks.image_scanner import scan_image as read_image
from templater.limit_option import parse as parse_limits
from tests.checks.builders import an_image, observed, rules

CHECK = "second-document"
RULE = rules("/etc/a: {when: [create], template: t}")
LINES = RULE.count("\n")


@pytest.mark.parametrize(
    "more",
    [
        "---\ntemplates: {/etc/shadow: {when: [start], template: t}}\n",
        "---\n",
        "...\n---\narchitecture: other\n",
        "--- text\n",
        "--- {\n",
        "---\na: [\n",
        "---\n\tx: 1\n",
        "...\n%YAML 1.1\n---\nx: 1\n",
    ],
)
def test_a_second_document_is_reported_with_its_position(more):
    ((severity, place, message),) = observed(CHECK, an_image(RULE + more, {"t": ""}))
    assert severity == "medium"
    assert message.startswith("LXD, and Incus before 7, ignore everything after the first document: ")
    assert int(place.split(":")[1]) > LINES


@pytest.mark.parametrize(
    "text", [RULE, RULE + "...\n", RULE + "# --- a comment\n", "---\n" + RULE, RULE + "\n\n"]
)
def test_metadata_with_one_document_has_no_finding(text):
    assert not observed(CHECK, an_image(text, {"t": ""}))


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "a: 1\na: 2\n"])
def test_broken_first_document_is_not_reported_as_second_document(text):
    assert not observed(CHECK, an_image(text))


def test_dashes_inside_a_yaml_block_scalar_have_no_finding():
    text = "architecture: x86_64\nproperties:\n  description: |\n    ---\n    a: 1\n"
    assert not observed(CHECK, an_image(text))


@pytest.mark.slow
def test_second_document_is_found_in_text_above_default_limits(tmp_path):
    """The check also finds a second document if templater reads the text only with a raised limit."""
    text = RULE + "properties:\n" + "".join(f"  k{n}: v\n" for n in range(120_000)) + "---\nx: 1\n"
    (tmp_path / "metadata.yaml").write_text(text)
    read = parse_limits(["yaml-nodes=1M", "yaml-pairs=8G", "metadata=8MiB"])
    surveyed = read_image(str(tmp_path), read.for_images(), yaml=read.for_reading())
    assert [severity for severity, _, _ in observed(CHECK, surveyed)] == ["medium"]
