"""The schema that editors get says what the decoder does, and is stricter only where an author would want it."""

import json
from importlib.resources import files

import pytest

from templater.checks.finding import Severity
from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import audit
from templater.image.presets import make, presets
from templater.model.errors import MetadataError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from tests.unit.image.test_metadata_edit import ACCEPTED

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads((files("templater.image") / "metadata.schema.json").read_text())
RULE = {"template": "a.tpl", "when": ["create"]}
GOOD = {"architecture": "x86_64", "creation_date": 1, "templates": {"/a": RULE}}


def problems(document):
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(document)]


def decoded(document):
    try:
        return read_metadata(Source("metadata.yaml", json.dumps(document)))
    except MetadataError:
        return None


def test_the_metadata_schema_is_a_valid_json_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert problems(GOOD) == []


def as_data(metadata):
    """Return a file's data as a YAML language server sees it, with all scalars as texts."""
    rules = {
        rule.path: {
            "template": rule.template, "when": list(rule.when), "create_only": rule.create_only,
            "properties": dict(rule.properties), "uid": rule.uid, "gid": rule.gid, "mode": rule.mode,
        }
        for rule in metadata.rules
    }  # fmt: skip
    return {
        "architecture": metadata.architecture, "creation_date": metadata.creation_date,
        "properties": dict(metadata.properties), "templates": rules,
    }  # fmt: skip


@pytest.mark.parametrize("source", ACCEPTED)
def test_real_images_match_the_metadata_schema_except_for_known_mistakes(source):
    metadata = read_metadata(source)
    for problem in problems(as_data(metadata)):
        mistakes = (
            metadata.architecture == "" or metadata.creation_date == 0,
            any(rule.template == "" or not rule.when for rule in metadata.rules),
            any(set(rule.when) - {"create", "copy", "start", "rename"} for rule in metadata.rules),
            any("/" in rule.template for rule in metadata.rules),
        )
        assert any(mistakes), problem


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_the_presets_match_the_metadata_schema(preset):
    source = Source("metadata.yaml", (preset.folder / "metadata.yaml").read_bytes())
    metadata = read_metadata(source)
    assert problems(as_data(metadata)) == [] and metadata.findings == ()
    there = {template.name for template in (preset.folder / "templates").iterdir()}
    assert {rule.template for rule in metadata.rules} == there


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_an_audit_finds_nothing_in_presets(preset, tmp_path):
    make(str(tmp_path / "new"), preset.name, now=1, architecture="x86_64", properties={})
    found = audit(scan_image(str(tmp_path / "new")))
    assert [finding for finding in found if finding.severity >= Severity.LOW] == []


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": ["x86_64"]},
        {"creation_date": "soon"},
        {"properties": []},
        {"properties": {"os": ["a"]}},
        {"properties": {"os": {"a": "b"}}},
        {"templates": []},
        {"templates": {"/a": "a.tpl"}},
        {"templates": {"/a": {**RULE, "when": "create"}}},
        {"templates": {"/a": {**RULE, "create_only": "true"}}},
        {"templates": {"/a": {**RULE, "properties": {"x": []}}}},
        {"templates": {"/a": {**RULE, "mode": [6, 4, 4]}}},
    ],
    ids=json.dumps,
)
def test_the_schema_rejects_metadata_that_the_daemons_refuse(change):
    document = {**GOOD, **change}
    assert decoded(document) is None
    assert problems(document)


@pytest.mark.parametrize(
    "change",
    [
        {"expiry_date": None},
        {"expiry_date": 5},
        {"properties": {"release": 22.1, "on": True, "nothing": None}},
        {"properties": None},
        {"templates": None},
        {"other": {"unknown": 1}},
        {"templates": {"/a": {**RULE, "uid": 0, "gid": "5", "mode": "0644", "create_only": None}}},
        {"templates": {"/a": {**RULE, "mode": 644}}},
    ],
    ids=json.dumps,
)
def test_the_schema_accepts_metadata_that_the_daemons_accept(change):
    document = {**GOOD, **change}
    assert decoded(document) is not None
    assert problems(document) == []


@pytest.mark.parametrize(
    "rule",
    [
        {"template": "a.tpl"},
        {"when": ["create"]},
        {**RULE, "when": []},
        {**RULE, "when": ["begin"]},
        {**RULE, "tempalte": "x"},
        {**RULE, "template": "../a"},
        {**RULE, "mode": "u=rw"},
        {**RULE, "mode": "4755"},
        {**RULE, "uid": "root"},
    ],
    ids=json.dumps,
)
def test_the_schema_reports_mistakes_that_the_daemons_accept(rule):
    document = {**GOOD, "templates": {"/a": rule}}
    assert decoded(document) is not None
    assert problems(document)
