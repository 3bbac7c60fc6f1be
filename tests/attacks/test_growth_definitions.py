"""Small definitions that once took minutes or gigabytes, and definitions that once ended in a traceback."""

import json
from collections.abc import Iterator

import pytest

from templater.checks.check_report import combined
from templater.checks.run_checks import audit
from templater.definitions import build_rendering
from templater.definitions.choice import Choice
from templater.definitions.go_yaml_emitter import _less
from templater.definitions.predicted_image import DefinitionImage, build
from templater.model.errors import LimitError
from templater.model.source import Source
from templater.pongo2.render_state import Limits
from tests.checks.authoring.authoring_builders import defined
from tests.processor_time import ends_within

HEAD = "image: {distribution: debian, release: trixie}\nfiles:\n"


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with ends_within(5):
        yield


def entries(count: int, entry: str) -> str:
    return "".join(f"- {{{entry.replace('N', str(number))}}}\n" for number in range(count))


def built(text: str) -> DefinitionImage:
    image = build(Source("d.yaml", text), Choice())
    image.read_metadata()
    return image


LONG = json.dumps("x" * 400_000)
PATHS = f"image: {{distribution: debian, description: {LONG}}}\nfiles:\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        HEAD + entries(900, """generator: dump, path: /N, pongo: true, content: '{{ "x"|ljust:4190000 }}'"""),
        HEAD + entries(900, """generator: hosts, path: /N, pongo: true, content: '{{ "x"|ljust:4190000 }}'"""),
        PATHS + entries(900, "generator: template, name: a, path: '{{ image.description }}N', pongo: true"),
        HEAD + f"- {{generator: dump, path: /x, content: &c {LONG}}}\n"
        + entries(900, "generator: template, name: aN, path: /N, content: *c"),
    ],
)  # fmt: skip
def test_all_texts_of_a_build_share_one_size_limit(text: str) -> None:
    limits = "have more than 12582912 characters in total|more than 400000 nodes when aliases are expanded"
    with pytest.raises(LimitError, match=limits):
        built(text)


KEYS = ", ".join(f"{'k' * 900}{number}: v" for number in range(400))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        HEAD + f"- {{generator: cloud-init, name: user-data, path: /x, content: &c {LONG}}}\n"
        + entries(20, "generator: cloud-init, name: user-data, path: /N, content: *c"),
        HEAD + f"- {{generator: template, name: a, path: /x, template: {{properties: &p {{{KEYS}}}}}}}\n"
        + entries(400, "generator: template, name: aN, path: /N, template: {properties: *p}"),
        """image: {distribution: debian, description: '{{ "x"|ljust:4190000 }}'}""",
    ],
)  # fmt: skip
def test_metadata_above_the_limit_is_refused_before_it_is_written(text: str) -> None:
    limits = r"metadata\.yaml' is larger than 1048576 bytes|more than 400000 nodes when aliases are expanded"
    with pytest.raises(LimitError, match=limits):
        built(text)


@pytest.mark.slow
def test_a_build_converts_the_values_of_a_definition_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_rendering, "LIMITS", Limits(seconds=100.0, total=100.0))
    packages = ", ".join(["a"] * 100_000)
    text = f"{HEAD}{entries(300, 'generator: dump, path: /N, pongo: true, content: x{{# #}}')}"
    built(
        f"{text.replace('x{{# #}}', repr('x{# #}'))}packages: {{sets: [{{action: install, packages: [{packages}]}}]}}\n"
    )


@pytest.mark.slow
def test_the_time_limit_of_a_build_includes_compiling_its_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_rendering, "LIMITS", Limits(seconds=1.0, total=0.3))
    content = json.dumps("{% if 0 %}" + "{{1}}" * 6000 + "{% endif %}")
    text = f"- {{generator: template, name: a, path: /x, pongo: true, content: &c {content}}}\n"
    with pytest.raises(LimitError, match=r"longer than 0\.3 seconds"):
        built(HEAD + text + entries(100, "generator: template, name: aN, path: /N, pongo: true, content: *c"))


def test_positions_in_a_long_text_are_found_in_linear_time() -> None:
    lines = "".join(f"    {{{{ config.x{number} }}}}\n" for number in range(3000)) + "    z\n" * 100_000
    image = defined(f"{HEAD}- generator: template\n  name: a\n  path: /etc/a\n  content: |\n{lines}")
    for template in image.parsed:
        places = [read.span.origin.line for read in template.reads]
    assert places == list(range(7, 3007))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"/a{'2' * 5000}", f"/a{'1' * 5000}"),  # more digits than Python converts to a number
        ("/a18446744073709551617", "/a2"),  # 2**64 + 1 overflows to 1 in Go
        ("/a2", "/a9223372036854775807"),
        ("/a9223372036854775808", "/a2"),  # 2**63 overflows to a negative number
    ],
)
def test_long_numbers_in_paths_overflow_as_in_the_go_language(first: str, second: str) -> None:
    rules = "".join(f"- {{generator: template, name: a, path: {path}}}\n" for path in (first, second))
    assert len(built(HEAD + rules).results.rules) == 2
    assert _less(first, second) is not _less(second, first)
    if len(first) < 5000:
        assert _less(first, second)


@pytest.mark.parametrize("character", ["\\N", "\\x01", "\\L", "\\n", "\\uFEFF"])
def test_a_definition_may_contain_special_characters_in_a_path(character: str) -> None:
    image = defined(f'{HEAD}- {{generator: template, name: a, path: "/a{character}b", content: x}}\n')
    assert len(image.rules) == 1
    audit(image, "authoring")


def test_the_reports_about_many_builds_are_combined_in_linear_time() -> None:
    findings = [{"check": "syntax", "message": str(number)} for number in range(1500)]

    def reports() -> Iterator[dict[str, object]]:
        for number in range(60):
            extra = [{"check": "own", "message": str(number)}]
            yield {
                "findings": [*findings, *extra], "suppressed": [], "notes": ["same"], "not_validated": [],
                "hidden": {}, "sarif": None,
            }  # fmt: skip

    whole = combined(reports())
    assert len(whole["findings"]) == 1560
    assert whole["notes"] == ["same"]
