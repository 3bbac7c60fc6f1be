"""Small images that once kept `check` busy for minutes, or made it hold gigabytes."""

import time
from collections.abc import Iterator

import pytest

from templater.checks.author_report import judge
from templater.checks.ignores import Configuration, read_configuration
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
