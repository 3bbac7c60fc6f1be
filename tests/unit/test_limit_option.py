"""Limits by name: valid values, refusals with hints, and the effect of each limit."""

import pickle

import pytest

from templater.image.limits import DEFAULT
from templater.limit_option import CHILD, COMMAND, IMAGE, NAMES, READING, RENDERING, Given, parse
from templater.model.errors import UsageError
from templater.pongo2.render_state import Limits


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("5s", 5), ("5m", 300), ("2h", 7200), ("1_000", 1000)],
)
def test_time_limits_are_parsed(text, value):
    assert parse([f"time={text}"]).for_rendering().total == value


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("20k", 20_000), ("3M", 3_000_000), ("1g", 10**9)])
def test_a_numeric_limit_is_parsed_to_its_value(text, value):
    assert parse([f"steps={text}"]).for_rendering().steps == value


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("7B", 7), ("2k", 2048), ("16MiB", 16 << 20), ("1GiB", 1 << 30)]
)
def test_a_size_limit_is_parsed_to_its_number_of_bytes(text, value):
    assert parse([f"output={text}"]).for_rendering().output == value


@pytest.mark.parametrize(
    "text", ["", "-1", "0", "1.5", "5x", "x", "5 s", "²", "9" * 16, "9999999999999g", "5s5"]
)
def test_an_invalid_limit_value_is_refused_with_examples(text):
    for name in ("time", "steps", "output"):
        with pytest.raises(UsageError) as caught:
            parse([f"{name}={text}"])
        assert name in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [("time=0", "write time=30s"), ("steps=999999999999999g", f"the maximum is {1 << 50}")],
)
def test_an_impossible_limit_value_is_refused_with_the_allowed_range(text, hint):
    with pytest.raises(UsageError, match="can't be") as refused:
        parse([text])
    assert refused.value.hint.startswith(hint)


def test_an_unknown_limit_is_refused_with_a_list_of_limits():
    with pytest.raises(UsageError) as caught:
        parse(["tiem=5s"])
    assert "'tiem'" in caught.value.message
    assert "time, template-time, steps" in caught.value.hint


def test_a_command_refuses_a_limit_without_an_effect():
    with pytest.raises(UsageError) as caught:
        parse(["steps=5"], (IMAGE,))
    assert "members" in caught.value.hint
    assert "steps" not in caught.value.hint
    with pytest.raises(UsageError):
        parse(["memory=1GiB"])


def test_a_limit_without_a_value_is_refused():
    with pytest.raises(UsageError) as caught:
        parse(["template"])
    assert "template=4096" in caught.value.hint


def test_a_limit_has_its_default_value_without_a_limit_option():
    given = Given()
    limits = given.for_rendering(60, 120)
    ours = Limits(seconds=60, total=120)
    assert all(getattr(limits, name) == getattr(ours, name) for name in Limits.__slots__)
    assert given.for_reading() is None
    assert given.for_images() == DEFAULT


def test_the_last_value_of_a_repeated_limit_applies():
    assert parse(["steps=5", "steps=6"]).for_rendering().steps == 6


def test_every_limit_option_sets_an_attribute_of_a_limits_class():
    given = parse([f"{name}=7" for name in NAMES], (RENDERING, READING, IMAGE, CHILD, COMMAND))
    made = {
        RENDERING: given.for_rendering(), READING: given.for_reading(), IMAGE: given.for_images(),
        CHILD: given.for_child(wall=5, cpu=6), COMMAND: given.for_command(),
    }  # fmt: skip
    for kind, attribute, _, _ in NAMES.values():
        assert getattr(made[kind], attribute) == 7


def test_the_metadata_limit_sets_the_size_limit_of_the_yaml_reader():
    assert parse(["metadata=3MiB"]).for_reading().bytes == 3 << 20


def test_limits_can_be_passed_to_other_processes():
    again = pickle.loads(pickle.dumps(parse(["time=5m"]).for_rendering()))
    assert again.total == 300
