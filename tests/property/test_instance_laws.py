"""Laws of instance descriptions: any text gives an instance or an ordinary error."""

import io
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templater.model.source import Source
from templater.parsing.instance_description import read_instance
from templater.parsing.instance_list import stream_instances
from tests.fuzz import instance as target
from tests.yaml_mutations import mutated

plain = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20)
names = st.text("ab1-é😀_.", min_size=1, max_size=20).filter(lambda name: name.strip(".") != "")
configs = st.dictionaries(plain, plain, max_size=5)
facts = st.fixed_dictionaries(
    {"name": names, "type": st.sampled_from(["container", "virtual-machine"])},
    optional={
        "architecture": plain.filter(bool),
        "ephemeral": st.booleans(),
        "config": configs,
        "devices": st.dictionaries(plain, configs, max_size=3),
    },
)


@given(st.binary(max_size=200))
def test_any_bytes_parse_to_an_instance_or_raise_a_templater_error(data):
    target.one(data)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_damaged_descriptions_parse_to_an_instance_or_raise_a_templater_error(seed):
    pick = random.Random(seed)
    seeds = list(target.seeds())
    for _ in range(300):
        target.one(mutated(pick.choice(seeds), pick, seeds))


def seen(instance) -> dict:
    return {
        "name": instance.name,
        "type": instance.type,
        "architecture": instance.architecture,
        "ephemeral": instance.ephemeral,
        "config": instance.expanded_config(),
        "devices": instance.expanded_devices(),
    }


@given(facts)
def test_an_instance_has_the_same_values_in_every_format(described):
    wanted = {"architecture": "x86_64", "ephemeral": False, "config": {}, "devices": {}} | described
    text = json.dumps(described, ensure_ascii=False)
    assert seen(read_instance(Source("x.json", text))) == wanted
    assert seen(read_instance(Source("x.yaml", "# not JSON\n" + text))) == wanted
    (streamed,) = stream_instances(io.BytesIO(f"[{text}]".encode()).read, "x")
    assert seen(streamed) == wanted
