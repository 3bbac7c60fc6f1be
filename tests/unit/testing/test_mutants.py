"""The tests of the sample images and presets notice a changed word, and a flipped branch, of a template."""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.image.presets import make, presets
from tests.unit.testing.images import run

ROOT = Path(__file__).parents[3]
#: mutants of each image, or all if there are fewer
SAMPLE = 40
WORD = re.compile(r"[A-Za-z]{2,}")
CONDITION = re.compile(r"(\{%-? *(?:el)?if )(.*?)( *-?%\})")


def mutants(template: str) -> Iterator[tuple[str, str]]:
    """Yield a description and the text of each mutant: one word changed, or one condition negated."""
    for found in WORD.finditer(template):
        line = template.count("\n", 0, found.start()) + 1
        changed = found[0][:-1] + ("y" if found[0][-1] == "z" else "z")
        yield (
            f"line {line}: {found[0]} → {changed}",
            template[: found.start()] + changed + template[found.end() :],
        )
    for found in CONDITION.finditer(template):
        line = template.count("\n", 0, found.start()) + 1
        flipped = f"{found[1]}not ({found[2]}){found[3]}"
        yield f"line {line}: {flipped}", template[: found.start()] + flipped + template[found.end() :]


def survivors(image: Path) -> tuple[int, list[str]]:
    """Return the number of mutants that were tested, and those that no test noticed."""
    templates = sorted((image / "templates").iterdir())
    every = [(path, *mutant) for path in templates for mutant in mutants(path.read_text())]
    sample = random.Random(15).sample(every, min(SAMPLE, len(every)))
    found = []
    for path, description, text in sample:
        before = path.read_text()
        path.write_text(text)
        if all(outcome.passed for outcome in run(image)):
            found.append(f"{path.name}: {description}")
        path.write_text(before)
    return len(sample), found


def check(image: Path) -> None:
    assert all(outcome.passed for outcome in run(image))
    count, left = survivors(image)
    assert count >= 3
    assert len(left) * 10 <= count, left


IMAGES = sorted(path.parent.name for path in (ROOT / "sample-images").glob("*/metadata.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in IMAGES if name != "broken"])
def test_the_tests_of_a_sample_image_detect_nine_of_ten_mutants(name, tmp_path):
    check(shutil.copytree(ROOT / "sample-images" / name, tmp_path / name, symlinks=True))


@pytest.mark.slow
@pytest.mark.parametrize("preset", [preset.name for preset in presets()])
def test_the_tests_of_a_preset_detect_nine_of_ten_mutants(preset, tmp_path):
    make(str(tmp_path / "image"), preset, now=1, architecture="x86_64", properties={})
    check(tmp_path / "image")


@pytest.mark.slow
def test_a_single_weak_test_detects_less_than_half_of_the_mutants(tmp_path):
    """With only one weak test, more than half of the mutants survive."""
    image = shutil.copytree(ROOT / "sample-images" / "openwrt", tmp_path / "openwrt", symlinks=True)
    (image / "tests" / "uci.yaml").write_text(
        "tests:\n- {name: a, expect: {/etc/hosts: {contains: localhost}}}\n"
    )
    count, left = survivors(image)
    assert count == SAMPLE
    assert count > len(left) > count // 2
