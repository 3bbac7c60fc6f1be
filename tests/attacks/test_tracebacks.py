"""Input that Go accepts or rejects with an error, but that raised an unexpected exception in Python."""

from io import BytesIO

import pytest

from templater.model.errors import LimitError, MetadataError
from templater.model.source import Source
from templater.parsing.instance_list import stream_instances
from templater.parsing.metadata_yaml import read_metadata
from templater.parsing.yaml_nodes import Rules
from templater.prediction.errno_errors import Fails
from templater.prediction.go_strconv import go_decimal


def source(text: str) -> Source:
    return Source("i/metadata.yaml", text)


@pytest.mark.parametrize("rules", ["v2", "v4"])
def test_attack_55_a_number_with_over_a_thousand_digits_is_refused(
    rules: Rules,
) -> None:
    digits = "1" * 5000
    with pytest.raises(LimitError, match="more than 1000 characters"):
        read_metadata(source(f"templates:\n  /a:\n    template: {digits}\n"), rules)
    shorter = digits[:1000]
    metadata = read_metadata(
        source(f"templates:\n  /a:\n    template: {shorter}\n    uid: -{shorter[1:]}\n"), rules
    )
    assert (metadata.rules[0].template, metadata.rules[0].uid) == (shorter, f"-{shorter[1:]}")
    with pytest.raises(MetadataError, match="must be a number"):
        read_metadata(source(f"creation_date: {digits}\n"), rules)


def test_attack_32_an_owner_id_with_thousands_of_leading_zeros_is_accepted() -> None:
    assert go_decimal("-" + "0" * 5000 + "17", "uid") == -17
    assert go_decimal("0" * 5000, "uid") == 0
    with pytest.raises(Fails, match="out of range"):
        go_decimal("1" * 5000, "uid")


def deep_list(depth: int) -> "list[object]":
    nested = b'[{"name": "a\\ud800b", "x": ' + b"[" * depth + b"]" * depth + b"}]"
    return list(stream_instances(BytesIO(nested).read, "list.json"))


@pytest.mark.parametrize("depth", [2000, 60_000])
def test_a_deeply_nested_list_with_lone_surrogates_is_refused(depth: int) -> None:
    with pytest.raises(LimitError, match="nested too deep"):
        deep_list(depth)


@pytest.mark.parametrize("depth", [300, 600, 900])
def test_deep_nesting_is_either_read_or_refused_without_a_traceback(depth: int) -> None:
    """The number of stack frames for each nesting level depends on the version of Python."""
    try:
        assert len(deep_list(depth)) == 1
    except LimitError as error:
        assert "nested too deep" in str(error)
