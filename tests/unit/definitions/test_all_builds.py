"""All builds of a definition share one time limit."""

import time

import pytest

from templater.definitions import all_builds
from templater.definitions.all_builds import in_time
from templater.definitions.architecture_map import architectures_named
from templater.definitions.choice import Choice
from templater.definitions.definition_yaml import read_definition
from templater.model.errors import LimitError
from templater.model.source import Source

CHOICES = [Choice((f"image.variant=v{number}",)) for number in range(3)]


def test_the_time_limit_error_says_how_many_builds_were_read(monkeypatch):
    monkeypatch.setattr(all_builds, "SECONDS", 0.01)
    seen = []
    with pytest.raises(
        LimitError, match=r"all builds together take longer than 0\.02 seconds; finished builds: 1"
    ) as caught:
        for choice in in_time(CHOICES, 0.02):
            seen.append(choice)
            begun = time.process_time()
            while time.process_time() - begun < 0.05:
                pass
    assert seen == CHOICES[:1]
    assert caught.value.hint == "omit --all-variants, or allow ten minutes with --limit time=10m"


@pytest.mark.parametrize("seconds", [None, 0.01, 1000])
def test_every_build_is_processed_if_the_time_limit_is_not_reached(seconds):
    assert list(in_time(CHOICES, seconds)) == CHOICES


def test_an_architecture_is_found_by_its_name_in_the_definition():
    text = "image: {distribution: debian}\nmappings: {architectures: {x86_64: foo, aarch64: bar}}\n"
    definition = read_definition(Source("d.yaml", text))
    assert architectures_named(definition, "foo") == "x86_64"
    assert architectures_named(definition, "bar") == "aarch64"
    assert architectures_named(definition, "baz") == ""


@pytest.mark.parametrize("most", [5, 6])
def test_the_number_of_builds_of_a_definition_has_a_limit(most, tmp_path, monkeypatch):
    monkeypatch.setattr(all_builds, "MAX_BUILDS", most)
    path = tmp_path / "d.yaml"
    path.write_text(
        "image: {distribution: debian, architecture: x86_64, release: a}\n"
        "files: [{generator: fstab, releases: [b, c, b], types: [vm]}]\n"
    )
    choice = Choice(("image.release=x", "image.serial=s"))
    if most == 6:
        found = all_builds.all_choices(str(path), choice)
        releases = [dict(each.split("=") for each in one.parameters)["image.release"] for one in found]
        assert [(one.type, release) for one, release in zip(found, releases, strict=True)] == [
            (kind, release) for release in ("x", "b", "c") for kind in ("container", "vm")
        ]
        assert found[0].parameters == (
            "image.serial=s", "image.release=x", "image.architecture=x86_64", "image.variant=default",
        )  # fmt: skip
    else:
        with pytest.raises(
            LimitError, match=r"^the filters give 6 different builds, more than the limit of 5$"
        ):
            all_builds.all_choices(str(path), choice)
