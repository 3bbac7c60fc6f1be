"""Small texts that once took minutes to hours: time must grow in proportion to the input."""

import time
from collections.abc import Iterator

import pytest

from templater import pongo2
from templater.model.errors import LimitError, MetadataError, RenderError
from templater.model.source import Source
from templater.parsing.instance_description import read_instance
from templater.parsing.metadata_yaml import read_metadata
from templater.parsing.yaml_nodes import Rules


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    begun = time.process_time()
    yield
    assert time.process_time() - begun < 5


def source(text: str) -> Source:
    return Source("i/metadata.yaml", text)


@pytest.mark.parametrize("rules", ["v2", "v4"])
@pytest.mark.slow
def test_attack_51_many_metadata_errors_are_reported_with_their_lines(rules: Rules) -> None:
    lines = [f"  a{number}: []\n" for number in range(20_000)]
    with pytest.raises(MetadataError) as caught:
        read_metadata(source("\n" * 400_000 + "properties:\n" + "".join(lines)), rules)
    assert caught.value.span is not None
    assert caught.value.span.line == 400_002
    assert caught.value.yaml_error is not None
    assert caught.value.yaml_error.count("line ") == 10_000
    assert "line 410001: cannot" in caught.value.yaml_error


@pytest.mark.slow
def test_attack_53_many_duplicate_keys_at_the_end_of_a_file_take_linear_time() -> None:
    metadata = read_metadata(source("\n" * 400_000 + "properties:\n" + "  a: 1\n" * 20_000))
    *listed, rest = metadata.findings
    assert len(listed) == 500
    assert listed[-1].span.line == 400_502
    assert rest.message == "metadata.yaml has more mistakes of one kind than templater counts"


@pytest.mark.slow
def test_many_yaml_merge_keys_are_read_in_linear_time() -> None:
    keys = "".join(f"  a{number}: 1\n" for number in range(30_000))
    text = f"name: c1\nconfig:\n{keys}" + "  <<: {}\n" * 15_000
    assert len(read_instance(Source("c1.yaml", text)).config) == 30_000


def test_earlier_yaml_merge_keys_override_later_ones_and_direct_keys_override_both() -> None:
    text = "config:\n  a: own\n  <<: {a: first, b: first}\n  <<: [{b: second, c: second}, {c: third, d: third}]\n"
    config = read_instance(Source("c1.yaml", text)).config
    assert list(config.items()) == [("c", "second"), ("d", "third"), ("b", "first"), ("a", "own")]


def removed(text: str, names: str) -> str:
    return pongo2.compile('{{ v|removetags:"' + names + '" }}').render({"v": text})


def test_attack_47_each_part_of_a_character_class_counts_towards_the_work_limit() -> None:
    with pytest.raises(LimitError, match="builds a value"):
        removed("<b" * 30_000, "[" + "a" * 15_000 + "]")
    with pytest.raises(LimitError, match="builds a value"):
        removed("<b" * 30_000, "([" + "a" * 100 + "]){100}")
    assert removed("<q>x</a><b>", "[" + "a-c" * 1000 + "]") == "<q>x"


@pytest.mark.parametrize(
    "names", ["{" * 1_000_000, "{" * 1_000_000 + "}", "[[:" * 300_000 + "]", "a*" * 300_000]
)
def test_attack_47_a_huge_regular_expression_is_an_error(names: str) -> None:
    with pytest.raises((RenderError, LimitError), match=r"expression too large|units of work"):
        removed("<b>x", names)


@pytest.mark.slow
def test_attack_47_a_regular_expression_counts_towards_the_work_limit_even_on_empty_text() -> None:
    with pytest.raises(LimitError, match=r"builds a value|units of work"):
        removed("", "a*," * 200_000)
