"""The JSON of the image API: its form equals what a real daemon sends."""

import json
from pathlib import Path

import pytest

from templater.serving import api_answers
from templater.serving.image_listing import File, Listing, Served

RECORDED = Path(__file__).parent / "recorded"
IMAGE = Served(
    "a" * 64, "container", "x86_64", 1767225600, 0, 1767225600, {"os": "Debian", "release": "13", "empty": ""},
    (File("images/a.tar.xz", 7, "a" * 64),), ("debian", "debian/13"),
)  # fmt: skip
LISTING = Listing([IMAGE])


def recorded(name: str) -> dict:
    return json.loads((RECORDED / f"{name}.json").read_text())["json"]


def types(value: object) -> object:
    """Return the form of JSON data: keys, and types of values."""
    if isinstance(value, dict):
        return {key: types(each) for key, each in value.items() if key not in ("properties", "config")}
    return [types(each) for each in value[:1]] if isinstance(value, list) else type(value)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("image", api_answers.image_data(IMAGE, LISTING)),
        ("alias", api_answers.alias_data("debian", IMAGE)),
        ("root", ["/1.0"]),
    ],
)
def test_an_image_api_answer_has_the_same_form_as_that_of_incus(name, ours):
    assert types(json.loads(api_answers.success(ours))) == types(recorded(name))


def test_an_image_api_error_has_the_same_form_as_that_of_incus():
    assert types(json.loads(api_answers.failure(404, "not found"))) == types(recorded("image-absent"))


def test_the_server_sends_every_field_that_an_incus_server_sends_to_untrusted_clients():
    theirs, ours = recorded("server-untrusted")["metadata"], api_answers.server_data("", "")
    assert set(theirs) <= set(ours)
    assert (ours["auth"], ours["public"]) == ("untrusted", True)


@pytest.mark.parametrize("elements", [[], ["a"], ["a", {"b": [1]}, "c"]])
def test_an_answer_built_from_encoded_elements_equals_one_that_is_encoded_as_a_whole(elements):
    encoded = api_answers.success_list(list(map(api_answers.encode, elements)))
    assert b"".join(encoded) == api_answers.success(elements)
    assert encoded.size == len(api_answers.success(elements))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"), (253402300799, "9999-12-31T23:59:59Z"), (253402300800, api_answers.NEVER), (1 << 70, api_answers.NEVER),
        (-(1 << 70), api_answers.NEVER),
    ],
)  # fmt: skip
def test_a_time_outside_the_calendar_is_sent_as_never(seconds, text):
    assert api_answers._time(seconds) == text
