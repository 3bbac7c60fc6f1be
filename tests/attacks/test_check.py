"""Small images that once kept `check` busy for minutes, or made it hold gigabytes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.checks.author_report import WANTED, described, judge, with_configuration
from templater.checks.finding import MAX_FINDINGS
from templater.checks.ignores import MAX_COMMENTS, MAX_IGNORES, Configuration, Ignores, read_configuration
from templater.checks.scan import scan_image
from templater.model.errors import LimitError
from templater.model.source import Source
from templater.parsing.toml_text import MAX_PARTS
from tests.checks.authoring.authoring_builders import file


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    begun = time.process_time()
    yield
    assert time.process_time() - begun < 4


def messages(path: str, text: str) -> list[str]:
    return [finding.message for finding in judge(file(path, text), Configuration()).findings]


@pytest.mark.parametrize(
    "key", ["a." * 20_000 + "a", "[" + "a." * 20_000 + "a]\nb", "b = {" + "'a' . " * 20_000 + "a"]
)
def test_a_dotted_key_with_many_parts_is_not_parsed(key: str) -> None:
    """`tomllib` keeps every prefix of a key: 40 kB needed 1.6 GB."""
    assert any(
        f"not checked: a key has more than {MAX_PARTS} parts" in each
        for each in messages("/etc/a.toml", key + " = 1\n")
    )
    with pytest.raises(LimitError, match=f"a key has more than {MAX_PARTS} parts"):
        read_configuration(Source("templater.toml", key + " = 1\n"))


def test_openings_of_ignore_comments_take_linear_time() -> None:
    """Each opening was followed to the end of its line: 10,000 took 8 seconds, and 190,000 fit into a template."""
    text = (
        "{% verbatim %}" + "{# templater: ignore " * 50_000 + "{# templater: ignore mode #}{% endverbatim %}"
    )
    (comment,) = Ignores(file("/etc/a", text), Configuration()).comments.values()
    assert comment.id == "mode"


def test_ids_in_ignore_comments_are_counted_and_cut_off() -> None:
    """Each of 500,000 ids was a finding: 1.1 GB."""
    found = messages("/etc/a", "{# templater: ignore " + " ".join(f"a{n}" for n in range(100_000)) + " #}x")
    assert f"{MAX_COMMENTS - MAX_FINDINGS} more comments ignore nothing" in found
    assert f"the templates' comments have more than {MAX_COMMENTS} ids: the others ignore nothing" in found
    assert len(found) < MAX_FINDINGS + 10


def test_a_repeated_id_is_one_finding() -> None:
    found = messages("/etc/a", "{# templater: ignore " + "mode " * (MAX_COMMENTS // 2) + "#}x")
    assert found.count("'mode' has no finding here: the comment ignores nothing") == 1


def test_blank_lines_of_the_configuration_take_linear_time() -> None:
    """Each blank line was followed to the last one, and again for each entry."""
    text = "[[ignore]]\nid = 'mode'\n" + "\n" * 500_000
    (ignore,) = read_configuration(Source("templater.toml", text)).ignores
    assert ignore.at.line == 2


def test_a_long_configuration_is_not_searched_again_for_each_entry() -> None:
    text = "ignore = [" + '{"i\\u0064" = "mode"}, ' * MAX_IGNORES + "]\n# " + "id" * 300_000
    ignores = read_configuration(Source("templater.toml", text)).ignores
    assert {ignore.at.place for ignore in ignores} == {"templater.toml:1:1"}


def test_instances_of_the_configuration_are_bounded(tmp_path: Path) -> None:
    """Each of 100,000 names was read and parsed again."""
    (tmp_path / "a.yaml").write_text("name: c1\n")
    (tmp_path / "b.yaml").write_text("name: c1\n#" + "x" * 600_000)
    (tmp_path / "c.yaml").write_text("name: c1\n#" + "x" * 600_000)
    assert [instance.name for instance in described(str(tmp_path), ("a.yaml",))] == ["a"]
    with pytest.raises(LimitError, match="more than 50 instances"):
        described(str(tmp_path), tuple(f"{n}.yaml" for n in range(51)))
    with pytest.raises(LimitError, match="more than 1 MiB in total"):
        described(str(tmp_path), ("a.yaml", "b.yaml", "c.yaml"))


def test_an_instance_that_the_configuration_names_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    (tmp_path / "a.yaml").write_text("name: c1\n")
    (tmp_path / "templater.toml").write_text('instances = ["a.yaml"' + ', "a.yaml"' * 100_000 + "]\n")
    image, _ = with_configuration(scan_image(str(tmp_path), heads=WANTED), (), (), None)
    assert len(image.added) == 1
