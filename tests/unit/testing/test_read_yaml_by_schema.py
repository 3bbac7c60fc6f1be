"""The JSON Schema of test files, which the reader and editors read."""

import json
from pathlib import Path

import pytest
import yaml

from templater.model.hosts import HOSTS
from templater.model.metadata import TRIGGERS
from templater.model.source import Source
from templater.parsing.yaml_nodes import parse
from templater.testing.read_yaml_by_schema import Reader, schema_of_tests
from tests.unit.testing.test_read_tests import MISTAKES

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[3]
FILES = [
    *sorted(ROOT.glob("sample-images/**/tests/**/*.yaml")),
    *sorted(ROOT.glob("templater/image/presets/*/tests/*.yaml")),
]


def reader_accepts(text: str) -> bool:
    root = parse(Source("a.yaml", text))
    assert root is not None
    reader = Reader(schema_of_tests())
    reader.check(root, reader.root, "the file")
    return not reader.errors


def schema_accepts(text: str) -> bool:
    """Validate the value that an editor sees."""
    value = json.loads(json.dumps(yaml.safe_load(text), default=str))
    return bool(jsonschema.Draft7Validator(schema_of_tests()).is_valid(value))


def test_the_schema_of_test_files_is_valid():
    jsonschema.Draft7Validator.check_schema(schema_of_tests())


def test_the_schema_of_test_files_contains_every_host_and_trigger():
    definitions = schema_of_tests()["definitions"]
    assert definitions["host"]["enum"] == [*HOSTS]
    assert definitions["trigger"]["enum"] == [*TRIGGERS]


def test_every_matrix_key_is_also_valid_in_a_test():
    test = schema_of_tests()["definitions"]["test"]["properties"]
    assert test["matrix"]["properties"].keys() <= test.keys()


#: mistakes that the schema cannot express, so that only the reader finds them
BEYOND = {
    "an empty file", "no expectation", "a relative path", "absent and equals", "an invalid regular expression",
    "a step that does not exist", "steps with triggers", "a duplicate key", "a duplicate name", "a name of dots",
    "a missing description", "a description outside", "an absolute description", "a device without a type",
    "a bad name of an instance", "defaults with steps", "a wrong merge key", "a key of two lines", "a file in a file",
    "a syntax error",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MISTAKES.keys() - BEYOND))
def test_schema_and_parser_both_reject_an_expressible_mistake(name):
    text = MISTAKES[name][0]
    assert not reader_accepts(text)
    assert not schema_accepts(text)


ACCEPTED = [
    "tests:\n- {name: 1, instance: a.yaml, host: lxd, triggers: copy, expect: {/a: {equals: 0644, contains: [a, 1]}}}",
    "defaults: {config: {user.a: yes}}\ntests:\n- {name: a, steps: [start, {step: stop, error: true}]}",
    "tests:\n- {name: a, rootfs: none, matrix: {host: all, rootfs: [image, {/a: b}]}, snapshot: true, valid: true}",
    "tests:\n- {name: a, expect: {/a: {mode: '0600', owner: '0:0', error: x}}, devices: {a: {b: 1}}, profiles: [{name: p}]}",
    "tests:\n- {name: a, instance: {type: virtual-machine, ephemeral: true}, options: {image.release: 22.10}, error: x}",
]


@pytest.mark.parametrize("text", ACCEPTED, ids=range(len(ACCEPTED)))
def test_schema_and_parser_accept_the_same_texts(text):
    assert reader_accepts(text)
    assert schema_accepts(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_schema_and_parser_accept_tests_of_the_images(path):
    text = path.read_text()
    assert reader_accepts(text)
    assert schema_accepts(text)


def mutations() -> list[str]:
    """Each key of an accepted file misspelled, and each value replaced by one of another kind."""
    found = []
    for text in ACCEPTED:
        value = yaml.safe_load(text)

        def walk(node: object, rebuild: object) -> None:
            items = (
                list(node.items())
                if isinstance(node, dict)
                else list(enumerate(node))
                if isinstance(node, list)
                else []
            )
            for key, inner in items:
                for other in ({"zz": []}, [{}], []):
                    node[key] = other  # type: ignore[index]
                    found.append(json.dumps(value))
                node[key] = inner  # type: ignore[index]
                if isinstance(node, dict):
                    node[f"{key}z"] = node.pop(key)
                    found.append(json.dumps(value))
                    node[key] = node.pop(f"{key}z")
                walk(inner, rebuild)

        walk(value, None)
    return found


@pytest.mark.slow
def test_the_schema_and_the_parser_agree_about_randomly_changed_test_files():
    texts = mutations()
    assert len(texts) > 200
    different = [text for text in texts if reader_accepts(text) != schema_accepts(text)]
    assert not different, different[:3]
