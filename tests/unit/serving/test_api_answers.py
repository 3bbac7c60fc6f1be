"""The JSON of the image API: its form equals what a real daemon sends, and filters."""

import json
from pathlib import Path

import pytest

from templater.model.errors import InputError
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("properties.os eq debian", True),
        ("properties.os eq Deb", False),
        ("properties.os ne debian", False),
        ("not properties.os eq ubuntu", True),
        ("type eq container and architecture eq x86_64", True),
        ("type eq virtual-machine or public eq true", True),
        ("type eq virtual-machine or public eq true and properties.release eq 12", False),
        ("properties.os eq 'debian'", True),
        ('properties.unknown eq "x"', False),
        ("unknown ne x", True),
    ],
)
def test_an_image_api_filter_selects_images(text, found):
    assert api_answers.matcher(text)(api_answers.image_data(IMAGE, LISTING)) == found


@pytest.mark.parametrize(
    "text", ["x", "x eq", "x gt 1", "x eq 1 xor y eq 2", "x eq 1 and", "not", "a eq b and " * 50, "x eq 1 y"]
)
def test_an_invalid_image_api_filter_is_an_error(text):
    with pytest.raises(InputError, match="filter"):
        api_answers.matcher(text)


@pytest.mark.parametrize("elements", [[], ["a"], ["a", {"b": [1]}, "c"]])
def test_an_answer_built_from_encoded_elements_equals_one_that_is_encoded_as_a_whole(elements):
    encoded = api_answers.success_list(list(map(api_answers.encode, elements)))
    assert b"".join(encoded) == api_answers.success(elements)
    assert encoded.size == len(api_answers.success(elements))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid filter ''; an example: properties.os eq debian"),
        ("os", "invalid filter 'os'; an example: properties.os eq debian"),
        ("os eq", "invalid filter 'os eq'; an example: properties.os eq debian"),
        ("os is debian", "invalid filter 'os is debian'; an example: properties.os eq debian"),
        ("not os eq", "invalid filter 'not os eq'; an example: properties.os eq debian"),
        ("os eq a and", "invalid filter 'os eq a and'; an example: properties.os eq debian"),
        ("os eq a xor b eq c", "unknown word 'xor' in the filter; use 'and' or 'or'"),
        (" and ".join(["os eq a"] * 1000), f"the filter has more than {api_answers._MOST_WORDS} words"),
    ],
)
def test_an_invalid_filter_gives_a_message_with_an_example(text, message):
    with pytest.raises(InputError) as caught:
        api_answers.matcher(text)
    assert caught.value.message == message


def test_a_filter_may_have_a_limited_number_of_words():
    most = api_answers._MOST_WORDS
    text = " and ".join(["os eq a"] * ((most + 1) // 4))
    assert len(text.split()) <= most
    api_answers.matcher(text)
