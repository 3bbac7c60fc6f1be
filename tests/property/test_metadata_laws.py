"""Laws of metadata.yaml: any text gives metadata or an error with a place."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from tests.fuzz import metadata as target
from tests.yaml_mutations import mutated

KEYS = ["architecture", "creation_date", "properties", "templates", "when", "template", "mode", "create_only"]
SCALARS = [
    "create",
    "start",
    "yes",
    "true",
    "~",
    "",
    "0755",
    "1.5",
    "2024-01-01",
    "<<",
    "/etc/a",
    "é",
    "😀",
    "a: b",
]

texts = st.one_of(st.sampled_from(SCALARS), st.text(max_size=12))
values = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), texts), inner, max_size=5),
    ),
    max_leaves=25,
)
#: text that JSON and YAML read alike: no control characters and no surrogate pairs
plain = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20)
rules = st.dictionaries(
    plain.filter(bool),
    st.fixed_dictionaries(
        {"template": plain.filter(bool), "when": st.lists(plain, max_size=3)},
        optional={"mode": plain, "properties": st.dictionaries(plain, plain, max_size=3)},
    ),
    max_size=5,
)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_an_error_with_position(data):
    target.one(data)


@given(st.text(st.characters(), max_size=120))
def test_any_text_parses_or_raises_an_error_with_position(text):
    target.one(text.encode("utf-8", "surrogatepass"))


@given(values)
def test_any_json_parses_or_raises_an_error_with_position(value):
    target.one(json.dumps(value).encode())
    target.one(json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(rules)
def test_written_rules_are_read_back_unchanged(written):
    for yaml in ("v2", "v4"):
        metadata = read_metadata(Source("m", json.dumps({"templates": written}, ensure_ascii=False)), yaml)
        read = {
            rule.path: {
                "template": rule.template,
                "when": list(rule.when),
                **({"mode": rule.mode} if "mode" in rule.spans else {}),
                **({"properties": dict(rule.properties)} if "properties" in rule.spans else {}),
            }
            for rule in metadata.rules
        }
        assert read == written
        for rule in metadata.rules:
            assert json.loads(rule.spans["path"].text) == rule.path
            assert json.loads(rule.spans["template"].text) == rule.template


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_damaged_metadata_is_parsed_or_raises_an_error_with_a_position(seed):
    pick = random.Random(seed)
    seeds = list(target.seeds())
    for _ in range(500):
        target.one(mutated(pick.choice(seeds), pick, seeds))
