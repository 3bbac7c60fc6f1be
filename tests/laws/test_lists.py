"""Tests that the lists in the other files of tests/laws are complete."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from templater import image as image_package
from templater.checks.image_scanner import scan_image
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import library_for
from tests.laws.test_image_laws import EDITS, OTHERS, READERS
from tests.laws.test_language_laws import TAGS
from tests.laws.test_readers import READERS as TEXT_READERS


def test_the_list_of_measured_text_readers_contains_every_known_reader():
    wanted = {"metadata_yaml.read_metadata", "instance_description.read_instance", "instance_description.read_instances",
              "instance_description.read_profile", "instance_list.stream_instances", "toml_text.read_toml",
              "yaml_nodes.parse"}  # fmt: skip
    assert wanted <= TEXT_READERS.keys()


def public_functions() -> Iterator[str]:
    for module in iter_modules(image_package.__path__):
        found = import_module(f"templater.image.{module.name}")
        for name, value in vars(found).items():
            if inspect.isfunction(value) and value.__module__ == found.__name__ and name[0] != "_":
                yield name


def test_every_public_image_function_has_a_test_or_exemption() -> None:
    assert (READERS.keys() | EDITS.keys() | OTHERS) - {scan_image.__name__} == set(public_functions())


def test_every_template_tag_has_a_sample_template_for_the_time_tests() -> None:
    found = {name for dialect in DIALECTS.values() for name in library_for(dialect).tags}
    assert found == set(TAGS)
